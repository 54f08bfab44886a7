//! An endpoint that is open before any process serves it: bound once, then served by one process or by several.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::{AsRawFd as _, RawFd};

use crate::address::Address;
use crate::dialect::Dialect;
use crate::server::error::ServerError;
use crate::server::options::ListenOptions;
use crate::server::options::http::HttpOptions;
use crate::server::options::roots::Roots;
use crate::transport::OpenError;
use crate::transport::datagram::Socket;
use crate::transport::fifo::{CommandFifo, ReplyDir};

/// A FIFO with its directory of replies, or a socket. Dropping it closes it and removes its file.
pub(crate) enum Endpoint {
    Fifo { fifo: CommandFifo, replies: ReplyDir, address: Address },
    Datagram { socket: Socket, address: Address },
    Http { listener: TcpListener, bound: SocketAddr, host: String },
}

impl Endpoint {
    /// Opens it.
    pub(crate) fn open(
        address: &Address,
        options: &ListenOptions,
        is_emulated: bool,
    ) -> Result<Endpoint, ServerError> {
        match address {
            Address::Fifo { path, .. } => {
                let reply_dir = address.reply_dir();
                let replies = ReplyDir::open(reply_dir, is_emulated, options.access)?;
                let address = Address::Fifo { path: path.clone(), reply_dir: Some(reply_dir.to_owned()) };
                Ok(Endpoint::Fifo { fifo: CommandFifo::create(path, options.access)?, replies, address })
            }
            Address::Udp { host, port } => {
                let (socket, bound) = Socket::bind_udp(host, *port)?;
                let address = Address::Udp { host: bound.ip().to_string(), port: bound.port() };
                Ok(Endpoint::Datagram { socket, address })
            }
            Address::Unix { path } => {
                let socket = Socket::bind_unix(path, options.access)?;
                Ok(Endpoint::Datagram { socket, address: address.clone() })
            }
            Address::Http(url) => {
                let (host, port) = place(url).ok_or_else(|| ServerError::NotServed(address.clone()))?;
                let refused = |source| OpenError::Bind { host: host.to_owned(), port, source };
                let (listener, bound) = bind(host, port).map_err(refused)?;
                Ok(Endpoint::Http { listener, bound, host: host.to_owned() })
            }
        }
    }

    /// Where it really is.
    pub(crate) fn address(&self, options: &ListenOptions, dialect: Dialect) -> Address {
        match self {
            Endpoint::Fifo { address, .. } | Endpoint::Datagram { address, .. } => address.clone(),
            Endpoint::Http { bound, .. } => http_address(*bound, &options.http, dialect),
        }
    }

    /// Its file stays when this is dropped: it is that of another process, or of one that died.
    pub(crate) fn leave(&mut self) {
        match self {
            Endpoint::Fifo { fifo, .. } => fifo.leave(),
            Endpoint::Datagram { socket, .. } => socket.leave(),
            Endpoint::Http { .. } => {}
        }
    }

    /// Its descriptor.
    pub(crate) fn descriptor(&self) -> RawFd {
        match self {
            Endpoint::Fifo { fifo, .. } => fifo.as_raw_fd(),
            Endpoint::Datagram { socket, .. } => socket.as_raw_fd(),
            Endpoint::Http { listener, .. } => listener.as_raw_fd(),
        }
    }
}

/// Host and port of a URL to listen at, which has neither path nor user.
fn place(url: &str) -> Option<(&str, u16)> {
    let authority = url.split_once("://")?.1.trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.strip_prefix('[').map_or(Some(host), |inner| inner.strip_suffix(']'))?;
    let is_plain = !host.is_empty() && !host.contains(['/', '@', '?', '#']);
    is_plain.then_some((host, port.parse().ok()?))
}

/// Where it is, as clients write it.
pub(crate) fn http_address(bound: SocketAddr, http: &HttpOptions, dialect: Dialect) -> Address {
    let scheme = if http.is_secure() { "https" } else { "http" };
    let roots = http.roots.clone().unwrap_or_else(|| Roots::of(dialect));
    let first = roots.paths().next().unwrap_or_default();
    Address::Http(format!("{scheme}://{bound}{first}"))
}

fn bind(host: &str, port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let mut refused = io::ErrorKind::AddrNotAvailable.into();
    for address in (host, port).to_socket_addrs()? {
        match TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                let bound = listener.local_addr()?;
                return Ok((listener, bound));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
