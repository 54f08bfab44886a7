//! Clients whose socket is connected to the server's named socket, and can be answered from that socket only.
//!
//! The kernel says how many bytes of that socket are unread in all, and not by whom. A client gets a share of the send
//! buffer. When it has been sent that much, the bytes that are unread tell whether it reads: a client that does not
//! has its share held, and what others hold explains what is unread besides.

use std::collections::HashMap;

/// A client may leave this part of the send buffer unread. As much may be on its way to clients that do read.
const SHARES: usize = 32;
/// A reply that is larger than a share leaves this part of the buffer to others.
const LEFT_BY_LARGE: usize = 2;
/// So many clients are remembered; then the ones that hold nothing are forgotten.
const MOST_PEERS: usize = 4096;
/// What the kernel charges for a datagram beside its bytes, about.
const OVERHEAD: usize = 1024;

/// The accounts of the clients.
#[derive(Default)]
pub(crate) struct ConnectedPeers {
    accounts: HashMap<Box<[u8]>, Account>,
    /// The sum of what clients hold.
    held: usize,
}

#[derive(Default)]
struct Account {
    /// Bytes sent since it was last known to have read all.
    sent: usize,
    is_held: bool,
}

impl ConnectedPeers {
    /// Remembers a client, by its address.
    pub(crate) fn insert(&mut self, peer: &[u8]) {
        if self.accounts.len() >= MOST_PEERS {
            self.accounts.retain(|_, account| account.is_held);
        }
        if self.accounts.len() < MOST_PEERS {
            self.accounts.entry(peer.into()).or_default();
        }
    }

    /// Whether a client is known to be connected.
    pub(crate) fn contains(&self, peer: &[u8]) -> bool {
        self.accounts.contains_key(peer)
    }

    /// Whether a reply may be sent to a client now, which is then counted. `unread` asks the kernel for the bytes that
    /// all clients together have not read.
    pub(crate) fn admits(&mut self, peer: &[u8], size: usize, buffer: usize, unread: impl FnOnce() -> usize) -> bool {
        let Some(account) = self.accounts.get_mut(peer) else { return false };
        let (share, cost) = (buffer / SHARES, size + OVERHEAD);
        if account.sent + cost <= share {
            account.sent += cost;
            return true;
        }
        let unread = unread();
        let held_by_others = self.held - if account.is_held { account.sent } else { 0 };
        let has_read = account.sent == 0 || unread <= held_by_others + share;
        match (has_read, account.is_held) {
            (true, true) => self.held -= account.sent,
            (false, false) => self.held += account.sent,
            _ => {}
        }
        account.is_held = !has_read;
        if !has_read {
            return false;
        }
        account.sent = 0;
        if cost > share && unread + cost > buffer / LEFT_BY_LARGE {
            return false;
        }
        account.sent = cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: usize = 1 << 20;
    const REPLY: usize = 1000;

    /// A send buffer, and the bytes in it by client.
    #[derive(Default)]
    struct Kernel {
        peers: ConnectedPeers,
        unread: HashMap<&'static [u8], usize>,
    }

    impl Kernel {
        fn send(&mut self, peer: &'static [u8], size: usize) -> bool {
            self.peers.insert(peer);
            let unread: usize = self.unread.values().sum();
            let is_sent = self.peers.admits(peer, size, BUFFER, || unread);
            if is_sent {
                *self.unread.entry(peer).or_default() += size + OVERHEAD;
            }
            is_sent
        }

        fn read(&mut self, peer: &'static [u8]) {
            self.unread.remove(peer);
        }
    }

    #[test]
    fn a_client_that_does_not_read_fills_two_shares_at_most() {
        let mut kernel = Kernel::default();
        let sent = (0..10_000).filter(|_| kernel.send(b"stalled", REPLY)).count();
        assert!(sent > 1 && sent * (REPLY + OVERHEAD) <= 2 * BUFFER / SHARES);
    }

    #[test]
    fn clients_that_read_are_answered_beside_others_that_do_not() {
        let mut kernel = Kernel::default();
        for stalled in [b"s1", b"s2", b"s3", b"s4", b"s5", b"s6", b"s7", b"s8"] {
            while kernel.send(stalled, REPLY) {}
        }
        for number in 0..10_000 {
            let honest: &'static [u8] = if number % 2 == 0 { b"one" } else { b"other" };
            assert!(kernel.send(honest, REPLY), "{number}");
            kernel.read(honest);
        }
        kernel.read(b"s3");
        assert!(kernel.send(b"s3", REPLY), "it has read again");
    }

    #[test]
    fn one_reply_larger_than_a_share_is_sent_and_the_next_when_it_was_read() {
        let mut kernel = Kernel::default();
        assert!(kernel.send(b"one", BUFFER / 10));
        assert!(!kernel.send(b"one", BUFFER / 10));
        kernel.read(b"one");
        assert!(kernel.send(b"one", BUFFER / 10));
    }

    #[test]
    fn the_number_of_clients_is_bounded() {
        let mut peers = ConnectedPeers::default();
        for number in 0..3 * MOST_PEERS {
            peers.insert(number.to_string().as_bytes());
        }
        assert!(peers.accounts.len() <= MOST_PEERS);
    }
}
