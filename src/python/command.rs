//! The Python classes of a command, and the description of its parameters.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::convert::text_to_python;
use super::handler::PyHandler;
use crate::codec::json;
use crate::command::Command;
use crate::command::recipe::{Kind, ParamSpec, Passing};
use crate::item::Item;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCommand>()
}

/// A registered command (`struct mi_cmd`).
#[pyclass(frozen, name = "Command", module = "sipmi")]
pub(super) struct PyCommand {
    pub(super) command: Arc<Command>,
}

#[pymethods]
impl PyCommand {
    /// The module that exports it.
    #[getter]
    fn module<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text_to_python(py, &self.command.module)
    }

    /// Its name within the module.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text_to_python(py, &self.command.name)
    }

    /// One line for people.
    #[getter]
    fn help<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text_to_python(py, &self.command.help)
    }

    /// Its `Flags`, as a number.
    #[getter]
    fn flags(&self) -> u8 {
        self.command.flags.bits()
    }

    /// Other names it answers to.
    #[getter]
    fn aliases(&self) -> Vec<String> {
        self.command.aliases.iter().map(ToString::to_string).collect()
    }

    /// The sets of parameter names that may be given; empty for `(root, param)` handlers.
    #[getter]
    fn recipes(&self) -> Vec<Vec<String>> {
        let names = |list: Vec<crate::item::Str>| list.iter().map(ToString::to_string).collect();
        self.command.recipe.lists().into_iter().map(names).collect()
    }

    /// The value that an `Export` passes to its handler (`mi_export_t.param`).
    #[getter]
    fn param(&self, py: Python<'_>) -> Py<PyAny> {
        let handler: &dyn std::any::Any = self.command.handler.as_any();
        handler.downcast_ref::<PyHandler>().map_or_else(|| py.None(), |handler| handler.param(py))
    }

    fn __repr__(&self) -> String {
        format!("<Command {}>", self.command.canonical_name())
    }

    fn __eq__(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.command, &other.command)
    }

    fn __hash__(&self) -> usize {
        Arc::as_ptr(&self.command) as usize
    }
}

/// One parameter as `sipmi.server` describes it: name, kind, nullable, required, passing, default, choices. The
/// default is JSON text, or None when there is none to show; so are the choices, as a list.
pub(super) type Described = (String, String, bool, bool, String, Option<String>, String);

/// Reads a description. Kinds: `any str int float bool dict list` and `list[...]`.
pub(super) fn read_param(described: Described) -> PyResult<ParamSpec> {
    let (name, kind, nullable, required, passing, default, choices) = described;
    let passing = match passing.as_str() {
        "either" => Passing::Either,
        "named" => Passing::Named,
        "rest" => Passing::Rest,
        other => return Err(PyValueError::new_err(format!("expected either, named or rest, found {other:?}"))),
    };
    let kind = read_kind(&kind)?;
    let kind = if passing == Passing::Rest { Kind::List(Box::new(kind)) } else { kind };
    let default = default.map(|text| json::parse(text.as_bytes())).transpose()?;
    let choices = match json::parse(choices.as_bytes())? {
        Item::Array(choices) => choices,
        _ => Vec::new(),
    };
    Ok(ParamSpec { name: name.into(), kind, nullable, required, passing, default, choices })
}

fn read_kind(kind: &str) -> PyResult<Kind> {
    Ok(match kind {
        "any" => Kind::Any,
        "str" => Kind::Str,
        "int" => Kind::Int,
        "float" => Kind::Float,
        "bool" => Kind::Bool,
        "dict" => Kind::Dict,
        "list" => Kind::List(Box::new(Kind::Any)),
        other => match other.strip_prefix("list[").and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => Kind::List(Box::new(read_kind(inner)?)),
            None => return Err(PyValueError::new_err(format!("no parameter kind {other:?}"))),
        },
    })
}

/// Turns names into places for [`crate::command::recipe::Signature::recipes`].
pub(super) fn read_recipes(params: &[ParamSpec], recipes: Vec<Vec<String>>) -> PyResult<Vec<Vec<usize>>> {
    let place = |name: String| {
        let found = params.iter().position(|param| param.name == name.as_str());
        found.ok_or_else(|| {
            PyValueError::new_err(format!("a recipe names {name:?}, which is no parameter of the command"))
        })
    };
    recipes.into_iter().map(|recipe| recipe.into_iter().map(place).collect()).collect()
}
