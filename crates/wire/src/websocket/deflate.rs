//! permessage-deflate (RFC 7692) without context takeover: each message is compressed by itself, so that
//! one compressed frame serves every connection of a window size, and no connection keeps a dictionary.
//!
//! It knows no frame and no connection: who negotiated what is the caller's to remember.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Error, HEADER_BYTES_MAX, Opcode, header_bytes};

/// What the end of every message is on the wire of a flushed stream; left out of a frame (7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The extension's name.
const NAME: &str = "permessage-deflate";

/// Most offers of one handshake that are looked at.
const OFFERS_MAX: usize = 16;

/// Fast rather than small: what is repeated in a message is found at any level.
const LEVEL: u32 = 3;

/// Memory that is kept between two messages at most, in bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// First bit of a frame header that says "compressed".
pub(super) const RSV1: u8 = 0x40;

/// The largest distance back that a client wants to look, as a class of our own: two kinds of frames are
/// enough, since a client that allows more also takes less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// 32 KiB, `server_max_window_bits` 15 or nothing said.
    Full,
    /// 512 bytes, for whoever asked for less than that.
    Small,
}

impl Window {
    fn bits(self) -> u8 {
        match self {
            Self::Full => 15,
            Self::Small => 9,
        }
    }
}

/// What both sides have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How frames for this client are compressed.
    pub window: Window,
    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub answer: String,
}

/// Takes the first acceptable offer of a client; `offers` are the values of its `Sec-WebSocket-Extensions`.
#[must_use]
pub fn negotiate<'a>(offers: impl IntoIterator<Item = &'a str>) -> Option<Agreement> {
    offers.into_iter().flat_map(|value| value.split(',')).take(OFFERS_MAX).find_map(accept)
}

/// Judges one offer. One with a parameter that is unknown, repeated or out of range is passed over (7.1).
fn accept(offer: &str) -> Option<Agreement> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let (mut server_takeover, mut client_takeover) = (false, false);
    let (mut server_bits, mut client_bits) = (None, false);
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        let bits = value.map(|value| window_bits(value).ok_or(())).transpose().ok()?;
        let repeated = match name.to_ascii_lowercase().as_str() {
            "server_no_context_takeover" if bits.is_none() => std::mem::replace(&mut server_takeover, true),
            "client_no_context_takeover" if bits.is_none() => std::mem::replace(&mut client_takeover, true),
            "server_max_window_bits" => server_bits.replace(bits?).is_some(),
            "client_max_window_bits" => std::mem::replace(&mut client_bits, true),
            _ => return None,
        };
        if repeated {
            return None;
        }
    }
    let window = match server_bits {
        None | Some(15) => Window::Full,
        // Raw deflate has no window of 256 bytes.
        Some(8) => return None,
        Some(_) => Window::Small,
    };
    let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
    if let Some(bits) = server_bits {
        answer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    Some(Agreement { window, answer })
}

/// 8 to 15, without leading zeros (7.1.2).
fn window_bits(text: &str) -> Option<u8> {
    let bits: u8 = text.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (text.len() == bits.to_string().len()).then_some(bits)
}

/// Compresses messages. One is enough for any number of connections.
#[derive(Debug)]
pub struct Deflater {
    min: usize,
    full: Option<Box<Compress>>,
    small: Option<Box<Compress>>,
    out: Vec<u8>,
}

impl Deflater {
    /// Leaves payloads of less than `min` bytes as they are.
    #[must_use]
    pub fn new(min: usize) -> Self {
        Self { min, full: None, small: None, out: Vec::new() }
    }

    /// The whole compressed frame of a message; `None` when compressing it does not pay.
    pub fn frame(&mut self, window: Window, opcode: Opcode, payload: &[u8]) -> Option<Vec<u8>> {
        if payload.len() < self.min {
            return None;
        }
        self.compress(window, payload)?;
        let body = self.out.strip_suffix(&TAIL).unwrap_or(&self.out);
        // With no threshold everything is to be compressed, smaller or not.
        if self.min > 0 && body.len() >= payload.len() {
            return None;
        }
        let (mut head, len) = header_bytes(opcode, body.len());
        head[0] |= RSV1;
        let mut frame = Vec::with_capacity(HEADER_BYTES_MAX + body.len());
        frame.extend_from_slice(head.get(..len).unwrap_or_default());
        frame.extend_from_slice(body);
        if self.out.capacity() > KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
        Some(frame)
    }

    fn compress(&mut self, window: Window, payload: &[u8]) -> Option<()> {
        let slot = match window {
            Window::Full => &mut self.full,
            Window::Small => &mut self.small,
        };
        let new = || Box::new(Compress::new_with_window_bits(Compression::new(LEVEL), false, window.bits()));
        let state = slot.get_or_insert_with(new);
        state.reset();
        self.out.clear();
        self.out.reserve(payload.len() / 2 + 64);
        let mut input = payload;
        loop {
            let before = state.total_in();
            state.compress_vec(input, &mut self.out, FlushCompress::Sync).ok()?;
            input = input.get((state.total_in() - before) as usize..)?;
            if input.is_empty() && self.out.len() < self.out.capacity() {
                return Some(());
            }
            self.out.reserve(self.out.len().max(64));
        }
    }
}

/// Decompresses messages. One is enough for any number of connections.
#[derive(Debug)]
pub struct Inflater {
    state: Decompress,
    out: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: Decompress::new(false), out: Vec::new() }
    }
}

impl Inflater {
    /// Decompresses the payload of a message.
    ///
    /// # Errors
    /// [`Error::BadDeflate`] when it is not compressed data, [`Error::TooLarge`] when it is more than `limit` bytes
    /// in the end; not more than that is ever held.
    pub fn inflate(&mut self, payload: &[u8], limit: usize) -> Result<&[u8], Error> {
        if self.out.capacity() > KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
        self.state.reset(false);
        self.out.clear();
        if !self.take(payload, limit)? {
            self.take(&TAIL, limit)?;
        }
        Ok(&self.out)
    }

    /// Answers whether the stream has said that it is at its end.
    fn take(&mut self, mut input: &[u8], limit: usize) -> Result<bool, Error> {
        loop {
            if self.out.len() == self.out.capacity() {
                if self.out.len() > limit {
                    return Err(Error::TooLarge);
                }
                // One byte more than may be shows that there is more than may be.
                let room = (4 * input.len()).max(self.out.len()).max(256);
                self.out.reserve_exact(room.min(limit - self.out.len() + 1));
            }
            let (read, held) = (self.state.total_in(), self.out.len());
            let status = self
                .state
                .decompress_vec(input, &mut self.out, FlushDecompress::Sync)
                .map_err(|_| Error::BadDeflate)?;
            input = input.get((self.state.total_in() - read) as usize..).unwrap_or_default();
            if self.out.len() > limit {
                return Err(Error::TooLarge);
            }
            if status == Status::StreamEnd {
                // The byte that stands for the empty block after a last one (7.2.3.4).
                return if matches!(input, [] | [0]) { Ok(true) } else { Err(Error::BadDeflate) };
            }
            let stuck = self.state.total_in() == read && self.out.len() == held;
            match (input.is_empty(), self.out.len() < self.out.capacity()) {
                (true, true) => return Ok(false),
                (false, true) if stuck => return Err(Error::BadDeflate),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(offer: &str, expected: Option<(Window, &str)>) {
        let found = negotiate([offer]);
        let found = found.as_ref().map(|agreed| (agreed.window, agreed.answer.as_str()));
        assert_eq!(found, expected, "{offer}");
    }

    #[test]
    fn the_first_acceptable_offer_is_taken() {
        const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let full = Some((Window::Full, PLAIN));
        for offer in [
            "permessage-deflate",
            "Permessage-Deflate ; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate; client_no_context_takeover",
            "permessage-deflate; mux=1, permessage-deflate",
        ] {
            check(offer, full);
        }
        let small = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9";
        check("permessage-deflate; server_max_window_bits=9", Some((Window::Small, small)));
        check("permessage-deflate; server_max_window_bits=\"9\"", Some((Window::Small, small)));
        for offer in [
            "",
            "deflate",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; unknown",
        ] {
            check(offer, None);
        }
        assert_eq!(negotiate(["a", "permessage-deflate"]).map(|agreed| agreed.window), Some(Window::Full));
    }

    /// The payload of a frame that [`Deflater::frame`] made.
    fn body(frame: &[u8]) -> &[u8] {
        assert_eq!(frame[0], 0xc1);
        match frame[1] {
            126 => &frame[4..],
            127 => &frame[10..],
            _ => &frame[2..],
        }
    }

    #[test]
    fn small_and_incompressible_payloads_stay_as_they_are() {
        let mut deflater = Deflater::new(100);
        assert_eq!(deflater.frame(Window::Full, Opcode::Text, &[b'a'; 99]), None);
        assert!(deflater.frame(Window::Full, Opcode::Text, &[b'a'; 100]).is_some());
        let noise: Vec<u8> = (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(deflater.frame(Window::Full, Opcode::Binary, &noise), None);
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let bomb = Deflater::new(0).frame(Window::Full, Opcode::Text, &vec![0; 10 << 20]).unwrap();
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(body(&bomb), 1_000), Err(Error::TooLarge));
        assert!(inflater.out.capacity() <= 1_001);
        assert_eq!(inflater.inflate(body(&bomb), 10 << 20).map(<[u8]>::len), Ok(10 << 20));
    }

    #[test]
    fn a_stream_that_ends_itself_is_read_and_nothing_may_follow_it() {
        let mut inflater = Inflater::default();
        // "Hello" in a last block (RFC 7692 7.2.3.4).
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(inflater.inflate(&last, 100), Ok(&b"Hello"[..]));
        let more = [&last[..], &last[..]].concat();
        assert_eq!(inflater.inflate(&more, 100), Err(Error::BadDeflate));
        assert_eq!(inflater.inflate(b"not deflate", 100), Err(Error::BadDeflate));
        assert_eq!(Error::BadDeflate.close_code(), 1002);
        assert_eq!(inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 100), Ok(&b"Hello"[..]));
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(
            words in prop::collection::vec("[a-d]{1,8}", 0..300),
            small in any::<bool>(),
        ) {
            let text = words.concat().into_bytes();
            let window = if small { Window::Small } else { Window::Full };
            let frame = Deflater::new(0).frame(window, Opcode::Text, &text).unwrap();
            let mut inflater = Inflater::default();
            prop_assert_eq!(inflater.inflate(body(&frame), text.len()), Ok(&text[..]));
            if !text.is_empty() {
                prop_assert_eq!(inflater.inflate(body(&frame), text.len() - 1), Err(Error::TooLarge));
            }
        }

        #[test]
        fn any_bytes_are_data_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut inflater = Inflater::default();
            if let Ok(data) = inflater.inflate(&bytes, 5_000) {
                prop_assert!(data.len() <= 5_000);
            }
        }
    }
}
