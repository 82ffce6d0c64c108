//! A frame of the JSON protocol. Whatever is answered is valid JSON, with the id that was given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::json;

const COMMANDS_MAX: usize = 16;

fuzz_target!(|text: &str| {
    let Ok(commands) = json::decode(text, COMMANDS_MAX) else { return };
    assert!(commands.len() <= COMMANDS_MAX);
    for command in commands {
        let answer = match command {
            Ok(command) => json::ok(command.id, "{}"),
            Err(refusal) => json::error(refusal.id, "invalid_request", &refusal.error.to_string()),
        };
        // The answer to a command is never mistaken for a command.
        let answered = json::decode(&answer, 1).expect("an answer is a JSON object").next();
        assert!(answered.is_some_and(|answered| answered.is_err()));
    }
});
