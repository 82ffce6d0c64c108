//! Long polling by script tags, for clients without cross-origin requests: the same payloads, wrapped as
//! a function call on the way out and as a form on the way in. The payload itself is another module's.

use super::Error;
use crate::escape::{into_string, push_json_string, push_u64};
use crate::query::decode;

/// The `Content-Type` of what [`wrap`] writes.
pub const CONTENT_TYPE: &str = "text/javascript; charset=UTF-8";

/// `___eio[0]("…");` around a text payload; `index` is the request's query `j`.
#[must_use]
pub fn wrap(index: u32, payload: &str) -> String {
    let mut out = Vec::with_capacity(payload.len() + payload.len() / 4 + 32);
    out.extend_from_slice(b"___eio[");
    push_u64(&mut out, u64::from(index));
    out.extend_from_slice(b"](");
    push_json_string(&mut out, payload);
    out.extend_from_slice(b");");
    // Line ends in older JavaScript, though not in JSON: they would break the literal.
    into_string(out).replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// The payload in a POST's form body `d=…`.
///
/// # Errors
/// When the form has no `d`, or that is not UTF-8.
pub fn unwrap(form: &[u8]) -> Result<String, Error> {
    let value =
        form.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"d=")).ok_or(Error::Empty)?;
    let text = String::from_utf8(decode(value)).map_err(|_| Error::BadUtf8)?;
    Ok(unescape(&text))
}

/// The client writes a line break as `\n`, because forms change line breaks, and what was `\n` as `\\n`.
fn unescape(text: &str) -> String {
    let parts: Vec<String> = text.split("\\\\n").map(|part| part.replace("\\n", "\n")).collect();
    parts.join("\\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_payload_as_a_script() {
        assert_eq!(wrap(7, "2:40"), r#"___eio[7]("2:40");"#);
        assert_eq!(wrap(0, "9:42[\"\u{2028}\"]"), r#"___eio[0]("9:42[\"\u2028\"]");"#);
    }

    #[test]
    fn a_payload_as_a_form() {
        assert_eq!(unwrap(b"d=1%3A2").as_deref(), Ok("1:2"));
        assert_eq!(unwrap(b"x=1&d=4%C3%A9+%zz%4&y").as_deref(), Ok("4é %zz%4"));
        assert_eq!(unwrap(br"d=a\nb\\nc\\\n").as_deref(), Ok("a\nb\\nc\\\\n"));
        assert_eq!(unwrap(b"d="), Ok(String::new()));
        assert_eq!(unwrap(b"e=1"), Err(Error::Empty));
        assert_eq!(unwrap(b"d=%ff"), Err(Error::BadUtf8));
    }

    proptest! {
        #[test]
        fn no_form_panics(form: Vec<u8>, text in "d=[%0-9a-f+&\\\\n]{0,40}") {
            let _ = unwrap(&form);
            let _ = unwrap(text.as_bytes());
        }
    }
}
