//! Trees that are sent in parts while their handler still builds them (`flush_mi_tree`), and stable numbers for their
//! nodes.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use crate::tree::{Flags, NodeId, Tree};

/// A number that identifies a node for good, also after a part of the tree was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Number(u64);

impl Number {
    /// The number of the root.
    pub const ROOT: Number = Number(0);
}

/// A tree, and the numbers of its nodes.
pub struct Growing {
    tree: Tree,
    /// The numbers of the nodes that stayed in the tree when the last part was sent.
    old: Vec<Number>,
    /// The nodes by number.
    places: HashMap<Number, NodeId>,
    /// The number of the first node that was added since.
    next: u64,
}

impl Growing {
    /// A tree of which no part was sent yet.
    pub fn new(tree: Tree) -> Self {
        Growing { tree, old: Vec::new(), places: HashMap::new(), next: 1 }
    }

    /// The number of a node.
    pub fn number(&self, node: NodeId) -> Number {
        let Some(place) = node.index().checked_sub(1) else { return Number::ROOT };
        self.old.get(place).copied().unwrap_or_else(|| Number(self.next + (place - self.old.len()) as u64))
    }

    /// The node with a number; `None` if it was sent.
    pub fn find(&self, number: Number) -> Option<NodeId> {
        match number.0.checked_sub(self.next) {
            Some(later) => self.tree.node(usize::try_from(later).ok()? + self.old.len() + 1),
            None if number == Number::ROOT => Some(NodeId::ROOT),
            None => self.places.get(&number).copied(),
        }
    }

    /// Splits off the nodes that can be sent. Returns them and the remaining tree, which replaces this one once they
    /// are sent; `None` if no node can be sent.
    pub fn part(&self, within: bool) -> Option<(Tree, Growing)> {
        let parted = part(&self.tree, within);
        if !parted.has_news() {
            return None;
        }
        let old: Vec<Number> = parted.places.iter().map(|node| self.number(*node)).collect();
        let places =
            old.iter().zip(1..).filter_map(|(number, index)| Some((*number, parted.rest.node(index)?))).collect();
        let next = self.next + (self.tree.len() - self.old.len()) as u64;
        Some((parted.complete, Growing { tree: parted.rest, old, places, next }))
    }
}

impl Deref for Growing {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl DerefMut for Growing {
    fn deref_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }
}

/// A tree, split into the nodes to send and the nodes to keep.
struct Parted {
    /// The complete nodes, and around them incomplete ancestors. An ancestor that was sent before is marked
    /// [`Flags::WRITTEN`].
    complete: Tree,
    /// The rest of the tree.
    rest: Tree,
    /// Where each node of the rest was in the tree, from index 1 on.
    places: Vec<NodeId>,
}

impl Parted {
    /// Returns true if there are nodes to send.
    fn has_news(&self) -> bool {
        self.complete.walk().any(|(_, node)| !self.complete.flags(node).has(Flags::WRITTEN))
    }

    fn keep(&mut self, parent: NodeId, tree: &Tree, node: NodeId) -> NodeId {
        self.places.push(node);
        self.rest.copy_node(parent, tree, node)
    }

    fn keep_all(&mut self, parent: NodeId, tree: &Tree, node: NodeId) {
        let mut pending = vec![(self.keep(parent, tree, node), node)];
        while let Some((to, from)) = pending.pop() {
            for child in tree.children(from) {
                pending.push((self.keep(to, tree, child), child));
            }
        }
    }
}

/// Splits a tree at the first node that is not complete ([`Flags::NOT_COMPLETED`]); all nodes after it are kept. With
/// `within`, that node is itself sent, once, and so are its complete children.
fn part(tree: &Tree, within: bool) -> Parted {
    let mut parted =
        Parted { complete: Tree::ok(), rest: Tree::new(tree.code, tree.reason.clone()), places: Vec::new() };
    parted.rest.set_flags(NodeId::ROOT, tree.flags(NodeId::ROOT));
    let mut open = Some((NodeId::ROOT, NodeId::ROOT, NodeId::ROOT));
    while let Some((from, sent, kept)) = open.take() {
        let mut stays = false;
        for node in tree.children(from) {
            let is_open = !stays && tree.flags(node).has(Flags::NOT_COMPLETED);
            if is_open && within {
                let (sent, kept) = (parted.complete.copy_node(sent, tree, node), parted.keep(kept, tree, node));
                parted.rest.mark(kept, Flags::WRITTEN);
                open = Some((node, sent, kept));
            } else if is_open || stays {
                parted.keep_all(kept, tree, node);
            } else {
                parted.complete.graft(sent, tree, node);
            }
            stays |= is_open;
        }
    }
    parted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::text::{Carrier, TextStyle, encode_response};
    use crate::dialect::Dialect;
    use crate::response::Response;

    fn said(tree: Tree) -> String {
        let mut out = Vec::new();
        let style = TextStyle::new(Carrier::Fifo, Dialect::Sipmi);
        encode_response(&mut out, &Ok(Response::from(tree)), b"x", &style);
        String::from_utf8(out).expect("text")
    }

    fn nodes_of(tree: Tree) -> String {
        said(tree).trim_start_matches("200 OK\n").trim_end_matches('\n').to_owned()
    }

    #[test]
    fn all_before_an_open_node_is_sent_and_all_after_it_stays() {
        let mut tree = Tree::ok();
        tree.add_child(NodeId::ROOT, "a", "1");
        let open = tree.add_child(NodeId::ROOT, "b", "2");
        tree.mark(open, Flags::NOT_COMPLETED);
        tree.add_child(open, "c", "3");
        let last = tree.add_child(NodeId::ROOT, "d", "4");
        let parted = part(&tree, false);
        assert_eq!(nodes_of(parted.complete), "a:: 1");
        assert_eq!(nodes_of(parted.rest), "b:: 2\n\tc:: 3\nd:: 4");
        assert_eq!((parted.places.first(), parted.places.contains(&last)), (Some(&open), true));
    }

    #[test]
    fn within_an_open_node_its_children_are_sent_as_they_come() {
        let mut tree = Tree::ok();
        let domain = tree.add_child(NodeId::ROOT, "Domain", "location");
        tree.mark(domain, Flags::NOT_COMPLETED);
        let aor = tree.add_child(domain, "AOR", "alice");
        tree.mark(aor, Flags::NOT_COMPLETED);
        tree.add_child(aor, "Contact", "sip:a");
        let first = part(&tree, true);
        assert!(first.has_news());
        assert_eq!(nodes_of(first.complete), "Domain:: location\n\tAOR:: alice\n\t\tContact:: sip:a");
        let mut tree = first.rest;
        assert_eq!(tree.len(), 2);
        assert!(!part(&tree, true).has_news());
        let (domain, aor) = (tree.node(1).expect("it stays"), tree.node(2).expect("it stays"));
        tree.add_child(aor, "Contact", "sip:b");
        tree.add_child(domain, "AOR", "bob");
        tree.set_flags(aor, tree.flags(aor).with_bits(0));
        let second = part(&tree, true);
        assert_eq!(nodes_of(second.complete), "\t\tContact:: sip:b\n\tAOR:: bob");
        let mut tree = second.rest;
        assert_eq!(tree.len(), 1);
        tree.add_child(NodeId::ROOT, "Domain", "aliases");
        assert_eq!(nodes_of(tree), "Domain:: aliases");
    }

    #[test]
    fn nodes_that_stay_keep_their_numbers_and_those_that_were_sent_are_gone() {
        let mut growing = Growing::new(Tree::ok());
        let sent = growing.add_child(NodeId::ROOT, "a", "1");
        let open = growing.add_child(NodeId::ROOT, "b", "2");
        growing.mark(open, Flags::NOT_COMPLETED);
        let (sent, open) = (growing.number(sent), growing.number(open));
        for round in 0..3 {
            let (_, rest) = growing.part(true).expect("something to send");
            growing = rest;
            assert_eq!(growing.find(sent), None);
            let node = growing.find(open).expect("it stays");
            assert_eq!(growing.name(node), b"b");
            let child = growing.add_child(node, "c", i64::from(round));
            let child = growing.number(child);
            assert_eq!(growing.find(child).map(|child| growing.number(child)), Some(child));
            assert!(growing.find(Number(child.0 + 1)).is_none());
        }
        assert_eq!(growing.find(Number::ROOT), Some(NodeId::ROOT));
    }
}
