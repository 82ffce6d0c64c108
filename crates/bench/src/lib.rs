//! The load generator and the floor that it is measured against: `tidings bench`.
//!
//! The bench starts a server (or several, or uses a running one), opens thousands of connections in any client protocol
//! from processes of its own, and measures what a figure means only beside its floor: the same frames to the same
//! number of sockets from a bare `send()` loop, in the same run, alternating round by round.
//!
//! It speaks the public contract only and depends on no other crate of the project, so it can be pointed at any
//! version, and at other servers: a client protocol is one file in `protocol`, a way to publish is one in `publisher`.
//! It holds no opinion on how a server works: it sees bytes on sockets, `/metrics` and `/proc`.
//!
//! Reading order: [`args`] (what was asked) → `scenario` (what is measured) → `source`, `waiter` and `post` (who pushes) →
//! `crew` and `worker` (the processes of clients) → `fleet`, `client`, `protocol` (the clients) → `inbox`, `stamps`,
//! `tally` (who has what) → `floor` (the bare loop) → `report` and `plot`.

pub mod args;
mod child;
mod client;
mod clock;
mod crew;
mod dial;
mod error;
mod fleet;
mod floor;
mod frame;
mod http;
mod inbox;
mod interrupt;
mod limits;
mod metrics;
mod peers;
mod plot;
mod post;
mod precedence;
mod process;
mod progress;
mod protocol;
mod publisher;
mod report;
mod sample;
mod scenario;
mod server;
mod source;
mod stamps;
mod tally;
mod waiter;
mod worker;

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
