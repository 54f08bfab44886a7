//! The thread that waits for clients so that no worker does: reply FIFOs without a reader, full pipes and full sockets.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::server::dispatch::byte_budget::Reservation;
use crate::server::dispatch::dispatcher::Dispatcher;
use crate::server::scheduling::thread_pool::Pool;
use crate::transport::fifo::{Opened, ReplyFifo};

/// The kernel does not report a reader that blocks in open(2), so the writer retries at this interval at first.
const RETRY: Duration = Duration::from_micros(250);
/// A reader that has not opened its FIFO by now rarely comes, so the writer retries half as often.
const LATE: Duration = Duration::from_millis(10);
const RETRY_LATE: Duration = Duration::from_micros(500);
/// How long a quiet deferred writer sleeps before it looks at its deadlines.
const PATIENCE: Duration = Duration::from_millis(100);

/// A write to be delivered.
pub(crate) enum PendingWrite {
    /// A request whose reply FIFO has no reader yet: it runs once it has one.
    AwaitReader {
        request: Box<dyn AwaitingReader>,
        deadline: Instant,
        dispatcher: Arc<Dispatcher>,
        /// The request's bytes.
        waiting: Reservation,
    },
    /// A reply that its reader takes slowly.
    Write {
        fifo: ReplyFifo,
        bytes: Vec<u8>,
        sent: usize,
        deadline: Instant,
        dispatcher: Arc<Dispatcher>,
        /// The reply's bytes.
        waiting: Reservation,
    },
    /// Continues a reply once its reader has taken some bytes, or has taken none before the deadline.
    Room { fifo: Arc<ReplyFifo>, deadline: Instant, then: Box<dyn FnOnce(bool) + Send> },
    /// Replies in datagrams, in queues of their own. `serve` says when to serve them again; nothing when all are gone.
    Queues { serve: Box<dyn Fn(Instant) -> Option<Instant> + Send> },
}

/// A request whose reply FIFO has no reader yet.
pub(crate) trait AwaitingReader: Send {
    /// Opens its reply FIFO.
    fn open(&self) -> Opened;
    /// Runs it.
    fn run(self: Box<Self>, fifo: ReplyFifo);
}

/// A write on its way.
struct ScheduledWrite {
    write: PendingWrite,
    since: Instant,
    due: Instant,
}

pub(crate) struct DeferredWriter {
    incoming: Mutex<Vec<PendingWrite>>,
    wake_fd: Option<EventFd>,
    pool: Arc<Pool>,
    stopping: AtomicBool,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl DeferredWriter {
    pub(crate) fn start(pool: Arc<Pool>) -> std::io::Result<Arc<Self>> {
        let wake_fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let deferred_writer = Arc::new(DeferredWriter {
            incoming: Mutex::default(),
            wake_fd: wake_fd.map_err(|error| log::error!("no eventfd, slow clients wait longer: {error}")).ok(),
            pool,
            stopping: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let working = deferred_writer.clone();
        let thread = std::thread::Builder::new().name("sipmi-courier".into()).spawn(move || working.work())?;
        *deferred_writer.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(deferred_writer)
    }

    /// Takes a write over.
    pub(crate) fn take(&self, write: PendingWrite) {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).push(write);
        self.wake();
    }

    /// Waits until everything is delivered or given up, at most until the deadline.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn wake(&self) {
        if let Some(wake_fd) = &self.wake_fd {
            // It only fails when it rings already.
            let _ = wake_fd.write(1);
        }
    }

    fn work(&self) {
        let mut carried: Vec<ScheduledWrite> = Vec::new();
        loop {
            let now = Instant::now();
            let incoming = std::mem::take(&mut *self.incoming.lock().unwrap_or_else(PoisonError::into_inner));
            carried.extend(incoming.into_iter().map(|write| ScheduledWrite { write, since: now, due: now }));
            let in_a_hurry = self.stopping.load(Ordering::SeqCst);
            let try_again = |write: ScheduledWrite| {
                if write.due <= now || in_a_hurry { self.carry(write, now) } else { Some(write) }
            };
            carried = carried.into_iter().filter_map(try_again).collect();
            if in_a_hurry && carried.is_empty() {
                return;
            }
            self.wait(&carried);
        }
    }

    /// Tries to deliver, and says when to try again.
    fn carry(&self, ScheduledWrite { write, since, .. }: ScheduledWrite, now: Instant) -> Option<ScheduledWrite> {
        if let PendingWrite::Queues { serve } = write {
            let due = serve(now)?;
            return Some(ScheduledWrite { write: PendingWrite::Queues { serve }, since, due });
        }
        let write = self.attempt(write, now)?;
        let due = match write {
            // The pipe tells when it has room.
            PendingWrite::Write { .. } | PendingWrite::Room { .. } => now,
            _ if now - since < LATE => now + RETRY,
            _ => now + RETRY_LATE,
        };
        Some(ScheduledWrite { write, since, due })
    }

    /// Tries to deliver; gives the parcel back when it must wait.
    fn attempt(&self, write: PendingWrite, now: Instant) -> Option<PendingWrite> {
        match write {
            PendingWrite::AwaitReader { request, deadline, dispatcher, waiting } => match request.open() {
                Opened::Ready(fifo) => {
                    self.pool.run(Box::new(move || {
                        drop(waiting);
                        request.run(fifo);
                    }));
                    None
                }
                Opened::NoReader | Opened::NoDescriptor
                    if now < deadline && !self.stopping.load(Ordering::SeqCst) =>
                {
                    Some(PendingWrite::AwaitReader { request, deadline, dispatcher, waiting })
                }
                Opened::NoReader => {
                    given_up(&dispatcher, "no client opened the reply FIFO in time, the request was not run")
                }
                Opened::NoDescriptor => {
                    dispatcher.note_shortage("a request was not run, its reply FIFO could not be opened in time");
                    given_up(&dispatcher, "no descriptor was left for a reply FIFO, the request was not run")
                }
                Opened::Refused(why) => given_up(&dispatcher, &format!("the reply FIFO was refused: {why}")),
            },
            PendingWrite::Room { fifo, deadline, then } => {
                let is_ready = fifo.is_ready();
                if is_ready || now >= deadline {
                    then(is_ready);
                    return None;
                }
                Some(PendingWrite::Room { fifo, deadline, then })
            }
            PendingWrite::Write { fifo, bytes, mut sent, deadline, dispatcher, waiting } => loop {
                match fifo.write(&bytes[sent..]) {
                    Ok(0) if now < deadline => {
                        return Some(PendingWrite::Write { fifo, bytes, sent, deadline, dispatcher, waiting });
                    }
                    Ok(0) => return stalled(&dispatcher),
                    Ok(written) => sent += written,
                    Err(error) => return given_up(&dispatcher, &format!("the reader of a reply FIFO left: {error}")),
                }
                if sent == bytes.len() {
                    return None;
                }
            },
            PendingWrite::Queues { .. } => Some(write),
        }
    }

    /// Sleeps until a pipe has room, the bell rings, or it is time to ask again.
    fn wait(&self, carried: &[ScheduledWrite]) {
        let asked_again = carried
            .iter()
            .filter(|carried| !matches!(carried.write, PendingWrite::Write { .. } | PendingWrite::Room { .. }));
        let next = asked_again.map(|carried| carried.due.saturating_duration_since(Instant::now())).min();
        let quiet = if self.wake_fd.is_some() { PATIENCE } else { RETRY };
        let timeout = next.unwrap_or(quiet).min(quiet);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(carried.len() + 1);
        fds.extend(self.wake_fd.as_ref().map(|wake_fd| PollFd::new(wake_fd.as_fd(), PollFlags::POLLIN)));
        fds.extend(carried.iter().filter_map(|carried| match &carried.write {
            PendingWrite::Write { fifo, .. } => Some(PollFd::new(fifo.as_fd(), PollFlags::POLLOUT)),
            PendingWrite::Room { fifo, .. } => Some(PollFd::new(fifo.as_fd(), PollFlags::POLLOUT)),
            _ => None,
        }));
        let forever = carried.is_empty() && self.wake_fd.is_some();
        // Interrupted or not, the writer checks every pending write again.
        let _ = nix::poll::ppoll(&mut fds, (!forever).then(|| TimeSpec::from_duration(timeout)), None);
        if let Some(wake_fd) = &self.wake_fd {
            let _ = wake_fd.read();
        }
    }
}

fn given_up(dispatcher: &Dispatcher, why: &str) -> Option<PendingWrite> {
    dispatcher.counters.dropped.add(1);
    log::debug!("{why}");
    None
}

/// The client takes no more of its reply.
fn stalled(dispatcher: &Dispatcher) -> Option<PendingWrite> {
    dispatcher.note_stalled(None);
    given_up(dispatcher, "a client took nothing of its reply for as long as it may")
}
