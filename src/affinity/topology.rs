//! The machine's shape: packages, NUMA nodes, last-level cache domains, cores and SMT siblings, and what is set apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

use super::cgroup;
use super::cpuset::CpuSet;
use super::error::Result;
use super::irq::cpus_of;
use super::root::Root;

const CPU: &str = "/sys/devices/system/cpu";

/// One online CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub number: usize,
    /// `physical_package_id`.
    pub package: i64,
    /// The NUMA node, if there is one.
    pub node: Option<u32>,
    /// `core_id`, unique within a package.
    pub core: i64,
    /// The CPUs of its core (`thread_siblings_list`), itself too.
    pub siblings: CpuSet,
    /// The online CPUs that share its last-level cache; those of its package where no cache is known.
    pub cache: CpuSet,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Topology {
    /// The online CPUs in rising order.
    pub cpus: Vec<Cpu>,
    /// `online`.
    pub online: CpuSet,
    /// `possible`: as wide as masks are.
    pub possible: CpuSet,
    /// `present`.
    pub present: CpuSet,
    /// `isolated` (`isolcpus=`): no load is balanced onto them.
    pub isolated: CpuSet,
    /// `nohz_full`: no timer tick while one task runs.
    pub nohz_full: CpuSet,
    /// NUMA nodes and their CPUs, offline ones too.
    pub nodes: BTreeMap<u32, CpuSet>,
    /// What the cpuset of this process (v1 or v2) leaves; none without one.
    pub cpuset: Option<CpuSet>,
}

impl Topology {
    /// Reads it. Parts that a kernel does not have are empty.
    pub fn read(root: &Root) -> Result<Self> {
        let (online, _) = cpus_of(root)?;
        let set = |name: &str| Ok::<_, super::Error>(root.cpu_list(&format!("{CPU}/{name}"))?.unwrap_or_default());
        let mut nodes = BTreeMap::new();
        for name in root.list("/sys/devices/system/node")? {
            let Some(node) = name.strip_prefix("node").and_then(|number| number.parse().ok()) else { continue };
            if let Some(cpus) = root.cpu_list(&format!("/sys/devices/system/node/{name}/cpulist"))? {
                nodes.insert(node, cpus);
            }
        }
        let mut topology = Topology {
            possible: set("possible")?,
            present: set("present")?,
            isolated: set("isolated")?,
            nohz_full: set("nohz_full")?,
            cpuset: cgroup::effective(root, if root.is_live() { std::process::id() } else { 1 })?,
            cpus: Vec::with_capacity(online.len()),
            nodes,
            online,
        };
        for number in topology.online.iter() {
            topology.cpus.push(read_cpu(root, number, &topology)?);
        }
        topology.complete_caches();
        Ok(topology)
    }

    /// Where no cache is known (some virtual machines), the package is the domain.
    fn complete_caches(&mut self) {
        let mut packages: BTreeMap<i64, CpuSet> = BTreeMap::new();
        for cpu in &self.cpus {
            packages.entry(cpu.package).or_default().insert(cpu.number);
        }
        for cpu in self.cpus.iter_mut().filter(|cpu| cpu.cache.is_empty()) {
            cpu.cache = packages.get(&cpu.package).cloned().unwrap_or_default();
        }
    }

    /// The last-level cache domains, each as the online CPUs that share one.
    pub fn cache_domains(&self) -> Vec<CpuSet> {
        let mut domains: Vec<CpuSet> = Vec::new();
        for cpu in &self.cpus {
            if !domains.contains(&cpu.cache) {
                domains.push(cpu.cache.clone());
            }
        }
        domains
    }

    /// The set with all SMT siblings of its CPUs.
    pub fn whole_cores(&self, cpus: &CpuSet) -> CpuSet {
        self.cpus.iter().filter(|cpu| cpus.contains(cpu.number)).fold(cpus.clone(), |all, cpu| &all | &cpu.siblings)
    }

    /// The first thread of each core in the set.
    pub fn first_threads(&self, cpus: &CpuSet) -> CpuSet {
        let first = |cpu: &&Cpu| (&cpu.siblings & cpus).lowest() == Some(cpu.number);
        self.cpus.iter().filter(|cpu| cpus.contains(cpu.number)).filter(first).map(|cpu| cpu.number).collect()
    }

    /// What a plan may use: online, and in the cpuset. Never the caller's own mask, which a plan may have narrowed before.
    pub fn usable(&self) -> CpuSet {
        self.cpuset.as_ref().map_or_else(|| self.online.clone(), |cpuset| cpuset & &self.online)
    }

    /// As JSON: sets as lists.
    pub fn to_json(&self) -> Value {
        let cpus = self.cpus.iter().map(|cpu| {
            json!({"cpu": cpu.number, "package": cpu.package, "node": cpu.node, "core": cpu.core,
                   "siblings": cpu.siblings.to_list(), "cache": cpu.cache.to_list()})
        });
        let nodes: serde_json::Map<String, Value> =
            self.nodes.iter().map(|(node, cpus)| (node.to_string(), cpus.to_list().into())).collect();
        json!({
            "online": self.online.to_list(), "possible": self.possible.to_list(), "present": self.present.to_list(),
            "isolated": self.isolated.to_list(), "nohz_full": self.nohz_full.to_list(),
            "cpuset": self.cpuset.as_ref().map(CpuSet::to_list), "nodes": nodes,
            "cache_domains": self.cache_domains().iter().map(CpuSet::to_list).collect::<Vec<_>>(),
            "cpus": cpus.collect::<Vec<_>>(),
        })
    }
}

fn read_cpu(root: &Root, number: usize, topology: &Topology) -> Result<Cpu> {
    let folder = format!("{CPU}/cpu{number}");
    let own = CpuSet::from_iter([number]);
    let list = |path: String| root.cpu_list(&path);
    let siblings = match list(format!("{folder}/topology/thread_siblings_list"))? {
        Some(cpus) => Some(cpus),
        None => list(format!("{folder}/topology/core_cpus_list"))?,
    };
    let mut level = 0;
    let mut cache = CpuSet::new();
    for index in root.list(&format!("{folder}/cache"))?.iter().filter(|name| name.starts_with("index")) {
        let here = root.number(&format!("{folder}/cache/{index}/level"))?.unwrap_or_default();
        if here > level
            && let Some(shared) = list(format!("{folder}/cache/{index}/shared_cpu_list"))?
        {
            (level, cache) = (here, &shared & &topology.online);
        }
    }
    // A private L2 is no domain to share.
    let cache = if level >= 3 { cache } else { CpuSet::new() };
    Ok(Cpu {
        number,
        package: root.number(&format!("{folder}/topology/physical_package_id"))?.unwrap_or_default(),
        node: topology.nodes.iter().find(|(_, cpus)| cpus.contains(number)).map(|(node, _)| *node),
        core: root.number(&format!("{folder}/topology/core_id"))?.unwrap_or(number as i64),
        siblings: siblings.filter(|cpus| cpus.contains(number)).unwrap_or(own),
        cache,
    })
}

impl fmt::Display for Topology {
    /// A tree: package, node, cache, core.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "machine: {} of {} CPUs online ({})",
            self.online.len(),
            self.possible.len().max(self.online.len()),
            self.online
        )?;
        for (name, cpus) in [("isolated", &self.isolated), ("nohz_full", &self.nohz_full)] {
            if !cpus.is_empty() {
                write!(f, ", {name} {cpus}")?;
            }
        }
        if let Some(cpuset) = &self.cpuset {
            write!(f, ", cpuset {cpuset}")?;
        }
        let packages: BTreeSet<i64> = self.cpus.iter().map(|cpu| cpu.package).collect();
        for package in packages {
            let inside: Vec<&Cpu> = self.cpus.iter().filter(|cpu| cpu.package == package).collect();
            write!(f, "\n  package {package}: {}", numbers(&inside))?;
            let nodes: BTreeSet<Option<u32>> = inside.iter().map(|cpu| cpu.node).collect();
            for node in nodes {
                let inside: Vec<&Cpu> = inside.iter().copied().filter(|cpu| cpu.node == node).collect();
                let shown = node.map_or_else(|| "none".to_owned(), |node| node.to_string());
                write!(f, "\n    node {shown}: {}", numbers(&inside))?;
                let caches: BTreeSet<Vec<usize>> = inside.iter().map(|cpu| cpu.cache.iter().collect()).collect();
                for cache in caches {
                    let cache: CpuSet = cache.into_iter().collect();
                    write!(f, "\n      cache domain: {cache}")?;
                    let cores: BTreeSet<Vec<usize>> = inside
                        .iter()
                        .filter(|cpu| cpu.cache == cache)
                        .map(|cpu| cpu.siblings.iter().collect())
                        .collect();
                    for core in cores {
                        let core: CpuSet = core.into_iter().collect();
                        write!(f, "\n        core: {core}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn numbers(cpus: &[&Cpu]) -> CpuSet {
    cpus.iter().map(|cpu| cpu.number).collect()
}
