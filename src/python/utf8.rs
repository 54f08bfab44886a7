//! The UTF-8 of a Python `str`, without a copy where the interpreter keeps it.

use std::borrow::Cow;
use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use pyo3::ffi::{Py_ssize_t, PyErr_Clear, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

type AsUtf8 = unsafe extern "C" fn(*mut PyObject, *mut Py_ssize_t) -> *const c_char;

/// `PyUnicode_AsUTF8AndSize`: every `CPython` has it, the stable ABI of 3.9 does not name it. Without it
/// each string costs an object and a copy.
fn as_utf8() -> Option<AsUtf8> {
    static FUNCTION: OnceLock<Option<AsUtf8>> = OnceLock::new();
    *FUNCTION.get_or_init(|| {
        // SAFETY: the name is a C string, and the function under it has had this signature since CPython 3.3.
        unsafe {
            let symbol: *mut c_void = libc::dlsym(libc::RTLD_DEFAULT, c"PyUnicode_AsUTF8AndSize".as_ptr());
            (!symbol.is_null()).then(|| std::mem::transmute::<*mut c_void, AsUtf8>(symbol))
        }
    })
}

/// The text in UTF-8; lone surrogates are the bytes that `surrogateescape` made them from.
pub(super) fn bytes_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if let Some(utf8) = as_utf8().and_then(|function| borrow(text, function)) {
        return Ok(Cow::Borrowed(utf8));
    }
    let bytes = text.call_method1("encode", ("utf-8", "surrogateescape"))?;
    Ok(Cow::Owned(bytes.cast::<PyBytes>()?.as_bytes().to_vec()))
}

fn borrow<'a>(text: &'a Bound<'_, PyString>, function: AsUtf8) -> Option<&'a [u8]> {
    let mut size: Py_ssize_t = 0;
    // SAFETY: the object is a `str` and this thread is attached. The bytes belong to the object, which is
    // borrowed as long as they are, and never change.
    unsafe {
        let start = function(text.as_ptr(), &raw mut size);
        if start.is_null() {
            PyErr_Clear();
            return None;
        }
        Some(std::slice::from_raw_parts(start.cast::<u8>(), size.unsigned_abs()))
    }
}
