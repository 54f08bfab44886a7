//! The hooks of a program that forks, for `os.register_at_fork`.

use std::cell::RefCell;

use pyo3::prelude::*;

use super::server::PyServer;
use super::{exit, logging};
use crate::server::Still;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(after_fork_in_child, module)?)
}

thread_local! {
    /// The servers that run, held still by the thread that forks.
    static STILL: RefCell<Vec<(Still<'static>, Py<PyServer>)>> = const { RefCell::new(Vec::new()) };
}

/// Wait until no thread holds a lock that would stay locked in a child.
#[pyfunction]
fn before_fork(py: Python<'_>, running: Vec<Py<PyServer>>) {
    for server in running {
        // No thread waits for the interpreter while it holds one of these locks.
        let still = server.get().server.hold_still();
        // SAFETY: the server is kept beside it, and dropped after it.
        let still: Still<'static> = unsafe { std::mem::transmute(still) };
        STILL.with_borrow_mut(|all| all.push((still, server.clone_ref(py))));
    }
}

/// The parent goes on.
#[pyfunction]
fn after_fork_in_parent() {
    drop(STILL.take());
}

/// In the child only the thread that forked is left, and no server runs.
#[pyfunction]
fn after_fork_in_child() {
    exit::forget_others();
    logging::forget();
    for (mut still, _server) in STILL.take() {
        still.disown();
    }
}
