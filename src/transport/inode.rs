//! Facts about an open file, and its rights. Both go by the descriptor: a path may mean another file a moment later.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid};

use super::{Access, FileId, OpenError, io_error};
use crate::sys::descriptor;

/// Owner, permissions and identity of an open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inode {
    pub(crate) id: FileId,
    /// When it was made, in nanoseconds; 0 where the file system does not know. Numbers of inodes are used again.
    pub(crate) born: i64,
    pub(crate) uid: u32,
    pub(crate) links: u32,
    mode: u32,
}

impl Inode {
    /// Asks the kernel.
    ///
    /// It is not asked when the file was changed: since Linux 6.13, that makes the next write to it update the time on
    /// disk, which costs as much as all the rest of a call.
    pub(crate) fn of(file: impl AsFd) -> nix::Result<Inode> {
        let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_NLINK | libc::STATX_UID | libc::STATX_INO;
        let stat = descriptor::file_facts(file, mask | libc::STATX_BTIME)?;
        let device = libc::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        Ok(Inode {
            id: FileId { device, inode: stat.stx_ino },
            born: stat.stx_btime.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(stat.stx_btime.tv_nsec.into()),
            uid: stat.stx_uid,
            links: stat.stx_nlink,
            mode: stat.stx_mode.into(),
        })
    }

    /// Whether it is a file of this type (`S_IFIFO`, `S_IFSOCK`).
    pub(crate) fn is(&self, kind: libc::mode_t) -> bool {
        self.mode & libc::S_IFMT == kind
    }

    /// Whether this process made it, as far as its owner tells.
    pub(crate) fn is_own(&self) -> bool {
        self.uid == Uid::effective().as_raw()
    }

    /// The permission bits.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// Gives a file that this process made to whom it is meant for. `path` is for the error message alone.
///
/// The owner comes first, and the permissions last: until then nobody else may open the file.
pub(crate) fn set_access(file: BorrowedFd<'_>, path: &Path, access: Access) -> Result<(), OpenError> {
    if access.owner.is_some() || access.group.is_some() {
        let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
        nix::unistd::fchownat(file, c"", access.owner.map(Uid::from_raw), access.group.map(Gid::from_raw), flags)
            .map_err(|errno| io_error("set the owner of", path)(errno.into()))?;
    }
    set_mode(file, access.mode).map_err(io_error("set the mode of", path))
}

/// `fchmod(2)` that also takes descriptors opened with `O_PATH`, as those of socket files are.
fn set_mode(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    match descriptor::set_mode(file, mode) {
        Ok(()) => Ok(()),
        // Before Linux 6.6, or kept from us by a filter of system calls: /proc leads to the same open file.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            use std::os::unix::fs::PermissionsExt;
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), permissions)
        }
        Err(errno) => Err(errno.into()),
    }
}
