//! Which CPUs: the base a plan may use, the nearest cache domain, and the share of each queue.

use super::cgroup;
use super::cpuset::CpuSet;
use super::device::Device;
use super::error::Result;
use super::host::Host;
use super::process::Process;
use super::queue::{Queue, QueueKind};
use super::request::Policy;
use super::steering::SteeringQueue;
use super::topology::Topology;

/// The largest set of CPUs that is not divided between interrupts and processes.
const FEW_CPUS: usize = 4;

/// Online CPUs that the cpusets of all the processes leave. Masks that were set before do not count: a plan made twice is
/// the same plan.
pub(crate) fn base(host: &Host, topology: &Topology, processes: &[Process]) -> Result<CpuSet> {
    let mut base = topology.usable();
    for process in processes {
        if let Some(cpuset) = cgroup::effective(&host.root, process.pid)? {
            let narrowed = &base & &cpuset;
            // Processes of disjoint cpusets have no common base: their conflict is reported, not hidden by an empty plan.
            if !narrowed.is_empty() {
                base = narrowed;
            }
        }
    }
    Ok(base)
}

/// CPUs that were chosen, and why these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) cpus: CpuSet,
    pub(crate) reason: String,
}

/// How many queues and workers a plan has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) queues: usize,
    /// The queues that can have CPUs of their own: not the vectors beside them that report links and errors.
    pub(crate) separate: usize,
    pub(crate) workers: usize,
}

impl Load {
    /// The CPUs that a domain must have: fewer would leave queues and workers in each other's way.
    fn least(self) -> usize {
        match (self.queues, self.workers) {
            (0, count) | (count, 0) => count,
            (queues, workers) => queues.min(workers),
        }
    }
}

/// The CPUs for a plan that names none: the last-level cache domain that most of the devices are near to, the lowest of
/// equals. A domain that is smaller than the load widens to its node, its package, and all usable CPUs: on many virtual
/// machines each CPU is a domain of its own. Isolated CPUs are left out, since their load was chosen by an administrator.
/// Without a device there is nothing to be near to, and no CPU is left out.
pub(crate) fn choose(topology: &Topology, devices: &[Device], base: &CpuSet, load: Load) -> Choice {
    let open = base - &topology.isolated;
    let open = if open.is_empty() { base.clone() } else { open };
    if devices.is_empty() {
        return Choice { cpus: open, reason: "all usable CPUs, as no device is named".to_owned() };
    }
    let domain = nearest(topology.cache_domains(), devices, &open).unwrap_or_else(|| open.clone());
    if domain.len() >= load.least() {
        return Choice { cpus: domain, reason: "nearest cache domain".to_owned() };
    }
    let why = format!(
        "the nearest cache domain has {} for {} queues and {} processes",
        plural(domain.len(), "CPU"),
        load.queues,
        load.workers
    );
    for (name, around) in wider(topology, &domain) {
        let cpus = &around & &open;
        if cpus.len() >= load.least() {
            return Choice { cpus, reason: format!("{name}: {why}") };
        }
    }
    Choice { cpus: open, reason: format!("all usable CPUs: {why}") }
}

/// The domain near to most of the devices.
fn nearest(domains: Vec<CpuSet>, devices: &[Device], open: &CpuSet) -> Option<CpuSet> {
    let near = |domain: &CpuSet| {
        devices.iter().flat_map(Device::leaves).filter(|device| !device.local_cpus.is_disjoint(domain)).count()
    };
    let domains = domains.into_iter().map(|domain| &domain & open).filter(|domain| !domain.is_empty());
    // `max_by_key` takes the last of equals: from the back, that is the lowest.
    domains.collect::<Vec<_>>().into_iter().rev().max_by_key(near)
}

/// The node and the package around a domain.
fn wider(topology: &Topology, domain: &CpuSet) -> Vec<(String, CpuSet)> {
    let node = topology.nodes.iter().find(|(_, cpus)| !cpus.is_disjoint(domain));
    let package = topology.cpus.iter().find(|cpu| domain.contains(cpu.number)).map(|cpu| cpu.package);
    let package = package.map(|package| {
        let cpus = topology.cpus.iter().filter(|cpu| cpu.package == package).map(|cpu| cpu.number).collect();
        (format!("package {package}"), cpus)
    });
    node.map(|(node, cpus)| (format!("node {node}"), cpus.clone())).into_iter().chain(package).collect()
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The policy for a load: [`Policy::Auto`] needs several queues.
pub(crate) fn policy(asked: Policy, load: Load) -> Policy {
    if asked == Policy::Auto && load.separate < 2 { Policy::Same } else { asked }
}

/// The interrupts' part and the processes' part of a set.
pub(crate) fn divide(topology: &Topology, cpus: &CpuSet, policy: Policy, load: Load) -> (CpuSet, CpuSet) {
    match policy {
        Policy::Siblings => divide_siblings(topology, cpus),
        Policy::Auto => divide_by_load(topology, cpus, load),
        Policy::Same | Policy::Spread => (cpus.clone(), cpus.clone()),
    }
}

/// A part for interrupts and a part for processes as the numbers of queues and workers are to each other, in whole cores,
/// so that threads of a core do the same kind of work. Few CPUs, or one kind of work, are not divided (as the modes
/// `mq` and `sq_split` of Seastar's perftune do it).
fn divide_by_load(topology: &Topology, cpus: &CpuSet, load: Load) -> (CpuSet, CpuSet) {
    let cores = topology.cores_of(cpus);
    if cpus.len() <= FEW_CPUS || cores.len() < 2 || load.workers == 0 {
        return (cpus.clone(), cpus.clone());
    }
    let share = (cpus.len() * load.separate).div_ceil(load.separate + load.workers);
    let wanted = share.min(load.separate).min(cpus.len() / 2).max(1);
    let mut interrupts = CpuSet::new();
    for core in &cores[..cores.len() - 1] {
        if interrupts.len() >= wanted {
            break;
        }
        interrupts = &interrupts | core;
    }
    let processes = cpus - &interrupts;
    (interrupts, processes)
}

fn divide_siblings(topology: &Topology, cpus: &CpuSet) -> (CpuSet, CpuSet) {
    let cores = &topology.whole_cores(cpus) & &topology.online;
    let interrupts = topology.first_threads(&cores);
    let processes = &cores - &interrupts;
    // No SMT here: the conflict list says so.
    if processes.is_empty() { (cpus.clone(), cpus.clone()) } else { (interrupts, processes) }
}

/// The next CPU in turn.
pub(crate) fn nth(cpus: &CpuSet, position: &mut usize) -> CpuSet {
    let count = cpus.len().max(1);
    let cpu = cpus.iter().nth(*position % count);
    *position += 1;
    cpu.into_iter().collect()
}

/// Spread and auto: queue N on the Nth CPU, so that a queue's receive and send sides meet; set-up vectors may go anywhere in the set.
pub(crate) fn for_irq(policy: Policy, cpus: &CpuSet, queue: Option<Queue>, position: &mut usize) -> CpuSet {
    if !matches!(policy, Policy::Spread | Policy::Auto) {
        return cpus.clone();
    }
    match queue {
        Some(Queue { kind: QueueKind::Control, .. }) => cpus.clone(),
        Some(Queue { index: Some(index), .. }) => nth(cpus, &mut (index as usize)),
        _ => nth(cpus, position),
    }
}

/// Returns true if RPS sends packets of a receive queue to CPUs outside of a set.
pub(crate) fn is_stray(queue: &SteeringQueue, cpus: &CpuSet) -> bool {
    queue.receives && queue.cpus.as_ref().is_some_and(|set| !set.is_subset(cpus))
}

/// RPS where there are fewer receive queues than CPUs to work on packets (with [`Policy::Auto`] those of the processes); XPS where there is more than one send queue,
/// each with its share of the CPUs.
pub(crate) fn for_queues<'a>(
    queues: &'a [SteeringQueue],
    policy: Policy,
    (interrupts, processes): (&CpuSet, &CpuSet),
) -> Vec<(&'a SteeringQueue, CpuSet)> {
    let all = interrupts | processes;
    let working = if policy == Policy::Auto { processes } else { &all };
    let receiving = queues.iter().filter(|queue| queue.receives).count();
    let sending = queues.iter().filter(|queue| !queue.receives && queue.cpus.is_some()).count();
    let share = |index: u32| {
        let count = all.len().max(1);
        let own = all.iter().enumerate().filter(|(at, _)| at % sending.max(1) == index as usize).map(|(_, cpu)| cpu);
        let own: CpuSet = own.collect();
        if own.is_empty() { all.iter().nth(index as usize % count).into_iter().collect() } else { own }
    };
    let target = |queue: &'a SteeringQueue| {
        queue.cpus.as_ref()?;
        if queue.receives {
            if receiving < working.len() {
                return Some((queue, working.clone()));
            }
            // Set before by another hand: it would take packets away from the CPUs of the plan.
            is_stray(queue, &all).then(|| (queue, CpuSet::new()))
        } else {
            (sending > 1).then(|| (queue, share(queue.index)))
        }
    };
    queues.iter().filter_map(target).collect()
}
