//! What one client has heard: whether it is ready, and how many messages it has.

use crate::{sample::Sample, stamps::Stamps};

/// What a client has heard so far.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    ready: bool,
    received: u32,
    sample: Option<Box<Sample>>,
}

impl Inbox {
    /// An empty one that keeps what it hears, when `sample` is there.
    pub(crate) fn new(sample: Option<Sample>) -> Self {
        Self { sample: sample.map(Box::new), ..Self::default() }
    }

    /// Whether the client has connected and joined.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Messages so far.
    pub(crate) fn received(&self) -> u32 {
        self.received
    }

    /// What it keeps, if it does.
    pub(crate) fn sample(&self) -> Option<&Sample> {
        self.sample.as_deref()
    }
}

/// How a protocol tells what a client hears.
pub(crate) struct Ear<'a> {
    inbox: &'a mut Inbox,
    stamps: Option<&'a mut Stamps>,
}

impl<'a> Ear<'a> {
    /// Writes into `inbox`, and into `stamps` where messages are stamped, for as long as the bytes of one read last.
    pub(crate) fn with(inbox: &'a mut Inbox, mut stamps: Option<&'a mut Stamps>) -> Self {
        if let Some(stamps) = &mut stamps {
            stamps.next_read();
        }
        Self { inbox, stamps }
    }

    /// The client has connected and joined: messages may come.
    pub(crate) fn ready(&mut self) {
        self.inbox.ready = true;
    }

    /// A whole message came: one push of the server to this client. `payload` is all of it that is not the protocol's
    /// own framing, the pushed data in it.
    pub(crate) fn message(&mut self, payload: &[u8]) {
        if let Some(stamps) = &mut self.stamps {
            stamps.message(self.inbox.received, payload);
        }
        self.inbox.received += 1;
        if let Some(sample) = &mut self.inbox.sample {
            sample.add(payload);
        }
    }

    /// Acknowledgements are on their way to the server.
    pub(crate) fn acked(&mut self, count: u32) {
        if let Some(stamps) = &mut self.stamps {
            stamps.acked(count);
        }
    }
}
