//! The one rule between [`Tree`] and [`Item`], both ways. `docs/trees-and-values.md` shows it with examples.

use std::collections::HashMap;

use crate::item::{Item, MAX_DEPTH, Str};
use crate::tree::{Flags, NodeId, Tree, Value};

/// A tree nests deeper than values may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree nests deeper than {MAX_DEPTH} levels, which no value may")]
pub struct TooDeep;

/// The value that a tree's nodes say; `None` for a tree without nodes.
pub fn tree_to_item(tree: &Tree) -> Result<Option<Item>, TooDeep> {
    let root = NodeId::ROOT;
    let marked = tree.flags(root).has(Flags::IS_ARRAY) || tree.flags(root).has(Flags::IS_OBJECT);
    let Some(first) = tree.first_child(root) else {
        return Ok(marked.then(|| empty_item(tree.flags(root))));
    };
    let alone = tree.next_sibling(first).is_none() && tree.name(first).is_empty();
    if alone && !marked && is_bare(tree, first) {
        return Ok(Some(scalar(tree.value(first))));
    }
    children_to_item(tree, root, ObjectBuilder::default(), 0).map(Some)
}

/// The value of one node and what is below it.
pub fn node_to_item(tree: &Tree, node: NodeId) -> Result<Item, TooDeep> {
    node_at_depth(tree, node, 0)
}

/// A tree (200 OK) whose nodes say this value.
pub fn item_to_tree(item: &Item) -> Tree {
    let mut tree = Tree::ok();
    match item {
        Item::Object(_) | Item::Array(_) => fill(&mut tree, NodeId::ROOT, item),
        scalar => {
            tree.add_child(NodeId::ROOT, "", item_value(scalar));
        }
    }
    tree
}

/// Adds what `item` says under `parent`, as nodes named `name`.
pub fn add_item(tree: &mut Tree, parent: NodeId, name: &[u8], item: &Item) {
    match item {
        Item::Array(elements) if !elements.is_empty() => {
            for element in elements {
                let node = add_value(tree, parent, name, element);
                tree.mark(node, Flags::IN_LIST);
            }
        }
        _ => {
            add_value(tree, parent, name, item);
        }
    }
}

/// The scalar as a node's value; objects and arrays have none.
pub fn item_value(item: &Item) -> Value<'_> {
    match item {
        Item::Bool(value) => Value::Bool(*value),
        Item::Int(value) => Value::Int(*value),
        Item::UInt(value) => Value::UInt(*value),
        Item::Float(value) => Value::Float(*value),
        Item::Str(text) => Value::Str(text),
        Item::Null | Item::Array(_) | Item::Object(_) => Value::None,
    }
}

fn add_value(tree: &mut Tree, parent: NodeId, name: &[u8], item: &Item) -> NodeId {
    let node = tree.add_child(parent, name, item_value(item));
    fill(tree, node, item);
    node
}

/// Adds the members or elements below a node and marks which of the two they are.
fn fill(tree: &mut Tree, node: NodeId, item: &Item) {
    match item {
        Item::Object(members) => {
            tree.mark(node, Flags::IS_OBJECT);
            for (name, member) in members {
                add_item(tree, node, name, member);
            }
        }
        Item::Array(elements) => {
            tree.mark(node, Flags::IS_ARRAY);
            for element in elements {
                add_value(tree, node, b"", element);
            }
        }
        _ => {}
    }
}

fn node_at_depth(tree: &Tree, node: NodeId, depth: usize) -> Result<Item, TooDeep> {
    if depth >= MAX_DEPTH {
        return Err(TooDeep);
    }
    if is_bare(tree, node) {
        let flags = tree.flags(node);
        let container = flags.has(Flags::IS_ARRAY) || flags.has(Flags::IS_OBJECT);
        return Ok(if container && tree.value(node) == Value::None {
            empty_item(flags)
        } else {
            scalar(tree.value(node))
        });
    }
    let mut object = ObjectBuilder::default();
    if tree.value(node) != Value::None {
        object.insert(b"value", scalar(tree.value(node)), false);
    }
    for (name, value) in tree.attrs(node) {
        object.insert(name, scalar(value), false);
    }
    children_to_item(tree, node, object, depth + 1)
}

/// The children of a node as an array when none has a name, else as members after those of `object`.
fn children_to_item(tree: &Tree, node: NodeId, mut object: ObjectBuilder, depth: usize) -> Result<Item, TooDeep> {
    let flags = tree.flags(node);
    let is_object = flags.has(Flags::IS_OBJECT);
    if object.members.is_empty() && !is_object && tree.children(node).all(|child| tree.name(child).is_empty()) {
        return tree
            .children(node)
            .map(|child| node_at_depth(tree, child, depth))
            .collect::<Result<_, _>>()
            .map(Item::Array);
    }
    for child in tree.children(node) {
        let name = tree.name(child);
        let in_list =
            flags.has(Flags::IS_ARRAY) || tree.flags(child).has(Flags::IN_LIST) || (name.is_empty() && !is_object);
        object.insert(name, node_at_depth(tree, child, depth)?, in_list);
    }
    Ok(object.finish())
}

fn is_bare(tree: &Tree, node: NodeId) -> bool {
    tree.first_child(node).is_none() && !tree.has_attrs(node)
}

fn empty_item(flags: Flags) -> Item {
    if flags.has(Flags::IS_OBJECT) { Item::Object(Vec::new()) } else { Item::Array(Vec::new()) }
}

fn scalar(value: Value<'_>) -> Item {
    match value {
        Value::None => Item::Null,
        Value::Bool(value) => Item::Bool(value),
        Value::Int(value) => Item::Int(value),
        Value::UInt(value) => Item::UInt(value),
        Value::Float(value) => Item::Float(value),
        Value::Str(bytes) | Value::Bytes(bytes) => Item::Str(bytes.into()),
    }
}

/// Collects members by name; a name used twice becomes a list at its first place.
#[derive(Default)]
struct ObjectBuilder {
    members: Vec<(Str, Item)>,
    /// Beside each member, whether its array was made here and takes what comes next by that name.
    lists: Vec<bool>,
    /// Names to places, once there are too many to look through.
    places: Option<HashMap<Str, usize>>,
}

impl ObjectBuilder {
    const LOOK_THROUGH: usize = 16;

    fn insert(&mut self, name: &[u8], item: Item, in_list: bool) {
        match self.find(name) {
            Some(place) if self.lists[place] => {
                if let Item::Array(elements) = &mut self.members[place].1 {
                    elements.push(item);
                }
            }
            Some(place) => {
                let first = std::mem::take(&mut self.members[place].1);
                self.members[place].1 = Item::Array(vec![first, item]);
                self.lists[place] = true;
            }
            None => {
                if let Some(places) = &mut self.places {
                    places.insert(name.into(), self.members.len());
                }
                self.members.push((name.into(), if in_list { Item::Array(vec![item]) } else { item }));
                self.lists.push(in_list);
            }
        }
    }

    fn find(&mut self, name: &[u8]) -> Option<usize> {
        let last = self.members.len().checked_sub(1)?;
        if *self.members[last].0 == *name {
            return Some(last);
        }
        if self.members.len() <= Self::LOOK_THROUGH {
            return self.members.iter().position(|(other, _)| **other == *name);
        }
        let members = &self.members;
        let places = self.places.get_or_insert_with(|| {
            members.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect()
        });
        places.get(name).copied()
    }

    fn finish(self) -> Item {
        Item::Object(self.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(members: &[(&str, Item)]) -> Item {
        Item::Object(members.iter().map(|(name, item)| ((*name).into(), item.clone())).collect())
    }

    #[test]
    fn a_node_with_attributes_and_children_is_an_object_in_their_order() {
        let mut tree = Tree::ok();
        let contact = tree.add_child(NodeId::ROOT, "Contact", "sip:a@b");
        tree.add_attr(contact, "Q", "0.5");
        tree.add_child(contact, "Expires", Value::Int(60));
        let expected = object(&[("value", "sip:a@b".into()), ("Q", "0.5".into()), ("Expires", Item::Int(60))]);
        assert_eq!(tree_to_item(&tree), Ok(Some(object(&[("Contact", expected)]))));
    }

    #[test]
    fn a_name_used_twice_is_a_list_at_its_first_place() {
        let mut tree = Tree::ok();
        tree.add_child(NodeId::ROOT, "AOR", "a");
        tree.add_child(NodeId::ROOT, "total", Value::Int(2));
        tree.add_child(NodeId::ROOT, "AOR", "b");
        let expected = object(&[("AOR", vec!["a", "b"].into()), ("total", Item::Int(2))]);
        assert_eq!(tree_to_item(&tree), Ok(Some(expected)));
    }

    #[test]
    fn nodes_without_names_are_an_array_and_one_alone_is_a_scalar() {
        let mut tree = Tree::ok();
        tree.add_child(NodeId::ROOT, "", "one");
        assert_eq!(tree_to_item(&tree), Ok(Some("one".into())));
        tree.add_child(NodeId::ROOT, "", "two");
        assert_eq!(tree_to_item(&tree), Ok(Some(vec!["one", "two"].into())));
        tree.add_child(NodeId::ROOT, "named", "three");
        let expected = object(&[("", vec!["one", "two"].into()), ("named", "three".into())]);
        assert_eq!(tree_to_item(&tree), Ok(Some(expected)));
    }

    #[test]
    fn many_different_names_are_still_found() {
        let mut tree = Tree::ok();
        for i in 0..1000 {
            tree.add_child(NodeId::ROOT, format!("n{}", i % 500), Value::Int(i));
        }
        let Ok(Some(Item::Object(members))) = tree_to_item(&tree) else { panic!("not an object") };
        assert_eq!(members.len(), 500);
        assert_eq!(members[499].1, Item::Array(vec![Item::Int(499), Item::Int(999)]));
    }

    #[test]
    fn a_tree_deeper_than_values_may_be_is_an_error() {
        let mut tree = Tree::ok();
        let mut node = NodeId::ROOT;
        for _ in 0..=MAX_DEPTH {
            node = tree.add_child(node, "n", Value::None);
        }
        assert_eq!(tree_to_item(&tree), Err(TooDeep));
    }

    fn items() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            Just(Item::Null),
            any::<bool>().prop_map(Item::Bool),
            any::<i64>().prop_map(Item::Int),
            any::<u64>().prop_map(Item::from),
            (-1e9..1e9f64).prop_map(Item::Float),
            proptest::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Item::Str(bytes.into())),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Item::Array),
                proptest::collection::btree_map("[a-c]?|value", inner, 0..4)
                    .prop_map(|members| Item::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_made_a_tree_and_back_is_the_same_value(item in items()) {
            prop_assert_eq!(tree_to_item(&item_to_tree(&item)), Ok(Some(item)));
        }
    }
}
