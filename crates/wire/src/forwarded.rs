//! Whose request it is when proxies pass it on: `X-Forwarded-For` (as everybody writes it) and `Forwarded`
//! (RFC 7239). Who may be believed is the caller's to say.

use std::net::{IpAddr, SocketAddr};

/// Most hops that are looked at; whoever passes a request through more is believed no further.
const HOPS_MAX: usize = 32;

/// The header in which trusted proxies say where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `X-Forwarded-For: 192.0.2.7, 198.51.100.1`
    XForwardedFor,
    /// `Forwarded: for=192.0.2.7;proto=https, for="[2001:db8::1]:4711"`
    Forwarded,
}

impl Header {
    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// The address of the client: the rightmost one that is not trusted, for everything to the left of it may
/// have been made up by it. `peer` is who sent the request (`None` when it has no address), `lines` the values
/// of the header in their order. What is no address ends the search: the last hop that is known is the answer.
pub fn client<'a>(
    peer: Option<IpAddr>,
    header: Header,
    lines: impl DoubleEndedIterator<Item = &'a str>,
    is_trusted: impl Fn(Option<IpAddr>) -> bool,
) -> Option<IpAddr> {
    let mut client = peer.map(|ip| ip.to_canonical());
    let hops = lines.rev().flat_map(|line| elements(line).rev());
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        let said = match header {
            Header::XForwardedFor => Some(hop),
            Header::Forwarded => parameter_for(hop),
        };
        match said.and_then(address) {
            None => break,
            found => client = found,
        }
    }
    client
}

/// The elements of a list, cut at commas. A comma in quotes cuts too: no address has one, and what is cut
/// from it is none.
fn elements(line: &str) -> impl DoubleEndedIterator<Item = &str> {
    line.split(',').map(str::trim).filter(|element| !element.is_empty())
}

fn parameter_for(element: &str) -> Option<&str> {
    let mut found = element.split(';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let value = found.next()?;
    // Two of them: nobody knows which one is meant.
    if found.next().is_some() {
        return None;
    }
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"'),
        None => Some(value),
    }
}

/// `192.0.2.7`, `192.0.2.7:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let found = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    found.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.0.0.0/8, ::1 and who has no address are trusted.
    fn trusted(ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip else { return true };
        matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10) || ip == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
    }

    fn check(peer: &str, header: Header, lines: &[&str], expected: &str) {
        let found = client(peer.parse().ok(), header, lines.iter().copied(), trusted);
        assert_eq!(found.map_or("local".to_owned(), |ip| ip.to_string()), expected, "{peer} {lines:?}");
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        let check = |peer, lines: &[&str], expected| check(peer, Header::XForwardedFor, lines, expected);
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("192.0.2.1", &["192.0.2.7"], "192.0.2.1");
        check("10.0.0.1", &["203.0.113.9, 192.0.2.7, 10.9.9.9"], "192.0.2.7");
        check("10.0.0.1", &["203.0.113.9", "192.0.2.7,10.9.9.9", "::1"], "192.0.2.7");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &["192.0.2.7, rubbish, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["rubbish"], "10.0.0.1");
        check("local", &["203.0.113.9, 192.0.2.7"], "192.0.2.7");
        check("local", &["rubbish"], "local");
        check("10.0.0.1", &[" , 192.0.2.7 ,, "], "192.0.2.7");
        check("10.0.0.1", &["192.0.2.7:4711"], "192.0.2.7");
        check("::1", &["2001:db8::1"], "2001:db8::1");
        check("::1", &["[2001:db8::1]:80"], "2001:db8::1");
        check("::1", &["::ffff:192.0.2.7"], "192.0.2.7");
        // Somebody's endless chain of friends.
        let long = vec!["10.0.0.2"; HOPS_MAX].join(",");
        check("10.0.0.1", &["192.0.2.7", &long], "10.0.0.2");
    }

    #[test]
    fn the_standard_header_is_read() {
        let check = |peer, lines: &[&str], expected| check(peer, Header::Forwarded, lines, expected);
        check("10.0.0.1", &["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60");
        check("10.0.0.1", &["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17");
        check("10.0.0.1", &["for=192.0.2.43, proto=https; for=10.1.1.1"], "192.0.2.43");
        check("10.0.0.1", &["for=192.0.2.43", "for=\"10.1.1.1:80\""], "192.0.2.43");
        check("10.0.0.1", &["for=unknown"], "10.0.0.1");
        check("10.0.0.1", &["for=192.0.2.1, for=_hidden, for=10.0.0.9"], "10.0.0.9");
        check("10.0.0.1", &["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1");
        check("10.0.0.1", &["by=192.0.2.1"], "10.0.0.1");
        check("10.0.0.1", &["for=\"192.0.2.1"], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.1"], "10.0.0.1");
    }
}
