//! Passes what a server does not know itself to other servers, and their answers back: requests of any wire to
//! OpenSIPS of any generation.
//!
//! ```text
//! Service::find -> Gateway -> Line: rights, cache, queue -> a thread of its own: client::Client -> translate -> Responder
//! ```
//!
//! A forwarded request leaves the worker that read it at once. It waits in the queue of its upstream for one of the few
//! threads that call it, so however many callers there are, and however slow they read, the upstream sees few.

mod audit;
mod kept;
mod line;
mod question;
mod rights;
mod translate;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, PoisonError, RwLock, Weak};

pub use audit::{Audit, Entry};
pub use kept::CacheError;
pub use line::{Line, LineOptions};
pub use rights::{Rights, RightsError, Rule};

use crate::catalog::effects::{Effect, effect_of};
use crate::catalog::names;
use crate::command::forward::Forwarder;
use crate::command::permit::Permit;
use crate::command::recipe::{Arguments, Recipe};
use crate::command::service::Service;
use crate::command::{Answer, Call, Command, CommandFlags, Conduct, Handler};
use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::Failure;
use question::{Asking, Subject};

/// Names that have been asked for and are kept; callers may ask for any.
const MOST_COMMANDS: usize = 4096;

/// A command of this name ends a server, so no caller's request for it goes anywhere.
const NEVER: &str = "kill";

/// The way to all upstreams of one server.
pub struct Gateway {
    this: Weak<Gateway>,
    service: Weak<Service>,
    /// By which it knows itself when its own upstream leads back to it.
    id: String,
    lines: RwLock<Vec<Arc<Line>>>,
    commands: RwLock<HashMap<Str, Arc<Command>>>,
}

impl Gateway {
    /// The gateway of a server, made when it has none.
    pub fn of(service: &Arc<Service>) -> Option<Arc<Gateway>> {
        let gateway = Arc::new_cyclic(|this| Gateway {
            this: this.clone(),
            service: Arc::downgrade(service),
            id: random_id(),
            lines: RwLock::default(),
            commands: RwLock::default(),
        });
        service.leave_to(gateway.clone()).then_some(gateway)
    }

    /// Adds an upstream. What several would take goes to the one that was added first.
    pub fn add(&self, line: Line) {
        self.lines.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(line.of_gateway(&self.id)));
        self.commands.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The upstream that takes requests of a name.
    fn line_for(&self, names: &Names) -> Option<Arc<Line>> {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| line.takes(names)).cloned()
    }

    fn known(&self, method: &[u8]) -> Option<Arc<Command>> {
        self.commands.read().unwrap_or_else(PoisonError::into_inner).get(method).cloned()
    }

    fn keep(&self, method: &[u8], command: &Arc<Command>) {
        let mut commands = self.commands.write().unwrap_or_else(PoisonError::into_inner);
        if commands.len() < MOST_COMMANDS {
            commands.insert(method.into(), command.clone());
        }
    }
}

impl Forwarder for Gateway {
    fn command(&self, method: &[u8], permit: &Permit) -> Option<Arc<Command>> {
        if let Some(subject) = Subject::of(method) {
            let asking = Asking { gateway: self.this.clone(), subject, permit: permit.clone() };
            return Some(Arc::new(command(&Names::of(method), Effect::Read, Box::new(asking))));
        }
        if let Some(known) = self.known(method) {
            return Some(known);
        }
        let names = Names::of(method);
        if names.flat == NEVER {
            return None;
        }
        let line = self.line_for(&names)?;
        let handler = Forwarding { line, method: method.into(), names: names.clone() };
        let command = Arc::new(command(&names, effect_of(method), Box::new(handler)));
        self.keep(method, &command);
        Some(command)
    }

    fn listed(&self) -> Vec<Arc<Command>> {
        let mut commands: Vec<Arc<Command>> = Vec::new();
        for line in self.lines() {
            for name in line.listed().iter().filter(|name| Subject::of(name).is_none()) {
                let is_its_own = self.line_for(&Names::of(name)).is_some_and(|taker| Arc::ptr_eq(&taker, &line));
                let command = is_its_own.then(|| self.command(name, &Permit::default())).flatten();
                commands.extend(command);
            }
        }
        commands
    }

    fn version(&self) -> Vec<(&'static str, Item)> {
        let identities: Vec<_> = self.lines().iter().map(|line| line.identity()).collect();
        let servers: Vec<Item> =
            identities.iter().filter_map(|identity| identity.server.clone().map(Item::Str)).collect();
        let mut gateways = vec![Item::from(self.id.as_str())];
        gateways.extend(identities.into_iter().flat_map(|identity| identity.gateways).map(Item::Str));
        let mut said = vec![("Gateways", Item::Array(gateways))];
        if !servers.is_empty() {
            said.insert(0, ("Upstream", Item::Array(servers)));
        }
        said
    }
}

/// The names of a command, whichever of them a caller used.
#[derive(Clone, Debug)]
struct Names {
    /// That from before 4.0.
    flat: Str,
    module: Str,
    /// That of 4.0.
    canonical: Option<Str>,
}

impl Names {
    fn of(method: &[u8]) -> Self {
        let flat = names::flat_name(method);
        let module = names::module_of(method).map_or_else(|| "upstream".into(), Str::from);
        let canonical = names::canonical_name(method).map(Str::from);
        Names { flat, module, canonical }
    }

    /// Whether a pattern means the command by any of them.
    fn match_any(&self, patterns: &[String]) -> bool {
        let canonical = self.canonical.as_deref().unwrap_or_default();
        patterns.iter().any(|pattern| [&self.flat, canonical].iter().any(|name| Permit::is_meant(pattern, name)))
    }
}

/// A command that is run elsewhere, as permits and lists see it.
fn command(names: &Names, effect: Effect, handler: Box<dyn Handler>) -> Command {
    Command {
        module: names.module.clone(),
        name: names.flat.clone(),
        help: Str::default(),
        flags: if effect == Effect::Read { CommandFlags::READ_ONLY } else { CommandFlags::NONE },
        recipe: Recipe::Raw,
        aliases: names.canonical.clone().into_iter().collect(),
        handler,
        conduct: Conduct::default(),
    }
}

/// Has a command run by an upstream.
struct Forwarding {
    line: Arc<Line>,
    /// As the caller wrote it.
    method: Str,
    names: Names,
}

impl Handler for Forwarding {
    fn run(&self, call: Call<'_>) -> Answer {
        let params = raw(call.arguments);
        if !self.line.allows(call.origin, &self.names) {
            self.line.note_refused(call.origin, &self.method, &params);
            return Answer::Now(Err(Failure::Forbidden));
        }
        self.line.forward(&self.method, &self.names, params, call.origin, call.detach)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn raw(arguments: Arguments) -> Params {
    match arguments {
        Arguments::Raw(params) => params,
        // The recipe of such commands is never another.
        Arguments::Tree(_) | Arguments::Slots(..) => Params::None,
    }
}

/// Random enough to tell gateways apart: the seed of a hash map.
fn random_id() -> String {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}
