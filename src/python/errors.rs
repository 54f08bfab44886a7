//! Rust errors become Python exceptions here, and nowhere else. The classes are those of `sipmi.errors`.

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::convert;
use super::error_report::raised_from;
use crate::address::AddressError;
use crate::codec::xmlrpc::UnknownForm;
use crate::codec::{CodecError, jsonrpc};
use crate::command::registry::RegisterError;
use crate::convert::TooDeep;
use crate::dialect::{Dialect, UnknownVersion};
use crate::response::{Body, Failure, Response};
use crate::server::ServerError;
use crate::server::listener::http::NetworkError;
use crate::server::listener::http::tls::TlsError;
use crate::transport::OpenError;

/// The class of this name in `sipmi.errors`.
pub(super) fn class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, "sipmi.errors", name)
}

/// `sipmi.errors.Fault`.
pub(super) fn fault_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    class(py, &CELL, "Fault")
}

/// `sipmi.errors.CodecError`.
pub(super) fn codec_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    class(py, &CELL, "CodecError")
}

/// The exception that an error answer raises.
pub(super) fn fault(py: Python<'_>, response: &Response) -> PyResult<PyErr> {
    static UNKNOWN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static AMBIGUOUS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static PARAMS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = match kind_of(response) {
        FaultKind::Plain => fault_class(py)?,
        FaultKind::MethodNotFound => class(py, &UNKNOWN, "MethodNotFound")?,
        FaultKind::Ambiguous => class(py, &AMBIGUOUS, "AmbiguousMethod")?,
        FaultKind::InvalidParams => class(py, &PARAMS, "InvalidParams")?,
    };
    let data = match &response.body {
        Body::Empty => py.None().into_bound(py),
        body => convert::body_to_python(py, body)?,
    };
    let message = convert::text_to_python(py, &response.reason)?;
    Ok(PyErr::from_value(class.call1((response.code, message, data))?))
}

enum FaultKind {
    Plain,
    MethodNotFound,
    Ambiguous,
    InvalidParams,
}

/// Returns the kind of an error reply, on any wire.
fn kind_of(response: &Response) -> FaultKind {
    let reason = &*response.reason;
    match response.code {
        -32601 | -506 => FaultKind::MethodNotFound,
        500 if reason.starts_with(b"command ") && reason.ends_with(b"not available") => FaultKind::MethodNotFound,
        401 | 500 if reason == b"Command not found" => FaultKind::MethodNotFound,
        -32001 => FaultKind::Ambiguous,
        -32602 => FaultKind::InvalidParams,
        400 if matches!(reason, b"Too few or too many arguments" | b"Bad parameter" | b"Bad parameter value") => {
            FaultKind::InvalidParams
        }
        _ => FaultKind::Plain,
    }
}

/// The exception for a call that got no response from its command, as a JSON-RPC client would see it.
pub(super) fn failure(py: Python<'_>, failure: &Failure) -> PyResult<PyErr> {
    Ok(raised_from(py, fault(py, &jsonrpc::failure_response(failure, Dialect::Sipmi))?, failure))
}

impl From<RegisterError> for PyErr {
    fn from(error: RegisterError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<NetworkError> for PyErr {
    fn from(error: NetworkError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<UnknownForm> for PyErr {
    fn from(error: UnknownForm) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<TlsError> for PyErr {
    fn from(error: TlsError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<UnknownVersion> for PyErr {
    fn from(error: UnknownVersion) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<AddressError> for PyErr {
    fn from(error: AddressError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<CodecError> for PyErr {
    fn from(error: CodecError) -> Self {
        Python::attach(|py| {
            let raised = codec_class(py).and_then(|class| class.call1((error.to_string(),)));
            raised.map_or_else(|failed| failed, PyErr::from_value)
        })
    }
}

impl From<TooDeep> for PyErr {
    fn from(error: TooDeep) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<ServerError> for PyErr {
    fn from(error: ServerError) -> Self {
        let text = error.to_string();
        match error {
            ServerError::NotServed(_) => PyValueError::new_err(text),
            ServerError::Running | ServerError::Divided => PyRuntimeError::new_err(text),
            ServerError::Threads(error) => PyOSError::new_err((error.raw_os_error().unwrap_or(libc::EAGAIN), text)),
            ServerError::Memory(_) => PyOSError::new_err((libc::ENOMEM, text)),
            ServerError::Open(error) => open_error(&error, text),
        }
    }
}

fn open_error(error: &OpenError, text: String) -> PyErr {
    let errno = match error {
        OpenError::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        OpenError::Bind { source, .. } => source.raw_os_error().unwrap_or(libc::EADDRNOTAVAIL),
        OpenError::InUse { .. } => libc::EADDRINUSE,
        OpenError::InTheWay { .. } => libc::EEXIST,
        OpenError::Foreign { .. } => libc::EPERM,
    };
    PyOSError::new_err((errno, text))
}
