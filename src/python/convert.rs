//! Python objects to values and back.
//!
//! Text that is not UTF-8 becomes `str` with `surrogateescape`, as file names do, and goes back as it came.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use super::tree::{PyNode, PyTree};
use crate::convert::tree_to_item;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::response::Body;
use crate::tree::Value;

/// Text as a Python `str`.
pub(super) fn text_to_python<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text)),
        Err(_) => PyString::from_encoded_object(&PyBytes::new(py, bytes), Some(c"utf-8"), Some(c"surrogateescape")),
    }
}

/// A Python `str` as text.
pub(super) fn text_from_python(text: &Bound<'_, PyString>) -> PyResult<Str> {
    if let Ok(utf8) = text.to_cow() {
        return Ok(Str::from(&*utf8));
    }
    let bytes = text.call_method1("encode", ("utf-8", "surrogateescape"))?;
    Ok(Str::from(bytes.cast::<PyBytes>()?.as_bytes()))
}

/// A value as Python objects.
pub(super) fn item_to_python<'py>(py: Python<'py>, item: &Item) -> PyResult<Bound<'py, PyAny>> {
    Ok(match item {
        Item::Null => py.None().into_bound(py),
        Item::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Item::Int(value) => value.into_pyobject(py)?.into_any(),
        Item::Float(value) => PyFloat::new(py, *value).into_any(),
        Item::Str(text) => text_to_python(py, text)?.into_any(),
        Item::Array(elements) => {
            let list = PyList::empty(py);
            for element in elements {
                list.append(item_to_python(py, element)?)?;
            }
            list.into_any()
        }
        Item::Object(members) => {
            let dict = PyDict::new(py);
            for (name, member) in members {
                let name = text_to_python(py, name)?;
                // Of a name that occurs twice, the first is kept.
                if !dict.contains(&name)? {
                    dict.set_item(name, item_to_python(py, member)?)?;
                }
            }
            dict.into_any()
        }
    })
}

/// What a response carries, as Python objects; nothing at all is `"OK"`.
pub(super) fn body_to_python<'py>(py: Python<'py>, body: &Body) -> PyResult<Bound<'py, PyAny>> {
    match body {
        Body::Empty => Ok(PyString::new(py, "OK").into_any()),
        Body::Item(item) => item_to_python(py, item),
        Body::Tree(tree) => match tree_to_item(tree)? {
            Some(item) => item_to_python(py, &item),
            None => Ok(PyString::new(py, "OK").into_any()),
        },
    }
}

/// A node's value as a Python object; bytes stay bytes.
pub(super) fn value_to_python<'py>(py: Python<'py>, value: &OwnedValue) -> PyResult<Bound<'py, PyAny>> {
    match value {
        OwnedValue::Bytes(bytes) => Ok(PyBytes::new(py, bytes).into_any()),
        OwnedValue::Item(item) => item_to_python(py, item),
    }
}

/// A node's value, apart from its tree.
#[derive(Clone, PartialEq)]
pub(super) enum OwnedValue {
    Bytes(Vec<u8>),
    Item(Item),
}

impl OwnedValue {
    /// Copies it, so that no lock is held while Python objects are made.
    pub(super) fn copy(value: Value<'_>) -> Self {
        OwnedValue::Item(match value {
            Value::None => Item::Null,
            Value::Bool(value) => Item::Bool(value),
            Value::Int(value) => Item::Int(value),
            Value::Float(value) => Item::Float(value),
            Value::Str(text) => Item::Str(text.into()),
            Value::Bytes(bytes) => return OwnedValue::Bytes(bytes.to_vec()),
        })
    }

    /// A Python scalar.
    pub(super) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(OwnedValue::Bytes(bytes.as_bytes().to_vec()));
        }
        match item_from_python(value)? {
            Item::Array(_) | Item::Object(_) => Err(PyTypeError::new_err(format!(
                "expected a node's value (str, bytes, int, float, bool or None), found {}",
                type_name(value)
            ))),
            item => Ok(OwnedValue::Item(item)),
        }
    }

    /// Borrowed, as trees take it.
    pub(super) fn borrow(&self) -> Value<'_> {
        match self {
            OwnedValue::Bytes(bytes) => Value::Bytes(bytes),
            OwnedValue::Item(item) => crate::convert::item_value(item),
        }
    }
}

/// A Python object as a value: None, bool, int, float, str, bytes, list, tuple, dict, dataclass, mapping,
/// [`PyTree`] and [`PyNode`]; within containers too.
pub(super) fn item_from_python(value: &Bound<'_, PyAny>) -> PyResult<Item> {
    read(value, 0)
}

fn read(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Item> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return text_from_python(text).map(Item::Str);
    }
    if let Ok(int) = value.cast_exact::<PyInt>() {
        return read_int(int);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return read_dict(dict, depth);
    }
    if value.is_none() {
        return Ok(Item::Null);
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        return Ok(Item::Bool(flag.is_true()));
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Ok(Item::Float(float.value()));
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return read_elements(list.iter(), depth);
    }
    read_other(value, depth)
}

/// The less common types, and subclasses of the common ones.
fn read_other(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Item> {
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return read_elements(tuple.iter(), depth);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Item::Str(bytes.as_bytes().into()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text_from_python(text).map(Item::Str);
    }
    if let Ok(int) = value.cast::<PyInt>() {
        return read_int(int);
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(Item::Float(float.value()));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return read_dict(dict, depth);
    }
    if let Ok(list) = value.cast::<PyList>() {
        return read_elements(list.iter(), depth);
    }
    if let Ok(tree) = value.cast::<PyTree>() {
        return tree.get().to_item();
    }
    if let Ok(node) = value.cast::<PyNode>() {
        return node.get().to_item();
    }
    read_record(value, depth)
}

/// A dataclass by its fields, a mapping by its items, anything with `__index__` as an integer.
fn read_record(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Item> {
    static MAPPING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    let is_class = value.is_instance_of::<PyType>();
    if let (false, Ok(fields)) = (is_class, value.getattr("__dataclass_fields__")) {
        let dict = PyDict::new(py);
        for name in fields.try_iter()? {
            let name = name?.cast_into::<PyString>()?;
            dict.set_item(&name, value.getattr(&name)?)?;
        }
        return read_dict(&dict, depth);
    }
    if value.is_instance(MAPPING.import(py, "collections.abc", "Mapping")?)? {
        let dict = PyDict::new(py);
        dict.update(value.cast()?)?;
        return read_dict(&dict, depth);
    }
    if let (false, Ok(int)) = (is_class, value.call_method0("__index__")) {
        return read_int(int.cast::<PyInt>()?);
    }
    Err(PyTypeError::new_err(format!(
        "expected None, bool, int, float, str, bytes, list, dict, dataclass, Tree or Node, found {}",
        type_name(value)
    )))
}

fn read_int(int: &Bound<'_, PyInt>) -> PyResult<Item> {
    let value = int.extract::<i64>();
    value.map(Item::Int).map_err(|_| PyOverflowError::new_err("expected an integer of 64 bits, found a larger one"))
}

fn read_elements<'py>(elements: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> PyResult<Item> {
    check_depth(depth)?;
    elements.map(|element| read(&element, depth + 1)).collect::<PyResult<_>>().map(Item::Array)
}

fn read_dict(dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<Item> {
    check_depth(depth)?;
    let mut members = Vec::with_capacity(dict.len());
    for (key, member) in dict.iter() {
        let name = match key.cast::<PyString>() {
            Ok(text) => text_from_python(text)?,
            Err(_) => text_from_python(&key.str()?)?,
        };
        members.push((name, read(&member, depth + 1)?));
    }
    Ok(Item::Object(members))
}

fn check_depth(depth: usize) -> PyResult<()> {
    if depth >= MAX_DEPTH {
        return Err(PyValueError::new_err(format!("values may nest {MAX_DEPTH} levels deep, found more")));
    }
    Ok(())
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().fully_qualified_name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}
