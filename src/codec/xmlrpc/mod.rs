//! XML-RPC in the six forms that versions of OpenSIPS have given it, for both sides.
//!
//! Base64 is read as the bytes it says and `dateTime.iso8601` as its text; both are strings then. A document may nest
//! as deep as values may, names five entities and numeric references, and has no document type, so nothing in it
//! can grow: what is read is as large as what was sent.

mod document;
mod fault;
mod library;
mod lines;
mod pieces;
mod request;
mod structs;
mod value;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use self::document::{Document, Element, Source, Tag};
use self::fault::Fault;
pub use self::library::refuse;
pub(super) use self::pieces::{Lines, Members};
pub use self::request::{Incoming, MULTICALL, decode_request, encode_request};
use self::value::{Kinds, ValueReader};
use self::write::{Escapes, Unsayable};
use super::{CodecError, json, page_of, text};
use crate::convert::item_to_tree;
use crate::dialect::Dialect;
use crate::item::Item;
use crate::response::{Body, Failure, Response};
use crate::tree::Tree;

/// How every reply begins.
const DOCUMENT_BEGIN: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n";

/// How every reply ends.
const DOCUMENT_END: &[u8] = b"</methodResponse>\r\n";

/// The text after `<params>` where the value is lines, and nowhere else.
const AFTER_PARAMS_OF_LINES: &str = "\r\n";

/// The answer of 1.11's `mi_xmlrpc_ng` in place of a fault. It is no XML-RPC.
const PAGE_OF_1_11: &[u8] = b"<html><body>Internal server error!</body></html>";

/// How trees and parameters look in XML-RPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Form {
    /// Typed values, both ways (3.x and 4.x).
    #[default]
    Native,
    /// One string of lines `name:: value attr=v`, not indented (1.x, `reply_option` 0).
    String,
    /// An array of such lines (1.x, `reply_option` 1).
    Array,
    /// 1.11's `mi_xmlrpc_ng`: one string.
    Ng,
    /// 2.4's `format_version` 1: one string, indented.
    Ng1,
    /// 2.4's `format_version` 2: structs of `value`, `attributes` and `kids`.
    Ng2,
}

/// There is no such form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no form {found:?} of XML-RPC: expected one of native, string, array, ng, ng1, ng2")]
pub struct UnknownForm {
    found: String,
}

impl Form {
    const NAMES: [(&'static str, Form); 6] = [
        ("native", Form::Native),
        ("string", Form::String),
        ("array", Form::Array),
        ("ng", Form::Ng),
        ("ng1", Form::Ng1),
        ("ng2", Form::Ng2),
    ];

    /// Returns the line end of a document.
    fn line_end(self) -> &'static [u8] {
        if self.is_lines() { b"\r\n" } else { b"" }
    }

    /// Returns true if trees are lines of text.
    fn is_lines(self) -> bool {
        !matches!(self, Form::Native | Form::Ng2)
    }
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(name: &str) -> Result<Self, UnknownForm> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, form)| *form).ok_or_else(|| UnknownForm { found: name.to_owned() })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.iter().find(|(_, form)| form == self);
        f.write_str(known.map_or("native", |(name, _)| name))
    }
}

/// Appends the answer to a request.
///
/// A value that XML cannot hold, control characters above all, is answered as a fault that says so, never as a broken
/// document. So is a value that is not UTF-8, except in `native`, which has base64, and by emulated versions, which do
/// not check it. `string` and `array` lose the levels of a tree. All forms but `native` lose types, and all forms lose
/// the code of a success. Only `native` carries an error's nodes, as a third member of the fault. 1.11's `ng` answers
/// a page where no command was run, and a command's own error as if it were a success.
pub fn encode_response(
    out: &mut Vec<u8>,
    result: &Result<Response, Failure>,
    method: &[u8],
    form: Form,
    dialect: Dialect,
) {
    if (form, dialect) == (Form::Ng, Dialect::V1_11) && result.as_ref().is_err_and(fault::is_by_transport) {
        return out.extend_from_slice(PAGE_OF_1_11);
    }
    let start = out.len();
    let escapes = Escapes::of_replies(form, dialect);
    let written = match answer(result, method, form, dialect) {
        Ok(body) => push_document(out, body, form, dialect, escapes),
        Err(fault) => fault.push_document(out, form, escapes),
    };
    if let Err(unsayable) = written {
        out.truncate(start);
        // These words can be sent.
        let _ = Fault::unsayable(unsayable, form).push_document(out, form, escapes);
    }
}

/// Appends the answer to a `system.multicall`: for each request, in order, its method and its result.
///
/// A success is an array with its one value, anything else the struct of a fault.
pub fn encode_multicall<'a>(
    out: &mut Vec<u8>,
    answers: impl IntoIterator<Item = (&'a [u8], &'a Result<Response, Failure>)>,
    form: Form,
    dialect: Dialect,
) {
    begin_multicall(out, form);
    for (method, result) in answers {
        encode_multicall_answer(out, result, method, form, dialect);
    }
    end_multicall(out, form);
}

/// Appends the answer to one call of a multicall, for [`join_multicall`].
pub fn encode_multicall_answer(
    out: &mut Vec<u8>,
    result: &Result<Response, Failure>,
    method: &[u8],
    form: Form,
    dialect: Dialect,
) {
    let escapes = Escapes::of_replies(form, dialect);
    let start = out.len();
    let written = match answer(result, method, form, dialect) {
        Ok(body) => {
            push_all(out, &[b"<value><array><data>", form.line_end()]);
            let written = push_body(out, body, form, dialect, escapes);
            push_all(out, &[form.line_end(), b"</data></array></value>"]);
            written
        }
        Err(fault) => fault.push_value(out, form, escapes),
    };
    if let Err(unsayable) = written {
        out.truncate(start);
        // These words can be sent.
        let _ = Fault::unsayable(unsayable, form).push_value(out, form, escapes);
    }
    out.extend_from_slice(form.line_end());
}

/// Appends the answer to a multicall, from the answers to its calls as [`encode_multicall_answer`] writes them.
pub fn join_multicall(out: &mut Vec<u8>, answers: impl IntoIterator<Item = Vec<u8>>, form: Form) {
    begin_multicall(out, form);
    for answer in answers {
        out.extend_from_slice(&answer);
    }
    end_multicall(out, form);
}

fn begin_multicall(out: &mut Vec<u8>, form: Form) {
    push_begin(out, form);
    push_all(out, &[b"<value><array><data>", form.line_end()]);
}

fn end_multicall(out: &mut Vec<u8>, form: Form) {
    push_all(out, &[b"</data></array></value>"]);
    push_end(out, form);
}

/// Reads a server's answer, in whatever form: a fault is a response with its code.
///
/// - `native`: the value; the string `OK` is success without a body. A struct without members is an empty object, which
///   is also what 2.4 says for success without nodes.
/// - `ng2`: values without types in a struct, as a tree. Nodes that are all called `name` have none.
/// - `string`, `ng` and `ng1`: a string of lines, in the layout of their originals, as a tree, with the lines that stand
///   after the document where the server flushed within it; as
///   [`text::decode_response`] reads lines, but an indented line without `:: ` is a name without a value.
/// - `array`: a node for each string, in that layout.
/// - A page of OpenSIPS's HTTP module is error 500: all that 1.11's `ng` says of a failure.
///
/// Carriage returns stay as they are, which XML would make newlines; servers of OpenSIPS mean them. Bytes that are not
/// UTF-8 stay as well. In all else the document must be XML.
pub fn decode_response(body: &[u8]) -> Result<Response, CodecError> {
    if let Some(page) = page_of(body) {
        return Ok(Response::error(500, page));
    }
    let source = Source::new(body)?;
    let mut document = Document::new(&source, false);
    let mut values = ValueReader::default();
    document.open(Element::MethodResponse, "<methodResponse>")?;
    let response = match document.tag()? {
        Tag::Open(Element::Fault) => {
            document.open(Element::Value, "<value>")?;
            let value = values.value(&mut document)?;
            values.check_depth()?;
            document.close()?;
            fault::read(value)
                .ok_or_else(|| document.unexpected("a fault with faultCode and faultString before this"))?
        }
        Tag::Open(Element::Params) => {
            let is_lines = source.goes_on(document.offset(), AFTER_PARAMS_OF_LINES);
            match document.tag()? {
                Tag::Close => Response::ok(),
                Tag::Open(Element::Param) => {
                    document.open(Element::Value, "<value>")?;
                    let item = values.value(&mut document)?;
                    document.close()?;
                    document.close()?;
                    if let (true, Item::Str(lines)) = (is_lines, &item) {
                        document.close()?;
                        let lines = with_rest(lines, &mut document)?;
                        let are_lines = lines.is_empty() || lines.ends_with(b"\n");
                        return if are_lines {
                            Ok(Response::from(text::read_string(&lines)))
                        } else {
                            response_of(item, &mut values, is_lines)
                        };
                    }
                    response_of(item, &mut values, is_lines)?
                }
                _ => return Err(document.unexpected("<param>")),
            }
        }
        _ => return Err(document.unexpected("<params> or <fault>")),
    };
    document.close()?;
    match document.tag()? {
        Tag::End => Ok(response),
        _ => Err(document.unexpected("the end of the document")),
    }
}

/// The lines of a reply, with those after the document: 1.11's `ng` and 2.4's `ng1` end it where they flush first.
fn with_rest(lines: &[u8], document: &mut Document<'_>) -> Result<Vec<u8>, CodecError> {
    let mut rest = Vec::new();
    match document.text_and_tag(&mut rest)? {
        Tag::End => {}
        _ => return Err(document.unexpected("the end of the document")),
    }
    let rest = rest.strip_prefix(b"\r\n").unwrap_or(&rest);
    let is_blank = rest.iter().all(u8::is_ascii_whitespace);
    Ok(if is_blank { lines.to_vec() } else { [lines, rest].concat() })
}

/// Which failure this error of a reply is; `None` when a command answered.
pub fn failure_of(response: &Response) -> Option<Failure> {
    fault::failure_of(response)
}

/// Returns the content of the answer: a body, or a fault.
fn answer<'a>(
    result: &'a Result<Response, Failure>,
    method: &[u8],
    form: Form,
    dialect: Dialect,
) -> Result<&'a Body, Fault> {
    match result {
        Ok(response) if response.is_success_of(dialect) => Ok(&response.body),
        _ if (form, dialect) == (Form::Ng, Dialect::V1_11) => Ok(&Body::Empty),
        Ok(response) => Err(Fault::of_response(response, form, dialect)),
        Err(failure) => Err(Fault::of_failure(failure, method, form, dialect)),
    }
}

fn push_document(
    out: &mut Vec<u8>,
    body: &Body,
    form: Form,
    dialect: Dialect,
    escapes: Escapes,
) -> Result<(), Unsayable> {
    push_begin(out, form);
    push_body(out, body, form, dialect, escapes)?;
    push_end(out, form);
    Ok(())
}

fn push_begin(out: &mut Vec<u8>, form: Form) {
    let params: &[u8] = if form.is_lines() { b"<params>\r\n<param>" } else { b"<params><param>\r\n" };
    push_all(out, &[DOCUMENT_BEGIN, params]);
}

fn push_end(out: &mut Vec<u8>, form: Form) {
    let params: &[u8] = if form.is_lines() { b"</param>\r\n</params>\r\n" } else { b"</param></params>\r\n" };
    push_all(out, &[params, DOCUMENT_END]);
}

fn push_all(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends the value that a success is.
fn push_body(
    out: &mut Vec<u8>,
    body: &Body,
    form: Form,
    dialect: Dialect,
    escapes: Escapes,
) -> Result<(), Unsayable> {
    if form == Form::Native {
        let item = json::item_of(body).map_err(|_| Unsayable::TooDeep)?;
        let item = item.unwrap_or_else(|| Cow::Owned("OK".into()));
        return value::push_value(out, &item, escapes);
    }
    let tree = match body {
        Body::Tree(tree) => Cow::Borrowed(tree),
        Body::Empty => Cow::Owned(Tree::ok()),
        Body::Item(item) => Cow::Owned(item_to_tree(item)),
        Body::Json(text) => Cow::Owned(item_to_tree(&json::parse(text).map_err(|_| Unsayable::TooDeep)?)),
    };
    match form {
        Form::Ng2 => structs::push_tree(out, &tree, dialect, escapes),
        form => lines::push_tree(out, &tree, form, dialect, escapes),
    }
}

/// The response that this value is the whole of.
fn response_of(item: Item, values: &mut ValueReader, is_lines: bool) -> Result<Response, CodecError> {
    if is_lines {
        match &item {
            Item::Array(elements) if elements.iter().all(is_line) => {
                return Ok(Response::from(text::read_elements(elements.iter().filter_map(Item::as_str))));
            }
            _ => {}
        }
    }
    let is_of_tree = values.kinds.has(Kinds::UNTYPED) || values.kinds.has(Kinds::DOUBLE) || is_empty_list(&item);
    let is_of_tree = is_of_tree && !values.kinds.has(Kinds::TYPED);
    if let (true, Item::Object(members)) = (is_of_tree, &item)
        && let Some(tree) = structs::read_tree(members)
    {
        return Ok(Response::from(tree));
    }
    values.check_depth()?;
    match item {
        Item::Str(text) if text == "OK" => Ok(Response::ok()),
        item => Ok(Response::from(item)),
    }
}

fn is_line(item: &Item) -> bool {
    item.as_str().is_some_and(|line| line.ends_with(b"\n"))
}

/// Returns true if this is the empty list of 2.4, which does not know the list's name.
fn is_empty_list(item: &Item) -> bool {
    matches!(item, Item::Object(members) if matches!(members.as_slice(),
        [(name, Item::Array(elements))] if *name == "name" && elements.is_empty()))
}

#[cfg(test)]
mod tests;
