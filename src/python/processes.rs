//! Several processes of one server, as Python's `sipmi._processes` forks them and looks after them.

use std::time::Duration;

use nix::poll::{PollFlags, PollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use super::number::seconds;
use super::server::PyServer;
use super::{exit, logging};
use crate::command::processes::{MOST_PROCESSES, ProcessState};
use crate::server::Server;
use crate::sys::descriptor::poll_number;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("MOST_PROCESSES", MOST_PROCESSES)?;
    module.add_class::<PyProcesses>()?;
    module.add_function(wrap_pyfunction!(end_with_parent, module)?)
}

/// The state that a server shares with its forked processes. Made before the first fork; the endpoints
/// are open from then on, and are closed by `close`, in the process that made it.
#[pyclass(frozen, name = "Processes", module = "sipmi._core")]
pub(super) struct PyProcesses {
    owner: Py<PyServer>,
}

impl PyProcesses {
    fn server(&self) -> &Server {
        &self.owner.get().server
    }
}

#[pymethods]
impl PyProcesses {
    #[new]
    fn new(py: Python<'_>, server: Py<PyServer>, workers: usize) -> PyResult<Self> {
        exit::detach(py, || server.get().server.bind(workers))?;
        Ok(PyProcesses { owner: server })
    }

    /// In a forked process: begins to serve; its rank says whose requests in progress are counted.
    fn serve(&self, py: Python<'_>, rank: u16) -> PyResult<()> {
        logging::start(py)?;
        Ok(exit::detach(py, || self.server().serve_bound(rank))?)
    }

    /// In a forked process: reads the FIFOs from now on, which one process does.
    fn read_fifos(&self, py: Python<'_>) {
        exit::detach(py, || self.server().read_fifos());
    }

    /// In a forked process: has endpoints looked after at once.
    fn look_after(&self, py: Python<'_>) {
        exit::detach(py, || self.server().look_after());
    }

    /// Make missing FIFOs again, and return a message for each.
    fn restore(&self) -> Vec<String> {
        self.server().restore()
    }

    /// Answer the unfinished requests of the ended process of this rank.
    fn bury(&self, rank: u16) {
        self.server().recover(rank);
    }

    /// Answers for processes that have ended, and says how many answers wait for their receivers.
    fn answer_orphans(&self) -> usize {
        self.server().answer_orphans()
    }

    /// The log level that the process of a rank shall have, as OpenSIPS counts them.
    fn log_level(&self, rank: usize) -> i32 {
        self.server().service.processes.log_level(rank)
    }

    /// Set the description of the process of a rank.
    fn name(&self, rank: usize, name: &str) -> PyResult<()> {
        check(rank)?;
        self.server().service.processes.name(rank, name);
        Ok(())
    }

    /// Set the pid and the state of the process of a rank: "starting", "running", "stopping", "dead" or "absent".
    fn set(&self, rank: usize, pid: i32, state: &str) -> PyResult<()> {
        check(rank)?;
        let known = [
            ProcessState::Absent,
            ProcessState::Starting,
            ProcessState::Running,
            ProcessState::Stopping,
            ProcessState::Dead,
        ];
        let state = known.into_iter().find(|known| known.name() == state);
        let state = state.ok_or_else(|| PyValueError::new_err("expected the state of a process"))?;
        self.server().service.processes.set(rank, pid, state);
        Ok(())
    }

    /// Closes the endpoints and removes their files.
    fn close(&self, py: Python<'_>) {
        exit::detach(py, || self.server().unbind());
    }
}

fn check(rank: usize) -> PyResult<()> {
    if rank < MOST_PROCESSES {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("expected at most {MOST_PROCESSES} processes")))
}

/// Ask this process to end by SIGTERM when the other end of a pipe, which the parent holds, is closed. After `grace`
/// seconds, end it regardless of its state.
#[pyfunction]
fn end_with_parent(pipe: i32, grace: &Bound<'_, PyAny>) -> PyResult<()> {
    let grace = seconds("drain_timeout", grace)?;
    let watch = move || {
        while !poll_number(pipe, PollFlags::empty(), PollTimeout::NONE).is_ok_and(|found| !found.is_empty()) {}
        end(grace);
    };
    std::thread::Builder::new().name("sipmi-parent".into()).spawn(watch).map_err(PyOSError::new_err)?;
    Ok(())
}

fn end(grace: Duration) {
    // A process that cannot be asked to end is ended all the same.
    let _ = kill(Pid::this(), Signal::SIGTERM);
    std::thread::sleep(grace);
    let _ = kill(Pid::this(), Signal::SIGKILL);
}
