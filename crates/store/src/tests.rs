//! Long tests: both stores held to the port, and what only a disk can do wrong.

mod conformance;
