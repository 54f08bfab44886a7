//! Calls on an event loop: each has a future of the loop, which is told when the call is done.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::client::{PyClient, read_arguments, read_strings, who};
use super::convert::text_from_python;
use super::number;
use crate::client::driver::{Call, CallId, Driver, Waiter};
use crate::client::{Arguments, Asked, CallFailure, Deadline, Reply, ServerInfo, Wire};
use crate::item::Str;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyDriver>()
}

/// Drives calls from an event loop, which watches its descriptor and lets it take turns.
#[pyclass(frozen, name = "Driver", module = "sipmi._core")]
pub(super) struct PyDriver {
    driver: Driver<Outcome>,
    waiting: Mutex<HashMap<CallId, Waiting>>,
}

/// The waiter for a call.
struct Waiting {
    future: Py<PyAny>,
    client: Py<PyClient>,
    command: Str,
    timeout: f64,
}

enum Question {
    Request(Arguments, bool),
    Found,
    Wire,
}

enum Answer {
    Reply(Box<Reply>),
    Found(Arc<ServerInfo>),
    Wire(Wire),
}

/// The result of a call.
type Outcome = Result<Answer, CallFailure>;

#[pymethods]
impl PyDriver {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(PyDriver { driver: Driver::new()?, waiting: Mutex::default() })
    }

    /// Return the descriptor that the event loop watches: it is readable when a turn is due.
    fn fileno(&self) -> i32 {
        self.driver.as_fd().as_raw_fd()
    }

    /// Begin a call whose reply the future gets. The return value is the argument of `cancel`.
    #[pyo3(signature = (future, client, command, args, kwargs, timeout, force=false))]
    #[allow(clippy::too_many_arguments)] // they are Python's
    fn request(
        &self,
        future: Bound<'_, PyAny>,
        client: Bound<'_, PyClient>,
        command: &Bound<'_, PyString>,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
        force: bool,
    ) -> PyResult<u64> {
        let command = text_from_python(command)?;
        self.begin(future, client, command, Question::Request(read_arguments(args, kwargs)?, force), timeout)
    }

    /// As `request`, with strings in order, each with a name or without (an empty one).
    #[pyo3(signature = (future, client, command, strings, timeout, force=false))]
    #[allow(clippy::too_many_arguments)] // they are Python's
    fn request_strings(
        &self,
        future: Bound<'_, PyAny>,
        client: Bound<'_, PyClient>,
        command: &Bound<'_, PyString>,
        strings: Vec<(Bound<'_, PyString>, Bound<'_, PyString>)>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
        force: bool,
    ) -> PyResult<u64> {
        let command = text_from_python(command)?;
        self.begin(future, client, command, Question::Request(read_strings(strings)?, force), timeout)
    }

    /// Begins to ask for generation and version.
    fn found(
        &self,
        future: Bound<'_, PyAny>,
        client: Bound<'_, PyClient>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
    ) -> PyResult<u64> {
        self.begin(future, client, "version".into(), Question::Found, timeout)
    }

    /// Begins to ask for the wire.
    fn wire(
        &self,
        future: Bound<'_, PyAny>,
        client: Bound<'_, PyClient>,
        #[pyo3(from_py_with = number::timeout_argument)] timeout: f64,
    ) -> PyResult<u64> {
        self.begin(future, client, "version".into(), Question::Wire, timeout)
    }

    /// Lets all calls go on that can, and tells the futures of those that are done. Never waits.
    fn turn(&self, py: Python<'_>) -> PyResult<()> {
        let mut outcome = Ok(());
        for (id, answer) in self.driver.turn() {
            // The lock is free before Python runs, which may cancel other calls.
            let waiting = self.lock().remove(&id);
            if let Some(waiting) = waiting {
                outcome = waiting.tell(py, answer).and(outcome);
            }
        }
        outcome
    }

    /// Gives up a call: its socket is closed, its reply FIFO removed. Does nothing when it is done.
    fn cancel(&self, call: u64) {
        let id = CallId::from(call);
        self.driver.cancel(id);
        let waiting = self.lock().remove(&id);
        drop(waiting);
    }

    /// Gives up all calls, whose futures are told nothing.
    fn close(&self) {
        self.driver.cancel_all();
        let waiting = std::mem::take(&mut *self.lock());
        drop(waiting);
    }
}

impl PyDriver {
    fn begin(
        &self,
        future: Bound<'_, PyAny>,
        client: Bound<'_, PyClient>,
        command: Str,
        question: Question,
        timeout: f64,
    ) -> PyResult<u64> {
        let py = future.py();
        let limit = number::timeout(timeout)?;
        let core = client.get().core();
        let name = command.clone();
        let ask = move |waiter: Arc<Waiter>| -> Call<Outcome> {
            Box::pin(async move {
                let mut deadline = Deadline::driven(limit, &waiter);
                match question {
                    Question::Request(arguments, force) => {
                        let asked = Asked { method: name, arguments, force };
                        let reply = core.answer_async(asked, &mut deadline).await;
                        reply.map(|reply| Answer::Reply(Box::new(reply)))
                    }
                    Question::Found => core.found_async(&mut deadline).await.map(Answer::Found),
                    Question::Wire => core.wire_async(&mut deadline).await.map(Answer::Wire),
                }
            })
        };
        let waiting = Waiting { future: future.unbind(), client: client.unbind(), command, timeout };
        let (id, outcome) = self.driver.begin(ask);
        match outcome {
            Some(answer) => waiting.tell(py, answer)?,
            None => drop(self.lock().insert(id, waiting)),
        }
        Ok(id.into())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Sets the future's result, unless the future is done or canceled.
    fn tell(self, py: Python<'_>, outcome: Outcome) -> PyResult<()> {
        let future = self.future.bind(py);
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        let client = self.client.get();
        if let (Ok(_), Err(warning)) = (&outcome, client.warn_of_age(py)) {
            future.call_method1(intern!(py, "set_exception"), (warning.into_value(py),))?;
            return Ok(());
        }
        let value = match outcome {
            Ok(Answer::Reply(reply)) => Bound::new(py, client.reply(*reply, self.command))?.into_any(),
            Ok(Answer::Found(found)) => who(&found).into_pyobject(py)?.into_any(),
            Ok(Answer::Wire(wire)) => wire.name().into_pyobject(py)?.into_any(),
            Err(failure) => {
                let error = client.exception(py, &failure, &self.command, self.timeout)?;
                future.call_method1(intern!(py, "set_exception"), (error.into_value(py),))?;
                return Ok(());
            }
        };
        future.call_method1(intern!(py, "set_result"), (value,))?;
        Ok(())
    }
}
