//! Where a client is.

use std::fmt;
use std::net::IpAddr;

/// Where a client is, as far as anybody who is trusted can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientAddress(Option<IpAddr>);

impl ClientAddress {
    /// A client of this machine that has no address: it came through a Unix socket.
    pub const LOCAL: Self = Self(None);

    /// A client at an IP address. An IPv4 address is one, also when it is written as an IPv6 address.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        Self(Some(ip.to_canonical()))
    }

    /// The IP address; `None` for a client of this machine.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        self.0
    }

    /// What limits count by: an IPv4 address, or the first 64 bits of an IPv6 address, since whoever has one
    /// of those has all that begin alike. `None` for a client of this machine.
    #[must_use]
    pub fn counted_as(self) -> Option<u64> {
        self.0.map(|ip| match ip {
            // No IPv6 network begins with these 64 bits: 0000::/8 is reserved.
            IpAddr::V4(ip) => 0xffff_0000_0000 | u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        })
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("local"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_count_by_what_one_client_has() {
        let counted = |text: &str| ClientAddress::new(text.parse().unwrap()).counted_as();
        for (one, other, same) in [
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "0.0.0.0", false),
        ] {
            assert_eq!(counted(one) == counted(other), same, "{one} {other}");
        }
        assert_eq!(ClientAddress::LOCAL.counted_as(), None);
        assert_eq!(ClientAddress::new("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
    }
}
