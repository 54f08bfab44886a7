//! Splits the bytes of a command FIFO into requests, and stays in step whatever is written there.
//!
//! Many clients write to one FIFO and nothing marks where one stops, so what is wrong in one request must not cost
//! the next: after every malformed one the framer looks for the place where a request may begin again.

mod frame;
mod starts;

use super::is_blank;
use super::json::{Scan, Scanner};
use crate::dialect::Dialect;
use crate::response::Failure;
pub use frame::Frame;
use starts::{Looks, MAX_START, end_of_empty_line, looks_like_first_line, looks_like_start, next_start, trim};

/// The usual upper bound of one read: the size of a pipe.
const USUAL_READ: usize = 64 << 10;

/// Makes frames of a stream of bytes.
///
/// Each byte is looked at once, but for those of a malformed request, which are looked at again for the start of
/// the next. The framer keeps at most the limit (or the longest first line) and the bytes of the last push.
///
/// Versions of OpenSIPS get the requests that they understand (text or JSON); those that they ignore are dropped here.
#[derive(Debug)]
pub struct Framer {
    dialect: Dialect,
    limit: usize,
    buffer: Vec<u8>,
    /// Where the frame in progress begins.
    start: usize,
    /// How far it was looked at.
    at: usize,
    state: State,
}

/// Where the framer is in the frame in progress. Places are counted from the start of the frame.
#[derive(Debug)]
enum State {
    /// Between frames.
    Between,
    /// In bytes that belong to no frame.
    Garbage,
    /// After the first colon.
    Name,
    /// After the second colon, in blanks; whether a line ended among them.
    Second { head: Head, line_ended: bool },
    /// In the name of the reply FIFO of a text request.
    ReplyName { head: Head },
    /// In the parameter lines; where the last of them begins.
    Params { head: Head, line: usize },
    /// In the JSON value that begins at `body`.
    Json { head: Head, body: usize, scanner: Box<Scanner> },
    /// In a request that is over the limit; `dropped` counts its bytes that were dropped.
    Oversize { known: Known, dropped: usize, rest: Rest },
}

/// The first line of a request.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The second colon.
    colon: usize,
    /// The newline, once it is known.
    end: usize,
    /// True if lines end in CRLF.
    crlf: bool,
}

/// The parts of a request's first line.
#[derive(Debug, Default)]
struct Known {
    reply: Vec<u8>,
    method: Vec<u8>,
    json: bool,
}

/// The end marker of a request that is over the limit.
#[derive(Debug)]
enum Rest {
    /// The end of the line.
    Line,
    /// An empty line; whether nothing was seen of this line yet, and whether a CR counts as nothing.
    EmptyLine { at_line_start: bool, crlf: bool },
    /// The end of the JSON value.
    Json { scanner: Box<Scanner> },
}

/// The result of scanning the buffered bytes.
enum Found {
    NeedMore,
    /// Something else is to be looked for.
    Other,
    Frame(Frame),
}

impl Framer {
    /// A framer of requests of at most `limit` bytes each, all of their first line included.
    pub fn new(dialect: Dialect, limit: usize) -> Self {
        let mut buffer = Vec::new();
        // Address space for all that it ever holds: there is none to be had later when memory is short. Where it is so
        // already, or the limit is absurd, the buffer grows as it must.
        let _ = buffer.try_reserve_exact(limit.saturating_mul(2).saturating_add(2 * USUAL_READ));
        Framer { dialect, limit, buffer, start: 0, at: 0, state: State::Between }
    }

    /// Appends the bytes of a read. Call [`Framer::next_frame`] until it has nothing more before the next read.
    pub fn push(&mut self, bytes: &[u8]) {
        // Dropped when it is most of the buffer: so a byte is moved a bounded number of times.
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match self.look() {
                Found::Frame(frame) if self.is_heard(&frame) => return Some(frame),
                Found::Frame(_) | Found::Other => {}
                Found::NeedMore => {
                    self.drop_oversize();
                    return None;
                }
            }
        }
    }

    /// Returns true if the buffer holds an incomplete request.
    pub fn is_mid_frame(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// How many bytes are kept.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Drops the request in progress, whose writer has fallen silent, so that it does not cost the next one. It comes
    /// back as [`Frame::Malformed`] when enough of it is known to answer it.
    pub fn give_up(&mut self) -> Option<Frame> {
        let limit = self.limit;
        let frame = match std::mem::replace(&mut self.state, State::Between) {
            State::Between | State::Garbage | State::Name => None,
            State::Second { head, .. } | State::ReplyName { head } => Some(self.method(head).refused(Failure::Parse)),
            State::Params { head, .. } => Some(self.text_head(head).refused(Failure::Parse)),
            State::Json { head, .. } => Some(self.json_head(head).refused(Failure::Parse)),
            State::Oversize { known, dropped, .. } => {
                Some(known.refused(Failure::RequestTooLarge { size: dropped + self.at, limit }))
            }
        };
        self.buffer.clear();
        (self.start, self.at) = (0, 0);
        frame.filter(|frame| self.is_heard(frame))
    }

    /// Returns true if this version answers such a frame.
    fn is_heard(&self, frame: &Frame) -> bool {
        match (frame, self.dialect) {
            (_, Dialect::Sipmi) => true,
            (Frame::Text { method, .. }, dialect) => dialect.reads_text() && !method.is_empty(),
            (Frame::Json { .. }, dialect) => dialect.reads_json(),
            (Frame::Malformed { json, .. }, Dialect::V1_8 | Dialect::V1_11) => !json,
            (Frame::Malformed { json, failure, .. }, Dialect::V2_4) => !json && *failure == Failure::Parse,
            (Frame::Malformed { .. }, _) => false,
        }
    }

    /// The bytes of the frame in progress, and all after it.
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Ends the frame in progress, or the bytes that turned out to be none, before this byte of it.
    fn end_frame(&mut self, len: usize) {
        self.start += len;
        self.at = 0;
        self.state = State::Between;
    }

    /// Ends the frame in progress and returns it with the bytes between these positions: parameters or JSON.
    fn complete(&mut self, len: usize, known: Known, from: usize, to: usize) -> Found {
        let Known { reply, method, json } = known;
        let frame = if len > self.limit {
            let failure = Failure::RequestTooLarge { size: len, limit: self.limit };
            Frame::Malformed { reply, method, json, failure }
        } else if json {
            Frame::Json { reply, body: self.bytes()[from..to].to_vec() }
        } else {
            Frame::Text { method, reply, params: self.bytes()[from..to].to_vec() }
        };
        self.end_frame(len);
        Found::Frame(frame)
    }

    /// All bytes were scanned, and the end marker is not among them.
    fn need_more(&mut self, state: State) -> Found {
        self.at = self.bytes().len();
        self.state = state;
        Found::NeedMore
    }

    fn go(&mut self, state: State) -> Found {
        self.state = state;
        Found::Other
    }

    fn look(&mut self) -> Found {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => self.look_between(),
            State::Garbage => self.look_in_garbage(),
            State::Name => self.look_in_name(),
            State::Second { head, line_ended } => self.look_after_second_colon(head, line_ended),
            State::ReplyName { head } => self.look_in_reply_name(head),
            State::Params { head, line } => self.look_in_params(head, line),
            State::Json { head, body, scanner } => self.look_in_json(head, body, scanner),
            State::Oversize { known, dropped, rest } => self.look_in_oversize(known, dropped, rest),
        }
    }

    fn look_between(&mut self) -> Found {
        self.start += self.bytes().iter().take_while(|byte| is_blank(**byte)).count();
        self.at = 0;
        match self.bytes().first() {
            None => Found::NeedMore,
            Some(b':') => {
                self.at = 1;
                self.go(State::Name)
            }
            Some(_) => self.go(State::Garbage),
        }
    }

    /// Goes to the next line, or to where a request begins.
    fn look_in_garbage(&mut self) -> Found {
        let looks_like_any = |bytes: &[u8]| match (looks_like_start(bytes), looks_like_first_line(bytes)) {
            (json, _) if self.dialect.is_emulated() => json,
            (Looks::Start, _) | (_, Looks::Start) => Looks::Start,
            (Looks::Other, Looks::Other) => Looks::Other,
            _ => Looks::Maybe,
        };
        let bytes = self.bytes();
        for place in memchr::memchr2_iter(b'\n', b':', &bytes[self.at..]).map(|len| self.at + len) {
            if bytes[place] == b'\n' {
                self.end_frame(place + 1);
                return Found::Other;
            }
            match looks_like_any(&bytes[place..]) {
                Looks::Start => {
                    self.end_frame(place);
                    return Found::Other;
                }
                Looks::Maybe => {
                    self.start += place;
                    self.at = 0;
                    self.state = State::Garbage;
                    return Found::NeedMore;
                }
                Looks::Other => {}
            }
        }
        self.start = self.buffer.len();
        self.at = 0;
        self.state = State::Garbage;
        Found::NeedMore
    }

    fn look_in_name(&mut self) -> Found {
        let Some(len) = memchr::memchr2(b':', b'\n', &self.bytes()[self.at..]) else {
            return self.need_more(State::Name);
        };
        let colon = self.at + len;
        // A line with quotes or braces is a part of some JSON, and this colon not the first of a request.
        let is_name = !self.bytes()[1..colon].iter().any(|byte| b"\"{}[]".contains(byte));
        if self.bytes()[colon] == b'\n' {
            self.end_frame(colon + 1);
            Found::Other
        } else if is_name || !self.dialect.reads_json() {
            self.at = colon + 1;
            self.go(State::Second { head: Head { colon, end: 0, crlf: false }, line_ended: false })
        } else {
            self.at = 1;
            self.go(State::Garbage)
        }
    }

    /// Tells JSON, after blanks, from text, which an empty line may end already.
    fn look_after_second_colon(&mut self, head: Head, mut line_ended: bool) -> Found {
        while let Some(&byte) = self.bytes().get(self.at) {
            match byte {
                b'{' | b'[' => return self.go(State::Json { head, body: self.at, scanner: Box::default() }),
                b'\n' if line_ended || self.at == head.colon + 1 => return self.text_follows(head),
                b'\n' => line_ended = true,
                byte if is_blank(byte) => {}
                _ => return self.text_follows(head),
            }
            self.at += 1;
        }
        self.need_more(State::Second { head, line_ended })
    }

    fn text_follows(&mut self, head: Head) -> Found {
        self.at = head.colon;
        self.go(if self.dialect.reads_text() { State::ReplyName { head } } else { State::Garbage })
    }

    /// Goes to the end of the first line, or to a JSON request within it: then its start was cut off.
    fn look_in_reply_name(&mut self, head: Head) -> Found {
        let bytes = self.bytes();
        for place in memchr::memchr2_iter(b'\n', b':', &bytes[self.at..]).map(|len| self.at + len) {
            if bytes[place] == b'\n' {
                let head = Head { end: place, crlf: bytes[place - 1] == b'\r', ..head };
                self.at = place + 1;
                return self.go(State::Params { head, line: place + 1 });
            }
            match looks_like_start(&bytes[place..]) {
                Looks::Start => {
                    self.end_frame(place);
                    return Found::Other;
                }
                Looks::Maybe => {
                    self.need_more(State::ReplyName { head });
                    self.at = place;
                    return Found::NeedMore;
                }
                Looks::Other => {}
            }
        }
        self.need_more(State::ReplyName { head })
    }

    /// Goes to the empty line, or to a JSON request at the start of a line: then the rest was cut off, since no
    /// parameter looks so.
    fn look_in_params(&mut self, head: Head, mut line: usize) -> Found {
        loop {
            let bytes = self.bytes();
            if self.dialect.reads_json() && looks_like_start(&bytes[line..]) == Looks::Start {
                let known = self.text_head(head);
                self.end_frame(line);
                return Found::Frame(known.refused(Failure::Parse));
            }
            let Some(len) = memchr::memchr(b'\n', &bytes[self.at..]) else {
                return self.need_more(State::Params { head, line });
            };
            let end = self.at + len;
            if line == end || (head.crlf && bytes[line..end] == *b"\r") {
                return self.complete(end + 1, self.text_head(head), head.end + 1, line);
            }
            line = end + 1;
            self.at = line;
        }
    }

    fn look_in_json(&mut self, head: Head, body: usize, mut scanner: Box<Scanner>) -> Found {
        match scanner.feed(&self.bytes()[self.at..]) {
            Scan::NeedMore => self.need_more(State::Json { head, body, scanner }),
            Scan::Complete(len) => self.complete(body + len, self.json_head(head), body, body + len),
            Scan::Invalid(len) => {
                let known = self.json_head(head);
                self.end_frame(next_start(self.bytes(), body, body + len));
                Found::Frame(known.refused(Failure::Parse))
            }
        }
    }

    fn look_in_oversize(&mut self, known: Known, dropped: usize, mut rest: Rest) -> Found {
        let at = self.at;
        let bytes = &self.bytes()[at..];
        let end = match &mut rest {
            Rest::Line => memchr::memchr(b'\n', bytes).map(|end| at + end + 1),
            Rest::EmptyLine { at_line_start, crlf } => {
                end_of_empty_line(bytes, at_line_start, *crlf).map(|end| at + end)
            }
            Rest::Json { scanner } => {
                let before = scanner.fed();
                match scanner.feed(bytes) {
                    Scan::NeedMore => None,
                    Scan::Complete(len) => Some(at + len - before),
                    Scan::Invalid(len) => Some(next_start(self.bytes(), 0, at + len - before)),
                }
            }
        };
        let Some(len) = end else {
            return self.need_more(State::Oversize { known, dropped, rest });
        };
        self.end_frame(len);
        Found::Frame(known.refused(Failure::RequestTooLarge { size: dropped + len, limit: self.limit }))
    }

    /// Once the frame in progress is over the limit, keeps no more of it than shows where the next one starts.
    fn drop_oversize(&mut self) {
        if self.at <= self.limit.max(MAX_START) || matches!(self.state, State::Between | State::Garbage) {
            return;
        }
        let state = std::mem::replace(&mut self.state, State::Between);
        let len = self.at - MAX_START;
        let empty_line = |at_line_start, crlf| Rest::EmptyLine { at_line_start, crlf };
        let (known, dropped, rest) = match state {
            State::Oversize { known, dropped, rest } => (known, dropped, rest),
            State::Params { head, line } => (self.text_head(head), 0, empty_line(line == self.at, head.crlf)),
            State::Json { head, scanner, .. } => (self.json_head(head), 0, Rest::Json { scanner }),
            State::Second { head, .. } | State::ReplyName { head } => {
                (self.method(head), 0, empty_line(false, false))
            }
            State::Between | State::Garbage | State::Name => (Known::default(), 0, Rest::Line),
        };
        self.start += len;
        self.at = MAX_START;
        self.state = State::Oversize { known, dropped: dropped + len, rest };
    }

    fn json_head(&self, head: Head) -> Known {
        let reply = &self.bytes()[1..head.colon];
        let reply = if self.dialect.is_emulated() { reply } else { trim(reply) };
        Known { reply: reply.to_vec(), method: Vec::new(), json: true }
    }

    fn text_head(&self, head: Head) -> Known {
        let reply = &self.bytes()[head.colon + 1..head.end];
        // The originals take the CR for a part of the name, and find no such FIFO.
        let keeps_cr = self.dialect.is_emulated() && head.crlf;
        Known { reply: if keeps_cr { reply } else { trim(reply) }.to_vec(), ..self.method(head) }
    }

    /// Returns the parts of a first line that has not ended.
    fn method(&self, head: Head) -> Known {
        Known { reply: Vec::new(), method: self.bytes()[1..head.colon].to_vec(), json: false }
    }
}

impl Known {
    fn refused(self, failure: Failure) -> Frame {
        Frame::Malformed { reply: self.reply, method: self.method, json: self.json, failure }
    }
}

#[cfg(test)]
mod tests;
