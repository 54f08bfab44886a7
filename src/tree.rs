//! The reply tree: [`Tree`] (`struct mi_root`), its nodes (`struct mi_node`) and their attributes (`struct mi_attr`).
//!
//! A tree keeps all its nodes, attributes and text in three vectors; nodes name each other by index.
//! Adding a child or a sibling is constant time, a clone is three copies of memory, a million nodes
//! are three allocations.

use std::fmt;

use crate::item::Str;

/// A node of a tree. It is valid for that tree alone, while the tree exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The root, whose children are the top nodes.
    pub const ROOT: NodeId = NodeId(0);

    /// Its index in the order in which nodes were added; the root has 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Properties of a node and of its children.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flags.
    pub const NONE: Flags = Flags(0);
    /// The children are the elements of a list (`MI_IS_ARRAY`).
    pub const IS_ARRAY: Flags = Flags(1);
    /// More nodes follow; on the root of a provisional reply (`MI_NOT_COMPLETED`).
    pub const NOT_COMPLETED: Flags = Flags(1 << 1);
    /// This node is an element of the list that its name names, even if it is the only one.
    pub const IN_LIST: Flags = Flags(1 << 2);
    /// The children are the members of an object, even if there are none or they have no names.
    pub const IS_OBJECT: Flags = Flags(1 << 3);
    /// The node itself has been sent, and holds the nodes below it (`MI_WRITTEN`).
    pub const WRITTEN: Flags = Flags(1 << 4);

    /// The flags that Python sees.
    const PUBLIC: u8 = 0b1111;

    /// Returns true if all flags of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits that Python sees.
    pub const fn bits(self) -> u8 {
        self.0 & Flags::PUBLIC
    }

    /// Replaces the bits that Python sees; drops unknown bits.
    #[must_use]
    pub const fn with_bits(self, bits: u8) -> Flags {
        Flags(self.0 & !Flags::PUBLIC | bits & Flags::PUBLIC)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Flags::IS_ARRAY, "IS_ARRAY"),
            (Flags::NOT_COMPLETED, "NOT_COMPLETED"),
            (Flags::IN_LIST, "IN_LIST"),
            (Flags::IS_OBJECT, "IS_OBJECT"),
            (Flags::WRITTEN, "WRITTEN"),
        ];
        let set: Vec<_> = names.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name).collect();
        f.write_str(if set.is_empty() { "NONE" } else { "" })?;
        f.write_str(&set.join("|"))
    }
}

/// The value of a node or attribute, borrowed from its tree.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Value<'a> {
    /// No value (a null pointer in C), which differs from an empty value.
    #[default]
    None,
    /// A boolean, printed as `1` or `0`.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// An integer above the range of [`Value::Int`].
    UInt(u64),
    /// A double.
    Float(f64),
    /// Text. It may be invalid UTF-8.
    Str(&'a [u8]),
    /// Binary data.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Str(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(text: &'a [u8]) -> Self {
        Value::Str(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

/// A reply: code, reason and nodes (`struct mi_root`).
///
/// ```
/// use sipmi::tree::{Tree, NodeId, Value};
/// let mut tree = Tree::ok();                                     // init_mi_tree(200, "OK")
/// let domain = tree.add_child(NodeId::ROOT, "Domain", "example.org");    // add_mi_node_child
/// tree.add_attr(domain, "records", "1");                         // add_mi_attr
/// tree.add_sibling(domain, "Domain", "example.net");             // add_mi_node_sibling
/// assert_eq!(tree.attr(domain, "records"), Some(Value::Str(b"1")));       // get_mi_attr_by_name
/// assert_eq!(tree.children(NodeId::ROOT).count(), 2);
/// ```
#[derive(Clone)]
pub struct Tree {
    /// The code; 200 to 299 is success.
    pub code: i32,
    /// The meaning of the code, for people.
    pub reason: Str,
    nodes: Vec<NodeRecord>,
    attrs: Vec<AttrRecord>,
    text: Vec<u8>,
}

const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Default)]
struct Span {
    start: usize,
    len: usize,
}

#[derive(Clone, Copy, Default)]
enum Stored {
    #[default]
    None,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Str(Span),
    Bytes(Span),
}

#[derive(Clone)]
struct NodeRecord {
    name: Span,
    value: Stored,
    parent: u32,
    next: u32,
    first_child: u32,
    last_child: u32,
    first_attr: u32,
    last_attr: u32,
    flags: Flags,
}

#[derive(Clone)]
struct AttrRecord {
    name: Span,
    value: Stored,
    next: u32,
}

impl NodeRecord {
    fn new(name: Span, value: Stored, parent: u32) -> Self {
        NodeRecord {
            name,
            value,
            parent,
            next: NIL,
            first_child: NIL,
            last_child: NIL,
            first_attr: NIL,
            last_attr: NIL,
            flags: Flags::NONE,
        }
    }
}

/// The index of the next element. Four billion nodes would need 300 GB, so the index does not overflow.
fn next_index(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|index| *index != NIL).expect("a tree holds fewer than 2^32 - 1 nodes")
}

impl Tree {
    /// A tree without nodes (`init_mi_tree`).
    pub fn new(code: i32, reason: impl Into<Str>) -> Self {
        Tree {
            code,
            reason: reason.into(),
            nodes: vec![NodeRecord::new(Span::default(), Stored::None, NIL)],
            attrs: Vec::new(),
            text: Vec::new(),
        }
    }

    /// A success without nodes: 200 OK.
    pub fn ok() -> Self {
        Tree::new(200, "OK")
    }

    /// Returns true if the code is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Returns true if there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes[0].first_child == NIL
    }

    /// The number of all nodes that were added.
    pub fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The size of all names and values in bytes.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Removes all nodes. Keeps code, reason and the allocated memory.
    pub fn clear(&mut self) {
        self.nodes.truncate(1);
        self.nodes[0] = NodeRecord::new(Span::default(), Stored::None, NIL);
        self.attrs.clear();
        self.text.clear();
    }

    /// Reserves memory for nodes and bytes of text that are about to be added.
    pub fn reserve(&mut self, nodes: usize, text: usize) {
        self.nodes.reserve(nodes);
        self.text.reserve(text);
    }

    /// Adds a node below `parent`, after its other children (`add_mi_node_child`).
    pub fn add_child<'v>(&mut self, parent: NodeId, name: impl AsRef<[u8]>, value: impl Into<Value<'v>>) -> NodeId {
        let (name, value) = (self.keep(name.as_ref()), self.keep_value(value.into()));
        let index = next_index(self.nodes.len());
        self.nodes.push(NodeRecord::new(name, value, parent.0));
        let last = std::mem::replace(&mut self.nodes[parent.0 as usize].last_child, index);
        match last {
            NIL => self.nodes[parent.0 as usize].first_child = index,
            last => self.nodes[last as usize].next = index,
        }
        NodeId(index)
    }

    /// Adds a node after the last sibling of `node` (`add_mi_node_sibling`).
    pub fn add_sibling<'v>(&mut self, node: NodeId, name: impl AsRef<[u8]>, value: impl Into<Value<'v>>) -> NodeId {
        let parent = self.parent(node).unwrap_or(NodeId::ROOT);
        self.add_child(parent, name, value)
    }

    /// Adds an attribute to a node, after its others (`add_mi_attr`).
    pub fn add_attr<'v>(&mut self, node: NodeId, name: impl AsRef<[u8]>, value: impl Into<Value<'v>>) {
        let (name, value) = (self.keep(name.as_ref()), self.keep_value(value.into()));
        let index = next_index(self.attrs.len());
        self.attrs.push(AttrRecord { name, value, next: NIL });
        let last = std::mem::replace(&mut self.nodes[node.0 as usize].last_attr, index);
        match last {
            NIL => self.nodes[node.0 as usize].first_attr = index,
            last => self.attrs[last as usize].next = index,
        }
    }

    /// The node at an index; `None` if there is none.
    pub fn node(&self, index: usize) -> Option<NodeId> {
        u32::try_from(index).ok().filter(|_| index < self.nodes.len()).map(NodeId)
    }

    /// Copies `node` of `other`, with all nodes below it, under `parent` (`clone_mi_tree` for a part of a tree).
    pub fn graft(&mut self, parent: NodeId, other: &Tree, node: NodeId) -> NodeId {
        let root = self.copy_node(parent, other, node);
        let mut pending = vec![(root, node)];
        while let Some((to, from)) = pending.pop() {
            // Children are appended in order. Their own children follow later, also in order.
            for child in other.children(from) {
                pending.push((self.copy_node(to, other, child), child));
            }
        }
        root
    }

    /// Copies a node without its children.
    pub(crate) fn copy_node(&mut self, parent: NodeId, other: &Tree, node: NodeId) -> NodeId {
        let copy = self.add_child(parent, other.name(node), other.value(node));
        self.set_flags(copy, other.flags(node));
        for (name, value) in other.attrs(node) {
            self.add_attr(copy, name, value);
        }
        copy
    }

    /// The name of a node; empty if it has none.
    pub fn name(&self, node: NodeId) -> &[u8] {
        self.slice(self.nodes[node.0 as usize].name)
    }

    /// The value of a node.
    pub fn value(&self, node: NodeId) -> Value<'_> {
        self.read(self.nodes[node.0 as usize].value)
    }

    /// Renames a node.
    pub fn set_name(&mut self, node: NodeId, name: impl AsRef<[u8]>) {
        self.nodes[node.0 as usize].name = self.keep(name.as_ref());
    }

    /// Replaces the value of a node.
    pub fn set_value<'v>(&mut self, node: NodeId, value: impl Into<Value<'v>>) {
        self.nodes[node.0 as usize].value = self.keep_value(value.into());
    }

    /// The flags of a node; at [`NodeId::ROOT`], those of the tree.
    pub fn flags(&self, node: NodeId) -> Flags {
        self.nodes[node.0 as usize].flags
    }

    /// Replaces the flags of a node.
    pub fn set_flags(&mut self, node: NodeId, flags: Flags) {
        self.nodes[node.0 as usize].flags = flags;
    }

    /// Sets flags in addition to those that are set.
    pub fn mark(&mut self, node: NodeId, flags: Flags) {
        let old = self.flags(node);
        self.set_flags(node, old | flags);
    }

    /// The parent of a node; `None` for the root.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        Self::link(self.nodes[node.0 as usize].parent)
    }

    /// The first child of a node.
    pub fn first_child(&self, node: NodeId) -> Option<NodeId> {
        Self::link(self.nodes[node.0 as usize].first_child)
    }

    /// The next sibling of a node.
    pub fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        Self::link(self.nodes[node.0 as usize].next)
    }

    /// The children of a node, in order. The top nodes are the children of [`NodeId::ROOT`].
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(self.first_child(node), |child| self.next_sibling(*child))
    }

    /// The attributes of a node, in order.
    pub fn attrs(&self, node: NodeId) -> impl Iterator<Item = (&[u8], Value<'_>)> + '_ {
        let mut next = self.nodes[node.0 as usize].first_attr;
        std::iter::from_fn(move || {
            let attr = self.attrs.get(next as usize)?;
            next = attr.next;
            Some((self.slice(attr.name), self.read(attr.value)))
        })
    }

    /// Returns true if a node has attributes.
    pub fn has_attrs(&self, node: NodeId) -> bool {
        self.nodes[node.0 as usize].first_attr != NIL
    }

    /// The value of the first attribute with this name (`get_mi_attr_by_name`).
    pub fn attr(&self, node: NodeId, name: impl AsRef<[u8]>) -> Option<Value<'_>> {
        let name = name.as_ref();
        self.attrs(node).find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Every node below the root with its level, parents before children, siblings in order.
    pub fn walk(&self) -> impl Iterator<Item = (usize, NodeId)> + '_ {
        let mut next = self.first_child(NodeId::ROOT).map(|node| (0, node));
        std::iter::from_fn(move || {
            let (level, node) = next?;
            next = self.after(level, node);
            Some((level, node))
        })
    }

    /// The next node in [`Tree::walk`]. Needs no stack, so a tree may have any depth.
    fn after(&self, level: usize, node: NodeId) -> Option<(usize, NodeId)> {
        if let Some(child) = self.first_child(node) {
            return Some((level + 1, child));
        }
        let (mut level, mut node) = (level, node);
        loop {
            if let Some(sibling) = self.next_sibling(node) {
                return Some((level, sibling));
            }
            node = self.parent(node).filter(|parent| *parent != NodeId::ROOT)?;
            level -= 1;
        }
    }

    fn link(index: u32) -> Option<NodeId> {
        (index != NIL).then_some(NodeId(index))
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.text[span.start..span.start + span.len]
    }

    fn read(&self, value: Stored) -> Value<'_> {
        match value {
            Stored::None => Value::None,
            Stored::Bool(value) => Value::Bool(value),
            Stored::Int(value) => Value::Int(value),
            Stored::UInt(value) => Value::UInt(value),
            Stored::Float(value) => Value::Float(value),
            Stored::Str(span) => Value::Str(self.slice(span)),
            Stored::Bytes(span) => Value::Bytes(self.slice(span)),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        Span { start, len: bytes.len() }
    }

    fn keep_value(&mut self, value: Value<'_>) -> Stored {
        match value {
            Value::None => Stored::None,
            Value::Bool(value) => Stored::Bool(value),
            Value::Int(value) => Stored::Int(value),
            Value::UInt(value) => Stored::UInt(value),
            Value::Float(value) => Stored::Float(value),
            Value::Str(bytes) => Stored::Str(self.keep(bytes)),
            Value::Bytes(bytes) => Stored::Bytes(self.keep(bytes)),
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Tree::ok()
    }
}

impl PartialEq for Tree {
    /// Compares code, reason, and the levels, names, values and attributes of the nodes in order. Flags are ignored:
    /// most wires cannot carry them.
    fn eq(&self, other: &Self) -> bool {
        let same_node = |(a, b): ((usize, NodeId), (usize, NodeId))| {
            a.0 == b.0
                && self.name(a.1) == other.name(b.1)
                && self.value(a.1) == other.value(b.1)
                && self.attrs(a.1).eq(other.attrs(b.1))
        };
        self.code == other.code
            && self.reason == other.reason
            && self.len_reachable() == other.len_reachable()
            && self.walk().zip(other.walk()).all(same_node)
    }
}

impl Tree {
    fn len_reachable(&self) -> usize {
        self.walk().count()
    }
}

impl fmt::Debug for Tree {
    /// Writes one line for each node, with children indented, like the text wire but with quoted values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.reason)?;
        for (level, node) in self.walk() {
            write!(f, "\n{:indent$}{}", "", self.name(node).escape_ascii(), indent = 2 * (level + 1))?;
            write!(f, ": {}", Shown(self.value(node)))?;
            for (name, value) in self.attrs(node) {
                write!(f, " {}={}", name.escape_ascii(), Shown(value))?;
            }
        }
        Ok(())
    }
}

struct Shown<'a>(Value<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::None => f.write_str("-"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::UInt(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Str(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_siblings_keep_their_order() {
        let mut tree = Tree::ok();
        let a = tree.add_child(NodeId::ROOT, "a", "1");
        let inner = tree.add_child(a, "a.x", Value::None);
        tree.add_sibling(a, "b", "2");
        tree.add_sibling(inner, "a.y", Value::Int(3));
        let names: Vec<_> = tree.walk().map(|(level, node)| (level, tree.name(node).to_vec())).collect();
        assert_eq!(names, [(0, b"a".to_vec()), (1, b"a.x".to_vec()), (1, b"a.y".to_vec()), (0, b"b".to_vec())]);
    }

    #[test]
    fn a_graft_keeps_the_order_at_every_level() {
        let mut from = Tree::ok();
        let top = from.add_child(NodeId::ROOT, "top", "t");
        for i in 0..3 {
            let child = from.add_child(top, format!("c{i}"), Value::Int(i));
            from.add_attr(child, "q", "0.5");
            from.add_child(child, "leaf", Value::Bool(true));
        }
        let mut to = Tree::ok();
        to.graft(NodeId::ROOT, &from, top);
        assert_eq!(from, to);
    }

    #[test]
    fn an_attribute_is_found_by_name_and_the_first_wins() {
        let mut tree = Tree::ok();
        let node = tree.add_child(NodeId::ROOT, "Contact", "sip:a@b");
        tree.add_attr(node, "Q", "0.5");
        tree.add_attr(node, "Q", "0.7");
        assert_eq!(tree.attr(node, "Q"), Some(Value::Str(b"0.5")));
        assert_eq!(tree.attr(node, "q"), None);
    }

    #[test]
    fn a_chain_of_a_million_levels_is_walked_cloned_and_compared() {
        let mut tree = Tree::ok();
        let mut node = NodeId::ROOT;
        for _ in 0..1_000_000 {
            node = tree.add_child(node, "n", Value::None);
        }
        assert_eq!(tree.clone(), tree);
        assert_eq!(tree.walk().last(), Some((999_999, node)));
    }
}
