//! Generators as sources of streamed replies, and senders from other tasks and threads.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use super::error_report::ErrorReport;
use super::exit;
use super::read::item_from_python;
use super::tree::PyNode;
use crate::command::stream::{Receiver, Room, Sender, is_full};
use crate::command::{Filled, Source};
use crate::convert::add_item;
use crate::tree::{Flags, NodeId, Tree};

/// The longest time in which a generator is asked for more before its pending nodes are sent.
const TURN: Duration = Duration::from_millis(2);

/// Adds a yielded element: a node, or a value, which is a node without a name. A run of one name is a list.
pub(super) fn add_yielded(tree: &mut Tree, yielded: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(node) = yielded.cast::<PyNode>() {
        let top = node.get().graft_onto(tree, NodeId::ROOT)?;
        tree.mark(top, Flags::IN_LIST);
    } else {
        let item = item_from_python(yielded)?;
        tree.mark(NodeId::ROOT, Flags::IS_ARRAY);
        add_item(tree, NodeId::ROOT, b"", &item);
    }
    Ok(())
}

/// A generator, closed when the client reads no more.
pub(super) struct Generator {
    iterator: Option<Py<PyIterator>>,
    report: ErrorReport,
}

impl Generator {
    pub(super) fn new(iterator: &Bound<'_, PyIterator>, report: ErrorReport) -> Self {
        Generator { iterator: Some(iterator.clone().unbind()), report }
    }

    fn fill_attached(&mut self, py: Python<'_>, batch: &mut Tree) -> Filled {
        let Some(iterator) = &self.iterator else { return Filled::End };
        let (mut iterator, begun) = (iterator.bind(py).clone(), Instant::now());
        loop {
            let added = match iterator.next() {
                None => {
                    self.iterator = None;
                    return Filled::End;
                }
                Some(yielded) => yielded.and_then(|yielded| add_yielded(batch, &yielded)),
            };
            if let Err(error) = added {
                return Filled::Failed(self.report.answer_to(py, &error));
            }
            if is_full(batch) || begun.elapsed() > TURN {
                return Filled::More;
            }
        }
    }
}

impl Source for Generator {
    fn fill(&mut self, batch: &mut Tree, _: &Waker) -> Filled {
        let filled = exit::attach(|py| self.fill_attached(py, batch));
        filled.unwrap_or(Filled::Failed(Err(crate::response::Failure::handler())))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let Some(iterator) = self.iterator.take() else { return };
        exit::attach(|py| {
            let iterator = iterator.into_bound(py);
            // An iterator that is no generator has nothing to close.
            if let Ok(Some(close)) = iterator.getattr_opt("close")
                && let Err(error) = close.call0()
            {
                error.write_unraisable(py, Some(&iterator));
            }
        });
    }
}

/// A sender of nodes into a reply while it is sent, from a task or a thread.
#[pyclass(frozen, name = "Feeder", module = "sipmi._core")]
pub(super) struct PyFeeder {
    sender: Mutex<Option<Sender>>,
    report: ErrorReport,
}

impl PyFeeder {
    pub(super) fn new(sender: Sender, report: ErrorReport) -> Self {
        PyFeeder { sender: Mutex::new(Some(sender)), report }
    }

    fn with<T>(&self, work: impl FnOnce(&Sender) -> T) -> Option<T> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(work)
    }

    fn take(&self) -> Option<Sender> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl PyFeeder {
    /// Send an element that a handler yields: "some" room is left, it is "full", or "closed".
    fn put(&self, py: Python<'_>, yielded: &Bound<'_, PyAny>) -> PyResult<&'static str> {
        let mut added = Tree::ok();
        add_yielded(&mut added, yielded)?;
        let put = |tree: &mut Tree| {
            tree.mark(NodeId::ROOT, added.flags(NodeId::ROOT));
            for node in added.children(NodeId::ROOT) {
                tree.graft(NodeId::ROOT, &added, node);
            }
        };
        let room = exit::detach(py, || self.with(|sender| sender.send(put)));
        Ok(match room {
            Some(Room::Some) => "some",
            Some(Room::Full) => "full",
            Some(Room::Closed) | None => "closed",
        })
    }

    /// Call `function()` once there is room, or the client reads no more.
    fn on_room(&self, py: Python<'_>, function: Py<PyAny>) {
        let hook = hook(function);
        exit::detach(py, || self.with(|sender| sender.on_room(hook)));
    }

    /// Mark the end of the stream.
    fn end(&self, py: Python<'_>) {
        if let Some(sender) = self.take() {
            exit::detach(py, || sender.end());
        }
    }

    /// There will be no more, because of this exception.
    fn exception(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        if let Some(sender) = self.take() {
            let result = self.report.answer_to(py, &PyErr::from_value(error));
            exit::detach(py, || sender.fail(result));
        }
    }
}

/// A Python function without arguments as something to do once, on whatever thread.
pub(super) fn hook(function: Py<PyAny>) -> crate::command::Hook {
    Box::new(move || {
        exit::attach(|py| {
            if let Err(error) = function.call0(py) {
                error.write_unraisable(py, None);
            }
        });
    })
}

/// A source that Python feeds, and a hook that stops its producer when it is dropped.
pub(super) struct Tapped {
    pub(super) receiver: Receiver,
    pub(super) stop: Option<Py<PyAny>>,
}

impl Source for Tapped {
    fn fill(&mut self, batch: &mut Tree, waker: &Waker) -> Filled {
        self.receiver.fill(batch, waker)
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            hook(stop)();
        }
    }
}

/// The error of a handler that flushes where that cannot be.
pub(super) fn cannot_flush() -> PyErr {
    PyRuntimeError::new_err("flush() is for a handler that runs now, on the thread that runs it")
}
