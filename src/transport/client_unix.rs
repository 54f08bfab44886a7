//! UNIX datagram sockets of a client.
//!
//! OpenSIPS answers from a second, unnamed socket (`tx_sock` of `mi_datagram`), and Linux refuses a datagram to a socket
//! that is connected to another one. So the socket of a client is bound and never connected. Any process of the machine
//! may then send to it. Three things keep its datagrams from being taken for the answer: the socket's name cannot be
//! guessed, the kernel says who sent a datagram (`SO_PASSCRED`), and only the server's owner and root are believed.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::client_socket::count;
use super::credentials::{Control, credentials, pass_credentials};
use super::owner;

/// Random bytes of a socket's name.
const RANDOM: usize = 16;
const ROOT: libc::uid_t = 0;

/// A bound socket for calls to one server.
#[derive(Debug)]
pub struct UnixClient {
    fd: OwnedFd,
    server: Destination,
    path: PathBuf,
    /// The user of a server with an abstract name, which is searched for once.
    abstract_owner: OnceLock<Option<libc::uid_t>>,
    has_warned: AtomicBool,
}

impl UnixClient {
    /// A socket with a random name. `wake` is how long sending and receiving may block.
    pub fn new(server: &Path, wake: Duration) -> io::Result<Self> {
        let server_address = Destination::of(server)?;
        let socket = UnixDatagram::bind_addr(&random_name()?)?;
        socket.set_read_timeout(Some(wake))?;
        socket.set_write_timeout(Some(wake))?;
        pass_credentials(&socket)?;
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
        // SAFETY: bytes and address live across the call and have the sizes it is told.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                flags | libc::MSG_NOSIGNAL,
                (&raw const self.server.address).cast(),
                self.server.len,
            )
        };
        Ok(count(sent)?.is_some())
    }

    /// Receives a datagram of the server and gives its size. `None` also means that a stranger's datagram was dropped.
    pub(super) fn receive(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Option<usize>> {
        let mut control = Control::default();
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: any bytes are a msghdr.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        // SAFETY: the message's parts live across the call and have the sizes it is told.
        let received =
            count(unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, flags | libc::MSG_CMSG_CLOEXEC) })?;
        let Some(size) = received else { return Ok(None) };
        // SAFETY: the kernel has filled the message, and the control buffer lives.
        let sender = unsafe { credentials(&raw const message) };
        if self.is_server(sender) {
            return Ok(Some(size));
        }
        self.warn_of(sender);
        Ok(None)
    }

    /// For poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether a sender is the server, as far as its user tells. OpenSIPS makes its socket file after it has changed to
    /// the user that it runs as, so the file's owner is that user; only root can make it another's.
    fn is_server(&self, sender: Option<libc::ucred>) -> bool {
        sender.is_some_and(|sender| sender.uid == ROOT || self.owner() == Some(sender.uid))
    }

    /// The user whose server it is: the owner of the file, or of the process where there is no file. The file is looked
    /// at each time, since another server may have the name by now.
    fn owner(&self) -> Option<libc::uid_t> {
        let owner_of = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.uid());
        if self.server.is_abstract {
            let search = || owner_of(format!("/proc/{}", owner::of_socket(&self.path)?).as_ref());
            return *self.abstract_owner.get_or_init(search);
        }
        owner_of(&self.path)
    }

    fn warn_of(&self, sender: Option<libc::ucred>) {
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

/// The address of a server.
#[derive(Debug)]
struct Destination {
    address: libc::sockaddr_un,
    len: libc::socklen_t,
    is_abstract: bool,
}

impl Destination {
    /// Of a path, or of an abstract name that begins with `@`.
    fn of(path: &Path) -> io::Result<Self> {
        // SAFETY: any bytes are a sockaddr_un.
        let mut address: libc::sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let bytes = path.as_os_str().as_bytes();
        let is_abstract = bytes.starts_with(b"@");
        if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
            let what = format!("expected a path of 1 to {} bytes", address.sun_path.len() - 1);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
            *place = byte.cast_signed() as libc::c_char;
        }
        if is_abstract {
            address.sun_path[0] = 0;
        }
        // A path ends with a NUL that is a part of the address; an abstract name is as long as it is.
        let len = size_of::<libc::sa_family_t>() + bytes.len() + usize::from(!is_abstract);
        Ok(Destination { address, len: len as libc::socklen_t, is_abstract })
    }
}

/// An abstract name, since a server of another user has to reach it. `bind` without a name gives five hexadecimal
/// digits, which can be guessed.
fn random_name() -> io::Result<SocketAddr> {
    let mut random = [0; RANDOM];
    // SAFETY: the bytes live across the call and have the size it is told.
    let got = unsafe { libc::getrandom(random.as_mut_ptr().cast(), RANDOM, 0) };
    if usize::try_from(got) != Ok(RANDOM) {
        return Err(io::Error::last_os_error());
    }
    SocketAddr::from_abstract_name(format!("sipmi_{:032x}", u128::from_ne_bytes(random)))
}
