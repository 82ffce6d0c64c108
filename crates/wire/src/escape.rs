//! JSON string literals, written straight into a byte buffer. Knows nothing of what the string is for.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Nearly every name and event is plain: copy runs, stop only where JSON demands an escape.
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend(HEX.get(usize::from(byte >> 4)));
                out.extend(HEX.get(usize::from(byte & 15)));
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends JSON with every character that is not ASCII as an escape. In JSON there is none outside of a string.
pub(crate) fn push_ascii_json(out: &mut Vec<u8>, json: &str) {
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char as u8);
            continue;
        }
        for unit in char.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(b"\\u");
            let digits = [12, 8, 4, 0].map(|shift| usize::from(*unit >> shift & 15));
            out.extend(digits.iter().filter_map(|digit| HEX.get(*digit)));
        }
    }
}

/// Appends `number` in decimal.
pub(crate) fn push_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// The text in a buffer that only these functions and whole `&str`s were written to.
pub(crate) fn into_string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in any::<String>(), number: u64) {
            let mut out = Vec::new();
            push_json_string(&mut out, &text);
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&back, &text);
            let json = std::mem::take(&mut out);
            push_ascii_json(&mut out, std::str::from_utf8(&json).unwrap());
            prop_assert!(out.is_ascii());
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), back);
            out.clear();
            push_u64(&mut out, number);
            prop_assert_eq!(into_string(out), number.to_string());
        }
    }

    #[test]
    fn control_characters_cannot_end_a_line() {
        let mut out = Vec::new();
        push_json_string(&mut out, "a\r\nb\t\"\\\u{0}\u{1b}\u{7f}é");
        assert_eq!(into_string(out), "\"a\\r\\nb\\t\\\"\\\\\\u0000\\u001b\u{7f}é\"");
    }
}
