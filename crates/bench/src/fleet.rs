//! Thousands of clients on one thread and one epoll: the reading side of every measurement, the floor's included.
//!
//! The loop reads into one shared buffer and asks a client only how many messages there were. It knows neither what
//! is sent nor by whom; other sockets (the HTTP callers) may be registered with the same epoll and are handed back.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use mio::{Events, Interest, Poll, Registry, Token, net::TcpStream};
use socket2::{Domain, Socket, Type};

use crate::{
    client::Link,
    error::{BenchError, Doing},
    interrupt,
    protocol::{Conversation, Identity, Protocol},
    sample::Sample,
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
/// Clients per source address: far below the ephemeral ports of one address, of which some are in TIME_WAIT.
const PER_SOURCE: usize = 2_000;
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
    /// Whether they acknowledge every message.
    pub acks: bool,
}

/// What a fleet connects to.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// Where the server listens.
    pub address: SocketAddr,
    /// What each client says.
    pub script: Script,
    /// Handshakes under way at once.
    pub concurrency: usize,
    /// How long nothing may happen, before the run is given up.
    pub patience: Duration,
}

/// Many clients.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    script: Script,
    links: Vec<Link>,
    ready: usize,
    broken: Vec<(usize, String)>,
    foreign: Vec<(usize, bool)>,
    /// Added to the index of a client to name its device.
    first_device: usize,
    /// Sets the devices of this run apart from those of an earlier one, whose mailboxes are not empty.
    run: String,
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
            run: format!("{:x}-{:x}", std::process::id(), started()),
        })
    }

    /// Grows the fleet to `count` clients that have connected and joined.
    pub(crate) fn connect(
        &mut self,
        to: &Destination,
        count: usize,
        bar: &ProgressBar,
    ) -> Result<(), BenchError> {
        let mut tally = Tally::new(count);
        let mut progress = Instant::now();
        while self.ready < count {
            while self.links.len() < count && self.links.len() - self.ready < to.concurrency {
                let index = self.links.len();
                let stream = open(to.address, index).doing("opening a client socket")?;
                let sample = index.is_multiple_of(SAMPLE_EVERY).then(Sample::default);
                let conversation = self.conversation(index);
                self.add(
                    Link::opening(stream, conversation, sample),
                    Interest::READABLE | Interest::WRITABLE,
                )?;
            }
            let before = self.ready;
            self.turn(Duration::from_millis(100), &mut tally)?;
            if let Some((index, what)) = self.broken.first() {
                return Err(BenchError::Protocol { who: self.name(*index), what: what.clone() });
            }
            if self.ready > before {
                progress = Instant::now();
                bar.set_position(self.ready as u64);
            } else if progress.elapsed() > to.patience {
                return Err(BenchError::Protocol {
                    who: format!("{} of {count} clients", count - self.ready),
                    what: format!("not connected, and none was in the last {:?}", to.patience),
                });
            }
        }
        Ok(())
    }

    fn conversation(&self, index: usize) -> Box<dyn Conversation> {
        let Script { protocol, authority, namespace, room, acks } = &self.script;
        let device = format!("b-{}-{}", self.run, self.first_device + index);
        let identity = Identity {
            authority,
            namespace,
            room: room.as_deref(),
            device: &device,
            user: None,
            acks: *acks,
        };
        (protocol.open)(&identity)
    }

    /// Opens `count` connections without a handshake: to the floor.
    pub(crate) fn connect_bare(&mut self, address: SocketAddr, count: usize) -> Result<(), BenchError> {
        for index in 0..count {
            let socket = source_bound(address, index).doing("opening a floor socket")?;
            socket.connect(&address.into()).doing("connecting to the floor")?;
            socket.set_nonblocking(true).doing("opening a floor socket")?;
            self.add(Link::bare(TcpStream::from_std(socket.into())), Interest::READABLE)?;
        }
        self.ready = count;
        Ok(())
    }

    fn add(&mut self, mut link: Link, interest: Interest) -> Result<(), BenchError> {
        let token = Token(self.links.len());
        self.poll.registry().register(link.stream_mut(), token, interest).doing("registering a socket")?;
        self.links.push(link);
        Ok(())
    }

    /// Waits at most `timeout` for something to come and reads all of it; deliveries go to `tally`.
    ///
    /// What concerned sockets of others is in [`Fleet::take_foreign`] afterwards.
    pub(crate) fn turn(&mut self, timeout: Duration, tally: &mut Tally) -> Result<(), BenchError> {
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
                step = link.readable(event.is_read_closed(), &mut self.buffer);
            }
            let received = link.inbox().received() - before;
            if received > 0 {
                tally.deliver(before, received, Instant::now());
            }
            if link.inbox().is_ready() && !was_ready {
                self.ready += 1;
            }
            if let Err(error) = step {
                self.broken.push((index, error.to_string()));
            }
        }
        if (1..EVENTS_FEW).contains(&events) && self.ready >= NAP_CLIENTS && self.ready == self.links.len() {
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

    /// True when a connection broke.
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    fn name(&self, index: usize) -> String {
        format!("client b-{}", self.first_device + index)
    }
}

fn open(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = source_bound(to, index)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// A socket bound to the source address of client `index`, where the destination is this machine.
fn source_bound(to: SocketAddr, index: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if let IpAddr::V4(address) = to.ip()
        && address.is_loopback()
    {
        socket.bind(&SocketAddr::from((source(std::process::id(), index), 0)).into())?;
    }
    Ok(socket)
}

/// An address of this machine for client `index`. One address has some 28,000 ports for one destination, so the
/// clients are spread; each process begins elsewhere, because ports of the run before are still in TIME_WAIT.
fn source(pid: u32, index: usize) -> Ipv4Addr {
    let [.., high, low] = pid.to_be_bytes();
    let host = u8::try_from(1 + (index / PER_SOURCE) % 254).unwrap_or(1);
    Ipv4Addr::new(127, 1 + high % 254, low, host)
}

/// Milliseconds since the Unix epoch.
fn started() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_spread_and_differ_between_processes() {
        assert_eq!(source(0x0203, 0), Ipv4Addr::new(127, 3, 3, 1));
        assert_eq!(source(0x0203, 1_999), source(0x0203, 0));
        assert_eq!(source(0x0203, 2_000), Ipv4Addr::new(127, 3, 3, 2));
        assert_ne!(source(0x0204, 0), source(0x0203, 0));
        assert!(source(u32::MAX, usize::MAX).is_loopback());
    }
}
