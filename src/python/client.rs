//! The client as Python's `sipmi.client` drives it, and the exceptions for its errors.

use std::ffi::CString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::convert::text_from_python;
use super::errors;
use super::exit;
use super::number;
use super::read::item_from_python;
use super::reply::{PyReply, read_wire, value_of, with_context};
use crate::address::Address;
use crate::client::{Arguments, Asked, CallError, CallFailure, Client, Deadline, LinkOptions, Reply, ServerInfo};
use crate::client::{Credentials, HttpOptions, TlsOptions};
use crate::item::Str;
use crate::request::Param;
use crate::response::{Body, Response};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyClient>()
}

/// A client of one server.
#[pyclass(frozen, name = "Client", module = "sipmi._core")]
pub(super) struct PyClient {
    client: Arc<Client>,
    /// True if the server's version was checked, to warn about it.
    is_looked_at: AtomicBool,
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
        let wire = wire.map(read_wire).transpose()?;
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
        PyReply::new(reply, self.address(), command)
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
