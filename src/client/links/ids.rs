//! The ids of requests.

use std::sync::atomic::{AtomicU32, Ordering};

/// Ids start again here: servers keep them in 32 bits with a sign.
const COUNT: u32 = 0x7fff_ffff;

/// Numbers the requests of a client.
///
/// The first number cannot be guessed, so that only a peer that sees the requests could answer in the server's place.
#[derive(Debug)]
pub(in crate::client) struct Ids(AtomicU32);

impl Ids {
    pub(in crate::client) fn random() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Ids(AtomicU32::new(RandomState::new().build_hasher().finish() as u32))
    }

    /// The next id.
    pub(in crate::client) fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) % COUNT + 1
    }

    /// Goes on from here in a child of this process.
    pub(in crate::client) fn after_fork(&self) -> Self {
        Ids(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }
}
