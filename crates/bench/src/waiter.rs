//! Waits for answers or for the moment at which the next push is due, whichever is first, and does not look at the clock
//! meanwhile: on a machine that the server shares, each look is taken from it.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::error::{BenchError, Doing};

/// Events taken from the kernel at once; what is left comes with the next wait.
const EVENTS: usize = 16;
/// The timer; the epolls have the numbers behind it.
const ALARM: Token = Token(0);

/// Waits for any of several epolls, and for a moment.
pub(crate) struct Waiter {
    poll: Poll,
    events: Events,
    alarm: OwnedFd,
}

impl Waiter {
    /// One that waits for all of `polls`.
    pub(crate) fn new<'a>(polls: impl IntoIterator<Item = &'a Poll>) -> Result<Self, BenchError> {
        let doing = "opening a timer";
        let poll = Poll::new().doing(doing)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(Into::into).doing(doing)?;
        let fds = std::iter::once(alarm.as_raw_fd()).chain(polls.into_iter().map(AsRawFd::as_raw_fd));
        for (index, fd) in fds.enumerate() {
            let token = Token(ALARM.0 + index);
            poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE).doing(doing)?;
        }
        Ok(Self { poll, events: Events::with_capacity(EVENTS), alarm })
    }

    /// Waits until something has happened to one of them or the clock ([`crate::clock`]) says `moment`, and no longer than
    /// `most`.
    pub(crate) fn wait(&mut self, moment: Option<u64>, most: Duration) -> Result<(), BenchError> {
        if let Some(moment) = moment {
            let at = Timespec {
                tv_sec: (moment / 1_000_000_000).cast_signed(),
                tv_nsec: (moment % 1_000_000_000).cast_signed(),
            };
            let once = Itimerspec { it_interval: Timespec::default(), it_value: at };
            // What it was set to before does not come any more.
            let set = timerfd_settime(&self.alarm, TimerfdTimerFlags::ABSTIME, &once);
            set.map_err(Into::into).doing("setting a timer")?;
        }
        match self.poll.poll(&mut self.events, Some(most)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            other => other.doing("waiting for answers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::Waker;

    use super::*;
    use crate::clock;

    /// Longer than any of these tests takes.
    const LONG: Duration = Duration::from_secs(60);
    const LATER: u64 = 120_000_000_000;

    #[test]
    fn a_moment_ends_it_not_before_it_has_come() {
        let mut waiter = Waiter::new([]).unwrap();
        for _ in 0..3 {
            let moment = clock::now() + 2_000_000;
            while clock::now() < moment {
                waiter.wait(Some(moment), LONG).unwrap();
            }
        }
        // One that is over is no reason to wait.
        waiter.wait(Some(1), LONG).unwrap();
    }

    #[test]
    fn what_happens_to_any_of_them_ends_it() {
        let polls = [Poll::new().unwrap(), Poll::new().unwrap()];
        let mut waiter = Waiter::new(&polls).unwrap();
        for poll in &polls {
            let waker = Waker::new(poll.registry(), Token(1)).unwrap();
            waker.wake().unwrap();
            waiter.wait(Some(clock::now() + LATER), LONG).unwrap();
            assert_eq!(waiter.events.iter().count(), 1);
        }
    }
}
