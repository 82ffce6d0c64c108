//! What the tests begin with: names, messages, devices, with as little said as possible.

use std::sync::Arc;

use bytes::Bytes;
use tidings_model::{
    Durability, Except, Message, NamespaceName, Ordinal, Platform, Priority, Profile, Quiet, Seq, Target,
    Timestamp, Topic, Vendor, VendorToken, Window, Zone,
};

use crate::port::{
    Appended, Description, Device, Messages, NewId, NewMessage, Registered, Registration, Store, Which,
};

/// A day in milliseconds.
pub const DAY: u64 = 24 * 60 * 60 * 1000;

/// A name of any kind.
///
/// # Panics
/// When the text is no such name.
pub fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no name"))
}

/// The namespace that tests use unless they need two.
#[must_use]
pub fn demo() -> NamespaceName {
    name("demo")
}

/// A topic as the API writes it.
///
/// # Panics
/// When the text is none.
#[must_use]
pub fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap_or_else(|_| panic!("{text:?} is no topic"))
}

/// A message to these topics, accepted at 1,000, with an id that is not looked up.
#[must_use]
pub fn message(id: &str, topics: &[&str]) -> NewMessage {
    NewMessage {
        namespace: demo(),
        id: NewId::Kept(name(id)),
        fingerprint: [0; 16],
        event: name("push"),
        data: Bytes::copy_from_slice(format!("{{\"id\":\"{id}\"}}").as_bytes()),
        to: Target::default(),
        except: Except::default(),
        topics: topics.iter().map(|text| topic(text)).collect(),
        meant: Arc::default(),
        accepted_at: Timestamp(1_000),
        expires_at: Timestamp(2_000),
        priority: Priority::Normal,
        keep: true,
        collapse_key: None,
        deliver_at: None,
        sent_at: Timestamp(1_000),
        escalate_after: None,
        offline: Bytes::new(),
        recalls: None,
        from: None,
        aside: Bytes::new(),
        replaces: None,
    }
}

/// A message to `all` whose id its caller chose.
#[must_use]
pub fn chosen(id: &str, fingerprint: u8, at: u64) -> NewMessage {
    NewMessage {
        id: NewId::Chosen(name(id)),
        fingerprint: [fingerprint; 16],
        accepted_at: Timestamp(at),
        sent_at: Timestamp(at),
        ..message(id, &["all"])
    }
}

/// Appends durably.
///
/// # Panics
/// When it does not work.
pub async fn append(store: &impl Messages, messages: Vec<NewMessage>) -> Vec<Appended> {
    store.append(messages, Durability::Durable).await.unwrap_or_else(|error| panic!("append: {error}"))
}

/// Appends one message durably, and answers it as stored.
///
/// # Panics
/// When it is not new.
pub async fn append_new(store: &impl Messages, message: NewMessage) -> Arc<Message> {
    match append(store, vec![message]).await.pop() {
        Some(Appended::New(message, _)) => message,
        other => panic!("not new: {other:?}"),
    }
}

/// The message with this number.
///
/// # Panics
/// When it cannot be read.
pub async fn stored(store: &impl Messages, namespace: &NamespaceName, seq: Seq) -> Option<Arc<Message>> {
    let messages = store.messages(namespace, vec![seq]).await;
    messages.unwrap_or_else(|error| panic!("messages: {error}")).pop().flatten()
}

/// A device of a user (nobody's when empty) that registers at this time.
#[must_use]
pub fn device(id: &str, user: &str, now: u64) -> Registration {
    Registration {
        namespace: demo(),
        device: name(id),
        user: (!user.is_empty()).then(|| name(user)),
        platform: Platform::Web,
        now: Timestamp(now),
    }
}

/// What is to be kept of a device of a user (nobody's when empty), with something of everything that depends on `number`.
#[must_use]
pub fn described(id: &str, user: &str, number: u64) -> Description {
    let until = (!number.is_multiple_of(2)).then_some(Timestamp(number));
    let hours = |zone| Window { from: number as u16, to: 420, zone };
    let profile = Profile {
        tags: [name("all"), name(&format!("t{number}"))].into(),
        metadata: format!(r#"{{"n":{number}}}"#),
        tokens: [
            (Vendor::Apns, VendorToken(format!("\"{number}\""))),
            (Vendor::WebPush, VendorToken("{}".into())),
        ]
        .into(),
        muted: [(name("lobby"), None), (name(&format!("r{number}")), until)].into(),
        quiet: Quiet {
            until,
            windows: vec![hours(Zone::Offset(-90)), hours(Zone::Named("Asia/Tokyo".into()))],
        },
    };
    Description {
        namespace: demo(),
        device: name(id),
        only: None,
        user: (!user.is_empty()).then(|| name(user)),
        platform: None,
        profile: Arc::new(profile),
        now: Timestamp(number),
    }
}

/// Registers.
///
/// # Panics
/// When it does not work.
pub async fn register(store: &impl Store, registration: Registration) -> Registered {
    store.register(registration).await.unwrap_or_else(|error| panic!("register: {error}"))
}

/// The device with this ordinal.
///
/// # Panics
/// When it cannot be read.
pub async fn by_ordinal(store: &impl Store, ordinal: Ordinal) -> Option<Device> {
    let devices = store.devices(&demo(), Which::Ordinals(vec![ordinal])).await;
    devices.unwrap_or_else(|error| panic!("devices: {error}")).pop().flatten()
}
