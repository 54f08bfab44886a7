//! The faults and peculiarities of real OpenSIPS versions that a server with `emulate` reproduces.

pub(crate) mod hazards;
pub(crate) mod http;
