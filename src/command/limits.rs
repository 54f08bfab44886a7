//! Limits of a listener or a command for its callers.

use std::time::Duration;

/// Limits of a listener or of a command; `None` means no limit here.
///
/// For `request`, `reply`, `depth` and `run`, the limits of a command override those of its listener. The other limits
/// apply to the listener and to the command independently.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The largest request in bytes.
    pub request: Option<usize>,
    /// The largest reply in bytes.
    pub reply: Option<usize>,
    /// The deepest nesting of parameters.
    pub depth: Option<usize>,
    /// The longest time until a request is answered. A streamed reply must start within it.
    pub run: Option<Run>,
    /// The most requests in progress.
    pub in_progress: Option<usize>,
    /// The most requests that wait for a thread or for their turn.
    pub queue: Option<usize>,
    /// The most requests of one peer, per second.
    pub rate: Option<f64>,
}

/// A time limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// No limit.
    Unlimited,
    /// This duration.
    For(Duration),
}

impl Run {
    /// The duration, if there is one.
    pub fn time(self) -> Option<Duration> {
        match self {
            Run::Unlimited => None,
            Run::For(time) => Some(time),
        }
    }
}
