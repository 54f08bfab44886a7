//! The options of `listen` that only HTTP has.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::exit;
use super::number::{MOST_BYTES, MOST_REQUESTS, count, seconds};
use crate::server::listener::http::{Credentials, HttpOptions, JsonGet, NeverMatches, Roots, check_hosts, tls};

/// Reads them one by one; options that depend on each other are combined in the end.
#[derive(Default)]
pub(super) struct HttpReader {
    options: HttpOptions,
    tls: Option<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    roots: Option<Vec<(String, Option<String>)>>,
}

impl HttpReader {
    /// Reads an option; false when HTTP has none of that name.
    pub(super) fn read(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let options = &mut self.options;
        match name {
            "tls" => self.tls = read_tls(value)?,
            "client_ca" => self.client_ca = value.extract()?,
            "auth" => read_auth(&mut options.credentials, value)?,
            "token" => options.credentials.token = value.extract()?,
            "hosts" => options.hosts = value.extract()?,
            "json_get" => options.json_get = read_json_get(value)?,
            "xmlrpc" => options.xmlrpc = Some(value.extract::<String>()?.parse()?),
            "roots" => self.roots = Some(value.cast::<PyDict>()?.iter().map(read_root).collect::<PyResult<_>>()?),
            "read_timeout" => options.timeouts.read = seconds(name, value)?,
            "idle_timeout" => options.timeouts.idle = seconds(name, value)?,
            "receive_buf_size" => options.receive_buffer = count(name, value, 0..=MOST_BYTES)?,
            "metrics" => options.shows_metrics = value.is_truthy()?,
            "connections" => options.connections = count(name, value, 1..=MOST_REQUESTS)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the options that were read, for a listener at this URL.
    pub(super) fn finish(self, url: &str) -> PyResult<HttpOptions> {
        let HttpReader { mut options, tls, client_ca, roots } = self;
        match (tls, client_ca) {
            (Some((certificate, key)), client_ca) => {
                options.tls = Some(tls::server_config(&certificate, &key, client_ca.as_deref())?);
            }
            (None, Some(_)) => return Err(PyValueError::new_err("client_ca needs tls, found none")),
            (None, None) if url.starts_with("https:") => {
                return Err(PyValueError::new_err(format!("{url} needs tls=(certificate, key), found none")));
            }
            (None, None) => {}
        }
        options.roots = roots.map(read_roots).transpose()?;
        let refused = |error: NeverMatches| PyValueError::new_err(error.to_string());
        options.credentials.check().map_err(refused)?;
        check_hosts(&options.hosts).map_err(refused)?;
        Ok(options)
    }
}

/// `(certificate, key)`, or one file that has both.
fn read_tls(value: &Bound<'_, PyAny>) -> PyResult<Option<(PathBuf, PathBuf)>> {
    if value.is_none() {
        return Ok(None);
    }
    if let Ok(pair) = value.cast::<PyTuple>() {
        return pair.extract().map(Some);
    }
    let both: PathBuf = value.extract()?;
    Ok(Some((both.clone(), both)))
}

/// A dictionary of users and passwords, or a function that is asked.
fn read_auth(credentials: &mut Credentials, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(users) = value.cast::<PyDict>() {
        let users = users.iter().map(|(user, password)| Ok((user.extract()?, password.extract()?)));
        credentials.users = Some(users.collect::<PyResult<_>>()?);
        return Ok(());
    }
    if !value.is_callable() {
        return Err(PyTypeError::new_err("expected auth={user: password} or a function of user and password"));
    }
    let function = value.clone().unbind();
    let ask = move |user: &str, password: &str| {
        let asked = exit::attach(|py| {
            let answer = function.bind(py).call1((PyString::new(py, user), password));
            let known = answer.and_then(|answer| answer.is_truthy());
            known.unwrap_or_else(|error| {
                error.write_unraisable(py, None);
                false
            })
        });
        // An authorization function that raises denies access.
        asked.unwrap_or(false)
    };
    credentials.ask = Some(Arc::new(ask));
    Ok(())
}

fn read_json_get(value: &Bound<'_, PyAny>) -> PyResult<JsonGet> {
    match value.extract::<String>()?.as_str() {
        "programs" => Ok(JsonGet::Programs),
        "read_only" => Ok(JsonGet::ReadOnly),
        "all" => Ok(JsonGet::All),
        other => {
            let expected = "json_get=\"programs\", \"read_only\" or \"all\"";
            Err(PyValueError::new_err(format!("expected {expected}, found {other:?}")))
        }
    }
}

fn read_root((name, path): (Bound<'_, PyAny>, Bound<'_, PyAny>)) -> PyResult<(String, Option<String>)> {
    Ok((name.extract()?, path.extract()?))
}

/// The roots that are named, and no others.
fn read_roots(given: Vec<(String, Option<String>)>) -> PyResult<Roots> {
    let mut roots = Roots { mi: None, json: None, rpc: None, xmlrpc: None, html: None };
    for (name, path) in given {
        if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(['?', '#'])) {
            return Err(PyValueError::new_err(format!("expected a path that begins with / for the root {name:?}")));
        }
        let root = match name.as_str() {
            "mi" => &mut roots.mi,
            "json" => &mut roots.json,
            "rpc" => &mut roots.rpc,
            "xmlrpc" => &mut roots.xmlrpc,
            "html" => &mut roots.html,
            _ => {
                let expected = "mi, json, rpc, xmlrpc and html";
                return Err(PyValueError::new_err(format!("expected the roots {expected}, found {name:?}")));
            }
        };
        *root = path;
    }
    Ok(roots)
}
