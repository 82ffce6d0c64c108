//! The Socket.IO server in `peers/node`: the root namespace, and a room that is joined by the event `join`.

use serde_json::json;

use super::{
    Conversation, Identity, Protocol,
    socketio::{Packets, SocketIo},
    websocket::WebSocket,
};

/// `--protocol rooms`.
pub(crate) const ROOMS: Protocol = Protocol {
    name: "rooms",
    about: "Socket.IO 4 over WebSocket, with a room of another server's",
    publisher: "node",
    acks: false,
    idle_bytes: None,
    open,
};

fn open(identity: &Identity<'_>) -> Box<dyn Conversation> {
    let join = identity.room.map(|room| json!(["join", room]).to_string());
    let packets = Packets::new("", String::new(), join, false);
    Box::new(WebSocket::new(identity, SocketIo { path: "/socket.io/".into(), packets }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{Kind, server_text_frame, write_client_frame},
        protocol::{
            socketio::tests::IDENTITY,
            tests::{GRANTED, talk},
        },
    };

    #[test]
    fn a_client_joins_by_an_event_and_hears_events() {
        let packets = [
            r#"0{"sid":"x","pingInterval":25000}"#,
            r#"40{"sid":"y"}"#,
            "431[]",
            "2",
            r#"42["push",{"seq":1}]"#,
        ];
        let frames = packets.map(|packet| server_text_frame(packet.as_bytes()));
        let pieces: Vec<&[u8]> = std::iter::once(GRANTED).chain(frames.iter().map(Vec::as_slice)).collect();
        let (said, inbox) = talk(&ROOMS, &IDENTITY, &pieces);
        let expected = ["40", r#"421["join","bench"]"#, "", "3", ""].map(|text| {
            let mut frame = Vec::new();
            if !text.is_empty() {
                write_client_frame(&mut frame, Kind::Text, text.as_bytes());
            }
            frame
        });
        assert_eq!(said[2..], expected);
        assert_eq!((inbox.is_ready(), inbox.received()), (true, 1));
    }
}
