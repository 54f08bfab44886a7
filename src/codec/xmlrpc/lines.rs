//! Trees as lines `name:: value attr=v`: the forms `string`, `array`, `ng` and `ng1`.

use super::Form;
use super::write::{Escapes, Unsayable, push_escaped};
use crate::codec::text::{self, BLANKS_IN_STRINGS};
use crate::dialect::Dialect;
use crate::item::MAX_DEPTH;
use crate::tree::{NodeId, Tree, Value};

/// Appends a tree as one value: a string of all lines, or an array of them.
pub(super) fn push_tree(
    out: &mut Vec<u8>,
    tree: &Tree,
    form: Form,
    dialect: Dialect,
    escapes: Escapes,
) -> Result<(), Unsayable> {
    push_begin(out, form);
    push_nodes(out, tree, form, dialect, escapes)?;
    push_end(out, form);
    Ok(())
}

pub(super) fn push_begin(out: &mut Vec<u8>, form: Form) {
    let is_array = form == Form::Array;
    out.extend_from_slice(if is_array { b"<value><array><data>\r\n" } else { b"<value><string>" });
}

pub(super) fn push_end(out: &mut Vec<u8>, form: Form) {
    let is_array = form == Form::Array;
    out.extend_from_slice(if is_array { b"</data></array></value>" } else { b"</string></value>" });
}

/// Appends a line for each node.
pub(super) fn push_nodes(
    out: &mut Vec<u8>,
    tree: &Tree,
    form: Form,
    dialect: Dialect,
    escapes: Escapes,
) -> Result<(), Unsayable> {
    let (mut line, is_array) = (Vec::new(), form == Form::Array);
    for (level, node) in tree.walk() {
        if level >= MAX_DEPTH {
            return Err(Unsayable::TooDeep);
        }
        line.clear();
        push_line(&mut line, tree, node, level, form, dialect);
        out.extend_from_slice(if is_array { b"<value><string>" } else { b"" });
        push_escaped(out, &line, escapes)?;
        out.extend_from_slice(if is_array { b"</string></value>\r\n" } else { b"" });
    }
    Ok(())
}

/// Appends the line of a node. `string` and `array` do not show the levels.
///
/// The originals of `ng` and `ng1` indent nodes with a name alone, and write one that has nothing else without
/// separator. Sipmi indents all, and writes a separator wherever the line would be read as another.
fn push_line(line: &mut Vec<u8>, tree: &Tree, node: NodeId, level: usize, form: Form, dialect: Dialect) {
    let by_ng = dialect.is_emulated() && matches!(form, Form::Ng | Form::Ng1);
    let is_named = !tree.name(node).is_empty();
    let indent = if by_ng && !is_named { 0 } else { level };
    match form {
        Form::Ng => line.resize(indent, b'\t'),
        Form::Ng1 => line.resize(indent * BLANKS_IN_STRINGS, b' '),
        _ => {}
    }
    let separator = if by_ng {
        is_named && (tree.value(node) != Value::None || tree.has_attrs(node))
    } else {
        // An indented line without one is a name.
        !line.is_empty() || text::needs_separator(tree, node, dialect)
    };
    text::write_line(line, tree, node, separator);
}
