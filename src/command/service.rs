//! The commands and statistics of one server, and running a request against them.

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
    /// The emulated version.
    pub dialect: Dialect,
    /// The name and version of the server, as `version` answers them.
    pub server_name: String,
    /// Its counters.
    pub statistics: Statistics,
    /// Its events and their subscribers.
    pub events: Events,
    /// Its processes.
    pub processes: Processes,
    /// The time of its start.
    pub started: SystemTime,
    /// Called when `log_level` changes.
    pub on_log_level: OnceLock<Box<dyn Fn(i32) + Send + Sync>>,
    /// The commands that are traced.
    pub trace: OnceLock<Trace>,
    /// Renders the metrics page, where a listener shows it.
    pub metrics_page: OnceLock<MetricsPage>,
    registry: RwLock<Registry>,
    /// The upstream for commands that this server does not have.
    forwarder: OnceLock<Arc<dyn Forwarder>>,
}

/// Returns the name and version of a server: those of the emulated OpenSIPS, or its own.
fn server_name(dialect: Dialect, name: &Str, version: &Str) -> String {
    let platform = format!("({}/{})", std::env::consts::ARCH, std::env::consts::OS);
    match dialect.release() {
        Some(release) if dialect.is_1x() => format!("OpenSIPS ({release}-notls {platform})"),
        Some(release) => format!("OpenSIPS ({release} {platform})"),
        None if version.is_empty() => format!("sipmi ({}; {name})", env!("CARGO_PKG_VERSION")),
        None => format!("sipmi ({}; {name} {version})", env!("CARGO_PKG_VERSION")),
    }
}

/// Renders a page; `None` if it fails.
pub type MetricsPage = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// NOTICE, the default of OpenSIPS. Levels range from -3 (alert) to 4 (debug).
const DEFAULT_LOG_LEVEL: i32 = 3;

impl Service {
    /// A service without commands.
    pub(super) fn empty(name: Str, version: Str, dialect: Dialect) -> Arc<Self> {
        let statistics = Statistics::default();
        let service = Arc::new(Service {
            events: Events::new(&statistics, dialect),
            statistics,
            processes: Processes::default(),
            server_name: server_name(dialect, &name, &version),
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

    /// The commands, for reading.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The commands, for changes.
    pub fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Shares statistics, events and the list of processes with all processes that are forked after this call. Changes
    /// that another thread makes during the call may be lost.
    pub fn share(&self) -> std::io::Result<()> {
        self.statistics.share()?;
        self.events.share()?;
        self.processes.share()
    }

    /// Forwards unknown commands to an upstream; false if there is one already.
    pub fn leave_to(&self, forwarder: Arc<dyn Forwarder>) -> bool {
        self.forwarder.set(forwarder).is_ok()
    }

    /// The upstream for commands that this server does not have.
    pub fn forwarder(&self) -> Option<&Arc<dyn Forwarder>> {
        self.forwarder.get()
    }

    /// Returns true if a command always runs here, even if the upstream has it too: commands of the user and those that
    /// describe this server.
    pub fn keeps(command: &Command) -> bool {
        !command.flags.has(CommandFlags::BUILT_IN) || matches!(&*command.name, b"version" | b"kill")
    }

    /// Finds the command of a request, if the listener runs it.
    pub fn find(&self, method: &[u8], permit: &Permit) -> Result<Arc<Command>, Failure> {
        // Before 4.0 names are flat: `module:name` is an unknown name.
        let qualified = self.dialect.is_emulated() && !self.dialect.has_modules() && method.contains(&b':');
        let found = if qualified { Err(Failure::UnknownCommand) } else { self.registry().lookup(method) };
        let command = match (self.forwarder(), found) {
            (None, found) => found?,
            (Some(_), Ok(own)) if Service::keeps(&own) => own,
            (Some(_), Err(failure)) if failure != Failure::UnknownCommand => return Err(failure),
            // Subscriptions to this server's own events are handled here.
            (Some(_), Ok(own)) if *own.module == *b"evi" && !self.events.list().is_empty() => own,
            (Some(forwarder), found) => forwarder.command(method, permit).map_or(found, Ok)?,
        };
        // Every listener answers introspection, limited to the commands that it runs.
        let is_allowed = permit.allows(&command) || system_methods::is_question(method);
        if is_allowed { Ok(command) } else { Err(Failure::Forbidden) }
    }

    /// Binds the parameters to a command and runs it (`run_mi_cmd`).
    pub fn run(&self, command: &Arc<Command>, params: Params, detach: &Arc<dyn Detach>) -> Answer {
        match self.bind(command, params) {
            Ok(arguments) => command.handler.run(Call { command, arguments, origin: detach.origin(), detach }),
            Err(failure) => Answer::Now(Err(failure)),
        }
    }

    fn bind(&self, command: &Command, params: Params) -> Result<super::Arguments, Failure> {
        let params = match params {
            // On wires of strings, a command without input ignores parameters.
            Params::Strings(_) if command.flags.has(CommandFlags::NO_INPUT) => Params::None,
            params if command.flags.has(CommandFlags::NO_INPUT) && !params.is_empty() => {
                return Err(Failure::ParamCount);
            }
            params => params,
        };
        command.recipe.bind(params, self.dialect, command.flags.has(CommandFlags::NAMED_PARAMS_ONLY))
    }
}
