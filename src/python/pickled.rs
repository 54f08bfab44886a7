//! The state of trees, values and replies as Python objects that pickle takes, and back.
//!
//! Nodes are a list in the order of [`Tree::walk`], each with its level, so that no depth exhausts a stack.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::convert::{OwnedValue, item_to_python, text_from_python, text_to_python, value_to_python};
use super::read::item_from_python;
use super::tree::PyTree;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::request::{Param, Params};
use crate::response::{Body, Response};
use crate::tree::{NodeId, Tree};

/// An attribute: name and value.
type Pair<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>);
/// A node: level, name, value, flags, attributes.
pub(super) type Row<'py> = (usize, Bound<'py, PyString>, Bound<'py, PyAny>, u8, Vec<Pair<'py>>);

/// All nodes of a tree.
pub(super) fn rows<'py>(py: Python<'py>, tree: &Tree) -> PyResult<Vec<Row<'py>>> {
    let pair = |(name, value)| Ok((text_to_python(py, name)?, value_to_python(py, &OwnedValue::copy(value))?));
    let row = |(level, node)| {
        let attrs = tree.attrs(node).map(pair).collect::<PyResult<_>>()?;
        let (name, value) = pair((tree.name(node), tree.value(node)))?;
        Ok((level, name, value, tree.flags(node).bits(), attrs))
    };
    tree.walk().map(row).collect()
}

/// Adds the nodes that [`rows`] listed below the root of a tree.
pub(super) fn add_rows(tree: &mut Tree, rows: &[Row<'_>]) -> PyResult<()> {
    let mut above = vec![NodeId::ROOT];
    for (level, name, value, flags, attrs) in rows {
        above.truncate(level + 1);
        let parent = *above.get(*level).ok_or_else(|| PyValueError::new_err("expected a node below its parent"))?;
        let node = tree.add_child(parent, text_from_python(name)?, OwnedValue::from_python(value)?.borrow());
        for (name, value) in attrs {
            tree.add_attr(node, text_from_python(name)?, OwnedValue::from_python(value)?.borrow());
        }
        tree.set_flags(node, tree.flags(node).with_bits(*flags));
        above.push(node);
    }
    Ok(())
}

/// A value that keeps repeated names of an object: an object is a tuple of pairs, an array a list.
fn exact<'py>(py: Python<'py>, item: &Item) -> PyResult<Bound<'py, PyAny>> {
    match item {
        Item::Array(elements) => {
            let elements = elements.iter().map(|element| exact(py, element)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, elements)?.into_any())
        }
        Item::Object(members) => exact_members(py, members),
        scalar => item_to_python(py, scalar),
    }
}

fn exact_members<'py>(py: Python<'py>, members: &[(Str, Item)]) -> PyResult<Bound<'py, PyAny>> {
    let member = |(name, item): &(Str, Item)| (text_to_python(py, name)?, exact(py, item)?).into_pyobject(py);
    Ok(PyTuple::new(py, members.iter().map(member).collect::<PyResult<Vec<_>>>()?)?.into_any())
}

fn read_exact(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Item> {
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err(format!("expected a value of at most {MAX_DEPTH} levels")));
    }
    if let Ok(list) = value.cast::<PyList>() {
        return list.iter().map(|element| read_exact(&element, depth + 1)).collect::<PyResult<_>>().map(Item::Array);
    }
    if let Ok(members) = value.cast::<PyTuple>() {
        return members.iter().map(|member| read_member(&member, depth)).collect::<PyResult<_>>().map(Item::Object);
    }
    item_from_python(value)
}

fn read_member(member: &Bound<'_, PyAny>, depth: usize) -> PyResult<(Str, Item)> {
    let (name, value): Pair<'_> = member.extract()?;
    Ok((text_from_python(&name)?, read_exact(&value, depth + 1)?))
}

/// Parameters: the name of their form, and a value.
pub(super) type ParamsState<'py> = (String, Bound<'py, PyAny>);

/// The parameters of a request.
pub(super) fn params_state<'py>(py: Python<'py>, params: &Params) -> PyResult<ParamsState<'py>> {
    let string = |param: &Param| (param.name.clone(), Item::Str(param.value.clone()));
    let (form, state) = match params {
        Params::None => ("none", py.None().into_bound(py)),
        Params::Positional(items) => ("positional", exact(py, &Item::Array(items.clone()))?),
        Params::Named(members) => ("named", exact_members(py, members)?),
        Params::Strings(list) => ("strings", exact_members(py, &list.iter().map(string).collect::<Vec<_>>())?),
    };
    Ok((form.to_owned(), state))
}

/// The parameters of a request, from their state.
pub(super) fn read_params((form, state): ParamsState<'_>) -> PyResult<Params> {
    let string = |(name, value)| match value {
        Item::Str(value) => Ok(Param { name, value }),
        _ => Err(PyValueError::new_err("expected parameters that are strings")),
    };
    match (form.as_str(), read_exact(&state, 0)?) {
        ("none", _) => Ok(Params::None),
        ("positional", Item::Array(items)) => Ok(Params::Positional(items)),
        ("named", Item::Object(members)) => Ok(Params::Named(members)),
        ("strings", Item::Object(members)) => {
            members.into_iter().map(string).collect::<PyResult<_>>().map(Params::Strings)
        }
        _ => Err(PyValueError::new_err(format!("expected parameters, found {form:?}"))),
    }
}

/// A response: code, reason, the name of the form of its body, and a value.
pub(super) type ResponseState<'py> = (i32, Bound<'py, PyString>, String, Bound<'py, PyAny>);

/// The response of a reply.
pub(super) fn response_state<'py>(py: Python<'py>, response: &Response) -> PyResult<ResponseState<'py>> {
    let (form, body) = match &response.body {
        Body::Empty => ("empty", py.None().into_bound(py)),
        Body::Item(item) => ("item", exact(py, item)?),
        Body::Json(text) => ("json", PyBytes::new(py, text).into_any()),
        Body::Tree(tree) => ("tree", Bound::new(py, PyTree::new(tree.clone()))?.into_any()),
    };
    Ok((response.code, text_to_python(py, &response.reason)?, form.to_owned(), body))
}

/// The response of a reply, from its state.
pub(super) fn read_response((code, reason, form, body): ResponseState<'_>) -> PyResult<Response> {
    let body = match form.as_str() {
        "empty" => Body::Empty,
        "item" => Body::Item(read_exact(&body, 0)?),
        "json" => Body::Json(body.cast::<PyBytes>()?.as_bytes().to_vec()),
        "tree" => Body::Tree(body.cast::<PyTree>()?.get().snapshot()),
        other => return Err(PyValueError::new_err(format!("expected the body of a response, found {other:?}"))),
    };
    Ok(Response { code, reason: text_from_python(&reason)?, body })
}
