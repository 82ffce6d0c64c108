//! Origins: where a page comes from whose scripts want something, as browsers name it, and lists of those that may.

use std::fmt;

use crate::limit::ORIGIN_BYTES_MAX;

/// The list of whoever lists none: every page may.
pub static EVERY_PAGE: Origins = Origins::new(Vec::new());

/// Which pages may do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

/// An origin, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`: every page.
    Any,
    /// `https://app.example.com`, as a browser writes it.
    Exactly(String),
    /// `https://*.example.com`: everything that begins and ends so, with a name in between.
    Below {
        /// Up to the asterisk.
        scheme: String,
        /// Behind it, with its dot.
        domain: String,
    },
    /// The word of pages that have none: files, sandboxed frames.
    Null,
}

impl Origins {
    /// Those in a list; with none in it, every page.
    #[must_use]
    pub const fn new(list: Vec<Origin>) -> Self {
        Self(list)
    }

    /// Reads a list, separated by commas or spaces, of what [`Origin::parse`] reads.
    ///
    /// # Errors
    /// Names the entry that is none of these, or says that there is no entry.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list = Vec::new();
        for entry in text.split([',', ' ']).filter(|entry| !entry.is_empty()) {
            list.push(Origin::parse(entry).ok_or_else(|| {
                format!(
                    "must list origins, as in \"https://app.example.com, https://*.example.com, http://localhost:3000\", \
                     or be * or null; {entry:?} is none of these"
                )
            })?);
        }
        if list.is_empty() {
            return Err("must not be empty; * allows every page".to_owned());
        }
        Ok(Self(list))
    }

    /// What is in the list.
    #[must_use]
    pub fn list(&self) -> &[Origin] {
        &self.0
    }

    /// Whether every page may, whatever it says.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_empty() || self.0.contains(&Origin::Any)
    }

    /// Whether pages of this origin may. What is no origin, like the empty text, stands for a page of which nobody knows where it
    /// comes from.
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|one| one.is(origin))
    }
}

impl Origin {
    /// Reads `*`, `null`, an origin, or an origin whose name begins with `*.`: a scheme, a name or an address, and perhaps a port, at
    /// most [`ORIGIN_BYTES_MAX`] bytes together.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "null" => return Some(Self::Null),
            _ if text.len() > ORIGIN_BYTES_MAX => return None,
            _ => {}
        }
        let text = text.to_ascii_lowercase();
        let (scheme, name) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let begins = letters.next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || !letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return None;
        }
        let below = name.strip_prefix("*.");
        if !is_authority(below.unwrap_or(name)) {
            return None;
        }
        Some(match below {
            Some(domain) => Self::Below { scheme: format!("{scheme}://"), domain: format!(".{domain}") },
            None => Self::Exactly(text),
        })
    }

    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Null => origin == "null",
            Self::Exactly(exact) => origin.eq_ignore_ascii_case(exact),
            Self::Below { scheme, domain } => {
                let origin = origin.to_ascii_lowercase();
                let name =
                    origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                name.is_some_and(|name| !name.is_empty() && is_name(name))
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Whether this is a name or an address, perhaps with a port. A browser's origin has nothing else.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (address, rest),
            Some(_) | None => return false,
        },
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            if !is_name(host) {
                return false;
            }
            (host, port)
        }
    };
    let good_port = match port.strip_prefix(':') {
        Some(number) => number.bytes().all(|byte| byte.is_ascii_digit()) && number.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    !host.is_empty() && good_port
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str("null"),
            Self::Exactly(origin) => f.write_str(origin),
            Self::Below { scheme, domain } => write!(f, "{scheme}*{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str =
        "https://app.example.com, https://*.example.org http://localhost:3000,capacitor://localhost";

    fn allows(list: &str, origin: &str) -> bool {
        Origins::parse(list).unwrap().allow(origin)
    }

    #[test]
    fn what_is_listed_may() {
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("HTTPS://APP.example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com:444", false),
            ("https://app.example.com.evil.net", false),
            ("https://example.org", false),
            ("https://a.example.org", true),
            ("https://a.b.example.org", true),
            ("https://.example.org", false),
            ("https://a.example.org:8443", false),
            ("https://evil.net/.example.org", false),
            ("https://evil.net#.example.org", false),
            ("https://evil.net@a.example.org", false),
            ("https://aexample.org", false),
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("capacitor://localhost", true),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(allows(LIST, origin), allowed, "{origin}");
            assert!(allows("*", origin) && Origins::default().allow(origin), "{origin}");
        }
        assert!(allows("null", "null") && !allows("null", "https://null"));
        assert!(allows("https://*.example.org:8443", "https://a.example.org:8443"));
        assert!(
            allows("https://a.net, *", "https://b.net")
                && Origins::parse("https://a.net *").unwrap().is_any()
        );
        assert!(Origins::default().is_any() && !Origins::parse(LIST).unwrap().is_any());
    }

    #[test]
    fn an_origin_is_shown_as_it_is_read() {
        for text in [
            "*",
            "null",
            "https://app.example.com",
            "https://*.example.com:8443",
            "http://[::1]:3000",
            "http://127.0.0.1",
            "chrome-extension://abcdef",
            "app://.",
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            "example.com",
            "https://",
            "https://a/b",
            "https://*",
            "https://a.*.b",
            "https://u@a",
            "*.a",
            "://a",
            "1://a",
            "https://a:b",
            "https://a:",
            "https://a:+1",
            "https://a:65536",
            "https://:1",
            "https://[::1",
            "https://[a]",
            "https://[::1]a",
            "https://*.",
            "https://a?b",
            "https://ä.net",
        ] {
            assert!(Origins::parse(text).is_err(), "{text}");
        }
        assert!(Origin::parse(&format!("https://{}", "a".repeat(ORIGIN_BYTES_MAX))).is_none());
    }

    proptest! {
        #[test]
        fn nothing_but_a_name_stands_for_the_asterisk(name in "[ -~]{0,20}") {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let expected = !name.is_empty() && name.bytes().all(plain);
            prop_assert_eq!(allows(LIST, &format!("https://{name}.example.org")), expected);
        }

        #[test]
        fn whatever_is_read_is_shown_so_that_it_is_read_again(text in "[a-z*:/.\\[\\]0-9@-]{0,30}") {
            if let Some(origin) = Origin::parse(&text) {
                prop_assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
            }
        }
    }
}
