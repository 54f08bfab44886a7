//! Which children of a node are members of their own and which are lists, where a wire has both (`mi_json`, ng2).

use std::collections::HashMap;

use crate::dialect::Dialect;
use crate::tree::{Flags, NodeId, Tree};

/// How many names are looked through before they are hashed.
const LOOK_THROUGH: usize = 16;

/// One member of the object that a node's children make.
pub(super) enum Member {
    /// A child alone.
    One(NodeId),
    /// The elements of a list; its name is that of the first.
    List(Vec<NodeId>),
}

/// The children of a node as members.
///
/// The originals make one list of all children, whatever their names, or none at all. Sipmi makes one of each name
/// that is repeated or marked as a list's, at its first place, and of nodes without names that are not alone.
pub(super) fn members(tree: &Tree, parent: NodeId, dialect: Dialect) -> Vec<Member> {
    if !dialect.is_emulated() {
        return by_name(tree, parent);
    }
    if is_list(tree, parent) {
        vec![Member::List(tree.children(parent).collect())]
    } else {
        tree.children(parent).map(Member::One).collect()
    }
}

/// Returns true if all children are the elements of one list.
fn is_list(tree: &Tree, parent: NodeId) -> bool {
    let Some(first) = tree.first_child(parent) else { return false };
    let of_one_list = |child| tree.flags(child).has(Flags::IN_LIST) && tree.name(child) == tree.name(first);
    tree.flags(parent).has(Flags::IS_ARRAY) || tree.children(parent).all(of_one_list)
}

fn by_name(tree: &Tree, parent: NodeId) -> Vec<Member> {
    let flags = tree.flags(parent);
    let is_alone = tree.first_child(parent).is_some_and(|first| tree.next_sibling(first).is_none());
    let is_in_list = |child: NodeId| {
        let nameless = tree.name(child).is_empty() && !is_alone && !flags.has(Flags::IS_OBJECT);
        flags.has(Flags::IS_ARRAY) || tree.flags(child).has(Flags::IN_LIST) || nameless
    };
    let mut members: Vec<Member> = Vec::new();
    let mut names = Names::default();
    for child in tree.children(parent) {
        match names.place(tree.name(child)) {
            None if is_in_list(child) => members.push(Member::List(vec![child])),
            None => members.push(Member::One(child)),
            Some(place) => match &mut members[place] {
                Member::List(elements) => elements.push(child),
                Member::One(first) => members[place] = Member::List(vec![*first, child]),
            },
        }
    }
    members
}

/// The names that occurred, in order of their first time.
#[derive(Default)]
struct Names<'t> {
    in_order: Vec<&'t [u8]>,
    last: usize,
    places: Option<HashMap<&'t [u8], usize>>,
}

impl<'t> Names<'t> {
    /// Where this name has occurred; when it has not, it has now.
    fn place(&mut self, name: &'t [u8]) -> Option<usize> {
        if self.in_order.get(self.last) == Some(&name) {
            return Some(self.last);
        }
        let place = match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.in_order.iter().position(|other| *other == name),
        };
        self.last = place.unwrap_or(self.in_order.len());
        if place.is_none() {
            self.in_order.push(name);
            if let Some(places) = &mut self.places {
                places.insert(name, self.last);
            } else if self.in_order.len() > LOOK_THROUGH {
                self.places = Some(self.in_order.iter().enumerate().map(|(place, name)| (*name, place)).collect());
            }
        }
        place
    }
}
