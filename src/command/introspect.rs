//! XML-RPC introspection: `system.listMethods`, `methodHelp` and `methodSignature`.

use super::Command;
use super::permit::Permit;
use super::recipe::{Kind, Recipe};
use super::service::Service;
use super::system_methods::{HELP, LIST, NAMES, SIGNATURE};
pub use super::system_methods::{is_question, own_names};
use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::{Failure, Response};

/// Answers an introspection request; `None` for any other method.
pub fn answer(
    service: &Service,
    permit: &Permit,
    method: &[u8],
    params: &Params,
) -> Option<Result<Response, Failure>> {
    match method {
        method if method == LIST.as_bytes() => Some(names(service, permit, params)),
        method if method == HELP.as_bytes() => Some(describe(service, permit, params, help)),
        method if method == SIGNATURE.as_bytes() => Some(describe(service, permit, params, signatures)),
        _ => None,
    }
}

/// The subject of an introspection request.
enum Method<'a> {
    Command(&'a Command),
    /// A method of this file, with its help.
    Own(&'static str),
}

fn names(service: &Service, permit: &Permit, params: &Params) -> Result<Response, Failure> {
    if !params.is_empty() {
        return Err(Failure::ParamCount);
    }
    let registry = service.registry();
    let commands = registry.commands().filter(|command| permit.allows(command));
    let mut names: Vec<Item> = commands.map(|command| Item::Str(registry.display_name(command))).collect();
    names.extend(NAMES.iter().map(|(name, _)| Item::from(*name)));
    Ok(Item::Array(names).into())
}

fn describe(
    service: &Service,
    permit: &Permit,
    params: &Params,
    say: impl FnOnce(&Method<'_>) -> Item,
) -> Result<Response, Failure> {
    let name: Str = match params {
        Params::Positional(items) => match items.as_slice() {
            [Item::Str(name)] => name.clone(),
            [_] => return Err(Failure::ParamType("method".into())),
            _ => return Err(Failure::ParamCount),
        },
        Params::Strings(strings) => match strings.as_slice() {
            [name] => name.value.clone(),
            _ => return Err(Failure::ParamCount),
        },
        _ => return Err(Failure::ParamCount),
    };
    if let Some((_, help)) = NAMES.iter().find(|(own, _)| name == *own) {
        return Ok(say(&Method::Own(help)).into());
    }
    let command = service.registry().lookup(&name)?;
    if !permit.allows(&command) {
        return Err(Failure::UnknownCommand);
    }
    Ok(say(&Method::Command(&command)).into())
}

fn help(method: &Method<'_>) -> Item {
    match method {
        Method::Command(command) => Item::Str(command.help.clone()),
        Method::Own(help) => Item::from(*help),
    }
}

/// One list for each set of parameters: the type of the result, which is a struct, and of each parameter. `undef`
/// stands for any type.
fn signatures(method: &Method<'_>) -> Item {
    let Method::Command(Command { recipe: Recipe::Signature(signature), .. }) = method else { return "undef".into() };
    let kind_of = |name: &Str| signature.params.iter().find(|param| param.name == *name).map_or("string", kind_name);
    let one = |names: &Vec<Str>| {
        let types = std::iter::once("struct").chain(names.iter().map(kind_of));
        Item::Array(types.map(Item::from).collect())
    };
    Item::Array(signature.lists().iter().map(one).collect())
}

fn kind_name(param: &super::recipe::ParamSpec) -> &'static str {
    match param.kind {
        Kind::Any | Kind::Str => "string",
        Kind::Int => "int",
        Kind::Float => "double",
        Kind::Bool => "boolean",
        Kind::List(_) => "array",
        Kind::Dict => "struct",
    }
}
