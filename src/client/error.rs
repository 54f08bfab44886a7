//! The errors of a call.

use std::io;
use std::time::Duration;

use super::deadline::WaitError;
use super::guard::Refusal;
use crate::codec::CodecError;
use crate::transport::reply_fifo::CommandError;

/// The number of received bytes that a failed call keeps.
const KEPT_OF_FAILURE: usize = 1 << 20;

/// The error of a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server cannot be reached, or closed the connection.
    #[error("{what}")]
    Transport {
        /// The failure, as text.
        what: String,
        /// The error number of the system (`errno`).
        errno: i32,
    },
    /// The deadline has passed.
    #[error("no answer in time")]
    Timeout,
    /// The bytes that were received are no reply.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// The request was not sent.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The parameters cannot be combined.
    #[error("{0}")]
    Params(String),
    /// The caller canceled the call.
    #[error("interrupted")]
    Interrupted,
    /// The circuit breaker is open: the server failed too often.
    #[error("circuit breaker open after {failures} failures; next attempt in {:.1} s", left.as_secs_f64())]
    CircuitOpen {
        /// The number of failures in a row.
        failures: u32,
        /// The time until the next attempt.
        left: Duration,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl From<WaitError> for CallError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::TimedOut => CallError::Timeout,
            WaitError::Interrupted => CallError::Interrupted,
            WaitError::Io(error) => CallError::io("the system refused", &error),
        }
    }
}

impl From<CommandError> for CallError {
    fn from(error: CommandError) -> Self {
        CallError::Transport { what: error.to_string(), errno: error.errno() }
    }
}

impl CallError {
    /// A transport error: the failure, followed by the text of the system.
    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        CallError::Transport { what: format!("{what}: {error}"), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// The reply exceeds the limit of the client.
    pub(super) fn too_large(limit: usize) -> Self {
        let what = format!("the reply is larger than {limit} bytes, the limit of this client (reply_limit)");
        CallError::Transport { what, errno: libc::EMSGSIZE }
    }

    /// Adds the bytes that were sent and received before the error.
    pub(super) fn after(self, sent: &[u8], received: &[u8]) -> CallFailure {
        let kept = &received[..received.len().min(KEPT_OF_FAILURE)];
        let (sent, received_size) = (sent.into(), received.len());
        CallFailure { error: self, sent, received: kept.to_vec(), received_size, probing: false, details: None }
    }
}

/// The error of a call, with the bytes that were sent and received before.
#[derive(Debug)]
pub struct CallFailure {
    /// The error.
    pub error: CallError,
    /// The bytes sent; empty when there are none.
    pub sent: Box<[u8]>,
    /// The first MiB of the bytes received; empty when there are none.
    pub received: Vec<u8>,
    /// The number of bytes received.
    pub received_size: usize,
    /// True if the request for the version failed, and not the command itself.
    pub probing: bool,
    /// Details for people, where there are any.
    pub details: Option<Box<Details>>,
}

/// Details of a failure, for people.
#[derive(Debug, Default)]
pub struct Details {
    /// The part of the reply that was received, in words; empty when only its size is known.
    pub progress: String,
    /// The likely cause, and the way around it; empty when none is known.
    pub hint: String,
}

impl CallFailure {
    /// Adds the part of the reply that was received, in words.
    pub(super) fn after_part(mut self, progress: String) -> Self {
        if !progress.is_empty() {
            self.details.get_or_insert_default().progress = progress;
        }
        self
    }

    /// The same failure with a likely cause and the way around it.
    pub(super) fn with_hint(mut self, hint: String) -> Self {
        self.add_hint(hint);
        self
    }

    /// Adds a likely cause, and the way around it.
    pub(super) fn add_hint(&mut self, hint: String) {
        self.details.get_or_insert_default().hint = hint;
    }
}

impl<E: Into<CallError>> From<E> for CallFailure {
    fn from(error: E) -> Self {
        error.into().after(b"", b"")
    }
}
