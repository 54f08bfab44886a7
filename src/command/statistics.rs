//! Counters by group and name, as `get_statistics` shows them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::item::Str;

/// A counter that can be shared and changed from any thread (`stat_var`).
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicI64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises it to `value` if it is lower.
    pub fn raise_to(&self, value: i64) {
        if self.get() < value {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// What it says.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a counter only ever grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// It counts events, and can be reset.
    Incremental,
    /// It shows a state: in progress, highest so far.
    NonIncremental,
}

impl Growth {
    /// `incremental` or `non-incremental`: what `list_statistics` says.
    pub const fn name(self) -> &'static str {
        match self {
            Growth::Incremental => "incremental",
            Growth::NonIncremental => "non-incremental",
        }
    }
}

/// One statistic: `group:name`.
#[derive(Clone, Debug)]
pub struct Statistic {
    /// The part before the colon.
    pub group: Str,
    /// The part after it.
    pub name: Str,
    /// Whether it only grows.
    pub growth: Growth,
    /// What it says.
    pub counter: Counter,
}

impl Statistic {
    /// `group:name`.
    pub fn full_name(&self) -> Str {
        [&*self.group, b":", &*self.name].concat().into()
    }

    /// Whether a selector means it: `all`, `group:`, `group:name` or `name`.
    pub fn matches(&self, selector: &[u8]) -> bool {
        match selector.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let (group, name) = (&selector[..colon], &selector[colon + 1..]);
                *self.group == *group && (name.is_empty() || *self.name == *name)
            }
            None => selector == b"all" || *self.name == *selector,
        }
    }
}

/// All statistics of a server, in the order they were made.
#[derive(Default)]
pub struct Statistics(RwLock<Vec<Statistic>>);

impl Statistics {
    /// The counter of this name, made when there is none.
    pub fn counter(&self, group: &str, name: &str, growth: Growth) -> Counter {
        let mut all = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = all.iter().find(|s| s.group == group && s.name == name) {
            return known.counter.clone();
        }
        let counter = Counter::default();
        all.push(Statistic { group: group.into(), name: name.into(), growth, counter: counter.clone() });
        counter
    }

    /// What the selectors mean, each in order; a bare name means the first of that name.
    pub fn select(&self, selectors: &[&[u8]]) -> Vec<Statistic> {
        let all = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut found = Vec::new();
        for selector in selectors {
            let one = !selector.contains(&b':') && *selector != b"all";
            let most = if one { 1 } else { usize::MAX };
            found.extend(all.iter().filter(|statistic| statistic.matches(selector)).take(most).cloned());
        }
        found
    }
}

/// What one listener counts.
#[derive(Clone, Debug)]
pub struct TransportCounters {
    /// Requests that could be read.
    pub requests: Counter,
    /// Replies sent.
    pub replies: Counter,
    /// Replies that say an error.
    pub errors: Counter,
    /// Requests that could not be read.
    pub parse_errors: Counter,
    /// Requests dropped, and replies that could not be delivered.
    pub dropped: Counter,
    /// Bytes of requests.
    pub bytes_in: Counter,
    /// Bytes of replies.
    pub bytes_out: Counter,
    /// Requests being worked on.
    pub in_progress: Counter,
    /// Microseconds from request to reply, all together.
    pub latency_us: Counter,
    /// The longest of them.
    pub max_latency_us: Counter,
}

impl TransportCounters {
    /// The counters of a transport, in the group of the C module that had it: `mi_fifo`, `mi_datagram`.
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
            in_progress: state("in_progress"),
            latency_us: incremental("latency_us"),
            max_latency_us: state("max_latency_us"),
        }
    }

    /// Counts an answer and how long it took.
    pub fn answered(&self, is_error: bool, elapsed: Duration) {
        let us = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        self.errors.add(i64::from(is_error));
        self.latency_us.add(us);
        self.max_latency_us.raise_to(us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_name_a_group_one_of_it_or_the_first_of_a_name() {
        let statistics = Statistics::default();
        for (group, name) in [("core", "requests"), ("core", "errors"), ("mi_fifo", "requests")] {
            statistics.counter(group, name, Growth::Incremental);
        }
        let names = |selectors: &[&[u8]]| -> Vec<String> {
            statistics.select(selectors).iter().map(|s| s.full_name().to_string()).collect()
        };
        assert_eq!(names(&[b"core:"]), ["core:requests", "core:errors"]);
        assert_eq!(names(&[b"mi_fifo:requests", b"errors"]), ["mi_fifo:requests", "core:errors"]);
        assert_eq!(names(&[b"requests"]), ["core:requests"]);
        assert_eq!(names(&[b"all"]).len(), 3);
        assert!(names(&[b"nosuch", b"core:nosuch", b"nosuch:"]).is_empty());
    }
}
