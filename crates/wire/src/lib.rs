//! Bytes to packets and back: WebSocket, Engine.IO, Socket.IO, SSE and the JSON protocol, without I/O.
//!
//! What goes in are bytes or text that a peer sent, what comes out are borrowed packets or one small
//! error; what goes out is encoded here too. This crate knows no socket, no clock, no randomness, no
//! session and no permission: it does not even know the other crates. Whoever reads a socket decides
//! what a packet means.
//!
//! Invariants:
//! * No input can make a function here panic, recurse without bound, or hold more memory than a small
//!   multiple of what has arrived. Each decoder has a fuzz target in `fuzz/`.
//! * Decoding a complete frame borrows from the input; the usual packet costs no allocation.
//! * A limit that is not an argument is a named constant beside the code that enforces it.
//!
//! Reading order: [`websocket`] (frames), [`engineio`] and [`socketio`] (what Socket.IO clients put in
//! them), [`json`] (what plain WebSocket clients put in them), [`sse`] (event streams), [`push`] (how a
//! pushed message looks in each of those formats), [`compat`] (and in those of five older systems), [`proxy`] and [`forwarded`] (whose connection or request it is
//! behind a proxy), [`time`], [`nesting`] and [`query`] (what several of them need).

pub mod compat;
mod elements;
pub mod engineio;
mod escape;
pub mod forwarded;
pub mod json;
pub mod nesting;
pub mod problem;
pub mod proxy;
pub mod push;
pub mod query;
pub mod socketio;
pub mod sse;
pub mod time;
pub mod websocket;
