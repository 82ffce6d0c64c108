//! Which page a request belongs to: the `Origin` that browsers send, and what they are told of who may read an answer. Which
//! pages may is a list ([`Origins`]): the server's, or that of a namespace.

use http::{HeaderMap, HeaderValue, Uri, header};
use tidings_model::Origins;

/// The page that a request belongs to, as far as it has to be one that is listed: its origin, or the empty text where nobody knows it.
/// Without an origin there is none, since programs name none; unless a browser says that it comes from another site, or the
/// request is for a `script`, which any page may run: there the page has to be named.
pub(crate) fn page(headers: &HeaderMap, script: bool) -> Option<Box<str>> {
    let mut named = headers.get_all(header::ORIGIN).iter();
    if let Some(origin) = named.next() {
        // Two origins are none.
        let one = Some(origin).filter(|_| named.next().is_none()).and_then(|origin| origin.to_str().ok());
        return Some(one.unwrap_or_default().into());
    }
    if script {
        return Some(headers.get(header::REFERER).and_then(origin_of).unwrap_or_default().into());
    }
    headers.get("sec-fetch-site").filter(|site| *site == "cross-site").map(|_| "".into())
}

/// The origin of a page.
fn origin_of(page: &HeaderValue) -> Option<String> {
    let uri: Uri = page.to_str().ok()?.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

/// Whether a page may, by a list.
pub(crate) fn allow(list: &Origins, page: Option<&str>) -> bool {
    page.is_none_or(|page| list.allow(page))
}

/// Tells a browser whether the page that asked may read an answer that any page might read, if all of these lists have it.
pub(crate) fn answer(lists: [&Origins; 2], asked: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if lists.iter().all(|list| list.is_any()) {
        return;
    }
    let listed =
        |asked: &&HeaderValue| asked.to_str().is_ok_and(|page| lists.iter().all(|list| list.allow(page)));
    match asked.filter(listed) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "https://app.example.com, https://*.example.org http://localhost:3000,capacitor://localhost";

    #[test]
    fn who_names_no_origin_may_connect_but_for_scripts_and_other_sites() {
        let allows = |list: &str, given: &[(&'static str, &str)], script| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            allow(&Origins::parse(list).unwrap(), page(&headers, script).as_deref())
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
    fn only_who_may_connect_may_read() {
        let told = |lists: [&str; 2], asked: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            let [server, own] = lists.map(|list| Origins::parse(list).unwrap());
            answer([&server, &own], asked.map(HeaderValue::from_static).as_ref(), &mut headers);
            let text =
                |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
            (text(header::ACCESS_CONTROL_ALLOW_ORIGIN), text(header::VARY))
        };
        let said = |origin: &str, vary: &str| (origin.to_owned(), vary.to_owned());
        assert_eq!(told(["*", "*"], None), said("*", ""));
        assert_eq!(told(["*", "*"], Some("https://a.net")), said("*", ""));
        for lists in [["https://a.net", "*"], ["*", "https://a.net"]] {
            assert_eq!(told(lists, Some("https://a.net")), said("https://a.net", "Origin"));
            assert_eq!(told(lists, Some("https://b.net")), said("", "Origin"));
            assert_eq!(told(lists, None), said("", "Origin"));
        }
        assert_eq!(told(["https://a.net", "https://b.net"], Some("https://b.net")), said("", "Origin"));
    }
}
