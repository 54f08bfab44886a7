//! Trees as 2.4 writes them, the form `ng2`: structs of children, and of `value`, `attributes` and `kids`.

use super::write::{Escapes, Unsayable, push_escaped};
use crate::codec::siblings::{Member, members};
use crate::codec::text;
use crate::convert::item_value;
use crate::dialect::Dialect;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::tree::{Flags, NodeId, Tree, Value};

/// The name of a node without a name.
pub(super) const NO_NAME: &[u8] = b"name";

/// The value that OpenSIPS writes for an attribute without a value.
const NO_VALUE: &[u8] = b"value";

/// Appends a tree as one value.
pub(super) fn push_tree(out: &mut Vec<u8>, tree: &Tree, dialect: Dialect, escapes: Escapes) -> Result<(), Unsayable> {
    Writer { out, tree, dialect, escapes }.children(NodeId::ROOT, 0)
}

/// Appends the value that one node of a list is.
pub(super) fn push_element(
    out: &mut Vec<u8>,
    tree: &Tree,
    node: NodeId,
    dialect: Dialect,
    escapes: Escapes,
) -> Result<(), Unsayable> {
    Writer { out, tree, dialect, escapes }.node(node, 0)
}

/// The tree that a struct says, if all of it is a tree.
///
/// Nodes that are all called `name` have no name. An attribute `value` has none. Neighbors in a list with the same value
/// and attributes are one node, whose children 2.4 has parted. A list is marked as one, and its parent too when it holds nothing
/// else.
pub(super) fn read_tree(members: &[(Str, Item)]) -> Option<Tree> {
    let mut tree = Tree::ok();
    read_children(&mut tree, NodeId::ROOT, members)?;
    Some(tree)
}

fn read_children(tree: &mut Tree, parent: NodeId, members: &[(Str, Item)]) -> Option<()> {
    let nameless = members.iter().all(|(name, _)| **name == *NO_NAME);
    if let [(_, Item::Array(_))] = members {
        tree.mark(parent, Flags::IS_ARRAY);
    }
    for (name, item) in members {
        let name = if nameless { b"".as_slice() } else { name };
        match item {
            Item::Array(elements) => {
                let mut last: Option<(NodeId, &Item)> = None;
                for element in elements {
                    if let Some((node, before)) = last
                        && let Some(kids) = more_of(before, element)
                    {
                        read_children(tree, node, kids)?;
                        continue;
                    }
                    let node = read_node(tree, parent, name, element)?;
                    tree.mark(node, Flags::IN_LIST);
                    last = Some((node, element));
                }
                if elements.is_empty() && !name.is_empty() {
                    let node = tree.add_child(parent, name, Value::None);
                    tree.mark(node, Flags::IS_ARRAY);
                }
            }
            item => {
                read_node(tree, parent, name, item)?;
            }
        }
    }
    Some(())
}

/// The further children of the node before: 2.4 writes a node once more for each 50 records below it.
fn more_of<'i>(before: &Item, element: &'i Item) -> Option<&'i [(Str, Item)]> {
    let (Some(value), Some(Item::Object(attributes))) = (element.get("value"), element.get("attributes")) else {
        return None;
    };
    let is_same = before.get("value") == Some(value) && before.get("attributes") == element.get("attributes");
    match (before.get("kids"), element.get("kids")) {
        _ if !is_same || attributes.is_empty() => None,
        (Some(_), Some(Item::Object(kids))) => Some(kids),
        // There were no more records.
        (Some(_), None) => Some(&[]),
        _ => None,
    }
}

fn read_node(tree: &mut Tree, parent: NodeId, name: &[u8], item: &Item) -> Option<NodeId> {
    let parts = match item {
        Item::Array(_) => return None,
        Item::Object(parts) => parts,
        scalar => return Some(tree.add_child(parent, name, item_value(scalar))),
    };
    let node = tree.add_child(parent, name, Value::None);
    for (part, item) in parts {
        match (&**part, item) {
            (b"value", Item::Str(value)) => tree.set_value(node, &**value),
            (b"attributes", Item::Object(attributes)) => {
                for (name, value) in attributes {
                    let is_none = value.as_str() == Some(NO_VALUE);
                    tree.add_attr(node, name, if is_none { Value::None } else { item_value(value) });
                }
            }
            (b"kids", Item::Object(kids)) => {
                if kids.is_empty() {
                    tree.mark(node, Flags::IS_OBJECT);
                }
                read_children(tree, node, kids)?;
            }
            _ => return None,
        }
    }
    Some(node)
}

/// Writes a tree.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    tree: &'a Tree,
    dialect: Dialect,
    escapes: Escapes,
}

impl Writer<'_> {
    /// Appends the value that the children of a node make.
    fn children(&mut self, parent: NodeId, depth: usize) -> Result<(), Unsayable> {
        if depth >= MAX_DEPTH {
            return Err(Unsayable::TooDeep);
        }
        self.push("<value><struct>");
        let mut members = members(self.tree, parent, self.dialect);
        if members.is_empty() && self.tree.flags(parent).has(Flags::IS_ARRAY) {
            members.push(Member::List(Vec::new()));
        }
        for member in members {
            let first = match &member {
                Member::One(node) => Some(*node),
                Member::List(nodes) => nodes.first().copied(),
            };
            let name = first.map(|first| self.tree.name(first)).filter(|name| !name.is_empty());
            self.push("<member><name>");
            push_escaped(self.out, name.unwrap_or(NO_NAME), self.escapes)?;
            self.push("</name>");
            match member {
                Member::One(node) => self.node(node, depth)?,
                Member::List(nodes) => {
                    self.push("<value><array><data>");
                    for node in nodes {
                        self.node(node, depth)?;
                    }
                    self.push("</data></array></value>");
                }
            }
            self.push("</member>");
        }
        self.push("</struct></value>");
        Ok(())
    }

    /// Appends the value that a node is.
    fn node(&mut self, node: NodeId, depth: usize) -> Result<(), Unsayable> {
        let tree = self.tree;
        let flags = tree.flags(node);
        let is_container = flags.has(Flags::IS_ARRAY) || flags.has(Flags::IS_OBJECT);
        let has_kids = tree.first_child(node).is_some() || (is_container && !self.dialect.is_emulated());
        if !has_kids && !tree.has_attrs(node) {
            return self.leaf(tree.value(node), b"");
        }
        self.push("<value><struct>");
        if tree.value(node) != Value::None {
            self.push("<member><name>value</name>");
            self.leaf(tree.value(node), b"")?;
            self.push("</member>");
        }
        if tree.has_attrs(node) {
            self.push("<member><name>attributes</name><value><struct>");
            for (name, value) in tree.attrs(node) {
                self.push("<member><name>");
                push_escaped(self.out, name, self.escapes)?;
                self.push("</name>");
                self.leaf(value, if self.dialect.is_emulated() { NO_VALUE } else { b"" })?;
                self.push("</member>");
            }
            self.push("</struct></value></member>");
        }
        if has_kids {
            self.push("<member><name>kids</name><value>");
            self.children(node, depth + 1)?;
            self.push("</value></member>");
        }
        self.push("</struct></value>");
        Ok(())
    }

    /// Appends a value as a string without a type.
    fn leaf(&mut self, value: Value<'_>, none: &[u8]) -> Result<(), Unsayable> {
        self.push("<value>");
        match value {
            Value::None => self.out.extend_from_slice(none),
            Value::Str(bytes) | Value::Bytes(bytes) => push_escaped(self.out, bytes, self.escapes)?,
            printed => text::push_value(self.out, printed),
        }
        self.push("</value>");
        Ok(())
    }

    fn push(&mut self, markup: &str) {
        self.out.extend_from_slice(markup.as_bytes());
    }
}
