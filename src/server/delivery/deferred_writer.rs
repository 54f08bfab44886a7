//! The thread that waits for clients so that no worker does: reply FIFOs without a reader, full pipes and full sockets.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::server::dispatch::byte_budget::Reservation;
use crate::server::dispatch::dispatcher::Desk;
use crate::server::scheduling::thread_pool::Pool;
use crate::transport::fifo::{Opened, ReplyFifo};

/// Nothing tells of a reader that blocks in open(2), so whoever waits for one asks again this often at first.
const RETRY: Duration = Duration::from_micros(250);
/// Who was not there after so long will hardly come at all, and is asked for half as often.
const LATE: Duration = Duration::from_millis(10);
const RETRY_LATE: Duration = Duration::from_micros(500);
/// How long a quiet courier sleeps before it looks at its deadlines.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is to be delivered.
pub(crate) enum Parcel {
    /// A request whose reply FIFO has no reader yet: it runs once it has one.
    AwaitReader {
        request: Box<dyn Unanswerable>,
        deadline: Instant,
        desk: Arc<Desk>,
        /// The request's bytes.
        waiting: Reservation,
    },
    /// A reply that its reader takes slowly.
    Write {
        fifo: ReplyFifo,
        bytes: Vec<u8>,
        sent: usize,
        deadline: Instant,
        desk: Arc<Desk>,
        /// The reply's bytes.
        waiting: Reservation,
    },
    /// Somebody goes on with a reply once its reader has taken some of it, or has taken nothing for too long.
    Room { fifo: Arc<ReplyFifo>, deadline: Instant, then: Box<dyn FnOnce(bool) + Send> },
    /// Replies in datagrams, in queues of their own. `serve` says when to serve them again; nothing when all are gone.
    Queues { serve: Box<dyn Fn(Instant) -> Option<Instant> + Send> },
}

/// A request whose reply FIFO has no reader yet.
pub(crate) trait Unanswerable: Send {
    /// Opens its reply FIFO.
    fn open(&self) -> Opened;
    /// Runs it.
    fn run(self: Box<Self>, fifo: ReplyFifo);
}

/// A parcel on its way.
struct Carried {
    parcel: Parcel,
    since: Instant,
    due: Instant,
}

pub(crate) struct Courier {
    incoming: Mutex<Vec<Parcel>>,
    bell: Option<EventFd>,
    pool: Arc<Pool>,
    stopping: AtomicBool,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Courier {
    pub(crate) fn start(pool: Arc<Pool>) -> std::io::Result<Arc<Self>> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let courier = Arc::new(Courier {
            incoming: Mutex::default(),
            bell: bell.map_err(|error| log::error!("no eventfd, slow clients wait longer: {error}")).ok(),
            pool,
            stopping: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let working = courier.clone();
        let thread = std::thread::Builder::new().name("sipmi-courier".into()).spawn(move || working.work())?;
        *courier.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(courier)
    }

    /// Takes a parcel over.
    pub(crate) fn take(&self, parcel: Parcel) {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).push(parcel);
        self.ring();
    }

    /// Waits until everything is delivered or given up, at most until the deadline.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            // It only fails when it rings already.
            let _ = bell.write(1);
        }
    }

    fn work(&self) {
        let mut carried: Vec<Carried> = Vec::new();
        loop {
            let now = Instant::now();
            let incoming = std::mem::take(&mut *self.incoming.lock().unwrap_or_else(PoisonError::into_inner));
            carried.extend(incoming.into_iter().map(|parcel| Carried { parcel, since: now, due: now }));
            let in_a_hurry = self.stopping.load(Ordering::SeqCst);
            let try_again = |parcel: Carried| {
                if parcel.due <= now || in_a_hurry { self.carry(parcel, now) } else { Some(parcel) }
            };
            carried = carried.into_iter().filter_map(try_again).collect();
            if in_a_hurry && carried.is_empty() {
                return;
            }
            self.wait(&carried);
        }
    }

    /// Tries to deliver, and says when to try again.
    fn carry(&self, Carried { parcel, since, .. }: Carried, now: Instant) -> Option<Carried> {
        if let Parcel::Queues { serve } = parcel {
            let due = serve(now)?;
            return Some(Carried { parcel: Parcel::Queues { serve }, since, due });
        }
        let parcel = self.attempt(parcel, now)?;
        let due = match parcel {
            // The pipe tells when it has room.
            Parcel::Write { .. } | Parcel::Room { .. } => now,
            _ if now - since < LATE => now + RETRY,
            _ => now + RETRY_LATE,
        };
        Some(Carried { parcel, since, due })
    }

    /// Tries to deliver; gives the parcel back when it must wait.
    fn attempt(&self, parcel: Parcel, now: Instant) -> Option<Parcel> {
        match parcel {
            Parcel::AwaitReader { request, deadline, desk, waiting } => match request.open() {
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
                    Some(Parcel::AwaitReader { request, deadline, desk, waiting })
                }
                Opened::NoReader => given_up(&desk, "nobody opened the reply FIFO in time, the request was not run"),
                Opened::NoDescriptor => {
                    desk.note_shortage("a request was not run, its reply FIFO could not be opened in time");
                    given_up(&desk, "no descriptor was left for a reply FIFO, the request was not run")
                }
                Opened::Refused(why) => given_up(&desk, &format!("the reply FIFO was refused: {why}")),
            },
            Parcel::Room { fifo, deadline, then } => {
                let is_ready = fifo.is_ready();
                if is_ready || now >= deadline {
                    then(is_ready);
                    return None;
                }
                Some(Parcel::Room { fifo, deadline, then })
            }
            Parcel::Write { fifo, bytes, mut sent, deadline, desk, waiting } => loop {
                match fifo.write(&bytes[sent..]) {
                    Ok(0) if now < deadline => {
                        return Some(Parcel::Write { fifo, bytes, sent, deadline, desk, waiting });
                    }
                    Ok(0) => return stalled(&desk),
                    Ok(written) => sent += written,
                    Err(error) => return given_up(&desk, &format!("the reader of a reply FIFO left: {error}")),
                }
                if sent == bytes.len() {
                    return None;
                }
            },
            Parcel::Queues { .. } => Some(parcel),
        }
    }

    /// Sleeps until a pipe has room, the bell rings, or it is time to ask again.
    fn wait(&self, carried: &[Carried]) {
        let asked_again =
            carried.iter().filter(|carried| !matches!(carried.parcel, Parcel::Write { .. } | Parcel::Room { .. }));
        let next = asked_again.map(|carried| carried.due.saturating_duration_since(Instant::now())).min();
        let quiet = if self.bell.is_some() { PATIENCE } else { RETRY };
        let timeout = next.unwrap_or(quiet).min(quiet);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(carried.len() + 1);
        fds.extend(self.bell.as_ref().map(|bell| PollFd::new(bell.as_fd(), PollFlags::POLLIN)));
        fds.extend(carried.iter().filter_map(|carried| match &carried.parcel {
            Parcel::Write { fifo, .. } => Some(PollFd::new(fifo.as_fd(), PollFlags::POLLOUT)),
            Parcel::Room { fifo, .. } => Some(PollFd::new(fifo.as_fd(), PollFlags::POLLOUT)),
            _ => None,
        }));
        let forever = carried.is_empty() && self.bell.is_some();
        // Interrupted or not: whoever waits is looked at again.
        let _ = nix::poll::ppoll(&mut fds, (!forever).then(|| TimeSpec::from_duration(timeout)), None);
        if let Some(bell) = &self.bell {
            let _ = bell.read();
        }
    }
}

fn given_up(desk: &Desk, why: &str) -> Option<Parcel> {
    desk.counters.dropped.add(1);
    log::debug!("{why}");
    None
}

/// The client takes no more of its reply.
fn stalled(desk: &Desk) -> Option<Parcel> {
    desk.note_stalled(None);
    given_up(desk, "a client took nothing of its reply for as long as it may")
}
