//! Many pushes in one call, each on its own: one that is refused spoils none of the others.

use std::fmt;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tidings_model::{ErrorCode, Timestamp, limit};
use tidings_node::keys::Holder;
use tidings_node::{Namespace, Node};

use super::messages::{AcceptedBody, DryRunBody, may_push};
use crate::extract::{self, BODY_MAX, Format, InPath, namespace};
use crate::problem::EntryError;
use crate::push::{self, Parsed};
use crate::shape::{self, Shape};
use crate::{ApiState, Problem, openapi};

/// Largest body, in bytes.
pub(crate) const BATCH_BODY_MAX: usize = 16 * 1024 * 1024;

/// What a batch looks like.
pub(crate) const SHAPE: Shape = Shape::Object(&[("messages", Shape::List)]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    messages: Option<Entries<'a>>,
}

/// The entries up to the limit, and how many there are.
struct Entries<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries<'de>, A::Error> {
                let mut first = Vec::new();
                while first.len() < limit::BATCH_MESSAGES_MAX
                    && let Some(entry) = seq.next_element()?
                {
                    first.push(entry);
                }
                let mut count = first.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Entries { first, count })
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

/// What became of the entries, in their order.
#[derive(Serialize)]
struct Results {
    results: Vec<Became>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Became {
    Accepted(AcceptedBody),
    DryRun(DryRunBody),
    Refused { error: EntryError },
}

/// Pushes up to 1,000 messages.
#[utoipa::path(post, path = "/v1/namespaces/{ns}/messages:batch", tag = "messages", operation_id = "pushBatch",
    description = "Each entry is a push of its own, at most 256 KiB; the results are in the order of the entries, and an \
        entry that is refused spoils none of the others. The whole body has at most 16 MiB.",
    params(("ns" = openapi::NamespaceParam, Path, description = "The namespace")),
    request_body(
        content((openapi::BatchBody = "application/json"), (String = "application/x-ndjson")),
        description = "An object with all messages, or one message on each line"),
    responses((status = 200, description = "What became of each entry", body = openapi::BatchResults)))]
pub(crate) async fn push(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    request: Request,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    if request.headers().contains_key("idempotency-key") {
        let message = "is for a single push; give each message of a batch an id of its own";
        return Err(Problem::field(ErrorCode::INVALID_REQUEST, "Idempotency-Key", message));
    }
    let holder = request.extensions().get::<Holder>().cloned();
    let format = extract::format(request.headers())?;
    let body = extract::body(request, BATCH_BODY_MAX).await?;
    let now = state.node.now();
    let parsed: Vec<_> = match format {
        Format::Json => entries(&body)?.iter().map(|entry| parse(entry.get().as_bytes(), now)).collect(),
        Format::Lines => lines(&body)?.into_iter().map(|line| parse(line, now)).collect(),
    };
    let results = push_all(&state.node, &namespace, holder.as_ref(), parsed).await;
    Ok(Json(Results { results }).into_response())
}

fn entries(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    let body: Body<'_> = shape::decode(body, &SHAPE)?;
    let Some(entries) = body.messages else {
        return Err(Problem::field(
            ErrorCode::INVALID_REQUEST,
            "messages",
            "is required: an array of pushes",
        ));
    };
    within(entries.count)?;
    Ok(entries.first)
}

fn lines(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let lines = || body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    within(lines().count())?;
    Ok(lines().collect())
}

fn within(count: usize) -> Result<(), Problem> {
    if count <= limit::BATCH_MESSAGES_MAX {
        return Ok(());
    }
    let message = format!("has {count} entries, at most {} are allowed", limit::BATCH_MESSAGES_MAX);
    Err(Problem::field(ErrorCode::INVALID_REQUEST, "messages", message))
}

fn parse(entry: &[u8], now: Timestamp) -> Result<Parsed, Problem> {
    if entry.len() > BODY_MAX {
        let detail = format!("the entry has {} bytes, at most {BODY_MAX} are allowed", entry.len());
        return Err(Problem::new(ErrorCode::PAYLOAD_TOO_LARGE, detail));
    }
    let parsed = push::parse(entry, None, now)?;
    if parsed.wait.is_some() {
        let why = "cannot be in a batch: push by itself what is to be waited for";
        return Err(Problem::field(ErrorCode::INVALID_REQUEST, "ack.wait", why));
    }
    Ok(parsed)
}

async fn push_all(
    node: &Node,
    namespace: &Namespace,
    holder: Option<&Holder>,
    parsed: Vec<Result<Parsed, Problem>>,
) -> Vec<Became> {
    let mut results: Vec<Option<Became>> = Vec::with_capacity(parsed.len());
    let (mut pushes, mut places) = (Vec::with_capacity(parsed.len()), Vec::with_capacity(parsed.len()));
    for (place, entry) in parsed.into_iter().enumerate() {
        results.push(match entry {
            Err(why) => Some(refused(&why)),
            Ok(Parsed { push, dry_run: true, .. }) => {
                Some(match node.dry_run(&namespace.name, &push).await {
                    Ok(who) => Became::DryRun(DryRunBody::of(who)),
                    Err(why) => refused(&why.into()),
                })
            }
            Ok(Parsed { push, dry_run: false, .. }) => match may_push(holder, node.now()) {
                Err(why) => Some(refused(&why)),
                Ok(()) => {
                    pushes.push(push);
                    places.push(place);
                    None
                }
            },
        });
    }
    let became = node.publish_batch(&namespace.name, pushes).await;
    for (place, became) in places.into_iter().zip(became) {
        results[place] = Some(match became {
            Ok(accepted) => Became::Accepted(AcceptedBody::of(&accepted)),
            Err(why) => refused(&why.into()),
        });
    }
    results.into_iter().flatten().collect()
}

fn refused(why: &Problem) -> Became {
    Became::Refused { error: why.to_entry() }
}
