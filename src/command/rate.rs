//! How often one peer asks: a bucket of tokens for each, which fills at the rate that is allowed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Peer, UnixName};

/// More peers than this are not told apart any better: the full buckets are forgotten, which changes nothing for them.
const MOST_PEERS: usize = 1 << 16;

/// A limit of requests a second, for each peer by itself. A second's worth may come at once.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    buckets: Mutex<HashMap<Key, Bucket>>,
}

/// Who is counted as one. Names of reply FIFOs are new for each call, so all who use a FIFO are one peer.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Key {
    Everybody,
    Host(IpAddr),
    Socket(Vec<u8>),
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    since: Instant,
}

impl Rate {
    /// So many requests a second.
    pub fn new(per_second: f64) -> Self {
        Rate { per_second, buckets: Mutex::default() }
    }

    /// Whether a request now is within the rate; it counts if it is.
    pub fn allows(&self, peer: &Peer, now: Instant) -> bool {
        let (rate, most) = (self.per_second, self.per_second.max(1.0));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_PEERS {
            buckets.retain(|_, bucket| bucket.tokens_at(now, rate, most) < most);
        }
        if buckets.len() >= MOST_PEERS {
            // All of them are busy: a flood from everywhere.
            buckets.clear();
        }
        let bucket = buckets.entry(Key::of(peer)).or_insert(Bucket { tokens: most, since: now });
        bucket.tokens = bucket.tokens_at(now, rate, most);
        bucket.since = now;
        let has_token = bucket.tokens >= 1.0;
        if has_token {
            bucket.tokens -= 1.0;
        }
        has_token
    }
}

impl Bucket {
    fn tokens_at(&self, now: Instant, rate: f64, most: f64) -> f64 {
        (self.tokens + now.saturating_duration_since(self.since).as_secs_f64() * rate).min(most)
    }
}

impl Key {
    fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Inet(address) => Key::Host(address.ip()),
            Peer::Unix(name) => Key::Socket(UnixName::as_bytes(name).to_vec()),
            Peer::Fifo(_) | Peer::Unknown => Key::Everybody,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_worth_may_come_at_once_and_no_more() {
        let (rate, start) = (Rate::new(3.0), Instant::now());
        let [alice, bob] = ["10.0.0.1:1", "10.0.0.2:1"].map(|peer| Peer::Inet(peer.parse().expect("an address")));
        let allowed = |peer: &Peer, after: f64| rate.allows(peer, start + Duration::from_secs_f64(after));
        assert_eq!([0.0, 0.0, 0.0, 0.0].map(|after| allowed(&alice, after)), [true, true, true, false]);
        assert!(allowed(&bob, 0.0), "each peer has its own");
        assert_eq!([0.34, 0.35].map(|after| allowed(&alice, after)), [true, false]);
    }
}
