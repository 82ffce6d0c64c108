//! Why a device, or a person, has a message or has it not: the steps in order, with times and reasons.
//!
//! What happened is in the store, written down as it happened; what did not happen is concluded here, from who was
//! meant, when a device was registered, and what the push said.

use tidings_model::{DeviceId, Message, RoomName, Step, Target, Timestamp, UserId};
use tidings_store::{Device, StoreError, TraceStep};

use crate::ledger::Entry;
use crate::ledger::report::{State, state_of};
use crate::{Namespace, Node};

/// Whose trace it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All devices that the user has now; of a message for this user alone, also those that the user had.
    User(UserId),
    /// One device.
    Device(DeviceId),
}

/// Whether the subject has the message, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It was for others.
    NotMeant,
    /// Its time has not come.
    Scheduled,
    /// It was dropped.
    Dropped,
    /// It was withdrawn.
    Recalled,
    /// Its time was over.
    Expired,
    /// Another way was tried, and there is no receipt.
    Escalated,
    /// It waits, or was written without a receipt so far.
    Waiting,
    /// There is a receipt.
    Delivered,
}

impl Verdict {
    /// All of them; of several devices of a user, the last one counts.
    pub const ALL: [Self; 8] = [
        Self::NotMeant,
        Self::Scheduled,
        Self::Dropped,
        Self::Recalled,
        Self::Expired,
        Self::Escalated,
        Self::Waiting,
        Self::Delivered,
    ];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotMeant => "not_meant",
            Self::Scheduled => "scheduled",
            Self::Dropped => "dropped",
            Self::Recalled => "recalled",
            Self::Expired => "expired",
            Self::Escalated => "escalated",
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
        }
    }

    fn of(state: State) -> Self {
        match state {
            State::Acked => Self::Delivered,
            State::Waiting => Self::Waiting,
            State::Escalated => Self::Escalated,
            State::Expired => Self::Expired,
            State::Dropped => Self::Dropped,
            State::Recalled => Self::Recalled,
        }
    }
}

/// A step of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What.
    pub step: Step,
    /// On its way to which device; `None` for what is about all of them.
    pub device: Option<DeviceId>,
    /// What else is to be said of it.
    pub detail: Option<String>,
}

/// Why somebody has a message or has it not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Whether they have it.
    pub verdict: Verdict,
    /// The step that the verdict rests on.
    pub because: Step,
    /// What happened, in order.
    pub steps: Vec<Happened>,
}

impl Subject {
    /// Whether nobody else was named: then it was meant for nobody else's devices.
    fn is_all_of(&self, to: &Target) -> bool {
        match self {
            Self::User(user) => to.only_user() == Some(user),
            Self::Device(device) => {
                !to.all && to.rooms.is_empty() && to.users.is_empty() && to.devices == [device.clone()]
            }
        }
    }
}

/// Those that a message was meant for without being among these devices.
fn gone(message: &Message, devices: &[Device]) -> Vec<u32> {
    let known = |ordinal: &u32| devices.iter().any(|device| device.ordinal.0 == *ordinal);
    message.meant.iter().filter(|ordinal| !known(ordinal)).collect()
}

impl Node {
    /// Why somebody has a message or has it not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn trace(
        &self,
        namespace: &Namespace,
        message: &Message,
        subject: &Subject,
    ) -> Result<Trace, StoreError> {
        let devices = match subject {
            Subject::User(user) => self.devices_of_user(namespace, user).await?,
            Subject::Device(id) => self.device(namespace, id).await?.into_iter().collect(),
        };
        let mut steps = vec![accepted(message)];
        steps.extend(scheduled(message));
        let gone = if subject.is_all_of(&message.to) { gone(message, &devices) } else { Vec::new() };
        if devices.is_empty() && gone.is_empty() {
            let detail = match subject {
                Subject::User(_) => "the user has no device",
                Subject::Device(_) => "there is no such device",
            };
            steps.push(concluded(message.sent_at, Step::NotMeant, None, detail));
            return Ok(Trace { verdict: Verdict::NotMeant, because: Step::NotMeant, steps });
        }
        // What has just happened is to be on record, too.
        self.ledger.flush().await;
        let books = self.books(message).await;
        let mut recorded = books.record.first_steps.clone();
        recorded.extend(self.store.steps(&namespace.name, message.seq).await?);
        let mut answer = (Verdict::NotMeant, Step::NotMeant);
        for device in &devices {
            let (verdict, because) = self.of_device(message, &books, device, &recorded, &mut steps);
            if verdict >= answer.0 {
                answer = (verdict, because);
            }
        }
        for ordinal in gone {
            let (verdict, because) = self.of_meant(message, &books, (ordinal, None), &recorded, &mut steps);
            // A device that is not there any more will not get it: that it waits in the books says nothing against one that is.
            if verdict == Verdict::Delivered || devices.is_empty() && verdict >= answer.0 {
                answer = (verdict, because);
            }
        }
        steps.sort_by_key(|step| step.at);
        Ok(Trace { verdict: answer.0, because: answer.1, steps })
    }

    /// What happened on the way to one device is added to `steps`; the verdict, and what it rests on.
    fn of_device(
        &self,
        message: &Message,
        books: &Entry,
        device: &Device,
        recorded: &[TraceStep],
        steps: &mut Vec<Happened>,
    ) -> (Verdict, Step) {
        let id = &device.id;
        if message.is_scheduled() {
            let recalled = books.record.recalled_at;
            if let Some(at) = recalled {
                steps.push(concluded(at, Step::Recalled, Some(id), "before its time had come"));
            }
            return recalled
                .map_or((Verdict::Scheduled, Step::Scheduled), |_| (Verdict::Recalled, Step::Recalled));
        }
        if !message.meant.contains(device.ordinal.0) {
            let (step, detail) = why_not(message, device);
            steps.push(concluded(message.sent_at, step, Some(id), detail));
            return (Verdict::NotMeant, step);
        }
        self.of_meant(message, books, (device.ordinal.0, Some(id)), recorded, steps)
    }

    /// The same for a device that it is meant for, which may not be known any more.
    fn of_meant(
        &self,
        message: &Message,
        books: &Entry,
        (ordinal, id): (u32, Option<&DeviceId>),
        recorded: &[TraceStep],
        steps: &mut Vec<Happened>,
    ) -> (Verdict, Step) {
        let whose =
            if id.is_none() { "for a device that is not known any more, or has another user" } else { "" };
        let mut own = vec![concluded(message.sent_at, Step::Queued, id, whose)];
        own.extend(recorded.iter().filter(|step| step.by.contains(ordinal)).map(|step| Happened {
            at: step.at,
            step: step.step,
            device: id.cloned(),
            detail: Some(step.detail.clone()).filter(|detail| !detail.is_empty()),
        }));
        let state = state_of(books, ordinal, self.now());
        match state {
            State::Expired => own.push(concluded(message.expires_at, Step::Expired, id, "")),
            State::Dropped if books.record.dropped(ordinal).is_none() => {
                own.push(concluded(message.sent_at, Step::NotConnected, id, "it does not wait"));
            }
            State::Acked | State::Waiting | State::Escalated | State::Dropped | State::Recalled => {}
        }
        own.sort_by_key(|step| step.at);
        write_before_receipt(&mut own);
        let because = because(state, &own);
        steps.append(&mut own);
        (Verdict::of(state), because)
    }
}

/// A receipt may overtake the news that its message was written: the write then stands right before the receipt, at its
/// time.
fn write_before_receipt(steps: &mut [Happened]) {
    let first = |wanted: Step| steps.iter().position(|happened| happened.step == wanted);
    if let (Some(written), Some(acked)) = (first(Step::Written), first(Step::Acked))
        && acked < written
    {
        steps[written].at = steps[acked].at;
        steps[acked..=written].rotate_right(1);
    }
}

/// The step that a state rests on: the last one that says so, or else the last one.
fn because(state: State, steps: &[Happened]) -> Step {
    let last = |wanted: &[Step]| steps.iter().rev().map(|step| step.step).find(|step| wanted.contains(step));
    let telling = match state {
        State::Acked => last(&[Step::Acked]).or(Some(Step::Acked)),
        State::Waiting => {
            let waits = [Step::Queued, Step::Written, Step::ConnectionLost, Step::SimulatedLoss];
            last(&[&waits[..], &[Step::Undelivered, Step::Muted]].concat())
        }
        State::Escalated => last(&[Step::ProviderAccepted, Step::ProviderRefused, Step::Escalated]),
        State::Expired => last(&[Step::Expired]),
        State::Dropped => {
            last(&[Step::SlowReaderDropped, Step::Collapsed, Step::Trimmed, Step::NotConnected])
        }
        State::Recalled => last(&[Step::Recalled]),
    };
    telling.or(steps.last().map(|step| step.step)).unwrap_or(Step::Queued)
}

fn accepted(message: &Message) -> Happened {
    Happened { at: message.accepted_at, step: Step::Accepted, device: None, detail: None }
}

fn scheduled(message: &Message) -> Option<Happened> {
    let at = message.deliver_at.filter(|at| *at > message.accepted_at)?;
    let wait = at.since(message.accepted_at);
    let detail = Some(format!("to be sent {} s later", (wait.as_secs_f64() * 1e3).round() / 1e3));
    Some(Happened { at: message.accepted_at, step: Step::Scheduled, device: None, detail })
}

fn concluded(at: Timestamp, step: Step, device: Option<&DeviceId>, detail: impl Into<String>) -> Happened {
    let detail = Some(detail.into()).filter(|detail| !detail.is_empty());
    Happened { at, step, device: device.cloned(), detail }
}

/// Why a message was not meant for a device.
fn why_not(message: &Message, device: &Device) -> (Step, String) {
    let (to, except) = (&message.to, &message.except);
    let by_user = |users: &[UserId]| device.user.as_ref().is_some_and(|user| users.contains(user));
    let in_room = |rooms: &[RoomName]| rooms.iter().find(|room| device.rooms.contains(room)).cloned();
    let directly = to.all || to.devices.contains(&device.id) || by_user(&to.users);
    let room = in_room(&to.rooms);
    if !directly && room.is_none() {
        let detail = if to.rooms.is_empty() {
            "neither the device nor its user was named"
        } else {
            "the device is in none of the rooms that it was for"
        };
        return (Step::NotMeant, detail.to_owned());
    }
    if device.created_at > message.sent_at {
        return (Step::NotMeant, "the device was registered after it was sent".to_owned());
    }
    if !to.platforms.is_empty() && !to.platforms.contains(&device.platform) {
        let wanted: Vec<_> = to.platforms.iter().map(|platform| platform.as_str()).collect();
        let detail = format!("the device is {}, it was for {}", device.platform, wanted.join(", "));
        return (Step::PlatformFiltered, detail);
    }
    if except.devices.contains(&device.id) {
        return (Step::Excluded, "the device was excepted".to_owned());
    }
    if by_user(&except.users) {
        return (Step::Excluded, "its user was excepted".to_owned());
    }
    if let Some(room) = in_room(&except.rooms) {
        return (Step::Excluded, format!("the room {room}, which it is in, was excepted"));
    }
    if let (Some(room), false) = (room, directly) {
        return (Step::NotMeant, format!("the device was not in the room {room} when it was sent"));
    }
    if !except.connections.is_empty() {
        return (Step::Excluded, "one of its connections was excepted".to_owned());
    }
    (Step::NotMeant, "it was for others when it was sent".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_stands_before_its_receipt() {
        use Step::{Acked, ConnectionLost, Queued, Written};
        for (happened, expected) in [
            (vec![(1, Queued), (2, Written), (3, Acked)], vec![(1, Queued), (2, Written), (3, Acked)]),
            (vec![(1, Queued), (2, Acked), (4, Written)], vec![(1, Queued), (2, Written), (2, Acked)]),
            // Written again to another connection of the device.
            (
                vec![(1, Queued), (2, Acked), (3, ConnectionLost), (4, Written), (5, Written)],
                vec![(1, Queued), (2, Written), (2, Acked), (3, ConnectionLost), (5, Written)],
            ),
            (vec![(1, Written), (2, Acked), (3, Written)], vec![(1, Written), (2, Acked), (3, Written)]),
            (vec![(1, Queued), (2, Acked)], vec![(1, Queued), (2, Acked)]),
        ] {
            let mut steps: Vec<_> =
                happened.iter().map(|(at, step)| concluded(Timestamp(*at), *step, None, "")).collect();
            write_before_receipt(&mut steps);
            let actual: Vec<_> = steps.iter().map(|happened| (happened.at.0, happened.step)).collect();
            assert_eq!(actual, expected, "{happened:?}");
        }
    }
}
