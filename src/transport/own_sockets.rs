//! Reply sockets for single clients, used while the socket for all clients is full.
//!
//! The kernel tells how many bytes sent from a socket are unread, but not by which receivers. With a socket of its own,
//! a client that does not read its replies fills only its own buffer. A user gets no more of these sockets than are
//! left for other users; further clients of the user share them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::unnamed_socket::{Client, open, unread};

/// With buffers of 1 MiB, at most 64 MiB wait in the kernel.
const SOCKETS: usize = 64;
/// The most clients that are remembered. Beyond it the table is cleared, and clients get sockets again.
const MOST_CLIENTS: usize = 4096;
/// While fewer sockets than this are idle, another one is opened, so that clients that alternate keep their sockets.
const IDLE: usize = 4;
/// A socket is shared while at least this part of its buffer is free.
const FREE_SHARE: usize = 8;

/// The sockets, which are opened on demand.
#[derive(Default)]
pub(super) struct OwnSockets {
    sockets: Vec<OwnSocket>,
    by_client: HashMap<Box<[u8]>, Assignment>,
    /// The number of assignments so far.
    clock: u64,
    /// The size of each socket's send buffer.
    buffer: usize,
}

struct OwnSocket {
    fd: OwnedFd,
    user: Option<u32>,
    /// The assignment with which a client first got it for itself alone.
    assigned: u64,
    is_shared: bool,
}

/// The assignment of a socket to a client, valid until another client gets the socket.
#[derive(Clone, Copy)]
struct Assignment {
    number: usize,
    assigned: u64,
}

impl OwnSockets {
    /// The socket from which a client of a user is answered; `None` if all sockets that the user may have are full.
    pub(super) fn socket_for(&mut self, client: Client<'_>) -> Option<BorrowedFd<'_>> {
        let known = self.by_client.get(client.address).copied();
        let number = match known.filter(|known| self.is_still_right(*known)) {
            Some(known) => known.number,
            None => self.assign(client)?,
        };
        Some(self.sockets[number].fd.as_fd())
    }

    /// Returns true if no other client got the socket since. A shared socket must also have room: unread replies of
    /// other clients may fill it.
    fn is_still_right(&self, known: Assignment) -> bool {
        let socket = &self.sockets[known.number];
        socket.assigned == known.assigned && (!socket.is_shared || self.has_room(unread(socket.fd.as_fd())))
    }

    fn assign(&mut self, Client { address, user }: Client<'_>) -> Option<usize> {
        let waiting: Vec<usize> = self.sockets.iter().map(|socket| unread(socket.fd.as_fd())).collect();
        let number = self.idle_socket(&waiting, user).or_else(|| self.shared_socket(&waiting, user))?;
        if self.by_client.len() >= MOST_CLIENTS {
            self.by_client.clear();
        }
        let assigned = self.sockets[number].assigned;
        self.by_client.insert(address.into(), Assignment { number, assigned });
        Some(number)
    }

    /// A socket whose replies are all read, or a new one, if the user has no more sockets than are left for others.
    fn idle_socket(&mut self, waiting: &[usize], user: Option<u32>) -> Option<usize> {
        let in_use = waiting.iter().filter(|bytes| **bytes > 0).count();
        let theirs = self.sockets.iter().zip(waiting).filter(|(socket, bytes)| **bytes > 0 && socket.user == user);
        if theirs.count() >= SOCKETS - in_use {
            return None;
        }
        self.clock += 1;
        let assigned = self.clock;
        if waiting.len() - in_use < IDLE && waiting.len() < SOCKETS && self.open_another().is_ok() {
            self.sockets.last_mut()?.take_over(user, assigned);
            return Some(self.sockets.len() - 1);
        }
        let idle = self.sockets.iter_mut().enumerate().filter(|(number, _)| waiting.get(*number) == Some(&0));
        let (number, socket) = idle.min_by_key(|(_, socket)| socket.assigned)?;
        socket.take_over(user, assigned);
        Some(number)
    }

    /// The user's socket with the fewest unread bytes, if it has room.
    fn shared_socket(&mut self, waiting: &[usize], user: Option<u32>) -> Option<usize> {
        let theirs = self.sockets.iter().zip(waiting).enumerate().filter(|(_, (socket, _))| socket.user == user);
        let (number, (_, bytes)) = theirs.min_by_key(|(_, (_, bytes))| **bytes)?;
        if !self.has_room(*bytes) {
            return None;
        }
        self.sockets[number].is_shared = true;
        Some(number)
    }

    fn has_room(&self, unread: usize) -> bool {
        unread <= self.buffer - self.buffer / FREE_SHARE
    }

    fn open_another(&mut self) -> io::Result<()> {
        let (fd, buffer) = open()?;
        self.buffer = buffer;
        self.sockets.push(OwnSocket { fd, user: None, assigned: 0, is_shared: false });
        Ok(())
    }
}

impl OwnSocket {
    fn take_over(&mut self, user: Option<u32>, assigned: u64) {
        (self.user, self.assigned, self.is_shared) = (user, assigned, false);
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;
    use crate::sys::peer_address::PeerAddress;
    use crate::transport::datagram::send_from;

    static LARGE: [u8; 60_000] = [0; 60_000];

    /// A bound socket of a client.
    struct Peer {
        socket: UnixDatagram,
        address: PeerAddress,
        user: u32,
    }

    impl Peer {
        fn new(test: &str, user: u32, number: usize) -> Self {
            let name = format!("sipmi-{test}-{}-{user}-{number}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).expect("a name");
            let socket = UnixDatagram::bind_addr(&address).expect("a free name");
            Peer { socket, address: PeerAddress::unix(format!("@{name}").as_bytes()).expect("a name"), user }
        }

        /// Sends a reply; false if it could not be sent.
        fn is_sent(&self, sockets: &mut OwnSockets, bytes: &[u8]) -> bool {
            let client = Client { address: self.address.as_bytes(), user: Some(self.user) };
            sockets.socket_for(client).is_some_and(|socket| send_from(socket, bytes, &self.address).is_ok())
        }

        fn exchange(&self, sockets: &mut OwnSockets) {
            assert!(self.is_sent(sockets, b"reply"));
            assert_eq!(self.socket.recv(&mut [0; 100]).expect("it was sent"), 5);
        }
    }

    fn peers(test: &str, user: u32, count: usize) -> Vec<Peer> {
        (0..count).map(|number| Peer::new(test, user, number)).collect()
    }

    #[test]
    fn clients_that_do_not_read_fill_no_socket_of_another_client() {
        let (mut sockets, silent) = (OwnSockets::default(), peers("fill", 1, 20));
        for peer in &silent {
            while peer.is_sent(&mut sockets, &LARGE) {}
        }
        let reading = peers("read", 1, 3);
        (0..100).for_each(|number| reading[number % 3].exchange(&mut sockets));
    }

    #[test]
    fn a_user_gets_no_more_sockets_than_are_left_for_others() {
        let mut sockets = OwnSockets::default();
        let silent: Vec<Peer> = [1, 2, 3].into_iter().flat_map(|user| peers("users", user, 150)).collect();
        for peer in &silent {
            while peer.is_sent(&mut sockets, &LARGE) {}
        }
        assert!(sockets.sockets.len() <= SOCKETS);
        let reading = peers("users", 4, 3);
        (0..100).for_each(|number| reading[number % 3].exchange(&mut sockets));
    }

    #[test]
    fn more_clients_of_a_user_share_its_sockets() {
        let (mut sockets, silent) = (OwnSockets::default(), peers("share", 1, 200));
        for peer in &silent {
            assert!((0..5).all(|_| peer.is_sent(&mut sockets, b"reply")));
        }
        assert_eq!(sockets.sockets.len(), SOCKETS / 2);
        for reading in peers("share too", 1, 3) {
            reading.exchange(&mut sockets);
        }
    }

    #[test]
    fn clients_that_read_share_a_few_sockets() {
        let mut sockets = OwnSockets::default();
        for reading in peers("turns", 1, 300) {
            reading.exchange(&mut sockets);
        }
        assert!(sockets.sockets.len() <= IDLE);
        let before = sockets.clock;
        let [one, other] = [&Peer::new("keeps", 1, 0), &Peer::new("keeps", 1, 1)];
        (0..10).for_each(|_| [one, other].into_iter().for_each(|peer| peer.exchange(&mut sockets)));
        assert_eq!(sockets.clock - before, 2, "each keeps its socket");
    }
}
