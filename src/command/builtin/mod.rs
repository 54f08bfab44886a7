//! The commands that every server has: those of OpenSIPS that make sense outside it.

mod core;
mod events;
mod handler;
mod statistics;

use std::sync::Arc;

use super::service::Service;
use crate::dialect::Dialect;
use crate::item::Str;

#[cfg(feature = "net")]
pub(crate) use core::ctime;

/// A service with the commands that every server has.
pub fn new_service(
    name: impl Into<Str>,
    version: impl Into<Str>,
    dialect: Dialect,
    allow_kill: bool,
) -> Arc<Service> {
    let service = Service::empty(name.into(), version.into(), dialect);
    core::register(&service, allow_kill);
    events::register(&service);
    service
}
