//! The use cases, one file per verb, between the ports and the shells.
