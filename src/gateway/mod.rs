//! Forwards requests that a server does not know to other servers, and their replies back: requests of any wire to
//! OpenSIPS of any generation.
//!
//! ```text
//! Service::find -> Gateway -> Upstream: acl, cache, queue -> a thread of its own: client::Client -> translate -> Responder
//! ```
//!
//! A forwarded request leaves the worker that read it at once. It waits in the queue of its upstream for one of the few
//! threads that call it, so however many callers there are, and however slow they read, the upstream sees few.

mod acl;
mod audit;
mod cache;
mod command_names;
mod introspection;
mod outcome;
mod routes;
mod translate;
mod upstream;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

pub use acl::{Acl, AclError, Rule};
pub use audit::{Audit, Entry};
pub use cache::CacheError;
pub use upstream::{Upstream, UpstreamOptions};

use crate::catalog::effects::Effect;
use crate::command::Command;
use crate::command::forward::Forwarder;
use crate::command::permit::Permit;
use crate::command::service::Service;
use crate::item::Item;
use command_names::Names;
use introspection::{Asking, Subject};
use routes::{Routes, command};

/// The way to all upstreams of one server.
pub struct Gateway {
    /// By which it knows itself when its own upstream leads back to it.
    id: String,
    routes: Arc<Routes>,
}

impl Gateway {
    /// The gateway of a server, made when it has none.
    pub fn of(service: &Arc<Service>) -> Option<Arc<Gateway>> {
        let gateway = Arc::new(Gateway { id: random_id(), routes: Routes::of(service) });
        service.leave_to(gateway.clone()).then_some(gateway)
    }

    /// Adds an upstream. A command that several would take goes to the one that was added first.
    pub fn add(&self, upstream: Upstream) {
        self.routes.add(upstream.of_gateway(&self.id));
    }
}

impl Forwarder for Gateway {
    fn command(&self, method: &[u8], permit: &Permit) -> Option<Arc<Command>> {
        if let Some(subject) = Subject::of(method) {
            let asking = Asking { routes: self.routes.clone(), subject, permit: permit.clone() };
            return Some(Arc::new(command(&Names::of(method), Effect::Read, Box::new(asking))));
        }
        self.routes.command(method)
    }

    fn listed(&self) -> Vec<Arc<Command>> {
        let mut commands: Vec<Arc<Command>> = Vec::new();
        for upstream in self.routes.upstreams() {
            for name in upstream.listed().iter().filter(|name| Subject::of(name).is_none()) {
                let is_its_own =
                    self.routes.upstream_for(&Names::of(name)).is_some_and(|taker| Arc::ptr_eq(&taker, &upstream));
                let command = is_its_own.then(|| self.routes.command(name)).flatten();
                commands.extend(command);
            }
        }
        commands
    }

    fn version(&self) -> Vec<(&'static str, Item)> {
        let identities: Vec<_> = self.routes.upstreams().iter().map(|upstream| upstream.identity()).collect();
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

/// Random enough to tell gateways apart: the seed of a hash map.
fn random_id() -> String {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}
