//! The binary: configuration → build → run → drain. What it knows is how the parts are put together;
//! what they do is theirs.

mod bridge;
mod cli;
mod compat;
mod config;
mod conformance;
mod control;
mod doctor;
mod greeting;
mod keep;
mod limits;
mod listener;
mod namespaces;
mod networks;
#[cfg(test)]
mod numbers;
mod reload;
mod remote;
mod run;
mod signals;
mod slice;
mod token;

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Pushes are made by one thread and let go of by another; see `docs/adr/0027`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
