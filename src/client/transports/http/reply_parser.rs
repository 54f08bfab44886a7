//! A parser of HTTP/1.1 replies: bytes in, events out. It knows neither sockets nor deadlines.
//!
//! A body ends by its `Content-Length`, in chunks, or where the connection ends.

use httparse::Status;

use crate::client::large::ReplyBytes;

/// The greatest head of a reply in bytes, interim responses included. Real ones have 200; browsers and proxies allow this.
const LONGEST_HEAD: usize = 64 * 1024;

/// The greatest number of headers.
const MOST_HEADERS: usize = 128;

/// The greatest line before a chunk in bytes: its size, and perhaps extensions.
const LONGEST_CHUNK_LINE: usize = 4096;

/// The size of the next read grows with the received bytes, from the least to the most.
const LEAST_PIECE: usize = 16 * 1024;
const MOST_PIECE: usize = 1 << 17;

/// Chunks that were copied to the body are dropped when they have this number of bytes.
const DROPPED_AT: usize = 1 << 18;

/// Statuses that OpenSIPS 3.6 and 4.0 send in chunks that never end.
const ENDLESS: [u16; 4] = [202, 400, 405, 500];

/// A reply, whatever its status.
#[derive(Debug)]
pub(in crate::client) struct HttpReply {
    pub(in crate::client) status: u16,
    pub(in crate::client) reason: String,
    /// The header `Server`.
    pub(in crate::client) server: String,
    pub(in crate::client) body: Vec<u8>,
    /// True if the connection may carry another request.
    pub(in crate::client) may_be_reused: bool,
}

/// The state after some bytes.
#[derive(Debug)]
pub(in crate::client) enum Event {
    /// The reply is not complete.
    NeedsMore,
    /// The reply is complete.
    Reply(HttpReply),
}

/// The bytes are no reply that the client takes.
#[derive(Debug)]
pub(in crate::client) enum ReplyError {
    /// The body exceeds this limit in bytes.
    TooLarge(usize),
    /// The bytes are not HTTP, or contradict themselves.
    Malformed(String),
}

/// The mark at which a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunks,
    UntilClose,
    /// There is no body.
    Nothing,
}

/// The head of a reply.
#[derive(Debug)]
struct Head {
    size: usize,
    status: u16,
    reason: String,
    server: String,
    framing: Framing,
    keeps_alive: bool,
}

/// The position within a body in chunks.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// Before the line with the size of a chunk.
    Size,
    /// In a chunk, with this number of bytes left.
    Data(usize),
    /// Before the end of the line that follows a chunk.
    End,
    /// In the lines after the last chunk, which begin at this place.
    Trailers(usize),
}

/// Parses one reply.
#[derive(Debug)]
pub(in crate::client) struct ReplyParser {
    /// The greatest body in bytes.
    limit: usize,
    /// The bytes that were received and not consumed.
    bytes: ReplyBytes,
    /// The number of bytes received in all.
    received: usize,
    /// The end of the interim responses, which stand before the head.
    interim: usize,
    /// The number of bytes at the last attempt to parse the head.
    attempted: usize,
    head: Option<Head>,
    chunk: Chunk,
    /// The place in the bytes at which a body in chunks goes on.
    at: usize,
    /// The chunks of the body.
    body: ReplyBytes,
}

impl ReplyParser {
    pub(in crate::client) fn new(limit: usize) -> Self {
        ReplyParser {
            limit,
            bytes: ReplyBytes::default(),
            received: 0,
            interim: 0,
            attempted: 0,
            head: None,
            chunk: Chunk::Size,
            at: 0,
            body: ReplyBytes::default(),
        }
    }

    /// The buffer to which the next bytes are appended, and how many to read at most.
    pub(in crate::client) fn room(&mut self) -> (&mut Vec<u8>, usize) {
        (&mut self.bytes, self.received.clamp(LEAST_PIECE, MOST_PIECE))
    }

    /// Says how many bytes were appended.
    pub(in crate::client) fn note_received(&mut self, count: usize) {
        self.received += count;
    }

    /// Parses the bytes that were received since the last event.
    pub(in crate::client) fn next_event(&mut self) -> Result<Event, ReplyError> {
        if self.head.is_none() && !self.take_head()? {
            return Ok(Event::NeedsMore);
        }
        let body = match self.head.as_ref().map(|head| head.framing) {
            Some(Framing::Nothing) => Some(Vec::new()),
            Some(Framing::Length(length)) => self.take_length(length)?,
            Some(Framing::Chunks) => self.take_chunks()?,
            Some(Framing::UntilClose) => {
                self.check_size(self.bytes.len())?;
                None
            }
            None => None,
        };
        Ok(body.and_then(|body| self.reply(body)).map_or(Event::NeedsMore, Event::Reply))
    }

    /// The reply that the end of the connection completes, if it does.
    pub(in crate::client) fn end(&mut self) -> Option<HttpReply> {
        let is_complete = self.head.as_ref().is_some_and(|head| head.framing == Framing::UntilClose);
        let body = is_complete.then(|| self.bytes.take())?;
        self.reply(body)
    }

    /// The number of bytes received.
    pub(in crate::client) fn received(&self) -> usize {
        self.received
    }

    /// Returns true if the head of the reply is complete.
    pub(in crate::client) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// The part of the body, or else of the head, that was received.
    pub(in crate::client) fn part(&self) -> &[u8] {
        if self.body.is_empty() { &self.bytes } else { &self.body }
    }

    /// The part of the reply that was received, in words.
    pub(in crate::client) fn progress(&self) -> String {
        let received = self.bytes.len();
        match self.head.as_ref().map(|head| (head.status, head.framing)) {
            None if received == 0 => String::new(),
            None => format!("{received} bytes of the head of an HTTP answer"),
            Some((status, Framing::Length(length))) => {
                format!("the head of an HTTP answer, {status}, and {received} bytes of a body of {length}")
            }
            Some((status, Framing::Chunks)) => {
                format!("the head of an HTTP answer, {status}, and {} bytes of a body in chunks", self.body.len())
            }
            Some((status, _)) => format!("the head of an HTTP answer, {status}, and {received} bytes of a body"),
        }
    }

    fn reply(&mut self, mut body: Vec<u8>) -> Option<HttpReply> {
        // The caller may keep it, and a read has room for much more than most bodies need.
        body.shrink_to_fit();
        let Head { status, reason, server, framing, keeps_alive, .. } = self.head.take()?;
        let ends_by_itself = matches!(framing, Framing::Length(_) | Framing::Chunks);
        // Of real servers only a success leaves the connection in step.
        let may_be_reused = keeps_alive && ends_by_itself && status == 200 && self.bytes.is_empty();
        Some(HttpReply { status, reason, server, body, may_be_reused })
    }

    /// Returns true if the new bytes may complete the head, or show that it is none.
    ///
    /// Each attempt begins at the first byte of the head: one attempt a byte would take quadratic time.
    fn is_worth_an_attempt(&self) -> bool {
        let fresh = &self.bytes[self.attempted..];
        let is_too_long = self.bytes.len() > LONGEST_HEAD;
        is_too_long || fresh.len() >= self.attempted || memchr::memchr(b'\n', fresh).is_some()
    }

    /// Passes over empty lines before a head, which RFC 9112 (2.2) allows.
    fn skip_empty_lines(&mut self) {
        while let rest = &self.bytes[self.interim..]
            && let Some(line_end) = [&b"\n"[..], b"\r\n"].into_iter().find(|end| rest.starts_with(end))
        {
            self.interim += line_end.len();
        }
    }

    /// Reads the head, and says whether it is complete.
    fn take_head(&mut self) -> Result<bool, ReplyError> {
        if !self.is_worth_an_attempt() {
            return Ok(false);
        }
        self.attempted = self.bytes.len();
        loop {
            self.skip_empty_lines();
            let size = match parse_head(&self.bytes[self.interim..])? {
                Some(head) if head.status >= 200 => {
                    self.bytes.drain(..self.interim + head.size);
                    self.head = Some(head);
                    return Ok(true);
                }
                // "Continue" and the like come before the reply.
                Some(head) => {
                    self.interim += head.size;
                    self.interim
                }
                None => self.bytes.len(),
            };
            if size > LONGEST_HEAD {
                return Err(malformed(&format!("expected a head of at most {LONGEST_HEAD} bytes, found more")));
            }
            if size == self.bytes.len() {
                return Ok(false);
            }
        }
    }

    fn take_length(&mut self, length: usize) -> Result<Option<Vec<u8>>, ReplyError> {
        self.check_size(length)?;
        if self.bytes.len() < length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(length);
        Ok(Some(std::mem::replace(&mut *self.bytes, rest)))
    }

    /// Moves chunks to the body as they come, and gives it when it is complete.
    fn take_chunks(&mut self) -> Result<Option<Vec<u8>>, ReplyError> {
        loop {
            let is_step_complete = match self.chunk {
                Chunk::Size => self.take_chunk_size()?,
                Chunk::Data(left) => self.take_chunk_data(left),
                Chunk::End => self.take_chunk_end()?,
                Chunk::Trailers(begin) => {
                    if !self.take_trailers(begin)? {
                        return Ok(None);
                    }
                    self.bytes.drain(..self.at);
                    return Ok(Some(self.body.take()));
                }
            };
            if !is_step_complete {
                return Ok(None);
            }
        }
    }

    fn take_chunk_size(&mut self) -> Result<bool, ReplyError> {
        match httparse::parse_chunk_size(&self.bytes[self.at..]) {
            Ok(Status::Complete((line, size))) => {
                self.at += line;
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                self.chunk = if size == 0 { Chunk::Trailers(self.at) } else { Chunk::Data(size) };
                self.check_size(self.body.len().saturating_add(size))?;
                Ok(true)
            }
            Ok(Status::Partial) if self.bytes.len() - self.at <= LONGEST_CHUNK_LINE => Ok(false),
            _ => Err(malformed("expected the size of a chunk")),
        }
    }

    fn take_chunk_data(&mut self, left: usize) -> bool {
        let piece = left.min(self.bytes.len() - self.at);
        self.body.extend_from_slice(&self.bytes[self.at..self.at + piece]);
        if piece == left {
            self.at += piece;
            self.chunk = Chunk::End;
            return true;
        }
        self.bytes.clear();
        self.at = 0;
        self.chunk = Chunk::Data(left - piece);
        false
    }

    fn take_chunk_end(&mut self) -> Result<bool, ReplyError> {
        match self.bytes.get(self.at..self.at + 2) {
            None => return Ok(false),
            Some(b"\r\n") => self.at += 2,
            Some(_) => return Err(malformed("expected the end of a line after a chunk")),
        }
        if self.at >= DROPPED_AT {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.chunk = Chunk::Size;
        Ok(true)
    }

    /// Reads the lines after the last chunk, which an empty line ends.
    fn take_trailers(&mut self, begin: usize) -> Result<bool, ReplyError> {
        while let Some(length) = memchr::memchr(b'\n', &self.bytes[self.at..]) {
            let line = &self.bytes[self.at..self.at + length];
            let is_last = line.is_empty() || line == b"\r";
            self.at += length + 1;
            if is_last {
                return Ok(true);
            }
        }
        if self.bytes.len() - begin > LONGEST_HEAD {
            return Err(malformed("expected an empty line after the last chunk"));
        }
        Ok(false)
    }

    fn check_size(&self, size: usize) -> Result<(), ReplyError> {
        if size > self.limit { Err(ReplyError::TooLarge(self.limit)) } else { Ok(()) }
    }
}

fn malformed(what: &str) -> ReplyError {
    ReplyError::Malformed(what.to_owned())
}

/// Reads a head; nothing while it is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, ReplyError> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let size = match response.parse(bytes) {
        Ok(Status::Partial) => return Ok(None),
        Ok(Status::Complete(size)) => size,
        Err(error) => {
            let shown = bytes[..bytes.len().min(24)].escape_ascii();
            return Err(malformed(&format!("expected the head of an HTTP/1 answer, found \"{shown}\" ({error})")));
        }
    };
    let status = response.code.unwrap_or_default();
    let mut read = Headers { keeps_alive: response.version == Some(1), ..Headers::default() };
    for header in response.headers.iter() {
        read.take(header)?;
    }
    let framing = read.framing(status)?;
    if let (Some(encoding), false) = (&read.encoding, framing == Framing::Nothing) {
        return Err(malformed(&format!("expected it as it is, found it encoded as {encoding:?}")));
    }
    Ok(Some(Head {
        size,
        status,
        reason: response.reason.unwrap_or_default().to_owned(),
        server: read.server,
        framing,
        keeps_alive: read.keeps_alive,
    }))
}

/// The headers that matter.
#[derive(Default)]
struct Headers {
    length: Option<usize>,
    is_chunked: bool,
    keeps_alive: bool,
    encoding: Option<String>,
    server: String,
}

impl Headers {
    fn take(&mut self, header: &httparse::Header<'_>) -> Result<(), ReplyError> {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
            let Some(length) = length.filter(|length| self.length.is_none_or(|other| other == *length)) else {
                return Err(malformed("expected one Content-Length, a number"));
            };
            self.length = Some(length);
        } else if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") || self.is_chunked {
                return Err(malformed(&format!("expected a Transfer-Encoding of chunked, found {value:?}")));
            }
            self.is_chunked = true;
        } else if is("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    self.keeps_alive = false;
                } else if word.eq_ignore_ascii_case("keep-alive") {
                    self.keeps_alive = true;
                }
            }
        } else if is("content-encoding") && !value.is_empty() && !value.eq_ignore_ascii_case("identity") {
            self.encoding = Some(value.to_owned());
        } else if is("server") {
            value.clone_into(&mut self.server);
        }
        Ok(())
    }

    fn framing(&mut self, status: u16) -> Result<Framing, ReplyError> {
        if self.is_chunked && self.length.is_some() {
            return Err(malformed("expected a Content-Length or chunks, found both"));
        }
        Ok(match self.length {
            _ if status < 200 || status == 204 || status == 304 => Framing::Nothing,
            _ if self.is_chunked && ENDLESS.contains(&status) => Framing::Nothing,
            _ if self.is_chunked => Framing::Chunks,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a reply in pieces of a size, and gives it with the number of bytes that were needed.
    fn parse(text: &[u8], piece: usize) -> Result<Option<(HttpReply, usize)>, ReplyError> {
        let mut parser = ReplyParser::new(64);
        for part in text.chunks(piece) {
            parser.room().0.extend_from_slice(part);
            parser.note_received(part.len());
            if let Event::Reply(reply) = parser.next_event()? {
                return Ok(Some((reply, parser.received())));
            }
        }
        Ok(parser.end().map(|reply| (reply, parser.received())))
    }

    /// Feeds a text byte by byte, and returns the number of attempts to parse the head.
    fn attempts_at_head(text: impl Iterator<Item = u8>) -> usize {
        let mut parser = ReplyParser::new(64);
        let mut attempted = vec![0];
        for byte in text {
            parser.room().0.push(byte);
            parser.note_received(1);
            assert!(matches!(parser.next_event(), Ok(Event::NeedsMore)));
            attempted.push(parser.attempted);
        }
        attempted.dedup();
        attempted.len() - 1
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_not_parsed_once_a_byte() {
        let long_header = b"HTTP/1.1 200 OK\r\nX: ".iter().copied().chain(std::iter::repeat_n(b'x', 60_000));
        assert!(attempts_at_head(long_header) < 20);
    }

    #[test]
    fn empty_lines_before_a_head_are_passed_over() {
        let mut parser = ReplyParser::new(64);
        let text = b"\r\n\r\n\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        parser.room().0.extend_from_slice(text);
        parser.note_received(text.len());
        assert!(matches!(parser.next_event(), Ok(Event::Reply(HttpReply { body, .. })) if body == b"hi"));
    }

    #[test]
    fn a_reply_is_the_same_in_pieces_of_any_size() {
        for (text, body, may_be_reused) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\n",
                "hello",
                true,
            ),
            ("HTTP/1.0 200 OK\r\n\r\nhello", "hello", false),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "no", false),
        ] {
            for piece in 1..=text.len() {
                let (reply, received) = parse(text.as_bytes(), piece).expect("HTTP").expect("a reply");
                assert_eq!((reply.body.as_slice(), received), (body.as_bytes(), text.len()), "{piece}: {text}");
                assert_eq!(reply.may_be_reused, may_be_reused, "{piece}: {text}");
            }
        }
    }

    #[test]
    fn a_reply_that_breaks_off_is_none_and_tells_its_progress() {
        let mut parser = ReplyParser::new(64);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel";
        parser.room().0.extend_from_slice(head);
        parser.note_received(head.len());
        assert!(matches!(parser.next_event(), Ok(Event::NeedsMore)));
        assert!(parser.end().is_none());
        assert_eq!(parser.progress(), "the head of an HTTP answer, 200, and 3 bytes of a body of 9");
        assert_eq!(parser.part(), b"hel");
    }

    #[test]
    fn a_body_over_the_limit_is_rejected_before_it_comes() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n",
        ] {
            assert!(matches!(parse(text.as_bytes(), 7), Err(ReplyError::TooLarge(64))), "{text}");
        }
    }

    #[test]
    fn chunks_that_are_none_are_malformed() {
        for text in ["x\r\n", "2\r\nhi!\r\n"] {
            let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}");
            assert!(matches!(parse(text.as_bytes(), 5), Err(ReplyError::Malformed(_))), "{text}");
        }
    }

    fn framing(head: &str) -> Result<Framing, String> {
        match parse_head(head.as_bytes()) {
            Ok(Some(head)) => Ok(head.framing),
            Ok(None) => Err("not complete".into()),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    #[test]
    fn a_head_says_how_its_body_ends() {
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), Ok(Framing::Length(7)));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"), Ok(Framing::Chunks));
        assert_eq!(framing("HTTP/1.0 200 OK\n\n"), Ok(Framing::UntilClose));
        assert_eq!(framing("HTTP/1.1 204 No Content\r\n\r\n"), Ok(Framing::Nothing));
        for status in ENDLESS {
            let head = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
            assert_eq!(framing(&head), Ok(Framing::Nothing), "{status}");
        }
    }

    #[test]
    fn a_head_that_contradicts_itself_is_no_answer() {
        for (headers, expected) in [
            ("Content-Length: 1\r\nContent-Length: 2", "one Content-Length"),
            ("Content-Length: -1", "one Content-Length"),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked", "found both"),
            ("Transfer-Encoding: gzip, chunked", "expected a Transfer-Encoding"),
            ("Content-Encoding: gzip\r\nContent-Length: 1", "encoded as \\\"gzip\\\""),
        ] {
            let found = framing(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"));
            assert!(found.as_ref().is_err_and(|error| error.contains(expected)), "{headers}: {found:?}");
        }
        assert!(framing("\x16\x03\x01\x02").is_err_and(|error| error.contains("HTTP/1 answer")));
    }
}
