//! Counters, and the statistics that consist of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::table::{Growth, StatsTable};
use crate::item::{Item, Str};
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
    /// The counter of an entry in the table.
    pub(super) fn in_table(table: &Arc<StatsTable>, number: usize) -> Self {
        Counter(SharedRef::new(table, |table| table.value(number)))
    }

    /// A counter without a name, with an initial value.
    pub(super) fn saying(value: i64) -> Self {
        let counter = Counter::default();
        counter.set(value);
        counter
    }

    /// Adds `n`.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Sets the value to the maximum of itself and `value`.
    pub fn fetch_max(&self, value: i64) {
        if self.get() < value {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// The value.
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
    /// The growth: a counter of events, or a state.
    pub growth: Growth,
    /// The counters whose sum is the value: a gauge has one for each process, a sum has one for each summand.
    pub(super) parts: Vec<Counter>,
}

impl Statistic {
    /// A statistic of these counters.
    pub(super) fn of(group: &str, name: &str, growth: Growth, parts: Vec<Counter>) -> Self {
        Statistic { group: group.into(), name: name.into(), growth, parts }
    }

    /// The counters whose sum is the value.
    pub(super) fn parts(&self) -> &[Counter] {
        &self.parts
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.parts.iter().map(Counter::get).fold(0, i64::wrapping_add)
    }

    /// The value as replies have it: a number that only grows has no sign (`unsigned long` in OpenSIPS).
    pub fn number(&self) -> i128 {
        match self.growth {
            Growth::Incremental => self.get().cast_unsigned().into(),
            Growth::NonIncremental => self.get().into(),
        }
    }

    /// The same as a value.
    pub fn value(&self) -> Item {
        let number = self.number();
        u64::try_from(number).map_or(Item::Int(number as i64), Item::from)
    }

    /// Sets the value to 0.
    pub fn reset(&self) {
        self.parts.iter().for_each(|part| part.set(0));
    }

    /// `group:name`.
    pub fn full_name(&self) -> Str {
        [&*self.group, b":", &*self.name].concat().into()
    }

    /// Returns true if a selector selects it: `all`, `group:`, `group:name` or `name`.
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
