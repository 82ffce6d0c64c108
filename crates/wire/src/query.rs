//! Queries and forms (`application/x-www-form-urlencoded`): the bytes behind their percent signs, and whether these are text.
//! What is said in them is others' to read.

/// How much of a parameter's name is shown, in characters.
const SHOWN_MAX: usize = 64;

/// The name of the first parameter of a query that is not UTF-8, or `query` where that name says nothing. Who reads one leniently would
/// take whatever is no text for the same U+FFFD, and two users for one.
#[must_use]
pub fn not_utf8(query: &str) -> Option<String> {
    let decoded = |part: &str| String::from_utf8(decode(part.as_bytes()));
    query.split('&').filter(|pair| pair.contains('%')).find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (decoded(name), decoded(value)) {
            (Ok(_), Ok(_)) => None,
            (Ok(name), Err(_)) if !name.is_empty() => Some(name.chars().take(SHOWN_MAX).collect()),
            (_, Err(_)) | (Err(_), _) => Some("query".to_owned()),
        }
    })
}

/// The bytes of a name or value. A percent sign without two digits behind it is one.
pub(crate) fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => {
                    decoded.push(high * 16 + low);
                    rest = after;
                }
                None => decoded.push(b'%'),
            },
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_text_is_named() {
        for (query, expected) in [
            ("", None),
            ("&=&a", None),
            ("user=ann&device=d+1", None),
            ("user=%c3%bc&%C3%BC=%F0%9F%94%94", None),
            ("user=ü&x=%zz%4&y=%&z=%c3%bc%", None),
            ("user=%EF%BF%BD", None),
            ("user=ann&device=%ff", Some("device")),
            ("device=%fe", Some("device")),
            ("user=%c3&device=%bc", Some("user")),
            ("user=%ed%a0%80", Some("user")),
            ("user=a=%c0%af", Some("user")),
            ("%c3%bc=%ff", Some("ü")),
            ("%ff=1", Some("query")),
            ("%ff", Some("query")),
            ("=%ff", Some("query")),
        ] {
            assert_eq!(not_utf8(query).as_deref(), expected, "{query}");
        }
        assert_eq!(not_utf8(&format!("{}=%ff", "ü".repeat(99))), Some("ü".repeat(64)));
    }

    proptest! {
        #[test]
        fn text_that_was_escaped_is_text(text: String) {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode(escaped.as_bytes()), text.as_bytes());
            prop_assert_eq!(not_utf8(&format!("a={escaped}&{escaped}")), None);
        }

        #[test]
        fn no_query_panics(query: String, short in "[%0-9a-fü+&=]{0,40}") {
            let _ = (not_utf8(&query), not_utf8(&short));
        }
    }
}
