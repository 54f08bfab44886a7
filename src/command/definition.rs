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

/// What a command says of itself (`mi_export_t` flags).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CommandFlags(u8);

impl CommandFlags {
    /// Nothing.
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

    /// Whether all of `other` is set.
    pub const fn has(self, other: CommandFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits, as Python sees them.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From the bits that callers may set; others are dropped.
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
    /// What it says of itself.
    pub flags: CommandFlags,
    /// What parameters it takes.
    pub recipe: Recipe,
    /// Other names it answers to.
    pub aliases: Vec<Str>,
    /// What runs it.
    pub handler: Box<dyn Handler>,
    /// Where it runs, and what it lets callers ask of it.
    pub conduct: Conduct,
}

/// How a command is run, beside what it does.
#[derive(Debug, Default)]
pub struct Conduct {
    /// It waits for others, so it has a thread of those kept for that.
    pub is_blocking: bool,
    /// It runs one call at a time.
    pub serial: Option<Arc<Serial>>,
    /// What callers may ask of it.
    pub limits: Limits,
    /// How often one peer may call it.
    pub rate: Option<Rate>,
    /// What is counted of it.
    pub metrics: CommandMetrics,
    /// How many of its calls are in progress, where that is limited.
    pub in_progress: AtomicUsize,
    /// How many of its calls wait for a thread, or for their turn.
    pub waiting: AtomicUsize,
}

impl Command {
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

    /// The handler itself, for whoever knows its type.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// One call of a command.
pub struct Call<'a> {
    /// What is called.
    pub command: &'a Arc<Command>,
    /// What it is given.
    pub arguments: Arguments,
    /// Who calls.
    pub origin: &'a Origin,
    /// Makes what answers this call after its handler has returned.
    pub detach: &'a Arc<dyn Detach>,
}

/// Makes what answers a call after its handler has returned. A handler may keep it, and use it from any thread.
pub trait Detach: Send + Sync {
    /// Who calls.
    fn origin(&self) -> &Origin;

    /// The responder of the call, which is then no longer answered by what its handler returns.
    fn detach(self: Arc<Self>) -> Box<dyn Responder>;
}

/// What a handler gives back.
pub enum Answer {
    /// The answer.
    Now(Result<Response, Failure>),
    /// Whoever holds the responder answers.
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

    /// Says something before the answer, where the wire can: text over FIFO and datagrams. Whether it could.
    fn provisional(&self, response: Response) -> bool;

    /// Has this done when nobody waits for the answer any more: the deadline passed, the client left, the server
    /// stops. At once, if that is so already; never, once it is answered.
    fn on_cancel(&self, hook: Hook);

    /// Whether somebody still waits for the answer.
    fn is_awaited(&self) -> bool;
}
