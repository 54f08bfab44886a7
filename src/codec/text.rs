//! The text of 1.x and 2.x: requests of one parameter a line, replies of one node a line, for both sides.
//!
//! Nothing in a reply is escaped, so some lines can be read in more than one way. [`decode_response`] says which
//! it chooses; what it reads is written again byte for byte.

use memchr::memmem;

pub use super::RequestError;
use super::{CodecError, answer_of, is_blank, json, push_float, push_int};
use crate::convert::item_to_tree;
use crate::dialect::Dialect;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::request::{Param, Params, Request};
use crate::response::{Body, Failure, Response};
use crate::tree::{Flags, NodeId, Tree, Value};

/// Between a node's name and its value.
const SEPARATOR: &[u8] = b":: ";

/// The name under which an empty value without a name is sent: no wire of 1.x and 2.x can say it otherwise, and
/// they ignore names.
const NO_NAME: &[u8] = b"_";

/// Attributes whose name has a blank (`log_level` of 2.x).
const ATTRIBUTES_WITH_BLANKS: [&[u8]; 1] = [b"Log level"];

/// Nodes without attributes, whose value may well look as if it had some.
const NEVER_SPLIT: [&[u8]; 8] =
    [b"attr", b"value", b"Message", b"Help", b"Usage", b"User-agent", b"description", b"WD"];

/// How many blanks a level is in the strings of 2.4's XML-RPC.
pub(super) const BLANKS_IN_STRINGS: usize = 3;

/// No server indents deeper than this per level; what is deeper belongs to a value.
const MAX_BLANKS_A_LEVEL: usize = 16;

/// What carries the text: errors and the ends of replies differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// A command FIFO and a reply FIFO.
    Fifo,
    /// A UDP or UNIX datagram each way.
    Datagram,
}

/// What a level is indented by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Indent {
    /// One TAB, the default of every version.
    #[default]
    Tab,
    /// This many blanks (`reply_indent`).
    Blanks(u8),
}

/// How replies are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextStyle {
    /// What carries them.
    pub carrier: Carrier,
    /// Who is answering.
    pub dialect: Dialect,
    /// What shows that a node is below another.
    pub indent: Indent,
}

impl TextStyle {
    /// The style of a version with its default indentation.
    pub fn new(carrier: Carrier, dialect: Dialect) -> Self {
        TextStyle { carrier, dialect, indent: Indent::Tab }
    }
}

/// Reads the lines after a request's first one.
///
/// A line is `value`, `name::value`, `::value`, or any of them with the value in quotes, where it may span lines
/// and `\"` is a quote. Blanks around unquoted names and values go, lines of blanks are skipped. Emulated versions
/// refuse a quoted value that is empty or begins with a quote, as the originals do; Sipmi also takes `_::`, as which
/// [`encode_params`] says it, for an empty value without a name.
pub fn decode_params(block: &[u8], dialect: Dialect) -> Result<Vec<Param>, CodecError> {
    let mut params = Vec::new();
    let mut reader = ParamReader { block, at: 0, strict: dialect.is_emulated() };
    while let Some(param) = reader.next_param()? {
        params.push(param);
    }
    Ok(params)
}

/// Reads a datagram: `:method:` and a newline, then parameters.
///
/// Sipmi also takes CRLF, and a first line without its leading colon. What does not even begin as a request does is
/// [`Failure::UnknownCommand`], anything else that cannot be read [`Failure::Parse`].
pub fn decode_request(datagram: &[u8], dialect: Dialect) -> Result<Request, RequestError> {
    let refused = |failure, method: &[u8]| RequestError { failure, method: method.into() };
    let (method, block) = split_head(datagram, dialect).ok_or_else(|| refused(Failure::UnknownCommand, b""))?;
    let params = decode_params(block, dialect).map_err(|_| refused(Failure::Parse, method))?;
    let params = if params.is_empty() { Params::None } else { Params::Strings(params) };
    Ok(Request { method: method.into(), params })
}

/// Appends parameters, a line each. On error nothing is appended.
pub fn encode_params(out: &mut Vec<u8>, params: &[Param], carrier: Carrier) -> Result<(), CodecError> {
    let start = out.len();
    let written = params.iter().enumerate().try_for_each(|(place, param)| {
        write_param(out, &param.name, &param.value, carrier)
            .map_err(|why| CodecError::unsayable_param(place + 1, why))
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends a request. On error nothing is appended.
///
/// Typed parameters become strings: booleans 1 and 0, numbers their digits, objects JSON text, the elements of an
/// array parameters of their own. A null by name or at the end is left out. `reply_name` is that of the reply FIFO,
/// which datagrams have not.
pub fn encode_request(
    out: &mut Vec<u8>,
    request: &Request,
    carrier: Carrier,
    reply_name: &str,
) -> Result<(), CodecError> {
    check_word(&request.method, "the method")?;
    let params = as_strings(&request.params)?;
    let start = out.len();
    for part in [b":".as_slice(), &request.method, b":"] {
        out.extend_from_slice(part);
    }
    if carrier == Carrier::Fifo {
        check_reply_name(reply_name).inspect_err(|_| out.truncate(start))?;
        out.extend_from_slice(reply_name.as_bytes());
    }
    out.push(b'\n');
    encode_params(out, &params, carrier).inspect_err(|_| out.truncate(start))?;
    if carrier == Carrier::Fifo {
        out.push(b'\n');
    }
    Ok(())
}

/// Appends a reply.
///
/// Written but not told apart by a reader: types, no value and an empty one, attributes and children of the same
/// look, values with newlines. A tree nested deeper than [`MAX_DEPTH`] is answered as [`Failure::Handler`].
pub fn encode_response(out: &mut Vec<u8>, result: &Result<Response, Failure>, method: &[u8], style: &TextStyle) {
    let start = out.len();
    let response = match result {
        Ok(response) => response,
        Err(failure) => return write_failure(out, failure, method, *style),
    };
    push_int(out, i64::from(response.code));
    out.push(b' ');
    out.extend_from_slice(&response.reason);
    out.push(b'\n');
    let written = match &response.body {
        Body::Empty => Ok(()),
        Body::Item(item) => push_nodes(out, &item_to_tree(item), *style),
        Body::Json(text) => match json::parse(text) {
            Ok(item) => push_nodes(out, &item_to_tree(&item), *style),
            Err(_) => Err(TooDeep),
        },
        Body::Tree(tree) => push_nodes(out, tree, *style),
    };
    if let Err(TooDeep) = written {
        out.truncate(start);
        return write_failure(out, &Failure::Handler, method, *style);
    }
    out.extend_from_slice(ending(*style));
}

/// Reads a reply. Its nodes come as a tree, in which an empty value without attributes and children is an empty
/// string; a node that has some has no value then.
///
/// - `name:: value`: the name ends at the first `:: `, unless ` = [` comes before (`cache_fetch` of 1.x).
/// - Attributes are ` name=value`, where a name is a word of letters, digits, `_` and `-`, or `Log level`. Words
///   without `=` belong to the value before them. `attr`, `value`, `Message` and a few more have no attributes.
/// - A line that ends in CR goes on in the next: SIP messages end their lines so, nodes do not.
/// - The line after `key:: ` `value:: ` (`cache_fetch` of 2.x) goes on to the next named one, `key = [` to the
///   closing `]`. Other values with newlines become a node and nodes without names.
/// - Empty lines between nodes are where the server flushed (`ul_dump`, `dlg_list`), before a nameless line part of
///   a value, and after the first line of an error part of its reason.
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

/// Whether a reader gets these nodes back as they are: nothing in a reply is escaped, so text cannot tell every tree.
///
/// The error says which rule of [`decode_response`] would read a node as something else. What text never tells, types and
/// the difference between no value and an empty one, is no error: such a tree comes back with strings.
pub fn check_expressible(tree: &Tree) -> Result<(), CodecError> {
    if tree.reason.contains(&b'\n') {
        return Err(CodecError::Unsayable { what: "the reason".into(), why: "it holds a newline" });
    }
    for (place, (level, node)) in tree.walk().enumerate() {
        check_node(tree, level, node)
            .map_err(|why| CodecError::Unsayable { what: format!("node {}", place + 1), why })?;
    }
    Ok(())
}

/// Which failure of the transport these words of a reply are; `None` when a command answered.
pub fn failure_of(response: &Response) -> Option<Failure> {
    let reason = response.reason.to_text().to_ascii_lowercase();
    let about_command = reason == "command" || reason.starts_with("command ");
    match response.code {
        500 if about_command && reason.ends_with("not available") => Some(Failure::UnknownCommand),
        500 if about_command && reason.ends_with(" failed") => Some(Failure::Handler),
        400 if reason == "parse_error" || reason.starts_with("parse error in command") => Some(Failure::Parse),
        _ => None,
    }
}

/// Reads the lines that XML-RPC has in one string: as [`decode_response`] does what follows the first line, but
///
/// - an empty line belongs to the value before it, since nothing is flushed there;
/// - an indented line without `:: ` is a name without a value, which 2.4 and `mi_xmlrpc_ng` of 1.11 write so;
/// - blanks indent by three a level.
pub(super) fn read_string(lines: &[u8]) -> Tree {
    let mut reader = TreeReader::new(Tree::ok(), lines);
    reader.in_string = true;
    reader.blanks = Some(BLANKS_IN_STRINGS);
    reader.read()
}

/// Reads lines that come one by one, so that each is a node of its own whatever its value holds.
pub(super) fn read_elements<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Tree {
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

/// Appends the line of one node, without indentation.
pub(super) fn write_line(out: &mut Vec<u8>, tree: &Tree, node: NodeId, separator: bool) {
    out.extend_from_slice(tree.name(node));
    if separator {
        out.extend_from_slice(SEPARATOR);
    }
    push_value(out, tree.value(node));
    for (name, value) in tree.attrs(node) {
        out.push(b' ');
        out.extend_from_slice(name);
        out.push(b'=');
        push_value(out, value);
    }
    out.push(b'\n');
}

/// What would make a reader take the line of this node for something else.
fn check_node(tree: &Tree, level: usize, node: NodeId) -> Result<(), &'static str> {
    let (name, mut line) = (tree.name(node), Vec::new());
    push_value(&mut line, tree.value(node));
    let is_value_of_key = name == b"value" && follows_key(tree, node);
    let has_parts = tree.has_attrs(node) || tree.first_child(node).is_some();
    let first = if name.is_empty() { &line } else { name };
    if level >= MAX_DEPTH {
        return Err("it is deeper than readers go");
    }
    if matches!(first.first(), None | Some(b' ' | b'\t')) {
        return Err("a line begins with a name, or with a value that is not empty and has no blank before it");
    }
    if [name, &line].iter().any(|part| part.contains(&b'\n')) || name.ends_with(b"\r") {
        return Err("a newline ends its line");
    }
    if memmem::find(first, SEPARATOR).is_some() || memmem::find(first, b" = [").is_some() {
        return Err("it holds what ends a name, or shows that there is none");
    }
    if name.is_empty() {
        let ends_open = first.ends_with(b"\r");
        return if has_parts || ends_open { Err("a node without a name has a value alone") } else { Ok(()) };
    }
    if is_value_of_key && tree.next_sibling(node).is_some_and(|next| tree.name(next).is_empty()) {
        return Err("a line without a name goes on with the value");
    }
    check_parts(tree, node, line)
}

/// Whether the value and the attributes after it come apart where they were put together.
fn check_parts(tree: &Tree, node: NodeId, mut line: Vec<u8>) -> Result<(), &'static str> {
    let mut ends = Vec::new();
    for (name, value) in tree.attrs(node) {
        ends.push(line.len());
        line.push(b' ');
        line.extend_from_slice(name);
        line.push(b'=');
        push_value(&mut line, value);
    }
    if line.contains(&b'\n') || line.ends_with(b"\r") {
        return Err("a newline ends its line");
    }
    if NEVER_SPLIT.contains(&tree.name(node)) {
        return if ends.is_empty() { Ok(()) } else { Err("nodes of this name have no attributes") };
    }
    let mut found = attribute(&line, 0);
    for (end, (name, _)) in ends.iter().zip(tree.attrs(node)) {
        let Some(at) = found.filter(|at| at.start == *end && at.value == end + name.len() + 2) else {
            return Err("it looks as if attributes began elsewhere");
        };
        found = attribute(&line, at.value);
    }
    if found.is_some() { Err("it looks as if it had one attribute more") } else { Ok(()) }
}

/// Whether the node is the second at the top, after a `key`.
fn follows_key(tree: &Tree, node: NodeId) -> bool {
    let first = tree.first_child(NodeId::ROOT);
    first.is_some_and(|first| tree.name(first) == b"key" && tree.next_sibling(first) == Some(node))
}

/// A tree deeper than [`MAX_DEPTH`].
pub(super) struct TooDeep;

/// Reads parameters, one at a call.
struct ParamReader<'a> {
    block: &'a [u8],
    at: usize,
    /// Whether what the originals cannot read is refused.
    strict: bool,
}

impl ParamReader<'_> {
    fn next_param(&mut self) -> Result<Option<Param>, CodecError> {
        self.skip(is_blank);
        let Some(&first) = self.block.get(self.at) else { return Ok(None) };
        let start = self.at;
        let mut param = Param::default();
        if first == b'"' {
            param.value = self.quoted()?;
        } else {
            let line_end = self.line_end();
            if let Some(len) = memmem::find(&self.block[start..line_end], b"::") {
                param.name = self.unquoted(start, start + len)?;
                self.at = start + len + 2;
                self.skip(|byte| byte != b'\n' && is_blank(byte));
            }
            param.value = match self.block.get(self.at) {
                Some(b'"') => self.quoted()?,
                _ => self.unquoted(self.at, line_end)?,
            };
        }
        let quoted = self.block[..self.at].ends_with(b"\"");
        if param.value.is_empty() && param.name.is_empty() && (self.strict || !quoted) {
            return Err(CodecError::unexpected("a parameter's name or value", self.block, start));
        }
        if *param.name == *NO_NAME && param.value.is_empty() && !self.strict {
            param.name = Str::default();
        }
        Ok(Some(param))
    }

    /// The bytes between these places, without blanks around them; goes on after them.
    fn unquoted(&mut self, start: usize, end: usize) -> Result<Str, CodecError> {
        let bytes = &self.block[start..end];
        if let Some(quote) = memchr::memchr(b'"', bytes) {
            return Err(CodecError::unexpected("a line without quotes inside", self.block, start + quote));
        }
        self.at = end;
        Ok(trim(bytes).into())
    }

    /// The value in quotes that starts here; goes on after the closing quote, which ends its line.
    fn quoted(&mut self) -> Result<Str, CodecError> {
        let start = self.at + 1;
        let mut value = Vec::new();
        let mut from = start;
        let end = loop {
            let quote = memchr::memchr(b'"', &self.block[from..]).map(|len| from + len);
            let quote =
                quote.ok_or_else(|| CodecError::unexpected("a closing quote", self.block, self.block.len()))?;
            if self.block[quote - 1] != b'\\' {
                value.extend_from_slice(&self.block[from..quote]);
                break quote;
            }
            value.extend_from_slice(&self.block[from..quote - 1]);
            value.push(b'"');
            from = quote + 1;
        };
        if self.strict && value.first() == Some(&b'"') {
            return Err(CodecError::unexpected("a value that does not begin with a quote", self.block, start));
        }
        self.at = end + 1;
        let rest = &self.block[self.at..self.line_end()];
        match rest.iter().position(|byte| !is_blank(*byte)) {
            Some(len) => Err(CodecError::unexpected("the end of the line", self.block, self.at + len)),
            None => Ok(value.into()),
        }
    }

    fn line_end(&self) -> usize {
        memchr::memchr(b'\n', &self.block[self.at..]).map_or(self.block.len(), |len| self.at + len)
    }

    fn skip(&mut self, skipped: impl Fn(u8) -> bool) {
        self.at += self.block[self.at..].iter().take_while(|byte| skipped(**byte)).count();
    }
}

/// Method and parameter lines of a datagram.
fn split_head(datagram: &[u8], dialect: Dialect) -> Option<(&[u8], &[u8])> {
    let tolerant = !dialect.is_emulated();
    let end = memchr::memchr(b'\n', datagram)?;
    let head = &datagram[..end];
    let head = if tolerant { trim(head) } else { head };
    let head = head.strip_suffix(b":")?;
    let method = match head.strip_prefix(b":") {
        Some(method) => method,
        None if tolerant => head,
        None => return None,
    };
    let is_word = !method.is_empty() && !method.contains(&b':');
    is_word.then_some((method, &datagram[end + 1..]))
}

fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

fn write_param(out: &mut Vec<u8>, name: &[u8], value: &[u8], carrier: Carrier) -> Result<(), &'static str> {
    check_name(name)?;
    if memchr::memchr(0, value).is_some() {
        return Err("it holds a NUL byte");
    }
    let needs_quotes = value.iter().any(|byte| matches!(byte, b'"' | b'\n')) || trim(value).len() < value.len();
    if needs_quotes {
        check_quoted(value, carrier)?;
    }
    if value.is_empty() && name.is_empty() {
        out.extend_from_slice(NO_NAME);
    }
    out.extend_from_slice(name);
    if !name.is_empty() || value.is_empty() || (!needs_quotes && memmem::find(value, b"::").is_some()) {
        out.extend_from_slice(b"::");
    }
    if needs_quotes {
        out.push(b'"');
        for (place, piece) in value.split(|byte| *byte == b'"').enumerate() {
            if place > 0 {
                out.extend_from_slice(b"\\\"");
            }
            out.extend_from_slice(piece);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(value);
    }
    out.push(b'\n');
    Ok(())
}

fn check_name(name: &[u8]) -> Result<(), &'static str> {
    let plain = !name.iter().any(|byte| matches!(byte, b'"' | b'\n' | 0)) && trim(name).len() == name.len();
    if plain && memmem::find(name, b"::").is_none() && !name.ends_with(b":") {
        Ok(())
    } else {
        Err("its name holds what ends a name")
    }
}

/// Whether a value can be said in quotes, which it needs.
fn check_quoted(value: &[u8], carrier: Carrier) -> Result<(), &'static str> {
    let holds = |bytes| memmem::find(value, bytes).is_some();
    if value.starts_with(b"\"") {
        Err("it begins with a quote")
    } else if value.ends_with(b"\\") {
        Err("it ends in a backslash and needs quotes")
    } else if carrier == Carrier::Fifo && holds(b"\n\n") {
        Err("it holds an empty line, which ends a request on a FIFO")
    } else if carrier == Carrier::Fifo && holds(b"\n\"") {
        Err("one of its lines begins with a quote, which a FIFO does not take")
    } else {
        Ok(())
    }
}

fn check_word(method: &[u8], what: &str) -> Result<(), CodecError> {
    let unsayable = |why| Err(CodecError::Unsayable { what: what.to_owned(), why });
    if method.is_empty() {
        unsayable("it is empty")
    } else if method.contains(&b':') {
        unsayable("it holds a colon, and text knows no modules")
    } else if method.iter().any(|byte| is_blank(*byte) || *byte == 0) {
        unsayable("it holds a blank or a NUL byte")
    } else {
        Ok(())
    }
}

fn check_reply_name(name: &str) -> Result<(), CodecError> {
    if name.bytes().any(|byte| is_blank(byte) || matches!(byte, b':' | b'/' | b'\\' | b'.' | 0)) {
        let what = "the reply FIFO's name".to_owned();
        return Err(CodecError::Unsayable { what, why: "it holds a byte that servers refuse" });
    }
    Ok(())
}

/// Parameters as strings, each with a name or without.
pub(super) fn as_strings(params: &Params) -> Result<Vec<Param>, CodecError> {
    let mut strings = Vec::new();
    match params {
        Params::None => {}
        Params::Strings(params) => strings.extend_from_slice(params),
        Params::Positional(items) => {
            let given = items.iter().rposition(|item| *item != Item::Null).map_or(0, |last| last + 1);
            for (place, item) in items[..given].iter().enumerate() {
                push_strings(&mut strings, &Str::default(), item, place + 1)?;
            }
        }
        Params::Named(members) => {
            for (place, (name, item)) in members.iter().enumerate().filter(|(_, (_, item))| *item != Item::Null) {
                push_strings(&mut strings, name, item, place + 1)?;
            }
        }
    }
    Ok(strings)
}

fn push_strings(strings: &mut Vec<Param>, name: &Str, item: &Item, position: usize) -> Result<(), CodecError> {
    let mut push = |item: &Item| {
        let value = match item {
            Item::Null => return Err(CodecError::unsayable_param(position, "the wire knows no null")),
            Item::Str(text) => text.clone(),
            item => printed(item).into(),
        };
        strings.push(Param { name: name.clone(), value });
        Ok(())
    };
    match item {
        Item::Array(elements) => elements.iter().try_for_each(push),
        item => push(item),
    }
}

fn printed(item: &Item) -> Vec<u8> {
    let mut text = Vec::new();
    match item {
        Item::Bool(value) => push_int(&mut text, i64::from(*value)),
        Item::Float(value) => push_float(&mut text, *value),
        item => json::write(&mut text, item),
    }
    text
}

/// What follows the last node.
pub(super) fn ending(style: TextStyle) -> &'static [u8] {
    match (style.carrier, style.dialect) {
        (Carrier::Datagram, Dialect::V1_11) => b"",
        _ => b"\n",
    }
}

fn write_failure(out: &mut Vec<u8>, failure: &Failure, method: &[u8], style: TextStyle) {
    let fifo = style.carrier == Carrier::Fifo;
    let names_command = fifo || style.dialect == Dialect::Sipmi;
    let quoted = |before: &str, after: &str| {
        let name = if names_command { [b" '", method, b"'"].concat() } else { Vec::new() };
        [before.as_bytes(), b" command", &name, after.as_bytes(), b"\n"].concat()
    };
    // The originals have no words for this.
    let too_large = matches!(failure, Failure::RequestTooLarge { .. }) && style.dialect.is_emulated();
    let line = match failure {
        _ if too_large => return write_failure(out, &Failure::Parse, method, style),
        Failure::Parse | Failure::InvalidRequest => match (style.dialect, fifo) {
            (Dialect::V2_4, true) => quoted("400 Parse error in", ""),
            (Dialect::V2_4, false) => b"400 parse_error\n".to_vec(),
            _ => quoted("400 parse error in", ""),
        },
        Failure::UnknownCommand | Failure::Ambiguous(_) if fifo => quoted("500", " not available"),
        Failure::UnknownCommand | Failure::Ambiguous(_) => b"500 command not available\n".to_vec(),
        Failure::Handler => quoted("500", " failed"),
        failure => {
            let (code, reason) = answer_of(failure);
            [format!("{code} {reason}\n").as_bytes(), ending(style)].concat()
        }
    };
    out.extend_from_slice(&line);
}

/// Appends a line for each node.
pub(super) fn push_nodes(out: &mut Vec<u8>, tree: &Tree, style: TextStyle) -> Result<(), TooDeep> {
    for (level, node) in tree.walk() {
        if level >= MAX_DEPTH {
            return Err(TooDeep);
        }
        if tree.flags(node).has(Flags::WRITTEN) {
            continue;
        }
        match style.indent {
            Indent::Tab => out.resize(out.len() + level, b'\t'),
            Indent::Blanks(count) => out.resize(out.len() + level * usize::from(count), b' '),
        }
        write_line(out, tree, node, needs_separator(tree, node, style.dialect));
    }
    Ok(())
}

/// Whether a node is written with a separator: any with a name, and a nameless one that else would look named, or be
/// an empty line, or have its attributes taken for its value. The originals have no such care.
pub(super) fn needs_separator(tree: &Tree, node: NodeId, dialect: Dialect) -> bool {
    let value = match tree.value(node) {
        Value::Str(value) | Value::Bytes(value) => value,
        Value::None => b"",
        _ => b"0",
    };
    let ambiguous = || named_at(value).is_some() || matches!(value.first(), None | Some(b'\t' | b' '));
    !tree.name(node).is_empty() || (!dialect.is_emulated() && (tree.has_attrs(node) || ambiguous()))
}

/// Appends a value as wires of strings print it: nothing for none, booleans as 1 and 0.
pub(super) fn push_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::None => {}
        Value::Bool(value) => push_int(out, i64::from(value)),
        Value::Int(value) => push_int(out, value),
        Value::Float(value) => push_float(out, value),
        Value::Str(bytes) | Value::Bytes(bytes) => out.extend_from_slice(bytes),
    }
}

/// The code that a reply begins with, and what follows the blank after it.
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
/// A datagram of 1.x has none. When its last value ends in CRLF it only seems to.
fn without_ending<'a>(reply: &[u8], body: &'a [u8], carrier: Carrier) -> &'a [u8] {
    let seems = carrier == Carrier::Datagram && reply.ends_with(b"\r\n\n");
    match body.strip_suffix(b"\n") {
        Some(rest) if reply.ends_with(b"\n\n") && !seems => rest,
        _ => body,
    }
}

/// Where the name of a line ends.
fn named_at(line: &[u8]) -> Option<usize> {
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
    /// What the lines after the last node may add to.
    last: Option<LastValue>,
    /// Whether the rules of [`read_string`] hold.
    in_string: bool,
}

/// The value of the last node.
struct LastValue {
    node: NodeId,
    /// Where it stands in the body.
    start: usize,
    end: usize,
    until: Until,
    /// Whether it has grown since the node was added.
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
        TreeReader { tree, body, at: 0, path: Vec::new(), blanks: None, last: None, in_string: false }
    }

    /// The tree with a node for each line.
    fn read(mut self) -> Tree {
        while let Some((start, end)) = self.next_line() {
            self.take(start, end);
        }
        self.close_value();
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
        self.close_value();
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

    /// Whether this line belongs to the last value, which it is added to.
    fn goes_on(&mut self, start: usize, line: &[u8]) -> bool {
        let Some(last) = &mut self.last else { return false };
        let has_empty_line = last.has_grown && self.body[last.start..last.end].ends_with(b"\n");
        let after_empty_line = start > last.end + 1 || has_empty_line;
        let goes_on = match last.until {
            _ if line.is_empty() => true,
            Until::Bracket => !self.body[..last.end].ends_with(b"]"),
            Until::NextName => named_at(line).is_none(),
            Until::LineEnd => after_empty_line && named_at(line).is_none(),
        };
        if goes_on {
            last.end = start + line.len();
            last.has_grown = true;
        }
        goes_on
    }

    /// Gives the last node all of its value; nothing more is added to it.
    fn close_value(&mut self) {
        if let Some(last) = self.last.take().filter(|last| last.has_grown) {
            self.tree.set_value(last.node, &self.body[last.start..last.end]);
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
        let mut next = if NEVER_SPLIT.contains(&name) { None } else { attribute(rest, 0) };
        let value = &rest[..next.map_or(rest.len(), |found| found.start)];
        let is_empty = value.is_empty() && next.is_some();
        let until = if name == b"value" && self.follows_key(parent) { Until::NextName } else { Until::LineEnd };
        let node = self.tree.add_child(parent, name, if is_empty { Value::None } else { Value::Str(value) });
        if next.is_none() {
            self.last = Some(LastValue { node, start: value_start, end, until, has_grown: false });
        }
        while let Some(found) = next {
            next = attribute(rest, found.value);
            let value = &rest[found.value..next.map_or(rest.len(), |next| next.start)];
            self.tree.add_attr(node, &rest[found.start + 1..found.value - 1], value);
        }
        node
    }

    /// Whether the only node so far is a `key`.
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

/// Where an attribute stands in a line.
#[derive(Clone, Copy)]
struct Attribute {
    /// The blank before its name.
    start: usize,
    /// The byte after its `=`.
    value: usize,
}

/// The first attribute at or after `from`.
fn attribute(line: &[u8], from: usize) -> Option<Attribute> {
    memchr::memchr_iter(b' ', &line[from..]).find_map(|blank| {
        let start = from + blank;
        let len = attribute_name(&line[start + 1..])?;
        Some(Attribute { start, value: start + 1 + len + 1 })
    })
}

/// How long the attribute name is that these bytes begin with, before its `=`.
fn attribute_name(bytes: &[u8]) -> Option<usize> {
    let listed = ATTRIBUTES_WITH_BLANKS.iter().find(|name| bytes.starts_with(name)).map(|name| name.len());
    let len = listed.unwrap_or_else(|| {
        bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count()
    });
    let begins = bytes.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    (begins && bytes.get(len) == Some(&b'=')).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIFO: TextStyle = TextStyle { carrier: Carrier::Fifo, dialect: Dialect::Sipmi, indent: Indent::Tab };

    fn param(name: &str, value: &str) -> Param {
        Param { name: name.into(), value: value.into() }
    }

    fn said(params: &[Param], carrier: Carrier) -> Result<String, CodecError> {
        let mut out = Vec::new();
        encode_params(&mut out, params, carrier).map(|()| String::from_utf8(out).expect("text in, text out"))
    }

    fn reply(text: &str) -> Response {
        decode_response(text.as_bytes(), Carrier::Fifo).expect("a reply")
    }

    fn tree(response: Response) -> Tree {
        let Body::Tree(tree) = response.body else { panic!("no nodes: {response:?}") };
        tree
    }

    fn written(response: Response, style: TextStyle) -> String {
        let mut out = Vec::new();
        encode_response(&mut out, &Ok(response), b"x", &style);
        String::from_utf8(out).expect("text in, text out")
    }

    fn refused(failure: Failure, style: TextStyle) -> String {
        let mut out = Vec::new();
        encode_response(&mut out, &Err(failure), b"x", &style);
        String::from_utf8(out).expect("text in, text out")
    }

    #[test]
    fn each_value_is_said_as_the_originals_understand_it() {
        let cases = [
            ("abc", Ok("abc\n")),
            ("a b", Ok("a b\n")),
            ("a::b", Ok("::a::b\n")),
            ("abc\\", Ok("abc\\\n")),
            ("", Ok("_::\n")),
            ("say \"hi\"", Ok("\"say \\\"hi\\\"\"\n")),
            ("a\nb", Ok("\"a\nb\"\n")),
            (" a", Ok("\" a\"\n")),
            ("a\\\"b", Ok("\"a\\\\\"b\"\n")),
            ("\"a\"", Err(())),
            ("a\nb\\", Err(())),
            ("a\n\nb", Err(())),
            ("a\n\"b", Err(())),
            ("a\0b", Err(())),
        ];
        for (value, expected) in cases {
            let found = said(&[param("", value)], Carrier::Fifo);
            assert_eq!(found.map_err(|_| ()), expected.map(str::to_owned), "{value:?}");
        }
        assert_eq!(said(&[param("", "a\n\nb")], Carrier::Datagram), Ok("\"a\n\nb\"\n".to_owned()));
        assert_eq!(said(&[param("name", ""), param("n", "a::b")], Carrier::Fifo), Ok("name::\nn::a::b\n".into()));
    }

    #[test]
    fn lines_in_a_string_keep_empty_ones_and_have_names_without_values() {
        let lines = b"AOR:: alice\n   Contact:: sip:a Q=1\n      Cflags\n      Agent:: a\n\nb\n\n\nAOR:: bob\nc\n";
        let mut expected = Tree::ok();
        let alice = expected.add_child(NodeId::ROOT, "AOR", "alice");
        let contact = expected.add_child(alice, "Contact", "sip:a");
        expected.add_attr(contact, "Q", "1");
        expected.add_child(contact, "Cflags", Value::None);
        expected.add_child(contact, "Agent", "a\n\nb\n\n");
        expected.add_child(NodeId::ROOT, "AOR", "bob");
        expected.add_child(NodeId::ROOT, "", "c");
        assert_eq!(read_string(lines), expected);
        assert_eq!(read_string(&String::from_utf8_lossy(lines).replace("   ", "\t").into_bytes()), expected);
        assert!(read_string(b"").is_empty());
    }

    #[test]
    fn lines_that_come_one_by_one_are_a_node_each() {
        let tree = read_elements([b"a:: 1\nb:: 2\n".as_slice(), b"  c\n", b"d:: x y=z\n", b"\n"].into_iter());
        let nodes: Vec<_> = tree.children(NodeId::ROOT).map(|node| (tree.name(node), tree.value(node))).collect();
        let expected: [(&[u8], Value); 4] = [
            (b"a", Value::Str(b"1\nb:: 2")),
            (b"", Value::Str(b"  c")),
            (b"d", Value::Str(b"x")),
            (b"", Value::Str(b"")),
        ];
        assert_eq!(nodes, expected);
        assert_eq!(tree.len(), 4);
    }

    #[test]
    fn what_cannot_be_said_names_the_position_and_not_the_value() {
        let error = said(&[param("", "fine"), param("", "\"secret")], Carrier::Fifo).expect_err("a leading quote");
        assert_eq!(error.to_string(), "parameter 2 cannot be sent: it begins with a quote");
    }

    #[test]
    fn the_grammar_of_parameters_is_that_of_the_originals() {
        let read = |block: &str| decode_params(block.as_bytes(), Dialect::V2_4).map_err(|error| error.to_string());
        assert_eq!(read("a\n   \n\tb c \r\n"), Ok(vec![param("", "a"), param("", "b c")]));
        assert_eq!(
            read(" n :: v \n::w\n::a::b\nn::\n"),
            Ok(vec![param("n", "v"), param("", "w"), param("", "a::b"), param("n", "")])
        );
        assert_eq!(read("n:: \"x\ny\"  \nz"), Ok(vec![param("n", "x\ny"), param("", "z")]));
        assert_eq!(read(r#""a\b\\c""#), Ok(vec![param("", r"a\b\\c")]));
        for bad in
            ["\"\"\n", "::\n", "say \"hi\"\n", "\"abc\n", "\"abc\\\"\n", "\"\\\"hi\\\"\"\n", "\"a\" b\n", "n\"::v\n"]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            read("a\nsay \"hi\"\n").unwrap_err(),
            "expected a line without quotes inside, found \"\\\"hi\\\"\\n\" at byte 6"
        );
    }

    #[test]
    fn sipmi_takes_empty_quotes_and_leading_quotes() {
        let read = |block: &str| decode_params(block.as_bytes(), Dialect::Sipmi);
        assert_eq!(read("\"\"\n\"\\\"hi\\\"\"\n_::\n"), Ok(vec![param("", ""), param("", "\"hi\""), param("", "")]));
        assert!(read("::\n").is_err());
    }

    #[test]
    fn a_datagram_that_does_not_begin_as_a_request_is_an_unknown_command() {
        for bad in ["", "\n", "::\n", ":version:", ":version:foo\n", ":a:b:\n", "x", "\0\0\0"] {
            let error = decode_request(bad.as_bytes(), Dialect::Sipmi).expect_err(bad);
            assert_eq!(error, RequestError { failure: Failure::UnknownCommand, method: Str::default() }, "{bad:?}");
        }
        let error = decode_request(b":cache_store:\nsay \"hi\"\n", Dialect::V1_11).expect_err("a quote inside");
        assert_eq!(error, RequestError { failure: Failure::Parse, method: "cache_store".into() });
        assert!(decode_request(b"version:\n", Dialect::V2_4).is_err());
        assert!(decode_request(b":version:\r\n", Dialect::V2_4).is_err());
        assert_eq!(decode_request(b"version:\n", Dialect::Sipmi), Ok(Request::new("version")));
        assert_eq!(decode_request(b":version:\r\n\r\n", Dialect::Sipmi), Ok(Request::new("version")));
    }

    #[test]
    fn typed_parameters_become_strings() {
        let items = vec![
            Item::Array(vec!["core:".into(), Item::Int(3)]),
            Item::Bool(true),
            Item::Float(0.5),
            Item::Object(vec![("a".into(), Item::Int(1))]),
            Item::Null,
        ];
        let mut out = Vec::new();
        let request = Request::positional("cmd", items);
        encode_request(&mut out, &request, Carrier::Fifo, "reply").expect("all of it can be said");
        assert_eq!(out, b":cmd:reply\ncore:\n3\n1\n0.5\n\"{\\\"a\\\":1}\"\n\n");
        out.clear();
        let request = Request::named("cmd", vec![("a".into(), Item::Null), ("b".into(), Item::Int(1))]);
        encode_request(&mut out, &request, Carrier::Datagram, "").expect("all of it can be said");
        assert_eq!(out, b":cmd:\nb::1\n");
        let request = Request::positional("cmd", vec![Item::Null, Item::Int(1)]);
        let error = encode_request(&mut out, &request, Carrier::Datagram, "").expect_err("the wire knows no null");
        assert_eq!(error.to_string(), "parameter 1 cannot be sent: the wire knows no null");
        assert_eq!(out, b":cmd:\nb::1\n");
    }

    #[test]
    fn text_cannot_name_a_module_and_takes_no_blank_in_a_method() {
        for method in ["usrloc:dump", "a b", "", "a\n", "a\0"] {
            let mut out = Vec::new();
            let error = encode_request(&mut out, &Request::new(method), Carrier::Datagram, "").expect_err(method);
            assert!(matches!(error, CodecError::Unsayable { .. }) && out.is_empty());
        }
    }

    #[test]
    fn a_success_without_its_closing_empty_line_was_cut() {
        let cut = decode_response(b"200 OK\nStatus:: 200 OK\n", Carrier::Fifo);
        assert_eq!(cut, Err(CodecError::Truncated { what: "the reply", size: 23 }));
        assert!(decode_response(b"500 command 'x' not available\n", Carrier::Fifo).is_ok());
        assert!(decode_response(b"200 OK\n", Carrier::Datagram).is_ok());
    }

    #[test]
    fn replies_that_are_none_say_what_was_expected_and_where() {
        let error = |bytes: &[u8]| decode_response(bytes, Carrier::Fifo).expect_err("no reply").to_string();
        assert_eq!(error(b""), "expected the code of a reply, found the end at byte 0");
        assert_eq!(error(b"OK\n\n"), "expected the code of a reply, found \"OK\\n\\n\" at byte 0");
        assert_eq!(error(b"200OK"), "expected a blank after the code, found \"OK\" at byte 3");
        assert!(decode_response(b"99999999999 x\n\n", Carrier::Fifo).is_err());
    }

    #[test]
    fn a_value_with_newlines_is_one_value_where_the_reply_shows_it() {
        let value = |text: &str| {
            let tree = tree(reply(text));
            let last = tree.walk().last().expect("a node").1;
            String::from_utf8_lossy(match tree.value(last) {
                Value::Str(value) => value,
                _ => b"",
            })
            .into_owned()
        };
        assert_eq!(value("200 OK\nkey:: k\nvalue:: a\n\nb c=d\n\n"), "a\n\nb c=d");
        assert_eq!(value("200 OK\nk = [a\nb:: c\n\nd]\n\n"), "k = [a\nb:: c\n\nd]");
        assert_eq!(value("200 OK\nMessage:: a\r\nb: c\r\n\r\n\n\n"), "a\r\nb: c\r\n\r\n");
        assert_eq!(value("200 OK\nx:: a\r\n\n"), "a\r");
    }

    #[test]
    fn empty_lines_of_a_flush_are_no_nodes() {
        let tree = tree(reply("200 OK\nDomain:: d\n\tAOR:: a\n\n\tAOR:: b\n\n\n"));
        assert_eq!(tree.len(), 3);
    }

    #[test]
    fn a_node_without_name_that_could_be_misread_is_marked_by_a_separator() {
        let item: Item = vec![Item::Str("a:: b".into()), Item::Str("".into()), Item::Object(vec![])].into();
        let text = written(Response::from(item), FIFO);
        assert_eq!(text, "200 OK\n:: a:: b\n:: \n:: \n\n");
        assert_eq!(tree(reply(&text)).len(), 3);
    }

    #[test]
    fn failures_have_the_words_of_each_version_and_carrier() {
        let style = |carrier, dialect| TextStyle::new(carrier, dialect);
        let cases = [
            (Failure::UnknownCommand, Carrier::Fifo, Dialect::Sipmi, "500 command 'x' not available\n"),
            (Failure::UnknownCommand, Carrier::Datagram, Dialect::Sipmi, "500 command not available\n"),
            (Failure::Ambiguous(vec![]), Carrier::Fifo, Dialect::V1_11, "500 command 'x' not available\n"),
            (Failure::Parse, Carrier::Fifo, Dialect::Sipmi, "400 parse error in command 'x'\n"),
            (Failure::Parse, Carrier::Fifo, Dialect::V2_4, "400 Parse error in command 'x'\n"),
            (Failure::Parse, Carrier::Datagram, Dialect::V2_4, "400 parse_error\n"),
            (Failure::Parse, Carrier::Datagram, Dialect::V1_11, "400 parse error in command\n"),
            (Failure::Handler, Carrier::Fifo, Dialect::Sipmi, "500 command 'x' failed\n"),
            (Failure::Handler, Carrier::Datagram, Dialect::V2_4, "500 command failed\n"),
            (Failure::ParamCount, Carrier::Datagram, Dialect::V1_11, "400 Too few or too many arguments\n"),
            (Failure::ParamCount, Carrier::Fifo, Dialect::Sipmi, "400 Too few or too many arguments\n\n"),
            (Failure::ParamType("n".into()), Carrier::Fifo, Dialect::Sipmi, "400 Bad parameter\n\n"),
            (Failure::Timeout, Carrier::Fifo, Dialect::Sipmi, "408 Request timeout\n\n"),
            (Failure::Busy, Carrier::Fifo, Dialect::Sipmi, "503 Server busy\n\n"),
            (
                Failure::RequestTooLarge { size: 9, limit: 8 },
                Carrier::Fifo,
                Dialect::Sipmi,
                "413 Request too large: 9 bytes, limit 8\n\n",
            ),
            (
                Failure::RequestTooLarge { size: 9, limit: 8 },
                Carrier::Fifo,
                Dialect::V1_11,
                "400 parse error in command 'x'\n",
            ),
        ];
        for (failure, carrier, dialect, expected) in cases {
            assert_eq!(refused(failure, style(carrier, dialect)), expected);
        }
    }

    #[test]
    fn a_tree_deeper_than_any_reader_goes_is_answered_as_failed() {
        let mut tree = Tree::ok();
        let mut node = NodeId::ROOT;
        for _ in 0..=MAX_DEPTH {
            node = tree.add_child(node, "n", "v");
        }
        assert_eq!(written(Response::from(tree), FIFO), "500 command 'x' failed\n");
    }

    #[test]
    fn a_value_of_many_lines_is_read_in_linear_time() {
        let text = format!("200 OK\nkey:: k\nvalue:: {}\n\n", "x\n".repeat(500_000));
        assert_eq!(tree(reply(&text)).len(), 2);
    }

    /// Names and values that text tells apart: no newlines, nothing that looks like a separator or an attribute.
    fn word() -> impl Strategy<Value = String> {
        "[a-zA-Z][a-zA-Z0-9_ ;<>/@.:-]{0,12}[a-z]".prop_filter("no separator", |word| !word.contains(":: "))
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let attrs = proptest::collection::vec(("[a-z_]{1,8}", word()), 0..3);
        let node = (0usize..4, "[a-zA-Z][a-zA-Z_:-]{0,8}", proptest::option::of(word()), attrs);
        proptest::collection::vec(node, 0..20).prop_map(|nodes| {
            let mut tree = Tree::new(200, "");
            let mut path: Vec<NodeId> = Vec::new();
            for (level, name, value, attrs) in nodes {
                path.truncate(level);
                let parent = path.last().copied().unwrap_or(NodeId::ROOT);
                // Without a value, a node is told from one that has an empty string by what else it has.
                let value = value.unwrap_or_default();
                let node =
                    tree.add_child(parent, &name, if value.is_empty() { Value::None } else { (&*value).into() });
                if !NEVER_SPLIT.contains(&name.as_bytes()) {
                    for (name, value) in &attrs {
                        tree.add_attr(node, name, &**value);
                    }
                }
                path.push(node);
            }
            let bare: Vec<_> = tree.walk().map(|(_, node)| node).collect();
            for node in bare {
                if tree.value(node) == Value::None && !tree.has_attrs(node) && tree.first_child(node).is_none() {
                    tree.set_value(node, "");
                }
            }
            tree
        })
    }

    /// Trees of what readers trip over: separators, blanks, newlines, equals signs, brackets, empty names and values.
    fn any_trees() -> impl Strategy<Value = Tree> {
        let piece = || {
            prop_oneof![
                "[a-c]",
                "[ =\t\r\n\\[\\]]",
                Just(":: ".into()),
                Just("::".into()),
                Just(" = [".into()),
                Just(" a=".into()),
                Just("Log level".into()),
                Just("value".into()),
                Just("key".into()),
                Just("attr".into())
            ]
        };
        let text = move || proptest::collection::vec(piece(), 0..4).prop_map(|pieces| pieces.concat());
        let attrs = proptest::collection::vec((text(), text()), 0..2);
        proptest::collection::vec((0usize..3, text(), text(), attrs), 0..5).prop_map(|nodes| {
            let mut tree = Tree::new(200, "");
            let mut path: Vec<NodeId> = Vec::new();
            for (level, name, value, attrs) in nodes {
                path.truncate(level);
                let parent = path.last().copied().unwrap_or(NodeId::ROOT);
                let node = tree.add_child(parent, &name, &*value);
                for (name, value) in &attrs {
                    tree.add_attr(node, name, &**value);
                }
                path.push(node);
            }
            tree
        })
    }

    /// The tree with an empty value where there is nothing else, and with none where there is.
    fn as_text_tells(tree: &Tree) -> Tree {
        let mut told = tree.clone();
        for node in tree.walk().map(|(_, node)| node).collect::<Vec<_>>() {
            let has_parts = tree.has_attrs(node) || tree.first_child(node).is_some();
            if tree.value(node) == Value::Str(b"") && has_parts {
                told.set_value(node, Value::None);
            }
        }
        told
    }

    #[test]
    fn what_cannot_be_told_is_said_with_its_reason() {
        let why = |build: fn(&mut Tree) -> NodeId| {
            let mut tree = Tree::ok();
            build(&mut tree);
            check_expressible(&tree).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(why(|tree| tree.add_child(NodeId::ROOT, "WD", "/a=b")), "");
        assert!(why(|tree| tree.add_child(NodeId::ROOT, "a", "b c=d")).contains("one attribute more"));
        assert!(why(|tree| tree.add_child(NodeId::ROOT, "a", "b\nc")).contains("a newline"));
        assert!(why(|tree| tree.add_child(NodeId::ROOT, "", "a:: b")).contains("ends a name"));
        assert!(why(|tree| tree.add_child(NodeId::ROOT, "", "")).contains("not empty"));
    }

    proptest! {
        #[test]
        fn parameters_that_can_be_said_are_read_as_they_were(
            params in proptest::collection::vec(("[a-z:\" ]{0,4}", "[ a\"\\\\:\n\r\t]{0,6}"), 0..4),
            datagram: bool,
        ) {
            let carrier = if datagram { Carrier::Datagram } else { Carrier::Fifo };
            for (name, value) in params {
                let params = [param(&name, &value), param("", "next")];
                if let Ok(block) = said(&params, carrier) {
                    let expected = Ok(params.to_vec());
                    prop_assert_eq!(decode_params(block.as_bytes(), Dialect::Sipmi), expected, "{:?}", block);
                    prop_assert!(carrier == Carrier::Datagram || !block.contains("\n\n"));
                    // What is said to any server, the originals understand too; they keep the name of no name.
                    prop_assert_eq!(decode_params(block.as_bytes(), Dialect::V2_4).map(|params| params.len()), Ok(2));
                }
            }
        }

        #[test]
        fn a_tree_that_text_can_tell_is_read_as_it_was_written(tree in trees(), blanks in 0u8..5) {
            let indent = if blanks == 0 { Indent::Tab } else { Indent::Blanks(blanks) };
            let text = written(Response::from(tree.clone()), TextStyle { indent, ..FIFO });
            match reply(&text).body {
                Body::Tree(read) => prop_assert_eq!(read, tree, "{}", text),
                _ => prop_assert!(tree.is_empty()),
            }
        }

        #[test]
        fn any_tree_comes_back_or_is_told_to_be_inexpressible(tree in any_trees()) {
            let expressible = check_expressible(&tree);
            if expressible.is_ok() {
                let text = written(Response::from(tree.clone()), FIFO);
                match reply(&text).body {
                    Body::Tree(read) => prop_assert_eq!(read, as_text_tells(&tree), "{:?}", text),
                    _ => prop_assert!(tree.is_empty()),
                }
            }
        }

        #[test]
        fn what_text_can_tell_is_expressible(tree in trees()) {
            prop_assert_eq!(check_expressible(&tree), Ok(()));
        }

        #[test]
        fn no_reply_is_read_with_a_panic(bytes in "[0-9]{0,4} ?([a-z=:\\[\\]\\t\\r\\n ]|:: ){0,40}", datagram: bool) {
            let carrier = if datagram { Carrier::Datagram } else { Carrier::Fifo };
            let _ = decode_response(bytes.as_bytes(), carrier);
            let _ = decode_request(bytes.as_bytes(), Dialect::Sipmi);
        }
    }
}
