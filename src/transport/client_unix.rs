//! UNIX datagram sockets of a client.
//!
//! OpenSIPS answers from a second, unnamed socket (`tx_sock` of `mi_datagram`), and Linux refuses a datagram to a socket
//! that is connected to another one. So the socket of a client is bound and never connected. Any process of the machine
//! may then send to it. Three things keep its datagrams from being taken for the answer: the socket's name cannot be
//! guessed, the kernel says who sent a datagram (`SO_PASSCRED`), and only the server's owner and root are believed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{self, sockopt};

use super::owner;
use crate::sys::message::{self, Credentials};
use crate::sys::peer_address::PeerAddress;
use crate::sys::process;

const ROOT: libc::uid_t = 0;

/// A bound socket for calls to one server.
#[derive(Debug)]
pub struct UnixClient {
    fd: OwnedFd,
    server: PeerAddress,
    path: PathBuf,
    /// The user of a server with an abstract name, looked up once.
    abstract_owner: OnceLock<Option<libc::uid_t>>,
    has_warned: AtomicBool,
}

impl UnixClient {
    /// Opens a socket with a random name. `wake` is how long sending and receiving may block.
    pub fn new(server: &Path, wake: Duration) -> io::Result<Self> {
        let server_address = PeerAddress::unix(server.as_os_str().as_bytes())?;
        let socket = UnixDatagram::bind_addr(&random_name()?)?;
        socket.set_read_timeout(Some(wake))?;
        socket.set_write_timeout(Some(wake))?;
        socket::setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(UnixClient {
            fd: socket.into(),
            server: server_address,
            path: server.to_owned(),
            abstract_owner: OnceLock::new(),
            has_warned: AtomicBool::new(false),
        })
    }

    /// Sends a datagram to the process that has the server's name now; false when its queue stays full.
    pub fn send(&self, bytes: &[u8], flags: libc::c_int) -> io::Result<bool> {
        count(message::send_to(&self.fd, bytes, flags | libc::MSG_NOSIGNAL, &self.server)).map(|sent| sent.is_some())
    }

    /// Receives a datagram of the server and returns its size. `None` may also mean that a datagram of another sender
    /// was dropped.
    pub(super) fn receive(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Option<usize>> {
        let Some((size, _, sender)) = count(message::receive_with_credentials(&self.fd, buffer, flags))? else {
            return Ok(None);
        };
        if self.is_server(sender) {
            return Ok(Some(size));
        }
        self.warn_of(sender);
        Ok(None)
    }

    /// The descriptor to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Returns true if the sender's user is the user of the server. OpenSIPS creates its socket file after it has
    /// changed to the user that it runs as, so the file's owner is that user; only root can give the file to another
    /// user.
    fn is_server(&self, sender: Option<Credentials>) -> bool {
        sender.is_some_and(|sender| sender.uid == ROOT || self.owner() == Some(sender.uid))
    }

    /// The user of the server: the owner of the file, or of the process if there is no file. The file is checked each
    /// time, since another server may have taken the name.
    fn owner(&self) -> Option<libc::uid_t> {
        let owner_of = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.uid());
        if self.path.as_os_str().as_bytes().starts_with(b"@") {
            let search = || owner_of(format!("/proc/{}", owner::of_socket(&self.path)?).as_ref());
            return *self.abstract_owner.get_or_init(search);
        }
        owner_of(&self.path)
    }

    fn warn_of(&self, sender: Option<Credentials>) {
        if self.has_warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let sender =
            sender.map_or("an unknown process".into(), |one| format!("process {} of user {}", one.pid, one.uid));
        let expected = self.owner().map_or("root".into(), |uid| format!("user {uid} or root"));
        log::warn!(
            "unix:{}: dropped a datagram of {sender}: expected the server, of {expected}",
            self.path.display()
        );
    }
}

/// Returns a random abstract name, since a server of another user has to reach it. `bind` without a name gives five
/// hexadecimal digits, which can be guessed.
fn random_name() -> io::Result<SocketAddr> {
    let random = process::random_bytes()?;
    SocketAddr::from_abstract_name(format!("sipmi_{:032x}", u128::from_ne_bytes(random)))
}

/// The result of a call; `None` if the call would have blocked or was interrupted by a signal.
pub(super) fn count<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        other => other.map(Some),
    }
}
