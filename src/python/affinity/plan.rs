//! Plans for Python: made, shown, applied, watched, undone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;

use super::super::{exit, number};
use super::parts::PyOutcome;
use super::{PyCpuSet, raise, to_python};
use crate::affinity::Host;
use crate::affinity::apply::{self, Applied};
use crate::affinity::persist::{self, Pin, Written};
use crate::affinity::plan::Plan;
use crate::python::html_of;

/// irqbalance looks every 10 seconds; a pin is believed after that.
const BEYOND_IRQBALANCE: f64 = 11.0;

/// A plan of changes, none of which is made yet. Prints as a table.
#[pyclass(frozen, name = "Plan", module = "sipmi._core")]
pub(crate) struct PyPlan {
    pub(super) plan: Plan,
}

#[pymethods]
impl PyPlan {
    /// Where interrupts go.
    #[getter]
    fn irq_cpus(&self) -> PyCpuSet {
        PyCpuSet(self.plan.irq_cpus.clone())
    }

    /// Where processes go.
    #[getter]
    fn process_cpus(&self) -> PyCpuSet {
        PyCpuSet(self.plan.process_cpus.clone())
    }

    /// `same`, `siblings` or `spread`.
    #[getter]
    fn policy(&self) -> &'static str {
        self.plan.policy.name()
    }

    /// The changes, in order: dicts of `kind`, `subject`, `label`, `now`, `target`, `note`.
    #[getter]
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.plan.items.iter().map(|item| to_python(py, &item.to_json())).collect()
    }

    /// The conflicts: dicts of `what`, `severity` (`handled`, `warns`, `blocks`), `detail`.
    #[getter]
    fn conflicts<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.plan.conflicts.iter().map(|conflict| to_python(py, &conflict.to_json())).collect()
    }

    /// The interrupts of its devices.
    #[getter]
    fn irqs(&self) -> Vec<u32> {
        self.plan.devices.iter().flat_map(|device| device.irqs.iter().copied()).collect()
    }

    /// All of it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.plan.to_json())
    }

    /// All of it as JSON text.
    fn to_json(&self) -> String {
        self.plan.to_json().to_string()
    }

    /// Do it: each change is journalled, written and read back. Returns an Applied, which undoes it when its
    /// `with` block ends.
    ///
    /// - `journal`: the file to write; by default a new one in `/var/lib/sipmi` (root) or
    ///   `$XDG_STATE_HOME/sipmi`
    /// - `settle`: seconds that interrupts may take to move
    /// - `watch`: seconds to watch that it holds; by default 11 where irqbalance runs, which looks every 10
    /// - `force`: go on although conflicts block it (`ValueError` otherwise, before anything is written)
    #[pyo3(signature = (*, journal = None, settle = 1.0, watch = None, force = false))]
    fn apply(
        &self,
        py: Python<'_>,
        journal: Option<PathBuf>,
        settle: f64,
        watch: Option<f64>,
        force: bool,
    ) -> PyResult<PyApplied> {
        let runs = || self.plan.host.irqbalance().is_ok_and(|balance| balance.pid.is_some());
        let default_watch = || {
            if self.plan.host.root.is_live() && !self.plan.irqs().is_empty() && runs() {
                BEYOND_IRQBALANCE
            } else {
                0.0
            }
        };
        let (settle, watch) =
            (number::duration("settle", settle)?, number::duration("watch", watch.unwrap_or_else(default_watch))?);
        let applied = exit::detach(py, || apply::apply(&self.plan, journal.as_deref(), force)).map_err(raise)?;
        let applied = PyApplied::new(applied);
        // From here on everything is in the journal: Ctrl-C while waiting leaves a plan that can be undone.
        applied.settle_for(py, settle, false)?;
        if !watch.is_zero() {
            applied.settle_for(py, watch, true)?;
        }
        Ok(applied)
    }

    /// The files that `Applied.persist` would write, by path.
    fn files_to_persist(&self, py: Python<'_>, name: &str) -> PyResult<BTreeMap<String, String>> {
        Ok(by_path(persist::files(&self.plan, name, &reapply_command(py, name)?).map_err(raise)?))
    }

    fn __str__(&self) -> String {
        self.plan.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Plan: {} items, {} conflicts>", self.plan.items.len(), self.plan.conflicts.len())
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        html_of(slf)
    }
}

/// The command that applies a lasting plan again.
fn reapply_command(py: Python<'_>, name: &str) -> PyResult<Vec<String>> {
    let python: String = py.import("sys")?.getattr("executable")?.extract()?;
    Ok([python.as_str(), "-m", "sipmi", "pin", "--reapply", name].map(str::to_owned).to_vec())
}

fn by_path(files: Vec<Written>) -> BTreeMap<String, String> {
    files.into_iter().map(|file| (file.path, file.content)).collect()
}

/// Tells systemd and udev of a running machine that their files have changed.
pub(super) fn announce(py: Python<'_>, host: &Host) -> PyResult<()> {
    if host.root.is_live() {
        py.import("sipmi.affinity._systemd")?.call_method0("reload")?;
    }
    Ok(())
}

/// A plan that has been applied; leaving the `with` block undoes it.
#[pyclass(frozen, name = "Applied", module = "sipmi._core")]
pub(crate) struct PyApplied {
    applied: Mutex<Applied>,
}

impl PyApplied {
    pub(super) fn new(applied: Applied) -> Self {
        PyApplied { applied: Mutex::new(applied) }
    }

    fn get(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle_for(&self, py: Python<'_>, time: Duration, watch: bool) -> PyResult<()> {
        let mut interrupted = None;
        let mut go_on = || {
            let asked: PyResult<()> = Python::attach(|py| {
                py.check_signals()?;
                Ok(())
            });
            interrupted = asked.err();
            interrupted.is_none()
        };
        exit::detach(py, || self.get().settle(time, watch, &mut go_on)).map_err(raise)?;
        interrupted.map_or(Ok(()), Err)
    }
}

#[pymethods]
impl PyApplied {
    /// A report for each item: dicts of `kind`, `subject`, `label`, `state`, `detail`, `outcomes`.
    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let reports: Vec<_> = self.get().reports.iter().map(apply::Report::to_json).collect();
        reports.iter().map(|report| to_python(py, report)).collect()
    }

    /// True if no item is refused. A pending interrupt is set, and moves when it fires the next time.
    #[getter]
    fn complete(&self) -> bool {
        self.get().is_complete()
    }

    /// The journal's path; `Host.undo` takes it back after a crash.
    #[getter]
    fn journal(&self) -> String {
        self.get().journal().display().to_string()
    }

    /// Look at all items again and bring the report up to date.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        exit::detach(py, || self.get().verify()).map_err(raise)
    }

    /// Verify again and again for some seconds.
    fn watch(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        self.settle_for(py, number::duration("seconds", seconds)?, true)
    }

    /// List the items that have moved since they were applied, as Outcomes.
    fn drift(&self, py: Python<'_>) -> PyResult<Vec<PyOutcome>> {
        let drifted = exit::detach(py, || self.get().drift()).map_err(raise)?;
        Ok(drifted.into_iter().map(PyOutcome).collect())
    }

    /// Keep the request of the plan under a name, so that it is applied again at boot, when a device appears and
    /// when a server starts: a systemd unit, a udev rule and a drop-in with `CPUAffinity=`. Returns the files that it
    /// wrote, by path; `Host.forget_pin` removes them. `ValueError` for a name of other letters than A-Z, digits, -
    /// and _.
    fn persist(&self, py: Python<'_>, name: &str) -> PyResult<BTreeMap<String, String>> {
        let pin = Pin::of(&self.get(), name, &reapply_command(py, name)?).map_err(raise)?;
        pin.write(&self.get().plan.host).map_err(raise)?;
        announce(py, &self.get().plan.host)?;
        Ok(by_path(pin.files))
    }

    /// Take it back: one Outcome a change, the last one first. Interrupts are found by identity, not by number.
    fn undo(&self, py: Python<'_>) -> PyResult<Vec<PyOutcome>> {
        let undone = exit::detach(py, || self.get().undo()).map_err(raise)?;
        Ok(undone.outcomes.into_iter().map(PyOutcome).collect())
    }

    /// All of it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let json = self.get().to_json();
        to_python(py, &json)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let journal = self.get().journal().to_path_buf();
        // Already undone within the block.
        if journal.exists() { self.undo(py).map(drop) } else { Ok(()) }
    }

    fn __str__(&self) -> String {
        let applied = self.get();
        let line = |report: &apply::Report| {
            let detail = report.detail();
            let dash = if detail.is_empty() { "" } else { ": " };
            format!(
                "{} {} {} {}{dash}{detail}",
                report.item.kind(),
                report.item.subject(),
                report.item.label,
                report.state().name()
            )
        };
        let mut lines: Vec<String> = applied.reports.iter().map(line).collect();
        lines.push(format!("journal: {}", applied.journal().display()));
        lines.join("\n")
    }
}
