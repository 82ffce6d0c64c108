//! Query strings: `application/x-www-form-urlencoded`, read leniently, as browsers write them.

use std::borrow::Cow;

use crate::command::Query;

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
    pub(crate) fn parse(query: &str) -> Self {
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
        let query = Query::parse("EIO=3&uuid=d%201&userid=ann&platform=ios&b64=1");
        assert_eq!(query.device.as_deref(), Some("d 1"));
        assert_eq!(query.user.as_deref(), Some("ann"));
        assert_eq!(query.platform.as_deref(), Some("ios"));
        assert!(query.base64 && query.token.is_none());
        assert_eq!(Query::parse("device=&user=bob").user.as_deref(), Some("bob"));
        assert_eq!(Query::parse("device=").device, None);
    }
}
