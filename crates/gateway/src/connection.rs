//! A connection: its transport, what was read of an unfinished packet, and when it was last heard.
//!
//! A connection belongs to one shard thread, so plain cells hold its state. Its task only waits for
//! readiness; writing happens wherever a turn of the shard ends.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tidings_hub::PeerKey;
use tidings_model::{ClientAddress, Disconnect, Platform};
use tidings_wire::push::Format;
use tidings_wire::websocket::{Decoder, Window};
use tokio::sync::{mpsc, oneshot};

use crate::command::PollReply;
use crate::dialect::Dialect;
use crate::dialect::sse::LAST_WORDS;
use crate::door::Place;
use crate::local::Local;
use crate::session::Session;
use crate::socket::Socket;

/// How long a closing connection may take to read our goodbye and to hang up.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// A connection of this shard.
pub(crate) struct Connection {
    pub(crate) key: PeerKey,
    pub(crate) transport: RefCell<Transport>,
    pub(crate) dialect: RefCell<Dialect>,
    /// The devices on it: nearly always one.
    pub(crate) sessions: RefCell<SmallVec<[Session; 1]>>,
    pub(crate) decoder: Cell<Decoder>,
    /// Bytes that were read and have to wait until the connection is no longer busy.
    pub(crate) spill: Cell<Vec<u8>>,
    /// A use case is under way; what the client sends next waits for it.
    pub(crate) busy: Cell<bool>,
    /// Calls that wait for an answer of the business system.
    pub(crate) calls: Cell<u8>,
    /// The transport takes no more bytes now.
    pub(crate) blocked: Cell<bool>,
    /// The code of [`Connection::closing`]; 0 while it is open.
    closing: Cell<u16>,
    /// How frames for it may be compressed.
    pub(crate) deflate: Cell<Option<Window>>,
    /// The code that the client closed with; 0 when it has not, or without one.
    pub(crate) close_code: Cell<u16>,
    /// The socket refuses to be written to.
    pub(crate) broken: Cell<bool>,
    /// When the client was last heard, in the shard's milliseconds.
    pub(crate) heard_at: Cell<u64>,
    /// When it was asked for a sign of life that it still owes; 0 when it owes none.
    pub(crate) pinged_at: Cell<u64>,
    pub(crate) opened_at: u64,
    /// What it runs on, once it has said so: how often it is asked for a sign of life.
    pub(crate) platform: Cell<Option<Platform>>,
    /// What it is counted by at the door.
    pub(crate) place: Cell<Option<Place>>,
    /// When the last heartbeat was sent (or would have been, at the start).
    pub(crate) beat_at: Cell<u64>,
    /// Wakes the task that waits for readiness.
    waker: Cell<Option<Waker>>,
    /// Wake what waits in [`Connection::until`].
    waiting: Cell<Vec<Waker>>,
}

/// What carries a connection's bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A WebSocket after its handshake.
    Socket(Socket),
    /// Long polling: the poll that waits for an answer, if one does.
    Poll(Option<oneshot::Sender<PollReply>>),
    /// The body of an HTTP answer that does not end.
    Stream(mpsc::Sender<Bytes>),
    /// Nothing any more.
    Gone,
}

enum Ready {
    Read,
    Write,
    Closing,
}

impl Connection {
    pub(crate) fn new(key: PeerKey, transport: Transport, dialect: Dialect, now_ms: u64) -> Rc<Self> {
        Rc::new(Self {
            key,
            transport: RefCell::new(transport),
            dialect: RefCell::new(dialect),
            sessions: RefCell::default(),
            decoder: Cell::default(),
            spill: Cell::default(),
            busy: Cell::new(false),
            calls: Cell::new(0),
            blocked: Cell::new(false),
            closing: Cell::new(0),
            deflate: Cell::new(None),
            close_code: Cell::new(0),
            broken: Cell::new(false),
            heard_at: Cell::new(now_ms),
            pinged_at: Cell::new(0),
            opened_at: now_ms,
            platform: Cell::new(None),
            place: Cell::new(None),
            beat_at: Cell::new(now_ms),
            waker: Cell::new(None),
            waiting: Cell::default(),
        })
    }

    /// Where the client is, as far as trusted proxies say.
    pub(crate) fn address(&self) -> ClientAddress {
        let place = self.place.take();
        let address = place.as_ref().map_or(ClientAddress::LOCAL, Place::address);
        self.place.set(place);
        address
    }

    /// The format of its frames.
    pub(crate) fn format(&self) -> Format {
        Format { codec: self.dialect.borrow().codec(), deflate: self.deflate.get() }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closing.get() == 0
    }

    /// Why it ends, once it does.
    pub(crate) fn closing(&self) -> Option<Disconnect> {
        Disconnect::from_code(self.closing.get())
    }

    /// From now on it ends.
    pub(crate) fn set_closing(&self, why: Disconnect) {
        self.closing.set(why.code);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Lets the connection's task, and whoever waits in [`Connection::until`], look again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.notify();
    }

    /// Lets whoever waits in [`Connection::until`] look again. Costs next to nothing when nobody does.
    pub(crate) fn notify(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until `condition` holds; it is looked at whenever the connection was woken.
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        poll_fn(|context| {
            if condition() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.take();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            self.waiting.set(waiting);
            Poll::Pending
        })
        .await
    }

    /// Waits for what is next to be done, by the waker of the connection's task.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Ready> {
        if !self.is_open() {
            return Poll::Ready(Ready::Closing);
        }
        let transport = self.transport.borrow();
        let Transport::Socket(socket) = &*transport else { return Poll::Ready(Ready::Closing) };
        if self.blocked.get() && socket.poll_write_ready(context).is_ready() {
            return Poll::Ready(Ready::Write);
        }
        if !self.busy.get() && socket.poll_read_ready(context).is_ready() {
            return Poll::Ready(Ready::Read);
        }
        self.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }

    pub(crate) fn socket<T>(&self, act: impl FnOnce(&Socket) -> std::io::Result<T>) -> std::io::Result<T> {
        match &*self.transport.borrow() {
            Transport::Socket(socket) => act(socket),
            Transport::Poll(_) | Transport::Stream(_) | Transport::Gone => {
                Err(std::io::ErrorKind::NotConnected.into())
            }
        }
    }

    /// Writes to the socket what it takes now.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        self.socket(|socket| socket.try_write(bytes))
    }
}

/// Serves a WebSocket until it ends. There is one of these for each, so it is written out: with no more than this in it, the
/// runtime's task is 128 bytes instead of 256.
pub(crate) struct ServeSocket {
    local: Rc<Local>,
    connection: Rc<Connection>,
    /// What it is at besides waiting for the socket. Boxed: only connections that talk a lot, or end, need the room for it.
    step: Option<Box<Step>>,
}

enum Step {
    /// It has read as much as one may at once, and waits for its next share.
    Share(Pin<Box<dyn Future<Output = ()>>>),
    /// It says goodbye.
    Goodbye(Pin<Box<dyn Future<Output = ()>>>),
}

impl ServeSocket {
    pub(crate) fn new(local: Rc<Local>, connection: Rc<Connection>) -> Self {
        Self { local, connection, step: None }
    }

    fn share(&self) -> Step {
        let local = Rc::clone(&self.local);
        Step::Share(Box::pin(async move { local.next_share().await }))
    }

    fn goodbye(&self) -> Step {
        let (local, connection) = (Rc::clone(&self.local), Rc::clone(&self.connection));
        Step::Goodbye(Box::pin(async move { linger(&local, &connection).await }))
    }
}

impl Future for ServeSocket {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.step.as_deref_mut() {
                Some(Step::Share(share)) => {
                    ready!(share.as_mut().poll(context));
                    self.step = None;
                }
                Some(Step::Goodbye(goodbye)) => {
                    ready!(goodbye.as_mut().poll(context));
                    break;
                }
                None => match ready!(self.connection.poll_ready(context)) {
                    Ready::Read => {
                        if read(&self.local, &self.connection) {
                            // It may have more.
                            self.step = Some(Box::new(self.share()));
                        }
                    }
                    Ready::Write => {
                        self.local.unblocked(&self.connection);
                        self.local.settle();
                    }
                    Ready::Closing => {
                        if self.connection.closing().is_none_or(|why| why == Disconnect::GONE) {
                            break;
                        }
                        self.step = Some(Box::new(self.goodbye()));
                    }
                },
            }
        }
        self.local.remove(&self.connection);
        Poll::Ready(())
    }
}

/// Reads once. Answers whether that was all that one read may take.
fn read(local: &Rc<Local>, connection: &Rc<Connection>) -> bool {
    let mut buffer = local.take_read_buffer();
    let mut full = false;
    match connection.socket(|socket| socket.try_read(&mut buffer)) {
        Ok(0) => local.close(connection, Disconnect::GONE),
        Ok(count) => {
            local.metrics().bytes_read.inc_by(count as u64);
            connection.heard_at.set(local.now_ms());
            full = count == buffer.len();
            local.received(connection, &mut buffer[..count]);
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(_) => local.close(connection, Disconnect::GONE),
    }
    local.give_read_buffer(buffer);
    local.settle();
    full
}

/// Writes what is left, says that no more comes, and reads until the client hangs up: a socket that is
/// closed with unread bytes resets the connection, and the goodbye with it.
async fn linger(local: &Rc<Local>, connection: &Rc<Connection>) {
    let goodbye = async {
        while local.has_output(connection) {
            let writable = poll_fn(|context| {
                connection
                    .socket(|socket| Ok(socket.poll_write_ready(context)))
                    .unwrap_or(Poll::Ready(Ok(())))
            });
            if writable.await.is_err() {
                return;
            }
            local.unblocked(connection);
            if connection.is_broken() {
                return;
            }
        }
        if let Transport::Socket(socket) = &*connection.transport.borrow() {
            socket.shutdown();
        }
        loop {
            let readable = poll_fn(|context| {
                connection.socket(|socket| Ok(socket.poll_read_ready(context))).unwrap_or(Poll::Ready(Ok(())))
            });
            let _ = readable.await;
            let mut buffer = local.take_read_buffer();
            let outcome = connection.socket(|socket| socket.try_read(&mut buffer));
            local.give_read_buffer(buffer);
            match outcome {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, goodbye).await;
}

/// Serves an event stream until it ends.
pub(crate) async fn serve_stream(local: Rc<Local>, connection: Rc<Connection>, stream: mpsc::Sender<Bytes>) {
    while connection.is_open() {
        if connection.blocked.get() {
            tokio::select! {
                room = stream.reserve_many(1 + LAST_WORDS) => match room {
                    Ok(room) => {
                        drop(room);
                        local.unblocked(&connection);
                    }
                    Err(_) => local.close(&connection, Disconnect::GONE),
                },
                () = connection.until(|| !connection.is_open()) => {}
            }
        } else {
            tokio::select! {
                () = stream.closed() => local.close(&connection, Disconnect::GONE),
                () = connection.until(|| !connection.is_open() || connection.blocked.get()) => {}
            }
        }
        local.settle();
    }
    // The goodbye, if there is one: room was kept for it.
    local.unblocked(&connection);
    local.remove(&connection);
}

/// Keeps a polling session that has ended until the client has fetched the goodbye and, with its next poll,
/// the close packet; or is late for them.
pub(crate) async fn linger_poll(local: Rc<Local>, connection: Rc<Connection>) {
    let fetched = async {
        connection.until(|| !local.has_output(&connection)).await;
        local.send(&connection, tidings_wire::engineio::CLOSE);
        local.settle();
        connection.until(|| !local.has_output(&connection)).await;
    };
    let _ = tokio::time::timeout(LINGER, fetched).await;
    local.remove(&connection);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection costs is a promise; whoever adds a field sees it here.
    #[test]
    fn a_connection_is_small() {
        let parts = [
            ("connection", size_of::<Connection>(), 312),
            ("transport", size_of::<Transport>(), 40),
            ("dialect", size_of::<Dialect>(), 32),
            ("session", size_of::<Session>(), 48),
            ("decoder", size_of::<Decoder>(), 16),
            ("task", size_of::<ServeSocket>(), 24),
        ];
        for (what, is, may) in parts {
            println!("{what}: {is} bytes");
            assert!(is <= may, "{what} takes {is} bytes, at most {may}");
        }
    }
}
