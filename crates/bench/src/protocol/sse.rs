//! The event stream of Tidings: one GET whose answer does not end.
//!
//! Acknowledgements would be calls on a second connection; this client sends none.

use super::{Conversation, Identity, LinkError, Protocol};
use crate::{
    http::{Answer, HEAD_MAX, Length, parse_chunk},
    inbox::Ear,
};

/// `--protocol sse`.
pub(crate) const SSE: Protocol = Protocol {
    name: "sse",
    about: "server-sent events",
    publisher: "tidings",
    acks: false,
    idle_bytes: None,
    open,
};

/// Bytes of an event that are read before giving up on it.
const EVENT_MAX: usize = 1024 * 1024;

fn open(identity: &Identity<'_>) -> Box<dyn Conversation> {
    let Identity { authority, namespace, device, .. } = identity;
    let mut target = format!("/v1/namespaces/{namespace}/sse?device={device}");
    for (name, value) in [("user", identity.user), ("rooms", identity.room)] {
        if let Some(value) = value {
            target.push_str(&format!("&{name}={value}"));
        }
    }
    let request = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/event-stream\r\n\r\n");
    Box::new(Sse { request, granted: false, partial: Vec::new(), line: Vec::new() })
}

struct Sse {
    request: String,
    granted: bool,
    /// The front of a head or of a chunk.
    partial: Vec<u8>,
    /// The front of an event.
    line: Vec<u8>,
}

impl Sse {
    /// Takes the head off the front of what came; false while it is incomplete.
    fn take_head(&mut self) -> Result<bool, LinkError> {
        let refused = |what: String| LinkError::Refused(format!("the stream was answered with {what}"));
        let answer = match Answer::parse_head(&self.partial).map_err(refused)? {
            Some(answer) => answer,
            None if self.partial.len() < HEAD_MAX => return Ok(false),
            None => return Err(refused("a head without end".to_owned())),
        };
        if answer.status != 200 || answer.length() != Length::Chunked {
            let body = String::from_utf8_lossy(&self.partial[answer.head..]);
            return Err(refused(format!("{} {}", answer.status, body.trim())));
        }
        let head = answer.head;
        self.partial.drain(..head);
        self.granted = true;
        Ok(true)
    }

    /// Takes events that are complete off `self.line`.
    fn take_events(&mut self, ear: &mut Ear<'_>) {
        let mut at = 0;
        while let Some(length) = self.line[at..].windows(2).position(|window| window == b"\n\n") {
            event(&self.line[at..at + length], ear);
            at += length + 2;
        }
        self.line.drain(..at);
    }
}

/// An event without the empty line behind it.
fn event(event: &[u8], ear: &mut Ear<'_>) {
    let field = |name: &[u8]| {
        let lines = event.split(|byte| *byte == b'\n');
        let value = lines.filter_map(|line| line.strip_prefix(name)).next()?;
        Some(value.strip_prefix(b" ").unwrap_or(value))
    };
    match field(b"event:") {
        Some(b"ready") => ear.ready(),
        Some(b"goaway") | None => {}
        Some(_) => ear.message(field(b"data:").unwrap_or_default()),
    }
}

impl Conversation for Sse {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(std::mem::take(&mut self.request).as_bytes());
    }

    fn receive(&mut self, bytes: &[u8], _out: &mut Vec<u8>, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        self.partial.extend_from_slice(bytes);
        if !self.granted && !self.take_head()? {
            return Ok(());
        }
        let refused = |what: String| LinkError::Refused(format!("in the stream: {what}"));
        let mut at = 0;
        while let Some((chunk, length)) = parse_chunk(&self.partial[at..]).map_err(refused)? {
            if chunk.is_empty() {
                return Err(LinkError::Closed(None));
            }
            self.line.extend_from_slice(chunk);
            at += length;
        }
        self.partial.drain(..at);
        self.take_events(ear);
        if self.line.len().max(self.partial.len()) > EVENT_MAX {
            return Err(refused("an event without end".to_owned()));
        }
        // An idle client keeps nothing.
        for buffer in [&mut self.partial, &mut self.line] {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{socketio::tests::IDENTITY, tests::talk};

    #[test]
    fn events_are_found_in_any_pieces() {
        let chunks = ["event: ready\ndata: {}\n\n: beat\n\nid: 1:2\nevent: pu", "sh\ndata: {\"seq\":1}\n\n"];
        let mut stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for chunk in chunks {
            stream.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        }
        for size in [1, 3, 10, stream.len()] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let (said, inbox) = talk(&SSE, &IDENTITY, &pieces);
            let request = String::from_utf8(said[0].clone()).unwrap();
            assert!(request.starts_with("GET /v1/namespaces/demo/sse?device=d1&user=ann&rooms=bench HTTP"));
            assert_eq!((inbox.is_ready(), inbox.received()), (true, 1), "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_stream_is_quoted() {
        let mut conversation = open(&IDENTITY);
        let mut inbox = crate::inbox::Inbox::default();
        let answer = b"HTTP/1.1 404 x\r\nContent-Length: 4\r\n\r\nnone";
        let heard = conversation.receive(answer, &mut Vec::new(), &mut Ear::with(&mut inbox, None));
        assert_eq!(heard.unwrap_err().to_string(), "the stream was answered with 404 none");
    }
}
