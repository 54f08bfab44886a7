//! One connection: hyper's future, polled by whichever thread found it ready, and by one at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use hyper::Version;

use super::probe::Probe;
use crate::command::Hook;
use crate::server::scheduling::poll_state::TaskState;

/// A connection's whole life.
pub(super) type ConnectionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The reactor, as its connections see it.
pub(super) trait Owner: Send + Sync {
    /// Forgets a connection that has ended.
    fn forget(&self, id: u64);
    /// Puts a claimed connection in line, and wakes the leader.
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

    /// Something has happened: true for the one caller who now has to see that it is run.
    pub(super) fn claim(&self) -> bool {
        self.state.schedule()
    }

    /// Takes it on by one request at most; true when it could go on, which is the caller's claim now. Only after a claim.
    ///
    /// A request that has been read is served here, between two looks at the connection: others may look at it
    /// meanwhile, so that it can be answered for. The next is left to the next turn: one that always has more would
    /// else keep the leader to itself.
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

    /// Whether the client has acknowledged more of its reply since it was last asked; its time begins again then.
    pub(super) fn has_taken_more(&self, round: u32) -> bool {
        if self.progress.stage() != Stage::Blocked {
            return false;
        }
        // Locked, so that the socket stays open meanwhile.
        match self.future.try_lock() {
            Ok(future) => future.is_some() && self.progress.has_taken_more(round),
            // Another thread writes to it right now, or it has ended.
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Poisoned(_)) => false,
        }
    }

    /// Takes it as far as it goes, however far that is: nobody else waits.
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
            // Nobody leads any more: whoever brings the answer sends it.
            None => self.run_out(),
        }
    }
}

/// How far a connection is, which says how long it may take for what comes next.
pub(super) struct Progress {
    stage: AtomicU8,
    /// The round in which the stage began or last got on.
    since: AtomicU32,
    /// How many bytes the client had not acknowledged when it was last asked.
    unacknowledged: AtomicUsize,
    end: AtomicU8,
    /// A request was answered before all of it was read.
    problem: AtomicBool,
    /// A request that has been read, to be served by whoever read it.
    pending_job: Mutex<Option<Hook>>,
    /// Knows whether the client is still there.
    probe: Probe,
    /// More than one request came at once, and only the first is known.
    pipelined: AtomicBool,
}

/// What a connection is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Stage {
    /// Between requests.
    Idle,
    /// The handshake, or the head of a request, has begun to come.
    Head,
    /// The head has come, the body has not.
    Body,
    /// The command is running.
    Running,
    /// The answer is on its way.
    Reply,
    /// The socket takes no more of the answer, until the client has.
    Blocked,
    /// TLS is not agreed on yet.
    Handshake,
}

const GOES_ON: u8 = 0;
/// The current stage took too long; what waits for the client gives up.
const OVERDUE: u8 = 1;
/// The server stops: what is under way is finished by whoever has it.
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

    /// Begins a stage, or gets on with it.
    pub(super) fn reach(&self, stage: Stage, round: u32) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.since.store(round, Ordering::Relaxed);
    }

    /// The socket takes no more: from now on the client is watched.
    pub(super) fn block(&self, round: u32) {
        self.unacknowledged.store(self.probe.unacknowledged(), Ordering::Relaxed);
        self.reach(Stage::Blocked, round);
    }

    /// The system reports room in the socket only when a large part of it is free, which takes a slow reader long.
    fn has_taken_more(&self, round: u32) -> bool {
        let left = self.probe.unacknowledged();
        let has = left < self.unacknowledged.swap(left, Ordering::Relaxed);
        if has {
            self.since.store(round, Ordering::Relaxed);
        }
        has
    }

    /// TLS is agreed on: the first request may come.
    #[cfg(feature = "tls")]
    pub(super) fn end_handshake(&self, round: u32) {
        if self.stage() == Stage::Handshake {
            self.reach(Stage::Idle, round);
        }
    }

    /// For how many rounds it has been at that stage.
    pub(super) fn rounds(&self, round: u32) -> u32 {
        round.wrapping_sub(self.since.load(Ordering::Relaxed))
    }

    pub(super) fn set_overdue(&self) {
        self.end.fetch_max(OVERDUE, Ordering::Relaxed);
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.end.load(Ordering::Relaxed) == OVERDUE
    }

    /// The server stops. What is not in the middle of a request ends now.
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

    /// Whether the client has left while its answer is being made.
    pub(super) fn client_has_left(&self) -> bool {
        self.probe.client_has_left()
    }

    /// Leaves something to be done by whoever polls the connection, when it is no longer held.
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
