//! Commands of an upstream server, for names that this server does not have.

use std::sync::Arc;

use super::Command;
use super::permit::Permit;
use crate::item::Item;

/// An upstream server to which commands are forwarded.
pub trait Forwarder: Send + Sync {
    /// Returns a command that forwards requests of this name; `None` if they do not belong to the upstream. `permit`
    /// holds the commands that the request's listener runs.
    fn command(&self, method: &[u8], permit: &Permit) -> Option<Arc<Command>>;

    /// The upstream's commands as last listed, from memory. Sends no request.
    fn listed(&self) -> Vec<Arc<Command>>;

    /// The members that the upstream adds to the reply of `version`.
    fn version(&self) -> Vec<(&'static str, Item)>;
}
