//! One lean WebSocket client: from the connecting socket through upgrade, `connect` and `join` to counting.
//!
//! It owns its socket but is told when to read and write; the loop over thousands of them is `fleet`.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use serde_json::Value;

use crate::{
    frame::{FrameError, Kind, Scanner, Sink, client_frame},
    sample::Sample,
};

/// A fixed handshake key with its answer (the example of RFC 6455, 1.3): the answer proves that the peer speaks
/// WebSocket, which needs no randomness.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const KEY_ANSWER: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Bytes of an HTTP answer that are read before giving up on it.
const ANSWER_MAX: usize = 16 * 1024;

/// Where the clients of a run go and what they say there.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// The value of the `Host` header.
    pub authority: String,
    /// Namespace to connect to.
    pub namespace: String,
    /// Room to join.
    pub room: String,
}

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The TCP connection is under way.
    Opening,
    /// The upgrade was asked for.
    Upgrading,
    /// `connect` was sent.
    Connecting,
    /// `join` was sent.
    Joining,
    /// Frames are counted.
    Ready,
    /// No more comes.
    Closed,
}

/// What a call to a client led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing that the fleet must know.
    Same,
    /// The client has just become ready.
    Ready,
    /// The client was ready and got this many messages.
    Received(u32),
}

/// Why a client is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is not WebSocket.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The server did not do what was asked.
    #[error("{0}")]
    Refused(String),
    /// The server closed.
    #[error("closed by the server{}", close_text(*.0))]
    Closed(Option<u16>),
}

fn close_text(code: Option<u16>) -> String {
    code.map_or_else(|| " without a close frame".to_owned(), |code| format!(" with code {code}"))
}

/// One client.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    scanner: Scanner,
    stage: Stage,
    received: u32,
    /// Payload of a control frame that is under way.
    control: Vec<u8>,
    /// Bytes of the handshake that are not understood yet.
    handshake: Vec<u8>,
    sample: Option<Box<Sample>>,
}

impl Link {
    /// A client whose socket is still connecting.
    pub(crate) fn opening(stream: TcpStream, sample: Option<Sample>) -> Self {
        Self::at(stream, Stage::Opening, sample)
    }

    /// A client without handshake, which counts from the first byte on: the floor's.
    pub(crate) fn bare(stream: TcpStream) -> Self {
        Self::at(stream, Stage::Ready, None)
    }

    fn at(stream: TcpStream, stage: Stage, sample: Option<Sample>) -> Self {
        Self {
            stream,
            scanner: Scanner::default(),
            stage,
            received: 0,
            control: Vec::new(),
            handshake: Vec::new(),
            sample: sample.map(Box::new),
        }
    }

    /// The socket, to be registered.
    pub(crate) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Messages counted since the client became ready.
    pub(crate) fn received(&self) -> u32 {
        self.received
    }

    /// The sample that this client keeps, if it is one of those.
    pub(crate) fn sample(&self) -> Option<&Sample> {
        self.sample.as_deref()
    }

    /// True when no more will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// The socket may be written: asks for the upgrade when that has not been done.
    pub(crate) fn writable(&mut self, script: &Script) -> Result<(), LinkError> {
        if self.stage != Stage::Opening {
            return Ok(());
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        match self.stream.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
            other => other?,
        };
        self.stream.set_nodelay(true)?;
        let Script { authority, namespace, .. } = script;
        let request = format!(
            "GET /v1/namespaces/{namespace}/connect HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        self.stage = Stage::Upgrading;
        self.write(request.as_bytes())
    }

    /// The socket may be read: reads it empty through `buffer`.
    pub(crate) fn readable(
        &mut self,
        closing: bool,
        buffer: &mut [u8],
        device: impl Fn() -> String,
        script: &Script,
    ) -> Result<Step, LinkError> {
        let mut step = Step::Same;
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => {
                    self.stage = Stage::Closed;
                    return Err(LinkError::Closed(None));
                }
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(step),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            match (self.bytes(&buffer[..len], &device, script)?, &mut step) {
                (Step::Same, _) => {}
                (Step::Received(more), Step::Received(sum)) => *sum += more,
                (Step::Received(_), Step::Ready) => {}
                (new, _) => step = new,
            }
            // A read that does not fill the buffer emptied the socket, and the next byte is a new event; only the
            // end of the stream has been announced already and would not be again.
            if len < buffer.len() && !closing {
                return Ok(step);
            }
        }
    }

    fn bytes(
        &mut self,
        bytes: &[u8],
        device: &impl Fn() -> String,
        script: &Script,
    ) -> Result<Step, LinkError> {
        match self.stage {
            Stage::Ready => self.count(bytes),
            Stage::Closed => Ok(Step::Same),
            Stage::Opening | Stage::Upgrading => {
                self.handshake.extend_from_slice(bytes);
                let Some(head) = upgrade_answer(&self.handshake)? else { return Ok(Step::Same) };
                let rest = self.handshake.split_off(head);
                self.handshake = Vec::new();
                self.stage = Stage::Connecting;
                let connect = serde_json::json!({"id": 1, "cmd": "connect", "device": device()});
                self.write(&client_frame(Kind::Text, connect.to_string().as_bytes()))?;
                if rest.is_empty() { Ok(Step::Same) } else { self.converse(&rest, script) }
            }
            Stage::Connecting | Stage::Joining => self.converse(bytes, script),
        }
    }

    /// Reads answers until both commands are answered.
    fn converse(&mut self, bytes: &[u8], script: &Script) -> Result<Step, LinkError> {
        let mut answers = Answers { payload: std::mem::take(&mut self.handshake), ..Answers::default() };
        self.scanner.scan(bytes, &mut answers)?;
        self.handshake = answers.payload;
        if let Some(code) = answers.closed {
            return Err(LinkError::Closed(code));
        }
        for ping in answers.pings {
            self.write(&client_frame(Kind::Pong, &ping))?;
        }
        let mut step = Step::Same;
        for message in &answers.messages {
            let expected = if self.stage == Stage::Connecting { 1 } else { 2 };
            if !answered(message, expected)? {
                continue;
            }
            if self.stage == Stage::Connecting {
                let join = serde_json::json!({"id": 2, "cmd": "join", "rooms": [script.room]});
                self.write(&client_frame(Kind::Text, join.to_string().as_bytes()))?;
                self.stage = Stage::Joining;
            } else {
                self.stage = Stage::Ready;
                step = Step::Ready;
            }
        }
        Ok(step)
    }

    fn count(&mut self, bytes: &[u8]) -> Result<Step, LinkError> {
        let mut counter = Counter {
            messages: 0,
            control: &mut self.control,
            sample: self.sample.as_deref_mut(),
            ping: None,
            closed: None,
        };
        self.scanner.scan(bytes, &mut counter)?;
        let (messages, ping, closed) = (counter.messages, counter.ping, counter.closed);
        self.received += messages;
        if let Some(ping) = ping {
            self.write(&client_frame(Kind::Pong, &ping))?;
        }
        match closed {
            Some(code) => {
                self.stage = Stage::Closed;
                Err(LinkError::Closed(code))
            }
            None if messages > 0 => Ok(Step::Received(messages)),
            None => Ok(Step::Same),
        }
    }

    /// Writes a few bytes; the send buffer of a client that hardly writes always has room for them.
    fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match self.stream.write(bytes)? {
            all if all == bytes.len() => Ok(()),
            _ => Err(LinkError::Refused("the send buffer is full, the server does not read".to_owned())),
        }
    }
}

/// The length of a complete answer to the upgrade, nothing while it is incomplete.
fn upgrade_answer(bytes: &[u8]) -> Result<Option<usize>, LinkError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(LinkError::Refused("the answer to the upgrade has no end".into()));
        }
        Err(error) => return Err(LinkError::Refused(format!("the answer to the upgrade: {error}"))),
    };
    if answer.code != Some(101) {
        let code = answer.code.unwrap_or_default();
        let body = String::from_utf8_lossy(&bytes[head..]);
        return Err(LinkError::Refused(format!("the upgrade was answered with {code} {}", body.trim())));
    }
    let accept = answer.headers.iter().find(|h| h.name.eq_ignore_ascii_case("sec-websocket-accept"));
    match accept {
        Some(header) if header.value == KEY_ANSWER.as_bytes() => Ok(Some(head)),
        _ => Err(LinkError::Refused("the answer to the upgrade has a wrong Sec-WebSocket-Accept".to_owned())),
    }
}

/// Whether a message (an object or an array of objects) answers the command with this id.
fn answered(message: &[u8], id: u64) -> Result<bool, LinkError> {
    let value: Value = serde_json::from_slice(message)
        .map_err(|error| LinkError::Refused(format!("a message that is not JSON: {error}")))?;
    let one = std::slice::from_ref(&value);
    for object in value.as_array().map_or(one, Vec::as_slice) {
        if object.get("id").and_then(Value::as_u64) != Some(id) {
            continue;
        }
        if let Some(error) = object.get("error") {
            return Err(LinkError::Refused(format!("command {id} was answered with {error}")));
        }
        return Ok(object.get("ok").is_some());
    }
    Ok(false)
}

/// Collects whole messages: for the few of a handshake.
#[derive(Default)]
struct Answers {
    payload: Vec<u8>,
    messages: Vec<Vec<u8>>,
    control: Vec<u8>,
    pings: Vec<Vec<u8>>,
    closed: Option<Option<u16>>,
}

impl Sink for Answers {
    fn piece(&mut self, kind: Kind, bytes: &[u8]) {
        match kind {
            Kind::Text | Kind::Binary => self.payload.extend_from_slice(bytes),
            Kind::Close | Kind::Ping | Kind::Pong => self.control.extend_from_slice(bytes),
        }
    }

    fn end(&mut self, kind: Kind) {
        match kind {
            Kind::Text | Kind::Binary => self.messages.push(std::mem::take(&mut self.payload)),
            Kind::Ping => self.pings.push(std::mem::take(&mut self.control)),
            Kind::Pong => self.control.clear(),
            Kind::Close => self.closed = Some(close_code(&self.control)),
        }
    }
}

/// Counts messages; only control frames and samples are copied.
struct Counter<'a> {
    messages: u32,
    control: &'a mut Vec<u8>,
    sample: Option<&'a mut Sample>,
    ping: Option<Vec<u8>>,
    closed: Option<Option<u16>>,
}

impl Sink for Counter<'_> {
    fn piece(&mut self, kind: Kind, bytes: &[u8]) {
        match kind {
            Kind::Text | Kind::Binary => {
                if let Some(sample) = &mut self.sample {
                    sample.piece(bytes);
                }
            }
            Kind::Close | Kind::Ping | Kind::Pong => self.control.extend_from_slice(bytes),
        }
    }

    fn end(&mut self, kind: Kind) {
        match kind {
            Kind::Text | Kind::Binary => {
                self.messages += 1;
                if let Some(sample) = &mut self.sample {
                    sample.end();
                }
            }
            Kind::Ping => self.ping = Some(std::mem::take(self.control)),
            Kind::Pong => self.control.clear(),
            Kind::Close => self.closed = Some(close_code(self.control)),
        }
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.get(..2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upgrade_is_checked() {
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nSEC-WebSocket-Accept: {KEY_ANSWER}\r\n\r\n");
        assert_eq!(upgrade_answer(format!("{good}xy").as_bytes()).unwrap(), Some(good.len()));
        assert_eq!(upgrade_answer(&good.as_bytes()[..40]).unwrap(), None);
        let refused = upgrade_answer(b"HTTP/1.1 404 Not Found\r\n\r\n{\"code\":\"not_found\"}").unwrap_err();
        assert_eq!(refused.to_string(), "the upgrade was answered with 404 {\"code\":\"not_found\"}");
        let wrong = upgrade_answer(b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: no\r\n\r\n").unwrap_err();
        assert!(wrong.to_string().contains("Sec-WebSocket-Accept"));
    }

    #[test]
    fn answers_are_found_alone_and_in_arrays() {
        assert!(answered(br#"{"id":1,"ok":{}}"#, 1).unwrap());
        assert!(answered(br#"[{"presence":{}},{"id":2,"ok":{}}]"#, 2).unwrap());
        assert!(!answered(br#"{"presence":{}}"#, 1).unwrap());
        let error = answered(br#"{"id":1,"error":{"code":"forbidden"}}"#, 1).unwrap_err();
        assert_eq!(error.to_string(), r#"command 1 was answered with {"code":"forbidden"}"#);
    }
}
