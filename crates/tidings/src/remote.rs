//! A server that runs, asked by its API from the command line: where it is, the key to it, and what it says when it refuses.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Method;
use clap::Args;
use serde_json::Value;
use tidings_outbound::hook::{Client, HookUrl, Options};

/// Where the admin key is looked for besides `--key-file`.
const KEY_VARIABLE: &str = "TIDINGS_ADMIN_KEY";

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of an answer: a page of the largest namespaces.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Most characters that are shown of an answer that is no problem.
const ANSWER_SHOWN_CHARS_MAX: usize = 200;

/// Where the server is, and what opens it.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the server is
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A file with the admin key, or a key of the namespace: with scope `manage` to change it or to mint a token for it, with `read` to show it [default: the variable TIDINGS_ADMIN_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Why it was not done.
#[derive(Debug)]
pub(crate) enum RemoteError {
    /// There is no key to call with.
    NoKey,
    /// A file cannot be read, or says nothing that makes sense.
    File(PathBuf, String),
    /// The URL is none.
    Url(String, String),
    /// The server is not there.
    Away(String, String),
    /// The server says no: with a problem, or with any other text.
    Refused(u16, Value),
    /// The runtime does not start.
    System(std::io::Error),
    /// The answer cannot be printed.
    Output(std::io::Error),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => write!(f, "a key is needed: set {KEY_VARIABLE}, or name a file with --key-file"),
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Url(url, why) => write!(f, "--url {url}: {why}"),
            Self::Away(url, why) => write!(f, "{url} cannot be asked: {why}"),
            Self::System(why) => write!(f, "no runtime: {why}"),
            Self::Output(why) => write!(f, "it was done, and standard output cannot be written to: {why}"),
            Self::Refused(status, answer) if answer["code"].is_null() => {
                write!(f, "{status}: {}", shown(answer))
            }
            Self::Refused(status, problem) => {
                let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
                write!(f, "{status} {}: {}", text("code"), text("detail"))?;
                for error in problem["errors"].as_array().into_iter().flatten() {
                    let [field, message] =
                        ["field", "message"].map(|name| error[name].as_str().unwrap_or_default());
                    write!(f, "\n  {field} {message}")?;
                }
                Ok(())
            }
        }
    }
}

/// The beginning of an answer that is no problem, on one line.
fn shown(answer: &Value) -> String {
    let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
    let line = text.trim().chars().map(|one| if one.is_control() { ' ' } else { one });
    let line: String = line.take(ANSWER_SHOWN_CHARS_MAX).collect();
    if line.is_empty() { "the answer is empty".to_owned() } else { line }
}

/// Asks a server something.
pub(crate) fn ask<F: Future<Output = Result<(), RemoteError>>>(
    args: ServerArgs,
    work: impl FnOnce(Server) -> F,
) -> Result<(), RemoteError> {
    let key = match &args.key_file {
        Some(path) => read(path)?,
        None => std::env::var(KEY_VARIABLE).map_err(|_| RemoteError::NoKey)?,
    };
    let options = Options { connect_timeout: TIMEOUT, timeout: TIMEOUT, ..Options::default() };
    let server = Server { url: args.url, key: key.trim().to_owned(), client: Client::new(options) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(RemoteError::System)?.block_on(work(server))
}

/// What a file says; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<String, RemoteError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|why| RemoteError::File(path.to_owned(), why.to_string()))
}

/// A server, and a key to it.
pub(crate) struct Server {
    url: String,
    key: String,
    client: Client,
}

impl Server {
    /// Calls, and reads the answer; an error when it is none of success.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Value), RemoteError> {
        let text = format!("{}{path}", self.url.trim_end_matches('/'));
        let url = HookUrl::parse(&text).map_err(|why| RemoteError::Url(self.url.clone(), why.to_string()))?;
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let called = self.client.call(method, &url, Some(&self.key), body.into(), ANSWER_BYTES_MAX).await;
        let (status, answer) = called.map_err(|why| RemoteError::Away(self.url.clone(), why.to_string()))?;
        let read = serde_json::from_slice(&answer);
        if (200..300).contains(&status) {
            Ok((status, read.unwrap_or_default()))
        } else {
            let text = |_| Value::String(String::from_utf8_lossy(&answer).into_owned());
            Err(RemoteError::Refused(status, read.unwrap_or_else(text)))
        }
    }
}

/// A part of a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

/// Prints a line.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn say(text: &str) -> Result<(), RemoteError> {
    crate::greeting::say(&format!("{text}\n")).map_err(RemoteError::Output)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_names_what_is_wrong() {
        let problem = json!({"code": "invalid_request", "detail": "2 fields are not as they must be",
            "errors": [{"field": "name", "message": "is required"}, {"field": "auth.mode", "message": "is required"}]});
        assert_eq!(
            RemoteError::Refused(400, problem).to_string(),
            "400 invalid_request: 2 fields are not as they must be\n  name is required\n  auth.mode is required"
        );
        assert_eq!(encoded("a/ü"), "a%2F%C3%BC");
    }

    #[test]
    fn a_refusal_that_is_no_problem_is_shown_as_it_is() {
        let refused = |answer| RemoteError::Refused(400, answer).to_string();
        assert_eq!(refused(json!("This port speaks TLS\r\n")), "400: This port speaks TLS");
        assert_eq!(refused(json!("<p>\n\u{1b}[1mno")), "400: <p>  [1mno");
        assert_eq!(refused(json!("x".repeat(300))), format!("400: {}", "x".repeat(200)));
        assert_eq!(refused(json!({"error": "no"})), r#"400: {"error":"no"}"#);
        assert_eq!(refused(json!("")), "400: the answer is empty");
    }
}
