//! The known facts about a request's server, and the transport to it.

use crate::catalog::names::Version;
use crate::client::server_info::{Generation, Wire};
use crate::codec::xmlrpc::Form;
use crate::dialect::Dialect;
use crate::item::Item;
use crate::request::Params;

/// The number of requests that a server is given at a time. A real one reads its FIFO, or HTTP, by one process that
/// others share, so requests wait for each other in the client and not there. Datagrams wait in the kernel, which has
/// room for some 270 on a socket and drops the others. Sipmi's server handles connections side by side, and reads a
/// FIFO faster than it is written.
const IN_FLIGHT_ORIGINAL: usize = 1;
const IN_FLIGHT_DATAGRAMS: usize = 16;
const IN_FLIGHT_FIFO: usize = 8;
const IN_FLIGHT_OURS: usize = 128;

/// The transport of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum Carrier {
    Fifo,
    Datagram,
    Http,
}

/// The server of a request, and the transport to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Route {
    pub(in crate::client) wire: Wire,
    pub(in crate::client) carrier: Carrier,
    pub(in crate::client) generation: Option<Generation>,
    /// The second part of the server's version.
    pub(in crate::client) minor: Option<u32>,
    /// The third part.
    pub(in crate::client) patch: Option<u32>,
    /// The value of modparam `receive_buf_size` of `httpd`, if the user gave it.
    pub(in crate::client) receive_buf_size: Option<usize>,
    /// The value of modparam `socket_buf_size` of `mi_datagram`, if the user gave it.
    pub(in crate::client) socket_buf_size: Option<usize>,
    /// True if `mi_xmlrpc` of 1.x answers, whose HTTP server is not `httpd`.
    pub(in crate::client) is_abyss: bool,
    /// Of XML-RPC.
    pub(in crate::client) form: Form,
    /// True if the caller forces requests over limits that do no harm.
    pub(in crate::client) force: bool,
}

impl Route {
    /// To a server of which nothing is known.
    pub(in crate::client) fn unknown(wire: Wire, carrier: Carrier) -> Self {
        Route {
            wire,
            carrier,
            generation: None,
            minor: None,
            patch: None,
            receive_buf_size: None,
            socket_buf_size: None,
            is_abyss: false,
            form: Form::Native,
            force: false,
        }
    }

    /// Returns the version of an OpenSIPS server, if it is known.
    pub(in crate::client) fn version(self) -> Option<Version> {
        match self.generation? {
            Generation::OpenSips(major) => Some((major, self.minor)),
            Generation::Sipmi => None,
        }
    }

    /// Returns true if the limits of OpenSIPS hold: unless the server is known to be sipmi's.
    pub(in crate::client) fn is_original(self) -> bool {
        self.generation != Some(Generation::Sipmi)
    }

    /// How many requests may be on their way at a time.
    pub(in crate::client) fn in_flight(self) -> usize {
        match (self.is_original(), self.carrier) {
            (true, Carrier::Fifo | Carrier::Http) => IN_FLIGHT_ORIGINAL,
            (true, Carrier::Datagram) => IN_FLIGHT_DATAGRAMS,
            (false, Carrier::Fifo) => IN_FLIGHT_FIFO,
            (false, Carrier::Datagram | Carrier::Http) => IN_FLIGHT_OURS,
        }
    }

    /// Returns the dialect in which requests are written. For an unknown server it is the most restrictive one.
    pub(in crate::client) fn dialect(self) -> Dialect {
        match (self.generation, self.wire) {
            (Some(Generation::Sipmi), _) => Dialect::Sipmi,
            (Some(Generation::OpenSips(..=1)), _) | (None, Wire::Text | Wire::MiJson) => Dialect::V1_11,
            (Some(Generation::OpenSips(2)), _) => Dialect::V2_4,
            (Some(Generation::OpenSips(3)), _) => Dialect::V3_4,
            (Some(Generation::OpenSips(_)), _) | (None, Wire::Json | Wire::XmlRpc) => Dialect::V4_0,
        }
    }

    /// Returns true if parameters keep their JSON types.
    pub(in crate::client) fn is_typed(self) -> bool {
        match self.wire {
            Wire::Json => true,
            Wire::XmlRpc => self.form == Form::Native,
            Wire::Text | Wire::MiJson => false,
        }
    }

    /// Says integers and fractions that a server of 3.x or 4.x would clamp to 32 bits as strings, which it takes in
    /// their place.
    pub(in crate::client) fn adapt(self, params: &mut Params) {
        if self.is_typed() && self.is_original() {
            match params {
                Params::Positional(items) => items.iter_mut().for_each(say_large_numbers),
                Params::Named(members) => members.iter_mut().for_each(|(_, item)| say_large_numbers(item)),
                Params::None | Params::Strings(_) => {}
            }
        }
    }
}

fn say_large_numbers(item: &mut Item) {
    match item {
        Item::Int(value) if i32::try_from(*value).is_err() => *item = Item::from(value.to_string()),
        Item::UInt(value) => *item = Item::from(value.to_string()),
        Item::Float(value) if value.is_finite() => *item = Item::from(format!("{value:?}")),
        Item::Array(elements) => elements.iter_mut().for_each(say_large_numbers),
        _ => {}
    }
}
