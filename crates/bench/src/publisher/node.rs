//! The `POST /publish` of the servers in `peers/node`: a JSON array of what is to be sent to everybody in the room.

use super::{Backend, Publish, Publisher, Push};
use crate::http::parse_answer;

/// `--publisher node`.
pub(crate) const NODE: Publisher = Publisher { name: "node", batches: true, pipelines: false, open };

fn open(backend: &Backend<'_>) -> Box<dyn Publish> {
    Box::new(Node { authority: backend.authority.into() })
}

struct Node {
    authority: Box<str>,
}

impl Publish for Node {
    fn write(&self, pushes: &[Push], out: &mut Vec<u8>) {
        let data: Vec<&str> = pushes.iter().map(|push| push.data.as_str()).collect();
        let body = format!("[{}]", data.join(","));
        let head = format!(
            "POST /publish HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.authority,
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body.as_bytes());
    }

    fn read(&self, bytes: &[u8], _pushes: usize) -> Result<Option<usize>, String> {
        answered(bytes, 200)
    }
}

/// The length of an HTTP answer with this status, nothing while it is incomplete; another status is quoted.
pub(super) fn answered(bytes: &[u8], expected: u16) -> Result<Option<usize>, String> {
    match parse_answer(bytes)? {
        Some((status, _, length)) if status == expected => Ok(Some(length)),
        Some((status, body, _)) => {
            Err(format!("answered with {status} {}", String::from_utf8_lossy(&body).trim()))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::tests::{BACKEND, pushes, written};

    #[test]
    fn several_pushes_are_one_array() {
        let expected = "POST /publish HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\n\
                        Content-Length: 21\r\n\r\n[{\"seq\":1},{\"seq\":2}]";
        assert_eq!(written(open(&BACKEND).as_ref(), &pushes(2)), expected);
    }

    #[test]
    fn answers_are_whole_and_good_or_quoted() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(answered(answer, 200), Ok(Some(answer.len())));
        assert_eq!(answered(&answer[..answer.len() - 1], 200), Ok(None));
        assert_eq!(answered(answer, 201), Err("answered with 200 {}".to_owned()));
    }
}
