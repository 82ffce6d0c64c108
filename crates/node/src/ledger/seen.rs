//! What changes in the books, shown to those who look on. Where nobody does it costs one load, and nothing is made.

use roaring::RoaringBitmap;
use tidings_model::{NamespaceName, Seq, Step, Timestamp};
use tidings_store::TraceStep;

use super::{Entry, Key};
use crate::observe::Observers;

/// Does something with the books of a message, and shows what came of it.
pub(super) fn during<T>(
    observers: &Observers,
    (namespace, seq): &Key,
    entry: &mut Entry,
    change: impl FnOnce(&mut Entry) -> T,
) -> T {
    let sight = observers.sight(namespace).filter(|sight| sight.concerns(*seq, &entry.meant));
    let Some(sight) = sight else { return change(entry) };
    // What comes together within moments is one step of a trace; what has just come is told apart here.
    let before = std::mem::take(&mut entry.steps);
    let written = entry.record.written.len();
    let done = change(entry);
    let mut fresh = std::mem::replace(&mut entry.steps, before);
    if let Some(acked) = fresh.iter().find(|step| step.step == Step::Acked)
        && entry.record.written.len() > written
    {
        // The receipt has overtaken the news that its message was written.
        let written = TraceStep { step: Step::Written, ..acked.clone() };
        sight.stepped(*seq, &[written], &RoaringBitmap::new());
    }
    sight.stepped(*seq, &fresh, &entry.record.acked);
    fresh.drain(..).for_each(|step| entry.note_again(step));
    done
}

/// The time of a message is over: shows for whom.
pub(super) fn expired(
    observers: &Observers,
    namespace: &NamespaceName,
    seq: Seq,
    entry: Option<&Entry>,
    now: Timestamp,
) {
    let Some((sight, entry)) = observers.sight(namespace).zip(entry) else { return };
    let step = TraceStep { at: now, step: Step::Expired, by: entry.ran_out(), detail: String::new() };
    sight.stepped(seq, &[step], &entry.record.acked);
}
