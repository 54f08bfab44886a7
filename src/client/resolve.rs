//! Asks the system what host names mean.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::call::CallError;
use super::patience::{Patience, WAKE};

/// The addresses that a host's name means; the first is the one that answers, as far as we know.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Vec<SocketAddr>>);

impl Known {
    /// Where a server may be, the likeliest first. Asks the system only when it is not known yet.
    pub(super) fn addresses(
        &self,
        host: &str,
        port: u16,
        patience: &mut Patience<'_>,
    ) -> Result<Vec<SocketAddr>, CallError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![(ip, port).into()]);
        }
        let mut known = self.lock().clone();
        if known.is_empty() {
            known = resolve(host, port, patience)?;
            self.lock().clone_from(&known);
        }
        Ok(known)
    }

    /// Tries this one first from now on.
    pub(super) fn prefer(&self, address: SocketAddr) {
        let mut known = self.lock();
        if let Some(place) = known.iter().position(|other| *other == address) {
            known.swap(0, place);
        }
    }

    /// The name may mean something else by now.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks on a thread of its own: the system has no deadline for that.
fn resolve(host: &str, port: u16, patience: &mut Patience<'_>) -> Result<Vec<SocketAddr>, CallError> {
    let (sender, receiver) = sync_channel(1);
    let name = host.to_owned();
    let ask = move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody may wait any more.
        let _ = sender.send(found);
    };
    let unknown = |error: &io::Error| CallError::io("the host name means nothing", error);
    std::thread::Builder::new().name("sipmi-resolve".into()).spawn(ask).map_err(|error| unknown(&error))?;
    loop {
        match receiver.recv_timeout(patience.left()?.min(WAKE)) {
            Ok(found) => return found.map_err(|error| unknown(&error)),
            Err(RecvTimeoutError::Timeout) => patience.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(unknown(&io::ErrorKind::NotFound.into())),
        }
    }
}
