//! Resolves host names through the system.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::poll::PollFlags;

use crate::client::deadline::Deadline;
use crate::client::error::CallError;

/// The addresses of a host name; the first is the one that answered last.
#[derive(Debug, Default)]
pub(in crate::client) struct Known(Mutex<Vec<SocketAddr>>);

impl Known {
    /// Where a server may be, the likeliest first. Asks the system only when it is not known yet.
    pub(in crate::client) async fn addresses(
        &self,
        host: &str,
        port: u16,
        deadline: &mut Deadline<'_>,
    ) -> Result<Vec<SocketAddr>, CallError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![(ip, port).into()]);
        }
        let mut known = self.lock().clone();
        if known.is_empty() {
            known = resolve(host, port, deadline).await?;
            self.lock().clone_from(&known);
        }
        Ok(known)
    }

    /// Tries this one first from now on.
    pub(in crate::client) fn prefer(&self, address: SocketAddr) {
        let mut known = self.lock();
        if let Some(place) = known.iter().position(|other| *other == address) {
            known.swap(0, place);
        }
    }

    /// The name may mean something else by now.
    pub(in crate::client) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks on a thread of its own: the system has no deadline for that.
async fn resolve(host: &str, port: u16, deadline: &mut Deadline<'_>) -> Result<Vec<SocketAddr>, CallError> {
    let unknown = |error: &io::Error| CallError::io("cannot resolve host name", error);
    let (is_done, mut done) = io::pipe().map_err(|error| unknown(&error))?;
    let answer = Arc::new(Mutex::new(None));
    let name = host.to_owned();
    let ask = {
        let answer = Arc::clone(&answer);
        move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            // The waiting call may have been dropped.
            let _ = done.write(b".");
        }
    };
    std::thread::Builder::new().name("sipmi-resolve".into()).spawn(ask).map_err(|error| unknown(&error))?;
    deadline.block(is_done.as_fd(), PollFlags::POLLIN).await?;
    let found = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    found.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into())).map_err(|error| unknown(&error))
}
