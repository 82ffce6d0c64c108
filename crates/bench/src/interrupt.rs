//! Ctrl-C and SIGTERM: noted here, and obeyed where the bench waits for sockets, so that the server that it started is
//! ended and its store removed on the way out.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{BenchError, Doing};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on the signals no longer end the process by themselves.
pub(crate) fn listen() -> Result<(), BenchError> {
    let doing = "listening for signals";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().doing(doing)?;
    let both: io::Result<_> =
        runtime.block_on(async { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) });
    let (mut interrupt, mut terminate) = both.doing(doing)?;
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// An error when one of the signals has come.
pub(crate) fn check() -> Result<(), BenchError> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
}
