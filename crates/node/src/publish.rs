//! A push becomes a message: who is meant, is it a retry, what order does it get.
//!
//! One actor appends and delivers, so that what is delivered first was appended first. Whatever waits
//! while one append is on its way to the disk goes along with the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use roaring::RoaringBitmap;
use tidings_hub::Delivery;
use tidings_hub::directory::Meant;
use tidings_model::{
    DeviceId, Durability, Except, Message, NamespaceName, Ordinal, Push, RoomName, Target, Timestamp, Topic,
    UserId, limit,
};
use tidings_store::{Appended, NewId, NewMessage, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::ledger::Opened;
use crate::notify::rfc3339;
use crate::rates::RetryAfter;
use crate::{Namespace, Node, deliver};

/// Most pushes that wait to be appended; with more, a push is refused as [`PublishError::Overloaded`].
pub const QUEUE_JOBS: usize = 16_384;

/// Most bytes of `data` in pushes that wait; with more, a push is refused the same way. One always fits.
pub const QUEUE_BYTES: usize = 64 << 20;

/// See [`limit::SCHEDULE_LATE_SECS_MAX`].
const SCHEDULE_LATE: Duration = Duration::from_secs(limit::SCHEDULE_LATE_SECS_MAX);

/// See [`limit::ID_SECS`].
const REPEATED_WITHIN: Duration = Duration::from_secs(limit::ID_SECS);

/// Most pushes in one append.
const APPEND_MESSAGES_MAX: usize = 1_024;

/// Appends on their way to the disk at once: while one waits for its fsync, the next one gathers.
const APPENDS_IN_FLIGHT: usize = 2;

/// A push that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The message that it became.
    pub message: Arc<Message>,
    /// Whether the same push had been accepted before: nothing new was sent.
    pub duplicate: bool,
    /// How many devices are meant; of a message that is scheduled, how many would be now.
    pub meant: u64,
    /// How many connections they had; of a duplicate, how many they have now.
    pub online: u64,
}

/// Why a push was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no such namespace.
    #[error("there is no such namespace")]
    NoNamespace,
    /// The operator has suspended the namespace.
    #[error("the namespace is suspended")]
    Suspended,
    /// The operator has suspended a room that it is for.
    #[error("the room {room} is suspended")]
    RoomSuspended {
        /// Where it stands among the rooms of the target.
        index: usize,
        /// Its name.
        room: RoomName,
    },
    /// Another push was accepted under the same id.
    #[error("another push was accepted with this id")]
    Conflict,
    /// What was scheduled is not there any more.
    #[error("the scheduled message is not there any more")]
    Gone,
    /// Too many pushes wait.
    #[error("too many pushes wait to be stored; retry in a moment")]
    Overloaded,
    /// The namespace has pushed too often.
    #[error("the namespace has as many pushes in a second as it may have; {}", .0)]
    TooOften(RetryAfter),
    /// `data` has more bytes than the namespace allows.
    #[error("data has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// Its time is over, and it was not accepted before that.
    #[error("deliver_at is {}, more than {} s in the past", rfc3339(*.0), limit::SCHEDULE_LATE_SECS_MAX)]
    TooLate(Timestamp),
    /// The store failed; nothing was accepted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RetryAfter> for PublishError {
    fn from(wait: RetryAfter) -> Self {
        Self::TooOften(wait)
    }
}

/// Where the answer to a push arrives.
pub(crate) type Pending = oneshot::Receiver<Result<Accepted, PublishError>>;

/// For each topic, whose it is, if it is one of a user or a device.
pub(crate) type Direct = Vec<Box<[u32]>>;

/// A push on its way to the store.
pub(crate) struct Job {
    /// It is large, and a job is handed on many times.
    message: Box<NewMessage>,
    durability: Durability,
    rest: Rest,
}

/// What of a push is not for the store, and waits until it has answered.
struct Rest {
    namespace: Arc<Namespace>,
    direct: Direct,
    /// Whether it is a scheduled message whose time has come.
    was_scheduled: bool,
    /// Who is meant, and how many connections they have, for the answer to a push that is scheduled.
    expected: Option<(u64, u64)>,
    reply: oneshot::Sender<Result<Accepted, PublishError>>,
    /// Counts it among what waits for as long as it does.
    _waiting: Waiting,
}

/// What waits to be stored.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    pushes: AtomicUsize,
}

/// One of what waits, for as long as it does.
pub(crate) struct Waiting {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Backlog {
    /// Makes room for a push, if there is any.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize) -> Option<Waiting> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pushes.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { backlog: Arc::clone(self), bytes };
        (before == 0 || before + bytes <= QUEUE_BYTES).then_some(waiting)
    }

    /// How many pushes wait, and how many bytes they have.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.pushes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.backlog.pushes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    /// Accepts a push: resolves who is meant, appends it, delivers it to who is here.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was accepted then.
    pub async fn publish(
        &self,
        namespace: &NamespaceName,
        push: impl Into<Box<Push>>,
    ) -> Result<Accepted, PublishError> {
        let (job, pending) = self.draft(namespace, push.into()).await?;
        self.submit(job)?;
        pending.await.map_err(|_| StoreError::Closed)?
    }

    /// Accepts many pushes, each on its own, in order. One that is refused spoils none of the others. They are handed on
    /// when all are ready, so that they reach the disk, and shards, together.
    pub async fn publish_batch(
        &self,
        namespace: &NamespaceName,
        pushes: impl IntoIterator<Item: Into<Box<Push>>>,
    ) -> Vec<Result<Accepted, PublishError>> {
        let pushes = pushes.into_iter();
        let mut drafts = Vec::with_capacity(pushes.size_hint().0);
        for push in pushes {
            drafts.push(self.draft(namespace, push.into()).await);
        }
        let submit = |draft: Result<(Job, Pending), PublishError>| {
            let (job, pending) = draft?;
            self.submit(job).map(|()| pending)
        };
        let pending: Vec<_> = drafts.into_iter().map(submit).collect();
        let mut results = Vec::with_capacity(pending.len());
        for one in pending {
            results.push(match one {
                Ok(reply) => reply.await.unwrap_or(Err(PublishError::Store(StoreError::Closed))),
                Err(why) => Err(why),
            });
        }
        results
    }

    /// Says who would be meant by a push now, without accepting it.
    ///
    /// # Errors
    /// As [`Node::publish`].
    pub async fn dry_run(&self, namespace: &NamespaceName, push: &Push) -> Result<(u64, u64), PublishError> {
        let namespace = self.namespace(namespace.as_str()).ok_or(PublishError::NoNamespace)?;
        check(&namespace, push)?;
        self.check_time(&namespace, push, self.clock.now()).await?;
        let (_, _, meant) = self.resolve(&namespace, &push.to, &push.except).await?;
        let online = namespace.directory().connections_of(&meant);
        Ok((meant.len(), online))
    }

    /// Checks a push against what holds here, and finds out whom it is for.
    async fn draft(
        &self,
        namespace: &NamespaceName,
        push: Box<Push>,
    ) -> Result<(Job, Pending), PublishError> {
        let namespace = self.namespace(namespace.as_str()).ok_or(PublishError::NoNamespace)?;
        check(&namespace, &push)?;
        // Of one moment, so that what is found to be a repetition is one.
        let now = self.clock.now();
        self.check_time(&namespace, &push, now).await?;
        namespace.may_push(now)?;
        let waiting = self.backlog.enter(push.data.len()).ok_or_else(|| self.overloaded())?;
        let (reply, receiver) = oneshot::channel();
        Ok((self.job(namespace, push, now, reply, waiting).await?, receiver))
    }

    /// What was to be delivered a while ago is late, unless it repeats what came in time.
    async fn check_time(
        &self,
        namespace: &Namespace,
        push: &Push,
        now: Timestamp,
    ) -> Result<(), PublishError> {
        let Some(at) = push.deliver_at.filter(|at| now.since(*at) > SCHEDULE_LATE) else { return Ok(()) };
        let before = match &push.id {
            Some(id) => self.message(namespace, id).await?,
            None => None,
        };
        match before {
            // Its repetition is told from another message by the store.
            Some(before) if now.since(before.accepted_at) < REPEATED_WITHIN => Ok(()),
            Some(_) | None => Err(PublishError::TooLate(at)),
        }
    }

    fn submit(&self, job: Job) -> Result<(), PublishError> {
        self.publisher.try_send(job).map_err(|full| match full {
            mpsc::error::TrySendError::Full(_) => self.overloaded(),
            mpsc::error::TrySendError::Closed(_) => PublishError::Store(StoreError::Closed),
        })
    }

    fn overloaded(&self) -> PublishError {
        self.metrics.pushes_refused.inc();
        PublishError::Overloaded
    }

    /// Accepts a message that no caller waits to be told is one too many: it waits for room instead.
    pub(crate) async fn enqueue(
        &self,
        namespace: Arc<Namespace>,
        message: NewMessage,
        direct: Direct,
        durability: Durability,
    ) -> Result<Pending, StoreError> {
        let (reply, receiver) = oneshot::channel();
        let bytes = message.data.len();
        self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.backlog.pushes.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { backlog: Arc::clone(&self.backlog), bytes };
        let was_scheduled = message.replaces.is_some();
        let rest = Rest { namespace, direct, was_scheduled, expected: None, reply, _waiting: waiting };
        let job = Job { message: Box::new(message), durability, rest };
        self.publisher.send(job).await.map_err(|_| StoreError::Closed)?;
        Ok(receiver)
    }

    /// Sends a scheduled message, to whom it is for by now. Its life begins.
    pub(crate) async fn submit_scheduled(
        &self,
        namespace: Arc<Namespace>,
        message: &Message,
    ) -> Result<Pending, StoreError> {
        let (topics, direct, meant) = self.resolve(&namespace, &message.to, &message.except).await?;
        let now = self.clock.now();
        let life = message.expires_at.since(message.sent_at);
        let sent = NewMessage {
            namespace: namespace.name.clone(),
            id: NewId::Kept(message.id.clone()),
            fingerprint: [0; 16],
            event: message.event.clone(),
            data: message.data.clone(),
            to: message.to.clone(),
            except: message.except.clone(),
            topics,
            meant: Arc::new(meant),
            accepted_at: message.accepted_at,
            // Counted from the time it was meant for: a server that was away does not make it live longer.
            expires_at: message.sent_at.after(life),
            priority: message.priority,
            keep: message.keep,
            collapse_key: message.collapse_key.clone(),
            deliver_at: message.deliver_at,
            sent_at: now,
            escalate_after: message.escalate_after,
            offline: message.offline.clone(),
            recalls: None,
            from: message.from.clone(),
            aside: message.aside.clone(),
            replaces: Some(message.seq),
        };
        self.enqueue(namespace, sent, direct, Durability::Durable).await
    }

    /// A push on its way to the store. One whose time has not come is for nobody yet.
    async fn job(
        &self,
        namespace: Arc<Namespace>,
        push: Box<Push>,
        now: Timestamp,
        reply: oneshot::Sender<Result<Accepted, PublishError>>,
        waiting: Waiting,
    ) -> Result<Job, StoreError> {
        let (mut topics, mut direct, mut meant) = self.resolve(&namespace, &push.to, &push.except).await?;
        let later = push.deliver_at.filter(|at| *at > now);
        let expected = later.map(|_| (meant.len(), namespace.directory().connections_of(&meant)));
        if later.is_some() {
            (topics, direct, meant) = Default::default();
        }
        let sent_at = later.unwrap_or(now);
        let lives = push.keep && push.ttl > Duration::ZERO;
        Ok(Job {
            message: Box::new(NewMessage {
                namespace: namespace.name.clone(),
                id: push.id.map_or_else(|| self.made_id(), NewId::Chosen),
                fingerprint: push.fingerprint,
                event: push.event,
                data: push.data,
                to: push.to,
                except: push.except,
                topics,
                meant: Arc::new(meant),
                accepted_at: now,
                expires_at: if lives { sent_at.after(namespace.life(push.ttl)) } else { sent_at },
                priority: push.priority,
                keep: lives,
                collapse_key: push.collapse_key,
                deliver_at: push.deliver_at,
                sent_at,
                escalate_after: if lives {
                    self.escalate_after(&namespace, push.escalate_after)
                } else {
                    None
                },
                offline: push.offline,
                recalls: None,
                from: push.from,
                aside: push.aside,
                replaces: None,
            }),
            durability: push.durability,
            rest: Rest { namespace, direct, was_scheduled: false, expected, reply, _waiting: waiting },
        })
    }

    /// The id of a message that nobody has given one.
    pub(crate) fn made_id(&self) -> NewId {
        NewId::Made { salt: self.salts.next() }
    }

    /// The topics of a push in the order in which a connection looks for it (nearest first), whose
    /// devices each direct one has, and who is meant altogether.
    async fn resolve(
        &self,
        namespace: &Namespace,
        to: &Target,
        but: &Except,
    ) -> Result<(Vec<Topic>, Direct, RoaringBitmap), StoreError> {
        let of_devices = |ids: &[DeviceId]| ids.iter().cloned().map(Topic::Device).collect::<Vec<_>>();
        let of_users = |users: &[UserId]| users.iter().cloned().map(Topic::User).collect::<Vec<_>>();
        let mut topics = of_devices(&to.devices);
        topics.append(&mut of_users(&to.users));
        let mut direct = self.owners(namespace, topics.clone()).await?;
        topics.extend(to.rooms.iter().cloned().map(Topic::Room));
        topics.extend(to.all.then_some(Topic::All));
        direct.resize_with(topics.len(), Box::default);
        let mut excepted = of_devices(&but.devices);
        excepted.append(&mut of_users(&but.users));
        let except = self.owners(namespace, excepted).await?.iter().flatten().copied().collect();
        let connections: Vec<u64> =
            but.connections.iter().filter_map(|id| crate::connect::connection_number(id)).collect();
        let meant = namespace.directory().resolve(&Meant {
            all: to.all,
            ordinals: direct.iter().flatten().copied().collect(),
            rooms: &to.rooms,
            platforms: &to.platforms,
            except,
            except_rooms: &but.rooms,
            except_connections: &connections,
        });
        Ok((topics, direct, meant))
    }

    /// Whose topics these are, for those of users and devices.
    pub(crate) async fn owners(
        &self,
        namespace: &Namespace,
        topics: Vec<Topic>,
    ) -> Result<Direct, StoreError> {
        if topics.is_empty() {
            return Ok(Direct::new());
        }
        let owners = self.store.owners(&namespace.name, topics).await?;
        let ordinals = |of: &Arc<[Ordinal]>| of.iter().map(|ordinal| ordinal.0).collect();
        Ok(owners.iter().map(ordinals).collect())
    }
}

/// Checks a push against what holds in its namespace.
fn check(namespace: &Namespace, push: &Push) -> Result<(), PublishError> {
    let settings = namespace.settings();
    if namespace.is_gone() {
        return Err(PublishError::NoNamespace);
    }
    if settings.suspended {
        return Err(PublishError::Suspended);
    }
    if let Some(index) = namespace.first_suspended(&push.to.rooms) {
        return Err(PublishError::RoomSuspended { index, room: push.to.rooms[index].clone() });
    }
    let limit = settings.largest_data();
    if push.data.len() > limit {
        return Err(PublishError::TooLarge { bytes: push.data.len(), limit });
    }
    Ok(())
}

/// Appends and delivers, until the node is gone.
pub(crate) async fn run(node: Weak<Node>, mut jobs: mpsc::Receiver<Job>) {
    let Some(store) = node.upgrade().map(|node| Arc::clone(&node.store)) else { return };
    let mut appends = FuturesOrdered::new();
    loop {
        let mut batch = Vec::with_capacity(jobs.len().min(APPEND_MESSAGES_MAX));
        tokio::select! {
            biased;
            // What is on disk is delivered before anything else is taken up.
            Some((batch, outcome)) = appends.next() => {
                let Some(node) = node.upgrade() else { return };
                settle(&node, batch, outcome).await;
            }
            count = jobs.recv_many(&mut batch, APPEND_MESSAGES_MAX), if appends.len() < APPENDS_IN_FLIGHT => {
                if count == 0 {
                    return;
                }
                let durable = batch.iter().any(|job: &Job| job.durability == Durability::Durable);
                let durability = if durable { Durability::Durable } else { Durability::Memory };
                let (mut messages, mut rest) = (Vec::with_capacity(count), Vec::with_capacity(count));
                for job in batch {
                    messages.push(*job.message);
                    rest.push(job.rest);
                }
                let store = Arc::clone(&store);
                appends.push_back(async move { (rest, store.append(messages, durability).await) });
            }
        }
    }
}

async fn settle(node: &Node, batch: Vec<Rest>, outcome: Result<Vec<Appended>, StoreError>) {
    node.alerts.stored(outcome.as_ref().map(drop));
    let appended = match outcome {
        Ok(appended) => appended,
        Err(why) => {
            tracing::error!(error = %why, pushes = batch.len(), "pushes refused: the store cannot append");
            for rest in batch {
                let _ = rest.reply.send(Err(PublishError::Store(why.clone())));
            }
            return;
        }
    };
    let (mut answers, mut fresh) = (Vec::with_capacity(batch.len()), Fresh::default());
    // Those that take the place of others.
    let mut later = Vec::new();
    for (mut rest, appended) in batch.into_iter().zip(appended) {
        let mut takes_places = false;
        let answer = match appended {
            Appended::New(message, superseded) => {
                takes_places = !superseded.is_empty();
                Ok(accepted(node, &mut rest, message, superseded, &mut fresh))
            }
            Appended::Duplicate(message) => {
                takes_places = message.collapse_key.is_some();
                let now = || {
                    let online = rest.namespace.directory().connections_of(&message.meant);
                    (message.meant.len(), online)
                };
                let expected = rest.expected.filter(|_| message.is_scheduled());
                let (meant, online) = expected.unwrap_or_else(now);
                Ok(Accepted { message, duplicate: true, meant, online })
            }
            Appended::Conflict => Err(PublishError::Conflict),
            Appended::Gone => Err(PublishError::Gone),
        };
        let answers = if takes_places { &mut later } else { &mut answers };
        answers.push((rest, answer));
    }
    node.ledger.opened(fresh.opened).await;
    node.shards.deliver(fresh.deliveries).await;
    // Until here they count among what waits, and their namespaces as in use.
    let reply = |answers: Vec<(Rest, _)>| {
        for (rest, answer) in answers {
            let _ = rest.reply.send(answer);
        }
    };
    reply(answers);
    if !later.is_empty() {
        let ledger = node.ledger.clone();
        tokio::spawn(async move {
            ledger.recorded().await;
            reply(later);
        });
    }
}

/// Messages that have just got their places, on their way to who is here.
#[derive(Default)]
struct Fresh {
    /// With those that each takes the place of.
    opened: Vec<Opened>,
    /// With the shards that may have somebody for each.
    deliveries: Vec<(u64, Arc<Delivery>)>,
}

/// A message has its place: whoever is here gets it, and what it is due for is waited for.
fn accepted(
    node: &Node,
    rest: &mut Rest,
    message: Arc<Message>,
    superseded: Vec<Arc<Message>>,
    fresh: &mut Fresh,
) -> Accepted {
    let namespace = &rest.namespace;
    node.due.expect(&message);
    namespace.sight.accepted(&message, !rest.was_scheduled);
    if message.is_scheduled() {
        let (meant, online) = rest.expected.unwrap_or_default();
        node.count_push(namespace);
        return Accepted { message, duplicate: false, meant, online };
    }
    // What announces a recall is nobody's push; what was scheduled was counted when it was accepted.
    if message.recalls.is_none() && !rest.was_scheduled {
        node.count_push(namespace);
    }
    let delivery = Delivery {
        message: Arc::clone(&message),
        direct: std::mem::take(&mut rest.direct),
        superseded: superseded.iter().map(|old| old.seq).collect(),
    };
    let (online, shards) = {
        let directory = namespace.directory();
        (directory.connections_of(&message.meant), deliver::shards_for(&directory, &delivery))
    };
    // To a message for nobody who is here nothing may ever happen: the ledger reads it when something does.
    if shards != 0 || !superseded.is_empty() {
        fresh.opened.push((Arc::clone(&message), superseded));
    }
    fresh.deliveries.push((shards, Arc::new(delivery)));
    Accepted { meant: message.meant.len(), message, duplicate: false, online }
}
