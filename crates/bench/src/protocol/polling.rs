//! Socket.IO of version 4 by HTTP long polling, on one connection that is kept alive.
//!
//! A poll that is under way keeps the connection busy, so a client speaks only after an answer: what it has to say
//! (join, pong, acknowledgements) is posted before the next poll.

use super::{Conversation, Identity, LinkError, Protocol, socketio::Packets, websocket::Say};
use crate::{
    http::{self, parse_answer},
    inbox::Ear,
};

/// `--protocol polling`.
pub(crate) const POLLING: Protocol = Protocol {
    name: "polling",
    about: "Socket.IO 4 by HTTP long polling",
    publisher: "tidings",
    acks: true,
    idle_bytes: None,
    open,
};

/// Between packets of a body.
const SEPARATOR: u8 = 0x1e;
/// Bytes of an answer that are read before giving up on it.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// How the session's id stands in the first packet.
const SID: &[u8] = b"\"sid\":\"";

fn open(identity: &Identity<'_>) -> Box<dyn Conversation> {
    Box::new(Polling {
        authority: identity.authority.into(),
        session: String::new(),
        packets: Packets::of_tidings(identity),
        partial: Vec::new(),
    })
}

struct Polling {
    authority: Box<str>,
    /// `&sid=…`, once it is known.
    session: String,
    packets: Packets,
    partial: Vec<u8>,
}

impl Polling {
    fn poll(&self, out: &mut Vec<u8>) {
        let Self { authority, session, .. } = self;
        let request =
            format!("GET /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        out.extend_from_slice(request.as_bytes());
    }

    fn post(&self, say: &Say, out: &mut Vec<u8>) {
        let Self { authority, session, .. } = self;
        let packets: Vec<&[u8]> = say.messages.iter().map(|(_, packet)| packet.as_slice()).collect();
        let body = packets.join(&SEPARATOR);
        let request = format!(
            "POST /socket.io/?EIO=4&transport=polling{session} HTTP/1.1\r\nHost: {authority}\r\n\
             Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        out.extend_from_slice(request.as_bytes());
        out.extend_from_slice(&body);
    }
}

impl Conversation for Polling {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.poll(out);
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, ear: &mut Ear<'_>) -> Result<(), LinkError> {
        let refused = |what: String| LinkError::Refused(format!("a poll was answered with {what}"));
        self.partial.extend_from_slice(bytes);
        while let Some((status, body, length)) = parse_answer(&self.partial).map_err(refused)? {
            self.partial.drain(..length);
            if status != 200 {
                return Err(refused(format!("{status} {}", String::from_utf8_lossy(&body).trim())));
            }
            if body == b"ok" {
                self.poll(out);
                continue;
            }
            if self.session.is_empty() {
                let sid = session_id(&body).ok_or_else(|| refused("no session".to_owned()))?;
                self.session = format!("&sid={sid}");
            }
            let mut say = Say::default();
            for packet in body.split(|byte| *byte == SEPARATOR) {
                self.packets.take(packet, &mut say, ear)?;
            }
            if say.messages.is_empty() { self.poll(out) } else { self.post(&say, out) }
        }
        if self.partial.len() > ANSWER_MAX + http::HEAD_MAX {
            return Err(refused("more than can be held".to_owned()));
        }
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        Ok(())
    }
}

fn session_id(body: &[u8]) -> Option<String> {
    let start = body.windows(SID.len()).position(|window| window == SID)? + SID.len();
    let rest = &body[start..];
    let end = rest.iter().position(|byte| *byte == b'"')?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{socketio::tests::IDENTITY, tests::talk};

    fn answer(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn it_posts_before_it_polls_again() {
        let two = "42/demo,7[\"push\",{\"id\":\"m\"}]\u{1e}42/demo,8[\"push\",{\"id\":\"n\"}]";
        let heard = [
            answer("0{\"sid\":\"abc\"}"),
            answer("ok"),
            answer("40/demo,{\"sid\":\"y\"}\u{1e}2"),
            answer("ok"),
            answer("43/demo,1[{\"ok\":true}]"),
            answer(two),
        ];
        let heard: Vec<&[u8]> = heard.iter().map(Vec::as_slice).collect();
        let (said, inbox) = talk(&POLLING, &IDENTITY, &heard);
        let said: Vec<String> = said.into_iter().map(|said| String::from_utf8(said).unwrap()).collect();
        let poll = "GET /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\nHost: h:1\r\n\r\n";
        assert_eq!(said[0], poll.replace("&sid=abc", ""));
        assert!(said[1].starts_with("POST /socket.io/?EIO=4&transport=polling&sid=abc HTTP/1.1\r\n"));
        assert!(said[1].ends_with("\r\n\r\n40/demo,{\"device\":\"d1\",\"user\":\"ann\"}"));
        assert!(said[3].ends_with("\r\n\r\n42/demo,1[\"join\",[\"bench\"]]\u{1e}3"));
        assert_eq!([&said[2], &said[4], &said[5]], [poll; 3]);
        assert!(said[6].ends_with("\r\nContent-Length: 23\r\n\r\n43/demo,7[]\u{1e}43/demo,8[]"));
        assert_eq!((inbox.is_ready(), inbox.received()), (true, 2));
    }
}
