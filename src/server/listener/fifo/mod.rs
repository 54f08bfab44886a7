//! The FIFO listener: commands come through one named pipe, each reply goes through the client's own (`mi_fifo`).

mod reply;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::clock;
use crate::codec::RequestError;
use crate::codec::fifo_frame::Frame;
use crate::codec::text;
use crate::command::{CommandFlags, Peer};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::{Params, Request};
use crate::response::Failure;
use crate::server::delivery::deferred_writer::{Parcel, Unanswerable};
use crate::server::dispatch::dispatcher::{Asked, Caller, Desk};
use crate::server::emulation::hazards::{self, Framing};
use crate::server::multiprocess::fifo_stream::FifoStream;
use crate::server::multiprocess::in_flight::Hand;
use crate::server::scheduling::leadership::{Post, Term};
use crate::server::scheduling::pinning::Place;
use crate::server::{Context, ListenOptions, Listener, ServerError};
use crate::transport::eagerness::Habit;
use crate::transport::fifo::{CommandFifo, Opened, Refusal, ReplyDir, ReplyFifo, Waker};
use crate::transport::io_error;
use reply::FifoRoute;

/// How often an unfinished request is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A request that stays incomplete and silent for this long is answered as unreadable.
const SILENCE: Duration = Duration::from_secs(1);
/// Room for most replies, so that writing one allocates once.
const USUAL_REPLY: usize = 1024;
/// How often a full pipe is looked at, when nobody else may be served meanwhile.
const FULL_PIPE: Duration = Duration::from_millis(1);
/// What a request that waits for its reader takes beside its own bytes, about.
const WAITING_REQUEST: usize = 1024;
/// How much more a request may take when it was read: `0,` of a JSON array is a value of 24 bytes.
const READ_TO_BYTES: usize = 12;
/// What one read may bring: the size of a pipe.
pub(crate) const BUFFER: usize = 65_536;

pub(crate) struct FifoListener {
    context: Arc<Context>,
    address: Address,
    desk: Arc<Desk>,
    intake: Mutex<Intake>,
    waker: Mutex<Waker>,
    replies: Arc<RwLock<ReplyDir>>,
    reply_wait: Duration,
    write_timeout: Duration,
    /// Which endpoint of the server it is.
    number: usize,
    post: Post,
    place: Place,
    /// Whether the command that is served is one that answers later, which is deadly in other ways.
    answers_later: AtomicBool,
    /// Held while a request is served, when the server has hazards: real ones serve one at a time.
    alone: Option<Mutex<()>>,
}

/// What the leader reads from. Only a leader locks it, and only while it waits for a request.
struct Intake {
    fifo: CommandFifo,
    framer: Framing,
    buffer: Vec<u8>,
    last_byte: Instant,
    /// The last read brought something, so whoever was served may well ask again at once.
    has_served: bool,
    /// Whether what another process has left over was taken.
    has_begun: bool,
    habit: Habit,
}

impl FifoListener {
    pub(crate) fn new(
        context: Arc<Context>,
        (fifo, replies): (CommandFifo, ReplyDir),
        address: Address,
        (number, options): (usize, &ListenOptions),
    ) -> Result<Self, ServerError> {
        let dialect = context.service.dialect;
        let waker = fifo.waker().map_err(io_error("keep open", "the command FIFO"))?;
        Ok(FifoListener {
            desk: Desk::new(&context, &address, options, usize::MAX),
            context,
            address,
            intake: Mutex::new(Intake {
                fifo,
                framer: Framing::new(dialect, options.request_limit, options.hazards),
                buffer: vec![0; BUFFER],
                last_byte: Instant::now(),
                has_served: false,
                has_begun: false,
                habit: Habit::default(),
            }),
            waker: Mutex::new(waker),
            replies: Arc::new(RwLock::new(replies)),
            reply_wait: options.reply_wait,
            write_timeout: options.write_timeout,
            number,
            post: Post::default(),
            place: Place::new(&options.cpus),
            answers_later: AtomicBool::new(false),
            alone: (options.hazards && dialect.is_emulated()).then(Mutex::default),
        })
    }

    /// The next request; nothing when the server stops or another thread leads.
    fn next_frame(&self, term: Term) -> Option<(Frame, Option<Hand>)> {
        let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = self.stream();
        if let Some(stream) = stream.filter(|_| !std::mem::replace(&mut intake.has_begun, true)) {
            intake.framer.push(stream.take_over(), &|_| false);
        }
        while !self.context.is_stopping() && self.post.leads(term) {
            let takes_no_input = |method: &[u8]| self.takes_no_input(method);
            let frame = intake.next_frame((&self.desk, stream), &self.address, &takes_no_input);
            // First it is in hand, and then off the stream: so it is in one of both whenever this process dies.
            let place = stream.map(|stream| stream.place(intake.framer.buffered()));
            let hand = frame.as_ref().zip(place).and_then(|(frame, place)| {
                self.context.hands.as_ref().and_then(|hands| hands.with_frame(self.number, frame, place))
            });
            if let (Some(stream), Some(place)) = (stream, place) {
                stream.note_served(place);
            }
            if let Some(frame) = frame {
                return Some((frame, hand));
            }
            if lock(&self.waker).is_replaced() {
                self.restore(&mut intake);
            }
        }
        None
    }

    /// Where what was read and not served is kept for another process.
    fn stream(&self) -> Option<&FifoStream> {
        self.context.common.as_ref()?.streams.get(self.number)?.as_ref()
    }

    fn takes_no_input(&self, method: &[u8]) -> bool {
        let found = self.context.service.registry().lookup(method);
        found.is_ok_and(|command| command.flags.has(CommandFlags::NO_INPUT))
    }

    /// Makes the command FIFO again when it is gone.
    fn restore(&self, intake: &mut Intake) {
        let restored = intake.fifo.restore().and_then(|is_new| {
            let waker = is_new.then(|| intake.fifo.waker().map_err(io_error("keep open", "the command FIFO")));
            waker.transpose()
        });
        match restored {
            Ok(Some(waker)) => {
                *lock(&self.waker) = waker;
                log::warn!("{} was removed or replaced; it is back", self.address);
            }
            // Another process makes it.
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => {
                log::warn!("{error}");
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Serves one request once its reply FIFO has a reader.
    ///
    /// It is read before that FIFO is opened: opening wakes the client, and the answer had better be quick then.
    fn serve(self: &Arc<Self>, frame: Frame, hand: Option<Hand>) {
        if self.alone.is_some() && self.dies_of(&frame) {
            return self.context.die();
        }
        if self.alone.is_some() {
            self.answers_later.store(hazards::answers_later(&frame), Ordering::Relaxed);
        }
        let malformed = matches!(frame, Frame::Malformed { .. });
        let (reply, asked) = self.read(frame);
        if reply.is_empty() {
            // Without a reply name a good request runs all the same, and a bad one cannot be answered.
            if malformed {
                self.desk.counters.parse_errors.add(1);
                self.desk.counters.dropped.add(1);
            } else {
                self.run(asked, (reply, hand), None);
            }
            return;
        }
        match self.open_reply_of(hand.as_ref(), &reply) {
            Opened::Ready(fifo) => {
                if fifo.has_last_descriptor() {
                    self.desk.note_shortage("a reply FIFO took the reserved descriptor");
                }
                self.run(asked, (reply, hand), Some(fifo));
            }
            Opened::NoReader => self.reach_reader(asked, reply, hand),
            Opened::NoDescriptor => {
                self.desk.note_shortage("a request waits until its reply FIFO can be opened");
                self.reach_reader(asked, reply, hand);
            }
            Opened::Refused(why) => {
                self.desk.note_refused_reply(&reply, &why);
            }
        }
    }

    /// Whether a real server would not survive this request. It opens the reply FIFO before it dies.
    fn dies_of(&self, frame: &Frame) -> bool {
        let (reply, deadly) = match frame {
            Frame::Json { reply, body } => (reply, hazards::dies_of_json(self.desk.dialect(), body, true)),
            Frame::Text { reply, .. } | Frame::Malformed { reply, .. } => (reply, false),
        };
        if deadly && !reply.is_empty() {
            return matches!(self.open_reply(reply), Opened::Ready(_));
        }
        let has_no_way_back = reply.is_empty() && hazards::answers_later(frame);
        // 4.1 drops the reply that has nowhere to go.
        deadly || (has_no_way_back && self.desk.dialect() != Dialect::V4_1)
    }

    /// Tries again later to open a reply FIFO.
    fn reach_reader(self: &Arc<Self>, asked: (Asked, usize), reply: Str, hand: Option<Hand>) {
        if self.alone.is_some() {
            self.look_for_reader(asked, reply);
        } else {
            self.await_reader(asked, reply, hand);
        }
    }

    /// Looks for a missing reader a few times, as real servers do, while everybody waits.
    fn look_for_reader(self: &Arc<Self>, asked: (Asked, usize), reply: Str) {
        for pause in hazards::READER_LOOKS {
            std::thread::sleep(pause);
            if let Opened::Ready(fifo) = self.open_reply(&reply) {
                return self.run(asked, (reply, None), Some(fifo));
            }
        }
        self.desk.counters.dropped.add(1);
    }

    /// The name of the reply FIFO, the request, and how many bytes say it.
    fn read(&self, frame: Frame) -> (Str, (Asked, usize)) {
        match frame {
            Frame::Json { reply, body } => (reply.into(), (self.desk.read_json(&body), body.len())),
            Frame::Text { method, reply, params } => {
                let size = method.len() + params.len();
                let decoded = self
                    .desk
                    .has_memory_for(params.len())
                    .then(|| text::decode_params(&params, self.desk.dialect()).map_err(|_| Failure::Parse));
                let request = match decoded.unwrap_or(Err(Failure::Busy)) {
                    Ok(params) if params.is_empty() => Ok(Request { method: method.into(), params: Params::None }),
                    Ok(params) => Ok(Request { method: method.into(), params: Params::Strings(params) }),
                    Err(failure) => Err(RequestError { method: method.into(), failure }),
                };
                (reply.into(), (Asked::Text(request), size))
            }
            Frame::Malformed { reply, method, json, failure } => {
                (reply.into(), (Asked::unreadable(json, method.into(), failure), 0))
            }
        }
    }

    fn await_reader(self: &Arc<Self>, asked: (Asked, usize), reply: Str, hand: Option<Hand>) {
        let size = WAITING_REQUEST + asked.1.saturating_mul(READ_TO_BYTES);
        let Some(waiting) = self.desk.reserve_unsent(size) else { return };
        self.context.courier.take(Parcel::AwaitReader {
            request: Box::new(Unread { listener: self.clone(), asked, reply, hand }),
            deadline: clock::deadline(self.reply_wait),
            desk: self.desk.clone(),
            waiting,
        });
    }

    /// Opens the reply FIFO of a request. If this process dies afterwards, the parent knows that the client may have
    /// seen the end of its reply.
    fn open_reply_of(&self, hand: Option<&Hand>, name: &[u8]) -> Opened {
        if let Some(hand) = hand {
            hand.begin_open();
        }
        let opened = self.open_reply(name);
        match (hand, &opened) {
            (Some(hand), Opened::Ready(fifo)) => hand.note_opened(fifo.identity()),
            (Some(hand), Opened::NoReader | Opened::NoDescriptor) => hand.note_unopened(),
            _ => {}
        }
        opened
    }

    fn open_reply(&self, name: &[u8]) -> Opened {
        let dir = self.replies.read().unwrap_or_else(PoisonError::into_inner);
        match dir.open_reply(name) {
            Opened::Refused(Refusal::Missing) if dir.is_gone() => {
                drop(dir);
                let mut dir = self.replies.write().unwrap_or_else(PoisonError::into_inner);
                match dir.reopen() {
                    Ok(()) => dir.open_reply(name),
                    Err(_) => Opened::Refused(Refusal::Missing),
                }
            }
            opened => opened,
        }
    }

    /// Writes as real servers do: until the client has taken it all, while everybody waits.
    fn write_to_the_end(&self, fifo: &ReplyFifo, bytes: Vec<u8>) {
        if self.answers_later.load(Ordering::Relaxed) && hazards::dies_of_reply(self.desk.dialect(), &bytes) {
            return self.context.die();
        }
        let bytes = hazards::cut_fifo_reply(self.desk.dialect(), bytes);
        let mut sent = 0;
        while sent < bytes.len() && !self.context.is_stopping() {
            match fifo.write(&bytes[sent..]) {
                Ok(0) => std::thread::sleep(FULL_PIPE),
                Ok(more) => sent += more,
                Err(error) => return log::debug!("a reply was not delivered: {error}"),
            }
        }
    }

    fn run(
        self: &Arc<Self>,
        (asked, size): (Asked, usize),
        (reply, hand): (Str, Option<Hand>),
        fifo: Option<ReplyFifo>,
    ) {
        let mut out = Vec::with_capacity(USUAL_REPLY);
        let route = Box::new(FifoRoute { listener: self.clone(), fifo, hand });
        self.desk.serve(asked, Caller::of(Peer::Fifo(reply), size), &mut out, route);
    }
}

/// A request that waits for the reader of its reply FIFO.
struct Unread {
    listener: Arc<FifoListener>,
    asked: (Asked, usize),
    reply: Str,
    hand: Option<Hand>,
}

impl Unanswerable for Unread {
    fn open(&self) -> Opened {
        self.listener.open_reply_of(self.hand.as_ref(), &self.reply)
    }

    fn run(self: Box<Self>, fifo: ReplyFifo) {
        self.listener.run(self.asked, (self.reply, self.hand), Some(fifo));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Intake {
    /// Waits a moment for the next request.
    fn next_frame(
        &mut self,
        (desk, stream): (&Desk, Option<&FifoStream>),
        address: &Address,
        takes_no_input: &dyn Fn(&[u8]) -> bool,
    ) -> Option<Frame> {
        if let Some(frame) = self.framer.next_frame() {
            return Some(frame);
        }
        match self.read(stream, takes_no_input) {
            Ok(0) => {}
            Ok(read) => {
                desk.counters.bytes_in.add(read as i64);
                let frame = self.framer.next_frame();
                if frame.is_none() {
                    self.last_byte = Instant::now();
                }
                return frame;
            }
            Err(error) => {
                log::warn!("{address}: {error}");
                std::thread::sleep(LOOK);
            }
        }
        let silent = self.framer.is_mid_frame() && self.last_byte.elapsed() >= SILENCE;
        if silent { self.framer.give_up() } else { None }
    }

    /// Reads what comes next. An unfinished request is not waited for without end.
    fn read(&mut self, stream: Option<&FifoStream>, takes_no_input: &dyn Fn(&[u8]) -> bool) -> io::Result<usize> {
        if self.framer.is_mid_frame() && !self.fifo.wait(LOOK)? {
            return Ok(0);
        }
        if self.has_served {
            self.fifo.await_eagerly(&mut self.habit)?;
        }
        let room = self.framer.room(self.buffer.len());
        let buffer = match stream {
            // SAFETY: the intake is locked, and only the process that reads this FIFO has one that is led.
            Some(stream) => unsafe { stream.room(room) },
            None => &mut self.buffer[..room],
        };
        let read = self.fifo.read(buffer)?;
        self.has_served = read > 0;
        self.framer.push(&buffer[..read], takes_no_input);
        if let Some(stream) = stream {
            stream.note_read(read);
        }
        Ok(read)
    }
}

impl Listener for FifoListener {
    fn address(&self) -> &Address {
        &self.address
    }

    fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    fn post(&self) -> &Post {
        &self.post
    }

    fn has_one_reader(&self) -> bool {
        true
    }

    fn look_after(&self) {
        let waker = lock(&self.waker);
        if self.context.is_stopping() || waker.is_replaced() {
            waker.wake();
        }
    }

    fn lead(self: Arc<Self>, term: Term) {
        let _pinned = self.place.enter();
        loop {
            // Before the next request is taken, so that they are served in the order in which they came.
            let _alone = self.alone.as_ref().map(lock);
            let Some((frame, hand)) = self.next_frame(term) else { return };
            let turn = self.post.begin(term);
            self.serve(frame, hand);
            if !self.post.end(turn) {
                return;
            }
        }
    }
}

impl Drop for FifoListener {
    fn drop(&mut self) {
        if self.context.is_dead() {
            self.intake.get_mut().unwrap_or_else(PoisonError::into_inner).fifo.leave();
        }
    }
}
