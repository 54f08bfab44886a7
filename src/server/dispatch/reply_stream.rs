//! A reply that is made while it is sent: from the first nodes to the last byte, at the pace of the slower side.
//!
//! No thread waits for either side. A stream goes on when its route asks for more, on the thread that asks; while its
//! source has nothing or its reader takes nothing, it holds no thread and not the interpreter.

use std::sync::Arc;
use std::task::{Wake as _, Waker};
use std::time::Duration;

use super::asked::Form;
use super::deadline::Due as _;
use super::dispatcher::Dispatcher;
use super::pending_request::PendingRequest;
use super::route::{Advance, ReplySink, ReplyTarget, StreamedReply};
use crate::codec::pieces::{PieceError, Pieces};
use crate::command::{Command, Filled, Source};
use crate::response::{Failure, Response};
use crate::server::panics::contained;
use crate::server::scheduling::driver::{Driver, Task};
use crate::tree::{NodeId, Tree};

/// How much is handed over at a time.
const CHUNK: usize = 64 << 10;
/// After this time the stream sends its buffered bytes, even if there are few.
const PROMPT: Duration = Duration::from_millis(100);

struct Stream {
    request: Arc<PendingRequest>,
    source: Option<Box<dyn Source>>,
    /// Without it all nodes are gathered and written as one reply.
    pieces: Option<Pieces>,
    batch: Tree,
    gathered: Tree,
    held: Vec<u8>,
    window: usize,
    limit: usize,
    sent: usize,
    has_begun: bool,
    is_counted: bool,
}

impl Stream {
    /// A stream in the form of a reply, of which as much is gathered before it begins as its route wants.
    fn new(request: &Arc<PendingRequest>, form: &Form, route: &dyn ReplySink, source: Box<dyn Source>) -> Self {
        let (pieces, window) = (request.dispatcher().pieces(form), route.window());
        let is_gathered = window == usize::MAX || pieces.is_none();
        Stream {
            limit: request.dispatcher().stream_limit(request.command(), is_gathered).min(route.limit()),
            request: request.clone(),
            source: Some(source),
            pieces,
            batch: Tree::ok(),
            gathered: Tree::ok(),
            held: Vec::new(),
            window: if is_gathered { usize::MAX } else { window },
            sent: 0,
            has_begun: false,
            is_counted: false,
        }
    }

    fn dispatcher(&self) -> &Arc<Dispatcher> {
        self.request.dispatcher()
    }

    /// Gets the first nodes here and now; when there are none yet, goes on as soon as there are.
    fn start(self) {
        let pool = self.dispatcher().aside_pool().clone();
        let (request, driver) = (self.request.clone(), Driver::new(pool, Box::new(Opening(Some(self)))));
        driver.run();
        if driver.is_at_work() {
            // Given up for its deadline: the source is let go.
            request.file();
            request.on_cancel(Box::new(move || driver.wake_by_ref()));
        }
    }

    fn size(&self) -> usize {
        self.sent + self.held.len() + self.gathered.text_len()
    }

    fn part(&mut self) -> Advance {
        self.has_begun = true;
        self.sent += self.held.len();
        Advance::Part(std::mem::take(&mut self.held))
    }

    fn fail(&mut self, result: Result<Response, Failure>) -> Advance {
        if !self.has_begun {
            return Advance::Answer(result);
        }
        let command = self.request.command().canonical_name();
        self.dispatcher().note_short(self.request.command());
        log::debug!("the reply of {command} ends after {} bytes", self.sent);
        Advance::Short
    }

    fn end(&mut self) -> Advance {
        self.source = None;
        let mut last = std::mem::take(&mut self.held);
        match &mut self.pieces {
            Some(pieces) if pieces.is_empty() => return Advance::Answer(Ok(Response::ok())),
            Some(pieces) => pieces.end(&mut last),
            None => return Advance::Answer(Ok(Response::from(std::mem::take(&mut self.gathered)))),
        }
        self.sent += last.len();
        if self.has_begun { Advance::Last(last) } else { Advance::Whole(last) }
    }

    fn write_batch(&mut self) -> Result<(), PieceError> {
        if let Some(pieces) = &mut self.pieces {
            return pieces.push(&mut self.held, &self.batch);
        }
        self.gathered.mark(NodeId::ROOT, self.batch.flags(NodeId::ROOT));
        for node in self.batch.children(NodeId::ROOT) {
            self.gathered.graft(NodeId::ROOT, &self.batch, node);
        }
        Ok(())
    }

    /// All of it has been sent, or given up.
    fn count(&mut self, is_error: bool) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.dispatcher().count(Some(self.request.command()), is_error, self.request.started(), self.sent);
            self.request.note_streamed(self.sent);
        }
    }
}

impl StreamedReply for Stream {
    fn command(&self) -> &Arc<Command> {
        self.request.command()
    }

    fn advance(&mut self, waker: &Waker) -> Advance {
        loop {
            let Some(source) = &mut self.source else { return Advance::Short };
            self.batch.clear();
            let what = || format!("a stream of command {}", self.request.command().canonical_name());
            let filled = contained(what, || source.fill(&mut self.batch, waker));
            let filled = filled.unwrap_or_else(|| Filled::Failed(Err(self.request.command().failure())));
            if let Err(error) = self.write_batch() {
                self.source = None;
                let command = self.request.command().canonical_name();
                log::error!("command {command}: {error}");
                return self.fail(Err(self.request.command().failure()));
            }
            if self.size() > self.limit {
                self.source = None;
                let failure = Failure::ReplyTooLarge { size: self.size(), limit: self.limit };
                return self.fail(Err(failure));
            }
            match filled {
                Filled::End => return self.end(),
                Filled::Failed(result) => {
                    self.source = None;
                    return self.fail(result);
                }
                Filled::Wait if self.window == usize::MAX || self.held.is_empty() => return Advance::Wait,
                Filled::Wait => return self.part(),
                Filled::More => {
                    let enough = if self.has_begun { CHUNK } else { self.window };
                    let is_late = || self.window != usize::MAX && self.request.started().elapsed() > PROMPT;
                    if self.held.len() >= enough || (!self.has_begun && !self.held.is_empty() && is_late()) {
                        return self.part();
                    }
                }
            }
        }
    }

    fn note_sent(&mut self) {
        self.count(false);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.has_begun {
            self.count(true);
        }
    }
}

/// Answers a request with nodes that are still being made, unless it has an answer; else no more of them are made.
pub(crate) fn open(request: &Arc<PendingRequest>, source: Box<dyn Source>) {
    let opened = request.once.peek(|ReplyTarget { form, route }| Stream::new(request, form, &**route, source));
    match opened {
        Some(stream) => stream.start(),
        None => request.dispatcher().note_late(request.command()),
    }
}

/// A stream that has not begun.
struct Opening(Option<Stream>);

impl Task for Opening {
    fn go(&mut self, waker: &Waker) -> bool {
        let Some(stream) = &mut self.0 else { return true };
        if !stream.request.is_open() {
            return true;
        }
        let advance = stream.advance(waker);
        if matches!(advance, Advance::Wait) {
            return false;
        }
        let Some(stream) = self.0.take() else { return true };
        let request = stream.request.clone();
        match advance {
            Advance::Answer(result) => request.answer(&result),
            Advance::Whole(bytes) => {
                if let Some(ReplyTarget { route, .. }) = request.take() {
                    stream.dispatcher().count(Some(request.command()), false, request.started(), bytes.len());
                    request.note_streamed(bytes.len());
                    route.deliver(bytes);
                }
            }
            Advance::Part(first) => {
                if let Some(ReplyTarget { route, .. }) = request.take() {
                    route.stream(first, Box::new(stream));
                }
            }
            Advance::Wait | Advance::Last(_) | Advance::Short => {}
        }
        true
    }
}
