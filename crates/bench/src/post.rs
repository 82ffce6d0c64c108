//! The backend's side: pushes by HTTP, without blocking, on the epoll of the clients.
//!
//! A handful of keep-alive connections; a call takes a free one or opens another. Accepted pushes are counted here,
//! from the answers, apart from what arrives at the clients.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use serde_json::Value;

use crate::{
    error::{BenchError, Doing},
    fleet::FOREIGN,
};

/// Calls under way at once.
const LINES_MAX: usize = 64;
/// Bytes of an answer that are read before giving up on it.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// How pushes are called in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Call {
    /// All that may be sent now in one call of `messages:batch`.
    Batch,
    /// One call of `messages` for each, side by side.
    Single,
}

/// Sends pushes and counts those accepted.
pub(crate) struct Poster {
    address: SocketAddr,
    /// Everything of a request between the path and the length.
    head: String,
    namespace: String,
    lines: Vec<Line>,
    accepted: u64,
}

struct Line {
    stream: TcpStream,
    unsent: Vec<u8>,
    answer: Vec<u8>,
    /// Pushes in the call that is under way.
    pushes: usize,
    closed: bool,
}

impl Poster {
    /// Calls `namespace` on the server at `address` with `key`.
    pub(crate) fn new(address: SocketAddr, authority: &str, namespace: &str, key: &str) -> Self {
        let head = format!(
            " HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        );
        Self { address, head, namespace: namespace.to_owned(), lines: Vec::new(), accepted: 0 }
    }

    /// Pushes that the server has accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// True while a call waits for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lines.iter().any(|line| line.pushes > 0)
    }

    /// Starts the calls for `pushes` (the bodies of `POST messages`).
    pub(crate) fn post(
        &mut self,
        registry: &Registry,
        pushes: &[String],
        call: Call,
    ) -> Result<(), BenchError> {
        match call {
            Call::Single => {
                for push in pushes {
                    self.send(registry, "messages", push, 1)?;
                }
            }
            Call::Batch if pushes.is_empty() => {}
            Call::Batch => {
                let body = format!("{{\"messages\":[{}]}}", pushes.join(","));
                self.send(registry, "messages:batch", &body, pushes.len())?;
            }
        }
        Ok(())
    }

    fn send(&mut self, registry: &Registry, call: &str, body: &str, pushes: usize) -> Result<(), BenchError> {
        let request = format!(
            "POST /v1/namespaces/{}/{call}{}Content-Length: {}\r\n\r\n{body}",
            self.namespace,
            self.head,
            body.len()
        );
        let index = match self.lines.iter().position(|line| line.pushes == 0 && !line.closed) {
            Some(free) => free,
            None => self.open(registry)?,
        };
        let line = &mut self.lines[index];
        line.pushes = pushes;
        line.unsent = request.into_bytes();
        line.flush().map_err(|error| broken(&error))
    }

    fn open(&mut self, registry: &Registry) -> Result<usize, BenchError> {
        let doing = "opening a connection for pushes";
        let index = self.lines.iter().position(|line| line.closed).unwrap_or(self.lines.len());
        if index >= LINES_MAX {
            let what = format!("{LINES_MAX} calls are unanswered");
            return Err(BenchError::Protocol { who: "push".to_owned(), what });
        }
        let stream = std::net::TcpStream::connect(self.address).doing(doing)?;
        stream.set_nodelay(true).doing(doing)?;
        stream.set_nonblocking(true).doing(doing)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(FOREIGN + index), interest).doing(doing)?;
        let line = Line { stream, unsent: Vec::new(), answer: Vec::new(), pushes: 0, closed: false };
        match self.lines.get_mut(index) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
        Ok(index)
    }

    /// Something happened to the socket with this token.
    pub(crate) fn ready(&mut self, token: usize, readable: bool) -> Result<(), BenchError> {
        let Some(line) = token.checked_sub(FOREIGN).and_then(|index| self.lines.get_mut(index)) else {
            return Ok(());
        };
        line.flush().map_err(|error| broken(&error))?;
        if !readable || line.closed {
            return Ok(());
        }
        line.read().map_err(|error| broken(&error))?;
        if let Some((status, body)) = line.take_answer()? {
            let pushes = std::mem::take(&mut line.pushes);
            self.accepted += accepted(status, &body, pushes)?;
        }
        if line.closed && line.pushes > 0 {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

fn broken(error: &io::Error) -> BenchError {
    BenchError::Protocol { who: "push".to_owned(), what: format!("the connection broke: {error}") }
}

impl Line {
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    return Ok(());
                }
                Ok(len) => self.answer.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes a complete answer: its status and its body.
    fn take_answer(&mut self) -> Result<Option<(u16, Vec<u8>)>, BenchError> {
        match parse_answer(&self.answer) {
            Ok(Some((status, body, len))) => {
                self.answer.drain(..len);
                Ok(Some((status, body)))
            }
            Ok(None) if self.answer.len() < ANSWER_MAX => Ok(None),
            Ok(None) => {
                Err(BenchError::Protocol { who: "push".to_owned(), what: "an answer without end".to_owned() })
            }
            Err(what) => Err(BenchError::Protocol { who: "push".to_owned(), what }),
        }
    }
}

/// Status, body and total length of an HTTP answer, nothing while it is incomplete.
fn parse_answer(bytes: &[u8]) -> Result<Option<(u16, Vec<u8>, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(bytes).map_err(|error| format!("the answer: {error}"))? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let status = answer.code.unwrap_or_default();
    let header = |name: &str| {
        let found = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(parse_chunks(&bytes[head..])?.map(|(body, len)| (status, body, head + len)));
    }
    let len = header("content-length").and_then(|value| value.trim().parse::<usize>().ok()).unwrap_or(0);
    Ok(bytes.get(head..head + len).map(|body| (status, body.to_vec(), head + len)))
}

/// A chunked body and its length on the wire, nothing while it is incomplete.
fn parse_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let size = httparse::parse_chunk_size(&bytes[at..]).map_err(|_| "the answer: bad chunk size")?;
        let httparse::Status::Complete((line, size)) = size else { return Ok(None) };
        let size = usize::try_from(size).map_err(|_| "the answer: bad chunk size")?;
        let start = at + line;
        let Some(chunk) = bytes.get(start..start + size + 2) else { return Ok(None) };
        at = start + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// How many of `pushes` were accepted by this answer; a refusal is an error that quotes it.
fn accepted(status: u16, body: &[u8], pushes: usize) -> Result<u64, BenchError> {
    let refused = |what: String| BenchError::Protocol { who: "push".to_owned(), what };
    let text = String::from_utf8_lossy(body);
    if status != 202 && status != 200 {
        return Err(refused(format!("answered with {status} {text}")));
    }
    let answer: Value = serde_json::from_slice(body)
        .map_err(|error| refused(format!("an answer that is not JSON: {error}: {text}")))?;
    let Some(results) = answer.get("results").and_then(Value::as_array) else { return Ok(1) };
    if let Some(error) = results.iter().find_map(|result| result.get("error")) {
        return Err(refused(format!("an entry of the batch was answered with {error}")));
    }
    if results.len() != pushes {
        return Err(refused(format!("{} results for a batch of {pushes}", results.len())));
    }
    Ok(pushes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_complete_or_not() {
        let sized = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}rest";
        assert_eq!(parse_answer(sized).unwrap(), Some((202, b"{}".to_vec(), sized.len() - 4)));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(parse_answer(chunked).unwrap(), Some((200, b"{}".to_vec(), chunked.len())));
        for whole in [&sized[..sized.len() - 4], &chunked[..]] {
            for cut in 0..whole.len() {
                assert_eq!(parse_answer(&whole[..cut]).unwrap(), None, "cut at {cut}");
            }
        }
        assert!(parse_answer(b"\x16\x03\x01garbage").is_err());
    }

    #[test]
    fn refusals_are_quoted() {
        assert_eq!(accepted(202, b"{\"id\":\"x\"}", 1).unwrap(), 1);
        assert_eq!(accepted(200, b"{\"results\":[{},{}]}", 2).unwrap(), 2);
        let check = |status, body: &[u8], expected: &str| {
            assert_eq!(accepted(status, body, 2).unwrap_err().to_string(), expected);
        };
        check(401, b"{\"code\":\"unauthorized\"}", "push: answered with 401 {\"code\":\"unauthorized\"}");
        check(200, b"{\"results\":[{}]}", "push: 1 results for a batch of 2");
        check(
            200,
            b"{\"results\":[{},{\"error\":{\"code\":\"x\"}}]}",
            "push: an entry of the batch was answered with {\"code\":\"x\"}",
        );
    }
}
