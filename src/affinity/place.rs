//! Which CPUs: the base a plan may use, the nearest cache domain, and the share of each queue.

use super::cgroup;
use super::cpuset::CpuSet;
use super::device::Device;
use super::error::Result;
use super::host::Host;
use super::plan::Policy;
use super::process::Process;
use super::queue::{Queue, QueueKind};
use super::steering::SteeringQueue;
use super::topology::Topology;

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

/// The last-level cache domain that most of the devices are near to; the lowest of equals. Isolated CPUs are left out, for
/// whoever isolated them chose their load.
pub(crate) fn nearest_domain(topology: &Topology, devices: &[Device], base: &CpuSet) -> CpuSet {
    let open = base - &topology.isolated;
    let open = if open.is_empty() { base.clone() } else { open };
    let domains =
        topology.cache_domains().into_iter().map(|domain| &domain & &open).filter(|domain| !domain.is_empty());
    let near = |domain: &CpuSet| {
        devices.iter().flat_map(Device::leaves).filter(|device| !device.local_cpus.is_disjoint(domain)).count()
    };
    // `max_by_key` takes the last of equals: from the back, that is the lowest.
    domains.collect::<Vec<_>>().into_iter().rev().max_by_key(near).unwrap_or(open)
}

/// The interrupts' part and the processes' part of a set.
pub(crate) fn divide(topology: &Topology, cpus: &CpuSet, policy: Policy) -> (CpuSet, CpuSet) {
    if policy != Policy::Siblings {
        return (cpus.clone(), cpus.clone());
    }
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

/// Spread: queue N on the Nth CPU, so that a queue's receive and send sides meet; set-up vectors may go anywhere in the set.
pub(crate) fn for_irq(policy: Policy, cpus: &CpuSet, queue: Option<Queue>, position: &mut usize) -> CpuSet {
    if policy != Policy::Spread {
        return cpus.clone();
    }
    match queue {
        Some(Queue { kind: QueueKind::Control, .. }) => cpus.clone(),
        Some(Queue { index: Some(index), .. }) => nth(cpus, &mut (index as usize)),
        _ => nth(cpus, position),
    }
}

/// RPS where there are fewer receive queues than CPUs to work on packets; XPS where there is more than one send queue,
/// each with its share of the CPUs.
pub(crate) fn for_queues<'a>(
    queues: &'a [SteeringQueue],
    interrupts: &CpuSet,
    processes: &CpuSet,
) -> Vec<(&'a SteeringQueue, CpuSet)> {
    let all = interrupts | processes;
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
            (receiving < all.len()).then(|| (queue, all.clone()))
        } else {
            (sending > 1).then(|| (queue, share(queue.index)))
        }
    };
    queues.iter().filter_map(target).collect()
}
