//! How much a listener or a command lets callers ask of it.

use std::time::Duration;

/// Limits; what is `None` is not limited here. A listener and a command each have some.
///
/// For `request`, `reply`, `depth` and `run` a command's own go before its listener's. The others hold for the
/// listener and for the command, each by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The largest request in bytes.
    pub request: Option<usize>,
    /// The largest reply in bytes.
    pub reply: Option<usize>,
    /// How deep parameters may nest.
    pub depth: Option<usize>,
    /// How long until a request is answered; for a streamed reply, until it begins.
    pub run: Option<Run>,
    /// How many requests may be in progress.
    pub in_progress: Option<usize>,
    /// How many requests may wait for a thread, or for their turn.
    pub queue: Option<usize>,
    /// How many requests a second one peer may make.
    pub rate: Option<f64>,
}

/// A time to run, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// As long as it takes.
    Unlimited,
    /// So long.
    For(Duration),
}

impl Run {
    /// The time, where there is one.
    pub fn time(self) -> Option<Duration> {
        match self {
            Run::Unlimited => None,
            Run::For(time) => Some(time),
        }
    }
}
