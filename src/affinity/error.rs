//! Errors between a name and a CPU, with the path or the number at which they occurred.

use std::io;

use super::cpuset::CpuSetError;

/// An error of this module. `Io` keeps the errno; [`Error::path`] and [`Error::errno`] give both to a caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CPU set that was given as an argument.
    #[error(transparent)]
    CpuSet(#[from] CpuSetError),
    /// A file says something else than its format allows.
    #[error("{path}: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: String,
        /// The expected format.
        expected: String,
        /// The text in its place.
        found: String,
    },
    /// The kernel refused to open, read, write or list.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: String,
        /// `read`, `write`, `list`, `replace`.
        action: &'static str,
        /// The error that the kernel returned.
        source: io::Error,
    },
    /// There is no device, interrupt, process or journal of that name.
    #[error("no {kind} {name}: expected {expected}")]
    NotFound {
        /// `network or block device`, `IRQ`, `process`, ...
        kind: &'static str,
        /// The requested name.
        name: String,
        /// Where it would be.
        expected: String,
    },
    /// An argument that cannot be meant.
    #[error("{0}")]
    Usage(String),
}

/// The result type of this module's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(path: &str, action: &'static str, source: io::Error) -> Self {
        Error::Io { path: path.to_owned(), action, source }
    }

    pub(crate) fn content(path: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let found: String = found.into();
        let cut: String = found.chars().take(120).collect();
        Error::Content { path: path.to_owned(), expected: expected.into(), found: format!("{cut:?}") }
    }

    pub(crate) fn not_found(kind: &'static str, name: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Error::NotFound { kind, name: name.to_string(), expected: expected.into() }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The file it happened at.
    pub fn path(&self) -> Option<&str> {
        match self {
            Error::Io { path, .. } | Error::Content { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Returns true if the file, device or process does not exist (any more).
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::NotFound { .. })
            || matches!(self.errno(), Some(libc::ENOENT | libc::ESRCH | libc::ENODEV))
    }
}
