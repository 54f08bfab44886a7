//! The way into the interpreter and out of it, for threads that may still be at work when it ends.
//!
//! An interpreter that ends takes the lock for good and unwinds whatever thread asks for it. Frames of Rust cannot be
//! unwound like that: the process would abort. So once the interpreter is about to end, threads that come to this gate
//! stay before it, and the end waits a moment for those that are within.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

static ENDING: AtomicBool = AtomicBool::new(false);
/// Threads that wait for the interpreter's lock, or have it, below frames of Rust.
static WITHIN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// True on the thread that finalizes the interpreter: it alone may still attach and detach.
    static ENDS_IT: Cell<bool> = const { Cell::new(false) };
}

/// How long the end waits for threads that are within. A handler that takes longer is not waited for.
const GRACE: Duration = Duration::from_millis(500);

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(prepare_exit, module)?)
}

/// Lets no other thread into the interpreter from now on. Called when it is about to end.
#[pyfunction]
fn prepare_exit(py: Python<'_>) {
    ENDS_IT.set(true);
    ENDING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let deadline = Instant::now() + GRACE;
        while WITHIN.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
    });
}

/// Works without the interpreter, as [`Python::detach`] does.
pub(super) fn detach<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let result = py.detach(|| {
        let result = work();
        enter();
        result
    });
    leave();
    result
}

/// Works with the interpreter, as [`Python::try_attach`] does; `None` when there is none.
pub(super) fn attach<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    enter();
    let result = Python::try_attach(work);
    leave();
    result
}

/// Resets the count in a forked process: only the thread that forked is left in the interpreter.
pub(super) fn forget_others() {
    WITHIN.store(0, Ordering::SeqCst);
}

/// Passes the gate, or stays before it until the process has ended.
fn enter() {
    WITHIN.fetch_add(1, Ordering::SeqCst);
    if ENDING.load(Ordering::SeqCst) && !ENDS_IT.get() {
        leave();
        loop {
            std::thread::park();
        }
    }
}

fn leave() {
    WITHIN.fetch_sub(1, Ordering::SeqCst);
}
