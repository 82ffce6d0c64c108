//! The state between two reads of a socket: nothing at all, or one boxed partial message.
//!
//! A frame that arrived whole is unmasked where it lies and borrowed. Only what a read left incomplete
//! is copied, and only what has arrived is ever allocated: neither an announced length nor a thousand
//! empty fragments cost memory.

use super::head::{HEAD_BYTES_MAX, Head, Peer};
use super::{Error, Inflater, Message, Opcode, is_valid_close_code, mask};

/// Turns the bytes of one direction of a connection into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    peer: Peer,
}

impl Decoder {
    /// For the server's side: reads masked frames.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For the client's side: reads unmasked frames.
    #[must_use]
    pub fn for_client() -> Self {
        Self { partial: None, peer: Peer::Server }
    }

    /// Consumes from the front of `input`, and may unmask it in place. Answers how many bytes were
    /// consumed, and the message that they completed, if any: with a message, call again for the rest;
    /// without one, all of `input` was consumed. `limit` is the largest message in bytes.
    ///
    /// # Errors
    /// The connection is beyond repair and is to be closed with [`Error::close_code`]; what the decoder
    /// says afterwards means nothing.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limit: usize,
    ) -> Result<(usize, Option<Message<'a>>), Error> {
        self.decode_with(input, limit, None)
    }

    /// The same where permessage-deflate was agreed on, if there is an `inflater`.
    ///
    /// # Errors
    /// As [`Decoder::decode`]; `limit` holds for a message before and after decompression.
    pub fn decode_with<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limit: usize,
        inflater: Option<&'a mut Inflater>,
    ) -> Result<(usize, Option<Message<'a>>), Error> {
        self.release();
        if input.is_empty() {
            return Ok((0, None));
        }
        if self.partial.is_none()
            && let Some((head, end)) = whole_frame(input, self.peer, limit)?
        {
            head.check_compressed(inflater.is_some())?;
            let payload = input.get_mut(head.size..end).unwrap_or_default();
            mask::apply(payload, head.mask);
            let payload = match inflater.filter(|_| head.compressed) {
                Some(inflater) => inflater.inflate(payload, limit)?,
                None => payload,
            };
            return Ok((end, Some(message(head.opcode, payload)?)));
        }
        self.partial.get_or_insert_default().advance(input, limit, self.peer, inflater)
    }

    /// Frees what the last message occupied. Worth a call when the input is used up, so that a
    /// connection which falls silent holds nothing; [`Decoder::decode`] begins with it anyway.
    pub fn release(&mut self) {
        if self.partial.as_ref().is_some_and(|partial| partial.is_idle()) {
            self.partial = None;
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<Partial>() + partial.payload.capacity() + partial.control.capacity()
        })
    }

    /// Whether the bytes so far ended with the end of a message.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.is_idle())
    }
}

/// The header and the end of the frame in front, when it is a whole message that has arrived whole.
fn whole_frame(input: &[u8], peer: Peer, limit: usize) -> Result<Option<(Head, usize)>, Error> {
    let Some(head) = Head::parse(input, peer)? else { return Ok(None) };
    if !head.fin || head.opcode == Opcode::Continuation {
        return Ok(None);
    }
    head.check_limit(0, limit)?;
    if input.len() - head.size < head.payload {
        return Ok(None);
    }
    Ok(Some((head, head.size + head.payload)))
}

/// A message of one frame.
fn message(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Error> {
    Ok(match opcode {
        Opcode::Text => Message::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Error::BadUtf8)?),
        Opcode::Binary => Message::Binary(payload),
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong(payload),
        Opcode::Close => close(payload)?,
        Opcode::Continuation => return Err(Error::UnexpectedContinuation),
    })
}

fn close(payload: &[u8]) -> Result<Message<'_>, Error> {
    match payload {
        [] => Ok(Message::Close { code: None, reason: "" }),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_valid_close_code(code) {
                return Err(Error::BadCloseCode);
            }
            let reason = simdutf8::basic::from_utf8(reason).map_err(|_| Error::BadUtf8)?;
            Ok(Message::Close { code: Some(code), reason })
        }
        [_] => Err(Error::BadCloseCode),
    }
}

/// What the reads so far left incomplete. Exists only while something is.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes of a header that is not complete.
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// Kind of the message whose fragments are arriving: `Text` or `Binary`.
    message: Option<Opcode>,
    /// Whether that message is compressed.
    compressed: bool,
    /// The message so far, unmasked.
    payload: Vec<u8>,
    /// How much of `payload` is known to be whole characters, when it is text.
    valid: usize,
    /// The control frame so far, unmasked.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// Turned so that its first byte belongs to the next byte of the payload.
    mask: [u8; 4],
    left: usize,
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn advance<'a>(
        &'a mut self,
        input: &mut [u8],
        limit: usize,
        peer: Peer,
        inflater: Option<&'a mut Inflater>,
    ) -> Result<(usize, Option<Message<'a>>), Error> {
        let mut consumed = 0;
        loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let (used, head) = self.take_head(rest, peer)?;
                    consumed += used;
                    let Some(head) = head else { return Ok((consumed, None)) };
                    head.check_compressed(inflater.is_some())?;
                    self.begin(&head, limit)?
                }
            };
            consumed += self.take_payload(&mut frame, input.get_mut(consumed..).unwrap_or_default())?;
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok((consumed, None));
            }
            if frame.opcode.is_control() {
                return Ok((consumed, Some(message(frame.opcode, &self.control)?)));
            }
            if frame.fin {
                return Ok((consumed, Some(self.finish(limit, inflater)?)));
            }
        }
    }

    /// Completes the header. Answers how many bytes of `input` belong to it.
    fn take_head(&mut self, input: &[u8], peer: Peer) -> Result<(usize, Option<Head>), Error> {
        let held = usize::from(self.head_len);
        let free = self.head.get_mut(held..).unwrap_or_default();
        let copied = free.len().min(input.len());
        free.iter_mut().zip(input).for_each(|(to, byte)| *to = *byte);
        let have = held + copied;
        if let Some(head) = Head::parse(self.head.get(..have).unwrap_or_default(), peer)? {
            self.head_len = 0;
            return Ok((head.size.saturating_sub(held), Some(head)));
        }
        self.head_len = have as u8;
        Ok((copied, None))
    }

    /// Checks a header against the message that is open, and opens what it begins.
    fn begin(&mut self, head: &Head, limit: usize) -> Result<Frame, Error> {
        match (head.opcode, self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => self.control.clear(),
            (Opcode::Continuation, None) => return Err(Error::UnexpectedContinuation),
            (Opcode::Continuation, Some(_)) => {}
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Error::InterruptedMessage),
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(head.opcode);
                self.compressed = head.compressed;
            }
        }
        head.check_limit(self.payload.len(), limit)?;
        Ok(Frame { opcode: head.opcode, fin: head.fin, mask: head.mask, left: head.payload })
    }

    /// Unmasks and keeps what has arrived of a frame's payload. Answers how many bytes that was.
    fn take_payload(&mut self, frame: &mut Frame, input: &mut [u8]) -> Result<usize, Error> {
        let taken = frame.left.min(input.len());
        let chunk = input.get_mut(..taken).unwrap_or_default();
        mask::apply(chunk, frame.mask);
        frame.mask.rotate_left(taken % 4);
        frame.left -= taken;
        if frame.opcode.is_control() {
            self.control.extend_from_slice(chunk);
        } else {
            self.payload.extend_from_slice(chunk);
            if self.message == Some(Opcode::Text) && !self.compressed {
                self.check_text()?;
            }
        }
        Ok(taken)
    }

    /// Validates what is new; at most three bytes, a character that is not complete, are looked at twice.
    fn check_text(&mut self) -> Result<(), Error> {
        let new = self.payload.get(self.valid..).unwrap_or_default();
        match simdutf8::compat::from_utf8(new) {
            Ok(_) => self.valid = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(Error::BadUtf8),
        }
        Ok(())
    }

    fn finish<'a>(
        &'a mut self,
        limit: usize,
        inflater: Option<&'a mut Inflater>,
    ) -> Result<Message<'a>, Error> {
        let opcode = self.message.take().unwrap_or(Opcode::Binary);
        match inflater.filter(|_| self.compressed) {
            Some(inflater) => message(opcode, inflater.inflate(&self.payload, limit)?),
            None => message(opcode, &self.payload),
        }
    }
}
