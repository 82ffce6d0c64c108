//! A whole server in this process, and clients at its sockets. One program, because linking it takes longer than running it.

// clippy only knows functions marked as tests, not what they call.
#![allow(clippy::unwrap_used)]

mod attacks;
mod drain;
mod harness;
mod slow;
mod tls;
mod websocket;
