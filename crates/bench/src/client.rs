//! One lean client: a socket, a conversation over it, and what was heard.
//!
//! It owns its socket but is told when to read and write; the loop over thousands of them is `fleet`.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use crate::{
    inbox::{Ear, Inbox},
    protocol::{Conversation, LinkError, websocket::Bare},
    sample::Sample,
    stamps::Stamps,
};

/// Bytes that may wait for a server that does not read.
const UNSENT_MAX: usize = 1024 * 1024;

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The TCP connection is under way.
    Opening,
    /// The conversation is.
    Open,
    /// No more comes.
    Closed,
}

/// One client.
pub(crate) struct Link {
    stream: TcpStream,
    conversation: Box<dyn Conversation>,
    inbox: Inbox,
    unsent: Vec<u8>,
    stage: Stage,
}

impl Link {
    /// A client whose socket is still connecting.
    pub(crate) fn opening(
        stream: TcpStream,
        conversation: Box<dyn Conversation>,
        sample: Option<Sample>,
    ) -> Self {
        Self { stream, conversation, inbox: Inbox::new(sample), unsent: Vec::new(), stage: Stage::Opening }
    }

    /// A client without handshake, which counts from the first byte on: the floor's.
    pub(crate) fn bare(stream: TcpStream) -> Self {
        Self { stage: Stage::Open, ..Self::opening(stream, Bare::conversation(), None) }
    }

    /// The socket, to be registered.
    pub(crate) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// What it has heard.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// True when no more will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// The socket may be written: begins the conversation when that has not been done, and sends what waits.
    pub(crate) fn writable(&mut self) -> Result<(), LinkError> {
        if self.stage == Stage::Opening {
            if let Some(error) = self.stream.take_error()? {
                return Err(error.into());
            }
            match self.stream.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                other => other?,
            };
            self.stream.set_nodelay(true)?;
            self.stage = Stage::Open;
            self.conversation.begin(&mut self.unsent);
        }
        self.flush()
    }

    /// The socket may be read: reads it empty through `buffer`.
    pub(crate) fn readable(
        &mut self,
        closing: bool,
        buffer: &mut [u8],
        mut stamps: Option<&mut Stamps>,
    ) -> Result<(), LinkError> {
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return self.closed(LinkError::Closed(None)),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let mut ear = Ear::with(&mut self.inbox, stamps.as_deref_mut());
            match self.conversation.receive(&buffer[..len], &mut self.unsent, &mut ear) {
                Err(closed @ LinkError::Closed(_)) => return self.closed(closed),
                other => other?,
            }
            self.flush()?;
            // A read that does not fill the buffer emptied the socket, and the next byte is a new event; only the
            // end of the stream has been announced already and would not be again.
            if len < buffer.len() && !closing {
                return Ok(());
            }
        }
    }

    fn closed(&mut self, why: LinkError) -> Result<(), LinkError> {
        self.stage = Stage::Closed;
        Err(why)
    }

    /// Sends what waits, as much of it as the socket takes.
    fn flush(&mut self) -> Result<(), LinkError> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(length) if length == self.unsent.len() => self.unsent = Vec::new(),
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.unsent.len() > UNSENT_MAX {
            return Err(LinkError::Refused("the server does not read".to_owned()));
        }
        Ok(())
    }
}
