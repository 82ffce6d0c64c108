//! The part of the port that history is searched by: messages in a row, and an index of what they have.
//!
//! The store knows terms and which numbers have them. What the words of a message are, and whether a message that the
//! index leads to is what somebody looks for, is the node's.

use std::sync::Arc;

use tidings_model::{EventName, Message, NamespaceName, Seq, Topic};

use super::Answer;

/// Messages in a row, and an index of what they have.
pub trait History {
    /// The messages of a stretch, in this order, at most `limit`; what is gone is passed over.
    fn browse(
        &self,
        namespace: &NamespaceName,
        span: Span,
        order: Order,
        limit: usize,
    ) -> Answer<'_, Vec<Arc<Message>>>;

    /// Up to which number messages have been indexed; 0 when none has.
    fn indexed(&self, namespace: &NamespaceName) -> Answer<'_, Seq>;

    /// Adds messages to those that have a term, and notes that everything up to `through` has been indexed, if that
    /// is more than before. What was added before may be added again. [`Term::Scheduled`] and [`Term::Recalled`] are the store's own and are left
    /// out. Not synced on its own, and not in one piece: after a crash the note may be an older one, and never says
    /// more than is there.
    fn index(
        &self,
        namespace: &NamespaceName,
        postings: Vec<(Term, Vec<Seq>)>,
        through: Seq,
    ) -> Answer<'_, ()>;

    /// The numbers in a stretch that have, of each of these lists, at least one term; in this order, at most `limit`.
    /// No list leads nowhere. A message that is gone may still be among them.
    fn search(
        &self,
        namespace: &NamespaceName,
        wanted: Vec<Vec<Term>>,
        span: Span,
        order: Order,
        limit: usize,
    ) -> Answer<'_, Found>;
}

/// Something that messages can be found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// A word of its text, at most 255 bytes.
    Word(Box<str>),
    /// Its event.
    Event(EventName),
    /// Whom it was addressed to, as asked.
    To(Topic),
    /// Its time has not come. Known by the store from [`Messages::append`](super::Messages::append).
    Scheduled,
    /// It was recalled. Known by the store from [`Receipts::record`](super::Receipts::record).
    Recalled,
}

/// A stretch of numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The lowest number.
    pub first: Seq,
    /// The highest one. Nothing is in the stretch when it is below the lowest.
    pub last: Seq,
}

impl Span {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// Whether a number is in it.
    #[must_use]
    pub fn contains(self, seq: Seq) -> bool {
        (self.first..=self.last).contains(&seq)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), last: self.last.min(other.last) }
    }

    /// What comes behind a number, in this order; `None` when nothing does.
    #[must_use]
    pub fn behind(self, seq: Seq, order: Order) -> Option<Self> {
        let rest = match order {
            Order::OldestFirst => Self { first: Seq(seq.0.checked_add(1)?), ..self },
            Order::NewestFirst => Self { last: Seq(seq.0.checked_sub(1)?), ..self },
        };
        (!rest.is_empty()).then_some(rest)
    }
}

/// In which order messages are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// By rising numbers.
    OldestFirst,
    /// By falling numbers.
    #[default]
    NewestFirst,
}

/// What a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The numbers, in the order asked for.
    pub seqs: Vec<Seq>,
    /// What has not been searched, because `limit` was reached or because it was much work so far.
    pub rest: Option<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_behind_the_end_of_all_numbers() {
        let all = Span { first: Seq(0), last: Seq(u64::MAX) };
        for (seq, order, rest) in [
            (u64::MAX, Order::OldestFirst, None),
            (0, Order::NewestFirst, None),
            (7, Order::OldestFirst, Some((8, u64::MAX))),
            (7, Order::NewestFirst, Some((0, 6))),
        ] {
            let rest = rest.map(|(first, last)| Span { first: Seq(first), last: Seq(last) });
            assert_eq!(all.behind(Seq(seq), order), rest, "{seq} {order:?}");
        }
    }
}
