//! The handler of built-in commands, and their registration.

#![allow(clippy::unnecessary_wraps)] // one signature for all of them

use std::sync::{Arc, Weak};

use crate::command::recipe::{Arguments, Recipe, Signature};
use crate::command::service::Service;
use crate::command::{Answer, Call, Command, CommandFlags, Conduct, Handler};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::response::{Failure, Response};

pub(super) type Outcome = Result<Response, Failure>;

/// A built-in command of a service.
struct Builtin {
    service: Weak<Service>,
    run: fn(&Service, &Asked) -> Outcome,
}

/// The arguments of a built-in command.
pub(super) struct Asked {
    pub(super) slots: Vec<Option<Item>>,
    pub(super) legacy: bool,
}

impl Asked {
    pub(super) fn text(&self, place: usize) -> Option<&[u8]> {
        self.slots.get(place)?.as_ref()?.as_str()
    }

    pub(super) fn int(&self, place: usize) -> Option<i64> {
        match self.slots.get(place)?.as_ref()? {
            Item::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn item(&self, place: usize) -> Option<&Item> {
        self.slots.get(place)?.as_ref()
    }

    pub(super) fn texts(&self, place: usize) -> Vec<&[u8]> {
        match self.slots.get(place) {
            Some(Some(Item::Array(elements))) => elements.iter().filter_map(Item::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

impl Handler for Builtin {
    fn run(&self, call: Call<'_>) -> Answer {
        let slots = match call.arguments {
            Arguments::Slots(slots, _) => slots,
            Arguments::Tree(_) | Arguments::Raw(_) => Vec::new(),
        };
        let asked = Asked { slots, legacy: call.origin.wire.is_legacy() };
        Answer::Now(self.service.upgrade().ok_or(Failure::handler()).and_then(|service| (self.run)(&service, &asked)))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Registers a built-in command under a name and an optional alias.
pub(super) fn add(
    service: &Arc<Service>,
    (module, (name, alias)): (&str, (Str, Option<Str>)),
    flags: CommandFlags,
    help: &str,
    signature: Signature,
    run: fn(&Service, &Asked) -> Outcome,
) {
    let command = Command {
        module: module.into(),
        name,
        help: help.into(),
        flags: flags | CommandFlags::BUILT_IN,
        recipe: Recipe::Signature(signature),
        aliases: alias.into_iter().collect(),
        handler: Box::new(Builtin { service: Arc::downgrade(service), run }),
        conduct: Conduct::default(),
    };
    let added = service.registry_mut().register(command);
    debug_assert!(added.is_ok(), "{added:?}");
}

/// Returns a command's name and alias. `statistics:get` is the 4.x name of `get_statistics`; a flat name is preferred,
/// since it is shorter.
pub(super) fn flat_or_modular(dialect: Dialect, module: &str, flat: &str, modular: &str) -> (Str, Option<Str>) {
    match dialect {
        Dialect::V4_0 | Dialect::V4_1 => (modular.into(), Some(flat.into())),
        Dialect::Sipmi => (flat.into(), Some(format!("{module}:{modular}").into())),
        _ => (flat.into(), None),
    }
}

pub(super) fn object<const N: usize>(members: [(&str, Item); N]) -> Outcome {
    Ok(Item::from(members).into())
}
