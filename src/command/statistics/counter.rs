//! Counters, and the statistics that they make up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::table::{Growth, StatsTable};
use crate::item::Str;
use crate::sys::shared_memory::SharedRef;

/// A counter that can be shared and changed from any thread (`stat_var`).
#[derive(Clone)]
pub struct Counter(SharedRef<AtomicI64>);

impl Default for Counter {
    /// A counter without a name, of this process alone.
    fn default() -> Self {
        Counter(SharedRef::new(&Arc::default(), |value| value))
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counter({})", self.get())
    }
}

impl Counter {
    /// An entry of the table.
    pub(super) fn in_table(table: &Arc<StatsTable>, number: usize) -> Self {
        Counter(SharedRef::new(table, |table| table.value(number)))
    }

    /// A counter without a name that says something already.
    pub(super) fn saying(value: i64) -> Self {
        let counter = Counter::default();
        counter.set(value);
        counter
    }

    /// Adds to it.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises it to `value` if it is lower.
    pub fn fetch_max(&self, value: i64) {
        if self.get() < value {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// What it says.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
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
    /// What it says, in parts: a gauge has one for each process, a sum one for each summand.
    pub(super) parts: Vec<Counter>,
}

impl Statistic {
    /// A statistic of these parts.
    pub(super) fn of(group: &str, name: &str, growth: Growth, parts: Vec<Counter>) -> Self {
        Statistic { group: group.into(), name: name.into(), growth, parts }
    }

    /// The counters that it is the sum of.
    pub(super) fn parts(&self) -> &[Counter] {
        &self.parts
    }

    /// What it says.
    pub fn get(&self) -> i64 {
        self.parts.iter().map(Counter::get).sum()
    }

    /// Sets it to 0.
    pub fn reset(&self) {
        self.parts.iter().for_each(|part| part.set(0));
    }

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
