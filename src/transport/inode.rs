//! Facts about an open file, and its permissions. Both use the descriptor: a path may lead to another file a moment
//! later.

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
    /// The time of its creation in nanoseconds; 0 if the file system does not store it. Inode numbers are reused.
    pub(crate) born: i64,
    pub(crate) uid: u32,
    pub(crate) links: u32,
    mode: u32,
}

impl Inode {
    /// Reads the facts from the kernel.
    ///
    /// The time of the last change is not requested: since Linux 6.13, that makes the next write to the file update the
    /// time on disk, which costs as much as the rest of a call.
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

    /// Returns true for a file of this type (`S_IFIFO`, `S_IFSOCK`).
    pub(crate) fn is(&self, kind: libc::mode_t) -> bool {
        self.mode & libc::S_IFMT == kind
    }

    /// Returns true if the owner is this process's user.
    pub(crate) fn is_own(&self) -> bool {
        self.uid == Uid::effective().as_raw()
    }

    /// The permission bits.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// Sets the owner and permissions of a file that this process created. `path` appears only in the error message.
///
/// The permissions are set after the owner: until then no other user can open the file.
pub(crate) fn set_access(file: BorrowedFd<'_>, path: &Path, access: Access) -> Result<(), OpenError> {
    if access.owner.is_some() || access.group.is_some() {
        let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
        nix::unistd::fchownat(file, c"", access.owner.map(Uid::from_raw), access.group.map(Gid::from_raw), flags)
            .map_err(|errno| io_error("set the owner of", path)(errno.into()))?;
    }
    set_mode(file, access.mode).map_err(io_error("set the mode of", path))
}

/// Does the work of `fchmod(2)` for descriptors opened with `O_PATH`, too, such as those of socket files.
fn set_mode(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    match descriptor::set_mode(file, mode) {
        Ok(()) => Ok(()),
        // Before Linux 6.6, or behind a filter of system calls: /proc leads to the same open file.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            use std::os::unix::fs::PermissionsExt;
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), permissions)
        }
        Err(errno) => Err(errno.into()),
    }
}
