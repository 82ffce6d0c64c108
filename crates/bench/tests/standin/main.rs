//! The bench as a whole, against a stand-in for the server.
//!
//! This program is what the bench takes itself for: `serve` is the stand-in, `bench` is the bench (which starts this
//! program again for both), anything else runs the checks.

#![allow(missing_docs, clippy::unwrap_used)]

mod server;

use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Output, Stdio},
};

use clap::Parser;

#[derive(Parser)]
enum Program {
    /// The stand-in for the server.
    Serve {
        #[arg(long)]
        dev: bool,
        #[arg(long)]
        listen: String,
        #[arg(long)]
        store: std::path::PathBuf,
    },
    /// The bench.
    Bench(Box<tidings_bench::Args>),
}

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    if first != "serve" && first != "bench" {
        return checks(&first);
    }
    match Program::parse() {
        Program::Serve { dev, listen, store } => {
            assert!(dev && store.is_dir(), "the bench starts a development server with a store of its own");
            server::serve(&listen);
            ExitCode::SUCCESS
        }
        Program::Bench(args) => tidings_bench::run(*args),
    }
}

const CHECKS: &[(&str, fn())] = &[
    ("everything_is_measured_and_reported", everything_is_measured_and_reported),
    ("single_calls_and_long_frames_work", single_calls_and_long_frames_work),
    ("a_sweep_is_drawn", a_sweep_is_drawn),
    ("clients_are_spread_over_processes_and_servers", clients_are_spread_over_processes_and_servers),
    ("connections_beyond_one_process_are_held_by_others", connections_beyond_one_process_are_held_by_others),
    ("what_is_lost_is_named", what_is_lost_is_named),
    ("what_is_lost_in_other_processes_is_named", what_is_lost_in_other_processes_is_named),
    ("a_server_that_ends_is_quoted", a_server_that_ends_is_quoted),
    ("an_interrupted_run_leaves_nothing_behind", an_interrupted_run_leaves_nothing_behind),
    ("peers_are_visited_in_turn", peers_are_visited_in_turn),
    ("a_peer_that_loses_frames_is_shown", a_peer_that_loses_frames_is_shown),
    ("bad_arguments_are_refused", bad_arguments_are_refused),
];

fn checks(filter: &str) -> ExitCode {
    let wanted = CHECKS.iter().filter(|(name, _)| filter.starts_with('-') || name.contains(filter));
    if filter == "--list" {
        wanted.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    for (name, check) in wanted {
        check();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn bench(arguments: &str, fault: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .arg("bench")
        .args(arguments.split_ascii_whitespace())
        .env(server::FAULT, fault)
        .output()
        .unwrap()
}

#[track_caller]
fn fails(arguments: &str, fault: &str, code: i32, because: &[&str]) {
    let output = bench(arguments, fault);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}, {fault}: {text}");
    for because in because {
        assert!(text.contains(because), "{arguments}, {fault}: {because:?} is not in: {text}");
    }
}

fn everything_is_measured_and_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = bench(&format!("--quick --json {}", file.path().display()), "");
    let (table, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for expected in
        ["floor", "≥ 0.9 × floor", "20 in flight: deliveries/s", "bytes/connection", "latency p99"]
    {
        assert!(table.contains(expected), "{expected:?} is not in:\n{table}");
    }
    let json = read_json(file.path());
    let fanout = &json["fanout"];
    // Three pushes to fit the frame, three rounds of five windows of one, three of five windows of twenty.
    assert_eq!(fanout["accepted"], 318);
    assert_eq!((&fanout["expected"], &fanout["received"]), (&63_600.into(), &63_600.into()));
    assert_eq!((&fanout["frame_bytes"], &fanout["samples"]), (&130.into(), &4.into()));
    assert!(fanout["single_floor"]["rate"].as_f64().unwrap() > 0.0);
    assert!(json["idle"]["bytes"].as_u64().unwrap() > 0);
    let targeted = &json["targeted"];
    assert_eq!(targeted["accepted"], targeted["received"]);
    assert!(
        targeted["open"].as_array().unwrap().len() == 8 && targeted["single"]["rate"].as_f64() > Some(0.0)
    );
    let storm = &json["storm"];
    assert_eq!(storm["received"].as_u64().unwrap(), storm["accepted"].as_u64().unwrap() * 10);
    assert_eq!(storm["left"], 0.0, "the fleet is gone, the watchers are not counted");
    let resume = &json["resume"];
    assert_eq!([&resume["accepted"], &resume["received"]], [100, 60_000]);
    let acks = &json["acks"];
    assert_eq!([&acks["received"], &acks["acked"]], [12_000; 2]);
    assert!(json["fairness"]["loaded"]["count"].as_u64() > Some(0));
}

fn read_json(path: &std::path::Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn a_sweep_is_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("plot.svg");
    let output = bench(&format!("targeted --quick --rates 50,100 --batched --plot {}", plot.display()), "");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("intended/s") && table.contains("latency p99 at"), "{table}");
    let svg = std::fs::read_to_string(plot).unwrap();
    assert_eq!(svg.matches("<circle").count(), 6, "two rates, three percentiles");
}

fn clients_are_spread_over_processes_and_servers() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let arguments = "fanout -n 60 --rounds 2 --in-flight 5 --servers 2 --processes 3";
    let output = bench(&format!("{arguments} --json {}", file.path().display()), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fanout = &read_json(file.path())["fanout"];
    assert_eq!([&fanout["servers"], &fanout["expected"], &fanout["received"]], [2, 720, 720]);
}

fn single_calls_and_long_frames_work() {
    let output =
        bench("fanout -n 100 --rounds 1 --call single --in-flight 3 --frame-bytes 2000 --ttl 0s", "");
    let (table, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(table.contains("frames of 2000 bytes") && table.contains("3 in flight"), "{table}");
}

fn connections_beyond_one_process_are_held_by_others() {
    let program = std::env::current_exe().unwrap();
    let store = tempfile::tempdir().unwrap();
    let mut server = Command::new(&program)
        .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--store"])
        .arg(store.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.next().unwrap().rsplit_once(' ').unwrap().1.to_owned();
    // 600 descriptors leave 100 for connections: three processes are needed.
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 600 && exec \"$0\" \"$@\""])
        .arg(&program)
        .args(["bench", "idle", "--watch", "0.1", "-n", "250", "--key", "unused", "--url", &url, "--pid"])
        .arg(server.id().to_string())
        .output()
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let (table, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(table.contains("slope between 125 and 250 connections"), "{table}");
}

fn what_is_lost_is_named() {
    // One after the other, so that the stand-in knows who is who.
    let run = "fanout -n 100 --rounds 1 --patience 1 --concurrency 1";
    fails(
        run,
        "lose",
        1,
        &["nothing more arrives", "1 missing, 0 too many", "client b-7: has 107 of 108 messages"],
    );
    fails(run, "twice", 1, &["more frames arrive than were sent", "client b-7: has "]);
    fails(
        run,
        "swap",
        1,
        &["wrong frames", "0 missing, 0 too many", "client b-50: message", "came where another client has"],
    );
}

fn what_is_lost_in_other_processes_is_named() {
    let gone = ["nothing more arrives", "1 missing"];
    fails("targeted --quick -n 20 --patience 1", "lose", 1, &gone);
    fails("acks -n 20 --rounds 1 --patience 1", "lose", 1, &["400 receipts expected, 399 written down"]);
    fails("resume -n 20 --rounds 1 --missed 5", "gap", 1, &["100 received, 40 of them wrong", "came where"]);
    fails("storm --quick -n 20", "twice", 1, &["storm: ", "pushes accepted", "messages expected"]);
}

fn a_server_that_ends_is_quoted() {
    let run = "fanout -n 100 --rounds 1";
    fails(run, "no start", 1, &["ended before it listened (exit status: 3)", "told not to"]);
    fails(run, "die", 1, &["the server has ended (exit status: 4)", "dies as told"]);
}

fn an_interrupted_run_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let entries = || std::fs::read_dir(temporary.path()).unwrap().count();
    let mut bench = Command::new(std::env::current_exe().unwrap())
        .args(["bench", "fanout", "-n", "100", "--rounds", "1000000"])
        .env("TMPDIR", temporary.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The store appears when the server is about to start.
    while entries() == 0 {
        assert!(bench.try_wait().unwrap().is_none(), "the bench runs until it is interrupted");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&bench);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert_eq!(entries(), 0, "the store is removed");
}

/// A folder in which the stand-in is the peer `ws`, and no other is installed. Whoever starts it notes its process.
fn company() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let start = folder.path().join("start");
    let script = format!(
        "#!/bin/sh\n\
         [ \"$1\" = ws ] || exit 1\n\
         [ \"${{2:-}}\" != --version ] || {{ echo stand-in 1.0; exit; }}\n\
         echo $$ >>\"${{0%/*}}/pids\"\n\
         exec '{}' serve --dev --listen 127.0.0.1:$PEER_PORT --store \"$PEER_DIR\"\n",
        std::env::current_exe().unwrap().display()
    );
    std::fs::write(&start, script).unwrap();
    std::fs::set_permissions(&start, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

fn peers_are_visited_in_turn() {
    let (folder, file) = (company(), tempfile::NamedTempFile::new().unwrap());
    let output = bench(
        &format!(
            "peers -n 100 --rounds 1 --visits 2 --only ws,nats,tidings,floor --from {} --json {}",
            folder.path().display(),
            file.path().display()
        ),
        "",
    );
    let (table, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    let visits: Vec<&str> = errors.lines().collect();
    let expected =
        ["1 of 2: ws", "1 of 2: tidings", "1 of 2: floor", "2 of 2: ws", "2 of 2: tidings", "2 of 2: floor"];
    assert_eq!(visits, expected.map(|visit| format!("visit {visit}")));
    for expected in
        ["* ws: stand-in 1.0", "* SKIPPED: nats is not installed", "100 connections, frames of 220 bytes"]
    {
        assert!(table.contains(expected), "{expected:?} is not in:\n{table}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    for (row, name) in ["ws", "tidings", "floor"].iter().enumerate() {
        let row = &json["rows"][row];
        assert_eq!(&row["name"], name);
        assert_eq!(row["visits"].as_array().unwrap().len(), 2);
        assert_eq!(row["visits"][0]["frame_bytes"], 220, "{name}");
        assert!(row["figures"]["many_rate"].as_f64().unwrap() > 0.0, "{name}");
    }
    // Three pushes to fit the frame, two rounds of five pushes, two rounds of two windows of twenty.
    assert_eq!(json["rows"][0]["visits"][1]["counts"]["received"], 93 * 100);
    let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        assert!(!std::path::Path::new("/proc").join(pid).exists(), "{pid} has outlived the bench");
    }
}

fn a_peer_that_loses_frames_is_shown() {
    let folder = company();
    let run = format!(
        "peers -n 100 --rounds 1 --visits 1 --patience 1 --concurrency 1 --only ws --from {}",
        folder.path().display()
    );
    fails(&run, "lose", 1, &["ws: nothing more arrives", "1 missing", "client b-7"]);
    fails(&run, "die", 1, &["the server has ended (exit status: 4)", "dies as told"]);
    assert!(String::from_utf8_lossy(&bench(&run, "lose").stdout).contains("1 of 1 visits FAILED"));
}

fn bad_arguments_are_refused() {
    fails("--json /nowhere/x.json", "", 2, &["--json /nowhere/x.json: "]);
    fails("--connections 3", "", 2, &["--connections 3: at least 10"]);
    fails("--connections 999999999", "", 2, &["999999999 connections need", "ulimit -n"]);
    fails("--url https://localhost --key k", "", 2, &["must begin with http://"]);
    fails("--url http://127.0.0.1:1", "", 2, &["--key"]);
    fails("acks --protocol sse", "", 2, &["--protocol sse: its clients send no ack"]);
    fails("resume --protocol polling", "", 2, &["outlive their connections"]);
    fails("storm --servers 2", "", 2, &["--servers: this scenario has one server"]);
    fails("idle --url http://127.0.0.1:1 --key k -n 10", "", 1, &["client b-", "refused"]);
}
