//! What the kernel and the container allow, as `/proc` and `/sys` say it. What is not there (a container
//! hides some of it) is not judged.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Finding, Verdict};
use crate::limits;

/// What a connection takes: some 4.2 KiB in the kernel and 2 to 3 KiB here, rounded up.
const CONNECTION_BYTES: u64 = 8 << 10;

/// What the process takes besides: the store's cache and write buffers, the runtime.
const BASE_BYTES: u64 = 256 << 20;

/// What the kernel's TCP buffers of a connection take while something is on its way.
const BUFFER_BYTES: u64 = 4 << 10;

/// CPU seconds in a second that a connection takes for its heartbeats.
const IDLE_CPU: f64 = 2e-6;

/// Clocks that are read without asking the kernel.
const FAST_CLOCKS: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

/// The files that say it, below a root: another one in tests.
struct Machine<'a> {
    root: &'a Path,
}

/// Looks at everything.
pub(super) fn check(root: &Path, connections: u64, backlog: u64) -> Vec<Finding> {
    let machine = Machine { root };
    let found = [
        machine.open_files(connections),
        machine.at_least("fs.nr_open", limits::files_for(connections), Verdict::Fail, "the most that LimitNOFILE can be"),
        machine.at_least("fs.file-max", 2 * connections, Verdict::Fail, "open files of the whole machine"),
        machine.at_least(
            "net.core.somaxconn",
            backlog,
            Verdict::Warn,
            "connections that may wait to be accepted; a storm of clients loses what is beyond (server.backlog)",
        ),
        machine.at_least(
            "net.ipv4.tcp_max_syn_backlog",
            backlog,
            Verdict::Warn,
            "handshakes that may be under way; beyond, SYN cookies or losses",
        ),
        machine.ports(),
        machine.tcp_memory(connections),
        machine.buffers("net.ipv4.tcp_rmem"),
        machine.buffers("net.ipv4.tcp_wmem"),
        machine.connection_tracking(connections),
        machine.overcommit(),
        machine.swappiness(),
        machine.memory(connections),
        machine.cpu(connections),
        machine.clock(),
    ];
    found.into_iter().flatten().collect()
}

impl Machine<'_> {
    fn text(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim().to_owned())
    }

    /// The numbers of a kernel setting, by its name.
    fn setting(&self, name: &str) -> Option<Vec<u64>> {
        let text = self.text(&format!("proc/sys/{}", name.replace('.', "/")))?;
        text.split_whitespace().map(|word| word.parse().ok()).collect()
    }

    fn open_files(&self, connections: u64) -> Option<Finding> {
        let text = self.text("proc/self/limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let mut words = line.split_whitespace();
        let mut next = || words.next().map(|word| word.parse().unwrap_or(u64::MAX));
        let (soft, hard) = (next()?, next()?);
        let need = limits::files_for(connections);
        let show = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
        let verdict = if hard < need { Verdict::Fail } else { Verdict::Ok };
        let meaning =
            format!("a connection takes one, {need} are needed; the server raises soft to hard by itself");
        let value = format!("{} soft, {} hard", show(soft), show(hard));
        Some(
            Finding::new("open files", value, verdict, meaning)
                .change(format!("ulimit -Hn {need}, or LimitNOFILE={need} in the systemd unit")),
        )
    }

    fn at_least(&self, name: &'static str, need: u64, short: Verdict, meaning: &str) -> Option<Finding> {
        let value = *self.setting(name)?.first()?;
        let verdict = if value < need { short } else { Verdict::Ok };
        let meaning = format!("{meaning}; {need} are wanted");
        Some(Finding::new(name, value, verdict, meaning).change(format!("sysctl -w {name}={need}")))
    }

    fn ports(&self) -> Option<Finding> {
        let name = "net.ipv4.ip_local_port_range";
        let [first, last] = self.setting(name)?[..] else { return None };
        let count = (last + 1).saturating_sub(first);
        let meaning = format!("only for load tests: {count} connections from one address to one port");
        Some(Finding::new(name, format!("{first} {last}"), Verdict::Ok, meaning))
    }

    fn tcp_memory(&self, connections: u64) -> Option<Finding> {
        let name = "net.ipv4.tcp_mem";
        let [low, pressure, high] = self.setting(name)?[..] else { return None };
        let need = (connections * BUFFER_BYTES).div_ceil(4_096);
        let verdict = match need {
            need if need > high => Verdict::Fail,
            need if need > pressure => Verdict::Warn,
            _ => Verdict::Ok,
        };
        let meaning = format!(
            "pages for the TCP buffers of all connections; {need} when each has one message on its way, and beyond {pressure} the kernel gets stingy"
        );
        let wanted = format!("sysctl -w {name}=\"{} {} {}\"", need, need * 3 / 2, need * 2);
        Some(Finding::new(name, format!("{low} {pressure} {high}"), verdict, meaning).change(wanted))
    }

    fn buffers(&self, name: &'static str) -> Option<Finding> {
        let [min, default, max] = self.setting(name)?[..] else { return None };
        let verdict = if default > 1 << 20 { Verdict::Warn } else { Verdict::Ok };
        let meaning = "bytes that one connection may have buffered (least, usual, most); an idle one has none, and what is unsent \
            is bounded by outbox.unsent";
        let change = format!("sysctl -w {name}=\"4096 131072 {max}\"");
        Some(Finding::new(name, format!("{min} {default} {max}"), verdict, meaning).change(change))
    }

    fn connection_tracking(&self, connections: u64) -> Option<Finding> {
        let name = "net.netfilter.nf_conntrack_max";
        let most = *self.setting(name)?.first()?;
        let verdict = match most {
            most if most < connections => Verdict::Fail,
            most if most < 2 * connections => Verdict::Warn,
            _ => Verdict::Ok,
        };
        let meaning =
            "the firewall remembers so many connections, those that have just ended too, and drops others";
        let change = format!("sysctl -w {name}={}, or do not track the port", 2 * connections);
        Some(Finding::new(name, most, verdict, meaning).change(change))
    }

    fn overcommit(&self) -> Option<Finding> {
        let name = "vm.overcommit_memory";
        let mode = *self.setting(name)?.first()?;
        let verdict = if mode == 2 { Verdict::Warn } else { Verdict::Ok };
        let meaning = if mode == 2 {
            "memory that is reserved and not used counts, and threads and caches reserve more than they use"
        } else {
            "only memory that is used counts"
        };
        Some(Finding::new(name, mode, verdict, meaning).change(format!("sysctl -w {name}=0")))
    }

    /// Of a machine that swaps.
    fn swappiness(&self) -> Option<Finding> {
        self.meminfo("SwapTotal").filter(|total| *total > 0)?;
        let name = "vm.swappiness";
        let value = *self.setting(name)?.first()?;
        let verdict = if value > 30 { Verdict::Warn } else { Verdict::Ok };
        let meaning = "how soon idle connections are swapped out; each heartbeat brings them back";
        Some(Finding::new(name, value, verdict, meaning).change(format!("sysctl -w {name}=10")))
    }

    fn meminfo(&self, field: &str) -> Option<u64> {
        let text = self.text("proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    }

    /// The directories of our control group, the innermost first.
    fn groups(&self) -> Vec<PathBuf> {
        let own = self.text("proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let base = self.root.join("sys/fs/cgroup");
        let inner = base.join(own);
        inner.ancestors().take_while(|path| path.starts_with(&base)).map(Path::to_owned).collect()
    }

    fn memory(&self, connections: u64) -> Option<Finding> {
        let total = self.meminfo("MemTotal")?;
        let limit =
            |group: &PathBuf| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<u64>().ok();
        let group = self.groups().iter().filter_map(limit).min();
        let most = group.map_or(total, |group| group.min(total));
        let need = BASE_BYTES + connections * CONNECTION_BYTES;
        let verdict = match need {
            need if need > most => Verdict::Fail,
            need if need > most / 10 * 7 => Verdict::Warn,
            _ => Verdict::Ok,
        };
        let from = if most < total { "the control group" } else { "the machine" };
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let meaning = format!(
            "{from} has it; about {} are needed, {CONNECTION_BYTES} bytes for each connection",
            mib(need)
        );
        let change = format!("give it {}, or split the connections over more nodes", mib(need / 7 * 10));
        Some(Finding::new("memory", mib(most), verdict, meaning).change(change))
    }

    fn cpu(&self, connections: u64) -> Option<Finding> {
        let quota = |group: &PathBuf| {
            let text = fs::read_to_string(group.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
        };
        let most = self.groups().iter().filter_map(quota).reduce(f64::min)?;
        let idle = connections as f64 * IDLE_CPU;
        let verdict = match most {
            most if most < idle => Verdict::Fail,
            most if most < 1.0 || most < 4.0 * idle => Verdict::Warn,
            _ => Verdict::Ok,
        };
        let meaning = format!(
            "cores that the control group may use; heartbeats alone take {idle:.2}, and a process that is paused in the middle of a fan-out delivers late"
        );
        Some(
            Finding::new("cpu limit", format!("{most:.2}"), verdict, meaning)
                .change("raise or remove the CPU limit"),
        )
    }

    fn clock(&self) -> Option<Finding> {
        let now = self.text("sys/devices/system/clocksource/clocksource0/current_clocksource")?;
        let fast = FAST_CLOCKS.contains(&now.as_str());
        let meaning = if fast {
            "the time is read without asking the kernel"
        } else {
            "each look at the time is a system call, or worse"
        };
        let verdict = if fast { Verdict::Ok } else { Verdict::Warn };
        let change = "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, where it is available";
        Some(Finding::new("clock source", now, verdict, meaning).change(change))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// A machine on which all is well for 10,000 connections.
    const GOOD: &[(&str, &str)] = &[
        (
            "proc/self/limits",
            "Limit  Soft  Hard  Units\nMax open files            1024                1048576              files\n",
        ),
        ("proc/self/cgroup", "0::/system.slice/tidings.service\n"),
        ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\nSwapTotal:       1000 kB\n"),
        ("proc/sys/fs/nr_open", "1048576\n"),
        ("proc/sys/fs/file-max", "9223372036854775807\n"),
        ("proc/sys/net/core/somaxconn", "4096\n"),
        ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
        ("proc/sys/net/ipv4/tcp_mem", "95000\t127000\t190000\n"),
        ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
        ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
        ("proc/sys/vm/overcommit_memory", "0\n"),
        ("proc/sys/vm/swappiness", "10\n"),
        ("sys/fs/cgroup/system.slice/tidings.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "2147483648\n"),
        ("sys/fs/cgroup/system.slice/tidings.service/cpu.max", "200000 100000\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ];

    /// What is not well on a machine that differs from the good one.
    fn wrong(connections: u64, differs: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in GOOD.iter().chain(differs) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let findings = check(root.path(), connections, 4_096);
        assert_eq!(findings.len(), 15, "{findings:?}");
        findings.iter().filter(|one| one.verdict != Verdict::Ok).map(ToString::to_string).collect()
    }

    fn found(connections: u64, differs: &[(&str, &str)], expect: Expect) {
        expect.assert_eq(&wrong(connections, differs).join("\n"));
    }

    #[test]
    fn a_good_machine_is_good() {
        found(10_000, &[], expect![""]);
    }

    #[test]
    fn each_setting_is_judged() {
        for (path, text, verdict, name) in [
            ("proc/self/limits", "Max open files   1024   10063   files\n", "fail", "open files"),
            ("proc/sys/fs/nr_open", "10000", "fail", "fs.nr_open"),
            ("proc/sys/fs/file-max", "19999", "fail", "fs.file-max"),
            ("proc/sys/net/core/somaxconn", "128", "warn", "net.core.somaxconn"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "512", "warn", "net.ipv4.tcp_max_syn_backlog"),
            ("proc/sys/net/ipv4/tcp_mem", "1000 9999 20000", "warn", "net.ipv4.tcp_mem"),
            ("proc/sys/net/ipv4/tcp_mem", "1000 2000 9999", "fail", "net.ipv4.tcp_mem"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096 4194304 6291456", "warn", "net.ipv4.tcp_rmem"),
            ("proc/sys/net/ipv4/tcp_wmem", "4096 4194304 6291456", "warn", "net.ipv4.tcp_wmem"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "19999", "warn", "net.netfilter.nf_conntrack_max"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "9999", "fail", "net.netfilter.nf_conntrack_max"),
            ("proc/sys/vm/overcommit_memory", "2", "warn", "vm.overcommit_memory"),
            ("proc/sys/vm/swappiness", "60", "warn", "vm.swappiness"),
            ("sys/fs/cgroup/memory.max", "400000000", "warn", "memory"),
            ("sys/fs/cgroup/system.slice/tidings.service/memory.max", "300000000", "fail", "memory"),
            ("proc/meminfo", "MemTotal: 300000 kB\nSwapTotal: 1 kB\n", "fail", "memory"),
            ("sys/fs/cgroup/cpu.max", "50000 100000", "warn", "cpu limit"),
            ("sys/fs/cgroup/cpu.max", "1000 100000", "fail", "cpu limit"),
            (
                "sys/devices/system/clocksource/clocksource0/current_clocksource",
                "hpet",
                "warn",
                "clock source",
            ),
        ] {
            let lines = wrong(10_000, &[(path, text)]);
            let begins = format!("{verdict:<5} {name}: ");
            assert!(lines.len() == 1 && lines[0].starts_with(&begins), "{path} = {text}: {lines:?}");
            assert!(lines[0].contains("; change it: "), "{lines:?}");
        }
    }

    #[test]
    fn more_connections_need_more() {
        found(
            2_000_000,
            &[],
            expect![[r#"
            fail  open files: 1024 soft, 1048576 hard — a connection takes one, 2001024 are needed; the server raises soft to hard by itself; change it: ulimit -Hn 2001024, or LimitNOFILE=2001024 in the systemd unit
            fail  fs.nr_open: 1048576 — the most that LimitNOFILE can be; 2001024 are wanted; change it: sysctl -w fs.nr_open=2001024
            fail  net.ipv4.tcp_mem: 95000 127000 190000 — pages for the TCP buffers of all connections; 2000000 when each has one message on its way, and beyond 127000 the kernel gets stingy; change it: sysctl -w net.ipv4.tcp_mem="2000000 3000000 4000000"
            fail  net.netfilter.nf_conntrack_max: 262144 — the firewall remembers so many connections, those that have just ended too, and drops others; change it: sysctl -w net.netfilter.nf_conntrack_max=4000000, or do not track the port
            fail  memory: 2048 MiB — the control group has it; about 15881 MiB are needed, 8192 bytes for each connection; change it: give it 22687 MiB, or split the connections over more nodes
            fail  cpu limit: 2.00 — cores that the control group may use; heartbeats alone take 4.00, and a process that is paused in the middle of a fan-out delivers late; change it: raise or remove the CPU limit"#]],
        );
    }

    #[test]
    fn what_is_hidden_is_not_judged() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(check(root.path(), 1_000_000, 4_096), []);
    }
}
