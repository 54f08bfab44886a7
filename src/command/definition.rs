//! A command, its handler, and the way back to the caller.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::limits::Limits;
use super::origin::Origin;
use super::rate::Rate;
use super::recipe::{Arguments, Recipe};
use super::serial::Serial;
use super::statistics::CommandMetrics;
use super::stream::{Hook, Source};
use crate::item::Str;
use crate::response::{Failure, Response};

/// The properties that a command declares (`mi_export_t` flags).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CommandFlags(u8);

impl CommandFlags {
    /// No flags.
    pub const NONE: CommandFlags = CommandFlags(0);
    /// Answers later, from elsewhere (`MI_ASYNC_RPL_FLAG`).
    pub const ASYNC: CommandFlags = CommandFlags(1);
    /// Takes no parameters (`MI_NO_INPUT_FLAG`).
    pub const NO_INPUT: CommandFlags = CommandFlags(1 << 1);
    /// Takes its parameters by name only (`MI_NAMED_PARAMS_ONLY`).
    pub const NAMED_PARAMS_ONLY: CommandFlags = CommandFlags(1 << 2);
    /// Changes nothing.
    pub const READ_ONLY: CommandFlags = CommandFlags(1 << 3);
    /// Comes with every server; a command of the same name replaces it.
    pub const BUILT_IN: CommandFlags = CommandFlags(1 << 4);

    /// Returns true if all flags of `other` are set.
    pub const fn has(self, other: CommandFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits in the form that Python uses.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Creates flags from bits that callers may set; drops other bits.
    pub const fn from_bits(bits: u8) -> CommandFlags {
        CommandFlags(bits & 0b1111)
    }
}

impl std::ops::BitOr for CommandFlags {
    type Output = CommandFlags;
    fn bitor(self, other: CommandFlags) -> CommandFlags {
        CommandFlags(self.0 | other.0)
    }
}

/// A command as a module exports it (`struct mi_cmd`).
pub struct Command {
    /// The module that exports it.
    pub module: Str,
    /// Its name within the module.
    pub name: Str,
    /// One line for people.
    pub help: Str,
    /// The properties that it declares.
    pub flags: CommandFlags,
    /// The parameters that it accepts.
    pub recipe: Recipe,
    /// Other names of the command.
    pub aliases: Vec<Str>,
    /// The code that runs it.
    pub handler: Box<dyn Handler>,
    /// The thread it runs on, and its limits.
    pub conduct: Conduct,
}

/// The way a command is run: its threads, limits and counters.
#[derive(Debug, Default)]
pub struct Conduct {
    /// The handler may block, so it runs on a thread of the blocking pool.
    pub is_blocking: bool,
    /// It runs one call at a time.
    pub serial: Option<Arc<Serial>>,
    /// The limits for callers.
    pub limits: Limits,
    /// How often one peer may call it.
    pub rate: Option<Rate>,
    /// Its counters.
    pub metrics: CommandMetrics,
    /// The number of calls in progress, counted only if there is a limit.
    pub in_progress: AtomicUsize,
    /// The number of calls that wait for a thread or for their turn.
    pub waiting: AtomicUsize,
}

impl Command {
    /// The failure of its handler.
    pub fn failure(&self) -> Failure {
        Failure::handler_of(self.name.clone())
    }

    /// `module:name`.
    pub fn canonical_name(&self) -> Str {
        [&*self.module, b":", &*self.name].concat().into()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({})", self.canonical_name())
    }
}

/// Runs a command. One handler serves many threads at once.
pub trait Handler: Send + Sync {
    /// Answers now, or takes the [`Responder`] of the call and answers later.
    fn run(&self, call: Call<'_>) -> Answer;

    /// The handler itself, for callers that know its type.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// One call of a command.
pub struct Call<'a> {
    /// The command.
    pub command: &'a Arc<Command>,
    /// Its arguments.
    pub arguments: Arguments,
    /// The caller.
    pub origin: &'a Origin,
    /// Creates the responder that answers this call after its handler has returned.
    pub detach: &'a Arc<dyn Detach>,
}

/// Creates the responder of a call that is answered after its handler has returned. A handler may keep it, and use it
/// from any thread.
pub trait Detach: Send + Sync {
    /// The caller.
    fn origin(&self) -> &Origin;

    /// Returns the responder of the call. The handler's return value no longer answers the call.
    fn detach(self: Arc<Self>) -> Box<dyn Responder>;
}

/// The result of a handler.
pub enum Answer {
    /// The answer.
    Now(Result<Response, Failure>),
    /// The answer comes later, from the holder of the responder.
    Later,
    /// The answer, made while it is sent.
    Stream(Box<dyn Source>),
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Answer::Now(Ok(response))
    }
}

/// The way back to a caller (`struct mi_handler`). Answers exactly once: when it is dropped
/// without an answer, the caller is told that the command failed.
pub trait Responder: Send {
    /// Sends the answer.
    fn answer(self: Box<Self>, result: Result<Response, Failure>);

    /// Answers with nodes that are made while they are sent.
    fn stream(self: Box<Self>, source: Box<dyn Source>);

    /// Sends a provisional reply where the wire can carry one: text over FIFO and datagrams. Returns true if it was
    /// sent.
    fn provisional(&self, response: Response) -> bool;

    /// Runs the hook when the call is no longer awaited: the deadline has passed, the client has left, or the server is
    /// stopping. Runs it at once if that has already happened, and never after the call was answered.
    fn on_cancel(&self, hook: Hook);

    /// Returns true if a caller still waits for the answer.
    fn is_awaited(&self) -> bool;
}
