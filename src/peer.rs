//! The sender of a request, by name.

use std::fmt;
use std::net::SocketAddr;

use crate::item::Str;

/// The sender of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// The transport does not tell.
    Unknown,
    /// An Internet address.
    Inet(SocketAddr),
    /// The path of a UNIX socket; an abstract one begins with a NUL byte.
    Unix(UnixName),
    /// The name of a reply FIFO.
    Fifo(Str),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Unknown => f.write_str("unknown"),
            Peer::Inet(address) => write!(f, "{address}"),
            Peer::Unix(name) => match name.as_bytes() {
                [0, name @ ..] => write!(f, "@{}", String::from_utf8_lossy(name)),
                path => write!(f, "{}", String::from_utf8_lossy(path)),
            },
            Peer::Fifo(name) => write!(f, "{name}"),
        }
    }
}

/// The longest name of a UNIX socket (`sun_path`).
const LONGEST_UNIX_NAME: usize = 108;

/// The name of a UNIX socket, kept in place: each request has one.
#[derive(Clone, PartialEq, Eq)]
pub struct UnixName {
    user: Option<u32>,
    len: u8,
    bytes: [u8; LONGEST_UNIX_NAME],
}

impl UnixName {
    /// The same name, and the user whose it is.
    #[must_use]
    pub fn of_user(self, user: Option<u32>) -> Self {
        UnixName { user, ..self }
    }

    /// The user whose socket it is, where that is known.
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// The path, or a NUL byte and the abstract name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl From<&[u8]> for UnixName {
    /// A name longer than the kernel allows is cut there.
    fn from(name: &[u8]) -> Self {
        let len = name.len().min(LONGEST_UNIX_NAME);
        let mut bytes = [0; LONGEST_UNIX_NAME];
        bytes[..len].copy_from_slice(&name[..len]);
        UnixName { user: None, len: len as u8, bytes }
    }
}

impl fmt::Debug for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
