//! Events as Python's `sipmi.server` raises them and `sipmi.events` receives them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::convert::{item_to_python, text_from_python, text_to_python};
use super::read::{item_from_python, type_name};
use crate::codec::event::{self, Event, Received, Stream};
use crate::command::event::{EventError, Events, Listed};
use crate::item::{Item, Str};
use crate::request::Params;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyEventStream>()?;
    module.add_function(wrap_pyfunction!(decode_event, module)?)
}

impl From<EventError> for PyErr {
    fn from(error: EventError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// Reads the arguments of `raise_event`.
pub(super) fn event_from_python(name: &Bound<'_, PyString>, params: &Bound<'_, PyAny>) -> PyResult<Event> {
    let item = item_from_python(params)?;
    Event::with(text_from_python(name)?, item).ok_or_else(|| {
        let found = type_name(params);
        PyTypeError::new_err(format!("expected an event's parameters as a mapping, a list or None, found {found}"))
    })
}

/// Event, socket, form, seconds it was made for, seconds left, sent, dropped.
pub(super) type Described = (String, String, &'static str, u32, f64, i64, i64);

/// Lists the subscribers, the latest first for each event.
pub(super) fn subscribers(events: &Events) -> Vec<Described> {
    let describe = |event: &Listed| {
        let described = event.subscriptions.iter().map(|subscription| {
            let left = subscription.left().unwrap_or_default().as_secs_f64();
            let tally = &subscription.tally;
            let (name, socket) = (event.name.to_string(), subscription.socket.to_string());
            let (sent, dropped) = (tally.sent.get(), tally.dropped.get());
            (name, socket, subscription.form().name(), subscription.expire(), left, sent, dropped)
        });
        described.collect::<Vec<_>>()
    };
    events.list().iter().flat_map(describe).collect()
}

/// A decoded event: name, parameters, form, and the id of the requested reply.
type Decoded<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>, &'static str, Option<Bound<'py, PyBytes>>);

/// Reads one event: its name, its parameters, "text" or "jsonrpc", and the bytes to answer or None.
///
/// Parameters are a dict, or a list when none has a name. On text, values are strings.
///
/// Raises CodecError: it is no event.
///
/// >>> from sipmi import _core
/// >>> _core.decode_event(b"E_UL_AOR_INSERT\naor::alice\n\n")
/// ('E_UL_AOR_INSERT', {'aor': 'alice'}, 'text', None)
#[pyfunction]
fn decode_event<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Decoded<'py>> {
    let Received { event, form, id } = event::decode(bytes)?;
    let reply = id.map(|id| {
        let mut reply = Vec::new();
        event::encode_reply(&mut reply, &id);
        PyBytes::new(py, &reply)
    });
    Ok((text_to_python(py, &event.name)?, params_to_python(py, event.params)?, form.name(), reply))
}

fn params_to_python(py: Python<'_>, params: Params) -> PyResult<Bound<'_, PyAny>> {
    let members: Vec<(Str, Item)> = match params {
        Params::None => Vec::new(),
        Params::Positional(items) => return item_to_python(py, &Item::Array(items)),
        Params::Named(members) => members,
        Params::Strings(params) => params.into_iter().map(|param| (param.name, Item::Str(param.value))).collect(),
    };
    if !members.is_empty() && members.iter().all(|(name, _)| name.is_empty()) {
        return item_to_python(py, &Item::Array(members.into_iter().map(|(_, item)| item).collect()));
    }
    // As in trees: a name that is used twice is a list, at its first place.
    let dict = PyDict::new(py);
    let mut repeated: Vec<&Str> = Vec::new();
    for (name, item) in &members {
        let (key, value) = (text_to_python(py, name)?, item_to_python(py, item)?);
        match dict.get_item(&key)? {
            None => dict.set_item(key, value)?,
            Some(known) if repeated.contains(&name) => known.cast::<PyList>()?.append(value)?,
            Some(known) => {
                repeated.push(name);
                dict.set_item(key, PyList::new(py, [known, value])?)?;
            }
        }
    }
    Ok(dict.into_any())
}

/// Splits what comes over a TCP connection into events.
///
/// >>> from sipmi import _core
/// >>> stream = _core.EventStream()
/// >>> stream.feed(b'{"method":"E_A"}{"meth')
/// [b'{"method":"E_A"}']
/// >>> stream.feed(b'od":"E_B"}')
/// [b'{"method":"E_B"}']
#[pyclass(name = "EventStream", module = "sipmi._core")]
pub(super) struct PyEventStream {
    stream: Stream,
}

#[pymethods]
impl PyEventStream {
    #[new]
    fn new() -> Self {
        PyEventStream { stream: Stream::default() }
    }

    /// Takes what came and gives the values that are complete.
    ///
    /// Raises CodecError: it is not JSON, or one value is over 1 MiB; nothing more can be read then.
    fn feed<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.stream.push(bytes);
        let mut values = Vec::new();
        while let Some(value) = self.stream.next_value()? {
            values.push(PyBytes::new(py, &value));
        }
        Ok(values)
    }
}
