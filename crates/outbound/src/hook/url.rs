//! The address of a hook as it is configured, read strictly: what could mean one thing here and another elsewhere
//! is refused. It resolves nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::uri::PathAndQuery;

use crate::guard::{self, Forbidden};

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;

/// Longest name of a host, in bytes, and longest part of one.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// The URL of a hook.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl {
    text: String,
    tls: bool,
    host: Host,
    port: u16,
    /// Where the path begins in the text, if there is one.
    path: Option<usize>,
}

/// Whom a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is not the URL of a hook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is too long.
    #[error("has {0} bytes, at most {URL_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// It is neither `http` nor `https`.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// It has a character that no URL has.
    #[error("has a character at byte {0} that must be written with %")]
    Character(usize),
    /// It has a name or a password.
    #[error("must not have a user name or password: the signature says who calls")]
    Credentials,
    /// It has a fragment.
    #[error("must not have a fragment (#)")]
    Fragment,
    /// There is no host.
    #[error("has no host")]
    NoHost,
    /// The host is neither a name nor an address.
    #[error("has a host that is neither a name (letters, digits, - and dots) nor an address")]
    Host,
    /// The host is an address in an unusual spelling.
    #[error("has an address in an unusual spelling; write it as 192.0.2.1 or [2001:db8::1]")]
    OddAddress,
    /// The port is none.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// The path or query is none.
    #[error("has a path or query that cannot be sent")]
    Path,
}

impl HookUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`UrlError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong(text.len()));
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(UrlError::Scheme),
        };
        // A backslash is a slash to some, and whatever is not ASCII may be a digit or a dot to others.
        let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`');
        if let Some(at) = text.bytes().position(odd) {
            return Err(UrlError::Character(at));
        }
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        let path = (!path.is_empty()).then(|| text.len() - path.len());
        let url = Self { text: text.to_owned(), tls, host, port: port.unwrap_or(default_port(tls)), path };
        PathAndQuery::try_from(url.path()).map_err(|_| UrlError::Path)?;
        Ok(url)
    }

    /// Whether it is spoken to by TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Whom it names.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, said or not.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as they are sent.
    #[must_use]
    pub fn path(&self) -> String {
        match self.path.map(|at| &self.text[at..]) {
            None => "/".to_owned(),
            Some(query) if query.starts_with('?') => format!("/{query}"),
            Some(path) => path.to_owned(),
        }
    }

    /// Host and port, as the `Host` header has them.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// Judges its address, if it names one. A name is judged by what it resolves to.
    ///
    /// # Errors
    /// [`Forbidden`] when it must not be called.
    pub fn check_address(&self, allow_private: bool) -> Result<(), Forbidden> {
        match self.host {
            Host::Address(address) => guard::check(address, allow_private),
            Host::Name(_) => Ok(()),
        }
    }

    /// The URL as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// For log lines: without the path and the query, which may hold secrets.
impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn split_port(authority: &str) -> Result<(Host, Option<u16>), UrlError> {
    if authority.is_empty() || authority.starts_with(':') {
        return Err(UrlError::NoHost);
    }
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or(UrlError::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(read_port(port)?),
            None if after.is_empty() => None,
            None => return Err(UrlError::Host),
        };
        return Ok((Host::Address(address.into()), port));
    }
    match authority.split_once(':') {
        Some((host, port)) => Ok((read_host(host)?, Some(read_port(port)?))),
        None => Ok((read_host(authority)?, None)),
    }
}

fn read_port(text: &str) -> Result<u16, UrlError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or(UrlError::Port)
}

fn read_host(text: &str) -> Result<Host, UrlError> {
    // Four decimal numbers without leading zeros, and nothing else.
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    let name = text.to_ascii_lowercase();
    let labels = || name.strip_suffix('.').unwrap_or(&name).split('.');
    // Whoever resolves a name whose last part is a number takes it for an address: 0x7f.1, 2130706433, 127.1.
    let last = labels().next_back().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit()) && !last.is_empty();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if number || hex {
        return Err(UrlError::OddAddress);
    }
    let good = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() > HOST_BYTES_MAX || !labels().all(good) {
        return Err(UrlError::Host);
    }
    Ok(Host::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_urls_are_read() {
        for (text, host, authority, path) in [
            ("https://example.com", "example.com:443", "example.com", "/"),
            ("HTTPS://Example.COM/Path", "example.com:443", "example.com", "/Path"),
            (
                "http://example.com:8080/a/b?c=d&e=%20",
                "example.com:8080",
                "example.com:8080",
                "/a/b?c=d&e=%20",
            ),
            ("https://example.com?x=1", "example.com:443", "example.com", "/?x=1"),
            ("https://example.com:443/", "example.com:443", "example.com", "/"),
            ("http://hooks_1.internal./x", "hooks_1.internal.:80", "hooks_1.internal.", "/x"),
            ("http://localhost:1", "localhost:1", "localhost:1", "/"),
            ("http://192.0.2.1/", "192.0.2.1:80", "192.0.2.1", "/"),
            ("https://[2001:DB8:0::1]:8443/", "2001:db8::1:8443", "[2001:db8::1]:8443", "/"),
            ("https://xn--bcher-kva.example/", "xn--bcher-kva.example:443", "xn--bcher-kva.example", "/"),
            ("https://example.com/a@b:c", "example.com:443", "example.com", "/a@b:c"),
            ("https://1.2.3.4.example.com/", "1.2.3.4.example.com:443", "1.2.3.4.example.com", "/"),
        ] {
            let url = HookUrl::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            let named = match url.host() {
                Host::Name(name) => name.clone(),
                Host::Address(address) => address.to_string(),
            };
            assert_eq!(format!("{named}:{}", url.port()), host, "{text}");
            assert_eq!((url.authority().as_str(), url.path().as_str()), (authority, path), "{text}");
            assert_eq!(url.as_str(), text);
        }
    }

    fn refuse(expected: &UrlError, texts: &[&str]) {
        for text in texts {
            assert_eq!(HookUrl::parse(text).as_ref(), Err(expected), "{text}");
        }
    }

    #[test]
    fn addresses_in_odd_spellings_are_refused() {
        let odd = [
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0X7F000001/",
            "http://017700000001/",
            "http://127.1/",
            "http://127.0.1/",
            "http://0x7f.1/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://0177.0.0.01/",
            "http://127.0.0.01/",
            "http://127.0.0.0x1/",
            "http://127.0.0.1./",
            "http://127.0.0.1.:80/",
            "http://0/",
            "http://0x/",
            "http://00000000.0.0.0/",
            "http://256.256.256.256/",
            "http://4294967297/",
            "http://1.2.3.4.5/",
            "http://example.1/",
        ];
        refuse(&UrlError::OddAddress, &odd);
        let unreadable = [
            "http://[::1",
            "http://[fe80::1%25eth0]/",
            "http://[127.0.0.1]/",
            "http://[::1]x/",
            "http://[]/",
        ];
        refuse(&UrlError::Host, &unreadable);
    }

    #[test]
    fn bad_urls_are_refused() {
        refuse(
            &UrlError::Scheme,
            &["", "example.com", "/x", "ftp://example.com", "file:///etc/passwd", "gopher://x", "http:/x"],
        );
        refuse(&UrlError::Scheme, &["javascript:alert(1)", " http://example.com", "http//example.com"]);
        refuse(
            &UrlError::NoHost,
            &["http://", "http:///x", "http://:80/", "https://?x", "https:///example.com", "http://::1/"],
        );
        refuse(
            &UrlError::Credentials,
            &["http://a@example.com", "http://a:b@example.com/", "http://example.com@127.0.0.1/"],
        );
        refuse(&UrlError::Fragment, &["http://example.com/#x", "http://example.com#@127.0.0.1/"]);
        refuse(&UrlError::Character(7), &["http://\u{ff11}27.0.0.1/", "http://\u{2460}.example/"]);
        refuse(
            &UrlError::Character(18),
            &["http://example.com\\@x/", "http://example.com /", "http://example.com\n"],
        );
        refuse(
            &UrlError::Port,
            &["http://example.com:0/", "http://example.com:65536/", "http://example.com:+80/"],
        );
        refuse(&UrlError::Port, &["http://example.com:/", "http://[::1]:x/", "http://a:1:2/"]);
        refuse(
            &UrlError::Host,
            &[
                "http://a..b/",
                "http://.a/",
                "http://-a.b/",
                "http://a-.b/",
                "http://a%2eb/",
                "http://a,b/",
                "http://*/",
            ],
        );
        refuse(&UrlError::Host, &[&format!("http://{}.com/", "a".repeat(64))]);
        refuse(&UrlError::TooLong(2_049), &[&format!("http://a/{}", "x".repeat(2_040))]);
        assert!(HookUrl::parse(&format!("http://a/{}", "x".repeat(2_039))).is_ok());
    }

    #[test]
    fn what_is_logged_has_no_secrets() {
        let url = HookUrl::parse("https://example.com/hook/s3cret?token=s3cret").unwrap();
        assert_eq!(url.to_string(), "https://example.com");
        assert!(!format!("{url:?}").contains("s3cret"));
    }
}
