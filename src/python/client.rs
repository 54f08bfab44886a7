//! The client as Python's `sipmi.client` drives it, and the exceptions for its errors.

use std::ffi::CString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

use super::convert::{body_to_python, text_from_python, text_to_python};
use super::errors;
use super::exit;
use super::number;
use super::read::item_from_python;
use super::tree::PyTree;
use crate::address::Address;
use crate::client::{
    Arguments, Asked, CallError, CallFailure, Client, Deadline, LinkOptions, Reply, ServerInfo, Wire,
};
use crate::client::{Credentials, HttpOptions, TlsOptions};
use crate::codec::CodecError;
use crate::codec::json;
use crate::codec::text::{self, Carrier, TextStyle};
use crate::convert::item_to_tree;
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::Param;
use crate::response::{Body, Response};
use crate::tree::Tree;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyClient>()?;
    module.add_class::<PyReply>()
}

/// A client of one server.
#[pyclass(frozen, name = "Client", module = "sipmi._core")]
pub(super) struct PyClient {
    client: Arc<Client>,
    /// True if the server's version was checked, to warn about it.
    is_looked_at: AtomicBool,
}

/// An answer.
#[pyclass(frozen, name = "Reply", module = "sipmi._core")]
pub(super) struct PyReply {
    reply: Reply,
    address: String,
    command: Str,
}

#[pymethods]
impl PyClient {
    /// Touches no network. `wire` None: found out at the first call. The rest is for http: and https:.
    #[new]
    #[pyo3(signature = (address, wire, reply_dir, auth=None, token=None, cafile=None, cert=None, verify=true,
        max_in_flight=None, retries=0, failure_threshold=None, reply_limit=None, receive_buf_size=None, socket_buf_size=None))]
    #[allow(clippy::too_many_arguments)] // they are Python's keywords
    fn new(
        address: &str,
        wire: Option<&str>,
        reply_dir: Option<PathBuf>,
        auth: Option<(Bound<'_, PyString>, Bound<'_, PyString>)>,
        token: Option<Bound<'_, PyString>>,
        cafile: Option<PathBuf>,
        cert: Option<(PathBuf, Option<PathBuf>)>,
        verify: bool,
        max_in_flight: Option<i64>,
        retries: u32,
        failure_threshold: Option<i64>,
        reply_limit: Option<i64>,
        receive_buf_size: Option<i64>,
        socket_buf_size: Option<i64>,
    ) -> PyResult<Self> {
        let mut address: Address = address.parse()?;
        match (&mut address, reply_dir) {
            (_, None) => {}
            (Address::Fifo { reply_dir, .. }, dir) => *reply_dir = dir,
            (other, Some(_)) => {
                return Err(PyValueError::new_err(format!("{other} has no reply FIFOs and no reply_dir")));
            }
        }
        let wire = match wire {
            None => None,
            Some("text") => Some(Wire::Text),
            Some("jsonrpc") => Some(Wire::Json),
            Some("mi_json") => Some(Wire::MiJson),
            Some("xmlrpc") => Some(Wire::XmlRpc),
            Some(other) => {
                let expected = "auto, text, jsonrpc, mi_json or xmlrpc";
                return Err(PyValueError::new_err(format!("expected a wire of {expected}, found {other:?}")));
            }
        };
        let credentials = read_credentials(auth, token)?;
        if let (Some(cafile), false) = (&cafile, verify) {
            let cafile = cafile.display();
            return Err(PyValueError::new_err(format!(
                "expected either cafile or verify=False, got both: without verification {cafile} is not looked at"
            )));
        }
        let tls = TlsOptions { verify, authorities: cafile, certificate: cert };
        let receive_buf_size =
            receive_buf_size.map(|size| read_count("bytes for receive_buf_size", size)).transpose()?;
        let has_options = credentials.is_some() || tls != TlsOptions::default() || receive_buf_size.is_some();
        if has_options && !matches!(address, Address::Http(_)) {
            let options = "auth, token, cafile, cert, verify and receive_buf_size are for http: and https: alone";
            return Err(PyValueError::new_err(format!("{options}, not for {address}")));
        }
        let socket_buf_size = socket_buf_size.map(read_socket_buf_size).transpose()?;
        if socket_buf_size.is_some() && !matches!(address, Address::Unix { .. }) {
            return Err(PyValueError::new_err(format!("socket_buf_size is for unix: alone, not for {address}")));
        }
        let in_flight = max_in_flight.map(|most| read_count("requests in flight", most)).transpose()?;
        let breaker = failure_threshold.map(|after| read_count("failures", after)).transpose()?;
        let breaker = breaker.map(|after| NonZeroU32::try_from(after).unwrap_or(NonZeroU32::MAX));
        let http = HttpOptions { credentials, tls, receive_buf_size };
        let client = Client::with_options(address, wire, &LinkOptions { http, socket_buf_size })
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let client = client.with_in_flight(in_flight).with_retries(retries).with_breaker(breaker);
        let client = match reply_limit {
            Some(limit) => client.with_reply_limit(read_count("bytes as reply_limit", limit)?),
            None => client,
        };
        Ok(PyClient { client: Arc::new(client), is_looked_at: AtomicBool::new(false) })
    }

    #[getter]
    fn address(&self) -> String {
        self.client.address().to_string()
    }

    /// Runs a command and gives its value.
    #[pyo3(signature = (command, args, kwargs, timeout, force=false))]
    fn call<'py>(
        &self,
        py: Python<'py>,
        command: &Bound<'py, PyString>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
        force: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let command = text_from_python(command)?;
        let reply = self.run(py, &command, read_arguments(args, kwargs)?, timeout, force)?;
        value_of(py, &reply, || self.address(), &command)
    }

    /// Runs a command and gives its reply, also when it is an error.
    #[pyo3(signature = (command, args, kwargs, timeout, force=false))]
    fn request(
        &self,
        py: Python<'_>,
        command: &Bound<'_, PyString>,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
        force: bool,
    ) -> PyResult<PyReply> {
        let command = text_from_python(command)?;
        let reply = self.run(py, &command, read_arguments(args, kwargs)?, timeout, force)?;
        Ok(self.reply(reply, command))
    }

    /// As `request`, with strings in order, each with a name or without (an empty one).
    #[pyo3(signature = (command, strings, timeout, force=false))]
    fn request_strings(
        &self,
        py: Python<'_>,
        command: &Bound<'_, PyString>,
        strings: Vec<(Bound<'_, PyString>, Bound<'_, PyString>)>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
        force: bool,
    ) -> PyResult<PyReply> {
        let command = text_from_python(command)?;
        let reply = self.run(py, &command, read_strings(strings)?, timeout, force)?;
        Ok(self.reply(reply, command))
    }

    /// `text`, `jsonrpc`, `mi_json` or `xmlrpc`.
    fn wire(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
    ) -> PyResult<&'static str> {
        let found = wait(py, timeout, |deadline| self.client.wire(deadline))?;
        Ok(self.or_raise(py, &"version".into(), timeout, found)?.name())
    }

    /// Generation and version, each None when the server does not say.
    fn found(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
    ) -> PyResult<(Option<String>, Option<String>)> {
        let found = wait(py, timeout, |deadline| self.client.found(deadline))?;
        self.or_raise(py, &"version".into(), timeout, found).map(|found| who(&found))
    }

    fn close(&self) {
        self.client.close();
    }

    /// Close idle connections and sockets. The facts found about the server stay known.
    fn rest(&self) {
        self.client.close_idle();
    }

    /// Return the same client with its own sockets, files and locks, for a child of this process.
    fn renewed(&self) -> Self {
        let is_looked_at = AtomicBool::new(self.is_looked_at.load(Ordering::Relaxed));
        PyClient { client: Arc::new(self.client.after_fork()), is_looked_at }
    }
}

impl PyClient {
    fn run(&self, py: Python<'_>, command: &Str, arguments: Arguments, timeout: f64, force: bool) -> PyResult<Reply> {
        let asked = Asked { method: command.clone(), arguments, force };
        let outcome = wait(py, timeout, |deadline| self.client.answer(asked, deadline))?;
        self.or_raise(py, command, timeout, outcome)
    }

    fn or_raise<T>(
        &self,
        py: Python<'_>,
        command: &Str,
        timeout: f64,
        outcome: Result<T, CallFailure>,
    ) -> PyResult<T> {
        let answer = outcome.or_else(|failure| Err(self.exception(py, &failure, command, timeout)?))?;
        self.warn_of_age(py)?;
        Ok(answer)
    }

    /// Says once that the server is older than the shapes of replies that are known.
    pub(super) fn warn_of_age(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_looked_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(found) = self.client.known() else { return Ok(()) };
        let is_first = !self.is_looked_at.swap(true, Ordering::Relaxed);
        if is_first && found.is_before_shapes() {
            warn_of_old(py, &self.address(), found.version.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    pub(super) fn core(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    pub(super) fn reply(&self, reply: Reply, command: Str) -> PyReply {
        PyReply { reply, address: self.address(), command }
    }

    /// The exception for a call without a reply.
    pub(super) fn exception(
        &self,
        py: Python<'_>,
        failure: &CallFailure,
        command: &Str,
        timeout: f64,
    ) -> PyResult<PyErr> {
        exception(py, failure, &self.address(), command, timeout)
    }
}

fn read_credentials(
    auth: Option<(Bound<'_, PyString>, Bound<'_, PyString>)>,
    token: Option<Bound<'_, PyString>>,
) -> PyResult<Option<Credentials>> {
    match (auth, token) {
        (Some(_), Some(_)) => Err(PyValueError::new_err("expected auth or token, found both")),
        (Some((user, password)), None) => {
            let (user, password) = (text_from_python(&user)?, text_from_python(&password)?);
            Ok(Some(Credentials::Basic { user, password }))
        }
        (None, Some(token)) => Ok(Some(Credentials::Token(text_from_python(&token)?))),
        (None, None) => Ok(None),
    }
}

/// Waits with the interpreter detached and checks for signals. An exception of a signal handler ends the wait.
fn wait<T: Send>(
    py: Python<'_>,
    timeout: f64,
    work: impl FnOnce(&mut Deadline<'_>) -> Result<T, CallFailure> + Send,
) -> PyResult<Result<T, CallFailure>> {
    let timeout = number::timeout(timeout)?;
    let mut raised = None;
    let outcome = exit::detach(py, || {
        let mut look = || {
            #[allow(clippy::redundant_closure_for_method_calls)] // the method is not general enough
            let seen = exit::attach(|py| py.check_signals());
            // An interpreter that ends wants its threads back.
            let Some(seen) = seen else { return true };
            raised = seen.err();
            raised.is_some()
        };
        work(&mut Deadline::new(timeout, &mut look))
    });
    raised.map_or(Ok(outcome), Err)
}

/// Each call that waits has a buffer of this size, so that an absurd one is refused.
fn read_socket_buf_size(bytes: i64) -> PyResult<NonZeroUsize> {
    const LARGEST: usize = 16 << 20;
    let size = read_count("bytes for socket_buf_size", bytes)?;
    if size.get() > LARGEST {
        let expected = format!("expected at most {LARGEST} bytes for socket_buf_size, found {bytes}");
        return Err(PyValueError::new_err(expected));
    }
    Ok(size)
}

fn read_count(of: &str, count: i64) -> PyResult<NonZeroUsize> {
    let read = usize::try_from(count).ok().and_then(NonZeroUsize::new);
    read.ok_or_else(|| PyValueError::new_err(format!("expected 1 or more {of}, found {count}")))
}

/// Generation and version, as Python's users see them.
pub(super) fn who(found: &ServerInfo) -> (Option<String>, Option<String>) {
    (found.generation.map(|generation| generation.to_string()), found.version.clone())
}

pub(super) fn read_strings(strings: Vec<(Bound<'_, PyString>, Bound<'_, PyString>)>) -> PyResult<Arguments> {
    let read = |(name, value)| Ok(Param { name: text_from_python(&name)?, value: text_from_python(&value)? });
    let strings = strings.into_iter().map(read).collect::<PyResult<_>>()?;
    Ok(Arguments { strings, ..Arguments::default() })
}

pub(super) fn read_arguments(args: &Bound<'_, PyTuple>, kwargs: &Bound<'_, PyDict>) -> PyResult<Arguments> {
    let mut arguments = Arguments::default();
    for arg in args.iter() {
        arguments.positional.push(item_from_python(&arg)?);
    }
    for (name, value) in kwargs.iter() {
        arguments.named.push((text_from_python(name.cast()?)?, item_from_python(&value)?));
    }
    Ok(arguments)
}

/// The value of a reply, or its fault.
fn value_of<'py>(
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

/// Says which replies of a version before 1.11 are not as those of later versions.
fn warn_of_old(py: Python<'_>, address: &str, version: &str) -> PyResult<()> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = errors::class(py, &CLASS, "OldServerWarning")?;
    let text = format!(
        "{address}: OpenSIPS {}: some replies of versions before 1.11 keep shapes of their own: list_statistics, which of \
         a command, and modules that 1.11 changed (docs/trees-and-values.md has the list)",
        version.escape_debug()
    );
    let text = CString::new(text).map_err(|_| PyValueError::new_err("the version holds a NUL"))?;
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

/// The exception for a call without a reply.
fn exception(py: Python<'_>, failure: &CallFailure, address: &str, command: &Str, timeout: f64) -> PyResult<PyErr> {
    static TRANSPORT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static TIMEOUT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static REFUSED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let CallFailure { error, sent, received, received_size, probing, details } = failure;
    let (progress, hint) = details.as_ref().map_or(("", ""), |details| (&details.progress, &details.hint));
    let head = format!("{address}: {}: ", command.to_text().escape_debug());
    let question = if *probing { " to the question for its version" } else { "" };
    let said = if hint.is_empty() { String::new() } else { format!("; {hint}") };
    let sizes = format!("{} bytes sent, {received_size} received", sent.len());
    let exception = match error {
        CallError::Transport { what, errno } => {
            errors::class(py, &TRANSPORT, "TransportError")?.call1((*errno, format!("{head}{what}{said}")))?
        }
        CallError::Closed | CallError::CircuitOpen { .. } => {
            errors::class(py, &TRANSPORT, "TransportError")?.call1((format!("{head}{error}"),))?
        }
        CallError::Timeout => {
            let came = if progress.is_empty() { String::new() } else { format!(": {progress}") };
            let text = format!("{head}no complete answer{question} within {timeout} s ({sizes}{came}){said}");
            errors::class(py, &TIMEOUT, "CallTimeout")?.call1((text,))?
        }
        CallError::Codec(codec) => errors::codec_class(py)?
            .call1((format!("{head}the answer{question} cannot be read: {codec} ({sizes}){said}"),))?,
        CallError::Refused(refusal) => {
            let can_be_forced = refusal.is_only_a_limit();
            let hint = if can_be_forced { "; force=True sends it all the same" } else { "" };
            let refused = errors::class(py, &REFUSED, "RequestRefused")?
                .call1((format!("{head}not sent: {refusal}{hint}"),))?;
            refused.setattr("can_be_forced", can_be_forced)?;
            refused
        }
        CallError::Params(why) => {
            let invalid =
                Response { body: Body::Item(why.as_str().into()), ..Response::error(-32602, "Invalid params") };
            errors::fault(py, &invalid)?.into_value(py).into_bound(py).into_any()
        }
        // The exception of a signal handler comes first; without one the interpreter is ending.
        CallError::Interrupted => return Ok(PyRuntimeError::new_err(format!("{head}{error}"))),
    };
    with_context(py, PyErr::from_value(exception), address, command, sent, received)
}

/// Adds the attributes of every error of a call.
fn with_context(
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

#[pymethods]
impl PyReply {
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
