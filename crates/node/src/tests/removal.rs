//! Namespaces go, whatever happens meanwhile.

use std::path::Path;

use tidings_store::{EmbeddedStore, Options};

use crate::block::Visitor;
use crate::connect::ConnectError;
use crate::notify::{Hook, HookUrl, NoticeKind, Secret};
use crate::permit::Permit;
use crate::publish::PublishError;
use crate::remove::Removal;

use super::*;

const SOON: Duration = Duration::from_secs(60);

fn open(directory: &Path) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(directory, Options::new(Epoch(7))).unwrap())
}

fn permit() -> Permit {
    Permit {
        user: UserId::new("ann").unwrap(),
        device: None,
        platform: None,
        rooms: Vec::new(),
        join: Vec::new(),
        publish: Vec::new(),
        presence: None,
        meta: None,
        expires_at: Timestamp(1_000_000),
        jti: None,
        issued_at: Timestamp(0),
    }
}

async fn fill(world: &World) -> (Identity, String) {
    let ann = world.device("d1", "ann").await;
    world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    for _ in 0..3 {
        world.push(push(users(&["ann"]))).await;
    }
    let token = ann.namespace.mint(&permit()).unwrap();
    (ann, token)
}

/// What a new namespace of the same name must not see.
async fn nothing_is_left(world: &World, old: Seq, token: &str) {
    let settings = Settings::new("", AuthMode::Token, Timestamp(0));
    let namespace = world.node.create_namespace(demo(), settings).await.unwrap();
    let now = world.node.now();
    assert!(namespace.verify(token, now).is_err(), "its tokens are worth nothing");
    assert_eq!(namespace.directory().room_count(), 0);
    let fresh = namespace.mint(&permit()).unwrap();
    let claim = |token: &str| Claim {
        device: Some(DeviceId::new("d1").unwrap()),
        token: Some(token.to_owned()),
        ..Claim::default()
    };
    let who = world.node.identify(&demo(), claim(&fresh)).await.unwrap();
    assert!(who.new && who.device.rooms.is_empty());
    // Its position is one that the new namespace never had: it is told that something is missing.
    let position = Position { epoch: world.node.epoch(), offset: 1 };
    let topic = Topic::User(UserId::new("ann").unwrap());
    let since = Since::Positions(vec![(topic, position)]);
    assert_eq!(world.missed(&who, &[], &since).await, (vec![], false));
    let next = world.push(push(users(&["ann"]))).await;
    assert!(next.message.seq > old, "numbers go on");
}

#[tokio::test]
async fn a_namespace_of_the_same_name_sees_nothing_of_the_old_one() {
    let world = World::new().await;
    let (ann, token) = fill(&world).await;
    let last = world.push(push(users(&["ann"]))).await.message.seq;
    assert_eq!(world.node.delete_namespace(&demo()).await.unwrap(), Removal::Going);
    assert!(world.node.namespace("demo").is_none());
    // Whoever was on the way in is turned away.
    let inside = world.node.may_be_here(&ann.namespace, Visitor::default(), None);
    assert!(matches!(inside, Err(ConnectError::NoNamespace)), "{inside:?}");
    let pushed = world.node.publish(&demo(), push(users(&["ann"]))).await;
    assert!(matches!(pushed, Err(PublishError::NoNamespace)), "{pushed:?}");
    drop(ann);
    assert!(world.node.removed(&demo(), SOON).await);
    assert_eq!(world.node.delete_namespace(&demo()).await.unwrap(), Removal::Unknown);
    nothing_is_left(&world, last, &token).await;
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (last, token) = {
        let store = open(directory.path());
        let world = World::start(store, Vec::new(), |_| ()).await;
        let (ann, token) = fill(&world).await;
        let last = world.push(push(users(&["ann"]))).await.message.seq;
        assert_eq!(world.node.delete_namespace(&demo()).await.unwrap(), Removal::Going);
        // It is not left alone until the end of the process.
        drop(world);
        drop(ann);
        (last, token)
    };
    let store = loop {
        // The actors of the node before end a moment after it.
        match EmbeddedStore::open(directory.path(), Options::new(Epoch(7))) {
            Ok(store) => break Arc::new(store),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let world = World::bare(store, Vec::new()).await;
    assert!(world.node.namespace("demo").is_none());
    assert!(world.node.removed(&demo(), SOON).await);
    nothing_is_left(&world, last, &token).await;
}

#[tokio::test]
async fn rules_that_are_changed_at_the_same_time_do_not_come_back() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    let changing = namespace.changing().await;
    let (node, name) = (Arc::clone(&world.node), demo());
    let deleting = tokio::spawn(async move { node.delete_namespace(&name).await });
    let settings = Settings { title: "late".to_owned(), ..Settings::clone(&namespace.settings()) };
    world.node.change_namespace(changing, settings.clone()).await.unwrap();
    deleting.await.unwrap().unwrap();
    world.node.change_namespace(namespace.changing().await, settings).await.unwrap();
    drop(namespace);
    assert!(world.node.removed(&demo(), SOON).await);
    assert_eq!(
        world.node.store.list("").await.unwrap().into_iter().filter(|(key, _)| key.contains("demo")).count(),
        0
    );
}

#[tokio::test]
async fn what_was_cleared_is_gone_and_whoever_missed_it_is_told() {
    let world = World::new().await;
    let (ann, _) = fill(&world).await;
    let last = world.push(push(users(&["ann"]))).await;
    let namespace = world.node.namespace("demo").unwrap();
    world.node.clear_namespace(namespace.changing().await).await.unwrap();
    let id = last.message.id.clone();
    assert!(world.node.message(&namespace, &id).await.unwrap().is_none());
    let again = world.device("d1", "ann").await;
    assert!(!again.new);
    assert_eq!(again.device.rooms, rooms(&["lobby"]));
    assert_eq!(world.missed(&again, &["lobby"], &Since::Cursor).await, (vec![], false));
    drop(ann);
    let next = world.push(push(users(&["ann"]))).await;
    assert_eq!((next.meant, next.message.seq), (1, last.message.seq.next()));
    let now = world.node.now();
    let rows = world
        .node
        .statistics(&namespace, tidings_model::Granularity::Day, Timestamp(0), now.after(SOON), 9)
        .await;
    assert_eq!(rows.unwrap()[0].numbers.pushes, 1, "only what came since then");
}

/// The actor that watches who comes and goes, and what it has on record, go as well.
#[tokio::test]
async fn who_is_told_of_comings_and_goings_is_told_of_no_more() {
    let hook = Hook {
        name: "crm".parse().unwrap(),
        url: HookUrl::parse("http://127.0.0.1:1/").unwrap(),
        events: vec![NoticeKind::Online, NoticeKind::Offline],
        questions: Vec::new(),
        batch: 1,
        timeout_ms: 3_000,
        secret: Secret("0123456789abcdef".to_owned()),
        allow_private: true,
    };
    let world = World::with(|settings| settings.hooks = vec![hook]).await;
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    world.node.flush_presence().await;
    assert_eq!(world.node.store.list("stay/").await.unwrap().len(), 1);
    world.node.delete_namespace(&demo()).await.unwrap();
    world.went(&ann, 1, 0, world.node.counted(&ann));
    drop(ann);
    assert!(world.node.removed(&demo(), SOON).await);
    assert!(world.node.store.list("stay/").await.unwrap().is_empty());
    assert!(world.node.store.piles().await.unwrap().is_empty());
}
