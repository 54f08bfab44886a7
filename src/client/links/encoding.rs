//! Requests and replies of FIFOs and datagrams as bytes.

use crate::client::error::CallError;
use crate::client::guard::{Carrier, Refusal, Route};
use crate::client::server_info::{Generation, Wire};
use crate::codec::{jsonrpc, text};
use crate::request::Request;

/// Ends a JSON request for a text FIFO too, which else would take the next request for the rest of it.
const FOR_ANY_FIFO: &[u8] = b"\n\n";

/// The form of a text reply in a datagram of this server.
pub(in crate::client) fn datagram_of(route: Route) -> text::Carrier {
    match (route.generation, route.minor, route.patch) {
        (Some(Generation::OpenSips(..=1)), ..) => text::Carrier::OldDatagram,
        (Some(Generation::OpenSips(2)), Some(minor), Some(patch)) if (minor, patch) < (4, 5) => {
            text::Carrier::OldDatagram
        }
        _ => text::Carrier::Datagram,
    }
}

/// Writes a request and checks it as it would go out.
pub(in crate::client) fn encode(
    route: Route,
    request: &Request,
    id: u32,
    reply_name: &str,
) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::with_capacity(256);
    let written = if route.wire == Wire::Json {
        if route.carrier == Carrier::Fifo {
            for part in [":", reply_name, ":"] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        jsonrpc::encode_request(&mut bytes, request, Some(id.into()))
    } else {
        let carrier = if route.carrier == Carrier::Fifo { text::Carrier::Fifo } else { text::Carrier::Datagram };
        text::encode_request(&mut bytes, request, carrier, reply_name)
    };
    written.map_err(Refusal::from)?;
    if route.wire == Wire::Json && route.carrier == Carrier::Fifo && route.generation.is_none() {
        bytes.extend_from_slice(FOR_ANY_FIFO);
    }
    route.check_bytes(request, &bytes)?;
    Ok(bytes)
}
