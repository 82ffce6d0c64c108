//! The pair that a backend of message-push shows, and the secret that its server computed: it needs no more than the name of the
//! application, so it opens nothing unless the operator says so.

use base64::Engine as _;
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;
use tidings_wire::compat::message_push::is_app_key;

use crate::compat::CREDENTIALS;

/// What is put before the name of an application.
const SALT: &str = "messagepush";

/// The `appKey` and the `appSecret` in a header: Basic, with exactly one colon.
pub(super) fn pair(authorization: &str) -> Option<(String, String)> {
    let (scheme, rest) = authorization.split_once(' ')?;
    let bytes = CREDENTIALS.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(bytes).ok()?;
    let (key, secret) = text.split_once(':')?;
    let one = !key.is_empty() && !secret.is_empty() && !secret.contains(':');
    one.then(|| (key.to_owned(), secret.to_owned()))
}

/// Whether this is what the old server computed of the name of an application.
pub(super) fn is_derived(key: &str, secret: &str) -> bool {
    is_app_key(key) && bool::from(derived(key).as_bytes().ct_eq(secret.as_bytes()))
}

/// The middle half of the MD5 of the name, in hexadecimal.
fn derived(key: &str) -> String {
    let digest = Md5::new().chain_update(SALT).chain_update(key).finalize();
    digest.iter().skip(4).take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "aad55a6355c54a3c9bc1f1d2b3a4c5d6";

    #[test]
    fn a_secret_is_computed_as_it_was() {
        assert_eq!(derived(KEY), "6f538a7b6396f37c");
        for (key, secret, fits) in [
            (KEY, derived(KEY), true),
            (KEY, derived(KEY).to_uppercase(), false),
            (KEY, String::new(), false),
            (KEY, derived(KEY)[..15].to_owned(), false),
            ("aad55a63", derived("aad55a63"), false),
        ] {
            assert_eq!(is_derived(key, &secret), fits, "{key} {secret}");
        }
    }

    #[test]
    fn a_pair_has_one_colon() {
        for (text, expected) in
            [("k:s", Some(("k", "s"))), ("k:s:t", None), ("k:", None), (":s", None), ("ks", None), ("", None)]
        {
            let found = pair(&format!("Basic {}", CREDENTIALS.encode(text)));
            let found = found.as_ref().map(|(key, secret)| (key.as_str(), secret.as_str()));
            assert_eq!(found, expected, "{text}");
        }
        for header in ["", "Basic", "Basic !", "Bearer azpz", "azpz"] {
            assert_eq!(pair(header), None, "{header}");
        }
        assert!(pair("basic azpz").is_some());
        assert_eq!(pair("Basic a2tzOnM"), Some(("kks".to_owned(), "s".to_owned())), "without padding");
    }
}
