//! mi_json, the GET interface of 1.x and 2.x: a command in the path, parameters in the query, a tree as JSON.
//!
//! An object is the children of a node, or one node: `value`, `attributes` and `children`, each where it has them.
//! A child with a value alone is `"name": "value"`. What a child is called and what belongs to a node without a name
//! differ by the blank after the colon alone: `{"value": "x"}` is a node named `value`, `{"value":"x"}` one without
//! a name. JSON parsers neither tell that nor keep repeated names, so the reader here is its own.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::siblings::{Member, members};
use super::{CodecError, RequestError, answer_of, is_blank, json, page_of, push_int, text};
use crate::convert::{item_to_tree, item_value};
use crate::dialect::Dialect;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::request::{Param, Params, Request};
use crate::response::{Body, Failure, Response};
use crate::tree::{Flags, NodeId, Tree, Value};

/// The member of the query that holds all parameters, separated by commas.
const PARAMS: &[u8] = b"params";

/// What is said of a request that does not come by GET.
const UNEXPECTED_METHOD: &str = "Unexpected method";

/// What the originals say when there is no answer from a command.
const NO_ANSWER: &str = "Internal server error";

/// Reads a request: what follows `/json/` in the path, and the query, both as they were sent.
///
/// `params=a,b` are parameters by position; a comma after the last one ends it. `+` is a blank, `%` begins two hex
/// digits or stands for itself. Sipmi splits at the commas before it decodes, so that `%2C` is a comma in a value, and
/// takes the other members of the query as parameters by name. Emulated versions decode first, end at a NUL,
/// refuse a parameter that is empty, and ignore other members.
pub fn decode_request(command: &[u8], query: Option<&[u8]>, dialect: Dialect) -> Result<Request, RequestError> {
    let method = Str::from(unescape(command, false));
    if method.is_empty() {
        return Err(RequestError { failure: Failure::Parse, method });
    }
    let members = query.unwrap_or_default().split(|byte| *byte == b'&').filter(|member| !member.is_empty());
    let mut params = Vec::new();
    let mut is_listed = false;
    for member in members {
        let (name, value) = match memchr(b'=', member) {
            Some(len) => (&member[..len], Some(&member[len + 1..])),
            None => (member, None),
        };
        if name == PARAMS {
            let listed = value.filter(|_| !is_listed);
            is_listed = true;
            let understood = listed.is_none_or(|listed| push_listed(&mut params, listed, dialect));
            if !understood {
                return Err(RequestError { failure: Failure::Parse, method });
            }
        } else if !dialect.is_emulated() {
            let value = unescape(value.unwrap_or_default(), true);
            params.push(Param { name: unescape(name, true).into(), value: value.into() });
        }
    }
    let params = if params.is_empty() { Params::None } else { Params::Strings(params) };
    Ok(Request { method, params })
}

/// Appends `CMD` or `CMD?params=...`, percent-encoded. On error nothing is appended.
///
/// `server` is who reads it. The originals take parameters by position alone, so names are left out, and neither a
/// comma in a parameter nor an empty one, which is refused here. [`Dialect::Sipmi`] takes every value, and names as
/// members of the query beside `params`. Typed parameters become strings as they do in [`text::encode_request`].
pub fn encode_request(out: &mut Vec<u8>, request: &Request, server: Dialect) -> Result<(), CodecError> {
    if request.method.is_empty() {
        return Err(CodecError::Unsayable { what: "the method".into(), why: "it is empty" });
    }
    let params = text::as_strings(&request.params)?;
    let start = out.len();
    push_percent(out, &request.method);
    let written = params.iter().enumerate().try_for_each(|(place, param)| {
        let by_name = !server.is_emulated() && !param.name.is_empty();
        let is_first = place == 0;
        let written = if by_name {
            let follows_list = place > 0 && params[place - 1].name.is_empty() && params[place - 1].value.is_empty();
            push_named(out, param, is_first, follows_list)
        } else {
            push_positional(out, &param.value, is_first, server, !server.is_emulated() && has_name(&params, place))
        };
        written.map_err(|why| CodecError::unsayable_param(place + 1, why))
    });
    // A comma after an empty last parameter ends it; else it would not be there.
    if params.last().is_some_and(|last| last.value.is_empty() && (last.name.is_empty() || server.is_emulated())) {
        out.push(b',');
    }
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends the body of a reply, which always goes with status 200. It may stay empty.
///
/// The code of a success, types, and bytes on purpose are lost. 1.11 has one text for most failures and answers
/// a command's own error with nothing. [`Failure::InvalidRequest`] is a request by another method than GET. 1.11 and 2.4 write raw control bytes; Sipmi escapes them, writes names once, and
/// tells an error's nodes under `data`. A tree nested deeper than [`MAX_DEPTH`] is answered as [`Failure::Handler`].
pub fn encode_response(out: &mut Vec<u8>, result: &Result<Response, Failure>, dialect: Dialect) {
    let start = out.len();
    let written = match result {
        Ok(response) if response.is_success() => write_body(out, &response.body, dialect),
        Ok(response) => write_error(out, response, dialect),
        Err(failure) => {
            write_failure(out, failure, dialect);
            Ok(())
        }
    };
    if let Err(TooDeep) = written {
        out.truncate(start);
        write_failure(out, &Failure::Handler, dialect);
    }
}

/// Reads the body of a reply, without loss: repeated names, nodes without names, raw control bytes, bad UTF-8.
///
/// An empty body is success here; that 1.x also answers errors so is for the caller to know. The one error text of
/// 1.x has code 500, and so has a page of OpenSIPS's HTTP module. A list is marked as one, and its parent too when it holds nothing else.
pub fn decode_response(body: &[u8]) -> Result<Response, CodecError> {
    if let Some(page) = page_of(body) {
        return Ok(Response::error(500, page));
    }
    let mut reader = Reader { bytes: body, at: 0, tree: Tree::ok() };
    reader.skip_blanks();
    if reader.at == body.len() {
        return Ok(Response::ok());
    }
    let is_error_of_1_11 = body[reader.at..].starts_with(br#"{"error":""#);
    reader.expect(b'{', "an object")?;
    reader.object(NodeId::ROOT, Kind::Children, 0)?;
    reader.skip_blanks();
    if reader.at < body.len() {
        return Err(CodecError::unexpected("the end of the reply", body, reader.at));
    }
    Ok(error_of(&reader.tree, is_error_of_1_11).unwrap_or_else(|| Response::from(reader.tree)))
}

/// Which failure this error of a reply is; `None` when a command answered.
pub fn failure_of(response: &Response) -> Option<Failure> {
    match (response.code, &*response.reason) {
        (500, b"Command not found") => Some(Failure::UnknownCommand),
        (_, reason) if reason == UNEXPECTED_METHOD.as_bytes() => Some(Failure::InvalidRequest),
        (500, b"Internal server error" | b"Command failed") => Some(Failure::Handler),
        (400, b"Parse error") => Some(Failure::Parse),
        _ => None,
    }
}

/// A tree deeper than [`MAX_DEPTH`].
struct TooDeep;

/// Appends what `params=` lists; whether it can be understood.
fn push_listed(params: &mut Vec<Param>, listed: &[u8], dialect: Dialect) -> bool {
    let decoded;
    let listed = if dialect.is_emulated() {
        decoded = unescape(listed, true);
        &decoded[..memchr(0, &decoded).unwrap_or(decoded.len())]
    } else {
        listed
    };
    let listed = match listed {
        b"" => return true,
        listed => listed.strip_suffix(b",").unwrap_or(listed),
    };
    for value in listed.split(|byte| *byte == b',') {
        if value.is_empty() && dialect.is_emulated() {
            return false;
        }
        let value = if dialect.is_emulated() { value.to_vec() } else { unescape(value, true) };
        params.push(Param { name: Str::default(), value: value.into() });
    }
    true
}

/// The bytes that percent signs stand for; `+` is a blank in a query.
fn unescape(bytes: &[u8], in_query: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, json::unhex(after)) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            (b'+', _) if in_query => out.push(b' '),
            _ => out.push(first),
        }
    }
    out
}

/// Appends bytes so that every URL may hold them.
fn push_percent(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@') {
            out.push(byte);
        } else {
            out.push(b'%');
            out.extend_from_slice(&json::hex(byte).map(|digit| digit.to_ascii_uppercase()));
        }
    }
}

/// Whether a parameter before this place has a name.
fn has_name(params: &[Param], place: usize) -> bool {
    params[..place].iter().any(|param| !param.name.is_empty())
}

fn push_positional(
    out: &mut Vec<u8>,
    value: &[u8],
    is_first: bool,
    server: Dialect,
    follows_name: bool,
) -> Result<(), &'static str> {
    if follows_name {
        return Err("it has no name, and one before it has");
    }
    if server.is_emulated() {
        if value.is_empty() {
            return Err("it is empty, which the server does not take");
        }
        if memchr2(b',', 0, value).is_some() {
            return Err("it holds a comma or a NUL byte, which the server takes for its end");
        }
    }
    out.extend_from_slice(if is_first { b"?params=" } else { b"," });
    push_percent(out, value);
    Ok(())
}

fn push_named(out: &mut Vec<u8>, param: &Param, is_first: bool, follows_empty: bool) -> Result<(), &'static str> {
    if *param.name == *PARAMS {
        return Err("its name is that of the list of all parameters");
    }
    if follows_empty {
        out.push(b',');
    }
    out.push(if is_first { b'?' } else { b'&' });
    push_percent(out, &param.name);
    out.push(b'=');
    push_percent(out, &param.value);
    Ok(())
}

fn write_body(out: &mut Vec<u8>, body: &Body, dialect: Dialect) -> Result<(), TooDeep> {
    match tree_of(body)? {
        Some(tree) => Writer { out, tree: &tree, dialect }.children(NodeId::ROOT, 0),
        None => Ok(()),
    }
}

/// The nodes of a body.
fn tree_of(body: &Body) -> Result<Option<Cow<'_, Tree>>, TooDeep> {
    match body {
        Body::Empty => Ok(None),
        Body::Item(item) => Ok(Some(Cow::Owned(item_to_tree(item)))),
        Body::Json(text) => json::parse(text).map(|item| Some(Cow::Owned(item_to_tree(&item)))).map_err(|_| TooDeep),
        Body::Tree(tree) => Ok(Some(Cow::Borrowed(tree))),
    }
}

/// Appends a command's own error.
fn write_error(out: &mut Vec<u8>, response: &Response, dialect: Dialect) -> Result<(), TooDeep> {
    if dialect == Dialect::V1_11 {
        return Ok(());
    }
    out.extend_from_slice(br#"{"error": {"code": "#);
    push_int(out, i64::from(response.code));
    out.extend_from_slice(br#", "message": "#);
    // 2.4 escapes values, but not this.
    write_string(out, &response.reason, if dialect.is_emulated() { Dialect::V1_11 } else { dialect });
    if !dialect.is_emulated() {
        let children = out.len();
        write_body(out, &response.body, dialect)?;
        if out.len() > children {
            out.splice(children..children, *br#", "data": {"children":"#);
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"}}");
    Ok(())
}

fn write_failure(out: &mut Vec<u8>, failure: &Failure, dialect: Dialect) {
    let sipmi = !dialect.is_emulated();
    let (code, reason) = match failure {
        Failure::InvalidRequest => (406, UNEXPECTED_METHOD.into()),
        Failure::UnknownCommand | Failure::Ambiguous(_) => (500, "Command not found".into()),
        Failure::Parse if sipmi => (400, "Parse error".into()),
        Failure::Handler if sipmi => (500, "Command failed".into()),
        Failure::Parse | Failure::Handler => (500, NO_ANSWER.into()),
        failure => answer_of(failure),
    };
    if dialect == Dialect::V1_11 {
        let reason = match code {
            // As if the command had answered so.
            400 => return,
            406 => UNEXPECTED_METHOD,
            _ => NO_ANSWER,
        };
        out.extend_from_slice(br#"{"error":"#);
        write_string(out, reason.as_bytes(), dialect);
        out.push(b'}');
        return;
    }
    // An error without nodes is as deep as this.
    let _ = write_error(out, &Response::error(code, &*reason), dialect);
}

/// Appends a string. The originals leave control bytes as they are, 1.11 all of them.
fn write_string(out: &mut Vec<u8>, text: &[u8], dialect: Dialect) {
    if !dialect.is_emulated() {
        return json::write_string(out, text);
    }
    out.push(b'"');
    for &byte in text {
        let escape = match byte {
            b'"' | b'\\' => byte,
            _ if dialect == Dialect::V1_11 => 0,
            b'/' => b'/',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            _ => 0,
        };
        match escape {
            0 => out.push(byte),
            escape => out.extend_from_slice(&[b'\\', escape]),
        }
    }
    out.push(b'"');
}

/// Writes a tree.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    tree: &'a Tree,
    dialect: Dialect,
}

impl Writer<'_> {
    /// Appends the object that the children of a node make. The originals write nothing where there are none.
    fn children(&mut self, parent: NodeId, depth: usize) -> Result<(), TooDeep> {
        if depth >= MAX_DEPTH {
            return Err(TooDeep);
        }
        if self.tree.first_child(parent).is_none() {
            let empty: &[u8] = match self.tree.flags(parent) {
                _ if self.dialect.is_emulated() => b"",
                flags if flags.has(Flags::IS_OBJECT) => b"{}",
                flags if flags.has(Flags::IS_ARRAY) => br#"{"": []}"#,
                _ => b"",
            };
            self.out.extend_from_slice(empty);
            return Ok(());
        }
        let mut separator: &[u8] = b"{";
        for member in members(self.tree, parent, self.dialect) {
            self.out.extend_from_slice(separator);
            separator = b", ";
            match member {
                Member::One(node) => self.member(node, self.tree.flags(parent), depth)?,
                Member::List(nodes) => self.list(&nodes, depth)?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn member(&mut self, node: NodeId, parent: Flags, depth: usize) -> Result<(), TooDeep> {
        let tree = self.tree;
        let sipmi = !self.dialect.is_emulated();
        if tree.name(node).is_empty() && !(sipmi && parent.has(Flags::IS_OBJECT)) {
            let start = self.out.len();
            self.parts(node, depth)?;
            if sipmi && self.out.len() == start {
                self.out.extend_from_slice(br#""value":null"#);
            }
            return Ok(());
        }
        write_string(self.out, tree.name(node), self.dialect);
        self.out.extend_from_slice(b": ");
        let alone = tree.first_child(node).is_none() && !tree.has_attrs(node) && !self.is_empty_container(node);
        if alone && tree.value(node) != Value::None {
            self.scalar(tree.value(node));
            return Ok(());
        }
        self.node(node, depth)
    }

    fn list(&mut self, nodes: &[NodeId], depth: usize) -> Result<(), TooDeep> {
        let name = nodes.first().map(|first| self.tree.name(*first));
        write_string(self.out, name.unwrap_or_default(), self.dialect);
        self.out.extend_from_slice(b": [");
        for (place, node) in nodes.iter().enumerate() {
            self.out.extend_from_slice(if place == 0 { b"" } else { b", " });
            self.node(*node, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Appends the object that one node is.
    fn node(&mut self, node: NodeId, depth: usize) -> Result<(), TooDeep> {
        self.out.push(b'{');
        self.parts(node, depth)?;
        self.out.push(b'}');
        Ok(())
    }

    /// Appends what a node has: value, attributes, children.
    fn parts(&mut self, node: NodeId, depth: usize) -> Result<(), TooDeep> {
        let tree = self.tree;
        let mut separator: &[u8] = b"";
        if tree.value(node) != Value::None {
            self.out.extend_from_slice(br#""value":"#);
            self.scalar(tree.value(node));
            separator = b", ";
        }
        if tree.has_attrs(node) {
            self.out.extend_from_slice(separator);
            separator = b", ";
            self.out.extend_from_slice(br#""attributes":{"#);
            for (place, (name, value)) in tree.attrs(node).enumerate() {
                self.out.extend_from_slice(if place == 0 { b"" } else { b", " });
                write_string(self.out, name, self.dialect);
                self.out.extend_from_slice(b": ");
                self.scalar(value);
            }
            self.out.push(b'}');
        }
        if tree.first_child(node).is_some() || self.is_empty_container(node) {
            self.out.extend_from_slice(separator);
            self.out.extend_from_slice(br#""children":"#);
            self.children(node, depth + 1)?;
        }
        Ok(())
    }

    /// Whether a node is a list or object without elements. The originals have no way to say it.
    fn is_empty_container(&self, node: NodeId) -> bool {
        let flags = self.tree.flags(node);
        let is_container = flags.has(Flags::IS_ARRAY) || flags.has(Flags::IS_OBJECT);
        is_container && self.tree.first_child(node).is_none() && !self.dialect.is_emulated()
    }

    /// Appends a value, as a string whatever it is.
    fn scalar(&mut self, value: Value<'_>) {
        match value {
            Value::None => self.out.extend_from_slice(b"null"),
            Value::Str(bytes) | Value::Bytes(bytes) => write_string(self.out, bytes, self.dialect),
            printed => {
                self.out.push(b'"');
                text::push_value(self.out, printed);
                self.out.push(b'"');
            }
        }
    }
}

/// The error that this tree tells, if it is one.
fn error_of(tree: &Tree, is_of_1_11: bool) -> Option<Response> {
    let error = tree.first_child(NodeId::ROOT).filter(|only| tree.next_sibling(*only).is_none())?;
    if tree.name(error) != b"error" {
        return None;
    }
    if let (true, Value::Str(reason)) = (is_of_1_11, tree.value(error)) {
        return Some(Response::error(500, reason));
    }
    let member = |name: &[u8]| tree.children(error).find(|child| tree.name(*child) == name);
    let (Value::Int(code), Value::Str(reason)) = (tree.value(member(b"code")?), tree.value(member(b"message")?))
    else {
        return None;
    };
    let mut response = Response::error(i32::try_from(code).ok()?, reason);
    if let Some(nodes) = member(b"data") {
        let mut below = Tree::new(response.code, response.reason.clone());
        below.set_flags(NodeId::ROOT, tree.flags(nodes));
        for node in tree.children(nodes) {
            below.graft(NodeId::ROOT, tree, node);
        }
        response = Response::from(below);
    }
    Some(response)
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The children of a node.
    Children,
    /// A node.
    Node,
}

/// The parts of a node, in the order in which they are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Part {
    Value,
    Attributes,
    Children,
}

impl Part {
    /// The part of this name, when what follows it may be one.
    fn of(name: &[u8], first: u8) -> Option<Part> {
        match (name, first) {
            (b"attributes", b'{') => Some(Part::Attributes),
            (b"children", b'{') => Some(Part::Children),
            (b"value", first) if !matches!(first, b'{' | b'[') => Some(Part::Value),
            _ => None,
        }
    }
}

/// Reads a body, byte after byte.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    tree: Tree,
}

impl<'a> Reader<'a> {
    /// Reads the members of an object whose `{` was read: into `target` itself, or as its children.
    fn object(&mut self, target: NodeId, kind: Kind, depth: usize) -> Result<(), CodecError> {
        if depth >= MAX_DEPTH {
            return Err(CodecError::TooDeep { limit: MAX_DEPTH, offset: self.at });
        }
        let (mut count, mut only_list) = (0, false);
        // The node without a name whose parts come one by one, and the last of them.
        let mut nameless: Option<(NodeId, Part)> = None;
        while let Some(name) = self.next_name(count == 0)? {
            count += 1;
            let after_colon = self.at;
            let first = self.peek("a value")?;
            let is_tight = after_colon == self.at;
            let part = Part::of(&name, first).filter(|part| match kind {
                Kind::Children => is_tight,
                Kind::Node => *part != Part::Value || self.tree.value(target) == Value::None,
            });
            match part {
                None => {
                    only_list = first == b'[' && count == 1;
                    self.child(target, &name, first, kind, depth)?;
                }
                Some(part) => {
                    only_list = false;
                    let node = match (kind, nameless) {
                        (Kind::Node, _) => target,
                        (Kind::Children, Some((node, last))) if last < part => node,
                        (Kind::Children, _) => self.tree.add_child(target, b"", Value::None),
                    };
                    nameless = Some((node, part));
                    self.part(node, part, first, depth)?;
                }
            }
        }
        if only_list && kind == Kind::Children {
            self.tree.mark(target, Flags::IS_ARRAY);
        } else if count == 0 && kind == Kind::Children {
            self.tree.mark(target, Flags::IS_OBJECT);
        }
        Ok(())
    }

    fn part(&mut self, node: NodeId, part: Part, first: u8, depth: usize) -> Result<(), CodecError> {
        match part {
            Part::Value => match self.scalar(first)? {
                Scalar::Text(text) => self.tree.set_value(node, &*text),
                Scalar::Other(item) => self.tree.set_value(node, item_value(&item)),
            },
            Part::Attributes => {
                self.at += 1;
                let mut is_first = true;
                while let Some(name) = self.next_name(is_first)? {
                    is_first = false;
                    let first = self.peek("the value of an attribute")?;
                    match self.scalar(first)? {
                        Scalar::Text(text) => self.tree.add_attr(node, &name, &*text),
                        Scalar::Other(item) => self.tree.add_attr(node, &name, item_value(&item)),
                    }
                }
            }
            Part::Children => {
                self.at += 1;
                self.object(node, Kind::Children, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Reads a child, or the children that a list is.
    fn child(&mut self, parent: NodeId, name: &[u8], first: u8, kind: Kind, depth: usize) -> Result<(), CodecError> {
        if first != b'[' {
            if name.is_empty() && kind == Kind::Children {
                self.tree.mark(parent, Flags::IS_OBJECT);
            }
            self.element(parent, name, first, depth)?;
            return Ok(());
        }
        self.at += 1;
        let mut is_empty = true;
        while let Some(first) = self.next_element(is_empty)? {
            is_empty = false;
            let node = self.element(parent, name, first, depth)?;
            self.tree.mark(node, Flags::IN_LIST);
        }
        if is_empty && !name.is_empty() {
            let node = self.tree.add_child(parent, name, Value::None);
            self.tree.mark(node, Flags::IS_ARRAY);
        }
        Ok(())
    }

    /// Reads one child: an object, or a value alone.
    fn element(&mut self, parent: NodeId, name: &[u8], first: u8, depth: usize) -> Result<NodeId, CodecError> {
        if first == b'{' {
            self.at += 1;
            let node = self.tree.add_child(parent, name, Value::None);
            self.object(node, Kind::Node, depth + 1)?;
            return Ok(node);
        }
        Ok(match self.scalar(first)? {
            Scalar::Text(text) => self.tree.add_child(parent, name, &*text),
            Scalar::Other(item) => self.tree.add_child(parent, name, item_value(&item)),
        })
    }

    /// The name of the next member, after its colon; `None` at the end of the object.
    fn next_name(&mut self, is_first: bool) -> Result<Option<Cow<'a, [u8]>>, CodecError> {
        let expected = if is_first { "a name or the end of an object" } else { "a comma or the end of an object" };
        match self.peek(expected)? {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !is_first => {
                self.at += 1;
                self.skip_blanks();
            }
            _ if is_first => {}
            _ => return Err(self.unexpected(expected)),
        }
        self.expect(b'"', "a name in quotes")?;
        let name = self.string()?;
        self.skip_blanks();
        self.expect(b':', "a colon")?;
        Ok(Some(name))
    }

    /// The first byte of the next element; `None` at the end of the list.
    fn next_element(&mut self, is_first: bool) -> Result<Option<u8>, CodecError> {
        let expected = if is_first { "an element or the end of a list" } else { "a comma or the end of a list" };
        match self.peek(expected)? {
            b']' => {
                self.at += 1;
                Ok(None)
            }
            b',' if !is_first => {
                self.at += 1;
                self.peek("an element").map(Some)
            }
            first if is_first => Ok(Some(first)),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A string, number, boolean or null.
    fn scalar(&mut self, first: u8) -> Result<Scalar<'a>, CodecError> {
        if first == b'"' {
            self.at += 1;
            return self.string().map(Scalar::Text);
        }
        let rest = &self.bytes[self.at..];
        let is_of_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let word = &rest[..rest.iter().take_while(is_of_word).count()];
        match json::parse(word) {
            Ok(item) => {
                self.at += word.len();
                Ok(Scalar::Other(item))
            }
            Err(_) => Err(self.unexpected("a value")),
        }
    }

    /// A string whose opening quote was read, whatever bytes it holds.
    fn string(&mut self) -> Result<Cow<'a, [u8]>, CodecError> {
        let start = self.at;
        let mut decoded = Vec::new();
        let mut from = start;
        loop {
            let Some(len) = memchr2(b'"', b'\\', &self.bytes[from..]) else { return Err(self.truncated()) };
            let end = from + len;
            if self.bytes[end] == b'"' {
                self.at = end + 1;
                if from == start {
                    return Ok(Cow::Borrowed(&self.bytes[start..end]));
                }
                decoded.extend_from_slice(&self.bytes[from..end]);
                return Ok(Cow::Owned(decoded));
            }
            decoded.extend_from_slice(&self.bytes[from..end]);
            from = self.escape(end, &mut decoded)?;
        }
    }

    /// Appends what the escape at this place stands for, and says where it ends.
    fn escape(&self, at: usize, out: &mut Vec<u8>) -> Result<usize, CodecError> {
        let byte = match self.bytes.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(at, out),
            Some(_) => return Err(CodecError::unexpected("an escape of JSON", self.bytes, at)),
            None => return Err(self.truncated()),
        };
        out.push(byte);
        Ok(at + 2)
    }

    fn unicode_escape(&self, at: usize, out: &mut Vec<u8>) -> Result<usize, CodecError> {
        let unit = |at: usize| {
            let digits = self.bytes.get(at..at + 6)?.strip_prefix(br"\u")?;
            Some(u16::from_be_bytes([json::unhex(digits)?, json::unhex(&digits[2..])?]))
        };
        let units = [at, at + 6].into_iter().map_while(unit);
        let char = char::decode_utf16(units).next().and_then(Result::ok);
        let char = char.ok_or_else(|| CodecError::unexpected("an escaped character", self.bytes, at))?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(at + 6 * char.len_utf16())
    }

    /// The next byte that is no blank.
    fn peek(&mut self, expected: &'static str) -> Result<u8, CodecError> {
        self.skip_blanks();
        match self.bytes.get(self.at) {
            Some(byte) => Ok(*byte),
            None if self.at > 0 => Err(self.truncated()),
            None => Err(self.unexpected(expected)),
        }
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), CodecError> {
        match self.bytes.get(self.at) {
            Some(found) if *found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.unexpected(expected)),
            None => Err(self.truncated()),
        }
    }

    fn skip_blanks(&mut self) {
        self.at += self.bytes[self.at..].iter().take_while(|byte| is_blank(**byte)).count();
    }

    fn unexpected(&self, expected: &'static str) -> CodecError {
        CodecError::unexpected(expected, self.bytes, self.at)
    }

    fn truncated(&self) -> CodecError {
        CodecError::Truncated { what: "the mi_json reply", size: self.bytes.len() }
    }
}

/// A value that is neither object nor list.
enum Scalar<'a> {
    Text(Cow<'a, [u8]>),
    Other(Item),
}
