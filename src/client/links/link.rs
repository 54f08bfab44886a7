//! The way to a server: a transport, and the wires that go over it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use super::encoding::{datagram_of, encode};
use super::fifo;
use super::http::HttpLink;
use super::ids::Ids;
use crate::address::Address;
use crate::client::deadline::Deadline;
use crate::client::error::CallFailure;
use crate::client::guard::{Carrier, Route};
use crate::client::reply::{Reply, read_json};
use crate::client::server_info::{ServerInfo, Wire};
use crate::client::transports::datagram::{Heard, Place, Pool};
use crate::client::transports::fifo::Fifo;
use crate::client::transports::http::{HttpError, HttpOptions};
use crate::codec::{CodecError, jsonrpc, text};
use crate::request::Request;

/// Options of the transports.
#[derive(Clone, Debug, Default)]
pub struct LinkOptions {
    /// The options of HTTP.
    pub http: HttpOptions,
    /// (UNIX) Modparam `socket_buf_size` of the server's `mi_datagram` (4.0 and later), in bytes; `None`: its default.
    pub socket_buf_size: Option<NonZeroUsize>,
}

/// The transport of a client.
#[derive(Debug)]
pub(in crate::client) enum Transport {
    Fifo(Fifo),
    Datagram(Pool),
    Http(Box<HttpLink>),
}

/// The way to a server.
#[derive(Debug)]
pub(in crate::client) struct Link {
    transport: Transport,
    ids: Ids,
}

impl Link {
    /// The way to an address, and the address without secrets. Touches no network.
    pub(in crate::client) fn new(address: Address, options: &LinkOptions) -> Result<(Self, Address), HttpError> {
        let (transport, address) = match address {
            Address::Http(url) => {
                let http = HttpLink::new(&url, &options.http)?;
                let shown = Address::Http(http.shown().to_owned());
                (Transport::Http(Box::new(http)), shown)
            }
            Address::Fifo { ref path, .. } => {
                (Transport::Fifo(Fifo::new(path.clone(), address.reply_dir().to_owned())), address)
            }
            Address::Udp { ref host, port } => {
                (Transport::Datagram(Pool::new(Place::Udp { host: host.clone(), port })), address)
            }
            Address::Unix { ref path } => {
                let pool = Pool::new(Place::Unix(path.clone())).with_socket_buf_size(options.socket_buf_size);
                (Transport::Datagram(pool), address)
            }
        };
        Ok((Link { transport, ids: Ids::random() }, address))
    }

    /// The names of the wires that this transport never carries, and the ones that it does.
    pub(in crate::client) fn check_wire(&self, wire: Wire) -> Result<(), &'static str> {
        match (&self.transport, wire) {
            (Transport::Http(_), Wire::Text) => Err("jsonrpc, mi_json or xmlrpc"),
            (Transport::Fifo(_) | Transport::Datagram(_), Wire::MiJson | Wire::XmlRpc) => Err("text or jsonrpc"),
            _ => Ok(()),
        }
    }

    pub(in crate::client) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Sets the greatest reply in bytes. Datagrams are never larger than 64 KiB.
    pub(in crate::client) fn limit_replies(&mut self, limit: usize) {
        match &mut self.transport {
            Transport::Fifo(fifo) => fifo.reply_limit = limit,
            Transport::Datagram(_) => {}
            Transport::Http(http) => http.limit_replies(limit),
        }
    }

    /// The same way with sockets, files and locks of its own, for a child of this process.
    pub(in crate::client) fn after_fork(&self) -> Self {
        let transport = match &self.transport {
            Transport::Fifo(fifo) => Transport::Fifo(fifo.after_fork()),
            Transport::Datagram(pool) => Transport::Datagram(pool.after_fork()),
            Transport::Http(http) => Transport::Http(Box::new(http.after_fork())),
        };
        Link { transport, ids: self.ids.after_fork() }
    }

    /// Closes the sockets and FIFOs that no call uses.
    pub(in crate::client) fn close_idle(&self) {
        match &self.transport {
            Transport::Fifo(fifo) => fifo.close_idle(),
            Transport::Datagram(pool) => pool.close_idle(),
            Transport::Http(http) => http.close_idle(),
        }
    }

    /// As [`Link::close_idle`], and keeps none from now on.
    pub(in crate::client) fn close(&self) {
        match &self.transport {
            Transport::Fifo(fifo) => fifo.close(),
            Transport::Datagram(pool) => pool.close_idle(),
            Transport::Http(http) => http.close_idle(),
        }
    }

    /// Discards the facts about a server that another may have replaced.
    pub(in crate::client) fn forget_server(&self) {
        if let Transport::Http(http) = &self.transport {
            http.forget();
        }
    }

    pub(in crate::client) fn carrier(&self) -> Carrier {
        match self.transport {
            Transport::Fifo(_) => Carrier::Fifo,
            Transport::Datagram(_) => Carrier::Datagram,
            Transport::Http(_) => Carrier::Http,
        }
    }

    /// The route to a server of which nothing is known but its wire.
    pub(in crate::client) fn route_to_unknown(&self, wire: Wire) -> Route {
        // Modparam `socket_buf_size` of the server's `mi_datagram`, as the user says it.
        let socket_buf_size =
            if let Transport::Datagram(pool) = &self.transport { pool.socket_buf_size() } else { None };
        Route { socket_buf_size, ..Route::unknown(wire, self.carrier()) }
    }

    /// The route to a server.
    pub(in crate::client) fn route_to(&self, server: &ServerInfo) -> Route {
        let (generation, minor, patch, form) = (server.generation, server.minor(), server.patch(), server.form);
        let route = Route { generation, minor, patch, form, ..self.route_to_unknown(server.wire) };
        if let Transport::Http(http) = &self.transport { http.complete(route) } else { route }
    }

    /// Sends a request and reads the reply to it.
    pub(in crate::client) async fn exchange(
        &self,
        route: Route,
        request: &Arc<Request>,
        deadline: &mut Deadline<'_>,
    ) -> Result<Reply, CallFailure> {
        // A caller that will not wait for the reply does not want the command to run.
        deadline.left()?;
        let id = self.ids.next();
        let started = Instant::now();
        let (sent, raw, response) = match &self.transport {
            Transport::Http(http) => return http.call(route, request, id, deadline).await,
            Transport::Datagram(pool) => {
                let sent = encode(route, request, id, "")?;
                let mut read = |bytes: &[u8]| match route.wire {
                    Wire::Json => read_json(bytes, id),
                    _ => Some(text::decode_response(bytes, datagram_of(route))),
                };
                let Heard { reply, raw } =
                    pool.exchange(&sent, route.wire == Wire::Json, deadline, &mut read).await?;
                (sent, raw, reply)
            }
            Transport::Fifo(fifo) => fifo::exchange(fifo, route, request, id, deadline).await?,
        };
        let elapsed = started.elapsed();
        Ok(Reply { response, sent, raw, elapsed, wire: route.wire, ..Reply::default() })
    }

    /// Asks a datagram server for its version in JSON; `None` when it answers in text.
    pub(in crate::client) async fn ask_datagram(
        &self,
        pool: &Pool,
        deadline: &mut Deadline<'_>,
    ) -> Result<Option<ServerInfo>, CallFailure> {
        let id = self.ids.next();
        let route = Route::unknown(Wire::Json, Carrier::Datagram);
        let sent = encode(route, &Request::new("version"), id, "")?;
        let mut read = |bytes: &[u8]| -> Option<Result<Option<ServerInfo>, CodecError>> {
            if jsonrpc::looks_like_json(bytes) {
                read_json(bytes, id).map(|read| read.map(|response| Some(ServerInfo::read(Wire::Json, &response))))
            } else {
                // A datagram that is no reply at all comes from no server of MI.
                Some(text::decode_response(bytes, text::Carrier::Datagram).map(|_| None))
            }
        };
        pool.exchange(&sent, true, deadline, &mut read).await.map(|heard| heard.reply)
    }
}
