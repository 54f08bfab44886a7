//! Addresses and networks, as server, client and gateway use them.

pub mod peer;
