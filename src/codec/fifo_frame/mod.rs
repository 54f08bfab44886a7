//! Splits the bytes of a command FIFO into requests, and stays in step whatever is written there.
//!
//! Many clients write to one FIFO and nothing marks where one stops, so what is wrong in one request must not cost
//! the next: after every malformed one the framer looks for the place where a request may begin again.

use super::is_blank;
use super::json::{Scan, Scanner};
use crate::dialect::Dialect;
use crate::response::Failure;

/// The longest name of a reply FIFO: what a directory entry can hold (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// How many bytes are looked at to tell the start of a request among others: two colons, a name, `{` and `"`
/// with a few blanks between.
const MAX_START: usize = MAX_NAME + 16;

/// What one read brings at most, as a rule: the size of a pipe.
const USUAL_READ: usize = 64 << 10;

/// A request, or what was meant to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text request of 1.x and 2.x.
    Text {
        /// The command.
        method: Vec<u8>,
        /// The name of the reply FIFO; empty when there is none.
        reply: Vec<u8>,
        /// The parameter lines, without the empty line after them.
        params: Vec<u8>,
    },
    /// A JSON-RPC request of 3.x and 4.x.
    Json {
        /// The name of the reply FIFO; empty when there is none.
        reply: Vec<u8>,
        /// One JSON value.
        body: Vec<u8>,
    },
    /// Not a request.
    Malformed {
        /// The name of the reply FIFO; empty when it is not known or there is none.
        reply: Vec<u8>,
        /// The command of a text request, as far as it is known.
        method: Vec<u8>,
        /// Whether it was meant to be JSON.
        json: bool,
        /// [`Failure::Parse`] or [`Failure::RequestTooLarge`].
        failure: Failure,
    },
}

/// Makes frames of a stream of bytes.
///
/// Each byte is looked at once, but for those of a malformed request, which are looked at again for the start of
/// the next. What is kept is at most the limit (or the longest first line) and what was pushed last.
///
/// Versions of OpenSIPS get what they understand (text or JSON); what they are silent about is dropped here.
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
    /// In a request that is over the limit, of which so many bytes were dropped.
    Oversize { known: Known, dropped: usize, rest: Rest },
}

/// The first line of a request.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The second colon.
    colon: usize,
    /// The newline, once it is known.
    end: usize,
    /// Whether lines end in CRLF.
    crlf: bool,
}

/// What the first line of a request says.
#[derive(Debug, Default)]
struct Known {
    reply: Vec<u8>,
    method: Vec<u8>,
    json: bool,
}

/// What ends a request that is over the limit.
#[derive(Debug)]
enum Rest {
    /// The end of the line.
    Line,
    /// An empty line; whether nothing was seen of this line yet, and whether a CR counts as nothing.
    EmptyLine { at_line_start: bool, crlf: bool },
    /// The end of the JSON value.
    Json { scanner: Box<Scanner> },
}

/// What came of looking at the bytes that are there.
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

    /// Takes what was read. Call [`Framer::next_frame`] until it has nothing more before the next read.
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

    /// Whether bytes were read that are no complete request.
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

    /// Whether this version says anything to such a frame.
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

    /// Ends the frame in progress, or what turned out to be none, before this byte of it.
    fn end_frame(&mut self, len: usize) {
        self.start += len;
        self.at = 0;
        self.state = State::Between;
    }

    /// Ends the frame in progress and gives it with what stands between these places: parameters or JSON.
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

    /// All bytes were looked at, and none of them ends what is looked for.
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
        // What has quotes or braces is a part of some JSON, and this colon not the first of a request.
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

    /// What a first line says that has not ended.
    fn method(&self, head: Head) -> Known {
        Known { reply: Vec::new(), method: self.bytes()[1..head.colon].to_vec(), json: false }
    }
}

impl Known {
    fn refused(self, failure: Failure) -> Frame {
        Frame::Malformed { reply: self.reply, method: self.method, json: self.json, failure }
    }
}

/// Where a request begins after bad JSON, whose value starts at `body` and is wrong at `wrong`: there, at the next
/// start within the bad part or after it, or after all that was read.
fn next_start(bytes: &[u8], body: usize, wrong: usize) -> usize {
    if bytes[wrong] == b':' && looks_like_head(&bytes[wrong..]) {
        return wrong;
    }
    let mut colons = memchr::memchr_iter(b':', &bytes[body..]).map(|len| body + len);
    let starts = |place: &usize| {
        let rest = &bytes[*place..];
        let after_newline = *place > 0 && bytes[*place - 1] == b'\n';
        (after_newline && looks_like_head(rest)) || looks_like_start(rest) != Looks::Other
    };
    colons.find(starts).unwrap_or(bytes.len())
}

/// What a colon may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// The start of a JSON request.
    Start,
    /// That, if the bytes to come are right.
    Maybe,
    Other,
}

/// Whether these bytes are the start of a JSON request: `:name:{"` or `:name:[{`.
fn looks_like_start(bytes: &[u8]) -> Looks {
    let Some((b':', mut rest)) = bytes[..bytes.len().min(MAX_START)].split_first() else { return Looks::Other };
    let Some(len) = rest.iter().position(|byte| !is_name_byte(*byte)) else {
        return if bytes.len() < MAX_START { Looks::Maybe } else { Looks::Other };
    };
    rest = &rest[len..];
    for expected in [b":".as_slice(), b"{[", b"\"{}"] {
        if expected != b":" {
            rest = &rest[rest.iter().take_while(|byte| is_blank(**byte)).count()..];
        }
        match rest.first() {
            None if bytes.len() < MAX_START => return Looks::Maybe,
            Some(byte) if expected.contains(byte) => rest = &rest[1..],
            _ => return Looks::Other,
        }
    }
    Looks::Start
}

/// Whether these bytes are the first line of a text request: `:method:name` and the end of the line.
fn looks_like_first_line(bytes: &[u8]) -> Looks {
    let bytes = &bytes[..bytes.len().min(2 * MAX_START)];
    let Some((b':', rest)) = bytes.split_first() else { return Looks::Other };
    let mut after_names = rest.splitn(2, |byte| !is_name_byte(*byte));
    let (method, rest) = (after_names.next().unwrap_or_default(), after_names.next());
    let Some(rest) = rest.filter(|_| !method.is_empty() && bytes[method.len() + 1] == b':') else {
        return if method.len() + 1 == bytes.len() && bytes.len() < MAX_START { Looks::Maybe } else { Looks::Other };
    };
    match rest.iter().find(|byte| !is_name_byte(**byte)) {
        Some(b'\n' | b'\r') => Looks::Start,
        None if bytes.len() < 2 * MAX_START => Looks::Maybe,
        _ => Looks::Other,
    }
}

/// Whether these bytes, which begin with a colon, may be the first line of any request: a name and a second colon,
/// as far as there are bytes.
fn looks_like_head(bytes: &[u8]) -> bool {
    let rest = &bytes[1..bytes.len().min(MAX_START)];
    match rest.iter().find(|byte| !is_name_byte(**byte)) {
        Some(byte) => *byte == b':',
        None => bytes.len() < MAX_START,
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The byte after the first empty line. `at_line_start` is kept between calls.
fn end_of_empty_line(bytes: &[u8], at_line_start: &mut bool, crlf: bool) -> Option<usize> {
    for (place, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if *at_line_start => return Some(place + 1),
            b'\n' => *at_line_start = true,
            b'\r' if crlf => {}
            _ => *at_line_start = false,
        }
    }
    None
}

fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit of these tests, above all that is not meant to be over it.
    const LIMIT: usize = 4096;

    const VERSION: &str = r#"{"jsonrpc":"2.0","method":"version","id":1}"#;

    fn framed(dialect: Dialect, pieces: &[&str]) -> Vec<Frame> {
        let mut framer = Framer::new(dialect, LIMIT);
        let mut found = Vec::new();
        for piece in pieces {
            framer.push(piece.as_bytes());
            found.extend(std::iter::from_fn(|| framer.next_frame()));
        }
        found
    }

    fn frames(stream: &str) -> Vec<Frame> {
        framed(Dialect::Sipmi, &[stream])
    }

    fn text(method: &str, reply: &str, params: &str) -> Frame {
        Frame::Text { method: method.into(), reply: reply.into(), params: params.into() }
    }

    fn json(reply: &str) -> Frame {
        Frame::Json { reply: reply.into(), body: VERSION.into() }
    }

    fn bad_json(reply: &str) -> Frame {
        Frame::Malformed { reply: reply.into(), method: Vec::new(), json: true, failure: Failure::Parse }
    }

    fn bad_text(method: &str, reply: &str) -> Frame {
        Frame::Malformed { reply: reply.into(), method: method.into(), json: false, failure: Failure::Parse }
    }

    fn request(reply: &str) -> String {
        format!(":{reply}:{VERSION}")
    }

    #[test]
    fn bytes_before_a_text_request_do_not_cost_it() {
        for garbage in ["abc", "abc:", "a:b", "{}", "a:b:c d"] {
            let whole = format!("{garbage}:version:reply\n\n");
            for cut in 0..whole.len() {
                let mut framer = Framer::new(Dialect::Sipmi, 1000);
                framer.push(&whole.as_bytes()[..cut]);
                let early = framer.next_frame();
                framer.push(&whole.as_bytes()[cut..]);
                let frame = early.or_else(|| framer.next_frame());
                let expected = Frame::Text { method: b"version".to_vec(), reply: b"reply".to_vec(), params: vec![] };
                assert_eq!(frame, Some(expected), "{garbage:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn text_and_json_are_told_apart_on_one_fifo() {
        let stream = format!(
            "\n\n:version:r1\n\n{}:ul_dump:r2 \nbrief\n\n  {}\n::{VERSION}:version:\n\n:r4: \r\n {VERSION}",
            request("r3"),
            request("r5"),
        );
        let expected = [
            text("version", "r1", ""),
            json("r3"),
            text("ul_dump", "r2", "brief\n"),
            json("r5"),
            json(""),
            text("version", "", ""),
            json("r4"),
        ];
        assert_eq!(frames(&stream), expected);
    }

    #[test]
    fn requests_are_the_same_wherever_the_stream_is_split() {
        let stream = format!(
            ":a:r\n\"x\ny\"\nz\n\n{}{}\n:b:s\r\np\r\n\r\n:c:\n\n::[{VERSION},{VERSION}]\n{}:d:t\n\n",
            request("r1"),
            request("r2"),
            request("r3"),
        );
        let whole = frames(&stream);
        assert_eq!(whole.len(), 8);
        for split in 0..=stream.len() {
            let (first, second) = stream.split_at(split);
            assert_eq!(framed(Dialect::Sipmi, &[first, second]), whole, "split at {split}");
        }
        let bytes: Vec<_> = (0..stream.len()).map(|at| &stream[at..=at]).collect();
        assert_eq!(framed(Dialect::Sipmi, &bytes), whole);
    }

    #[test]
    fn an_empty_line_ends_a_text_request_even_within_quotes() {
        let expected = [text("a", "r", "\"x\n"), text("b", "s", "")];
        assert_eq!(frames(":a:r\n\"x\n\n:b:s\n\n"), expected);
    }

    #[test]
    fn crlf_is_taken_for_a_line_end_only_where_the_first_line_has_one() {
        assert_eq!(frames(":a:r\r\nx\r\n\r\n"), [text("a", "r", "x\r\n")]);
        assert_eq!(frames(":a:r\n\"x\r\n\r\ny\"\n\n"), [text("a", "r", "\"x\r\n\r\ny\"\n")]);
        assert_eq!(framed(Dialect::V2_4, &[":a:r\r\nx\r\n\r\n"]), [text("a", "r\r", "x\r\n")]);
    }

    #[test]
    fn what_is_no_request_costs_none_of_those_after_it() {
        let good = request("r2");
        for (bad, malformed) in [
            ("garbage\n", None),
            ("garbage", None),
            ("r1:{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}", None),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}\n", None),
            ("\0\0\0\n", None),
            (":no second colon\n", None),
            (":", None),
            (":abc", None),
            (":abc:", None),
            (":zzz:hello", None),
            (":r1:{\"jsonrpc\":", Some(bad_json("r1"))),
            (":r1:{\"jsonrpc\":\"2.0", Some(bad_json("r1"))),
            (":r1:{\"jsonrpc\" \"2.0\"", Some(bad_json("r1"))),
            (":r1:{\"jsonrpc\" \"id\":1", Some(bad_json("r1"))),
            (":r1:{nonsense\n\n", Some(bad_json("r1"))),
            (":r1:[1,", Some(bad_json("r1"))),
            (":cmd:r1\nparam\n", Some(bad_text("cmd", "r1"))),
        ] {
            let expected: Vec<_> = malformed.into_iter().chain([json("r2")]).collect();
            assert_eq!(frames(&format!("{bad}{good}")), expected, "{bad:?} in one write");
            assert_eq!(framed(Dialect::Sipmi, &[bad, &good]), expected, "{bad:?} in two");
        }
    }

    #[test]
    fn a_text_request_after_bad_json_is_served() {
        let expected = [bad_json("r1"), text("version", "r2", "")];
        assert_eq!(frames(":r1:{\"jsonrpc\"::version:r2\n\n"), expected);
        assert_eq!(frames(":r1:{\"a\" 1}\n:version:r2\n\n"), expected);
    }

    #[test]
    fn requests_over_the_limit_are_refused_and_the_next_is_served() {
        let good = request("r2");
        let long = "y".repeat(3 * LIMIT);
        for (bad, reply, method, is_json) in [
            (format!(":r1:{{\"x\":\"{long}\"}}"), "r1", "", true),
            (format!(":r1:{{\"x\":\"{long}"), "r1", "", true),
            (format!(":r1:{{\"x\":[{}", "[1,".repeat(2 * LIMIT)), "r1", "", true),
            (format!(":cmd:r1\n{long}\nmore\n\n"), "r1", "cmd", false),
            (format!(":cmd:{long}\n\n"), "", "cmd", false),
            (format!(":{long}\n"), "", "", false),
        ] {
            let stream = format!("{bad}{good}");
            for size in [stream.len(), 1000, 4096] {
                let pieces: Vec<_> =
                    (0..stream.len()).step_by(size).map(|at| &stream[at..stream.len().min(at + size)]).collect();
                let frames = framed(Dialect::Sipmi, &pieces);
                let (last, first) = frames.split_last().expect("frames");
                assert_eq!(last, &json("r2"), "{size}");
                if size < stream.len() {
                    let [Frame::Malformed { reply: r, method: m, json, failure }] = first else {
                        panic!("{first:?}")
                    };
                    assert_eq!((r.as_slice(), m.as_slice(), *json), (reply.as_bytes(), method.as_bytes(), is_json));
                    let Failure::RequestTooLarge { size: found, limit: LIMIT } = failure else {
                        panic!("{failure:?}")
                    };
                    assert!(found.abs_diff(bad.len()) <= 16, "{found} of {}", bad.len());
                }
            }
        }
        assert_eq!(frames(&format!(":cmd:r1\n{long}\n\n{good}")).len(), 2);
    }

    /// Pushes this many bytes after `start`, then a request that is to be served; never keeps more than is allowed.
    fn flood(start: &str, filler: u8, len: usize) {
        let chunk = vec![filler; 1 << 16];
        let mut framer = Framer::new(Dialect::Sipmi, LIMIT);
        framer.push(start.as_bytes());
        for _ in 0..len / chunk.len() {
            framer.push(&chunk);
            while framer.next_frame().is_some() {}
            assert!(framer.buffered() <= LIMIT, "{start} {filler}");
        }
        framer.push(format!("\n\n\n{}", request("r")).as_bytes());
        let last = std::iter::from_fn(|| framer.next_frame()).last();
        assert_eq!(last, Some(json("r")), "{start} {filler}");
    }

    #[test]
    fn a_hundred_megabytes_without_a_newline_are_not_kept() {
        flood(":cmd:", b'y', 100 << 20);
        for start in ["", ":", ":cmd:", ":cmd:r\n", ":r:{\"x\":\"", ":r:", ":r:["] {
            for filler in *b"y:[ \"" {
                flood(start, filler, 1 << 20);
            }
        }
    }

    #[test]
    fn a_request_whose_writer_falls_silent_is_given_up() {
        let cases = [
            (":cmd:r\nparam\n", Some(bad_text("cmd", "r"))),
            (":cmd:r", Some(bad_text("cmd", ""))),
            (":r:{\"jsonrpc\":", Some(bad_json("r"))),
            (":cmd", None),
            ("garbage", None),
        ];
        for (bad, expected) in cases {
            let mut framer = Framer::new(Dialect::Sipmi, LIMIT);
            framer.push(bad.as_bytes());
            assert_eq!(framer.next_frame(), None);
            assert!(framer.is_mid_frame());
            assert_eq!(framer.give_up(), expected);
            assert!(!framer.is_mid_frame());
            framer.push(b":version:r2\n\n");
            assert_eq!(framer.next_frame(), Some(text("version", "r2", "")));
        }
    }

    #[test]
    fn versions_are_silent_about_what_they_do_not_understand() {
        let stream = format!(":version:t\n\n{}:r:{{bad\n\ngarbage\n{}:cmd:t2\n\n", request("j"), request("j2"));
        assert_eq!(framed(Dialect::V4_0, &[&stream]), [json("j"), json("j2")]);
        assert_eq!(framed(Dialect::V2_4, &[&stream]), [text("version", "t", ""), text("cmd", "t2", "")]);
        let long = format!(":cmd:r\n{}\n\n", "y".repeat(2 * LIMIT));
        assert_eq!(framed(Dialect::V2_4, &[&long]), []);
        assert_eq!(framed(Dialect::V1_11, &[&long]).len(), 1);
    }

    #[test]
    fn the_shortest_inputs_are_read_without_harm() {
        for input in ["", "\n", ":", "::", ":::", "::\n", "::{", ":::\n\n", "\r", "\0", "[", ":[", ":a:\r", "::["] {
            for dialect in [Dialect::Sipmi, Dialect::V2_4, Dialect::V4_0] {
                let mut framer = Framer::new(dialect, LIMIT);
                framer.push(input.as_bytes());
                while framer.next_frame().is_some() {}
                framer.give_up();
                assert_eq!(framer.buffered(), 0);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_written_stops_the_framer(
            noise in "([:{}\\[\\]\",\\n\\r a1]|:r:\\{\"|\\n\\n|:c:r\\n){0,40}",
            split in 0usize..60,
        ) {
            let split = split.min(noise.len());
            let mut framer = Framer::new(Dialect::Sipmi, 16);
            for piece in [&noise[..split], &noise[split..]] {
                framer.push(piece.as_bytes());
                for _ in 0..=noise.len() {
                    framer.next_frame();
                }
                proptest::prop_assert_eq!(framer.next_frame(), None);
            }
            framer.give_up();
            framer.push(b":version:r\n\n");
            proptest::prop_assert_eq!(framer.next_frame(), Some(text("version", "r", "")));
        }
    }
}
