//! Sockets, FIFOs and connections that carry bytes. This layer does not interpret the bytes.

pub mod client_socket;
mod client_unix;
mod command_mark;
pub mod datagram;
pub mod eagerness;
pub mod fifo;
mod inode;
mod opened_reply;
mod own_sockets;
mod owner;
pub mod reply_fifo;
pub mod reply_sockets;
mod reply_sweep;
pub mod spare;
pub mod stream;
pub mod unnamed_socket;

use std::io;
use std::path::PathBuf;

/// The owner and permissions of an endpoint that has a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// The owner's user id; `None` keeps it.
    pub owner: Option<u32>,
    /// The group's id; `None` keeps it.
    pub group: Option<u32>,
}

impl Default for Access {
    /// Read and write permission for the owner and the group, as in OpenSIPS.
    fn default() -> Self {
        Access { mode: 0o660, owner: None, group: None }
    }
}

/// An endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A system call failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The path of the endpoint.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file of another type is in the way.
    #[error("{} is in the way: expected a {expected} or nothing, found a {found}", path.display())]
    InTheWay {
        /// The type of file that is needed.
        expected: &'static str,
        /// The type of file that was found.
        found: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A running server uses the endpoint.
    #[error("{}", in_use(path, *pid))]
    InUse {
        /// The path of the endpoint.
        path: PathBuf,
        /// The process that uses it, if the system tells.
        pid: Option<u32>,
    },
    /// A file there belongs to another user, and cannot be replaced.
    #[error(
        "{} belongs to user {uid}: expected a {expected} of this process's user, or nothing there \
         (remove it, and use a directory in which others cannot make files)",
        path.display()
    )]
    Foreign {
        /// The type of file that is needed.
        expected: &'static str,
        /// The owner of the file.
        uid: u32,
        /// The path.
        path: PathBuf,
    },
    /// A host name cannot be resolved, or an address cannot be bound.
    #[error("cannot bind {host}:{port}: {source}")]
    Bind {
        /// The host name or address.
        host: String,
        /// The port.
        port: u16,
        /// The error of the system.
        source: io::Error,
    },
}

fn in_use(path: &std::path::Path, pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("{} is served already by process {pid}", path.display()),
        None => format!("{} is in use, by a process that cannot be seen from here", path.display()),
    }
}

pub(crate) fn io_error(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.into();
    move |source| OpenError::Io { action, path, source }
}

/// Device and inode. Tells whether a path still leads to the file that this process created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Removes the file at a path if it is still this one.
    pub(crate) fn remove(self, path: &std::path::Path) {
        let still_ours = std::fs::symlink_metadata(path).is_ok_and(|metadata| FileId::of(&metadata) == self);
        if still_ours {
            drop(std::fs::remove_file(path));
        }
    }
}

pub(crate) fn kind_of(metadata: &std::fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_fifo() => "FIFO",
        () if kind.is_socket() => "socket",
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "regular file",
        () => "device",
    }
}
