//! JSON text read into Python objects, with no value in between.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::{Mutex, TryLockError};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::convert::{item_to_python, text_to_python};
use crate::codec::json::{self, Text};

/// How many member names are remembered. A reply has a few dozen.
const NAMES: usize = 256;
/// Longer ones are hardly ever repeated.
const LONGEST_NAME: usize = 64;

/// The value that a JSON text is. Of members with the same name the first is kept.
pub(super) fn json_to_python<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // If another thread is reading, or this thread is in the middle of reading, the names are not shared.
    let mut shared = match REMEMBERED.try_lock() {
        Ok(names) => Some(names),
        Err(TryLockError::Poisoned(names)) => Some(names.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    let names = RefCell::new(shared.as_deref_mut());
    let text = Text::new(bytes);
    let reader = Reader { py, text: &text, names: &names, trouble: &Cell::new(None) };
    let mut json = text.deserializer();
    let value = reader.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    match (value, reader.trouble.take()) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(Trouble::Raised(error))) => Err(error),
        (Err(_), Some(Trouble::RepeatedName)) => {
            drop(shared);
            item_to_python(py, &json::parse(bytes)?)
        }
        (Err(error), None) => Err(text.error(&error, bytes).into()),
    }
}

/// Names of members that came before: the same few come again and again.
static REMEMBERED: Mutex<Names> = Mutex::new(Names([const { None }; NAMES]));

struct Names([Option<(Box<str>, Py<PyString>)>; NAMES]);

impl Names {
    fn get<'py>(&mut self, py: Python<'py>, name: &str) -> Bound<'py, PyString> {
        let slot = &mut self.0[place(name.as_bytes())];
        if let Some((_, object)) = slot.as_ref().filter(|(known, _)| **known == *name) {
            return object.bind(py).clone();
        }
        let object = PyString::new(py, name);
        *slot = Some((name.into(), object.clone().unbind()));
        object
    }
}

/// FNV-1a, which is short for short names.
fn place(name: &[u8]) -> usize {
    let hash = name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) as usize % NAMES
}

/// Why reading ended, where the parser does not know it.
enum Trouble {
    Raised(PyErr),
    /// Python's dictionaries keep the last of them, so the text is read in another way.
    RepeatedName,
}

#[derive(Clone, Copy)]
struct Reader<'r, 'py> {
    py: Python<'py>,
    text: &'r Text<'r>,
    names: &'r RefCell<Option<&'r mut Names>>,
    trouble: &'r Cell<Option<Trouble>>,
}

impl<'py> Reader<'_, 'py> {
    fn string(self, value: &str) -> PyResult<Bound<'py, PyString>> {
        if self.text.is_exact() {
            return Ok(PyString::new(self.py, value));
        }
        text_to_python(self.py, &self.text.bytes(value))
    }

    fn name(self, name: &str) -> PyResult<Bound<'py, PyString>> {
        match &mut *self.names.borrow_mut() {
            Some(names) if name.len() <= LONGEST_NAME && self.text.is_exact() => Ok(names.get(self.py, name)),
            _ => self.string(name),
        }
    }

    fn stop<E: serde::de::Error>(self, trouble: Trouble) -> E {
        self.trouble.set(Some(trouble));
        E::custom("stopped")
    }

    fn or_stop<T, E: serde::de::Error>(self, made: PyResult<T>) -> Result<T, E> {
        made.map_err(|error| self.stop(Trouble::Raised(error)))
    }
}

impl<'de, 'py> DeserializeSeed<'de> for Reader<'_, 'py> {
    type Value = Bound<'py, PyAny>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, 'py> Visitor<'de> for Reader<'_, 'py> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.py.None().into_bound(self.py))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(PyBool::new(self.py, value).to_owned().into_any())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.or_stop(value.into_pyobject(self.py).map(Bound::into_any).map_err(Into::into))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.or_stop(value.into_pyobject(self.py).map(Bound::into_any).map_err(Into::into))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(PyFloat::new(self.py, value).into_any())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        self.or_stop(self.string(value).map(Bound::into_any))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let list = PyList::empty(self.py);
        while let Some(element) = elements.next_element_seed(self)? {
            self.or_stop::<_, A::Error>(list.append(element))?;
        }
        Ok(list.into_any())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let dict = PyDict::new(self.py);
        let mut count = 0;
        while let Some(name) = members.next_key_seed(NameReader(self))? {
            let member = members.next_value_seed(self)?;
            self.or_stop::<_, A::Error>(dict.set_item(name, member))?;
            count += 1;
        }
        if dict.len() == count { Ok(dict.into_any()) } else { Err(self.stop(Trouble::RepeatedName)) }
    }
}

struct NameReader<'r, 'py>(Reader<'r, 'py>);

impl<'de, 'py> DeserializeSeed<'de> for NameReader<'_, 'py> {
    type Value = Bound<'py, PyString>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'py> Visitor<'_> for NameReader<'_, 'py> {
    type Value = Bound<'py, PyString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        self.0.or_stop(self.0.name(name))
    }
}
