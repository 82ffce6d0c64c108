//! Pushes on a stream: in order, each on its own, so many at once and no more.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Code, Streaming};

use expect_test::expect;

use super::*;
use crate::grpc::pb::push_stream_answer::Outcome;
use crate::grpc::pb::{PushStreamAnswer, PushStreamRequest};

fn push(correlation: impl ToString, push: pb::Push) -> PushStreamRequest {
    PushStreamRequest { correlation: correlation.to_string(), namespace: "demo".to_owned(), push: Some(push) }
}

impl World {
    async fn stream(
        &self,
        key: &str,
        pushes: impl Stream<Item = PushStreamRequest> + Send + 'static,
    ) -> Result<Streaming<PushStreamAnswer>, Status> {
        Ok(self.client().push_stream(with_key(key, pushes)).await?.into_inner())
    }
}

/// An answer in a line.
fn line(answer: &PushStreamAnswer) -> String {
    let outcome = match answer.outcome.as_ref().unwrap() {
        Outcome::Accepted(answer) if answer.dry_run => "dry run".to_owned(),
        Outcome::Accepted(answer) => format!("accepted {}", answer.id()),
        Outcome::Error(refusal) => {
            let fields = refusal.errors.iter().map(|error| format!("{}: {}", error.field, error.message));
            let fields: Vec<_> = fields.collect();
            let why = if fields.is_empty() { refusal.detail.clone() } else { fields.join(", ") };
            format!("{} {} ({why})", refusal.status, refusal.code)
        }
    };
    format!("{} {outcome}\n", answer.correlation)
}

#[tokio::test]
async fn each_is_answered_in_order_and_a_bad_one_ends_nothing() {
    let world = World::new().await;
    world.other_namespace().await;
    let id = |id: &str| pb::Push { id: Some(id.to_owned()), ..to_all() };
    let (_, key) = world.key("demo", r#"["push"]"#).await;
    let pushes = vec![
        push("a", id("m1")),
        push("b", pb::Push::default()),
        push("c", pb::Push { data: Some("{".to_owned()), ..id("m2") }),
        PushStreamRequest { push: None, ..push("d", to_all()) },
        PushStreamRequest { namespace: "other".to_owned(), ..push("e", id("m3")) },
        PushStreamRequest { namespace: String::new(), ..push("f", id("m3")) },
        push("g", pb::Push { data: Some(format!("{:?}", "x".repeat(300 << 10))), ..id("m4") }),
        push("h", pb::Push { ack: Some(pb::Ack { wait: Some("1s".to_owned()) }), ..id("m5") }),
        push("i", pb::Push { dry_run: Some(true), ..to_all() }),
        push("c".repeat(256), id("m6")),
        push("a", id("m1")),
        push("", id("m7")),
    ];
    let answers: Vec<_> = world.stream(&key, stream::iter(pushes)).await.unwrap().collect().await;
    let lines: String = answers.iter().map(|answer| line(answer.as_ref().unwrap())).collect();
    expect![[r#"
        a accepted m1
        b 400 invalid_request (to: is required: it says who is meant (all, users, devices, rooms))
        c 400 invalid_request (data: is not JSON: EOF while parsing an object at line 1 column 1)
        d 400 invalid_request (push: is required)
        e 403 forbidden (the key is for another namespace only)
        f 400 invalid_request (namespace: is required)
        g 413 payload_too_large (the entry has 307440 bytes, at most 262144 are allowed)
        h 400 invalid_request (ack.wait: cannot be in a batch: push by itself what is to be waited for)
        i dry run
        (too long) 400 invalid_request (correlation: has 256 bytes, at most 255 are allowed)
        a accepted m1
         accepted m7
    "#]]
    .assert_eq(&lines.replace(&"c".repeat(256), "(too long)"));
}

#[tokio::test]
async fn many_keep_their_order() {
    let world = World::new().await;
    let device = world.device("d1", "ann", Platform::Web, &[]).await;
    let pushes = (0..2_000).map(|n| push(n, pb::Push { id: Some(format!("m{n}")), ..to_all() }));
    let answers: Vec<_> = world.stream(KEY, stream::iter(pushes)).await.unwrap().collect().await;
    let correlations: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().correlation).collect();
    assert_eq!(correlations, (0..2_000).map(|n| n.to_string()).collect::<Vec<_>>());
    let list = pb::ListMessagesRequest {
        namespace: "demo".to_owned(),
        order: Some("asc".to_owned()),
        limit: Some(1_000),
        ..Default::default()
    };
    let page = world.client().list_messages(keyed(list)).await.unwrap().into_inner();
    let ids: Vec<_> = page.items.iter().map(|message| message.id.clone()).collect();
    assert_eq!(
        ids,
        (0..1_000).map(|n| format!("m{n}")).collect::<Vec<_>>(),
        "in the order in which they came"
    );
    drop(device);
}

/// Who does not read answers is not read from.
#[tokio::test]
async fn so_many_are_taken_and_no_more() {
    let world = World::new().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    // Larger than what a client has on its way anyway, a few of them aside.
    let large = pb::Push { data: Some(format!("{:?}", "x".repeat(8 << 10))), ..to_all() };
    let endless = stream::repeat_with(move || push(count.fetch_add(1, Ordering::Relaxed), large.clone()));
    let mut answers = world.stream(KEY, endless).await.unwrap();
    for n in 0..3 {
        assert_eq!(answers.next().await.unwrap().unwrap().correlation, n.to_string());
    }
    let first = taken.load(Ordering::Relaxed);
    assert!((3..=300).contains(&first), "{first}");
    // Cut off in the middle: what was taken is there, and nothing else happens.
    drop(answers);
    assert_eq!(taken.load(Ordering::Relaxed), first);
}

#[tokio::test]
async fn a_stream_needs_a_key_from_the_beginning_to_the_end() {
    let world = World::new().await;
    let refused = world.stream("nk_none", stream::pending()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let (id, key) = world.key("demo", r#"["push"]"#).await;
    let (send, receive) = futures_channel();
    let mut answers = world.stream(&key, receive).await.unwrap();
    send.send(push("a", to_all())).await.unwrap();
    assert!(matches!(answers.next().await.unwrap().unwrap().outcome, Some(Outcome::Accepted(_))));
    world.call(&format!("DELETE /v1/namespaces/demo/keys/{id}"), "").await;
    send.send(push("b", to_all())).await.unwrap();
    let end = answers.next().await.unwrap().unwrap_err();
    expect![[r#"
        401 unauthorized
          the key is not valid
    "#]]
    .assert_eq(&wrong(&end));
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    let world = World::new().await;
    let (send, receive) = futures_channel();
    let mut answers = world.stream(KEY, receive).await.unwrap();
    send.send(push("a", to_all())).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().correlation, "a");
    let waiting = tokio::spawn(async move { answers.next().await });
    world.state.ready.drain();
    let end = waiting.await.unwrap().unwrap().unwrap_err();
    expect![[r#"
        503 overloaded
          the server is stopping; push again what has no answer, with the same id
    "#]]
    .assert_eq(&wrong(&end));
    drop(send);
}

/// More than a stream takes at once ends it: what follows cannot be told from it.
#[tokio::test]
async fn a_message_beyond_all_bounds_ends_the_stream() {
    let world = World::new().await;
    let huge = pb::Push { data: Some(format!("{:?}", "x".repeat(2 << 20))), ..to_all() };
    let pushes = vec![push("a", to_all()), push("b", huge), push("c", to_all())];
    let answers: Vec<_> = world.stream(KEY, stream::iter(pushes)).await.unwrap().collect().await;
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[0].as_ref().unwrap().correlation, "a");
    assert!(wrong(answers[1].as_ref().unwrap_err()).starts_with("413 payload_too_large\n"), "{answers:?}");
}

fn futures_channel()
-> (tokio::sync::mpsc::Sender<PushStreamRequest>, impl Stream<Item = PushStreamRequest> + Send) {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let next =
        |mut receive: tokio::sync::mpsc::Receiver<_>| async move { Some((receive.recv().await?, receive)) };
    (send, stream::unfold(receive, next))
}
