//! The load generator and the floor that it is measured against: `tidings bench`.
//!
//! The bench starts a server (or uses a running one), opens thousands of plain WebSocket connections from one thread
//! with one epoll, and measures what a figure means only beside its floor: the same frames to the same number of
//! sockets from a bare `send()` loop, in the same run, alternating round by round.
//!
//! It speaks the public contract only and depends on no other crate of the project, so it can be pointed at any
//! version. It holds no opinion on how the server works: it sees bytes on sockets and `/proc`.
//!
//! Reading order: [`args`] (what was asked) → `scenario` (what is measured) → `fleet` and `client` (the receiving
//! side) → `frame` (counting by headers) → `floor` (the bare loop) → `report`.

pub mod args;
mod child;
mod client;
mod error;
mod fleet;
mod floor;
mod frame;
mod http;
mod inbox;
mod interrupt;
mod limits;
mod peers;
mod post;
mod process;
mod progress;
mod protocol;
mod publisher;
mod report;
mod sample;
mod scenario;
mod server;
mod tally;

use std::process::ExitCode;

pub use args::Args;

/// Runs what `args` ask for and says on standard output what was measured.
///
/// Blocks until done. 0 when every frame arrived, 1 when something was lost or failed, 2 for arguments that make no
/// sense, 130 when interrupted.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match scenario::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidings bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
