//! The life of a server thread that runs Python.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::server::ThreadScope;

/// Attaches each thread once for its whole life, so that a call only takes the interpreter's lock.
pub(super) fn thread_scope() -> ThreadScope {
    Arc::new(|body: &mut (dyn FnMut() + Send)| {
        Python::attach(|py| {
            if let Err(error) = take_over_hooks(py) {
                error.write_unraisable(py, None);
            }
            py.detach(body);
        });
    })
}

/// Sets the hooks of `threading.settrace` and `threading.setprofile`, as `threading.Thread` does for its threads.
/// Coverage, debuggers and profilers see the handlers by them.
fn take_over_hooks(py: Python<'_>) -> PyResult<()> {
    let (threading, sys) = (py.import("threading")?, py.import("sys")?);
    // `threading.gettrace` exists from CPython 3.10 on.
    for (hook, set) in [("_trace_hook", "settrace"), ("_profile_hook", "setprofile")] {
        if let Some(hook) = threading.getattr_opt(hook)?.filter(|hook| !hook.is_none()) {
            sys.call_method1(set, (hook,))?;
        }
    }
    Ok(())
}
