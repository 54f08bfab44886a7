//! The errors of events and subscriptions, and the check of names.

use crate::item::Str;
use crate::request::Params;

/// The longest name of an event. It leaves ample room in a line of a text request.
pub const LONGEST_NAME: usize = 128;

/// Why an event cannot be declared or raised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// No wire can carry the name.
    #[error(
        "expected an event's name of 1 to {LONGEST_NAME} printable ASCII characters without blanks, quotes and colons, found {0:?}"
    )]
    Name(Str),
    /// A line of text cannot carry the parameter's name.
    #[error("expected a parameter's name without newlines, found {0:?}")]
    ParamName(Str),
}

/// Why a subscription is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// There is no such event.
    #[error("no event of this name is declared")]
    UnknownEvent,
    /// The socket is not understood, or events cannot be sent to it.
    #[error("{0}")]
    Socket(String),
    /// There are [`MOST_SUBSCRIPTIONS`](super::MOST_SUBSCRIPTIONS).
    #[error("too many subscriptions")]
    TooMany,
}

/// A name that every wire can carry.
pub(super) fn check_name(name: Str) -> Result<Str, EventError> {
    let can_be_carried = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b':');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.iter().all(can_be_carried) {
        return Err(EventError::Name(name));
    }
    Ok(name)
}

/// Rejects names with a newline, which would end the parameter's line.
pub(super) fn check_params(params: &Params) -> Result<(), EventError> {
    let bad = match params {
        Params::Named(members) => members.iter().map(|(name, _)| name).find(|name| name.contains(&b'\n')),
        Params::Strings(params) => params.iter().map(|param| &param.name).find(|name| name.contains(&b'\n')),
        Params::None | Params::Positional(_) => None,
    };
    bad.map_or(Ok(()), |name| Err(EventError::ParamName(name.clone())))
}
