//! Rate limits: one token bucket for each peer, refilled at the permitted rate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::peer::{Peer, UnixName};

/// The most peers with buckets of their own. Beyond it, full buckets are dropped, which changes nothing for their
/// peers.
const MOST_PEERS: usize = 1 << 16;
/// The interval at which full buckets are dropped.
const SWEEP: Duration = Duration::from_secs(1);
/// The prefix length of an IPv6 network. All addresses in it count as one peer, since one host can use all of them.
const NETWORK_BITS: u32 = 64;

/// A limit of requests per second for each peer. A burst may use the tokens of one second.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Default, Debug)]
struct Buckets {
    by_peer: HashMap<Key, Bucket>,
    swept: Option<Instant>,
}

/// The identity of a peer. Names of reply FIFOs change with each call, so all FIFO clients are one peer. Peers for
/// which the table has no room share one bucket, too.
#[derive(PartialEq, Eq, Hash, Debug)]
enum Key {
    Everybody,
    Host(Ipv4Addr),
    Network(u128),
    User(u32),
    Socket(Vec<u8>),
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    since: Instant,
}

impl Rate {
    /// Creates a limit of `per_second` requests per second.
    pub fn new(per_second: f64) -> Self {
        Rate { per_second, buckets: Mutex::default() }
    }

    /// Takes a token for a request; false if the peer is over the rate.
    pub fn allows(&self, peer: &Peer, now: Instant) -> bool {
        let (rate, most) = (self.per_second, self.per_second.max(1.0));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = buckets.room_for(Key::of(peer), now, |bucket| bucket.tokens_at(now, rate, most) < most);
        let bucket = buckets.by_peer.entry(key).or_insert(Bucket { tokens: most, since: now });
        bucket.tokens = bucket.tokens_at(now, rate, most);
        bucket.since = now;
        let has_token = bucket.tokens >= 1.0;
        if has_token {
            bucket.tokens -= 1.0;
        }
        has_token
    }
}

impl Buckets {
    /// The key itself if it has a bucket or there is room for one, else the shared key.
    fn room_for(&mut self, key: Key, now: Instant, is_in_use: impl Fn(&Bucket) -> bool) -> Key {
        if self.by_peer.len() < MOST_PEERS || self.by_peer.contains_key(&key) {
            return key;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.by_peer.retain(|_, bucket| is_in_use(bucket));
        }
        if self.by_peer.len() < MOST_PEERS { key } else { Key::Everybody }
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
            Peer::Inet(address) => match address.ip().to_canonical() {
                IpAddr::V4(host) => Key::Host(host),
                IpAddr::V6(host) => Key::Network(host.to_bits() >> (128 - NETWORK_BITS)),
            },
            // A process can bind any number of names, so the user identifies the peer.
            Peer::Unix(name) => name.user().map_or_else(|| Key::Socket(UnixName::as_bytes(name).to_vec()), Key::User),
            Peer::Fifo(_) | Peer::Unknown => Key::Everybody,
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn peer(address: &str) -> Peer {
        Peer::Inet(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer_and_mapped_ones_are_ipv4() {
        let (rate, now) = (Rate::new(1.0), Instant::now());
        let allowed = |address: &str| rate.allows(&peer(address), now);
        assert!(allowed("[2001:db8:1:2::1]:1"));
        assert!(!allowed("[2001:db8:1:2:ffff::9]:1"));
        assert!(allowed("[2001:db8:1:3::1]:1"));
        assert!(allowed("10.0.0.1:1"));
        assert!(!allowed("[::ffff:10.0.0.1]:1"));
    }

    #[test]
    fn the_table_is_bounded_and_a_flood_evicts_no_active_peer() {
        let (rate, now) = (Rate::new(1.0), Instant::now());
        let flood = |from: u32| peer(&format!("{}:1", Ipv4Addr::from(from)));
        for from in 0..2 * MOST_PEERS as u32 {
            rate.allows(&flood(from), now);
        }
        assert!(rate.buckets.lock().expect("no panic").by_peer.len() <= MOST_PEERS + 1);
        assert!(!rate.allows(&flood(0), now), "the first is still known");
        assert!(rate.allows(&flood(9 * MOST_PEERS as u32), now + Duration::from_secs(2)), "there is room again");
    }
}
