//! The tables of keys as a commented file: `tidings default-config`.

use std::fmt::Write as _;

use super::{Key, SECTIONS, namespaces};

/// Widest line of a comment.
const WIDTH: usize = 100;

/// Every key with its default, commented out.
pub(crate) fn default_file() -> String {
    let mut out = String::from(
        "# Tidings: every setting with its default. Remove the # of those that you change.\n\
         # A string may name environment variables: \"${VAR}\".\n",
    );
    for section in SECTIONS {
        out.push('\n');
        for line in wrapped(section.doc) {
            let _ = writeln!(out, "# {line}");
        }
        if !section.name.is_empty() {
            let _ = writeln!(out, "[{}]", section.name);
        }
        for key in section.keys {
            out.push('\n');
            for line in wrapped(&format!("{} Allowed: {}.", key.doc, key.allowed)) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = writeln!(out, "# {} = {}", last(key), toml(key));
            if key.secret {
                let _ = writeln!(out, "# {}_file = \"/run/secrets/{}\"", last(key), last(key));
            }
        }
    }
    let about = "Namespaces that are there whatever has been done by the API: what stands here is brought about by each start and \
        reload, what does not stays as it is, and nothing is ever deleted. The fields are those of POST /v1/namespaces.";
    out.push('\n');
    for line in wrapped(about) {
        let _ = writeln!(out, "# {line}");
    }
    out + namespaces::EXAMPLE
}

pub(super) fn last(key: &Key) -> &'static str {
    key.name.rsplit('.').next().unwrap_or(key.name)
}

/// The default as TOML: numbers bare, everything else quoted, and so what begins with a 0 (an octal mode).
pub(super) fn toml(key: &Key) -> String {
    let number = key.default.parse::<u64>().is_ok_and(|number| number.to_string() == key.default);
    if number { key.default.to_owned() } else { format!("{:?}", key.default) }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().filter(|line| line.len() + word.len() < WIDTH);
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
