//! Counters by group and name, as `get_statistics` shows them, the same for all processes of a server.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::figures::Histogram;
use super::totals::{self, Load};
use crate::item::Str;
use crate::shared::{Region, SharedLock};

/// A counter that can be shared and changed from any thread (`stat_var`).
#[derive(Clone)]
pub struct Counter {
    value: NonNull<AtomicI64>,
    /// What keeps the value where it is.
    _owner: Owner,
}

#[derive(Clone)]
#[allow(dead_code)] // they are held, not looked at
enum Owner {
    Alone(Arc<AtomicI64>),
    Ledger(Arc<Ledger>),
}

// SAFETY: the value is atomic, and stays in its place as long as the owner, which any thread may drop.
unsafe impl Send for Counter {}
// SAFETY: as above.
unsafe impl Sync for Counter {}

impl Default for Counter {
    /// A counter without a name, of this process alone.
    fn default() -> Self {
        let value: Arc<AtomicI64> = Arc::default();
        Counter { value: NonNull::from(&*value), _owner: Owner::Alone(value) }
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
        // SAFETY: the owner keeps it alive and in its place.
        unsafe { self.value.as_ref() }
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
    ledger: Arc<Ledger>,
    known: RwLock<Known>,
    started: Instant,
    load: Load,
}

/// The ledger as far as this process has read it.
#[derive(Default)]
struct Known {
    all: Vec<Statistic>,
    /// How many entries were read.
    read: usize,
    /// Whose part of a gauge is changed here; 0: that of a process that serves alone.
    rank: u16,
    /// Whether there are other processes.
    is_shared: bool,
    /// The first statistic that the ledger has no room for, until that was said.
    alone: Option<Str>,
    /// Whether there ever was one.
    has_alone: bool,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics {
            ledger: Arc::new(Ledger::new()),
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
        self.ledger.find_or_add(&mut known, (group, name, growth, rank))
    }

    /// From now on processes that are forked count together with this one.
    ///
    /// # Safety
    /// No other thread counts meanwhile.
    pub unsafe fn share(&self) -> std::io::Result<()> {
        // SAFETY: no other thread uses it, as the caller says.
        unsafe { self.ledger.share()? };
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
        self.ledger.entries().filter(|entry| entry.rank == rank && rank > 0).for_each(|entry| {
            entry.value.store(0, Ordering::Relaxed);
        });
    }

    /// Waits until nobody is at them, and keeps it so.
    pub fn hold_still(&self) -> impl Drop + '_ {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether another process made statistics that this one has not read yet.
    fn catch_up(&self) {
        if self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner).read < self.ledger.len() {
            self.ledger.read(&mut self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner));
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
const FIRST: usize = 4096;

/// The values, and whose they are, in memory that processes may share.
struct Ledger {
    region: Region,
}

#[repr(C)]
struct Head {
    lock: SharedLock,
    len: AtomicUsize,
}

#[repr(C)]
struct Entry {
    value: AtomicI64,
    rank: u16,
    is_incremental: bool,
    group_len: u8,
    name_len: u8,
    name: [u8; LONGEST],
}

impl Entry {
    fn full_name(&self) -> &[u8] {
        &self.name[..usize::from(self.group_len) + usize::from(self.name_len)]
    }
}

impl Ledger {
    fn new() -> Self {
        let ledger = Ledger { region: Region::new(FIRST + MOST * size_of::<Entry>()) };
        // SAFETY: nobody else knows of it yet.
        unsafe { ledger.head().lock.reset() };
        ledger
    }

    /// # Safety
    /// No other thread uses it meanwhile.
    unsafe fn share(&self) -> std::io::Result<()> {
        // SAFETY: no other thread uses it, as the caller says.
        unsafe {
            self.region.share(FIRST + self.len() * size_of::<Entry>())?;
            self.head().lock.reset();
        }
        Ok(())
    }

    fn head(&self) -> &Head {
        // SAFETY: zeroes are a head, but for the lock, which `new` makes; the region lives as long as `self`.
        unsafe { self.region.at::<Head>(0).as_ref() }
    }

    fn len(&self) -> usize {
        self.head().len.load(Ordering::Acquire)
    }

    fn place(&self, number: usize) -> NonNull<Entry> {
        self.region.at(FIRST + number * size_of::<Entry>())
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        // SAFETY: entries that are counted are written, and only their values change.
        (0..self.len()).map(|number| unsafe { self.place(number).as_ref() })
    }

    /// Takes in what others have made.
    fn read(self: &Arc<Self>, known: &mut Known) {
        let unread: Vec<&Entry> = self.entries().skip(known.read).collect();
        known.read += unread.len();
        for entry in unread {
            let (group, name) = entry.full_name().split_at(entry.group_len.into());
            let part = Counter { value: NonNull::from(&entry.value), _owner: Owner::Ledger(self.clone()) };
            let growth = if entry.is_incremental { Growth::Incremental } else { Growth::NonIncremental };
            known.add(group, name, growth, part);
        }
    }

    fn find_or_add(
        self: &Arc<Self>,
        known: &mut Known,
        (group, name, growth, rank): (&str, &str, Growth, u16),
    ) -> Counter {
        let (group, name) = (group.as_bytes(), name.as_bytes());
        let full_name = [group, name].concat();
        let is_it = |entry: &&Entry| {
            entry.rank == rank && usize::from(entry.group_len) == group.len() && *entry.full_name() == *full_name
        };
        let _held = self.head().lock.hold();
        self.read(known);
        if let Some(entry) = self.entries().find(is_it) {
            return Counter { value: NonNull::from(&entry.value), _owner: Owner::Ledger(self.clone()) };
        }
        let number = self.len();
        let lens = (u8::try_from(group.len()), u8::try_from(name.len()));
        let (Ok(group_len), Ok(name_len), true) = (lens.0, lens.1, full_name.len() <= LONGEST && number < MOST)
        else {
            return known.alone(group, name, growth);
        };
        let mut entry = Entry {
            value: AtomicI64::new(0),
            rank,
            is_incremental: growth == Growth::Incremental,
            group_len,
            name_len,
            name: [0; LONGEST],
        };
        entry.name[..full_name.len()].copy_from_slice(&full_name);
        // SAFETY: the place is in the region, not counted yet, and nobody else adds while the lock is held.
        unsafe { self.place(number).write(entry) };
        self.head().len.store(number + 1, Ordering::Release);
        self.read(known);
        // SAFETY: it was just written.
        let value = NonNull::from(unsafe { &self.place(number).as_ref().value });
        Counter { value, _owner: Owner::Ledger(self.clone()) }
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

    /// A counter that the ledger has no room for.
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
