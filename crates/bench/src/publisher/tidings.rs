//! Pushes over Tidings' HTTP: `messages` for one, `messages:batch` for several.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Backend, Publish, Publisher, Push, To};
use crate::http::parse_answer;

/// `--publisher tidings`.
pub(crate) const TIDINGS: Publisher = Publisher { name: "tidings", batches: true, pipelines: false, open };

/// How an answer says that a push was meant for no device.
const NOBODY: &[u8] = b"\"meant\":{\"devices\":0}";
/// Bytes of an answer that are read before giving up on it.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

fn open(backend: &Backend<'_>) -> Box<dyn Publish> {
    let Backend { authority, namespace, key, durability, ttl } = backend;
    let ttl = ttl.map_or_else(String::new, |ttl| format!(r#","ttl":"{ttl}""#));
    Box::new(Tidings {
        target: format!("/v1/namespaces/{namespace}/messages"),
        head: format!(
            " HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        ),
        tail: format!(r#","durability":"{durability}"{ttl}}}"#),
    })
}

struct Tidings {
    /// The path of a single call.
    target: String,
    /// Everything of a request between the path and the length.
    head: String,
    /// Everything of a push behind its data.
    tail: String,
}

impl Tidings {
    fn body(&self, push: &Push) -> String {
        let Push { to, data } = push;
        let to = match to {
            To::Room(room) => format!(r#""rooms":["{room}"]"#),
            To::User(user) => format!(r#""users":["{user}"]"#),
        };
        format!(r#"{{"to":{{{to}}},"event":"push","data":{data}{}"#, self.tail)
    }
}

impl Publish for Tidings {
    fn write(&self, pushes: &[Push], out: &mut Vec<u8>) {
        let (call, body) = match pushes {
            [push] => ("", self.body(push)),
            many => {
                let bodies: Vec<String> = many.iter().map(|push| self.body(push)).collect();
                (":batch", format!("{{\"messages\":[{}]}}", bodies.join(",")))
            }
        };
        let Self { target, head, .. } = self;
        let request = format!("POST {target}{call}{head}Content-Length: {}\r\n\r\n{body}", body.len());
        out.extend_from_slice(request.as_bytes());
    }

    fn read(&self, bytes: &[u8], pushes: usize) -> Result<Option<usize>, String> {
        match parse_answer(bytes)? {
            Some((status, body, length)) => accepted(status, &body, pushes).map(|()| Some(length)),
            None if bytes.len() < ANSWER_MAX => Ok(None),
            None => Err("an answer without end".to_owned()),
        }
    }
}

/// An error that quotes the refusal, unless all of `pushes` were accepted.
fn accepted(status: u16, body: &[u8], pushes: usize) -> Result<(), String> {
    let quote = || String::from_utf8_lossy(body);
    // Every push of a scenario is meant for somebody who has connected before.
    if memmem::find(body, NOBODY).is_some() {
        return Err(format!("accepted, but meant for nobody: {}", quote()));
    }
    match (status, pushes) {
        (202, 1) => return Ok(()),
        (200, _) => {}
        _ => return Err(format!("answered with {status} {}", quote())),
    }
    let answer: BatchAnswer<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("not the answer to a batch: {error}: {}", quote()))?;
    if let Some(error) = answer.results.iter().find_map(|result| result.error) {
        return Err(format!("an entry of the batch was answered with {error}"));
    }
    if answer.results.len() != pushes {
        return Err(format!("{} results for a batch of {pushes}", answer.results.len()));
    }
    Ok(())
}

/// What is looked at in the answer to a batch.
#[derive(Deserialize)]
struct BatchAnswer<'a> {
    #[serde(borrow)]
    results: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::tests::BACKEND;

    #[test]
    fn one_push_is_a_call_and_several_are_a_batch() {
        let publish = open(&BACKEND);
        let push = |to| Push { to, data: r#"{"seq":1}"#.to_owned() };
        let (room, user) = (push(To::Room("r".into())), push(To::User("u".into())));
        let check = |pushes: &[Push], path: &str, body: &str| {
            let mut out = Vec::new();
            publish.write(pushes, &mut out);
            let expected = format!(
                "POST /v1/namespaces/demo/{path} HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer k\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        let body = |to: &str| {
            format!(r#"{{"to":{to},"event":"push","data":{{"seq":1}},"durability":"durable","ttl":"1s"}}"#)
        };
        let (to_room, to_user) = (body(r#"{"rooms":["r"]}"#), body(r#"{"users":["u"]}"#));
        check(std::slice::from_ref(&room), "messages", &to_room);
        let both = format!(r#"{{"messages":[{to_room},{to_user}]}}"#);
        check(&[room, user], "messages:batch", &both);
    }

    #[test]
    fn refusals_are_quoted() {
        assert_eq!(accepted(202, b"{\"id\":\"x\"}", 1), Ok(()));
        assert_eq!(accepted(200, b"{\"results\":[{},{}]}", 2), Ok(()));
        let check = |status, body: &[u8], expected: &str| {
            assert_eq!(accepted(status, body, 2).unwrap_err(), expected);
        };
        check(401, b"{\"code\":\"unauthorized\"}", "answered with 401 {\"code\":\"unauthorized\"}");
        let nobody = br#"{"results":[{"id":"x","meant":{"devices":0}}]}"#;
        check(
            200,
            nobody,
            r#"accepted, but meant for nobody: {"results":[{"id":"x","meant":{"devices":0}}]}"#,
        );
        check(200, b"{}", "not the answer to a batch: missing field `results` at line 1 column 2: {}");
        check(200, b"{\"results\":[{}]}", "1 results for a batch of 2");
        check(
            200,
            b"{\"results\":[{},{\"error\":{\"code\":\"x\"}}]}",
            "an entry of the batch was answered with {\"code\":\"x\"}",
        );
    }
}
