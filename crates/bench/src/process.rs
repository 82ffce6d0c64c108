//! What `/proc` says of a process: CPU time used and memory that is its own.

use std::fs;

use crate::error::{BenchError, Doing};

/// CPU time that process `pid` has used so far, user and system, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).doing(&format!("reading {path}"))?;
    let ticks = ticks_in_stat(&text).ok_or_else(|| unreadable(&path))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Anonymous resident memory of process `pid` in bytes: what it allocated itself, without mapped files.
pub(crate) fn anonymous_bytes(pid: u32) -> Result<u64, BenchError> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).doing(&format!("reading {path}"))?;
    kib_in_status(&text, "RssAnon:").map(|kib| kib * 1024).ok_or_else(|| unreadable(&path))
}

/// The processes of the group that process `leader` leads, itself among them.
pub(crate) fn group(leader: u32) -> Result<Vec<u32>, BenchError> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").doing("reading /proc")? {
        let name = entry.doing("reading /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has ended meanwhile is none of them.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if group_in_stat(&stat) == Some(leader) {
            members.push(pid);
        }
    }
    Ok(members)
}

fn unreadable(path: &str) -> BenchError {
    BenchError::Protocol { who: path.to_owned(), what: "not in the form that is known".to_owned() }
}

/// utime and stime: fields 14 and 15; the name in field 2 may contain spaces and brackets.
fn ticks_in_stat(text: &str) -> Option<u64> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The process group: field 5.
fn group_in_stat(text: &str) -> Option<u32> {
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(2)?.parse().ok()
}

fn kib_in_status(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_awkward_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 900 0 3 0 41 17 0 0 20 0 3 0 100 5 6";
        assert_eq!(ticks_in_stat(stat), Some(58));
        assert_eq!(ticks_in_stat("12 (x) S 1"), None);
        assert_eq!(group_in_stat(stat), Some(12));
        assert_eq!(group_in_stat("12 (x) S 1"), None);
    }

    #[test]
    fn memory_is_in_kib() {
        let status = "Name:\tx\nVmRSS:\t  9000 kB\nRssAnon:\t    1234 kB\n";
        assert_eq!(kib_in_status(status, "RssAnon:"), Some(1234));
        assert_eq!(kib_in_status(status, "RssShmem:"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(anonymous_bytes(pid).unwrap() > 0);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        let leader = u32::try_from(rustix::process::getpgrp().as_raw_nonzero().get()).unwrap();
        assert!(group(leader).unwrap().contains(&pid));
    }
}
