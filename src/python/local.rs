//! Calls from within: a command runs without a transport, and the caller waits for its answer.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::exit;
pub(super) use super::request::flush_to;
use crate::clock;
use crate::command::serial::Turn;
use crate::command::service::Service;
use crate::command::{Answer, Command, Detach, Filled, Hook, Origin, Responder, Source};
use crate::request::Params;
use crate::response::{Failure, Response};
use crate::tree::{NodeId, Tree};

/// Blocked in Rust, a thread looks for signals this often.
const SIGNALS: Duration = Duration::from_millis(50);

type Outcome = Result<Response, Failure>;

/// Runs a command and waits for its answer, watching for Ctrl-C.
pub(super) fn run(py: Python<'_>, service: &Service, command: &Arc<Command>, params: Params) -> PyResult<Outcome> {
    let time = command.conduct.limits.run.and_then(crate::command::limits::Run::time);
    let deadline = time.map(clock::deadline);
    let _turn = match take_turn(py, command, deadline)? {
        Ok(turn) => turn,
        Err(failure) => return Ok(Err(failure)),
    };
    let (sender, receiver) = channel();
    let stop = Stop::default();
    let origin = Origin { deadline, ..Origin::local() };
    let detach: Arc<dyn Detach> = Arc::new(Line { sender, stop: stop.clone(), origin });
    let answer = exit::detach(py, || service.run(command, params, &detach));
    match answer {
        Answer::Now(result) => Ok(result),
        Answer::Stream(source) => gather(py, source, deadline),
        Answer::Later => match wait(py, receiver, deadline) {
            Ok(Some(Said::Result(result))) => Ok(result),
            Ok(Some(Said::Stream(source))) => gather(py, source, deadline),
            given_up => {
                exit::detach(py, || stop.give_up());
                given_up.map(|_| Err(Failure::Timeout))
            }
        },
    }
}

/// How the work on an answer is stopped, and whether it was.
#[derive(Clone, Default)]
struct Stop(Arc<Mutex<Stopping>>);

#[derive(Default)]
enum Stopping {
    #[default]
    Possible,
    Known(Hook),
    Done,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, Stopping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller no longer waits for the answer.
    fn give_up(&self) {
        let known = std::mem::replace(&mut *self.lock(), Stopping::Done);
        if let Stopping::Known(hook) = known {
            hook();
        }
    }

    fn is_done(&self) -> bool {
        matches!(*self.lock(), Stopping::Done)
    }

    /// Leaves word how to stop; it is done at once where that is wanted already.
    fn leave(&self, hook: Hook) {
        let mut state = self.lock();
        if matches!(*state, Stopping::Done) {
            drop(state);
            return hook();
        }
        *state = Stopping::Known(hook);
    }
}

/// Waits for the turn of a command that runs one call at a time.
fn take_turn(
    py: Python<'_>,
    command: &Command,
    deadline: Option<Instant>,
) -> PyResult<Result<Option<Turn>, Failure>> {
    let Some(serial) = &command.conduct.serial else { return Ok(Ok(None)) };
    let (sender, receiver) = channel();
    // If the caller has timed out, the turn is dropped, which starts the next caller.
    serial.wait(Box::new(move |turn| drop(sender.send(turn))));
    Ok(wait(py, receiver, deadline)?.map(Some).ok_or(Failure::Timeout))
}

/// Waits for a message; `None` after the deadline.
fn wait<T: Send>(py: Python<'_>, mut receiver: Receiver<T>, deadline: Option<Instant>) -> PyResult<Option<T>> {
    loop {
        let sent;
        (receiver, sent) = exit::detach(py, move || {
            let sent = receiver.recv_timeout(SIGNALS);
            (receiver, sent)
        });
        match sent {
            Ok(sent) => return Ok(Some(sent)),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
    }
}

/// All nodes of a streamed answer, as one tree.
fn gather(py: Python<'_>, mut source: Box<dyn Source>, deadline: Option<Instant>) -> PyResult<Outcome> {
    let (bell, mut rings) = channel();
    let waker = Waker::from(Arc::new(Bell(bell)));
    let (mut whole, mut batch) = (Tree::ok(), Tree::ok());
    loop {
        batch.clear();
        let filled = exit::detach(py, || source.fill(&mut batch, &waker));
        whole.mark(NodeId::ROOT, batch.flags(NodeId::ROOT));
        for node in batch.children(NodeId::ROOT) {
            whole.graft(NodeId::ROOT, &batch, node);
        }
        match filled {
            Filled::More => py.check_signals()?,
            Filled::End => return Ok(Ok(whole.into())),
            Filled::Failed(result) => return Ok(result),
            Filled::Wait => loop {
                let rung;
                (rings, rung) = exit::detach(py, move || {
                    let rung = rings.recv_timeout(SIGNALS);
                    (rings, rung)
                });
                py.check_signals()?;
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(Err(Failure::Timeout));
                }
                if rung.is_ok() {
                    break;
                }
            },
        }
    }
}

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // The caller may have been interrupted and dropped the receiver.
        let _ = self.0.send(());
    }
}

/// The content of a later answer.
enum Said {
    Result(Outcome),
    Stream(Box<dyn Source>),
}

/// A call from within.
struct Line {
    sender: Sender<Said>,
    stop: Stop,
    origin: Origin,
}

impl Detach for Line {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn detach(self: Arc<Self>) -> Box<dyn Responder> {
        Box::new(Local { sender: Some(self.sender.clone()), stop: self.stop.clone() })
    }
}

/// Answers a call from within.
struct Local {
    sender: Option<Sender<Said>>,
    stop: Stop,
}

impl Local {
    fn say(&mut self, said: Said) {
        if let Some(sender) = self.sender.take() {
            // The caller may have been interrupted and dropped the receiver.
            let _ = sender.send(said);
        }
    }
}

impl Responder for Local {
    fn answer(mut self: Box<Self>, result: Outcome) {
        self.say(Said::Result(result));
    }

    fn stream(mut self: Box<Self>, source: Box<dyn Source>) {
        self.say(Said::Stream(source));
    }

    fn provisional(&self, _: Response) -> bool {
        false
    }

    fn on_cancel(&self, hook: Hook) {
        self.stop.leave(hook);
    }

    fn is_awaited(&self) -> bool {
        self.sender.is_some() && !self.stop.is_done()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.say(Said::Result(Err(Failure::handler())));
    }
}
