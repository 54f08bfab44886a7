//! A plan: which interrupts, queues and processes go to which CPUs, and the conflicts. Making one changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

use super::conflicts::{self, Conflict};
use super::cpuset::CpuSet;
use super::device::Device;
use super::error::{Error, Result};
use super::host::Host;
use super::irq::{Identity, Irq, Managed, cpus_of};
use super::place::{self, Choice, Load};
use super::process::Process;
use super::queue::QueueKind;
use super::request::{Policy, Request};
use super::steering;

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The running irqbalance leaves these interrupts alone.
    BanLive {
        /// All interrupts of the plan.
        irqs: BTreeSet<u32>,
    },
    /// irqbalance leaves them alone after its next start.
    BanFile {
        /// All interrupts of the plan.
        irqs: BTreeSet<u32>,
    },
    /// An interrupt's `smp_affinity`.
    Irq {
        /// Its number now.
        number: u32,
        /// The interrupt's identity, independent of its number.
        identity: Identity,
    },
    /// A queue's `rps_cpus` or `xps_cpus`.
    Steering {
        /// The interface.
        interface: String,
        /// `rx-0`, `tx-0`.
        queue: String,
    },
    /// A process with all its threads.
    Process(Process),
}

/// A change with its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The planned change.
    pub change: Change,
    /// The CPUs now.
    pub now: Option<CpuSet>,
    /// Where an interrupt arrives now (`effective_affinity`).
    pub effective: Option<CpuSet>,
    /// The CPUs to be.
    pub target: CpuSet,
    /// States if the kernel places the interrupt itself: it is then listed, but not changed.
    pub managed: Managed,
    /// The name beside the number: the action, the queue, the role.
    pub label: String,
}

impl Item {
    /// `irqbalance`, `irq`, `rps`, `xps`, `process`.
    pub fn kind(&self) -> &'static str {
        match &self.change {
            Change::BanLive { .. } | Change::BanFile { .. } => "irqbalance",
            Change::Irq { .. } => "irq",
            Change::Steering { queue, .. } if queue.starts_with("rx") => "rps",
            Change::Steering { .. } => "xps",
            Change::Process(_) => "process",
        }
    }

    /// Names the subject of the item: `57`, `eth0 rx-0`, the pid.
    pub fn subject(&self) -> String {
        match &self.change {
            Change::BanLive { .. } => "socket".to_owned(),
            Change::BanFile { .. } => "file".to_owned(),
            Change::Irq { number, .. } => number.to_string(),
            Change::Steering { interface, queue } => format!("{interface} {queue}"),
            Change::Process(process) => process.pid.to_string(),
        }
    }

    /// Names what the item changes, whatever its number is now.
    pub(crate) fn key(&self) -> String {
        match &self.change {
            Change::Irq { identity, .. } => identity.key(),
            _ => format!("{} {}", self.kind(), self.subject()),
        }
    }

    /// Returns true if the item needs no change: its set is as planned, and its interrupts arrive within.
    pub fn is_done(&self) -> bool {
        self.now.as_ref() == Some(&self.target)
            && self.effective.as_ref().is_none_or(|effective| effective.is_subset(&self.target))
    }

    fn note(&self) -> &'static str {
        match (self.managed, self.is_done()) {
            (Managed::Yes, _) => "managed by the kernel, left alone",
            (Managed::Presumed, false) => "presumed managed, tried",
            (_, true) => "already there",
            _ => "",
        }
    }

    fn target_shown(&self) -> String {
        match &self.change {
            Change::BanLive { irqs } | Change::BanFile { irqs } => format!("ban {} interrupts", irqs.len()),
            Change::Steering { .. } if self.target.is_empty() => "off".to_owned(),
            _ if self.managed == Managed::Yes => self.now.as_ref().map(CpuSet::to_list).unwrap_or_default(),
            _ => self.target.to_list(),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({"kind": self.kind(), "subject": self.subject(), "label": self.label,
               "now": self.now.as_ref().map(CpuSet::to_list), "target": self.target_shown(), "note": self.note()})
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The machine.
    pub host: Host,
    /// The devices, as asked for.
    pub devices: Vec<Device>,
    /// How CPUs are shared.
    pub policy: Policy,
    /// Where interrupts go.
    pub irq_cpus: CpuSet,
    /// Where processes go.
    pub process_cpus: CpuSet,
    /// True if the planner chose the CPUs.
    pub chosen: bool,
    /// Why these CPUs were chosen; empty where they were given.
    pub choice: String,
    /// The request, with the CPUs that were chosen: made again, it is the same plan.
    pub request: Request,
    /// The changes, in the order in which they are made.
    pub items: Vec<Item>,
    /// The conflicts that would defeat the plan.
    pub conflicts: Vec<Conflict>,
}

impl Plan {
    /// Makes a plan from the machine's present state.
    pub fn make(host: &Host, request: &Request) -> Result<Self> {
        if request.devices.is_empty() && request.processes.is_empty() {
            return Err(Error::Usage("expected a device, a process, or both, found neither".into()));
        }
        let topology = host.topology()?;
        let table = host.table();
        let mut devices = Vec::new();
        for name in &request.devices {
            devices.push(Device::find(&host.root, name, table.as_ref())?);
        }
        let base = place::base(host, &topology, &request.processes)?;
        let (_, possible) = cpus_of(&host.root)?;
        let load = load(host, &devices, table.as_ref(), request.processes.len());
        let Choice { cpus, reason: choice } = match &request.cpus {
            Some(cpus) => {
                let cpus = CpuSet::parse_list(&cpus.to_list(), Some(possible))?.require_some()?;
                Choice { cpus, reason: String::new() }
            }
            None => place::choose(&topology, &devices, &base, load),
        };
        let online = &cpus & &topology.online;
        let policy = place::policy(request.policy, load);
        let (irq_cpus, process_cpus) = match request.irq_cpus.as_ref().map(|part| part & &online) {
            Some(part) if policy == Policy::Auto && part.is_subset(&online) && part != online => {
                (part.clone(), &online - &part)
            }
            _ => place::divide(&topology, &online, policy, load),
        };
        let divided = (policy == Policy::Auto).then(|| irq_cpus.clone());
        let fixed = Request { cpus: Some(cpus.clone()), irq_cpus: divided, ..request.clone() };
        let mut plan = Plan {
            host: host.clone(),
            devices,
            policy,
            irq_cpus,
            process_cpus,
            chosen: request.cpus.is_none(),
            choice,
            request: fixed,
            items: Vec::new(),
            conflicts: Vec::new(),
        };
        let irqs = plan.irq_items(table.as_ref())?;
        let steering = if request.steering { plan.steering_items()? } else { Vec::new() };
        let processes = plan.process_items(request)?;
        plan.items = irqs.into_iter().chain(steering).chain(processes).collect();
        let balance = host.irqbalance();
        if request.ban
            && let Ok(balance) = &balance
        {
            plan.add_bans(balance);
        }
        plan.conflicts = conflicts::find(&plan, request, &topology, &cpus, load, balance)?;
        Ok(plan)
    }

    /// The interrupts of the plan that can be moved.
    pub fn irqs(&self) -> BTreeSet<u32> {
        let number = |item: &Item| match (&item.change, item.managed) {
            (Change::Irq { number, .. }, Managed::No | Managed::Presumed) => Some(*number),
            _ => None,
        };
        self.items.iter().filter_map(number).collect()
    }

    fn irq_items(&self, table: Option<&super::InterruptTable>) -> Result<Vec<Item>> {
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for device in self.devices.iter().flat_map(Device::leaves) {
            let mut irqs = Vec::new();
            for number in &device.irqs {
                // One function can carry several of the devices.
                if !seen.insert(*number) {
                    continue;
                }
                match Irq::read(&self.host.root, *number, table) {
                    Ok(irq) => irqs.push(irq),
                    Err(error) if error.is_missing() => {}
                    Err(error) => return Err(error),
                }
            }
            let has_numbers = !numbered_queues(&irqs).is_empty();
            let mut position = 0;
            for irq in irqs {
                let target = match irq.queue() {
                    None if has_numbers => self.irq_cpus.clone(),
                    queue => place::for_irq(self.policy, &self.irq_cpus, queue, &mut position),
                };
                items.push(Item {
                    change: Change::Irq { number: irq.number, identity: irq.identity(device.bus.as_deref()) },
                    now: irq.affinity.clone(),
                    effective: irq.effective.clone(),
                    target,
                    managed: irq.managed,
                    label: if irq.actions.is_empty() { device.name.clone() } else { irq.actions.join(", ") },
                });
            }
        }
        Ok(items)
    }

    fn steering_items(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut seen = BTreeSet::new();
        for device in self.devices.iter().flat_map(Device::leaves).filter(|device| device.kind == "net") {
            if !seen.insert(device.name.clone()) {
                continue;
            }
            let queues = match steering::queues(&self.host.root, &device.name) {
                Ok(queues) => queues,
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error),
            };
            for (queue, target) in place::for_queues(&queues, self.policy, (&self.irq_cpus, &self.process_cpus)) {
                items.push(Item {
                    change: Change::Steering { interface: device.name.clone(), queue: queue.name.clone() },
                    now: queue.cpus.clone(),
                    effective: None,
                    target,
                    managed: Managed::No,
                    label: String::new(),
                });
            }
        }
        Ok(items)
    }

    fn process_items(&self, request: &Request) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut processes = request.processes.clone();
        // The attendant first: workers that it forks from then on are born in the right place.
        let rank = |process: &Process| process.role.as_deref().is_none_or(|role| !role.contains("attendant"));
        processes.sort_by_key(rank);
        let mut receivers = 0;
        for process in processes {
            let now = match process.affinity(&self.host.root) {
                Ok(cpus) => cpus,
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error),
            };
            let role = process.role.clone().unwrap_or_default();
            let is_receiver = role.is_empty() || role.to_ascii_lowercase().contains("receiver");
            let target = if self.policy == Policy::Spread && request.reuse_port && is_receiver {
                place::nth(&self.process_cpus, &mut receivers)
            } else {
                self.process_cpus.clone()
            };
            let label = if role.is_empty() { process.name.clone() } else { format!("{}: {role}", process.name) };
            items.push(Item {
                now: Some(now),
                effective: None,
                target,
                managed: Managed::No,
                label,
                change: Change::Process(process),
            });
        }
        if items.is_empty() && !request.processes.is_empty() {
            return Err(Error::not_found("process", "of this plan", "at least one that still runs"));
        }
        Ok(items)
    }

    /// Groups queues and processes by the CPUs that they go to, for policies that give queues CPUs of their own.
    fn shares(&self) -> Vec<Share> {
        if !matches!(self.policy, Policy::Auto | Policy::Spread) {
            return Vec::new();
        }
        let mut shares: Vec<Share> = Vec::new();
        for item in self.items.iter().filter(|item| item.managed != Managed::Yes) {
            let process = match &item.change {
                Change::Irq { .. } => None,
                Change::Process(process) => Some(process.name.clone()),
                _ => continue,
            };
            let place = shares.iter().position(|share| share.cpus == item.target).unwrap_or_else(|| {
                shares.push(Share { cpus: item.target.clone(), queues: Vec::new(), processes: BTreeMap::new() });
                shares.len() - 1
            });
            match process {
                Some(name) => *shares[place].processes.entry(name).or_default() += 1,
                None => shares[place].queues.push(item.label.clone()),
            }
        }
        shares.sort_by_key(|share| (share.cpus.lowest(), share.cpus.len()));
        shares
    }

    /// First of all: irqbalance moves an interrupt back within 10 seconds unless the ban precedes the move.
    fn add_bans(&mut self, balance: &super::irqbalance::Irqbalance) {
        let irqs = self.irqs();
        if irqs.is_empty() || balance.pid.is_none() {
            return;
        }
        let item = |change, label: &str| Item {
            change,
            now: None,
            effective: None,
            target: CpuSet::new(),
            managed: Managed::No,
            label: label.to_owned(),
        };
        let mut bans = Vec::new();
        if let Some(socket) = &balance.socket {
            bans.push(item(Change::BanLive { irqs: irqs.clone() }, socket));
        }
        bans.push(item(Change::BanFile { irqs }, &balance.file));
        self.items.splice(0..0, bans);
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let devices = self.devices.iter().map(|device| {
            json!({"name": device.name, "driver": device.driver(), "bus": device.bus, "node": device.node,
                   "irqs": device.irqs, "source": device.source.name()})
        });
        json!({
            "devices": devices.collect::<Vec<_>>(),
            "policy": self.policy.name(),
            "irq_cpus": self.irq_cpus.to_list(),
            "process_cpus": self.process_cpus.to_list(),
            "chosen": self.chosen,
            "choice": self.choice,
            "shares": self.shares().iter().map(Share::to_json).collect::<Vec<_>>(),
            "items": self.items.iter().map(Item::to_json).collect::<Vec<_>>(),
            "conflicts": self.conflicts.iter().map(Conflict::to_json).collect::<Vec<_>>(),
        })
    }
}

/// The queues and processes that a plan puts on the same CPUs.
struct Share {
    cpus: CpuSet,
    queues: Vec<String>,
    /// How many processes, by name.
    processes: BTreeMap<String, usize>,
}

impl Share {
    fn to_json(&self) -> Value {
        json!({"cpus": self.cpus.to_list(), "queues": self.queues, "processes": self.processes})
    }

    fn row(&self) -> [String; 3] {
        let processes: Vec<String> = self.processes.iter().map(|(name, count)| format!("{count} {name}")).collect();
        [self.cpus.to_list(), self.queues.join(", "), processes.join(", ")]
    }
}

/// Counts the vectors of the devices that carry traffic and can be moved, and the queues that can have CPUs of their own.
fn load(host: &Host, devices: &[Device], table: Option<&super::InterruptTable>, workers: usize) -> Load {
    let mut seen = BTreeSet::new();
    let mut load = Load { queues: 0, separate: 0, workers };
    for device in devices.iter().flat_map(Device::leaves) {
        let numbers = device.irqs.iter().filter(|number| seen.insert(**number));
        let irqs = numbers.filter_map(|number| Irq::read(&host.root, *number, table).ok());
        let movable: Vec<Irq> = irqs.filter(|irq| irq.managed != Managed::Yes).collect();
        let numbered = numbered_queues(&movable).len();
        let is_other =
            |irq: &&Irq| irq.queue().is_none_or(|queue| queue.kind != QueueKind::Control && queue.index.is_none());
        let others = movable.iter().filter(is_other).count();
        load.queues += numbered + others;
        load.separate += if numbered > 0 { numbered } else { others };
    }
    load
}

/// The numbers of a device's queues; the receive and the send side of a queue share one. Where queues have numbers, a
/// vector without one reports links and errors.
fn numbered_queues(irqs: &[Irq]) -> BTreeSet<u32> {
    irqs.iter().filter_map(|irq| irq.queue().and_then(|queue| queue.index)).collect()
}

impl fmt::Display for Plan {
    /// The dry run: a table of the changes, then the conflicts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
        let how = if self.chosen { format!(" ({})", self.choice) } else { String::new() };
        writeln!(
            f,
            "interrupts of {} on CPUs {}, processes on CPUs {}{how}, policy {}",
            if names.is_empty() { "no device".to_owned() } else { names.join(", ") },
            self.irq_cpus,
            self.process_cpus,
            self.policy.name()
        )?;
        let rows: Vec<[String; 6]> = self
            .items
            .iter()
            .map(|item| {
                let now = item.now.as_ref().map(CpuSet::to_list).unwrap_or_default();
                [
                    item.kind().to_owned(),
                    item.subject(),
                    item.label.clone(),
                    now,
                    item.target_shown(),
                    item.note().to_owned(),
                ]
            })
            .collect();
        write_table(f, &["what", "which", "name", "now", "planned", ""], &rows)?;
        let shares: Vec<[String; 3]> = self.shares().iter().map(Share::row).collect();
        if !shares.is_empty() {
            write!(f, "\n\n")?;
            write_table(f, &["CPUs", "queues", "processes"], &shares)?;
        }
        for conflict in &self.conflicts {
            write!(f, "\n{conflict}")?;
        }
        Ok(())
    }
}

/// Columns as wide as their widest cell.
pub(crate) fn write_table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    head: &[&str; N],
    rows: &[[String; N]],
) -> fmt::Result {
    let width = |at: usize| {
        rows.iter().map(|row| row[at].chars().count()).chain([head[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let heads = head.map(str::to_owned);
    for (number, row) in std::iter::once(&heads).chain(rows).enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let end = if number == rows.len() { "" } else { "\n" };
        write!(f, "{}{end}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
