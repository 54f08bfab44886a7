//! Connections that are kept for the next request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::channel::Channel;
use crate::sys::process::forks;

/// More connections than this are not kept.
const MOST: usize = 64;

/// OpenSIPS 3.5 and later close a connection that was idle for 30 s. The client closes its connections earlier.
const LONGEST_IDLE: Duration = Duration::from_secs(25);

/// Idle connections to one server; the one that was used last is used first.
#[derive(Debug, Default)]
pub(in crate::client) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    channel: Channel,
    since: Instant,
    /// A child of this process has its connections too, and must not speak on them.
    forks: u32,
}

impl Pool {
    /// A connection on which the server has said nothing since its last answer.
    pub(in crate::client) fn take(&self) -> Option<Channel> {
        loop {
            let Idle { mut channel, since, forks: made_at } = self.lock().pop()?;
            let is_ours = made_at == forks();
            if is_ours && since.elapsed() < LONGEST_IDLE && channel.is_quiet() {
                return Some(channel);
            }
        }
    }

    pub(in crate::client) fn keep(&self, channel: Channel) {
        let mut idle = self.lock();
        if idle.len() >= MOST {
            idle.remove(0);
        }
        idle.push(Idle { channel, since: Instant::now(), forks: forks() });
    }

    /// Closes them all.
    pub(in crate::client) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
