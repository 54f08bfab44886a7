//! Reading replies by the tables.

use super::kinds::Type::{Gone, IfAny};
use super::kinds::{COUNTER, DIALOG, Kind};
use super::values::{text, text_of, typed};
use crate::convert::node_to_item;
use crate::item::{Item, Str};
use crate::tree::{NodeId, Tree, Value};

/// The lists of objects that a reply holds, one for each kind; `None` when it holds anything else.
pub(super) fn lists(tree: &Tree, kinds: &[Kind]) -> Option<impl Iterator<Item = Item> + use<>> {
    let mut reading = Reading::of(tree);
    let mut found: Vec<Vec<Item>> = kinds.iter().map(|_| Vec::new()).collect();
    while let Some(&(_, node)) = reading.nodes.get(reading.at) {
        let place = reading.place_of(node, kinds)?;
        let object = reading.read(&kinds[place])?;
        found[place].push(object);
    }
    Some(found.into_iter().map(Item::Array))
}

/// The nodes of a reply in order, and how many of them are read.
struct Reading<'t> {
    tree: &'t Tree,
    /// How deep each is, and which.
    nodes: Vec<(usize, NodeId)>,
    at: usize,
    /// True if the wire does not carry the depth of nodes.
    is_flat: bool,
}

impl<'t> Reading<'t> {
    fn of(tree: &'t Tree) -> Self {
        let nodes: Vec<_> = tree.walk().collect();
        let is_flat = nodes.windows(2).all(|pair| pair[0].0 == pair[1].0);
        Reading { tree, nodes, at: 0, is_flat }
    }

    /// Returns the name of a node. Some wires write a name without a value as a value without a name.
    fn name(&self, node: NodeId) -> &'t [u8] {
        match (self.tree.name(node), self.tree.value(node)) {
            (b"", Value::Str(value)) => value,
            (name, _) => name,
        }
    }

    /// Which kind a node is of. In a list of `mi_json` all have the name of the first, and only that is a number.
    fn place_of(&self, node: NodeId, kinds: &[Kind]) -> Option<usize> {
        let place = kinds.iter().position(|kind| kind.name.as_bytes() == self.name(node))?;
        let is_misnamed =
            kinds[place].name == COUNTER.name && (self.tree.has_attrs(node) || self.tree.first_child(node).is_some());
        Some(if is_misnamed { kinds.iter().position(|kind| kind.name == DIALOG.name)? } else { place })
    }

    /// Reads a node of this kind, and all that belongs to it.
    fn read(&mut self, kind: &Kind) -> Option<Item> {
        let (depth, node) = self.nodes[self.at];
        self.at += 1;
        let mut members = Members::of(kind);
        if !self.tree.name(node).is_empty() {
            members.take(b"", self.text(node));
        }
        for (name, value) in self.tree.attrs(node) {
            members.take(name, text(value));
        }
        while let Some(&(child_depth, child)) = self.nodes.get(self.at) {
            let is_below = child_depth > depth;
            let name = self.name(child);
            if !is_below && !self.is_flat {
                break;
            }
            let is_leaf = self.tree.first_child(child).is_none() && !self.tree.has_attrs(child);
            let is_wrapper = kind.inner.iter().any(|inner| inner.wrapper == Some(name));
            if let Some(place) = kind.inner.iter().position(|inner| inner.name.as_bytes() == name) {
                let object = self.read(&kind.inner[place])?;
                members.lists[place].push(object);
            } else if is_wrapper || (is_leaf && members.take_any(name, self.text(child))) {
                self.at += 1;
            } else if is_below {
                members.others.push((name.into(), node_to_item(self.tree, child).ok()?));
                self.skip(child_depth);
            } else {
                break;
            }
        }
        Some(members.finish())
    }

    /// The text of a node's value; none of one that is only a name.
    fn text(&self, node: NodeId) -> Str {
        if self.tree.name(node).is_empty() { Str::default() } else { text_of(self.tree, node) }
    }

    /// Skips a node and its children.
    fn skip(&mut self, depth: usize) {
        self.at += 1;
        while self.nodes.get(self.at).is_some_and(|(below, _)| *below > depth) {
            self.at += 1;
        }
    }
}

/// The members of an object of 4.0 as they are found.
struct Members<'k> {
    kind: &'k Kind,
    /// Beside each member of the kind.
    found: Vec<Option<Item>>,
    /// Beside each kind below it.
    lists: Vec<Vec<Item>>,
    /// Members that the table does not list.
    others: Vec<(Str, Item)>,
    /// The object of a kind below it whose members stand among its own.
    inlined: Option<(usize, Box<Members<'k>>)>,
}

impl<'k> Members<'k> {
    fn of(kind: &'k Kind) -> Self {
        let lists = kind.inner.iter().map(|_| Vec::new()).collect();
        Members { kind, found: vec![None; kind.members.len()], lists, others: Vec::new(), inlined: None }
    }

    /// Takes a member of this kind, or of one below it whose only object may stand in this one.
    fn take_any(&mut self, name: &[u8], value: Str) -> bool {
        if self.kind.members.iter().any(|(old, ..)| old.as_bytes() == name) {
            return self.take(name, value);
        }
        let has_member = |kind: &Kind| kind.members.iter().any(|(old, ..)| old.as_bytes() == name);
        let inner = self.kind.inner;
        let Some(place) = inner.iter().position(|kind| kind.may_be_inlined && has_member(kind)) else { return false };
        let (_, members) = self.inlined.get_or_insert_with(|| (place, Box::new(Members::of(&inner[place]))));
        members.take(name, value)
    }

    /// Takes a member; false when there is no such one, or it is there already.
    fn take(&mut self, name: &[u8], value: Str) -> bool {
        let members = self.kind.members;
        let Some(place) = members.iter().position(|(old, ..)| old.as_bytes() == name) else { return false };
        if self.found[place].is_some() {
            return false;
        }
        self.found[place] = Some(typed(members[place].2, value));
        true
    }

    fn finish(mut self) -> Item {
        if let Some((place, members)) = self.inlined.take() {
            self.lists[place].push(members.finish());
        }
        let found = self.kind.members.iter().zip(self.found).filter_map(|((_, new, of), item)| {
            let is_shown = match of {
                Gone => false,
                IfAny => !matches!(&item, Some(Item::Str(text)) if text.is_empty()),
                _ => true,
            };
            item.filter(|_| is_shown).map(|item| (Str::from(*new), item))
        });
        let lists = self.kind.inner.iter().zip(self.lists).filter_map(|(inner, list)| {
            let is_shown = !(inner.is_optional && list.is_empty());
            is_shown.then(|| (Str::from(inner.list), Item::Array(list)))
        });
        Item::Object(found.chain(self.others).chain(lists).collect())
    }
}
