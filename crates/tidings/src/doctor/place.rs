//! Where the server is to run: its address, its directory, the clock.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidings_model::Timestamp;
use tidings_node::Clock;
use tidings_wire::time::rfc3339;

use super::{Finding, Verdict};
use crate::config::Config;
use crate::listener::tls::{End, Files, Tls};
use crate::listener::{self, Address, Manner};
use crate::run::LISTEN;

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
    let manner = config.server.manner;
    let mut findings = vec![address("address", LISTEN, &config.server.listen, manner)];
    findings.extend(config.compat.addresses().map(|(key, at)| address(key, key, &at, manner)));
    findings.extend(config.server.tls.clone().map(|files| certificate(files, Clock::System.now())));
    findings.extend(disk(&config.store.path));
    findings.push(clock(SystemTime::now(), newest(&config.store.path)));
    findings
}

/// Looks at an address that `key` sets.
fn address(check: &'static str, key: &str, address: &Address, manner: Manner) -> Finding {
    match listener::bind(address, manner) {
        Ok(_) => Finding::new(check, address, Verdict::Ok, "it is free"),
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => {
            let meaning = "a process listens there; well if that is this server";
            Finding::new(check, address, Verdict::Warn, meaning)
                .change(format!("stop that process, or set {key}"))
        }
        Err(why) => {
            let meaning = format!("it cannot be listened on: {why}");
            Finding::new(check, address, Verdict::Fail, meaning).change(format!(
                "set {key} to an address of this machine; below port 1024, give CAP_NET_BIND_SERVICE"
            ))
        }
    }
}

fn certificate(files: Files, now: Timestamp) -> Finding {
    let shown = files.cert.display().to_string();
    let read = match Tls::read(files) {
        Ok(tls) => tls,
        Err(why) => {
            return Finding::new("certificate", shown, Verdict::Fail, why.to_string())
                .change("set server.tls.cert and server.tls.key to files that belong together");
        }
    };
    let (verdict, meaning) = match read.end(now) {
        End::Far => (Verdict::Ok, "it can be read, and the key belongs to it".to_owned()),
        End::Soon(at) => (Verdict::Warn, format!("it ends at {}: clients refuse it then", rfc3339(at.0))),
        End::Over(at) => (Verdict::Fail, format!("it ended at {}: clients refuse it", rfc3339(at.0))),
    };
    Finding::new("certificate", shown, verdict, meaning)
        .change("renew it: put a new certificate and its key into the files of server.tls.cert and server.tls.key, which are read again when they change")
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
            let full = matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let change = if full {
                "make room, or set store.path to a larger disk"
            } else {
                "set store.path to a directory that this user may write to"
            };
            let meaning = format!("nothing can be written there: {why}");
            return Finding::new("disk sync", shown, Verdict::Fail, meaning).change(change);
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
        for (kind, change) in [
            (io::ErrorKind::PermissionDenied, "set store.path to a directory that this user may write to"),
            (io::ErrorKind::StorageFull, "make room, or set store.path to a larger disk"),
        ] {
            let finding = synced(Err(kind.into()), "/data");
            assert_eq!((finding.verdict, finding.change.as_str()), (Verdict::Fail, change));
        }
    }

    #[test]
    fn a_certificate_ends() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let signing = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 6, 30);
        fs::write(at("cert.pem"), params.self_signed(&signing).unwrap().pem()).unwrap();
        fs::write(at("key.pem"), signing.serialize_pem()).unwrap();
        let files =
            Files { cert: at("cert.pem"), key: at("key.pem"), check_interval: Duration::from_secs(1) };
        for (now, verdict, meaning) in [
            ("2030-06-15T00:00:00Z", Verdict::Ok, "it can be read, and the key belongs to it"),
            (
                "2030-06-17T00:00:00Z",
                Verdict::Warn,
                "it ends at 2030-06-30T00:00:00.000Z: clients refuse it then",
            ),
            (
                "2030-07-01T00:00:00Z",
                Verdict::Fail,
                "it ended at 2030-06-30T00:00:00.000Z: clients refuse it",
            ),
        ] {
            let now = Timestamp(tidings_wire::time::parse_rfc3339(now).unwrap());
            let finding = certificate(files.clone(), now);
            assert_eq!((finding.verdict, finding.meaning.as_str()), (verdict, meaning));
            assert_eq!(finding.change.is_empty(), verdict == Verdict::Ok);
        }
    }

    #[test]
    fn addresses_are_named_by_their_keys() {
        let key = "compat.go_redis.listen";
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Address::Tcp(taken.local_addr().unwrap());
        let finding = address(key, key, &at, Manner::default());
        assert_eq!((finding.check, finding.verdict), (key, Verdict::Warn));
        assert_eq!(finding.change, "stop that process, or set compat.go_redis.listen");
        drop(taken);
        assert_eq!(address(key, key, &at, Manner::default()).verdict, Verdict::Ok);
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
