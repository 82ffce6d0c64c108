//! Use cases against the in-memory store, with a clock that the tests move.
