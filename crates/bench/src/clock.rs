//! The machine's monotonic clock in nanoseconds: the same for all processes, so that what one process sent another can
//! time.

use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds since some moment that is the same for all processes of this machine.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}
