//! Hooks: URLs of the business system that are told what has happened, by a signed POST.
//!
//! One attempt is made here, bounded in time and in what is read of the answer. Of what a hook answers that is told something
//! ([`Line`]) only the status counts; one that is asked ([`Exchange`]) answers with a body. A name is resolved once for each connection, every address it has is judged (see [`crate::guard`]), and
//! the connection goes to one of these and nowhere else. Redirects are not followed, and proxies of the environment
//! are not used. This knows neither queues nor retries.

mod connect;
mod exchange;
mod fetch;
pub mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
pub use http::Method;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use sha2::Sha256;
use tidings_model::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::guard::Forbidden;
use connect::{Connector, Kept};
pub use exchange::{Answered, Exchange};
pub use fetch::Plain;
pub use url::{HookUrl, Host, URL_BYTES_MAX, UrlError};

/// Most bytes that are read of an answer's body. A connection with more is closed.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What hooks see who calls.
const AGENT: &str = concat!("tidings/", env!("CARGO_PKG_VERSION"));

/// How hooks are called.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long it may take until there is a connection: to resolve the name, to connect, to agree on TLS.
    pub connect_timeout: Duration,
    /// How long all of an attempt may take.
    pub timeout: Duration,
    /// Whose certificates are believed.
    pub roots: Roots,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(3),
            roots: Roots::System,
        }
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub enum Roots {
    /// Those that the machine believes. They are read when they are needed for the first time.
    System,
    /// These, as PEM.
    Pem(String),
}

/// What calls hooks, for all of them.
#[derive(Clone)]
pub struct Client {
    connector: Arc<Connector>,
}

impl Client {
    /// Calls like this.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { connector: Arc::new(Connector::new(options)) }
    }

    /// Judges the addresses that a URL leads to now.
    ///
    /// # Errors
    /// [`Failure::Forbidden`], [`Failure::Unresolved`] or [`Failure::Timeout`].
    pub async fn look(&self, url: &HookUrl, allow_private: bool) -> Result<(), Failure> {
        let deadline = Instant::now() + self.connector.options.connect_timeout;
        let found = timeout_at(deadline, self.connector.addresses(url, allow_private)).await;
        found.unwrap_or(Err(Failure::Timeout)).map(drop)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Where a hook is, and how it is called.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// Where it is.
    pub url: HookUrl,
    /// What its calls are signed with; without one they are not signed.
    pub secret: Option<String>,
    /// Whether it may have a private address.
    pub allow_private: bool,
}

impl Destination {
    fn request(&self, told: &Told, now: Timestamp) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(self.url.path())
            .header(HOST, self.url.authority())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(AGENT))
            .header("tidings-event-id", &told.id);
        if let Some(secret) = &self.secret {
            request = request.header("tidings-signature", sign(secret.as_bytes(), now.0 / 1_000, &told.body));
        }
        request.body(Full::new(told.body.clone())).map_err(|why| Failure::Broken(why.to_string()))
    }

    /// Sends it over a connection that was kept, or else over a new one. Answers with the connection, too.
    async fn send(
        &self,
        client: &Client,
        kept: Option<Kept>,
        told: &Told,
        now: Timestamp,
    ) -> Result<(Response<Incoming>, Kept), Failure> {
        if let Some(mut kept) = kept.filter(Kept::fresh) {
            // The hook may have closed it in the same moment: that says nothing about the hook.
            if let Ok(response) = kept.send(self.request(told, now)?).await {
                return Ok((response, kept));
            }
        }
        let mut fresh = client.connector.connect(&self.url, self.allow_private).await?;
        let response = fresh.send(self.request(told, now)?).await?;
        Ok((response, fresh))
    }
}

/// What a hook is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The same whenever it is told.
    pub id: String,
    /// What: JSON.
    pub body: Bytes,
}

/// The line to one hook: it keeps its connection for a while.
pub struct Line {
    client: Client,
    hook: Destination,
    kept: Option<Kept>,
}

impl Line {
    /// The line to this hook.
    #[must_use]
    pub fn new(client: Client, hook: Destination) -> Self {
        Self { client, hook, kept: None }
    }

    /// Tells the hook something, once. It may have been heard even when this fails.
    ///
    /// # Errors
    /// [`Failure`] says why it is not sure to have been heard.
    pub async fn tell(&mut self, told: &Told, now: Timestamp) -> Result<u16, Failure> {
        let deadline = Instant::now() + self.client.connector.options.timeout;
        let attempt = timeout_at(deadline, self.hook.send(&self.client, self.kept.take(), told, now)).await;
        let (response, kept) = attempt.unwrap_or(Err(Failure::Timeout))?;
        let status = response.status();
        // The status is what counts; the rest is read so that the connection can be used again.
        let rest = timeout_at(deadline, read_to_end(response)).await;
        let whole = matches!(rest, Ok(Ok(_)));
        self.kept = Some(kept).filter(|kept| whole && kept.fresh());
        if status.is_success() { Ok(status.as_u16()) } else { Err(Failure::Refused(status.as_u16())) }
    }
}

/// Reads an answer to its end, within the limit.
async fn read_to_end(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let read = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    read.map(Collected::to_bytes).map_err(|why| {
        if why.is::<LengthLimitError>() { Failure::TooLarge } else { Failure::Broken(why.to_string()) }
    })
}

/// The signature of a body at a time, in seconds since the Unix epoch: `t=<unix>,v1=<hex HMAC-SHA256 of "t.body">`.
#[must_use]
pub fn sign(secret: &[u8], unix: u64, body: &[u8]) -> String {
    use fmt::Write as _;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("any key will do"));
    mac.update(format!("{unix}.").as_bytes());
    mac.update(body);
    let mut text = format!("t={unix},v1=");
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Why a hook is not sure to have heard something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It answered with another status than 2xx.
    Refused(u16),
    /// It has an address that must not be called.
    Forbidden(Forbidden),
    /// Its name has no address.
    Unresolved(String),
    /// There is no connection to it.
    Unreachable(String),
    /// It does not prove who it is, or speaks no TLS.
    Tls(String),
    /// It took too long.
    Timeout,
    /// It closed the connection, or does not speak HTTP.
    Broken(String),
    /// It answered with more than is read.
    TooLarge,
}

impl Failure {
    /// A word for it, for metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refused(300..=399) => "redirect",
            Self::Refused(_) => "refused",
            Self::Forbidden(_) => "forbidden",
            Self::Unresolved(_) => "unresolved",
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
            Self::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status @ 300..=399) => {
                write!(f, "it answered {status}, and redirects are not followed: configure where it leads")
            }
            Self::Refused(status) => write!(f, "it answered {status}, where 2xx means that it heard"),
            Self::Forbidden(why) => write!(f, "{why}"),
            Self::Unresolved(why) => write!(f, "its name cannot be resolved: {why}"),
            Self::Unreachable(why) => write!(f, "there is no connection to it: {why}"),
            Self::Tls(why) => write!(f, "TLS failed: {why}"),
            Self::Timeout => f.write_str("it took too long"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::TooLarge => write!(f, "it answered with more than {ANSWER_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
