//! `mi_json`, the GET interface of 1.x and 2.x: a command in the path, parameters in the query, a tree as JSON.
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
    push_query(out, &params, server).inspect_err(|_| out.truncate(start))
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
pub(super) struct TooDeep;

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

/// Appends the query, when there are parameters.
fn push_query(out: &mut Vec<u8>, params: &[Param], server: Dialect) -> Result<(), CodecError> {
    let without_names = params.iter().take_while(|param| param.name.is_empty()).count();
    let (listed, named) = params.split_at(if server.is_emulated() { params.len() } else { without_names });
    for (place, param) in listed.iter().enumerate() {
        check_listed(&param.value, server).map_err(|why| CodecError::unsayable_param(place + 1, why))?;
        out.extend_from_slice(if place == 0 { b"?params=" } else { b"," });
        push_percent(out, &param.value);
    }
    // A last comma ends the parameter before it; without, an empty one would not be there.
    out.extend_from_slice(if listed.last().is_some_and(|last| last.value.is_empty()) { b"," } else { b"" });
    for (place, param) in named.iter().enumerate().map(|(place, param)| (listed.len() + place, param)) {
        check_named(&param.name).map_err(|why| CodecError::unsayable_param(place + 1, why))?;
        out.push(if place == 0 { b'?' } else { b'&' });
        push_percent(out, &param.name);
        out.push(b'=');
        push_percent(out, &param.value);
    }
    Ok(())
}

/// Whether the server takes this value in its list.
fn check_listed(value: &[u8], server: Dialect) -> Result<(), &'static str> {
    if !server.is_emulated() {
        Ok(())
    } else if value.is_empty() {
        Err("it is empty, which the server does not take")
    } else if memchr2(b',', 0, value).is_some() {
        Err("it holds a comma or a NUL byte, which the server takes for its end")
    } else {
        Ok(())
    }
}

/// Whether a parameter beside the list can have this name.
fn check_named(name: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("it has no name, and one before it has")
    } else if name == PARAMS {
        Err("its name is that of the list of all parameters")
    } else {
        Ok(())
    }
}

fn write_body(out: &mut Vec<u8>, body: &Body, dialect: Dialect) -> Result<(), TooDeep> {
    match tree_of(body)? {
        Some(tree) => Writer { out, tree: &tree, dialect }.children(NodeId::ROOT, 0),
        None => Ok(()),
    }
}

/// Appends the object that one node of a list is.
pub(super) fn push_element(out: &mut Vec<u8>, tree: &Tree, node: NodeId) -> Result<(), TooDeep> {
    Writer { out, tree, dialect: Dialect::Sipmi }.node(node, 0)
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
    if dialect.is_1x() {
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
    if dialect.is_1x() {
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
            _ if dialect.is_1x() => 0,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::tree_to_item;
    use proptest::prelude::*;

    fn tree(body: &[u8]) -> Tree {
        match decode_response(body).expect("a reply").body {
            Body::Tree(tree) => tree,
            body => panic!("{body:?}"),
        }
    }

    fn value(body: &str) -> Item {
        tree_to_item(&tree(body.as_bytes())).expect("not too deep").expect("not empty")
    }

    fn written(result: &Result<Response, Failure>, dialect: Dialect) -> String {
        let mut out = Vec::new();
        encode_response(&mut out, result, dialect);
        String::from_utf8(out).expect("text in, text out")
    }

    fn of_item(item: impl Into<Item>) -> String {
        written(&Ok(Response::from(item.into())), Dialect::Sipmi)
    }

    fn values(strings: &[&str]) -> Params {
        Params::Strings(strings.iter().map(|value| Param { name: "".into(), value: (*value).into() }).collect())
    }

    fn asked(query: &str, dialect: Dialect) -> Result<Params, Failure> {
        decode_request(b"x", Some(query.as_bytes()), dialect)
            .map(|request| request.params)
            .map_err(|error| error.failure)
    }

    fn said(params: Params, server: Dialect) -> Result<String, CodecError> {
        let mut out = Vec::new();
        encode_request(&mut out, &Request { method: "x".into(), params }, server)?;
        Ok(String::from_utf8(out).expect("URLs are ASCII"))
    }

    #[test]
    fn the_blank_after_a_colon_tells_a_name_from_a_node_without_one() {
        assert_eq!(value(r#"{"value":"Value not found"}"#), "Value not found".into());
        assert_eq!(value(r#"{"key": "a", "value": "b"}"#), Item::from([("key", "a".into()), ("value", "b".into())]));
        assert_eq!(value(r#"{"value":"200 OK", "value":".", "value":"."}"#), vec!["200 OK", ".", "."].into());
        let parts =
            tree(br#"{"value":"a", "attributes":{"b": "c"}, "children":{"d": "e"}, "attributes":{"f": "g"}}"#);
        assert_eq!(parts.children(NodeId::ROOT).count(), 2);
    }

    #[test]
    fn repeated_names_raw_control_bytes_and_bad_utf_8_are_read_without_loss() {
        let body = b"{\"a\": \"1\n\x01\xff\", \"b\": \"x\", \"a\": \"2\"}";
        let tree = tree(body);
        let nodes: Vec<_> = tree.children(NodeId::ROOT).map(|node| (tree.name(node), tree.value(node))).collect();
        let expected: [(&[u8], Value); 3] =
            [(b"a", Value::Str(b"1\n\x01\xff")), (b"b", Value::Str(b"x")), (b"a", Value::Str(b"2"))];
        assert_eq!(nodes, expected);
        let mut again = Vec::new();
        encode_response(&mut again, &Ok(Response::from(tree)), Dialect::V1_11);
        assert_eq!(again, body);
    }

    #[test]
    fn sipmi_says_each_name_once_and_lists_as_lists() {
        assert_eq!(
            of_item([("cdr", vec!["0"].into()), ("n", Item::Int(1))]),
            r#"{"cdr": [{"value":"0"}], "n": "1"}"#
        );
        assert_eq!(of_item(vec!["a", "b"]), r#"{"": [{"value":"a"}, {"value":"b"}]}"#);
        assert_eq!(of_item("a"), r#"{"value":"a"}"#);
        assert_eq!(of_item(Item::Null), r#"{"value":null}"#);
        assert_eq!(of_item(Item::Array(vec![])), r#"{"": []}"#);
        assert_eq!(of_item(Item::Object(vec![])), "{}");
        assert_eq!(of_item([("", "a".into())]), r#"{"": "a"}"#);
        assert_eq!(value(r#"{"": "a"}"#), Item::from([("", "a".into())]));
        let mut tree = Tree::ok();
        for name in ["a", "b", "a"] {
            tree.add_child(NodeId::ROOT, name, "1");
        }
        let reply = Ok(Response::from(tree));
        assert_eq!(written(&reply, Dialect::Sipmi), r#"{"a": [{"value":"1"}, {"value":"1"}], "b": "1"}"#);
        assert_eq!(written(&reply, Dialect::V2_4), r#"{"a": "1", "b": "1", "a": "1"}"#);
        assert_eq!(written(&Ok(Response::ok()), Dialect::Sipmi), "");
    }

    #[test]
    fn an_original_gives_all_of_a_list_the_name_of_its_first() {
        let mut tree = Tree::ok();
        tree.mark(NodeId::ROOT, Flags::IS_ARRAY);
        tree.add_child(NodeId::ROOT, "dlg_counter", "2");
        let dialog = tree.add_child(NodeId::ROOT, "dialog", Value::None);
        tree.add_attr(dialog, "ID", Value::None);
        let reply = Ok(Response::from(tree));
        assert_eq!(
            written(&reply, Dialect::V2_4),
            r#"{"dlg_counter": [{"value":"2"}, {"attributes":{"ID": null}}]}"#
        );
        assert_eq!(
            written(&reply, Dialect::Sipmi),
            r#"{"dlg_counter": [{"value":"2"}], "dialog": [{"attributes":{"ID": null}}]}"#
        );
    }

    #[test]
    fn errors_have_the_words_of_each_version() {
        let errors = |failure: Failure| {
            [Dialect::V1_11, Dialect::V2_4, Dialect::Sipmi].map(|dialect| written(&Err(failure.clone()), dialect))
        };
        let none = r#"{"error":"Internal server error"}"#;
        let error = |code: i32, text: &str| format!(r#"{{"error": {{"code": {code}, "message": "{text}"}}}}"#);
        let not_found = error(500, "Command not found");
        assert_eq!(errors(Failure::UnknownCommand), [none, &not_found, &not_found]);
        let count = error(400, "Too few or too many arguments");
        assert_eq!(errors(Failure::ParamCount), ["", &count, &count]);
        let internal = error(500, "Internal server error");
        assert_eq!(errors(Failure::Parse), [none, &internal, &error(400, "Parse error")]);
        assert_eq!(errors(Failure::Handler), [none, &internal, &error(500, "Command failed")]);
        let by_post = error(406, "Unexpected method");
        assert_eq!(errors(Failure::InvalidRequest), [r#"{"error":"Unexpected method"}"#, &by_post, &by_post]);
        assert_eq!(errors(Failure::Timeout)[1], error(408, "Request timeout"));
        for failure in [Failure::UnknownCommand, Failure::Parse, Failure::Handler, Failure::InvalidRequest] {
            let body = written(&Err(failure.clone()), Dialect::Sipmi);
            assert_eq!(failure_of(&decode_response(body.as_bytes()).expect("an error")), Some(failure));
        }
        assert_eq!(written(&Ok(Response::error(404, "AOR not found")), Dialect::V1_11), "");
        assert_eq!(decode_response(b"").map(|response| response.code), Ok(200));
    }

    #[test]
    fn sipmi_tells_the_nodes_of_an_error_under_data() {
        let mut nodes = Tree::new(404, "not \"here\"");
        nodes.add_child(NodeId::ROOT, "why", "gone");
        let body = written(&Ok(Response::from(nodes.clone())), Dialect::Sipmi);
        assert_eq!(
            body,
            r#"{"error": {"code": 404, "message": "not \"here\"", "data": {"children":{"why": "gone"}}}}"#
        );
        assert_eq!(decode_response(body.as_bytes()), Ok(Response::from(nodes)));
        assert_eq!(value(r#"{"error": "no", "b": "c"}"#), Item::from([("error", "no".into()), ("b", "c".into())]));
    }

    #[test]
    fn what_is_no_reply_is_an_error_that_says_what_was_expected_and_where() {
        let error = |body: &str| decode_response(body.as_bytes()).expect_err("no reply").to_string();
        assert_eq!(error("[]"), "expected an object, found \"[]\" at byte 0");
        assert_eq!(error(r#"{"a" "b"}"#), r#"expected a colon, found "\"b\"}" at byte 5"#);
        assert_eq!(error(r#"{"a": b}"#), "expected a value, found \"b}\" at byte 6");
        assert_eq!(
            error(r#"{"a": "b" "c"}"#),
            r#"expected a comma or the end of an object, found "\"c\"}" at byte 10"#
        );
        assert_eq!(
            error(r#"{"a": ["b" "c"]}"#),
            r#"expected a comma or the end of a list, found "\"c\"]}" at byte 11"#
        );
        assert_eq!(error(r#"{"a": "\x"}"#), r#"expected an escape of JSON, found "\\x\"}" at byte 7"#);
        assert_eq!(error(r#"{"a": "\ud800"}"#), r#"expected an escaped character, found "\\ud800\"}" at byte 7"#);
        assert_eq!(error("{} {}"), "expected the end of the reply, found \"{}\" at byte 3");
        for cut in [r#"{"a": "b"#, r#"{"a""#, r#"{"a": ["#, "{", r#"{"a": "\"#] {
            assert_eq!(error(cut), format!("the mi_json reply was cut off after {} bytes", cut.len()));
        }
        let page = decode_response(b"<html><body>Unable to parse URL!</body></html>").expect("a page");
        assert_eq!(page, Response::error(500, "Unable to parse URL!"));
    }

    #[test]
    fn depth_and_junk_are_errors_and_nothing_more() {
        for open in [r#"{"a": "#, r#"{"a": {"children":"#, r#"{"a": ["#, r#"{"attributes":"#] {
            let deep = open.repeat(100_000);
            assert!(decode_response(deep.as_bytes()).is_err());
        }
        let deep = r#"{"a": {"children":"#.repeat(100_000);
        assert!(matches!(decode_response(deep.as_bytes()), Err(CodecError::TooDeep { limit: MAX_DEPTH, .. })));
        for junk in ["{", "\"", "\\", "{\"", "{\"a\": ", "[", ",", " "] {
            let size = if junk == "\\" { 10_000_000 } else { 1_000_000 };
            let junk = format!("{{\"{}", junk.repeat(size / junk.len()));
            assert!(decode_response(junk.as_bytes()).is_err());
        }
        let mut tree = Tree::ok();
        let mut node = NodeId::ROOT;
        for _ in 0..200 {
            node = tree.add_child(node, "n", Value::None);
        }
        assert!(written(&Ok(Response::from(tree)), Dialect::Sipmi).contains("Command failed"));
    }

    #[test]
    fn parameters_are_split_at_commas_before_or_after_they_are_decoded() {
        assert_eq!(asked("params=a%2Cb,c+d", Dialect::Sipmi), Ok(values(&["a,b", "c d"])));
        assert_eq!(asked("params=a%2Cb,c+d", Dialect::V2_4), Ok(values(&["a", "b", "c d"])));
        assert_eq!(asked("params=a,,b", Dialect::Sipmi), Ok(values(&["a", "", "b"])));
        assert_eq!(asked("params=a,,b", Dialect::V2_4), Err(Failure::Parse));
        assert_eq!(asked("params=a,", Dialect::V2_4), Ok(values(&["a"])));
        assert_eq!(asked("params=a%00b,c", Dialect::V1_11), Ok(values(&["a"])));
        assert_eq!(asked("params=100%,%zz,%", Dialect::Sipmi), Ok(values(&["100%", "%zz", "%"])));
        assert_eq!(asked("params=", Dialect::Sipmi), Ok(Params::None));
        assert_eq!(asked("params", Dialect::V2_4), Ok(Params::None));
        assert_eq!(asked("other=a", Dialect::V2_4), Ok(Params::None));
        let by_name = vec![Param { name: "user name".into(), value: "a&b".into() }];
        assert_eq!(asked("user+name=a%26b", Dialect::Sipmi), Ok(Params::Strings(by_name)));
        let command = decode_request(b"%76ersion", None, Dialect::Sipmi).expect("a command");
        assert_eq!(command, Request::new("version"));
        assert_eq!(decode_request(b"", None, Dialect::V2_4).map_err(|error| error.failure), Err(Failure::Parse));
    }

    #[test]
    fn what_an_original_does_not_take_is_refused_and_sipmi_takes_it() {
        for value in ["a,b", "", "a\0b"] {
            let error = said(values(&["fine", value]), Dialect::V2_4).expect_err("not sayable").to_string();
            assert!(error.starts_with("parameter 2 cannot be sent: it "), "{error}");
        }
        assert_eq!(said(values(&["a,b", ""]), Dialect::Sipmi), Ok("x?params=a%2Cb,,".into()));
        assert_eq!(said(values(&["sip:a@b;c=d"]), Dialect::V1_11), Ok("x?params=sip:a@b%3Bc%3Dd".into()));
        let named = vec![("user".into(), "a".into()), ("n".into(), Item::Int(1)), ("none".into(), Item::Null)];
        assert_eq!(said(Params::Named(named.clone()), Dialect::Sipmi), Ok("x?user=a&n=1".into()));
        assert_eq!(said(Params::Named(named), Dialect::V2_4), Ok("x?params=a,1".into()));
        let reserved = vec![("params".into(), "a".into())];
        assert!(said(Params::Named(reserved), Dialect::Sipmi).is_err());
        let mut out = b"before".to_vec();
        assert!(encode_request(&mut out, &Request::new(""), Dialect::Sipmi).is_err());
        assert!(encode_request(&mut out, &Request::positional("x", vec!["".into()]), Dialect::V2_4).is_err());
        assert_eq!(out, b"before");
    }

    fn printed(item: Item) -> Item {
        match item {
            Item::Bool(value) => i64::from(value).to_string().into(),
            Item::Int(value) => value.to_string().into(),
            Item::Array(items) => Item::Array(items.into_iter().map(printed).collect()),
            Item::Object(members) => Item::Object(members.into_iter().map(|(k, v)| (k, printed(v))).collect()),
            item => item,
        }
    }

    fn items() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            Just(Item::Null),
            any::<bool>().prop_map(Item::Bool),
            any::<i64>().prop_map(Item::Int),
            proptest::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Item::Str(bytes.into())),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Item::Array),
                // A list called "" is one without a name.
                proptest::collection::btree_map("[a-c]{1,2}|value|attributes|children", inner, 0..4)
                    .prop_map(|members| Item::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())),
            ]
        })
    }

    /// Trees as handlers of 1.x and 2.x build them.
    fn trees() -> impl Strategy<Value = Tree> {
        let text = || proptest::collection::vec(any::<u8>(), 0..4);
        let node =
            (0..5usize, "[a-c]{0,2}|value", proptest::option::of(text()), proptest::option::of(text()), 0..2u8);
        proptest::collection::vec(node, 1..8).prop_map(|nodes| {
            let (mut tree, mut ids) = (Tree::ok(), vec![NodeId::ROOT]);
            for (parent, name, value, attr, flags) in nodes {
                // An original writes nothing at all for a node without a name and anything else.
                let value = value.or_else(|| name.is_empty().then(|| b"v".to_vec()));
                let value = value.as_deref().map_or(Value::None, Value::Str);
                let node = tree.add_child(ids[parent % ids.len()], name, value);
                tree.set_flags(node, Flags::NONE.with_bits(flags));
                if let Some(attr) = attr {
                    tree.add_attr(node, "a", attr.as_slice());
                }
                ids.push(node);
            }
            tree
        })
    }

    proptest! {
           #[test]
           fn values_come_back_as_strings(item in items()) {
               let mut body = Vec::new();
               encode_response(&mut body, &Ok(Response::from(item.clone())), Dialect::Sipmi);
               let tree = tree(&body);
               prop_assert_eq!(tree_to_item(&tree), Ok(Some(printed(item))), "{}", body.escape_ascii());
           }

           #[test]
           fn what_an_original_writes_is_written_again_byte_for_byte(tree in trees()) {
               for dialect in [Dialect::V1_11, Dialect::V2_4] {
                   let (mut body, mut again) = (Vec::new(), Vec::new());
                   encode_response(&mut body, &Ok(Response::from(tree.clone())), dialect);
                   encode_response(&mut again, &Ok(decode_response(&body).expect("a reply")), dialect);
                   prop_assert_eq!(again.escape_ascii().to_string(), body.escape_ascii().to_string());
               }
           }

           #[test]
           fn trees_keep_their_attributes(tree in trees()) {
               let mut body = Vec::new();
               encode_response(&mut body, &Ok(Response::from(tree.clone())), Dialect::Sipmi);
               let read = decode_response(&body).expect("a reply");
               let Body::Tree(read) = read.body else { panic!("{read:?}") };
               prop_assert_eq!(tree_to_item(&read), tree_to_item(&tree), "{}", body.escape_ascii());
           }

           #[test]
           fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, text in "[\\[\\]{}\",:\\\\ a1u\n]{0,30}") {
               for bytes in [bytes.as_slice(), text.as_bytes()] {
                   let _ = decode_response(bytes);
                   for dialect in [Dialect::V1_11, Dialect::Sipmi] {
                       let _ = decode_request(bytes, Some(bytes), dialect);
                   }
               }
           }

           #[test]
           fn parameters_arrive_as_they_were(params in proptest::collection::vec(
               (proptest::option::of("[a-c =&]{1,3}"), proptest::collection::vec(any::<u8>(), 0..5)), 1..5)) {
               let params: Vec<_> = params.into_iter().map(|(name, value)| {
                   Param { name: name.unwrap_or_default().into(), value: value.into() }
               }).collect();
               for server in [Dialect::Sipmi, Dialect::V2_4] {
                   let Ok(target) = said(Params::Strings(params.clone()), server) else { continue };
                   let (_, query) = target.split_once('?').expect("there are parameters");
                   let mut expected = params.clone();
                   if server.is_emulated() {
                       for param in &mut expected {
    param.name = Str::default();
    }
                   }
                   prop_assert_eq!(asked(query, server), Ok(Params::Strings(expected)), "{}", target);
               }
           }
       }
}
