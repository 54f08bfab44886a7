//! Counters by group and name, as `get_statistics` shows them, the same for all processes of a server.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use zerocopy::FromZeros;

use super::figures::Histogram;
use super::totals::{self, Load};
use crate::item::Str;
use crate::sys::shared_memory::{SharedLock, SharedTable};

/// A counter that can be shared and changed from any thread (`stat_var`).
#[derive(Clone)]
pub struct Counter(Place);

#[derive(Clone)]
enum Place {
    /// In this process alone.
    Own(Arc<AtomicI64>),
    /// An entry of the table, by its number.
    Table(Arc<StatsTable>, usize),
}

impl Default for Counter {
    /// A counter without a name, of this process alone.
    fn default() -> Self {
        Counter(Place::Own(Arc::default()))
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counter({})", self.get())
    }
}

impl Counter {
    /// A counter without a name that says something already.
    pub(super) fn saying(value: i64) -> Self {
        let counter = Counter::default();
        counter.set(value);
        counter
    }

    fn value(&self) -> &AtomicI64 {
        match &self.0 {
            Place::Own(value) => value,
            Place::Table(table, number) => &table.memory.items()[*number].value,
        }
    }

    /// Adds to it.
    pub fn add(&self, n: i64) {
        self.value().fetch_add(n, Ordering::Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: i64) {
        self.value().store(value, Ordering::Relaxed);
    }

    /// Raises it to `value` if it is lower.
    pub fn raise_to(&self, value: i64) {
        if self.get() < value {
            self.value().fetch_max(value, Ordering::Relaxed);
        }
    }

    /// What it says.
    pub fn get(&self) -> i64 {
        self.value().load(Ordering::Relaxed)
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
    /// What it says, in parts: a gauge has one for each process, a sum one for each summand.
    parts: Vec<Counter>,
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

    /// Begins to count anew.
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

/// All statistics of a server, in the order they were made.
pub struct Statistics {
    table: Arc<StatsTable>,
    known: RwLock<Known>,
    started: Instant,
    load: Load,
}

/// The part of the table that this process has read.
#[derive(Default)]
struct Known {
    all: Vec<Statistic>,
    /// How many entries were read.
    read: usize,
    /// Whose part of a gauge is changed here; 0: that of a process that serves alone.
    rank: u16,
    /// Whether there are other processes.
    is_shared: bool,
    /// The first statistic that the table has no room for, until that was said.
    alone: Option<Str>,
    /// Whether there ever was one.
    has_alone: bool,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics {
            table: Arc::new(StatsTable::new()),
            known: RwLock::default(),
            started: Instant::now(),
            load: Load::default(),
        }
    }
}

impl Statistics {
    /// The counter of this name, made when there is none. All processes count together.
    pub fn counter(&self, group: &str, name: &str, growth: Growth) -> Counter {
        self.part(group, name, growth, false)
    }

    /// The counter of a state that ends with its process, such as how many requests are in progress.
    pub fn gauge(&self, group: &str, name: &str) -> Counter {
        self.part(group, name, Growth::NonIncremental, true)
    }

    fn part(&self, group: &str, name: &str, growth: Growth, is_gauge: bool) -> Counter {
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rank = if is_gauge { known.rank } else { 0 };
        self.table.find_or_add(&mut known, (group, name, growth, rank))
    }

    /// From now on, processes that are forked count together with this one. What another thread counts during the call
    /// may be lost.
    pub fn share(&self) -> std::io::Result<()> {
        self.table.share()?;
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner).is_shared = true;
        Ok(())
    }

    /// Gauges that are asked for from now on are those of this process, the one of this rank.
    pub fn set_rank(&self, rank: u16) {
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.rank = rank;
        // One of the processes says for all what they have each for itself: the one that forked them has no log yet.
        if let Some(first) = known.alone.take_if(|_| rank == 1) {
            warn_of_alone(&first);
        }
    }

    /// The process of this rank has ended, and nothing is in progress there any more.
    pub fn clear_gauges(&self, rank: u16) {
        self.table.entries().iter().filter(|entry| rank > 0 && entry.rank.load(Ordering::Relaxed) == rank).for_each(
            |entry| {
                entry.value.store(0, Ordering::Relaxed);
            },
        );
    }

    /// Waits until nobody is at them, and keeps it so.
    pub fn hold_still(&self) -> impl Drop + '_ {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether another process made statistics that this one has not read yet.
    fn catch_up(&self) {
        if self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner).read < self.table.len() {
            self.table.read(&mut self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }

    /// What the selectors mean, each in order; a bare name means the first of that name.
    pub fn select(&self, selectors: &[&[u8]]) -> Vec<Statistic> {
        self.catch_up();
        let known = self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = &known.all;
        let mut totals = Vec::new();
        if selectors.iter().any(|selector| totals::is_meant(selector)) {
            totals = totals::totals(all, self.started, &self.load);
            totals.retain(|total| !all.iter().any(|own| own.group == total.group && own.name == total.name));
        }
        let mut found = Vec::new();
        for selector in selectors {
            let one = !selector.contains(&b':') && *selector != b"all";
            let most = if one { 1 } else { usize::MAX };
            let meant = totals.iter().chain(all).filter(|statistic| statistic.matches(selector));
            found.extend(meant.take(most).cloned());
        }
        found
    }
}

/// The most statistics that all processes count together.
const MOST: usize = 1 << 16;
/// A longer name counts in its own process alone.
const LONGEST: usize = 240;

/// The values and their names, in memory that processes may share.
struct StatsTable {
    memory: SharedTable<Head, Entry>,
}

#[derive(FromZeros)]
#[repr(C)]
struct Head {
    lock: SharedLock,
    len: AtomicUsize,
}

/// All but the value is written before the entry is counted, and does not change then.
#[derive(FromZeros)]
#[repr(C)]
struct Entry {
    value: AtomicI64,
    rank: AtomicU16,
    is_incremental: AtomicBool,
    group_len: AtomicU8,
    name_len: AtomicU8,
    name: [AtomicU8; LONGEST],
}

impl Entry {
    fn write(&self, group: &[u8], name: &[u8], growth: Growth, rank: u16) {
        self.value.store(0, Ordering::Relaxed);
        self.rank.store(rank, Ordering::Relaxed);
        self.is_incremental.store(growth == Growth::Incremental, Ordering::Relaxed);
        self.group_len.store(group.len() as u8, Ordering::Relaxed);
        self.name_len.store(name.len() as u8, Ordering::Relaxed);
        for (byte, place) in group.iter().chain(name).zip(&self.name) {
            place.store(*byte, Ordering::Relaxed);
        }
    }

    fn is(&self, group: &[u8], name: &[u8], rank: u16) -> bool {
        let lens =
            (usize::from(self.group_len.load(Ordering::Relaxed)), self.name_len.load(Ordering::Relaxed).into());
        self.rank.load(Ordering::Relaxed) == rank
            && lens == (group.len(), name.len())
            && group.iter().chain(name).zip(&self.name).all(|(byte, place)| *byte == place.load(Ordering::Relaxed))
    }

    fn growth(&self) -> Growth {
        if self.is_incremental.load(Ordering::Relaxed) { Growth::Incremental } else { Growth::NonIncremental }
    }

    fn group_and_name(&self) -> (Vec<u8>, Vec<u8>) {
        let len = |len: &AtomicU8| usize::from(len.load(Ordering::Relaxed));
        let read = |places: &[AtomicU8]| places.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        let (group, rest) = self.name.split_at(len(&self.group_len).min(LONGEST));
        (read(group), read(&rest[..len(&self.name_len).min(rest.len())]))
    }
}

impl StatsTable {
    fn new() -> Self {
        let mut memory = SharedTable::<Head, Entry>::new(MOST);
        memory.head_mut().lock.prepare();
        StatsTable { memory }
    }

    fn share(&self) -> std::io::Result<()> {
        // Held while it is copied, so that no dead process holds the copy.
        let _held = self.memory.head().lock.lock();
        self.memory.share(self.len())
    }

    fn len(&self) -> usize {
        self.memory.head().len.load(Ordering::Acquire).min(MOST)
    }

    fn entries(&self) -> &[Entry] {
        &self.memory.items()[..self.len()]
    }

    fn counter(self: &Arc<Self>, number: usize) -> Counter {
        Counter(Place::Table(self.clone(), number))
    }

    /// Reads the entries that other processes have added.
    fn read(self: &Arc<Self>, known: &mut Known) {
        for (number, entry) in self.entries().iter().enumerate().skip(known.read) {
            let (group, name) = entry.group_and_name();
            known.add(&group, &name, entry.growth(), self.counter(number));
            known.read = number + 1;
        }
    }

    fn find_or_add(
        self: &Arc<Self>,
        known: &mut Known,
        (group, name, growth, rank): (&str, &str, Growth, u16),
    ) -> Counter {
        let (group, name) = (group.as_bytes(), name.as_bytes());
        let head = self.memory.head();
        let _held = head.lock.lock();
        self.read(known);
        if let Some(number) = self.entries().iter().position(|entry| entry.is(group, name, rank)) {
            return self.counter(number);
        }
        let number = self.len();
        if group.len() + name.len() > LONGEST || number == MOST {
            return known.alone(group, name, growth);
        }
        self.memory.items()[number].write(group, name, growth, rank);
        head.len.store(number + 1, Ordering::Release);
        self.read(known);
        self.counter(number)
    }
}

/// Says once that a process counts something for itself.
fn warn_of_alone(first: &Str) {
    log::warn!(
        "{first} is counted by each process for itself: expected at most {MOST} statistics whose group and name have \
         at most {LONGEST} bytes together; the same goes for all that are made from now on and do not fit"
    );
}

impl Known {
    /// A statistic has no room where all processes would see it.
    fn note_alone(&mut self, full_name: &[u8]) {
        if std::mem::replace(&mut self.has_alone, true) {
            return;
        }
        let first = Str::from(full_name);
        if self.is_shared { warn_of_alone(&first) } else { self.alone = Some(first) }
    }

    fn find(&mut self, group: &[u8], name: &[u8]) -> Option<&mut Statistic> {
        self.all.iter_mut().find(|known| *known.group == *group && *known.name == *name)
    }

    fn add(&mut self, group: &[u8], name: &[u8], growth: Growth, part: Counter) {
        match self.find(group, name) {
            Some(statistic) => statistic.parts.push(part),
            None => {
                self.all.push(Statistic { group: group.into(), name: name.into(), growth, parts: vec![part] });
            }
        }
    }

    /// A counter that the table has no room for.
    fn alone(&mut self, group: &[u8], name: &[u8], growth: Growth) -> Counter {
        if self.find(group, name).is_none() {
            self.add(group, name, growth, Counter::default());
            self.note_alone(&[group, b":", name].concat());
        }
        self.find(group, name).map_or_else(Counter::default, |statistic| statistic.parts[0].clone())
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
    /// How many took how long.
    pub histogram: Histogram,
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
            in_progress: statistics.gauge(group, "in_progress"),
            latency_us: incremental("latency_us"),
            max_latency_us: state("max_latency_us"),
            histogram: Histogram::new(statistics, group, ""),
        }
    }

    /// Counts an answer and how long it took.
    pub fn answered(&self, is_error: bool, elapsed: Duration) {
        let us = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        if is_error {
            self.errors.add(1);
        }
        self.latency_us.add(us);
        self.max_latency_us.raise_to(us);
        self.histogram.count(elapsed);
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
        assert_eq!(names(&[b"mi_fifo:"]), ["mi_fifo:requests"]);
        assert_eq!(names(&[b"mi_fifo:requests", b"errors"]), ["mi_fifo:requests", "core:errors"]);
        assert_eq!(names(&[b"requests"]), ["core:requests"]);
        assert_eq!(names(&[b"all"])[5..], ["core:requests", "core:errors", "mi_fifo:requests"]);
        assert!(names(&[b"nosuch", b"core:nosuch", b"nosuch:"]).is_empty());
    }
}
