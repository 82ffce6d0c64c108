//! A push in digest, to tell a retry from another push under the same id.
//!
//! What is digested is what the push means: two bodies that differ only in white space, in the order of
//! their fields or of the names in a list, or in saying a default aloud, are the same push.

use sha2::{Digest as _, Sha256};
use tidings_model::{Durability, Priority, Push};

use super::body::{OfflineBody, Text};

/// The digest of everything in a push except its id.
pub(super) fn of(push: &Push, offline: &OfflineBody<'_>) -> [u8; 16] {
    let mut digest = Sum(Sha256::new());
    digest.flag(push.to.all);
    digest.list(push.to.users.iter().map(|name| name.as_str()));
    digest.list(push.to.devices.iter().map(|name| name.as_str()));
    digest.list(push.to.rooms.iter().map(|name| name.as_str()));
    digest.list(push.to.platforms.iter().map(|name| name.as_str()));
    digest.list(push.except.users.iter().map(|name| name.as_str()));
    digest.list(push.except.devices.iter().map(|name| name.as_str()));
    digest.list(push.except.rooms.iter().map(|name| name.as_str()));
    digest.list(push.except.connections.iter().map(String::as_str));
    digest.text(push.event.as_str());
    digest.part(&compact(&push.data));
    digest.part(&push.ttl.as_millis().to_le_bytes());
    digest.flag(push.priority == Priority::High);
    digest.flag(push.durability == Durability::Memory);
    digest.flag(push.keep);
    digest.text(push.collapse_key.as_ref().map_or("", |key| key.as_str()));
    digest.part(&push.deliver_at.map_or(0, |at| at.0).to_le_bytes());
    digest.maybe(offline.escalate_after.as_ref());
    digest.flag(offline.notification.is_some());
    if let Some(notification) = &offline.notification {
        let notification = &notification.0;
        digest.maybe(notification.title.as_ref());
        digest.maybe(notification.body.as_ref());
        digest.part(&notification.badge.map_or([0; 9], |badge| {
            let mut bytes = [1; 9];
            bytes[1..].copy_from_slice(&badge.to_le_bytes());
            bytes
        }));
        digest.maybe(notification.sound.as_ref());
        digest.maybe(notification.url.as_ref());
        digest.maybe(notification.image.as_ref());
    }
    for raw in [offline.apns, offline.fcm, offline.webpush] {
        digest.part(&raw.map(|raw| compact(raw.get().as_bytes())).unwrap_or_default());
    }
    digest.finish()
}

/// A digest of parts: each goes in with its length, so that no two lists of parts look alike.
struct Sum(Sha256);

impl Sum {
    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.part(text.as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.part(&[u8::from(flag)]);
    }

    fn maybe(&mut self, text: Option<&Text<'_>>) {
        self.flag(text.is_some());
        self.text(text.map_or("", Text::as_str));
    }

    fn list<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        self.part(&(names.len() as u64).to_le_bytes());
        for name in names {
            self.text(name);
        }
    }

    fn finish(self) -> [u8; 16] {
        let full: [u8; 32] = self.0.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        half
    }
}

/// Valid JSON without the white space between its tokens.
fn compact(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_goes() {
        for (json, expected) in [
            ("{ \"a b\" : [ 1 ,\n2 ] }", "{\"a b\":[1,2]}"),
            (r#"" \" \\" "#, r#"" \" \\""#),
            (r#"[ "\\" , " x" ]"#, r#"["\\"," x"]"#),
        ] {
            assert_eq!(compact(json.as_bytes()), expected.as_bytes(), "{json}");
        }
    }
}
