//! `mi_json`, the GET interface of 1.x and 2.x: a command in the path, parameters in the query, a tree as JSON.
//!
//! An object is the children of a node, or one node: `value`, `attributes` and `children`, each where it has them.
//! A child with a value alone is `"name": "value"`. The name of a child and the members of a nameless node differ by
//! the blank after the colon alone: `{"value": "x"}` is a node named `value`, `{"value":"x"}` one without a name. JSON
//! parsers neither tell that nor keep repeated names, so the reader here is its own.

mod reader;
mod request;
mod writer;

use std::borrow::Cow;

use super::{CodecError, answer_of, json, page_of, push_int};
use crate::convert::item_to_tree;
use crate::dialect::Dialect;
use crate::response::{Body, Failure, Response};
use crate::tree::{NodeId, Tree, Value};
use reader::{Kind, Reader};
pub use request::{decode_request, encode_request};
use writer::{Writer, write_string};

/// The reply to a request with another method than GET.
const UNEXPECTED_METHOD: &str = "Unexpected method";

/// The reply of OpenSIPS when a command gives no answer.
const NO_ANSWER: &str = "Internal server error";

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
        write_failure(out, &Failure::handler(), dialect);
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
        (500, b"Internal server error") => Some(Failure::handler()),
        (500, reason) if Failure::is_handler(reason) => Some(Failure::handler()),
        (400, b"Parse error") => Some(Failure::Parse),
        _ => None,
    }
}

/// A tree deeper than [`MAX_DEPTH`].
pub(super) struct TooDeep;

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
        Failure::Handler(error) if sipmi => (500, error.to_string().into()),
        Failure::Parse | Failure::Handler(_) => (500, NO_ANSWER.into()),
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

#[cfg(test)]
mod tests;
