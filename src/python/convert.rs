//! Python objects to values and back.
//!
//! Text that is not UTF-8 becomes `str` with `surrogateescape`, as file names do, and goes back as it came.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyList, PyString};

use super::json::json_to_python;
use super::read::{item_from_python, type_name};
use super::utf8;
use crate::convert::tree_to_item;
use crate::item::{Item, Str};
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
    utf8::bytes_of(text).map(|bytes| Str::from(&*bytes))
}

/// A value as Python objects.
pub(super) fn item_to_python<'py>(py: Python<'py>, item: &Item) -> PyResult<Bound<'py, PyAny>> {
    Ok(match item {
        Item::Null => py.None().into_bound(py),
        Item::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Item::Int(value) => value.into_pyobject(py)?.into_any(),
        Item::UInt(value) => value.into_pyobject(py)?.into_any(),
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

/// Converts the body of a response to Python objects; an empty body is `"OK"`.
pub(super) fn body_to_python<'py>(py: Python<'py>, body: &Body) -> PyResult<Bound<'py, PyAny>> {
    match body {
        Body::Empty => Ok(PyString::new(py, "OK").into_any()),
        Body::Item(item) => item_to_python(py, item),
        Body::Json(text) => json_to_python(py, text),
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
            Value::UInt(value) => Item::UInt(value),
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
