//! The address of a datagram's sender, with the bytes as the kernel gave them.

use std::io;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::FromZeros;

/// The kernel writes no longer address.
const ROOM: usize = size_of::<libc::sockaddr_storage>();
const FAMILY: usize = size_of::<libc::sa_family_t>();

/// A socket address of any family. Equal bytes are one peer.
#[derive(Clone, Copy, Debug, FromZeros)]
#[repr(C, align(8))]
pub struct PeerAddress {
    bytes: [u8; ROOM],
    len: libc::socklen_t,
}

impl PeerAddress {
    /// Room for an address that the kernel is to write.
    #[inline]
    pub(super) fn empty() -> Self {
        PeerAddress { bytes: [0; ROOM], len: ROOM as libc::socklen_t }
    }

    /// Takes the length that the kernel gave.
    #[inline]
    pub(super) fn set_len(&mut self, len: libc::socklen_t) {
        self.len = len;
    }

    /// The length that counts for the kernel.
    #[inline]
    pub(super) fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// The address of a UNIX socket: a path, or an abstract name that begins with `@`.
    pub fn unix(path: &[u8]) -> io::Result<Self> {
        const LONGEST: usize = size_of::<libc::sockaddr_un>() - FAMILY - 1;
        if path.is_empty() || path.contains(&0) || path.len() > LONGEST {
            let what = format!("expected a path of 1 to {LONGEST} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut address = PeerAddress::empty();
        address.bytes[..FAMILY].copy_from_slice(&(libc::AF_UNIX as libc::sa_family_t).to_ne_bytes());
        address.bytes[FAMILY..FAMILY + path.len()].copy_from_slice(path);
        let is_abstract = path.starts_with(b"@");
        if is_abstract {
            address.bytes[FAMILY] = 0;
        }
        // A path ends with a NUL that is a part of the address; an abstract name is as long as it is.
        address.len = (FAMILY + path.len() + usize::from(!is_abstract)) as libc::socklen_t;
        Ok(address)
    }

    /// True if there is an address to answer to: an unbound UNIX socket has none.
    #[inline]
    pub fn can_be_answered(&self) -> bool {
        self.len as usize > FAMILY
    }

    /// The address as the kernel gave it.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..(self.len as usize).min(ROOM)]
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    #[inline]
    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        self.bytes.as_mut_ptr().cast()
    }

    /// The address and port of a UDP peer.
    #[inline]
    pub fn inet(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.field(offset_of!(libc::sockaddr_in, sin_port)));
        match self.family() {
            libc::AF_INET => {
                let ip: [u8; 4] = self.field(offset_of!(libc::sockaddr_in, sin_addr));
                Some((Ipv4Addr::from(ip), port).into())
            }
            libc::AF_INET6 => {
                let ip: [u8; 16] = self.field(offset_of!(libc::sockaddr_in6, sin6_addr));
                Some((Ipv6Addr::from(ip), port).into())
            }
            _ => None,
        }
    }

    /// The path of a UNIX peer, without the NUL that ends it. An abstract name begins with one.
    pub fn unix_path(&self) -> Option<&[u8]> {
        if self.family() != libc::AF_UNIX || !self.can_be_answered() {
            return None;
        }
        let path = &self.as_bytes()[FAMILY..];
        match memchr::memchr(0, path.get(1..).unwrap_or_default()) {
            Some(nul) if path[0] != 0 => Some(&path[..=nul]),
            _ => Some(path),
        }
    }

    #[inline]
    fn family(&self) -> i32 {
        libc::sa_family_t::from_ne_bytes(self.field(0)).into()
    }

    #[inline]
    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[offset..offset + N]);
        field
    }
}
