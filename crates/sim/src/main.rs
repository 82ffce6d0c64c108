//! Runs histories: `tidings-sim --seed 42` for one, with its log; `tidings-sim --seeds 1000` for many.

use std::process::ExitCode;

/// Steps of a history.
const STEPS: usize = 120;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut first, mut count, mut steps) = (0, 100, STEPS);
    let mut one = false;
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|text| text.parse::<u64>().ok());
        match (argument.as_str(), number) {
            ("--seed", Some(seed)) => (first, count, one) = (seed, 1, true),
            ("--seeds", Some(seeds)) => count = seeds,
            ("--from", Some(seed)) => first = seed,
            ("--steps", Some(number)) => steps = number as usize,
            _ => {
                eprintln!("usage: tidings-sim [--seed N | --from N --seeds COUNT] [--steps COUNT]");
                return ExitCode::FAILURE;
            }
        }
    }
    let (mut messages, mut given) = (0, 0);
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| tidings_sim::run(seed, steps));
        match run {
            Ok(outcome) => {
                messages += outcome.messages;
                given += outcome.given;
                if one {
                    print!("{}", outcome.log);
                }
            }
            Err(_) => {
                eprintln!(
                    "seed {seed} broke a promise; again: cargo run -p tidings-sim -- --seed {seed} --steps {steps}"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} histories of {steps} steps: {messages} messages, {given} given, no promise broken");
    ExitCode::SUCCESS
}
