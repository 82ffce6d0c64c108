//! What the examples share: a node that nobody is connected to, and what a process costs.

use std::path::Path;
use std::sync::Arc;

use tidings_node::connect::ConnectionLimits;
use tidings_node::{Clock, Metrics, Node, Parts};
use tidings_store::Store;

/// A node on this store. Whatever its shard is told is done at once.
pub(crate) async fn node(store: Arc<dyn Store>, clock: Clock) -> Arc<Node> {
    let parts = Parts {
        store,
        clock,
        shards: 1,
        name: "n1".to_owned(),
        limits: ConnectionLimits::default(),
        providers: Vec::new(),
        simulations: false,
        keep_statistics: tidings_node::statistics::Keep::default(),
        metrics: Arc::new(Metrics::default()),
    };
    let (node, shards) = Node::start(parts).await.expect("a node");
    for mut shard in shards {
        tokio::spawn(async move { while shard.recv().await.is_some() {} });
    }
    node
}

/// How many bytes there are in the files of a directory.
pub(crate) fn bytes_in(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(what) if what.is_dir() => bytes_in(&entry.path()),
        Ok(what) => what.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// How much time of the processors this process has had, in seconds.
pub(crate) fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// How much memory this process has.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
