//! Finds the end of a JSON value in bytes that come in pieces, without building it.

use super::escapes::plain_len;
use crate::codec::is_blank;

/// How deep [`Scanner`] looks. It needs a bit a level, so this is 128 KB; real values nest a few levels.
pub(super) const MAX_SCAN_DEPTH: usize = 1 << 20;

/// The result of a [`Scanner`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// The value goes on, or may go on (a number).
    NeedMore,
    /// The value ends before this byte, counted from the first byte fed.
    Complete(usize),
    /// No JSON value has this byte at this place, counted from the first byte fed.
    Invalid(usize),
}

/// Finds where one JSON value ends, or where it goes wrong, in bytes that come in pieces.
///
/// It builds nothing, looks at each byte once, and does not recurse. Strings may hold any bytes
/// but control bytes.
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    /// One bit a level: whether it is an object.
    levels: Vec<u8>,
    depth: usize,
    offset: usize,
    done: Option<Scan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// After `[`: a value or `]`.
    FirstElement,
    /// After `{`: a name or `}`.
    FirstName,
    /// After a comma in an object.
    Name,
    Colon,
    AfterValue,
    Text {
        is_name: bool,
    },
    Escape {
        is_name: bool,
    },
    Hex {
        is_name: bool,
        left: u8,
    },
    Word(&'static [u8]),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner::new()
    }
}

impl Scanner {
    /// Before the first byte.
    pub fn new() -> Self {
        Scanner { state: State::Value, levels: Vec::new(), depth: 0, offset: 0, done: None }
    }

    /// Takes the next bytes. After [`Scan::Complete`] or [`Scan::Invalid`] the answer stays the same.
    pub fn feed(&mut self, bytes: &[u8]) -> Scan {
        if let Some(done) = self.done {
            return done;
        }
        let mut at = 0;
        while at < bytes.len() {
            if let State::Text { .. } = self.state {
                at += plain_len(&bytes[at..]);
                if at == bytes.len() {
                    break;
                }
            }
            match self.step(bytes[at]) {
                Step::Next => at += 1,
                Step::Last => return self.finish_at(Scan::Complete(self.offset + at + 1)),
                Step::Before => return self.finish_at(Scan::Complete(self.offset + at)),
                Step::Wrong => return self.finish_at(Scan::Invalid(self.offset + at)),
            }
        }
        self.offset += bytes.len();
        Scan::NeedMore
    }

    /// How many bytes were fed before the piece that ended the value, or in all.
    pub fn fed(&self) -> usize {
        self.offset
    }

    /// Returns the result at the end of the input: a number ends where its text ends.
    pub fn finish(&self) -> Scan {
        match (self.done, self.state) {
            (Some(done), _) => done,
            (None, State::Zero | State::Digits | State::Fraction | State::ExponentDigits) if self.depth == 0 => {
                Scan::Complete(self.offset)
            }
            (None, _) => Scan::NeedMore,
        }
    }

    fn finish_at(&mut self, scan: Scan) -> Scan {
        self.done = Some(scan);
        scan
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::FirstElement if byte == b']' => self.close(byte),
            State::Value | State::FirstElement => self.value(byte),
            State::FirstName if byte == b'}' => self.close(byte),
            State::FirstName | State::Name => match byte {
                b'"' => self.go(State::Text { is_name: true }),
                _ => blank_or_wrong(byte),
            },
            State::Colon if byte == b':' => self.go(State::Value),
            State::Colon => blank_or_wrong(byte),
            State::AfterValue => self.after_value(byte),
            State::Text { is_name } => self.text(byte, is_name),
            State::Escape { is_name } => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.go(State::Text { is_name }),
                b'u' => self.go(State::Hex { is_name, left: 4 }),
                _ => Step::Wrong,
            },
            State::Hex { is_name, left } if byte.is_ascii_hexdigit() => match left {
                1 => self.go(State::Text { is_name }),
                _ => self.go(State::Hex { is_name, left: left - 1 }),
            },
            State::Word(rest) if rest.first() == Some(&byte) => match &rest[1..] {
                [] => self.value_ends(),
                rest => self.go(State::Word(rest)),
            },
            State::Hex { .. } | State::Word(_) => Step::Wrong,
            _ => self.number(byte),
        }
    }

    fn value(&mut self, byte: u8) -> Step {
        match byte {
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'"' => self.go(State::Text { is_name: false }),
            b't' => self.go(State::Word(b"rue")),
            b'f' => self.go(State::Word(b"alse")),
            b'n' => self.go(State::Word(b"ull")),
            b'-' => self.go(State::Minus),
            b'0' => self.go(State::Zero),
            b'1'..=b'9' => self.go(State::Digits),
            _ => blank_or_wrong(byte),
        }
    }

    fn text(&mut self, byte: u8, is_name: bool) -> Step {
        match byte {
            b'"' if is_name => self.go(State::Colon),
            b'"' => self.value_ends(),
            b'\\' => self.go(State::Escape { is_name }),
            0..=0x1f => Step::Wrong,
            _ => Step::Next,
        }
    }

    fn number(&mut self, byte: u8) -> Step {
        let next = match (self.state, byte) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') | (State::Digits, b'0'..=b'9') => State::Digits,
            (State::Zero | State::Digits, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Zero | State::Digits | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => State::ExponentDigits,
            (State::Zero | State::Digits | State::Fraction | State::ExponentDigits, _) => {
                return self.number_ends(byte);
            }
            _ => return Step::Wrong,
        };
        self.go(next)
    }

    /// A number has no end of its own: this byte is the first that is not of it.
    fn number_ends(&mut self, byte: u8) -> Step {
        if self.depth == 0 {
            return Step::Before;
        }
        self.state = State::AfterValue;
        self.after_value(byte)
    }

    fn after_value(&mut self, byte: u8) -> Step {
        match byte {
            b',' if self.in_object() => self.go(State::Name),
            b',' => self.go(State::Value),
            b']' | b'}' => self.close(byte),
            _ => blank_or_wrong(byte),
        }
    }

    fn value_ends(&mut self) -> Step {
        if self.depth == 0 { Step::Last } else { self.go(State::AfterValue) }
    }

    fn open(&mut self, object: bool) -> Step {
        if self.depth == MAX_SCAN_DEPTH {
            return Step::Wrong;
        }
        let (place, bit) = (self.depth / 8, 1 << (self.depth % 8));
        if place == self.levels.len() {
            self.levels.push(0);
        }
        self.levels[place] = if object { self.levels[place] | bit } else { self.levels[place] & !bit };
        self.depth += 1;
        self.go(if object { State::FirstName } else { State::FirstElement })
    }

    fn close(&mut self, byte: u8) -> Step {
        if self.in_object() != (byte == b'}') {
            return Step::Wrong;
        }
        self.depth -= 1;
        self.value_ends()
    }

    fn in_object(&self) -> bool {
        let level = self.depth.wrapping_sub(1);
        self.levels.get(level / 8).is_some_and(|bits| bits >> (level % 8) & 1 == 1)
    }

    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::Next
    }
}

/// The effect of a byte on a [`Scanner`].
enum Step {
    Next,
    /// It is the last of the value.
    Last,
    /// It is the first after the value.
    Before,
    Wrong,
}

fn blank_or_wrong(byte: u8) -> Step {
    if is_blank(byte) { Step::Next } else { Step::Wrong }
}
