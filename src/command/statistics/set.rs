//! The statistics of a server by group and name, as `get_statistics` shows them, common to all its processes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use super::counter::{Counter, Statistic};
use super::table::{Growth, LONGEST, MOST, StatsTable};
use super::totals::{self, Load};
use crate::item::Str;

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
    /// The number of entries read.
    read: usize,
    /// The rank whose part of a gauge this process changes; 0 for a server of one process.
    rank: u16,
    /// True if there are other processes.
    is_shared: bool,
    /// The first statistic that does not fit in the table, until it has been logged.
    alone: Option<Str>,
    /// True once a statistic did not fit in the table.
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
    /// Returns the counter of this name and creates it if needed. All processes count together.
    pub fn counter(&self, group: &str, name: &str, growth: Growth) -> Counter {
        self.part(group, name, growth, false)
    }

    /// Returns a counter of a state that ends with its process, such as the requests in progress.
    pub fn gauge(&self, group: &str, name: &str) -> Counter {
        self.part(group, name, Growth::NonIncremental, true)
    }

    fn part(&self, group: &str, name: &str, growth: Growth, is_gauge: bool) -> Counter {
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rank = if is_gauge { known.rank } else { 0 };
        self.find_or_add(&mut known, (group.as_bytes(), name.as_bytes(), growth, rank))
    }

    /// Shares the statistics with all processes that are forked after this call. Counts of other threads during the
    /// call may be lost.
    pub fn share(&self) -> std::io::Result<()> {
        self.table.share()?;
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner).is_shared = true;
        Ok(())
    }

    fn find_or_add(&self, known: &mut Known, (group, name, growth, rank): (&[u8], &[u8], Growth, u16)) -> Counter {
        let _held = self.table.lock();
        self.read_table(known);
        if let Some(number) = self.table.find(group, name, rank) {
            return Counter::in_table(&self.table, number);
        }
        let Some(number) = self.table.add(group, name, growth, rank) else {
            return known.alone(group, name, growth);
        };
        self.read_table(known);
        Counter::in_table(&self.table, number)
    }

    /// Reads the entries that other processes have added.
    fn read_table(&self, known: &mut Known) {
        for (number, entry) in self.table.entries().iter().enumerate().skip(known.read) {
            let (group, name) = entry.group_and_name();
            known.add(&group, &name, entry.growth(), Counter::in_table(&self.table, number));
            known.read = number + 1;
        }
    }

    /// Sets the rank of this process, to which gauges belong that are requested later.
    pub fn set_rank(&self, rank: u16) {
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.rank = rank;
        // The warning is logged by the first worker on behalf of all: their parent has no log yet.
        if let Some(first) = known.alone.take_if(|_| rank == 1) {
            warn_of_alone(&first);
        }
    }

    /// Clears the gauges of a rank after its process has ended, since nothing is in progress there any more.
    pub fn clear_gauges(&self, rank: u16) {
        self.table.entries().iter().filter(|entry| rank > 0 && entry.rank.load(Ordering::Relaxed) == rank).for_each(
            |entry| {
                entry.value.store(0, Ordering::Relaxed);
            },
        );
    }

    /// Waits until no thread uses the statistics, and keeps other threads out until the guard is dropped.
    pub fn hold_still(&self) -> impl Drop + '_ {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads statistics that other processes have created, if there are any.
    fn catch_up(&self) {
        if self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner).read < self.table.len() {
            self.read_table(&mut self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }

    /// The selected statistics, selector by selector. A bare name selects the first statistic of that name.
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

/// Logs once that this process counts a statistic for itself.
fn warn_of_alone(first: &Str) {
    log::warn!(
        "{first} is counted by each process for itself: expected at most {MOST} statistics whose group and name have \
         at most {LONGEST} bytes together; the same goes for all that are made from now on and do not fit"
    );
}

impl Known {
    /// Notes that a statistic does not fit in the shared table.
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

    /// A counter outside the table, which is full.
    fn alone(&mut self, group: &[u8], name: &[u8], growth: Growth) -> Counter {
        if self.find(group, name).is_none() {
            self.add(group, name, growth, Counter::default());
            self.note_alone(&[group, b":", name].concat());
        }
        self.find(group, name).map_or_else(Counter::default, |statistic| statistic.parts[0].clone())
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
