//! Settings, the epoch, the end.
#![allow(missing_docs, reason = "each function is a sentence of the port, and its name says which")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

use bytes::Bytes;
use tidings_model::{Durability, Ordinal, Seq, Topic};

use super::given::{append_new, demo, device, message, name};
use crate::port::{From, Store, StoreError, Which};

async fn list(store: &impl Store, prefix: &str) -> Vec<(String, String)> {
    let values = store.list(prefix).await.unwrap();
    values.into_iter().map(|(key, value)| (key, String::from_utf8(value.to_vec()).unwrap())).collect()
}

async fn put(store: &impl Store, key: &str, value: Option<&'static str>) {
    store.put(key, value.map(|text| Bytes::from_static(text.as_bytes()))).await.unwrap();
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub async fn settings_are_set_and_removed(store: &impl Store) {
    assert_eq!(list(store, "").await, []);
    put(store, "a", Some("1")).await;
    put(store, "a", Some("2")).await;
    put(store, "b", Some("")).await;
    assert_eq!(list(store, "").await, pairs(&[("a", "2"), ("b", "")]));
    put(store, "a", None).await;
    put(store, "never-there", None).await;
    assert_eq!(list(store, "").await, pairs(&[("b", "")]));
    put(store, "", Some("nameless")).await;
    assert_eq!(list(store, "").await, pairs(&[("", "nameless"), ("b", "")]));
    put(store, "", None).await;
    let long = "k".repeat(1_024);
    put(store, &long, Some("long")).await;
    assert_eq!(list(store, "k").await, pairs(&[(&long, "long")]));
    let refused = store.put(&"k".repeat(1_025), None).await;
    assert!(matches!(refused, Err(StoreError::Io(_))), "{refused:?}");
    let large = Bytes::from(vec![7; 1 << 20]);
    store.put("large", Some(large.clone())).await.unwrap();
    assert_eq!(store.list("large").await.unwrap(), [("large".to_owned(), large)]);
}

pub async fn settings_are_listed_by_prefix(store: &impl Store) {
    for key in ["key/b", "key/a", "key", "key0", "kex/a", "key/\u{e9}", "key/a/b", "namespace/x", "batch"] {
        put(store, key, Some("v")).await;
    }
    let keys = |found: Vec<(String, String)>| found.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(list(store, "key/").await), ["key/a", "key/a/b", "key/b", "key/\u{e9}"]);
    assert_eq!(keys(list(store, "key/a").await), ["key/a", "key/a/b"]);
    assert_eq!(keys(list(store, "z").await), Vec::<String>::new());
    assert_eq!(keys(list(store, "").await).len(), 9);
    assert!(keys(list(store, "").await).is_sorted());
}

pub async fn the_epoch_stays(store: &impl Store) {
    let epoch = store.epoch();
    let message = append_new(store, message("m", &["all"])).await;
    assert_eq!((message.epoch, store.epoch()), (epoch, epoch));
}

pub async fn a_closed_store_refuses(store: &impl Store) {
    store.close().await.unwrap();
    store.close().await.unwrap();
    let closed =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Closed)), "{result:?}");
    closed(store.append(vec![message("m", &["all"])], Durability::Durable).await.map(drop));
    closed(store.append(vec![message("m", &["all"])], Durability::Memory).await.map(drop));
    closed(store.read_topic(&demo(), &Topic::All, From::After(Seq(0)), 1).await.map(drop));
    closed(store.messages(&demo(), vec![Seq(1)]).await.map(drop));
    closed(store.find(&demo(), &name("m")).await.map(drop));
    closed(store.register(device("d", "ann", 1)).await.map(drop));
    closed(store.change_rooms(&demo(), Ordinal(0), vec![], vec![]).await.map(drop));
    closed(store.settle(&demo(), vec![]).await);
    closed(store.devices(&demo(), Which::OfUser(name("ann"))).await.map(drop));
    closed(store.census(&demo()).await.map(drop));
    closed(store.record(vec![], tidings_model::Durability::Memory).await);
    closed(store.receipts(&demo(), vec![Seq(1)]).await.map(drop));
    closed(store.enqueue(vec![]).await.map(drop));
    closed(store.piles().await.map(drop));
    closed(store.put("a", None).await);
    closed(store.list("").await.map(drop));
}

pub async fn closing_keeps_what_came_before(store: &impl Store) {
    let head = append_new(store, message("m", &["all"])).await.seq;
    store.close().await.unwrap();
    assert_eq!(store.head(&demo()), head);
}
