//! Networks: addresses that begin alike.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::ClientAddress;

/// Addresses that begin alike, in CIDR notation (RFC 4632, RFC 4291 section 2.3): `10.0.0.0/8`, `2001:db8::/32`, or one
/// address. Bits behind the prefix are zero, so two that mean the same are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANetwork;

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an address or a network, as in 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")
    }
}

impl std::error::Error for NotANetwork {}

impl Network {
    /// The network of this length that an address is in; `None` when its kind of address has no prefix as long as that.
    #[must_use]
    pub fn around(ip: IpAddr, length: u8) -> Option<Self> {
        IpNet::new(ip, length).ok().map(|net| Self(net.trunc()))
    }

    /// How many bits its addresses have in common.
    #[must_use]
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it is of IPv6 addresses.
    #[must_use]
    pub fn is_v6(self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }

    /// Whether a client is in it. One without an address is in none.
    #[must_use]
    pub fn contains(self, client: ClientAddress) -> bool {
        client.ip().is_some_and(|ip| self.0.contains(&ip))
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// IPv4 addresses that are written as IPv6 addresses are IPv4 addresses, since clients are seen at those.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let net = match text.parse::<IpNet>() {
            Ok(IpNet::V6(net)) if net.prefix_len() >= 96 => match net.addr().to_ipv4_mapped() {
                Some(ip) => IpNet::new(ip.into(), net.prefix_len() - 96).map_err(|_| NotANetwork)?,
                None => net.into(),
            },
            Ok(net) => net,
            Err(_) => text.parse::<IpAddr>().map_err(|_| NotANetwork)?.to_canonical().into(),
        };
        Ok(Self(net.trunc()))
    }
}

impl fmt::Display for Network {
    /// One address is shown as one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_shown() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("::1", "::1"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown, "{text}");
        }
        for text in
            ["", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "example.com", "::/129", "10.0.0.0/8 ", "010.0.0.1"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (net, ip, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "192.0.2.7", false),
        ] {
            let (net, ip): (Network, IpAddr) = (net.parse().unwrap(), ip.parse().unwrap());
            assert_eq!(net.contains(ClientAddress::new(ip)), inside, "{net} {ip}");
            let around = Network::around(ip.to_canonical(), net.length());
            assert_eq!(around == Some(net), inside, "{net} {ip}");
        }
        assert!(!"0.0.0.0/0".parse::<Network>().unwrap().contains(ClientAddress::LOCAL));
    }
}
