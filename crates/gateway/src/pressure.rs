//! Whether the server can take more clients: those who are here, and what is published, come first.
//!
//! Each sign of too much work is a [`Gate`]: it shuts at a mark and opens again well below it, so that it
//! does not flutter, and says so in the log once each time. While one is shut, new clients are asked to come
//! back later. It does not know who they are.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tidings_node::Metrics;
use tidings_node::metrics::{Queue, ShardLabel, Sign};
use tidings_node::vitals::resident_bytes;

use crate::command::COMMANDS;

/// Samples below the mark for opening before a gate opens.
const CALM_SAMPLES: u32 = 5;

/// A sign of too much work.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The label in metrics and in the log.
    sign: &'static str,
    /// From here on it shuts.
    shut_at: u64,
    /// Below this it opens.
    open_below: u64,
    shut: AtomicBool,
    calm: AtomicU32,
}

impl Gate {
    pub(crate) fn new(sign: &'static str, shut_at: u64, open_below: u64) -> Self {
        Self { sign, shut_at, open_below, shut: AtomicBool::new(false), calm: AtomicU32::new(0) }
    }

    /// Takes a sample; one writer at a time.
    pub(crate) fn sample(&self, metrics: &Metrics, at: u64) {
        let shut = self.is_shut();
        if at >= self.shut_at {
            self.calm.store(0, Ordering::Relaxed);
            if !shut {
                self.turn(metrics, true);
                tracing::warn!(
                    sign = self.sign,
                    at,
                    limit = self.shut_at,
                    "overloaded: new clients are asked to wait"
                );
            }
        } else if shut
            && at < self.open_below
            && self.calm.fetch_add(1, Ordering::Relaxed) + 1 >= CALM_SAMPLES
        {
            self.calm.store(0, Ordering::Relaxed);
            self.turn(metrics, false);
            tracing::info!(sign = self.sign, at, "no longer overloaded: new clients are let in");
        }
    }

    fn turn(&self, metrics: &Metrics, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed);
        let sign = Sign { sign: self.sign };
        let gauge = metrics.overloaded.get_or_create(&sign);
        if shut {
            gauge.inc()
        } else {
            gauge.dec()
        };
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }
}

/// All signs of too much work.
#[derive(Debug)]
pub(crate) struct Pressure {
    shards: Vec<ShardGates>,
    memory: Option<Gate>,
}

#[derive(Debug)]
struct ShardGates {
    lag: Gate,
    commands: Gate,
}

/// What a shard tells of itself with each pulse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// How late it is for what was due.
    pub(crate) late: Duration,
    /// What waits to be said to it.
    pub(crate) inbox: usize,
    pub(crate) commands: usize,
    /// Messages to big rooms that wait.
    pub(crate) rooms: usize,
}

impl Pressure {
    /// `lag` shuts a shard, `memory` the whole node, if there is a limit.
    pub(crate) fn new(shards: usize, lag: Duration, memory: Option<u64>) -> Self {
        let (lag, commands) = (lag.as_millis() as u64, COMMANDS as u64);
        let gates = || ShardGates {
            lag: Gate::new("lag", lag, lag.div_ceil(2)),
            // The other half is for clients that are here.
            commands: Gate::new("commands", commands / 2, commands / 4),
        };
        Self {
            shards: (0..shards).map(|_| gates()).collect(),
            memory: memory.map(|most| Gate::new("memory", most, most - most / 16)),
        }
    }

    /// Takes the pulse of a shard.
    pub(crate) fn pulse(&self, metrics: &Metrics, shard: u8, pulse: Pulse) {
        metrics.shard_lag.of(shard).observe(pulse.late.as_secs_f64());
        let label = ShardLabel { shard: u32::from(shard) };
        metrics.shard_late.get_or_create(&label).set(pulse.late.as_secs_f64());
        for (queue, length) in [("inbox", pulse.inbox), ("commands", pulse.commands), ("rooms", pulse.rooms)]
        {
            let label = Queue { queue, shard: Some(u32::from(shard)) };
            metrics.queued.get_or_create(&label).set(i64::try_from(length).unwrap_or(i64::MAX));
        }
        if let Some(gates) = self.shards.get(usize::from(shard)) {
            gates.lag.sample(metrics, pulse.late.as_millis() as u64);
            gates.commands.sample(metrics, pulse.commands as u64);
        }
    }

    /// Takes what the process uses of the memory.
    pub(crate) fn memory(&self, metrics: &Metrics) {
        if let (Some(gate), Some(bytes)) = (&self.memory, resident_bytes()) {
            gate.sample(metrics, bytes);
        }
    }

    /// Why a shard takes no new clients now, if it does not.
    pub(crate) fn shut(&self, shard: usize) -> Option<&'static str> {
        let of = self.shards.get(shard).map(|gates| [&gates.lag, &gates.commands]);
        let gates = of.into_iter().flatten().chain(&self.memory);
        gates.into_iter().find(|gate| gate.is_shut()).map(|gate| gate.sign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_shuts_at_once_and_opens_when_it_has_been_calm_for_a_while() {
        let (gate, metrics) = (Gate::new("lag", 100, 50), Metrics::default());
        // A sample, and whether it is shut afterwards.
        for (step, (at, shut)) in [
            (99, false),
            (100, true),
            (60, true),
            (10, true),
            (10, true),
            (10, true),
            (10, true),
            // Neither calm nor too much: it has to be calm for as long as before, not in one go.
            (70, true),
            (49, false),
            (99, false),
            (500, true),
        ]
        .into_iter()
        .enumerate()
        {
            gate.sample(&metrics, at);
            assert_eq!(gate.is_shut(), shut, "step {step}");
            let gauge = metrics.overloaded.get_or_create(&Sign { sign: "lag" }).get();
            assert_eq!(gauge, i64::from(shut), "step {step}");
        }
    }
}
