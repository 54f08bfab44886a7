//! The reasons for which a request is not sent.

use super::http_limit::HttpLimit;
use crate::catalog::hazards::Hazard;
use crate::catalog::limits::LONGEST_NAME;
use crate::codec::CodecError;

/// Why a request was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No server has such a command.
    #[error(
        "{0:?} cannot be the name of a command: expected 1 to {LONGEST_NAME} bytes without blanks, quotes, backslashes and control bytes"
    )]
    Name(String),
    /// The wire has no way to write it.
    #[error("{0}")]
    Unsayable(CodecError),
    /// The transport does not carry it whole.
    #[error("the request has {size} bytes, over the limit of {limit}: {consequence} ({remedy})")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are carried.
        limit: usize,
        /// The effect that the request would have on the server.
        consequence: &'static str,
        /// The remedy for the user.
        remedy: &'static str,
        /// True if the server would merely reject the request.
        is_harmless: bool,
    },
    /// The parameters are too long for a text FIFO.
    #[error(
        "the parameters take {size} bytes, over the limit of {limit} of a text FIFO: the server would lose them and the next request (no modparam of mi_fifo raises it; udp: and unix: carry more)"
    )]
    ParamsTooLarge {
        /// Their size in bytes, line ends included.
        size: usize,
        /// How many bytes are read.
        limit: usize,
    },
    /// A line is too long for a command without input.
    #[error(
        "a parameter takes {size} bytes, over the limit of {limit} for a command without input on a text FIFO: the server would lose it and the next request (no modparam of mi_fifo raises it)"
    )]
    LineTooLong {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are read.
        limit: usize,
    },
    /// The server reads no more over HTTP.
    #[error("the {} has {size} bytes, over the limit of {bytes}: {} ({})", limit.what, limit.consequence, limit.remedy)]
    HttpTooLarge {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are read there.
        bytes: usize,
        /// How much is read.
        limit: &'static HttpLimit,
    },
    /// A value that this server's XML-RPC does not take.
    #[error("parameter {position} is empty, which XML-RPC of this version refuses: {remedy}")]
    Empty {
        /// Counted from 1.
        position: usize,
        /// The remedy for the user.
        remedy: &'static str,
    },
    /// The command answers later, and that can kill the server.
    #[error(
        "it answers asynchronously, and over a JSON FIFO of 3.x and 4.x a long reply to it aborts the server: use udp: or unix:"
    )]
    Asynchronous,
    /// The log level of one process, which this version does not have.
    #[error(
        "the log level of one process cannot be set before 2.2: the server would set that of all (leave the process out to do so)"
    )]
    LevelOfProcess,
    /// The command harms servers of this version.
    #[error("on this version {} ({}): {}", .0.effect, .0.source, .0.remedy)]
    Hazard(&'static Hazard),
    /// A dump over `mi_xmlrpc` that the server may not survive.
    #[error("{}: mi_xmlrpc of 1.x lists {limit}, and dies of 10000: use a FIFO or a datagram, or ask for one (ul_show_contact)", describe_count(*count))]
    TooManyRecords {
        /// How many the server says it has.
        count: Option<u64>,
        /// How many are safe.
        limit: u64,
    },
    /// A NUL byte in a string.
    #[error("a parameter holds a NUL byte, which a server of 3.x or 4.x cannot read")]
    Nul,
    /// Directory and name of the reply FIFO are too long together.
    #[error(
        "the reply FIFO's path has {size} bytes, over the limit of {limit}: the server would not answer (modparam reply_dir of mi_fifo, and reply_dir=, name a shorter one)"
    )]
    ReplyPath {
        /// Its size in bytes.
        size: usize,
        /// How many bytes are taken.
        limit: usize,
    },
}

impl Refusal {
    /// Returns true if the caller may force the request: the server would merely reject or ignore it, or the harm
    /// depends on more than the version.
    pub fn is_only_a_limit(&self) -> bool {
        match self {
            Refusal::Empty { .. }
            | Refusal::ReplyPath { .. }
            | Refusal::Hazard(_)
            | Refusal::TooManyRecords { .. } => true,
            Refusal::HttpTooLarge { limit, .. } => limit.is_harmless,
            Refusal::TooLarge { is_harmless, .. } => *is_harmless,
            Refusal::Name(_)
            | Refusal::Unsayable(_)
            | Refusal::ParamsTooLarge { .. }
            | Refusal::LineTooLong { .. }
            | Refusal::Asynchronous
            | Refusal::LevelOfProcess
            | Refusal::Nul => false,
        }
    }
}

fn describe_count(count: Option<u64>) -> String {
    match count {
        Some(count) => format!("the server has {count} addresses of record"),
        None => "the server does not say how many addresses of record it has".into(),
    }
}

impl From<CodecError> for Refusal {
    fn from(error: CodecError) -> Self {
        Refusal::Unsayable(error)
    }
}
