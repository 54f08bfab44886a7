//! Questions about commands: `which`, `help` and the methods of XML-RPC that list and describe. The answer joins
//! what this server has with what its upstreams have.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::command_names::{NEVER, Names};
use super::outcome::{Outcome, Waiter, item_of};
use super::routes::{Routes, raw};
use super::translate;
use super::upstream::Upstream;
use crate::catalog::names;
use crate::catalog::parameters;
use crate::command::permit::Permit;
use crate::command::registry::Registry;
use crate::command::service::Service;
use crate::command::{Answer, Call, Command, Handler, Origin, introspect};
use crate::item::{Item, Str};
use crate::request::{Param, Params};
use crate::response::{Failure, Response};

/// The subject of an introspection request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// `which`: the names of all commands, or the parameters of one.
    Which,
    /// `help`: the description of one command.
    Help,
    /// `system.listMethods`.
    Methods,
    /// `system.methodHelp`.
    MethodHelp,
    /// `system.methodSignature`.
    MethodSignature,
}

impl Subject {
    pub(super) fn of(method: &[u8]) -> Option<Self> {
        Some(match &*names::flat_name(method) {
            b"which" => Subject::Which,
            b"help" => Subject::Help,
            b"system.listMethods" => Subject::Methods,
            b"system.methodHelp" => Subject::MethodHelp,
            b"system.methodSignature" => Subject::MethodSignature,
            _ => return None,
        })
    }

    /// Returns the command that asks an upstream about one command.
    fn question(self) -> &'static str {
        if matches!(self, Subject::Help | Subject::MethodHelp) { "help" } else { "which" }
    }
}

/// Answers questions.
pub(super) struct Asking {
    pub(super) routes: Arc<Routes>,
    pub(super) subject: Subject,
    /// The permissions of the listener that received the request.
    pub(super) permit: Permit,
}

impl Handler for Asking {
    fn run(&self, mut call: Call<'_>) -> Answer {
        let routes = &self.routes;
        let Some(service) = routes.service() else { return Answer::Now(Err(Failure::UnknownCommand)) };
        let arguments = std::mem::replace(&mut call.arguments, crate::command::Arguments::Raw(Params::None));
        let params = raw(arguments);
        let legacy = call.origin.wire.is_legacy();
        match (self.subject, first(&params)) {
            // Before 3.0 it took no input, and ignored its parameters.
            (Subject::Which, _) if legacy => self.list(routes, &service, None, &mut call),
            (Subject::Which, None) | (Subject::Methods, _) => self.list(routes, &service, None, &mut call),
            (Subject::Which, Some(name)) if name.ends_with(b":") => {
                let module = name[..name.len() - 1].into();
                self.list(routes, &service, Some(module), &mut call)
            }
            (_, Some(name)) if !is_own(&service, &name) => self.about_one(routes, &name, params, &mut call),
            (Subject::MethodHelp | Subject::MethodSignature, _) => {
                let method =
                    if self.subject == Subject::MethodHelp { "system.methodHelp" } else { "system.methodSignature" };
                let answer = introspect::answer(&service, &self.permit, method.as_bytes(), &params);
                Answer::Now(answer.unwrap_or(Err(Failure::UnknownCommand)))
            }
            // The request has no name, or names a command of this server.
            (subject, _) => {
                let found = service.registry().lookup(subject.question().as_bytes());
                match found {
                    Ok(own) => service.run(&own, params, call.detach),
                    Err(failure) => Answer::Now(Err(failure)),
                }
            }
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Asking {
    /// All names, of a module or of all.
    fn list(&self, routes: &Arc<Routes>, service: &Arc<Service>, module: Option<Str>, call: &mut Call<'_>) -> Answer {
        let upstreams = routes.upstreams();
        if upstreams.iter().any(|upstream| upstream.is_full()) {
            return Answer::Now(Err(Failure::Busy));
        }
        let Some(first) = upstreams.first().cloned() else { return Answer::Now(Err(Failure::UnknownCommand)) };
        let waiter =
            Waiter { responder: Arc::clone(call.detach).detach(), legacy: call.origin.wire.is_legacy(), entry: None };
        let listing = Listing {
            names: own_names(&service.registry(), module.as_ref()),
            service: Arc::downgrade(service),
            routes: routes.clone(),
            upstreams,
            next: 0,
            module,
            permit: self.permit.clone(),
            origin: call.origin.clone(),
            is_of_methods: self.subject == Subject::Methods,
            deadline: first.deadline_for(call.origin),
            waiter,
        };
        listing.go_on(&first);
        Answer::Later
    }

    /// About a command of an upstream.
    fn about_one(&self, routes: &Arc<Routes>, name: &Str, params: Params, call: &mut Call<'_>) -> Answer {
        let names = Names::of(name);
        let upstream = routes
            .upstream_for(&names)
            .filter(|upstream| names.flat != NEVER && upstream.allows(call.origin, &names));
        let Some(upstream) = upstream else { return Answer::Now(unknown(self.subject)) };
        if self.subject == Subject::Help {
            return upstream.forward(&"help".into(), &Names::of(b"help"), params, call.origin, call.detach);
        }
        if upstream.is_full() {
            return Answer::Now(Err(Failure::Busy));
        }
        let waiter =
            Waiter { responder: Arc::clone(call.detach).detach(), legacy: call.origin.wire.is_legacy(), entry: None };
        let (subject, name, deadline) = (self.subject, name.clone(), upstream.deadline_for(call.origin));
        upstream.push(move |upstream| {
            let result = describe(upstream, subject, &name, &names, deadline, waiter.legacy);
            upstream.reply(waiter, result, false);
        });
        Answer::Later
    }
}

/// A list of names that goes from upstream to upstream.
struct Listing {
    names: Vec<Str>,
    service: Weak<Service>,
    routes: Arc<Routes>,
    upstreams: Vec<Arc<Upstream>>,
    next: usize,
    module: Option<Str>,
    permit: Permit,
    origin: Origin,
    is_of_methods: bool,
    deadline: Instant,
    waiter: Waiter,
}

impl Listing {
    fn go_on(self, upstream: &Arc<Upstream>) {
        upstream.push(move |upstream| self.ask(upstream));
    }

    fn ask(mut self, upstream: &Arc<Upstream>) {
        let names = match upstream.names(self.deadline) {
            Ok(names) => names,
            Err(error) => {
                let result = translate::answer(&Err(error), self.waiter.legacy, &upstream.address);
                return upstream.reply(self.waiter, result, false);
            }
        };
        let added: Vec<Str> = names.iter().filter(|name| self.shows(upstream, name)).cloned().collect();
        self.names.extend(added);
        self.next += 1;
        match self.upstreams.get(self.next).cloned() {
            Some(next) => self.go_on(&next),
            None => self.finish(upstream),
        }
    }

    /// Returns true if a request by this name of an upstream would go there and the caller may send it.
    fn shows(&self, upstream: &Arc<Upstream>, name: &Str) -> bool {
        let names = Names::of(name);
        let is_of_module = self.module.as_ref().is_none_or(|module| names.module == *module);
        let goes_there = || self.routes.upstream_for(&names).is_some_and(|taker| Arc::ptr_eq(&taker, upstream));
        let is_permitted = || {
            let command = self.routes.command(name);
            command.is_some_and(|command| self.permit.allows(&command))
        };
        let is_own = || self.service.upgrade().is_some_and(|service| is_own(&service, name));
        let is_asked_here = || Subject::of(name).is_some() || names.flat == "version";
        is_of_module
            && !is_own()
            && !is_asked_here()
            && upstream.allows(&self.origin, &names)
            && goes_there()
            && is_permitted()
    }

    fn finish(self, upstream: &Arc<Upstream>) {
        let mut names: Vec<Item> = self.names.into_iter().map(Item::Str).collect();
        if self.is_of_methods {
            names.extend(introspect::own_names().map(Item::from));
        }
        let nothing = names.is_empty() && self.module.is_some();
        let result = if nothing { unknown(Subject::Which) } else { Ok(Item::Array(names).into()) };
        upstream.reply(self.waiter, result, false);
    }
}

/// Lists the commands that this server answers itself: the user's commands and the introspection commands.
fn own_names(registry: &Registry, module: Option<&Str>) -> Vec<Str> {
    let shown = |command: &&Arc<Command>| Service::keeps(command) || Subject::of(&command.name).is_some();
    let of_module = |command: &&Arc<Command>| module.is_none_or(|module| command.module == *module);
    let name = |command: &Arc<Command>| {
        if module.is_some() { command.canonical_name() } else { registry.display_name(command) }
    };
    registry.commands().filter(shown).filter(of_module).map(name).collect()
}

fn is_own(service: &Service, name: &[u8]) -> bool {
    let found = service.registry().lookup(name);
    found.is_ok_and(|command| Service::keeps(&command) || Subject::of(name).is_some())
}

/// The parameters or the help of one command, in the form of the question.
fn describe(
    upstream: &Arc<Upstream>,
    subject: Subject,
    name: &Str,
    names: &Names,
    deadline: Instant,
    legacy: bool,
) -> Result<Response, Failure> {
    if subject == Subject::MethodHelp {
        let outcome = about(upstream, subject, name, deadline);
        let help = outcome.as_ref().ok().map(|reply| item_of(&reply.shaped()));
        return match help.and_then(|help| help.get("Help").cloned()) {
            Some(help) => Ok(help.into()),
            None => translate::answer(&outcome, legacy, &upstream.address),
        };
    }
    let outcome = about(upstream, subject, name, deadline);
    let said = outcome.as_ref().map(|reply| item_of(&reply.shaped())).unwrap_or_default();
    let recipes = match said {
        Item::Array(lists) if lists.iter().all(|list| matches!(list, Item::Array(_))) => Some(Item::Array(lists)),
        // Versions before 3.0 list their commands, whatever they are asked.
        Item::Array(listed) => {
            let is_there =
                listed.iter().any(|other| other.as_str().is_some_and(|other| Names::of(other).flat == names.flat));
            is_there.then(|| known_recipes(names))
        }
        _ => return translate::answer(&outcome, legacy, &upstream.address),
    };
    match recipes {
        None => unknown(subject),
        Some(recipes) if subject == Subject::MethodSignature => Ok(signatures(&recipes).into()),
        Some(recipes) => Ok(recipes.into()),
    }
}

fn about(upstream: &Arc<Upstream>, subject: Subject, name: &Str, deadline: Instant) -> Outcome {
    let given = Params::Strings(vec![Param { name: Str::default(), value: name.clone() }]);
    upstream.ask(&subject.question().into(), given, deadline)
}

/// Without a table nothing is known of the parameters, which is an empty list.
fn known_recipes(names: &Names) -> Item {
    let recipes = parameters::recipes(&names.flat).unwrap_or_default();
    Item::Array(recipes.into_iter().map(Item::from).collect())
}

/// A list of types for each recipe: a struct is answered, strings are taken.
fn signatures(recipes: &Item) -> Item {
    let Item::Array(recipes) = recipes else { return "undef".into() };
    if recipes.is_empty() {
        return "undef".into();
    }
    let one = |recipe: &Item| {
        let count = if let Item::Array(names) = recipe { names.len() } else { 0 };
        Item::Array(std::iter::once("struct").chain(std::iter::repeat_n("string", count)).map(Item::from).collect())
    };
    Item::Array(recipes.iter().map(one).collect())
}

fn unknown(subject: Subject) -> Result<Response, Failure> {
    match subject {
        Subject::Which | Subject::Help => Ok(Response::error(404, "unknown MI command")),
        Subject::Methods | Subject::MethodHelp | Subject::MethodSignature => Err(Failure::UnknownCommand),
    }
}

/// The command that a question names.
fn first(params: &Params) -> Option<Str> {
    match params {
        Params::None => None,
        Params::Positional(items) => items.first().and_then(Item::as_str).map(Str::from),
        Params::Named(members) => members.first().and_then(|(_, item)| item.as_str()).map(Str::from),
        Params::Strings(strings) => strings.first().map(|param| param.value.clone()),
    }
}
