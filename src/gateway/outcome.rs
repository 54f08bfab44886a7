//! The outcome of a call to an upstream, and the callers that wait for it.

use super::audit::Entry;
use crate::client::Reply;
use crate::codec::json;
use crate::command::Responder;
use crate::item::Item;
use crate::response::Response;

/// The reply of an upstream, or the reason why there is none.
pub(super) type Outcome = Result<Reply, UpstreamError>;

/// The reason why there is no reply.
#[derive(Clone, Debug)]
pub(super) enum UpstreamError {
    /// No reply came within this number of seconds.
    Timeout(f64),
    /// The upstream cannot be reached, or its reply cannot be read.
    Unreachable(String),
    /// The request cannot be written for this upstream, or would harm it.
    Refused(String),
    /// The upstream leads back to this gateway.
    Loop,
}

/// A caller that waits for a reply.
pub(super) struct Waiter {
    pub(super) responder: Box<dyn Responder>,
    pub(super) legacy: bool,
    pub(super) entry: Option<Entry>,
}

/// The value of a reply, whatever it came as; null when it has none.
pub(super) fn item_of(response: &Response) -> Item {
    json::item_of(&response.body).ok().flatten().map_or(Item::Null, std::borrow::Cow::into_owned)
}
