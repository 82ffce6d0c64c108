//! Moves bytes between nodes.
