//! Threads that somebody waits for ask the kernel for short slices of a processor: whoever wants one for a moment only
//! is then let in front of who wants it for long. A message to one user passes several threads, each of which is woken, and
//! waits for as long as the shards of a big room and their clients have the processors, if it has to wait for its turn. See
//! ADR 0032. It knows no thread by name.

#![allow(unsafe_code)]

/// How long the slices are, in nanoseconds: the shortest there are. What is done about a push at one place takes less.
const SLICE_NS: u64 = 100_000;

/// Asks for short slices for this thread. Kernels before Linux 6.12 have none, and systems may refuse them: then all is
/// as it was. Leaves alone what was given another class than the usual one.
pub(crate) fn be_brief() {
    let Some(mut attributes) = attributes() else { return };
    if attributes.sched_policy == libc::SCHED_OTHER as u32 {
        attributes.sched_runtime = SLICE_NS;
        attributes.sched_flags = 0;
        // SAFETY: the kernel reads as many bytes of the structure as it says itself that it has, and keeps nothing of it.
        let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0;
        if refused {
            tracing::debug!(error = %std::io::Error::last_os_error(), "no short slices");
        }
    }
}

/// How this thread is scheduled, if the kernel says so.
fn attributes() -> Option<libc::sched_attr> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).ok()?;
    // SAFETY: a structure of integers, for which zeros are values.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which is as many as the structure has.
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) } == 0;
    known.then_some(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Major and minor of the kernel.
    fn kernel() -> (u32, u32) {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    #[test]
    fn only_the_slice_changes() {
        let seen = std::thread::spawn(|| {
            rustix::process::nice(3).unwrap();
            let before = attributes().unwrap();
            be_brief();
            (before, attributes().unwrap())
        });
        let (before, after) = seen.join().unwrap();
        assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
        if kernel() >= (6, 12) {
            assert_eq!(after.sched_runtime, SLICE_NS);
        }
    }
}
