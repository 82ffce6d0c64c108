//! The Pusher protocol (version 7), which Sockudo speaks: JSON, and the data of an event is a string.

use serde_json::{Value, json};

use super::{
    Conversation, Identity, LinkError, Protocol,
    websocket::{Dialect, Say, WebSocket},
};
use crate::inbox::Ear;

/// `--protocol pusher`.
pub(crate) const PUSHER: Protocol = Protocol {
    name: "pusher",
    about: "Pusher protocol 7 over WebSocket",
    publisher: "pusher",
    acks: false,
    idle_bytes: None,
    open,
};

/// The key of the application in `peers/sockudo/config.json`.
pub(crate) const KEY: &str = "bench-key";

fn open(identity: &Identity<'_>) -> Box<dyn Conversation> {
    let subscribe =
        identity.room.map(|room| json!({"event": "pusher:subscribe", "data": {"channel": room}}).to_string());
    Box::new(WebSocket::new(identity, Pusher { subscribe }))
}

struct Pusher {
    subscribe: Option<String>,
}

impl Dialect for Pusher {
    fn target(&self) -> String {
        format!("/app/{KEY}?protocol=7&client=tidings-bench&version=1")
    }

    fn message(&mut self, payload: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        // What the protocol itself says is rare; the rest is counted without being parsed.
        if memchr::memmem::find(payload, b"\"pusher").is_none() {
            ear.message(payload);
            return Ok(());
        }
        let value: Value = serde_json::from_slice(payload)
            .map_err(|error| LinkError::Refused(format!("a message that is not JSON: {error}")))?;
        match value.get("event").and_then(Value::as_str) {
            Some("pusher:connection_established") => match self.subscribe.take() {
                Some(subscribe) => say.text(subscribe),
                None => ear.ready(),
            },
            Some("pusher_internal:subscription_succeeded") => ear.ready(),
            Some("pusher:ping") => say.text(r#"{"event":"pusher:pong","data":{}}"#),
            Some("pusher:pong") => {}
            _ => {
                let quote = String::from_utf8_lossy(&payload[..payload.len().min(200)]);
                return Err(LinkError::Refused(format!("not expected here: {quote}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{Kind, server_text_frame, write_client_frame},
        inbox::Inbox,
        protocol::{
            socketio::tests::IDENTITY,
            tests::{GRANTED, talk},
        },
    };

    #[test]
    fn a_client_subscribes_and_hears_events() {
        let messages = [
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#,
            r#"{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"bench"}"#,
            r#"{"event":"pusher:ping","data":"{}"}"#,
            r#"{"event":"push","channel":"bench","data":"{\"seq\":1}"}"#,
        ];
        let frames = messages.map(|message| server_text_frame(message.as_bytes()));
        let pieces: Vec<&[u8]> = std::iter::once(GRANTED).chain(frames.iter().map(Vec::as_slice)).collect();
        let (said, inbox) = talk(&PUSHER, &IDENTITY, &pieces);
        let mut expected = Vec::new();
        for text in [
            r#"{"data":{"channel":"bench"},"event":"pusher:subscribe"}"#,
            r#"{"event":"pusher:pong","data":{}}"#,
        ] {
            write_client_frame(&mut expected, Kind::Text, text.as_bytes());
        }
        assert_eq!(said[1..].concat(), expected);
        assert_eq!((inbox.is_ready(), inbox.received()), (true, 1));
    }

    #[test]
    fn a_refusal_is_quoted() {
        let refusal = r#"{"event":"pusher:error","data":{"code":4001}}"#;
        let mut pusher = Pusher { subscribe: None };
        let mut inbox = Inbox::default();
        let heard = pusher.message(refusal.as_bytes(), &mut Say::default(), &mut Ear::with(&mut inbox, None));
        assert_eq!(heard.unwrap_err().to_string(), format!("not expected here: {refusal}"));
    }
}
