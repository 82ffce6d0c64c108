//! What the operating system allows this process: open files, which is connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of files that this process may have open as far as it may do so itself. Answers how
/// many that is.
pub(crate) fn raise_open_files() -> usize {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    let raised = setrlimit(Resource::Nofile, wanted).is_ok();
    let now = if raised { before.maximum } else { before.current };
    let show = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    tracing::info!(
        soft = show(before.current),
        hard = show(before.maximum),
        now = show(now),
        "open files allowed"
    );
    now.and_then(|now| usize::try_from(now).ok()).unwrap_or(usize::MAX)
}
