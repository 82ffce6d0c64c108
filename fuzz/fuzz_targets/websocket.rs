//! WebSocket frames: however the bytes are cut, the decoder says the same, and holds no more than has arrived.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::websocket::{Decoder, Error, Inflater};

const LIMIT: usize = 4096;

fn feed(input: &[u8], step: usize, client: bool, deflate: bool) -> (Vec<String>, Option<Error>) {
    let mut decoder = if client { Decoder::for_client() } else { Decoder::new() };
    let mut inflater = deflate.then(Inflater::default);
    let mut said = Vec::new();
    for piece in input.chunks(step) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.decode_with(&mut piece[at..], LIMIT, inflater.as_mut()) {
                Ok((used, message)) => {
                    assert!(used > 0, "no progress");
                    said.extend(message.map(|message| format!("{message:?}")));
                    at += used;
                }
                Err(error) => return (said, Some(error)),
            }
        }
        assert!(decoder.held() <= 2 * LIMIT + 1024);
    }
    (said, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&[flags, step], input)) = input.split_first_chunk::<2>() else { return };
    let (client, deflate) = (flags & 1 == 1, flags & 2 == 2);
    let whole = feed(input, usize::MAX, client, deflate);
    assert_eq!(feed(input, 1 + usize::from(step), client, deflate), whole);
    assert_eq!(feed(input, 1, client, deflate), whole);
});
