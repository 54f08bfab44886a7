//! `sipmi.affinity` for Python: the classes that wrap `crate::affinity`, and the exceptions for its errors.

// pyo3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod cpuset;
mod machine;
mod parts;
mod plan;
mod surroundings;
mod table;

use std::io;

use pyo3::exceptions::{PyLookupError, PyOSError, PyProcessLookupError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;

use crate::affinity::{Error, sched};

pub(super) use cpuset::PyCpuSet;

/// Adds the classes to `sipmi._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCpuSet>()?;
    module.add_class::<table::PyInterruptTable>()?;
    module.add_class::<table::PyInterruptRow>()?;
    module.add_class::<machine::PyHost>()?;
    module.add_class::<parts::PyIrq>()?;
    module.add_class::<parts::PyDevice>()?;
    module.add_class::<parts::PyProcess>()?;
    module.add_class::<surroundings::PyIrqbalance>()?;
    module.add_class::<surroundings::PyTopology>()?;
    module.add_class::<parts::PyOutcome>()?;
    module.add_class::<machine::PySample>()?;
    module.add_class::<plan::PyPlan>()?;
    module.add_class::<plan::PyApplied>()?;
    module.add_function(wrap_pyfunction!(set_thread_affinity, module)?)?;
    module.add_function(wrap_pyfunction!(thread_affinity, module)?)
}

/// Let the calling thread run on these CPUs only: `sched_setaffinity(0, ...)`, in C with a mask made by
/// `CPU_ZERO` and `CPU_SET`.
///
/// Threads and processes that it starts later inherit them. The kernel takes the part that is online and in
/// the cpuset; `OSError` if there is none, `ValueError` for no CPU at all.
///
/// >>> from sipmi.affinity import set_thread_affinity, thread_affinity
/// >>> before = thread_affinity()
/// >>> set_thread_affinity([next(iter(before))])
/// >>> len(thread_affinity())
/// 1
/// >>> set_thread_affinity(before)
#[pyfunction]
#[pyo3(signature = (cpus))]
fn set_thread_affinity(cpus: &Bound<'_, PyAny>) -> PyResult<()> {
    let cpus = cpuset::read(cpus)?.require_some().map_err(|error| raise(Error::from(error)))?;
    sched::set_current_thread(&cpus).map_err(|error| PyErr::from(named(&error, &cpus.to_list())))
}

/// The CPUs that the calling thread may run on: `sched_getaffinity(0, ...)`, for any number of CPUs.
#[pyfunction]
fn thread_affinity() -> PyResult<PyCpuSet> {
    Ok(PyCpuSet(sched::current_thread()?))
}

/// The CPUs of an option, tried out by a thread of their own: an error now and not at the first request.
pub(super) fn cpus_to_run_on(value: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let cpus = cpuset::read(value)?.require_some().map_err(|error| raise(Error::from(error)))?;
    let tried = std::thread::scope(|scope| scope.spawn(|| sched::set_current_thread(&cpus)).join());
    match tried {
        Ok(Ok(())) => Ok(cpus.iter().collect()),
        Ok(Err(error)) => Err(PyErr::from(named(&error, &cpus.to_list()))),
        Err(_) => Err(PyOSError::new_err("a thread could not be started")),
    }
}

fn named(error: &std::io::Error, cpus: &str) -> std::io::Error {
    let reason = match error.raw_os_error() {
        Some(libc::EINVAL) => "none of them is online and in the cpuset of this process",
        _ => "the kernel refused",
    };
    std::io::Error::new(error.kind(), format!("cannot move a thread to CPUs {cpus}: {reason} ({error})"))
}

/// Translates an error of the core into a Python exception.
fn raise(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::CpuSet(_) | Error::Content { .. } | Error::Usage(_) => PyValueError::new_err(text),
        Error::NotFound { kind: "process", .. } => PyProcessLookupError::new_err((libc::ESRCH, text)),
        Error::NotFound { .. } => PyLookupError::new_err(text),
        // With errno and path, Python makes the right subclass: PermissionError, FileNotFoundError ...
        Error::Io { path, action, source } => match source.raw_os_error() {
            None if source.kind() == io::ErrorKind::PermissionDenied => {
                PyOSError::new_err((libc::EACCES, format!("cannot {action}: {source}"), path))
            }
            Some(errno) => PyOSError::new_err((errno, format!("cannot {action}: {source}"), path)),
            None => PyOSError::new_err(text),
        },
    }
}

/// JSON as Python's own values.
fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().unwrap_or(f64::NAN).into_pyobject(py)?.into_any(),
        },
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(members) => {
            let dict = PyDict::new(py);
            for (name, member) in members {
                dict.set_item(name, to_python(py, member)?)?;
            }
            dict.into_any()
        }
    })
}
