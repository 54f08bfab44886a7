//! Requests and replies over a FIFO.

use crate::client::deadline::Deadline;
use crate::client::error::{CallError, CallFailure};
use crate::client::guard::Route;
use crate::client::links::encoding::encode;
use crate::client::reply::read_json;
use crate::client::server_info::{Generation, Wire};
use crate::client::transports::fifo::{Ending, Fifo};
use crate::codec::{CodecError, text};
use crate::request::Request;
use crate::response::{Failure, Response};

/// Sends a request and returns the sent bytes, the received bytes and the decoded response.
pub(in crate::client) async fn exchange(
    fifo: &Fifo,
    route: Route,
    request: &Request,
    id: u32,
    deadline: &mut Deadline<'_>,
) -> Result<(Vec<u8>, Vec<u8>, Response), CallFailure> {
    let is_sipmi = route.generation == Some(Generation::Sipmi);
    let ending = match route.wire {
        Wire::Json if is_sipmi => Ending::Json,
        Wire::Json => Ending::JsonInPieces,
        _ => Ending::Text,
    };
    let may_be_out_of_step = route.wire == Wire::Text && !is_sipmi;
    let exchanged = fifo
        .exchange(ending, deadline, |reply_name| {
            route.check_reply_path(fifo.reply_path_len(reply_name))?;
            encode(route, request, id, reply_name)
        })
        .await;
    let was_lost = matches!(&exchanged, Err(CallFailure { error: CallError::Timeout, sent, .. }) if !sent.is_empty());
    if may_be_out_of_step && was_lost {
        fifo.resync();
    }
    let (sent, raw) = exchanged?;
    let size = raw.len();
    let decode = move || (decode(route.wire, &raw, id), raw);
    let (response, raw) = match deadline.work_on(size, decode).await {
        Ok(decoded) => decoded,
        Err(error) => {
            return Err(CallFailure { received_size: size, ..CallError::from(error).after(&sent, b"") });
        }
    };
    match response {
        Ok(response) => {
            if may_be_out_of_step && text::failure_of(&response) == Some(Failure::Parse) {
                fifo.resync();
            }
            Ok((sent, raw, response))
        }
        Err(error) => Err(CallError::from(error).after(&sent, &raw)),
    }
}

fn decode(wire: Wire, raw: &[u8], id: u32) -> Result<Response, CodecError> {
    match wire {
        Wire::Json => {
            read_json(raw, id).unwrap_or_else(|| Err(CodecError::unexpected("the answer to this request", raw, 0)))
        }
        _ => text::decode_response(raw, text::Carrier::Fifo),
    }
}
