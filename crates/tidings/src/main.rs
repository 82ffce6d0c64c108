//! The Tidings server.
fn main() {}
