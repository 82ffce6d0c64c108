//! Some hundred histories, and that a seed says all there is to say about one.

#[test]
fn no_promise_is_broken() {
    for seed in 0..150 {
        let outcome = tidings_sim::run(seed, 100);
        assert!(outcome.messages > 5, "seed {seed}:\n{}", outcome.log);
    }
}

#[test]
fn a_seed_is_a_history() {
    for seed in [1, 7, 42] {
        assert_eq!(tidings_sim::run(seed, 120), tidings_sim::run(seed, 120));
    }
}
