//! Python functions as handlers: arguments in, result or exception out.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyTuple};

use super::convert::{item_to_python, text_to_python};
use super::error_report::ErrorReport;
use super::exit;
use super::read::{item_from_python, json_from_python};
use super::request::{Current, PyRequestContext};
use super::stream::{Generator, PyFeeder, Tapped, add_yielded, hook};
use super::tree::{PyNode, PyTree};
use crate::command::recipe::{Arguments, Passing, Recipe};
use crate::command::stream::channel;
use crate::command::{Answer, Call, Command, CommandFlags, Handler, Responder};
use crate::item::{Item, Str};
use crate::response::{Body, Failure, Response};
use crate::tree::Tree;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyResponder>()?;
    module.add_class::<PyFeeder>()?;
    module.add_class::<PyLater>()?;
    module.add("ASYNC", Py::new(module.py(), PyLater)?)
}

/// A Python function that answers a command.
pub(super) struct PyHandler {
    function: Py<PyAny>,
    /// Given to `(root, param)` handlers (`mi_export_t.param`).
    param: Py<PyAny>,
    /// Runs an awaitable handler: `submit(function, args, kwargs, responder, context)`.
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
            Err(error) => {
                Answer::Now(ErrorReport::new(py, call.command, call.origin, &self.log).answer_to(py, &error))
            }
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
        let current = Current::enter(py, call, &self.log)?;
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
        let current = Current::enter(py, call, &self.log)?;
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
            let report = ErrorReport::new(py, call.command, call.origin, &self.log);
            return Ok(Answer::Stream(Box::new(Generator::new(iterator, report))));
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
        let context = PyRequestContext::new(call.origin);
        submit.call1(py, (self.function.clone_ref(py), args, kwargs, responder, context))?;
        Ok(())
    }

    /// Returns the arguments for the function: by position up to the first gap, then by name.
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
        exit::attach(|py| self.run_attached(py, call)).unwrap_or(Answer::Now(Err(Failure::handler())))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A handler's result: None, a value, a tree, a node, or something that yields nodes and values. `as_json`: a
/// value is written at once.
pub(super) fn response_from_python(value: &Bound<'_, PyAny>, as_json: bool) -> PyResult<Response> {
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
    as_json: bool,
    report: ErrorReport,
}

impl PyResponder {
    fn new(py: Python<'_>, call: &mut Call<'_>, log: &Py<PyAny>) -> Self {
        PyResponder {
            responder: Mutex::new(Some(Arc::clone(call.detach).detach())),
            as_json: call.origin.takes_json(),
            report: ErrorReport::new(py, call.command, call.origin, log),
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
    /// Answer with a tree, a value or an exception (`mi_handler_f`); return False if the client is gone.
    ///
    /// With done=False it is a provisional reply, which only text over FIFO and datagrams can carry; elsewhere it is
    /// dropped, and the result is False.
    #[pyo3(signature = (reply=None, *, done=true))]
    fn reply(&self, py: Python<'_>, reply: Option<&Bound<'_, PyAny>>, done: bool) -> bool {
        let none = py.None().into_bound(py);
        let reply = reply.unwrap_or(&none);
        self.reply_with(py, reply, done)
    }

    /// True if the client still waits for the answer.
    #[getter]
    fn is_awaited(&self, py: Python<'_>) -> bool {
        self.with(py, |responder| responder.is_awaited()).unwrap_or(false)
    }

    /// Call `function()` when the client no longer waits: the deadline has passed, the client has left,
    /// or the server stops. Call it at once in such a state, and never after the answer.
    fn on_cancel(&self, py: Python<'_>, function: Py<PyAny>) {
        let hook = hook(function);
        self.with(py, move |responder| responder.on_cancel(hook));
    }

    /// Begin an answer that is sent while it grows; `stop()` is called when the client reads no more of it.
    fn stream(&self, py: Python<'_>, stop: Py<PyAny>) -> Option<PyFeeder> {
        let responder = self.take()?;
        let (sender, receiver) = channel();
        exit::detach(py, move || responder.stream(Box::new(Tapped { receiver, stop: Some(stop) })));
        Some(PyFeeder::new(sender, self.report.clone_ref(py)))
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
        let result = self.report.answer_to(py, &PyErr::from_value(error));
        self.answer(py, result);
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = if self.is_awaited(py) { "awaited" } else { "done" };
        format!("<AsyncHandler of {}: {state}>", self.report.command().canonical_name())
    }
}

impl PyResponder {
    fn reply_with(&self, py: Python<'_>, reply: &Bound<'_, PyAny>, done: bool) -> bool {
        let result = if reply.is_instance_of::<PyBaseException>() {
            self.report.answer_to(py, &PyErr::from_value(reply.clone()))
        } else {
            response_from_python(reply, self.as_json && done).or_else(|error| self.report.answer_to(py, &error))
        };
        match result {
            result if done => self.answer(py, result),
            Ok(response) => self.with(py, move |responder| responder.provisional(response)).unwrap_or(false),
            Err(_) => false,
        }
    }
}
