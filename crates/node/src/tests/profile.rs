//! What is kept of a device: by the backend and by the device itself, whoever comes in between.

use serde_json::{Map, Value, json};

use super::*;
use crate::devices::Filter;
use crate::forget::Purge;
use crate::profile::{DescribeError, record};

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn id(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

/// What is kept of a device, without what is empty.
async fn kept(world: &World, device: &str) -> String {
    let namespace = world.node.namespace("demo").unwrap();
    let device = world.node.device(&namespace, &id(device)).await.unwrap().unwrap();
    let mut shown = record::show(device.user.as_ref(), device.platform, &device.profile, world.node.now());
    let quiet = json!({"until": null, "windows": []});
    shown.retain(|_, value| {
        !(value.is_null() || *value == json!([]) || *value == json!({}) || *value == quiet)
    });
    Value::Object(shown).to_string()
}

#[tokio::test]
async fn a_device_that_was_never_here_has_a_mailbox() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    world.push(push(users(&["ann"]))).await;
    let record = map(json!({"user": "ann", "platform": "ios", "tokens": {"apns": "abc"}}));
    assert!(world.node.describe(&namespace, &id("d1"), &record).await.unwrap().new);
    let accepted = world.push(push(users(&["ann"]))).await;
    assert_eq!(accepted.message.meant.len(), 1);
    let claim = Claim { device: Some(id("d1")), user: Some("ann".parse().unwrap()), ..Claim::default() };
    let here = world.node.identify(&demo(), claim).await.unwrap();
    assert!(!here.new);
    assert_eq!(world.missed(&here, &[], &Since::Cursor).await, (vec!["2@user:ann".to_owned()], true));
    assert_eq!(
        kept(&world, "d1").await,
        r#"{"platform":"other","tokens":{"apns":"***"},"user":"ann"}"#,
        "what it is, it says when it connects"
    );
}

#[tokio::test]
async fn a_record_is_replaced_or_changed_in_part() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    let first = world.device("d1", "ann").await;
    let put =
        async |value| world.node.describe(&namespace, &id("d1"), &map(value)).await.map(|done| done.new);
    let patch = async |value| world.node.amend(&namespace, &id("d1"), &map(value)).await.map(|done| done.new);
    let full = json!({"tags": ["a", "b"], "metadata": {"x": 1, "y": {"z": 2}}, "tokens": {"apns": "abc", "fcm": {"t": 1}}, "muted_rooms": {"lobby": {}, "news": {}}});
    assert!(!put(full).await.unwrap());
    let change = json!({"tags": ["c"], "metadata": {"x": null, "y": {"w": 3}}, "tokens": {"fcm": null}, "muted_rooms": {"lobby": null}});
    assert!(!patch(change).await.unwrap());
    assert_eq!(
        kept(&world, "d1").await,
        r#"{"metadata":{"y":{"w":3,"z":2}},"muted_rooms":{"news":{"until":null}},"platform":"web","tags":["c"],"tokens":{"apns":"***"},"user":"ann"}"#
    );
    let device = world.node.device(&namespace, &id("d1")).await.unwrap().unwrap();
    assert_eq!(
        device.profile.tokens.values().map(|token| token.0.as_str()).collect::<Vec<_>>(),
        [r#""abc""#]
    );
    assert_eq!(device.ordinal, first.device.ordinal);
    // What is not said in a whole record is gone, but for whose it is and what it is.
    put(json!({"tokens": {"apns": "***"}})).await.unwrap();
    assert_eq!(kept(&world, "d1").await, r#"{"platform":"web","tokens":{"apns":"***"},"user":"ann"}"#);
    // A bad patch changes nothing.
    let bad = patch(json!({"tags": ["ok"], "metadata": 7})).await;
    assert!(matches!(&bad, Err(DescribeError::Wrong(wrong)) if wrong.len() == 1), "{bad:?}");
    assert_eq!(kept(&world, "d1").await, r#"{"platform":"web","tokens":{"apns":"***"},"user":"ann"}"#);
    // Of what is not known, nothing is taken for gone.
    for (change, field) in [
        (json!({"tagz": null}), "tagz"),
        (json!({"tokens": {"fmc": null}}), "tokens.fmc"),
        (json!({"do_not_disturb": {"untill": null}}), "do_not_disturb.untill"),
        (json!({"muted_rooms": {"": null}}), "muted_rooms[\"\"]"),
        (json!({"muted_rooms": {"a": {"untill": null}}}), "muted_rooms[\"a\"].untill"),
    ] {
        let bad = patch(change).await;
        assert!(
            matches!(&bad, Err(DescribeError::Wrong(wrong)) if wrong[0].field == field),
            "{field}: {bad:?}"
        );
    }
    let unknown = world.node.amend(&namespace, &id("d9"), &Map::new()).await;
    assert!(matches!(unknown, Err(DescribeError::Unknown)), "{unknown:?}");
}

#[tokio::test]
async fn patches_at_once_do_not_undo_each_other() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let patches = (0..50).map(|n| {
        let mut rooms = Map::new();
        rooms.insert(format!("r{n}"), json!({}));
        (Arc::clone(&world.node), Arc::clone(&ann.namespace), map(json!({"muted_rooms": rooms})))
    });
    let tasks = patches.map(|(node, namespace, patch)| {
        tokio::spawn(async move { node.amend(&namespace, &id("d1"), &patch).await.map(|_| ()) })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    let device = world.node.device(&ann.namespace, &id("d1")).await.unwrap().unwrap();
    assert_eq!(device.profile.muted.len(), 50);
}

#[tokio::test]
async fn another_users_device_starts_anew() {
    let mut world = World::new().await;
    let ann = world.device("d1", "ann").await;
    world.node.came(&ann, 1, 0).await.unwrap();
    world.node.join(&ann.namespace, ann.device.ordinal, rooms(&["lobby"])).await.unwrap();
    let namespace = Arc::clone(&ann.namespace);
    while world.inboxes[0].try_recv().is_ok() {}
    let record = map(json!({"user": "bob", "tags": ["new"]}));
    let described = world.node.describe(&namespace, &id("d1"), &record).await.unwrap();
    assert!(described.new && described.device.ordinal != ann.device.ordinal);
    let told = world.inboxes[0].try_recv().unwrap();
    assert!(matches!(told, ToShard::Replaced { device, .. } if device == ann.device.ordinal), "{told:?}");
    assert_eq!(world.push(push(room("lobby"))).await.message.meant.len(), 0);
    assert_eq!(world.push(push(users(&["ann", "bob"]))).await.message.meant.len(), 1);
    // Nobody's: only when that is said.
    let nobody = map(json!({"user": null}));
    let described = world.node.describe(&namespace, &id("d1"), &nobody).await.unwrap();
    assert!(described.new && described.device.user.is_none());
}

#[tokio::test]
async fn a_device_changes_what_is_its_own() {
    let world = World::new().await;
    let ann = world.device("d1", "ann").await;
    let (namespace, device) = (Arc::clone(&ann.namespace), ann.device.ordinal);
    let own = async |value| world.node.amend_own(&namespace, device, &map(value)).await;
    let change = json!({"metadata": {"x": 1}, "tokens": {"fcm": "t"}, "muted_rooms": {"lobby": {}}, "do_not_disturb": null});
    assert_eq!(own(change).await.unwrap().profile.metadata, r#"{"x":1}"#);
    for field in ["user", "platform", "tags"] {
        let mut patch = Map::new();
        patch.insert(field.to_owned(), Value::Null);
        let refused = world.node.amend_own(&namespace, device, &patch).await;
        assert!(
            matches!(&refused, Err(DescribeError::NotItsOwn(fields)) if *fields == [field]),
            "{refused:?}"
        );
    }
    world.device("d1", "bob").await;
    let gone = own(json!({})).await;
    assert!(matches!(gone, Err(DescribeError::Unknown)), "{gone:?}");
    assert_eq!(kept(&world, "d1").await, r#"{"platform":"web","user":"bob"}"#, "what was ann's is gone");
}

#[tokio::test]
async fn devices_are_found_by_what_is_true_of_them() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    for n in 0..6 {
        let (user, platform) = (["ann", "bob"][n % 2], ["ios", "web", "web"][n % 3]);
        let tags = if n < 3 { json!(["early"]) } else { json!([]) };
        let record = json!({"user": user, "platform": platform, "tags": tags});
        world.node.describe(&namespace, &id(&format!("d{n}")), &map(record)).await.unwrap();
    }
    let here = world.device("d4", "ann").await;
    world.node.came(&here, 1, 0).await.unwrap();
    let find = async |filter: Filter| {
        let mut names = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = world.node.devices_of(&namespace, &filter, after, 2).await.unwrap();
            assert!(page.len() <= 2);
            names.extend(page.iter().map(|(device, _)| device.id.to_string()));
            match next {
                Some(next) => after = Some(next),
                None => return names.join(" "),
            }
        }
    };
    let user = |name: &str| Some(UserId::new(name).unwrap());
    let tag = Some("early".parse().unwrap());
    let none = Filter::default;
    assert_eq!(find(none()).await, "d0 d1 d2 d3 d4 d5");
    assert_eq!(find(Filter { user: user("ann"), ..none() }).await, "d0 d2 d4");
    assert_eq!(find(Filter { user: user("zoe"), ..none() }).await, "");
    assert_eq!(find(Filter { platform: Some(Platform::Web), ..none() }).await, "d1 d2 d4 d5");
    assert_eq!(find(Filter { tag: tag.clone(), ..none() }).await, "d0 d1 d2");
    assert_eq!(find(Filter { online: Some(true), ..none() }).await, "d4");
    assert_eq!(find(Filter { online: Some(false), user: user("ann"), ..none() }).await, "d0 d2");
    let all = Filter { user: user("bob"), platform: Some(Platform::Web), tag, online: Some(false) };
    assert_eq!(find(all).await, "d1");
}

#[tokio::test]
async fn a_tag_is_looked_for_page_by_page() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    for n in 0..2_300 {
        let record = if n == 2_200 { json!({"tags": ["rare"]}) } else { json!({}) };
        world.node.describe(&namespace, &id(&format!("d{n}")), &map(record)).await.unwrap();
    }
    let rare = Filter { tag: Some("rare".parse().unwrap()), ..Filter::default() };
    let (page, next) = world.node.devices_of(&namespace, &rare, None, 10).await.unwrap();
    assert_eq!((page.len(), next.map(|next| next.0)), (0, Some(1_999)));
    let (page, next) = world.node.devices_of(&namespace, &rare, next, 10).await.unwrap();
    assert_eq!((page[0].0.id.as_str(), next), ("d2200", None));
}

#[tokio::test]
async fn a_device_with_a_token_is_no_zombie() {
    let world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    for (name, record) in [
        ("web", json!({"platform": "web", "tags": ["old"]})),
        ("ios", json!({"platform": "ios", "tags": ["old"]})),
        ("phone", json!({"platform": "ios", "tags": ["old"], "tokens": {"apns": "t"}})),
    ] {
        world.node.describe(&namespace, &id(name), &map(record)).await.unwrap();
    }
    world.time.store(1_000_000, Ordering::Relaxed);
    let purge = async |filter: Filter, with_tokens, dry_run| {
        let inactive_for = Duration::from_secs(60);
        world.node.purge(&namespace, &Purge { inactive_for, filter, with_tokens, dry_run }).await.unwrap()
    };
    let of = |platform| Filter { platform: Some(platform), ..Filter::default() };
    let tagged = |tag: &str| Filter { tag: Some(tag.parse().unwrap()), ..Filter::default() };
    assert_eq!(purge(Filter::default(), false, true).await, 2);
    assert_eq!(purge(Filter::default(), true, true).await, 3);
    assert_eq!(purge(tagged("new"), true, false).await, 0);
    assert_eq!(purge(of(Platform::Web), true, false).await, 1);
    assert_eq!(purge(tagged("old"), false, false).await, 1);
    assert_eq!(purge(tagged("old"), true, false).await, 1);
    assert_eq!(purge(Filter::default(), true, true).await, 0);
}
