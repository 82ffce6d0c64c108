//! A process that is killed while it appends: whatever it said was accepted is there afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tidings_model::{Durability, Seq};

use super::{directory, open};
use crate::conformance::given::{demo, device, message, register, topic};
use crate::conformance::messages::at_once;
use crate::conformance::run;
use crate::port::{Appended, From};
use crate::{Messages, Which};

const DIRECTORY: &str = "TIDINGS_TEST_KILLED_DIRECTORY";
const ROUNDS: u64 = 24;
const TASKS: usize = 8;

/// The process that gets killed. Run without being told a directory, it does nothing.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = open(Path::new(&directory));
    let first = store.head(&demo()).0;
    run(async {
        let tasks = (0..TASKS).map(|task| {
            let store = &store;
            async move {
                for call in 0.. {
                    let id = format!("{first}-{task}-{call}");
                    let durability = if call % 2 == 0 { Durability::Durable } else { Durability::Memory };
                    let messages = vec![message(&id, &["all", ["room:a", "room:b", "room:c"][call % 3]])];
                    let appended = store.append(messages, durability).await.unwrap();
                    let [Appended::New(stored, _)] = &appended[..] else { panic!("{appended:?}") };
                    say(&format!("accepted {id} {} {}", stored.seq.0, stored.topics[0].1));
                    if call % 5 == 0 {
                        let registered = register(store, device(&id, "ann", 1)).await;
                        say(&format!("registered {id} {} 0", registered.device.ordinal.0));
                    }
                }
            }
        });
        at_once(tasks.collect()).await;
    });
}

/// One whole line in one write: a kill cannot leave half of it.
fn say(line: &str) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[test]
fn what_was_accepted_is_there_after_every_kill() {
    let directory = directory();
    let mut said: BTreeMap<String, (String, u64, u64)> = BTreeMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Now and then before it has said anything: while it opens.
        let lines = if round % 6 == 0 { 0 } else { random >> 33 & 0x7f };
        run_and_kill(directory.path(), lines as usize, &mut said);
        check(directory.path(), &said);
    }
    let accepted = said.values().filter(|(what, ..)| what == "accepted").count();
    assert!(accepted as u64 > ROUNDS * 20, "only {accepted} messages were accepted");
}

fn run_and_kill(directory: &Path, lines: usize, said: &mut BTreeMap<String, (String, u64, u64)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::killed::child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut heard = 0;
    let mut killed = lines == 0;
    if killed {
        child.kill().unwrap();
    }
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let [what @ ("accepted" | "registered"), id, number, offset] = words[..] else { continue };
        said.insert(format!("{what} {id}"), (what.into(), number.parse().unwrap(), offset.parse().unwrap()));
        heard += 1;
        if heard >= lines && !killed {
            killed = true;
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
}

fn check(directory: &Path, said: &BTreeMap<String, (String, u64, u64)>) {
    let store = open(directory);
    run(async {
        for (key, (what, number, offset)) in said {
            let id = key.split_once(' ').unwrap().1;
            if what == "accepted" {
                let seq = store.find(&demo(), &id.parse().unwrap()).await.unwrap();
                assert_eq!(seq, Some(Seq(*number)), "{id}");
                let stored =
                    store.messages(&demo(), vec![Seq(*number)]).await.unwrap().pop().flatten().unwrap();
                assert_eq!((stored.id.as_str(), stored.topics[0].1), (id, *offset));
            } else {
                use crate::Devices;
                let which = Which::Ids(vec![id.parse().unwrap()]);
                let found = store.devices(&demo(), which).await.unwrap().pop().flatten().unwrap();
                assert_eq!(u64::from(found.ordinal.0), *number);
            }
        }
        for text in ["all", "room:a", "room:b", "room:c"] {
            let log =
                store.read_topic(&demo(), &topic(text), From::AfterOffset(0), usize::MAX).await.unwrap();
            assert!(!log.truncated);
            let offsets: Vec<u64> = log.entries.iter().map(|entry| entry.0).collect();
            assert_eq!(offsets, (1..=log.head).collect::<Vec<_>>(), "{text}");
            assert!(log.entries.is_sorted_by_key(|entry| entry.1));
            let seqs: Vec<Seq> = log.entries.iter().map(|entry| entry.1).collect();
            assert!(store.messages(&demo(), seqs).await.unwrap().iter().all(Option::is_some));
        }
    });
}
