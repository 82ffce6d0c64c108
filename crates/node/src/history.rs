//! What was pushed: messages by time, room, user, device, event, status and text, page by page.
//!
//! The index of the store leads to candidates; each is then held against everything that was asked for, so that
//! what is listed is true whatever the index says. What is not indexed yet is looked through one by one. A page looks at
//! so much and no more, however little of it is wanted: it then says where to go on, and may be short, even empty.
//!
//! A message has its place in this order by its number: by when it was sent, or accepted, as long as it is scheduled.

pub(crate) mod indexer;
mod words;

use std::sync::Arc;

use roaring::RoaringBitmap;
use tidings_model::{
    DeviceId, EventName, Message, NamespaceName, RoomName, Seq, Timestamp, Topic, UserId, limit,
};
pub use tidings_store::Order;
use tidings_store::port::Which;
use tidings_store::{Device, Span, StoreError, Term};

use crate::ledger::report::{Life, Report};
use crate::{Namespace, Node};
pub use words::Words;

/// Most messages that are looked at for a page.
const LOOKED_AT_MAX: usize = 2_000;

/// Most bytes of messages (what they say, and for whom) that are looked at for a page.
const LOOKED_AT_BYTES: usize = 8 << 20;

/// How often the index is asked for a page.
const SEARCHES_MAX: usize = 4;

/// Candidates that one search brings.
const CANDIDATES: usize = 512;

/// Messages that are read together: at first, and when these were not enough.
const READ_FIRST: usize = 64;
const READ_MORE: usize = 256;

/// Terms that somebody may be addressed by before the index is not asked about it.
const ADDRESSES_MAX: usize = 1_024;

/// How far from its place by time a message may be: pushes that come together are numbered in any order.
const DISORDER: u64 = 256;

/// What is asked for: everything that is said must be true of a message. By default, all of them.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Sent at this time or later.
    pub since: Option<Timestamp>,
    /// Sent before this time.
    pub until: Option<Timestamp>,
    /// Addressed to this user, or meant for one of the devices that the user has.
    pub user: Option<UserId>,
    /// Addressed to this device, or meant for it.
    pub device: Option<DeviceId>,
    /// Addressed to this room.
    pub room: Option<RoomName>,
    /// With this event.
    pub event: Option<EventName>,
    /// Where it is in its life now.
    pub status: Option<Life>,
    /// With all of this in its text.
    pub words: Option<Words>,
    /// In which order.
    pub order: Order,
}

/// A page of messages.
#[derive(Clone, Debug)]
pub struct Page {
    /// Messages with what became of them.
    pub items: Vec<(Arc<Message>, Report)>,
    /// Behind which number the next page begins, if there is one.
    pub next: Option<Seq>,
}

impl Node {
    /// The messages that are asked for, behind the number `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(
        &self,
        namespace: &Namespace,
        asked: &Asked,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let name = &namespace.name;
        // In this order: what is not indexed by now is at most what is behind that.
        let indexed = self.store.indexed(name).await?;
        let everything = Span { first: Seq(1), last: self.store.head(name) };
        let wanted = self.wanted(name, asked).await?;
        let mut span = self.within_time(name, everything, &wanted).await?;
        if let Some(after) = after {
            span = span.and(everything.behind(after, asked.order).unwrap_or(NOTHING));
        }
        let mut search = Search { node: self, name, wanted, found: Vec::new(), looked: 0, bytes: 0, limit };
        let mut next = None;
        for (part, by_index) in search.wanted.parts(span, indexed) {
            next = search.part(part, by_index).await?;
            if next.is_some() {
                break;
            }
        }
        let mut found = search.found;
        if found.len() > limit {
            found.truncate(limit);
            next = found.last().map(|message| message.seq);
        }
        let reports = self.reports(namespace, &found).await;
        Ok(Page { items: found.into_iter().zip(reports).collect(), next })
    }

    /// What is asked for, made exact.
    async fn wanted(&self, name: &NamespaceName, asked: &Asked) -> Result<Wanted, StoreError> {
        let now = self.now();
        let mut wanted = Wanted { asked: asked.clone(), now, somebody: Vec::new(), terms: Vec::new() };
        if asked.status == Some(Life::Live) {
            // Nothing lives longer than this.
            let born = Timestamp(now.0.saturating_sub(limit::TTL_SECS_MAX * 1_000));
            wanted.asked.since = asked.since.max(Some(born));
        }
        match asked.status {
            Some(Life::Scheduled) => wanted.terms.push(vec![Term::Scheduled]),
            Some(Life::Recalled) => wanted.terms.push(vec![Term::Recalled]),
            Some(Life::Live | Life::Expired) | None => {}
        }
        for word in asked.words.iter().flat_map(Words::terms) {
            wanted.terms.push(vec![Term::Word(word.clone())]);
        }
        wanted.terms.extend(asked.room.clone().map(|room| vec![Term::To(Topic::Room(room))]));
        if let Some(device) = &asked.device {
            let devices = self.store.devices(name, Which::Ids(vec![device.clone()])).await?;
            wanted.somebody(Topic::Device(device.clone()), devices.into_iter().flatten().collect());
        }
        if let Some(user) = &asked.user {
            let devices = self.store.devices(name, Which::OfUser(user.clone())).await?;
            wanted.somebody(Topic::User(user.clone()), devices.into_iter().flatten().collect());
        }
        wanted.terms.extend(asked.event.clone().map(|event| vec![Term::Event(event)]));
        Ok(wanted)
    }

    /// The stretch that what is asked for is in, by its time.
    async fn within_time(
        &self,
        name: &NamespaceName,
        mut span: Span,
        wanted: &Wanted,
    ) -> Result<Span, StoreError> {
        let whole = span;
        if let Some(since) = wanted.asked.since {
            let first = self.first_at(name, whole, since).await?;
            span.first = Seq(first.0.saturating_sub(DISORDER)).max(whole.first);
        }
        if let Some(until) = wanted.asked.until {
            let first = self.first_at(name, whole, until).await?;
            span.last = Seq(first.0.saturating_add(DISORDER)).min(whole.last);
        }
        Ok(span)
    }

    /// The first number from which on messages are of this time or later, if their times are in order.
    async fn first_at(&self, name: &NamespaceName, span: Span, time: Timestamp) -> Result<Seq, StoreError> {
        let (mut low, mut high) = (span.first.0, span.last.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let probe = Span { first: Seq(middle), last: Seq(high - 1) };
            let found = self.store.browse(name, probe, Order::OldestFirst, 1).await?;
            match found.first() {
                Some(message) if moment(message) < time => low = message.seq.0 + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(Seq(low))
    }
}

const NOTHING: Span = Span { first: Seq(1), last: Seq(0) };

/// When a message got its place.
fn moment(message: &Message) -> Timestamp {
    if message.is_scheduled() { message.accepted_at } else { message.sent_at }
}

/// What is asked for, made exact.
struct Wanted {
    asked: Asked,
    now: Timestamp,
    somebody: Vec<Somebody>,
    /// What the index is asked for: of each list at least one.
    terms: Vec<Vec<Term>>,
}

/// Somebody for whom messages are.
struct Somebody {
    /// What they are addressed by.
    topic: Topic,
    /// The devices that are meant then.
    devices: RoaringBitmap,
}

impl Wanted {
    /// Only what is for somebody, who has these devices.
    fn somebody(&mut self, topic: Topic, devices: Vec<Device>) {
        let mut addresses = vec![topic.clone()];
        if !devices.is_empty() {
            addresses.push(Topic::All);
        }
        for device in &devices {
            addresses.push(Topic::Device(device.id.clone()));
            addresses.extend(device.user.clone().map(Topic::User));
            addresses.extend(device.rooms.iter().cloned().map(Topic::Room));
        }
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() <= ADDRESSES_MAX {
            self.terms.push(addresses.into_iter().map(Term::To).collect());
        }
        let devices = devices.iter().map(|device| device.ordinal.0).collect();
        self.somebody.push(Somebody { topic, devices });
    }

    /// Where to look, in order: in what the index has, and in what it has not yet.
    fn parts(&self, span: Span, indexed: Seq) -> Vec<(Span, bool)> {
        let own = |term: &Term| matches!(term, Term::Scheduled | Term::Recalled);
        let indexed = if self.terms.is_empty() {
            Seq(0)
        } else if self.terms.iter().flatten().all(own) {
            // The store knows these by itself.
            span.last
        } else {
            indexed
        };
        let by_index = (Span { first: Seq(1), last: indexed }.and(span), true);
        let one_by_one = (Span { first: indexed.next(), last: span.last }.and(span), false);
        let mut parts = match self.asked.order {
            Order::OldestFirst => vec![by_index, one_by_one],
            Order::NewestFirst => vec![one_by_one, by_index],
        };
        parts.retain(|(part, _)| !part.is_empty());
        parts
    }

    /// Whether a message is wanted, as far as it tells.
    fn is(&self, message: &Message) -> bool {
        let (asked, to) = (&self.asked, &message.to);
        let at = moment(message);
        message.recalls.is_none()
            && asked.since.is_none_or(|since| at >= since)
            && asked.until.is_none_or(|until| at < until)
            && asked.event.as_ref().is_none_or(|event| *event == message.event)
            && asked.room.as_ref().is_none_or(|room| to.rooms.contains(room))
            && self.somebody.iter().all(|one| one.gets(message))
            && asked.words.as_ref().is_none_or(|words| words.are_in(&words::text_of(message)))
    }
}

impl Somebody {
    fn gets(&self, message: &Message) -> bool {
        let addressed = match &self.topic {
            Topic::User(user) => message.to.users.contains(user),
            Topic::Device(device) => message.to.devices.contains(device),
            Topic::Room(_) | Topic::All => false,
        };
        addressed || !message.meant.is_disjoint(&self.devices)
    }
}

/// A page in the making.
struct Search<'a> {
    node: &'a Node,
    name: &'a NamespaceName,
    wanted: Wanted,
    found: Vec<Arc<Message>>,
    looked: usize,
    bytes: usize,
    limit: usize,
}

impl Search<'_> {
    /// Looks through a stretch. Answers behind which number to go on, when it has not come to the end.
    async fn part(&mut self, part: Span, by_index: bool) -> Result<Option<Seq>, StoreError> {
        let order = self.wanted.asked.order;
        let mut rest = Some(part);
        let mut searches = 0;
        while let Some(span) = rest {
            if self.is_over() || searches == SEARCHES_MAX {
                return Ok(Some(before(span, order)));
            }
            if !by_index {
                let some = self.some();
                let messages = self.node.store.browse(self.name, span, order, some).await?;
                let last = messages.last().map(|message| message.seq).filter(|_| messages.len() == some);
                self.sift(messages).await?;
                rest = last.and_then(|last| span.behind(last, order));
                continue;
            }
            searches += 1;
            let terms = self.wanted.terms.clone();
            let found = self.node.store.search(self.name, terms, span, order, CANDIDATES).await?;
            for seqs in found.seqs.chunks(READ_FIRST) {
                if self.is_over() {
                    let last = Span { first: seqs[0], last: seqs[0] };
                    return Ok(Some(before(last, order)));
                }
                let messages = self.node.store.messages(self.name, seqs.to_vec()).await?;
                self.looked += messages.iter().filter(|message| message.is_none()).count();
                self.sift(messages.into_iter().flatten().collect()).await?;
            }
            rest = found.rest;
        }
        Ok(None)
    }

    /// How many messages to read next: more when these were not enough, unless they are large.
    fn some(&self) -> usize {
        let each = self.bytes.checked_div(self.looked).unwrap_or(LOOKED_AT_BYTES).max(1);
        (LOOKED_AT_BYTES.saturating_sub(self.bytes) / each).clamp(READ_FIRST, READ_MORE)
    }

    fn is_over(&self) -> bool {
        self.found.len() > self.limit || self.looked >= LOOKED_AT_MAX || self.bytes >= LOOKED_AT_BYTES
    }

    /// Keeps those that are wanted.
    async fn sift(&mut self, mut messages: Vec<Arc<Message>>) -> Result<(), StoreError> {
        self.looked += messages.len();
        self.bytes += messages.iter().map(|one| size(one)).sum::<usize>();
        messages.retain(|message| self.wanted.is(message));
        if let (Some(status), false) = (self.wanted.asked.status, messages.is_empty()) {
            let seqs = messages.iter().map(|message| message.seq).collect();
            let books = self.node.store.receipts(self.name, seqs).await?;
            let mut recalled =
                books.into_iter().map(|books| books.is_some_and(|books| books.recalled_at.is_some()));
            let now = self.wanted.now;
            messages.retain(|message| Life::at(message, recalled.next().unwrap_or(false), now) == status);
        }
        self.found.append(&mut messages);
        Ok(())
    }
}

/// About how much memory a message takes, in bytes.
fn size(message: &Message) -> usize {
    let (to, except) = (&message.to, &message.except);
    let users = to.users.iter().chain(&except.users).map(|name| name.as_str().len());
    let devices = to.devices.iter().chain(&except.devices).map(|name| name.as_str().len());
    let rooms = to.rooms.iter().chain(&except.rooms).map(|name| name.as_str().len());
    let names: usize = users.chain(devices).chain(rooms).sum();
    message.data.len() + message.offline.len() + message.meant.serialized_size() + names
}

/// The number that a stretch comes behind.
fn before(span: Span, order: Order) -> Seq {
    match order {
        Order::OldestFirst => Seq(span.first.0.saturating_sub(1)),
        Order::NewestFirst => span.last.next(),
    }
}
