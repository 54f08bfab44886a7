//! Writes a tree as the body of a reply.

use super::TooDeep;
use crate::codec::siblings::{Member, members};
use crate::codec::{json, text};
use crate::dialect::Dialect;
use crate::item::MAX_DEPTH;
use crate::tree::{Flags, NodeId, Tree, Value};

/// Appends a string. The originals leave control bytes as they are, 1.11 all of them.
pub(super) fn write_string(out: &mut Vec<u8>, text: &[u8], dialect: Dialect) {
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
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) tree: &'a Tree,
    pub(super) dialect: Dialect,
}

impl Writer<'_> {
    /// Appends the object that the children of a node make. The originals write nothing where there are none.
    pub(super) fn children(&mut self, parent: NodeId, depth: usize) -> Result<(), TooDeep> {
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
    pub(super) fn node(&mut self, node: NodeId, depth: usize) -> Result<(), TooDeep> {
        self.out.push(b'{');
        self.parts(node, depth)?;
        self.out.push(b'}');
        Ok(())
    }

    /// Appends the parts of a node: value, attributes, children.
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

    /// Returns true if a node is a list or object without elements, which OpenSIPS cannot express.
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
