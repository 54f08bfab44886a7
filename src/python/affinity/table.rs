//! `/proc/interrupts` for Python.

use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{PyCpuSet, raise};
use crate::affinity::{Host, InterruptTable, Queue, Row};
use crate::python::html_of;

/// All rows of `/proc/interrupts` at one moment.
///
/// `table[30]` is the row of IRQ 30, `table["NMI"]` one of the kernel's own counters; iterating gives all
/// rows.
///
/// >>> from sipmi.affinity import InterruptTable
/// >>> table = InterruptTable.parse(b"  CPU0 CPU2\n 30:  7 1  PCI-MSI 65537-edge  p4p1-rx-0\n")
/// >>> row = table[30]
/// >>> str(table.cpus), row.counts, row.chip, row.trigger, row.actions[0]
/// ('0,2', [7, 1], 'PCI-MSI', 'edge', 'p4p1-rx-0')
#[pyclass(frozen, name = "InterruptTable", module = "sipmi._core")]
pub(crate) struct PyInterruptTable {
    table: Arc<InterruptTable>,
    host: Option<Host>,
}

/// One row: an interrupt, or one of the kernel's own counters, whose `irq` is None.
#[pyclass(frozen, name = "InterruptRow", module = "sipmi._core")]
pub(crate) struct PyInterruptRow {
    table: Arc<InterruptTable>,
    index: usize,
}

impl PyInterruptTable {
    pub(super) fn of_host(host: &Host) -> PyResult<Self> {
        Ok(Self { table: Arc::new(host.interrupts().map_err(raise)?), host: Some(host.clone()) })
    }

    fn select(&self, keep: impl Fn(Row<'_>) -> bool) -> Vec<PyInterruptRow> {
        let rows = self.table.rows().enumerate().filter(|(_, row)| keep(*row));
        rows.map(|(index, _)| self.at(index)).collect()
    }

    fn at(&self, index: usize) -> PyInterruptRow {
        PyInterruptRow { table: Arc::clone(&self.table), index }
    }
}

#[pymethods]
impl PyInterruptTable {
    /// Read the bytes of a table. `ValueError` if the first line is not the list of online CPUs.
    #[staticmethod]
    fn parse(text: &[u8]) -> PyResult<Self> {
        let table = InterruptTable::parse(text).map_err(raise)?;
        Ok(Self { table: Arc::new(table), host: None })
    }

    /// The online CPUs, which the counts of each row belong to in this order.
    #[getter]
    fn cpus(&self) -> PyCpuSet {
        PyCpuSet(self.table.cpus())
    }

    /// All rows as printed.
    #[getter]
    fn rows(&self) -> Vec<PyInterruptRow> {
        (0..self.table.len()).map(|index| self.at(index)).collect()
    }

    /// The rows of an interface (bond, VLAN and bridge: of what they are made of) or a disk. `LookupError` if
    /// there is no such device.
    fn for_device(&self, name: &str) -> PyResult<Vec<PyInterruptRow>> {
        let device = match &self.host {
            Some(host) => {
                crate::affinity::device::Device::find(&host.root, name, Some(&self.table)).map_err(raise)?.irqs
            }
            None => self.table.rows().filter(|row| names(*row, name)).filter_map(|row| row.irq()).collect(),
        };
        Ok(self.select(|row| row.irq().is_some_and(|irq| device.contains(&irq))))
    }

    /// The rows that all given conditions hold for: the device they belong to, a driver in its chain, a part of
    /// an action's name, the NUMA node, the number of the queue.
    #[pyo3(signature = (*, device = None, driver = None, action = None, node = None, queue = None))]
    fn select_rows(
        &self,
        device: Option<&str>,
        driver: Option<&str>,
        action: Option<&str>,
        node: Option<u32>,
        queue: Option<u32>,
    ) -> PyResult<Vec<PyInterruptRow>> {
        let of_device = match device {
            Some(name) => Some(self.for_device(name)?.iter().filter_map(PyInterruptRow::irq).collect::<Vec<_>>()),
            None => None,
        };
        let of_driver = driver.map(|driver| self.driver_irqs(driver)).transpose()?;
        let of_node = node.map(|node| self.node_irqs(node)).transpose()?;
        let among = |set: &Option<Vec<u32>>, row: Row<'_>| {
            set.as_ref().is_none_or(|set| row.irq().is_some_and(|irq| set.contains(&irq)))
        };
        Ok(self.select(|row| {
            among(&of_device, row)
                && among(&of_driver, row)
                && among(&of_node, row)
                && action.is_none_or(|wanted| row.actions().iter().any(|action| action.contains(wanted)))
                && queue.is_none_or(|wanted| {
                    row.actions()
                        .iter()
                        .any(|action| Queue::of(action).is_some_and(|queue| queue.index == Some(wanted)))
                })
        }))
    }

    /// Interrupts per second since an earlier table, one dict a row: `label`, `irq`, `name`, `rate`, `per_cpu`.
    ///
    /// Rows are matched by number and name, so a number that changed hands counts from 0; 32-bit counters may
    /// have wrapped once.
    fn rates<'py>(&self, py: Python<'py>, earlier: &Self, seconds: f64) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rate = |rate: crate::affinity::interrupts::Rate| {
            let dict = PyDict::new(py);
            dict.set_item("label", &rate.label)?;
            dict.set_item("irq", rate.irq)?;
            dict.set_item("name", &rate.actions)?;
            dict.set_item("rate", rate.total())?;
            let per_cpu = PyDict::new(py);
            for (cpu, value) in rate.per_cpu {
                per_cpu.set_item(cpu, value)?;
            }
            dict.set_item("per_cpu", per_cpu)?;
            Ok(dict)
        };
        self.table.rates(&earlier.table, seconds).into_iter().map(rate).collect()
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<PyInterruptRow> {
        let label = match (key.extract::<u32>(), key.extract::<String>()) {
            (Ok(irq), _) => irq.to_string(),
            (_, Ok(label)) => label,
            _ => return Err(PyTypeError::new_err("expected an IRQ number or a label such as \"NMI\"")),
        };
        let found = self.table.rows().position(|row| row.label() == label);
        found
            .map(|index| self.at(index))
            .ok_or_else(|| PyKeyError::new_err(format!("no row {label} in /proc/interrupts")))
    }

    fn __len__(&self) -> usize {
        self.table.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.rows().into_pyobject(py)?.try_iter()?.into_any())
    }

    fn __repr__(&self) -> String {
        format!("<InterruptTable: {} rows, CPUs {}>", self.table.len(), self.table.cpus())
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        html_of(slf)
    }
}

impl PyInterruptTable {
    fn driver_irqs(&self, driver: &str) -> PyResult<Vec<u32>> {
        let Some(host) = &self.host else { return Ok(Vec::new()) };
        let mut irqs = Vec::new();
        for name in host.devices().map_err(raise)? {
            // A device may go while the others are read.
            let Ok(device) = crate::affinity::device::Device::find(&host.root, &name, Some(&self.table)) else {
                continue;
            };
            if device.chain.iter().any(|level| level.driver == driver) {
                irqs.extend(device.irqs);
            }
        }
        Ok(irqs)
    }

    fn node_irqs(&self, node: u32) -> PyResult<Vec<u32>> {
        let Some(host) = &self.host else { return Ok(Vec::new()) };
        let irqs = host.irqs().map_err(raise)?;
        Ok(irqs.into_iter().filter(|irq| irq.node == Some(node)).map(|irq| irq.number).collect())
    }
}

fn names(row: Row<'_>, device: &str) -> bool {
    row.actions().iter().any(|action| crate::affinity::queue::names_device(action, device))
}

impl PyInterruptRow {
    fn row(&self) -> Option<Row<'_>> {
        self.table.row(self.index)
    }

    fn text(&self, part: impl Fn(Row<'_>) -> &str) -> String {
        self.row().map(|row| part(row).to_owned()).unwrap_or_default()
    }
}

#[pymethods]
impl PyInterruptRow {
    /// The text before the colon: `30`, `NMI`, `IPI0`.
    #[getter]
    fn label(&self) -> String {
        self.row().map(|row| row.label().to_owned()).unwrap_or_default()
    }

    /// The IRQ number, or None.
    #[getter]
    fn irq(&self) -> Option<u32> {
        self.row().and_then(|row| row.irq())
    }

    /// Interrupts since boot, one number for each of `table.cpus` (fewer for ERR, MIS and FIQ).
    #[getter]
    fn counts(&self) -> Vec<u64> {
        self.row().map(|row| row.counts().to_vec()).unwrap_or_default()
    }

    /// The sum of the counts.
    #[getter]
    fn total(&self) -> u64 {
        self.row()
            .map(|row| row.counts().iter().fold(0, |sum: u64, count| sum.saturating_add(*count)))
            .unwrap_or_default()
    }

    /// The interrupt controller (`irq_chip`): `PCI-MSI`, `IO-APIC`, `GICv3`; empty for counters.
    #[getter]
    fn chip(&self) -> String {
        self.text(|row| row.tail().chip)
    }

    /// The number inside the controller, or None.
    #[getter]
    fn hwirq(&self) -> Option<u64> {
        self.row().and_then(|row| row.tail().hwirq)
    }

    /// How it fires or is handled, as printed: `edge`, `fasteoi`, `Level`.
    #[getter]
    fn trigger(&self) -> String {
        self.text(|row| row.tail().trigger)
    }

    /// The drivers that requested it (`irqaction`): names as drivers give them; several on a shared line.
    #[getter]
    fn actions(&self) -> Vec<String> {
        self.row().map(|row| row.actions().into_iter().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// The text behind chip and trigger as printed; for counters what they count.
    #[getter]
    fn description(&self) -> String {
        self.text(|row| row.tail().actions)
    }

    /// Kind (`rx`, `tx`, `rxtx`, `control`) and number of the queue that the first action names, or None.
    #[getter]
    fn queue(&self) -> Option<(&'static str, Option<u32>)> {
        let actions = self.actions();
        actions.first().and_then(|action| Queue::of(action)).map(|queue| (queue.kind.name(), queue.index))
    }

    fn __repr__(&self) -> String {
        format!("<InterruptRow {}: {} {}>", self.label(), self.total(), self.description())
    }
}
