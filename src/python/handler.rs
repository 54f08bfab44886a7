//! Python functions as handlers: arguments in, result or exception out.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pyo3::exceptions::{PyBaseException, PyBrokenPipeError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyString, PyTuple};

use super::convert::{item_to_python, text_from_python, text_to_python};
use super::errors::fault_class;
use super::exit;
use super::read::{item_from_python, json_from_python};
use super::stream::{Generator, PyFeeder, Tapped, add_yielded, cannot_flush, hook};
use super::tree::{PyNode, PyTree};
use crate::command::recipe::{Arguments, Passing, Recipe};
use crate::command::stream::{Feeder, Room, feed};
use crate::command::{Answer, Call, Command, CommandFlags, Handler, Origin, Responder, Transport, Wire};
use crate::item::{Item, Str};
use crate::response::{Body, Failure, Response};
use crate::tree::{Flags, NodeId, Tree};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyResponder>()?;
    module.add_class::<PyFeeder>()?;
    module.add_class::<PyLater>()?;
    module.add("ASYNC", Py::new(module.py(), PyLater)?)?;
    module.add_class::<PyRequestContext>()?;
    module.add_function(wrap_pyfunction!(current_request, module)?)
}

/// A Python function that answers a command.
pub(super) struct PyHandler {
    function: Py<PyAny>,
    /// Given to `(root, param)` handlers (`mi_export_t.param`).
    param: Py<PyAny>,
    /// Runs what must be awaited: `submit(function, args, kwargs, responder, context)`.
    submit: Option<Py<PyAny>>,
    /// Told of exceptions: `log(command, exception)`.
    log: Py<PyAny>,
}

impl PyHandler {
    pub(super) fn new(function: Py<PyAny>, param: Py<PyAny>, submit: Option<Py<PyAny>>, log: Py<PyAny>) -> Self {
        PyHandler { function, param, submit, log }
    }

    pub(super) fn param(&self, py: Python<'_>) -> Py<PyAny> {
        self.param.clone_ref(py)
    }

    fn run_attached(&self, py: Python<'_>, mut call: Call<'_>) -> Answer {
        let result = self.run_in_place(py, &mut call);
        match result {
            Ok(answer) => answer,
            Err(error) => Answer::Now(answer_to_exception(py, &call.command.canonical_name(), &self.log, &error)),
        }
    }

    /// Runs a plain function now; one that must be awaited answers later.
    fn run_in_place(&self, py: Python<'_>, call: &mut Call<'_>) -> PyResult<Answer> {
        let arguments = std::mem::replace(&mut call.arguments, Arguments::Slots(Vec::new(), Vec::new()));
        if call.command.flags.has(CommandFlags::ASYNC)
            && let Arguments::Tree(tree) = arguments
        {
            return self.run_async(py, tree, call);
        }
        let (args, kwargs) = self.arguments(py, call.command, arguments)?;
        if let Some(submit) = &self.submit {
            self.submit(py, submit, args, kwargs, call)?;
            return Ok(Answer::Later);
        }
        let current = Current::enter(call, &self.log);
        let value = self.function.bind(py).call(args, kwargs.as_ref());
        if let Some(flow) = current.leave() {
            return Ok(flow.end(py, value));
        }
        self.answer_from(py, &value?, call)
    }

    /// Runs a handler that may answer later, by `root.async_handler` (`MI_ASYNC_RPL_FLAG`).
    fn run_async(&self, py: Python<'_>, tree: Tree, call: &mut Call<'_>) -> PyResult<Answer> {
        let responder = Py::new(py, PyResponder::new(py, call, &self.log))?;
        let root = PyTree::new(tree).answered_by(responder.clone_ref(py).into_any());
        let current = Current::enter(call, &self.log);
        let value = self.function.bind(py).call1((root, self.param.bind(py)));
        drop(current);
        match value {
            Ok(value) if value.is_instance_of::<PyLater>() => {}
            Ok(value) => {
                responder.get().result(py, &value);
            }
            Err(error) => responder.get().exception(py, error.into_value(py).into_bound(py).into_any()),
        }
        Ok(Answer::Later)
    }

    fn answer_from(&self, py: Python<'_>, value: &Bound<'_, PyAny>, call: &Call<'_>) -> PyResult<Answer> {
        if !value.is_exact_instance_of::<PyDict>()
            && let Ok(iterator) = value.cast::<PyIterator>()
        {
            let command = call.command.canonical_name();
            return Ok(Answer::Stream(Box::new(Generator::new(iterator, command, self.log.clone_ref(py)))));
        }
        response_from_python(value, call.origin.takes_json()).map(Answer::from)
    }

    fn submit<'py>(
        &self,
        py: Python<'py>,
        submit: &Py<PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
        call: &mut Call<'_>,
    ) -> PyResult<()> {
        let responder = PyResponder::new(py, call, &self.log);
        let context = PyRequestContext { origin: call.origin.clone() };
        submit.call1(py, (self.function.clone_ref(py), args, kwargs, responder, context))?;
        Ok(())
    }

    /// The arguments for the function: by position as far as there is no gap, then by name.
    fn arguments<'py>(
        &self,
        py: Python<'py>,
        command: &Command,
        arguments: Arguments,
    ) -> PyResult<(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>)> {
        let (slots, extra) = match arguments {
            Arguments::Tree(tree) => {
                let root = Bound::new(py, PyTree::new(tree))?.into_any();
                return Ok((PyTuple::new(py, [root, self.param.bind(py).clone()])?, None));
            }
            Arguments::Slots(slots, extra) => (slots, extra),
            Arguments::Raw(_) => return Ok((PyTuple::empty(py), None)),
        };
        let Recipe::Signature(signature) = &command.recipe else { return Ok((PyTuple::empty(py), None)) };
        let mut positional: Vec<Bound<'py, PyAny>> = Vec::with_capacity(slots.len());
        let mut named: Vec<(Str, Item)> = extra;
        let mut gap = false;
        for (spec, slot) in signature.params.iter().zip(slots) {
            match (slot, spec.passing) {
                (Some(Item::Array(rest)), Passing::Rest) => {
                    for item in &rest {
                        positional.push(item_to_python(py, item)?);
                    }
                }
                (Some(item), Passing::Either) if !gap => positional.push(item_to_python(py, &item)?),
                (Some(item), _) => named.push((spec.name.clone(), item)),
                (None, _) => gap = true,
            }
        }
        let kwargs = if named.is_empty() { None } else { Some(PyDict::new(py)) };
        if let Some(kwargs) = &kwargs {
            for (name, item) in &named {
                kwargs.set_item(text_to_python(py, name)?, item_to_python(py, item)?)?;
            }
        }
        Ok((PyTuple::new(py, positional)?, kwargs))
    }
}

impl Handler for PyHandler {
    fn run(&self, call: Call<'_>) -> Answer {
        // None: the interpreter is shutting down, and the caller is told that the command failed.
        exit::attach(|py| self.run_attached(py, call)).unwrap_or(Answer::Now(Err(Failure::Handler)))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A `Fault` is the answer it says; any other exception is logged, and its text stays here.
pub(super) fn answer_to_exception(
    py: Python<'_>,
    command: &Str,
    log: &Py<PyAny>,
    error: &PyErr,
) -> Result<Response, Failure> {
    let fault = fault_class(py).is_ok_and(|class| error.value(py).is_instance(class).unwrap_or(false));
    if fault && let Ok(response) = response_from_fault(error.value(py)) {
        return Ok(response);
    }
    let logged = text_to_python(py, command).and_then(|name| log.call1(py, (name, error.value(py))));
    if let Err(error) = logged {
        error.write_unraisable(py, None);
    }
    Err(Failure::Handler)
}

fn response_from_fault(fault: &Bound<'_, PyAny>) -> PyResult<Response> {
    let code = fault.getattr("code")?.extract()?;
    let reason = text_from_python(&fault.getattr("message")?.str()?)?;
    let data = fault.getattr("data")?;
    let body = if data.is_none() { Body::Empty } else { Body::Item(item_from_python(&data)?) };
    Ok(Response { code, reason, body })
}

/// A handler's result: None, a value, a tree, a node, or something that yields nodes and values. `as_json`: a
/// value is written at once.
fn response_from_python(value: &Bound<'_, PyAny>, as_json: bool) -> PyResult<Response> {
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return response_from_value(dict, as_json);
    }
    if value.is_none() {
        return Ok(Response::ok());
    }
    if let Ok(tree) = value.cast::<PyTree>() {
        return Ok(tree.get().into());
    }
    if let Ok(node) = value.cast::<PyNode>() {
        return node.get().try_into();
    }
    if let Ok(iterator) = value.cast::<PyIterator>() {
        return collect(iterator);
    }
    if value.is_instance_of::<PyLater>() {
        return Err(PyTypeError::new_err("only a (root, param) command with Flags.ASYNC may return ASYNC"));
    }
    if let Ok(list) = value.cast::<PyList>()
        && list.iter().any(|element| element.is_instance_of::<PyNode>())
    {
        return collect(&list.try_iter()?);
    }
    response_from_value(value, as_json)
}

fn response_from_value(value: &Bound<'_, PyAny>, as_json: bool) -> PyResult<Response> {
    let body = if as_json { Body::Json(json_from_python(value)?) } else { Body::Item(item_from_python(value)?) };
    Ok(Response { body, ..Response::ok() })
}

/// Nodes in the order they are yielded; a run of one name is a list, also of one.
fn collect(iterator: &Bound<'_, PyIterator>) -> PyResult<Response> {
    let mut tree = Tree::ok();
    for element in iterator {
        add_yielded(&mut tree, &element?)?;
    }
    Ok(tree.into())
}

/// Said by a handler that answers later (`MI_ROOT_ASYNC_RPL`).
#[pyclass(frozen, name = "Later", module = "sipmi._core")]
struct PyLater;

#[pymethods]
impl PyLater {
    #[allow(clippy::unused_self)] // there is one
    fn __repr__(&self) -> &'static str {
        "sipmi.ASYNC"
    }
}

/// Answers a request later, from any thread (`struct mi_handler`): `root.async_handler` of an ASYNC command.
///
/// Dropped without an answer, the caller is told that the command failed.
#[pyclass(frozen, name = "AsyncHandler", module = "sipmi")]
pub(super) struct PyResponder {
    responder: Mutex<Option<Box<dyn Responder>>>,
    command: Str,
    as_json: bool,
    log: Py<PyAny>,
}

impl PyResponder {
    fn new(py: Python<'_>, call: &mut Call<'_>, log: &Py<PyAny>) -> Self {
        PyResponder {
            responder: Mutex::new(Some((call.detach)())),
            command: call.command.canonical_name(),
            as_json: call.origin.takes_json(),
            log: log.clone_ref(py),
        }
    }

    /// Answers without the interpreter: an answer may have to wait for locks whose owners want it.
    fn answer(&self, py: Python<'_>, result: Result<Response, Failure>) -> bool {
        let Some(responder) = self.take() else { return false };
        exit::detach(py, move || {
            let is_awaited = responder.is_awaited();
            responder.answer(result);
            is_awaited
        })
    }

    fn take(&self) -> Option<Box<dyn Responder>> {
        self.responder.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&dyn Responder) -> T + Send) -> Option<T> {
        exit::detach(py, || self.responder.lock().unwrap_or_else(PoisonError::into_inner).as_deref().map(work))
    }
}

#[pymethods]
impl PyResponder {
    /// Answers with a tree, a value or an exception (`mi_handler_f`), and says whether anybody still waited for it.
    ///
    /// With done=False it is a provisional reply, which only text over FIFO and datagrams can carry; elsewhere it is
    /// dropped, and the result is False.
    #[pyo3(signature = (reply=None, *, done=true))]
    fn reply(&self, py: Python<'_>, reply: Option<&Bound<'_, PyAny>>, done: bool) -> bool {
        let none = py.None().into_bound(py);
        let reply = reply.unwrap_or(&none);
        self.reply_with(py, reply, done)
    }

    /// Whether somebody still waits for the answer.
    #[getter]
    fn is_awaited(&self, py: Python<'_>) -> bool {
        self.with(py, |responder| responder.is_awaited()).unwrap_or(false)
    }

    /// Calls `function()` when nobody waits for the answer any more: the deadline has passed, the client has left,
    /// or the server stops. At once, if that is so already; never, once it is answered.
    fn on_cancel(&self, py: Python<'_>, function: Py<PyAny>) {
        let hook = hook(function);
        self.with(py, move |responder| responder.on_cancel(hook));
    }

    /// Begins an answer that is fed while it is sent; `stop()` is called when nobody wants more of it.
    fn stream(&self, py: Python<'_>, stop: Py<PyAny>) -> Option<PyFeeder> {
        let responder = self.take()?;
        let (feeder, fed) = feed();
        exit::detach(py, move || responder.stream(Box::new(Tapped { fed, stop: Some(stop) })));
        Some(PyFeeder::new(feeder, self.command.clone(), self.log.clone_ref(py)))
    }

    /// Answers with a handler's result.
    fn result(&self, py: Python<'_>, value: &Bound<'_, PyAny>) {
        self.reply_with(py, value, true);
    }

    /// Answers for a handler that was cancelled.
    fn cancelled(&self, py: Python<'_>) {
        if self.is_awaited(py) {
            self.answer(py, Err(Failure::Busy));
        }
    }

    /// Answers with a handler's exception.
    fn exception(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        let result = answer_to_exception(py, &self.command, &self.log, &PyErr::from_value(error));
        self.answer(py, result);
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = if self.is_awaited(py) { "awaited" } else { "done" };
        format!("<AsyncHandler of {}: {state}>", self.command)
    }
}

impl PyResponder {
    fn reply_with(&self, py: Python<'_>, reply: &Bound<'_, PyAny>, done: bool) -> bool {
        let result = if reply.is_instance_of::<PyBaseException>() {
            answer_to_exception(py, &self.command, &self.log, &PyErr::from_value(reply.clone()))
        } else {
            response_from_python(reply, self.as_json && done)
                .or_else(|error| answer_to_exception(py, &self.command, &self.log, &error))
        };
        match result {
            result if done => self.answer(py, result),
            Ok(response) => self.with(py, move |responder| responder.provisional(response)).unwrap_or(false),
            Err(_) => false,
        }
    }
}

/// Who sent the request that a handler is answering.
#[pyclass(frozen, name = "RequestContext", module = "sipmi")]
pub(super) struct PyRequestContext {
    origin: Origin,
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

type Detach = *mut dyn FnMut() -> Box<dyn Responder>;

thread_local! {
    static CURRENT: RefCell<AtWork> = const { RefCell::new(AtWork { places: Vec::new(), next_flush: None }) };
}

/// What this thread is at.
struct AtWork {
    /// The requests that its handlers are answering, innermost last.
    places: Vec<Place>,
    /// What takes what the next call from within flushes (the flush callback of `run_mi_cmd`).
    next_flush: Option<Py<PyAny>>,
}

/// One handler at work on this thread: what it runs in is further up this thread's stack.
struct Place {
    origin: *const Origin,
    /// Makes what answers its call later.
    detach: Detach,
    command: *const Arc<Command>,
    log: *const Py<PyAny>,
    flush: Option<Py<PyAny>>,
    flow: Option<Flow>,
}

/// The same pointer, without saying how long it is good for.
///
/// # Safety
///
/// It must not be used when what it points to is gone.
#[allow(clippy::transmute_ptr_to_ptr)] // a cast cannot change the lifetime of a trait object
unsafe fn forever<'a>(detach: *mut (dyn FnMut() -> Box<dyn Responder> + 'a)) -> Detach {
    // SAFETY: the two differ in a lifetime alone; the rest is the caller's promise.
    unsafe { std::mem::transmute(detach) }
}

/// Marks a request as the one that this thread answers, until it is dropped.
struct Current;

impl Current {
    fn enter(call: &mut Call<'_>, log: &Py<PyAny>) -> Self {
        let detach: *mut (dyn FnMut() -> Box<dyn Responder> + '_) = call.detach;
        // SAFETY: only the lifetime changes; `Current` takes the place away before the call ends.
        let detach = unsafe { forever(detach) };
        CURRENT.with_borrow_mut(|current| {
            let flush = current.next_flush.take();
            current.places.push(Place { origin: call.origin, detach, command: call.command, log, flush, flow: None });
        });
        Current
    }

    /// Ends it, and gives what the handler has begun to send.
    fn leave(self) -> Option<Flow> {
        std::mem::forget(self);
        CURRENT.with_borrow_mut(|current| current.places.pop()).and_then(|place| place.flow)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let place = CURRENT.with_borrow_mut(|current| current.places.pop());
        drop(place);
    }
}

/// A reply that a handler has begun to send (`flush_mi_tree`).
struct Flow {
    feeder: Feeder,
    command: Str,
    log: Py<PyAny>,
}

impl Flow {
    /// Sends the rest: what the handler returned, or why it did not.
    fn end(self, py: Python<'_>, value: PyResult<Bound<'_, PyAny>>) -> Answer {
        let rest = value.and_then(|value| response_from_python(&value, false));
        match rest {
            Ok(Response { body: Body::Tree(tree), .. }) => {
                exit::detach(py, || {
                    self.feeder.put(|batch| move_nodes(&tree, batch));
                    self.feeder.end();
                });
            }
            Ok(_) => exit::detach(py, || self.feeder.end()),
            Err(error) => {
                let result = answer_to_exception(py, &self.command, &self.log, &error);
                exit::detach(py, || self.feeder.fail(result));
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

/// Has what the next call from within flushes given to a function.
pub(super) fn flush_to(function: Option<Py<PyAny>>) {
    let before = CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.next_flush, function));
    drop(before);
}

/// How long a handler waits for room before it looks for signals.
const SIGNALS: Duration = Duration::from_millis(50);

/// Whether nodes of the reply that this thread's handler is making can be sent before they are complete: lines can.
pub(super) fn flushes_within_nodes() -> PyResult<bool> {
    CURRENT.with_borrow(|current| {
        let place = current.places.last().ok_or_else(cannot_flush)?;
        // SAFETY: the origin is that of a call further up this thread's stack.
        let origin = unsafe { &*place.origin };
        Ok(origin.wire == Wire::Text && origin.transport != Transport::Local && place.flush.is_none())
    })
}

/// Sends nodes of the reply that this thread's handler is making; false where nobody takes them early.
pub(super) fn flush(py: Python<'_>, nodes: Tree) -> PyResult<bool> {
    let flush = CURRENT.with_borrow(|current| {
        let place = current.places.last().ok_or_else(cannot_flush)?;
        // SAFETY: the origin is that of a call further up this thread's stack.
        let is_local = unsafe { &*place.origin }.transport == Transport::Local;
        PyResult::Ok((is_local, place.flush.as_ref().map(|flush| flush.clone_ref(py))))
    })?;
    match flush {
        (_, Some(function)) => {
            function.call1(py, (PyTree::new(nodes),))?;
            return Ok(true);
        }
        (true, None) => return Ok(false),
        (false, None) => {}
    }
    let taken = CURRENT.with_borrow_mut(|current| current.places.last_mut().and_then(|place| place.flow.take()));
    let flow = match taken {
        Some(flow) => flow,
        None => begin_flow(py)?,
    };
    let mut room = exit::detach(py, || flow.feeder.put(|batch| move_nodes(&nodes, batch)));
    while room == Room::Full {
        room = exit::detach(py, || flow.feeder.wait_for_room(SIGNALS));
        py.check_signals()?;
    }
    CURRENT.with_borrow_mut(|current| {
        if let Some(place) = current.places.last_mut() {
            place.flow = Some(flow);
        }
    });
    if room == Room::Closed {
        return Err(PyBrokenPipeError::new_err("nobody takes the rest of the reply"));
    }
    Ok(true)
}

fn begin_flow(py: Python<'_>) -> PyResult<Flow> {
    let (detach, command, log) = CURRENT.with_borrow(|current| {
        let place = current.places.last().ok_or_else(cannot_flush)?;
        // SAFETY: both are those of a call further up this thread's stack.
        let (command, log) = unsafe { (&*place.command, &*place.log) };
        PyResult::Ok((place.detach, command.canonical_name(), log.clone_ref(py)))
    })?;
    // SAFETY: as above; that call waits for the handler and uses it no more.
    let responder = unsafe { (*detach)() };
    let (feeder, fed) = feed();
    exit::detach(py, move || responder.stream(Box::new(Tapped { fed, stop: None })));
    Ok(Flow { feeder, command, log })
}

/// The request that this thread's handler is answering; None outside a handler.
#[pyfunction]
fn current_request() -> PyResult<Option<PyRequestContext>> {
    let origin = CURRENT.try_with(|current| current.borrow().places.last().map(|place| place.origin));
    let origin = origin.map_err(|_| PyRuntimeError::new_err("this thread is ending"))?;
    // SAFETY: the pointer is to the origin of a call that is further up this thread's stack: `Current`
    // takes it off before the call ends.
    Ok(origin.map(|origin| PyRequestContext { origin: unsafe { &*origin }.clone() }))
}
