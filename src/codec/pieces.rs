//! A reply of many nodes, written a few nodes at a time: what is written is what [`encode_response`] of each wire
//! writes for all of them, where a run of nodes of one name is a list.
//!
//! [`encode_response`]: super::jsonrpc::encode_response

use std::collections::HashSet;

use super::text::{self, TextStyle};
use super::xmlrpc::{self, Form};
use super::{json, jsonrpc, mi_json};
use crate::convert::node_to_item;
use crate::dialect::Dialect;
use crate::item::Str;
use crate::tree::{NodeId, Tree};

/// The number of names remembered, to notice one that comes back. No real reply has more.
const REMEMBERED: usize = 4096;

/// A reply that is written piece by piece.
pub struct Pieces {
    grammar: Grammar,
    /// The shape of the top nodes: unknown before the first.
    shape: Shape,
    /// The names of the runs that have ended.
    past: HashSet<Str>,
    /// True if the current run has an element.
    has_element: bool,
}

/// The separators of a wire between nodes.
enum Grammar {
    /// The caller wants no answer.
    Nothing,
    /// A line for each node.
    Text(TextStyle),
    /// Members and elements; the end of the document comes last.
    Json { tail: Vec<u8> },
    /// Members alone.
    MiJson,
    /// Native XML-RPC, or ng2, which has members alone.
    Xml(xmlrpc::Members),
    /// Forms of XML-RPC that are lines in strings.
    XmlLines(xmlrpc::Lines),
}

#[derive(PartialEq)]
enum Shape {
    Unknown,
    Lines,
    List,
    /// Members; this is the name of the run that goes on.
    Members(Str),
}

/// A node that this reply cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// It belongs to a list that was written before.
    #[error(
        "the name '{0}' comes back after another: in a streamed reply the nodes of a name must follow one another"
    )]
    ComesBack(Str),
    /// The first node had no name, so all of them are the elements of a list.
    #[error("a node called '{0}' comes after nodes without a name, which made the reply a list")]
    InList(Str),
    /// The wire has no way to write it.
    #[error("a node cannot be written: {0}")]
    Unsayable(&'static str),
}

impl Pieces {
    /// Text replies.
    pub fn text(style: TextStyle) -> Self {
        Pieces::new(Grammar::Text(style))
    }

    /// JSON-RPC replies; `None` where they are written whole.
    pub fn json(id: &jsonrpc::Id, pretty: bool) -> Option<Self> {
        let tail = match id {
            jsonrpc::Id::Raw(id) => [b",\"id\":", &**id, b"}"].concat(),
            jsonrpc::Id::Null => b",\"id\":null}".to_vec(),
            jsonrpc::Id::Absent => return Some(Pieces::new(Grammar::Nothing)),
            jsonrpc::Id::Broken => return None,
        };
        (!pretty).then(|| Pieces::new(Grammar::Json { tail }))
    }

    /// `mi_json` replies. The originals make one list of all nodes or none at all, so theirs are written whole.
    pub fn mi_json(dialect: Dialect) -> Option<Self> {
        (!dialect.is_emulated()).then(|| Pieces::new(Grammar::MiJson))
    }

    /// XML-RPC replies; those of 2.4's ng2 are written whole, as its `mi_json` ones.
    pub fn xml(form: Form, dialect: Dialect) -> Option<Self> {
        match form {
            Form::Ng2 if dialect.is_emulated() => None,
            Form::Native | Form::Ng2 => Some(Pieces::new(Grammar::Xml(xmlrpc::Members::new(form, dialect)))),
            form => Some(Pieces::new(Grammar::XmlLines(xmlrpc::Lines::new(form, dialect)))),
        }
    }

    fn new(grammar: Grammar) -> Self {
        Pieces { grammar, shape: Shape::Unknown, past: HashSet::new(), has_element: false }
    }

    /// Returns true if no node has been written.
    pub fn is_empty(&self) -> bool {
        self.shape == Shape::Unknown
    }

    /// Appends the nodes of a tree. After an error the reply cannot go on.
    pub fn push(&mut self, out: &mut Vec<u8>, tree: &Tree) -> Result<(), PieceError> {
        let Some(first) = tree.first_child(NodeId::ROOT) else { return Ok(()) };
        if self.is_empty() {
            self.begin(out, tree.name(first))?;
        }
        match &self.grammar {
            Grammar::Nothing => return Ok(()),
            Grammar::Text(style) => {
                return text::push_nodes(out, tree, *style).map_err(|_| PieceError::Unsayable("it nests too deep"));
            }
            Grammar::XmlLines(lines) => return lines.push(out, tree).map_err(PieceError::Unsayable),
            _ => {}
        }
        tree.children(NodeId::ROOT).try_for_each(|node| self.push_node(out, tree, node))
    }

    /// Appends the end of a reply that has nodes.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        let shape = std::mem::replace(&mut self.shape, Shape::Unknown);
        if let Shape::Members(_) = shape {
            self.end_run(out);
        }
        let is_list = shape == Shape::List;
        match &self.grammar {
            Grammar::Nothing => {}
            Grammar::Text(style) => out.extend_from_slice(text::ending(*style)),
            Grammar::Json { tail } => {
                out.push(if is_list { b']' } else { b'}' });
                out.extend_from_slice(tail);
            }
            Grammar::MiJson => out.push(b'}'),
            Grammar::Xml(members) => members.end(out, is_list),
            Grammar::XmlLines(lines) => lines.end(out),
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>, name: &[u8]) -> Result<(), PieceError> {
        let is_list = name.is_empty();
        self.shape = Shape::Lines;
        match &self.grammar {
            Grammar::Nothing => return Ok(()),
            Grammar::Text(_) => {
                out.extend_from_slice(b"200 OK\n");
                return Ok(());
            }
            Grammar::XmlLines(lines) => {
                lines.begin(out);
                return Ok(());
            }
            Grammar::Json { .. } => {
                out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"result\":");
                out.push(if is_list { b'[' } else { b'{' });
            }
            Grammar::MiJson => out.push(b'{'),
            Grammar::Xml(members) => members.begin(out, is_list),
        }
        let has_lists = match &self.grammar {
            Grammar::Json { .. } => true,
            Grammar::Xml(members) => members.has_lists(),
            _ => false,
        };
        self.shape = if is_list && has_lists { Shape::List } else { Shape::Members(Str::default()) };
        if let Shape::Members(run) = &mut self.shape {
            *run = name.into();
            self.begin_run(out, name)?;
        }
        Ok(())
    }

    fn push_node(&mut self, out: &mut Vec<u8>, tree: &Tree, node: NodeId) -> Result<(), PieceError> {
        let name = tree.name(node);
        match &mut self.shape {
            Shape::List if !name.is_empty() => return Err(PieceError::InList(name.into())),
            Shape::Members(run) if **run != *name => {
                if self.past.contains(name) {
                    return Err(PieceError::ComesBack(name.into()));
                }
                let ended = std::mem::replace(run, name.into());
                if self.past.len() < REMEMBERED {
                    self.past.insert(ended);
                }
                self.end_run(out);
                out.extend_from_slice(match self.grammar {
                    Grammar::Json { .. } => b",",
                    Grammar::MiJson => b", ",
                    _ => b"",
                });
                self.begin_run(out, name)?;
            }
            _ => {}
        }
        let is_first = !std::mem::replace(&mut self.has_element, true);
        let too_deep = PieceError::Unsayable("it nests too deep");
        match &self.grammar {
            Grammar::Json { .. } => {
                let item = node_to_item(tree, node).map_err(|_| too_deep)?;
                out.extend_from_slice(if is_first { b"" } else { b"," });
                json::write(out, &item);
            }
            Grammar::MiJson => {
                out.extend_from_slice(if is_first { b"" } else { b", " });
                mi_json::push_element(out, tree, node).map_err(|_| too_deep)?;
            }
            Grammar::Xml(members) => members.element(out, tree, node).map_err(PieceError::Unsayable)?,
            Grammar::Nothing | Grammar::Text(_) | Grammar::XmlLines(_) => {}
        }
        Ok(())
    }

    fn begin_run(&mut self, out: &mut Vec<u8>, name: &[u8]) -> Result<(), PieceError> {
        self.has_element = false;
        match &self.grammar {
            Grammar::Json { .. } => {
                json::write_string(out, name);
                out.extend_from_slice(b":[");
            }
            Grammar::MiJson => {
                json::write_string(out, name);
                out.extend_from_slice(b": [");
            }
            Grammar::Xml(members) => members.begin_run(out, name).map_err(PieceError::Unsayable)?,
            Grammar::Nothing | Grammar::Text(_) | Grammar::XmlLines(_) => {}
        }
        Ok(())
    }

    fn end_run(&self, out: &mut Vec<u8>) {
        match &self.grammar {
            Grammar::Json { .. } | Grammar::MiJson => out.push(b']'),
            Grammar::Xml(_) => xmlrpc::Members::end_run(out),
            Grammar::Nothing | Grammar::Text(_) | Grammar::XmlLines(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::text::Carrier;
    use crate::response::Response;
    use crate::tree::{Flags, Value};

    /// Nodes with everything that nodes have; runs of one name each.
    fn batches() -> Vec<Tree> {
        let mut first = Tree::ok();
        for (name, value) in [("cdr", Value::Int(0)), ("cdr", "a<b".into()), ("user", Value::None)] {
            let node = first.add_child(NodeId::ROOT, name, value);
            first.mark(node, Flags::IN_LIST);
        }
        let mut second = Tree::ok();
        let node = second.add_child(NodeId::ROOT, "user", "alice");
        second.mark(node, Flags::IN_LIST);
        second.add_attr(node, "q", Value::Float(0.5));
        second.add_child(node, "Contact", "sip:a");
        vec![first, second]
    }

    fn unnamed() -> Vec<Tree> {
        let mut tree = Tree::ok();
        tree.mark(NodeId::ROOT, Flags::IS_ARRAY);
        tree.add_child(NodeId::ROOT, "", "a");
        let mut next = Tree::ok();
        next.mark(NodeId::ROOT, Flags::IS_ARRAY);
        next.add_child(NodeId::ROOT, "", Value::Int(2));
        vec![tree, next]
    }

    fn joined(batches: &[Tree]) -> Response {
        let mut whole = Tree::ok();
        for batch in batches {
            whole.mark(NodeId::ROOT, batch.flags(NodeId::ROOT));
            for node in batch.children(NodeId::ROOT) {
                whole.graft(NodeId::ROOT, batch, node);
            }
        }
        whole.into()
    }

    fn written(mut pieces: Pieces, batches: &[Tree]) -> String {
        let mut out = Vec::new();
        for batch in batches {
            pieces.push(&mut out, batch).expect("it can be written");
        }
        pieces.end(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_reply_in_pieces_parses_like_the_whole_reply() {
        let id = jsonrpc::Id::Raw(b"7".as_slice().into());
        let forms = [Form::String, Form::Array, Form::Ng, Form::Ng1, Form::Ng2, Form::Native];
        for batches in [batches(), unnamed()] {
            let whole = Ok(joined(&batches));
            let mut expected = Vec::new();
            let check = |pieces: Option<Pieces>, expected: &mut Vec<u8>| {
                let found = written(pieces.expect("this form has pieces"), &batches);
                assert_eq!(found, String::from_utf8_lossy(expected));
                expected.clear();
            };
            for carrier in [Carrier::Fifo, Carrier::Datagram] {
                let style = TextStyle::new(carrier, Dialect::Sipmi);
                text::encode_response(&mut expected, &whole, b"x", &style);
                check(Some(Pieces::text(style)), &mut expected);
            }
            jsonrpc::encode_response(&mut expected, &whole, &id, Dialect::Sipmi, false);
            check(Pieces::json(&id, false), &mut expected);
            mi_json::encode_response(&mut expected, &whole, Dialect::Sipmi);
            check(Pieces::mi_json(Dialect::Sipmi), &mut expected);
            for form in forms {
                xmlrpc::encode_response(&mut expected, &whole, b"x", form, Dialect::Sipmi);
                check(Pieces::xml(form, Dialect::Sipmi), &mut expected);
            }
        }
    }

    #[test]
    fn a_name_that_comes_back_is_an_error_where_it_has_its_place() {
        let mut back = Tree::ok();
        back.add_child(NodeId::ROOT, "cdr", Value::Int(2));
        let batches = [batches(), vec![back]].concat();
        let push = |mut pieces: Pieces| {
            let mut out = Vec::new();
            batches.iter().try_for_each(|batch| pieces.push(&mut out, batch))
        };
        let id = jsonrpc::Id::Null;
        assert_eq!(push(Pieces::json(&id, false).expect("JSON")), Err(PieceError::ComesBack("cdr".into())));
        assert_eq!(push(Pieces::text(TextStyle::new(Carrier::Fifo, Dialect::Sipmi))), Ok(()));
    }
}
