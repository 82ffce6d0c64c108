//! WebSocket frames as a counting client sees them: headers are parsed, payloads are passed over.
//!
//! It knows nothing of sockets or of what the payloads mean. [`Scanner`] takes the stream in any pieces; all that it
//! keeps of a connection between two of them is a partial header and the length still to come.

/// Longest header of an unmasked frame: two bytes and a 64-bit length.
const HEADER_MAX: usize = 10;
/// Longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_MAX: u64 = 125;
/// The mask of every frame that the bench sends. Masks protect proxies from scripts, which the bench is not.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// UTF-8 data.
    #[default]
    Text,
    /// Other data.
    Binary,
    /// The peer says goodbye.
    Close,
    /// To be answered by a pong with the same payload.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Kind {
    fn opcode(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// Receives what a [`Scanner`] finds.
pub(crate) trait Sink {
    /// A piece of the payload of a message, perhaps an empty one; `end` when it is the last of it.
    fn piece(&mut self, kind: Kind, bytes: &[u8], end: bool);
}

/// A byte stream that is not WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// An opcode without a meaning, or reserved bits without an extension.
    #[error("a frame begins with {0:#04x}")]
    FirstByte(u8),
    /// Servers must not mask.
    #[error("a frame from the server is masked")]
    Masked,
    /// A control frame that is fragmented or longer than 125 bytes.
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A continuation of nothing, or a new message within one.
    #[error("fragments out of place")]
    Fragment,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    opcode: u8,
    fin: bool,
    payload: u64,
    size: usize,
}

impl Header {
    /// The header at the start of `bytes`, or nothing while it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::FirstByte(first));
        }
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let (payload, size) = match second {
            126 => match bytes.get(2..4).and_then(|b| b.try_into().ok()) {
                Some(b) => (u64::from(u16::from_be_bytes(b)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|b| b.try_into().ok()) {
                Some(b) => (u64::from_be_bytes(b), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        Ok(Some(Self { opcode: first & 0x0f, fin: first & 0x80 != 0, payload, size }))
    }
}

/// Finds the frames in a byte stream that arrives in arbitrary pieces.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Payload bytes of the current frame that have not come yet.
    remaining: u64,
    header: [u8; HEADER_MAX],
    header_len: u8,
    in_payload: bool,
    fin: bool,
    kind: Kind,
    /// The kind of the fragmented message that is under way.
    fragmented: Option<Kind>,
}

impl Scanner {
    /// Takes the next bytes of the stream and tells `sink` what is in them.
    pub(crate) fn scan<S: Sink>(&mut self, mut bytes: &[u8], sink: &mut S) -> Result<(), FrameError> {
        loop {
            if self.in_payload {
                let take = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
                let (piece, rest) = bytes.split_at(take);
                bytes = rest;
                self.remaining -= take as u64;
                let whole = self.remaining == 0;
                sink.piece(self.kind, piece, whole && self.fin);
                if !whole {
                    return Ok(());
                }
                self.in_payload = false;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            match self.take_header(&mut bytes)? {
                Some(header) => self.begin(header)?,
                None => return Ok(()),
            }
        }
    }

    /// Removes a header from the front of `bytes`, with what was kept of it from before.
    fn take_header(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, FrameError> {
        if self.header_len == 0
            && let Some(header) = Header::parse(bytes)?
        {
            *bytes = &bytes[header.size..];
            return Ok(Some(header));
        }
        while let Some((&next, rest)) = bytes.split_first() {
            self.header[usize::from(self.header_len)] = next;
            self.header_len += 1;
            *bytes = rest;
            if let Some(header) = Header::parse(&self.header[..usize::from(self.header_len)])? {
                self.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn begin(&mut self, header: Header) -> Result<(), FrameError> {
        let kind = match header.opcode {
            0x0 => self.fragmented.ok_or(FrameError::Fragment)?,
            0x1 | 0x2 if self.fragmented.is_some() => return Err(FrameError::Fragment),
            0x1 => Kind::Text,
            0x2 => Kind::Binary,
            0x8 => Kind::Close,
            0x9 => Kind::Ping,
            0xa => Kind::Pong,
            other => return Err(FrameError::FirstByte(other)),
        };
        if header.opcode >= 0x8 {
            if !header.fin || header.payload > CONTROL_MAX {
                return Err(FrameError::Control);
            }
        } else {
            self.fragmented = (!header.fin).then_some(kind);
        }
        self.kind = kind;
        self.fin = header.fin;
        self.remaining = header.payload;
        self.in_payload = true;
        Ok(())
    }
}

/// Appends a masked frame, as clients must send it.
pub(crate) fn write_client_frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    head(out, kind, payload.len(), 0x80);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// An unmasked text frame, as a server sends it: what the floor sends.
pub(crate) fn server_text_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + HEADER_MAX);
    head(&mut frame, Kind::Text, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

fn head(frame: &mut Vec<u8>, kind: Kind, payload: usize, mask_bit: u8) {
    frame.push(0x80 | kind.opcode());
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short @ ..126), _) => frame.push(mask_bit | short),
        (_, Ok(medium)) => {
            frame.push(mask_bit | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(mask_bit | 127);
            frame.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything a scanner said, payloads joined.
    #[derive(Default, Debug, PartialEq)]
    struct Heard {
        messages: Vec<(Kind, Vec<u8>)>,
        data: Vec<u8>,
        control: Vec<u8>,
    }

    impl Sink for Heard {
        fn piece(&mut self, kind: Kind, bytes: &[u8], end: bool) {
            let payload = match kind {
                Kind::Text | Kind::Binary => &mut self.data,
                Kind::Close | Kind::Ping | Kind::Pong => &mut self.control,
            };
            payload.extend_from_slice(bytes);
            if end {
                self.messages.push((kind, std::mem::take(payload)));
            }
        }
    }

    /// Every length encoding, an empty payload, a ping inside a fragmented message, a close.
    fn stream() -> (Vec<u8>, Vec<(Kind, Vec<u8>)>) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for len in [0, 1, 125, 126, 127, 300, 70_000] {
            let payload: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            bytes.extend(server_text_frame(&payload));
            expected.push((Kind::Text, payload));
        }
        bytes.extend([0x02, 3, b'a', b'b', b'c', 0x89, 2, b'h', b'i', 0x00, 1, b'd', 0x80, 0]);
        expected.push((Kind::Ping, b"hi".to_vec()));
        expected.push((Kind::Binary, b"abcd".to_vec()));
        bytes.extend([0x88, 2, 0x03, 0xe8]);
        expected.push((Kind::Close, vec![0x03, 0xe8]));
        (bytes, expected)
    }

    fn scan_in(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<(Kind, Vec<u8>)> {
        let (mut scanner, mut heard) = (Scanner::default(), Heard::default());
        for piece in pieces {
            scanner.scan(&piece, &mut heard).unwrap();
        }
        assert_eq!((heard.data.len(), heard.control.len()), (0, 0), "nothing is left over");
        heard.messages
    }

    #[test]
    fn any_piece_size_finds_the_same_frames() {
        let (bytes, expected) = stream();
        for size in [1, 2, 3, 5, 7, 64, 127, 1000, 4096, bytes.len()] {
            assert_eq!(scan_in(bytes.chunks(size).map(<[u8]>::to_vec)), expected, "pieces of {size}");
        }
    }

    #[test]
    fn any_single_split_finds_the_same_frames() {
        let (bytes, expected) = stream();
        let long = bytes.len() - 70_000;
        for at in (0..=long).chain([bytes.len() - 20, bytes.len() - 1, bytes.len()]) {
            let (left, right) = bytes.split_at(at);
            assert_eq!(scan_in([left.to_vec(), right.to_vec()].into_iter()), expected, "split at {at}");
        }
    }

    #[test]
    fn what_is_not_websocket_is_named() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(Scanner::default().scan(bytes, &mut Heard::default()), Err(expected), "{bytes:02x?}");
        };
        check(b"HTTP/1.1", FrameError::FirstByte(b'H'));
        check(&[0xc1, 0x00], FrameError::FirstByte(0xc1));
        check(&[0x83, 0x00], FrameError::FirstByte(0x03));
        check(&[0x81, 0x80], FrameError::Masked);
        check(&[0x09, 0x00], FrameError::Control);
        check(&[0x89, 126, 0, 126], FrameError::Control);
        check(&[0x80, 0x00], FrameError::Fragment);
        check(&[0x01, 0x00, 0x81, 0x00], FrameError::Fragment);
    }

    #[test]
    fn client_frames_are_masked() {
        let client_frame = |payload: &[u8]| {
            let mut frame = Vec::new();
            write_client_frame(&mut frame, Kind::Text, payload);
            frame
        };
        let frame = client_frame(b"{}");
        assert_eq!(frame[..6], [0x81, 0x82, 0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(frame[6..], [b'{' ^ 0x37, b'}' ^ 0xfa]);
        assert_eq!(client_frame(&[b'x'; 200])[..4], [0x81, 0x80 | 126, 0, 200]);
    }
}
