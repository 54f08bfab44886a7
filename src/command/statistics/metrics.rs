//! Counters of one command or transport: its answers, its errors, and how long they took.
//!
//! They are ordinary statistics, so `get_statistics` shows them and all processes count together.

use std::sync::OnceLock;
use std::time::Duration;

use super::counter::Counter;
use super::set::Statistics;
use super::table::Growth;

/// The group of the statistics of commands.
pub const GROUP_OF_COMMANDS: &str = "mi_cmd";

/// The buckets: the upper bound in microseconds, and the name of the statistic.
pub const CLASSES: [(u64, &str); 17] = [
    (50, "upto_50us"),
    (100, "upto_100us"),
    (250, "upto_250us"),
    (500, "upto_500us"),
    (1_000, "upto_1ms"),
    (2_500, "upto_2500us"),
    (5_000, "upto_5ms"),
    (10_000, "upto_10ms"),
    (25_000, "upto_25ms"),
    (50_000, "upto_50ms"),
    (100_000, "upto_100ms"),
    (250_000, "upto_250ms"),
    (500_000, "upto_500ms"),
    (1_000_000, "upto_1s"),
    (5_000_000, "upto_5s"),
    (30_000_000, "upto_30s"),
    (u64::MAX, "longer"),
];

/// A histogram of durations. Each answer is counted in the first bucket whose bound it does not exceed.
#[derive(Clone, Debug)]
pub struct Histogram(Vec<Counter>);

impl Histogram {
    /// Creates the buckets as statistics of a group, with a prefix for their names.
    pub fn new(statistics: &Statistics, group: &str, before: &str) -> Self {
        let counter = |name| statistics.counter(group, &format!("{before}{name}"), Growth::Incremental);
        Histogram(CLASSES.iter().map(|(_, name)| counter(name)).collect())
    }

    /// Counts an answer.
    pub fn count(&self, elapsed: Duration) {
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.0[CLASSES.partition_point(|(bound, _)| *bound < us)].add(1);
    }
}

/// The counters of a command, created by its first call: a command that is never called has none.
#[derive(Debug, Default)]
pub struct CommandMetrics(OnceLock<Box<Counts>>);

#[derive(Debug)]
struct Counts {
    calls: Counter,
    errors: Counter,
    latency_us: Counter,
    histogram: Histogram,
}

impl CommandMetrics {
    /// Counts an answer of a command. `name` is asked for only by the first call.
    pub fn count(&self, statistics: &Statistics, name: impl Fn() -> String, is_error: bool, elapsed: Duration) {
        let counts = self.0.get_or_init(|| Box::new(Counts::new(statistics, &name())));
        counts.calls.add(1);
        if is_error {
            counts.errors.add(1);
        }
        counts.latency_us.add(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX));
        counts.histogram.count(elapsed);
    }
}

impl Counts {
    fn new(statistics: &Statistics, name: &str) -> Self {
        let counter = |what| statistics.counter(GROUP_OF_COMMANDS, &format!("{name}.{what}"), Growth::Incremental);
        Counts {
            calls: counter("calls"),
            errors: counter("errors"),
            latency_us: counter("latency_us"),
            histogram: Histogram::new(statistics, GROUP_OF_COMMANDS, &format!("{name}.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_in_the_class_that_ends_at_its_time() {
        let (statistics, metrics) = (Statistics::default(), CommandMetrics::default());
        for (us, is_error) in [(50, false), (51, true), (40_000_000, false)] {
            metrics.count(&statistics, || "billing.add".into(), is_error, Duration::from_micros(us));
        }
        let said = |name: &str| {
            let name = format!("mi_cmd:billing.add.{name}");
            statistics.select(&[name.as_bytes()]).first().map(super::super::counter::Statistic::get)
        };
        let found = ["calls", "errors", "latency_us", "upto_50us", "upto_100us", "upto_1s", "longer"].map(said);
        assert_eq!(found, [3, 1, 40_000_101, 1, 1, 0, 1].map(Some));
    }
}
