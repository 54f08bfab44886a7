//! UDP and UNIX datagram sockets, with the sender's address kept as the kernel gave it.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{self, sockopt};
use nix::sys::time::TimeVal;

use super::eagerness::Habit;
use super::inode::{Inode, set_access};
use super::{Access, FileId, OpenError, io_error, kind_of, owner};
use crate::sys::message;
use crate::sys::peer_address::PeerAddress;

/// A bound datagram socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    file: Option<(std::path::PathBuf, FileId)>,
    left: AtomicBool,
}

/// A received datagram.
pub struct Received {
    /// Its size; larger than the buffer if it was truncated.
    pub size: usize,
    /// Its sender.
    pub peer: PeerAddress,
    /// The sender's user, if the kernel was asked for it.
    pub user: Option<u32>,
}

impl Socket {
    /// Binds a UDP socket. Port 0 picks a free one.
    pub fn bind_udp(host: &str, port: u16) -> Result<(Socket, SocketAddr), OpenError> {
        let error = |source| OpenError::Bind { host: host.to_owned(), port, source };
        let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(error)?.collect();
        let socket = UdpSocket::bind(&*addresses).map_err(error)?;
        let bound = socket.local_addr().map_err(error)?;
        Ok((Socket { fd: socket.into(), file: None, left: AtomicBool::new(false) }, bound))
    }

    /// Binds a UNIX socket at a path. Replaces the socket of a dead server; that of a running server is an error.
    pub fn bind_unix(path: &Path, access: Access) -> Result<Socket, OpenError> {
        if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"@") {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name).map_err(io_error("name", path))?;
            let socket = UnixDatagram::bind_addr(&address).map_err(io_error("bind", path))?;
            return Ok(Socket { fd: socket.into(), file: None, left: AtomicBool::new(false) });
        }
        remove_stale(path)?;
        let socket = bind_private(path)?;
        let file = File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path);
        let file = file.map_err(io_error("look at", path))?;
        let inode = Inode::of(&file).map_err(|errno| io_error("look at", path)(errno.into()))?;
        // In a directory that others may write to, another file may have taken its place.
        if !inode.is(libc::S_IFSOCK) || !inode.is_own() || inode.links != 1 {
            return Err(OpenError::Foreign { expected: "socket", uid: inode.uid, path: path.to_owned() });
        }
        let socket = Socket { fd: socket, file: Some((path.to_owned(), inode.id)), left: AtomicBool::new(false) };
        set_access(file.as_fd(), path, access)?;
        Ok(socket)
    }

    /// Leaves the file in place when this is dropped, like the file of a process that died.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Sets the time after which [`Socket::receive`] gives up with `WouldBlock`.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let seconds = libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX);
        let value = TimeVal::new(seconds, libc::suseconds_t::from(patience.subsec_micros()));
        Ok(socket::setsockopt(&self.fd, sockopt::ReceiveTimeout, &value)?)
    }

    /// Waits for a datagram.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(buffer, libc::MSG_TRUNC)
    }

    /// Receives, and spins before it sleeps: after a request the next one often follows at once.
    pub fn receive_after_one(
        habit: &mut Habit,
        mut receive: impl FnMut(libc::c_int) -> io::Result<Received>,
    ) -> io::Result<Received> {
        let eager = habit.try_eagerly(|| match receive(libc::MSG_TRUNC | libc::MSG_DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            other => Some(other),
        });
        eager.unwrap_or_else(|| receive(libc::MSG_TRUNC))
    }

    /// Receives like [`Socket::receive`], with flags of recv(2).
    pub fn receive_with(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
        let (size, peer) = message::receive_from(&self.fd, buffer, flags)?;
        Ok(Received { size, peer, user: None })
    }

    /// Asks the kernel for the user of each sender from now on (`SO_PASSCRED`).
    pub fn ask_for_users(&self) -> io::Result<()> {
        Ok(socket::setsockopt(&self.fd, sockopt::PassCred, &true)?)
    }

    /// Receives like [`Socket::receive_with`], and returns the sender's user after [`Socket::ask_for_users`].
    pub fn receive_with_user(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
        let (size, peer, sender) = message::receive_with_credentials(&self.fd, buffer, flags)?;
        Ok(Received { size, peer, user: sender.map(|sender| sender.uid) })
    }

    /// Sends a datagram; `WouldBlock` if the peer's queue is full.
    pub fn send(&self, bytes: &[u8], peer: &PeerAddress) -> io::Result<()> {
        send_from(self.fd.as_fd(), bytes, peer)
    }
}

/// Sends a datagram from any socket; `WouldBlock` if the socket's or the peer's queue is full.
pub fn send_from(socket: BorrowedFd<'_>, bytes: &[u8], peer: &PeerAddress) -> io::Result<()> {
    message::send_to(socket, bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL, peer)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((path, id)) = &self.file
            && !self.left.load(Ordering::Relaxed)
        {
            id.remove(path);
        }
    }
}

/// Binds a socket at a path to which only this process's user can send.
fn bind_private(path: &Path) -> Result<OwnedFd, OpenError> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
    let failed = |errno: nix::errno::Errno| io_error("bind", path)(errno.into());
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    // Linux gives the file the permissions of the socket, less the umask (unix_bind_bsd in net/unix/af_unix.c). So
    // other users can never connect before the final permissions are set.
    nix::sys::stat::fchmod(&fd, nix::sys::stat::Mode::S_IRWXU).map_err(failed)?;
    let address = UnixAddr::new(path).map_err(failed)?;
    bind(fd.as_raw_fd(), &address).map_err(failed)?;
    Ok(fd)
}

fn remove_stale(path: &Path) -> Result<(), OpenError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if kind_of(&metadata) != "socket" {
        return Err(OpenError::InTheWay { expected: "socket", found: kind_of(&metadata), path: path.to_owned() });
    }
    let probe = UnixDatagram::unbound().map_err(io_error("probe", path))?;
    match probe.connect(path) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {
            std::fs::remove_file(path).map_err(io_error("remove the stale socket", path))
        }
        Err(error) => Err(io_error("probe", path)(error)),
        Ok(()) => Err(OpenError::InUse { path: path.to_owned(), pid: owner::of_socket(path) }),
    }
}
