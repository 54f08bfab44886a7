//! A mark on command FIFOs, by which servers recognize each other's and write no reply into one.
//!
//! A server holds a read lock of `fcntl(2)` on its command FIFO (`F_OFD_SETLK`: it belongs to the open file, and ends
//! with it). The lock does not hinder clients: they use `flock(2)`, a separate kind of lock. A process recognizes its
//! own FIFOs by their inodes, too, which costs no system call.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, fcntl};

use super::FileId;

/// More command FIFOs than one process has endpoints. Any beyond this number are recognized by their locks alone.
const MOST: usize = 256;

/// The command FIFOs of this process. No lock guards them: a child that is forked while it is held would find it
/// locked.
static OWN: [AtomicU64; MOST] = [const { AtomicU64::new(NONE) }; MOST];
/// The number of places in `OWN` that were ever used.
static USED: AtomicUsize = AtomicUsize::new(0);
const NONE: u64 = 0;

/// Marks a command FIFO while this value exists and the file is open.
#[derive(Debug)]
pub(super) struct CommandMark {
    place: Option<usize>,
}

impl CommandMark {
    pub(super) fn set(file: impl AsFd, id: FileId) -> io::Result<Self> {
        fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_RDLCK)))?;
        let take = |place: &AtomicU64| place.compare_exchange(NONE, key(id), Ordering::AcqRel, Ordering::Relaxed);
        let place = OWN.iter().position(|place| take(place).is_ok());
        USED.fetch_max(place.map_or(0, |place| place + 1), Ordering::AcqRel);
        Ok(CommandMark { place })
    }
}

impl Drop for CommandMark {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            OWN[place].store(NONE, Ordering::Release);
        }
    }
}

/// Returns true for a command FIFO of this process.
pub(super) fn is_own(id: FileId) -> bool {
    let used = USED.load(Ordering::Acquire);
    OWN[..used].iter().any(|place| place.load(Ordering::Acquire) == key(id))
}

/// Combines device and inode into one word. If two files share a word, at worst a client gets no reply.
fn key(id: FileId) -> u64 {
    (id.inode ^ id.device.rotate_left(32)).max(1)
}

/// Returns true for a command FIFO of any sipmi server. The file must be open for writing.
pub(super) fn is_marked(file: impl AsFd) -> bool {
    let mut found = whole_file(libc::F_WRLCK);
    let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut found));
    asked.is_ok() && i32::from(found.l_type) != libc::F_UNLCK
}

/// A lock of this kind on the whole file.
fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
