//! Names, positions and lists of parameters: 1.x and 2.x know positions alone, 3.x and 4.x names and types.

use crate::item::{Item, Str};
use crate::request::{Param, Params};

/// The value of a position without a parameter.
const UNUSED: &str = "0";
const NONE: &str = ".";

/// The one list that takes the values at all further positions.
const STATISTICS: &str = "statistics";

/// One position: the name of the parameter in 4.0, and the value without one.
type Place = (&'static str, Option<&'static str>);

/// The positions of each command's parameters that have names in 4.0, and how many of them are required. A command
/// with several sets of names has several entries.
const PLACES: [(&str, usize, &[Place]); 41] = [
    ("which", 0, &[("command", None)]),
    ("help", 0, &[("mi_cmd", None)]),
    ("debug", 0, &[("level", None)]),
    ("log_level", 0, &[("level", None), ("pid", None)]),
    ("get_statistics", 1, &[("statistics", None)]),
    ("list_statistics", 0, &[("statistics", None)]),
    ("reset_statistics", 1, &[("statistics", None)]),
    ("cache_store", 3, &[("system", None), ("attr", None), ("value", None), ("expire", None)]),
    ("cache_fetch", 2, &[("system", None), ("attr", None)]),
    ("cache_remove", 2, &[("system", None), ("attr", None)]),
    ("cache_remove_chunk", 1, &[("glob", None), ("collection", None)]),
    (
        "ul_add",
        9,
        &[
            ("table_name", None),
            ("aor", None),
            ("contact", None),
            ("expires", None),
            ("q", None),
            ("", Some(UNUSED)),
            ("flags", None),
            ("cflags", None),
            ("methods", None),
        ],
    ),
    ("ul_rm", 2, &[("table_name", None), ("aor", None)]),
    ("ul_rm_contact", 3, &[("table_name", None), ("aor", None), ("contact", None)]),
    ("ul_show_contact", 2, &[("table_name", None), ("aor", None)]),
    ("ul_sync", 1, &[("table_name", None), ("aor", None)]),
    ("ul_dump", 0, &[("brief", None)]),
    ("dlg_list", 0, &[("callid", None), ("from_tag", None)]),
    ("dlg_list", 2, &[("index", None), ("counter", None)]),
    ("dlg_list_ctx", 0, &[("callid", None), ("from_tag", None)]),
    ("dlg_list_ctx", 2, &[("index", None), ("counter", None)]),
    ("dlg_end_dlg", 1, &[("dialog_id", None), ("extra_hdrs", None)]),
    ("dlg_set_sharing_tag_active", 1, &[("tag", None)]),
    ("profile_get_size", 1, &[("profile", None), ("value", None)]),
    ("profile_list_dlgs", 1, &[("profile", None), ("value", None)]),
    ("profile_get_values", 1, &[("profile", None)]),
    ("profile_end_dlgs", 1, &[("profile", None), ("value", None)]),
    ("ds_set_state", 3, &[("state", None), ("group", None), ("address", None)]),
    ("ds_list", 0, &[("full", None)]),
    ("event_subscribe", 2, &[("event", None), ("socket", None), ("expire", None)]),
    ("subscribers_list", 0, &[("event", None), ("socket", None)]),
    ("rl_list", 0, &[("pipe", None)]),
    ("rl_reset_pipe", 1, &[("pipe", None)]),
    ("rl_set_pid", 3, &[("ki", None), ("kp", None), ("kd", None)]),
    ("dbt_reload", 0, &[("db_name", None), ("table_name", None)]),
    ("shv_get", 0, &[("name", None)]),
    ("shv_set", 3, &[("name", None), ("type", None), ("value", None)]),
    ("rand_set_prob", 1, &[("prob_proc", None)]),
    ("t_uac_cancel", 2, &[("callid", None), ("cseq", None)]),
    ("t_reply", 4, &[("code", None), ("reason", None), ("trans_id", None), ("to_tag", None)]),
    (
        "t_uac_dlg",
        5,
        &[
            ("method", None),
            ("ruri", None),
            ("next_hop", Some(NONE)),
            ("socket", Some(NONE)),
            ("headers", None),
            ("body", None),
        ],
    ),
];

/// Commands of 1.x and 2.x without parameters, except those that ignore their parameters.
const WITHOUT: [&str; 9] = [
    "dlg_db_sync",
    "dlg_restore_db",
    "dlg_cluster_sync",
    "dlg_list_sharing_tags",
    "list_all_profiles",
    "ds_reload",
    "dbt_dump",
    "httpd_list_root_path",
    "ul_flush",
];

/// Commands of 1.x and 2.x that take no parameters, which FIFOs of 2.4 read line by line.
pub const NO_INPUT: [&str; 19] = [
    "list_blacklists",
    "uptime",
    "version",
    "pwd",
    "arg",
    "which",
    "ps",
    "kill",
    "events_list",
    "list_tcp_conns",
    "rand_reset_prob",
    "rand_get_prob",
    "get_config_hash",
    "check_config_hash",
    "rl_get_pid",
    "t_hash",
    "shm_check",
    "rl_bin_status",
    "ul_cluster_sync",
];

/// Parameters of 3.x and 4.x that are lists: the command, their position and their name.
const LISTS: [(&str, usize, &str); 11] = [
    ("get_statistics", 0, STATISTICS),
    ("list_statistics", 0, STATISTICS),
    ("reset_statistics", 0, STATISTICS),
    ("raise_event", 1, "params"),
    ("dlg_push_var", 2, "DID"),
    ("trace_start", 0, "filter"),
    ("fs_subscribe", 1, "events"),
    ("fs_unsubscribe", 1, "events"),
    ("b2b_trigger_scenario", 3, "scenario_params"),
    ("dfks_set_feature", 4, "values"),
    ("cluster_broadcast_mi", 2, "cmd_params"),
];

/// A parameter of 3.x and 4.x that is a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListParameter {
    /// Its position, counted from 0.
    pub position: usize,
    /// Its name.
    pub name: &'static str,
    /// True if the values at all further positions belong to it.
    pub takes_rest: bool,
}

/// The list that a command takes, by its name before 4.0; `None` when it takes none.
pub fn list_parameter(flat_command: &[u8]) -> Option<ListParameter> {
    let (_, position, name) = LISTS.into_iter().find(|(command, ..)| command.as_bytes() == flat_command)?;
    Some(ListParameter { position, name, takes_rest: name == STATISTICS })
}

/// The sets of parameters that a command of 1.x and 2.x takes, each in order; `None` when that is not known.
pub fn recipes(command: &[u8]) -> Option<Vec<Vec<&'static str>>> {
    if NO_INPUT.iter().chain(&WITHOUT).any(|name| command == name.as_bytes()) {
        return Some(vec![Vec::new()]);
    }
    let mut recipes = Vec::new();
    for (_, required, places) in PLACES.iter().filter(|(of, ..)| command == of.as_bytes()) {
        for count in *required..=places.len() {
            let names = places[..count].iter().map(|(name, _)| *name);
            recipes.push(names.filter(|name| !name.is_empty()).collect());
        }
    }
    (!recipes.is_empty()).then_some(recipes)
}

/// Parameters that are a number in 4.0, and were a word before: there or not.
const WORDS: [(&str, &str); 2] = [("ul_dump", "brief"), ("ds_list", "full")];

/// Strings in their places as parameters by name, for servers that have names; `None` when the command has no places, or
/// not as many.
///
/// Of several sets that fit, the one of numbers is meant when all are numbers (`dlg_list index counter`).
pub fn by_name(command: &[u8], given: &[Param]) -> Option<Vec<(Str, Item)>> {
    let unnamed = given.iter().take_while(|param| param.name.is_empty()).count();
    let (places, named) = given.split_at(unnamed);
    let mut fitting = PLACES.iter().filter(|(of, required, names)| {
        let takes_all = names.last().is_some_and(|(name, _)| *name == STATISTICS);
        command == of.as_bytes() && places.len() >= *required && (places.len() <= names.len() || takes_all)
    });
    let first = fitting.next()?;
    let are_numbers = places.iter().all(|param| param.value.iter().all(u8::is_ascii_digit));
    let (_, _, set) = if are_numbers { fitting.next().unwrap_or(first) } else { first };
    let mut members = Vec::with_capacity(given.len());
    for (at, (name, filler)) in set.iter().enumerate().take(places.len()) {
        let value = &places[at].value;
        if *name == STATISTICS {
            let rest = places[at..].iter().map(|param| Item::Str(param.value.clone()));
            members.push(((*name).into(), Item::Array(rest.collect())));
        } else if let Some((_, word)) = WORDS.iter().find(|(of, word)| command == of.as_bytes() && name == word) {
            // Another word was ignored.
            let is_meant =
                *value == *word || (value.iter().all(u8::is_ascii_digit) && is_set(&Item::Str(value.clone())));
            members.extend(is_meant.then(|| ((*word).into(), Item::Int(1))));
        } else if !name.is_empty() && filler.is_none_or(|filler| *value != filler) {
            members.push(((*name).into(), Item::Str(value.clone())));
        }
    }
    members.extend(named.iter().map(|param| (param.name.clone(), Item::Str(param.value.clone()))));
    Some(members)
}

/// Returns the names of `count` parameters by position, if all signatures of 4.0 have them in one order.
pub fn names_of(command: &[u8], count: usize) -> Option<Vec<&'static str>> {
    let mut sets = PLACES.iter().filter(|(of, ..)| command == of.as_bytes());
    let (_, _, places) = sets.next().filter(|_| sets.next().is_none())?;
    let names: Vec<_> = places.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
    (count <= names.len() && count > 0).then(|| names[..count].to_vec())
}

/// Moves named parameters into their positions. Unknown parameters stay unchanged.
pub fn put_in_place(command: &[u8], params: &mut Params) {
    match params {
        Params::Named(given) => put_named_in_place(command, given),
        Params::Strings(given) if given.iter().any(|param| !param.name.is_empty()) => {
            let mut named = given.drain(..).map(|Param { name, value }| (name, value.into())).collect();
            put_named_in_place(command, &mut named);
            let text = |(name, item)| match item {
                Item::Str(value) => Some(Param { name, value }),
                _ => None, // strings went in
            };
            given.extend(named.into_iter().filter_map(text));
        }
        Params::None | Params::Positional(_) | Params::Strings(_) => {}
    }
    if params.is_empty() {
        *params = Params::None;
    }
}

fn put_named_in_place(command: &[u8], given: &mut Vec<(Str, Item)>) {
    if let Some((_, word)) = WORDS.iter().find(|(of, _)| command == of.as_bytes()) {
        given.retain(|(name, item)| *name != *word || is_set(item));
        for (name, item) in given.iter_mut().filter(|(name, _)| *name == *word) {
            (*name, *item) = (Str::default(), (*word).into());
        }
    }
    let sets = PLACES.iter().filter(|(of, ..)| command == of.as_bytes());
    if let Some(placed) = sets.map(|(.., places)| in_places(places, given)).find_map(|placed| placed) {
        *given = placed;
    }
}

/// Those without a name come first; `None` when one has a name that is not there, or a place would stay empty.
fn in_places(places: &[Place], given: &[(Str, Item)]) -> Option<Vec<(Str, Item)>> {
    let unnamed = given.iter().take_while(|(name, _)| name.is_empty()).count();
    let (first, named) = given.split_at(unnamed);
    let mut left: Vec<&(Str, Item)> = named.iter().collect();
    let mut ordered = first.to_vec();
    for (name, otherwise) in places.get(unnamed..)? {
        if left.is_empty() {
            break;
        }
        let found = left.iter().position(|(other, _)| other == name && !name.is_empty());
        ordered.push(match (found, otherwise) {
            (Some(at), _) => left.remove(at).clone(),
            (None, Some(filler)) => (Str::default(), (*filler).into()),
            (None, None) => return None,
        });
    }
    left.is_empty().then_some(ordered)
}

fn is_set(item: &Item) -> bool {
    !matches!(item, Item::Int(0) | Item::Bool(false) | Item::Null) && !matches!(item.as_str(), Some(b"" | b"0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_known_by_the_command_that_takes_it() {
        let found = list_parameter(b"get_statistics").map(|list| (list.position, list.name, list.takes_rest));
        assert_eq!(found, Some((0, "statistics", true)));
        let found = list_parameter(b"raise_event").map(|list| (list.position, list.name, list.takes_rest));
        assert_eq!(found, Some((1, "params", false)));
        assert_eq!(list_parameter(b"ul_dump"), None);
    }

    fn placed(command: &str, given: &[(&str, &str)]) -> Vec<(String, String)> {
        let named = given.iter().map(|(name, value)| ((*name).into(), Item::from(*value))).collect();
        let mut params = Params::Named(named);
        put_in_place(command.as_bytes(), &mut params);
        let Params::Named(members) = params else { return Vec::new() };
        let text = |item: &Item| String::from_utf8_lossy(item.as_str().unwrap_or_default()).into_owned();
        members.iter().map(|(name, item)| (name.to_text().into_owned(), text(item))).collect()
    }

    fn values(command: &str, given: &[(&str, &str)]) -> Vec<String> {
        placed(command, given).into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn names_come_in_the_order_of_their_places() {
        let given = [("aor", "alice"), ("table_name", "location")];
        assert_eq!(values("ul_show_contact", &given), ["location", "alice"]);
        assert_eq!(values("dlg_list", &[("counter", "9"), ("index", "0")]), ["0", "9"]);
        assert_eq!(values("ul_show_contact", &[("", "location"), ("aor", "alice")]), ["location", "alice"]);
    }

    #[test]
    fn places_that_4_0_does_not_have_are_filled() {
        let names = ["methods", "cflags", "flags", "q", "expires", "contact", "aor", "table_name"];
        let given: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
        let expected = ["table_name", "aor", "contact", "expires", "q", "0", "flags", "cflags", "methods"];
        assert_eq!(values("ul_add", &given), expected);
        let given = [("headers", "To: x"), ("ruri", "sip:a@b"), ("method", "OPTIONS")];
        assert_eq!(values("t_uac_dlg", &given), ["OPTIONS", "sip:a@b", ".", ".", "To: x"]);
    }

    #[test]
    fn a_number_that_was_a_word_is_one() {
        assert_eq!(values("ul_dump", &[("brief", "1")]), ["brief"]);
        assert_eq!(placed("ul_dump", &[("brief", "0")]), []);
        assert_eq!(values("ds_list", &[("full", "1")]), ["full"]);
    }

    #[test]
    fn the_positions_name_the_parameters_of_a_command() {
        let known = |name: &str| recipes(name.as_bytes());
        assert_eq!(known("ul_show_contact"), Some(vec![vec!["table_name", "aor"]]));
        let dialogs = vec![vec![], vec!["callid"], vec!["callid", "from_tag"], vec!["index", "counter"]];
        assert_eq!(known("dlg_list"), Some(dialogs));
        assert_eq!(known("uptime"), Some(vec![vec![]]));
        assert_eq!(known("nosuch"), None);
    }

    #[test]
    fn parameters_without_a_position_are_unchanged() {
        let given = [("b", "2"), ("a", "1")];
        assert_eq!(values("nosuch", &given), ["2", "1"]);
        assert_eq!(values("cache_fetch", &[("key", "k"), ("system", "local")]), ["k", "local"]);
        assert_eq!(values("cache_store", &[("value", "v"), ("system", "local")]), ["v", "local"]);
    }
}
