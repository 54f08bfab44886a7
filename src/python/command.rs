//! The Python classes of a command, and the description of its parameters.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

use super::convert::text_to_python;
use super::handler::PyHandler;
use crate::codec::json;
use crate::command::recipe::{Kind, ParamSpec, Passing, Recipe, Signature};
use crate::command::{Answer, Call, Command, CommandFlags, Conduct, Handler};
use crate::item::{Item, Str};
use crate::response::Failure;

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
    /// Describes a command, as pickle needs it. A server's `run_command` runs its own command of that name.
    #[new]
    fn py_new(
        module: String,
        name: String,
        help: String,
        flags: u8,
        aliases: Vec<String>,
        recipes: Vec<Vec<String>>,
        param: Py<PyAny>,
    ) -> PyResult<Self> {
        let built_in =
            if flags & CommandFlags::BUILT_IN.bits() == 0 { CommandFlags::NONE } else { CommandFlags::BUILT_IN };
        let command = Command {
            module: module.into(),
            name: name.into(),
            help: help.into(),
            flags: CommandFlags::from_bits(flags) | built_in,
            recipe: recipe_of_names(recipes)?,
            aliases: aliases.into_iter().map(Str::from).collect(),
            handler: Box::new(Absent { param }),
            conduct: Conduct::default(),
        };
        Ok(PyCommand { command: Arc::new(command) })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let (command, py) = (slf.get(), slf.py());
        let parts = (
            command.module(py)?,
            command.name(py)?,
            command.help(py)?,
            command.flags(),
            command.aliases(),
            command.recipes(),
            command.param(py),
        );
        Ok((slf.get_type(), parts.into_pyobject(py)?))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

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
        match (handler.downcast_ref::<PyHandler>(), handler.downcast_ref::<Absent>()) {
            (Some(handler), _) => handler.param(py),
            (None, Some(absent)) => absent.param.clone_ref(py),
            (None, None) => py.None(),
        }
    }

    fn __repr__(&self) -> String {
        format!("<Command {}>", self.command.canonical_name())
    }

    /// Equal when they have the same name and say the same of themselves.
    fn __eq__(&self, other: &Self) -> bool {
        let (one, other) = (&self.command, &other.command);
        Arc::ptr_eq(one, other)
            || (&one.module, &one.name, &one.help, one.flags, &one.aliases)
                == (&other.module, &other.name, &other.help, other.flags, &other.aliases)
                && one.recipe.lists() == other.recipe.lists()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.command.module, &self.command.name).hash(&mut hasher);
        hasher.finish()
    }
}

impl PyCommand {
    /// Returns true if it came by pickle, so that it has no handler.
    pub(super) fn is_copy(&self) -> bool {
        let handler: &dyn std::any::Any = self.command.handler.as_any();
        handler.is::<Absent>()
    }
}

/// The handler of a command that came by pickle.
struct Absent {
    param: Py<PyAny>,
}

impl Handler for Absent {
    fn run(&self, _: Call<'_>) -> Answer {
        Answer::Now(Err(Failure::UnknownCommand))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A recipe that lists these sets of names.
fn recipe_of_names(recipes: Vec<Vec<String>>) -> PyResult<Recipe> {
    if recipes.is_empty() {
        return Ok(Recipe::Tree);
    }
    let mut params: Vec<ParamSpec> = Vec::new();
    for name in recipes.iter().flatten() {
        if !params.iter().any(|param| param.name == name.as_str()) {
            params.push(any_param(name));
        }
    }
    let recipes = read_recipes(&params, recipes)?;
    Ok(Recipe::Signature(Signature { params, recipes, takes_any_name: false }))
}

fn any_param(name: &str) -> ParamSpec {
    let (kind, passing) = (Kind::Any, Passing::Either);
    ParamSpec {
        name: name.into(),
        kind,
        nullable: true,
        required: false,
        passing,
        default: None,
        choices: Vec::new(),
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
