//! A reply as Python sees it.

use std::ffi::CString;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};

use super::convert::{body_to_python, text_from_python, text_to_python};
use super::errors;
use super::pickled::{ParamsState, ResponseState, params_state, read_params, read_response, response_state};
use super::tree::PyTree;
use crate::client::{Reply, Wire};
use crate::codec::CodecError;
use crate::codec::json;
use crate::codec::text::{self, Carrier, TextStyle};
use crate::convert::item_to_tree;
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::Request;
use crate::response::{Body, Response};
use crate::tree::Tree;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyReply>()
}

/// An answer.
#[pyclass(frozen, name = "Reply", module = "sipmi._core")]
pub(super) struct PyReply {
    reply: Reply,
    address: String,
    command: Str,
}

impl PyReply {
    pub(super) fn new(reply: Reply, address: String, command: Str) -> Self {
        PyReply { reply, address, command }
    }
}

#[pymethods]
impl PyReply {
    /// A reply of these parts, for pickle.
    #[new]
    #[expect(clippy::too_many_arguments, reason = "a reply has as many parts")]
    fn py_new(
        address: String,
        command: &Bound<'_, PyString>,
        request: (Bound<'_, PyString>, ParamsState<'_>),
        response: ResponseState<'_>,
        sent: Vec<u8>,
        raw: Vec<u8>,
        elapsed: f64,
        wire: &str,
        is_unclear: bool,
        is_typed: bool,
    ) -> PyResult<Self> {
        let reply = Reply {
            request: Request { method: text_from_python(&request.0)?, params: read_params(request.1)? },
            response: read_response(response)?,
            sent,
            raw,
            elapsed: Duration::try_from_secs_f64(elapsed)
                .map_err(|error| PyValueError::new_err(error.to_string()))?,
            wire: read_wire(wire)?,
            is_unclear,
            notice: None,
            is_typed,
        };
        Ok(PyReply { reply, address, command: text_from_python(command)? })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let (py, PyReply { reply, address, command }) = (slf.py(), slf.get());
        let request = (text_to_python(py, &reply.request.method)?, params_state(py, &reply.request.params)?);
        let parts = (
            address,
            text_to_python(py, command)?,
            request,
            response_state(py, &reply.response)?,
            PyBytes::new(py, &reply.sent),
            PyBytes::new(py, &reply.raw),
            reply.elapsed.as_secs_f64(),
            reply.wire.name(),
            reply.is_unclear,
            reply.is_typed,
        );
        Ok((slf.get_type(), parts.into_pyobject(py)?))
    }

    /// Equal when one server answered one request in the same way; bytes and times do not count.
    fn __eq__(&self, other: &Self) -> bool {
        let said = |reply: &Reply| (reply.wire, reply.is_unclear, reply.is_typed);
        (&self.address, &self.command) == (&other.address, &other.command)
            && said(&self.reply) == said(&other.reply)
            && self.reply.request == other.reply.request
            && self.reply.response == other.reply.response
    }

    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    #[getter]
    fn command<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text_to_python(py, &self.command)
    }

    /// None when the server answered nothing at all, which may be either.
    #[getter]
    fn code(&self) -> Option<i32> {
        (!self.reply.is_unclear).then_some(self.reply.response.code)
    }

    #[getter]
    fn reason<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text_to_python(py, &self.reply.response.reason)
    }

    #[getter]
    fn ok(&self) -> bool {
        self.reply.response.is_success() && !self.reply.is_unclear
    }

    #[getter]
    fn tree(&self, py: Python<'_>) -> PyResult<PyTree> {
        let tree = self.read_tree().map_err(PyErr::from);
        tree.or_else(|error| Err(told_of(py, error, &self.reply, &self.address, &self.command)?))
    }

    /// The value; an error answer raises its fault.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        value_of(py, &self.reply, || self.address.clone(), &self.command)
    }

    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.reply.raw)
    }

    #[getter]
    fn sent<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.reply.sent)
    }

    #[getter]
    fn elapsed(&self) -> f64 {
        self.reply.elapsed.as_secs_f64()
    }

    #[getter]
    fn wire(&self) -> &'static str {
        self.reply.wire.name()
    }

    /// The reply as the FIFO of 2.x would write it; what came in text is as it came.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        if self.reply.wire == Wire::Text {
            return self.raw(py);
        }
        let mut text = Vec::new();
        let style = TextStyle::new(Carrier::Fifo, Dialect::Sipmi);
        text::encode_response(&mut text, &Ok(self.reply.response.clone()), &self.command, &style);
        PyBytes::new(py, &text)
    }
}

impl PyReply {
    /// Reads the reply as a tree.
    fn read_tree(&self) -> Result<PyTree, CodecError> {
        let Response { code, reason, body } = &self.reply.response;
        let mut tree = match body {
            Body::Empty => Tree::ok(),
            Body::Item(item) => item_to_tree(item),
            Body::Json(text) => item_to_tree(&json::parse(text)?),
            Body::Tree(tree) => tree.clone(),
        };
        (tree.code, tree.reason) = (*code, reason.clone());
        Ok(PyTree::new(tree))
    }
}

/// The wire of a name.
pub(super) fn read_wire(name: &str) -> PyResult<Wire> {
    let named = [Wire::Text, Wire::Json, Wire::MiJson, Wire::XmlRpc].into_iter().find(|wire| wire.name() == name);
    named.ok_or_else(|| {
        let expected = "auto, text, jsonrpc, mi_json or xmlrpc";
        PyValueError::new_err(format!("expected a wire of {expected}, found {name:?}"))
    })
}

/// The value of a reply, or its fault.
pub(super) fn value_of<'py>(
    py: Python<'py>,
    reply: &Reply,
    address: impl Fn() -> String,
    command: &Str,
) -> PyResult<Bound<'py, PyAny>> {
    if reply.is_unclear {
        warn_of_nothing(py, &address(), command)?;
        return Ok(py.None().into_bound(py));
    }
    if let Some(notice) = reply.notice {
        warn_of_change(py, &address(), command, notice)?;
    }
    let response = reply.shaped();
    let value = if response.is_success() {
        body_to_python(py, &response.body)
    } else {
        errors::fault(py, &response).and_then(Err)
    };
    value.or_else(|error| Err(told_of(py, error, reply, &address(), command)?))
}

/// The exception for an error reply, with the attributes of every error of a call.
fn told_of(py: Python<'_>, error: PyErr, reply: &Reply, address: &str, command: &Str) -> PyResult<PyErr> {
    let class = errors::codec_class(py)?;
    let error = if error.is_instance(py, class) {
        let head = format!("{address}: {}: ", command.to_text().escape_debug());
        let sizes = format!("{} bytes sent, {} received", reply.sent.len(), reply.raw.len());
        let text = format!("{head}the value of the answer cannot be read: {} ({sizes})", error.value(py));
        PyErr::from_value(class.call1((text,))?)
    } else {
        error
    };
    with_context(py, error, address, command, &reply.sent, &reply.raw)
}

/// Says once per place that there was nothing to tell a success by.
fn warn_of_nothing(py: Python<'_>, address: &str, command: &Str) -> PyResult<()> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = errors::class(py, &CLASS, "UnclearReplyWarning")?;
    let command = command.to_text();
    let text = format!(
        "{address}: {}: OpenSIPS 1.x answers nothing both for success and for some errors over this wire; a FIFO, a \
         datagram or /RPC2 of mi_xmlrpc tells them apart",
        command.escape_debug()
    );
    let text = CString::new(text).map_err(|_| PyValueError::new_err("the command holds a NUL"))?;
    PyErr::warn(py, class, &text, 2)
}

/// Warns that the server changes the sent parameters.
fn warn_of_change(py: Python<'_>, address: &str, command: &Str, notice: &str) -> PyResult<()> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = errors::class(py, &CLASS, "ChangedParameterWarning")?;
    let text = format!("{address}: {}: {notice}", command.to_text().escape_debug());
    let text = CString::new(text).map_err(|_| PyValueError::new_err("the command holds a NUL"))?;
    PyErr::warn(py, class, &text, 2)
}

/// Adds the attributes of every error of a call.
pub(super) fn with_context(
    py: Python<'_>,
    exception: PyErr,
    address: &str,
    command: &Str,
    sent: &[u8],
    received: &[u8],
) -> PyResult<PyErr> {
    let value = exception.value(py);
    value.setattr("address", address)?;
    value.setattr("command", text_to_python(py, command)?)?;
    for (name, bytes) in [("sent", sent), ("received", received)] {
        if !bytes.is_empty() {
            value.setattr(name, PyBytes::new(py, bytes))?;
        }
    }
    Ok(exception)
}
