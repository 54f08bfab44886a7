//! Python objects read into a value, or straight into JSON text.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use super::tree::{PyNode, PyTree};
use super::utf8;
use crate::codec::json;
use crate::item::{Item, MAX_DEPTH, Str};

/// A Python object as a value: None, bool, int, float, str, bytes, list, tuple, dict, dataclass, mapping,
/// [`PyTree`] and [`PyNode`]; within containers too.
pub(super) fn item_from_python(value: &Bound<'_, PyAny>) -> PyResult<Item> {
    let mut built = Built::default();
    read(value, &mut built, 0)?;
    Ok(built.whole)
}

/// The same, as the JSON text of that value.
pub(super) fn json_from_python(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut written = Written(Vec::with_capacity(128));
    read(value, &mut written, 0)?;
    Ok(written.0)
}

/// The name of an object's class, for errors.
pub(super) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().fully_qualified_name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// The elements of a list that are read before Ctrl-C is looked for, in less than a millisecond.
const ELEMENTS_AT_ONCE: usize = 8192;

/// A receiver of the pieces of Python objects.
trait Sink {
    /// A value that has no parts.
    fn scalar(&mut self, scalar: Scalar<'_>);
    /// A value that is whole already.
    fn item(&mut self, item: Item);
    /// The beginning of a list of `len` elements.
    fn open_array(&mut self, len: usize);
    /// The beginning of an object of `len` members.
    fn open_object(&mut self, len: usize);
    /// The name of the member that comes next.
    fn name(&mut self, name: &[u8]);
    /// The end of the innermost list.
    fn close_array(&mut self);
    /// The end of the innermost object.
    fn close_object(&mut self);
}

enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(&'a [u8]),
}

fn read(value: &Bound<'_, PyAny>, sink: &mut impl Sink, depth: usize) -> PyResult<()> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        sink.scalar(Scalar::Text(&utf8::bytes_of(text)?));
    } else if let Ok(int) = value.cast_exact::<PyInt>() {
        sink.scalar(read_int(int)?);
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        read_dict(dict, sink, depth)?;
    } else if value.is_none() {
        sink.scalar(Scalar::Null);
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        sink.scalar(Scalar::Bool(flag.is_true()));
    } else if let Ok(float) = value.cast_exact::<PyFloat>() {
        sink.scalar(Scalar::Float(float.value()));
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        read_elements(list.len(), list.iter(), sink, depth)?;
    } else {
        read_other(value, sink, depth)?;
    }
    Ok(())
}

/// The less common types, and subclasses of the common ones.
fn read_other(value: &Bound<'_, PyAny>, sink: &mut impl Sink, depth: usize) -> PyResult<()> {
    if let Ok(tuple) = value.cast::<PyTuple>() {
        read_elements(tuple.len(), tuple.iter(), sink, depth)?;
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        sink.scalar(Scalar::Text(bytes.as_bytes()));
    } else if let Ok(text) = value.cast::<PyString>() {
        sink.scalar(Scalar::Text(&utf8::bytes_of(text)?));
    } else if let Ok(int) = value.cast::<PyInt>() {
        sink.scalar(read_int(int)?);
    } else if let Ok(float) = value.cast::<PyFloat>() {
        sink.scalar(Scalar::Float(float.value()));
    } else if let Ok(dict) = value.cast::<PyDict>() {
        read_dict(dict, sink, depth)?;
    } else if let Ok(list) = value.cast::<PyList>() {
        read_elements(list.len(), list.iter(), sink, depth)?;
    } else if let Ok(tree) = value.cast::<PyTree>() {
        sink.item(tree.get().to_item()?);
    } else if let Ok(node) = value.cast::<PyNode>() {
        sink.item(node.get().to_item()?);
    } else {
        read_record(value, sink, depth)?;
    }
    Ok(())
}

/// A dataclass by its fields, a mapping by its items, anything with `__index__` as an integer.
fn read_record(value: &Bound<'_, PyAny>, sink: &mut impl Sink, depth: usize) -> PyResult<()> {
    static MAPPING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    let is_class = value.is_instance_of::<PyType>();
    if let (false, Ok(fields)) = (is_class, value.getattr("__dataclass_fields__")) {
        let dict = PyDict::new(py);
        for name in fields.try_iter()? {
            let name = name?.cast_into::<PyString>()?;
            dict.set_item(&name, value.getattr(&name)?)?;
        }
        return read_dict(&dict, sink, depth);
    }
    if value.is_instance(MAPPING.import(py, "collections.abc", "Mapping")?)? {
        let dict = PyDict::new(py);
        dict.update(value.cast()?)?;
        return read_dict(&dict, sink, depth);
    }
    if let (false, Ok(int)) = (is_class, value.call_method0("__index__")) {
        sink.scalar(read_int(int.cast::<PyInt>()?)?);
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "expected None, bool, int, float, str, bytes, list, dict, dataclass, Tree or Node, found {}",
        type_name(value)
    )))
}

fn read_int(int: &Bound<'_, PyInt>) -> PyResult<Scalar<'static>> {
    if let Ok(value) = int.extract::<i64>() {
        return Ok(Scalar::Int(value));
    }
    let value = int.extract::<u64>();
    value.map(Scalar::UInt).map_err(|_| {
        PyOverflowError::new_err("expected an integer from -2**63 to 2**64 - 1, found one beyond (send it as a str)")
    })
}

fn read_elements<'py>(
    len: usize,
    elements: impl Iterator<Item = Bound<'py, PyAny>>,
    sink: &mut impl Sink,
    depth: usize,
) -> PyResult<()> {
    check_depth(depth)?;
    sink.open_array(len);
    for (number, element) in elements.enumerate() {
        if number % ELEMENTS_AT_ONCE == ELEMENTS_AT_ONCE - 1 {
            element.py().check_signals()?;
        }
        read(&element, sink, depth + 1)?;
    }
    sink.close_array();
    Ok(())
}

fn read_dict(dict: &Bound<'_, PyDict>, sink: &mut impl Sink, depth: usize) -> PyResult<()> {
    check_depth(depth)?;
    sink.open_object(dict.len());
    for (key, member) in dict.iter() {
        match key.cast::<PyString>() {
            Ok(text) => sink.name(&utf8::bytes_of(text)?),
            Err(_) => sink.name(&utf8::bytes_of(&key.str()?)?),
        }
        read(&member, sink, depth + 1)?;
    }
    sink.close_object();
    Ok(())
}

fn check_depth(depth: usize) -> PyResult<()> {
    if depth >= MAX_DEPTH {
        return Err(PyValueError::new_err(format!("values may nest {MAX_DEPTH} levels deep, found more")));
    }
    Ok(())
}

/// A value that is being built.
#[derive(Default)]
struct Built {
    whole: Item,
    /// The lists and objects that are not closed yet, outermost first; an object with the name of its next member.
    open: Vec<(Item, Str)>,
}

impl Sink for Built {
    fn scalar(&mut self, scalar: Scalar<'_>) {
        self.item(match scalar {
            Scalar::Null => Item::Null,
            Scalar::Bool(value) => Item::Bool(value),
            Scalar::Int(value) => Item::Int(value),
            Scalar::UInt(value) => Item::UInt(value),
            Scalar::Float(value) => Item::Float(value),
            Scalar::Text(text) => Item::Str(text.into()),
        });
    }

    fn item(&mut self, item: Item) {
        match self.open.last_mut() {
            Some((Item::Array(elements), _)) => elements.push(item),
            Some((Item::Object(members), name)) => members.push((std::mem::take(name), item)),
            _ => self.whole = item,
        }
    }

    fn open_array(&mut self, len: usize) {
        self.open.push((Item::Array(Vec::with_capacity(len)), Str::default()));
    }

    fn open_object(&mut self, len: usize) {
        self.open.push((Item::Object(Vec::with_capacity(len)), Str::default()));
    }

    fn name(&mut self, name: &[u8]) {
        if let Some((_, next)) = self.open.last_mut() {
            *next = name.into();
        }
    }

    fn close_array(&mut self) {
        if let Some((item, _)) = self.open.pop() {
            self.item(item);
        }
    }

    fn close_object(&mut self) {
        self.close_array();
    }
}

/// JSON text that is being written, without blanks.
struct Written(Vec<u8>);

impl Written {
    /// Whatever is not the first in its list or object has a comma before it. No scalar ends as those begin.
    fn separate(&mut self) {
        if !matches!(self.0.last(), None | Some(b'[' | b'{' | b':')) {
            self.0.push(b',');
        }
    }
}

impl Sink for Written {
    fn scalar(&mut self, scalar: Scalar<'_>) {
        let item = match scalar {
            Scalar::Text(text) => {
                self.separate();
                return json::write_string(&mut self.0, text);
            }
            Scalar::Null => Item::Null,
            Scalar::Bool(value) => Item::Bool(value),
            Scalar::Int(value) => Item::Int(value),
            Scalar::UInt(value) => Item::UInt(value),
            Scalar::Float(value) => Item::Float(value),
        };
        self.item(item);
    }

    fn item(&mut self, item: Item) {
        self.separate();
        json::write(&mut self.0, &item);
    }

    fn open_array(&mut self, _len: usize) {
        self.separate();
        self.0.push(b'[');
    }

    fn open_object(&mut self, _len: usize) {
        self.separate();
        self.0.push(b'{');
    }

    fn name(&mut self, name: &[u8]) {
        self.separate();
        json::write_string(&mut self.0, name);
        self.0.push(b':');
    }

    fn close_array(&mut self) {
        self.0.push(b']');
    }

    fn close_object(&mut self) {
        self.0.push(b'}');
    }
}
