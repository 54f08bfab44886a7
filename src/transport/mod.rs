//! Where bytes come from and go to. Nothing here knows what the bytes mean.

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

/// Who may use an endpoint that has a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// The owner's number; `None` leaves it.
    pub owner: Option<u32>,
    /// The group's number; `None` leaves it.
    pub group: Option<u32>,
}

impl Default for Access {
    /// The owner and the group, as OpenSIPS makes them.
    fn default() -> Self {
        Access { mode: 0o660, owner: None, group: None }
    }
}

/// An endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else is there.
    #[error("{} is in the way: expected a {expected} or nothing, found a {found}", path.display())]
    InTheWay {
        /// What is wanted there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// A living server has it.
    #[error("{}", in_use(path, *pid))]
    InUse {
        /// Which endpoint.
        path: PathBuf,
        /// Whose it is, where the system tells.
        pid: Option<u32>,
    },
    /// A file there belongs to another user, and cannot be replaced.
    #[error(
        "{} belongs to user {uid}: expected a {expected} of this process's user, or nothing there \
         (remove it, and use a directory in which others cannot make files)",
        path.display()
    )]
    Foreign {
        /// What is wanted there.
        expected: &'static str,
        /// Whose it is.
        uid: u32,
        /// Where.
        path: PathBuf,
    },
    /// A host name means nothing here.
    #[error("cannot bind {host}:{port}: {source}")]
    Bind {
        /// Name or number.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
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

/// Device and inode: whether a path still means the file that we made.
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
