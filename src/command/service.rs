//! What one server offers: its commands, its statistics, and running a request against them.

use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use super::event::Events;
use super::forward::Forwarder;
use super::permit::Permit;
use super::processes::Processes;
use super::registry::Registry;
use super::statistics::Statistics;
use super::system_methods;
use super::trace::Trace;
use super::{Answer, Call, Command, CommandFlags, Detach};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::Params;
use crate::response::Failure;

/// Commands, statistics and identity of one server.
pub struct Service {
    /// The module that the user's commands belong to.
    pub name: Str,
    /// The version of that module; may be empty.
    pub version: Str,
    /// Who is imitated.
    pub dialect: Dialect,
    /// Its counters.
    pub statistics: Statistics,
    /// Its events and their subscribers.
    pub events: Events,
    /// Its processes.
    pub processes: Processes,
    /// When it began.
    pub started: SystemTime,
    /// Told when `log_level` changes.
    pub on_log_level: OnceLock<Box<dyn Fn(i32) + Send + Sync>>,
    /// Which commands are recorded.
    pub trace: OnceLock<Trace>,
    /// Writes what is counted as a page, where a listener shows it.
    pub metrics_page: OnceLock<MetricsPage>,
    registry: RwLock<Registry>,
    /// Where commands are run that this server does not have.
    forwarder: OnceLock<Arc<dyn Forwarder>>,
}

/// Makes a page, or nothing where it fails.
pub type MetricsPage = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// Notices, as OpenSIPS starts: levels count from -3 (alert) to 4 (debug).
const DEFAULT_LOG_LEVEL: i32 = 3;

impl Service {
    /// A service without commands.
    pub(super) fn empty(name: Str, version: Str, dialect: Dialect) -> Arc<Self> {
        let statistics = Statistics::default();
        let service = Arc::new(Service {
            events: Events::new(&statistics, dialect),
            statistics,
            processes: Processes::default(),
            name,
            version,
            dialect,
            started: SystemTime::now(),
            on_log_level: OnceLock::new(),
            trace: OnceLock::new(),
            metrics_page: OnceLock::new(),
            registry: RwLock::default(),
            forwarder: OnceLock::new(),
        });
        service.processes.set_log_level(0, DEFAULT_LOG_LEVEL);
        service
    }

    /// The commands, to look at.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The commands, to change.
    pub fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on, processes that are forked share statistics, events and the list of processes with this one. What
    /// another thread changes during the call may be lost.
    pub fn share(&self) -> std::io::Result<()> {
        self.statistics.share()?;
        self.events.share()?;
        self.processes.share()
    }

    /// Leaves to another server what this one does not have; false when that is settled already.
    pub fn leave_to(&self, forwarder: Arc<dyn Forwarder>) -> bool {
        self.forwarder.set(forwarder).is_ok()
    }

    /// Where commands are run that this server does not have.
    pub fn forwarder(&self) -> Option<&Arc<dyn Forwarder>> {
        self.forwarder.get()
    }

    /// Whether a command is run here whatever another server has: its user's commands are, and what it says of itself.
    pub fn keeps(command: &Command) -> bool {
        !command.flags.has(CommandFlags::BUILT_IN) || matches!(&*command.name, b"version" | b"kill")
    }

    /// The command that a request means, if the listener runs it.
    pub fn find(&self, method: &[u8], permit: &Permit) -> Result<Arc<Command>, Failure> {
        // Before 4.0 names are flat: a module's name in front makes it another one.
        let qualified = self.dialect.is_emulated() && !self.dialect.has_modules() && method.contains(&b':');
        let found = if qualified { Err(Failure::UnknownCommand) } else { self.registry().lookup(method) };
        let command = match (self.forwarder(), found) {
            (None, found) => found?,
            (Some(_), Ok(own)) if Service::keeps(&own) => own,
            (Some(_), Err(failure)) if failure != Failure::UnknownCommand => return Err(failure),
            // Events of its own are subscribed to here.
            (Some(_), Ok(own)) if *own.module == *b"evi" && !self.events.list().is_empty() => own,
            (Some(forwarder), found) => forwarder.command(method, permit).map_or(found, Ok)?,
        };
        // What is asked about the server is answered everywhere, as far as the listener's commands go.
        let is_allowed = permit.allows(&command) || system_methods::is_question(method);
        if is_allowed { Ok(command) } else { Err(Failure::Forbidden) }
    }

    /// Fits the parameters to a command and runs it (`run_mi_cmd`).
    pub fn run(&self, command: &Arc<Command>, params: Params, detach: &Arc<dyn Detach>) -> Answer {
        match self.bind(command, params) {
            Ok(arguments) => command.handler.run(Call { command, arguments, origin: detach.origin(), detach }),
            Err(failure) => Answer::Now(Err(failure)),
        }
    }

    fn bind(&self, command: &Command, params: Params) -> Result<super::Arguments, Failure> {
        let params = match params {
            // On wires of strings, a command without input ignores what it is given.
            Params::Strings(_) if command.flags.has(CommandFlags::NO_INPUT) => Params::None,
            params if command.flags.has(CommandFlags::NO_INPUT) && !params.is_empty() => {
                return Err(Failure::ParamCount);
            }
            params => params,
        };
        command.recipe.bind(params, self.dialect, command.flags.has(CommandFlags::NAMED_PARAMS_ONLY))
    }
}
