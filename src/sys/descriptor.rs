//! Calls on open descriptors that nix has no safe form of.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::AtomicU8;

use nix::errno::Errno;
use nix::fcntl::{self, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollEvent};

const NO_PATH: &CStr = c"";

/// Asks the kernel for facts about an open file (`statx(2)`); `mask` says which.
pub fn file_facts(file: impl AsFd, mask: libc::c_uint) -> nix::Result<libc::statx> {
    // SAFETY: any bytes are a statx. The path is a C string, and the kernel writes to a live local.
    let (result, facts) = unsafe {
        let mut facts: libc::statx = std::mem::zeroed();
        let fd = file.as_fd().as_raw_fd();
        (libc::statx(fd, NO_PATH.as_ptr(), libc::AT_EMPTY_PATH, mask, &raw mut facts), facts)
    };
    Errno::result(result).map(|_| facts)
}

/// Sets the permission bits of an open file, also of one that was opened with `O_PATH` (`fchmodat2(2)`, Linux 6.6).
pub fn set_mode(file: impl AsFd, mode: u32) -> nix::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the path is a C string that the kernel only reads.
    let result = unsafe { libc::syscall(libc::SYS_fchmodat2, fd, NO_PATH.as_ptr(), mode, libc::AT_EMPTY_PATH) };
    Errno::result(result).map(drop)
}

/// Bytes of a pipe that are written and not read yet (`FIONREAD`).
pub fn unread_bytes(pipe: impl AsFd) -> nix::Result<usize> {
    number(pipe.as_fd().as_raw_fd(), libc::FIONREAD)
}

/// Bytes that were sent and that the peer has not read or acknowledged yet (`SIOCOUTQ`, which Linux calls `TIOCOUTQ`
/// as well).
pub fn unsent_bytes(socket: RawFd) -> nix::Result<usize> {
    number(socket, libc::TIOCOUTQ)
}

fn number(fd: RawFd, request: libc::Ioctl) -> nix::Result<usize> {
    let mut number: libc::c_int = 0;
    // SAFETY: both requests write one int, which lives across the call.
    Errno::result(unsafe { libc::ioctl(fd, request, &raw mut number) })?;
    Ok(usize::try_from(number).unwrap_or(0))
}

/// Takes the lock of an open file (`flock(2)`); false when another open file has it.
#[expect(deprecated, reason = "nix's `Flock` owns the file, which stays open without the lock here")]
pub fn try_lock(file: impl AsFd) -> nix::Result<bool> {
    match fcntl::flock(file.as_fd().as_raw_fd(), FlockArg::LockExclusiveNonblock) {
        Err(Errno::EWOULDBLOCK | Errno::EINTR) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Releases the lock of an open file.
#[expect(deprecated, reason = "as above")]
pub fn unlock(file: impl AsFd) -> nix::Result<()> {
    fcntl::flock(file.as_fd().as_raw_fd(), FlockArg::Unlock)
}

/// Reads at most `most` bytes and appends them, without zeroing their room first (`read(2)`).
pub fn append_from(file: impl AsFd, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    bytes.reserve(most);
    let room = &mut bytes.spare_capacity_mut()[..most];
    // SAFETY: the kernel writes at most `room.len()` bytes to the unused part of the vector, which then grows by those
    // that it wrote.
    unsafe {
        let size = libc::read(file.as_fd().as_raw_fd(), room.as_mut_ptr().cast(), room.len());
        let size = usize::try_from(size).map_err(|_| io::Error::last_os_error())?;
        bytes.set_len(bytes.len() + size);
        Ok(size)
    }
}

/// Reads into memory that other processes may look at (`read(2)`).
pub fn read_shared(file: impl AsFd, buffer: &[AtomicU8]) -> io::Result<usize> {
    let place = buffer.as_ptr().cast_mut().cast();
    // SAFETY: the kernel writes at most `buffer.len()` bytes to atomics, which may change under a shared reference.
    let size = unsafe { libc::read(file.as_fd().as_raw_fd(), place, buffer.len()) };
    usize::try_from(size).map_err(|_| io::Error::last_os_error())
}

/// Closes a descriptor of this process and gives its number to another open file (`dup3(2)`).
pub fn replace(number: RawFd, file: impl AsFd) -> nix::Result<()> {
    // SAFETY: the call takes numbers and touches no memory of this process.
    Errno::result(unsafe { libc::dup3(file.as_fd().as_raw_fd(), number, libc::O_CLOEXEC) }).map(drop)
}

/// Polls a descriptor by its number, and gives the events that the kernel reports; none at a timeout (`poll(2)`).
pub fn poll_number(number: RawFd, events: PollFlags, timeout: PollTimeout) -> nix::Result<PollFlags> {
    let mut fds = [PollFd::new(borrow(number), events)];
    poll(&mut fds, timeout)?;
    Ok(fds[0].revents().unwrap_or(PollFlags::POLLERR))
}

/// Registers a descriptor with epoll by its number, or changes the events that are reported of it.
pub fn epoll_control(epoll: &Epoll, number: RawFd, mut event: EpollEvent, is_new: bool) -> nix::Result<()> {
    let fd = borrow(number);
    if is_new { epoll.add(fd, event) } else { epoll.modify(fd, &mut event) }
}

/// A number for the time of one call.
fn borrow<'a>(number: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number goes to the kernel alone, which answers EBADF where it is not open.
    unsafe { BorrowedFd::borrow_raw(number) }
}
