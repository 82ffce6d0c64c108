//! The upgrade, the frames, pings and closes that protocols over WebSocket have in common.

use super::{Conversation, Identity, LinkError};
use crate::{
    frame::{Kind, Scanner, Sink, write_client_frame},
    http::{self, Answer},
    inbox::Ear,
};

/// A fixed handshake key with its answer (the example of RFC 6455, 1.3): the answer proves that the peer speaks
/// WebSocket, which needs no randomness.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const KEY_ANSWER: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A protocol within WebSocket messages.
pub(crate) trait Dialect {
    /// The path and query of the upgrade.
    fn target(&self) -> String;

    /// Value of `Sec-WebSocket-Protocol`, where one is asked for.
    fn subprotocol(&self) -> Option<&str> {
        None
    }

    /// The upgrade was granted.
    fn opened(&mut self, _say: &mut Say, _ear: &mut Ear<'_>) {}

    /// A whole message came.
    fn message(&mut self, payload: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError>;

    /// Everything that came at once has been taken: what was saved up may be said now.
    fn pause(&mut self, _say: &mut Say, _ear: &mut Ear<'_>) {}
}

/// What a dialect wants to say: whole messages.
#[derive(Debug, Default)]
pub(crate) struct Say {
    /// In their order.
    pub messages: Vec<(Kind, Vec<u8>)>,
}

impl Say {
    /// Says a text.
    pub(crate) fn text(&mut self, text: impl Into<String>) {
        self.messages.push((Kind::Text, text.into().into_bytes()));
    }

    /// Says bytes.
    pub(crate) fn binary(&mut self, bytes: impl Into<Vec<u8>>) {
        self.messages.push((Kind::Binary, bytes.into()));
    }
}

/// A conversation over WebSocket.
pub(crate) struct WebSocket<D> {
    dialect: D,
    authority: Box<str>,
    stage: Stage,
    scanner: Scanner,
    /// The front of a message or an answer whose end has not come.
    partial: Vec<u8>,
    control: Vec<u8>,
}

enum Stage {
    Upgrading,
    Open,
}

impl<D: Dialect> WebSocket<D> {
    /// Begins with the upgrade.
    pub(crate) fn new(identity: &Identity<'_>, dialect: D) -> Self {
        Self { authority: identity.authority.into(), stage: Stage::Upgrading, ..Self::open(dialect) }
    }

    /// Begins behind the upgrade.
    pub(crate) fn open(dialect: D) -> Self {
        let (scanner, partial, control) = (Scanner::default(), Vec::new(), Vec::new());
        Self { dialect, authority: "".into(), stage: Stage::Open, scanner, partial, control }
    }

    fn frames(&mut self, bytes: &[u8], out: &mut Vec<u8>, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        let mut say = Say::default();
        let mut listener = Listener {
            dialect: &mut self.dialect,
            partial: &mut self.partial,
            control: &mut self.control,
            say: &mut say,
            ear,
            failed: None,
        };
        self.scanner.scan(bytes, &mut listener)?;
        if let Some(failed) = listener.failed {
            return Err(failed);
        }
        self.dialect.pause(&mut say, ear);
        write(out, &say);
        Ok(())
    }
}

fn write(out: &mut Vec<u8>, say: &Say) {
    for (kind, payload) in &say.messages {
        write_client_frame(out, *kind, payload);
    }
}

impl<D: Dialect> Conversation for WebSocket<D> {
    fn begin(&mut self, out: &mut Vec<u8>) {
        if matches!(self.stage, Stage::Open) {
            return;
        }
        let (target, authority) = (self.dialect.target(), &self.authority);
        let subprotocol = self.dialect.subprotocol();
        let subprotocol =
            subprotocol.map_or_else(String::new, |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{subprotocol}\r\n"
        );
        out.extend_from_slice(request.as_bytes());
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        if matches!(self.stage, Stage::Open) {
            return self.frames(bytes, out, ear);
        }
        self.partial.extend_from_slice(bytes);
        let Some(head) = upgraded(&self.partial)? else { return Ok(()) };
        let rest = self.partial.split_off(head);
        self.partial = Vec::new();
        self.stage = Stage::Open;
        let mut say = Say::default();
        self.dialect.opened(&mut say, ear);
        write(out, &say);
        if rest.is_empty() { Ok(()) } else { self.frames(&rest, out, ear) }
    }
}

/// The length of the head that grants the upgrade, nothing while it is incomplete.
fn upgraded(bytes: &[u8]) -> Result<Option<usize>, LinkError> {
    let refused = |what: String| LinkError::Refused(format!("the upgrade was answered with {what}"));
    let answer = match Answer::parse_head(bytes).map_err(refused)? {
        Some(answer) => answer,
        None if bytes.len() < http::HEAD_MAX => return Ok(None),
        None => return Err(refused("a head without end".to_owned())),
    };
    if answer.status != 101 {
        let body = String::from_utf8_lossy(bytes.get(answer.head..).unwrap_or_default());
        return Err(refused(format!("{} {}", answer.status, body.trim())));
    }
    match answer.header("sec-websocket-accept") {
        Some(KEY_ANSWER) => Ok(Some(answer.head)),
        _ => Err(refused("a wrong Sec-WebSocket-Accept".to_owned())),
    }
}

/// Hands whole messages to the dialect; those that came in one piece are not copied.
struct Listener<'a, 'e, D> {
    dialect: &'a mut D,
    partial: &'a mut Vec<u8>,
    control: &'a mut Vec<u8>,
    say: &'a mut Say,
    ear: &'a mut Ear<'e>,
    failed: Option<LinkError>,
}

impl<D: Dialect> Sink for Listener<'_, '_, D> {
    fn piece(&mut self, kind: Kind, bytes: &[u8], end: bool) {
        if self.failed.is_some() {
            return;
        }
        match kind {
            Kind::Text | Kind::Binary if end && self.partial.is_empty() => {
                self.failed = self.dialect.message(bytes, self.say, self.ear).err();
            }
            Kind::Text | Kind::Binary => {
                self.partial.extend_from_slice(bytes);
                if end {
                    self.failed = self.dialect.message(self.partial, self.say, self.ear).err();
                    self.partial.clear();
                }
            }
            Kind::Close | Kind::Ping | Kind::Pong => {
                self.control.extend_from_slice(bytes);
                if end {
                    match kind {
                        Kind::Ping => self.say.messages.push((Kind::Pong, self.control.clone())),
                        Kind::Close => self.failed = Some(LinkError::Closed(close_code(self.control))),
                        Kind::Text | Kind::Binary | Kind::Pong => {}
                    }
                    self.control.clear();
                }
            }
        }
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_be_bytes(*code))
}

/// The frames of the floor: no handshake, every frame a message.
pub(crate) struct Bare;

impl Bare {
    /// A conversation that only counts.
    pub(crate) fn conversation() -> Box<dyn Conversation> {
        Box::new(WebSocket::open(Self))
    }
}

impl Dialect for Bare {
    fn target(&self) -> String {
        String::new()
    }

    fn message(&mut self, payload: &[u8], _say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        ear.message(payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame::server_text_frame, inbox::Inbox};

    const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    /// Echoes what it hears.
    struct Echo;

    impl Dialect for Echo {
        fn target(&self) -> String {
            "/echo".to_owned()
        }

        fn opened(&mut self, say: &mut Say, _ear: &mut Ear<'_>) {
            say.text("hello");
        }

        fn message(&mut self, payload: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
            ear.message(payload);
            say.messages.push((Kind::Text, payload.to_vec()));
            Ok(())
        }
    }

    #[test]
    fn any_pieces_lead_to_the_same_answers() {
        let stream = [GRANTED.as_bytes(), &server_text_frame(b"one"), &[0x89, 1, b'!']].concat();
        let mut expected = Vec::new();
        write_client_frame(&mut expected, Kind::Text, b"hello");
        write_client_frame(&mut expected, Kind::Text, b"one");
        write_client_frame(&mut expected, Kind::Pong, b"!");
        for size in [1, 2, 7, stream.len() - 3] {
            let mut echo = WebSocket { stage: Stage::Upgrading, ..WebSocket::open(Echo) };
            let (mut out, mut inbox) = (Vec::new(), Inbox::default());
            for piece in stream.chunks(size) {
                echo.receive(piece, &mut out, &mut Ear::with(&mut inbox, None)).unwrap();
            }
            assert_eq!((out, inbox.received()), (expected.clone(), 1), "pieces of {size}");
        }
    }

    #[test]
    fn what_grants_no_upgrade_is_quoted() {
        let check = |answer: &str, expected: &str| {
            assert_eq!(upgraded(answer.as_bytes()).unwrap_err().to_string(), expected);
        };
        check("HTTP/1.1 400 Bad\r\n\r\nno\n", "the upgrade was answered with 400 no");
        check("HTTP/1.1 101 x\r\n\r\n", "the upgrade was answered with a wrong Sec-WebSocket-Accept");
        assert!(upgraded(b"HTTP/1.1 101").unwrap().is_none());
    }

    #[test]
    fn a_close_ends_with_its_code() {
        let mut bare = Bare::conversation();
        let mut inbox = Inbox::default();
        let closed = bare.receive(&[0x88, 2, 0x0b, 0xb9], &mut Vec::new(), &mut Ear::with(&mut inbox, None));
        assert_eq!(closed.unwrap_err().to_string(), "closed by the server with code 3001");
    }
}
