//! Event streams (public contract, section 5.3; WHATWG HTML, server-sent events).

use std::rc::Rc;

use bytes::Bytes;
use tidings_model::Disconnect;
use tidings_wire::sse;
use tokio::sync::{mpsc, oneshot};

use super::{Dialect, goaway, return_after_ms};
use crate::command::SseRequest;
use crate::connection::{self, Connection, Transport};
use crate::local::Local;
use crate::session::{self, Refusal};

/// Writes that the HTTP side may be behind before the outbox fills. Each is a copy of up to 64 KiB or of one larger
/// frame, which the bounds of an outbox do not see: so few.
const CHUNKS: usize = 2;

/// Room that is kept for the goodbye: who has not read what came before finds it behind that.
pub(crate) const LAST_WORDS: usize = 1;

/// How long a browser waits before it reconnects, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Opens a stream, or refuses it.
pub(crate) fn open(
    local: &Rc<Local>,
    request: SseRequest,
    reply: oneshot::Sender<Result<mpsc::Receiver<Bytes>, Refusal>>,
) {
    let (stream, body) = mpsc::channel(CHUNKS + LAST_WORDS);
    let connection = local.open(Transport::Stream(stream.clone()), Dialect::Sse);
    let SseRequest { namespace, claim, rooms, since, place } = request;
    connection.place.set(place);
    connection.platform.set(Some(claim.platform));
    let local = Rc::clone(local);
    tokio::task::spawn_local(async move {
        match session::open(&local, &connection, &namespace, claim, rooms, &since).await {
            Ok(opened) => {
                if reply.send(Ok(body)).is_err() {
                    return local.remove(&connection);
                }
                let ready = sse::event(None, Some("ready"), &opened.to_json(""));
                local.send(&connection, &format!("{}{ready}", sse::retry(RETRY_MS)));
                local.settle();
                tokio::task::spawn_local(session::catch_up(
                    Rc::clone(&local),
                    Rc::clone(&connection),
                    opened,
                ));
                connection::serve_stream(local, connection, stream).await;
            }
            Err(why) => {
                local.remove(&connection);
                let gone = || Refusal::new(tidings_model::ErrorCode::OVERLOADED, "the server is stopping");
                let _ = reply.send(Err(why.unwrap_or_else(gone)));
            }
        }
    });
}

/// A last event; a browser reconnects by itself when the stream then ends.
pub(super) fn goodbye(local: &Local, connection: &Connection, why: Disconnect) {
    let event = sse::event(None, Some("goaway"), &goaway(local, why));
    // A browser takes the advice of the stream, not that of an event.
    let retry = if why.reconnect() { sse::retry(u64::from(return_after_ms(local))) } else { String::new() };
    local.send(connection, &format!("{retry}{event}"));
}
