//! An action that runs exactly once, for the first thread that claims it: the core of answering a request.
//!
//! `tests/loom.rs` goes through every interleaving of it.

use super::sync::Mutex;

/// A value that one thread takes to answer with, or gives up to answer in place of the handler.
pub(crate) struct OneShot<W, H> {
    state: Mutex<State<W, H>>,
}

enum State<W, H> {
    /// No thread has taken it. The handler may have registered a hook that stops it.
    Open(W, Option<H>),
    /// It was taken.
    Taken,
    /// It was given up; the handler need not continue.
    GivenUp,
}

impl<W, H> OneShot<W, H> {
    pub(crate) fn new(way: W) -> Self {
        OneShot { state: Mutex::new(State::Open(way, None)) }
    }

    /// Takes it: for the first who comes.
    pub(crate) fn take(&self) -> Option<W> {
        self.replace(State::Taken).map(|(way, _)| way)
    }

    /// Takes it from the handler, with the hook that stops the handler.
    pub(crate) fn give_up(&self) -> Option<(W, Option<H>)> {
        self.replace(State::GivenUp)
    }

    /// Leaves word how to stop the work. Given back when it is to be stopped right now; dropped, when it was taken.
    pub(crate) fn on_give_up(&self, stop: H) -> Option<H> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Open(_, kept) => {
                *kept = Some(stop);
                None
            }
            State::Taken => None,
            State::GivenUp => Some(stop),
        }
    }

    /// Returns true until a thread has taken it or given it up.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*lock(&self.state), State::Open(..))
    }

    /// Does something with it in its place, if it is there.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&mut W) -> T) -> Option<T> {
        match &mut *lock(&self.state) {
            State::Open(way, _) => Some(look(way)),
            _ => None,
        }
    }

    fn replace(&self, new: State<W, H>) -> Option<(W, Option<H>)> {
        let mut state = lock(&self.state);
        if !matches!(*state, State::Open(..)) {
            return None;
        }
        match std::mem::replace(&mut *state, new) {
            State::Open(way, stop) => Some((way, stop)),
            _ => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> impl std::ops::DerefMut<Target = T> + '_ {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
