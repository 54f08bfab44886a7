//! The counters of a listener.

use std::time::Duration;

use super::counter::Counter;
use super::metrics::Histogram;
use super::set::Statistics;
use super::table::Growth;

/// The counters of one listener.
#[derive(Clone, Debug)]
pub struct TransportCounters {
    /// Requests that were parsed.
    pub requests: Counter,
    /// Replies sent.
    pub replies: Counter,
    /// Error replies.
    pub errors: Counter,
    /// Requests that could not be parsed.
    pub parse_errors: Counter,
    /// Requests dropped, and replies that could not be delivered.
    pub dropped: Counter,
    /// Bytes of requests.
    pub bytes_in: Counter,
    /// Bytes of replies.
    pub bytes_out: Counter,
    /// Requests in progress.
    pub in_progress: Counter,
    /// Total time from request to reply, in microseconds.
    pub latency_us: Counter,
    /// The longest time from request to reply, in microseconds.
    pub max_latency_us: Counter,
    /// A histogram of these times.
    pub histogram: Histogram,
}

impl TransportCounters {
    /// The counters of a transport, in the group of its OpenSIPS module: `mi_fifo`, `mi_datagram`.
    pub fn new(statistics: &Statistics, group: &str) -> Self {
        let incremental = |name| statistics.counter(group, name, Growth::Incremental);
        let state = |name| statistics.counter(group, name, Growth::NonIncremental);
        TransportCounters {
            requests: incremental("requests"),
            replies: incremental("replies"),
            errors: incremental("errors"),
            parse_errors: incremental("parse_errors"),
            dropped: incremental("dropped"),
            bytes_in: incremental("bytes_in"),
            bytes_out: incremental("bytes_out"),
            in_progress: statistics.gauge(group, "in_progress"),
            latency_us: incremental("latency_us"),
            max_latency_us: state("max_latency_us"),
            histogram: Histogram::new(statistics, group, ""),
        }
    }

    /// Counts an answer and its duration.
    pub fn answered(&self, is_error: bool, elapsed: Duration) {
        let us = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        if is_error {
            self.errors.add(1);
        }
        self.latency_us.add(us);
        self.max_latency_us.fetch_max(us);
        self.histogram.count(elapsed);
    }
}
