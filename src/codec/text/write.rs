//! Writing replies: from a tree to lines.

use super::super::{answer_of, json, push_float, push_int};
use super::read::named_at;
use super::{Carrier, Indent, SEPARATOR, TextStyle};
use crate::convert::item_to_tree;
use crate::dialect::Dialect;
use crate::item::MAX_DEPTH;
use crate::response::{Body, Failure, Response};
use crate::tree::{Flags, NodeId, Tree, Value};

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
        return write_failure(out, &Failure::handler(), method, *style);
    }
    out.extend_from_slice(ending(*style));
}

/// Appends the line of one node, without indentation.
pub(in crate::codec) fn write_line(out: &mut Vec<u8>, tree: &Tree, node: NodeId, separator: bool) {
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

/// A tree deeper than [`MAX_DEPTH`].
pub(in crate::codec) struct TooDeep;

/// Returns the text after the last node.
pub(in crate::codec) fn ending(style: TextStyle) -> &'static [u8] {
    match (style.carrier, style.dialect) {
        (Carrier::OldDatagram, _) | (Carrier::Datagram, Dialect::V1_8 | Dialect::V1_11) => b"",
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
        Failure::Handler(_) => quoted("500", " failed"),
        failure => {
            let (code, reason) = answer_of(failure);
            [format!("{code} {reason}\n").as_bytes(), ending(style)].concat()
        }
    };
    out.extend_from_slice(&line);
}

/// Appends a line for each node.
pub(in crate::codec) fn push_nodes(out: &mut Vec<u8>, tree: &Tree, style: TextStyle) -> Result<(), TooDeep> {
    let mut level_before = 0;
    for (level, node) in tree.walk() {
        if level >= MAX_DEPTH {
            return Err(TooDeep);
        }
        // Readers take a line without a name after an indented one for more of its value.
        let is_after_deeper = level < std::mem::replace(&mut level_before, level) && !style.dialect.is_emulated();
        if tree.flags(node).has(Flags::WRITTEN) {
            continue;
        }
        match style.indent {
            Indent::Tab => out.resize(out.len() + level, b'\t'),
            Indent::Blanks(count) => out.resize(out.len() + level * usize::from(count), b' '),
        }
        write_line(out, tree, node, is_after_deeper || needs_separator(tree, node, style.dialect));
    }
    Ok(())
}

/// Returns true if a node is written with a separator. Any node with a name is. So is a nameless one that would else
/// look named, be an empty line, or have its attributes read as its value. OpenSIPS does not take this care.
pub(in crate::codec) fn needs_separator(tree: &Tree, node: NodeId, dialect: Dialect) -> bool {
    let value = match tree.value(node) {
        Value::Str(value) | Value::Bytes(value) => value,
        Value::None => b"",
        _ => b"0",
    };
    let ambiguous = || named_at(value).is_some() || matches!(value.first(), None | Some(b'\t' | b' '));
    !tree.name(node).is_empty() || (!dialect.is_emulated() && (tree.has_attrs(node) || ambiguous()))
}

/// Appends a value as wires of strings print it: nothing for none, booleans as 1 and 0.
pub(in crate::codec) fn push_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::None => {}
        Value::Bool(value) => push_int(out, i64::from(value)),
        Value::Int(value) => push_int(out, value),
        Value::UInt(value) => push_int(out, value),
        Value::Float(value) => push_float(out, value),
        Value::Str(bytes) | Value::Bytes(bytes) => out.extend_from_slice(bytes),
    }
}
