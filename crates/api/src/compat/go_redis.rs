//! The push server of Go and Redis: `/set`, which lists, adds and removes channels. Answers are words, as its monitor reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use tidings_model::{ErrorCode, NamespaceName, RoomName};
use tidings_node::channels::ChannelError;
use tidings_node::keys::Scope;

use super::around::around;
use super::door::{Caller, Door};
use crate::{ApiState, Problem, extract};

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that it pushes to.
    pub namespace: NamespaceName,
    /// Whether it takes calls without a key.
    pub open: bool,
}

/// Largest body of a call, in bytes: it has the name of one channel.
const BODY_MAX: usize = 16 * 1024;

/// It was done.
const SUCCESS: &str = "success";

/// There is no such channel, or can be none.
const NOT_CHANNEL: &str = "notChannel";

/// Its paths.
pub fn router(state: ApiState, settings: Settings) -> Router {
    let door = Door { state: state.clone(), namespace: settings.namespace, open: settings.open };
    around(Router::new().route("/set", get(list).post(change)).with_state(Arc::new(door)), &state)
}

/// What a call is about.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    a: String,
    channel: String,
}

/// `{"channels":{"news":2}}`
#[derive(Serialize)]
struct Channels {
    channels: BTreeMap<String, u64>,
}

async fn list(
    State(door): State<Arc<Door>>,
    Query(asked): Query<Asked>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = Caller::of(&request);
    door.enter(&caller, Scope::Read).await?;
    if asked.a != "getChannel" {
        return Ok(unknown());
    }
    let namespace = extract::namespace(&door.state.node, door.namespace.as_str())?;
    let (channels, _) = namespace.count_channels();
    let channels = channels.into_iter().map(|(name, count)| (name.to_string(), count)).collect();
    let body = serde_json::to_string(&Channels { channels }).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn change(
    State(door): State<Arc<Door>>,
    Query(asked): Query<Asked>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = Caller::of(&request);
    door.enter(&caller, Scope::Manage).await?;
    let body = extract::body(request, BODY_MAX).await?;
    let said = |name: &str| {
        let mut pairs = form_urlencoded::parse(&body);
        pairs.find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
    };
    let (node, namespace) =
        (&door.state.node, extract::namespace(&door.state.node, door.namespace.as_str())?);
    let channel = said("channel").unwrap_or(asked.channel);
    let channel = RoomName::new(channel.trim());
    let word = match (said("a").unwrap_or(asked.a).as_str(), channel) {
        ("addChannel" | "removeChannel", Err(_)) => NOT_CHANNEL,
        ("addChannel", Ok(channel)) => {
            node.add_channel(&namespace, &channel).await.map_err(refused)?;
            SUCCESS
        }
        ("removeChannel", Ok(channel)) => {
            let removed = node.remove_channel(&namespace, &channel).await.map_err(refused)?;
            if removed { SUCCESS } else { NOT_CHANNEL }
        }
        _ => return Ok(unknown()),
    };
    Ok(word.into_response())
}

fn unknown() -> Response {
    (StatusCode::BAD_REQUEST, "a must be getChannel (GET), addChannel or removeChannel (POST)")
        .into_response()
}

fn refused(why: ChannelError) -> Problem {
    match why {
        ChannelError::TooMany => Problem::new(ErrorCode::CONFLICT, why.to_string()),
        ChannelError::Store(why) => why.into(),
    }
}
