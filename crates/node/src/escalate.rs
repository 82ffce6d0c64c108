//! No receipt in time: another way is tried, rung by rung, and the business system is told.
//!
//! The rungs are the providers of the node, in their order. A deadline finds those who have given no receipt; each is
//! tried by the first provider from the deadline's rung on that serves its platform. Before anybody is tried that is
//! on disk, so that a crash makes no second attempt of it, unless the provider can tell that it is the same one. When
//! a provider took it, the next rung has its own deadline; when none is left, the device is undelivered.
//!
//! A receipt of any device of a user ends it for all of them: the message has been seen.
//!
//! A device that is not to be disturbed is left alone, and nobody is told: it waits. When that is over while the message
//! lives, it is looked at again, by a deadline of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use roaring::RoaringBitmap;
use tidings_hub::shard::Ordinals;
use tidings_model::{Durability, Message, NamespaceName, Ordinal, Seq, Step, Timestamp};
use tidings_outbound::{Outcome, Wake};
use tidings_store::port::Which;
use tidings_store::{Device, Due, DueKind, StoreError};

use crate::ids::notice_id;
use crate::ledger::{Claim, Entry, Tried};
use crate::notify::{Notice, NoticeKind};
use crate::presence::Interest;
use crate::quiet::{Hush, hush};
use crate::resume::reaches;
use crate::{Namespace, Node};

/// Devices that are looked at together.
const DEVICES: usize = 256;

/// Attempts under way at once.
const ATTEMPTS: usize = 32;

/// Providers at most: a rung is counted in a byte.
pub const PROVIDERS_MAX: usize = 16;

/// Devices that are left alone are looked at again when the first of them may be disturbed, but no more of them in a second.
const AGAIN_PER_SECOND: usize = 1_000;

/// Which devices of a message are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Those without a receipt, from this rung on.
    Rung(u8),
    /// Those that were left alone.
    Again,
}

/// Devices that are to be left alone for now, by why and until when.
#[derive(Debug, Default)]
struct LeftAlone(BTreeMap<(Option<Timestamp>, String), Vec<u32>>);

impl Node {
    /// After how long without a receipt a message with this wish is escalated here; `None` when there is nobody who
    /// could be told.
    pub(crate) fn escalate_after(&self, namespace: &Namespace, wish: Option<Duration>) -> Option<Duration> {
        let told = Interest::of(NoticeKind::Undelivered).and(Interest::of(NoticeKind::Escalated));
        let anybody = !self.providers.is_empty() || namespace.interest().has(told);
        let default = || Duration::from_millis(namespace.settings().offline.escalate_after_ms);
        anybody.then(|| wish.unwrap_or_else(default))
    }

    /// Deals with deadlines. Answers those that follow.
    pub(crate) async fn escalate_all(&self, entries: &[Due]) -> Result<Vec<Due>, StoreError> {
        let mut next = Vec::new();
        for due in entries {
            let look = match due.what {
                DueKind::Escalate(rung) => Look::Rung(rung),
                DueKind::Again => Look::Again,
                DueKind::Deliver | DueKind::Expire => continue,
            };
            let Some(namespace) = self.namespace(due.namespace.as_str()) else { continue };
            let messages = self.store.messages(&namespace.name, due.seqs.clone()).await?;
            for message in messages.into_iter().flatten() {
                next.extend(self.escalate(&namespace, &message, look).await?);
            }
        }
        Ok(next)
    }

    async fn escalate(
        &self,
        namespace: &Namespace,
        message: &Message,
        look: Look,
    ) -> Result<Vec<Due>, StoreError> {
        let books = self.books(message).await;
        if !message.is_live(self.now()) || books.record.recalled_at.is_some() {
            return Ok(Vec::new());
        }
        let (rung, pending) = match look {
            Look::Rung(0) => (0, books.pending()),
            Look::Rung(rung) => (rung, books.pending() - &books.record.held),
            Look::Again => (0, books.held()),
        };
        let mut alone = LeftAlone::default();
        let mut taken = false;
        let pending: Vec<u32> = pending.iter().collect();
        for chunk in pending.chunks(DEVICES) {
            let ordinals = chunk.iter().copied().map(Ordinal).collect();
            let devices = self.store.devices(&namespace.name, Which::Ordinals(ordinals)).await?;
            let mut left = Vec::with_capacity(chunk.len());
            for device in devices.into_iter().flatten().filter(|device| reaches(message, device)) {
                if self.user_has_it(namespace, message, &device, &books.record.acked).await? {
                    continue;
                }
                match hush(message, &device, self.now()) {
                    Some(hush) => alone.add(hush, device.ordinal),
                    None => left.push(device),
                }
            }
            let before = if look == Look::Again { books.tried_for() } else { RoaringBitmap::new() };
            taken |= self.climb(namespace, message, usize::from(rung), left, &before).await?;
        }
        let held = self.leave_alone(message, look, alone).await?;
        let due = |at, what| Due { at, what, namespace: namespace.name.clone(), seqs: vec![message.seq] };
        let mut next = Vec::new();
        next.extend(held.map(|at| due(at, DueKind::Again)));
        if taken && usize::from(rung) + 1 < self.providers.len() {
            let at = self.now().after(message.escalate_after.unwrap_or_default());
            next.push(due(at, DueKind::Escalate(rung + 1)));
        }
        Ok(next)
    }

    /// Notes whom nothing was tried for because they are not to be disturbed, and holds those for whom that is over while the
    /// message lives. Answers when they are to be looked at again.
    async fn leave_alone(
        &self,
        message: &Message,
        look: Look,
        alone: LeftAlone,
    ) -> Result<Option<Timestamp>, StoreError> {
        if alone.0.is_empty() && look != Look::Again {
            return Ok(None);
        }
        let is_held = |until: &Option<Timestamp>| until.is_some_and(|until| until < message.expires_at);
        let held = alone.0.iter().filter(|((until, _), _)| is_held(until));
        let first = held.clone().filter_map(|((until, _), _)| *until).min();
        let held: RoaringBitmap = held.flat_map(|(_, devices)| devices.iter().copied()).collect();
        let seconds = held.len() / AGAIN_PER_SECOND as u64;
        let change = move |entry: &mut Entry, now| {
            // Whoever was held and is not any more has been dealt with.
            match look {
                Look::Rung(_) => entry.record.held |= held,
                Look::Again => entry.record.held = held,
            }
            for ((_, why), devices) in alone.0 {
                entry.note_with(now, Step::Muted, &Ordinals::from(devices), why);
            }
        };
        self.ledger.change(&message.namespace, message.seq, Durability::Durable, change).await?;
        let not_before = self.now().after(Duration::from_secs(seconds));
        Ok(first.map(|first| first.max(not_before)))
    }

    /// Whether another device of the same user has given a receipt.
    async fn user_has_it(
        &self,
        namespace: &Namespace,
        message: &Message,
        device: &Device,
        acked: &RoaringBitmap,
    ) -> Result<bool, StoreError> {
        let Some(user) = device.user.as_ref().filter(|_| !acked.is_empty()) else { return Ok(false) };
        // The device may not be known any more; it was this user's.
        if message.to.only_user() == Some(user) {
            return Ok(true);
        }
        let devices = self.store.devices(&namespace.name, Which::OfUser(user.clone())).await?;
        Ok(devices.into_iter().flatten().any(|other| acked.contains(other.ordinal.0)))
    }

    /// Tries these devices from a rung on, until each was taken by a provider or none is left. `before` are those that were tried
    /// when somebody last looked. Answers whether any was taken.
    async fn climb(
        &self,
        namespace: &Namespace,
        message: &Message,
        from: usize,
        mut devices: Vec<Device>,
        before: &RoaringBitmap,
    ) -> Result<bool, StoreError> {
        let mut taken = false;
        for rung in from..self.providers.len() {
            let serves = |device: &Device| self.providers[rung].serves(device.platform);
            let (served, others): (Vec<_>, Vec<_>) = devices.into_iter().partition(serves);
            devices = others;
            if !served.is_empty() {
                let (onward, any_taken) = self.attempt(namespace, message, rung, served).await?;
                taken |= any_taken;
                devices.extend(onward);
            }
        }
        // On later rungs, whoever no provider is left for was taken by one before.
        if from == 0 {
            devices.retain(|device| !before.contains(device.ordinal.0));
            self.undelivered(namespace, message, devices).await?;
        }
        Ok(taken)
    }

    /// Tries devices by the provider of a rung. Answers those that are for the next one, because this one refused them or
    /// was tried before, and whether it took any.
    async fn attempt(
        &self,
        namespace: &Namespace,
        message: &Message,
        rung: usize,
        devices: Vec<Device>,
    ) -> Result<(Vec<Device>, bool), StoreError> {
        let set: RoaringBitmap = devices.iter().map(|device| device.ordinal.0).collect();
        let number = u8::try_from(rung).unwrap_or(u8::MAX);
        let claim = move |entry: &mut Entry, now| entry.claim(number, &set, now);
        let name = &namespace.name;
        let Claim { fresh, interrupted } =
            self.ledger.change(name, message.seq, Durability::Durable, claim).await?;
        let provider = &self.providers[rung];
        let is_due =
            |device: &Device| fresh.contains(device.ordinal.0) || interrupted.contains(device.ordinal.0);
        let (due, mut onward): (Vec<_>, Vec<_>) = devices.into_iter().partition(is_due);
        let interrupted = &interrupted;
        let attempts = due.into_iter().map(|device| async move {
            let (at, again) = (self.now(), interrupted.contains(device.ordinal.0));
            let outcome = if again && !provider.idempotent() {
                Outcome::Unknown("the server was interrupted".to_owned())
            } else {
                provider.wake(&wake(message, &device, rung)).await
            };
            (at, device, outcome)
        });
        let outcomes: Vec<_> = stream::iter(attempts).buffer_unordered(ATTEMPTS).collect().await;
        let mut notices = Vec::new();
        let taken = outcomes.iter().any(|(.., outcome)| !matches!(outcome, Outcome::Refused(_)));
        let mut tried = Vec::with_capacity(outcomes.len());
        for (at, device, outcome) in outcomes {
            let provider = provider.name().to_owned();
            let label = crate::metrics::Attempt::of(&provider, &outcome);
            self.metrics.escalations.get_or_create(&label).inc();
            let reason = format!("{provider}_{}", label.outcome);
            tried.push(Tried {
                rung: number,
                device: device.ordinal.0,
                provider,
                at,
                outcome: outcome.clone(),
            });
            match outcome {
                Outcome::Refused(_) => onward.push(device),
                Outcome::Accepted | Outcome::Unknown(_) => {
                    notices.push(notice(
                        NoticeKind::Escalated,
                        self.now(),
                        message,
                        &device,
                        number,
                        &reason,
                    ));
                }
            }
        }
        let settle = move |entry: &mut Entry, now| tried.iter().for_each(|tried| entry.tried(tried, now));
        let _ = self.ledger.change(name, message.seq, Durability::Durable, settle).await;
        self.tell(namespace, notices).await?;
        Ok((onward, taken))
    }

    /// Nobody can be tried for these devices (any more).
    async fn undelivered(
        &self,
        namespace: &Namespace,
        message: &Message,
        devices: Vec<Device>,
    ) -> Result<(), StoreError> {
        if devices.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let by: Vec<u32> = devices.iter().map(|device| device.ordinal.0).collect();
        let note = move |entry: &mut Entry, now| entry.note(now, Step::Undelivered, &Ordinals::from(by));
        let _ = self.ledger.change(&namespace.name, message.seq, Durability::Memory, note).await;
        let mut notices = Vec::with_capacity(devices.len());
        for device in &devices {
            let online = namespace.directory().is_online(device.ordinal);
            let reason = if online { "no_receipt" } else { "away" };
            notices.push(notice(NoticeKind::Undelivered, now, message, device, 0, reason));
        }
        self.tell(namespace, notices).await
    }

    async fn tell(&self, namespace: &Namespace, mut notices: Vec<Notice>) -> Result<(), StoreError> {
        notices.retain(|notice| namespace.wants(notice.kind));
        if notices.is_empty() { Ok(()) } else { self.notify(namespace, notices).await }
    }
}

impl LeftAlone {
    fn add(&mut self, hush: Hush, device: Ordinal) {
        self.0.entry((hush.until, hush.why)).or_default().push(device.0);
    }
}

/// What names an attempt, whenever it is made.
fn attempt_id(namespace: &NamespaceName, seq: Seq, device: Ordinal, rung: usize) -> String {
    format!("{namespace}/{}/{}/{rung}", seq.0, device.0)
}

fn wake(message: &Message, device: &Device, rung: usize) -> Wake {
    Wake {
        attempt: attempt_id(&message.namespace, message.seq, device.ordinal, rung),
        namespace: message.namespace.clone(),
        message: message.id.clone(),
        event: message.event.clone(),
        data: message.data.clone(),
        offline: message.offline.clone(),
        device: device.id.clone(),
        user: device.user.clone(),
        platform: device.platform,
    }
}

fn notice(
    kind: NoticeKind,
    at: tidings_model::Timestamp,
    message: &Message,
    device: &Device,
    rung: u8,
    reason: &str,
) -> Notice {
    let data = serde_json::json!({
        "message": message.id.as_str(),
        "event": message.event.as_str(),
        "user": device.user.as_ref().map(|user| user.as_str()),
        "device": device.id.as_str(),
        "reason": reason,
    });
    let deadline = message.sent_at.after(message.escalate_after.unwrap_or_default());
    let id = notice_id(deadline, message.seq, device.ordinal, kind, rung);
    Notice { id: Some(id), kind, at, data: data.to_string() }
}
