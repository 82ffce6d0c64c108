//! The store that forgets: everything in one mutex, for tests and for holding against the others.
//!
//! It knows no disk and no durability; both durabilities are the same to it. It grows with what is put
//! into it.

mod notices;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidings_model::{
    CollapseKey, DeviceId, Durability, Epoch, Granularity, Message, MessageId, NamespaceName, NoticeId,
    Ordinal, Platform, Profile, RoomName, Seq, Timestamp, Topic, UserId,
};

use crate::kv;
use crate::kv::message_id::KnownId;
use crate::port::{
    Answer, Appended, Bucket, Census, Deadlines, Description, Device, Devices, Due, DueQueue, Erase, Found,
    From, History, HookKey, Interval, LogSlice, Messages, NewId, NewMessage, Numbers, Order, Pile,
    ReceiptRecord, Receipts, Recording, Registered, Registration, Retention, Settings, Span, Statistics,
    StoreError, Term, TraceStep, WaitingNotice, Which,
};
use crate::rules::{self, Verdict};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: Epoch,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    namespaces: HashMap<NamespaceName, Namespace>,
    settings: BTreeMap<String, Bytes>,
    /// By the keys that they have on disk.
    due: BTreeMap<Vec<u8>, Due>,
    numbers: BTreeMap<Interval, Numbers>,
    notices: BTreeMap<(HookKey, Pile, NoticeId), WaitingNotice>,
}

#[derive(Debug, Default)]
struct Namespace {
    head: Seq,
    trimmed: Seq,
    buckets: Vec<Bucket>,
    next_ordinal: u32,
    messages: BTreeMap<Seq, Arc<Message>>,
    ids: HashMap<MessageId, KnownId>,
    topics: HashMap<Topic, Vec<Seq>>,
    devices: BTreeMap<Ordinal, Known>,
    ordinals: HashMap<DeviceId, Ordinal>,
    receipts: HashMap<Seq, ReceiptRecord>,
    steps: HashMap<Seq, Vec<TraceStep>>,
    collapse: HashMap<CollapseKey, Vec<Seq>>,
    terms: HashMap<Term, BTreeSet<Seq>>,
    indexed: Seq,
}

#[derive(Debug)]
struct Known {
    id: DeviceId,
    user: Option<UserId>,
    platform: Platform,
    rooms: BTreeSet<RoomName>,
    cursor: Seq,
    created_at: Timestamp,
    seen_at: Timestamp,
    profile: Arc<Profile>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, state: Mutex::default() }
    }

    /// The state, whoever panicked while holding it: every change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<'a, T: Send + 'a>(&'a self, ask: impl FnOnce(&mut State) -> T + Send + 'a) -> Answer<'a, T> {
        Box::pin(async move {
            let mut state = self.lock();
            if state.closed { Err(StoreError::Closed) } else { Ok(ask(&mut state)) }
        })
    }

    fn of<'a, T: Default + Send + 'a>(
        &'a self,
        namespace: &NamespaceName,
        ask: impl FnOnce(&Namespace) -> T + Send + 'a,
    ) -> Answer<'a, T> {
        let namespace = namespace.clone();
        self.answer(move |state| match state.namespaces.get(&namespace) {
            Some(namespace) => ask(namespace),
            None => ask(&Namespace::default()),
        })
    }

    fn change<'a, T: Send + 'a>(
        &'a self,
        namespace: &NamespaceName,
        change: impl FnOnce(&mut Namespace) -> T + Send + 'a,
    ) -> Answer<'a, T> {
        let namespace = namespace.clone();
        self.answer(move |state| change(state.namespaces.entry(namespace).or_default()))
    }
}

impl Messages for MemoryStore {
    fn append(&self, messages: Vec<NewMessage>, _: Durability) -> Answer<'_, Vec<Appended>> {
        let epoch = self.epoch;
        self.answer(move |state| {
            let mut left: BTreeMap<_, Vec<Seq>> = BTreeMap::new();
            let mut append = |new: NewMessage| {
                let name = new.namespace.clone();
                let appended = state.namespaces.entry(name.clone()).or_default().append(new, epoch);
                if let Appended::New(message, _) = &appended {
                    for (at, what) in rules::deadlines(message) {
                        left.entry((at, what, name.clone())).or_default().push(message.seq);
                    }
                }
                appended
            };
            let appended = messages.into_iter().map(&mut append).collect();
            for ((at, what, namespace), seqs) in left {
                let due = Due { at, what, namespace, seqs };
                state.due.insert(kv::due::key(&due), due);
            }
            appended
        })
    }

    fn read_topic(
        &self,
        namespace: &NamespaceName,
        topic: &Topic,
        from: From,
        limit: usize,
    ) -> Answer<'_, LogSlice> {
        let topic = topic.clone();
        self.of(namespace, move |namespace| {
            let log = namespace.topics.get(&topic).map_or(&[][..], Vec::as_slice);
            let backwards = log.iter().enumerate().rev().map(|(index, seq)| Ok((index as u64 + 1, *seq)));
            rules::slice(from, limit, namespace.trimmed, backwards).unwrap_or_default()
        })
    }

    fn read_topic_back(
        &self,
        namespace: &NamespaceName,
        topic: &Topic,
        before: u64,
        limit: usize,
    ) -> Answer<'_, Vec<(u64, Seq)>> {
        let topic = topic.clone();
        self.of(namespace, move |namespace| {
            let log = namespace.topics.get(&topic).map_or(&[][..], Vec::as_slice);
            let end = usize::try_from(before).unwrap_or(usize::MAX).saturating_sub(1).min(log.len());
            let begin = end.saturating_sub(limit).max(log.partition_point(|seq| *seq <= namespace.trimmed));
            let end = end.max(begin);
            log[begin..end].iter().enumerate().map(|(at, seq)| ((begin + at) as u64 + 1, *seq)).collect()
        })
    }

    fn messages(&self, namespace: &NamespaceName, seqs: Vec<Seq>) -> Answer<'_, Vec<Option<Arc<Message>>>> {
        self.of(namespace, move |namespace| {
            seqs.iter().map(|seq| namespace.messages.get(seq).cloned()).collect()
        })
    }

    fn find(&self, namespace: &NamespaceName, id: &MessageId) -> Answer<'_, Option<Seq>> {
        let id = id.clone();
        self.of(namespace, move |namespace| namespace.ids.get(&id).map(|known| known.seq))
    }

    fn head(&self, namespace: &NamespaceName) -> Seq {
        self.lock().namespaces.get(namespace).map_or(Seq(0), |namespace| namespace.head)
    }
}

impl Deadlines for MemoryStore {
    fn due(&self, queue: DueQueue, from: Timestamp, until: Timestamp, limit: usize) -> Answer<'_, Vec<Due>> {
        self.answer(move |state| {
            let from = state.due.range(kv::due::time(queue, from)..);
            let of_queue = |due: &&Due| due.what.queue() == queue && due.at <= until;
            from.map(|(_, due)| due).take_while(of_queue).take(limit).cloned().collect()
        })
    }

    fn next_due(&self, queue: DueQueue, from: Timestamp) -> Answer<'_, Option<Timestamp>> {
        self.answer(move |state| {
            let first = state.due.range(kv::due::time(queue, from)..).next();
            first.filter(|(_, due)| due.what.queue() == queue).map(|(_, due)| due.at)
        })
    }

    fn deal(&self, done: Vec<Due>, add: Vec<Due>) -> Answer<'_, ()> {
        self.answer(move |state| {
            for due in done {
                state.due.remove(&kv::due::key(&due));
            }
            state.due.extend(add.into_iter().map(|due| (kv::due::key(&due), due)));
        })
    }
}

impl Devices for MemoryStore {
    fn register(&self, registration: Registration) -> Answer<'_, Registered> {
        let namespace = registration.namespace.clone();
        self.change(&namespace, move |namespace| namespace.register(registration))
    }

    fn describe(&self, description: Description) -> Answer<'_, Option<Registered>> {
        let namespace = description.namespace.clone();
        self.change(&namespace, move |namespace| namespace.describe(description))
    }

    fn change_rooms(
        &self,
        namespace: &NamespaceName,
        device: Ordinal,
        join: Vec<RoomName>,
        leave: Vec<RoomName>,
    ) -> Answer<'_, Option<Vec<RoomName>>> {
        self.change(namespace, move |namespace| {
            let device = namespace.devices.get_mut(&device)?;
            device.rooms.extend(join);
            for room in leave {
                device.rooms.remove(&room);
            }
            Some(device.rooms.iter().cloned().collect())
        })
    }

    fn forget(&self, namespace: &NamespaceName, devices: Vec<Ordinal>) -> Answer<'_, Vec<Device>> {
        self.change(namespace, move |namespace| {
            let mut forgotten = Vec::new();
            for ordinal in devices {
                if let Some(device) = namespace.devices.remove(&ordinal) {
                    namespace.ordinals.remove(&device.id);
                    forgotten.push(device.to_device(ordinal));
                }
            }
            forgotten
        })
    }

    fn settle(&self, namespace: &NamespaceName, devices: Vec<(Ordinal, Seq, Timestamp)>) -> Answer<'_, ()> {
        self.change(namespace, move |namespace| {
            for (ordinal, cursor, seen_at) in devices {
                if let Some(device) = namespace.devices.get_mut(&ordinal) {
                    device.cursor = device.cursor.max(cursor);
                    device.seen_at = device.seen_at.max(seen_at);
                }
            }
        })
    }

    fn devices(&self, namespace: &NamespaceName, which: Which) -> Answer<'_, Vec<Option<Device>>> {
        self.of(namespace, move |namespace| match which {
            Which::Ids(ids) => ids
                .iter()
                .map(|id| namespace.ordinals.get(id).and_then(|ordinal| namespace.device(*ordinal)))
                .collect(),
            Which::Ordinals(ordinals) => ordinals.iter().map(|ordinal| namespace.device(*ordinal)).collect(),
            Which::OfUser(user) => namespace
                .devices
                .iter()
                .filter(|(_, device)| device.user.as_ref() == Some(&user))
                .map(|(ordinal, _)| namespace.device(*ordinal))
                .collect(),
        })
    }

    fn owners(&self, namespace: &NamespaceName, topics: Vec<Topic>) -> Answer<'_, Vec<Arc<[Ordinal]>>> {
        self.of(namespace, move |namespace| {
            let of_user = |user: &UserId| {
                let devices = namespace.devices.iter();
                devices
                    .filter(|(_, device)| device.user.as_ref() == Some(user))
                    .map(|(one, _)| *one)
                    .collect()
            };
            let owners = |topic: &Topic| match topic {
                Topic::User(user) => of_user(user),
                Topic::Device(id) => namespace.ordinals.get(id).copied().into_iter().collect(),
                Topic::Room(_) | Topic::All => Arc::default(),
            };
            topics.iter().map(owners).collect()
        })
    }

    fn census(&self, namespace: &NamespaceName) -> Answer<'_, Census> {
        self.of(namespace, |namespace| {
            let mut census = Census::default();
            for (ordinal, device) in &namespace.devices {
                census.platforms[device.platform as usize].insert(ordinal.0);
                for room in &device.rooms {
                    census.rooms.entry(room.clone()).or_default().insert(ordinal.0);
                }
            }
            census
        })
    }
}

impl Receipts for MemoryStore {
    fn record(&self, books: Vec<Recording>, _: Durability) -> Answer<'_, ()> {
        self.answer(move |state| {
            for Recording { namespace, seq, record, steps } in books {
                let namespace = state.namespaces.entry(namespace).or_default();
                if seq <= namespace.trimmed {
                    continue;
                }
                if record.recalled_at.is_some() {
                    namespace.terms.entry(Term::Recalled).or_default().insert(seq);
                }
                namespace.receipts.insert(seq, Arc::unwrap_or_clone(record));
                if !steps.is_empty() {
                    namespace.steps.entry(seq).or_default().extend(steps);
                }
            }
        })
    }

    fn steps(&self, namespace: &NamespaceName, seq: Seq) -> Answer<'_, Vec<TraceStep>> {
        self.of(namespace, move |namespace| namespace.steps.get(&seq).cloned().unwrap_or_default())
    }

    fn receipts(&self, namespace: &NamespaceName, seqs: Vec<Seq>) -> Answer<'_, Vec<Option<ReceiptRecord>>> {
        self.of(namespace, move |namespace| {
            seqs.iter().map(|seq| namespace.receipts.get(seq).cloned()).collect()
        })
    }
}

impl Statistics for MemoryStore {
    fn tally(&self, rows: Vec<(Interval, Numbers)>, gone: Vec<Interval>) -> Answer<'_, ()> {
        self.answer(move |state| {
            for interval in gone {
                state.numbers.remove(&interval);
            }
            state.numbers.extend(rows);
        })
    }

    fn tallied(
        &self,
        namespace: &NamespaceName,
        granularity: Granularity,
        from: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Answer<'_, Vec<(Timestamp, Numbers)>> {
        let from = Interval { namespace: namespace.clone(), granularity, at: from };
        self.answer(move |state| {
            let until = Interval { at: until.max(from.at), ..from.clone() };
            let rows = state.numbers.range(from..until).take(limit);
            rows.map(|(interval, numbers)| (interval.at, numbers.clone())).collect()
        })
    }
}

impl Retention for MemoryStore {
    fn buckets(&self, namespace: &NamespaceName) -> Answer<'_, Vec<Bucket>> {
        self.of(namespace, |namespace| namespace.buckets.clone())
    }

    fn trim(&self, namespace: &NamespaceName, through: Seq) -> Answer<'_, ()> {
        self.change(namespace, move |namespace| {
            let through = through.min(namespace.head).max(namespace.trimmed);
            namespace.trimmed = through;
            namespace.messages.retain(|seq, _| *seq > through);
            namespace.ids.retain(|_, known| known.seq > through);
            namespace.receipts.retain(|seq, _| *seq > through);
            namespace.steps.retain(|seq, _| *seq > through);
            namespace.buckets.retain(|bucket| bucket.last > through);
            for seqs in namespace.terms.values_mut() {
                seqs.retain(|seq| *seq > through);
            }
        })
    }

    fn trimmed(&self, namespace: &NamespaceName) -> Seq {
        self.lock().namespaces.get(namespace).map_or(Seq(0), |namespace| namespace.trimmed)
    }

    fn erase(&self, namespace: &NamespaceName, what: Erase) -> Answer<'_, ()> {
        let name = namespace.clone();
        Box::pin(async move {
            let head = self.head(&name);
            self.trim(&name, head).await?;
            self.answer(move |state| {
                state.due.retain(|_, due| due.namespace != name);
                state.numbers.retain(|interval, _| interval.namespace != name);
                if what == Erase::Everything {
                    state.notices.retain(|(hook, _, _), _| hook.namespace != name);
                    if let Some(namespace) = state.namespaces.get_mut(&name) {
                        namespace.devices.clear();
                        namespace.ordinals.clear();
                    }
                }
            })
            .await
        })
    }
}

impl History for MemoryStore {
    fn browse(
        &self,
        namespace: &NamespaceName,
        span: Span,
        order: Order,
        limit: usize,
    ) -> Answer<'_, Vec<Arc<Message>>> {
        self.of(namespace, move |namespace| {
            let all = namespace.messages.values().filter(|message| span.contains(message.seq)).cloned();
            match order {
                Order::OldestFirst => all.take(limit).collect(),
                Order::NewestFirst => all.rev().take(limit).collect(),
            }
        })
    }

    fn indexed(&self, namespace: &NamespaceName) -> Answer<'_, Seq> {
        self.of(namespace, |namespace| namespace.indexed)
    }

    fn index(
        &self,
        namespace: &NamespaceName,
        postings: Vec<(Term, Vec<Seq>)>,
        through: Seq,
    ) -> Answer<'_, ()> {
        self.change(namespace, move |namespace| {
            for (term, seqs) in postings {
                if !matches!(term, Term::Scheduled | Term::Recalled) {
                    namespace.terms.entry(term).or_default().extend(seqs);
                }
            }
            namespace.indexed = namespace.indexed.max(through);
        })
    }

    fn search(
        &self,
        namespace: &NamespaceName,
        wanted: Vec<Vec<Term>>,
        span: Span,
        order: Order,
        limit: usize,
    ) -> Answer<'_, Found> {
        self.of(namespace, move |namespace| {
            let has = |term: &Term, seq| namespace.terms.get(term).is_some_and(|seqs| seqs.contains(&seq));
            let mut lists = wanted.iter();
            let mut seqs: BTreeSet<Seq> = lists
                .next()
                .into_iter()
                .flatten()
                .filter_map(|term| namespace.terms.get(term))
                .flatten()
                .copied()
                .collect();
            seqs.retain(|seq| span.contains(*seq) && *seq > namespace.trimmed);
            for any in lists {
                seqs.retain(|seq| any.iter().any(|term| has(term, *seq)));
            }
            let mut seqs: Vec<Seq> = seqs.into_iter().collect();
            if order == Order::NewestFirst {
                seqs.reverse();
            }
            let more = seqs.len() > limit;
            seqs.truncate(limit);
            let rest = seqs.last().map_or(Some(span), |last| span.behind(*last, order)).filter(|_| more);
            Found { seqs, rest }
        })
    }
}

impl Settings for MemoryStore {
    fn put(&self, key: &str, value: Option<Bytes>) -> Answer<'_, ()> {
        let key = key.to_owned();
        Box::pin(async move {
            rules::check_setting(&key)?;
            let put = |state: &mut State| match value {
                Some(value) => drop(state.settings.insert(key, value)),
                None => drop(state.settings.remove(&key)),
            };
            self.answer(put).await
        })
    }

    fn list(&self, prefix: &str) -> Answer<'_, Vec<(String, Bytes)>> {
        let prefix = prefix.to_owned();
        self.answer(move |state| {
            state
                .settings
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(&prefix))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        })
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.lock().closed = true;
            Ok(())
        })
    }
}

impl Namespace {
    fn append(&mut self, new: NewMessage, epoch: Epoch) -> Appended {
        let mut known = KnownId { seq: Seq(0), accepted_at: new.accepted_at, fingerprint: new.fingerprint };
        let called = new.id.clone();
        if let Some(scheduled) = new.replaces {
            if self.messages.remove(&scheduled).is_none() {
                return Appended::Gone;
            }
            self.receipts.remove(&scheduled);
            self.terms.entry(Term::Scheduled).or_default().remove(&scheduled);
            if let NewId::Chosen(id) | NewId::Kept(id) = &called {
                known = self.ids.get(id).map_or(known, |stored| KnownId { seq: Seq(0), ..*stored });
            }
        } else if let NewId::Chosen(id) = &called {
            match rules::verdict(self.ids.get(id), &known) {
                Verdict::New => {}
                Verdict::Duplicate(seq) => {
                    if let Some(message) = self.messages.get(&seq) {
                        return Appended::Duplicate(Arc::clone(message));
                    }
                }
                Verdict::Conflict => return Appended::Conflict,
            }
        }
        self.head = Seq(self.head.0 + 1);
        known.seq = self.head;
        let mut message = rules::draft(new, epoch);
        message.seq = self.head;
        if let NewId::Made { salt } = called {
            message.id = MessageId::made(message.accepted_at, message.seq, salt);
            known.fingerprint = [0; 16];
        }
        for (topic, offset) in &mut message.topics {
            let log = self.topics.entry(topic.clone()).or_default();
            log.push(self.head);
            *offset = log.len() as u64;
        }
        if message.is_scheduled() {
            self.terms.entry(Term::Scheduled).or_default().insert(message.seq);
        }
        let message = Arc::new(message);
        let newest = self.buckets.last().copied();
        let bucket = rules::fill(newest, &message, bytes(&message, &called));
        if newest.is_some_and(|newest| newest.first == bucket.first) {
            self.buckets.pop();
        }
        self.buckets.push(bucket);
        self.ids.insert(message.id.clone(), known);
        self.messages.insert(self.head, Arc::clone(&message));
        let superseded = match &message.collapse_key {
            Some(key) if rules::collapses(&message) => {
                let known = self.collapse.entry(key.clone()).or_default();
                let older = known.iter().filter_map(|seq| self.messages.get(seq).cloned()).collect();
                let (superseded, mut left) = rules::collapse(older, &message);
                left.push(message.seq);
                *known = left;
                superseded
            }
            Some(_) | None => Vec::new(),
        };
        Appended::New(message, superseded)
    }

    fn register(&mut self, registration: Registration) -> Registered {
        let mut replaced = None;
        if let Some(ordinal) = self.ordinals.get(&registration.device).copied() {
            match self.devices.get_mut(&ordinal) {
                Some(device) if device.user == registration.user => {
                    device.platform = registration.platform;
                    device.seen_at = device.seen_at.max(registration.now);
                    let device = self.device(ordinal);
                    if let Some(device) = device {
                        return Registered { device, new: false, replaced: None };
                    }
                }
                Some(_) | None => {
                    replaced = self.devices.remove(&ordinal).map(|device| device.to_device(ordinal));
                }
            }
        }
        let ordinal = Ordinal(self.next_ordinal);
        self.next_ordinal += 1;
        self.ordinals.insert(registration.device.clone(), ordinal);
        let device = Known {
            id: registration.device,
            user: registration.user,
            platform: registration.platform,
            rooms: BTreeSet::new(),
            cursor: self.head,
            created_at: registration.now,
            seen_at: registration.now,
            profile: Arc::default(),
        };
        let answer = device.to_device(ordinal);
        self.devices.insert(ordinal, device);
        Registered { device: answer, new: true, replaced }
    }

    fn describe(&mut self, description: Description) -> Option<Registered> {
        let Description { namespace, device: id, only, user, platform, profile, now } = description;
        let ordinal = self.ordinals.get(&id).copied();
        if only.is_some() && only != ordinal {
            return None;
        }
        let before = ordinal.and_then(|ordinal| self.devices.get(&ordinal));
        let platform = platform.or(before.map(|device| device.platform)).unwrap_or_default();
        let seen_at = before.map(|device| device.seen_at);
        let registration = Registration { namespace, device: id, user, platform, now };
        let mut registered = self.register(registration);
        let known = self.devices.get_mut(&registered.device.ordinal)?;
        known.profile = profile;
        if !registered.new {
            known.seen_at = seen_at.unwrap_or(now);
        }
        registered.device = known.to_device(registered.device.ordinal);
        Some(registered)
    }

    fn device(&self, ordinal: Ordinal) -> Option<Device> {
        self.devices.get(&ordinal).map(|device| device.to_device(ordinal))
    }
}

/// What a message takes on disk that was to be called so.
fn bytes(message: &Message, called: &NewId) -> u64 {
    let key = kv::message::key(&message.namespace, message.seq);
    let value = kv::message::value(&key, message, &kv::message::tail(message));
    let entries = message.topics.iter().map(|(topic, offset)| {
        let key = kv::topic_entry::key(&kv::topic_entry::prefix(&message.namespace, topic), *offset);
        key.len() + kv::topic_entry::value(&key, message.seq).len()
    });
    let id = match called {
        NewId::Chosen(id) | NewId::Kept(id) => {
            let key = kv::message_id::key(&message.namespace, id);
            let known = KnownId { seq: message.seq, accepted_at: message.accepted_at, fingerprint: [0; 16] };
            key.len() + kv::message_id::value(&key, &known).len()
        }
        NewId::Made { .. } => 0,
    };
    (key.len() + value.len() + id + entries.sum::<usize>()) as u64
}

impl Known {
    fn to_device(&self, ordinal: Ordinal) -> Device {
        Device {
            ordinal,
            id: self.id.clone(),
            user: self.user.clone(),
            platform: self.platform,
            rooms: self.rooms.iter().cloned().collect(),
            cursor: self.cursor,
            created_at: self.created_at,
            seen_at: self.seen_at,
            profile: Arc::clone(&self.profile),
        }
    }
}
