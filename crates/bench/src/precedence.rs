//! Threads that keep time go first. Server, clients and load share a machine, and whoever pushes late, or looks late at
//! what has come, would measure his own wait for a processor as the server's.

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// Lets this thread in front of all others until it ends: the lowest priority of the real-time class, which is above every
/// usual one. Answers whether the system permits it (root, `CAP_SYS_NICE`, or `ulimit -r`); all is as it was otherwise.
/// For threads that wait nearly all of the time; what they start would go first as well.
pub(crate) fn go_first() -> bool {
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, fifo).is_ok()
}

#[cfg(test)]
mod tests {
    use thread_priority::thread_schedule_policy;

    use super::*;

    #[test]
    fn a_thread_goes_first_or_is_as_it_was() {
        let seen = std::thread::spawn(|| {
            let before = thread_schedule_policy().unwrap();
            (before, go_first(), thread_schedule_policy().unwrap())
        });
        let (before, first, after) = seen.join().unwrap();
        let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        assert_eq!(after, if first { fifo } else { before });
    }
}
