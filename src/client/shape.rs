//! The shapes that 4.0 gives to its replies, made from those of 1.x and 2.x: the same value from every generation.
//!
//! Old wires know nodes with a value, attributes and children, all of them strings. Some lose which node is below
//! which (`mi_xmlrpc`), or what some nodes are called (lists in `mi_json`). So a reply is read as the sequence of its
//! nodes, in the order in which they are written, and the tables below say what belongs to what.
//!
//! What a table does not know stays what the common rule makes of it, and so does a reply that is not as expected.

use crate::catalog::names::old_name;
use crate::convert::node_to_item;
use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::{Body, Response};
use crate::tree::{NodeId, Tree, Value};

/// The reply to a command as 4.0 would have given it; `None` when it is so already, or not in the table.
///
/// `response` is a success that came over a wire of 1.x or 2.x.
pub fn shape(command: &[u8], params: &Params, response: &Response) -> Option<Response> {
    let nothing;
    let tree = match &response.body {
        Body::Tree(tree) => tree,
        Body::Empty => {
            nothing = Tree::ok();
            &nothing
        }
        Body::Item(_) | Body::Json(_) => return None,
    };
    let command = std::str::from_utf8(command).ok()?;
    let item = match old_name(command).unwrap_or(command) {
        "arg" | "which" => strings(tree)?,
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
        "rl_list" => rl_list(tree)?,
        // version, uptime, pwd, cache_store, cache_remove and the commands of ul_* that change something are alike.
        _ => return None,
    };
    Some(item.into())
}

// -- the tables -----------------------------------------------------------------------------------

/// Nodes of one name, and the objects that 4.0 has for them.
struct Kind {
    name: &'static str,
    /// The member of the object above that lists them.
    list: &'static str,
    /// Whether there is no list when it would be empty.
    is_optional: bool,
    /// A node without any meaning that holds them.
    wrapper: Option<&'static [u8]>,
    /// Own value (named nothing), attributes and children, in the order of 4.0.
    members: &'static [Member],
    inner: &'static [Kind],
}

/// A member: its name in old replies, its name in 4.0, and what it is there.
type Member = (&'static str, &'static str, Type);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    /// A string.
    Text,
    /// An integer. What is none stays a string.
    Int,
    /// A string that some versions end with a blank.
    Trimmed,
    /// Names of flags. Old versions give a number; 0 stands for no names.
    Flags,
    /// A string that 4.0 leaves out when it is empty.
    IfAny,
    /// Not in 4.0.
    Gone,
}
use Type::{Flags, Gone, IfAny, Int, Text, Trimmed};

const LEAF: Kind = Kind { name: "", list: "", is_optional: false, wrapper: None, members: &[], inner: &[] };

const PROCESS: Kind = Kind {
    name: "Process",
    list: "Processes",
    members: &[("ID", "ID", Int), ("PID", "PID", Int), ("Log level", "Log level", Int), ("Type", "Type", Trimmed)],
    ..LEAF
};

const DOMAIN: Kind = Kind {
    name: "Domain",
    list: "Domains",
    members: &[
        ("", "name", Text),
        // 1.11 calls it the table, and counts its contacts.
        ("hash_size", "hash_size", Int),
        ("table", "hash_size", Int),
        ("records", "records", Gone),
    ],
    inner: &[AOR],
    ..LEAF
};

const AOR: Kind = Kind { name: "AOR", list: "AORs", members: &[("", "AOR", Text)], inner: &[CONTACT], ..LEAF };

const CONTACT: Kind = Kind {
    name: "Contact",
    list: "Contacts",
    is_optional: true,
    members: &[
        ("", "Contact", Text),
        ("ContactID", "ContactID", Text),
        ("Expires", "Expires", Int),
        ("Q", "Q", Text),
        ("Callid", "Callid", Text),
        ("Cseq", "Cseq", Int),
        ("User-agent", "User-agent", Text),
        ("Received", "Received", Text),
        ("Path", "Path", Text),
        ("State", "State", Text),
        ("Flags", "Flags", Int),
        ("Cflags", "Cflags", Flags),
        ("Socket", "Socket", Text),
        ("Methods", "Methods", Int),
        ("Attr", "Attr", Text),
        ("SIP_instance", "SIP_instance", Text),
    ],
    ..LEAF
};

const DIALOG: Kind = Kind {
    name: "dialog",
    list: "Dialogs",
    members: &[
        // What dlg_end_dlg takes: the number by which the database knows it too.
        ("ID", "ID", Text),
        ("dialog_id", "ID", Text),
        ("db_id", "db_id", Text),
        ("hash", "hash", Gone),
        ("state", "state", Int),
        ("user_flags", "user_flags", Flags),
        ("timestart", "timestart", Int),
        ("datestart", "datestart", Text),
        ("timeout", "timeout", Int),
        ("dateout", "dateout", Text),
        ("callid", "callid", Text),
        ("from_uri", "from_uri", Text),
        ("to_uri", "to_uri", Text),
        ("caller_tag", "caller_tag", Text),
        ("caller_contact", "caller_contact", Text),
        ("callee_cseq", "callee_cseq", Text),
        ("caller_route_set", "caller_route_set", Text),
        ("caller_bind_addr", "caller_bind_addr", Text),
        ("caller_sdp", "caller_sdp", IfAny),
        ("context", "context", IfAny),
    ],
    inner: &[CALLEE],
    ..LEAF
};

const CALLEE: Kind = Kind {
    name: "callee",
    list: "CALLEES",
    wrapper: Some(b"CALLEES"),
    members: &[
        ("callee_tag", "callee_tag", Text),
        ("callee_contact", "callee_contact", Text),
        ("caller_cseq", "caller_cseq", Text),
        ("callee_route_set", "callee_route_set", Text),
        ("callee_bind_addr", "callee_bind_addr", Text),
        ("callee_sdp", "callee_sdp", IfAny),
    ],
    ..LEAF
};

const PARTITION: Kind =
    Kind { name: "PARTITION", list: "PARTITIONS", members: &[("", "name", Text)], inner: &[SET], ..LEAF };

const SET: Kind = Kind { name: "SET", list: "SETS", members: &[("", "id", Int)], inner: &[DESTINATION], ..LEAF };

const DESTINATION: Kind = Kind {
    name: "URI",
    list: "Destinations",
    members: &[
        ("", "URI", Text),
        ("state", "state", Text),
        ("first_hit_counter", "first_hit_counter", Int),
        ("socket", "socket", Text),
        ("attr", "attr", Text),
        ("weight", "weight", Int),
        ("priority", "priority", Int),
        ("description", "description", Text),
    ],
    ..LEAF
};

const EVENT: Kind = Kind {
    name: "Event",
    list: "Events",
    members: &[("", "name", Text), ("id", "id", Int)],
    inner: &[SUBSCRIBER],
    ..LEAF
};

const SUBSCRIBER: Kind = Kind {
    name: "Subscriber",
    list: "Subscribers",
    is_optional: true,
    members: &[("socket", "socket", Text), ("expire", "expire", Int), ("ttl", "ttl", Int)],
    ..LEAF
};

const PIPE: Kind = Kind {
    name: "PIPE",
    list: "Pipes",
    members: &[
        ("id", "id", Text),
        ("algorithm", "algorithm", Text),
        ("limit", "limit", Int),
        ("counter", "counter", Int),
        ("drop_rate", "drop_rate", Int),
    ],
    ..LEAF
};

// -- commands with something of their own ---------------------------------------------------------

/// Values without names, also one alone.
fn strings(tree: &Tree) -> Option<Item> {
    let read = |node| {
        let is_plain = tree.name(node).is_empty() && !tree.has_attrs(node) && tree.first_child(node).is_none();
        is_plain.then(|| text_of(tree, node).into())
    };
    tree.children(NodeId::ROOT).map(read).collect::<Option<Vec<Item>>>().map(Item::Array)
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
    for name in ["New global log level", "Log level"] {
        if let Some(node) = named(tree, name) {
            return Some(object([(name, typed(Int, text_of(tree, node)))]));
        }
    }
    named(tree, PROCESS.name)?;
    Some(object([("Processes", lists(tree, &[PROCESS])?.next()?)]))
}

/// One node `key = [value]` on 1.x, two on 2.x, and a word for people where 4.0 has an error.
fn cache_fetch(tree: &Tree) -> Option<Response> {
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

/// Reads `<uri>;q=0.5;expires=60;flags=0x0;cflags=0x0;socket=<..>;callid=<..>;methods=0x0;user_agent=<..>`.
fn contact_line(line: &[u8]) -> Option<Item> {
    // A user agent may hold anything, also what looks like the end of a field; it comes last.
    let (line, agent) = match memchr::memmem::find(line, b";user_agent=<") {
        Some(at) => (&line[..at], line[at + 13..].strip_suffix(b">")),
        None => (line, None),
    };
    let (uri, mut rest) = split(line.strip_prefix(b"<")?, b'>')?;
    let mut members: Vec<(Str, Item)> = vec![("Contact".into(), Item::Str(uri.into()))];
    while let Some(field) = rest.strip_prefix(b";") {
        let (name, value) = split(field, b'=')?;
        let value_and_rest = match value.strip_prefix(b"<") {
            Some(quoted) => split(quoted, b'>')?,
            None => value.split_at(memchr::memchr(b';', value).unwrap_or(value.len())),
        };
        let value;
        (value, rest) = value_and_rest;
        let known = CONTACT_FIELDS.iter().find(|(old, ..)| old.as_bytes() == name);
        let (name, of) = known.map_or((name.into(), Text), |(_, new, of)| ((*new).into(), *of));
        if value != b"NULL" {
            members.push((name, typed(of, without_hex(value))));
        }
    }
    members.extend(agent.map(|agent| ("User-agent".into(), Item::Str(agent.into()))));
    Some(Item::Object(members))
}

const CONTACT_FIELDS: [Member; 8] = [
    ("q", "Q", Text),
    ("expires", "Expires", Int),
    ("flags", "Flags", Int),
    ("cflags", "Cflags", Flags),
    ("socket", "Socket", Text),
    ("callid", "Callid", Text),
    ("methods", "Methods", Int),
    ("received", "Received", Text),
];

/// All, one by its call, or a page with the count of all.
fn dlg_list(tree: &Tree, params: &Params) -> Option<Item> {
    let count = named(tree, "dlg_counter").map(|node| ("count", typed(Int, text_of(tree, node))));
    let mut dialogs = lists(tree, &[COUNTER, DIALOG])?.nth(1)?;
    if let Item::Array(dialogs) = &mut dialogs {
        dialogs.iter_mut().for_each(add_db_id);
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

const COUNTER: Kind = Kind { name: "dlg_counter", members: &[("", "count", Int)], ..LEAF };

/// Before 3.0 a dialog had one name, the number of the database.
fn add_db_id(dialog: &mut Item) {
    if let Item::Object(members) = dialog
        && let [(name, id), ..] = members.as_slice()
        && *name == "ID"
        && members.get(1).is_none_or(|(name, _)| *name != "db_id")
    {
        let id = id.clone();
        members.insert(1, ("db_id".into(), id));
    }
}

/// 1.x has no partitions: what it lists is 4.0's default one.
fn ds_list(tree: &Tree) -> Option<Item> {
    let mut lists = lists(tree, &[PARTITION, SET])?;
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

/// The last pipe is none: it holds the drop rate.
fn rl_list(tree: &Tree) -> Option<Item> {
    let Item::Array(mut pipes) = lists(tree, &[PIPE])?.next()? else { return None };
    let last = pipes.pop_if(|pipe| pipe.get("id").is_none());
    let drop_rate = last.as_ref().and_then(|pipe| pipe.get("drop_rate")).cloned();
    let members = [("Pipes", Some(Item::Array(pipes))), ("drop_rate", drop_rate)];
    let members = members.into_iter().filter_map(|(name, item)| Some((name.into(), item?)));
    Some(Item::Object(members.collect()))
}

// -- reading by the tables ------------------------------------------------------------------------

/// The lists of objects that a reply holds, one for each kind; `None` when it holds anything else.
fn lists(tree: &Tree, kinds: &[Kind]) -> Option<impl Iterator<Item = Item> + use<>> {
    let mut reading = Reading::of(tree);
    let mut found: Vec<Vec<Item>> = kinds.iter().map(|_| Vec::new()).collect();
    while let Some(&(_, node)) = reading.nodes.get(reading.at) {
        let place = reading.place_of(node, kinds)?;
        let object = reading.read(&kinds[place])?;
        found[place].push(object);
    }
    Some(found.into_iter().map(Item::Array))
}

/// The nodes of a reply in order, and how many of them are read.
struct Reading<'t> {
    tree: &'t Tree,
    /// How deep each is, and which.
    nodes: Vec<(usize, NodeId)>,
    at: usize,
    /// Whether the wire has lost how deep nodes were.
    is_flat: bool,
}

impl<'t> Reading<'t> {
    fn of(tree: &'t Tree) -> Self {
        let nodes: Vec<_> = tree.walk().collect();
        let is_flat = nodes.windows(2).all(|pair| pair[0].0 == pair[1].0);
        Reading { tree, nodes, at: 0, is_flat }
    }

    /// What a node is called. Some wires write a name without a value as a value without a name.
    fn name(&self, node: NodeId) -> &'t [u8] {
        match (self.tree.name(node), self.tree.value(node)) {
            (b"", Value::Str(value)) => value,
            (name, _) => name,
        }
    }

    /// Which kind a node is of. In a list of `mi_json` all have the name of the first, and only that is a number.
    fn place_of(&self, node: NodeId, kinds: &[Kind]) -> Option<usize> {
        let place = kinds.iter().position(|kind| kind.name.as_bytes() == self.name(node))?;
        let is_misnamed =
            kinds[place].name == COUNTER.name && (self.tree.has_attrs(node) || self.tree.first_child(node).is_some());
        Some(if is_misnamed { kinds.iter().position(|kind| kind.name == DIALOG.name)? } else { place })
    }

    /// Reads a node of this kind, and all that belongs to it.
    fn read(&mut self, kind: &Kind) -> Option<Item> {
        let (depth, node) = self.nodes[self.at];
        self.at += 1;
        let mut members = Members::of(kind);
        if !self.tree.name(node).is_empty() {
            members.take(b"", self.text(node));
        }
        for (name, value) in self.tree.attrs(node) {
            members.take(name, text(value));
        }
        while let Some(&(child_depth, child)) = self.nodes.get(self.at) {
            let is_below = child_depth > depth;
            let name = self.name(child);
            if !is_below && !self.is_flat {
                break;
            }
            let is_leaf = self.tree.first_child(child).is_none() && !self.tree.has_attrs(child);
            let is_wrapper = kind.inner.iter().any(|inner| inner.wrapper == Some(name));
            if let Some(place) = kind.inner.iter().position(|inner| inner.name.as_bytes() == name) {
                let object = self.read(&kind.inner[place])?;
                members.lists[place].push(object);
            } else if is_wrapper || (is_leaf && members.take(name, self.text(child))) {
                self.at += 1;
            } else if is_below {
                members.others.push((name.into(), node_to_item(self.tree, child).ok()?));
                self.skip(child_depth);
            } else {
                break;
            }
        }
        Some(members.finish())
    }

    /// The text of a node's value; none of one that is only a name.
    fn text(&self, node: NodeId) -> Str {
        if self.tree.name(node).is_empty() { Str::default() } else { text_of(self.tree, node) }
    }

    /// Passes over a node and what is below it.
    fn skip(&mut self, depth: usize) {
        self.at += 1;
        while self.nodes.get(self.at).is_some_and(|(below, _)| *below > depth) {
            self.at += 1;
        }
    }
}

/// The members of an object of 4.0 as they are found.
struct Members<'k> {
    kind: &'k Kind,
    /// Beside each member of the kind.
    found: Vec<Option<Item>>,
    /// Beside each kind below it.
    lists: Vec<Vec<Item>>,
    /// What the table does not know.
    others: Vec<(Str, Item)>,
}

impl<'k> Members<'k> {
    fn of(kind: &'k Kind) -> Self {
        let lists = kind.inner.iter().map(|_| Vec::new()).collect();
        Members { kind, found: vec![None; kind.members.len()], lists, others: Vec::new() }
    }

    /// Takes a member; false when there is no such one, or it is there already.
    fn take(&mut self, name: &[u8], value: Str) -> bool {
        let members = self.kind.members;
        let Some(place) = members.iter().position(|(old, ..)| old.as_bytes() == name) else { return false };
        if self.found[place].is_some() {
            return false;
        }
        self.found[place] = Some(typed(members[place].2, value));
        true
    }

    fn finish(self) -> Item {
        let found = self.kind.members.iter().zip(self.found).filter_map(|((_, new, of), item)| {
            let is_shown = match of {
                Gone => false,
                IfAny => !matches!(&item, Some(Item::Str(text)) if text.is_empty()),
                _ => true,
            };
            item.filter(|_| is_shown).map(|item| (Str::from(*new), item))
        });
        let lists = self.kind.inner.iter().zip(self.lists).filter_map(|(inner, list)| {
            let is_shown = !(inner.is_optional && list.is_empty());
            is_shown.then(|| (Str::from(inner.list), Item::Array(list)))
        });
        Item::Object(found.chain(self.others).chain(lists).collect())
    }
}

fn object<const N: usize>(members: [(&str, Item); N]) -> Item {
    members.into()
}

/// A value as 4.0 types it.
fn typed(of: Type, value: Str) -> Item {
    match of {
        Int => match std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok()) {
            // Digits that would be written otherwise are a name, not a number.
            Some(number) if itoa::Buffer::new().format(number).as_bytes() == value.as_bytes() => Item::Int(number),
            _ => Item::Str(value),
        },
        Trimmed => Item::Str(value.trim_ascii_end().into()),
        Flags if *value == *b"0" => Item::Str(Str::default()),
        Text | Flags | IfAny | Gone => Item::Str(value),
    }
}

/// `0x1f` as decimal digits.
fn without_hex(value: &[u8]) -> Str {
    let digits = value.strip_prefix(b"0x").and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| i64::from_str_radix(digits, 16).ok()) {
        Some(number) => number.to_string().into(),
        None => value.into(),
    }
}

fn named(tree: &Tree, name: &str) -> Option<NodeId> {
    tree.children(NodeId::ROOT).find(|node| tree.name(*node) == name.as_bytes())
}

fn text_of(tree: &Tree, node: NodeId) -> Str {
    text(tree.value(node))
}

/// A value as the old wires write it.
fn text(value: Value<'_>) -> Str {
    match value {
        Value::None => Str::default(),
        Value::Str(text) | Value::Bytes(text) => text.into(),
        Value::Int(number) => number.to_string().into(),
        Value::Float(number) => number.to_string().into(),
        Value::Bool(value) => i32::from(value).to_string().into(),
    }
}

/// What precedes a byte, and what follows it.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

/// What a parameter was given, by its name, or by its place when it has none.
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
