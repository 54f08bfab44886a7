//! The limits of a listener on requests, counters of the excess, and at most one log line a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::address::Address;
use crate::command::limits::Limits;
use crate::command::rate::Rate;
use crate::command::statistics::{Counter, Growth, Statistics};
use crate::command::{Command, Peer};
use crate::item::Item;
use crate::request::Params;
use crate::response::Failure;

pub(crate) struct ListenerLimits {
    pub(crate) limits: Limits,
    listener: String,
    /// How many requests wait for a thread or their turn.
    waiting: AtomicUsize,
    rate: Option<Arc<Rate>>,
    too_large_requests: Excess,
    too_deep: Excess,
    busy: Excess,
    queue_full: Excess,
    too_often: Excess,
    pub(crate) too_large_replies: Excess,
    pub(crate) timeouts: Excess,
    pub(crate) write_timeouts: Excess,
    pub(crate) unsent: Excess,
    pub(crate) memory: Excess,
    pub(crate) descriptors: Excess,
    pub(crate) late: Excess,
    pub(crate) short_replies: Excess,
    pub(crate) refused_replies: Excess,
}

/// Something that should not happen often: counted, and told once a second at most.
pub(crate) struct Excess {
    name: &'static str,
    listener: String,
    counter: Counter,
    begun: Instant,
    /// The second in which it was told last, counted from 1.
    told: AtomicU64,
    untold: AtomicU64,
}

impl Excess {
    fn new(statistics: &Statistics, (group, listener): (&str, &Address), name: &'static str) -> Self {
        Excess {
            name,
            listener: listener.to_string(),
            counter: statistics.counter(group, name, Growth::Incremental),
            begun: Instant::now(),
            told: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    pub(crate) fn note(&self, times: i64, say: impl FnOnce() -> String) {
        self.counter.add(times);
        let second = self.begun.elapsed().as_secs() + 1;
        if self.told.swap(second, Ordering::Relaxed) == second {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (more, listener) = (self.untold.swap(0, Ordering::Relaxed), self.listener.as_str());
        let said = match more {
            0 => say(),
            more => format!("{} ({more} more since the last line)", say()),
        };
        log::warn!(listener = listener, statistic = self.name, more = more; "{said}");
    }
}

impl ListenerLimits {
    pub(crate) fn new(
        statistics: &Statistics,
        group: &str,
        address: &Address,
        (limits, rate): (Limits, Option<Arc<Rate>>),
    ) -> Self {
        let excess = |name| Excess::new(statistics, (group, address), name);
        ListenerLimits {
            listener: address.to_string(),
            waiting: AtomicUsize::new(0),
            rate,
            too_large_requests: excess("too_large_requests"),
            too_deep: excess("too_deep_requests"),
            busy: excess("too_many_requests"),
            queue_full: excess("full_queues"),
            too_often: excess("too_frequent_requests"),
            too_large_replies: excess("too_large_replies"),
            timeouts: excess("timeouts"),
            write_timeouts: excess("write_timeouts"),
            unsent: excess("unsent_limit_hits"),
            memory: excess("out_of_memory"),
            descriptors: excess("out_of_descriptors"),
            late: excess("late_answers"),
            short_replies: excess("short_replies"),
            refused_replies: excess("refused_reply_fifos"),
            limits,
        }
    }

    /// A request was refused before it was read to the end.
    pub(crate) fn note_refused(&self, failure: &Failure) {
        match failure {
            Failure::RequestTooLarge { size, limit } => self
                .too_large_requests
                .note(1, || format!("{}: a request has {size} bytes, limit {limit}", self.listener)),
            Failure::TooManyCalls { calls, limit } => self
                .too_large_requests
                .note(1, || format!("{}: a request has {calls} calls, limit {limit}", self.listener)),
            _ => {}
        }
    }

    /// Returns an error if a limit forbids the request.
    pub(crate) fn check(
        &self,
        command: &Command,
        params: &Params,
        (peer, size): (&Peer, usize),
        in_progress: usize,
        now: Instant,
    ) -> Result<(), Failure> {
        let own = &command.conduct.limits;
        if let Some(limit) = own.request.filter(|limit| size > *limit) {
            let failure = Failure::RequestTooLarge { size, limit };
            self.note_refused(&failure);
            return Err(failure);
        }
        if let Some(limit) = own.depth.or(self.limits.depth).filter(|limit| !is_within(params, *limit)) {
            self.too_deep.note(1, || format!("{}: parameters nest deeper than {limit} levels", self.listener));
            return Err(Failure::Parse);
        }
        let is_full = |limit: Option<usize>, found: usize| limit.is_some_and(|limit| found >= limit);
        if is_full(self.limits.in_progress, in_progress)
            || is_full(own.in_progress, command.conduct.in_progress.load(Ordering::Relaxed))
        {
            self.busy.note(1, || {
                format!("{}: too many requests are in progress for {}", self.listener, command.canonical_name())
            });
            return Err(Failure::Busy);
        }
        if [self.rate.as_deref(), command.conduct.rate.as_ref()]
            .into_iter()
            .flatten()
            .any(|rate| !rate.allows(peer, now))
        {
            self.too_often.note(1, || format!("{}: {peer} asks too often", self.listener));
            return Err(Failure::Busy);
        }
        Ok(())
    }

    /// A call gets in line; an error where too many are.
    pub(crate) fn enter_queue(&self, command: &Command) -> Result<(), Failure> {
        let own = &command.conduct;
        let here = self.waiting.fetch_add(1, Ordering::Relaxed);
        let there = own.waiting.fetch_add(1, Ordering::Relaxed);
        let is_full = |limit: Option<usize>, found: usize| limit.is_some_and(|limit| found >= limit);
        if is_full(self.limits.queue, here) || is_full(own.limits.queue, there) {
            self.leave_queue(command);
            self.queue_full.note(1, || {
                format!("{}: too many requests wait for command {}", self.listener, command.canonical_name())
            });
            return Err(Failure::Busy);
        }
        Ok(())
    }

    /// Its turn has come.
    pub(crate) fn leave_queue(&self, command: &Command) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        command.conduct.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns true if parameters nest at most `levels` deep: scalars have one level.
fn is_within(params: &Params, levels: usize) -> bool {
    match params {
        Params::Positional(items) => items.iter().all(|item| is_shallow(item, levels)),
        Params::Named(members) => members.iter().all(|(_, item)| is_shallow(item, levels)),
        Params::None | Params::Strings(_) => true,
    }
}

fn is_shallow(item: &Item, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return false };
    match item {
        Item::Array(items) => items.iter().all(|item| is_shallow(item, below)),
        Item::Object(members) => members.iter().all(|(_, item)| is_shallow(item, below)),
        _ => true,
    }
}
