//! Pusher's HTTP API, as Sockudo has it: calls signed by HMAC-SHA256, several events in one call of `batch_events`.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use serde_json::json;
use sha2::Sha256;

use super::{Backend, Publish, Publisher, Push, To, node::answered};
use crate::protocol::pusher::KEY;

/// `--publisher pusher`.
pub(crate) const PUSHER: Publisher = Publisher { name: "pusher", batches: true, pipelines: false, open };

/// The application in `peers/sockudo/config.json`, and what its calls are signed with.
const APPLICATION: &str = "bench";
const SECRET: &[u8] = b"bench-secret";

fn open(backend: &Backend<'_>) -> Box<dyn Publish> {
    Box::new(Pusher { authority: backend.authority.into() })
}

struct Pusher {
    authority: Box<str>,
}

impl Publish for Pusher {
    fn write(&self, pushes: &[Push], out: &mut Vec<u8>) {
        // A call is accepted for ten minutes, so the clock matters only roughly.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        out.extend_from_slice(request(&self.authority, pushes, now).as_bytes());
    }

    fn read(&self, bytes: &[u8], _pushes: usize) -> Result<Option<usize>, String> {
        answered(bytes, 200)
    }
}

fn request(authority: &str, pushes: &[Push], now: u64) -> String {
    let events = pushes.iter().map(|Push { to: To::Room(channel) | To::User(channel), data }| {
        json!({"name": "push", "channel": channel, "data": data})
    });
    let (call, body) = match pushes {
        [_] => ("events", events.collect::<Vec<_>>().remove(0)),
        _ => ("batch_events", json!({"batch": events.collect::<Vec<_>>()})),
    };
    let body = body.to_string();
    let path = format!("/apps/{APPLICATION}/{call}");
    let digest = hex(&Md5::digest(body.as_bytes()));
    let query = format!("auth_key={KEY}&auth_timestamp={now}&auth_version=1.0&body_md5={digest}");
    let signature = signature(&format!("POST\n{path}\n{query}"));
    format!(
        "POST {path}?{query}&auth_signature={signature} HTTP/1.1\r\nHost: {authority}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn signature(text: &str) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(SECRET)
        .unwrap_or_else(|_| unreachable!("a key of any length will do"));
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::tests::pushes;

    #[test]
    fn one_event_and_several_are_signed() {
        let check = |count, path: &str, body: &str, md5: &str, signature: &str| {
            let query =
                format!("auth_key=bench-key&auth_timestamp=1353088179&auth_version=1.0&body_md5={md5}");
            let expected = format!(
                "POST /apps/bench/{path}?{query}&auth_signature={signature} HTTP/1.1\r\nHost: h:1\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            assert_eq!(request("h:1", &pushes(count), 1_353_088_179), expected);
        };
        let one = r#"{"channel":"r","data":"{\"seq\":1}","name":"push"}"#;
        check(
            1,
            "events",
            one,
            "3610c2732a473f8d04c356c57c93e43e",
            "8342fb0b1554304cb3e69335f5213cc651520e16e6db601e92839a5944133d5e",
        );
        let two = r#"{"batch":[{"channel":"r","data":"{\"seq\":1}","name":"push"},{"channel":"r","data":"{\"seq\":2}","name":"push"}]}"#;
        check(
            2,
            "batch_events",
            two,
            "92f33037645de0735cbd35078187dffd",
            "46acdb80ee2555b3e439423b32a160825e9231160591b9dddbe32c154771f9fc",
        );
    }
}
