//! What the operating system allows this process: open files, which is connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What share of the open files is kept for other things than connections of clients: the store's files,
/// calls of the API, connections that wait. One of 32, and not less than 64 nor more than 1,024.
const KEPT_SHARE: usize = 32;

/// How many connections of clients this process may have: as many as were asked for (0 for all that there
/// can be), and not more than it may open files for.
pub(crate) fn connections(asked: usize, files: usize) -> usize {
    let possible = files.saturating_sub((files / KEPT_SHARE).clamp(64, 1_024)).max(1);
    let most = if asked == 0 { possible } else { asked.min(possible) };
    if asked > most {
        tracing::warn!(
            asked,
            most,
            open_files = files,
            "limits.connections is more than the open files allow: raise LimitNOFILE or ulimit -n"
        );
    } else {
        tracing::info!(most, open_files = files, "connections of clients allowed");
    }
    most
}

/// How many files it takes to have so many connections.
pub(crate) fn files_for(connections: u64) -> u64 {
    let kept = (connections / (KEPT_SHARE as u64 - 1) + 1).clamp(64, 1_024);
    connections.saturating_add(kept)
}

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

/// How much memory the process may use while it lets new clients in: what was `configured`; else nine tenths of
/// what its control group may use, if that is limited.
pub(crate) fn memory(configured: u64) -> Option<u64> {
    if configured > 0 {
        return Some(configured);
    }
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?;
    limit.trim().parse().ok().map(|bytes: u64| bytes / 10 * 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_for_connections_are_enough() {
        for asked in [1, 900, 960, 2_000, 19_375, 31_743, 31_744, 1_000_000] {
            let files = files_for(asked) as usize;
            assert!(connections(0, files) >= asked as usize, "{asked} {files}");
        }
    }

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (asked, files, most) in [
            (0, 1_024, 960),
            (0, 20_000, 19_375),
            (0, 1_048_576, 1_047_552),
            (0, 100, 36),
            (0, 10, 1),
            (500, 1_024, 500),
            (5_000, 1_024, 960),
        ] {
            assert_eq!(connections(asked, files), most, "{asked} {files}");
        }
    }
}
