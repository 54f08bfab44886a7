//! The machine's topology: packages, NUMA nodes, last-level cache domains, cores, SMT siblings and isolated CPUs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
    /// `physical_package_id`; 0 where the kernel does not know it (-1).
    pub package: i64,
    /// The NUMA node, if there is one.
    pub node: Option<u32>,
    /// `core_id`, unique within a package.
    pub core: i64,
    /// The CPUs of its core (`thread_siblings_list`), itself too.
    pub siblings: CpuSet,
    /// The online CPUs that share its last-level cache: the L3, or an L2 that several cores share. Those of its package
    /// where no such cache is known.
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
    /// The CPUs in the cpuset of this process (v1 or v2); `None` without a cpuset.
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
            let folder = format!("/sys/devices/system/node/{name}");
            if let Some(cpus) = list_or_map(root, &format!("{folder}/cpulist"), &format!("{folder}/cpumap"))? {
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
        let node_of = topology.node_of_each();
        let mut shared = Shared::default();
        for number in topology.online.iter() {
            let node = node_of.get(&number).copied();
            topology.cpus.push(read_cpu(root, number, &topology.online, node, &mut shared)?);
        }
        topology.complete_caches();
        Ok(topology)
    }

    fn node_of_each(&self) -> HashMap<usize, u32> {
        self.nodes.iter().flat_map(|(node, cpus)| cpus.iter().map(|cpu| (cpu, *node))).collect()
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
        let mut known = HashSet::new();
        self.cpus.iter().map(|cpu| &cpu.cache).filter(|cache| known.insert(*cache)).cloned().collect()
    }

    /// The set with all SMT siblings of its CPUs.
    pub fn whole_cores(&self, cpus: &CpuSet) -> CpuSet {
        self.cpus.iter().filter(|cpu| cpus.contains(cpu.number)).fold(cpus.clone(), |all, cpu| &all | &cpu.siblings)
    }

    /// The set's part of each core, the lowest first.
    pub fn cores_of(&self, cpus: &CpuSet) -> Vec<CpuSet> {
        let first = self.first_threads(cpus);
        let cores = self.cpus.iter().filter(|cpu| first.contains(cpu.number));
        cores.map(|cpu| &cpu.siblings & cpus).collect()
    }

    /// The first thread of each core in the set.
    pub fn first_threads(&self, cpus: &CpuSet) -> CpuSet {
        let first = |cpu: &&Cpu| (&cpu.siblings & cpus).lowest() == Some(cpu.number);
        self.cpus.iter().filter(|cpu| cpus.contains(cpu.number)).filter(first).map(|cpu| cpu.number).collect()
    }

    /// Returns the CPUs that a plan may use: online, and in the cpuset. The caller's own mask is ignored, because an
    /// earlier plan may have narrowed it.
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

/// A set of CPUs that the kernel shows as a list, as a mask, or as both.
fn list_or_map(root: &Root, list: &str, map: &str) -> Result<Option<CpuSet>> {
    match root.cpu_list(list)? {
        Some(cpus) => Ok(Some(cpus)),
        None => root.cpu_mask(map),
    }
}

/// The relations to other CPUs in one CPU's files, which the kernel prints identically for each CPU.
#[derive(Default)]
struct Shared {
    siblings: HashMap<usize, CpuSet>,
    cache: HashMap<usize, CpuSet>,
}

fn read_cpu(root: &Root, number: usize, online: &CpuSet, node: Option<u32>, shared: &mut Shared) -> Result<Cpu> {
    let folder = format!("{CPU}/cpu{number}");
    let siblings = match shared.siblings.remove(&number) {
        Some(known) => known,
        None => spread(&mut shared.siblings, number, read_siblings(root, &folder, number)?),
    };
    let cache = match shared.cache.remove(&number) {
        Some(known) => known,
        None => spread(&mut shared.cache, number, last_level_cache(root, &folder, &siblings, online)?),
    };
    let package = root.number(&format!("{folder}/topology/physical_package_id"))?.unwrap_or_default();
    let core = root.number(&format!("{folder}/topology/core_id"))?.unwrap_or(number as i64);
    Ok(Cpu { number, package: package.max(0), node, core, siblings, cache })
}

/// Keeps a set for the CPUs in it that come later.
fn spread(known: &mut HashMap<usize, CpuSet>, number: usize, set: CpuSet) -> CpuSet {
    known.extend(set.iter().filter(|other| *other > number).map(|other| (other, set.clone())));
    set
}

/// The CPUs of the same core, itself too.
fn read_siblings(root: &Root, folder: &str, number: usize) -> Result<CpuSet> {
    let topology = format!("{folder}/topology");
    let threads =
        list_or_map(root, &format!("{topology}/thread_siblings_list"), &format!("{topology}/thread_siblings"))?;
    let siblings = match threads {
        Some(cpus) => Some(cpus),
        None => list_or_map(root, &format!("{topology}/core_cpus_list"), &format!("{topology}/core_cpus"))?,
    };
    Ok(siblings.filter(|cpus| cpus.contains(number)).unwrap_or_else(|| CpuSet::from_iter([number])))
}

/// The online CPUs that share the cache of the highest level: an L3, or an L2 that reaches beyond one core, as on many
/// ARM machines. A private L2 is no domain to share.
fn last_level_cache(root: &Root, folder: &str, siblings: &CpuSet, online: &CpuSet) -> Result<CpuSet> {
    let (mut level, mut cache) = (0, CpuSet::new());
    for index in root.list(&format!("{folder}/cache"))?.iter().filter(|name| name.starts_with("index")) {
        let index = format!("{folder}/cache/{index}");
        let here = root.number(&format!("{index}/level"))?.unwrap_or_default();
        if here > level
            && let Some(shared) =
                list_or_map(root, &format!("{index}/shared_cpu_list"), &format!("{index}/shared_cpu_map"))?
        {
            (level, cache) = (here, shared);
        }
    }
    let is_domain = level >= 3 || (level == 2 && !cache.is_subset(siblings));
    Ok(if is_domain { &cache & online } else { CpuSet::new() })
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
