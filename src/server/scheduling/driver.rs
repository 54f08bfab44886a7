//! Drives a task: polls it on a thread of a pool whenever it is woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use super::poll_state::TaskState;
use super::thread_pool::Pool;

/// A task that is polled on a thread of the pool whenever it is woken.
pub(crate) struct Driver {
    state: TaskState,
    pool: Arc<Pool>,
    task: Mutex<Option<Box<dyn Task>>>,
    is_done: AtomicBool,
}

pub(crate) trait Task: Send {
    /// Polls until it would block; true when it is done, else the waker will be woken.
    fn go(&mut self, waker: &Waker) -> bool;
}

impl Driver {
    /// A driver that is about to be run by who made it.
    pub(crate) fn new(pool: Arc<Pool>, task: Box<dyn Task>) -> Arc<Self> {
        Arc::new(Driver {
            state: TaskState::scheduled(),
            pool,
            task: Mutex::new(Some(task)),
            is_done: AtomicBool::new(false),
        })
    }

    pub(crate) fn run(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        loop {
            self.state.start();
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if task.as_mut().is_none_or(|task| task.go(&waker)) {
                self.is_done.store(true, Ordering::Release);
                // Dropped without the lock: that may run whatever Python has to say.
                let done = task.take();
                drop(task);
                drop(done);
                return;
            }
            drop(task);
            if self.state.finish() {
                return;
            }
        }
    }

    /// Runs it on a thread of the pool.
    pub(crate) fn begin(self: Arc<Self>) {
        let driver = self.clone();
        self.pool.run(Box::new(move || driver.run()));
    }

    pub(crate) fn is_at_work(&self) -> bool {
        !self.is_done.load(Ordering::Acquire)
    }
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.schedule() {
            self.clone().begin();
        }
    }
}
