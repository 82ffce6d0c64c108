//! Thousands of clients on one thread and one epoll: the reading side of every measurement, the floor's included.
//!
//! The loop reads into one shared buffer and asks a client only how many messages there were. It knows neither what
//! is sent nor by whom; other sockets (the HTTP callers) may be registered with the same epoll and are handed back.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::{
    client::Link,
    dial,
    error::{BenchError, Doing},
    interrupt,
    protocol::{Conversation, Identity, Protocol},
    sample::Sample,
    stamps::Stamps,
    tally::Tally,
};

/// Tokens from here on belong to somebody else than the clients.
pub(crate) const FOREIGN: usize = 1 << 40;
/// Bytes of the buffer that all clients read through.
const BUFFER: usize = 256 * 1024;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// A turn with fewer events than this was woken too early to be cheap.
const EVENTS_FEW: usize = 64;
/// Clients from which on such a turn is followed by a nap.
const NAP_CLIENTS: usize = 1_000;
/// How long the nap is. One wake-up for each of ten thousand frames would cost the reader as much as reading them,
/// and the sender, who does the waking on this machine, too; that would be measured as slowness of the server. A
/// latency is longer by this at most, where a round takes some hundred times as long.
const NAP: Duration = Duration::from_micros(100);
/// How long a client that was refused waits before it tries again.
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait for sockets while connecting.
const TURN: Duration = Duration::from_millis(100);
/// One client in this many reads what it gets.
pub(crate) const SAMPLE_EVERY: usize = 50;
/// The number in the first push of a run. Numbers of the same length keep all frames equally long.
pub(crate) const FIRST_NUMBER: u64 = 1_000_000;

/// Where the clients of a run go and what they say there.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// What they speak.
    pub protocol: &'static Protocol,
    /// The value of the `Host` header.
    pub authority: String,
    /// Namespace to connect to.
    pub namespace: String,
    /// Room to join.
    pub room: Option<String>,
    /// Whether each is a person of its own ([`user`]).
    pub users: bool,
    /// Sets the devices of this run apart from those of an earlier one, whose mailboxes are not empty ([`new_run`]).
    pub run: String,
    /// Whether they acknowledge every message.
    pub acks: bool,
}

/// What a fleet connects to.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// Where the servers listen; clients take them in turn.
    pub addresses: Vec<SocketAddr>,
    /// What each client says.
    pub script: Script,
    /// Handshakes under way at once.
    pub concurrency: usize,
    /// How long nothing may happen, before the run is given up.
    pub patience: Duration,
    /// Whether a client that is refused tries again.
    pub tries_again: bool,
}

/// Many clients.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    script: Script,
    links: Vec<Link>,
    /// What is heard by all together, where messages are stamped.
    stamps: Option<Stamps>,
    naps: bool,
    ready: usize,
    broken: Vec<(usize, String)>,
    foreign: Vec<(usize, bool)>,
    /// Added to the index of a client to name its device.
    first_device: usize,
    /// Refused clients that are to try again, and when.
    again: VecDeque<(usize, Instant)>,
    refused: u64,
}

impl Fleet {
    /// An empty fleet.
    pub(crate) fn new(script: Script, first_device: usize) -> Result<Self, BenchError> {
        Ok(Self {
            poll: Poll::new().doing("opening an epoll")?,
            events: Events::with_capacity(EVENTS),
            buffer: vec![0; BUFFER],
            script,
            links: Vec::new(),
            ready: 0,
            broken: Vec::new(),
            foreign: Vec::new(),
            first_device,
            stamps: None,
            naps: true,
            again: VecDeque::new(),
            refused: 0,
        })
    }

    /// From now on messages are stamped; `naps` says whether the reader naps when there is little to read.
    pub(crate) fn stamp(&mut self, stamps: Stamps, naps: bool) {
        (self.stamps, self.naps) = (Some(stamps), naps);
    }

    /// What is heard by all together.
    pub(crate) fn stamps_mut(&mut self) -> Option<&mut Stamps> {
        self.stamps.as_mut()
    }

    /// Grows the fleet to `count` clients that have connected and joined; `progress` is told how many have.
    pub(crate) fn connect(
        &mut self,
        to: &Destination,
        count: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<(), BenchError> {
        let mut last = Instant::now();
        while self.ready < count {
            while self.links.len() < count && self.links.len() - self.ready < to.concurrency {
                let link = self.new_link(to, self.links.len())?;
                self.links.push(link);
            }
            self.retry(to)?;
            let before = self.ready;
            self.turn(TURN, None)?;
            if to.tries_again {
                let due = Instant::now() + RETRY;
                self.refused += self.broken.len() as u64;
                self.again.extend(self.broken.drain(..).map(|(index, _)| (index, due)));
            }
            if let Some((index, what)) = self.broken.first() {
                return Err(BenchError::Protocol { who: self.name(*index), what: what.clone() });
            }
            if self.ready > before {
                last = Instant::now();
                progress(self.ready);
            } else if last.elapsed() > to.patience {
                return Err(BenchError::Protocol {
                    who: format!("{} of {count} clients", count - self.ready),
                    what: format!("not connected, and none was in the last {:?}", to.patience),
                });
            }
        }
        Ok(())
    }

    /// A client that connects. Its token is its index.
    fn new_link(&self, to: &Destination, index: usize) -> Result<Link, BenchError> {
        let address = to.addresses.get(index % to.addresses.len().max(1));
        let address = address.ok_or_else(|| BenchError::Arguments("there is no server".to_owned()))?;
        let stream = dial::open(*address, index).doing("opening a client socket")?;
        let samples = self.stamps.is_none() && index.is_multiple_of(SAMPLE_EVERY);
        let mut link = Link::opening(stream, self.conversation(index), samples.then(Sample::default));
        self.register(&mut link, index, Interest::READABLE | Interest::WRITABLE)?;
        Ok(link)
    }

    /// Lets those try again whose time has come.
    fn retry(&mut self, to: &Destination) -> Result<(), BenchError> {
        while let Some((index, _)) = self.again.pop_front_if(|(_, due)| *due <= Instant::now()) {
            let link = self.new_link(to, index)?;
            if let Some(old) = self.links.get_mut(index) {
                self.ready -= usize::from(old.inbox().is_ready());
                *old = link;
            }
        }
        Ok(())
    }

    /// Ends all connections, at once and without a word.
    pub(crate) fn drop_all(&mut self) {
        self.links.clear();
        self.broken.clear();
        self.again.clear();
        self.ready = 0;
    }

    /// Ends the connections of the last `count` clients.
    pub(crate) fn drop_last(&mut self, count: usize) {
        let kept = self.links.len().saturating_sub(count);
        self.links.truncate(kept);
        self.ready = self.links.iter().filter(|link| link.inbox().is_ready()).count();
    }

    fn conversation(&self, index: usize) -> Box<dyn Conversation> {
        let Script { protocol, authority, namespace, room, users, run, acks } = &self.script;
        let number = self.first_device + index;
        let (device, user) = (format!("b-{run}-{number}"), users.then(|| user(run, number)));
        let identity = Identity {
            authority,
            namespace,
            room: room.as_deref(),
            device: &device,
            user: user.as_deref(),
            acks: *acks,
        };
        (protocol.open)(&identity)
    }

    /// Opens `count` connections without a handshake: to the floor.
    pub(crate) fn connect_bare(&mut self, address: SocketAddr, count: usize) -> Result<(), BenchError> {
        for index in 0..count {
            let stream = dial::open_now(address, index).doing("connecting to the floor")?;
            let mut link = Link::bare(stream);
            self.register(&mut link, index, Interest::READABLE)?;
            self.links.push(link);
        }
        self.ready = count;
        Ok(())
    }

    fn register(&self, link: &mut Link, index: usize, interest: Interest) -> Result<(), BenchError> {
        let registry = self.poll.registry();
        registry.register(link.stream_mut(), Token(index), interest).doing("registering a socket")
    }

    /// Waits at most `timeout` for something to come and reads all of it; deliveries go to `tally`, when there is one.
    ///
    /// What concerned sockets of others is in [`Fleet::take_foreign`] afterwards.
    pub(crate) fn turn(
        &mut self,
        timeout: Duration,
        mut tally: Option<&mut Tally>,
    ) -> Result<(), BenchError> {
        interrupt::check()?;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other.doing("waiting for sockets")?,
        }
        let mut events = 0;
        for event in &self.events {
            events += 1;
            let index = event.token().0;
            let Some(link) = self.links.get_mut(index) else {
                self.foreign.push((index, event.is_readable()));
                continue;
            };
            if link.is_closed() {
                continue;
            }
            let (was_ready, before) = (link.inbox().is_ready(), link.inbox().received());
            let mut step = if event.is_writable() { link.writable() } else { Ok(()) };
            if step.is_ok() && event.is_readable() {
                step = link.readable(event.is_read_closed(), &mut self.buffer, self.stamps.as_mut());
            }
            let received = link.inbox().received() - before;
            if let Some(tally) = tally.as_deref_mut().filter(|_| received > 0) {
                tally.deliver(before, received, Instant::now());
            }
            if link.inbox().is_ready() && !was_ready {
                self.ready += 1;
            }
            if let Err(error) = step {
                self.broken.push((index, error.to_string()));
            }
        }
        let many = self.ready >= NAP_CLIENTS && self.ready == self.links.len();
        if (1..EVENTS_FEW).contains(&events) && many && self.naps {
            thread::sleep(NAP);
        }
        Ok(())
    }

    /// Where other sockets are registered; their tokens begin at [`FOREIGN`].
    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The tokens of other sockets that something happened to since the last call, and whether they can be read.
    pub(crate) fn take_foreign(&mut self) -> Vec<(usize, bool)> {
        std::mem::take(&mut self.foreign)
    }

    /// A handle that ends [`Fleet::turn`] early.
    pub(crate) fn waker(&self) -> Result<Waker, BenchError> {
        Waker::new(self.registry(), Token(FOREIGN)).doing("opening a waker")
    }

    /// Refusals after which a client tried again.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Clients that are ready or were.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Clients that read all they get.
    pub(crate) fn samples(&self) -> usize {
        self.links.iter().filter(|link| link.inbox().sample().is_some()).count()
    }

    /// The payload of the last push of the first sample.
    pub(crate) fn last_payload(&self) -> &[u8] {
        self.links.iter().find_map(|link| link.inbox().sample()).map_or(&[], Sample::last)
    }

    /// What is wrong, one line for each client: broken connections, wrong counts, faults of the samples.
    pub(crate) fn faults(&self, expected: usize) -> Vec<String> {
        let mut faults = Vec::new();
        let due = FIRST_NUMBER..FIRST_NUMBER + expected as u64;
        let first_sample = self.links.iter().find_map(|link| link.inbox().sample());
        for (index, link) in self.links.iter().enumerate() {
            let mut wrong = Vec::new();
            if let Some((_, what)) = self.broken.iter().find(|(broken, _)| *broken == index) {
                wrong.push(what.clone());
            }
            if link.inbox().received() as usize != expected {
                wrong.push(format!("has {} of {expected} messages", link.inbox().received()));
            }
            if let Some((sample, other)) = link.inbox().sample().zip(first_sample) {
                wrong.extend(sample.faults(due.clone(), other));
            }
            if !wrong.is_empty() {
                faults.push(format!("{}: {}", self.name(index), wrong.join("; ")));
            }
        }
        faults
    }

    /// Messages that are missing and messages that are too many, over all clients.
    pub(crate) fn balance(&self, expected: usize) -> (u64, u64) {
        self.links.iter().fold((0, 0), |(missing, surplus), link| {
            let received = link.inbox().received() as usize;
            let less = expected.saturating_sub(received) as u64;
            let more = received.saturating_sub(expected) as u64;
            (missing + less, surplus + more)
        })
    }

    /// Clients that are ready and whose connections have not broken.
    pub(crate) fn alive(&self) -> usize {
        self.ready.saturating_sub(self.broken.len())
    }

    /// The first connections that broke, in words.
    pub(crate) fn broken(&self, most: usize) -> Vec<String> {
        let broken = self.broken.iter().take(most);
        broken.map(|(index, what)| format!("{}: {what}", self.name(*index))).collect()
    }

    /// True when a connection broke.
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    fn name(&self, index: usize) -> String {
        format!("client b-{}", self.first_device + index)
    }
}

/// The person to whom client `number` of a run belongs.
pub(crate) fn user(run: &str, number: usize) -> String {
    format!("u-{run}-{number}")
}

/// A name that no other run has.
pub(crate) fn new_run() -> String {
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{:x}-{:x}", std::process::id(), started.map_or(0, |since| since.as_millis()))
}
