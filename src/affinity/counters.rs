//! Evidence: the kernel's counters, sampled twice and subtracted.

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
    voluntary: u64,
    forced: u64,
}

impl Sample {
    /// Reads all counters; context switches are those of the given processes with all their threads.
    pub fn take(root: &Root, pids: &[u32]) -> Result<Self> {
        let table = InterruptTable::parse(&root.read(interrupts::PATH)?)?;
        let softnet = root.text_if_any("/proc/net/softnet_stat")?.unwrap_or_default();
        let snmp_text = root.text_if_any("/proc/net/snmp")?.unwrap_or_default();
        let (mut voluntary, mut forced) = (0_u64, 0_u64);
        for pid in pids {
            for tid in root.list_numbers(&format!("/proc/{pid}/task"))? {
                // A thread that ends meanwhile has nothing more to count.
                let Ok(status) = root.text(&format!("/proc/{pid}/task/{tid}/status")) else { continue };
                let (own, other) = context_switches(&status);
                voluntary = voluntary.saturating_add(own);
                forced = forced.saturating_add(other);
            }
        }
        Ok(Sample {
            softnet: parse_softnet(&softnet, table.columns()),
            rcvbuf_errors: snmp(&snmp_text, "Udp", "RcvbufErrors"),
            table,
            voluntary,
            forced,
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
            "voluntary_switches": self.voluntary_switches,
            "forced_switches": self.forced_switches,
        })
    }
}
