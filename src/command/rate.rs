//! Rate limits: one token bucket for each peer, refilled at the permitted rate, common to all processes of a server.
//!
//! A bucket is one number, the moment at which it is full again (GCRA, ITU-T I.371): taking a token moves that moment
//! by the interval between two tokens. So it changes in one step, without a lock, and the death of a process leaves it
//! whole.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zerocopy::FromZeros;

use crate::peer::{Peer, UnixName};
use crate::sys::shared_memory::SharedTable;

/// The number of buckets. Peers are distributed among them by hash. The kernel allocates those that are used.
const BUCKETS: usize = 1 << 17;
/// The number of buckets next to each other in which a peer may have its own. If all of them are in use, the peer
/// shares the bucket of all peers without one.
const WINDOW: usize = 16;
/// The prefix length of an IPv6 network. All addresses in it count as one peer, since one host can use all of them.
const NETWORK_BITS: u32 = 64;
const NANOSECONDS: u64 = 1_000_000_000;

/// A limit of requests per second for each peer. A burst may use the tokens of one second.
///
/// Processes that are forked later share it.
#[derive(Debug)]
pub struct Rate {
    /// The nanoseconds between two tokens.
    interval: u64,
    /// The nanoseconds in which an empty bucket is refilled.
    burst: u64,
    start: Instant,
    /// With random keys, so that a peer cannot choose an address whose bucket is that of another.
    hasher: RandomState,
    buckets: SharedTable<Bucket, Bucket>,
}

/// A bucket. Zeroes are one that is full and belongs to no peer.
#[derive(FromZeros, Debug)]
#[repr(C)]
struct Bucket {
    /// The hash of its peer; 0 for none.
    peer: AtomicU64,
    /// The nanoseconds from the start to the moment at which it is full again.
    full_at: AtomicU64,
}

/// The identity of a peer. Names of reply FIFOs change with each call, so all FIFO clients are one peer.
#[derive(Hash)]
enum Key<'a> {
    Everybody,
    Host(Ipv4Addr),
    Network(u128),
    User(u32),
    Socket(&'a [u8]),
}

/// As many nanoseconds as fit.
fn nanoseconds(seconds: f64) -> u64 {
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Rate {
    /// Creates a limit of `per_second` requests per second.
    pub fn new(per_second: f64) -> io::Result<Self> {
        let interval = nanoseconds(1.0 / per_second).max(1);
        Ok(Rate {
            interval,
            // With half a token for what rounding the interval adds up to.
            burst: interval.max(NANOSECONDS).saturating_add(interval / 2),
            start: Instant::now(),
            hasher: RandomState::new(),
            buckets: SharedTable::new_shared(BUCKETS)?,
        })
    }

    /// Takes a token for a request; false if the peer is over the rate.
    pub fn allows(&self, peer: &Peer, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let latest = now.saturating_add(self.burst);
        let take = |full_at: u64| Some(full_at.max(now).saturating_add(self.interval)).filter(|next| *next <= latest);
        self.bucket(peer, now).full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// The bucket of a peer, which may be that of all peers without one.
    fn bucket(&self, peer: &Peer, now: u64) -> &Bucket {
        let common = self.buckets.head();
        let key = Key::of(peer);
        if matches!(key, Key::Everybody) {
            return common;
        }
        let hash = self.hasher.hash_one(key).max(1);
        let first = hash as usize % (BUCKETS - WINDOW);
        let window = &self.buckets.items()[first..first + WINDOW];
        let own = || window.iter().find(|bucket| bucket.peer.load(Ordering::Relaxed) == hash);
        own().or_else(|| window.iter().find(|bucket| bucket.is_given_to(hash, now))).or_else(own).unwrap_or(common)
    }
}

impl Bucket {
    /// Gives a full bucket to another peer, which changes nothing for the former one. False if it is in use.
    fn is_given_to(&self, hash: u64, now: u64) -> bool {
        let former = self.peer.load(Ordering::Relaxed);
        self.full_at.load(Ordering::Relaxed) <= now
            && self.peer.compare_exchange(former, hash, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<'a> Key<'a> {
    fn of(peer: &'a Peer) -> Self {
        match peer {
            Peer::Inet(address) => match address.ip().to_canonical() {
                IpAddr::V4(host) => Key::Host(host),
                IpAddr::V6(host) => Key::Network(host.to_bits() >> (128 - NETWORK_BITS)),
            },
            // A process can bind any number of names, so the user identifies the peer.
            Peer::Unix(name) => name.user().map_or_else(|| Key::Socket(UnixName::as_bytes(name)), Key::User),
            Peer::Fifo(_) | Peer::Unknown => Key::Everybody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> Rate {
        Rate::new(per_second).expect("memory")
    }

    #[test]
    fn a_second_worth_may_come_at_once_and_no_more() {
        let rate = rate(3.0);
        let start = rate.start;
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
    fn a_second_worth_is_exact_for_every_rate() {
        for per_second in 1..200_u32 {
            let (rate, alice) = (rate(f64::from(per_second)), peer("10.0.0.1:1"));
            let allowed = (0..2 * per_second).filter(|_| rate.allows(&alice, rate.start)).count();
            assert_eq!(allowed, per_second as usize);
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer_and_mapped_ones_are_ipv4() {
        let rate = rate(1.0);
        let now = rate.start;
        let allowed = |address: &str| rate.allows(&peer(address), now);
        assert!(allowed("[2001:db8:1:2::1]:1"));
        assert!(!allowed("[2001:db8:1:2:ffff::9]:1"));
        assert!(allowed("[2001:db8:1:3::1]:1"));
        assert!(allowed("10.0.0.1:1"));
        assert!(!allowed("[::ffff:10.0.0.1]:1"));
    }

    #[test]
    fn a_flood_takes_the_bucket_of_no_active_peer_and_idle_buckets_are_given_away() {
        const PEERS: u32 = 1 << 16;
        let rate = rate(1.0);
        let now = rate.start;
        let flood = |from: u32| peer(&format!("{}:1", Ipv4Addr::from(from)));
        for from in 0..4 * PEERS {
            rate.allows(&flood(from), now);
        }
        assert!((0..PEERS).all(|from| !rate.allows(&flood(from), now)), "the first peers are still known");
        assert!(rate.allows(&flood(9 * PEERS), now + Duration::from_secs(2)), "there is room again");
    }

    #[test]
    fn the_slowest_and_the_fastest_rates_are_limits() {
        let [slow, fast] = [rate(1e-9), rate(1e9)];
        let allowed =
            |rate: &Rate, times: u32| (0..times).filter(|_| rate.allows(&peer("10.0.0.1:1"), rate.start)).count();
        assert_eq!((allowed(&slow, 3), allowed(&fast, 1000)), (1, 1000));
    }
}
