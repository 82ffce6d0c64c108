//! Which addresses may be called when somebody else has chosen them: what is public, what is private and needs
//! permission, and what is never called.
//!
//! It knows addresses and no names: whoever has a name resolves it first, has every address judged, and connects
//! to one of those and to nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub what: &'static str,
    /// Whether permission for private addresses would make it callable.
    pub private: bool,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, ", self.address, self.what)?;
        f.write_str(if self.private {
            "which is called only with allow_private"
        } else {
            "which is never called"
        })
    }
}

/// Judges an address.
///
/// # Errors
/// [`Forbidden`] when it must not be called.
pub fn check(address: IpAddr, allow_private: bool) -> Result<(), Forbidden> {
    let found = match address {
        IpAddr::V4(address) => judge_v4(address),
        IpAddr::V6(address) => judge_v6(address),
    };
    match found {
        Some(Found { private: true, .. }) if allow_private => Ok(()),
        Some(Found { what, private }) => Err(Forbidden { address, what, private }),
        None => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Found {
    what: &'static str,
    private: bool,
}

const fn private(what: &'static str) -> Found {
    Found { what, private: true }
}

const fn never(what: &'static str) -> Found {
    Found { what, private: false }
}

/// The special networks of IPv4 (RFC 6890 and its registry). Link-local addresses are never called: nothing but
/// the metadata services of clouds, with their keys, is to be found there.
const V4: &[([u8; 4], u32, Found)] = &[
    ([0, 0, 0, 0], 8, never("an address of no host")),
    ([10, 0, 0, 0], 8, private("a private address")),
    ([100, 64, 0, 0], 10, private("a private address of a provider")),
    ([127, 0, 0, 0], 8, private("an address of this machine")),
    ([169, 254, 0, 0], 16, never("a link-local address")),
    ([172, 16, 0, 0], 12, private("a private address")),
    ([192, 0, 0, 0], 24, never("an address of a protocol")),
    ([192, 0, 2, 0], 24, never("an address for documentation")),
    ([192, 88, 99, 0], 24, never("an address of 6to4 relays")),
    ([192, 168, 0, 0], 16, private("a private address")),
    ([198, 18, 0, 0], 15, private("an address for measurements")),
    ([198, 51, 100, 0], 24, never("an address for documentation")),
    ([203, 0, 113, 0], 24, never("an address for documentation")),
    ([224, 0, 0, 0], 4, never("a multicast address")),
    ([240, 0, 0, 0], 4, never("a reserved address")),
];

fn judge_v4(address: Ipv4Addr) -> Option<Found> {
    let within = |(network, bits, _): &&([u8; 4], u32, Found)| {
        (address.to_bits() ^ u32::from_be_bytes(*network)) >> (32 - bits) == 0
    };
    V4.iter().find(within).map(|(.., found)| *found)
}

/// The special networks of IPv6 that come before the rule that only 2000::/3 is public.
const V6: &[(Ipv6Addr, u32, Found)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, never("an address of no host")),
    (Ipv6Addr::LOCALHOST, 128, private("an address of this machine")),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, private("a private address")),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, never("a link-local address")),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, never("a multicast address")),
    // Teredo, ORCHID and other protocols.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, never("an address of a protocol")),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, never("an address for documentation")),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, never("a 6to4 address")),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, never("an address for documentation")),
];

/// Where translators keep IPv4 addresses: a machine with IPv6 only reaches IPv4 like that.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// What is public.
const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

fn judge_v6(address: Ipv6Addr) -> Option<Found> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return judge_v4(mapped);
    }
    if within(address, NAT64, 96) {
        return judge_v4(Ipv4Addr::from_bits(address.to_bits() as u32));
    }
    let special = V6.iter().find(|(network, bits, _)| within(address, *network, *bits));
    match special {
        Some((.., found)) => Some(*found),
        None if within(address, GLOBAL, 3) => None,
        // Among them IPv4 addresses in the old spelling (::10.0.0.1), and translators of one's own (64:ff9b:1::).
        None => Some(never("a reserved address")),
    }
}

fn within(address: Ipv6Addr, network: Ipv6Addr, bits: u32) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_all(addresses: &[&str], without: bool, with: bool) {
        for text in addresses {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(check(address, false).is_ok(), without, "{text}: {:?}", check(address, false));
            assert_eq!(check(address, true).is_ok(), with, "{text} with permission");
        }
    }

    #[test]
    fn public_addresses_may_be_called() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:800::200e",
            "2001:4860:4860::8888",
            "2001:200::1",
            "3ffe::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ];
        check_all(&public, true, true);
    }

    #[test]
    fn private_addresses_need_permission() {
        let private = [
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "::1",
            "fc00::1",
            "fdff:ffff::1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "::ffff:10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::192.168.1.1",
        ];
        check_all(&private, false, true);
    }

    #[test]
    fn some_addresses_are_never_called() {
        let never = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "192.0.0.1",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "198.51.100.7",
            "203.0.113.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::127.0.0.1",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:0:127.0.0.1",
            "::ffff:0.0.0.0",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "64:ff9b:1::7f00:1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "4000::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "fd00:ec2::254",
        ];
        check_all(&never[..never.len() - 1], false, false);
        // The metadata service of one cloud has a private address; nothing tells it from others.
        check_all(&never[never.len() - 1..], false, true);
    }

    #[test]
    fn what_is_forbidden_says_why() {
        for (text, expected) in [
            ("10.0.0.7", "10.0.0.7 is a private address, which is called only with allow_private"),
            ("169.254.169.254", "169.254.169.254 is a link-local address, which is never called"),
            (
                "::ffff:127.0.0.1",
                "::ffff:127.0.0.1 is an address of this machine, which is called only with allow_private",
            ),
        ] {
            assert_eq!(check(text.parse().unwrap(), false).unwrap_err().to_string(), expected);
        }
    }
}
