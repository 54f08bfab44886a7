//! One change in a journal: its thing, and its state before and after.

use serde_json::{Value, json};

use crate::affinity::cpuset::CpuSet;
use crate::affinity::irq::Identity;

/// One change as it was made: enough to take it back on a machine whose numbers have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `smp_affinity` of an interrupt.
    Irq {
        /// Its number then.
        number: u32,
        /// The identity of the changed item.
        identity: Identity,
        /// Where it was.
        before: CpuSet,
        /// Where it arrived then (`effective_affinity`): an x86 vector does not move back by itself while its CPU is in the mask.
        effective: Option<CpuSet>,
        /// Where it was sent.
        after: CpuSet,
    },
    /// `rps_cpus` or `xps_cpus`.
    Steering {
        /// The interface.
        interface: String,
        /// The queue.
        queue: String,
        /// The CPUs before the change.
        before: CpuSet,
        /// The CPUs after the change.
        after: CpuSet,
    },
    /// A thread.
    Thread {
        /// Its process.
        pid: u32,
        /// When that started.
        started: u64,
        /// The thread.
        tid: u32,
        /// Where it was.
        before: CpuSet,
        /// Where it was sent.
        after: CpuSet,
    },
    /// Interrupts banned by the running irqbalance's socket.
    BanLive {
        /// The daemon.
        pid: u32,
        /// Banned before.
        before: Vec<u32>,
        /// Banned after.
        after: Vec<u32>,
    },
    /// A file replaced as a whole.
    File {
        /// Its path.
        path: String,
        /// Its bytes; none if there was none.
        before: Option<Vec<u8>>,
        /// Its new bytes.
        after: Vec<u8>,
    },
}

impl Entry {
    /// Names what is changed, whatever its number is now: `irq 0000:00:05.0 virtio2-input.0 1`, `eth0 rx-0`.
    pub fn key(&self) -> String {
        match self {
            Entry::Irq { identity, .. } => identity.key(),
            Entry::Steering { interface, queue, .. } => format!("{interface} {queue}"),
            Entry::Thread { pid, started, tid, .. } => format!("thread {pid} {started} {tid}"),
            Entry::BanLive { pid, .. } => format!("ban {pid}"),
            Entry::File { path, .. } => format!("file {path}"),
        }
    }

    /// Names what is changed to a reader.
    pub fn subject(&self) -> String {
        match self {
            Entry::Irq { number, identity, .. } => format!("IRQ {number} {}", identity.action).trim_end().to_owned(),
            Entry::Steering { interface, queue, .. } => format!("{interface} {queue}"),
            Entry::Thread { pid, tid, .. } => format!("thread {tid} of {pid}"),
            Entry::BanLive { .. } => "irqbalance socket".to_owned(),
            Entry::File { path, .. } => path.clone(),
        }
    }

    /// Describes the change to a reader: `IRQ 24 virtio0-input.0: CPUs 0-3 to 1`.
    pub fn description(&self) -> String {
        let subject = self.subject();
        let shown = |cpus: &CpuSet| if cpus.is_empty() { "none".to_owned() } else { cpus.to_list() };
        match self {
            Entry::Irq { before, after, .. }
            | Entry::Steering { before, after, .. }
            | Entry::Thread { before, after, .. } => format!("{subject}: CPUs {} to {}", shown(before), shown(after)),
            Entry::BanLive { before, after, .. } => {
                format!("{subject}: {} banned interrupts more", after.len().saturating_sub(before.len()))
            }
            Entry::File { before: None, .. } => format!("{subject}: created"),
            Entry::File { .. } => format!("{subject}: changed"),
        }
    }

    /// This change with the state before an earlier one of the same thing: both are taken back by one step.
    #[must_use]
    pub(crate) fn since(self, earlier: &Entry) -> Entry {
        let mut joined = self;
        match (&mut joined, earlier) {
            (Entry::Irq { before, effective, .. }, Entry::Irq { before: first, effective: arrived, .. }) => {
                before.clone_from(first);
                effective.clone_from(arrived);
            }
            (Entry::Steering { before, .. }, Entry::Steering { before: first, .. })
            | (Entry::Thread { before, .. }, Entry::Thread { before: first, .. }) => before.clone_from(first),
            (Entry::BanLive { before, .. }, Entry::BanLive { before: first, .. }) => before.clone_from(first),
            (Entry::File { before, .. }, Entry::File { before: first, .. }) => before.clone_from(first),
            _ => {}
        }
        joined
    }

    /// As one line of the journal.
    pub fn to_json(&self) -> Value {
        match self {
            Entry::Irq { number, identity, before, effective, after } => json!({
                "kind": "irq", "irq": number, "bus": identity.bus, "action": identity.action, "hwirq": identity.hwirq,
                "before": before.to_list(), "effective": effective.as_ref().map(CpuSet::to_list), "after": after.to_list()}),
            Entry::Steering { interface, queue, before, after } => json!({
                "kind": "steering", "interface": interface, "queue": queue,
                "before": before.to_list(), "after": after.to_list()}),
            Entry::Thread { pid, started, tid, before, after } => json!({
                "kind": "thread", "pid": pid, "started": started, "tid": tid,
                "before": before.to_list(), "after": after.to_list()}),
            Entry::BanLive { pid, before, after } => {
                json!({"kind": "ban", "pid": pid, "before": before, "after": after})
            }
            Entry::File { path, before, after } => json!({
                "kind": "file", "path": path, "before": before.as_deref().map(to_hex), "after": to_hex(after)}),
        }
    }

    /// From one line; none if it says something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        let number = |name: &str| value.get(name)?.as_u64();
        let small = |name: &str| number(name)?.try_into().ok();
        let cpus = |name: &str| CpuSet::parse_list(value.get(name)?.as_str()?, None).ok();
        let irqs = |name: &str| -> Option<Vec<u32>> {
            value.get(name)?.as_array()?.iter().map(|irq| irq.as_u64()?.try_into().ok()).collect()
        };
        Some(match value.get("kind")?.as_str()? {
            "irq" => Entry::Irq {
                number: small("irq")?,
                identity: Identity { bus: text("bus")?, action: text("action")?, hwirq: number("hwirq") },
                before: cpus("before")?,
                effective: cpus("effective"),
                after: cpus("after")?,
            },
            "steering" => Entry::Steering {
                interface: text("interface").filter(|name| !name.contains('/'))?,
                queue: text("queue").filter(|name| !name.contains('/'))?,
                before: cpus("before")?,
                after: cpus("after")?,
            },
            "thread" => Entry::Thread {
                pid: small("pid")?,
                started: number("started")?,
                tid: small("tid")?,
                before: cpus("before")?,
                after: cpus("after")?,
            },
            "ban" => Entry::BanLive { pid: small("pid")?, before: irqs("before")?, after: irqs("after")? },
            "file" => Entry::File {
                path: text("path")?,
                before: match value.get("before")? {
                    Value::Null => None,
                    hex => Some(from_hex(hex.as_str()?)?),
                },
                after: from_hex(&text("after")?)?,
            },
            _ => return None,
        })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if bytes.len().is_multiple_of(2) { bytes.chunks(2).map(byte).collect() } else { None }
}
