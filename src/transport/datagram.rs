//! UDP and UNIX datagram sockets, with the sender's address kept as the kernel gave it.

use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::eagerness::Habit;
use super::inode::{Inode, set_access};
use super::{Access, FileId, OpenError, io_error, kind_of, owner};
use crate::command::Peer;

/// A bound datagram socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    file: Option<(std::path::PathBuf, FileId)>,
    left: AtomicBool,
}

/// The address of a sender.
#[derive(Clone, Copy)]
pub struct RawPeer {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

/// A datagram as it was received.
pub struct Received {
    /// Its size; larger than the buffer when it was cut.
    pub size: usize,
    /// Who sent it.
    pub peer: RawPeer,
    /// The user who did, where the kernel was asked to tell.
    pub user: Option<u32>,
}

impl Received {
    /// The sender in a form for people, with the user.
    pub fn sender(&self) -> Peer {
        match self.peer.to_peer() {
            Peer::Unix(name) => Peer::Unix(name.of_user(self.user)),
            other => other,
        }
    }
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

    /// Binds a UNIX socket at a path. A dead server's socket is replaced, a living one's is an error.
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

    /// The file stays when this is dropped, as that of a process that died.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// How long [`Socket::receive`] waits before it gives up with `WouldBlock`.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let value = libc::timeval {
            tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_usec: libc::suseconds_t::from(patience.subsec_micros()),
        };
        // SAFETY: the option's value is a timeval that lives across the call.
        check(unsafe {
            libc::setsockopt(
                self.raw(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const value).cast(),
                size_of::<libc::timeval>() as libc::socklen_t,
            )
        } as isize)?;
        Ok(())
    }

    /// Waits for a datagram.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(buffer, libc::MSG_TRUNC)
    }

    /// Receives by flags, eagerly first: for who has just served somebody and may well be asked again at once.
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

    /// As [`Socket::receive`], with flags of recv(2).
    pub fn receive_with(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: buffer, storage and len live across the call and have the sizes it is told.
        let size = check(unsafe {
            libc::recvfrom(
                self.raw(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags,
                storage.as_mut_ptr().cast(),
                &raw mut len,
            )
        })?;
        // SAFETY: zeroed, then filled by the kernel: any bytes are a sockaddr_storage.
        Ok(Received { size, peer: RawPeer { storage: unsafe { storage.assume_init() }, len }, user: None })
    }

    /// Sends a datagram, or says `WouldBlock` when the peer's queue is full.
    pub fn send(&self, bytes: &[u8], peer: &RawPeer) -> io::Result<()> {
        send_from(self.fd.as_fd(), bytes, peer)
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Sends a datagram from any socket, or says `WouldBlock` when that or the peer's queue is full.
pub fn send_from(socket: BorrowedFd<'_>, bytes: &[u8], peer: &RawPeer) -> io::Result<()> {
    // SAFETY: bytes and the address live across the call and have the sizes it is told.
    check(unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            (&raw const peer.storage).cast(),
            peer.len,
        )
    })?;
    Ok(())
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

impl RawPeer {
    /// Whether there is an address to answer to: an unbound UNIX socket has none.
    pub fn can_be_answered(&self) -> bool {
        self.len as usize > size_of::<libc::sa_family_t>()
    }

    /// The address as the kernel gave it: equal bytes are one peer.
    pub fn as_bytes(&self) -> &[u8] {
        let len = (self.len as usize).min(size_of::<libc::sockaddr_storage>());
        // SAFETY: the storage has so many bytes, and any byte is a byte.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), len) }
    }

    /// The address in a form for people.
    pub fn to_peer(&self) -> Peer {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET | libc::AF_INET6 => self.inet().map_or(Peer::Unknown, Peer::Inet),
            libc::AF_UNIX if self.can_be_answered() => Peer::Unix(self.unix_path().into()),
            _ => Peer::Unknown,
        }
    }

    /// A UNIX socket with an abstract name.
    #[cfg(test)]
    pub(super) fn from_abstract_name(name: &[u8]) -> Self {
        // SAFETY: any bytes are a sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        let address = (&raw mut storage).cast::<libc::sockaddr_un>();
        for (number, byte) in name.iter().enumerate() {
            // SAFETY: the storage has room for a sockaddr_un; the name begins after its NUL.
            unsafe { (*address).sun_path[number + 1] = byte.cast_signed() as libc::c_char };
        }
        RawPeer { storage, len: (size_of::<libc::sa_family_t>() + 1 + name.len()) as libc::socklen_t }
    }

    fn inet(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the storage holds a sockaddr_in.
                let address = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = u32::from_be(address.sin_addr.s_addr);
                Some((std::net::Ipv4Addr::from(ip), u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that the storage holds a sockaddr_in6.
                let address = unsafe { *(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                Some((std::net::Ipv6Addr::from(address.sin6_addr.s6_addr), u16::from_be(address.sin6_port)).into())
            }
            _ => None,
        }
    }

    /// The path, without the NUL that ends it; an abstract name begins with one.
    fn unix_path(&self) -> &[u8] {
        let address = (&raw const self.storage).cast::<libc::sockaddr_un>();
        let longest = size_of::<libc::sockaddr_un>() - size_of::<libc::sa_family_t>();
        let len = (self.len as usize).saturating_sub(size_of::<libc::sa_family_t>()).min(longest);
        // SAFETY: the family says that the storage holds a sockaddr_un, whose path has room for `longest` bytes,
        // and any byte is a byte.
        let path = unsafe { std::slice::from_raw_parts((&raw const (*address).sun_path).cast::<u8>(), len) };
        match memchr::memchr(0, path.get(1..).unwrap_or_default()) {
            Some(nul) if path[0] != 0 => &path[..=nul],
            _ => path,
        }
    }
}

/// The last error of the system, or the count that a call gave.
pub(super) fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A socket at a path that only this process's user can send to.
fn bind_private(path: &Path) -> Result<OwnedFd, OpenError> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
    let failed = |errno: nix::errno::Errno| io_error("bind", path)(errno.into());
    let fd = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    // Linux gives the file the permissions of the socket, less the umask (unix_bind_bsd in net/unix/af_unix.c). So
    // there is no moment in which others may connect to it that are not meant to.
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
