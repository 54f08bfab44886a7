//! The errors of a call.

use std::io;
use std::time::Duration;

use super::deadline::WaitError;
use super::guard::Refusal;
use crate::codec::CodecError;
use crate::transport::reply_fifo::CommandError;

/// A failed call keeps this much of what was received.
const KEPT_OF_FAILURE: usize = 1 << 20;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The other side cannot be reached, or went away.
    #[error("{what}")]
    Transport {
        /// What happened, and to what.
        what: String,
        /// The number that the system has for it.
        errno: i32,
    },
    /// The deadline has passed.
    #[error("no answer in time")]
    Timeout,
    /// What came is no answer.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// It was not sent.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The parameters cannot be said together.
    #[error("{0}")]
    Params(String),
    /// Whoever called no longer wants an answer.
    #[error("interrupted")]
    Interrupted,
    /// The server failed so often that it is left alone for a while.
    #[error("not tried: it failed {failures} times in a row, and is left alone for another {:.1} s", left.as_secs_f64())]
    Resting {
        /// How many times.
        failures: u32,
        /// For how long no call is made.
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
    /// What happened, followed by what the system says.
    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        CallError::Transport { what: format!("{what}: {error}"), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// The reply exceeds the limit of the client.
    pub(super) fn too_large(limit: usize) -> Self {
        let what = format!("the reply is larger than {limit} bytes, the limit of this client (reply_limit)");
        CallError::Transport { what, errno: libc::EMSGSIZE }
    }

    /// With the bytes that went and came before it.
    pub(super) fn after(self, sent: &[u8], received: &[u8]) -> CallFailure {
        let kept = &received[..received.len().min(KEPT_OF_FAILURE)];
        let (sent, received_size) = (sent.into(), received.len());
        CallFailure { error: self, sent, received: kept.to_vec(), received_size, probing: false, details: None }
    }
}

/// Why there is no reply, and what went and came before.
#[derive(Debug)]
pub struct CallFailure {
    /// What went wrong.
    pub error: CallError,
    /// What was sent; empty when nothing was.
    pub sent: Box<[u8]>,
    /// The first MiB of what came; empty when nothing did.
    pub received: Vec<u8>,
    /// How many bytes came.
    pub received_size: usize,
    /// Whether it was not the command itself, but the question who the server is.
    pub probing: bool,
    /// More about it, if more is known.
    pub details: Option<Box<Details>>,
}

/// More about a failure, for people.
#[derive(Debug, Default)]
pub struct Details {
    /// The part of an answer that had come, in words; empty when nothing had, or no more is known than its size.
    pub progress: String,
    /// The likely cause, and the way around it; empty when none is known.
    pub hint: String,
}

impl CallFailure {
    /// With the part of an answer that had come, in words.
    pub(super) fn after_part(mut self, progress: String) -> Self {
        if !progress.is_empty() {
            self.details.get_or_insert_default().progress = progress;
        }
        self
    }

    /// With a likely cause, and the way around it.
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
