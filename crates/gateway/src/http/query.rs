//! Query strings: `application/x-www-form-urlencoded`, read leniently, as browsers write them.

use std::borrow::Cow;

use tidings_wire::query::not_utf8;

use crate::command::Query;
use crate::session::Refusal;

/// The pairs of a query string, decoded.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.as_bytes())
}

/// The first value under one of `names`.
pub(crate) fn find<'a>(query: &'a str, names: &[&str]) -> Option<Cow<'a, str>> {
    pairs(query).find(|(name, _)| names.contains(&&**name)).map(|(_, value)| value)
}

/// Whether the answer of Engine.IO is to be a script, which every page can run that has one: browsers name no origin when they
/// fetch it.
pub(super) fn is_script(query: &str) -> bool {
    find(query, &["j"]).is_some()
}

impl Query {
    /// Reads the identity in a query, under our names or those of light-push. Empty values are none.
    ///
    /// # Errors
    /// Names the parameter that is not UTF-8, whatever it is.
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        match not_utf8(query) {
            None => Ok(Self::parse_lossy(query)),
            Some(name) => Err(Refusal::field(&name, "is not UTF-8")),
        }
    }

    /// The same as the older systems did, for which every byte that is no text was U+FFFD.
    pub(crate) fn parse_lossy(query: &str) -> Self {
        let text = |names: &[&str]| find(query, names).filter(|text| !text.is_empty()).map(Box::from);
        Self {
            device: text(&["device", "uuid"]),
            user: text(&["user", "userid"]),
            platform: text(&["platform"]),
            token: text(&["token"]),
            only: None,
            page: None,
            verbatim: None,
            base64: find(query, &["b64"]).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_read_under_both_sets_of_names() {
        let query = Query::parse("EIO=3&uuid=d%201&userid=ann&platform=ios&b64=1").unwrap();
        assert_eq!(query.device.as_deref(), Some("d 1"));
        assert_eq!(query.user.as_deref(), Some("ann"));
        assert_eq!(query.platform.as_deref(), Some("ios"));
        assert!(query.base64 && query.token.is_none());
        assert_eq!(Query::parse("device=&user=bob").unwrap().user.as_deref(), Some("bob"));
        assert_eq!(Query::parse("device=").unwrap().device, None);
    }

    #[test]
    fn what_is_no_text_is_nobody() {
        for (query, expected) in [
            ("device=d1&user=%ff", "user is not UTF-8"),
            ("uuid=%fe", "uuid is not UTF-8"),
            ("device=d1&t=%c3", "t is not UTF-8"),
            ("%ff", "query is not UTF-8"),
        ] {
            assert_eq!(Query::parse(query).unwrap_err().message, expected, "{query}");
        }
        assert_eq!(Query::parse_lossy("uuid=%fe").device.as_deref(), Some("\u{fffd}"));
        assert_eq!(Query::parse("user=%c3%bc").unwrap().user.as_deref(), Some("ü"));
    }
}
