//! Interrupts, devices, processes and outcomes for Python.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::exit;
use super::{PyCpuSet, cpuset, raise, to_python};
use crate::affinity::device::{Device, Level};
use crate::affinity::process::Process;
use crate::affinity::{CpuSet, Host, Irq, Managed, Outcome, Reason, steering};

/// Kernel name, subsystem, driver and path of a level of sysfs.
type PyLevel = (String, String, String, String);
/// Name, CPUs and flows of a queue.
type PyQueue = (String, Option<PyCpuSet>, Option<u64>);

/// One interrupt (`struct irq_desc`) as it was when it was read.
#[pyclass(frozen, name = "Irq", module = "sipmi._core")]
pub(crate) struct PyIrq {
    pub(super) irq: Irq,
    pub(super) host: Host,
}

/// None stays None.
pub(super) fn shown(cpus: Option<&CpuSet>) -> Option<PyCpuSet> {
    cpus.cloned().map(PyCpuSet)
}

#[pymethods]
impl PyIrq {
    /// Its number; it can change when a driver is bound again.
    #[getter]
    fn number(&self) -> u32 {
        self.irq.number
    }

    /// `smp_affinity`: where it may go.
    #[getter]
    fn affinity(&self) -> Option<PyCpuSet> {
        shown(self.irq.affinity.as_ref())
    }

    /// `effective_affinity`: where it does go; one CPU of the set on x86. None where the kernel keeps none.
    #[getter]
    fn effective(&self) -> Option<PyCpuSet> {
        shown(self.irq.effective.as_ref())
    }

    /// `affinity_hint`: where its driver would have it, or None.
    #[getter]
    fn hint(&self) -> Option<PyCpuSet> {
        shown(self.irq.hint.as_ref())
    }

    /// Its NUMA node, or None.
    #[getter]
    fn node(&self) -> Option<u32> {
        self.irq.node
    }

    /// True if the kernel places the interrupt itself (`IRQF_AFFINITY_MANAGED`): it cannot be moved, which is no
    /// failure.
    #[getter]
    fn managed(&self) -> bool {
        self.irq.managed != Managed::No
    }

    /// False where only its name says so (Linux before 6.12 tells when written to).
    #[getter]
    fn managed_known(&self) -> bool {
        self.irq.managed != Managed::Presumed
    }

    /// True if the hardware steers the interrupt through interrupt remapping: it then moves at once.
    #[getter]
    fn remapped(&self) -> bool {
        self.irq.remapped()
    }

    /// The interrupt controller.
    #[getter]
    fn chip(&self) -> String {
        self.irq.chip.clone()
    }

    /// The number inside the controller, or None.
    #[getter]
    fn hwirq(&self) -> Option<u64> {
        self.irq.hwirq
    }

    /// `edge` or `level`, or as the table prints it.
    #[getter]
    fn trigger(&self) -> String {
        self.irq.trigger.clone()
    }

    /// The names of the drivers that requested the interrupt.
    #[getter]
    fn actions(&self) -> Vec<String> {
        self.irq.actions.clone()
    }

    /// Kind and number of the queue that its first action names, or None.
    #[getter]
    fn queue(&self) -> Option<(&'static str, Option<u32>)> {
        self.irq.queue().map(|queue| (queue.kind.name(), queue.index))
    }

    /// Counts of interrupts and unhandled ones, and milliseconds after boot of the last unhandled one; or None.
    #[getter]
    fn spurious(&self) -> Option<(u64, u64, u64)> {
        self.irq.spurious.map(|seen| (seen.count, seen.unhandled, seen.last_unhandled_ms))
    }

    /// Send it to CPUs: clamps to those online, writes `smp_affinity_list` once, reads back.
    ///
    /// The Outcome's `state` is `applied`, `pending` (it moves at the next interrupt), `managed` or `refused`
    /// with a `reason`. `ValueError` for no CPU at all and for CPUs that this machine cannot have.
    fn set_affinity(&self, cpus: &Bound<'_, PyAny>) -> PyResult<PyOutcome> {
        let cpus = cpuset::read(cpus)?;
        self.host.set_irq_affinity(self.irq.number, &cpus).map(PyOutcome).map_err(raise)
    }

    fn __repr__(&self) -> String {
        let affinity = self.irq.affinity.as_ref().map(CpuSet::to_list).unwrap_or_default();
        format!("<Irq {} {} on {affinity}>", self.irq.number, self.irq.actions.join(", "))
    }
}

/// The result of one change: `state` is `applied`, `pending`, `managed` or `refused`.
#[pyclass(frozen, name = "Outcome", module = "sipmi._core")]
pub(crate) struct PyOutcome(pub Outcome);

#[pymethods]
impl PyOutcome {
    /// The subject of the change.
    #[getter]
    fn subject(&self) -> String {
        self.0.subject.clone()
    }

    /// `applied`, `pending`, `managed` or `refused`.
    #[getter]
    fn state(&self) -> &'static str {
        self.0.state.name()
    }

    /// A short word for why it is not applied, or None: `managed`, `not movable`, `read-only`, `offline`, `no
    /// vectors`, `denied`, `vanished`, `cpuset`, `kernel thread`, ...
    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.0.reason.map(Reason::name)
    }

    /// The reason in a sentence, with path and error name.
    #[getter]
    fn detail(&self) -> String {
        self.0.detail.clone()
    }

    /// The CPUs asked for.
    #[getter]
    fn asked(&self) -> PyCpuSet {
        PyCpuSet(self.0.asked.clone())
    }

    /// Those of them that are offline or outside the cpuset.
    #[getter]
    fn cut(&self) -> PyCpuSet {
        PyCpuSet(self.0.cut.clone())
    }

    /// The affinity before, or None.
    #[getter]
    fn before(&self) -> Option<PyCpuSet> {
        shown(self.0.before.as_ref())
    }

    /// The affinity now, or None.
    #[getter]
    fn now(&self) -> Option<PyCpuSet> {
        shown(self.0.now.as_ref())
    }

    /// Where the interrupt arrives now, or None.
    #[getter]
    fn effective(&self) -> Option<PyCpuSet> {
        shown(self.0.effective.as_ref())
    }

    /// All of it, CPU sets as lists.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.0.to_json())
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Outcome {}>", self.0)
    }
}

/// A network or block device as it was when it was read.
#[pyclass(frozen, name = "Device", module = "sipmi._core")]
pub(crate) struct PyDevice {
    pub(super) device: Device,
    pub(super) host: Host,
}

#[pymethods]
impl PyDevice {
    /// Its name.
    #[getter]
    fn name(&self) -> String {
        self.device.name.clone()
    }

    /// `net`, `block` or `pci`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.device.kind
    }

    /// The driver that does the work: `ahci` for an AHCI disk, not `sd`.
    #[getter]
    fn driver(&self) -> String {
        self.device.driver().to_owned()
    }

    /// From the device upwards, as `udevadm info -a` shows: kernel name, subsystem, driver, path.
    #[getter]
    fn chain(&self) -> Vec<PyLevel> {
        let level =
            |level: &Level| (level.kernel.clone(), level.subsystem.clone(), level.driver.clone(), level.path.clone());
        self.device.chain.iter().map(level).collect()
    }

    /// The PCI address, or None.
    #[getter]
    fn bus(&self) -> Option<String> {
        self.device.bus.clone()
    }

    /// Its NUMA node, or None if unknown.
    #[getter]
    fn node(&self) -> Option<u32> {
        self.device.node
    }

    /// The CPUs near it.
    #[getter]
    fn local_cpus(&self) -> PyCpuSet {
        PyCpuSet(self.device.local_cpus.clone())
    }

    /// The numbers of its interrupts.
    #[getter]
    fn irqs(&self) -> Vec<u32> {
        self.device.irqs.clone()
    }

    /// Where they were found: `msi_irqs`, `irq`, `table: bus address`, `table: name`, `lower devices`, `none`.
    #[getter]
    fn source(&self) -> &'static str {
        self.device.source.name()
    }

    /// The devices below a bond, VLAN, bridge or mapper.
    #[getter]
    fn lower(&self) -> Vec<PyDevice> {
        self.device.lower.iter().map(|lower| PyDevice { device: lower.clone(), host: self.host.clone() }).collect()
    }

    /// Name, CPUs (`rps_cpus` of `rx-N`, `xps_cpus` of `tx-N`; None where there is no setting) and
    /// `rps_flow_cnt` of each queue.
    fn queues(&self) -> PyResult<Vec<PyQueue>> {
        let queues = steering::queues(&self.host.root, &self.device.name).map_err(raise)?;
        Ok(queues.into_iter().map(|queue| (queue.name, queue.cpus.map(PyCpuSet), queue.flows)).collect())
    }

    /// Set RPS (`rx-N`) or XPS (`tx-N`) of a queue; no CPU turns it off. `ValueError` if there is no such
    /// queue.
    fn set_queue(&self, queue: &str, cpus: &Bound<'_, PyAny>) -> PyResult<PyOutcome> {
        let known = steering::queues(&self.host.root, &self.device.name).map_err(raise)?;
        if !known.iter().any(|known| known.name == queue) {
            let names: Vec<String> = known.into_iter().map(|queue| queue.name).collect();
            return Err(PyValueError::new_err(format!(
                "expected one of the queues {}, found {queue:?}",
                names.join(", ")
            )));
        }
        let cpus = cpuset::read(cpus)?;
        steering::set_cpus(&self.host.root, &self.device.name, queue, &cpus).map(PyOutcome).map_err(raise)
    }

    /// Set `rps_flow_cnt` of a receive queue: how many flows RFS follows there.
    fn set_rfs(&self, queue: &str, flows: u64) -> PyResult<()> {
        if queue.contains('/') {
            return Err(PyValueError::new_err(format!("expected a queue such as rx-0, found {queue:?}")));
        }
        steering::set_flows(&self.host.root, &self.device.name, queue, flows).map_err(raise)
    }

    fn __repr__(&self) -> String {
        format!("<Device {} ({}), {} interrupts>", self.device.name, self.device.driver(), self.device.irqs.len())
    }
}

/// A process, told apart from a later one of the same pid.
#[pyclass(frozen, name = "HostProcess", module = "sipmi._core")]
pub(crate) struct PyProcess {
    pub(super) process: Process,
    pub(super) host: Host,
}

#[pymethods]
impl PyProcess {
    /// Its pid.
    #[getter]
    fn pid(&self) -> u32 {
        self.process.pid
    }

    /// The kernel's name for it (`comm`).
    #[getter]
    fn name(&self) -> String {
        self.process.name.clone()
    }

    /// The role that its server reports, or None.
    #[getter]
    fn role(&self) -> Option<String> {
        self.process.role.clone()
    }

    /// Clock ticks after boot at which it started.
    #[getter]
    fn started(&self) -> u64 {
        self.process.started
    }

    /// True if the same process, not another with its pid, still runs.
    #[getter]
    fn alive(&self) -> bool {
        self.process.is_alive(&self.host.root)
    }

    /// Where its first thread may run: `Cpus_allowed`, `sched_getaffinity`, `taskset -p`.
    #[getter]
    fn affinity(&self) -> PyResult<PyCpuSet> {
        self.process.affinity(&self.host.root).map(PyCpuSet).map_err(raise)
    }

    /// The tids of its threads. `ProcessLookupError` if it has ended.
    fn threads(&self) -> PyResult<Vec<u32>> {
        self.process.threads(&self.host.root).map_err(raise)
    }

    /// Where one of its threads may run (`sched_getaffinity`).
    fn thread_affinity(&self, tid: u32) -> PyResult<PyCpuSet> {
        Ok(PyCpuSet(self.host.root.thread_affinity(self.process.pid, tid)?))
    }

    /// Let it run on these CPUs only: `sched_setaffinity` (in C with `CPU_ZERO` and `CPU_SET`), for every
    /// thread until no new one appears.
    ///
    /// One Outcome a thread; CPUs that are offline or outside the cpuset are cut and reported. `threads=False`
    /// moves the first thread only, as `taskset -p` does. `ProcessLookupError` if it has ended.
    #[pyo3(signature = (cpus, *, threads = true))]
    fn set_affinity(&self, py: Python<'_>, cpus: &Bound<'_, PyAny>, threads: bool) -> PyResult<Vec<PyOutcome>> {
        let cpus = cpuset::read(cpus)?;
        let outcomes =
            exit::detach(py, || self.process.set_affinity(&self.host.root, &cpus, threads)).map_err(raise)?;
        Ok(outcomes.into_iter().map(PyOutcome).collect())
    }

    fn __repr__(&self) -> String {
        let role = self.process.role.as_ref().map(|role| format!(", {role}")).unwrap_or_default();
        format!("<Process {} {}{role}>", self.process.pid, self.process.name)
    }
}
