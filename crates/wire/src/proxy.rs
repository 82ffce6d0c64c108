//! The PROXY protocol, versions 1 and 2: how a load balancer that forwards bytes says whose they are.
//!
//! Source: "The PROXY protocol" of HAProxy, sections 2.1 and 2.2. Only the source address is read: nothing
//! here needs the destination or what else a header may carry.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest header that is taken, in bytes. Version 1 never has more than 107; version 2 may carry more than
/// addresses (TLS details, cloud ids), which is skipped.
pub const HEADER_BYTES_MAX: usize = 4_096;

/// Longest header of version 1, in bytes, its line end included.
const LINE_BYTES_MAX: usize = 107;

/// What a header of version 1 begins with.
const BEGIN_1: &[u8] = b"PROXY ";

/// What a header of version 2 begins with.
const BEGIN_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before the addresses.
const FIXED_2: usize = 16;

/// A header that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length; the client's own bytes follow.
    pub bytes: usize,
    /// Where the client is; `None` when the proxy speaks for itself (a health check) or does not say.
    pub source: Option<IpAddr>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They do not begin as one.
    Missing,
    /// It is longer than the limit.
    TooLong {
        /// The most that is taken.
        limit: usize,
    },
    /// It begins as one and does not go on as one.
    Malformed(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the connection does not begin with a PROXY header"),
            Self::TooLong { limit } => write!(f, "the PROXY header has more than {limit} bytes"),
            Self::Malformed(what) => write!(f, "the PROXY header has {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads what a connection begins with. `None`: so far it may be a header, and it is longer than `bytes`.
///
/// # Errors
/// [`Error`] says why it is none.
pub fn decode(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let begins = |with: &[u8]| {
        let shared = bytes.len().min(with.len());
        bytes[..shared] == with[..shared]
    };
    match (begins(BEGIN_1), begins(BEGIN_2)) {
        (true, _) => line(bytes),
        (_, true) => binary(bytes),
        (false, false) => Err(Error::Missing),
    }
}

fn line(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let within = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        let full = within.len() == LINE_BYTES_MAX;
        return if full { Err(Error::TooLong { limit: LINE_BYTES_MAX }) } else { Ok(None) };
    };
    let text = within[..end].strip_suffix(b"\r").ok_or(Error::Malformed("a line end without CR"))?;
    let text = std::str::from_utf8(text).map_err(|_| Error::Malformed("bytes that are not ASCII"))?;
    let mut words = text.split(' ').skip(1);
    let source = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(IpAddr::V4(pair(&mut words)?)),
        Some("TCP6") => Some(IpAddr::V6(pair(&mut words)?)),
        _ => return Err(Error::Malformed("a protocol other than TCP4, TCP6 and UNKNOWN")),
    };
    Ok(Some(Header { bytes: end + 1, source }))
}

/// Reads two addresses and two ports. Answers the first address.
fn pair<'a, A: FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Result<A, Error> {
    let mut address =
        || words.next().and_then(|word| word.parse::<A>().ok()).ok_or(Error::Malformed("no such addresses"));
    let (source, _) = (address()?, address()?);
    for _ in 0..2 {
        let word = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        word.and_then(|word| word.parse::<u16>().ok()).ok_or(Error::Malformed("no such ports"))?;
    }
    match words.next() {
        None => Ok(source),
        Some(_) => Err(Error::Malformed("more than addresses and ports")),
    }
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let Some((head, rest)) = bytes.split_first_chunk::<FIXED_2>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let total = FIXED_2 + length;
    if total > HEADER_BYTES_MAX {
        return Err(Error::TooLong { limit: HEADER_BYTES_MAX });
    }
    let own = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Error::Malformed("a version or command that is none")),
    };
    let Some(rest) = rest.get(..length) else { return Ok(None) };
    let short = Error::Malformed("fewer bytes than its addresses need");
    let source = match family {
        _ if own => None,
        // Unspecified; a Unix socket of the proxy's machine.
        0x00 | 0x31 => None,
        0x11 if length >= 12 => rest.first_chunk::<4>().map(|ip| IpAddr::V4(Ipv4Addr::from(*ip))),
        0x21 if length >= 36 => rest.first_chunk::<16>().map(|ip| IpAddr::V6(Ipv6Addr::from(*ip))),
        0x11 | 0x21 => return Err(short),
        _ => return Err(Error::Malformed("an address family that carries no such connection")),
    };
    Ok(Some(Header { bytes: total, source }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut out = [BEGIN_2, &[command, family]].concat();
        out.extend((rest.len() as u16).to_be_bytes());
        out.extend(rest);
        out
    }

    fn check(input: &[u8], expected: Result<Option<&str>, Error>) {
        let header = decode(&[input, b"GET /"].concat());
        let source = header.map(|header| header.expect("complete").source.map(|ip| ip.to_string()));
        assert_eq!(source, expected.map(|text| text.map(str::to_owned)), "{}", input.escape_ascii());
        if header.is_ok() {
            assert_eq!(header.map(|header| header.map(|header| header.bytes)), Ok(Some(input.len())));
            for cut in 0..input.len() {
                assert_eq!(decode(&input[..cut]), Ok(None), "{}", input[..cut].escape_ascii());
            }
        }
    }

    #[test]
    fn lines_are_read() {
        check(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", Ok(Some("192.0.2.7")));
        check(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", Ok(Some("2001:db8::1")));
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        check(b"PROXY UNKNOWN ffff::ffff whatever\r\n", Ok(None));
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(long.len(), LINE_BYTES_MAX);
        check(long.as_bytes(), Ok(None));
    }

    #[test]
    fn lines_that_are_wrong_are_refused() {
        let addresses = Error::Malformed("no such addresses");
        let ports = Error::Malformed("no such ports");
        for (input, error) in [
            ("GET / HTTP/1.1\r\n", Error::Missing),
            ("proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n", Error::Missing),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", Error::Malformed("a line end without CR")),
            ("PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n", addresses),
            ("PROXY TCP4 ::1 ::1 1 1\r\n", addresses),
            ("PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n", addresses),
            ("PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n", addresses),
            ("PROXY TCP4 1.2.3.4\r\n", addresses),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n", ports),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", ports),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", ports),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", Error::Malformed("more than addresses and ports")),
            (
                "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
                Error::Malformed("a protocol other than TCP4, TCP6 and UNKNOWN"),
            ),
        ] {
            check(input.as_bytes(), Err(error));
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(decode(endless.as_bytes()), Err(Error::TooLong { limit: LINE_BYTES_MAX }));
    }

    #[test]
    fn binary_headers_are_read() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 1;
        check(&v2(0x21, 0x11, &v4), Ok(Some("192.0.2.7")));
        check(&v2(0x21, 0x11, &[&v4[..], &[4, 0, 1, 7]].concat()), Ok(Some("192.0.2.7")));
        check(&v2(0x21, 0x21, &v6), Ok(Some("2001:db8::1")));
        check(&v2(0x21, 0x31, &[0; 216]), Ok(None));
        check(&v2(0x21, 0x00, b""), Ok(None));
        check(&v2(0x20, 0x11, &v4), Ok(None));
        check(&v2(0x20, 0x00, b""), Ok(None));
    }

    #[test]
    fn binary_headers_that_are_wrong_are_refused() {
        let short = Error::Malformed("fewer bytes than its addresses need");
        let family = Error::Malformed("an address family that carries no such connection");
        let command = Error::Malformed("a version or command that is none");
        check(&v2(0x21, 0x11, &[0; 11]), Err(short));
        check(&v2(0x21, 0x21, &[0; 35]), Err(short));
        check(&v2(0x21, 0x12, &[0; 12]), Err(family));
        check(&v2(0x21, 0x42, &[0; 12]), Err(family));
        check(&v2(0x11, 0x11, &[0; 12]), Err(command));
        check(&v2(0x22, 0x11, &[0; 12]), Err(command));
        let largest = v2(0x21, 0x00, &vec![0; HEADER_BYTES_MAX - FIXED_2]);
        check(&largest, Ok(None));
        let larger = v2(0x21, 0x00, &vec![0; HEADER_BYTES_MAX - FIXED_2 + 1]);
        // As soon as it says so: nothing that long is waited for.
        assert_eq!(decode(&larger[..FIXED_2]), Err(Error::TooLong { limit: HEADER_BYTES_MAX }));
    }
}
