//! Socket.IO of version 4 (protocol revision 5 over Engine.IO 4), over a WebSocket from the start.

use serde_json::json;

use super::{
    Conversation, Identity, LinkError, Protocol,
    websocket::{Dialect, Say, WebSocket},
};
use crate::inbox::Ear;

/// `--protocol socketio`.
pub(crate) const SOCKETIO: Protocol = Protocol {
    name: "socketio",
    about: "Socket.IO 4 over WebSocket",
    publisher: "tidings",
    acks: true,
    idle_bytes: Some(2560.0),
    open,
};

/// The id of the `join`, whose answer makes a client ready.
const JOIN: u64 = 1;
/// Events of the server's own, which are no messages.
const OWN_EVENTS: [&[u8]; 2] = [b"[\"ready\"", b"[\"goaway\""];

fn open(identity: &Identity<'_>) -> Box<dyn Conversation> {
    let packets = Packets::of_tidings(identity);
    Box::new(WebSocket::new(identity, SocketIo { path: "/socket.io/".into(), packets }))
}

/// Socket.IO whose Engine.IO packets are WebSocket messages.
pub(crate) struct SocketIo {
    /// Where the server has it.
    pub path: Box<str>,
    /// What is said.
    pub packets: Packets,
}

impl Dialect for SocketIo {
    fn target(&self) -> String {
        format!("{}?EIO=4&transport=websocket", self.path)
    }

    fn message(&mut self, payload: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        self.packets.take(payload, say, ear)
    }
}

/// What a client answers to each Engine.IO packet, whatever carries it.
pub(crate) struct Packets {
    /// `/demo,`; empty for the root namespace.
    namespace: Box<str>,
    /// The `auth` object of the connect.
    auth: String,
    /// The arguments of the event that makes the client a member, as JSON; nothing when none is needed.
    join: Option<String>,
    acks: bool,
}

impl Packets {
    /// For a namespace of Tidings.
    pub(super) fn of_tidings(identity: &Identity<'_>) -> Self {
        let mut auth = json!({"device": identity.device});
        if let Some(user) = identity.user {
            auth["user"] = user.into();
        }
        let join = identity.room.map(|room| json!(["join", [room]]).to_string());
        Self::new(&format!("/{},", identity.namespace), auth.to_string(), join, identity.acks)
    }

    /// For the namespace that is written so on the wire (`/demo,`, or nothing for the root).
    pub(crate) fn new(namespace: &str, auth: String, join: Option<String>, acks: bool) -> Self {
        Self { namespace: namespace.into(), auth, join, acks }
    }

    /// A packet came.
    pub(crate) fn take(&mut self, packet: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        let refused = || {
            let quote = String::from_utf8_lossy(&packet[..packet.len().min(200)]);
            Err(LinkError::Refused(format!("not expected here: {quote}")))
        };
        match packet {
            [b'4', kind, rest @ ..] => {
                let Some(rest) = rest.strip_prefix(self.namespace.as_bytes()) else { return refused() };
                match kind {
                    b'0' => match &self.join {
                        Some(join) => say.text(format!("42{}{JOIN}{join}", self.namespace)),
                        None => ear.ready(),
                    },
                    b'1' => return Err(LinkError::Closed(None)),
                    b'2' => self.event(packet, rest, say, ear),
                    b'3' if !joined(rest) => return refused(),
                    b'3' => ear.ready(),
                    _ => return refused(),
                }
            }
            [b'0', ..] => say.text(format!("40{}{}", self.namespace, self.auth)),
            [b'1'] => return Err(LinkError::Closed(None)),
            [b'2'] => say.text("3"),
            [b'6'] => {}
            _ => return refused(),
        }
        Ok(())
    }

    fn event(&mut self, packet: &[u8], rest: &[u8], say: &mut Say, ear: &mut Ear<'_>) {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (id, arguments) = rest.split_at(digits);
        if OWN_EVENTS.iter().any(|event| arguments.starts_with(event)) {
            return;
        }
        ear.message(packet);
        if self.acks && digits > 0 {
            say.text(format!("43{}{}[]", self.namespace, String::from_utf8_lossy(id)));
            ear.acked(1);
        }
    }
}

/// Whether what follows the namespace in an acknowledgement says that the join was done.
fn joined(rest: &[u8]) -> bool {
    let refusal = b"\"ok\":false";
    rest.starts_with(JOIN.to_string().as_bytes())
        && !rest.windows(refusal.len()).any(|window| window == refusal)
}

#[cfg(test)]
pub(in crate::protocol) mod tests {
    use super::*;
    use crate::inbox::Inbox;

    pub(crate) const IDENTITY: Identity<'static> = Identity {
        authority: "h:1",
        namespace: "demo",
        room: Some("bench"),
        device: "d1",
        user: Some("ann"),
        acks: true,
    };

    /// Checks what is said to `packet`.
    #[track_caller]
    fn check(packets: &mut Packets, inbox: &mut Inbox, packet: &str, said: &[&str]) {
        let mut say = Say::default();
        packets.take(packet.as_bytes(), &mut say, &mut Ear::with(inbox, None)).unwrap();
        let texts: Vec<String> =
            say.messages.into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect();
        assert_eq!(texts, said, "{packet}");
    }

    #[test]
    fn it_connects_joins_and_acknowledges() {
        let (mut packets, mut inbox) = (Packets::of_tidings(&IDENTITY), Inbox::default());
        let heard = [
            ("0{\"sid\":\"x\"}", "40/demo,{\"device\":\"d1\",\"user\":\"ann\"}"),
            ("40/demo,{\"sid\":\"y\"}", "42/demo,1[\"join\",[\"bench\"]]"),
            ("2", "3"),
            ("42/demo,7[\"push\",{\"id\":\"m\"}]", "43/demo,7[]"),
        ];
        for (packet, said) in heard {
            check(&mut packets, &mut inbox, packet, &[said]);
        }
        assert!(!inbox.is_ready());
        for packet in
            ["43/demo,1[{\"ok\":true,\"rooms\":[]}]", "42/demo,[\"ready\",{}]", "42/demo,[\"push\",{}]", "6"]
        {
            check(&mut packets, &mut inbox, packet, &[]);
        }
        assert_eq!((inbox.is_ready(), inbox.received()), (true, 2));
    }

    #[test]
    fn refusals_and_strangers_are_quoted() {
        let mut packets = Packets::of_tidings(&IDENTITY);
        for packet in
            ["44/demo,{\"message\":\"no\"}", "43/demo,1[{\"ok\":false}]", "42/other,[\"push\",{}]", "x", ""]
        {
            let heard = packets.take(
                packet.as_bytes(),
                &mut Say::default(),
                &mut Ear::with(&mut Inbox::default(), None),
            );
            assert_eq!(heard.unwrap_err().to_string(), format!("not expected here: {packet}"));
        }
        let ended =
            packets.take(b"41/demo,", &mut Say::default(), &mut Ear::with(&mut Inbox::default(), None));
        assert!(matches!(ended, Err(LinkError::Closed(None))));
    }
}
