//! Clients whose socket is connected to the server's named socket. The kernel accepts replies for them from that socket
//! only.
//!
//! The kernel tells how many bytes of that socket are unread, but not by which clients. Each client and each user gets
//! a share of the send buffer. When a client has been sent its share, the number of unread bytes shows whether it
//! reads. The share of a client that does not read is held, and is subtracted from the unread bytes when other clients
//! are judged.

use std::collections::HashMap;

use crate::transport::unnamed_socket::Client;

/// The fraction of the send buffer that a client may leave unread. The same fraction may be on its way to clients that
/// read.
const SHARES: usize = 32;
/// The fraction of the send buffer that all clients of a user may leave unread together.
const USER_SHARES: usize = 3;
/// A reply that exceeds a share leaves this fraction of the buffer to other clients.
const LEFT_BY_LARGE: usize = 2;
/// The most clients that are remembered. Beyond it, clients that hold nothing are forgotten.
const MOST_PEERS: usize = 4096;
/// The most users with shares of their own; all further users have one share together.
const MOST_USERS: usize = 64;
/// The approximate size that the kernel charges for a datagram in addition to its bytes.
const OVERHEAD: usize = 1024;

/// The accounts of clients and of their users.
#[derive(Default)]
pub(crate) struct ConnectedPeers {
    clients: HashMap<Box<[u8]>, Account>,
    users: HashMap<Option<u32>, User>,
}

#[derive(Default)]
struct Account {
    /// Bytes sent since the client was last known to have read everything.
    sent: usize,
    is_held: bool,
}

#[derive(Default)]
struct User {
    /// An upper bound of the bytes that its clients have not read.
    sent: usize,
    /// True if it has used up its share.
    is_held: bool,
    /// The bytes held by those of its clients that do not read.
    held_by_clients: usize,
}

/// The send buffer: its size, and a function that returns how many bytes all clients together have not read.
pub(crate) struct Buffer<F> {
    pub(crate) size: usize,
    pub(crate) unread: F,
}

impl ConnectedPeers {
    /// Adds a client, by its address.
    pub(crate) fn insert(&mut self, peer: &[u8]) {
        if self.clients.len() >= MOST_PEERS {
            self.clients.retain(|_, account| account.is_held);
        }
        if self.clients.len() < MOST_PEERS {
            self.clients.entry(peer.into()).or_default();
        }
    }

    /// Returns true if a client is known to be connected.
    pub(crate) fn contains(&self, peer: &[u8]) -> bool {
        self.clients.contains_key(peer)
    }

    /// Returns true, and counts the reply, if a reply may be sent to a client now.
    pub(crate) fn admits(&mut self, client: Client<'_>, size: usize, buffer: &Buffer<impl Fn() -> usize>) -> bool {
        let is_told_apart = self.users.len() < MOST_USERS || self.users.contains_key(&client.user);
        let (user, cost) = (client.user.filter(|_| is_told_apart), size + OVERHEAD);
        if !self.user_has_room(user, cost, buffer) || !self.client_has_room(client.address, user, cost, buffer) {
            return false;
        }
        self.users.entry(user).or_default().sent += cost;
        true
    }

    /// Returns true if all clients of a user together leave enough room to other users.
    fn user_has_room(&mut self, key: Option<u32>, cost: usize, buffer: &Buffer<impl Fn() -> usize>) -> bool {
        let share = buffer.size / USER_SHARES;
        let sent = self.users.entry(key).or_default().sent;
        if sent + cost <= share {
            return true;
        }
        let unread = (buffer.unread)();
        let others = self.users.iter().filter(|(other, user)| **other != key && user.is_held);
        let held_by_others: usize = others.map(|(_, user)| user.sent).sum();
        let has_read = unread <= held_by_others + share;
        let user = self.users.entry(key).or_default();
        (user.sent, user.is_held) = (sent.min(unread), !has_read);
        has_read
    }

    fn client_has_room(
        &mut self,
        address: &[u8],
        user: Option<u32>,
        cost: usize,
        buffer: &Buffer<impl Fn() -> usize>,
    ) -> bool {
        let others = self.users.iter().filter(|(other, _)| **other != user);
        let sent_to_others = || others.map(|(_, user)| user.sent).sum::<usize>();
        let Some(account) = self.clients.get_mut(address) else { return false };
        let share = buffer.size / SHARES;
        if account.sent + cost <= share {
            account.sent += cost;
            return true;
        }
        let (unread, sent_to_others) = ((buffer.unread)(), sent_to_others());
        let held = &mut self.users.entry(user).or_default().held_by_clients;
        let held_by_others = held.saturating_sub(if account.is_held { account.sent } else { 0 });
        let has_read = account.sent == 0 || unread <= held_by_others + sent_to_others + share;
        if !has_read {
            if !account.is_held {
                *held += account.sent;
            }
            account.is_held = true;
            return false;
        }
        (*held, account.is_held, account.sent) = (held_by_others, false, 0);
        if cost > share && unread + cost > buffer.size / LEFT_BY_LARGE {
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
        unread: HashMap<Vec<u8>, usize>,
    }

    impl Kernel {
        fn send(&mut self, peer: &[u8], size: usize) -> bool {
            self.send_to_user(peer, None, size)
        }

        fn send_to_user(&mut self, address: &[u8], user: Option<u32>, size: usize) -> bool {
            self.peers.insert(address);
            let unread: usize = self.unread.values().sum();
            let buffer = Buffer { size: BUFFER, unread: || unread };
            let is_sent =
                self.peers.admits(Client { address, user }, size, &buffer) && unread + size + OVERHEAD <= BUFFER;
            if is_sent {
                *self.unread.entry(address.into()).or_default() += size + OVERHEAD;
            }
            is_sent
        }

        fn read(&mut self, peer: &[u8]) {
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
            let honest: &[u8] = if number % 2 == 0 { b"one" } else { b"other" };
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
        assert!(peers.clients.len() <= MOST_PEERS);
    }

    #[test]
    fn many_clients_of_one_user_that_do_not_read_leave_room_for_clients_of_others() {
        for size in [10, REPLY, BUFFER / 100] {
            let mut kernel = Kernel::default();
            for number in 0..10_000 {
                // The kernel is not asked for users until replies have to wait.
                let user = (number >= 20).then_some(1000);
                for _ in 0..3 {
                    kernel.send_to_user(number.to_string().as_bytes(), user, size);
                }
            }
            for number in 0..1000 {
                assert!(kernel.send_to_user(b"honest", Some(7), REPLY), "{size} {number}");
                kernel.read(b"honest");
            }
        }
    }

    #[test]
    fn users_are_told_apart_up_to_a_limit() {
        let mut kernel = Kernel::default();
        for user in 0..1000 {
            kernel.send_to_user(b"one", Some(user), 10);
            kernel.read(b"one");
        }
        assert!(kernel.peers.users.len() <= MOST_USERS + 1);
    }
}
