//! The few system calls that std has no name for.

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// A sender's address as the kernel gave it.
pub(crate) struct Peer {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// Has the kernel end this process when the one that started it ends.
pub(crate) fn die_with_parent() {
    // SAFETY: takes two integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// recvfrom(2).
pub(crate) fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<(usize, Peer)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: buffer, storage and len live across the call and have the sizes it is told.
    let size = check(unsafe {
        let address = storage.as_mut_ptr().cast();
        libc::recvfrom(socket, buffer.as_mut_ptr().cast(), buffer.len(), 0, address, &raw mut len)
    })?;
    // SAFETY: zeroed, then filled by the kernel: any bytes are a sockaddr_storage.
    Ok((size, Peer { storage: unsafe { storage.assume_init() }, len }))
}

/// sendto(2).
pub(crate) fn send(socket: RawFd, bytes: &[u8], peer: &Peer) -> io::Result<()> {
    // SAFETY: bytes and the address live across the call and have the sizes it is told.
    check(unsafe {
        let address = (&raw const peer.storage).cast();
        libc::sendto(socket, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL, address, peer.len)
    })?;
    Ok(())
}

/// mkfifo(3), for the owner alone.
pub(crate) fn make_fifo(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name ends with a NUL and lives across the call.
    check(unsafe { libc::mkfifo(name.as_ptr(), 0o600) } as isize)?;
    Ok(())
}

/// poll(2) for one descriptor to be readable, at its end included.
pub(crate) fn wait_readable(fd: RawFd, patience: Duration) -> io::Result<bool> {
    let mut set = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, which lives across the call.
    Ok(check(unsafe { libc::poll(&raw mut set, 1, millis) } as isize)? > 0)
}

/// poll(2) for any of these to be readable; which are.
pub(crate) fn wait_for_any(fds: &[RawFd]) -> io::Result<Vec<bool>> {
    let mut set: Vec<_> = fds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: as many pollfds as it is told, which live across the call.
    check(unsafe { libc::poll(set.as_mut_ptr(), set.len() as libc::nfds_t, -1) } as isize)?;
    Ok(set.iter().map(|polled| polled.revents != 0).collect())
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
