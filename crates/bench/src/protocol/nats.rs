//! The NATS protocol in binary WebSocket messages, whose bounds mean nothing: they are a byte stream.

use super::{
    Conversation, Identity, LinkError, Protocol,
    websocket::{Dialect, Say, WebSocket},
};
use crate::inbox::Ear;

/// `--protocol nats`.
pub(crate) const NATS: Protocol = Protocol {
    name: "nats",
    about: "NATS over WebSocket",
    publisher: "nats",
    acks: false,
    idle_bytes: None,
    open,
};

/// Said by every client of NATS, the publisher's included.
pub(crate) const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"tidings-bench\",\"version\":\"1\",\"protocol\":1}\r\n";
/// Bytes of a line, the one of `INFO` the longest.
const LINE_MAX: usize = 16 * 1024;
/// Ends lines and payloads.
const END: &[u8] = b"\r\n";

fn open(identity: &Identity<'_>) -> Box<dyn Conversation> {
    Box::new(WebSocket::new(identity, Nats { room: identity.room.map(Box::from), partial: Vec::new() }))
}

struct Nats {
    room: Option<Box<str>>,
    /// The front of an operation whose end has not come.
    partial: Vec<u8>,
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
enum Operation<'a> {
    /// A message: all of it, line and end included.
    Message(&'a [u8]),
    /// Any other line.
    Line(&'a [u8]),
}

/// The operation at the start of `bytes` and its length, nothing while it is incomplete.
fn operation(bytes: &[u8]) -> Result<Option<(Operation<'_>, usize)>, LinkError> {
    let Some(line) = memchr::memmem::find(bytes, END) else {
        return match bytes.len() {
            ..LINE_MAX => Ok(None),
            _ => Err(LinkError::Refused("a line without end".to_owned())),
        };
    };
    let (text, start) = (&bytes[..line], line + END.len());
    if !text.starts_with(b"MSG ") {
        return Ok(Some((Operation::Line(text), start)));
    }
    let size = text.rsplit(|byte| *byte == b' ').next().and_then(|size| std::str::from_utf8(size).ok());
    let end =
        size.and_then(|size| size.parse::<usize>().ok()).and_then(|size| size.checked_add(start + END.len()));
    let Some(end) = end else { return Err(unexpected(text)) };
    match bytes.get(..end) {
        Some(whole) if whole.ends_with(END) => Ok(Some((Operation::Message(whole), end))),
        Some(whole) => Err(unexpected(whole)),
        None => Ok(None),
    }
}

fn unexpected(bytes: &[u8]) -> LinkError {
    let quote = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    LinkError::Refused(format!("not expected here: {quote}"))
}

impl Nats {
    /// Takes the whole operations of `bytes`; answers how many bytes that were.
    fn take(&self, bytes: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<usize, LinkError> {
        let mut at = 0;
        while let Some((operation, length)) = operation(&bytes[at..])? {
            at += length;
            match operation {
                Operation::Message(whole) => ear.message(whole),
                Operation::Line(b"PING") => say.binary("PONG\r\n"),
                // The answer to the ping behind the subscription, which the server has then.
                Operation::Line(b"PONG") => ear.ready(),
                Operation::Line(line) if line.starts_with(b"INFO ") => {
                    let subscribe =
                        self.room.as_ref().map_or_else(String::new, |room| format!("SUB {room} 1\r\n"));
                    say.binary(format!("{CONNECT}{subscribe}PING\r\n"));
                }
                Operation::Line(line) => return Err(unexpected(line)),
            }
        }
        Ok(at)
    }
}

impl Dialect for Nats {
    fn target(&self) -> String {
        "/".to_owned()
    }

    fn message(&mut self, payload: &[u8], say: &mut Say, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        if self.partial.is_empty() {
            let taken = self.take(payload, say, ear)?;
            self.partial.extend_from_slice(&payload[taken..]);
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(payload);
            let taken = self.take(&bytes, say, ear)?;
            bytes.drain(..taken);
            // An empty one gives its memory back: most operations come whole.
            self.partial = if bytes.is_empty() { Vec::new() } else { bytes };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{Kind, write_client_frame},
        protocol::{
            socketio::tests::IDENTITY,
            tests::{GRANTED, talk},
        },
    };

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        [&[0x82, u8::try_from(payload.len()).unwrap()], payload].concat()
    }

    #[test]
    fn operations_may_be_cut_anywhere() {
        let stream = b"INFO {\"proto\":1} \r\nPONG\r\nPING\r\nMSG bench 1 11\r\n{\"seq\":\r\n}x\r\nMSG bench 1 0\r\n\r\n";
        let mut expected = Vec::new();
        let connect = format!("{CONNECT}SUB bench 1\r\nPING\r\n");
        write_client_frame(&mut expected, Kind::Binary, connect.as_bytes());
        write_client_frame(&mut expected, Kind::Binary, b"PONG\r\n");
        for size in 1..=stream.len() {
            let frames: Vec<Vec<u8>> = stream.chunks(size).map(server_frame).collect();
            let pieces: Vec<&[u8]> =
                std::iter::once(GRANTED).chain(frames.iter().map(Vec::as_slice)).collect();
            let (said, inbox) = talk(&NATS, &IDENTITY, &pieces);
            assert_eq!(said[1..].concat(), expected, "pieces of {size}");
            assert_eq!((inbox.is_ready(), inbox.received()), (true, 2), "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_message_is_quoted() {
        let check = |bytes: &[u8], expected: &str| {
            let nats = Nats { room: None, partial: Vec::new() };
            let mut inbox = crate::inbox::Inbox::default();
            let taken = nats.take(bytes, &mut Say::default(), &mut Ear::with(&mut inbox, None));
            assert_eq!(taken.unwrap_err().to_string(), expected);
        };
        check(b"-ERR 'Slow Consumer'\r\n", "not expected here: -ERR 'Slow Consumer'");
        check(b"MSG bench 1 x\r\n", "not expected here: MSG bench 1 x");
        check(b"MSG b 1 1\r\nabcd", "not expected here: MSG b 1 1\r\nabc");
        check(&[b'I'; LINE_MAX], "a line without end");
    }
}
