//! Just enough HTTP/1.1 for a client that reads answers as they come: heads, sized and chunked bodies.

/// Bytes of a head that are read before giving up on it.
pub(crate) const HEAD_MAX: usize = 16 * 1024;
/// Headers of an answer.
const HEADERS_MAX: usize = 64;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Bytes of the head, the empty line included.
    pub head: usize,
    headers: Vec<(&'a str, &'a str)>,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// By the number of its bytes.
    Sized(usize),
    /// By a last chunk.
    Chunked,
}

impl<'a> Answer<'a> {
    /// The head at the start of `bytes`, nothing while it is incomplete.
    pub(crate) fn parse_head(bytes: &'a [u8]) -> Result<Option<Self>, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut headers);
        let head = match answer.parse(bytes).map_err(|error| format!("what is not HTTP: {error}"))? {
            httparse::Status::Complete(head) => head,
            httparse::Status::Partial => return Ok(None),
        };
        let status = answer.code.unwrap_or_default();
        let headers = answer.headers.iter();
        let headers = headers.filter_map(|h| Some((h.name, std::str::from_utf8(h.value).ok()?))).collect();
        Ok(Some(Self { status, head, headers }))
    }

    /// The value of the header with this name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// How long the body is.
    pub(crate) fn length(&self) -> Length {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Length::Chunked;
        }
        Length::Sized(self.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0))
    }
}

/// Status, body and length on the wire of a whole answer, nothing while it is incomplete.
pub(crate) fn parse_answer(bytes: &[u8]) -> Result<Option<(u16, Vec<u8>, usize)>, String> {
    let Some(answer) = Answer::parse_head(bytes)? else { return Ok(None) };
    let (status, head) = (answer.status, answer.head);
    match answer.length() {
        Length::Chunked => {
            Ok(parse_chunks(&bytes[head..])?.map(|(body, length)| (status, body, head + length)))
        }
        Length::Sized(length) => {
            Ok(bytes.get(head..head + length).map(|body| (status, body.to_vec(), head + length)))
        }
    }
}

/// A chunked body and its length on the wire, nothing while it is incomplete.
fn parse_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some((chunk, length)) = parse_chunk(&bytes[at..])? {
        at += length;
        if chunk.is_empty() {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(chunk);
    }
    Ok(None)
}

/// The chunk at the start of `bytes` (an empty one is the last) and its length on the wire, nothing while it is
/// incomplete.
pub(crate) fn parse_chunk(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, String> {
    let size = httparse::parse_chunk_size(bytes).map_err(|_| "a bad chunk size")?;
    let httparse::Status::Complete((line, size)) = size else { return Ok(None) };
    let size = usize::try_from(size).map_err(|_| "a bad chunk size")?;
    let end = line.checked_add(size).and_then(|end| end.checked_add(2)).ok_or("a bad chunk size")?;
    Ok(bytes.get(line..end).map(|chunk| (&chunk[..size], end)))
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
}
