//! WebSocket and nothing else: whoever is connected is subscribed, and every message is a push.
//!
//! So speak the server of bare `ws` in `peers/node`, and Nchan to its subscribers.

use super::{
    Conversation, Identity, LinkError, Protocol,
    websocket::{Dialect, Say, WebSocket},
};
use crate::inbox::Ear;

/// `--protocol plain`: everybody at `/` gets everything.
pub(crate) const PLAIN: Protocol = Protocol {
    name: "plain",
    about: "WebSocket, every message a push",
    publisher: "node",
    acks: false,
    idle_bytes: None,
    open: |identity| open("/", identity),
};

/// `--protocol nchan`: subscribers of Nchan at `/sub`.
pub(crate) const NCHAN: Protocol = Protocol {
    name: "nchan",
    about: "WebSocket subscribers of Nchan",
    publisher: "nchan",
    acks: false,
    idle_bytes: None,
    open: |identity| open("/sub", identity),
};

fn open(target: &'static str, identity: &Identity<'_>) -> Box<dyn Conversation> {
    Box::new(WebSocket::new(identity, Plain { target }))
}

struct Plain {
    target: &'static str,
}

impl Dialect for Plain {
    fn target(&self) -> String {
        self.target.to_owned()
    }

    fn opened(&mut self, _say: &mut Say, ear: &mut Ear<'_>) {
        ear.ready();
    }

    fn message(&mut self, payload: &[u8], _say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        ear.message(payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::server_text_frame,
        protocol::{
            socketio::tests::IDENTITY,
            tests::{GRANTED, talk},
        },
    };

    #[test]
    fn whoever_is_connected_is_ready_and_hears_everything() {
        for (protocol, line) in [(PLAIN, "GET / HTTP/1.1\r\n"), (NCHAN, "GET /sub HTTP/1.1\r\n")] {
            let (said, inbox) = talk(&protocol, &IDENTITY, &[GRANTED]);
            assert!(said[0].starts_with(line.as_bytes()));
            assert_eq!((inbox.is_ready(), inbox.received()), (true, 0));
            let (said, inbox) = talk(&protocol, &IDENTITY, &[GRANTED, &server_text_frame(b"{}")]);
            assert_eq!((said[2].len(), inbox.received()), (0, 1));
        }
    }
}
