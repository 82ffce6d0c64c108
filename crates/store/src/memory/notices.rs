//! What hooks are to be told, in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use tidings_model::NoticeId;

use super::{MemoryStore, State};
use crate::port::{Answer, HookKey, Notices, Pile, Piles, Tries, WaitingNotice};
use crate::rules;

impl Notices for MemoryStore {
    fn enqueue(&self, notices: Vec<(HookKey, WaitingNotice)>) -> Answer<'_, Vec<HookKey>> {
        self.answer(move |state| {
            let mut known = Vec::new();
            for (hook, notice) in notices {
                match state.notices.entry((hook.clone(), Pile::Waiting, notice.id.clone())) {
                    Entry::Occupied(_) => known.push(hook),
                    Entry::Vacant(place) => drop(place.insert(notice)),
                }
            }
            known
        })
    }

    fn enqueue_and_put(
        &self,
        notices: Vec<(HookKey, WaitingNotice)>,
        settings: Vec<(String, Option<Bytes>)>,
    ) -> Answer<'_, Vec<HookKey>> {
        Box::pin(async move {
            settings.iter().try_for_each(|(key, _)| rules::check_setting(key))?;
            let changed = self.answer(move |state| {
                for (key, value) in settings {
                    match value {
                        Some(value) => drop(state.settings.insert(key, value)),
                        None => drop(state.settings.remove(&key)),
                    }
                }
            });
            changed.await?;
            self.enqueue(notices).await
        })
    }

    fn notices(&self, of: &HookKey, pile: Pile, limit: usize) -> Answer<'_, Vec<WaitingNotice>> {
        let of = of.clone();
        self.answer(move |state| {
            let all = state.notices.iter().filter(|((hook, found, _), _)| *hook == of && *found == pile);
            all.map(|(_, notice)| notice.clone()).take(limit).collect()
        })
    }

    fn notices_after(
        &self,
        of: &HookKey,
        pile: Pile,
        after: &NoticeId,
        limit: usize,
    ) -> Answer<'_, Vec<WaitingNotice>> {
        let (of, after) = (of.clone(), after.clone());
        self.answer(move |state| {
            let behind =
                |(hook, found, id): &(HookKey, Pile, NoticeId)| *hook == of && *found == pile && *id > after;
            let all = state.notices.iter().filter(|(key, _)| behind(key));
            all.map(|(_, notice)| notice.clone()).take(limit).collect()
        })
    }

    fn attempted(&self, of: &HookKey, id: &NoticeId, attempts: Tries) -> Answer<'_, ()> {
        let key = (of.clone(), Pile::Waiting, id.clone());
        self.answer(move |state| {
            if let Some(notice) = state.notices.get_mut(&key) {
                notice.attempts = attempts;
            }
        })
    }

    fn remove(&self, of: &HookKey, pile: Pile, ids: Vec<NoticeId>) -> Answer<'_, u64> {
        let of = of.clone();
        self.answer(move |state| {
            let mut removed = 0;
            for id in ids {
                removed += u64::from(state.notices.remove(&(of.clone(), pile, id)).is_some());
            }
            removed
        })
    }

    fn bury(&self, of: &HookKey, ids: Vec<NoticeId>) -> Answer<'_, u64> {
        let of = of.clone();
        self.answer(move |state| state.move_notices(&of, ids, [Pile::Waiting, Pile::Dead], |_| ()))
    }

    fn revive(&self, of: &HookKey, ids: Vec<NoticeId>) -> Answer<'_, u64> {
        let of = of.clone();
        self.answer(move |state| {
            let forget = |notice: &mut WaitingNotice| notice.attempts = Tries::default();
            state.move_notices(&of, ids, [Pile::Dead, Pile::Waiting], forget)
        })
    }

    fn piles(&self) -> Answer<'_, Vec<(HookKey, Piles)>> {
        self.answer(|state| {
            let mut all: BTreeMap<HookKey, Piles> = BTreeMap::new();
            for (hook, pile, _) in state.notices.keys() {
                let piles = all.entry(hook.clone()).or_default();
                match pile {
                    Pile::Waiting => piles.waiting += 1,
                    Pile::Dead => piles.dead += 1,
                }
            }
            // On disk keys sort by the length of their names first.
            let order = |key: &HookKey| {
                let (namespace, hook) = (key.namespace.as_str(), key.hook.as_str());
                (namespace.len(), namespace.to_owned(), hook.len(), hook.to_owned())
            };
            let mut all: Vec<_> = all.into_iter().collect();
            all.sort_by_key(|(key, _)| order(key));
            all
        })
    }
}

impl State {
    /// Moves notices from one pile to the other; how many.
    fn move_notices(
        &mut self,
        of: &HookKey,
        ids: Vec<NoticeId>,
        [from, to]: [Pile; 2],
        change: impl Fn(&mut WaitingNotice),
    ) -> u64 {
        let mut moved = 0;
        for id in ids {
            if let Some(mut notice) = self.notices.remove(&(of.clone(), from, id.clone())) {
                change(&mut notice);
                self.notices.insert((of.clone(), to, id), notice);
                moved += 1;
            }
        }
        moved
    }
}
