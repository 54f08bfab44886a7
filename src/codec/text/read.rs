//! Reading replies: from lines to a tree.

use memchr::memmem;

use super::super::CodecError;
use super::attributes::{self, Attributes};
use super::records::Records;
use super::{BLANKS_IN_STRINGS, Carrier, SEPARATOR};
use crate::item::Str;
use crate::response::Response;
use crate::tree::{NodeId, Tree, Value};

/// No server indents deeper than this per level; a deeper line belongs to a value.
const MAX_BLANKS_A_LEVEL: usize = 16;

/// Reads a reply. Its nodes come as a tree, in which an empty value without attributes and children is an empty
/// string; a node that has some has no value then.
///
/// - `name:: value`: the name ends at the first `:: `, unless ` = [` comes before (`cache_fetch` of 1.x).
/// - Attributes are ` name=value`, where a name is a word of letters, digits, `_` and `-`, or one of the few with blanks
///   that 1.x and 2.x have (`Log level`, `Avg Call Duration`). Words without `=` belong to the value before them. `attr`,
///   `Message` and a few more have no attributes, `value` has a number `count` or none. A node without a name has none but
///   `attributes` (`domain_dump`).
/// - A line that ends in CR goes on in the next: SIP messages end their lines so, nodes do not.
/// - The line after `key:: ` `value:: ` (`cache_fetch` of 2.x) goes on to the next named one, `key = [` to the
///   closing `]`. A line that is neither named nor indented goes on with the value of an indented one. Other values
///   with newlines become a node and nodes without names.
/// - After every 50 records of a list the server writes an empty line (`ul_dump`, `dlg_list`). Other empty lines belong to
///   the value before them; in replies that are no such list, only those at the end and before a nameless line do. After
///   the first line of an error they are part of its reason.
/// - Indentation is TABs, or as many blanks as the first indented line with a name has; at most one level more than
///   the line before.
///
/// A success over a FIFO without the empty line at its end is [`CodecError::Truncated`].
pub fn decode_response(bytes: &[u8], carrier: Carrier) -> Result<Response, CodecError> {
    let (code, rest) = read_code(bytes)?;
    let (head, body) = match memchr::memchr(b'\n', rest) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (rest, b"".as_slice()),
    };
    let is_success = (200..300).contains(&code);
    if carrier == Carrier::Fifo && is_success && !bytes.ends_with(b"\n\n") {
        return Err(CodecError::Truncated { what: "the reply", size: bytes.len() });
    }
    let body = without_ending(bytes, body, carrier);
    let reason_len = if is_success { 0 } else { body.iter().take_while(|byte| **byte == b'\n').count() };
    let reason = Str::from([head, &body[..reason_len]].concat());
    Ok(Response::from(TreeReader::new(Tree::new(code, reason), &body[reason_len..]).read()))
}

/// Reads the lines that XML-RPC has in one string: as [`decode_response`] does what follows the first line, but
///
/// - an empty line belongs to the value before it, since nothing is flushed there;
/// - an indented line without `:: ` is a name without a value, which 2.4 and `mi_xmlrpc_ng` of 1.11 write so;
/// - blanks indent by three a level.
pub(in crate::codec) fn read_string(lines: &[u8]) -> Tree {
    let mut reader = TreeReader::new(Tree::ok(), lines);
    reader.in_string = true;
    reader.blanks = Some(BLANKS_IN_STRINGS);
    reader.read()
}

/// Reads lines that come one by one, so that each is a node of its own whatever its value holds.
pub(in crate::codec) fn read_elements<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Tree {
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for line in lines {
        body.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        ends.push(body.len());
    }
    let mut reader = TreeReader::new(Tree::ok(), &body);
    let mut start = 0;
    for end in ends {
        reader.add(NodeId::ROOT, start, end);
        start = end;
    }
    reader.tree
}

/// The code at the beginning of a reply, and the text after the following blank.
fn read_code(bytes: &[u8]) -> Result<(i32, &[u8]), CodecError> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    let code = std::str::from_utf8(&bytes[..digits]).ok().and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| CodecError::unexpected("the code of a reply", bytes, 0))?;
    match bytes.get(digits) {
        Some(b' ') => Ok((code, &bytes[digits + 1..])),
        Some(b'\n') | None => Ok((code, &bytes[digits..])),
        Some(_) => Err(CodecError::unexpected("a blank after the code", bytes, digits)),
    }
}

/// The lines after the first, without the empty line that ends a reply.
///
/// A datagram of 1.x has none. There it is the newline of a value in a reply of one nameless line (`rand_get_prob`); other
/// such lines at the end come from programs that stand in for a server. Where the version is not known, a datagram has
/// one unless its last value ends in CRLF.
fn without_ending<'a>(reply: &[u8], body: &'a [u8], carrier: Carrier) -> &'a [u8] {
    let belongs_to_value = match carrier {
        Carrier::Fifo => false,
        Carrier::Datagram => reply.ends_with(b"\r\n\n"),
        Carrier::OldDatagram => reply.ends_with(b"\r\n\n") || is_one_nameless_line(body),
    };
    match body.strip_suffix(b"\n") {
        Some(rest) if reply.ends_with(b"\n\n") && !belongs_to_value => rest,
        _ => body,
    }
}

fn is_one_nameless_line(body: &[u8]) -> bool {
    let line = body.trim_ascii_end();
    !line.is_empty() && !line.contains(&b'\n') && named_at(line).is_none()
}

/// Where the name of a line ends.
pub(super) fn named_at(line: &[u8]) -> Option<usize> {
    let end = memmem::find(line, SEPARATOR)?;
    memmem::find(&line[..end], b" = [").is_none().then_some(end)
}

/// Makes a tree of the lines of a reply.
struct TreeReader<'a> {
    tree: Tree,
    body: &'a [u8],
    /// How much of the body was read.
    at: usize,
    /// The last node of each level, from the top.
    path: Vec<NodeId>,
    /// How many blanks a level is, once that is known.
    blanks: Option<usize>,
    /// The value that the lines after the last node may extend.
    last: Option<LastValue>,
    /// True if the rules of [`read_string`] hold.
    in_string: bool,
    /// How many records of a list were read.
    records: Records,
}

/// The value of the last node.
struct LastValue {
    node: NodeId,
    /// Where it stands in the body.
    start: usize,
    end: usize,
    until: Until,
    /// True if it has grown since the node was added.
    has_grown: bool,
}

/// How far a value goes on in the lines after its first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It does not, but over an empty line.
    LineEnd,
    /// To the next line with a name.
    NextName,
    /// To the line that ends in `]`.
    Bracket,
}

impl<'a> TreeReader<'a> {
    fn new(tree: Tree, body: &'a [u8]) -> Self {
        TreeReader {
            tree,
            body,
            at: 0,
            path: Vec::new(),
            blanks: None,
            last: None,
            in_string: false,
            records: Records::default(),
        }
    }

    /// The tree with a node for each line.
    fn read(mut self) -> Tree {
        while let Some((start, end)) = self.next_line() {
            self.take(start, end);
        }
        self.close_value(self.body.len(), true);
        self.tree
    }

    /// Start and end of the next line, joined with those after it for as long as they end in CR.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        let (start, rest) = (self.at, &self.body[self.at..]);
        if rest.is_empty() {
            return None;
        }
        let ends_here = |end: &usize| *end == 0 || rest[*end - 1] != b'\r';
        let end = memchr::memchr_iter(b'\n', rest).find(ends_here);
        // A value that ends in CR at the very end of a reply is not followed by a line.
        let end = end.unwrap_or(rest.len() - usize::from(rest.ends_with(b"\n")));
        self.at = (start + end + 1).min(self.body.len());
        Some((start, start + end))
    }

    fn take(&mut self, start: usize, end: usize) {
        let line = &self.body[start..end];
        if (line.is_empty() && !self.in_string) || self.goes_on(start, line) {
            return;
        }
        self.close_value(start, false);
        let level = match self.level(line) {
            // Nothing but indentation says nothing of its own.
            level if self.in_string && level.skipped == line.len() => Level { level: 0, skipped: 0 },
            level => level,
        };
        let text = start + level.skipped;
        self.path.truncate(level.level);
        let parent = self.path.last().copied().unwrap_or(NodeId::ROOT);
        if self.tree.value(parent) == Value::Str(b"") && !self.in_string {
            self.tree.set_value(parent, Value::None);
        }
        let is_bare_name = self.in_string && level.level > 0 && named_at(&self.body[text..end]).is_none();
        let node = if is_bare_name {
            self.tree.add_child(parent, &self.body[text..end], Value::None)
        } else {
            self.add(parent, text, end)
        };
        self.path.push(node);
    }

    /// Adds the node that the line between these places says.
    fn add(&mut self, parent: NodeId, start: usize, end: usize) -> NodeId {
        match named_at(&self.body[start..end]) {
            None => self.add_nameless(parent, start, end),
            Some(len) => self.add_named(parent, start, start + len, end),
        }
    }

    /// Appends this line to the last value if it belongs to it, and returns whether it does.
    fn goes_on(&mut self, start: usize, line: &[u8]) -> bool {
        let is_shallow = !self.in_string && self.level(line).level + 1 < self.path.len();
        let Some(last) = &mut self.last else { return false };
        let has_empty_line = last.has_grown && self.body[last.start..last.end].ends_with(b"\n");
        let after_empty_line = start > last.end + 1 || has_empty_line;
        let goes_on = match last.until {
            _ if line.is_empty() => true,
            Until::Bracket => !self.body[..last.end].ends_with(b"]"),
            Until::NextName => named_at(line).is_none(),
            Until::LineEnd => (after_empty_line || is_shallow) && named_at(line).is_none(),
        };
        if goes_on {
            last.end = start + line.len();
            last.has_grown = true;
        }
        goes_on
    }

    /// Gives the last node all of its value; nothing more is added to it. `next` is where the next line begins.
    fn close_value(&mut self, next: usize, is_end: bool) {
        let Some(last) = self.last.take() else { return };
        let empty_lines = next.saturating_sub(last.end + 1);
        let is_flush = empty_lines > 0 && self.records.may_be_flushed(is_end);
        let newlines = if self.in_string { 0 } else { empty_lines - usize::from(is_flush) };
        if last.has_grown || newlines > 0 {
            self.tree.set_value(last.node, &self.body[last.start..last.end + newlines]);
        }
    }

    fn level(&mut self, line: &[u8]) -> Level {
        let tabs = line.iter().take_while(|byte| **byte == b'\t').count().min(self.path.len());
        let blanks = line.iter().take_while(|byte| **byte == b' ').count();
        if tabs > 0 || blanks == 0 || self.path.is_empty() {
            return Level { level: tabs, skipped: tabs };
        }
        if self.blanks.is_none() && blanks <= MAX_BLANKS_A_LEVEL && named_at(line).is_some() {
            self.blanks = Some(blanks);
        }
        let unit = self.blanks.unwrap_or(usize::MAX);
        let level = (blanks / unit).min(self.path.len());
        Level { level, skipped: if level == 0 { 0 } else { level * unit } }
    }

    fn add_nameless(&mut self, parent: NodeId, start: usize, end: usize) -> NodeId {
        let value = &self.body[start..end];
        if let Some(found) = attributes::of_nameless(value) {
            let node = self.tree.add_child(parent, b"", &value[..found.start]);
            self.tree.add_attr(node, &value[found.start + 1..found.value - 1], &value[found.value..]);
            return node;
        }
        let is_first = self.tree.is_empty();
        let until = if is_first && memmem::find(value, b" = [").is_some() { Until::Bracket } else { Until::LineEnd };
        let node = self.tree.add_child(parent, b"", value);
        self.last = Some(LastValue { node, start, end, until, has_grown: false });
        node
    }

    /// Adds the node whose name ends at `name_end`, with its attributes.
    fn add_named(&mut self, parent: NodeId, start: usize, name_end: usize, end: usize) -> NodeId {
        let name = &self.body[start..name_end];
        let value_start = name_end + SEPARATOR.len();
        let rest = &self.body[value_start..end];
        let is_cached = self.follows_key(parent);
        let attributes = Attributes::of(name, is_cached);
        let mut next = attributes.next(rest, 0);
        let value = &rest[..next.map_or(rest.len(), |found| found.start)];
        let is_empty = value.is_empty() && next.is_some();
        let until = if name == b"value" && is_cached { Until::NextName } else { Until::LineEnd };
        self.records.count(name);
        let node = self.tree.add_child(parent, name, if is_empty { Value::None } else { Value::Str(value) });
        if next.is_none() {
            self.last = Some(LastValue { node, start: value_start, end, until, has_grown: false });
        }
        while let Some(found) = next {
            next = attributes.next(rest, found.value);
            let value = &rest[found.value..next.map_or(rest.len(), |next| next.start)];
            self.tree.add_attr(node, &rest[found.start + 1..found.value - 1], value);
        }
        node
    }

    /// Returns true if the only node so far is a `key`.
    fn follows_key(&self, parent: NodeId) -> bool {
        let first = self.tree.first_child(NodeId::ROOT);
        let is_key = |node| self.tree.name(node) == b"key";
        parent == NodeId::ROOT && self.tree.len() == 1 && first.is_some_and(is_key)
    }
}

/// How deep a line stands, and how many bytes of it say so.
struct Level {
    level: usize,
    skipped: usize,
}
