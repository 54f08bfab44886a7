//! The requests that the handlers of a thread are answering: their callers, and nodes that a handler sends before it
//! returns.
//!
//! A handler may be suspended in a greenlet while another one runs on the same thread, and then its part of the stack
//! is elsewhere. So all that is known of a request is owned here, and belongs to the greenlet of its handler.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pyo3::exceptions::{PyBrokenPipeError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use super::convert::text_to_python;
use super::error_report::ErrorReport;
use super::exit;
use super::handler::response_from_python;
use super::stream::{Tapped, cannot_flush};
use super::tree::PyTree;
use crate::command::stream::{Room, Sender, channel};
use crate::command::{Answer, Call, Command, Detach, Origin, Transport, Wire};
use crate::response::{Body, Response};
use crate::tree::{Flags, NodeId, Tree};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyRequestContext>()?;
    module.add_function(wrap_pyfunction!(current_request, module)?)
}

/// The caller and the transport of the request that a handler is answering.
#[pyclass(frozen, name = "RequestContext", module = "sipmi")]
pub(super) struct PyRequestContext {
    origin: Origin,
}

impl PyRequestContext {
    pub(super) fn new(origin: &Origin) -> Self {
        PyRequestContext { origin: origin.clone() }
    }
}

#[pymethods]
impl PyRequestContext {
    /// `fifo`, `udp`, `unix`, `http`, or `local` for a call without a transport.
    #[getter]
    fn transport(&self) -> &'static str {
        self.origin.transport.scheme()
    }

    /// `text`, `jsonrpc`, `mi_json`, `xmlrpc` or `html`.
    #[getter]
    fn wire(&self) -> &'static str {
        self.origin.wire.name()
    }

    /// The address of the endpoint.
    #[getter]
    fn listener(&self) -> &str {
        &self.origin.listener
    }

    /// The sender: `host:port`, the path of a UNIX socket (`@name` for an abstract one), the name of a reply
    /// FIFO, or `unknown`.
    #[getter]
    fn peer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text_to_python(py, self.origin.peer.to_string().as_bytes())
    }

    /// The name by which its sender was let in; None where the listener asks for none.
    #[getter]
    fn user(&self) -> Option<&str> {
        self.origin.user.as_deref()
    }

    /// When it must be answered, in seconds since the epoch; None where nothing says so.
    #[getter]
    fn deadline(&self) -> Option<f64> {
        let left = self.origin.deadline?.checked_duration_since(Instant::now()).unwrap_or_default();
        (SystemTime::now() + left).duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
    }

    fn __repr__(&self) -> String {
        let Origin { listener, wire, peer, .. } = &self.origin;
        format!("<RequestContext {} on {listener} from {peer}>", wire.name())
    }
}

thread_local! {
    static CURRENT: RefCell<AtWork> =
        const { RefCell::new(AtWork { frames: Vec::new(), last_id: 0, next_flush: None }) };
}

/// The request that this thread works on.
struct AtWork {
    /// The requests that its handlers are answering, in the order in which they began.
    frames: Vec<Frame>,
    last_id: u64,
    /// The function that receives the nodes that the next call from within flushes (the flush callback of
    /// `run_mi_cmd`).
    next_flush: Option<Py<PyAny>>,
}

/// The request of one handler that has not returned.
struct Frame {
    id: u64,
    greenlet: Greenlet,
    detach: Arc<dyn Detach>,
    command: Arc<Command>,
    log: Py<PyAny>,
    flush: Option<Py<PyAny>>,
    flow: Option<Flow>,
}

/// A greenlet by its address.
///
/// A frame ends before its greenlet does, which unwinds the handler. So no other can have got the address.
type Greenlet = usize;

/// The greenlet that a thread begins with.
const FIRST_OF_THREAD: Greenlet = 0;

/// The greenlet that runs, and those that it returns to. None but the first of the thread where no program uses any.
fn greenlets(py: Python<'_>) -> PyResult<Vec<Greenlet>> {
    let mut found = Vec::new();
    let Some(current) = current_greenlet(py)? else { return Ok(found) };
    let mut greenlet = current;
    loop {
        let parent = greenlet.getattr(intern!(py, "parent"))?;
        // The first of a thread has no parent.
        if parent.is_none() {
            return Ok(found);
        }
        found.push(greenlet.as_ptr() as Greenlet);
        greenlet = parent;
    }
}

fn current_greenlet(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.import(py, "sys", "modules")?;
    let Some(module) = modules.get_item(intern!(py, "greenlet"))? else { return Ok(None) };
    // One that is still being imported has made no greenlet yet.
    let Some(current) = module.getattr_opt(intern!(py, "getcurrent"))? else { return Ok(None) };
    current.call0().map(Some)
}

/// The frame of the handler that runs: of this greenlet, or else of the nearest that it returns to.
fn running<'a>(frames: &'a mut [Frame], greenlets: &[Greenlet]) -> Option<&'a mut Frame> {
    let mut nearest = greenlets.iter().chain(&[FIRST_OF_THREAD]);
    let at = nearest.find_map(|greenlet| frames.iter().rposition(|frame| frame.greenlet == *greenlet))?;
    frames.get_mut(at)
}

/// Looks at the frame of the handler that runs; `None` outside a handler.
fn with_running<T>(py: Python<'_>, look: impl FnOnce(&mut Frame) -> T) -> PyResult<Option<T>> {
    let greenlets = greenlets(py)?;
    let looked = CURRENT.try_with(|current| running(&mut current.borrow_mut().frames, &greenlets).map(look));
    looked.map_err(|_| PyRuntimeError::new_err("this thread is ending"))
}

/// Marks a request as the one that a handler answers, until it is dropped.
pub(super) struct Current(u64);

impl Current {
    pub(super) fn enter(py: Python<'_>, call: &Call<'_>, log: &Py<PyAny>) -> PyResult<Self> {
        // The threads of a server begin handlers in no other.
        let is_first = call.origin.transport != Transport::Local;
        let greenlet =
            if is_first { FIRST_OF_THREAD } else { greenlets(py)?.first().copied().unwrap_or(FIRST_OF_THREAD) };
        let (detach, command) = (Arc::clone(call.detach), Arc::clone(call.command));
        let log = log.clone_ref(py);
        CURRENT.with_borrow_mut(|current| {
            current.last_id += 1;
            let (id, flush) = (current.last_id, current.next_flush.take());
            current.frames.push(Frame { id, greenlet, detach, command, log, flush, flow: None });
            Ok(Current(id))
        })
    }

    /// Ends the request, and returns the reply that the handler has begun to send.
    pub(super) fn leave(self) -> Option<Flow> {
        self.remove().and_then(|frame| frame.flow)
    }

    /// Handlers that greenlets suspend end in any order.
    fn remove(&self) -> Option<Frame> {
        CURRENT.with_borrow_mut(|current| {
            let at = current.frames.iter().rposition(|frame| frame.id == self.0)?;
            Some(current.frames.remove(at))
        })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        // The removed objects are dropped after the borrow: that may run Python code.
        drop(self.remove());
    }
}

/// A reply that a handler has begun to send (`flush_mi_tree`).
pub(super) struct Flow {
    sender: Sender,
    report: ErrorReport,
}

impl Flow {
    /// Sends the rest: the handler's result, or its error.
    pub(super) fn end(self, py: Python<'_>, value: PyResult<Bound<'_, PyAny>>) -> Answer {
        let rest = value.and_then(|value| response_from_python(&value, false));
        match rest {
            Ok(Response { body: Body::Tree(tree), .. }) => {
                exit::detach(py, || {
                    self.sender.send(|batch| move_nodes(&tree, batch));
                    self.sender.end();
                });
            }
            Ok(_) => exit::detach(py, || self.sender.end()),
            Err(error) => {
                let result = self.report.answer_to(py, &error);
                exit::detach(py, || self.sender.fail(result));
            }
        }
        Answer::Later
    }
}

fn move_nodes(from: &Tree, to: &mut Tree) {
    for node in from.children(NodeId::ROOT) {
        let top = to.graft(NodeId::ROOT, from, node);
        to.mark(top, Flags::IN_LIST);
    }
}

/// Passes the nodes that the next call from within flushes to a function.
pub(super) fn flush_to(function: Option<Py<PyAny>>) {
    let before = CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.next_flush, function));
    drop(before);
}

/// How long a handler waits for room before it looks for signals.
const SIGNALS: Duration = Duration::from_millis(50);

/// Return True if nodes of the running handler's reply can be sent before they are complete, as lines can.
pub(super) fn flushes_within_nodes(py: Python<'_>) -> PyResult<bool> {
    let within = with_running(py, |Frame { detach, flush, .. }| {
        let origin = detach.origin();
        origin.wire == Wire::Text && origin.transport != Transport::Local && flush.is_none()
    })?;
    within.ok_or_else(cannot_flush)
}

/// Send nodes of the running handler's reply; return False if the transport cannot send them early.
pub(super) fn flush(py: Python<'_>, nodes: Tree) -> PyResult<bool> {
    let found = with_running(py, |frame| {
        let is_local = frame.detach.origin().transport == Transport::Local;
        let flush = frame.flush.as_ref().map(|flush| flush.clone_ref(py));
        (frame.id, is_local, flush)
    })?;
    let id = match found.ok_or_else(cannot_flush)? {
        (_, _, Some(function)) => {
            function.call1(py, (PyTree::new(nodes),))?;
            return Ok(true);
        }
        (_, true, None) => return Ok(false),
        (id, false, None) => id,
    };
    let flow = match with_running(py, |frame| frame.flow.take())?.flatten() {
        Some(flow) => flow,
        None => begin_flow(py)?,
    };
    let mut room = exit::detach(py, || flow.sender.send(|batch| move_nodes(&nodes, batch)));
    while room == Room::Full {
        room = exit::detach(py, || flow.sender.wait_for_room(SIGNALS));
        py.check_signals()?;
    }
    CURRENT.with_borrow_mut(|current| {
        if let Some(frame) = current.frames.iter_mut().rfind(|frame| frame.id == id) {
            frame.flow = Some(flow);
        }
    });
    if room == Room::Closed {
        return Err(PyBrokenPipeError::new_err("the client no longer reads the reply"));
    }
    Ok(true)
}

fn begin_flow(py: Python<'_>) -> PyResult<Flow> {
    let kept = with_running(py, |Frame { detach, command, log, .. }| {
        (Arc::clone(detach), ErrorReport::new(py, command, detach.origin(), log))
    })?;
    let (detach, report) = kept.ok_or_else(cannot_flush)?;
    let (sender, receiver) = channel();
    exit::detach(py, move || detach.detach().stream(Box::new(Tapped { receiver, stop: None })));
    Ok(Flow { sender, report })
}

/// The request that the running handler answers; None outside a handler.
#[pyfunction]
fn current_request(py: Python<'_>) -> PyResult<Option<PyRequestContext>> {
    with_running(py, |frame| PyRequestContext::new(frame.detach.origin()))
}
