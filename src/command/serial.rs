//! The queue of a command that runs one call at a time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A call that waits for its turn. It runs with the turn, and drops it at the end.
pub type Waiting = Box<dyn FnOnce(Turn) + Send>;

/// The call that runs, and the calls that wait.
#[derive(Default)]
pub struct Serial {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_taken: bool,
    queue: VecDeque<Waiting>,
}

/// The right to run. When it is dropped, the next waiting call runs on the thread that drops it.
pub struct Turn(Arc<Serial>);

impl Serial {
    /// Takes the turn if it is free.
    pub fn try_take(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (!std::mem::replace(&mut state.is_taken, true)).then(|| Turn(self.clone()))
    }

    /// Queues a call. If the turn is free, the call runs at once.
    pub fn wait(self: &Arc<Self>, call: Waiting) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_taken {
            state.queue.push_back(call);
            return;
        }
        state.is_taken = true;
        drop(state);
        call(Turn(self.clone()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            let next = state.queue.pop_front();
            state.is_taken = next.is_some();
            next
        };
        if let Some(next) = next {
            next(Turn(self.0.clone()));
        }
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serial")
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_at_work_and_the_others_come_in_order() {
        let serial = Arc::new(Serial::default());
        let first = serial.try_take().expect("the turn is free");
        assert!(serial.try_take().is_none());
        let order = Arc::new(Mutex::new(Vec::new()));
        for number in 0..3 {
            let order = order.clone();
            serial.wait(Box::new(move |turn| {
                order.lock().expect("no call panics").push(number);
                drop(turn);
            }));
        }
        assert!(order.lock().expect("no call panics").is_empty());
        drop(first);
        assert_eq!(*order.lock().expect("no call panics"), [0, 1, 2]);
        assert!(serial.try_take().is_some());
    }
}
