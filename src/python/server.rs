//! The server as Python's `sipmi.server` drives it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::client::PyClient;
use super::command::{Described, PyCommand, read_param, read_recipes};
use super::convert::{body_to_python, text_from_python};
use super::handler::PyHandler;
use super::http::HttpReader;
use super::number::{self, MOST_BYTES, MOST_IN_ALL, MOST_THREADS, seconds};
use super::read::{item_from_python, type_name};
use super::thread_scope::thread_scope;
use super::tree::PyTree;
use super::{errors, event, exit, gateway, limits, local, logging};
use crate::address::Address;
use crate::codec::json;
use crate::codec::text::Indent;
use crate::command::builtin;
use crate::command::permit::Permit;
use crate::command::rate::Rate;
use crate::command::recipe::{Passing, Recipe, Signature};
use crate::command::serial::Serial;
use crate::command::statistics::CLASSES;
use crate::command::statistics::{Counter, Growth};
use crate::command::trace::Trace;
use crate::command::{Command, CommandFlags, Conduct};
use crate::convert::node_to_item;
use crate::dialect::Dialect;
use crate::gateway::Gateway;
use crate::item::{Item, Str};
use crate::request::{Param, Params};
use crate::response::{Body, Failure, Response};
use crate::server::{ListenOptions, Server};
use crate::tree::{NodeId, Tree, Value};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyServer>()?;
    module.add_class::<PyCounter>()?;
    module.add_function(wrap_pyfunction!(latency_classes, module)?)
}

/// The statistics of a latency histogram: name, and upper bound in seconds or None.
#[pyfunction]
fn latency_classes() -> Vec<(&'static str, Option<f64>)> {
    let seconds = |us: u64| (us < u64::MAX).then_some(us as f64 / 1e6);
    CLASSES.iter().map(|(us, name)| (*name, seconds(*us))).collect()
}

/// A server.
#[pyclass(frozen, name = "Server", module = "sipmi._core")]
pub(super) struct PyServer {
    pub(super) server: Server,
    /// True if its listeners emulate the faults of the emulated version.
    hazards: bool,
    gateway: OnceLock<Arc<Gateway>>,
}

#[pymethods]
impl PyServer {
    #[new]
    #[pyo3(signature = (name, version, emulate, allow_kill, hazards=false))]
    fn new(name: &str, version: &str, emulate: Option<&str>, allow_kill: bool, hazards: bool) -> PyResult<Self> {
        let dialect = emulate.map_or(Ok(Dialect::Sipmi), str::parse)?;
        let service = builtin::new_service(name, version, dialect, allow_kill);
        Ok(PyServer { server: Server::new(service, thread_scope()), hazards, gateway: OnceLock::new() })
    }

    /// Adds a command. `params` None: the handler takes `(root, param)`.
    #[allow(clippy::too_many_arguments)] // called in one place, by name
    #[pyo3(signature = (
        *, module, name, help, flags, aliases, function, param, submit, log, params, recipes, any_name, conduct
    ))]
    fn register(
        &self,
        py: Python<'_>,
        module: &str,
        name: &str,
        help: &str,
        flags: u8,
        aliases: Vec<String>,
        function: Py<PyAny>,
        param: Py<PyAny>,
        submit: Option<Py<PyAny>>,
        log: Py<PyAny>,
        params: Option<Vec<Described>>,
        recipes: Vec<Vec<String>>,
        any_name: bool,
        conduct: &Bound<'_, PyDict>,
    ) -> PyResult<PyCommand> {
        let recipe = match params {
            None => Recipe::Tree,
            Some(params) => {
                let params = params.into_iter().map(read_param).collect::<PyResult<Vec<_>>>()?;
                let recipes = read_recipes(&params, recipes)?;
                Recipe::Signature(Signature { params, recipes, takes_any_name: any_name })
            }
        };
        let command = Command {
            module: module.into(),
            name: name.into(),
            help: help.into(),
            flags: CommandFlags::from_bits(flags),
            recipe,
            aliases: aliases.into_iter().map(Str::from).collect(),
            handler: Box::new(PyHandler::new(function, param, submit, log)),
            conduct: read_conduct(conduct)?,
        };
        let service = &self.server.service;
        let command = exit::detach(py, || service.registry_mut().register(command))?;
        Ok(PyCommand { command })
    }

    /// Takes a command away.
    fn unregister(&self, py: Python<'_>, command: &PyCommand) -> bool {
        let name = command.command.canonical_name();
        exit::detach(py, || self.server.service.registry_mut().unregister(&name)).is_some()
    }

    /// All commands, in the order of registration.
    fn commands(&self) -> Vec<PyCommand> {
        let registry = self.server.service.registry();
        registry.commands().map(|command| PyCommand { command: command.clone() }).collect()
    }

    /// The command that a name means, or None.
    fn lookup(&self, py: Python<'_>, name: &str) -> PyResult<Option<PyCommand>> {
        let found = self.server.service.registry().lookup(name.as_bytes());
        match found {
            Ok(command) => Ok(Some(PyCommand { command })),
            Err(Failure::UnknownCommand) => Ok(None),
            Err(failure) => Err(errors::failure(py, &failure)?),
        }
    }

    /// Runs a command without a transport in between and gives its value.
    fn call<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = self.server.service.find(name.as_bytes(), &Permit::default());
        let command = match found {
            Ok(command) => command,
            Err(failure) => return Err(errors::failure(py, &failure)?),
        };
        let params = local_params(&command, args, kwargs)?;
        let response = self.run(py, &command, params)?;
        if response.is_success() { body_to_python(py, &response.body) } else { Err(errors::fault(py, &response)?) }
    }

    /// Runs a command with a tree of parameters and gives the reply tree (`run_mi_cmd`). `flush(tree)` takes what is
    /// sent early.
    #[pyo3(signature = (command, root, flush=None))]
    fn run_command(
        &self,
        py: Python<'_>,
        command: &PyCommand,
        root: &PyTree,
        flush: Option<Py<PyAny>>,
    ) -> PyResult<PyTree> {
        let command = self.own(py, command)?;
        let params = tree_params(&root.snapshot())?;
        local::flush_to(flush);
        let ran = self.run(py, &command, params);
        // A command that runs elsewhere, or not at all, has not taken it.
        local::flush_to(None);
        let Response { code, reason, body } = ran?;
        let mut tree = match body {
            Body::Empty => crate::tree::Tree::ok(),
            Body::Item(item) => crate::convert::item_to_tree(&item),
            Body::Json(text) => crate::convert::item_to_tree(&json::parse(&text)?),
            Body::Tree(tree) => tree,
        };
        (tree.code, tree.reason) = (code, reason);
        Ok(PyTree::new(tree))
    }

    /// Adds an endpoint. `options` may hold what [`read_options`] reads.
    fn listen(&self, py: Python<'_>, address: &str, options: &Bound<'_, PyDict>) -> PyResult<()> {
        let mut address: Address = address.parse()?;
        let options = ListenOptions { hazards: self.hazards, ..read_options(&mut address, options)? };
        Ok(exit::detach(py, || self.server.listen(address, options))?)
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        logging::start(py)?;
        Ok(exit::detach(py, || self.server.start())?)
    }

    /// Stop, and wait up to `drain_timeout` seconds for running commands; less if `hurry()` says so.
    fn stop(
        &self,
        py: Python<'_>,
        drain_timeout: &Bound<'_, PyAny>,
        hurry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let drain_timeout = seconds("drain_timeout", drain_timeout)?;
        let hurry = hurry.map(|hurry| hurry.clone().unbind());
        let raised = Mutex::new(None);
        let is_hurried = || {
            let asked = exit::attach(|py| {
                py.check_signals()?;
                hurry.as_ref().map_or(Ok(false), |hurry| hurry.call0(py)?.is_truthy(py))
            });
            asked.unwrap_or(Ok(true)).unwrap_or_else(|error| {
                // An interrupt of the wait cuts the drain short.
                *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                true
            })
        };
        exit::detach(py, || self.server.stop(drain_timeout, &is_hurried));
        raised.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    #[getter]
    fn is_running(&self, py: Python<'_>) -> bool {
        exit::detach(py, || self.server.is_running())
    }

    #[getter]
    fn addresses(&self, py: Python<'_>) -> Vec<String> {
        exit::detach(py, || self.server.addresses()).iter().map(ToString::to_string).collect()
    }

    /// The counter `group:name`, made when there is none.
    fn statistic(&self, py: Python<'_>, group: &str, name: &str) -> PyCounter {
        let statistics = &self.server.service.statistics;
        PyCounter { counter: exit::detach(py, || statistics.counter(group, name, Growth::Incremental)) }
    }

    /// List all statistics: group, name, True for a counter, and the value.
    fn statistics(&self, py: Python<'_>) -> Vec<(String, String, bool, i128)> {
        let statistics = exit::detach(py, || self.server.service.statistics.select(&[b"all"]));
        let said = statistics.iter().map(|statistic| {
            let grows = statistic.growth == Growth::Incremental;
            (statistic.group.to_string(), statistic.name.to_string(), grows, statistic.number())
        });
        said.collect()
    }

    /// Records commands that these patterns mean, without secrets and the values of these names.
    fn trace(&self, patterns: Vec<String>, secrets: Vec<String>) {
        let _ = self.server.service.trace.set(Trace::new(patterns, secrets));
    }

    /// Has `GET /metrics` of listeners with `metrics=True` answered with what a function gives, as bytes.
    fn on_metrics(&self, function: Py<PyAny>) {
        let page = move || {
            exit::attach(|py| match function.call0(py).and_then(|page| page.extract::<Vec<u8>>(py)) {
                Ok(page) => Some(page),
                Err(error) => {
                    error.write_unraisable(py, None);
                    None
                }
            })
            .flatten()
        };
        let _ = self.server.service.metrics_page.set(Box::new(page));
    }

    /// Makes an event known.
    fn declare_event(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<()> {
        let name = text_from_python(name)?;
        Ok(exit::detach(py, || self.server.service.events.declare(name))?)
    }

    /// Sends an event to its subscribers and says how many there are.
    fn raise_event(&self, py: Python<'_>, name: &Bound<'_, PyString>, params: &Bound<'_, PyAny>) -> PyResult<usize> {
        let event = event::event_from_python(name, params)?;
        Ok(exit::detach(py, || self.server.service.events.raise(event))?)
    }

    /// The names of all events, in the order in which they were declared.
    #[getter]
    fn events(&self, py: Python<'_>) -> Vec<String> {
        exit::detach(py, || self.server.service.events.list()).iter().map(|event| event.name.to_string()).collect()
    }

    /// The subscribers: event, socket, form, lifetime in seconds, seconds left, sent, dropped.
    #[getter]
    fn subscribers(&self, py: Python<'_>) -> Vec<event::Described> {
        exit::detach(py, || event::subscribers(&self.server.service.events))
    }

    /// Set whether subscribers over TCP have to confirm each event.
    fn reliable_events(&self, reliable: bool) {
        self.server.set_reliable_events(reliable);
    }

    /// Leaves to another server what this one does not have. `options` may hold `only`, `timeout`, `threads`,
    /// `queue`, `cache`, `rights` and `audit`.
    fn forward(&self, client: &PyClient, options: &Bound<'_, PyDict>) -> PyResult<()> {
        gateway::forward(&self.server.service, &self.gateway, client.core(), options)
    }

    /// Calls `function(level)` when `log_level` sets a level.
    fn on_log_level(&self, function: Py<PyAny>) {
        let tell = move |level: i32| {
            exit::attach(|py| {
                if let Err(error) = function.call1(py, (level,)) {
                    error.write_unraisable(py, None);
                }
            });
        };
        let _ = self.server.service.on_log_level.set(Box::new(tell));
    }
}

impl PyServer {
    fn run(&self, py: Python<'_>, command: &Arc<Command>, params: Params) -> PyResult<Response> {
        match local::run(py, &self.server.service, command, params)? {
            Ok(response) => Ok(response),
            Err(failure) => Err(errors::failure(py, &failure)?),
        }
    }
}

/// Parameters of a call from within: by position, by name, or by position and then by name.
fn local_params(command: &Command, args: &Bound<'_, PyTuple>, kwargs: &Bound<'_, PyDict>) -> PyResult<Params> {
    let mut positional = args.iter().map(|arg| item_from_python(&arg)).collect::<PyResult<Vec<_>>>()?;
    if kwargs.is_empty() {
        return Ok(if positional.is_empty() { Params::None } else { Params::Positional(positional) });
    }
    let mut named = Vec::with_capacity(positional.len() + kwargs.len());
    if !positional.is_empty() {
        let Recipe::Signature(signature) = &command.recipe else {
            return Err(PyTypeError::new_err(
                "a (root, param) command takes parameters by position or by name, not both",
            ));
        };
        let known = signature.params.iter().filter(|param| param.passing == Passing::Either);
        named.extend(known.map(|param| param.name.clone()).zip(positional.drain(..)));
    }
    for (name, value) in kwargs.iter() {
        named.push((text_from_python(name.cast()?)?, item_from_python(&value)?));
    }
    Ok(Params::Named(named))
}

/// The top nodes of a tree as parameters: strings with names or without, as the wires of 1.x and 2.x have them,
/// or by position when a value is more than a string.
fn tree_params(root: &Tree) -> PyResult<Params> {
    let nodes: Vec<NodeId> = root.children(NodeId::ROOT).collect();
    let mut strings = Vec::with_capacity(nodes.len());
    for node in &nodes {
        match root.value(*node) {
            Value::Str(value) | Value::Bytes(value) if root.first_child(*node).is_none() => {
                strings.push(Param { name: root.name(*node).into(), value: value.into() });
            }
            _ => {
                let items = nodes.iter().map(|node| node_to_item(root, *node)).collect::<Result<_, _>>()?;
                return Ok(Params::Positional(items));
            }
        }
    }
    Ok(if strings.is_empty() { Params::None } else { Params::Strings(strings) })
}

/// Reads how a command is run: `blocking`, `serial` and its limits.
fn read_conduct(given: &Bound<'_, PyDict>) -> PyResult<Conduct> {
    let mut conduct = Conduct::default();
    for (name, value) in given.iter() {
        let name: String = name.extract()?;
        match name.as_str() {
            "blocking" => conduct.is_blocking = value.is_truthy()?,
            "serial" => conduct.serial = value.is_truthy()?.then(Arc::<Serial>::default),
            "request_limit" => conduct.limits.request = number::limit(&name, &value, 1..=MOST_BYTES)?,
            name if limits::read(&mut conduct.limits, name, &value)? => {}
            other => return Err(PyTypeError::new_err(format!("a command has no option {other:?}"))),
        }
    }
    conduct.rate = conduct.limits.rate.map(Rate::new).transpose()?;
    Ok(conduct)
}

/// Reads the options of `listen`.
fn read_options(address: &mut Address, given: &Bound<'_, PyDict>) -> PyResult<ListenOptions> {
    let mut options = ListenOptions::default();
    let mut http = HttpReader::default();
    for (name, value) in given.iter() {
        let name: String = name.extract()?;
        match (name.as_str(), &mut *address) {
            ("reply_dir", Address::Fifo { reply_dir, .. }) => *reply_dir = Some(value.extract()?),
            ("reply_wait", Address::Fifo { .. }) => options.reply_wait = seconds(&name, &value)?,
            ("reply_indent", Address::Fifo { .. }) => {
                options.indent = Indent::Blanks(number::count(&name, &value, 0..=64)? as u8);
            }
            ("mode", Address::Fifo { .. } | Address::Unix { .. }) => options.access.mode = number::mode(&value)?,
            ("owner", Address::Fifo { .. } | Address::Unix { .. }) => options.access.owner = Some(value.extract()?),
            ("group", Address::Fifo { .. } | Address::Unix { .. }) => options.access.group = Some(value.extract()?),
            ("write_timeout", _) => options.write_timeout = seconds(&name, &value)?,
            ("batch_limit", _) => options.batch.calls = or_unlimited(&name, &value)?,
            ("batch_reply_limit", _) => options.batch.replies = or_unlimited(&name, &value)?,
            ("unsent_limit", _) => options.unsent_limit = or_unlimited(&name, &value)?,
            ("request_limit", _) => options.request_limit = number::count(&name, &value, 1..=MOST_BYTES)?,
            (name, _) if limits::read(&mut options.limits, name, &value)? => {}
            ("pretty_printing", _) => options.pretty_printing = value.extract()?,
            #[cfg(target_os = "linux")]
            ("cpus", _) => options.cpus = super::affinity::cpus_to_run_on(&value)?,
            ("allow", _) => options.permit.allow = Some(value.extract()?),
            ("read_only", _) => options.permit.read_only = value.extract()?,
            ("allow_from", Address::Udp { .. } | Address::Http(_)) => {
                let networks: Vec<String> = value.extract()?;
                options.allow_from = Some(networks.iter().map(|network| network.parse()).collect::<Result<_, _>>()?);
            }
            (_, Address::Http(_)) if http.read(&name, &value)? => {}
            ("workers", _) => options.workers = number::count(&name, &value, 1..=MOST_THREADS)?,
            (other, address) => return Err(PyTypeError::new_err(format!("{address} has no option {other:?}"))),
        }
    }
    if let Some(pattern) = options.permit.pattern_without_match() {
        let expected = "allow: expected patterns of command names, which are not empty and have no blanks";
        return Err(PyValueError::new_err(format!("{expected}, got {pattern:?}")));
    }
    if let Address::Http(url) = address {
        options.http = http.finish(url)?;
    }
    Ok(options)
}

/// A limit; None: there is none.
fn or_unlimited(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(number::limit(name, value, 0..=MOST_IN_ALL)?.unwrap_or(usize::MAX))
}

impl PyServer {
    /// The command itself, or for one that came by pickle this server's command of that name.
    fn own(&self, py: Python<'_>, command: &PyCommand) -> PyResult<Arc<Command>> {
        if !command.is_copy() {
            return Ok(Arc::clone(&command.command));
        }
        let found = self.server.service.registry().lookup(&command.command.canonical_name());
        found.or_else(|failure| Err(errors::failure(py, &failure)?))
    }
}

/// A counter that `get_statistics` shows (`stat_var`).
#[pyclass(frozen, name = "Counter", module = "sipmi")]
pub(super) struct PyCounter {
    counter: Counter,
}

#[pymethods]
impl PyCounter {
    /// Adds to it (`update_stat`); a negative number subtracts. It has 64 bits and no sign, and wraps around.
    #[pyo3(signature = (n=None))]
    fn inc(&self, n: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.counter.add(n.map_or(Ok(1), bits_of)?);
        Ok(())
    }

    /// Replaces it; the value is from 0 to 2**64 - 1.
    fn set(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if value.lt(0)? {
            return Err(PyValueError::new_err(format!("expected a statistic from 0 to 2**64 - 1, found {value}")));
        }
        self.counter.set(bits_of(value)?);
        Ok(())
    }

    /// The current value (`get_stat_val`).
    #[getter]
    fn value(&self) -> u64 {
        self.counter.get().cast_unsigned()
    }

    fn __repr__(&self) -> String {
        format!("<Counter {}>", self.value())
    }
}

/// The 64 bits of an integer from -2**63 to 2**64 - 1.
fn bits_of(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    match item_from_python(value)? {
        Item::Int(value) => Ok(value),
        Item::UInt(value) => Ok(value.cast_signed()),
        Item::Bool(value) => Ok(value.into()),
        _ => Err(PyTypeError::new_err(format!("expected an int, found {}", type_name(value)))),
    }
}
