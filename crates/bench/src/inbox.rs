//! What one client has heard: whether it is ready, and how many messages it has.

use crate::sample::Sample;

/// What a client has heard so far.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    ready: bool,
    received: u32,
    acked: u32,
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

    // Used by the next scenarios.
    #[allow(dead_code)]
    /// Acknowledgements sent so far.
    pub(crate) fn acked(&self) -> u32 {
        self.acked
    }

    /// What it keeps, if it does.
    pub(crate) fn sample(&self) -> Option<&Sample> {
        self.sample.as_deref()
    }
}

/// How a protocol tells what a client hears.
pub(crate) struct Ear<'a> {
    inbox: &'a mut Inbox,
}

impl<'a> Ear<'a> {
    /// Writes into `inbox`.
    pub(crate) fn new(inbox: &'a mut Inbox) -> Self {
        Self { inbox }
    }

    /// The client has connected and joined: messages may come.
    pub(crate) fn ready(&mut self) {
        self.inbox.ready = true;
    }

    /// A whole message came: one push of the server to this client. `payload` is all of it that is not the protocol's
    /// own framing, the pushed data in it.
    pub(crate) fn message(&mut self, payload: &[u8]) {
        self.inbox.received += 1;
        if let Some(sample) = &mut self.inbox.sample {
            sample.add(payload);
        }
    }

    /// An acknowledgement is on its way to the server.
    pub(crate) fn acked(&mut self, count: u32) {
        self.inbox.acked += count;
    }
}
