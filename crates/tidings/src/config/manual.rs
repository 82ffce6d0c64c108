//! The tables of keys as `docs/configuration.md`. Only a test writes it and holds it against the file.

use std::fmt::Write as _;

use super::document::{last, toml};
use super::namespaces::EXAMPLE;
use super::{RELOADED, SECTIONS};

/// What there is to say of namespaces, which have no table.
const NAMESPACES: &str = "
## `[namespaces.<name>]`

Namespaces that are there whatever has been done by the API: one table for each, with the fields of `POST /v1/namespaces`
(`NewNamespace` in `/openapi.json`; `auth.mode` is required), each checked as there. A start, and a reload, bring about what stands here:

* A namespace that is not there is created.
* In one that is there, the file wins wherever it says something: `auth` as a whole, lists (`hooks`, `origins`) as a whole, of other
  objects the fields that it names. Everything that it does not name stays as the API has set it, and may be changed there. What the API
  changes of what the file names holds until the next start or reload.
* A namespace that is no longer in the file stays as it is, with a line in the log. Nothing is ever deleted by a file; and one that was deleted by the
  API is made anew by the next start or reload, empty, as long as it stands here.

`secret` (of `auth.jwt`, `auth.hook` and hooks) and `public_key` may be read from a file: `secret_file`, `public_key_file`. Strings may name
environment variables, as everywhere; there are no environment variables `TIDINGS_NAMESPACES__…`, since the names of namespaces are not known beforehand.
What only the store or the network can tell is found at the start, not by `check-config`: a hook whose name leads to a private address.
";

/// `docs/configuration.md`.
pub(crate) fn manual() -> String {
    let mut out = String::from(
        "<!-- Written by a test from the tables in crates/tidings/src/config/. Change those, then run\n\
         `UPDATE_DOCS=1 cargo test -p tidings`. -->\n\n\
         # Configuration\n\n\
         Everything has a default; `tidings` runs without a file. Later sources win:\n\n\
         1. the defaults below,\n\
         2. `tidings.toml` in the working directory, or the file that `--config` names,\n\
         3. environment variables: `TIDINGS_SECTION__KEY` (`TIDINGS_KEY` for the keys without a section),\n\
         4. flags.\n\n\
         Strings in the file may name environment variables as `${VAR}` (`$${` is a plain `${`). A key that is marked\n\
         *secret* may be read from a file instead: the key with `_file` after it names that file. One source gives the one or\n\
         the other, and a later source wins whichever it gives. Unknown keys and bad\n\
         values are errors that name the key, the value, where it stands and what is allowed; `tidings check-config`\n\
         looks for them without starting anything, and `tidings default-config` prints a commented file.\n\n\
         Durations are whole numbers with `ms`, `s`, `m`, `h` or `d`; sizes with `B`, `KB`, `MB`, `GB`, `KiB`, `MiB` or\n\
         `GiB`. Numbers may be written as TOML has them, in hexadecimal, octal or binary too (`0x1000`); lists as lists of strings,\n\
         or as one text with commas.\n\n\
         SIGHUP and `POST /v1/reload` (admin key) have a server read its configuration again. What is declared below `namespaces` and the keys\n\
         that are marked *reload* change then; every other change needs a restart, and the answer and the log name it. A configuration with an\n\
         error changes nothing. The environment is that of the start.\n",
    );
    for section in SECTIONS {
        let title = if section.name.is_empty() {
            "Before the first section".to_owned()
        } else {
            format!("`[{}]`", section.name)
        };
        let _ = write!(out, "\n## {title}\n\n{}\n", section.doc);
        for key in section.keys {
            let _ = write!(out, "\n### `{}`\n\n{}\n\n", last(key), key.doc);
            let default = if key.default.is_empty() { "none".to_owned() } else { format!("`{}`", toml(key)) };
            let _ = writeln!(out, "* default: {default}");
            let _ = writeln!(out, "* allowed: {}", key.allowed);
            let _ = writeln!(out, "* environment: `{}`", variable(key.name));
            if !key.flag.is_empty() {
                let _ = writeln!(out, "* flag: `{}`", key.flag);
            }
            if RELOADED.contains(&key.name) {
                let _ = writeln!(out, "* reload: yes");
            }
            if key.secret {
                let _ =
                    writeln!(out, "* secret: also as `{}_file` (`{}_FILE`)", last(key), variable(key.name));
            }
        }
    }
    out.push_str(NAMESPACES);
    let example: String =
        EXAMPLE.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
    let _ = write!(out, "\n```toml\n{example}```\n");
    out
}

/// The environment variable that sets a key.
fn variable(key: &str) -> String {
    format!("TIDINGS_{}", key.to_ascii_uppercase().replace('.', "__"))
}
