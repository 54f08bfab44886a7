//! Parameters as the version of the server takes them, where versions differ in more than names.

use super::guard::{Refusal, Route};
use super::server_info::{Generation, Wire};
use crate::catalog::names::{Version, flat_name, name_on};
use crate::catalog::parameters::{ListParameter, list_parameter};
use crate::item::{Item, Str};
use crate::request::{Param, Params, Request};

/// The unused position in `ul_add` of 1.x and 2.x, between `q` and `flags`.
const UNUSED_PLACE: usize = 5;

/// How many places `ul_add` has in 3.x and 4.x. Before there was one more.
const PLACES_OF_UL_ADD: usize = 8;

/// Gives the command, and the one that `which` or `help` is asked about, the names of this version.
pub(super) fn take_names_of(version: Version, request: &mut Request) {
    if let Some(name) = name_on(&request.method, version) {
        request.method = name;
    }
    if !matches!(&*request.method, b"which" | b"help" | b"core:which" | b"core:help") {
        return;
    }
    let subject = match &mut request.params {
        Params::Positional(items) => items.first_mut(),
        Params::Named(members) => members.first_mut().map(|(_, item)| item),
        Params::Strings(strings) => {
            let Some(subject) = strings.first_mut() else { return };
            if let Some(name) = name_on(&subject.value, version) {
                subject.value = name;
            }
            return;
        }
        Params::None => None,
    };
    if let Some(Item::Str(name)) = subject
        && let Some(known) = name_on(name, version)
    {
        *name = known;
    }
}

/// Translates the parameters of a request for this server.
pub(super) fn fit(route: Route, request: &mut Request) -> Result<(), Refusal> {
    if request.params.is_empty() {
        return Ok(());
    }
    let flat = flat_name(&request.method);
    let flat = std::str::from_utf8(&flat).unwrap_or_default();
    match (route.generation, route.wire) {
        (Some(Generation::Sipmi), _) => {
            if route.is_typed() {
                make_lists(flat, &mut request.params);
            }
            Ok(())
        }
        (Some(Generation::OpenSips(..=2)), _) | (None, Wire::Text | Wire::MiJson) => for_places(flat, request),
        (Some(Generation::OpenSips(_)), _) | (None, Wire::Json | Wire::XmlRpc) => {
            if route.is_typed() {
                for_recipes(flat, &mut request.params);
            }
            Ok(())
        }
    }
}

/// 1.x and 2.x know places and words.
fn for_places(flat: &str, request: &mut Request) -> Result<(), Refusal> {
    match flat {
        "log_level" if *request.method == *b"debug" && request.params.len() == 2 => {
            return Err(Refusal::LevelOfProcess);
        }
        "ul_dump" => say_word(&mut request.params, "brief"),
        "ds_list" => say_word(&mut request.params, "full"),
        "ul_add" if count_unnamed(&request.params) == PLACES_OF_UL_ADD => match &mut request.params {
            Params::Positional(items) => items.insert(UNUSED_PLACE, "0".into()),
            Params::Strings(strings) => {
                strings.insert(UNUSED_PLACE, Param { name: Str::default(), value: "0".into() });
            }
            Params::Named(_) | Params::None => {}
        },
        _ => {}
    }
    Ok(())
}

/// A number that stood for a word: there or not.
fn say_word(params: &mut Params, word: &str) {
    match params {
        Params::Positional(items) => match items.as_slice() {
            [Item::Int(0) | Item::Bool(false)] => *params = Params::None,
            [Item::Int(_) | Item::Bool(true)] => *params = Params::Positional(vec![word.into()]),
            _ => {}
        },
        Params::Strings(strings) => match strings.as_slice() {
            [Param { name, value }] if name.is_empty() && *value == "0" => *params = Params::None,
            [Param { name, value }] if name.is_empty() && *value == "1" => strings[0].value = word.into(),
            _ => {}
        },
        Params::Named(_) | Params::None => {}
    }
}

/// 3.x and 4.x know sets of names, and types.
fn for_recipes(flat: &str, params: &mut Params) {
    if let Params::Strings(strings) = params
        && strings.iter().all(|param| param.name.is_empty())
    {
        *params = Params::Positional(strings.drain(..).map(|param| Item::Str(param.value)).collect());
    }
    match (flat, &mut *params) {
        ("dlg_list" | "dlg_list_ctx", Params::Positional(items)) => {
            let are_numbers = items.iter().all(is_number);
            let names: &[&str] = match items.len() {
                1 => &["callid"],
                2 if are_numbers => &["index", "counter"],
                2 => &["callid", "from_tag"],
                _ => return,
            };
            *params = name_all(names, items);
        }
        ("rl_list", Params::Positional(items)) if items.len() == 1 => *params = name_all(&["pipe"], items),
        ("ul_add", Params::Positional(items)) if items.len() == PLACES_OF_UL_ADD + 1 => {
            items.remove(UNUSED_PLACE);
        }
        ("ul_dump", Params::Positional(items)) if matches!(items.as_slice(), [Item::Str(word)] if *word == "brief") =>
        {
            items[0] = Item::Int(1);
        }
        _ => make_lists(flat, params),
    }
}

/// A string for a list is the list of it.
fn make_lists(flat: &str, params: &mut Params) {
    let Some(ListParameter { position, name, takes_rest }) = list_parameter(flat.as_bytes()) else { return };
    match params {
        Params::Positional(items) if items.len() > position && is_scalar(&items[position]) => {
            let end = if takes_rest { items.len() } else { position + 1 };
            if items[position..end].iter().all(is_scalar) {
                let list = items.drain(position..end).collect();
                items.insert(position, Item::Array(list));
            }
        }
        Params::Named(members) => {
            for (_, item) in members.iter_mut().filter(|(of, item)| *of == name && is_scalar(item)) {
                *item = Item::Array(vec![std::mem::take(item)]);
            }
        }
        Params::Positional(_) | Params::Strings(_) | Params::None => {}
    }
}

fn name_all(names: &[&str], items: &mut Vec<Item>) -> Params {
    Params::Named(names.iter().map(|name| Str::from(*name)).zip(items.drain(..)).collect())
}

fn count_unnamed(params: &Params) -> usize {
    match params {
        Params::Positional(items) => items.len(),
        Params::Strings(strings) if strings.iter().all(|param| param.name.is_empty()) => strings.len(),
        Params::Strings(_) | Params::Named(_) | Params::None => 0,
    }
}

fn is_scalar(item: &Item) -> bool {
    !matches!(item, Item::Array(_) | Item::Object(_) | Item::Null)
}

fn is_number(item: &Item) -> bool {
    match item {
        Item::Int(_) => true,
        Item::Str(text) => !text.is_empty() && text.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::Carrier;
    use super::*;

    fn route(major: u32) -> Route {
        let wire = if major < 3 { Wire::Text } else { Wire::Json };
        Route { generation: Some(Generation::OpenSips(major)), ..Route::unknown(wire, Carrier::Datagram) }
    }

    fn fitted(major: u32, method: &str, params: Vec<Item>) -> Params {
        let mut request = Request { method: method.into(), params: Params::Positional(params) };
        fit(route(major), &mut request).expect("it may be sent");
        request.params
    }

    fn named(members: &[(&str, Item)]) -> Params {
        Params::Named(members.iter().map(|(name, item)| ((*name).into(), item.clone())).collect())
    }

    fn positional<const N: usize>(items: [&str; N]) -> Params {
        Params::Positional(items.map(Item::from).to_vec())
    }

    #[test]
    fn a_string_for_a_list_is_sent_as_a_list_of_one() {
        let list = |items: &[&str]| Item::Array(items.iter().map(|item| Item::from(*item)).collect());
        for method in ["get_statistics", "statistics:get", "reset_statistics"] {
            assert_eq!(fitted(4, method, vec!["core:".into()]), Params::Positional(vec![list(&["core:"])]));
        }
        let two = fitted(3, "get_statistics", vec!["core:".into(), "load:".into()]);
        assert_eq!(two, Params::Positional(vec![list(&["core:", "load:"])]));
        let given = vec![list(&["core:"])];
        assert_eq!(fitted(3, "get_statistics", given.clone()), Params::Positional(given));
        let event = fitted(3, "raise_event", vec!["E_X".into(), "a".into()]);
        assert_eq!(event, Params::Positional(vec!["E_X".into(), list(&["a"])]));
        let mut request =
            Request { method: "get_statistics".into(), params: named(&[("statistics", "core:".into())]) };
        fit(route(4), &mut request).expect("it may be sent");
        assert_eq!(request.params, named(&[("statistics", list(&["core:"]))]));
    }

    #[test]
    fn commands_that_take_names_alone_are_given_them() {
        for major in [3, 4] {
            assert_eq!(fitted(major, "dlg_list", vec!["a@b".into()]), named(&[("callid", "a@b".into())]));
            let two = named(&[("callid", "a@b".into()), ("from_tag", "t".into())]);
            assert_eq!(fitted(major, "dialog:list", vec!["a@b".into(), "t".into()]), two);
            let page = named(&[("index", Item::Int(0)), ("counter", Item::Int(10))]);
            assert_eq!(fitted(major, "dlg_list_ctx", vec![Item::Int(0), Item::Int(10)]), page);
            assert_eq!(fitted(major, "rl_list", vec!["p".into()]), named(&[("pipe", "p".into())]));
        }
        assert_eq!(fitted(2, "dlg_list", vec!["a@b".into()]), positional(["a@b"]));
    }

    #[test]
    fn ul_add_has_a_place_more_before_3_0() {
        let eight = ["location", "a", "sip:a@b", "60", "0.5", "1", "2", "3"];
        let nine = ["location", "a", "sip:a@b", "60", "0.5", "0", "1", "2", "3"];
        for major in [1, 2] {
            assert_eq!(fitted(major, "ul_add", eight.map(Item::from).to_vec()), positional(nine));
            assert_eq!(fitted(major, "ul_add", nine.map(Item::from).to_vec()), positional(nine));
        }
        for major in [3, 4] {
            assert_eq!(fitted(major, "ul_add", eight.map(Item::from).to_vec()), positional(eight));
            assert_eq!(fitted(major, "ul_add", nine.map(Item::from).to_vec()), positional(eight));
        }
    }

    #[test]
    fn brief_is_a_word_before_3_0_and_a_number_since() {
        for one in [Item::Int(1), Item::Bool(true), "brief".into()] {
            assert_eq!(fitted(2, "ul_dump", vec![one]), positional(["brief"]));
        }
        assert_eq!(fitted(1, "ul_dump", vec![Item::Int(0)]), Params::None);
        assert_eq!(fitted(4, "ul_dump", vec!["brief".into()]), Params::Positional(vec![Item::Int(1)]));
        assert_eq!(fitted(2, "ds_list", vec![Item::Int(1)]), positional(["full"]));
    }

    #[test]
    fn the_level_of_one_process_is_not_set_where_it_would_be_set_for_all() {
        let params = Params::Positional(vec![Item::Int(3), Item::Int(4711)]);
        let mut request = Request { method: "debug".into(), params };
        assert_eq!(fit(route(1), &mut request), Err(Refusal::LevelOfProcess));
        request.method = "log_level".into();
        assert_eq!(fit(route(2), &mut request), Ok(()));
    }
}
