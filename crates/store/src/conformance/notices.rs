//! Notices: what waits for hooks, in which order, what is noted of it, what becomes of what is given up.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use bytes::Bytes;
use tidings_model::Timestamp;

use super::given::{demo, name};
use crate::port::{HookKey, Pile, Piles, Store, Tries, WaitingNotice};

#[must_use]
pub fn hook(text: &str) -> HookKey {
    HookKey { namespace: demo(), hook: text.parse().unwrap() }
}

#[must_use]
pub fn notice(id: &str) -> WaitingNotice {
    let body = Bytes::from(format!("{{\"id\":\"{id}\"}}"));
    WaitingNotice { id: name(id), since: Timestamp(1_000), body, attempts: Tries::default() }
}

/// The ids of a pile.
async fn ids(store: &impl Store, of: &HookKey, pile: Pile, limit: usize) -> Vec<String> {
    let found = store.notices(of, pile, limit).await.unwrap();
    found.into_iter().map(|notice| notice.id.to_string()).collect()
}

pub async fn notices_wait_in_the_order_of_their_ids(store: &impl Store) {
    let one = hook("one");
    store.enqueue(vec![(one.clone(), notice("02")), (one.clone(), notice("01"))]).await.unwrap();
    store.enqueue(vec![(one.clone(), notice("04")), (one.clone(), notice("03"))]).await.unwrap();
    store.enqueue(vec![]).await.unwrap();
    // What waits already stays as it is.
    let again = WaitingNotice { since: Timestamp(9_000), ..notice("01") };
    let known =
        store.enqueue(vec![(one.clone(), again.clone()), (hook("two"), again.clone()), (hook("two"), again)]);
    assert_eq!(known.await.unwrap(), [one.clone(), hook("two")]);
    assert_eq!(ids(store, &one, Pile::Waiting, 9).await, ["01", "02", "03", "04"]);
    assert_eq!(ids(store, &one, Pile::Waiting, 3).await, ["01", "02", "03"]);
    assert_eq!(ids(store, &one, Pile::Waiting, 0).await, [""; 0]);
    assert_eq!(ids(store, &one, Pile::Dead, 9).await, [""; 0]);
    assert_eq!(store.notices(&one, Pile::Waiting, 1).await.unwrap(), [notice("01")]);
    let behind = async |after: &str, limit| {
        let found = store.notices_after(&one, Pile::Waiting, &name(after), limit).await.unwrap();
        found.into_iter().map(|notice| notice.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(behind("02", 9).await, ["03", "04"]);
    assert_eq!(behind("02", 1).await, ["03"]);
    assert_eq!(behind("0", 2).await, ["01", "02"]);
    assert_eq!(behind("04", 2).await, [""; 0]);
    let gone = vec![name("01"), name("03"), name("never")];
    assert_eq!(store.remove(&one, Pile::Waiting, gone).await.unwrap(), 2);
    assert_eq!(store.remove(&one, Pile::Dead, vec![name("02")]).await.unwrap(), 0);
    assert_eq!(ids(store, &one, Pile::Waiting, 9).await, ["02", "04"]);
}

pub async fn hooks_have_their_own_notices(store: &impl Store) {
    let elsewhere = HookKey { namespace: name("other"), ..hook("one") };
    let hooks = [hook("one"), hook("on"), hook("one-more"), elsewhere];
    assert_eq!(store.piles().await.unwrap(), []);
    for (index, hook) in hooks.iter().enumerate() {
        let all = (0..=index).map(|number| (hook.clone(), notice(&format!("{index}{number}"))));
        store.enqueue(all.collect()).await.unwrap();
    }
    store.bury(&hooks[2], vec![name("21"), name("20")]).await.unwrap();
    for (index, hook) in hooks.iter().enumerate() {
        let waiting = ids(store, hook, Pile::Waiting, 9).await;
        let expected: Vec<_> = if index == 2 { 2..=2 } else { 0..=index }.collect();
        let expected: Vec<_> = expected.iter().map(|number| format!("{index}{number}")).collect();
        assert_eq!(waiting, expected, "{hook:?}");
    }
    let mut piles = store.piles().await.unwrap();
    piles.sort_by(|one, other| one.0.cmp(&other.0));
    let mut expected = [(0, 1, 0), (1, 2, 0), (2, 1, 2), (3, 4, 0)]
        .map(|(index, waiting, dead): (usize, u64, u64)| (hooks[index].clone(), Piles { waiting, dead }));
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(piles, expected);
}

pub async fn attempts_are_noted(store: &impl Store) {
    let one = hook("one");
    store.enqueue(vec![(one.clone(), notice("01")), (one.clone(), notice("02"))]).await.unwrap();
    let first = Tries { failed: 1, failing_since: Timestamp(5_000), next_at: Timestamp(6_000) };
    let second = Tries { failed: 2, next_at: Timestamp(9_000), ..first };
    store.attempted(&one, &name("01"), first).await.unwrap();
    store.attempted(&one, &name("01"), second).await.unwrap();
    store.attempted(&one, &name("never"), second).await.unwrap();
    store.attempted(&hook("other"), &name("02"), second).await.unwrap();
    let expected = [WaitingNotice { attempts: second, ..notice("01") }, notice("02")];
    assert_eq!(store.notices(&one, Pile::Waiting, 9).await.unwrap(), expected);
}

pub async fn what_is_given_up_is_kept(store: &impl Store) {
    let one = hook("one");
    let all = ["01", "02", "03"].map(|id| (one.clone(), notice(id)));
    store.enqueue(all.to_vec()).await.unwrap();
    let tried = Tries { failed: 9, failing_since: Timestamp(5_000), next_at: Timestamp(6_000) };
    store.attempted(&one, &name("02"), tried).await.unwrap();
    assert_eq!(store.bury(&one, vec![name("02"), name("01"), name("never")]).await.unwrap(), 2);
    // What is not there any more is left alone.
    assert_eq!(store.bury(&one, vec![name("01")]).await.unwrap(), 0);
    store.attempted(&one, &name("01"), tried).await.unwrap();
    assert_eq!(ids(store, &one, Pile::Waiting, 9).await, ["03"]);
    let dead = store.notices(&one, Pile::Dead, 9).await.unwrap();
    assert_eq!(dead, [notice("01"), WaitingNotice { attempts: tried, ..notice("02") }]);
    assert_eq!(store.revive(&one, vec![name("02"), name("03"), name("never")]).await.unwrap(), 1);
    assert_eq!(store.notices(&one, Pile::Waiting, 9).await.unwrap(), [notice("02"), notice("03")]);
    assert_eq!(store.remove(&one, Pile::Dead, vec![name("01"), name("02")]).await.unwrap(), 1);
    assert_eq!(store.piles().await.unwrap(), [(one, Piles { waiting: 2, dead: 0 })]);
}

pub async fn notices_and_settings_change_in_one_step(store: &impl Store) {
    let one = hook("one");
    let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    store.put("a/1", text("old")).await.unwrap();
    let settings =
        vec![("a/1".to_owned(), None), ("a/2".to_owned(), text("new")), ("a/3".to_owned(), text("3"))];
    store.enqueue_and_put(vec![(one.clone(), notice("01"))], settings).await.unwrap();
    assert_eq!(ids(store, &one, Pile::Waiting, 9).await, ["01"]);
    let listed = store.list("a/").await.unwrap();
    assert_eq!(listed, [("a/2".to_owned(), text("new").unwrap()), ("a/3".to_owned(), text("3").unwrap())]);
    // A key that may not be refuses all of it.
    let long = vec![("a/2".to_owned(), None), ("x".repeat(2_000), text("no"))];
    store.enqueue_and_put(vec![(one.clone(), notice("02"))], long).await.unwrap_err();
    assert_eq!(ids(store, &one, Pile::Waiting, 9).await, ["01"]);
    assert_eq!(store.list("a/").await.unwrap(), listed);
    store.enqueue_and_put(vec![], vec![]).await.unwrap();
}
