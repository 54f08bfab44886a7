//! The options of a listener.

pub(crate) mod credentials;
pub(crate) mod http;
pub(crate) mod network;
pub(crate) mod roots;

use std::time::Duration;

use crate::codec::text::Indent;
use crate::command::limits::{Limits, Run};
use crate::command::permit::Permit;
use crate::transport::Access;
use http::HttpOptions;
use network::Network;

/// How a listener behaves.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Permissions of a FIFO or UNIX socket.
    pub access: Access,
    /// How long a request waits for the reader of its reply FIFO.
    pub reply_wait: Duration,
    /// How long a client may take to read its reply before it is given up.
    pub write_timeout: Duration,
    /// How many handlers may run at once before new requests wait (`children_count`).
    pub workers: usize,
    /// The largest request in bytes.
    pub request_limit: usize,
    /// True if JSON replies are spread over lines (`pretty_printing`).
    pub pretty_printing: bool,
    /// How text replies on a FIFO show levels (`reply_indent`).
    pub indent: Indent,
    /// The CPUs that its workers run on; empty: anywhere (Linux only).
    pub cpus: Vec<usize>,
    /// True if it hangs, stalls, drops requests and crashes where the imitated version does.
    pub hazards: bool,
    /// Which commands it runs.
    pub permit: Permit,
    /// How much it lets callers ask of it.
    pub limits: Limits,
    /// How many bytes may wait for clients: replies that are not read, and requests whose reply FIFO has no reader.
    pub unsent_limit: usize,
    /// How much it takes of calls that come together.
    pub batch: BatchLimits,
    /// The networks that it serves (UDP and HTTP); `None`: all.
    pub allow_from: Option<Vec<Network>>,
    /// The options for HTTP alone.
    pub http: HttpOptions,
}

/// How long a command may take, unless its listener or itself says otherwise.
const TIME_TO_RUN: Duration = Duration::from_secs(60);
/// More would not fit a FIFO's parameter line of any client; memory for it is bounded by this.
const DEFAULT_REQUEST_LIMIT: usize = 4 << 20;
/// As many requests as there may be HTTP connections.
const DEFAULT_IN_PROGRESS_LIMIT: usize = 16_384;
/// How many requests may wait for a thread or their turn: a few rounds of all threads that there are for them.
const DEFAULT_QUEUE_LIMIT: usize = 1024;
/// How many bytes may wait for the clients of a listener, unless it says otherwise.
const DEFAULT_UNSENT_LIMIT: usize = 64 << 20;

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            access: Access::default(),
            reply_wait: Duration::from_millis(300),
            write_timeout: Duration::from_secs(5),
            workers: 32,
            request_limit: DEFAULT_REQUEST_LIMIT,
            pretty_printing: false,
            indent: Indent::default(),
            cpus: Vec::new(),
            hazards: false,
            permit: Permit::default(),
            limits: Limits {
                run: Some(Run::For(TIME_TO_RUN)),
                in_progress: Some(DEFAULT_IN_PROGRESS_LIMIT),
                queue: Some(DEFAULT_QUEUE_LIMIT),
                ..Limits::default()
            },
            unsent_limit: DEFAULT_UNSENT_LIMIT,
            batch: BatchLimits::default(),
            allow_from: None,
            http: HttpOptions::default(),
        }
    }
}

/// How many calls may come together, and how large their replies may be in all.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// The most calls of a batch or a multicall.
    pub calls: usize,
    /// The most bytes of all their replies.
    pub replies: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { calls: 1000, replies: 16 << 20 }
    }
}
