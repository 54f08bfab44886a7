//! Replies that are too large for a datagram: a server says so in few words, in others, or not at all.

use super::error::{CallError, CallFailure};
use super::guard::{Carrier, Route};
use super::reply::Reply;
use super::server_info::{Generation, Wire};
use crate::catalog::effects::{Effect, effect_of};
use crate::catalog::hazards::smaller_reply;

/// The largest reply in a datagram, and the smaller one of versions before 2.4.5.
const LARGEST: &str = "65457";
const LARGEST_BEFORE: &str = "32728";

/// Adds to an error the likely cause. Servers of 3.x and 4.x answer `500 Internal error` when a reply cannot be sent, and
/// some commands have that error of their own (`rl_reset_pipe`). Those of 1.x and 2.x answer `500 command failed`, as they
/// do when a command fails.
pub(super) fn explain_refusal(route: Route, command: &[u8], reply: &mut Reply) {
    let is_large = || smaller_reply(command).is_some();
    let perhaps = match (&*reply.response.reason, route.wire) {
        (b"Internal error", Wire::Json) if is_large() => "",
        (b"Internal error", Wire::Json) if effect_of(command) == Effect::Read => "perhaps ",
        (b"command failed", Wire::Text) if is_large() => "perhaps ",
        _ => return,
    };
    if reply.response.code == 500 && is_of_original(route) {
        let reason = format!("{}: {perhaps}{}", reply.response.reason.to_text(), hint(route, command));
        reply.response.reason = reason.into();
    }
}

/// Adds to a timeout the likely cause: servers of 1.x and 2.x say nothing when a reply is too large.
pub(super) fn explain_silence(route: Route, command: &[u8], failure: &mut CallFailure) {
    let is_silence =
        matches!(failure.error, CallError::Timeout) && failure.received.is_empty() && !failure.sent.is_empty();
    let is_likely =
        is_silence && route.wire == Wire::Text && is_of_original(route) && smaller_reply(command).is_some();
    if is_likely {
        failure.add_hint(format!("perhaps {}", hint(route, command)));
    }
}

fn is_of_original(route: Route) -> bool {
    route.carrier == Carrier::Datagram && route.is_original()
}

/// The cause, and the ways around it that this version has.
fn hint(route: Route, command: &[u8]) -> String {
    let smaller = smaller_reply(command).filter(|way| !way.is_empty());
    let smaller = smaller.map(|way| format!("{way}, or ")).unwrap_or_default();
    // httpd came with 1.8, its MI for programs with 1.10.
    let has_http = !matches!((route.generation, route.minor), (Some(Generation::OpenSips(1)), Some(..=9)));
    let others = if has_http { "a FIFO or HTTP" } else { "a FIFO" };
    let limit = match (route.generation, route.minor, route.patch) {
        (Some(Generation::OpenSips(1)), ..) => LARGEST_BEFORE,
        (Some(Generation::OpenSips(2)), minor, patch) if (minor, patch) < (Some(4), Some(5)) => LARGEST_BEFORE,
        _ => LARGEST,
    };
    format!("the reply is larger than a datagram of the server, which carries {limit} bytes: {smaller}use {others}")
}
