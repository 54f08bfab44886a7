//! The upstreams of a gateway, and the commands that go to each.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::command_names::{NEVER, Names};
use super::upstream::Upstream;
use crate::catalog::effects::{Effect, effect_of};
use crate::command::recipe::{Arguments, Recipe};
use crate::command::service::Service;
use crate::command::{Answer, Call, Command, CommandFlags, Conduct, Handler};
use crate::item::Str;
use crate::request::Params;
use crate::response::Failure;

/// The greatest number of command names that are cached; callers may ask for any.
const MOST_COMMANDS: usize = 4096;

/// The upstreams of one server.
pub(super) struct Routes {
    service: Weak<Service>,
    upstreams: RwLock<Vec<Arc<Upstream>>>,
    commands: RwLock<HashMap<Str, Arc<Command>>>,
}

impl Routes {
    pub(super) fn of(service: &Arc<Service>) -> Arc<Self> {
        Arc::new(Routes {
            service: Arc::downgrade(service),
            upstreams: RwLock::default(),
            commands: RwLock::default(),
        })
    }

    /// Adds an upstream. A command that several would take goes to the one that was added first.
    pub(super) fn add(&self, upstream: Upstream) {
        self.upstreams.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(upstream));
        self.commands.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The server of the gateway; `None` once it has ended.
    pub(super) fn service(&self) -> Option<Arc<Service>> {
        self.service.upgrade()
    }

    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.upstreams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The upstream that takes requests of a name.
    pub(super) fn upstream_for(&self, names: &Names) -> Option<Arc<Upstream>> {
        let upstreams = self.upstreams.read().unwrap_or_else(PoisonError::into_inner);
        upstreams.iter().find(|upstream| upstream.takes(names)).cloned()
    }

    /// The command that forwards requests of this name; `None` when no upstream takes them.
    pub(super) fn command(&self, method: &[u8]) -> Option<Arc<Command>> {
        if let Some(cached) = self.cached(method) {
            return Some(cached);
        }
        let names = Names::of(method);
        if names.flat == NEVER {
            return None;
        }
        let upstream = self.upstream_for(&names)?;
        let handler = Forwarding { upstream, method: method.into(), names: names.clone() };
        let command = Arc::new(command(&names, effect_of(method), Box::new(handler)));
        self.cache(method, &command);
        Some(command)
    }

    fn cached(&self, method: &[u8]) -> Option<Arc<Command>> {
        self.commands.read().unwrap_or_else(PoisonError::into_inner).get(method).cloned()
    }

    fn cache(&self, method: &[u8], command: &Arc<Command>) {
        let mut commands = self.commands.write().unwrap_or_else(PoisonError::into_inner);
        if commands.len() < MOST_COMMANDS {
            commands.insert(method.into(), command.clone());
        }
    }
}

/// A command that is run elsewhere, as permits and lists see it.
pub(super) fn command(names: &Names, effect: Effect, handler: Box<dyn Handler>) -> Command {
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
    upstream: Arc<Upstream>,
    /// As the caller wrote it.
    method: Str,
    names: Names,
}

impl Handler for Forwarding {
    fn run(&self, call: Call<'_>) -> Answer {
        let params = raw(call.arguments);
        if !self.upstream.allows(call.origin, &self.names) {
            self.upstream.note_refused(call.origin, &self.method, &params);
            return Answer::Now(Err(Failure::Forbidden));
        }
        self.upstream.forward(&self.method, &self.names, params, call.origin, call.detach)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// The parameters as they came.
pub(super) fn raw(arguments: Arguments) -> Params {
    match arguments {
        Arguments::Raw(params) => params,
        // The recipe of such commands is never another.
        Arguments::Tree(_) | Arguments::Slots(..) => Params::None,
    }
}
