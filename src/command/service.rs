//! What one server offers: its commands, its statistics, and running a request against them.

use std::sync::atomic::AtomicI32;
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use super::event::Events;
use super::permit::Permit;
use super::processes::Processes;
use super::registry::Registry;
use super::statistics::Statistics;
use super::{Answer, Call, Command, CommandFlags, Origin, Responder, builtin, event_commands};
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
    /// The log level as OpenSIPS counts it: -3 (alert) to 4 (debug).
    pub log_level: AtomicI32,
    /// Told when `log_level` changes.
    pub on_log_level: OnceLock<Box<dyn Fn(i32) + Send + Sync>>,
    registry: RwLock<Registry>,
}

/// Notices, as OpenSIPS starts.
const DEFAULT_LOG_LEVEL: i32 = 3;

impl Service {
    /// A service with the commands that every server has.
    pub fn new(name: impl Into<Str>, version: impl Into<Str>, dialect: Dialect, allow_kill: bool) -> Arc<Self> {
        let statistics = Statistics::default();
        let service = Arc::new(Service {
            events: Events::new(&statistics, dialect),
            statistics,
            processes: Processes::default(),
            name: name.into(),
            version: version.into(),
            dialect,
            started: SystemTime::now(),
            log_level: AtomicI32::new(DEFAULT_LOG_LEVEL),
            on_log_level: OnceLock::new(),
            registry: RwLock::default(),
        });
        builtin::register(&service, allow_kill);
        event_commands::register(&service);
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

    /// From now on processes that are forked have statistics and the list of processes in common with this one.
    pub fn share(&self) -> std::io::Result<()> {
        self.statistics.share()?;
        self.processes.share()
    }

    /// The command that a request means, if the listener runs it.
    pub fn find(&self, method: &[u8], permit: &Permit) -> Result<Arc<Command>, Failure> {
        // Before 4.0 names are flat: a module's name in front makes it another one.
        let qualified = self.dialect.is_emulated() && !self.dialect.has_modules() && method.contains(&b':');
        let command = if qualified { Err(Failure::UnknownCommand) } else { self.registry().lookup(method) }?;
        if permit.allows(&command) { Ok(command) } else { Err(Failure::Forbidden) }
    }

    /// Fits the parameters to a command and runs it (`run_mi_cmd`).
    pub fn run(
        &self,
        command: &Arc<Command>,
        params: Params,
        origin: &Origin,
        detach: &mut dyn FnMut() -> Box<dyn Responder>,
    ) -> Answer {
        match self.bind(command, params) {
            Ok(arguments) => command.handler.run(Call { command, arguments, origin, detach }),
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
