//! Threads that run jobs: made when needed, kept while busy, ended after an idle time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::server::panics::contained;

/// Something to do on a thread of the pool.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs the life of a thread; an interpreter attaches it once here, not once a call.
pub type ThreadScope = Arc<dyn Fn(&mut (dyn FnMut() + Send)) + Send + Sync>;

/// A thread that had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);
/// The number of extra threads that are allowed while all are busy.
const EXCESS: usize = 256;

pub(crate) struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    scope: ThreadScope,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// How many threads there may be: what was asked for, and those that were allowed beyond it while all were busy.
    most: usize,
    limit: usize,
    stopping: bool,
}

fn run(job: Job) {
    contained(|| "a worker".into(), job);
}

impl Pool {
    /// A pool of at most this many threads at work; it has none yet.
    pub(crate) fn new(most: usize, scope: ThreadScope) -> Arc<Self> {
        let most = most.max(1);
        let state = State { most, limit: most, ..State::default() };
        Arc::new(Pool { state: Mutex::new(state), changed: Condvar::new(), scope })
    }

    /// Allows this many threads more.
    pub(crate) fn grow(&self, more: usize) {
        let mut state = self.lock();
        state.most += more;
        state.limit += more;
    }

    /// Runs a job on an idle thread, a new one, or the first that becomes free.
    pub(crate) fn run(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        if state.idle < state.jobs.len() && state.threads < state.most {
            state.threads += 1;
            drop(state);
            if let Err(error) = self.spawn(None) {
                self.do_without(&error);
            }
        } else {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Runs a job on a thread of the pool; on this one, when the pool has stopped.
    pub(crate) fn run_or_do(self: &Arc<Self>, job: Job) {
        if self.lock().stopping {
            return job();
        }
        self.run(job);
    }

    /// Allows one thread more, for all that wait behind those at work: one of these may wait for one that waits.
    pub(crate) fn exceed(&self) -> bool {
        let mut state = self.lock();
        let may = state.most < state.limit + EXCESS;
        state.most += usize::from(may);
        may
    }

    /// How many jobs wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Returns true if a job would find a thread at once.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        state.idle > state.jobs.len() || state.threads < state.most
    }

    /// Takes no more idle time: waits until every thread has ended, or the deadline. Says whether they have.
    pub(crate) fn drain(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.stopping = true;
        self.changed.notify_all();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Runs a job on a thread that is made for it; an error when the system gives none.
    pub(crate) fn begin(self: &Arc<Self>, job: Job) -> std::io::Result<()> {
        self.lock().threads += 1;
        self.spawn(Some(job)).inspect_err(|_| self.lock().threads -= 1)
    }

    /// A thread that was counted already begins, with this job if there is one.
    fn spawn(self: &Arc<Self>, mut first: Option<Job>) -> std::io::Result<()> {
        let pool = self.clone();
        let spawned = std::thread::Builder::new().name("sipmi-worker".into()).spawn(move || {
            let scope = pool.scope.clone();
            scope(&mut || {
                if let Some(job) = first.take() {
                    run(job);
                }
                pool.work();
            });
            let mut state = pool.lock();
            state.threads -= 1;
            state.most = state.most.min(state.threads.max(state.limit));
            drop(state);
            pool.changed.notify_all();
        });
        spawned.map(drop)
    }

    /// A thread that was counted did not begin. The others do its jobs; where there are none, the jobs are dropped, and
    /// that answers their waiting callers.
    fn do_without(&self, error: &std::io::Error) {
        log::error!("cannot start a thread: {error}");
        let mut state = self.lock();
        state.threads -= 1;
        let lost = if state.threads == 0 { std::mem::take(&mut state.jobs) } else { VecDeque::new() };
        drop(state);
        drop(lost);
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            run(job);
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        let patience = Instant::now() + IDLE;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            let left = patience.saturating_duration_since(Instant::now());
            if state.stopping || left.is_zero() {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
