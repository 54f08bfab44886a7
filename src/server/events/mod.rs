//! Delivering events: the way to the sockets of `event_subscribe`, which never blocks the caller.
//!
//! The thread that raises an event sends its datagram. Datagrams that the receiver has no room for, and all events over
//! TCP, wait in a bounded queue for the sender: one thread for all of them.

mod datagram;
mod sender;
mod stream;

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::address::parse_host_and_port;
use crate::codec::event::Form;
use crate::command::event::{Carrier, Opened};
use crate::dialect::Dialect;
use datagram::{Udp, Unix};
use sender::EventSender;
use stream::{Stream, StreamOutlet};

/// More connections than this a server does not make for its subscribers.
const MOST_STREAMS: usize = 256;
/// How long a server that stops waits for its subscribers to take what is on its way.
const FLUSH: Duration = Duration::from_millis(500);

/// Finds the way to a subscriber.
pub(crate) struct Delivery {
    dialect: Dialect,
    udp: Udp,
    unix: Unix,
    streams: Mutex<HashMap<String, Weak<Stream>>>,
    sender: Arc<EventSender>,
    reliable: AtomicBool,
}

impl Delivery {
    pub(crate) fn new(dialect: Dialect) -> Arc<Self> {
        let sender = EventSender::new();
        Arc::new(Delivery {
            dialect,
            udp: Udp::new(dialect),
            unix: Unix::new(dialect, sender.clone()),
            streams: Mutex::default(),
            sender,
            reliable: AtomicBool::new(false),
        })
    }

    /// Makes subscribers over TCP confirm each event, or not (`reliable_mode` of `event_stream`). Holds for
    /// connections that are not made yet.
    pub(crate) fn set_reliable(&self, reliable: bool) {
        self.reliable.store(reliable, Ordering::Relaxed);
    }

    /// Sends the queued events that their receivers accept soon, and drops the rest.
    pub(crate) fn stop(&self) {
        self.sender.stop(Instant::now() + FLUSH);
    }

    /// `tcp:` came with 3.0, `jsonrpc:` with 2.4; before there were only datagrams.
    fn has_streams(&self, scheme: &str) -> bool {
        self.dialect.reads_json() || (self.dialect == Dialect::V2_4 && scheme == "jsonrpc")
    }

    /// The addresses of a host, at least one. OpenSIPS knows IPv4 only.
    fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let found =
            (host, port).to_socket_addrs().map_err(|error| format!("cannot find the host {host}: {error}"))?;
        let usable = found.filter(|address| address.is_ipv4() || !self.dialect.is_emulated());
        let addresses: Vec<SocketAddr> = usable.collect();
        if addresses.is_empty() {
            Err(format!("the host {host} has no address that can be used"))
        } else {
            Ok(addresses)
        }
    }

    fn open_udp(&self, rest: &str) -> Result<Opened, String> {
        let (host, port) = host_and_port(rest)?;
        let addresses = self.resolve(host, port)?;
        // UDP cannot tell which of several would answer; the old family is the one that all senders have.
        let address = addresses.iter().find(|address| address.is_ipv4()).unwrap_or(&addresses[0]);
        let outlet = self.udp.outlet(*address).map_err(|error| format!("no UDP socket: {error}"))?;
        Ok(Opened { identity: format!("udp {address}"), outlet: Arc::new(outlet), form: None })
    }

    fn open_stream(&self, rest: &str) -> Result<Opened, String> {
        let (host_port, method) = rest.split_once('/').map_or((rest, None), |(to, method)| (to, Some(method)));
        if method.is_some_and(str::is_empty) {
            return Err("expected a method after the `/`, found nothing".into());
        }
        let (host, port) = host_and_port(host_port)?;
        let addresses = self.resolve(host, port)?;
        let key = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let identity = format!("tcp {key}/{}", method.unwrap_or_default());
        let stream = self.stream(key, addresses)?;
        Ok(Opened { identity, outlet: Arc::new(StreamOutlet::new(stream, method)), form: Some(Form::Json) })
    }

    /// The connection to an address: one for all its subscriptions. It is not made before an event needs it.
    fn stream(&self, key: String, addresses: Vec<SocketAddr>) -> Result<Arc<Stream>, String> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = streams.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        streams.retain(|_, stream| stream.strong_count() > 0);
        if streams.len() >= MOST_STREAMS {
            return Err(format!("{MOST_STREAMS} TCP subscribers are the most"));
        }
        let stream = Stream::new(addresses, self.reliable.load(Ordering::Relaxed), self.sender.clone());
        streams.insert(key, Arc::downgrade(&stream));
        Ok(stream)
    }
}

impl Carrier for Delivery {
    fn open(&self, socket: &str) -> Result<Opened, String> {
        const EXPECTED: &str = "expected udp:host:port, unix:/path or tcp:host:port";
        let (scheme, rest) = socket.split_once(':').ok_or(EXPECTED)?;
        match scheme {
            "udp" => self.open_udp(rest),
            "unix" => {
                let outlet = self.unix.outlet(rest).map_err(|error| format!("cannot use the path: {error}"))?;
                Ok(Opened { identity: format!("unix {rest}"), outlet, form: None })
            }
            "tcp" | "jsonrpc" if self.has_streams(scheme) => self.open_stream(rest),
            _ => Err(EXPECTED.into()),
        }
    }
}

fn host_and_port(rest: &str) -> Result<(&str, u16), String> {
    let found = parse_host_and_port(rest).filter(|(_, port)| *port != 0);
    found.ok_or_else(|| "expected host:port, with an IPv6 host in brackets and a port of 1 to 65535".into())
}
