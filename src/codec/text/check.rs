//! Which trees a reader of text gets back as they are.

use memchr::memmem;

use super::super::CodecError;
use super::SEPARATOR;
use super::attributes::Attributes;
use super::write::push_value;
use crate::item::MAX_DEPTH;
use crate::tree::{NodeId, Tree};

/// Checks that a reader gets these nodes back unchanged: replies have no escapes, so text cannot carry every tree.
///
/// The error names the rule of [`decode_response`] that would misread a node. Text carries neither types nor the
/// difference between no value and an empty one. Such a tree is no error and comes back with strings.
pub fn check_expressible(tree: &Tree) -> Result<(), CodecError> {
    if tree.reason.contains(&b'\n') {
        return Err(CodecError::Unsayable { what: "the reason".into(), why: "it holds a newline" });
    }
    let mut level_before = 0;
    for (place, (level, node)) in tree.walk().enumerate() {
        let is_after_deeper = level < std::mem::replace(&mut level_before, level);
        let checked = if is_after_deeper && tree.name(node).is_empty() {
            Err("a line without a name after an indented one goes on with its value")
        } else {
            check_node(tree, level, node)
        };
        checked.map_err(|why| CodecError::Unsayable { what: format!("node {}", place + 1), why })?;
    }
    Ok(())
}

/// Returns an error if a reader would misread the line of this node.
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

/// Checks that a reader can separate the value and the attributes after it.
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
    let attributes = Attributes::of(tree.name(node), follows_key(tree, node));
    if attributes == Attributes::No {
        return if ends.is_empty() { Ok(()) } else { Err("nodes of this name have no attributes") };
    }
    let mut found = attributes.next(&line, 0);
    for (end, (name, _)) in ends.iter().zip(tree.attrs(node)) {
        let Some(at) = found.filter(|at| at.start == *end && at.value == end + name.len() + 2) else {
            return Err("it looks as if attributes began elsewhere");
        };
        found = attributes.next(&line, at.value);
    }
    if found.is_some() { Err("it looks as if it had one attribute more") } else { Ok(()) }
}

/// Returns true if the node is the second of all, after a `key`.
fn follows_key(tree: &Tree, node: NodeId) -> bool {
    let first = tree.first_child(NodeId::ROOT);
    let is_key = |node| tree.name(node) == b"key" && tree.first_child(node).is_none();
    first.is_some_and(|first| is_key(first) && tree.next_sibling(first) == Some(node))
}
