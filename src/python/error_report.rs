//! The exceptions of handlers: logged with their tracebacks, and answered in the form of the wire.

use std::sync::Arc;

use pyo3::prelude::*;

use super::convert::{text_from_python, text_to_python};
use super::errors::fault_class;
use super::read::item_from_python;
use crate::command::{Command, Origin, Transport};
use crate::response::{Body, Cause, Failure, HandlerError, Response};

/// Turns the exceptions of a handler into answers.
pub(super) struct ErrorReport {
    command: Arc<Command>,
    /// True if the caller is this process, which gets the exception itself.
    is_local: bool,
    /// Told of exceptions: `log(command, exception)`.
    log: Py<PyAny>,
}

impl ErrorReport {
    pub(super) fn new(py: Python<'_>, command: &Arc<Command>, origin: &Origin, log: &Py<PyAny>) -> Self {
        ErrorReport {
            command: Arc::clone(command),
            is_local: origin.transport == Transport::Local,
            log: log.clone_ref(py),
        }
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        ErrorReport { command: Arc::clone(&self.command), is_local: self.is_local, log: self.log.clone_ref(py) }
    }

    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    /// A `Fault` is the answer itself; any other exception is logged, and its text reaches no wire.
    pub(super) fn answer_to(&self, py: Python<'_>, error: &PyErr) -> Result<Response, Failure> {
        // Before CPython 3.12 an exception that was caught in Rust has its traceback only after `into_value`.
        let exception = error.clone_ref(py).into_value(py).into_bound(py);
        let is_fault = fault_class(py).is_ok_and(|class| exception.is_instance(class).unwrap_or(false));
        if is_fault && let Ok(response) = response_from_fault(&exception) {
            return Ok(response);
        }
        let logged = text_to_python(py, &self.command.canonical_name())
            .and_then(|name| self.log.call1(py, (name, &exception)));
        if let Err(error) = logged {
            error.write_unraisable(py, None);
        }
        let cause = self.is_local.then(|| Cause(Arc::new(exception.unbind().into_any())));
        Err(Failure::Handler(HandlerError { command: Some(self.command.name.clone()), cause }))
    }
}

/// Raises an exception `from` the one that a handler of this process raised.
pub(super) fn raised_from(py: Python<'_>, raised: PyErr, failure: &Failure) -> PyErr {
    if let Failure::Handler(HandlerError { cause: Some(Cause(cause)), .. }) = failure
        && let Some(exception) = cause.downcast_ref::<Py<PyAny>>()
    {
        raised.set_cause(py, Some(PyErr::from_value(exception.bind(py).clone())));
    }
    raised
}

fn response_from_fault(fault: &Bound<'_, PyAny>) -> PyResult<Response> {
    let code = fault.getattr("code")?.extract()?;
    let reason = text_from_python(&fault.getattr("message")?.str()?)?;
    let data = fault.getattr("data")?;
    let body = if data.is_none() { Body::Empty } else { Body::Item(item_from_python(&data)?) };
    Ok(Response { code, reason, body })
}
