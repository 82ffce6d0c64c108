//! How this process is: how much it has to do with, and what the system lets it use. It decides nothing.

use crate::Node;
use crate::metrics::ShardLabel;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vitals {
    /// How many shards there are.
    pub shards: usize,
    /// Connections of clients, in all namespaces.
    pub connections: u64,
    /// Memory that is in use; `None` where the system does not say.
    pub memory_bytes: Option<u64>,
    /// How late the latest shard was when it last looked, in milliseconds.
    pub lag_ms: f64,
}

impl Node {
    /// How this node is.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let connections = |namespace: &crate::Namespace| namespace.directory().connection_count() as u64;
        let shards = self.shards.count();
        let late = (0..shards).map(|shard| {
            let label = ShardLabel { shard: u32::try_from(shard).unwrap_or(u32::MAX) };
            self.metrics().shard_late.get_or_create(&label).get()
        });
        Vitals {
            shards,
            connections: self.namespaces().iter().map(|namespace| connections(namespace)).sum(),
            memory_bytes: resident_bytes(),
            lag_ms: late.fold(0.0, f64::max) * 1e3,
        }
    }
}

/// The memory of this process that is in use; `None` where the system does not say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1_024)
}

/// How many files this process has open, and how many it may; `None` where the system does not say. Newer kernels (6.2) know
/// the first, in others the files are counted.
pub(crate) fn open_files() -> Option<(u64, u64)> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let most = line.split_whitespace().next()?.parse().ok()?;
    let known = std::fs::metadata("/proc/self/fd").ok()?.len();
    let open = if known > 0 { known } else { std::fs::read_dir("/proc/self/fd").ok()?.count() as u64 };
    Some((open, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_how_it_is() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        let (open, most) = open_files().unwrap();
        assert!((3..=most).contains(&open), "{open} of {most}");
    }
}
