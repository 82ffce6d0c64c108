//! Nchan's publisher over HTTP: `POST /pub`, one message in a call.

use super::{Backend, Publish, Publisher, Push, node::answered};

/// `--publisher nchan`.
pub(crate) const NCHAN: Publisher = Publisher { name: "nchan", batches: false, pipelines: false, open };

/// The status when there are subscribers.
const CREATED: u16 = 201;

fn open(backend: &Backend<'_>) -> Box<dyn Publish> {
    Box::new(Nchan { authority: backend.authority.into() })
}

struct Nchan {
    authority: Box<str>,
}

impl Publish for Nchan {
    fn write(&self, pushes: &[Push], out: &mut Vec<u8>) {
        for Push { data, .. } in pushes {
            let request = format!(
                "POST /pub HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{data}",
                self.authority,
                data.len()
            );
            out.extend_from_slice(request.as_bytes());
        }
    }

    fn read(&self, bytes: &[u8], _pushes: usize) -> Result<Option<usize>, String> {
        answered(bytes, CREATED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::tests::{BACKEND, pushes, written};

    #[test]
    fn a_push_is_a_call() {
        let expected = "POST /pub HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\n\
                        Content-Length: 9\r\n\r\n{\"seq\":1}";
        assert_eq!(written(open(&BACKEND).as_ref(), &pushes(1)), expected);
    }

    #[test]
    fn a_message_that_nobody_subscribes_to_is_not_accepted() {
        let nobody = b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nnone";
        assert_eq!(open(&BACKEND).read(nobody, 1), Err("answered with 202 none".to_owned()));
    }
}
