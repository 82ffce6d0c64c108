//! How deep a JSON text is nested, found without recursion.
//!
//! Parsers and clients descend once per bracket; a text of brackets alone ends them. This scan runs
//! before any of them. It does not know whether the text is JSON at all: where it is not, the answer
//! is only an upper bound, and the parser that follows says so.

/// Deepest nesting that any decoder of this crate accepts, all brackets of the text counted.
pub const DEPTH_MAX: usize = 100;

/// Whether no bracket of `text` is nested deeper than `max`.
#[must_use]
pub fn is_within(text: &str, max: usize) -> bool {
    let mut rest = text.as_bytes();
    // Shorter than the limit cannot be deeper than it.
    if rest.len() <= max {
        return true;
    }
    let mut depth = 0_usize;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => rest = after_string(after),
            _ => {}
        }
    }
    true
}

/// What follows the string whose opening quote was just read.
pub(crate) fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let escape = rest.get(at) == Some(&b'\\');
        let skip = if escape { at + 2 } else { at + 1 };
        rest = rest.get(skip..).unwrap_or_default();
        if !escape {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_brackets_outside_strings_only() {
        for (text, deepest) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[{"b":[]}]}"#, 4),
            (r#"["[[[[[[[[", "\"[[[[", "\\"]"#, 1),
            (r#"[[],[],[],[[]]]"#, 3),
        ] {
            assert!(is_within(text, deepest), "{text} is {deepest} deep");
            assert!(deepest == 0 || !is_within(text, deepest - 1), "{text} is deeper than {}", deepest - 1);
        }
    }

    #[test]
    fn a_million_brackets_are_refused_without_recursion() {
        assert!(!is_within(&"[".repeat(1_000_000), DEPTH_MAX));
        assert!(!is_within(&r#"{"a":"#.repeat(1_000_000), DEPTH_MAX));
        assert!(is_within(&"[]".repeat(1_000_000), DEPTH_MAX));
    }
}
