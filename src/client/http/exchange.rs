//! One request and its answer over HTTP/1.1: written in one piece, read by `Content-Length`, in chunks or to the end.

use std::io;

use httparse::Status;

use super::channel::Channel;
use crate::client::call::{CallError, CallFailure};
use crate::client::patience::Patience;
use crate::transport::stream::Moved;

/// The longest head of an answer, interim responses included. Real ones have 200 bytes; browsers and proxies allow this.
const LONGEST_HEAD: usize = 64 * 1024;

/// More headers than this are not read.
const MOST_HEADERS: usize = 128;

/// The longest line before a chunk: its size, and perhaps extensions.
const LONGEST_CHUNK_LINE: usize = 4096;

/// What is read at once grows with what was read, from the least to the most.
const LEAST_PIECE: usize = 16 * 1024;
const MOST_PIECE: usize = 1 << 17;

/// Chunks that were taken over are forgotten when they are so many bytes.
const FORGOTTEN_AT: usize = 1 << 18;

/// Which statuses of OpenSIPS 3.6 and 4.0 come in chunks that never end.
const ENDLESS: [u16; 4] = [202, 400, 405, 500];

/// An answer, whatever its status.
#[derive(Debug)]
pub(in crate::client) struct Answer {
    pub(in crate::client) status: u16,
    pub(in crate::client) reason: String,
    /// What the server calls itself.
    pub(in crate::client) server: String,
    pub(in crate::client) body: Vec<u8>,
    /// Whether the connection may carry another request.
    pub(in crate::client) may_be_reused: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// Nothing of the request went out.
    NotSent(io::Error),
    /// The request went out, and then the server closed the connection before it answered anything.
    Closed,
    /// Anything else; some of an answer may have come.
    Failed(CallFailure),
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunks,
    ToTheEnd,
    /// The head is all.
    Nothing,
}

/// What the head of an answer says.
#[derive(Debug)]
struct Head {
    size: usize,
    status: u16,
    reason: String,
    server: String,
    framing: Framing,
    keeps_alive: bool,
}

/// Sends a request and reads the answer to it.
pub(super) async fn exchange(
    channel: &mut Channel,
    request: &[u8],
    limit: usize,
    patience: &mut Patience<'_>,
) -> Result<Answer, Broken> {
    let lost = send(channel, request, patience).await?;
    let mut reader =
        Reader { channel, patience, limit, bytes: Vec::new(), body: Vec::new(), came: 0, end: None, head: None };
    let answer = reader.read_answer().await;
    let progress = if answer.is_err() { reader.progress() } else { String::new() };
    match (answer, reader.end) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Some(End::Closed)) if reader.came == 0 && lost.is_none() => Err(Broken::Closed),
        (Err(error), end) => {
            let error = match (end, lost) {
                // The server did not take the whole request, and did not say why either.
                (Some(_), Some(lost)) if reader.came == 0 => went_away("while it was sent the request", &lost),
                _ => error,
            };
            let received = if reader.body.is_empty() { &reader.bytes } else { &reader.body };
            let failure = error.after(b"", received).after_part(progress);
            Err(Broken::Failed(CallFailure { received_size: reader.came, ..failure }))
        }
    }
}

/// Writes the request. A server may answer and close before it has read all of it: the error of that is given back.
async fn send(
    channel: &mut Channel,
    request: &[u8],
    patience: &mut Patience<'_>,
) -> Result<Option<io::Error>, Broken> {
    let mut sent = 0;
    while sent < request.len() {
        match channel.write(&request[sent..]) {
            Ok(Moved::Bytes(count)) => sent += count,
            Ok(Moved::Not(wanted)) => {
                patience.wait(channel.as_fd(), wanted).await.map_err(|stop| Broken::Failed(stop.into()))?;
            }
            Err(error) if sent == 0 => return Err(Broken::NotSent(error)),
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    Closed,
    Reset,
}

struct Reader<'c, 'p, 'w> {
    channel: &'c mut Channel,
    patience: &'p mut Patience<'w>,
    /// The largest body in bytes.
    limit: usize,
    /// What came and is not forgotten.
    bytes: Vec<u8>,
    /// The chunks that were taken over.
    body: Vec<u8>,
    /// How many bytes came.
    came: usize,
    end: Option<End>,
    /// The status and framing of the answer, once its head is complete.
    head: Option<(u16, Framing)>,
}

impl Reader<'_, '_, '_> {
    async fn read_answer(&mut self) -> Result<Answer, CallError> {
        let head = self.read_head().await?;
        self.head = Some((head.status, head.framing));
        let body = match head.framing {
            Framing::Nothing => Vec::new(),
            Framing::Length(length) => self.read_length(length).await?,
            Framing::Chunks => self.read_chunks().await?,
            Framing::ToTheEnd => self.read_to_the_end().await?,
        };
        let Head { status, reason, server, framing, keeps_alive, .. } = head;
        let ends_by_itself = matches!(framing, Framing::Length(_) | Framing::Chunks);
        // Of real servers only a success leaves the connection in step.
        let may_be_reused = keeps_alive && ends_by_itself && status == 200 && self.bytes.is_empty();
        Ok(Answer { status, reason, server, body, may_be_reused })
    }

    /// The part of the answer that has come, in words.
    fn progress(&self) -> String {
        let came = self.bytes.len();
        match self.head {
            None if came == 0 => String::new(),
            None => format!("{came} bytes of the head of an HTTP answer"),
            Some((status, Framing::Length(length))) => {
                format!("the head of an HTTP answer, {status}, and {came} bytes of a body of {length}")
            }
            Some((status, Framing::Chunks)) => {
                format!("the head of an HTTP answer, {status}, and {} bytes of a body in chunks", self.body.len())
            }
            Some((status, _)) => format!("the head of an HTTP answer, {status}, and {came} bytes of a body"),
        }
    }

    async fn read_head(&mut self) -> Result<Head, CallError> {
        let mut interim = 0;
        loop {
            let size = match parse_head(&self.bytes[interim..])? {
                Some(head) if head.status >= 200 => {
                    self.bytes.drain(..interim + head.size);
                    return Ok(head);
                }
                // "Continue" and the like come before the answer.
                Some(head) => {
                    interim += head.size;
                    interim
                }
                None => self.bytes.len(),
            };
            if size > LONGEST_HEAD {
                return Err(no_http(&format!("expected a head of at most {LONGEST_HEAD} bytes, found more")));
            }
            if size == self.bytes.len() {
                self.more("before its answer").await?;
            }
        }
    }

    async fn read_length(&mut self, length: usize) -> Result<Vec<u8>, CallError> {
        self.check_size(length)?;
        while self.bytes.len() < length {
            self.more("in the middle of its answer").await?;
        }
        let rest = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    async fn read_to_the_end(&mut self) -> Result<Vec<u8>, CallError> {
        while self.end.is_none() {
            match self.more("in the middle of its answer").await {
                Err(_) if matches!(self.end, Some(End::Closed)) => break,
                outcome => outcome?,
            }
            self.check_size(self.bytes.len())?;
        }
        Ok(std::mem::take(&mut self.bytes))
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>, CallError> {
        let mut at = 0;
        loop {
            let (line, size) = self.read_chunk_line(at).await?;
            at += line;
            if size == 0 {
                break;
            }
            self.check_size(self.body.len().saturating_add(size))?;
            at = self.move_chunk(at, size).await?;
            if at >= FORGOTTEN_AT {
                self.bytes.drain(..at);
                at = 0;
            }
        }
        let trailers = self.read_trailers(at).await?;
        self.bytes.drain(..trailers);
        Ok(std::mem::take(&mut self.body))
    }

    /// Moves a chunk to the body as it comes. Returns the end of the line that follows it.
    async fn move_chunk(&mut self, begin: usize, size: usize) -> Result<usize, CallError> {
        let (mut at, mut left) = (begin, size);
        loop {
            let piece = left.min(self.bytes.len() - at);
            self.body.extend_from_slice(&self.bytes[at..at + piece]);
            (at, left) = (at + piece, left - piece);
            if left == 0 {
                break;
            }
            self.bytes.clear();
            at = 0;
            self.more("in the middle of its answer").await?;
        }
        while self.bytes.len() < at + 2 {
            self.more("in the middle of its answer").await?;
        }
        if self.bytes[at..at + 2] != *b"\r\n" {
            return Err(no_http("expected the end of a line after a chunk"));
        }
        Ok(at + 2)
    }

    fn check_size(&self, size: usize) -> Result<(), CallError> {
        if size > self.limit { Err(CallError::too_large(self.limit)) } else { Ok(()) }
    }

    /// The size of the line at this place, and of the chunk that follows it.
    async fn read_chunk_line(&mut self, at: usize) -> Result<(usize, usize), CallError> {
        loop {
            match httparse::parse_chunk_size(&self.bytes[at..]) {
                Ok(Status::Complete((line, size))) => {
                    return Ok((line, usize::try_from(size).unwrap_or(usize::MAX)));
                }
                Ok(Status::Partial) if self.bytes.len() - at <= LONGEST_CHUNK_LINE => {
                    self.more("in the middle of its answer").await?;
                }
                _ => return Err(no_http("expected the size of a chunk")),
            }
        }
    }

    /// Where the lines after the last chunk end, which an empty line does.
    async fn read_trailers(&mut self, begin: usize) -> Result<usize, CallError> {
        let mut at = begin;
        loop {
            match memchr::memchr(b'\n', &self.bytes[at..]) {
                Some(length) => {
                    let line = &self.bytes[at..at + length];
                    at += length + 1;
                    if line.is_empty() || line == b"\r" {
                        return Ok(at);
                    }
                }
                None if self.bytes.len() - begin > LONGEST_HEAD => {
                    return Err(no_http("expected an empty line after the last chunk"));
                }
                None => self.more("in the middle of its answer").await?,
            }
        }
    }

    /// Waits for more bytes. The end of the connection is an error, which `when` describes.
    async fn more(&mut self, when: &str) -> Result<(), CallError> {
        self.patience.checkpoint().await?;
        let before = self.bytes.len();
        self.bytes.resize(before + self.came.clamp(LEAST_PIECE, MOST_PIECE), 0);
        let came = self.receive(before, when).await;
        let count = came.as_ref().copied().unwrap_or_default();
        self.bytes.truncate(before + count);
        self.came += count;
        came.map(|_| ())
    }

    async fn receive(&mut self, at: usize, when: &str) -> Result<usize, CallError> {
        let eagerness = self.patience.eagerness();
        loop {
            match self.channel.read(&mut self.bytes[at..]) {
                Ok(Moved::Bytes(0)) => {
                    self.end = Some(End::Closed);
                    let what = format!("the server closed the connection {when}");
                    return Err(CallError::Transport { what, errno: libc::ECONNRESET });
                }
                Ok(Moved::Bytes(count)) => return Ok(count),
                // To try again tells as much as to ask.
                Ok(Moved::Not(_)) if eagerness.give_way() => {}
                Ok(Moved::Not(wanted)) => drop(self.patience.sleep(self.channel.as_fd(), wanted).await?),
                Err(error) => {
                    self.end = Some(End::Reset);
                    return Err(went_away(when, &error));
                }
            }
        }
    }
}

fn went_away(when: &str, error: &io::Error) -> CallError {
    CallError::io(&format!("the connection was lost {when}"), error)
}

/// What came is not HTTP, or not as it should be.
fn no_http(what: &str) -> CallError {
    CallError::Transport { what: format!("the answer cannot be read: {what}"), errno: libc::EPROTO }
}

/// Reads a head; nothing while it is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, CallError> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let size = match response.parse(bytes) {
        Ok(Status::Partial) => return Ok(None),
        Ok(Status::Complete(size)) => size,
        Err(error) => {
            let shown = bytes[..bytes.len().min(24)].escape_ascii();
            return Err(no_http(&format!("expected the head of an HTTP/1 answer, found \"{shown}\" ({error})")));
        }
    };
    let status = response.code.unwrap_or_default();
    let mut read = Headers { keeps_alive: response.version == Some(1), ..Headers::default() };
    for header in response.headers.iter() {
        read.take(header)?;
    }
    let framing = read.framing(status)?;
    if let (Some(encoding), false) = (&read.encoding, framing == Framing::Nothing) {
        return Err(no_http(&format!("expected it as it is, found it encoded as {encoding:?}")));
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
    fn take(&mut self, header: &httparse::Header<'_>) -> Result<(), CallError> {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
            let Some(length) = length.filter(|length| self.length.is_none_or(|other| other == *length)) else {
                return Err(no_http("expected one Content-Length, a number"));
            };
            self.length = Some(length);
        } else if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") || self.is_chunked {
                return Err(no_http(&format!("expected a Transfer-Encoding of chunked, found {value:?}")));
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

    fn framing(&mut self, status: u16) -> Result<Framing, CallError> {
        if self.is_chunked && self.length.is_some() {
            return Err(no_http("expected a Content-Length or chunks, found both"));
        }
        Ok(match self.length {
            _ if status < 200 || status == 204 || status == 304 => Framing::Nothing,
            _ if self.is_chunked && ENDLESS.contains(&status) => Framing::Nothing,
            _ if self.is_chunked => Framing::Chunks,
            Some(length) => Framing::Length(length),
            None => Framing::ToTheEnd,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use crate::client::patience::run;
    use crate::transport::stream::Stream;

    /// A connection over which one exchange has gone well, and its server's end.
    fn kept_connection() -> (Channel, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let stream = Stream::begin(listener.local_addr().expect("its address")).expect("a connection");
        let (mut server, _) = listener.accept().expect("the client");
        let mut channel = Channel::Plain(stream);
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").expect("room");
        let answer = exchange_now(&mut channel).expect("an answer");
        assert!(answer.may_be_reused && channel.is_quiet());
        let mut request = [0; 16];
        assert_eq!(server.read(&mut request).ok(), Some(REQUEST.len()));
        (channel, server)
    }

    const REQUEST: &[u8] = b"GET /\r\n\r\n";

    fn exchange_now(channel: &mut Channel) -> Result<Answer, Broken> {
        run(exchange(channel, REQUEST, 1 << 20, &mut Patience::new(Duration::from_secs(10), &mut || false)))
    }

    fn was_closed_before(channel: &Channel) -> bool {
        run(channel.was_closed_before(&mut Patience::new(Duration::from_secs(10), &mut || false)))
    }

    #[test]
    fn a_request_that_meets_a_closed_connection_cannot_have_run() {
        let (mut channel, server) = kept_connection();
        drop(server);
        // As when the close crosses the request: nobody has looked before it was sent.
        let outcome = exchange_now(&mut channel);
        assert!(matches!(outcome, Err(Broken::Closed)), "{outcome:?}");
        assert!(was_closed_before(&channel));
    }

    #[test]
    fn a_request_that_was_read_before_the_close_may_have_run() {
        let (mut channel, mut server) = kept_connection();
        let reader = std::thread::spawn(move || server.read(&mut [0; 16]).expect("the request"));
        let outcome = exchange_now(&mut channel);
        assert!(matches!(outcome, Err(Broken::Closed)), "{outcome:?}");
        assert!(!was_closed_before(&channel));
        assert_eq!(reader.join().expect("no panic"), REQUEST.len());
    }

    #[test]
    fn a_reset_says_nothing_of_whether_a_request_has_run() {
        let (mut channel, server) = kept_connection();
        let resetter = std::thread::spawn(move || {
            // Closed with the request unread in it.
            while server.peek(&mut [0]).ok() != Some(1) {}
        });
        let outcome = exchange_now(&mut channel);
        assert!(matches!(outcome, Err(Broken::Failed(_))), "{outcome:?}");
        resetter.join().expect("no panic");
    }

    fn framing(head: &str) -> Result<Framing, String> {
        match parse_head(head.as_bytes()) {
            Ok(Some(head)) => Ok(head.framing),
            Ok(None) => Err("not complete".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_head_says_how_its_body_ends() {
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), Ok(Framing::Length(7)));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"), Ok(Framing::Chunks));
        assert_eq!(framing("HTTP/1.0 200 OK\n\n"), Ok(Framing::ToTheEnd));
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
            ("Content-Encoding: gzip\r\nContent-Length: 1", "encoded as \"gzip\""),
        ] {
            let found = framing(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"));
            assert!(found.as_ref().is_err_and(|error| error.contains(expected)), "{headers}: {found:?}");
        }
        assert!(framing("\x16\x03\x01\x02").is_err_and(|error| error.contains("HTTP/1 answer")));
    }
}
