//! An endpoint that is open, before anybody serves it: bound once, and then served by one process or by several.

use std::net::{SocketAddr, TcpListener};

use crate::address::Address;
use crate::server::{ListenOptions, ServerError, http};
use crate::transport::OpenError;
use crate::transport::datagram::Socket;
use crate::transport::fifo::{CommandFifo, ReplyDir};

/// A FIFO with its directory of replies, or a socket. Dropping it closes it and removes its file.
pub(crate) enum Endpoint {
    Fifo { fifo: CommandFifo, replies: ReplyDir, address: Address },
    Datagram { socket: Socket, address: Address },
    Http { door: TcpListener, bound: SocketAddr, host: String },
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
                let (host, port) = http::place(url).ok_or_else(|| ServerError::NotServed(address.clone()))?;
                let refused = |source| OpenError::Bind { host: host.to_owned(), port, source };
                let (door, bound) = http::bind(host, port).map_err(refused)?;
                Ok(Endpoint::Http { door, bound, host: host.to_owned() })
            }
        }
    }

    /// Where it really is.
    pub(crate) fn address(&self, options: &ListenOptions, dialect: crate::dialect::Dialect) -> Address {
        match self {
            Endpoint::Fifo { address, .. } | Endpoint::Datagram { address, .. } => address.clone(),
            Endpoint::Http { bound, .. } => http::address(*bound, &options.http, dialect),
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
}
