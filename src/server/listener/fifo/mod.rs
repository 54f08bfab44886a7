//! The FIFO listener: requests arrive through one named pipe, and each reply leaves through its client's own FIFO
//! (`mi_fifo`).

pub(crate) mod policy;
mod reply;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::clock;
use crate::codec::RequestError;
use crate::codec::fifo_frame::Frame;
use crate::codec::text::{self, Carrier};
use crate::command::{CommandFlags, Peer, Transport};
use crate::item::Str;
use crate::request::{Params, Request};
use crate::response::Failure;
use crate::server::context::{Context, Listener};
use crate::server::delivery::deferred_writer::{AwaitingReader, PendingWrite};
use crate::server::dispatch::asked::{Asked, Caller};
use crate::server::dispatch::dispatcher::{Carriage, Dispatcher};
use crate::server::dispatch::policy::ReplyPolicy;
use crate::server::error::ServerError;
use crate::server::multiprocess::fifo_stream::FifoStream;
use crate::server::multiprocess::in_flight::Slot;
use crate::server::options::ListenOptions;
use crate::server::scheduling::leadership::{Epoch, Leadership, Led};
use crate::server::scheduling::pinning::Pinning;
use crate::transport::eagerness::Habit;
use crate::transport::fifo::{CommandFifo, Opened, ReplyDir, ReplyFifo, Waker};
use crate::transport::io_error;
use policy::{FifoPolicy, Framing, ReplySide, UnreadRequest};
use reply::{FifoReplies, FifoRoute};

/// The interval at which an unfinished request is checked.
const LOOK: Duration = Duration::from_millis(50);
/// A request that stays incomplete and gets no more bytes for this long is answered as malformed.
const SILENCE: Duration = Duration::from_secs(1);
/// Room for most replies, so that writing one allocates once.
const USUAL_REPLY: usize = 1024;
/// The approximate memory of a request that waits for its reader, in addition to its own bytes.
const WAITING_REQUEST: usize = 1024;
/// The factor by which a parsed request may exceed its text: `0,` of a JSON array becomes a value of 24 bytes.
const READ_TO_BYTES: usize = 12;
/// The most bytes that one read returns: the size of a pipe.
pub(crate) const BUFFER: usize = 65_536;

pub(crate) struct FifoListener {
    context: Arc<Context>,
    address: Address,
    dispatcher: Arc<Dispatcher>,
    intake: Mutex<Intake>,
    waker: Mutex<Waker>,
    replies: Arc<FifoReplies>,
    reply_wait: Duration,
    /// The number of the server's endpoint.
    number: usize,
    leadership: Leadership,
    pinning: Pinning,
    policy: Arc<dyn FifoPolicy>,
}

/// The reading side. Only a leader locks it, and only while it waits for a request.
struct Intake {
    fifo: CommandFifo,
    framer: Box<dyn Framing>,
    buffer: Vec<u8>,
    last_byte: Instant,
    /// True if the last read returned a request, so that the next one may follow at once.
    has_served: bool,
    /// True once the bytes that another process left over were taken.
    has_begun: bool,
    habit: Habit,
}

impl FifoListener {
    pub(crate) fn new(
        context: Arc<Context>,
        (fifo, replies): (CommandFifo, ReplyDir),
        address: Address,
        (number, options): (usize, &ListenOptions),
        (policy, replies_policy): (Arc<dyn FifoPolicy>, Arc<dyn ReplyPolicy>),
    ) -> Result<Self, ServerError> {
        let dialect = context.resources.service.dialect;
        let waker = fifo.waker().map_err(io_error("keep open", "the command FIFO"))?;
        let rates = context.rates(number, options)?;
        let carriage = Carriage {
            transport: Transport::Fifo,
            carrier: Carrier::Fifo,
            group: "mi_fifo",
            reply_limit: usize::MAX,
            rejects_while_stopping: false,
            rate: rates.requests,
        };
        let dispatcher = Dispatcher::new(&context.resources, &address, options, (carriage, replies_policy));
        let replies = FifoReplies::new(&context, &dispatcher, replies, (options.write_timeout, policy.clone()));
        Ok(FifoListener {
            dispatcher,
            context,
            address,
            intake: Mutex::new(Intake {
                fifo,
                framer: policy.framing(dialect, options.request_limit),
                buffer: vec![0; BUFFER],
                last_byte: Instant::now(),
                has_served: false,
                has_begun: false,
                habit: Habit::default(),
            }),
            waker: Mutex::new(waker),
            replies: Arc::new(replies),
            reply_wait: options.reply_wait,
            number,
            leadership: Leadership::default(),
            pinning: Pinning::new(&options.cpus),
            policy,
        })
    }

    /// Returns the next request; `None` when the server stops or another thread leads.
    fn next_frame(&self, epoch: Epoch) -> Option<(Frame, Option<Slot>)> {
        let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = self.stream();
        if let Some(stream) = stream.filter(|_| !std::mem::replace(&mut intake.has_begun, true)) {
            intake.framer.push(&stream.take_over(), &|_| false);
        }
        while !self.context.is_stopping() && self.leadership.leads(epoch) {
            let takes_no_input = |method: &[u8]| self.takes_no_input(method);
            let frame = intake.next_frame((&self.dispatcher, stream), &self.address, &takes_no_input);
            // The request is registered in its slot before it is removed from the stream. If this process dies in
            // between, the request is in one of the two.
            let place = stream.map(|stream| stream.place(intake.framer.buffered()));
            let slot = frame.as_ref().zip(place).and_then(|(frame, place)| {
                self.context.slots.as_ref().and_then(|slots| slots.with_frame(self.number, frame, place))
            });
            if let (Some(stream), Some(place)) = (stream, place) {
                stream.note_served(place);
            }
            if let Some(frame) = frame {
                return Some((frame, slot));
            }
            if lock(&self.waker).is_replaced() {
                self.restore(&mut intake);
            }
        }
        None
    }

    /// The shared memory in which bytes that were read and not yet served are kept for another process.
    fn stream(&self) -> Option<&FifoStream> {
        self.context.common.as_ref()?.streams.get(self.number)?.as_ref()
    }

    fn takes_no_input(&self, method: &[u8]) -> bool {
        let found = self.context.resources.service.registry().lookup(method);
        found.is_ok_and(|command| command.flags.has(CommandFlags::NO_INPUT))
    }

    /// Creates the command FIFO again if it is gone.
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
            // Another process creates it.
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => {
                log::warn!("{error}");
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Serves one request as soon as its reply FIFO has a reader.
    ///
    /// The request is parsed before that FIFO is opened: opening wakes the client, which then waits for the reply.
    fn serve(self: &Arc<Self>, frame: Frame, slot: Option<Slot>) {
        if self.policy.dies_of(&*self.replies, &frame) {
            return self.context.die();
        }
        let malformed = matches!(frame, Frame::Malformed { .. });
        let (reply, asked) = self.read(frame);
        if reply.is_empty() {
            // A valid request without a reply name runs without a reply. A malformed one cannot be answered.
            if malformed {
                self.dispatcher.counters.parse_errors.add(1);
                self.dispatcher.counters.dropped.add(1);
            } else {
                self.run(asked, (reply, slot), None);
            }
            return;
        }
        match self.replies.open_of(slot.as_ref(), &reply) {
            Opened::Ready(fifo) => {
                if fifo.has_last_descriptor() {
                    self.dispatcher.note_shortage("a reply FIFO took the reserved descriptor");
                }
                self.run(asked, (reply, slot), Some(fifo));
            }
            Opened::NoReader => self.reach_reader(asked, reply, slot),
            Opened::NoDescriptor => {
                self.dispatcher.note_shortage("a request waits until its reply FIFO can be opened");
                self.reach_reader(asked, reply, slot);
            }
            Opened::Refused(why) => {
                self.dispatcher.note_refused_reply(&reply, &why);
            }
        }
    }

    /// Makes the deferred writer try again to open a reply FIFO.
    fn reach_reader(self: &Arc<Self>, asked: (Asked, usize), reply: Str, slot: Option<Slot>) {
        self.policy.reach_reader(Box::new(Unread { listener: self.clone(), asked, reply, slot }));
    }

    /// Returns the name of the reply FIFO, the request, and its size in bytes.
    fn read(&self, frame: Frame) -> (Str, (Asked, usize)) {
        match frame {
            Frame::Json { reply, body } => (reply.into(), (self.dispatcher.read_json(&body), body.len())),
            Frame::Text { method, reply, params } => {
                let size = method.len() + params.len();
                let decoded = self
                    .dispatcher
                    .has_memory_for(params.len())
                    .then(|| text::decode_params(&params, self.dispatcher.dialect()).map_err(|_| Failure::Parse));
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

    fn run(
        self: &Arc<Self>,
        (asked, size): (Asked, usize),
        (reply, slot): (Str, Option<Slot>),
        fifo: Option<ReplyFifo>,
    ) {
        let mut out = Vec::with_capacity(USUAL_REPLY);
        let route = Box::new(FifoRoute { replies: self.replies.clone(), fifo, slot });
        self.dispatcher.serve(asked, Caller::of(Peer::Fifo(reply), size), &mut out, route);
    }
}

/// A request that waits for the reader of its reply FIFO.
struct Unread {
    listener: Arc<FifoListener>,
    asked: (Asked, usize),
    reply: Str,
    slot: Option<Slot>,
}

impl UnreadRequest for Unread {
    fn replies(&self) -> &dyn ReplySide {
        &*self.listener.replies
    }

    fn name(&self) -> &[u8] {
        &self.reply
    }

    fn run_unwatched(self: Box<Self>, fifo: ReplyFifo) {
        self.listener.run(self.asked, (self.reply, None), Some(fifo));
    }

    fn await_reader(self: Box<Self>) {
        let size = WAITING_REQUEST + self.asked.1.saturating_mul(READ_TO_BYTES);
        let listener = self.listener.clone();
        let Some(waiting) = listener.dispatcher.reserve_unsent(size) else { return };
        listener.context.deferred_writer.take(PendingWrite::AwaitReader {
            request: self,
            deadline: clock::deadline(listener.reply_wait),
            dispatcher: listener.dispatcher.clone(),
            waiting,
        });
    }
}

impl AwaitingReader for Unread {
    fn open(&self) -> Opened {
        self.listener.replies.open_of(self.slot.as_ref(), &self.reply)
    }

    fn run(self: Box<Self>, fifo: ReplyFifo) {
        self.listener.run(self.asked, (self.reply, self.slot), Some(fifo));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Intake {
    /// Waits briefly for the next request.
    fn next_frame(
        &mut self,
        (dispatcher, stream): (&Dispatcher, Option<&FifoStream>),
        address: &Address,
        takes_no_input: &dyn Fn(&[u8]) -> bool,
    ) -> Option<Frame> {
        if let Some(frame) = self.framer.next_frame() {
            return Some(frame);
        }
        match self.read(stream, takes_no_input) {
            Ok(0) => {}
            Ok(read) => {
                dispatcher.counters.bytes_in.add(read as i64);
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

    /// Reads the next bytes. The wait for the rest of an unfinished request has a limit.
    fn read(&mut self, stream: Option<&FifoStream>, takes_no_input: &dyn Fn(&[u8]) -> bool) -> io::Result<usize> {
        if self.framer.is_mid_frame() && !self.fifo.wait(LOOK)? {
            return Ok(0);
        }
        if self.has_served {
            self.fifo.await_eagerly(&mut self.habit)?;
        }
        let room = self.framer.room(self.buffer.len());
        let buffer = &mut self.buffer[..room];
        let read = match stream {
            Some(stream) => match stream.read_from(&self.fifo, buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                read => read?,
            },
            None => self.fifo.read(buffer)?,
        };
        self.has_served = read > 0;
        self.framer.push(&buffer[..read], takes_no_input);
        if let Some(stream) = stream {
            stream.note_read(read);
        }
        Ok(read)
    }
}

impl Led for FifoListener {
    fn address(&self) -> &Address {
        &self.address
    }

    fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    fn look_after(&self) {
        let waker = lock(&self.waker);
        if self.context.is_stopping() || waker.is_replaced() {
            waker.wake();
        }
    }

    fn note_slow_request(&self) {
        self.dispatcher.hand_to_deadlines();
    }

    fn trim(&self) {
        self.dispatcher.trim();
    }

    fn lead(self: Arc<Self>, epoch: Epoch) {
        let _pinned = self.pinning.enter();
        loop {
            // Taken before the next request, so that requests are served in the order in which they arrived.
            let _turn = self.policy.wait_for_turn();
            let Some((frame, slot)) = self.next_frame(epoch) else { return };
            let token = self.leadership.begin(epoch);
            self.serve(frame, slot);
            if !self.leadership.end(token) {
                return;
            }
        }
    }
}

impl Listener for FifoListener {
    fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    fn has_one_reader(&self) -> bool {
        true
    }
}

impl Drop for FifoListener {
    fn drop(&mut self) {
        if self.context.is_dead() {
            self.intake.get_mut().unwrap_or_else(PoisonError::into_inner).fifo.leave();
        }
    }
}
