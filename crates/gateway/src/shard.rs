//! A shard thread: one loop that takes what it is told, and ends each turn with one write for each
//! connection that has something to be written.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tidings_hub::Delivery;
use tidings_model::{Disconnect, Ordinal};
use tidings_node::{Node, ToShard, ids};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::breath::Breath;
use crate::command::{Application, Command, MayUpgrade, Query};
use crate::connection::{self, Transport};
use crate::dialect::{self, Dialect};
use crate::drain::{self, Whose};
use crate::local::Local;
use crate::pressure::{Pressure, Pulse};
use crate::session;
use crate::settings::Settings;

/// Messages that one turn takes in before what they cause is written.
const TURN_MESSAGES: usize = 64;

/// Commands that one turn obeys besides.
const TURN_COMMANDS: usize = 16;

/// For how long one turn may follow another, because there is always something to be done, before others get theirs.
const TURNS_IN_A_ROW: Duration = Duration::from_millis(1);

/// How long the loop sleeps when no timer is set.
const IDLE: Duration = Duration::from_secs(60);

/// How often a shard looks how late it is.
const PULSE: Duration = Duration::from_millis(100);

/// Pulses between two looks at what belongs to the whole process.
const PROCESS_PULSES: u32 = 10;

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) index: u8,
    pub(crate) node: Arc<Node>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) load: Arc<AtomicUsize>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) inbox: mpsc::Receiver<ToShard>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

/// Runs a shard until the node and the gateway are gone.
pub(crate) fn run(parts: Parts) {
    let Parts { index, node, settings, load, pressure, inbox, commands } = parts;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, shard = index, "a shard cannot start");
            return;
        }
    };
    let local = Local::new(index, node, settings, load);
    LocalSet::new().block_on(&runtime, turns(local, pressure, inbox, commands));
}

async fn turns(
    local: Rc<Local>,
    pressure: Arc<Pressure>,
    mut inbox: mpsc::Receiver<ToShard>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut more = false;
    // Of what was told, the messages that have not been taken in.
    let mut waiting = VecDeque::new();
    let mut yielded = Instant::now();
    let timer = tokio::time::sleep(IDLE);
    tokio::pin!(timer);
    let mut pulse = tokio::time::interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulses = 0;
    let mut breath = Breath::new(Instant::now());
    loop {
        tokio::select! {
            // Order is priority: timers keep connections honest, messages are what we are for, a new
            // connection can wait a moment, and the rest of a round comes last, so that everything
            // else gets a turn in between, and ends a breath.
            biased;
            () = &mut timer => {
                local.run_timers();
                reset(&local, timer.as_mut());
            }
            due = pulse.tick() => {
                let (inbox, commands, rooms) = (inbox.len(), commands.len(), local.hub.borrow().backlog());
                let now = Pulse { late: due.elapsed(), inbox, commands, rooms };
                pressure.pulse(local.metrics(), local.index, now);
                pulses += 1;
                if local.index == 0 && pulses % PROCESS_PULSES == 0 {
                    pressure.memory(local.metrics());
                    local.node.count_queues();
                }
            }
            told = inbox.recv(), if waiting.is_empty() && local.takes_messages() => {
                let Some(told) = told else { return };
                take_in(&local, Some(told), &mut waiting, &mut inbox);
            }
            () = std::future::ready(()), if !waiting.is_empty() && local.takes_messages() => {
                take_in(&local, None, &mut waiting, &mut inbox);
            }
            Some(command) = commands.recv() => obey(&local, command),
            () = local.wake.notified() => reset(&local, timer.as_mut()),
            () = breath.take(), if more => {}
        }
        // However much is to be delivered, some who want to come in are let in.
        for _ in 0..TURN_COMMANDS {
            match commands.try_recv() {
                Ok(command) => obey(&local, command),
                Err(_) => break,
            }
        }
        local.pass_time();
        more = local.turn();
        if local.next_release_ms().is_some() {
            reset(&local, timer.as_mut());
        }
        local.give_share();
        let now = Instant::now();
        breath.after_turn(more && local.hub.borrow().is_behind(), now);
        if more || !waiting.is_empty() || now.duration_since(yielded) >= TURNS_IN_A_ROW {
            // The connections' own tasks get their turn as well, and timers are looked at.
            tokio::task::yield_now().await;
            yielded = Instant::now();
        }
    }
}

fn reset(local: &Local, timer: std::pin::Pin<&mut tokio::time::Sleep>) {
    let wait =
        local.next_timer_ms().map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(local.now_ms())));
    let wait = local.next_release_ms().map_or(wait, |ms| wait.min(Duration::from_millis(ms)));
    timer.reset(Instant::now() + wait);
}

/// Takes in what waits of what was told before, what was `told` now, and what else was, up to as much as belongs into a turn. Messages
/// that come to too much stay among those that wait.
fn take_in(
    local: &Local,
    mut told: Option<ToShard>,
    waiting: &mut VecDeque<Arc<Delivery>>,
    inbox: &mut mpsc::Receiver<ToShard>,
) {
    let mut messages = 0;
    loop {
        while let Some(delivery) = waiting.pop_front() {
            // What is held back from now on is held back until then.
            local.pass_time();
            local.hub.borrow_mut().deliver(delivery);
            messages += 1;
            if local.hub.borrow().has_enough() {
                return;
            }
        }
        if told.is_none() && messages < TURN_MESSAGES {
            told = inbox.try_recv().ok();
        }
        let Some(told) = told.take() else { return };
        // Messages count when they are delivered.
        messages += usize::from(!matches!(told, ToShard::Deliver(_)));
        take(local, told, waiting);
    }
}

/// Does what was told; messages wait behind it.
fn take(local: &Local, message: ToShard, waiting: &mut VecDeque<Arc<Delivery>>) {
    // What is held back from now on is held back until then.
    local.pass_time();
    let mut hub = local.hub.borrow_mut();
    match message {
        ToShard::Deliver(deliveries) => waiting.extend(deliveries),
        ToShard::Faults { namespace, faults } => {
            hub.set_faults(&namespace, faults, local.node.now(), u64::from_le_bytes(ids::random()));
        }
        ToShard::Rooms { namespace, device, join, leave } => {
            for member in hub.members_of_device(&namespace, device) {
                join.iter().for_each(|room| hub.join(member, room));
                leave.iter().for_each(|room| hub.leave(member, room));
            }
        }
        ToShard::Recall { namespace, seq, done } => {
            hub.recall(&namespace, seq);
            drop(hub);
            // Whoever waits relies on the ledger to know by then who was written to.
            local.settle();
            drop(done);
        }
        ToShard::SendAway { namespace, devices: Some(devices), why } => {
            let peers = devices.iter().flat_map(|device| hub.peers_of_device(&namespace, Ordinal(*device)));
            let peers: Vec<_> = peers.collect();
            drop(hub);
            for connection in peers.into_iter().filter_map(|peer| local.get(peer)) {
                session::send_away(local, &connection, &namespace, why);
            }
        }
        ToShard::SendAway { namespace, devices: None, why } => {
            drop(hub);
            if let Some(local) = local.me.upgrade() {
                drain::disperse(local, namespace, why, Whose::All);
            }
        }
        ToShard::Revoked { namespace, which } => {
            drop(hub);
            if let Some(local) = local.me.upgrade() {
                drain::disperse(local, namespace, Disconnect::INVALID_TOKEN, Whose::Revoked(&which));
            }
        }
        ToShard::Blocked { namespace, network } => {
            drop(hub);
            if let Some(local) = local.me.upgrade() {
                drain::disperse(local, namespace, Disconnect::OPERATOR, Whose::From(network));
            }
        }
        ToShard::Connections { namespace, devices, reply } => {
            drop(hub);
            // Who asked may have given up.
            let _ = reply.try_send(local.live(&namespace, &devices));
        }
        ToShard::End { namespace, device, connection, why } => {
            let peers = hub.peers_of_device(&namespace, device);
            drop(hub);
            local.end(&namespace, peers, connection, why);
        }
        ToShard::Signal(signal) => {
            drop(hub);
            local.signal(&signal);
        }
        ToShard::Notice(notice) => {
            drop(hub);
            local.notice(&notice);
        }
        ToShard::Replaced { namespace, device } => {
            let peers = hub.peers_of_device(&namespace, device);
            drop(hub);
            for connection in peers.into_iter().filter_map(|peer| local.get(peer)) {
                local.close(&connection, Disconnect::REPLACED);
            }
        }
    }
}

fn obey(local: &Rc<Local>, command: Command) {
    match command {
        Command::Open(command, _coming) => obey(local, *command),
        Command::Plain { socket, dialect } => accept(local, socket, *dialect, dialect::welcome),
        Command::EngineIo { socket, version, claim, application } => {
            let dialect = Dialect::engineio(local.index, version, *claim, application);
            accept(local, socket, dialect, dialect::engineio::greet);
        }
        Command::OpenPolling { version, claim, application, place, reply } => {
            let dialect = Dialect::engineio(local.index, version, *claim, application);
            let connection = local.open(Transport::Poll(Some(reply)), dialect);
            connection.place.set(place);
            let sid = connection.dialect.borrow().sid().map(str::to_owned).unwrap_or_default();
            local.sids.borrow_mut().insert(sid, connection.key);
            dialect::engineio::greet(local, &connection);
        }
        Command::Poll { sid, reply } => dialect::engineio::poll(local, &sid, reply),
        Command::PollGone { sid } => dialect::engineio::poll_gone(local, &sid),
        Command::Post { sid, body, binary, reply } => {
            dialect::engineio::post(local, &sid, body, binary, reply);
        }
        Command::MayPost { sid, reply } => dialect::engineio::reserve_post(local, &sid, reply),
        Command::PostGone { sid } => dialect::engineio::release_post(local, &sid),
        Command::MayUpgrade { sid, reply } => {
            let may = dialect::engineio::reserve_upgrade(local, &sid);
            if reply.send(may).is_err() && may == MayUpgrade::Yes {
                dialect::engineio::release_upgrade(local, &sid);
            }
        }
        Command::Upgrade { sid, socket: None } => dialect::engineio::release_upgrade(local, &sid),
        Command::Upgrade { sid, socket: Some(socket) } => {
            dialect::engineio::upgrade(local, sid, socket);
        }
        Command::Surplus { socket, version } => {
            let dialect = Dialect::engineio(local.index, version, Query::default(), Application::Push);
            accept(local, socket, dialect, |local, surplus| local.close(surplus, Disconnect::PROTOCOL_ERROR));
        }
        Command::Sse { request, reply } => dialect::sse::open(local, *request, reply),
        Command::Drain { plan, of, reply } => {
            tokio::task::spawn_local(drain::run(Rc::clone(local), plan, of, reply));
        }
    }
}

fn accept(
    local: &Rc<Local>,
    upgraded: crate::command::Upgraded,
    dialect: Dialect,
    greet: impl FnOnce(&Rc<Local>, &Rc<connection::Connection>),
) {
    let socket = match upgraded.socket.attach() {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be taken over");
            return;
        }
    };
    let connection = local.open(Transport::Socket(socket), dialect);
    connection.deflate.set(upgraded.deflate);
    connection.place.set(upgraded.place);
    greet(local, &connection);
    if !upgraded.leftover.is_empty() {
        local.received(&connection, &mut upgraded.leftover.to_vec());
    }
    tokio::task::spawn_local(connection::ServeSocket::new(Rc::clone(local), connection));
}
