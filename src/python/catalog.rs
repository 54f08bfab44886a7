//! The catalog of OpenSIPS's commands for Python.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::convert::{text_from_python, text_to_python};
use crate::catalog::effects::{Effect, Risk, effect_of, risk_of};
use crate::catalog::{inventory, names, parameters, secrets, statistics, times};
use crate::codec::text;
use crate::dialect::Dialect;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(is_read_only_command, module)?)?;
    module.add_function(wrap_pyfunction!(flat_command_name, module)?)?;
    module.add_function(wrap_pyfunction!(canonical_command_name, module)?)?;
    module.add_function(wrap_pyfunction!(command_name_on, module)?)?;
    module.add_function(wrap_pyfunction!(command_module, module)?)?;
    module.add_function(wrap_pyfunction!(legacy_recipes, module)?)?;
    module.add_function(wrap_pyfunction!(list_position, module)?)?;
    module.add_function(wrap_pyfunction!(command_risk, module)?)?;
    module.add_function(wrap_pyfunction!(statistic_meaning, module)?)?;
    module.add_function(wrap_pyfunction!(reply_times, module)?)?;
    module.add_function(wrap_pyfunction!(cataloged_versions, module)?)?;
    module.add_function(wrap_pyfunction!(cataloged_commands, module)?)?;
    module.add_function(wrap_pyfunction!(cataloged_recipes, module)?)?;
    module.add_function(wrap_pyfunction!(takes_names_only, module)?)?;
    module.add_function(wrap_pyfunction!(loadable_modules, module)?)?;
    module.add_function(wrap_pyfunction!(secret_names, module)?)?;
    module.add_function(wrap_pyfunction!(decode_text_params, module)?)
}

/// The parts of names, in lower case, whose values the trace, the audit log and cassettes hide.
#[pyfunction]
fn secret_names() -> Vec<&'static str> {
    secrets::NAMES.to_vec()
}

/// Return True if a command changes nothing, by any name that a version of OpenSIPS has for it.
/// An unknown command may change something.
#[pyfunction]
fn is_read_only_command(name: &Bound<'_, PyString>) -> PyResult<bool> {
    Ok(effect_of(&text_from_python(name)?) == Effect::Read)
}

/// The one name by which a command of any version is known: that from before 4.0.
#[pyfunction]
fn flat_command_name<'py>(py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyString>> {
    text_to_python(py, &names::flat_name(&text_from_python(name)?))
}

/// Return `module:name` of a command in 4.x, by any of its names; None when the catalog of 4.x lacks it.
#[pyfunction]
fn canonical_command_name(name: &Bound<'_, PyString>) -> PyResult<Option<&'static str>> {
    Ok(names::canonical_name(&text_from_python(name)?))
}

/// The name that OpenSIPS of a version ("3.6.8") has for a command; the given one when none is known.
#[pyfunction]
fn command_name_on<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyString>,
    version: &str,
) -> PyResult<Bound<'py, PyString>> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let Some(Some(major)) = parts.next() else { return Ok(name.clone()) };
    let known = names::name_on(&text_from_python(name)?, (major, parts.next().flatten()));
    known.map_or_else(|| Ok(name.clone()), |known| text_to_python(py, &known))
}

/// The module that a command of any version is in, as 4.0 has them; None when that is not known.
#[pyfunction]
fn command_module(name: &Bound<'_, PyString>) -> PyResult<Option<&'static str>> {
    Ok(names::module_of(&text_from_python(name)?))
}

/// The sets of parameters that a command of 1.x and 2.x takes, in order; None when that is not known.
#[pyfunction]
fn legacy_recipes(name: &Bound<'_, PyString>) -> PyResult<Option<Vec<Vec<&'static str>>>> {
    Ok(parameters::recipes(&names::flat_name(&text_from_python(name)?)))
}

/// The position of the list that a command of 3.x and 4.x takes, by any of its names; None when it takes none.
#[pyfunction]
fn list_position(name: &Bound<'_, PyString>) -> PyResult<Option<usize>> {
    let flat = names::flat_name(&text_from_python(name)?);
    Ok(parameters::list_parameter(&flat).map(|list| list.position))
}

/// Return the risk that a user should confirm before running a command, as the rest of a sentence ("ends calls").
/// None means no risk.
#[pyfunction]
fn command_risk(name: &Bound<'_, PyString>) -> PyResult<Option<&'static str>> {
    Ok(risk_of(&text_from_python(name)?.to_text()).map(Risk::describe))
}

/// The kind, "counter" or "gauge", and the unit of a statistic `group:name`; None when they are not known.
#[pyfunction]
fn statistic_meaning(full_name: &Bound<'_, PyString>) -> PyResult<Option<(&'static str, &'static str)>> {
    let meaning = statistics::meaning_of(&text_from_python(full_name)?.to_text());
    Ok(meaning.map(|(kind, unit)| (kind.name(), unit)))
}

/// The members of a command's reply that are times, with their notations: "clock", "date", "moment", "duration".
#[pyfunction]
fn reply_times<'py>(py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyDict>> {
    let members = PyDict::new(py);
    for (member, time) in times::times_of(&names::flat_name(&text_from_python(name)?)) {
        members.set_item(member, time.name())?;
    }
    Ok(members)
}

/// The versions of OpenSIPS whose commands are known, the oldest first.
#[pyfunction]
fn cataloged_versions() -> Vec<&'static str> {
    inventory::versions().collect()
}

/// The commands of a version of OpenSIPS in the order of `which`, by their names before 4.0; None when they are not
/// known.
#[pyfunction]
fn cataloged_commands(version: &str) -> Option<Vec<&'static str>> {
    inventory::commands_of(version)
}

/// The sets of parameters that a command of 3.x and 4.x takes, by its name before 4.0; None if it is unknown.
#[pyfunction]
fn cataloged_recipes(name: &str) -> Option<Vec<Vec<&'static str>>> {
    inventory::recipes_of(name)
}

/// Return True if a command of 3.x and 4.x takes parameters by name alone, by its name before 4.0.
#[pyfunction]
fn takes_names_only(name: &str) -> bool {
    inventory::is_named_only(name)
}

/// The modules whose commands a version has only when its configuration loads them.
#[pyfunction]
fn loadable_modules() -> Vec<&'static str> {
    inventory::LOADABLE.to_vec()
}

/// Names, or "", and values of parameters as text wires have them: `value` or `name::value`, in quotes or not.
///
/// :raises ValueError: a quote is missing, or stands where none is allowed.
#[pyfunction]
fn decode_text_params<'py>(
    py: Python<'py>,
    lines: &Bound<'py, PyString>,
) -> PyResult<Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>> {
    let params = text::decode_params(&text_from_python(lines)?, Dialect::Sipmi)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    params.iter().map(|param| Ok((text_to_python(py, &param.name)?, text_to_python(py, &param.value)?))).collect()
}
