//! A program that forks while it serves: the parent goes on serving, the child does not begin to.

use std::sync::{MutexGuard, RwLockWriteGuard};

use super::lifecycle::{Server, State};
use crate::command::registry::Registry;
use crate::sys::descriptor;

/// Locks that no thread may hold while the process is forked, or they would stay locked in the child.
pub struct Still<'a> {
    state: MutexGuard<'a, State>,
    _registry: RwLockWriteGuard<'a, Registry>,
    _statistics: Box<dyn Guard + 'a>,
    _events: Box<dyn Guard + 'a>,
}

/// Something that is let go of when it is dropped.
pub trait Guard {}

impl<T> Guard for T {}

impl Server {
    /// Acquires the locks that the child of a fork needs, and holds them.
    pub fn hold_still(&self) -> Still<'_> {
        Still {
            state: self.lock(),
            _registry: self.service.registry_mut(),
            _statistics: Box::new(self.service.statistics.hold_still()),
            _events: Box::new(self.service.events.hold_still()),
        }
    }
}

impl Still<'_> {
    /// In the child of a fork: the server is not running here. Its endpoints are the parent's, files included.
    pub fn disown(&mut self) {
        let Some(running) = self.state.running.take() else { return };
        if let Ok(nothing) = std::fs::File::open("/dev/null") {
            for fd in &running.fds {
                // The descriptor is that of an endpoint, whose threads are not here; its number stays taken.
                let _ = descriptor::replace(*fd, &nothing);
            }
        }
        // Its threads are not here: nothing of it may be waited for, closed or removed.
        std::mem::forget(running);
    }
}
