//! Where the server is to run: its address, its directory, the clock.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Finding, Verdict};
use crate::config::Config;
use crate::listener;
use crate::listener::tls::Tls;

/// How often a small file is synced.
const SYNCS: usize = 16;

/// What is written before each sync, in bytes: a few messages.
const SYNC_BYTES: usize = 4_096;

/// From here on a sync holds up durable pushes: seen by a person, and no disk at all.
const SYNC_SLOW: Duration = Duration::from_millis(20);
const SYNC_HOPELESS: Duration = Duration::from_millis(500);

/// Free space: too little to work, and little enough to look after it.
const FREE_FAIL: u64 = 64 << 20;
const FREE_WARN: u64 = 1 << 30;

/// No clock that is right is before this: 2026-01-01.
const EPOCH_SECS_MIN: u64 = 1_767_225_600;

/// Looks at everything.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![address(config)];
    findings.extend(certificate(config));
    findings.extend(disk(&config.store.path));
    findings.push(clock(SystemTime::now(), newest(&config.store.path)));
    findings
}

fn address(config: &Config) -> Finding {
    let address = &config.server.listen;
    match listener::bind(address, config.server.manner) {
        Ok(_) => Finding::new("address", address, Verdict::Ok, "it is free"),
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => Finding::new(
            "address",
            address,
            Verdict::Warn,
            "a process listens there; well if that is this server",
        )
        .change("stop that process, or set server.listen"),
        Err(why) => Finding::new(
            "address",
            address,
            Verdict::Fail,
            format!("it cannot be listened on: {why}"),
        )
        .change(
            "set server.listen to an address of this machine; below port 1024, give CAP_NET_BIND_SERVICE",
        ),
    }
}

fn certificate(config: &Config) -> Option<Finding> {
    let files = config.server.tls.clone()?;
    let shown = files.cert.display().to_string();
    Some(match Tls::read(files) {
        Ok(_) => Finding::new("certificate", shown, Verdict::Ok, "it can be read, and the key belongs to it"),
        Err(why) => Finding::new("certificate", shown, Verdict::Fail, why.to_string())
            .change("set server.tls.cert and server.tls.key to files that belong together"),
    })
}

/// The directory, or the nearest one above it that is there.
fn nearest(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|path| path.is_dir());
    there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn disk(store: &Path) -> Vec<Finding> {
    let directory = nearest(store);
    let shown = directory.display().to_string();
    vec![free(&directory, &shown), synced(sync_time(&directory), &shown)]
}

fn free(directory: &Path, shown: &str) -> Finding {
    let space = match rustix::fs::statvfs(directory) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(why) => {
            return Finding::new(
                "disk space",
                shown,
                Verdict::Fail,
                format!("it cannot be looked at: {why}"),
            )
            .change("set store.path to a directory that this user may use");
        }
    };
    let verdict = match space {
        space if space < FREE_FAIL => Verdict::Fail,
        space if space < FREE_WARN => Verdict::Warn,
        _ => Verdict::Ok,
    };
    let meaning = format!("free at {shown}; without space, pushes are answered 507");
    Finding::new("disk space", format!("{} MiB", space >> 20), verdict, meaning)
        .change("make room, or set store.path to a larger disk")
}

/// How long a sync takes in a directory: the median of some.
fn sync_time(directory: &Path) -> io::Result<Duration> {
    let path = directory.join(format!(".tidings-doctor-{}", std::process::id()));
    let times = measure(&path);
    let removed = fs::remove_file(&path);
    let mut times = times?;
    removed?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn measure(path: &Path) -> io::Result<Vec<Duration>> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[0; SYNC_BYTES])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(times)
}

fn synced(time: io::Result<Duration>, shown: &str) -> Finding {
    let time = match time {
        Ok(time) => time,
        Err(why) => {
            return Finding::new(
                "disk sync",
                shown,
                Verdict::Fail,
                format!("nothing can be written there: {why}"),
            )
            .change("set store.path to a directory that this user may write to");
        }
    };
    let verdict = match time {
        time if time > SYNC_HOPELESS => Verdict::Fail,
        time if time > SYNC_SLOW => Verdict::Warn,
        _ => Verdict::Ok,
    };
    let meaning = format!(
        "fdatasync at {shown}, median of {SYNCS}; a durable push waits for one, those that wait together share it"
    );
    let change = "put store.path on a local SSD, best one with power loss protection";
    Finding::new("disk sync", format!("{:.2} ms", time.as_secs_f64() * 1e3), verdict, meaning).change(change)
}

/// When anything in the directory was last changed.
fn newest(store: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(store).ok()?;
    entries.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

fn clock(now: SystemTime, newest: Option<SystemTime>) -> Finding {
    let secs = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let ahead = newest.and_then(|newest| newest.duration_since(now).ok()).unwrap_or_default();
    let (verdict, meaning) = match (secs, ahead) {
        (..EPOCH_SECS_MIN, _) => (
            Verdict::Fail,
            "it is before this program was made; messages would expire when it is set right".to_owned(),
        ),
        (_, ahead) if ahead > Duration::from_secs(60) => {
            let meaning = format!(
                "the store was written {} s later: the clock was set back, or was wrong then",
                ahead.as_secs()
            );
            (Verdict::Warn, meaning)
        }
        _ => (Verdict::Ok, "seconds since 1970, and the store is not ahead of it".to_owned()),
    };
    Finding::new("clock", secs, verdict, meaning).change("timedatectl set-ntp true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_judged() {
        let at = |secs: u64| UNIX_EPOCH + Duration::from_secs(secs);
        let now = EPOCH_SECS_MIN + 1_000;
        for (now, newest, verdict) in [
            (now, None, Verdict::Ok),
            (now, Some(now), Verdict::Ok),
            (now, Some(now + 60), Verdict::Ok),
            (now, Some(now + 61), Verdict::Warn),
            (0, None, Verdict::Fail),
            (EPOCH_SECS_MIN - 1, None, Verdict::Fail),
        ] {
            assert_eq!(clock(at(now), newest.map(at)).verdict, verdict, "{now} {newest:?}");
        }
    }

    #[test]
    fn disks_are_judged() {
        for (ms, verdict) in [(1, Verdict::Ok), (20, Verdict::Ok), (21, Verdict::Warn), (501, Verdict::Fail)]
        {
            assert_eq!(synced(Ok(Duration::from_millis(ms)), "/data").verdict, verdict, "{ms}");
        }
        assert_eq!(synced(Err(io::ErrorKind::PermissionDenied.into()), "/data").verdict, Verdict::Fail);
    }

    #[test]
    fn looking_at_a_disk_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let findings = disk(&directory.path().join("not/there/yet"));
        assert_eq!(findings.len(), 2);
        assert!(
            findings.iter().all(|one| one.value.ends_with("iB") || one.value.ends_with("ms")),
            "{findings:?}"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
