//! Commands of another server, where this one has none of the name.

use std::sync::Arc;

use super::Command;
use super::permit::Permit;
use crate::item::Item;

/// Another server that commands may be left to.
pub trait Forwarder: Send + Sync {
    /// The command that has requests of this name run there; `None` when they do not belong there. `permit` is what the
    /// listener of the request runs.
    fn command(&self, method: &[u8], permit: &Permit) -> Option<Arc<Command>>;

    /// The commands there, as they were listed when somebody last asked for them; nobody is asked now.
    fn listed(&self) -> Vec<Arc<Command>>;

    /// What `version` says of it, beside what it says of this server.
    fn version(&self) -> Vec<(&'static str, Item)>;
}
