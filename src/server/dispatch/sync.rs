//! The locks of what is checked under every interleaving: `tests/loom.rs` has others of the same names.

pub(crate) use std::sync::Mutex;
