//! What real servers do wrong, version by version: what a listener asks when its server has hazards.
//!
//! Nothing here reads or writes; these are the rules alone. They exist so that clients can be tested against them.

use std::time::Duration;

use crate::codec::fifo_frame::{Frame, Framer};
use crate::codec::json::{self, Scanner};
use crate::codec::jsonrpc::{self, Incoming};
use crate::codec::text;
use crate::dialect::Dialect;
use crate::item::Item;
use crate::response::Failure;

/// How much one read of a command FIFO brings to 3.x and 4.x, what the read before left over included.
const JSON_READ: usize = 4096;
/// What the parameters of a text request may be in all.
const TEXT_PARAMS: usize = 8192;
/// What 2.4 takes in a line for a command that wants none.
const UNWANTED_LINE: usize = 1023;
/// The longest string that 3.x and 4.x write to a reply FIFO, as it is encoded, without its quotes.
const FIFO_STRING: usize = 4093;
/// The longest line that 1.x and 2.x write to a reply FIFO.
const FIFO_LINE: usize = 8192;
/// A request over this is cut where a third read of it would begin, and 1.11 is back in step after it.
const TWO_READS: usize = 2 * (TEXT_PARAMS - 1);
/// The commands that answer later. One without a way back takes the server down.
const ASYNCHRONOUS: [&[u8]; 10] = [
    b"t_uac_dlg",
    b"tm:uac_dlg",
    b"uac_dlg",
    b"pua_publish",
    b"pua_mi:publish",
    b"cluster_send_mi",
    b"cluster_broadcast_mi",
    b"dlg_send_sequential",
    b"rtp_relay_update",
    b"rtp_relay_update_callid",
];

/// When a missing reader of a reply FIFO is looked for, counted from the look before.
pub(crate) const READER_LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(80),
    Duration::from_millis(80),
    Duration::from_millis(80),
    Duration::from_millis(80),
];

/// Splits what is read from a command FIFO into requests.
pub(crate) enum Framing {
    /// As it should be.
    Sound(Framer),
    /// As 1.x and 2.x do.
    Text(TextReader),
    /// As 3.x and 4.x do.
    Json(JsonReader),
}

impl Framing {
    /// The framing of a listener.
    pub(crate) fn new(dialect: Dialect, limit: usize, hazards: bool) -> Self {
        match (hazards && dialect.is_emulated(), dialect.reads_text()) {
            (false, _) => Framing::Sound(Framer::new(dialect, limit)),
            (true, true) => Framing::Text(TextReader::new(dialect)),
            (true, false) => Framing::Json(JsonReader::default()),
        }
    }

    /// How many bytes one read may bring, of so many that would be possible.
    pub(crate) fn room(&self, possible: usize) -> usize {
        match self {
            Framing::Json(reader) => JSON_READ - reader.left_over.len(),
            _ => possible,
        }
    }

    /// Takes one read.
    pub(crate) fn push(&mut self, bytes: &[u8], takes_no_input: &dyn Fn(&[u8]) -> bool) {
        match self {
            Framing::Sound(framer) => framer.push(bytes),
            Framing::Text(reader) => reader.push(bytes, takes_no_input),
            Framing::Json(reader) => reader.push(bytes),
        }
    }

    /// The next request.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        match self {
            Framing::Sound(framer) => framer.next_frame(),
            Framing::Text(reader) => reader.take(),
            Framing::Json(reader) => reader.take(),
        }
    }

    /// How many bytes were taken that no request has come of yet.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            Framing::Sound(framer) => framer.buffered(),
            _ => 0,
        }
    }

    /// Whether a request is unfinished whose end is not waited for without end.
    pub(crate) fn is_mid_frame(&self) -> bool {
        matches!(self, Framing::Sound(framer) if framer.is_mid_frame())
    }

    /// Drops that one.
    pub(crate) fn give_up(&mut self) -> Option<Frame> {
        match self {
            Framing::Sound(framer) => framer.give_up(),
            _ => None,
        }
    }
}

/// Reads a command FIFO as 3.x and 4.x do: a command must come in one read.
///
/// What follows a good command in its read is kept, and each further read is put behind it. When that does not make a
/// command, the read is dropped and the rest kept: so a broken one is never got rid of.
#[derive(Default)]
pub(crate) struct JsonReader {
    left_over: Vec<u8>,
    frames: std::collections::VecDeque<Frame>,
}

impl JsonReader {
    fn push(&mut self, bytes: &[u8]) {
        let all = [&self.left_over, bytes].concat();
        let (mut rest, mut complete) = (all.as_slice(), 0);
        while let Some((frame, used)) = first_json_frame(rest) {
            self.frames.push_back(frame);
            rest = skip_blanks(&rest[used..]);
            complete += 1;
        }
        if complete > 0 {
            self.left_over = if rest.first() == Some(&b':') { rest.to_vec() } else { Vec::new() };
        }
    }

    fn take(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }
}

/// The command that these bytes begin with, and how many they are of it.
fn first_json_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let name = bytes.strip_prefix(b":")?;
    let colon = memchr::memchr(b':', name)?;
    let value = &name[colon + 1..];
    let mut scanner = Scanner::new();
    let end = match scanner.feed(value) {
        json::Scan::NeedMore => match scanner.finish() {
            json::Scan::Complete(end) => end,
            _ => return None,
        },
        json::Scan::Complete(end) => end,
        json::Scan::Invalid(_) => return None,
    };
    let body = value[..end].to_vec();
    json::parse(&body).ok()?;
    Some((Frame::Json { reply: name[..colon].to_vec(), body }, colon + 2 + end))
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start()
}

/// Reads a command FIFO as 1.x and 2.x do, line by line, and gets out of step as they do.
pub(crate) struct TextReader {
    dialect: Dialect,
    step: Step,
    line: Vec<u8>,
    frames: std::collections::VecDeque<Frame>,
}

/// Where in a request a server of 1.x or 2.x believes to be.
enum Step {
    /// Before one.
    Between,
    /// In its parameters.
    Params { method: Vec<u8>, reply: Vec<u8>, params: Vec<u8> },
    /// In something to be dropped, up to so many empty lines.
    Dropping { empty_lines: u8 },
    /// Out of step, until a read brings an empty line alone.
    Lost,
}

impl TextReader {
    fn new(dialect: Dialect) -> Self {
        TextReader { dialect, step: Step::Between, line: Vec::new(), frames: std::collections::VecDeque::new() }
    }

    fn take(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    fn push(&mut self, bytes: &[u8], takes_no_input: &dyn Fn(&[u8]) -> bool) {
        if matches!(self.step, Step::Lost) {
            if !bytes.starts_with(b"\n") {
                return;
            }
            self.step = Step::Between;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.read_line(&line, takes_no_input);
            }
        }
    }

    fn read_line(&mut self, line: &[u8], takes_no_input: &dyn Fn(&[u8]) -> bool) {
        let is_empty = line == b"\n";
        self.step = match std::mem::replace(&mut self.step, Step::Between) {
            Step::Between | Step::Dropping { empty_lines: 0 | 1 } if is_empty => Step::Between,
            Step::Between => begin(line),
            Step::Params { method, reply, params } if is_empty => self.end(method, reply, params),
            Step::Params { method, reply, mut params } => {
                let unwanted = self.dialect == Dialect::V2_4 && line.len() > UNWANTED_LINE;
                params.extend_from_slice(line);
                match (unwanted && takes_no_input(&method), params.len() > TEXT_PARAMS) {
                    (false, false) => Step::Params { method, reply, params },
                    (false, true) if self.dialect.is_1x() => self.overflow(method, reply, &params),
                    _ => Step::Lost,
                }
            }
            Step::Dropping { empty_lines } => Step::Dropping { empty_lines: empty_lines - u8::from(is_empty) },
            Step::Lost => Step::Lost,
        };
    }

    /// A request is complete. After one that cannot be read the server waits for an empty line, and has had it already.
    fn end(&mut self, method: Vec<u8>, reply: Vec<u8>, params: Vec<u8>) -> Step {
        let readable = text::decode_params(&params, self.dialect).is_ok();
        let nameless_empty = params.split(|byte| *byte == b'\n').any(|line| line == b"\"\"" || line == b"::");
        self.frames.push_back(Frame::Text { method, reply, params });
        if readable || nameless_empty { Step::Between } else { Step::Dropping { empty_lines: 1 } }
    }

    fn overflow(&mut self, method: Vec<u8>, reply: Vec<u8>, params: &[u8]) -> Step {
        self.frames.push_back(Frame::Malformed { reply, method, json: false, failure: Failure::Parse });
        // Its own empty line is still to come; with a third read the server sees it, else it waits for another.
        Step::Dropping { empty_lines: if params.len() > TWO_READS { 1 } else { 2 } }
    }
}

/// What the first line of a request says: `:method:reply`.
fn begin(line: &[u8]) -> Step {
    let parts = line.strip_prefix(b":").and_then(|rest| {
        let colon = memchr::memchr(b':', rest)?;
        let reply = rest[colon + 1..].strip_suffix(b"\n")?;
        let end = reply.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        (colon > 0).then(|| (&rest[..colon], &reply[..end]))
    });
    match parts {
        Some((method, reply)) => Step::Params { method: method.into(), reply: reply.into(), params: Vec::new() },
        None => Step::Dropping { empty_lines: 1 },
    }
}

/// Whether this request takes the server down before it is looked at: JSON that is no request at all.
///
/// Over a FIFO all of 3.x and 4.x die of it, over datagrams only 4.x.
pub(crate) fn dies_of_json(dialect: Dialect, body: &[u8], over_fifo: bool) -> bool {
    if !over_fifo && !dialect.is_4x() {
        return false;
    }
    let Ok((item, _)) = json::parse_prefix(body) else { return false };
    let Item::Object(members) = item else { return true };
    let method = members.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"method"));
    !matches!(method, Some((_, Item::Str(_))))
}

/// Whether this request is for a command that answers later. Without a way back for its answer it takes the server
/// down.
pub(crate) fn answers_later(frame: &Frame) -> bool {
    match frame {
        Frame::Text { method, .. } => ASYNCHRONOUS.contains(&method.as_slice()),
        Frame::Json { body, .. } => match jsonrpc::decode_request(body, Dialect::Sipmi) {
            Incoming::One(Ok(call)) => ASYNCHRONOUS.contains(&call.request.method.as_bytes()),
            _ => false,
        },
        Frame::Malformed { .. } => false,
    }
}

/// Whether 3.x and 4.x do not survive this answer that came later: one of its strings is too long for a reply FIFO.
pub(crate) fn dies_of_reply(dialect: Dialect, reply: &[u8]) -> bool {
    dialect.reads_json() && long_string(reply).is_some()
}

/// What of a reply a server of this version writes to a reply FIFO.
pub(crate) fn cut_fifo_reply(dialect: Dialect, mut reply: Vec<u8>) -> Vec<u8> {
    if dialect.reads_text() {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &reply.clone()) {
            if end - start > FIFO_LINE {
                reply.truncate(start);
                return reply;
            }
            start = end + 1;
        }
    } else if let Some(start) = long_string(&reply) {
        reply.truncate(start);
        reply.extend_from_slice(jsonrpc::FIFO_PRINT_ERROR);
    }
    reply
}

/// Where the first string begins that is too long to be printed.
fn long_string(reply: &[u8]) -> Option<usize> {
    let mut start = None;
    let mut at = 0;
    while at < reply.len() {
        match (reply[at], start) {
            (b'"', None) => start = Some(at),
            (b'"', Some(begin)) if at - begin > FIFO_STRING => return Some(begin),
            (b'"', Some(_)) => start = None,
            (b'\\', Some(_)) => at += 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(framing: &mut Framing) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(frame) = framing.next_frame() {
            names.push(match frame {
                Frame::Json { reply, .. } | Frame::Text { reply, .. } => String::from_utf8(reply).expect("a name"),
                Frame::Malformed { failure, .. } => failure.to_string(),
            });
        }
        names
    }

    fn read(framing: &mut Framing, bytes: &str) -> Vec<String> {
        framing.push(bytes.as_bytes(), &|method| method == b"version");
        names(framing)
    }

    #[test]
    fn a_broken_command_behind_a_good_one_leaves_a_json_fifo_dead_until_it_is_completed() {
        let mut fifo = Framing::new(Dialect::V4_0, 0, true);
        assert_eq!(read(&mut fifo, ":a:{}\n:b:"), ["a"]);
        assert!(read(&mut fifo, ":c:{}").is_empty());
        assert_eq!(read(&mut fifo, "{}"), ["b"]);
        assert_eq!(read(&mut fifo, ":c:{}"), ["c"]);
    }

    #[test]
    fn a_broken_command_alone_is_dropped_and_so_is_one_in_two_reads() {
        let mut fifo = Framing::new(Dialect::V3_4, 0, true);
        for piece in [":a:", "{}", "garbage\n:a:{}", ":a:{\"x\":"] {
            assert!(read(&mut fifo, piece).is_empty(), "{piece:?}");
        }
        assert_eq!(read(&mut fifo, ":b:{}garbage"), ["b"]);
        assert_eq!(read(&mut fifo, ":c:{}"), ["c"]);
    }

    #[test]
    fn a_parse_error_costs_the_next_request_unless_a_newline_comes_first() {
        for between in ["", "\n"] {
            let mut fifo = Framing::new(Dialect::V1_11, 0, true);
            assert_eq!(read(&mut fifo, ":store:a\nsay \"hi\"\n\n"), ["a"]);
            read(&mut fifo, between);
            let next = read(&mut fifo, ":version:b\n\n");
            assert_eq!(next.is_empty(), between.is_empty());
            assert_eq!(read(&mut fifo, ":version:c\n\n"), ["c"]);
        }
    }

    #[test]
    fn an_over_long_request_costs_2_4_everything_up_to_a_lone_newline() {
        let mut fifo = Framing::new(Dialect::V2_4, 0, true);
        assert!(read(&mut fifo, &format!(":store:a\n{}\n\n", "y".repeat(9000))).is_empty());
        assert!(read(&mut fifo, ":version:b\n\n").is_empty());
        assert!(read(&mut fifo, "\n").is_empty());
        assert_eq!(read(&mut fifo, ":version:c\n\n"), ["c"]);
        assert!(read(&mut fifo, &format!(":version:d\n{}\n\n", "y".repeat(1100))).is_empty());
    }

    #[test]
    fn what_is_no_request_kills_and_what_is_only_a_bad_one_does_not() {
        for (body, kills) in [("42", true), ("[]", true), ("{\"id\":1}", true), ("{\"METHOD\":\"x\"}", false)] {
            assert_eq!(dies_of_json(Dialect::V3_4, body.as_bytes(), true), kills, "{body}");
            assert!(!dies_of_json(Dialect::V3_6, body.as_bytes(), false));
        }
    }

    #[test]
    fn a_long_string_or_line_cuts_a_reply() {
        let long = format!("{{\"a\":\"b\",\"c\":\"{}\"}}", "y".repeat(4094));
        assert_eq!(cut_fifo_reply(Dialect::V4_0, long.into_bytes()), b"{\"a\":\"b\",\"c\":failed to print response");
        let short = format!("{{\"c\":\"{}\"}}", "y".repeat(4000)).into_bytes();
        assert_eq!(cut_fifo_reply(Dialect::V4_0, short.clone()), short);
        let lines = format!("200 OK\n{}\n\n", "y".repeat(8193)).into_bytes();
        assert_eq!(cut_fifo_reply(Dialect::V2_4, lines), b"200 OK\n");
    }
}
