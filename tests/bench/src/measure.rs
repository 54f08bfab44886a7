//! Clients in closed loops: each sends its next request when it has the reply to the last.
//!
//! A run has one target or two. With two, time is cut into short slices that go to them in turns
//! (A B, B A, ...): whatever else the machine does then meets both alike.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::Options;
use crate::client::{Client, connect};

/// The result of a run; prints itself as a JSON array with an object for each target.
pub(crate) struct Figures(Vec<Target>);

/// The measurements of one target.
#[derive(Default)]
struct Target {
    /// Calls a second in each of its slices.
    rates: Vec<f64>,
    p50: Duration,
    p99: Duration,
    errors: usize,
    wrong: usize,
    first_error: Option<String>,
    /// Processor time of its process for each call.
    cpu: Duration,
}

/// The measurements of one thread for one target.
#[derive(Default)]
struct Tally {
    times: Vec<u32>,
    /// Calls a second in each slice.
    rates: Vec<f64>,
    /// All calls, those that are not counted as well.
    calls: usize,
    errors: usize,
    wrong: usize,
    first_error: Option<String>,
}

/// When which target is called.
struct Schedule {
    start: Instant,
    slice: Duration,
    targets: usize,
    rounds: usize,
}

/// The part of a slice, at its beginning, whose calls do not count.
const WARM_UP: f64 = 0.1;
/// Room for the times of a run, so that no vector grows while it is measured.
const CALLS_A_SECOND: f64 = 150_000.0;

/// `--address A [--other B] [--pid P --other-pid Q] --rounds N --seconds S`
pub(crate) fn run(kind: &str, options: &Options) -> Result<Figures, Box<dyn Error>> {
    let mut expected = options.file("expect")?;
    if kind == "tcp" {
        expected.drain(..crate::client::body_of(&expected));
    }
    let clients = options.count("clients", 1)?;
    let mut addresses = vec![options.text("address")?];
    addresses.extend(options.text("other").ok());
    let pids = [options.count("pid", 0)?, options.count("other-pid", 0)?];
    let callers = (0..clients).map(|number| {
        let places = addresses.iter().enumerate();
        places.map(|(place, address)| connect(kind, options, address, number * addresses.len() + place)).collect()
    });
    let callers = callers.collect::<Result<Vec<Vec<Client>>, _>>()?;
    let schedule = Schedule {
        start: Instant::now() + Duration::from_millis(5),
        slice: options.seconds("seconds", 0.1)?,
        targets: addresses.len(),
        rounds: options.count("rounds", 1)?,
    };
    let mut cpu = vec![Duration::ZERO; schedule.targets];
    let tallies: Vec<Vec<Tally>> = std::thread::scope(|scope| {
        let (expected, schedule) = (&expected, &schedule);
        let loops: Vec<_> =
            callers.into_iter().map(|clients| scope.spawn(move || call_on(clients, expected, schedule))).collect();
        watch_processes(schedule, &pids, &mut cpu);
        loops.into_iter().map(|client| client.join().unwrap_or_default()).collect()
    });
    Ok(Figures(sum_up(tallies, &cpu)))
}

impl Schedule {
    /// The slices in order: which target, and from when until when.
    fn slices(&self) -> impl Iterator<Item = (usize, Range<Instant>)> {
        (0..self.rounds * self.targets).map(|number| {
            let (round, place) = (number / self.targets, number % self.targets);
            let target = if round % 2 == 0 { place } else { self.targets - 1 - place };
            let begin = self.start + self.slice * u32::try_from(number).unwrap_or(u32::MAX);
            (target, begin..begin + self.slice)
        })
    }
}

fn call_on(mut clients: Vec<Client>, expected: &[u8], schedule: &Schedule) -> Vec<Tally> {
    let room = (schedule.slice.as_secs_f64() * schedule.rounds as f64 * CALLS_A_SECOND) as usize;
    let tally = || Tally { times: Vec::with_capacity(room), ..Tally::default() };
    let mut tallies: Vec<Tally> = clients.iter().map(|_| tally()).collect();
    for (target, time) in schedule.slices() {
        std::thread::sleep(time.start.saturating_duration_since(Instant::now()));
        tallies[target].call_for(&mut clients[target], expected, time);
    }
    tallies
}

impl Tally {
    fn call_for(&mut self, client: &mut Client, expected: &[u8], time: Range<Instant>) {
        let measured = time.start + (time.end - time.start).mul_f64(WARM_UP);
        while Instant::now() < measured {
            self.check(client.call(), expected);
        }
        let before = self.times.len();
        let start = Instant::now();
        let mut begun = start;
        while begun < time.end {
            let fine = self.check(client.call(), expected);
            let done = Instant::now();
            if fine {
                let took = client.own_time().unwrap_or(done - begun);
                self.times.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
            }
            begun = done;
        }
        let lasted = (begun - start).as_secs_f64();
        self.rates.push(if lasted > 0.0 { (self.times.len() - before) as f64 / lasted } else { 0.0 });
    }

    fn check(&mut self, reply: std::io::Result<&[u8]>, expected: &[u8]) -> bool {
        self.calls += 1;
        match reply {
            Ok(reply) if reply == expected => return true,
            Ok(reply) => {
                self.wrong += 1;
                self.first_error.get_or_insert_with(|| printable(reply));
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| printable(error.to_string().as_bytes()));
            }
        }
        false
    }
}

/// Adds up what the targets' processes use in their slices.
fn watch_processes(schedule: &Schedule, pids: &[usize], cpu: &mut [Duration]) {
    for (target, time) in schedule.slices() {
        std::thread::sleep(time.start.saturating_duration_since(Instant::now()));
        let before = processor_time(pids[target]);
        std::thread::sleep(time.end.saturating_duration_since(Instant::now()));
        cpu[target] += processor_time(pids[target]).saturating_sub(before);
    }
}

/// Returns the processor time of a process's live threads.
fn processor_time(pid: usize) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let used = tasks.filter_map(|task| {
        let line = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        line.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    used.sum()
}

/// The beginning, as a JSON string can hold it.
fn printable(bytes: &[u8]) -> String {
    let plain = |byte: &u8| if byte.is_ascii_graphic() && !b"\"\\".contains(byte) { char::from(*byte) } else { ' ' };
    bytes.iter().take(80).map(plain).collect()
}

/// Puts together what the threads saw.
fn sum_up(tallies: Vec<Vec<Tally>>, cpu: &[Duration]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for (place, cpu) in cpu.iter().enumerate() {
        let of_threads = || tallies.iter().filter_map(|of_thread| of_thread.get(place));
        let slices = of_threads().map(|tally| tally.rates.len()).max().unwrap_or_default();
        let in_slice = |slice: usize| of_threads().filter_map(|tally| tally.rates.get(slice)).sum();
        let mut times: Vec<u32> = of_threads().flat_map(|tally| tally.times.iter().copied()).collect();
        times.sort_unstable();
        let at = |part: f64| {
            let place = (times.len() as f64 * part) as usize;
            Duration::from_nanos(times.get(place).copied().unwrap_or_default().into())
        };
        let calls: usize = of_threads().map(|tally| tally.calls).sum();
        targets.push(Target {
            rates: (0..slices).map(in_slice).collect(),
            p50: at(0.5),
            p99: at(0.99),
            errors: of_threads().map(|tally| tally.errors).sum(),
            wrong: of_threads().map(|tally| tally.wrong).sum(),
            first_error: of_threads().find_map(|tally| tally.first_error.clone()),
            cpu: cpu.div_f64(calls.max(1) as f64),
        });
    }
    targets
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        for (place, target) in self.0.iter().enumerate() {
            let Target { rates, p50, p99, errors, wrong, first_error, cpu } = target;
            let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.1}")).collect();
            write!(f, "{}", if place == 0 { '[' } else { ',' })?;
            write!(
                f,
                r#"{{"rates": [{}], "p50_us": {:.2}, "p99_us": {:.2}, "#,
                rates.join(", "),
                us(*p50),
                us(*p99)
            )?;
            write!(f, r#""cpu_us": {:.2}, "errors": {errors}, "wrong": {wrong}, "#, us(*cpu))?;
            write!(f, r#""first_error": "{}"}}"#, first_error.as_deref().unwrap_or_default())?;
        }
        f.write_str("]")
    }
}
