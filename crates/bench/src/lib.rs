//! The load generator and the floor that it is measured against.
