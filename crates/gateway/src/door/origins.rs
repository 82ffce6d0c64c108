//! Which pages may connect: the `Origin` that browsers send, against a list.

use http::{HeaderMap, HeaderValue, Uri, header};

/// Which pages may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    #[default]
    Any,
    /// Those that match one of these.
    Only(Vec<Origin>),
}

/// An origin, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
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
    /// Reads a list, separated by commas or spaces: `*`, `null`, origins, or origins whose name begins with
    /// `*.`.
    ///
    /// # Errors
    /// Names the entry that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut only = Vec::new();
        for entry in text.split([',', ' ']).filter(|entry| !entry.is_empty()) {
            match entry {
                "*" => return Ok(Self::Any),
                entry => only.push(Origin::parse(entry).ok_or_else(|| {
                    format!(
                        "must list origins, as in \"https://app.example.com, https://*.example.com, http://localhost:3000\", \
                         or be * or null; {entry:?} is none of these"
                    )
                })?),
            }
        }
        if only.is_empty() {
            return Err("must not be empty; * allows every page".to_owned());
        }
        Ok(Self::Only(only))
    }

    /// Whether the page that a request belongs to may connect. Without an origin it may, since programs name
    /// none; unless a browser says that it comes from another site, or the request is for a `script`, which
    /// any page may run: there the page has to be named.
    pub(crate) fn allow_request(&self, headers: &HeaderMap, script: bool) -> bool {
        if *self == Self::Any {
            return true;
        }
        let mut named = headers.get_all(header::ORIGIN).iter().peekable();
        if named.peek().is_some() {
            return named.all(|origin| self.allow(origin));
        }
        if script {
            return headers
                .get(header::REFERER)
                .and_then(origin_of)
                .is_some_and(|origin| self.allow(&origin));
        }
        headers.get("sec-fetch-site").is_none_or(|site| site != "cross-site")
    }

    /// Whether pages of an origin may connect.
    pub(crate) fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::Only(origins) => {
                origin.to_str().is_ok_and(|origin| origins.iter().any(|one| one.is(origin)))
            }
        }
    }

    /// Tells a browser whether the page that asked may read an answer that any page might read.
    pub(crate) fn answer(&self, asked: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if *self == Self::Any {
            return;
        }
        let asked = asked.filter(|asked| self.allow(asked));
        match asked {
            Some(asked) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, asked.clone());
            }
            None => {
                headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
            }
        }
        // Whatever it said of the origin before is said here.
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// The origin of a page.
fn origin_of(page: &HeaderValue) -> Option<HeaderValue> {
    let uri: Uri = page.to_str().ok()?.parse().ok()?;
    HeaderValue::from_str(&format!("{}://{}", uri.scheme_str()?, uri.authority()?)).ok()
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, name) = text.split_once("://")?;
        let below = name.strip_prefix("*.");
        // A browser's origin has nothing behind the port.
        let uri: Uri = format!("{scheme}://{}", below.unwrap_or(name)).parse().ok()?;
        let authority = uri.authority()?.as_str();
        if authority != below.unwrap_or(name) || authority.contains(['@', '*']) || uri.host()?.is_empty() {
            return None;
        }
        Some(match below {
            Some(domain) => Self::Below { scheme: format!("{scheme}://"), domain: format!(".{domain}") },
            None => Self::Exactly(text),
        })
    }

    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Null => origin == "null",
            Self::Exactly(exact) => origin.eq_ignore_ascii_case(exact),
            Self::Below { scheme, domain } => {
                let origin = origin.to_ascii_lowercase();
                let name =
                    origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                name.is_some_and(|name| {
                    !name.is_empty()
                        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                })
            }
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
        Origins::parse(list).unwrap().allow(&HeaderValue::from_str(origin).unwrap())
    }

    #[test]
    fn what_is_listed_may_connect() {
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
            assert!(allows("*", origin), "{origin}");
        }
        assert!(allows("null", "null") && !allows("null", "https://null"));
        assert!(allows("https://*.example.org:8443", "https://a.example.org:8443"));
    }

    #[test]
    fn who_names_no_origin_may_connect_but_for_scripts_and_other_sites() {
        let allows = |list: &str, given: &[(&'static str, &str)], script| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            Origins::parse(list).unwrap().allow_request(&headers, script)
        };
        const OURS: &str = "https://app.example.com";
        for (given, call, script) in [
            (&[][..], true, false),
            (&[("origin", OURS)], true, true),
            (&[("origin", OURS), ("origin", "https://evil.net")], false, false),
            (&[("origin", "https://evil.net"), ("referer", OURS)], false, false),
            (&[("origin", OURS), ("sec-fetch-site", "cross-site")], true, true),
            (&[("referer", "https://app.example.com/page?x=1")], true, true),
            (&[("referer", "https://app.example.com/"), ("sec-fetch-site", "cross-site")], false, true),
            (&[("referer", "https://evil.net/https://app.example.com/")], true, false),
            (&[("referer", "https://app.example.com@evil.net/")], true, false),
            (&[("referer", "/page")], true, false),
            (&[("referer", "")], true, false),
            (&[("sec-fetch-site", "cross-site")], false, false),
            (&[("sec-fetch-site", "same-site")], true, false),
            (&[("sec-fetch-site", "none")], true, false),
        ] {
            assert_eq!(allows(LIST, given, false), call, "{given:?}");
            assert_eq!(allows(LIST, given, true), script, "{given:?} for a script");
            assert!(allows("*", given, true) && allows("*", given, false), "{given:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in
            ["", "example.com", "https://", "https://a/b", "https://*", "https://a.*.b", "https://u@a", "*.a"]
        {
            assert!(Origins::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_who_may_connect_may_read() {
        let answer = |list: &str, asked: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            Origins::parse(list).unwrap().answer(asked.map(HeaderValue::from_static).as_ref(), &mut headers);
            let text =
                |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            (text(header::ACCESS_CONTROL_ALLOW_ORIGIN), text(header::VARY))
        };
        let said = |origin: &str, vary: &str| (origin.to_owned(), vary.to_owned());
        assert_eq!(answer("*", None), said("*", ""));
        assert_eq!(answer("*", Some("https://a.net")), said("*", ""));
        assert_eq!(answer("https://a.net", Some("https://a.net")), said("https://a.net", "Origin"));
        assert_eq!(answer("https://a.net", Some("https://b.net")), said("", "Origin"));
        assert_eq!(answer("https://a.net", None), said("", "Origin"));
    }

    proptest! {
        #[test]
        fn nothing_but_a_name_stands_for_the_asterisk(name in "[ -~]{0,20}") {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let expected = !name.is_empty() && name.bytes().all(plain);
            prop_assert_eq!(allows(LIST, &format!("https://{name}.example.org")), expected);
        }
    }
}
