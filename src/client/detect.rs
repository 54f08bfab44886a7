//! Detects the wire and the version of a server.

use std::sync::Arc;
use std::time::Duration;

use super::deadline::Deadline;
use super::error::{CallError, CallFailure};
use super::guard::Route;
use super::links::{HttpLink, Link, Transport};
use super::server_info::{ServerInfo, Wire};
use crate::request::Request;

/// How long a FIFO may take to answer the JSON question before it is asked in text.
const JSON_PROBE: Duration = Duration::from_millis(400);

/// Asks in JSON first: old servers answer that they do not understand, and are asked in text.
///
/// `wire` is the one that the user names.
pub(super) async fn detect(
    link: &Link,
    wire: Option<Wire>,
    deadline: &mut Deadline<'_>,
) -> Result<ServerInfo, CallFailure> {
    if let Some(wire) = wire {
        return ask_version(link, wire, deadline).await;
    }
    let answered = match link.transport() {
        Transport::Http(http) => return ask_root(link, http, deadline).await,
        Transport::Datagram(pool) => link.ask_datagram(pool, deadline).await?,
        Transport::Fifo(_) => match ask_version(link, Wire::Json, &mut deadline.at_most(JSON_PROBE)).await {
            Ok(found) => Some(found),
            Err(CallFailure { error: CallError::Timeout, .. }) if deadline.left().is_ok() => None,
            Err(failure) => return Err(failure),
        },
    };
    match answered {
        Some(found) => Ok(found),
        None => ask_version(link, Wire::Text, deadline).await,
    }
}

/// Asks at the root of the address; the error names the one at which the server answers.
async fn ask_root(link: &Link, http: &HttpLink, deadline: &mut Deadline<'_>) -> Result<ServerInfo, CallFailure> {
    let failure = match ask_version(link, http.likely_wire(), deadline).await {
        Err(failure) if is_wrong_root(&failure.error) => failure,
        outcome => return outcome,
    };
    Err(match http.other_root(deadline).await {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    })
}

async fn ask_version(link: &Link, wire: Wire, deadline: &mut Deadline<'_>) -> Result<ServerInfo, CallFailure> {
    let route = Route::unknown(wire, link.carrier());
    let reply = link.exchange(route, &Arc::new(Request::new("version")), deadline).await?;
    Ok(ServerInfo::read(wire, &reply.response))
}

/// Returns true if the reply does not come from an MI, or comes from an MI with another wire.
fn is_wrong_root(error: &CallError) -> bool {
    match error {
        CallError::Codec(_) => true,
        CallError::Transport { errno, .. } => matches!(*errno, libc::ENOENT | libc::EPROTO),
        _ => false,
    }
}
