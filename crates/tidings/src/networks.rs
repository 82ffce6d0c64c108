//! Sets of networks, as an operator writes them: who is a proxy of ours.

use tidings_model::{ClientAddress, Network};

/// The word for connections through a Unix socket.
const UNIX: &str = "unix";

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    nets: Vec<Network>,
    unix: bool,
}

impl Networks {
    /// Reads addresses and networks, separated by commas or spaces; empty for none.
    ///
    /// # Errors
    /// Names the entry that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut networks = Self::default();
        for entry in text.split([',', ' ']).filter(|entry| !entry.is_empty()) {
            if entry == UNIX {
                networks.unix = true;
                continue;
            }
            networks.nets.push(entry.parse().map_err(|_| {
                format!("must list addresses and networks, as in \"10.0.0.0/8, 192.0.2.7, fd00::/8\", or the word unix; {entry:?} is none of these")
            })?);
        }
        Ok(networks)
    }

    /// Whether a client is in one of them.
    pub(crate) fn contain(&self, client: ClientAddress) -> bool {
        match client.ip() {
            Some(_) => self.nets.iter().any(|net| net.contains(client)),
            None => self.unix,
        }
    }

    /// Whether nobody is.
    pub(crate) fn is_empty(&self) -> bool {
        self.nets.is_empty() && !self.unix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let networks = Networks::parse("10.0.0.0/8, 192.0.2.7 ,fd00::/8").unwrap();
        for (ip, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(networks.contain(ClientAddress::new(ip.parse().unwrap())), inside, "{ip}");
        }
        assert!(!networks.contain(ClientAddress::LOCAL));
        assert!(Networks::parse("unix").unwrap().contain(ClientAddress::LOCAL));
        assert!(Networks::parse("").unwrap().is_empty());
        for text in ["10.0.0.0/33", "10.0.0", "example.com", "10.0.0.0/8;::1"] {
            assert!(Networks::parse(text).is_err(), "{text}");
        }
    }
}
