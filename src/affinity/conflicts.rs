//! Conflicts that would defeat a plan, found before anything is written.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::cgroup;
use super::cpuset::CpuSet;
use super::device::Device;
use super::error::Result;
use super::irq::Managed;
use super::irqbalance::Irqbalance;
use super::place::{self, Load};
use super::plan::{Change, Plan};
use super::process;
use super::request::{Policy, Request};
use super::steering;
use super::topology::Topology;

/// Vectors of one x86 CPU that devices can have: 256 less exceptions and the kernel's own.
const VECTORS_PER_CPU: usize = 200;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_NICE: u32 = 23;

/// How much a conflict matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The plan takes care of it.
    Handled,
    /// The plan may not hold, or not help, in part.
    Warns,
    /// Writing would fail: `apply` refuses unless forced.
    Blocks,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `cpus`, `irqbalance`, `tuned`, `steering`, `read-only`, `managed`, `vectors`, `cpuset`, `capability`, `offline`, `isolated`, `siblings`, `device`.
    pub what: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// In a sentence.
    pub detail: String,
}

impl Conflict {
    fn new(what: &'static str, severity: Severity, detail: impl Into<String>) -> Self {
        Conflict { what, severity, detail: detail.into() }
    }

    fn severity_name(&self) -> &'static str {
        match self.severity {
            Severity::Handled => "handled",
            Severity::Warns => "warns",
            Severity::Blocks => "blocks",
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({"what": self.what, "severity": self.severity_name(), "detail": self.detail})
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.what, self.severity_name(), self.detail)
    }
}

pub(crate) fn find(
    plan: &Plan,
    request: &Request,
    topology: &Topology,
    asked: &CpuSet,
    load: Load,
    balance: Result<Irqbalance>,
) -> Result<Vec<Conflict>> {
    use Severity::{Blocks, Handled, Warns};
    let mut found = Vec::new();
    let offline = asked - &topology.online;
    if plan.irq_cpus.is_empty() && plan.process_cpus.is_empty() {
        found.push(Conflict::new(
            "offline",
            Blocks,
            format!("none of CPUs {asked} is online (online: {})", topology.online),
        ));
    } else if !offline.is_empty() {
        found.push(Conflict::new("offline", Warns, format!("CPUs {offline} are offline and left out")));
    }
    let isolated = &(&plan.irq_cpus | &plan.process_cpus) & &topology.isolated;
    if !isolated.is_empty() {
        found.push(Conflict::new("isolated", Warns, format!(
            "CPUs {isolated} are isolated: pins hold there, but no load is balanced among them; give each thread one CPU"
        )));
    }
    if plan.policy == Policy::Siblings && plan.irq_cpus == plan.process_cpus {
        found.push(Conflict::new(
            "siblings",
            Warns,
            "these cores have one thread each: interrupts and processes share them",
        ));
    }
    found.extend(sibling_conflict(plan, request));
    found.extend(load_conflict(plan, load));
    steering_conflicts(plan, request, topology, &mut found)?;
    irq_conflicts(plan, &mut found);
    cpuset_conflicts(plan, &mut found)?;
    match balance {
        Ok(balance) => irqbalance_conflicts(plan, request, &balance, &mut found),
        Err(error) => {
            found.push(Conflict::new("irqbalance", Warns, format!("its configuration cannot be read: {error}")));
        }
    }
    if let Ok(tuned) = process::by_name(&plan.host.root, "tuned") {
        let profile = plan.host.root.text_if_any("/etc/tuned/active_profile")?.unwrap_or_default();
        let pid = tuned.first().map_or(0, |process| process.pid);
        found.push(Conflict::new("tuned", Warns, format!(
            "tuned runs (pid {pid}, profile {profile:?}) and may set affinities of its own when its profile is applied"
        )));
    }
    capability_conflicts(plan, &mut found);
    if plan.items.iter().any(|item| matches!(&item.change, Change::BanLive { .. })) {
        found.push(Conflict::new(
            "irqbalance",
            Handled,
            "the running daemon is told to leave these interrupts alone before they are moved",
        ));
    }
    Ok(found)
}

/// CPUs that the policy adds to those that were asked for.
fn sibling_conflict(plan: &Plan, request: &Request) -> Option<Conflict> {
    let asked = request.cpus.as_ref().filter(|_| plan.policy == Policy::Siblings)?;
    let added = &(&plan.irq_cpus | &plan.process_cpus) - asked;
    let detail = || format!("CPUs {added} were not asked for: they are the siblings of those that were");
    (!added.is_empty()).then(|| Conflict::new("siblings", Severity::Warns, detail()))
}

/// RPS that was set before and is not part of the plan, and RPS that the kernel would not do (`rps_cpus` leaves out the CPUs
/// of `isolcpus=` since Linux 5.7).
fn steering_conflicts(plan: &Plan, request: &Request, topology: &Topology, found: &mut Vec<Conflict>) -> Result<()> {
    let all = &plan.irq_cpus | &plan.process_cpus;
    for device in plan.devices.iter().flat_map(Device::leaves).filter(|device| device.kind == "net") {
        if request.steering {
            break;
        }
        let queues = match steering::queues(&plan.host.root, &device.name) {
            Ok(queues) => queues,
            Err(error) if error.is_missing() => continue,
            Err(error) => return Err(error),
        };
        for queue in queues.iter().filter(|queue| place::is_stray(queue, &all)) {
            let cpus = queue.cpus.clone().unwrap_or_default();
            let detail = format!(
                "{} {} has rps_cpus {cpus}: its packets leave the CPUs of this plan",
                device.name, queue.name
            );
            found.push(Conflict::new("steering", Severity::Warns, detail));
        }
    }
    let rps =
        plan.items.iter().filter(|item| item.kind() == "rps").fold(CpuSet::new(), |all, item| &all | &item.target);
    let isolated = &rps & &topology.isolated;
    if !isolated.is_empty() {
        let detail = format!("CPUs {isolated} are isolated: the kernel gives them no packets by RPS");
        found.push(Conflict::new("steering", Severity::Warns, detail));
    }
    Ok(())
}

/// Queues that share a CPU, and processes that do.
fn load_conflict(plan: &Plan, load: Load) -> Option<Conflict> {
    let short = |count: usize, what: &str, cpus: &CpuSet| {
        (!cpus.is_empty() && count > cpus.len()).then(|| format!("{count} {what} share CPUs {cpus}"))
    };
    let queues = short(load.queues, "queues", &plan.irq_cpus);
    let workers = short(load.workers, "processes", &plan.process_cpus);
    let shared: Vec<String> = queues.into_iter().chain(workers).collect();
    (!shared.is_empty()).then(|| Conflict::new("cpus", Severity::Warns, shared.join(", ")))
}

fn irq_conflicts(plan: &Plan, found: &mut Vec<Conflict>) {
    use Severity::{Blocks, Handled, Warns};
    let root = &plan.host.root;
    for device in plan.devices.iter().filter(|device| device.irqs.is_empty()) {
        found.push(Conflict::new("device", Warns, format!("{} has no interrupts of its own", device.name)));
    }
    if !plan.irqs().is_empty()
        && (root.is_read_only("/proc/irq") || root.is_read_only("/proc/irq/default_smp_affinity"))
    {
        found.push(Conflict::new("read-only", Blocks, "/proc/irq is mounted read-only (a container, or ProtectKernelTunables): no interrupt can be moved from here"));
    }
    let count = |wanted: Managed| plan.items.iter().filter(|item| item.managed == wanted).count();
    match (count(Managed::Yes), count(Managed::Presumed)) {
        (0, 0) => {}
        (0, presumed) => found.push(Conflict::new("managed", Handled, format!(
            "{presumed} interrupts are presumed to be placed by the kernel itself; they are tried once and not counted as failures"
        ))),
        (known, _) => found.push(Conflict::new("managed", Handled, format!(
            "{known} interrupts are placed by the kernel itself, one for each CPU; they are left alone"
        ))),
    }
    vector_conflicts(plan, found);
}

fn vector_conflicts(plan: &Plan, found: &mut Vec<Conflict>) {
    let Ok(irqs) = plan.host.irqs() else { return };
    if !irqs.iter().any(|irq| irq.chip.contains("APIC") || irq.chip.contains("PCI-MSI")) {
        return;
    }
    let moved = plan.irqs();
    let mut load: BTreeMap<usize, usize> = BTreeMap::new();
    for irq in irqs.iter().filter(|irq| !moved.contains(&irq.number)) {
        for cpu in irq.effective.iter().flat_map(CpuSet::iter) {
            *load.entry(cpu).or_default() += 1;
        }
    }
    let there: usize = plan.irq_cpus.iter().map(|cpu| load.get(&cpu).copied().unwrap_or_default()).sum();
    let room = VECTORS_PER_CPU * plan.irq_cpus.len();
    if there + moved.len() > room {
        found.push(Conflict::new("vectors", Severity::Warns, format!(
            "CPUs {} have about {room} interrupt vectors, {there} are in use and {} more are planned: some will be refused (ENOSPC)",
            plan.irq_cpus, moved.len()
        )));
    }
}

fn cpuset_conflicts(plan: &Plan, found: &mut Vec<Conflict>) -> Result<()> {
    for item in &plan.items {
        let Change::Process(process) = &item.change else { continue };
        if process::flags(&plan.host.root, process.pid)
            .is_some_and(|flags| flags & super::emulate::PF_NO_SETAFFINITY != 0)
        {
            let detail = format!("{} ({}) is a kernel thread bound to its CPU", process.pid, process.name);
            found.push(Conflict::new("kernel thread", Severity::Blocks, detail));
        }
        let Some(allowed) = cgroup::effective(&plan.host.root, process.pid)? else { continue };
        let who = format!("the cpuset of {} ({})", process.pid, process.name);
        if allowed.is_disjoint(&item.target) {
            let detail = format!("{who} allows CPUs {allowed}, none of {}", item.target);
            found.push(Conflict::new("cpuset", Severity::Blocks, detail));
        } else if !item.target.is_subset(&allowed) {
            let detail = format!("{who} allows CPUs {allowed}: {} will be cut off", &item.target - &allowed);
            found.push(Conflict::new("cpuset", Severity::Warns, detail));
        }
    }
    Ok(())
}

fn irqbalance_conflicts(plan: &Plan, request: &Request, balance: &Irqbalance, found: &mut Vec<Conflict>) {
    let Some(pid) = balance.pid else { return };
    let movable = plan.irqs();
    if movable.is_empty() || movable.is_subset(&balance.banned_irqs) {
        return;
    }
    if !request.ban {
        let detail = format!("irqbalance runs (pid {pid}) and will move these interrupts again within 10 seconds");
        found.push(Conflict::new("irqbalance", Severity::Warns, detail));
    } else if balance.socket.is_none() {
        let detail = format!(
            "irqbalance runs (pid {pid}) without a socket: the ban in {} holds after its restart only",
            balance.file
        );
        found.push(Conflict::new("irqbalance", Severity::Warns, detail));
    }
}

/// Of this process, and so only on a live machine.
fn capability_conflicts(plan: &Plan, found: &mut Vec<Conflict>) {
    if !plan.host.root.is_live()
        || nix::unistd::geteuid().is_root()
            && [CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_NICE].iter().all(|capability| has(plan, *capability))
    {
        return;
    }
    if plan.items.iter().any(|item| matches!(item.change, Change::Steering { .. })) && !has(plan, CAP_NET_ADMIN) {
        let detail = "RPS and XPS can be set with CAP_NET_ADMIN only";
        found.push(Conflict::new("capability", Severity::Blocks, detail));
    }
    let is_root = nix::unistd::geteuid().is_root();
    let writes_files =
        plan.items.iter().any(|item| !matches!(item.change, Change::Process(_)) && item.managed != Managed::Yes);
    if writes_files && !is_root && !has(plan, CAP_DAC_OVERRIDE) {
        found.push(Conflict::new(
            "capability",
            Severity::Blocks,
            "interrupts and queues can be moved by root only (or with CAP_DAC_OVERRIDE)",
        ));
    }
    let own = nix::unistd::geteuid().as_raw();
    let of_others = plan.items.iter().any(|item| {
        use std::os::unix::fs::MetadataExt;
        let Change::Process(process) = &item.change else { return false };
        let folder = plan.host.root.real(&format!("/proc/{}", process.pid));
        std::fs::metadata(folder).is_ok_and(|meta| meta.uid() != own)
    });
    if of_others && !has(plan, CAP_SYS_NICE) {
        found.push(Conflict::new(
            "capability",
            Severity::Blocks,
            "processes of other users can be moved with CAP_SYS_NICE only",
        ));
    }
}

fn has(plan: &Plan, capability: u32) -> bool {
    let status = plan.host.root.text("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    mask.is_none_or(|mask| mask & (1 << capability) != 0)
}
