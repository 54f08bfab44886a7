//! The locks of what is checked under every interleaving: `tests/loom.rs` has others of the same names.

pub(super) use std::sync::Mutex;
