//! What was pushed, searched and listed, page by page.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tidings_model::{DeviceId, Epoch, ErrorCode, EventName, NameError, RoomName, Seq, Timestamp, UserId};
use tidings_node::history::{Asked, Order, Words};
use tidings_node::ledger::report::Life;
use tidings_wire::problem::FieldError;
use tidings_wire::time;
use utoipa::ToSchema;

use super::messages::MessageBody;
use crate::extract::{self, InPath, namespace};
use crate::shape::shown;
use crate::{ApiState, Problem, openapi};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Longest text to search for, in bytes.
const Q_BYTES_MAX: usize = 256;

/// What may be asked.
const PARAMETERS: [&str; 11] =
    ["since", "until", "user", "device", "room", "event", "status", "q", "order", "limit", "cursor"];

/// A page of messages.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryBody {
    #[schema(max_items = 1000)]
    items: Vec<MessageBody>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What was pushed.
#[utoipa::path(get, path = "/v1/namespaces/{ns}/messages", tag = "messages", operation_id = "history",
    description = "Messages, the newest first, that everything asked for is true of. A page looks at so many messages and no \
        more: it may have fewer than `limit`, even none, and there is more as long as `next_cursor` is not null. A \
        message that is scheduled stands where it was accepted, and, once it was sent, where it was sent.",
    params(
        ("ns" = openapi::NamespaceParam, Path, description = "The namespace"),
        ("since" = Option<String>, Query, format = DateTime, description = "Sent (or, if still scheduled, accepted) at this time or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "Sent (or, if still scheduled, accepted) before this time"),
        ("user" = Option<openapi::Name>, Query, description = "Addressed to this user, or meant for one of the user's devices; of what was for rooms, only those that they are in now"),
        ("device" = Option<openapi::Name>, Query, description = "Addressed to this device, or meant for it; of what was for rooms, only those that it is in now"),
        ("room" = Option<openapi::Name>, Query, description = "Addressed to this room"),
        ("event" = Option<openapi::Name>, Query, description = "With this event"),
        ("status" = Option<openapi::StateWord>, Query, description = "In this state now"),
        ("q" = Option<String>, Query, min_length = 1, max_length = 256, description = "With all of these words in a string of `data` or `offline`, in any case; whole words, and any part of what is written without spaces"),
        ("order" = Option<openapi::OrderWord>, Query, description = "`desc` unless said"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many at once, at most; 100 unless said"),
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the page before, with everything else but `limit` as there"),
    ),
    responses((status = 200, description = "A page", body = HistoryBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    InPath(ns): InPath<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let namespace = namespace(&state.node, &ns)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), state.node.epoch())?;
    let page = state.node.history(&namespace, &query.asked, query.after, query.limit).await?;
    let items = page.items.iter().map(|(message, report)| MessageBody::of(message, report));
    let items = items.collect::<Result<_, _>>()?;
    let next_cursor = page.next.map(|seq| cursor(seq, query.digest));
    Ok(Json(HistoryBody { items, next_cursor }).into_response())
}

/// What is asked for.
#[derive(Debug)]
struct Query {
    asked: Asked,
    after: Option<Seq>,
    limit: usize,
    /// Tells what is asked for from everything else.
    digest: [u8; 8],
}

impl Query {
    /// Reads a query. All that is wrong is said at once.
    fn read(query: &str, epoch: Epoch) -> Result<Self, Problem> {
        let mut read = Reading::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            read.take(&name, value.into_owned());
        }
        let digest = read.digest(epoch);
        let (since, until) = (read.time("since"), read.time("until"));
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            let (since, until) = (time::rfc3339(since.0), time::rfc3339(until.0));
            read.complain("since", format!("is {since}, must not be after until, which is {until}"));
        }
        let asked = Asked {
            since,
            until,
            user: read.name("user", UserId::new),
            device: read.name("device", DeviceId::new),
            room: read.name("room", RoomName::new),
            event: read.name("event", EventName::stored),
            status: read.word("status", &Life::ALL.map(|life| (life.as_str(), life))),
            words: read.words(),
            order: read
                .word("order", &[("desc", Order::NewestFirst), ("asc", Order::OldestFirst)])
                .unwrap_or_default(),
        };
        let after = read.after(digest);
        let limit = match extract::limit(read.value("limit"), LIMIT_DEFAULT, LIMIT_MAX) {
            Ok(limit) => limit,
            Err(problem) if read.errors.is_empty() => return Err(problem),
            Err(_) => LIMIT_DEFAULT,
        };
        if read.errors.is_empty() {
            Ok(Self { asked, after, limit, digest })
        } else {
            Err(Problem::fields(ErrorCode::INVALID_REQUEST, read.errors))
        }
    }
}

/// A query on its way to be understood.
#[derive(Default)]
struct Reading {
    values: [Option<String>; PARAMETERS.len()],
    errors: Vec<FieldError>,
}

impl Reading {
    fn take(&mut self, name: &str, value: String) {
        match PARAMETERS.iter().position(|known| *known == name) {
            Some(index) if self.values[index].is_none() => self.values[index] = Some(value),
            Some(_) => self.complain(name, "is there twice".to_owned()),
            None => {
                let known = PARAMETERS.join(", ");
                self.complain(&shown_name(name), format!("is not known; there are {known}"));
            }
        }
    }

    fn complain(&mut self, field: &str, message: String) {
        self.errors.push(FieldError { field: field.to_owned(), message });
    }

    fn value(&self, name: &str) -> Option<&str> {
        let index = PARAMETERS.iter().position(|known| *known == name)?;
        self.values[index].as_deref()
    }

    fn time(&mut self, name: &str) -> Option<Timestamp> {
        let value = self.value(name)?;
        let time = time::parse_rfc3339(value).map(Timestamp);
        if time.is_none() {
            let message =
                format!("is {}, must be a time as in RFC 3339, such as 2026-11-20T14:29:07Z", shown(value));
            self.complain(name, message);
        }
        time
    }

    fn name<T>(&mut self, name: &str, new: fn(&str) -> Result<T, NameError>) -> Option<T> {
        match new(self.value(name)?) {
            Ok(value) => Some(value),
            Err(why) => {
                let message = format!("{} {why}", shown(self.value(name).unwrap_or_default()));
                self.complain(name, message);
                None
            }
        }
    }

    fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(name)?;
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("is {}, must be one of {}", shown(value), known.join(", "));
            self.complain(name, message);
        }
        found
    }

    fn words(&mut self) -> Option<Words> {
        let value = self.value("q")?;
        if value.len() > Q_BYTES_MAX {
            let message = format!("has {} bytes, at most {Q_BYTES_MAX} are allowed", value.len());
            self.complain("q", message);
            return None;
        }
        let words = Words::parse(value);
        if words.is_none() {
            let message = format!("is {}, must have a letter or a digit to search for", shown(value));
            self.complain("q", message);
        }
        words
    }

    fn after(&mut self, digest: [u8; 8]) -> Option<Seq> {
        let value = self.value("cursor")?;
        let bytes = URL_SAFE_NO_PAD.decode(value).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let Some((seq, asked)) = bytes.as_ref().and_then(|bytes| bytes.split_first_chunk::<8>()) else {
            let message = format!("is {}, must be the next_cursor of an answer", shown(value));
            self.complain("cursor", message);
            return None;
        };
        if asked != digest {
            self.complain(
                "cursor",
                "belongs to an answer to another question: everything but limit must be as there".to_owned(),
            );
        }
        Some(Seq(u64::from_be_bytes(*seq)))
    }

    /// What tells one question from another.
    fn digest(&self, epoch: Epoch) -> [u8; 8] {
        let mut digest = Sha256::new_with_prefix(epoch.0.to_be_bytes());
        for (name, value) in PARAMETERS.iter().zip(&self.values) {
            if let (Some(value), false) = (value, ["limit", "cursor"].contains(name)) {
                digest.update(name);
                digest.update(value.len().to_be_bytes());
                digest.update(value);
            }
        }
        let digest = digest.finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

/// The name of a parameter that there is not, for people.
fn shown_name(name: &str) -> String {
    name.chars().take(40).filter(|c| !c.is_control()).collect()
}

fn cursor(after: Seq, digest: [u8; 8]) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&after.0.to_be_bytes());
    bytes[8..].copy_from_slice(&digest);
    URL_SAFE_NO_PAD.encode(bytes)
}
