//! `Tree`, `Node` and `Attr` as Python sees them.
//!
//! A node is its tree and a place in it. No lock is held while Python objects are made: making one may run
//! a finalizer, and that may look at the same tree.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple, PyType};

use super::convert::{OwnedValue, item_to_python, text_from_python, text_to_python, value_to_python};
use super::html_of;
use super::pickled::{Row, add_rows, rows};
use super::read::item_from_python;
use crate::codec::text;
use crate::convert::{item_to_tree, node_to_item, tree_to_item};
use crate::flush::{Growing, Number};
use crate::item::{Item, Str};
use crate::response::{Body, Response};
use crate::tree::{NodeId, Tree, Value};

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyTree>()?;
    module.add_class::<PyNode>()?;
    module.add_class::<PyAttr>()
}

type Shared = Arc<Mutex<Growing>>;
/// The parts of which pickle makes an object: its class, the arguments of that, and the state that it is given then.
type Reduced<'py> = (Bound<'py, PyType>, Bound<'py, PyTuple>, Bound<'py, PyAny>);

fn shared(tree: Tree) -> Shared {
    Arc::new(Mutex::new(Growing::new(tree)))
}

fn lock(tree: &Shared) -> MutexGuard<'_, Growing> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many nodes a repr shows.
const SHOWN_NODES: usize = 20;

/// A reply: code, reason and nodes (`struct mi_root`; `Tree()` is `init_mi_tree(200, "OK")`).
///
/// `free_mi_tree` has no counterpart: memory is freed by itself.
///
/// >>> tree = Tree(200, "OK")
/// >>> domain = tree.add_child("Domain", "example.org")
/// >>> domain.add_attr("records", "1").add_child("AOR", "alice")
/// <Node AOR: "alice">
/// >>> tree.value
/// {'Domain': {'value': 'example.org', 'records': '1', 'AOR': 'alice'}}
#[pyclass(frozen, name = "Tree", module = "sipmi")]
pub(super) struct PyTree {
    tree: Shared,
    /// The object that answers the command with these parameters, when that is ASYNC.
    async_handler: Option<Py<PyAny>>,
}

/// A node of a tree: name, value, attributes and children (`struct mi_node`).
///
/// One made by itself, `Node("cdr", "1")`, is for generators to yield and for `append`.
///
/// >>> node = Node("Contact", "sip:alice@127.0.0.1")
/// >>> node.add_attr("Q", 0.5).attr("Q")
/// 0.5
#[pyclass(frozen, name = "Node", module = "sipmi")]
pub(super) struct PyNode {
    tree: Shared,
    number: Number,
}

/// An attribute of a node: name and value (`struct mi_attr`). Unpacks as a pair.
///
/// >>> node = Node("Process").add_attr("ID", 0)
/// >>> [(name, value) for name, value in node.attributes]
/// [('ID', 0)]
#[pyclass(frozen, name = "Attr", module = "sipmi", eq)]
#[derive(PartialEq)]
pub(super) struct PyAttr {
    name: Str,
    value: OwnedValue,
}

impl PyTree {
    pub(super) fn new(tree: Tree) -> Self {
        PyTree { tree: shared(tree), async_handler: None }
    }

    /// The parameters of a command that answers later.
    pub(super) fn answered_by(self, async_handler: Py<PyAny>) -> Self {
        PyTree { async_handler: Some(async_handler), ..self }
    }

    /// A copy of the tree as it is now.
    pub(super) fn snapshot(&self) -> Tree {
        Tree::clone(&lock(&self.tree))
    }

    /// Converts the nodes to a value; a tree without nodes is None.
    pub(super) fn to_item(&self) -> PyResult<Item> {
        Ok(tree_to_item(&lock(&self.tree))?.unwrap_or_default())
    }
}

impl PyNode {
    /// Converts the node to a value.
    pub(super) fn to_item(&self) -> PyResult<Item> {
        Ok(self.look(|tree, node| node_to_item(tree, node))??)
    }

    /// Copies the node and all below it under `parent` of another tree.
    pub(super) fn graft_onto(&self, tree: &mut Tree, parent: NodeId) -> PyResult<NodeId> {
        self.look(|from, node| tree.graft(parent, from, node))
    }

    /// Looks at the node in its tree.
    fn look<T>(&self, look: impl FnOnce(&mut Growing, NodeId) -> T) -> PyResult<T> {
        let mut tree = lock(&self.tree);
        let gone = || PyRuntimeError::new_err("the node was flushed: it has been sent and is no longer in its tree");
        let node = tree.find(self.number).ok_or_else(gone)?;
        Ok(look(&mut tree, node))
    }

    /// Another node of the same tree, found from this one.
    fn other(&self, find: impl FnOnce(&Tree, NodeId) -> Option<NodeId>) -> PyResult<Option<PyNode>> {
        let number = self.look(|tree, node| find(tree, node).map(|found| tree.number(found)))?;
        Ok(number.map(|number| PyNode { tree: self.tree.clone(), number }))
    }
}

/// The nodes of a tree below one of them, as Python objects.
fn nodes(tree: &Shared, growing: &Growing, parent: NodeId) -> Vec<PyNode> {
    growing.children(parent).map(|node| PyNode { tree: tree.clone(), number: growing.number(node) }).collect()
}

/// A child to be added: its name and value.
struct Newcomer(Str, Option<OwnedValue>);

impl Newcomer {
    fn from_python(name: &Bound<'_, PyString>, value: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Ok(Newcomer(text_from_python(name)?, value.map(OwnedValue::from_python).transpose()?))
    }

    fn value(&self) -> Value<'_> {
        self.1.as_ref().map_or(Value::None, OwnedValue::borrow)
    }

    /// Adds it below a node, and gives it as a Python object.
    fn add(&self, tree: &Shared, growing: &mut Growing, parent: NodeId) -> PyNode {
        let node = growing.add_child(parent, &self.0, self.value());
        PyNode { tree: tree.clone(), number: growing.number(node) }
    }
}

/// A copy of a node, to be put elsewhere: both places may be in one tree, and no two locks are ever held.
fn copy_of(node: &PyNode) -> PyResult<(Tree, NodeId)> {
    let mut copy = Tree::ok();
    let top = node.graft_onto(&mut copy, NodeId::ROOT)?;
    Ok((copy, top))
}

fn shown(tree: &Tree) -> String {
    let text = format!("{tree:?}");
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(SHOWN_NODES + 1) {
        None | Some(0) => text,
        Some(more) => format!("{}\n  ... and {more} more nodes", lines[..=SHOWN_NODES].join("\n")),
    }
}

#[pymethods]
impl PyTree {
    #[new]
    #[pyo3(signature = (code=200, reason=None))]
    fn py_new(code: i32, reason: Option<&Bound<'_, PyString>>) -> PyResult<Self> {
        let reason = reason.map_or_else(|| Ok("OK".into()), text_from_python)?;
        Ok(PyTree::new(Tree::new(code, reason)))
    }

    /// A tree (200 OK) whose nodes say this value, by the rule of docs/trees-and-values.md.
    ///
    /// Raises TypeError for a value that no wire can carry.
    ///
    /// >>> [node.name for node in Tree.from_value({"AOR": ["a", "b"]}).children]
    /// ['AOR', 'AOR']
    #[staticmethod]
    fn from_value(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        item_from_python(value).map(|item| PyTree::new(item_to_tree(&item)))
    }

    /// The code: 200 to 299 is success (`mi_root.code`).
    #[getter]
    fn code(&self) -> i32 {
        lock(&self.tree).code
    }

    #[setter]
    fn set_code(&self, code: i32) {
        lock(&self.tree).code = code;
    }

    /// The reason of the code, for people (`mi_root.reason`).
    #[getter]
    fn reason<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let reason = lock(&self.tree).reason.clone();
        text_to_python(py, &reason)
    }

    #[setter]
    fn set_reason(&self, reason: &Bound<'_, PyString>) -> PyResult<()> {
        let reason = text_from_python(reason)?;
        lock(&self.tree).reason = reason;
        Ok(())
    }

    /// 1: the top nodes are a list (`MI_IS_ARRAY`); 2: more is to come (`MI_NOT_COMPLETED`);
    /// 8: they are an object, also when there are none.
    #[getter]
    fn flags(&self) -> u8 {
        lock(&self.tree).flags(NodeId::ROOT).bits()
    }

    #[setter]
    fn set_flags(&self, flags: u8) {
        let mut tree = lock(&self.tree);
        let old = tree.flags(NodeId::ROOT);
        tree.set_flags(NodeId::ROOT, old.with_bits(flags));
    }

    /// The top nodes, in order (`mi_root.node.kids`).
    #[getter]
    fn children(&self) -> Vec<PyNode> {
        nodes(&self.tree, &lock(&self.tree), NodeId::ROOT)
    }

    /// The value of the nodes, by the rule of docs/trees-and-values.md; "OK" when there are none.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let item = tree_to_item(&lock(&self.tree))?;
        item.map_or_else(|| Ok(PyString::new(py, "OK").into_any()), |item| item_to_python(py, &item))
    }

    /// The object that answers an ASYNC command later (`mi_root.async_hdl`); None for any other tree.
    #[getter]
    fn async_handler(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.async_handler.as_ref().map(|handler| handler.clone_ref(py))
    }

    /// Sends the nodes that are complete and takes them out of the tree (`flush_mi_tree`); says whether it did.
    ///
    /// A node that is marked `MI_NOT_COMPLETED` (flag 2) stays, with all after it. On text over a FIFO or socket it is
    /// itself sent, once, and so are those of its children that are complete. For a handler that runs on a thread and
    /// not on the event loop: it waits here, with the interpreter detached, while the client reads. Where no transport
    /// sends nodes early (`Server.call`, `run_command` without `flush=`), they stay in the tree. Flushed nodes have
    /// the form of a generator's: a run of nodes of one name is a list. A flushed node is gone: using it raises
    /// RuntimeError.
    ///
    /// Raises BrokenPipeError when the client no longer reads the reply, and RuntimeError outside a handler.
    fn flush(&self, py: Python<'_>) -> PyResult<bool> {
        let within = super::request::flushes_within_nodes(py)?;
        let Some((complete, rest)) = lock(&self.tree).part(within) else { return Ok(false) };
        let flushed = super::request::flush(py, complete)?;
        if flushed {
            *lock(&self.tree) = rest;
        }
        Ok(flushed)
    }

    /// Adds a top node after the others and gives it (`add_mi_node_child` on the root's node).
    ///
    /// The value is str, bytes, int, float, bool or None. An f-string does what `addf_mi_node_child` does.
    ///
    /// >>> Tree().add_child("load", f"{0.25:.1%}")
    /// <Node load: "25.0%">
    #[pyo3(signature = (name, value=None))]
    fn add_child(&self, name: &Bound<'_, PyString>, value: Option<&Bound<'_, PyAny>>) -> PyResult<PyNode> {
        let newcomer = Newcomer::from_python(name, value)?;
        Ok(newcomer.add(&self.tree, &mut lock(&self.tree), NodeId::ROOT))
    }

    /// Copies a node, with all below it, to the end of the top nodes and gives the copy.
    fn append(&self, node: &PyNode) -> PyResult<PyNode> {
        let (copy, top) = copy_of(node)?;
        let mut tree = lock(&self.tree);
        let added = tree.graft(NodeId::ROOT, &copy, top);
        Ok(PyNode { tree: self.tree.clone(), number: tree.number(added) })
    }

    /// The first node of this name at any level, parents before children; None when there is none.
    #[pyo3(signature = (name))]
    fn find(&self, name: &Bound<'_, PyString>) -> PyResult<Option<PyNode>> {
        let name = text_from_python(name)?;
        let tree = lock(&self.tree);
        let found = tree.walk().map(|(_, id)| id).find(|id| tree.name(*id) == &*name);
        Ok(found.map(|node| PyNode { tree: self.tree.clone(), number: tree.number(node) }))
    }

    /// Checks that a text reply can tell these nodes, so that a reader gets them back: nothing is escaped there.
    ///
    /// Types, and the difference between None and "", are lost on text and no error.
    ///
    /// Raises CodecError: a node would be read as something else; it says which and why.
    ///
    /// >>> tree = Tree()
    /// >>> tree.add_child("a:: b", "c")
    /// <Node a:: b: "c">
    /// >>> tree.check_text()
    /// Traceback (most recent call last):
    ///     ...
    /// sipmi.errors.CodecError: ...
    fn check_text(&self) -> PyResult<()> {
        Ok(text::check_expressible(&lock(&self.tree))?)
    }

    /// A copy that shares nothing (`clone_mi_tree`); copy.copy and copy.deepcopy do the same.
    fn clone(&self) -> Self {
        PyTree::new(self.snapshot())
    }

    fn __copy__(&self) -> Self {
        PyTree::new(self.snapshot())
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        PyTree::new(self.snapshot())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let (py, tree) = (slf.py(), slf.get().snapshot());
        let arguments = (tree.code, text_to_python(py, &tree.reason)?).into_pyobject(py)?;
        let state = (tree.flags(NodeId::ROOT).bits(), rows(py, &tree)?).into_pyobject(py)?;
        Ok((slf.get_type(), arguments, state.into_any()))
    }

    fn __setstate__(&self, state: (u8, Vec<Row<'_>>)) -> PyResult<()> {
        let (flags, rows) = state;
        let mut read = Tree::ok();
        add_rows(&mut read, &rows)?;
        let mut tree = lock(&self.tree);
        let old = tree.flags(NodeId::ROOT);
        tree.set_flags(NodeId::ROOT, old.with_bits(flags));
        read.children(NodeId::ROOT).for_each(|node| _ = tree.graft(NodeId::ROOT, &read, node));
        Ok(())
    }

    fn __len__(&self) -> usize {
        lock(&self.tree).len()
    }

    fn __bool__(&self) -> bool {
        lock(&self.tree).is_success()
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(PyList::new(py, self.children())?.try_iter()?.into_any().unbind())
    }

    fn __eq__(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.tree, &other.tree) {
            return true;
        }
        let other = other.snapshot();
        **lock(&self.tree) == other
    }

    fn __repr__(&self) -> String {
        format!("<Tree {}>", shown(&lock(&self.tree)))
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        html_of(slf)
    }
}

#[pymethods]
impl PyNode {
    #[new]
    #[pyo3(signature = (name, value=None))]
    fn py_new(name: &Bound<'_, PyString>, value: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let tree = shared(Tree::ok());
        let newcomer = Newcomer::from_python(name, value)?;
        let node = newcomer.add(&tree, &mut lock(&tree), NodeId::ROOT);
        Ok(node)
    }

    /// The name; empty when it has none (`mi_node.name`).
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let name = self.look(|tree, node| Str::from(tree.name(node)))?;
        text_to_python(py, &name)
    }

    #[setter]
    fn set_name(&self, name: &Bound<'_, PyString>) -> PyResult<()> {
        let name = text_from_python(name)?;
        self.look(|tree, node| tree.set_name(node, name))
    }

    /// The value as it was given: str, bytes, int, float, bool or None (`mi_node.value`).
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let value = self.look(|tree, node| OwnedValue::copy(tree.value(node)))?;
        value_to_python(py, &value)
    }

    #[setter]
    fn set_value(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = OwnedValue::from_python(value)?;
        self.look(|tree, node| tree.set_value(node, value.borrow()))
    }

    /// 1: the children are a list (`MI_IS_ARRAY`); 4: the node is an element of the list that its name names,
    /// also when it stands alone; 8: the children are an object, also when there are none.
    #[getter]
    fn flags(&self) -> PyResult<u8> {
        self.look(|tree, node| tree.flags(node).bits())
    }

    #[setter]
    fn set_flags(&self, flags: u8) -> PyResult<()> {
        self.look(|tree, node| {
            let old = tree.flags(node);
            tree.set_flags(node, old.with_bits(flags));
        })
    }

    /// The attributes, in order (`mi_node.attributes`).
    #[getter]
    fn attributes(&self) -> PyResult<Vec<PyAttr>> {
        self.look(|tree, node| {
            let attrs = tree.attrs(node);
            attrs.map(|(name, value)| PyAttr { name: name.into(), value: OwnedValue::copy(value) }).collect()
        })
    }

    /// The children, in order (`mi_node.kids`).
    #[getter]
    fn children(&self) -> PyResult<Vec<PyNode>> {
        self.look(|tree, node| nodes(&self.tree, tree, node))
    }

    /// The node above; None for a top node.
    #[getter]
    fn parent(&self) -> PyResult<Option<PyNode>> {
        self.other(|tree, node| tree.parent(node).filter(|parent| *parent != NodeId::ROOT))
    }

    /// The next sibling; None for the last (`mi_node.next`).
    #[getter]
    fn next(&self) -> PyResult<Option<PyNode>> {
        self.other(Tree::next_sibling)
    }

    /// Adds a child after the others and gives it (`add_mi_node_child`, `addf_mi_node_child` with an f-string).
    #[pyo3(signature = (name, value=None))]
    fn add_child(&self, name: &Bound<'_, PyString>, value: Option<&Bound<'_, PyAny>>) -> PyResult<PyNode> {
        let newcomer = Newcomer::from_python(name, value)?;
        self.look(|tree, node| newcomer.add(&self.tree, tree, node))
    }

    /// Adds a node after the last sibling and gives it (`add_mi_node_sibling`, `addf_mi_node_sibling`).
    #[pyo3(signature = (name, value=None))]
    fn add_sibling(&self, name: &Bound<'_, PyString>, value: Option<&Bound<'_, PyAny>>) -> PyResult<PyNode> {
        let newcomer = Newcomer::from_python(name, value)?;
        self.look(|tree, node| {
            let parent = tree.parent(node).unwrap_or(NodeId::ROOT);
            newcomer.add(&self.tree, tree, parent)
        })
    }

    /// Copies a node, with all below it, to the end of the children and gives the copy.
    fn append(&self, node: &PyNode) -> PyResult<PyNode> {
        let (copy, top) = copy_of(node)?;
        self.look(|tree, parent| {
            let added = tree.graft(parent, &copy, top);
            PyNode { tree: self.tree.clone(), number: tree.number(added) }
        })
    }

    /// Adds an attribute after the others and gives the node itself (`add_mi_attr`, `addf_mi_attr`).
    #[pyo3(signature = (name, value=None))]
    fn add_attr<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'_, PyString>,
        value: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let newcomer = Newcomer::from_python(name, value)?;
        slf.get().look(|tree, node| tree.add_attr(node, &newcomer.0, newcomer.value()))?;
        Ok(slf.clone())
    }

    /// The value of the first attribute of this name, else the default (`get_mi_attr_by_name`).
    #[pyo3(signature = (name, default=None))]
    fn attr<'py>(
        &self,
        name: &Bound<'py, PyString>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = name.py();
        let name = text_from_python(name)?;
        let value = self.look(|tree, node| tree.attr(node, name).map(OwnedValue::copy))?;
        match value {
            Some(value) => value_to_python(py, &value),
            None => Ok(default.unwrap_or_else(|| py.None().into_bound(py))),
        }
    }

    /// Return the value of the node and all below it, by the rule of docs/trees-and-values.md.
    fn to_value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let item = self.to_item()?;
        item_to_python(py, &item)
    }

    /// Copies the node with all below it, apart from its tree.
    fn __copy__(&self) -> PyResult<Self> {
        let (copy, top) = copy_of(self)?;
        let tree = shared(copy);
        let number = lock(&tree).number(top);
        Ok(PyNode { tree, number })
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.__copy__()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let (py, (copy, top)) = (slf.py(), copy_of(slf.get())?);
        let value = value_to_python(py, &OwnedValue::copy(copy.value(top)))?;
        let arguments = (text_to_python(py, copy.name(top))?, value).into_pyobject(py)?;
        Ok((slf.get_type(), arguments, rows(py, &copy)?.into_pyobject(py)?))
    }

    #[expect(clippy::needless_pass_by_value, reason = "pyo3 reads it so")]
    fn __setstate__(&self, rows: Vec<Row<'_>>) -> PyResult<()> {
        let mut copy = Tree::ok();
        add_rows(&mut copy, &rows)?;
        let top =
            copy.first_child(NodeId::ROOT).ok_or_else(|| PyValueError::new_err("expected a node, found none"))?;
        self.look(|tree, node| {
            tree.set_flags(node, copy.flags(top));
            copy.attrs(top).for_each(|(name, value)| tree.add_attr(node, name, value));
            copy.children(top).for_each(|child| _ = tree.graft(node, &copy, child));
        })
    }

    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        html_of(slf)
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(PyList::new(py, self.children()?)?.try_iter()?.into_any().unbind())
    }

    fn __eq__(&self, other: &Self) -> PyResult<bool> {
        Ok(copy_of(self)?.0 == copy_of(other)?.0)
    }

    fn __repr__(&self) -> String {
        let Ok((copy, _)) = copy_of(self) else { return "<Node, flushed>".to_owned() };
        let text = shown(&copy);
        format!("<Node {}>", text.split_once('\n').map_or("", |(_, nodes)| nodes.trim_start()))
    }
}

#[pymethods]
impl PyAttr {
    #[new]
    #[pyo3(signature = (name, value=None))]
    fn py_new(name: &Bound<'_, PyString>, value: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Newcomer(name, value) = Newcomer::from_python(name, value)?;
        Ok(PyAttr { name, value: value.unwrap_or(OwnedValue::Item(Item::Null)) })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let (attr, py) = (slf.get(), slf.py());
        Ok((slf.get_type(), (attr.name(py)?, attr.value(py)?).into_pyobject(py)?))
    }

    /// The name.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text_to_python(py, &self.name)
    }

    /// The value: str, bytes, int, float, bool or None.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        value_to_python(py, &self.value)
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let pair = (self.name(py)?, self.value(py)?).into_pyobject(py)?;
        Ok(pair.try_iter()?.into_any().unbind())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Attr({}, {})", self.name(py)?.repr()?, self.value(py)?.repr()?))
    }
}

/// A response whose nodes are those of the tree as it is now.
impl From<&PyTree> for Response {
    fn from(tree: &PyTree) -> Self {
        tree.snapshot().into()
    }
}

/// A response that says 200 OK and this node.
impl TryFrom<&PyNode> for Response {
    type Error = PyErr;

    fn try_from(node: &PyNode) -> PyResult<Self> {
        let (tree, _) = copy_of(node)?;
        Ok(Response { body: Body::Tree(tree), ..Response::ok() })
    }
}
