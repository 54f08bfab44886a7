//! A reserved descriptor for a process that has no other left.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Holds a descriptor that refers to no file, until another file needs its number.
#[derive(Debug)]
pub struct Spare {
    held: Mutex<Option<OwnedFd>>,
    /// True if another file took the number, so that a descriptor has to be reserved again.
    is_lost: AtomicBool,
}

/// The time in which the reserved number is free for another file. When it is dropped, the number is reserved again.
#[derive(Debug)]
pub struct Lent {
    spare: Arc<Spare>,
}

impl Spare {
    /// Reserves a descriptor.
    pub fn new() -> Arc<Self> {
        let spare = Spare { held: Mutex::default(), is_lost: AtomicBool::new(false) };
        spare.fill();
        Arc::new(spare)
    }

    /// Frees the reserved number; `None` if it is in use already.
    pub fn lend(self: &Arc<Self>) -> Option<Lent> {
        self.recover();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.map(|_closed| Lent { spare: self.clone() })
    }

    /// Reserves a descriptor again if another thread took the number while it was lent.
    pub fn recover(&self) {
        if self.is_lost.load(Ordering::Relaxed) {
            self.fill();
        }
    }

    fn fill(&self) {
        let file = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok().map(OwnedFd::from);
        self.is_lost.store(file.is_none(), Ordering::Relaxed);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.spare.fill();
    }
}

/// Returns true if an operation failed because the process, or the system, has no descriptor left.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_lent_once_and_filled_again_when_the_loan_ends() {
        let spare = Spare::new();
        let lent = spare.lend();
        assert!(lent.is_some());
        assert!(spare.lend().is_none());
        drop(lent);
        assert!(spare.lend().is_some());
    }

    #[test]
    fn only_want_of_descriptors_is_a_shortage() {
        let is_shortage = |errno| is_shortage(&io::Error::from_raw_os_error(errno));
        assert!(is_shortage(libc::EMFILE) && is_shortage(libc::ENFILE));
        assert!(!is_shortage(libc::ENXIO));
    }
}
