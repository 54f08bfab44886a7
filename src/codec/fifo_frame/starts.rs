//! Where requests begin in the bytes of a FIFO.

use crate::codec::is_blank;

/// The longest name of a reply FIFO: the limit of a directory entry (`NAME_MAX`).
pub(super) const MAX_NAME: usize = 255;

/// How many bytes are looked at to tell the start of a request among others: two colons, a name, `{` and `"`
/// with a few blanks between.
pub(super) const MAX_START: usize = MAX_NAME + 16;

/// Where a request begins after bad JSON, whose value starts at `body` and is wrong at `wrong`: there, at the next
/// start within the bad part or after it, or after all that was read.
pub(super) fn next_start(bytes: &[u8], body: usize, wrong: usize) -> usize {
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

/// The possible meanings of a colon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// The start of a JSON request.
    Start,
    /// That, if the bytes to come are right.
    Maybe,
    Other,
}

/// Decides if these bytes are the start of a JSON request: `:name:{"` or `:name:[{`.
pub(super) fn looks_like_start(bytes: &[u8]) -> Looks {
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

/// Decides if these bytes are the first line of a text request: `:method:name` and the end of the line.
pub(super) fn looks_like_first_line(bytes: &[u8]) -> Looks {
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

/// Returns true if these bytes, which begin with a colon, may be the first line of any request: a name and a second
/// colon. An incomplete line may be one, too.
pub(super) fn looks_like_head(bytes: &[u8]) -> bool {
    let rest = &bytes[1..bytes.len().min(MAX_START)];
    match rest.iter().find(|byte| !is_name_byte(**byte)) {
        Some(byte) => *byte == b':',
        None => bytes.len() < MAX_START,
    }
}

pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The byte after the first empty line. `at_line_start` is kept between calls.
pub(super) fn end_of_empty_line(bytes: &[u8], at_line_start: &mut bool, crlf: bool) -> Option<usize> {
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

pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}
