//! `CpuSet` for Python.

use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::super::number;
use super::raise;
use crate::affinity::{CpuSet, Error, MAX_CPUS};
use crate::python::html_of;

/// A set of CPU numbers of any size, compared as a set.
///
/// `CpuSet("0-3,8")` reads a list with the kernel's grammar (strides as in `0-31:2/8`; `all` and `N` need
/// `count`), `CpuSet([0, 1])` takes numbers, `CpuSet()` is empty, `CpuSet.from_mask("ff,00000001")` reads a
/// mask. The equivalents of C's `CPU_ZERO`, `CPU_SET`, `CPU_CLR`, `CPU_ISSET` and `CPU_COUNT` are
/// `CpuSet()`, `|`, `-`, `in` and `len`. Sets are immutable and hashable; `<=` means subset. `ValueError`
/// says what was expected, what was found, and at which byte.
///
/// >>> from sipmi.affinity import CpuSet
/// >>> cpus = CpuSet("0-3,8")
/// >>> cpus.mask, cpus.list, 8 in cpus, len(cpus)
/// ('10f', '0-3,8', True, 5)
/// >>> cpus - "0-1" == CpuSet([2, 3, 8])
/// True
#[pyclass(frozen, name = "CpuSet", module = "sipmi._core")]
#[derive(Clone)]
pub(crate) struct PyCpuSet(pub CpuSet);

/// A `CpuSet`, the text of a list, or an iterable of numbers.
pub(super) fn read(value: &Bound<'_, PyAny>) -> PyResult<CpuSet> {
    read_within(value, None)
}

fn read_within(value: &Bound<'_, PyAny>, count: Option<usize>) -> PyResult<CpuSet> {
    if let Ok(set) = value.cast::<PyCpuSet>() {
        return Ok(set.get().0.clone());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return CpuSet::parse_list(&text.to_string_lossy(), count).map_err(|error| raise(Error::from(error)));
    }
    let wrong = || {
        let kind = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "expected a CpuSet, a list such as \"0-3,8\", or an iterable of CPU numbers, found {kind}; \
             a mask is CpuSet.from_mask(\"ff\"), one CPU is [3]"
        ))
    };
    let mut set = CpuSet::new();
    for cpu in value.try_iter().map_err(|_| wrong())? {
        let cpu = cpu?;
        let number: usize = cpu.extract().map_err(|_| match cpu.extract::<i64>() {
            Ok(negative) => PyValueError::new_err(format!("expected CPU numbers from 0, found {negative}")),
            Err(_) => wrong(),
        })?;
        if number >= count.unwrap_or(MAX_CPUS).min(MAX_CPUS) {
            let limit = count.unwrap_or(MAX_CPUS).min(MAX_CPUS);
            return Err(PyValueError::new_err(format!("expected CPU numbers below {limit}, found {number}")));
        }
        set.insert(number);
    }
    Ok(set)
}

/// A number of possible CPUs, or None for the largest.
fn read_count(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    number::limit("count", value, 0..=MAX_CPUS)
}

#[pymethods]
impl PyCpuSet {
    #[new]
    #[pyo3(signature = (cpus = None, *, count = None))]
    fn new(
        cpus: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = read_count)] count: Option<usize>,
    ) -> PyResult<Self> {
        cpus.map_or_else(|| Ok(CpuSet::new()), |cpus| read_within(cpus, count)).map(Self)
    }

    /// Read a hexadecimal mask: groups of up to 8 digits between commas, the last one lowest, no `0x`
    /// (`bitmap_parse`).
    ///
    /// With `count`, CPUs from that number on are a `ValueError`. `taskset 3` means `from_mask("3")`, CPUs 0
    /// and 1.
    #[staticmethod]
    #[pyo3(signature = (mask, *, count = None))]
    fn from_mask(mask: &str, #[pyo3(from_py_with = read_count)] count: Option<usize>) -> PyResult<Self> {
        CpuSet::parse_mask(mask, count).map(Self).map_err(|error| raise(Error::from(error)))
    }

    /// The mask, as short as it can be: `10f`; with comma groups from 33 CPUs on; `0` for the empty set.
    #[getter]
    fn mask(&self) -> String {
        self.0.to_mask()
    }

    /// The list: `0-3,8`; empty for the empty set.
    #[getter]
    fn list(&self) -> String {
        self.0.to_list()
    }

    /// The mask as a kernel with `count` possible CPUs prints it in `smp_affinity`.
    fn padded_mask(&self, count: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(self.0.to_padded_mask(number::count("count", count, 0..=MAX_CPUS)?))
    }

    /// Return True if no CPU is in both.
    fn isdisjoint(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.0.is_disjoint(&read(other)?))
    }

    /// Return True if every CPU is in the other, too.
    fn issubset(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.0.is_subset(&read(other)?))
    }

    fn __and__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(&self.0 & &read(other)?))
    }

    fn __or__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(&self.0 | &read(other)?))
    }

    fn __sub__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(&self.0 - &read(other)?))
    }

    fn __xor__(&self, other: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(&self.0 ^ &read(other)?))
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let Ok(other) = other.cast::<PyCpuSet>() else { return Ok(py.NotImplemented()) };
        let other = &other.get().0;
        let answer = match op {
            CompareOp::Eq => self.0 == *other,
            CompareOp::Ne => self.0 != *other,
            CompareOp::Le => self.0.is_subset(other),
            CompareOp::Ge => other.is_subset(&self.0),
            CompareOp::Lt => self.0.is_subset(other) && self.0 != *other,
            CompareOp::Gt => other.is_subset(&self.0) && self.0 != *other,
        };
        Ok(answer.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __bool__(&self) -> bool {
        !self.0.is_empty()
    }

    fn __contains__(&self, cpu: &Bound<'_, PyAny>) -> bool {
        cpu.extract::<usize>().is_ok_and(|cpu| self.0.contains(cpu))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let cpus: Vec<usize> = self.0.iter().collect();
        Ok(cpus.into_pyobject(py)?.try_iter()?.into_any())
    }

    fn __str__(&self) -> String {
        self.0.to_list()
    }

    fn __repr__(&self) -> String {
        format!("CpuSet('{}')", self.0.to_list())
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        html_of(slf)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, (String,)) {
        (py.get_type::<Self>().into_any(), (self.0.to_list(),))
    }
}
