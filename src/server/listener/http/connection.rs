//! A connection: hyper's future, polled by the thread that found it ready, and by one thread at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use hyper::Version;

use super::probe::Probe;
use super::readiness::Readiness;
use crate::command::Hook;
use crate::server::scheduling::poll_state::TaskState;

/// A connection from accept to close.
pub(super) type ConnectionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The reactor, as seen by its connections.
pub(super) trait Owner: Send + Sync {
    /// Removes a connection that has ended.
    fn forget(&self, id: u64);
    /// Queues a claimed connection, and wakes the leader.
    fn enqueue(&self, connection: Arc<Connection>);
}

pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) progress: Arc<Progress>,
    owner: Weak<dyn Owner>,
    state: TaskState,
    future: Mutex<Option<ConnectionFuture>>,
}

impl Connection {
    pub(super) fn new(
        id: u64,
        owner: Weak<dyn Owner>,
        progress: Arc<Progress>,
        future: ConnectionFuture,
    ) -> Arc<Self> {
        Arc::new(Connection { id, progress, owner, state: TaskState::default(), future: Mutex::new(Some(future)) })
    }

    /// Schedules the connection after an event. Returns true for the one caller that then has to make sure that it
    /// runs.
    pub(super) fn claim(&self) -> bool {
        self.state.schedule()
    }

    /// Runs the connection for at most one request. Returns true if it could continue; the claim then stays with the
    /// caller. To be called only after a claim.
    ///
    /// A request that has been read is served here, between two polls. Meanwhile other threads may check the
    /// connection, so that its timeouts hold. The next request waits for the next turn: otherwise a connection with
    /// many requests would occupy the leader.
    #[must_use]
    pub(super) fn run(self: &Arc<Self>) -> bool {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        let mut pending_job = self.progress.take_job();
        if pending_job.is_none() {
            if self.poll_once(&mut context).is_ready() {
                return false;
            }
            pending_job = self.progress.take_job();
        }
        if let Some(pending_job) = pending_job {
            self.state.suspend();
            pending_job();
            if !self.state.schedule() || self.poll_once(&mut context).is_ready() {
                return false;
            }
            if self.progress.has_errand() {
                self.state.reschedule();
                return true;
            }
        }
        !self.state.finish()
    }

    /// Polls the connection; ready when it has ended.
    fn poll_once(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut held = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.start();
        let Some(future) = held.as_mut() else { return Poll::Ready(()) };
        if !self.progress.has_ended() && future.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let ended = held.take();
        drop(held);
        drop(ended);
        if let Some(owner) = self.owner.upgrade() {
            owner.forget(self.id);
        }
        Poll::Ready(())
    }

    /// Returns true, and restarts the timeout, if the client has acknowledged more of its reply since the last check.
    pub(super) fn has_taken_more(&self, round: u32) -> bool {
        if self.progress.stage() != Stage::Blocked {
            return false;
        }
        // The lock keeps the socket open during the check.
        match self.future.try_lock() {
            Ok(future) => future.is_some() && self.progress.has_taken_more(round),
            // Another thread is writing to it, or it has ended.
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Poisoned(_)) => false,
        }
    }

    /// Runs the connection until it blocks or ends. Only for a server that stops, where no other connection waits for
    /// this thread.
    pub(super) fn run_out(self: &Arc<Self>) {
        while self.run() {}
    }
}

impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        if !self.claim() {
            return;
        }
        match self.owner.upgrade().filter(|_| !self.progress.is_orphaned()) {
            Some(owner) => owner.enqueue(self),
            // No thread leads any more, so the thread with the reply sends it.
            None => self.run_out(),
        }
    }
}

/// The stage of a connection, on which the timeout depends.
pub(super) struct Progress {
    stage: AtomicU8,
    /// The round in which the stage started or last made progress.
    since: AtomicU32,
    /// The number of bytes that the client had not acknowledged at the last check.
    unacknowledged: AtomicUsize,
    end: AtomicU8,
    /// True if a request was answered before all of it was read.
    problem: AtomicBool,
    /// A request that has been read, to be served by the thread that read it.
    pending_job: Mutex<Option<Hook>>,
    /// Detects that the client has left.
    probe: Probe,
    /// Knows whether the socket may have bytes to read.
    pub(super) readiness: Readiness,
    /// True if several requests arrived at once.
    pipelined: AtomicBool,
}

/// The stage of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Stage {
    /// Between requests.
    Idle,
    /// A part of the handshake, or of a request's head, has arrived.
    Head,
    /// The head has arrived, the body has not.
    Body,
    /// A command is running.
    Running,
    /// The reply is being sent.
    Reply,
    /// The socket's buffer is full until the client reads.
    Blocked,
    /// The TLS handshake is not complete.
    Handshake,
}

const GOES_ON: u8 = 0;
/// The current stage exceeded its timeout; waiting for the client ends.
const OVERDUE: u8 = 1;
/// The server is stopping: the thread that has the request finishes it.
const ORPHANED: u8 = 2;
const ENDED: u8 = 3;

impl Progress {
    pub(super) fn new(round: u32, probe: Probe) -> Arc<Self> {
        Arc::new(Progress {
            stage: AtomicU8::new(Stage::Idle as u8),
            since: AtomicU32::new(round),
            unacknowledged: AtomicUsize::new(0),
            end: AtomicU8::new(GOES_ON),
            problem: AtomicBool::new(false),
            pending_job: Mutex::default(),
            probe,
            readiness: Readiness::default(),
            pipelined: AtomicBool::new(false),
        })
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Idle,
            1 => Stage::Head,
            2 => Stage::Body,
            3 => Stage::Running,
            4 => Stage::Reply,
            5 => Stage::Blocked,
            _ => Stage::Handshake,
        }
    }

    /// Enters a stage, or records progress in it.
    pub(super) fn reach(&self, stage: Stage, round: u32) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.since.store(round, Ordering::Relaxed);
    }

    /// The socket's buffer is full: from now on the client's progress is checked.
    pub(super) fn block(&self, round: u32) {
        self.unacknowledged.store(self.probe.unacknowledged(), Ordering::Relaxed);
        self.reach(Stage::Blocked, round);
    }

    /// Asks for unacknowledged bytes, since the kernel reports a socket as writable only when a large part of its
    /// buffer is free. With a slow reader that takes long.
    fn has_taken_more(&self, round: u32) -> bool {
        let left = self.probe.unacknowledged();
        let has = left < self.unacknowledged.swap(left, Ordering::Relaxed);
        if has {
            self.since.store(round, Ordering::Relaxed);
        }
        has
    }

    /// Ends the TLS handshake: the first request may arrive.
    #[cfg(feature = "tls")]
    pub(super) fn end_handshake(&self, round: u32) {
        if self.stage() == Stage::Handshake {
            self.reach(Stage::Idle, round);
        }
    }

    /// The number of rounds in this stage.
    pub(super) fn rounds(&self, round: u32) -> u32 {
        round.wrapping_sub(self.since.load(Ordering::Relaxed))
    }

    pub(super) fn set_overdue(&self) {
        self.end.fetch_max(OVERDUE, Ordering::Relaxed);
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.end.load(Ordering::Relaxed) == OVERDUE
    }

    /// Marks that the server is stopping. A connection that is not in the middle of a request ends now.
    pub(super) fn set_orphaned(&self) {
        let in_use = matches!(self.stage(), Stage::Running | Stage::Reply | Stage::Blocked);
        self.end.fetch_max(if in_use { ORPHANED } else { ENDED }, Ordering::Relaxed);
    }

    pub(super) fn is_orphaned(&self) -> bool {
        self.end.load(Ordering::Relaxed) >= ORPHANED
    }

    pub(super) fn note_version(&self, version: Version) {
        self.probe.note_version(version);
    }

    /// Returns true if the client has left before its reply was complete.
    pub(super) fn client_has_left(&self) -> bool {
        self.probe.client_has_left()
    }

    /// Leaves a job for the thread that polls the connection, to run after the poll.
    pub(super) fn leave_job(&self, pending_job: Hook) {
        *self.pending_job.lock().unwrap_or_else(PoisonError::into_inner) = Some(pending_job);
    }

    fn take_job(&self) -> Option<Hook> {
        self.pending_job.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn has_errand(&self) -> bool {
        self.pending_job.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn note_problem(&self) {
        self.problem.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_problem(&self) -> bool {
        self.problem.load(Ordering::Relaxed)
    }

    pub(super) fn note_pipelined(&self) {
        self.pipelined.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_pipelined(&self) -> bool {
        self.pipelined.load(Ordering::Relaxed)
    }

    pub(super) fn set_ended(&self) {
        self.end.store(ENDED, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.load(Ordering::Relaxed) == ENDED
    }
}
