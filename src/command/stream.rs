//! A reply that is made while it is sent (`flush_mi_tree`).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::response::{Failure, Response};
use crate::tree::Tree;

/// Something to do once.
pub type Hook = Box<dyn FnOnce() + Send>;

/// Gives a reply's top nodes, a few at a time. Dropped, it stops making them.
///
/// A run of nodes of one name is a list, also of one.
pub trait Source: Send {
    /// Adds the next nodes to a tree without any: as many as are there at once, and no more than are soon sent.
    fn fill(&mut self, batch: &mut Tree, waker: &Waker) -> Filled;
}

/// What became of the attempt to get more nodes.
#[derive(Debug)]
pub enum Filled {
    /// The batch has some; there may be more.
    More,
    /// The next one is not there yet; the waker is woken when it is. The batch may have some.
    Wait,
    /// The batch has the last ones, if any.
    End,
    /// There will be no more: what would have been answered, had nothing been sent yet.
    Failed(Result<Response, Failure>),
}

/// A source fills a batch up to so many nodes.
pub const BATCH_NODES: usize = 512;
/// A source fills a batch up to so many bytes, give or take a node.
pub const BATCH_BYTES: usize = 32 << 10;

/// A source and its sender, for nodes that are made elsewhere at their own pace.
pub fn channel() -> (Sender, Receiver) {
    let channel = Arc::new(Channel { state: Mutex::new(ChannelState::default()), changed: Condvar::new() });
    (Sender(channel.clone()), Receiver(channel))
}

/// Sends nodes. Dropped before [`Sender::end`], the reply has failed.
pub struct Sender(Arc<Channel>);

/// Receives nodes, as a source.
pub struct Receiver(Arc<Channel>);

struct Channel {
    state: Mutex<ChannelState>,
    changed: Condvar,
}

#[derive(Default)]
struct ChannelState {
    batch: Tree,
    end: Option<Filled>,
    /// Woken when there are nodes, or the end.
    taker: Option<Waker>,
    /// Called once when there is room again, or nobody takes any more.
    on_room: Option<Hook>,
    is_closed: bool,
}

/// Whether more nodes are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// They are.
    Some,
    /// Not before these have been taken.
    Full,
    /// Nobody takes any.
    Closed,
}

impl Sender {
    /// Puts nodes in.
    pub fn send(&self, add: impl FnOnce(&mut Tree)) -> Room {
        let mut state = self.0.lock();
        if state.is_closed {
            return Room::Closed;
        }
        add(&mut state.batch);
        let room = if is_full(&state.batch) { Room::Full } else { Room::Some };
        wake(state);
        room
    }

    /// Waits for room at most so long.
    pub fn wait_for_room(&self, patience: Duration) -> Room {
        let state = self.0.lock();
        let is_full = |state: &mut ChannelState| !state.is_closed && is_full(&state.batch);
        let (state, _) =
            self.0.changed.wait_timeout_while(state, patience, is_full).unwrap_or_else(PoisonError::into_inner);
        state.room()
    }

    /// Has this done once there is room, or nobody takes any more: at once, if that is so.
    pub fn on_room(&self, hook: Hook) {
        let mut state = self.0.lock();
        if state.room() == Room::Full {
            state.on_room = Some(hook);
        } else {
            drop(state);
            hook();
        }
    }

    /// That was all.
    pub fn end(self) {
        self.finish(Filled::End);
    }

    /// There will be no more, for this reason.
    pub fn fail(self, result: Result<Response, Failure>) {
        self.finish(Filled::Failed(result));
    }

    fn finish(&self, end: Filled) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            state.end = Some(end);
            wake(state);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.finish(Filled::Failed(Err(Failure::Handler)));
    }
}

impl Source for Receiver {
    fn fill(&mut self, batch: &mut Tree, waker: &Waker) -> Filled {
        let mut state = self.0.lock();
        std::mem::swap(batch, &mut state.batch);
        state.batch.clear();
        let filled = match state.end.take() {
            Some(end) => end,
            None if batch.is_empty() => {
                state.taker = Some(waker.clone());
                Filled::Wait
            }
            None => Filled::More,
        };
        self.0.tell_room(state);
        filled
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        self.0.tell_room(state);
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_room(&self, mut state: MutexGuard<'_, ChannelState>) {
        let hook = state.on_room.take();
        drop(state);
        self.changed.notify_all();
        if let Some(hook) = hook {
            hook();
        }
    }
}

impl ChannelState {
    fn room(&self) -> Room {
        match () {
            () if self.is_closed => Room::Closed,
            () if is_full(&self.batch) => Room::Full,
            () => Room::Some,
        }
    }
}

/// Whether a batch has as much as is soon sent.
pub fn is_full(batch: &Tree) -> bool {
    batch.len() >= BATCH_NODES || batch.text_len() >= BATCH_BYTES
}

fn wake(mut state: MutexGuard<'_, ChannelState>) {
    let taker = state.taker.take();
    drop(state);
    if let Some(taker) = taker {
        taker.wake();
    }
}
