//! The client's side of RFC 6455 framing, for tests and the load generator. Knows no randomness: the
//! masking key is an argument. What a server sends is read by [`super::Decoder::for_client`].

use super::{HEADER_BYTES_MAX, Opcode, header_bytes, mask};

/// A whole masked frame with FIN set.
#[must_use]
pub fn masked_frame(opcode: Opcode, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    masked_fragment(opcode, true, mask, payload)
}

/// A whole masked frame, `fin` as given: the pieces of a fragmented message.
#[must_use]
pub fn masked_fragment(opcode: Opcode, fin: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let (mut head, head_len) = header_bytes(opcode, payload.len());
    let [first, second, ..] = &mut head;
    *second |= 0x80;
    if !fin {
        *first &= 0x7f;
    }
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + mask.len() + payload.len());
    out.extend_from_slice(head.get(..head_len).unwrap_or_default());
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(out.get_mut(start..).unwrap_or_default(), mask);
    out
}
