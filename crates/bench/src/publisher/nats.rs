//! Publishing to NATS over its plain TCP protocol: `PUB` for each, and a `PING` whose answer says that all are taken.

use super::{Backend, Publish, Publisher, Push, To};
use crate::protocol::nats::CONNECT;

/// `--publisher nats`. Order holds among the messages of one connection, hence one for all.
pub(crate) const NATS: Publisher = Publisher { name: "nats", batches: true, pipelines: true, open };

/// Ends lines.
const END: &[u8] = b"\r\n";

fn open(_backend: &Backend<'_>) -> Box<dyn Publish> {
    Box::new(Nats)
}

struct Nats;

/// The first line of `bytes` without its end, nothing while it is incomplete.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memmem::find(bytes, END).map(|end| &bytes[..end])
}

impl Publish for Nats {
    fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(CONNECT.as_bytes());
    }

    fn greeted(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
        match line(bytes) {
            None => Ok(None),
            Some(line) if line.starts_with(b"INFO ") => Ok(Some(line.len() + END.len())),
            Some(line) => Err(format!("greeted with {}", String::from_utf8_lossy(line))),
        }
    }

    fn write(&self, pushes: &[Push], out: &mut Vec<u8>) {
        // The answer to a ping that may have come since the last call.
        out.extend_from_slice(b"PONG\r\n");
        for Push { to: To::Room(subject) | To::User(subject), data } in pushes {
            out.extend_from_slice(format!("PUB {subject} {}\r\n{data}\r\n", data.len()).as_bytes());
        }
        out.extend_from_slice(b"PING\r\n");
    }

    fn read(&self, bytes: &[u8], _pushes: usize) -> Result<Option<usize>, String> {
        let mut at = 0;
        while let Some(line) = line(&bytes[at..]) {
            at += line.len() + END.len();
            match line {
                b"PONG" => return Ok(Some(at)),
                b"PING" => {}
                other => return Err(format!("answered with {}", String::from_utf8_lossy(other))),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::tests::{BACKEND, pushes, written};

    #[test]
    fn a_ping_follows_the_pushes_and_its_answer_is_theirs() {
        let expected = "PONG\r\nPUB r 9\r\n{\"seq\":1}\r\nPUB r 9\r\n{\"seq\":2}\r\nPING\r\n";
        let publish = open(&BACKEND);
        assert_eq!(written(publish.as_ref(), &pushes(2)), expected);
        assert_eq!(publish.greeted(b"INFO {} \r\nPI"), Ok(Some(10)));
        assert_eq!(publish.greeted(b"INFO {} \r"), Ok(None));
        assert_eq!(publish.read(b"PING\r\nPONG\r\n", 2), Ok(Some(12)));
        assert_eq!(publish.read(b"PING\r\nPON", 2), Ok(None));
        assert_eq!(publish.read(b"-ERR 'no'\r\n", 2), Err("answered with -ERR 'no'".to_owned()));
    }
}
