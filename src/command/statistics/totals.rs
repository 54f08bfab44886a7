//! The groups `core` and `load` of a server: sums over its transports, its uptime and its load.
//!
//! Monitoring systems read them from every OpenSIPS. They are computed when they are read, so requests do not pay for
//! them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::counter::{Counter, Statistic};
use super::table::Growth;

/// A statistic of `core` and the statistic that it sums over all transports.
const SUMS: [(&str, &[u8]); 3] =
    [("rcv_requests", b"requests"), ("drop_requests", b"dropped"), ("err_requests", b"parse_errors")];

/// The shortest interval over which the load is measured.
const SHORTEST: Duration = Duration::from_secs(1);

/// Returns true if a selector may select one of these statistics.
pub(super) fn is_meant(selector: &[u8]) -> bool {
    !selector.contains(&b':') || selector.starts_with(b"core:") || selector.starts_with(b"load:")
}

/// Computes them from the statistics of all transports.
pub(super) fn totals(all: &[Statistic], started: Instant, load: &Load) -> Vec<Statistic> {
    let of_transports = |name: &[u8]| -> Vec<Counter> {
        let found = all.iter().filter(|s| s.group.starts_with(b"mi_") && *s.name == *name);
        found.flat_map(Statistic::parts).cloned().collect()
    };
    let sums = SUMS.iter().map(|(name, part)| Statistic::of("core", name, Growth::Incremental, of_transports(part)));
    let uptime = i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX);
    let busy = of_transports(b"latency_us").iter().map(Counter::get).sum();
    let states = [("core", "timestamp", uptime), ("load", "load", load.percent(started, Instant::now(), busy))];
    let states = states
        .into_iter()
        .map(|(group, name, value)| Statistic::of(group, name, Growth::NonIncremental, vec![Counter::saying(value)]));
    sums.chain(states).collect()
}

/// The share of time in which requests were in progress.
#[derive(Default, Debug)]
pub(super) struct Load(Mutex<Option<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    busy_us: i64,
    percent: i64,
}

impl Load {
    /// Percentage of the time since the last measurement in which requests were in progress, at most 100.
    ///
    /// The first measurement covers the time since the start. Within a second the last result is repeated, so that
    /// clients that read at the same time do not shorten each other's interval.
    fn percent(&self, started: Instant, now: Instant, busy_us: i64) -> i64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.unwrap_or(Sample { at: started, busy_us: 0, percent: 0 });
        let elapsed = now.saturating_duration_since(since.at);
        if elapsed < SHORTEST {
            return since.percent;
        }
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        let percent = ((busy_us - since.busy_us).saturating_mul(100) / elapsed).clamp(0, 100);
        *last = Some(Sample { at: now, busy_us, percent });
        percent
    }
}

#[cfg(test)]
mod tests {
    use super::super::set::Statistics;
    use super::*;

    #[test]
    fn the_requests_of_a_server_are_those_of_its_transports() {
        let statistics = Statistics::default();
        statistics.counter("mi_fifo", "requests", Growth::Incremental).add(3);
        statistics.counter("mi_http", "requests", Growth::Incremental).add(4);
        statistics.counter("billing", "requests", Growth::Incremental).add(100);
        let said = |selector: &[u8]| {
            let found = statistics.select(&[selector]);
            found.iter().map(|s| (s.full_name().to_string(), s.get())).collect::<Vec<_>>()
        };
        assert_eq!(said(b"core:rcv_requests"), [("core:rcv_requests".into(), 7)]);
        assert_eq!(said(b"rcv_requests"), said(b"core:rcv_requests"));
        let names: Vec<_> = said(b"core:").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["core:rcv_requests", "core:drop_requests", "core:err_requests", "core:timestamp"]);
        assert_eq!(said(b"load:"), [("load:load".into(), 0)]);
    }

    #[test]
    fn a_statistic_of_that_name_that_the_server_has_itself_is_the_one_that_counts() {
        let statistics = Statistics::default();
        statistics.counter("core", "rcv_requests", Growth::Incremental).add(9);
        let found = statistics.select(&[b"core:rcv_requests"]);
        assert_eq!(found.iter().map(Statistic::get).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn the_load_is_the_share_of_the_time_since_the_last_measurement_in_which_requests_were_in_progress() {
        let (load, started) = (Load::default(), Instant::now());
        let at = |ms| started + Duration::from_millis(ms);
        assert_eq!(load.percent(started, at(500), 400_000), 0, "too early to say");
        assert_eq!(load.percent(started, at(2000), 500_000), 25);
        assert_eq!(load.percent(started, at(2500), 999_000), 25, "of less than a second ago");
        assert_eq!(load.percent(started, at(3000), 1_500_000), 100);
        assert_eq!(load.percent(started, at(4000), 9_500_000), 100);
        assert_eq!(load.percent(started, at(5000), 0), 0, "statistics were reset");
    }
}
