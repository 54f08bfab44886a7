//! Evidence: the kernel's counters, sampled twice and subtracted.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::error::Result;
use super::interrupts::{self, InterruptTable, Rate};
use super::root::Root;

/// One CPU's line of `/proc/net/softnet_stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Softnet {
    /// The CPU, from the line's own column (5.14+), else by position among the online CPUs.
    pub cpu: u32,
    /// Packets taken from the device or the backlog.
    pub processed: u32,
    /// Packets lost because the backlog was full.
    pub dropped: u32,
    /// How often the softirq ran out of budget or time with work left.
    pub squeezed: u32,
    /// Wake-ups by another CPU (RPS).
    pub received_rps: u32,
}

/// Reads `/proc/net/softnet_stat`: hexadecimal columns without a header; `columns` are the online CPUs.
pub fn parse_softnet(text: &str, columns: &[u32]) -> Vec<Softnet> {
    let line = |(position, line): (usize, &str)| {
        let fields: Vec<u32> =
            line.split_ascii_whitespace().map_while(|word| u32::from_str_radix(word, 16).ok()).collect();
        let field = |at: usize| fields.get(at).copied();
        let by_position = columns.get(position).copied().unwrap_or(position as u32);
        Some(Softnet {
            cpu: field(12).unwrap_or(by_position),
            processed: field(0)?,
            dropped: field(1)?,
            squeezed: field(2)?,
            received_rps: field(9).unwrap_or_default(),
        })
    };
    text.lines().enumerate().filter_map(line).collect()
}

/// A counter of `/proc/net/snmp` (two lines each protocol: names, then numbers), such as `Udp` `RcvbufErrors`.
pub fn snmp(text: &str, protocol: &str, counter: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().filter(|line| line.split(':').next() == Some(protocol)).collect();
    let [names, numbers, ..] = lines.as_slice() else { return None };
    let at = names.split_ascii_whitespace().position(|name| name == counter)?;
    numbers.split_ascii_whitespace().nth(at)?.parse().ok()
}

/// A counter of `/proc/net/snmp6` (one line each: name, number), such as `Udp6RcvbufErrors`.
pub fn snmp6(text: &str, counter: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| (words.next()? == counter).then(|| words.next()?.parse().ok())?)
}

/// The datagrams that each socket of `/proc/net/udp` or `udp6` has lost, by its address as the kernel prints it and its
/// inode.
pub fn socket_drops(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, inode, drops) = (words.get(1)?, words.get(9)?, words.last()?);
        Some((format!("{} {inode}", socket_address(address)?), drops.parse().ok()?))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// `0100007F:1F90` as `127.0.0.1:8080`: bytes in the order of the machine in words of 32 bits, and a port.
fn socket_address(text: &str) -> Option<String> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    match address.len() {
        8 => Some(format!("{}:{port}", Ipv4Addr::from(word(0)?.to_ne_bytes()))),
        32 => {
            let mut bytes = [0_u8; 16];
            for (part, at) in bytes.chunks_mut(4).zip([0, 8, 16, 24]) {
                part.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            Some(format!("[{}]:{port}", Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// The nanoseconds that a thread was ready to run and waited for its CPU: the second number of its `schedstat`.
pub fn run_delay(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Packets that a network card has lost, by interface: those that it had no room for and those that the kernel dropped.
fn card_drops(root: &Root) -> Result<BTreeMap<String, u64>> {
    let mut drops = BTreeMap::new();
    for name in root.list("/sys/class/net")? {
        let counts = ["rx_dropped", "rx_missed_errors", "rx_fifo_errors"];
        let count = |file: &&str| root.number(&format!("/sys/class/net/{name}/statistics/{file}")).ok().flatten();
        let found: Vec<u64> = counts.iter().filter_map(count).filter_map(|count| u64::try_from(count).ok()).collect();
        if !found.is_empty() {
            drops.insert(name, found.iter().sum());
        }
    }
    Ok(drops)
}

/// The growth of each count; a new one counts from 0.
fn growth(now: &BTreeMap<String, u64>, earlier: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, now): (&String, &u64)| {
        let more = now.saturating_sub(earlier.get(name).copied().unwrap_or_default());
        (more > 0).then(|| (name.clone(), more))
    };
    now.iter().filter_map(grown).collect()
}

/// Voluntary and forced context switches of `/proc/PID/task/TID/status`.
pub fn context_switches(status: &str) -> (u64, u64) {
    let find = |name: &str| {
        let number =
            status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.trim().parse().ok());
        number.unwrap_or_default()
    };
    (find("voluntary_ctxt_switches:"), find("nonvoluntary_ctxt_switches:"))
}

/// A sample of all counters at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    table: InterruptTable,
    softnet: Vec<Softnet>,
    rcvbuf_errors: Option<u64>,
    rcvbuf_errors_6: Option<u64>,
    sockets: BTreeMap<String, u64>,
    cards: BTreeMap<String, u64>,
    voluntary: u64,
    forced: u64,
    run_delay: u64,
}

impl Sample {
    /// Reads all counters; context switches are those of the given processes with all their threads.
    pub fn take(root: &Root, pids: &[u32]) -> Result<Self> {
        let table = InterruptTable::parse(&root.read(interrupts::PATH)?)?;
        let softnet = root.text_if_any("/proc/net/softnet_stat")?.unwrap_or_default();
        let snmp_text = root.text_if_any("/proc/net/snmp")?.unwrap_or_default();
        let udp6_counters = root.text_if_any("/proc/net/snmp6")?.unwrap_or_default();
        let mut sockets = socket_drops(&root.text_if_any("/proc/net/udp")?.unwrap_or_default());
        sockets.extend(socket_drops(&root.text_if_any("/proc/net/udp6")?.unwrap_or_default()));
        let (mut voluntary, mut forced, mut delay) = (0_u64, 0_u64, 0_u64);
        for pid in pids {
            for tid in root.list_numbers(&format!("/proc/{pid}/task"))? {
                // A thread that ends meanwhile has nothing more to count.
                let Ok(status) = root.text(&format!("/proc/{pid}/task/{tid}/status")) else { continue };
                let (own, other) = context_switches(&status);
                voluntary = voluntary.saturating_add(own);
                forced = forced.saturating_add(other);
                let schedstat = root.text_if_any(&format!("/proc/{pid}/task/{tid}/schedstat"))?.unwrap_or_default();
                delay = delay.saturating_add(run_delay(&schedstat).unwrap_or_default());
            }
        }
        Ok(Sample {
            softnet: parse_softnet(&softnet, table.columns()),
            rcvbuf_errors: snmp(&snmp_text, "Udp", "RcvbufErrors"),
            rcvbuf_errors_6: snmp6(&udp6_counters, "Udp6RcvbufErrors"),
            sockets,
            cards: card_drops(root)?,
            table,
            voluntary,
            forced,
            run_delay: delay,
        })
    }

    /// Returns the differences to an earlier sample. `irqs` chooses the rows; `None` takes every row that changed.
    pub fn since(&self, earlier: &Self, seconds: f64, irqs: Option<&[u32]>) -> Measurement {
        let wanted = |rate: &Rate| match irqs {
            Some(irqs) => rate.irq.is_some_and(|irq| irqs.contains(&irq)),
            None => rate.irq.is_some() && rate.total() > 0.0,
        };
        let softnet = self.softnet.iter().map(|now| {
            let then = earlier.softnet.iter().find(|then| then.cpu == now.cpu).copied().unwrap_or_default();
            Softnet {
                cpu: now.cpu,
                processed: now.processed.wrapping_sub(then.processed),
                dropped: now.dropped.wrapping_sub(then.dropped),
                squeezed: now.squeezed.wrapping_sub(then.squeezed),
                received_rps: now.received_rps.wrapping_sub(then.received_rps),
            }
        });
        Measurement {
            seconds,
            rates: self.table.rates(&earlier.table, seconds).into_iter().filter(wanted).collect(),
            softnet: softnet.collect(),
            rcvbuf_errors: self.rcvbuf_errors.zip(earlier.rcvbuf_errors).map(|(now, then)| now.saturating_sub(then)),
            rcvbuf_errors_6: self
                .rcvbuf_errors_6
                .zip(earlier.rcvbuf_errors_6)
                .map(|(now, then)| now.saturating_sub(then)),
            socket_drops: growth(&self.sockets, &earlier.sockets),
            card_drops: growth(&self.cards, &earlier.cards),
            run_delay: self.run_delay.saturating_sub(earlier.run_delay),
            voluntary_switches: self.voluntary.saturating_sub(earlier.voluntary),
            forced_switches: self.forced.saturating_sub(earlier.forced),
        }
    }
}

/// The changes of all counters in a span of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// How long, in seconds.
    pub seconds: f64,
    /// Interrupts per second, per row and CPU.
    pub rates: Vec<Rate>,
    /// Packets, drops and squeezes, per CPU.
    pub softnet: Vec<Softnet>,
    /// Datagrams lost because a socket's receive buffer was full.
    pub rcvbuf_errors: Option<u64>,
    /// The same over IPv6.
    pub rcvbuf_errors_6: Option<u64>,
    /// Datagrams lost by single sockets, by address and inode.
    pub socket_drops: BTreeMap<String, u64>,
    /// Packets lost by network cards, by interface.
    pub card_drops: BTreeMap<String, u64>,
    /// Nanoseconds for which the processes' threads were ready to run and waited for a CPU.
    pub run_delay: u64,
    /// Times that the processes' threads waited.
    pub voluntary_switches: u64,
    /// Times that they were taken off their CPU.
    pub forced_switches: u64,
}

impl Measurement {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        let rates = self.rates.iter().map(|rate| {
            let per_cpu: serde_json::Map<String, Value> = rate
                .per_cpu
                .iter()
                .filter(|(_, rate)| *rate > 0.0)
                .map(|(cpu, rate)| (cpu.to_string(), json!(rate)))
                .collect();
            json!({"irq": rate.irq, "name": rate.actions, "rate": rate.total(), "per_cpu": per_cpu})
        });
        let softnet = self.softnet.iter().map(|line| {
            json!({"cpu": line.cpu, "processed": line.processed, "dropped": line.dropped,
                   "squeezed": line.squeezed, "received_rps": line.received_rps})
        });
        json!({
            "seconds": self.seconds,
            "interrupts": rates.collect::<Vec<_>>(),
            "softnet": softnet.collect::<Vec<_>>(),
            "udp_rcvbuf_errors": self.rcvbuf_errors,
            "udp6_rcvbuf_errors": self.rcvbuf_errors_6,
            "socket_drops": self.socket_drops,
            "card_drops": self.card_drops,
            "run_delay": self.run_delay as f64 / 1e9,
            "voluntary_switches": self.voluntary_switches,
            "forced_switches": self.forced_switches,
        })
    }
}
