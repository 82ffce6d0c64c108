//! The header of one frame (RFC 6455 5.2). Knows nothing of the message that the frame belongs to.

use super::deflate::RSV1;
use super::{Error, Opcode};

/// Longest header of a masked frame.
pub(super) const HEAD_BYTES_MAX: usize = 14;

/// Who sent the bytes; a client must mask them, a server must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Peer {
    #[default]
    Client,
    Server,
}

/// A header that was read to its end and is valid by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The first reserved bit: the message is compressed.
    pub(super) compressed: bool,
    pub(super) mask: [u8; 4],
    /// Announced length of the payload.
    pub(super) payload: usize,
    /// Length of the header itself.
    pub(super) size: usize,
}

impl Head {
    /// Reads a header from the front of `bytes`; `None` when it is not complete. Any
    /// [`HEAD_BYTES_MAX`] bytes are either a complete header or an error.
    pub(super) fn parse(bytes: &[u8], peer: Peer) -> Result<Option<Self>, Error> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 & !RSV1 != 0 {
            return Err(Error::ReservedBits);
        }
        let compressed = first & RSV1 != 0;
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Error::ReservedOpcode)?;
        let fin = first & 0x80 != 0;
        let masked = second & 0x80 != 0;
        match (peer, masked) {
            (Peer::Client, false) => return Err(Error::Unmasked),
            (Peer::Server, true) => return Err(Error::Masked),
            (Peer::Client, true) | (Peer::Server, false) => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() {
            if !fin {
                return Err(Error::FragmentedControl);
            }
            if short > 125 {
                return Err(Error::LongControl);
            }
        }
        let Some((payload, rest)) = length(short, rest)? else { return Ok(None) };
        let (mask, rest) = if masked {
            let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            (*mask, rest)
        } else {
            ([0; 4], rest)
        };
        Ok(Some(Self { fin, opcode, compressed, mask, payload, size: bytes.len() - rest.len() }))
    }

    /// Refuses the bit that only the first frame of a message may have, and only where compression was
    /// agreed on.
    pub(super) fn check_compressed(&self, agreed: bool) -> Result<(), Error> {
        let may = agreed && matches!(self.opcode, Opcode::Text | Opcode::Binary);
        if self.compressed && !may { Err(Error::ReservedBits) } else { Ok(()) }
    }

    /// Refuses what would make a message of which `held` bytes have arrived larger than `limit`.
    pub(super) fn check_limit(&self, held: usize, limit: usize) -> Result<(), Error> {
        if !self.opcode.is_control() && self.payload > limit.saturating_sub(held) {
            return Err(Error::TooLarge);
        }
        Ok(())
    }
}

/// The payload length, and what follows it.
fn length(short: u8, rest: &[u8]) -> Result<Option<(usize, &[u8])>, Error> {
    match short {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            let len = u16::from_be_bytes(*bytes);
            if len < 126 {
                return Err(Error::BadLength);
            }
            Ok(Some((usize::from(len), rest)))
        }
        127 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            let len = u64::from_be_bytes(*bytes);
            if len <= 0xffff || len >> 63 != 0 {
                return Err(Error::BadLength);
            }
            Ok(Some((usize::try_from(len).map_err(|_| Error::TooLarge)?, rest)))
        }
        len => Ok(Some((usize::from(len), rest))),
    }
}
