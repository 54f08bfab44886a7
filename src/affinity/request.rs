//! The request that a plan is made for. A journal keeps it, so that the same plan can be made again later.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::cpuset::CpuSet;
use super::error::{Error, Result};
use super::process::{FoundBy, Process};
use super::root::Root;

/// How CPUs are shared between interrupts and processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// Interrupts and processes on the same set.
    #[default]
    Same,
    /// Interrupts on the first thread of each core, processes on its SMT siblings.
    Siblings,
    /// Each queue on one CPU of the set in turn.
    Spread,
    /// Each queue on a CPU of its own, and the processes on the others if there are enough CPUs. A plan with one queue
    /// or none is made as [`Policy::Same`].
    Auto,
}

impl Policy {
    /// `same`, `siblings`, `spread`, `auto`.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Same => "same",
            Policy::Siblings => "siblings",
            Policy::Spread => "spread",
            Policy::Auto => "auto",
        }
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Policy::Same, Policy::Siblings, Policy::Spread, Policy::Auto];
        known
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| Error::Usage(format!("expected policy auto, same, siblings or spread, found {text:?}")))
    }
}

/// The request that a plan is made for.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)]
pub struct Request {
    /// Network and block devices, by name.
    pub devices: Vec<String>,
    /// The processes to move.
    pub processes: Vec<Process>,
    /// The CPUs; none chooses the cache domain nearest to the devices.
    pub cpus: Option<CpuSet>,
    /// The part of them for interrupts; none lets the policy divide them.
    pub irq_cpus: Option<CpuSet>,
    /// How they are shared.
    pub policy: Policy,
    /// True if RPS and XPS are set, too.
    pub steering: bool,
    /// True if each worker has a socket of its own (`reuse_port`), and so may have a CPU of its own.
    pub reuse_port: bool,
    /// True if a running irqbalance is told to ban the interrupts.
    pub ban: bool,
}

impl Request {
    /// Returns true if neither a device nor a process is named.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.processes.is_empty()
    }

    /// As JSON. Processes are kept by how they were found, since a restarted server has other pids.
    pub fn to_json(&self) -> Value {
        let mut found_by: Vec<Value> = Vec::new();
        for process in &self.processes {
            let how = process.to_json();
            if !found_by.contains(&how) {
                found_by.push(how);
            }
        }
        json!({
            "devices": self.devices, "processes": found_by, "cpus": self.cpus.as_ref().map(CpuSet::to_list),
            "irq_cpus": self.irq_cpus.as_ref().map(CpuSet::to_list),
            "policy": self.policy.name(), "steering": self.steering, "reuse_port": self.reuse_port, "ban": self.ban,
        })
    }

    /// From JSON, with the processes that are found now; none if it says something else. The second part names the
    /// processes of which none runs.
    pub fn from_json(root: &Root, value: &Value) -> Option<(Self, Vec<String>)> {
        let flag = |name: &str| value.get(name)?.as_bool();
        let cpus = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(list) => CpuSet::parse_list(list.as_str()?, None).ok().map(Some),
        };
        let devices = value.get("devices")?.as_array()?.iter();
        let mut request = Request {
            devices: devices.map(|name| Some(name.as_str()?.to_owned())).collect::<Option<_>>()?,
            processes: Vec::new(),
            cpus: cpus("cpus")?,
            irq_cpus: cpus("irq_cpus")?,
            policy: value.get("policy")?.as_str()?.parse().ok()?,
            steering: flag("steering")?,
            reuse_port: flag("reuse_port")?,
            ban: flag("ban")?,
        };
        let mut missing = Vec::new();
        for kept in value.get("processes")?.as_array()? {
            let found = Process::from_json(root, kept)?;
            if found.is_empty() {
                missing.push(FoundBy::shown(kept));
            }
            request.processes.extend(found);
        }
        request.processes.sort_by_key(|process| process.pid);
        request.processes.dedup_by_key(|process| process.pid);
        Some((request, missing))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.devices.clone();
        let mut processes: Vec<String> = Vec::new();
        for process in &self.processes {
            let shown = FoundBy::shown(&process.to_json());
            if !processes.contains(&shown) {
                processes.push(shown);
            }
        }
        parts.extend(processes);
        write!(f, "{}", parts.join(", "))?;
        self.cpus.as_ref().map_or(Ok(()), |cpus| write!(f, " on CPUs {cpus}"))
    }
}
