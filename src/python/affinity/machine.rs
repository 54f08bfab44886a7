//! A machine for Python: the front door, and the counters it can be measured by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::exit;
use super::parts::{PyDevice, PyIrq, PyOutcome, PyProcess};
use super::plan::{PyApplied, PyPlan, announce};
use super::surroundings::{PyIrqbalance, PyTopology};
use super::table::PyInterruptTable;
use super::{PyCpuSet, cpuset, raise, to_python};
use crate::affinity::counters::Sample;
use crate::affinity::faults::{Fault, Faults};
use crate::affinity::process::{self, Process};
use crate::affinity::request::Request;
use crate::affinity::{Host, apply, check, drift, irq, journal, persist, steering, undo};

/// A machine, live or captured.
#[pyclass(frozen, subclass, name = "Host", module = "sipmi._core")]
pub(crate) struct PyHost {
    pub(super) host: Host,
}

fn paths(paths: Vec<PathBuf>) -> Vec<String> {
    paths.into_iter().map(|path| path.display().to_string()).collect()
}

#[pymethods]
impl PyHost {
    #[new]
    #[pyo3(signature = (root = None, *, faults = None, kill_after = None))]
    fn new(
        root: Option<PathBuf>,
        faults: Option<HashMap<String, String>>,
        kill_after: Option<u32>,
    ) -> PyResult<Self> {
        let rule = |(path, fault): (String, String)| Ok((path, fault.parse::<Fault>()?));
        let rules: Result<Vec<(String, Fault)>, _> = faults.into_iter().flatten().map(rule).collect();
        let rules = rules.map_err(raise)?;
        let parsed = match (rules.is_empty(), kill_after) {
            (true, None) => None,
            (_, None) => Some(Faults::new(rules)),
            (_, Some(writes)) => Some(Faults::new(rules).kill_after(writes)),
        };
        let host = Host::at(root.unwrap_or_else(|| PathBuf::from("/")), parsed).map_err(raise)?;
        Ok(Self { host })
    }

    /// The folder.
    #[getter]
    fn root(&self) -> String {
        self.host.root.dir().display().to_string()
    }

    /// True for a running machine, False for a captured tree.
    #[getter]
    fn live(&self) -> bool {
        self.host.root.is_live()
    }

    /// `/proc/interrupts` now, as an `InterruptTable`. `OSError` if it cannot be read.
    fn interrupts(&self) -> PyResult<PyInterruptTable> {
        PyInterruptTable::of_host(&self.host)
    }

    /// One interrupt. `LookupError` if there is none of that number.
    fn irq(&self, number: u32) -> PyResult<PyIrq> {
        let irq = self.host.irq(number).map_err(raise)?;
        Ok(PyIrq { irq, host: self.host.clone() })
    }

    /// All interrupts that have a folder in `/proc/irq`, also those that nothing asked for.
    fn irqs(&self) -> PyResult<Vec<PyIrq>> {
        let irqs = self.host.irqs().map_err(raise)?;
        Ok(irqs.into_iter().map(|irq| PyIrq { irq, host: self.host.clone() }).collect())
    }

    /// `default_smp_affinity`: where a new interrupt starts, or None.
    #[getter]
    fn default_affinity(&self) -> PyResult<Option<PyCpuSet>> {
        Ok(irq::default_affinity(&self.host.root).map_err(raise)?.map(PyCpuSet))
    }

    /// A network or block device (`eth0`, `sda`, `/dev/sda1`) or a PCI address. `LookupError` if there is none.
    fn device(&self, name: &str) -> PyResult<PyDevice> {
        let device = self.host.device(name).map_err(raise)?;
        Ok(PyDevice { device, host: self.host.clone() })
    }

    /// The names of all interfaces and disks.
    fn devices(&self) -> PyResult<Vec<String>> {
        self.host.devices().map_err(raise)
    }

    /// The names of the devices of each interrupt: interfaces, disks, else the PCI function that has it.
    fn devices_by_irq(&self, py: Python<'_>) -> PyResult<BTreeMap<u32, Vec<String>>> {
        exit::detach(py, || self.host.devices_by_irq()).map_err(raise)
    }

    /// List what is wrong with this machine's interrupts without any plan: dicts of `what`, `detail` and `remedy`.
    ///
    /// Found are: all queues of a card on one CPU, interrupts on another node than their card, isolated CPUs that
    /// take interrupts, RPS that only costs, plans that do not hold, an irqbalance that fights a plan, lost packets.
    fn check<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let findings = exit::detach(py, || check::check(&self.host)).map_err(raise)?;
        to_python(py, &findings.iter().map(check::Finding::to_json).collect())
    }

    /// One process. `ProcessLookupError` if it does not run.
    fn process(&self, pid: u32) -> PyResult<PyProcess> {
        Ok(PyProcess { process: self.host.process(pid).map_err(raise)?, host: self.host.clone() })
    }

    /// All processes of a server; see `sipmi.affinity.Host.processes`.
    #[pyo3(signature = (name = None, *, pidfile = None, cgroup = None, roles = None, threads = None))]
    fn processes(
        &self,
        name: Option<&str>,
        pidfile: Option<PathBuf>,
        cgroup: Option<&str>,
        roles: Option<HashMap<u32, String>>,
        threads: Option<String>,
    ) -> PyResult<Vec<PyProcess>> {
        let root = &self.host.root;
        let mut found = match (name, pidfile, cgroup, &roles) {
            (Some(name), None, None, _) => process::by_name(root, name),
            (None, Some(path), None, _) => process::by_pidfile(root, &path.display().to_string()),
            (None, None, Some(group), _) => process::by_cgroup(root, group),
            (None, None, None, Some(roles)) => {
                let pids: BTreeSet<u32> = roles.keys().copied().collect();
                Ok(pids.into_iter().filter_map(|pid| Process::find(root, pid).ok()).collect())
            }
            _ => return Err(PyValueError::new_err("expected one of a name, pidfile=, cgroup= or mi=")),
        }
        .map_err(raise)?;
        for process in &mut found {
            process.only.clone_from(&threads);
            process.role = roles.as_ref().and_then(|roles| roles.get(&process.pid)).cloned();
        }
        Ok(found.into_iter().map(|process| PyProcess { process, host: self.host.clone() }).collect())
    }

    /// Packages, NUMA nodes, cache domains, cores and SMT siblings; prints as a tree.
    fn topology(&self) -> PyResult<PyTopology> {
        self.host.topology().map(PyTopology).map_err(raise)
    }

    /// irqbalance's file and daemon as they are now.
    #[getter]
    fn irqbalance(&self) -> PyResult<PyIrqbalance> {
        Ok(PyIrqbalance { balance: self.host.irqbalance().map_err(raise)?, host: self.host.clone() })
    }

    #[pyo3(signature = (*, devices, processes, cpus = None, policy = "same", steering = true, reuse_port = false, irqbalance = true))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
    fn _plan(
        &self,
        py: Python<'_>,
        devices: Vec<String>,
        processes: Vec<PyRef<'_, PyProcess>>,
        cpus: Option<&Bound<'_, PyAny>>,
        policy: &str,
        steering: bool,
        reuse_port: bool,
        irqbalance: bool,
    ) -> PyResult<PyPlan> {
        let request = Request {
            devices,
            processes: processes.iter().map(|process| process.process.clone()).collect(),
            cpus: cpus.map(cpuset::read).transpose()?,
            irq_cpus: None,
            policy: policy.parse().map_err(raise)?,
            steering,
            reuse_port,
            ban: irqbalance,
        };
        let plan = exit::detach(py, || self.host.plan(&request)).map_err(raise)?;
        Ok(PyPlan { plan })
    }

    /// The kernel's counters now, with the context switches of these pids.
    #[pyo3(signature = (pids = Vec::new()))]
    fn sample(&self, pids: Vec<u32>) -> PyResult<PySample> {
        let sample = Sample::take(&self.host.root, &pids).map_err(raise)?;
        Ok(PySample { sample, at: Instant::now() })
    }

    /// The journals of plans that have not been undone, oldest first.
    #[pyo3(signature = (folder = None))]
    fn journals(&self, folder: Option<PathBuf>) -> PyResult<Vec<String>> {
        let folder = folder.unwrap_or_else(|| journal::default_folder(&self.host.root));
        Ok(paths(journal::pending(&folder).map_err(raise)?))
    }

    /// Take a journal back: one Outcome a change, the last one first. The journal is removed when nothing is
    /// left.
    fn undo(&self, py: Python<'_>, journal: PathBuf) -> PyResult<Vec<PyOutcome>> {
        let undone = exit::detach(py, || undo::undo(&self.host, &journal)).map_err(raise)?;
        Ok(undone.outcomes.into_iter().map(PyOutcome).collect())
    }

    /// List the items that differ from the plan of a journal, with their present CPUs. The plan is made again, so a
    /// restarted server and a new queue count too. `ValueError` for a journal that keeps no request (version 1).
    fn drift(&self, py: Python<'_>, journal: PathBuf) -> PyResult<Vec<PyOutcome>> {
        let look = || drift::drift(&self.host, &journal::load(&self.host.root, &journal)?);
        Ok(exit::detach(py, look).map_err(raise)?.into_iter().map(PyOutcome).collect())
    }

    /// Apply the plan of a journal again to what has drifted, and record the changes in the same journal. After a
    /// restart of the machine everything is applied anew, in a new journal that replaces the old one.
    fn apply_again(&self, py: Python<'_>, journal: PathBuf) -> PyResult<PyApplied> {
        let applied = exit::detach(py, || apply::apply_again(&self.host, &journal)).map_err(raise)?;
        Ok(PyApplied::new(applied))
    }

    /// Remove a journal without taking anything back.
    fn forget(&self, journal: PathBuf) -> PyResult<()> {
        journal::forget(&self.host.root, &journal).map_err(raise)
    }

    /// The lasting plans, as dicts of `name`, `request`, `journal` and `files`.
    fn pins<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pins = persist::list(&self.host).map_err(raise)?;
        to_python(py, &pins.iter().map(persist::Pin::to_json).collect())
    }

    /// Apply a lasting plan again. `LookupError` if there is none of that name.
    fn reapply(&self, py: Python<'_>, name: &str) -> PyResult<PyApplied> {
        Ok(PyApplied::new(exit::detach(py, || persist::reapply(&self.host, name)).map_err(raise)?))
    }

    /// Remove a lasting plan with the files that it wrote, and return the paths of those that were changed since and
    /// stay. The plan stays applied until its journal is undone. `LookupError` if there is none of that name.
    fn forget_pin(&self, py: Python<'_>, name: &str) -> PyResult<Vec<String>> {
        let stay = persist::forget(&self.host, name).map_err(raise)?;
        announce(py, &self.host)?;
        Ok(stay)
    }

    /// The content of a journal as a dict: `request`, `time` (seconds since 1970), `changes` (texts), `rebooted`,
    /// and `torn`, the number of lines that a crash cut off, whose changes were never made.
    fn journal<'py>(&self, py: Python<'py>, journal: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        let record = journal::load(&self.host.root, &journal).map_err(raise)?;
        to_python(py, &record.to_json())
    }

    /// Set `rps_sock_flow_entries`, the size of the table of flows that RFS shares.
    fn set_rfs_entries(&self, entries: u64) -> PyResult<()> {
        steering::set_flow_entries(&self.host.root, entries).map_err(raise)
    }

    /// `rps_sock_flow_entries`; 0 is off.
    #[getter]
    fn rfs_entries(&self) -> PyResult<Option<u64>> {
        steering::flow_entries(&self.host.root).map_err(raise)
    }

    fn __repr__(&self) -> String {
        format!("Host({:?})", self.host.root.dir().display().to_string())
    }
}

/// The kernel's counters at one moment.
#[pyclass(frozen, name = "CounterSample", module = "sipmi._core")]
pub(crate) struct PySample {
    sample: Sample,
    at: Instant,
}

#[pymethods]
impl PySample {
    /// Return the changes since an earlier sample, as a dict; of the rows of these IRQs, or of all that changed.
    #[pyo3(signature = (earlier, *, irqs = None))]
    fn since<'py>(&self, py: Python<'py>, earlier: &Self, irqs: Option<Vec<u32>>) -> PyResult<Bound<'py, PyAny>> {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        to_python(py, &self.sample.since(&earlier.sample, seconds, irqs.as_deref()).to_json())
    }
}
