//! Plain calls: the same guard, the same time, the same certificates as for a hook, without its signature.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, timeout_at};

use super::{AGENT, Client, Failure, HookUrl};

impl Client {
    /// Fetches what is at a URL, if it has at most so many bytes. Nothing but 200 is an answer; redirects are not followed.
    ///
    /// # Errors
    /// [`Failure`] says why there is nothing.
    pub async fn fetch(&self, url: &HookUrl, allow_private: bool, most: usize) -> Result<Bytes, Failure> {
        let plain = Plain { allow_private, ..Plain::new(url) };
        let (status, body) = self.plain(&plain, most).await?;
        if status == 200 { Ok(body) } else { Err(Failure::Refused(status)) }
    }

    /// Calls a URL that its user has chosen, with a bearer key and JSON: the status, and the answer of at most so many bytes.
    ///
    /// # Errors
    /// [`Failure`] says why there is no answer.
    pub async fn call(
        &self,
        method: Method,
        url: &HookUrl,
        key: Option<&str>,
        body: Bytes,
        most: usize,
    ) -> Result<(u16, Bytes), Failure> {
        let headers = key.map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect();
        self.plain(&Plain { method, headers, body, allow_private: true, ..Plain::new(url) }, most).await
    }

    /// Makes a plain call: the status, whatever it is, and the answer of at most so many bytes.
    ///
    /// # Errors
    /// [`Failure`] says why there is no answer.
    pub async fn plain(&self, plain: &Plain<'_>, most: usize) -> Result<(u16, Bytes), Failure> {
        let deadline = Instant::now() + self.connector.options.timeout;
        let answered = timeout_at(deadline, async {
            let Plain { method, url, query, allow_private, headers, body } = plain;
            let mut line = self.connector.connect(url, *allow_private).await?;
            let mut request = Request::builder()
                .method(method)
                .uri(with_query(url.path(), query))
                .header(HOST, url.authority())
                .header(ACCEPT, HeaderValue::from_static("application/json"))
                .header(USER_AGENT, HeaderValue::from_static(AGENT));
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            if !body.is_empty() {
                request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            let body = body.clone();
            let request = request.body(Full::new(body)).map_err(|why| Failure::Broken(why.to_string()))?;
            let response = line.send(request).await?;
            let status = response.status().as_u16();
            let (mut body, mut taken) = (response.into_body(), BytesMut::new());
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|why| Failure::Broken(why.to_string()))?;
                if let Some(data) = frame.data_ref() {
                    if taken.len() + data.len() > most {
                        return Err(Failure::Broken(format!("the answer has more than {most} bytes")));
                    }
                    taken.extend_from_slice(data);
                }
            }
            Ok((status, taken.freeze()))
        });
        answered.await.unwrap_or(Err(Failure::Timeout))
    }
}

/// A plain call.
#[derive(Debug)]
pub struct Plain<'a> {
    /// How.
    pub method: Method,
    /// Where.
    pub url: &'a HookUrl,
    /// What is asked besides what the URL asks already, as it is written in a URL.
    pub query: &'a str,
    /// Whether it may have a private address.
    pub allow_private: bool,
    /// What else it says.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, or nothing.
    pub body: Bytes,
}

impl<'a> Plain<'a> {
    /// Fetches what is there, if the address is a public one.
    #[must_use]
    pub fn new(url: &'a HookUrl) -> Self {
        Self {
            method: Method::GET,
            url,
            query: "",
            allow_private: false,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }
}

/// A path, asked this besides.
fn with_query(path: String, query: &str) -> String {
    match (query.is_empty(), path.contains('?')) {
        (true, _) => path,
        (false, true) => format!("{path}&{query}"),
        (false, false) => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_besides_comes_behind() {
        for (path, query, expected) in
            [("/in", "", "/in"), ("/in", "a=1&b=2", "/in?a=1&b=2"), ("/in?key=k", "a=1", "/in?key=k&a=1")]
        {
            assert_eq!(with_query(path.to_owned(), query), expected);
        }
    }
}
