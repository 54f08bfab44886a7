//! The extension module `sipmi._core`: the only folder that knows the interpreter.

#![allow(clippy::doc_markdown, clippy::doc_link_with_quotes)] // these are docstrings, for help()

#[cfg(target_os = "linux")]
mod affinity;
mod catalog;
mod client;
mod command;
mod convert;
mod driver;
mod error_report;
mod errors;
mod event;
mod exit;
mod fork;
mod gateway;
mod handler;
mod http;
mod json;
mod limits;
mod local;
mod logging;
mod number;
mod pickled;
mod processes;
mod read;
mod reply;
mod request;
mod server;
mod stream;
mod thread_scope;
mod tree;
mod utf8;

use pyo3::PyTypeInfo;
use pyo3::prelude::*;

/// Returns the HTML of an object in a notebook; `sipmi.display` renders it.
fn html_of<T: PyTypeInfo>(object: &Bound<'_, T>) -> PyResult<String> {
    object.py().import("sipmi.display")?.call_method1("html", (object,))?.extract()
}

// No free-threaded build runs the tests, so such an interpreter keeps its lock.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    exit::register(module)?;
    fork::register(module)?;
    tree::register(module)?;
    client::register(module)?;
    reply::register(module)?;
    driver::register(module)?;
    command::register(module)?;
    event::register(module)?;
    handler::register(module)?;
    request::register(module)?;
    catalog::register(module)?;
    server::register(module)?;
    processes::register(module)?;
    #[cfg(target_os = "linux")]
    affinity::register(module)?;
    Ok(())
}
