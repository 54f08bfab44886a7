//! Faults of a machine's interrupts that need no plan to be seen, each with its remedy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::counters::{parse_softnet, snmp};
use super::cpuset::CpuSet;
use super::device::Device;
use super::drift;
use super::error::Result;
use super::host::Host;
use super::interrupts::InterruptTable;
use super::irq::{self, Irq, Managed};
use super::irqbalance::Irqbalance;
use super::journal;
use super::queue::QueueKind;
use super::steering;
use super::topology::Topology;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `queues`, `node`, `isolated`, `steering`, `irqbalance`, `default`, `drift`, `drops`.
    pub what: &'static str,
    /// The fault, in a sentence.
    pub detail: String,
    /// The command or setting that mends it.
    pub remedy: String,
}

impl Finding {
    fn new(what: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { what, detail: detail.into(), remedy: remedy.into() }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({"what": self.what, "detail": self.detail, "remedy": self.remedy})
    }
}

/// Looks at a machine and lists its faults; an empty list is a machine in order. Changes nothing.
pub fn check(host: &Host) -> Result<Vec<Finding>> {
    let table = host.interrupts()?;
    let irqs = host.irqs()?;
    let checked =
        Checked { host, topology: host.topology()?, irqs: irqs.iter().map(|irq| (irq.number, irq)).collect(), table };
    let devices = checked.devices();
    let mut found: Vec<Finding> = devices.iter().flat_map(|device| checked.device(device)).collect();
    found.extend(checked.isolated());
    found.extend(checked.default_affinity());
    found.extend(checked.plans());
    found.extend(checked.drops());
    Ok(found)
}

struct Checked<'a> {
    host: &'a Host,
    topology: Topology,
    irqs: BTreeMap<u32, &'a Irq>,
    table: InterruptTable,
}

impl Checked<'_> {
    /// Network interfaces with interrupts of their own.
    fn devices(&self) -> Vec<Device> {
        let names = self.host.root.list("/sys/class/net").unwrap_or_default();
        let found = names.iter().filter_map(|name| Device::find(&self.host.root, name, Some(&self.table)).ok());
        found.filter(|device| device.lower.is_empty() && !device.irqs.is_empty()).collect()
    }

    fn device(&self, device: &Device) -> Vec<Finding> {
        [self.queues(device), self.node(device), self.receive_steering(device)].into_iter().flatten().collect()
    }

    /// The interrupts of a device that carry traffic, have arrived, and can be moved.
    fn busy(&self, device: &Device) -> Vec<&Irq> {
        let irqs = device.irqs.iter().filter_map(|number| self.irqs.get(number).copied());
        irqs.filter(|irq| irq.managed != Managed::Yes && self.table.fires(irq.number))
            .filter(|irq| irq.queue().is_none_or(|queue| queue.kind != QueueKind::Control))
            .collect()
    }

    /// All queues on one CPU: the others do no part of the work.
    fn queues(&self, device: &Device) -> Option<Finding> {
        let busy = self.busy(device);
        let open = &self.topology.online - &self.topology.isolated;
        let indices: BTreeSet<_> = busy.iter().map(|irq| irq.queue().and_then(|queue| queue.index)).collect();
        let arrives =
            busy.iter().filter_map(|irq| irq.effective.as_ref()).fold(CpuSet::new(), |all, cpus| &all | cpus);
        (indices.len() > 1 && open.len() > 1 && arrives.len() == 1).then(|| {
            let detail = format!("all {} queues of {} arrive on CPU {arrives}", indices.len(), device.name);
            Finding::new("queues", detail, format!("sipmi pin --device {}", device.name))
        })
    }

    /// Interrupts that arrive far from their card's memory.
    fn node(&self, device: &Device) -> Option<Finding> {
        let node = device.node.filter(|_| self.topology.nodes.len() > 1)?;
        let is_far = |irq: &&&Irq| irq.effective.as_ref().is_some_and(|cpus| cpus.is_disjoint(&device.local_cpus));
        let busy = self.busy(device);
        let far: Vec<String> = busy.iter().filter(is_far).map(|irq| irq.number.to_string()).collect();
        (!far.is_empty()).then(|| {
            let detail = format!(
                "{} is on node {node} (CPUs {}), its interrupts {} arrive on another node",
                device.name,
                device.local_cpus,
                far.join(", ")
            );
            Finding::new("node", detail, format!("sipmi pin --device {} --cpus {}", device.name, device.local_cpus))
        })
    }

    /// RPS where each CPU has a receive queue, or to CPUs that do not take packets.
    fn receive_steering(&self, device: &Device) -> Option<Finding> {
        let queues = steering::queues(&self.host.root, &device.name).unwrap_or_default();
        let set: Vec<_> = queues
            .iter()
            .filter(|queue| queue.receives && queue.cpus.as_ref().is_some_and(|cpus| !cpus.is_empty()))
            .collect();
        let target = set.iter().filter_map(|queue| queue.cpus.as_ref()).fold(CpuSet::new(), |all, cpus| &all | cpus);
        let receiving = queues.iter().filter(|queue| queue.receives).count();
        let useless = &target & &self.topology.isolated;
        let detail = if set.is_empty() {
            return None;
        } else if !useless.is_empty() {
            format!(
                "{} sends packets to CPUs {target} by RPS, of which {useless} are isolated and take none",
                device.name
            )
        } else if receiving >= self.topology.online.len() {
            format!(
                "{} has a receive queue for each CPU, and RPS moves its packets once more, to CPUs {target}",
                device.name
            )
        } else {
            return None;
        };
        let files =
            if set.len() == queues.iter().filter(|queue| queue.receives).count() { "rx-*" } else { &set[0].name };
        let path = format!("/sys/class/net/{}/queues/{files}/rps_cpus", device.name);
        Some(Finding::new("steering", detail, format!("for file in {path}; do echo 0 > $file; done")))
    }

    /// Isolated CPUs are kept free for one task, and interrupts disturb it.
    fn isolated(&self) -> Option<Finding> {
        let isolated = &self.topology.isolated;
        let open = &self.topology.online - isolated;
        let strays: Vec<&Irq> = self
            .irqs
            .values()
            .filter(|irq| irq.managed != Managed::Yes && self.table.fires(irq.number))
            .filter(|irq| irq.effective.as_ref().is_some_and(|cpus| !cpus.is_empty() && cpus.is_subset(isolated)))
            .copied()
            .collect();
        let first = strays.first()?;
        let named: Vec<String> =
            strays.iter().map(|irq| format!("{} {}", irq.number, irq.actions.join(", "))).collect();
        let detail = format!("isolated CPUs {isolated} take interrupts: {}", named.join("; "));
        Some(Finding::new("isolated", detail, format!("sipmi irq set {} --cpus {open}", first.number)))
    }

    /// New interrupts begin on the CPUs of `default_smp_affinity`.
    fn default_affinity(&self) -> Option<Finding> {
        let default = irq::default_affinity(&self.host.root).ok().flatten()?;
        let strays = &(&default & &self.topology.isolated) & &self.topology.online;
        let open = &default - &self.topology.isolated;
        (!strays.is_empty() && !open.is_empty()).then(|| {
            let detail = format!("new interrupts may begin on the isolated CPUs {strays} (default_smp_affinity)");
            Finding::new("default", detail, format!("echo {} > /proc/irq/default_smp_affinity", open.to_mask()))
        })
    }

    /// Applied plans that do not hold, and an irqbalance that may move their interrupts.
    fn plans(&self) -> Vec<Finding> {
        let folder = journal::default_folder(&self.host.root);
        let mut found = Vec::new();
        for path in journal::pending(&folder).unwrap_or_default() {
            let Ok(record) = journal::load(&self.host.root, &path) else { continue };
            let Ok(drift) = drift::drift(self.host, &record) else { continue };
            if !drift.is_empty() {
                let subjects: Vec<&str> = drift.iter().map(|outcome| outcome.subject.as_str()).collect();
                let shown = path.display();
                found.push(Finding::new(
                    "drift",
                    format!("the plan of {shown} does not hold: {}", subjects.join("; ")),
                    format!("sipmi pin --fix --journal {shown}"),
                ));
            }
            found.extend(self.fought(&record));
        }
        found
    }

    fn fought(&self, record: &journal::Record) -> Option<Finding> {
        let balance = Irqbalance::read(&self.host.root).ok()?;
        let pid = balance.pid?;
        let planned = record.entries.iter().filter_map(|entry| match entry {
            journal::Entry::Irq { number, .. } => Some(*number),
            _ => None,
        });
        let banned = balance.live(&self.host.root).map_or_else(|_| balance.banned_irqs.clone(), |(irqs, _)| irqs);
        let open: BTreeSet<u32> = planned.filter(|number| !banned.contains(number)).collect();
        (!open.is_empty()).then(|| {
            let numbers: Vec<String> = open.iter().map(u32::to_string).collect();
            let detail =
                format!("irqbalance (pid {pid}) may move interrupts that a plan has pinned: {}", numbers.join(", "));
            let words: Vec<String> = numbers.iter().map(|number| format!("--banirq={number}")).collect();
            Finding::new("irqbalance", detail, format!("add {} to {}", words.join(" "), balance.file))
        })
    }

    /// Packets that were lost since the start of the machine.
    fn drops(&self) -> Vec<Finding> {
        let text = |path: &str| self.host.root.text_if_any(path).ok().flatten().unwrap_or_default();
        let mut found = Vec::new();
        let lines = parse_softnet(&text("/proc/net/softnet_stat"), self.table.columns());
        let lost: Vec<String> = lines
            .iter()
            .filter(|line| line.dropped > 0)
            .map(|line| format!("{} on CPU {}", line.dropped, line.cpu))
            .collect();
        if !lost.is_empty() {
            found.push(Finding::new(
                "drops",
                format!("packets were lost since the start because a backlog was full: {}", lost.join(", ")),
                "spread the queues (sipmi pin --device NAME), or raise net.core.netdev_max_backlog",
            ));
        }
        if let Some(lost) = snmp(&text("/proc/net/snmp"), "Udp", "RcvbufErrors").filter(|lost| *lost > 0) {
            found.push(Finding::new(
                "drops",
                format!("{lost} datagrams were lost since the start because the receive buffer of a socket was full"),
                "more workers, CPUs that are free for them (sipmi pin --process NAME), or a higher net.core.rmem_max",
            ));
        }
        found
    }
}
