//! The surroundings of interrupts and processes, for Python: irqbalance and the machine's topology.

use std::collections::{BTreeSet, HashMap};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::exit;
use super::parts::shown;
use super::{PyCpuSet, cpuset, raise, to_python};
use crate::affinity::Host;
use crate::affinity::irqbalance::Irqbalance;
use crate::affinity::topology::Topology;
use crate::python::html_of;

/// irqbalance's file and daemon as they were when they were read.
#[pyclass(frozen, name = "Irqbalance", module = "sipmi._core")]
pub(crate) struct PyIrqbalance {
    pub(super) balance: Irqbalance,
    pub(super) host: Host,
}

#[pymethods]
impl PyIrqbalance {
    /// The file of this distribution that is edited.
    #[getter]
    fn file(&self) -> String {
        self.balance.file.clone()
    }

    /// The daemon's pid, or None.
    #[getter]
    fn pid(&self) -> Option<u32> {
        self.balance.pid
    }

    /// The daemon's socket, or None.
    #[getter]
    fn socket(&self) -> Option<String> {
        self.balance.socket.clone()
    }

    /// `IRQBALANCE_BANNED_CPUS` (a mask) or `IRQBALANCE_BANNED_CPULIST` of the file.
    #[getter]
    fn banned_cpus(&self) -> PyCpuSet {
        PyCpuSet(self.balance.banned_cpus.clone())
    }

    /// The interrupts of `--banirq` in `IRQBALANCE_ARGS`.
    #[getter]
    fn banned_irqs(&self) -> Vec<u32> {
        self.balance.banned_irqs.iter().copied().collect()
    }

    /// Ban CPUs in the file, beside those that are; for the next start. Returns the bytes from before, or None
    /// if there was no file.
    fn ban_cpus<'py>(&self, py: Python<'py>, cpus: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let cpus = cpuset::read(cpus)?;
        let before = self.balance.ban_cpus(&self.host.root, &cpus).map_err(raise)?;
        Ok(before.map(|bytes| PyBytes::new(py, &bytes)))
    }

    /// Ban interrupts in the file, beside those that are; for the next start. Returns the bytes from before.
    fn ban_irqs<'py>(&self, py: Python<'py>, irqs: BTreeSet<u32>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let before = self.balance.ban_irqs(&self.host.root, &irqs).map_err(raise)?;
        Ok(before.map(|bytes| PyBytes::new(py, &bytes)))
    }

    /// Interrupts banned by the socket and CPUs banned, as the running daemon says. `LookupError` without a
    /// socket.
    fn live(&self, py: Python<'_>) -> PyResult<(Vec<u32>, PyCpuSet)> {
        let (irqs, cpus) = exit::detach(py, || self.balance.live(&self.host.root)).map_err(raise)?;
        Ok((irqs.into_iter().collect(), PyCpuSet(cpus)))
    }

    /// Make the running daemon leave exactly these interrupts alone; lost when it restarts.
    fn ban_irqs_live(&self, py: Python<'_>, irqs: BTreeSet<u32>) -> PyResult<()> {
        exit::detach(py, || self.balance.ban_irqs_live(&self.host.root, &irqs)).map_err(raise)
    }

    fn __repr__(&self) -> String {
        let state = self.balance.pid.map_or_else(|| "not running".to_owned(), |pid| format!("pid {pid}"));
        format!("<Irqbalance {}, {state}>", self.balance.file)
    }
}

/// The machine's shape.
#[pyclass(frozen, name = "Topology", module = "sipmi._core")]
pub(crate) struct PyTopology(pub Topology);

#[pymethods]
impl PyTopology {
    /// CPUs that run.
    #[getter]
    fn online(&self) -> PyCpuSet {
        PyCpuSet(self.0.online.clone())
    }

    /// CPUs that could ever be: masks are as wide.
    #[getter]
    fn possible(&self) -> PyCpuSet {
        PyCpuSet(self.0.possible.clone())
    }

    /// CPUs that are plugged in.
    #[getter]
    fn present(&self) -> PyCpuSet {
        PyCpuSet(self.0.present.clone())
    }

    /// `isolcpus=`: no load is balanced onto them.
    #[getter]
    fn isolated(&self) -> PyCpuSet {
        PyCpuSet(self.0.isolated.clone())
    }

    /// CPUs without a timer tick while one task runs.
    #[getter]
    fn nohz_full(&self) -> PyCpuSet {
        PyCpuSet(self.0.nohz_full.clone())
    }

    /// The CPUs in the cpuset of this process (v1 or v2), or None.
    #[getter]
    fn cpuset(&self) -> Option<PyCpuSet> {
        shown(self.0.cpuset.as_ref())
    }

    /// The CPUs of each NUMA node.
    #[getter]
    fn nodes(&self) -> HashMap<u32, PyCpuSet> {
        self.0.nodes.iter().map(|(node, cpus)| (*node, PyCpuSet(cpus.clone()))).collect()
    }

    /// The online CPUs that share a last-level cache, set by set.
    #[getter]
    fn cache_domains(&self) -> Vec<PyCpuSet> {
        self.0.cache_domains().into_iter().map(PyCpuSet).collect()
    }

    /// These CPUs with all their SMT siblings.
    fn whole_cores(&self, cpus: &Bound<'_, PyAny>) -> PyResult<PyCpuSet> {
        Ok(PyCpuSet(self.0.whole_cores(&cpuset::read(cpus)?)))
    }

    /// All of it, CPU sets as lists.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.to_json())
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Topology: CPUs {}>", self.0.online)
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        html_of(slf)
    }
}
