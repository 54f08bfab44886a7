//! Replies in XML, a few nodes at a time.

use super::write::{Escapes, push_escaped};
use super::{Form, lines, push_begin, push_end, structs, value};
use crate::convert::node_to_item;
use crate::dialect::Dialect;
use crate::tree::{NodeId, Tree};

/// The forms that have members: native and ng2.
pub(in crate::codec) struct Members {
    form: Form,
    dialect: Dialect,
    escapes: Escapes,
}

impl Members {
    pub(in crate::codec) fn new(form: Form, dialect: Dialect) -> Self {
        Members { form, dialect, escapes: Escapes::of_replies(form, dialect) }
    }

    /// Returns true if the reply may consist of nodes without names.
    pub(in crate::codec) fn has_lists(&self) -> bool {
        self.form == Form::Native
    }

    pub(in crate::codec) fn begin(&self, out: &mut Vec<u8>, is_list: bool) {
        push_begin(out, self.form);
        let is_list = is_list && self.has_lists();
        out.extend_from_slice(if is_list { b"<value><array><data>" } else { b"<value><struct>" });
    }

    pub(in crate::codec) fn begin_run(&self, out: &mut Vec<u8>, name: &[u8]) -> Result<(), &'static str> {
        let name = if name.is_empty() && self.form == Form::Ng2 { structs::NO_NAME } else { name };
        out.extend_from_slice(b"<member><name>");
        push_escaped(out, name, self.escapes).map_err(super::write::Unsayable::why)?;
        out.extend_from_slice(b"</name><value><array><data>");
        Ok(())
    }

    pub(in crate::codec) fn element(&self, out: &mut Vec<u8>, tree: &Tree, node: NodeId) -> Result<(), &'static str> {
        if self.form == Form::Native {
            let item = node_to_item(tree, node).map_err(|_| "it nests too deep")?;
            value::push_value(out, &item, self.escapes).map_err(super::write::Unsayable::why)
        } else {
            let pushed = structs::push_element(out, tree, node, self.dialect, self.escapes);
            pushed.map_err(super::write::Unsayable::why)
        }
    }

    pub(in crate::codec) fn end_run(out: &mut Vec<u8>) {
        out.extend_from_slice(b"</data></array></value></member>");
    }

    pub(in crate::codec) fn end(&self, out: &mut Vec<u8>, is_list: bool) {
        out.extend_from_slice(if is_list { b"</data></array></value>" } else { b"</struct></value>" });
        push_end(out, self.form);
    }
}

/// The forms that are lines in strings.
pub(in crate::codec) struct Lines {
    form: Form,
    dialect: Dialect,
    escapes: Escapes,
}

impl Lines {
    pub(in crate::codec) fn new(form: Form, dialect: Dialect) -> Self {
        Lines { form, dialect, escapes: Escapes::of_replies(form, dialect) }
    }

    pub(in crate::codec) fn begin(&self, out: &mut Vec<u8>) {
        push_begin(out, self.form);
        lines::push_begin(out, self.form);
    }

    pub(in crate::codec) fn push(&self, out: &mut Vec<u8>, tree: &Tree) -> Result<(), &'static str> {
        let pushed = lines::push_nodes(out, tree, self.form, self.dialect, self.escapes);
        pushed.map_err(super::write::Unsayable::why)
    }

    pub(in crate::codec) fn end(&self, out: &mut Vec<u8>) {
        lines::push_end(out, self.form);
        push_end(out, self.form);
    }
}
