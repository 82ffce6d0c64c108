//! Who is online, and who has gone but may be back: the rules of stays, without a clock and a store.

use std::collections::{BTreeSet, HashMap};

use tidings_hub::directory::UserKey;
use tidings_model::{Timestamp, UserId};

use super::stay::Stay;

/// Most users of a namespace that are online or have gone just now. Beyond that, those who went first are taken for gone
/// before their time.
pub(super) const STAYS_MAX: usize = 1_000_000;

/// A user who is online, or was until just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) user: UserId,
    pub(super) stay: Stay,
    /// Since when the user has no connection; `None` while there is one.
    left_at: Option<Timestamp>,
    /// Whether that was not seen to happen: the process ended first.
    pub(super) lost: bool,
}

/// A stay that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) user: UserId,
    pub(super) stay: Stay,
    /// Since when the user has no connection, as far as was seen.
    pub(super) left_at: Timestamp,
    /// Whether that was not seen to happen.
    pub(super) lost: bool,
}

/// The stays of a namespace.
#[derive(Debug, Default)]
pub(super) struct Stays {
    known: HashMap<UserKey, Known>,
    /// Those without a connection, in the order in which they went.
    leaving: BTreeSet<(Timestamp, UserKey)>,
}

impl Stays {
    /// Everybody.
    pub(super) fn keys(&self) -> impl Iterator<Item = UserKey> {
        self.known.keys().copied()
    }

    /// A user was online when the process before this one ended, and may be back.
    pub(super) fn restore(&mut self, key: UserKey, user: UserId, stay: Stay, now: Timestamp) {
        let known = Known { user, stay, left_at: Some(now), lost: true };
        self.known.insert(key, known);
        self.leaving.insert((now, key));
    }

    /// A user has a connection. Answers the stay that begins with it, if one does; `number` is asked for one then.
    pub(super) fn came(
        &mut self,
        key: UserKey,
        user: &UserId,
        since: Timestamp,
        number: impl FnOnce() -> u64,
    ) -> Option<Stay> {
        if self.known.contains_key(&key) {
            self.stay(key);
            return None;
        }
        let stay = Stay { number: number(), since };
        self.known.insert(key, Known { user: user.clone(), stay, left_at: None, lost: false });
        Some(stay)
    }

    /// A user who went is here after all.
    pub(super) fn stay(&mut self, key: UserKey) {
        if let Some(known) = self.known.get_mut(&key) {
            if let Some(left_at) = known.left_at.take() {
                self.leaving.remove(&(left_at, key));
            }
            known.lost = false;
        }
    }

    /// The user and the stay behind a key.
    pub(super) fn get(&self, key: UserKey) -> Option<&Known> {
        self.known.get(&key)
    }

    /// A user has no connection (any more).
    pub(super) fn went(&mut self, key: UserKey, at: Timestamp) {
        if let Some(known) = self.known.get_mut(&key).filter(|known| known.left_at.is_none()) {
            known.left_at = Some(at);
            self.leaving.insert((at, key));
        }
    }

    /// The first ones who went at or before `until`, at most `limit`; and whoever is too many.
    pub(super) fn due(&self, until: Timestamp, limit: usize, most: usize) -> Vec<UserKey> {
        let surplus = self.known.len().saturating_sub(most);
        let due = self.leaving.iter().enumerate();
        let due = due.take_while(|(index, (left_at, _))| *left_at <= until || *index < surplus);
        due.map(|(_, (_, key))| *key).take(limit).collect()
    }

    /// A stay is over.
    pub(super) fn end(&mut self, key: UserKey) -> Option<Ended> {
        let left_at = self.known.get(&key)?.left_at?;
        self.leaving.remove(&(left_at, key));
        let Known { user, stay, lost, .. } = self.known.remove(&key)?;
        Some(Ended { user, stay, left_at, lost })
    }

    /// When the first one went who is not back.
    pub(super) fn first_left(&self) -> Option<Timestamp> {
        self.leaving.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn key(number: u64) -> UserKey {
        UserKey(NonZeroU64::new(number).unwrap())
    }

    fn user(number: u64) -> UserId {
        UserId::new(&format!("u{number}")).unwrap()
    }

    /// `c1@5` comes, `w1@9` goes, `e@20` ends what went at or before that. Answers what began and what ended.
    fn check(script: &str, expected: &str) {
        let (mut stays, mut next, mut seen) = (Stays::default(), 0, Vec::new());
        for step in script.split(' ') {
            let (what, at) = step.split_once('@').unwrap();
            let (at, number) = (Timestamp(at.parse().unwrap()), what[1..].parse().unwrap_or_default());
            match &what[..1] {
                "c" => {
                    let began = stays.came(key(number), &user(number), at, || {
                        next += 1;
                        next
                    });
                    seen.extend(began.map(|stay| format!("+u{number}#{}", stay.number)));
                }
                "r" => {
                    next += 1;
                    let stay = Stay { number: next, since: Timestamp(0) };
                    stays.restore(key(number), user(number), stay, at);
                }
                "w" => stays.went(key(number), at),
                _ => {
                    for due in stays.due(at, 10, 2) {
                        let Ended { user, stay, left_at, lost } = stays.end(due).unwrap();
                        let lost = if lost { "?" } else { "" };
                        seen.push(format!("-{user}#{}@{}{lost}", stay.number, left_at.0));
                    }
                }
            }
        }
        assert_eq!(seen.join(" "), expected, "{script}");
    }

    #[test]
    fn a_stay_begins_and_ends_once() {
        check("c1@5 w1@9 e@8", "+u1#1");
        check("c1@5 w1@9 e@9 e@30", "+u1#1 -u1#1@9");
        check("c1@5 c1@6 w1@9 w1@12 e@11 e@30", "+u1#1 -u1#1@9");
    }

    #[test]
    fn who_comes_back_in_time_was_never_away() {
        check("c1@5 w1@9 c1@10 e@30", "+u1#1");
        check("c1@5 w1@9 c1@10 w1@11 e@10 e@11 c1@12", "+u1#1 -u1#1@11 +u1#2");
        check("w1@9 e@30", "");
    }

    #[test]
    fn who_was_online_at_the_end_may_be_back() {
        check("r1@50 r2@50 c2@55 e@50 w2@60 e@60", "-u1#1@50? -u2#2@60");
    }

    #[test]
    fn whoever_is_too_many_goes_before_the_time() {
        check("c1@1 c2@2 c3@3 w2@10 w1@11 e@5", "+u1#1 +u2#2 +u3#3 -u2#2@10");
    }
}
