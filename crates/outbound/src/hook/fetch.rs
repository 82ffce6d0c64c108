//! Plain calls: the same guard, the same time, the same certificates as for a hook, without its signature.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
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
        let (status, body) = self.ask(Method::GET, url, allow_private, None, Bytes::new(), most).await?;
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
        self.ask(method, url, true, key, body, most).await
    }

    async fn ask(
        &self,
        method: Method,
        url: &HookUrl,
        allow_private: bool,
        key: Option<&str>,
        body: Bytes,
        most: usize,
    ) -> Result<(u16, Bytes), Failure> {
        let deadline = Instant::now() + self.connector.options.timeout;
        let answered = timeout_at(deadline, async {
            let mut line = self.connector.connect(url, allow_private).await?;
            let mut request = Request::builder()
                .method(method)
                .uri(url.path())
                .header(HOST, url.authority())
                .header(ACCEPT, HeaderValue::from_static("application/json"))
                .header(USER_AGENT, HeaderValue::from_static(AGENT));
            if let Some(key) = key {
                request = request.header(AUTHORIZATION, format!("Bearer {key}"));
            }
            if !body.is_empty() {
                request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
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
