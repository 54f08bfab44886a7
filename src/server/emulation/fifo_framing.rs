//! How real servers split the bytes of a command FIFO into requests, and how they get out of step.

use crate::codec::fifo_frame::Frame;
use crate::codec::json::{self, Scanner};
use crate::codec::text;
use crate::dialect::Dialect;
use crate::response::Failure;
use crate::server::listener::fifo::policy::Framing;

/// How much one read of a command FIFO brings to 3.x and 4.x, what the read before left over included.
const READ: usize = 4096;
/// The limit on all parameters of a text request, in bytes.
const TEXT_PARAMS: usize = 8192;
/// The limit of 2.4 on a line for a command that takes no parameters, in bytes.
const UNWANTED_LINE: usize = 1023;
/// A request over this is cut where a third read of it would begin, and 1.11 is back in step after it.
const TWO_READS: usize = 2 * (TEXT_PARAMS - 1);

/// Reads a command FIFO as 3.x and 4.x do: a command must come in one read.
///
/// The bytes after a good command in its read are kept, and each further read is appended. When that does not make a
/// command, the read is dropped and the rest kept: so a broken one is never got rid of.
#[derive(Default)]
pub(super) struct JsonReader {
    left_over: Vec<u8>,
    frames: std::collections::VecDeque<Frame>,
}

impl Framing for JsonReader {
    fn room(&self, _: usize) -> usize {
        READ - self.left_over.len()
    }

    fn push(&mut self, bytes: &[u8], _: &dyn Fn(&[u8]) -> bool) {
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

    fn next_frame(&mut self) -> Option<Frame> {
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
pub(super) struct TextReader {
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
    /// Dropping a request, up to `empty_lines` empty lines.
    Dropping { empty_lines: u8 },
    /// Out of step, until a read brings an empty line alone.
    Lost,
}

impl Framing for TextReader {
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

    fn next_frame(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }
}

impl TextReader {
    pub(super) fn new(dialect: Dialect) -> Self {
        TextReader { dialect, step: Step::Between, line: Vec::new(), frames: std::collections::VecDeque::new() }
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

/// Parses the first line of a request: `:method:reply`.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(framing: &mut dyn Framing) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(frame) = framing.next_frame() {
            names.push(match frame {
                Frame::Json { reply, .. } | Frame::Text { reply, .. } => String::from_utf8(reply).expect("a name"),
                Frame::Malformed { failure, .. } => failure.to_string(),
            });
        }
        names
    }

    fn read(framing: &mut dyn Framing, bytes: &str) -> Vec<String> {
        framing.push(bytes.as_bytes(), &|method| method == b"version");
        names(framing)
    }

    #[test]
    fn a_broken_command_behind_a_good_one_leaves_a_json_fifo_dead_until_it_is_completed() {
        let mut fifo = JsonReader::default();
        assert_eq!(read(&mut fifo, ":a:{}\n:b:"), ["a"]);
        assert!(read(&mut fifo, ":c:{}").is_empty());
        assert_eq!(read(&mut fifo, "{}"), ["b"]);
        assert_eq!(read(&mut fifo, ":c:{}"), ["c"]);
    }

    #[test]
    fn a_broken_command_alone_is_dropped_and_so_is_one_in_two_reads() {
        let mut fifo = JsonReader::default();
        for piece in [":a:", "{}", "garbage\n:a:{}", ":a:{\"x\":"] {
            assert!(read(&mut fifo, piece).is_empty(), "{piece:?}");
        }
        assert_eq!(read(&mut fifo, ":b:{}garbage"), ["b"]);
        assert_eq!(read(&mut fifo, ":c:{}"), ["c"]);
    }

    #[test]
    fn a_parse_error_costs_the_next_request_unless_a_newline_comes_first() {
        for between in ["", "\n"] {
            let mut fifo = TextReader::new(Dialect::V1_11);
            assert_eq!(read(&mut fifo, ":store:a\nsay \"hi\"\n\n"), ["a"]);
            read(&mut fifo, between);
            let next = read(&mut fifo, ":version:b\n\n");
            assert_eq!(next.is_empty(), between.is_empty());
            assert_eq!(read(&mut fifo, ":version:c\n\n"), ["c"]);
        }
    }

    #[test]
    fn an_over_long_request_costs_2_4_everything_up_to_a_lone_newline() {
        let mut fifo = TextReader::new(Dialect::V2_4);
        assert!(read(&mut fifo, &format!(":store:a\n{}\n\n", "y".repeat(9000))).is_empty());
        assert!(read(&mut fifo, ":version:b\n\n").is_empty());
        assert!(read(&mut fifo, "\n").is_empty());
        assert_eq!(read(&mut fifo, ":version:c\n\n"), ["c"]);
        assert!(read(&mut fifo, &format!(":version:d\n{}\n\n", "y".repeat(1100))).is_empty());
    }
}
