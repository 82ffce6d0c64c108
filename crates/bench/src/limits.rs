//! Open files: every connection is one on each side, so the limit is looked at before anything starts.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::error::BenchError;

/// Descriptors of a process that are not connections: standard streams, epoll, the HTTP callers, the store of the
/// server, libraries.
pub(crate) const SPARE_FILES: u64 = 500;

/// Raises the soft limit as far as the hard one allows, and answers how many connections one process can hold.
///
/// Processes that are started afterwards, the server among them, inherit the raised limit.
pub(crate) fn connections_per_process() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    limit.current.unwrap_or(u64::MAX).saturating_sub(SPARE_FILES)
}

/// An error that tells what to change when a process would need more than `available` connections.
pub(crate) fn check(wanted: u64, available: u64) -> Result<(), BenchError> {
    if wanted <= available {
        return Ok(());
    }
    Err(BenchError::Arguments(format!(
        "{wanted} connections need {} open files, but this process may have {}: use --connections {available}, or \
         raise the limit (`ulimit -n {}`, or LimitNOFILE= of the service)",
        wanted + SPARE_FILES,
        available + SPARE_FILES,
        wanted + SPARE_FILES,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_both_numbers_and_the_remedy() {
        assert!(check(19_500, 19_500).is_ok());
        let text = check(20_000, 19_500).unwrap_err().to_string();
        assert!(text.contains("20500 open files") && text.contains("ulimit -n 20500"), "{text}");
    }
}
