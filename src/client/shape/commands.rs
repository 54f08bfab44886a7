//! The shape of each command's reply.

use super::contact_line::contact_line;
use super::kinds::Type::Int;
use super::kinds::{AOR, COUNTER, DIALOG, DOMAIN, DROP_RATE, EVENT, PARTITION, PIPE, PROCESS, SET, SET_NO};
use super::reading::lists;
use super::values::{named, object, text_of, typed};
use crate::catalog::names::{flat_name, old_name};
use crate::catalog::parameters;

use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::{Body, Response};
use crate::tree::{NodeId, Tree};

/// The reply to a command as 4.0 would have given it; `None` when it is so already, or not in the table.
///
/// `response` came over a wire of 1.x or 2.x.
pub fn shape(command: &[u8], params: &Params, response: &Response) -> Option<Response> {
    let command = std::str::from_utf8(command).ok()?;
    // Those with a module have another name below.
    let command = if command.contains(':') { old_name(command).unwrap_or(command) } else { command };
    if !response.is_success() {
        return error(command, response);
    }
    let nothing;
    let tree = match &response.body {
        Body::Tree(tree) => tree,
        Body::Empty => {
            nothing = Tree::ok();
            &nothing
        }
        Body::Item(_) | Body::Json(_) => return None,
    };
    let item = match command {
        "arg" => strings(tree)?,
        "which" => return which(tree, params),
        "help" => help(tree)?,
        "get_statistics" => statistics(tree)?,
        "list_statistics" => words(tree),
        "ps" => object([("Processes", lists(tree, &[PROCESS])?.next()?)]),
        "debug" | "log_level" => log_level(tree, params)?,
        "cache_fetch" => return cache_fetch(tree),
        "ul_dump" => object([("Domains", lists(tree, &[DOMAIN])?.next()?)]),
        "ul_show_contact" => ul_show_contact(tree, params)?,
        "dlg_list" | "dlg_list_ctx" => dlg_list(tree, params)?,
        "ds_list" => ds_list(tree)?,
        "events_list" => object([("Events", lists(tree, &[EVENT])?.next()?)]),
        "subscribers_list" => subscribers_list(tree, params)?,
        "rl_list" => rl_list(tree, params)?,
        // version, uptime, pwd, cache_store, cache_remove and the commands of ul_* that change something are alike.
        _ => return None,
    };
    Some(item.into())
}

/// Values without names, also one alone.
fn strings(tree: &Tree) -> Option<Item> {
    let read = |node| {
        let is_plain = tree.name(node).is_empty() && !tree.has_attrs(node) && tree.first_child(node).is_none();
        is_plain.then(|| text_of(tree, node).into())
    };
    tree.children(NodeId::ROOT).map(read).collect::<Option<Vec<Item>>>().map(Item::Array)
}

/// All names; of one command the sets of its parameters, which old versions do not tell: those that are known.
fn which(tree: &Tree, params: &Params) -> Option<Response> {
    let names = strings(tree)?;
    let Some(wanted) = param(params, 0, "command") else { return Some(names.into()) };
    let Item::Array(names) = names else { return None };
    let flat = flat_name(&wanted);
    let Some(name) = names.iter().filter_map(Item::as_str).find(|name| flat_name(name) == flat) else {
        return Some(Response::error(404, "unknown MI command"));
    };
    let recipes = parameters::recipes(name).unwrap_or_default();
    let recipes = recipes.into_iter().map(Item::from);
    Some(Item::Array(recipes.collect()).into())
}

/// An error that is none in 4.0.
fn error(command: &str, response: &Response) -> Option<Response> {
    let is_unknown_statistic = response.code == 404 && response.reason.eq_ignore_ascii_case(b"Statistics Not Found");
    (command == "get_statistics" && is_unknown_statistic).then(|| object([]).into())
}

/// Without a parameter one line, which old versions give as the node `Usage`.
fn help(tree: &Tree) -> Option<Item> {
    let usage = named(tree, "Usage")?;
    Some(Item::Str([b"Usage: ", text_of(tree, usage).as_bytes()].concat().into()))
}

/// `group:name:: value`; before 1.11 the line `group:name = value`. Of a name that was asked for twice, the first.
fn statistics(tree: &Tree) -> Option<Item> {
    let mut members: Vec<(Str, Item)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for node in tree.children(NodeId::ROOT) {
        let value = text_of(tree, node);
        let (name, value) = if tree.name(node).is_empty() {
            let at = memchr::memmem::find(&value, b" = ")?;
            (Str::from(&value[..at]), typed(Int, value[at + 3..].into()))
        } else {
            (tree.name(node).into(), typed(Int, value))
        };
        if seen.insert(name.clone()) {
            members.push((name, value));
        }
    }
    Some(Item::Object(members))
}

/// `name:: word`, also when there are none.
fn words(tree: &Tree) -> Item {
    let words = tree.children(NodeId::ROOT).map(|node| (tree.name(node).into(), text_of(tree, node).into()));
    Item::Object(words.collect())
}

/// A list of processes, or the level that was set. `debug` of 1.x has one level, and names it when it was only asked.
fn log_level(tree: &Tree, params: &Params) -> Option<Item> {
    if let Some(node) = named(tree, "DEBUG") {
        let name = if params.is_empty() { "DEBUG" } else { "New global log level" };
        return Some(object([(name, typed(Int, text_of(tree, node)))]));
    }
    let told = [
        ("New global log level", "New global log level"),
        ("New log level", "Log level"),
        ("Log level", "Log level"),
    ];
    for (old, new) in told {
        if let Some(node) = named(tree, old) {
            return Some(object([(new, typed(Int, text_of(tree, node)))]));
        }
    }
    named(tree, PROCESS.name)?;
    Some(object([("Processes", lists(tree, &[PROCESS])?.next()?)]))
}

/// One node `key = [value]` on 1.x, two on 2.x, and a word for people where 4.0 has an error. A node that is too long is
/// left out.
fn cache_fetch(tree: &Tree) -> Option<Response> {
    let has_value = tree.children(NodeId::ROOT).any(|node| tree.name(node) != b"key");
    if !has_value {
        return Some(Response::error(500, UNSENT));
    }
    if let (Some(key), Some(value)) = (named(tree, "key"), named(tree, "value")) {
        let item = object([("key", text_of(tree, key).into()), ("value", text_of(tree, value).into())]);
        return Some(item.into());
    }
    let line = tree.first_child(NodeId::ROOT).filter(|node| tree.name(*node).is_empty())?;
    let line = text_of(tree, line);
    if *line == *b"Value not found" {
        return Some(Response::error(400, line));
    }
    let at = memchr::memmem::find(&line, b" = [")?;
    let value = line[at + 4..].strip_suffix(b"]")?;
    Some(object([("key", Item::Str(line[..at].into())), ("value", Item::Str(value.into()))]).into())
}

/// 1.x and 2.x write a node into 2,048 bytes, and leave it out when it does not fit.
const UNSENT: &str = "the server sent no value: OpenSIPS 1.x and 2.x cannot send one over 2,047 bytes, and 1.x sends no error over mi_json and /xmlrpc";

/// 1.x gives each contact as one line, and not whose they are.
fn ul_show_contact(tree: &Tree, params: &Params) -> Option<Item> {
    if let Some(mut aors) = lists(tree, &[AOR]) {
        let Item::Array(aors) = aors.next()? else { return None };
        let Item::Object(mut members) = aors.into_iter().next()? else { return None };
        if !members.iter().any(|(name, _)| *name == "Contacts") {
            members.push(("Contacts".into(), Item::Array(Vec::new())));
        }
        return Some(Item::Object(members));
    }
    let lines = tree.children(NodeId::ROOT).map(|node| contact_line(&text_of(tree, node)));
    let contacts = lines.collect::<Option<Vec<_>>>().filter(|contacts| !contacts.is_empty())?;
    let aor = param(params, 1, "aor").map(|aor| ("AOR".into(), Item::Str(aor)));
    Some(Item::Object(aor.into_iter().chain([("Contacts".into(), Item::Array(contacts))]).collect()))
}

/// All, one by its call, or a page with the count of all.
fn dlg_list(tree: &Tree, params: &Params) -> Option<Item> {
    let count = named(tree, "dlg_counter").map(|node| ("count", typed(Int, text_of(tree, node))));
    let mut dialogs = lists(tree, &[COUNTER, DIALOG])?.nth(1)?;
    if let Item::Array(dialogs) = &mut dialogs {
        dialogs.iter_mut().for_each(identify);
    }
    let is_by_call = param(params, 0, "callid").is_some() && count.is_none();
    match (is_by_call, dialogs) {
        (true, Item::Array(mut found)) if found.len() == 1 => Some(object([("Dialog", found.remove(0))])),
        (_, dialogs) => {
            let members = count.into_iter().chain([("Dialogs", dialogs)]);
            Some(Item::Object(members.map(|(name, item)| (name.into(), item)).collect()))
        }
    }
}

/// Before 3.0 a dialog had one name, the number of the database, and before 1.11 not even that but its place.
fn identify(dialog: &mut Item) {
    let Item::Object(members) = dialog else { return };
    let has = |wanted: &str| members.iter().any(|(name, _)| *name == wanted);
    let (has_id, has_db_id) = (has("ID"), has("db_id"));
    if has_id {
        members.retain(|(name, _)| *name != "hash");
    }
    if has_id && !has_db_id {
        let id = members[0].1.clone();
        members.insert(1, ("db_id".into(), id));
    }
}

/// 1.x has no partitions: its list is 4.0's default partition.
fn ds_list(tree: &Tree) -> Option<Item> {
    let mut lists = lists(tree, &[PARTITION, SET, SET_NO])?;
    let (mut partitions, sets) = (lists.next()?, lists.next()?);
    if let (Item::Array(partitions), Item::Array(sets)) = (&mut partitions, sets)
        && !sets.is_empty()
    {
        partitions.push(object([("name", "default".into()), ("SETS", Item::Array(sets))]));
    }
    Some(object([("PARTITIONS", partitions)]))
}

/// All events with subscribers, one of them, or one subscriber of it.
fn subscribers_list(tree: &Tree, params: &Params) -> Option<Item> {
    let events = lists(tree, &[EVENT])?.next()?;
    let Item::Array(mut found) = events else { return None };
    if params.is_empty() {
        return Some(object([("Events", Item::Array(found))]));
    }
    if found.len() > 1 {
        return None;
    }
    let Some(Item::Object(mut event)) = found.pop() else { return Some(object([])) };
    if params.len() > 1
        && let Some((name, subscribers)) = event.iter_mut().find(|(name, _)| *name == "Subscribers")
        && let Item::Array(list) = subscribers
        && list.len() == 1
    {
        (*name, *subscribers) = ("Subscriber".into(), list.remove(0));
    }
    Some(object([("Event", Item::Object(event))]))
}

/// All pipes, or the one that was asked for. The last is none from 1.11 on: it holds the drop rate.
fn rl_list(tree: &Tree, params: &Params) -> Option<Item> {
    let mut lists = lists(tree, &[PIPE, DROP_RATE])?;
    let (Item::Array(mut pipes), Item::Array(rates)) = (lists.next()?, lists.next()?) else { return None };
    let last = rates.into_iter().next().or_else(|| pipes.pop_if(|pipe| pipe.get("id").is_none()));
    let drop_rate = last.as_ref().and_then(|pipe| pipe.get("drop_rate")).cloned();
    let pipes = match param(params, 0, "pipe") {
        Some(_) if pipes.len() == 1 => ("Pipe", Some(pipes.remove(0))),
        _ => ("Pipes", Some(Item::Array(pipes))),
    };
    let members = [pipes, ("drop_rate", drop_rate)];
    let members = members.into_iter().filter_map(|(name, item)| Some((name.into(), item?)));
    Some(Item::Object(members.collect()))
}

/// Returns the value of a parameter by its name, or by its position if it has none.
fn param(params: &Params, place: usize, name: &str) -> Option<Str> {
    let given = |item: &Item| match item {
        Item::Str(text) => Some(text.clone()),
        Item::Int(number) => Some(number.to_string().into()),
        _ => None,
    };
    match params {
        Params::None => None,
        Params::Positional(items) => given(items.get(place)?),
        Params::Named(members) => {
            let by_name = members.iter().find(|(other, _)| *other == name);
            given(&by_name.or_else(|| members.get(place).filter(|(other, _)| other.is_empty()))?.1)
        }
        Params::Strings(strings) => {
            let by_name = strings.iter().find(|param| param.name == name);
            Some(by_name.or_else(|| strings.get(place).filter(|param| param.name.is_empty()))?.value.clone())
        }
    }
}
