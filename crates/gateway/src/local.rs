//! What a shard thread owns: its connections, the hub's shard, timers, and the buffers that all of its
//! connections share.
//!
//! A turn ends with [`Local::settle`]: everything that became ready to write leaves in one write for
//! each connection, and what happened goes to the ledger.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tidings_hub::{Event, PeerKey, Shard, Wheel};
use tidings_model::{Disconnect, Seq};
use tidings_node::Node;
use tidings_node::ack::Ack;
use tidings_node::connect::Went;
use tidings_node::metrics::{Metrics, Protocol, Reason};
use tidings_wire::websocket::{self, Deflater, Inflater, Message, Opcode};
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;

use crate::connection::{self, Connection, Transport};
use crate::dialect::sse::LAST_WORDS;
use crate::dialect::{self, Dialect};
use crate::expiry;
use crate::session::Session;
use crate::settings::Settings;

/// Bytes that one read takes at most: as many tiny messages as are in them keep the shard busy for less than a
/// millisecond.
const READ_BYTES: usize = 16 * 1024;

/// Bytes of messages, as they are once decompressed, that one connection has looked at before others come in
/// between.
const SHARE_BYTES: usize = 64 * 1024;

/// Messages to big rooms that wait to be served at most.
const BACKLOG_MESSAGES: usize = 512;

/// Answers that wait for the end of a read at most.
const ANSWERS_MAX: usize = 128;

/// How much waits here for the ledger at most. More is forgotten: a receipt that is lost makes a message
/// come again.
const LEDGER_BACKLOG: usize = 65_536;

/// Coarsest granularity of the timers, and how many ticks a round of them has: a bit more than a minute.
const TICK_MS_MAX: u64 = 32;
const TICKS: usize = 2_048;

/// What a shard thread owns.
pub(crate) struct Local {
    pub(crate) me: Weak<Self>,
    pub(crate) index: u8,
    pub(crate) node: Arc<Node>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) hub: RefCell<Shard>,
    /// Sessions that began by polling, by id; others are only found by their key.
    pub(crate) sids: RefCell<HashMap<String, PeerKey>>,
    wheel: RefCell<Wheel<PeerKey>>,
    /// When the permits of connections end.
    pub(crate) ends: RefCell<expiry::Ends>,
    /// Something wants the shard's loop to look again: a timer was added, the last connection went.
    pub(crate) wake: Notify,
    /// Lets one connection in each turn go on that talks more than its share.
    shares: Notify,
    /// Over how many milliseconds those who are sent away are asked to spread their return.
    pub(crate) advise_ms: Cell<u32>,
    connections: RefCell<Vec<Option<Rc<Connection>>>>,
    load: Arc<AtomicUsize>,
    started: Instant,
    next_connection: Cell<u64>,
    read_buffer: RefCell<Vec<u8>>,
    write_buffer: RefCell<Vec<u8>>,
    /// What reads compressed messages, once there is a connection that may send them.
    inflater: RefCell<Option<Box<Inflater>>>,
    dirty: RefCell<Vec<PeerKey>>,
    events: RefCell<Vec<Event>>,
    acks: RefCell<Vec<Ack>>,
    /// Writes and the bytes in them since the last turn ended.
    written: Cell<(u64, u64)>,
}

impl Local {
    pub(crate) fn new(
        index: u8,
        node: Arc<Node>,
        settings: Arc<Settings>,
        load: Arc<AtomicUsize>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            me: me.clone(),
            index,
            hub: RefCell::new(Shard::new(
                settings.outbox,
                Deflater::new(settings.compression.unwrap_or_default()),
            )),
            node,
            sids: RefCell::default(),
            wheel: RefCell::new(Wheel::new(tick_ms(&settings), TICKS, 0)),
            ends: RefCell::new(expiry::ends()),
            wake: Notify::new(),
            shares: Notify::new(),
            settings,
            advise_ms: Cell::new(dialect::ADVISE_MS),
            connections: RefCell::default(),
            load,
            started: Instant::now(),
            // Not from 1 in every life: an id of the one before must not mean somebody else now.
            next_connection: Cell::new(u64::from(u32::from_le_bytes(tidings_node::ids::random()))),
            read_buffer: RefCell::default(),
            write_buffer: RefCell::default(),
            inflater: RefCell::default(),
            dirty: RefCell::default(),
            events: RefCell::default(),
            acks: RefCell::default(),
            written: Cell::default(),
        })
    }

    /// Milliseconds since the shard started.
    pub(crate) fn now_ms(&self) -> u64 {
        // 0 means "never" in the cells of a connection.
        self.started.elapsed().as_millis() as u64 + 1
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.node.metrics()
    }

    /// A number for a connection that no other one of this node has.
    pub(crate) fn next_connection(&self) -> u64 {
        self.next_connection.set(self.next_connection.get() + 1);
        u64::from(self.index) << 48 | self.next_connection.get()
    }

    /// Takes a connection in and sets its first timer.
    pub(crate) fn open(&self, transport: Transport, dialect: Dialect) -> Rc<Connection> {
        let key = self.hub.borrow_mut().add_peer();
        if matches!(transport, Transport::Poll(_)) {
            // Between two polls nothing can be written.
            self.hub.borrow_mut().set_blocked(key, true);
        }
        let protocol = Protocol { protocol: dialect.name() };
        self.metrics().connections.get_or_create(&protocol).inc();
        self.metrics().connections_opened.get_or_create(&protocol).inc();
        self.load.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(key, transport, dialect, self.now_ms());
        let mut connections = self.connections.borrow_mut();
        let index = key.index as usize;
        if connections.len() <= index {
            connections.resize(index + 1, None);
        }
        connections[index] = Some(Rc::clone(&connection));
        drop(connections);
        self.set_timer(&connection);
        connection
    }

    pub(crate) fn get(&self, key: PeerKey) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(key.index as usize)?.as_ref().filter(|found| found.key == key).cloned()
    }

    /// The session with this id, if it polls: from its upgrade on nobody else may name it.
    pub(crate) fn by_sid(&self, sid: &str) -> Option<Rc<Connection>> {
        let key = *self.sids.borrow().get(sid)?;
        self.get(key).filter(|found| matches!(&*found.transport.borrow(), Transport::Poll(_)))
    }

    pub(crate) fn all(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().iter().flatten().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.hub.borrow().peer_count()
    }

    /// Bytes came from a WebSocket: takes them message by message, until a message makes the connection
    /// busy; the rest waits then.
    pub(crate) fn received(self: &Rc<Self>, connection: &Rc<Connection>, bytes: &mut [u8]) {
        let mut decoder = connection.decoder.take();
        let mut inflater = self.take_inflater(connection);
        let max = connection.dialect.borrow().max_message(&self.settings);
        let (mut at, mut spent) = (0, 0);
        while at < bytes.len() && connection.is_open() {
            if spent > SHARE_BYTES && !connection.busy.get() {
                self.wait_for_share(connection);
            }
            if connection.busy.get() {
                let mut spill = connection.spill.take();
                spill.extend_from_slice(&bytes[at..]);
                connection.spill.set(spill);
                break;
            }
            let inflater = inflater.as_deref_mut().filter(|_| connection.deflate.get().is_some());
            match decoder.decode_with(&mut bytes[at..], max, inflater) {
                Ok((taken, message)) => {
                    at += taken;
                    if let Some(message) = message {
                        spent += message.len();
                        self.message(connection, message);
                        self.answer_early(connection);
                    } else if taken == 0 {
                        break;
                    }
                }
                Err(error) => {
                    let why = Disconnect::ALL.iter().find(|one| one.code == error.close_code());
                    self.close(connection, why.copied().unwrap_or(Disconnect::PROTOCOL_ERROR));
                }
            }
        }
        decoder.release();
        connection.decoder.set(decoder);
        if inflater.is_some() {
            self.inflater.replace(inflater);
        }
    }

    /// A connection has had its share of this turn: what else it has sent waits for the next.
    fn wait_for_share(self: &Rc<Self>, connection: &Rc<Connection>) {
        connection.busy.set(true);
        let (local, connection) = (Rc::clone(self), Rc::clone(connection));
        tokio::task::spawn_local(async move {
            local.next_share().await;
            local.unbusy(&connection);
        });
    }

    /// Answers go out while a client still talks, so that its own outbox is not what stops it.
    fn answer_early(&self, connection: &Rc<Connection>) {
        let many =
            self.hub.borrow_mut().outbox(connection.key).is_some_and(|outbox| outbox.len() >= ANSWERS_MAX);
        if many {
            self.flush_one(connection);
        }
    }

    fn message(self: &Rc<Self>, connection: &Rc<Connection>, message: Message<'_>) {
        match message {
            Message::Text(text) => dialect::text(self, connection, text),
            Message::Binary(bytes) => dialect::binary(self, connection, bytes),
            Message::Ping(payload) => {
                self.send_frame(connection, websocket::frame(Opcode::Pong, payload));
            }
            Message::Pong(payload) => dialect::pong(self, connection, payload),
            Message::Close { code, .. } => {
                connection.close_code.set(code.unwrap_or_default());
                self.close(connection, Disconnect::NORMAL);
            }
        }
    }

    /// A use case is done: goes on with what waited for it.
    pub(crate) fn unbusy(self: &Rc<Self>, connection: &Rc<Connection>) {
        connection.busy.set(false);
        let mut waiting = connection.spill.take();
        if !waiting.is_empty() && connection.is_open() {
            self.received(connection, &mut waiting);
        }
        connection.wake();
        self.settle();
    }

    /// Ends a connection: its devices leave, a goodbye is queued, its task does the rest.
    pub(crate) fn close(&self, connection: &Rc<Connection>, why: Disconnect) {
        if !connection.is_open() {
            return;
        }
        connection.set_closing(why);
        let reason = Reason { code: u32::from(why.code), reason: why.reason };
        self.metrics().connections_closed.get_or_create(&reason).inc();
        let sessions = connection.sessions.take();
        for session in &sessions {
            self.leave(session, why);
        }
        sessions.iter().for_each(|session| dialect::has_left(self, connection, session));
        if why != Disconnect::GONE {
            if let Some(outbox) = self.hub.borrow_mut().outbox(connection.key) {
                outbox.abandon();
            }
            dialect::goodbye(self, connection, &sessions, why);
            self.flush_one(connection);
        }
        connection.wake();
        let polling = matches!(&*connection.transport.borrow(), Transport::Poll(_));
        // A client between two polls hears the goodbye of an orderly end with its next one.
        // One that has fallen silent does not poll.
        let silent = matches!(why, Disconnect::NO_PONG | Disconnect::NO_CONNECT);
        let announced = why.code >= 3000 && !silent;
        if polling
            && announced
            && let Some(me) = self.me.upgrade()
        {
            tokio::task::spawn_local(connection::linger_poll(me, Rc::clone(connection)));
        } else if polling {
            self.remove(connection);
        }
    }

    /// A device leaves a connection that stays.
    pub(crate) fn leave(&self, session: &Session, why: Disconnect) {
        let settled = self.hub.borrow_mut().detach(session.member);
        // A cursor that is on record before the receipts it stands on would hide, after a crash, that they
        // are missing.
        let settled = if self.tell_acks() { settled } else { None };
        let (device, shard) = (session.ordinal, self.index);
        let (user, connection) = (session.user, session.connection);
        self.node.went(&session.namespace, Went { device, connection, shard, user, settled, why });
    }

    /// Notes how far the devices of a connection have come, so that a crash makes little to be read again.
    pub(crate) fn note_settled(&self, connection: &Connection) {
        if !self.tell_acks() {
            return;
        }
        for session in &*connection.sessions.borrow() {
            if let Some(seq) = self.hub.borrow_mut().take_settled(session.member) {
                self.node.settled(&session.namespace, session.ordinal, seq);
            }
        }
    }

    /// Forgets a connection that has ended.
    pub(crate) fn remove(&self, connection: &Rc<Connection>) {
        self.close(connection, Disconnect::GONE);
        if matches!(connection.transport.replace(Transport::Gone), Transport::Gone) {
            return;
        }
        if let Some(sid) = connection.dialect.borrow().sid() {
            self.sids.borrow_mut().remove(sid);
        }
        drop(connection.place.take());
        self.hub.borrow_mut().remove_peer(connection.key);
        if let Some(slot) = self.connections.borrow_mut().get_mut(connection.key.index as usize) {
            *slot = None;
        }
        if connection.blocked.replace(false) {
            self.metrics().connections_blocked.dec();
        }
        let protocol = Protocol { protocol: connection.dialect.borrow().name() };
        self.metrics().connections.get_or_create(&protocol).dec();
        if self.load.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wake.notify_one();
        }
    }

    /// Whether something waits to be written to a connection.
    pub(crate) fn has_output(&self, connection: &Connection) -> bool {
        connection.socket(|socket| Ok(socket.has_pending())).unwrap_or(false)
            || self.hub.borrow_mut().outbox(connection.key).is_some_and(|outbox| !outbox.is_empty())
    }

    /// Tells the devices on a connection that can be written to again what was let go meanwhile.
    pub(crate) fn tell_dropped(&self, connection: &Connection) {
        for session in &*connection.sessions.borrow() {
            let messages = self.hub.borrow_mut().take_dropped(session.member);
            if messages > 0 {
                dialect::dropped(self, connection, session, messages);
            }
        }
    }

    /// Whether more messages may be taken in. Those to big rooms wait in order to be served; when many do,
    /// the rest waits in the inbox, and publishing with it.
    pub(crate) fn takes_messages(&self) -> bool {
        self.hub.borrow().backlog() < BACKLOG_MESSAGES
    }

    /// One turn of the round in which rooms are served. Answers whether the round goes on.
    pub(crate) fn turn(&self) -> bool {
        let mut dirty = self.dirty.take();
        let more = self.hub.borrow_mut().turn(&mut dirty);
        self.flush(&mut dirty);
        self.dirty.replace(dirty);
        self.settle();
        more
    }

    fn flush(&self, dirty: &mut Vec<PeerKey>) {
        for key in dirty.drain(..) {
            if let Some(connection) = self.get(key) {
                self.flush_one(&connection);
            }
        }
    }

    /// The end of whatever was done for single connections: what it queued is written, what happened is
    /// told.
    pub(crate) fn settle(&self) {
        loop {
            let mut dirty = self.dirty.take();
            self.hub.borrow_mut().take_urgent(&mut dirty);
            self.flush(&mut dirty);
            self.dirty.replace(dirty);
            let mut events = self.events.take();
            self.hub.borrow_mut().take_events(&mut events);
            for event in &mut events {
                self.react(event);
            }
            // Another connection of the device has been given the same, or is about to be.
            events.retain(|event| self.node.holds_for_device(event));
            if !events.is_empty() {
                events = self.node.happened(events);
                self.bound(&mut events, "what happened to messages");
            }
            self.events.replace(events);
            if !self.hub.borrow().has_output() {
                break;
            }
        }
        self.tell_acks();
        let (writes, bytes) = self.written.take();
        if writes > 0 {
            self.metrics().writes.inc_by(writes);
            self.metrics().bytes_written.inc_by(bytes);
        }
    }

    /// Tells the ledger of the receipts that came. Answers whether it has taken all of them.
    fn tell_acks(&self) -> bool {
        let acks = self.acks.take();
        if acks.is_empty() {
            return true;
        }
        let mut left = self.node.acks(acks);
        self.bound(&mut left, "receipts");
        let all = left.is_empty();
        self.acks.replace(left);
        all
    }

    /// Forgets what the ledger is too far behind to be told of.
    fn bound<T>(&self, backlog: &mut Vec<T>, what: &str) {
        if backlog.len() > LEDGER_BACKLOG {
            let lost = backlog.len() - LEDGER_BACKLOG;
            tracing::warn!(what, lost, "the ledger is too far behind");
            self.metrics().ledger_lost.inc_by(lost as u64);
            backlog.truncate(LEDGER_BACKLOG);
        }
    }

    /// A transport took bytes in one write. Counted here first: the counters are shared by all shards.
    pub(crate) fn wrote(&self, bytes: usize) {
        let (writes, before) = self.written.get();
        self.written.set((writes + 1, before + bytes as u64));
    }

    /// A receipt came by an acknowledgement callback.
    pub(crate) fn acked(&self, session: &Session, seq: Seq) {
        self.hub.borrow_mut().acknowledge(session.member, seq);
        self.acks.borrow_mut().push(Ack {
            namespace: session.namespace.name.clone(),
            seq,
            device: session.ordinal,
            at: self.node.now(),
        });
    }

    /// Writes what waits for a connection, as much as its transport takes now.
    pub(crate) fn flush_one(&self, connection: &Rc<Connection>) {
        if connection.blocked.get() {
            return;
        }
        // What waited too long is not worth a write, whatever carries it.
        self.hub.borrow_mut().drop_expired(connection.key, self.node.now());
        let polls = match &*connection.transport.borrow() {
            Transport::Socket(_) => Some(false),
            Transport::Poll(_) => Some(true),
            Transport::Stream(_) | Transport::Gone => None,
        };
        match polls {
            Some(false) => self.flush_socket(connection),
            Some(true) => dialect::engineio::flush_poll(self, connection),
            None => self.flush_stream(connection),
        }
    }

    fn flush_socket(&self, connection: &Rc<Connection>) {
        let mut scratch = self.write_buffer.borrow_mut();
        let (mut failed, mut blocked) = (false, false);
        if let Some(outbox) = self.hub.borrow_mut().outbox(connection.key) {
            loop {
                let bytes = outbox.next_write(&mut scratch);
                if bytes.is_empty() {
                    break;
                }
                match connection.try_write(bytes) {
                    Ok(written) => {
                        outbox.advance(written);
                        self.wrote(written);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        blocked = true;
                        break;
                    }
                    Err(_) => {
                        failed = true;
                        break;
                    }
                }
            }
        }
        drop(scratch);
        // What TLS has taken and the kernel has not.
        match connection.socket(|socket| socket.try_flush().map(|()| socket.has_pending())) {
            Ok(pending) => blocked |= pending,
            Err(_) => failed = true,
        }
        if failed {
            connection.broken.set(true);
            self.close(connection, Disconnect::GONE);
        } else if blocked {
            // Its task has to wait for the socket to take more.
            self.set_blocked(connection, true);
            connection.wake();
        } else {
            dialect::written(self, connection);
        }
    }

    fn flush_stream(&self, connection: &Rc<Connection>) {
        let stream = match &*connection.transport.borrow() {
            Transport::Stream(stream) => stream.clone(),
            Transport::Socket(_) | Transport::Poll(_) | Transport::Gone => return,
        };
        let mut scratch = self.write_buffer.borrow_mut();
        let (mut failed, mut blocked) = (false, false);
        if let Some(outbox) = self.hub.borrow_mut().outbox(connection.key) {
            while !outbox.is_empty() {
                if connection.is_open() && stream.capacity() <= LAST_WORDS {
                    blocked = true;
                    break;
                }
                match stream.try_reserve() {
                    Ok(room) => {
                        let bytes = Bytes::copy_from_slice(outbox.next_write(&mut scratch));
                        outbox.advance(bytes.len());
                        self.wrote(bytes.len());
                        room.send(bytes);
                    }
                    Err(TrySendError::Full(())) => {
                        blocked = true;
                        break;
                    }
                    Err(TrySendError::Closed(())) => {
                        failed = true;
                        break;
                    }
                }
            }
        }
        drop(scratch);
        if failed {
            self.close(connection, Disconnect::GONE);
        } else if blocked {
            self.set_blocked(connection, true);
            connection.wake();
        } else {
            connection.notify();
        }
    }

    /// Whether the transport takes no more now. Until it does again, the bounds of the outbox hold.
    fn set_blocked(&self, connection: &Connection, blocked: bool) {
        if connection.blocked.replace(blocked) != blocked {
            let count = &self.metrics().connections_blocked;
            if blocked {
                count.inc()
            } else {
                count.dec()
            };
        }
        self.hub.borrow_mut().set_blocked(connection.key, blocked);
    }

    /// The transport may take more again.
    pub(crate) fn unblocked(&self, connection: &Rc<Connection>) {
        self.set_blocked(connection, false);
        self.tell_dropped(connection);
        self.flush_one(connection);
    }

    /// Sets the next timer of a connection.
    pub(crate) fn set_timer(&self, connection: &Connection) {
        let at = dialect::next_look(self, connection);
        self.wheel.borrow_mut().schedule(at, connection.key);
        self.wake.notify_one();
    }

    /// When a timer is due next, in milliseconds of this shard.
    pub(crate) fn next_timer_ms(&self) -> Option<u64> {
        let (beat, end) = (self.wheel.borrow().next_ms(), self.ends.borrow().next_ms());
        beat.into_iter().chain(end).min()
    }

    /// Runs the timers that are due.
    pub(crate) fn run_timers(self: &Rc<Self>) {
        self.end_the_expired();
        let mut due = Vec::new();
        self.wheel.borrow_mut().advance(self.now_ms(), |key| due.push(key));
        for key in due {
            if let Some(connection) = self.get(key)
                && connection.is_open()
            {
                dialect::timer(self, &connection);
                if connection.is_open() {
                    self.set_timer(&connection);
                }
            }
        }
    }

    /// Waits until a connection that talks a lot has its turn again: one of them in each turn of the shard, so
    /// that however many there are, everybody else comes in between.
    pub(crate) async fn next_share(&self) {
        self.wake.notify_one();
        self.shares.notified().await;
        // The next one who waits may have nobody else to wake the shard.
        self.wake.notify_one();
    }

    /// Lets the next one of those who wait go on.
    pub(crate) fn give_share(&self) {
        self.shares.notify_one();
    }

    /// The buffer that the next read goes into.
    pub(crate) fn take_read_buffer(&self) -> Vec<u8> {
        let mut buffer = self.read_buffer.take();
        buffer.resize(READ_BYTES, 0);
        buffer
    }

    pub(crate) fn give_read_buffer(&self, buffer: Vec<u8>) {
        self.read_buffer.replace(buffer);
    }

    /// What reads compressed messages, for a connection that may send them.
    fn take_inflater(&self, connection: &Connection) -> Option<Box<Inflater>> {
        connection.deflate.get()?;
        Some(self.inflater.take().unwrap_or_default())
    }
}

/// Fine enough for the shortest time that is set.
fn tick_ms(settings: &Settings) -> u64 {
    (settings.shortest_beat().as_millis() as u64 / 64).clamp(1, TICK_MS_MAX)
}
