//! Python functions as handlers: arguments in, result or exception out.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyString, PyTuple};

use super::convert::{item_to_python, text_from_python, text_to_python};
use super::errors::fault_class;
use super::read::{item_from_python, json_from_python};
use super::tree::{PyNode, PyTree};
use crate::command::recipe::{Arguments, Passing, Recipe};
use crate::command::{Answer, Call, Command, Handler, Origin, Responder};
use crate::convert::add_item;
use crate::item::{Item, Str};
use crate::response::{Body, Failure, Response};
use crate::tree::{Flags, NodeId, Tree};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyResponder>()?;
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
            Ok(Some(response)) => response.into(),
            Ok(None) => Answer::Later,
            Err(error) => Answer::Now(answer_to_exception(py, &call.command.canonical_name(), &self.log, &error)),
        }
    }

    /// Runs a plain function now; one that must be awaited answers later, and this is None.
    fn run_in_place(&self, py: Python<'_>, call: &mut Call<'_>) -> PyResult<Option<Response>> {
        let arguments = std::mem::replace(&mut call.arguments, Arguments::Slots(Vec::new(), Vec::new()));
        let (args, kwargs) = self.arguments(py, call.command, arguments)?;
        if let Some(submit) = &self.submit {
            self.submit(py, submit, args, kwargs, call)?;
            return Ok(None);
        }
        let _current = Current::enter(call.origin);
        let value = self.function.bind(py).call(args, kwargs.as_ref())?;
        response_from_python(&value, call.origin.takes_json()).map(Some)
    }

    fn submit<'py>(
        &self,
        py: Python<'py>,
        submit: &Py<PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
        call: &mut Call<'_>,
    ) -> PyResult<()> {
        let responder = PyResponder {
            responder: Mutex::new(Some((call.detach)())),
            command: call.command.canonical_name(),
            as_json: call.origin.takes_json(),
            log: self.log.clone_ref(py),
        };
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
        Python::try_attach(|py| self.run_attached(py, call)).unwrap_or(Answer::Now(Err(Failure::Handler)))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A `Fault` is the answer it says; any other exception is logged, and its text stays here.
fn answer_to_exception(py: Python<'_>, command: &Str, log: &Py<PyAny>, error: &PyErr) -> Result<Response, Failure> {
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
        return Ok(node.get().into());
    }
    if let Ok(iterator) = value.cast::<PyIterator>() {
        return collect(iterator);
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
        let element = element?;
        if let Ok(node) = element.cast::<PyNode>() {
            let top = node.get().graft_onto(&mut tree, NodeId::ROOT);
            tree.mark(top, Flags::IN_LIST);
        } else {
            tree.mark(NodeId::ROOT, Flags::IS_ARRAY);
            add_item(&mut tree, NodeId::ROOT, b"", &item_from_python(&element)?);
        }
    }
    Ok(tree.into())
}

/// Answers a request whose handler is awaited elsewhere.
#[pyclass(frozen, name = "Responder", module = "sipmi._core")]
pub(super) struct PyResponder {
    responder: Mutex<Option<Box<dyn Responder>>>,
    command: Str,
    as_json: bool,
    log: Py<PyAny>,
}

impl PyResponder {
    fn answer(&self, result: Result<Response, Failure>) {
        let responder = self.responder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(responder) = responder {
            responder.answer(result);
        }
    }
}

#[pymethods]
impl PyResponder {
    /// Answers with a handler's result.
    fn result(&self, py: Python<'_>, value: &Bound<'_, PyAny>) {
        match response_from_python(value, self.as_json) {
            Ok(response) => self.answer(Ok(response)),
            Err(error) => self.answer(answer_to_exception(py, &self.command, &self.log, &error)),
        }
    }

    /// Answers for a handler that was cancelled because the server stops.
    fn cancelled(&self) {
        self.answer(Err(Failure::Busy));
    }

    /// Answers with a handler's exception.
    fn exception(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        self.answer(answer_to_exception(py, &self.command, &self.log, &PyErr::from_value(error)));
    }
}

/// Who sent the request that a handler is answering.
#[pyclass(frozen, name = "RequestContext", module = "sipmi")]
pub(super) struct PyRequestContext {
    origin: Origin,
}

#[pymethods]
#[allow(clippy::unused_self)] // nothing so far knows deadlines
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
        None
    }

    fn __repr__(&self) -> String {
        let Origin { listener, wire, peer, .. } = &self.origin;
        format!("<RequestContext {} on {listener} from {peer}>", wire.name())
    }
}

thread_local! {
    /// The requests that this thread's handlers are answering, innermost last.
    static CURRENT: RefCell<Vec<*const Origin>> = const { RefCell::new(Vec::new()) };
}

/// Marks a request as the one that this thread answers, until it is dropped.
struct Current;

impl Current {
    fn enter(origin: &Origin) -> Self {
        CURRENT.with_borrow_mut(|current| current.push(origin));
        Current
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(Vec::pop);
    }
}

/// The request that this thread's handler is answering; None outside a handler.
#[pyfunction]
fn current_request() -> PyResult<Option<PyRequestContext>> {
    let origin = CURRENT.try_with(|current| current.borrow().last().copied());
    let origin = origin.map_err(|_| PyRuntimeError::new_err("this thread is ending"))?;
    // SAFETY: the pointer is to the origin of a call that is further up this thread's stack: `Current`
    // takes it off before the call ends.
    Ok(origin.map(|origin| PyRequestContext { origin: unsafe { &*origin }.clone() }))
}
