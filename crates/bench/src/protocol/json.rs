//! The JSON protocol of Tidings over a plain WebSocket (docs/protocol.md).

use serde_json::{Value, json};

use super::{
    Conversation, Identity, LinkError, Protocol,
    websocket::{Dialect, Say, WebSocket},
};
use crate::inbox::Ear;

/// `--protocol ws`.
pub(crate) const WS: Protocol = Protocol {
    name: "ws",
    about: "plain WebSocket, JSON protocol",
    publisher: "tidings",
    acks: true,
    idle_bytes: Some(2048.0),
    open,
};

/// How a frame begins that carries a push.
const PUSH: &[u8] = b"{\"push\":";
/// What stands before the id of a message; it is the first field.
const ID: &[u8] = b"{\"push\":{\"id\":\"";
/// The ids of the commands.
const CONNECT: u64 = 1;
const JOIN: u64 = 2;
const ACK: u64 = 3;

fn open(identity: &Identity<'_>) -> Box<dyn Conversation> {
    let mut connect = json!({"id": CONNECT, "cmd": "connect", "device": identity.device});
    if let Some(user) = identity.user {
        connect["user"] = user.into();
    }
    let join = identity.room.map(|room| json!({"id": JOIN, "cmd": "join", "rooms": [room]}).to_string());
    Box::new(WebSocket::new(
        identity,
        Json {
            target: format!("/v1/namespaces/{}/connect", identity.namespace).into(),
            connect: connect.to_string(),
            join,
            acks: identity.acks,
            pending: Vec::new(),
        },
    ))
}

struct Json {
    target: Box<str>,
    connect: String,
    join: Option<String>,
    acks: bool,
    /// Ids of messages, quoted, that came and are to be acknowledged together.
    pending: Vec<Box<str>>,
}

impl Dialect for Json {
    fn target(&self) -> String {
        self.target.to_string()
    }

    fn opened(&mut self, say: &mut Say, _ear: &mut Ear<'_>) {
        say.text(std::mem::take(&mut self.connect));
    }

    fn message(&mut self, payload: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        if payload.starts_with(PUSH) {
            ear.message(payload);
            if self.acks {
                self.pending.push(quoted_id(payload)?);
            }
            return Ok(());
        }
        let value: Value = serde_json::from_slice(payload)
            .map_err(|error| LinkError::Refused(format!("a message that is not JSON: {error}")))?;
        let one = std::slice::from_ref(&value);
        for object in value.as_array().map_or(one, Vec::as_slice) {
            if object.get("push").is_some() {
                return Err(LinkError::Refused("a push among other things in a frame".to_owned()));
            }
            let id = object.get("id").and_then(Value::as_u64);
            if let (Some(id), Some(error)) = (id, object.get("error")) {
                return Err(LinkError::Refused(format!("command {id} was answered with {error}")));
            }
            match (id, self.join.take()) {
                (Some(CONNECT), Some(join)) => say.text(join),
                (Some(CONNECT | JOIN), None) => ear.ready(),
                (_, join) => self.join = join,
            }
        }
        Ok(())
    }

    fn pause(&mut self, say: &mut Say, ear: &mut Ear<'_>) {
        if self.pending.is_empty() {
            return;
        }
        let ids = std::mem::take(&mut self.pending);
        ear.acked(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        say.text(format!(r#"{{"id":{ACK},"cmd":"ack","ids":[{}]}}"#, ids.join(",")));
    }
}

/// The id of the message in a push, with its quotes.
fn quoted_id(payload: &[u8]) -> Result<Box<str>, LinkError> {
    let id = payload.strip_prefix(ID).and_then(|rest| rest.iter().position(|byte| *byte == b'"'));
    let id = id.and_then(|length| payload.get(ID.len() - 1..ID.len() + length + 1));
    let id = id.and_then(|id| std::str::from_utf8(id).ok());
    id.map(Box::from).ok_or_else(|| LinkError::Refused("a push whose first field is not its id".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{Kind, server_text_frame, write_client_frame},
        protocol::tests::{GRANTED, talk},
    };

    fn identity(acks: bool) -> Identity<'static> {
        let (authority, namespace, room) = ("h:1", "demo", Some("bench"));
        Identity { authority, namespace, room, device: "d1", user: Some("ann"), acks }
    }

    fn frame(text: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        write_client_frame(&mut frame, Kind::Text, text.as_bytes());
        frame
    }

    #[test]
    fn it_connects_joins_and_acknowledges_what_came_together() {
        let two = [
            server_text_frame(br#"{"push":{"id":"m1","data":{}}}"#),
            server_text_frame(br#"{"push":{"id":"m2","data":{}}}"#),
        ];
        let connected = server_text_frame(br#"{"id":1,"ok":{}}"#);
        let joined = server_text_frame(br#"{"id":2,"ok":{}}"#);
        let (said, inbox) = talk(&WS, &identity(true), &[GRANTED, &connected, &joined, &two.concat()]);
        assert!(said[0].starts_with(b"GET /v1/namespaces/demo/connect HTTP/1.1\r\nHost: h:1\r\n"));
        assert_eq!(said[1], frame(r#"{"cmd":"connect","device":"d1","id":1,"user":"ann"}"#));
        assert_eq!(said[2], frame(r#"{"cmd":"join","id":2,"rooms":["bench"]}"#));
        assert_eq!(said[4], frame(r#"{"id":3,"cmd":"ack","ids":["m1","m2"]}"#));
        assert_eq!((inbox.is_ready(), inbox.received()), (true, 2));
    }

    #[test]
    fn a_refusal_is_quoted() {
        let mut conversation = open(&identity(false));
        let mut inbox = crate::inbox::Inbox::default();
        let refusal = server_text_frame(br#"{"id":1,"error":{"code":"no"}}"#);
        let bytes = [GRANTED, &refusal].concat();
        let heard = conversation.receive(&bytes, &mut Vec::new(), &mut Ear::with(&mut inbox, None));
        assert_eq!(heard.unwrap_err().to_string(), r#"command 1 was answered with {"code":"no"}"#);
    }
}
