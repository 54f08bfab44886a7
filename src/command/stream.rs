//! Streamed replies, which are produced while they are sent (`flush_mi_tree`).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::response::{Failure, Response};
use crate::tree::Tree;

/// A function to run once.
pub type Hook = Box<dyn FnOnce() + Send>;

/// Produces a reply's top nodes, in batches. It stops when it is dropped.
///
/// Consecutive nodes of one name form a list, even if there is only one.
pub trait Source: Send {
    /// Adds the next nodes to an empty tree: those that are available at once, up to the size of a batch.
    fn fill(&mut self, batch: &mut Tree, waker: &Waker) -> Filled;
}

/// The outcome of a request for more nodes.
#[derive(Debug)]
pub enum Filled {
    /// The batch has nodes; there may be more.
    More,
    /// The next node is not available yet; the waker is called when it is. The batch may have nodes.
    Wait,
    /// The stream has ended. The batch has the last nodes, if any.
    End,
    /// The stream has failed. The result is the reply if nothing has been sent yet.
    Failed(Result<Response, Failure>),
}

/// The number of nodes at which a batch is full.
pub const BATCH_NODES: usize = 512;
/// The number of bytes at which a batch is full; its last node may exceed it.
pub const BATCH_BYTES: usize = 32 << 10;

/// A sender of nodes and the source that receives them, for nodes that are produced elsewhere.
pub fn channel() -> (Sender, Receiver) {
    let channel = Arc::new(Channel { state: Mutex::new(ChannelState::default()), changed: Condvar::new() });
    (Sender(channel.clone()), Receiver(channel))
}

/// Sends nodes. If it is dropped before [`Sender::end`], the reply has failed.
pub struct Sender(Arc<Channel>);

/// A source of the nodes that the [`Sender`] sends.
pub struct Receiver(Arc<Channel>);

struct Channel {
    state: Mutex<ChannelState>,
    changed: Condvar,
}

#[derive(Default)]
struct ChannelState {
    batch: Tree,
    end: Option<Filled>,
    /// Called when there are nodes, or at the end.
    taker: Option<Waker>,
    /// Called once when there is room again, or when the receiver has left.
    on_room: Option<Hook>,
    is_closed: bool,
}

/// The answer to whether more nodes may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// There is room for more.
    Some,
    /// The channel is full until the receiver takes nodes.
    Full,
    /// The receiver has left.
    Closed,
}

impl Sender {
    /// Adds nodes to the channel.
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

    /// Waits for room, at most for the given time.
    pub fn wait_for_room(&self, patience: Duration) -> Room {
        let state = self.0.lock();
        let is_full = |state: &mut ChannelState| !state.is_closed && is_full(&state.batch);
        let (state, _) =
            self.0.changed.wait_timeout_while(state, patience, is_full).unwrap_or_else(PoisonError::into_inner);
        state.room()
    }

    /// Runs the hook once there is room or the receiver has left: at once if that is already so.
    pub fn on_room(&self, hook: Hook) {
        let mut state = self.0.lock();
        if state.room() == Room::Full {
            state.on_room = Some(hook);
        } else {
            drop(state);
            hook();
        }
    }

    /// Marks the end of the stream.
    pub fn end(self) {
        self.finish(Filled::End);
    }

    /// Ends the stream with an error or another result.
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
        self.finish(Filled::Failed(Err(Failure::handler())));
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

/// Returns true if a batch has reached its size.
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
