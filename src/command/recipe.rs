//! The parameters that a command accepts, and binding those of a request to them (`mi_recipe_t`).

use std::collections::HashMap;

pub use super::kind::Kind;
use super::kind::Rules;
use crate::convert;
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Param, Params};
use crate::response::Failure;
use crate::tree::{NodeId, Tree};

/// Up to this many names are searched in order; more are found by a hash map.
const LOOK_THROUGH: usize = 16;

/// The form in which a handler gets parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// As a tree, unchecked: for handlers in the style of C modules.
    Tree,
    /// Bound to a signature.
    Signature(Signature),
    /// Unchanged, for handlers that forward them.
    Raw,
}

/// The parameters of a command in order, and the sets of them that may be given together.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Signature {
    /// All of them.
    pub params: Vec<ParamSpec>,
    /// The sets that may be given, as indexes into `params`. If empty: any set that contains the required ones.
    pub recipes: Vec<Vec<usize>>,
    /// True if names other than those of `params` are accepted (`**names`).
    pub takes_any_name: bool,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its name.
    pub name: Str,
    /// The type as which it is read.
    pub kind: Kind,
    /// True if null is accepted.
    pub nullable: bool,
    /// True if it must be given.
    pub required: bool,
    /// By position or name, by name only, or the rest.
    pub passing: Passing,
    /// The default, if it can be shown.
    pub default: Option<Item>,
    /// The accepted values; if empty, any value of the kind.
    pub choices: Vec<Item>,
}

/// How a parameter may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// By position or by name.
    Either,
    /// By name only.
    Named,
    /// All further positional values (`*values`).
    Rest,
}

/// The arguments of a handler.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments {
    /// The parameters, unchanged.
    Raw(Params),
    /// The parameters as nodes.
    Tree(Tree),
    /// One slot for each of the signature's parameters, empty where the default applies, and the additional named ones.
    Slots(Vec<Option<Item>>, Vec<(Str, Item)>),
}

impl Recipe {
    /// Binds parameters to the recipe, or returns the rule that they break.
    pub fn bind(&self, params: Params, dialect: Dialect, named_only: bool) -> Result<Arguments, Failure> {
        match self {
            Recipe::Tree => Ok(Arguments::Tree(params_tree(params))),
            Recipe::Raw => Ok(Arguments::Raw(params)),
            Recipe::Signature(signature) => signature.bind(params, dialect, named_only),
        }
    }

    /// The sets of names that may be given, shortest first: the reply of `which COMMAND`.
    pub fn lists(&self) -> Vec<Vec<Str>> {
        match self {
            Recipe::Tree | Recipe::Raw => Vec::new(),
            Recipe::Signature(signature) => signature.lists(),
        }
    }
}

impl Signature {
    /// A signature without parameters.
    pub fn none() -> Self {
        Signature::default()
    }

    fn bind(&self, params: Params, dialect: Dialect, named_only: bool) -> Result<Arguments, Failure> {
        let emulated = dialect.is_emulated();
        let typed = Rules { strings: false, emulated };
        match params {
            Params::None => self.bind_positional(Vec::new(), typed),
            Params::Positional(_) if named_only => Err(Failure::NamedOnly),
            Params::Positional(items) => self.bind_positional(items, typed),
            Params::Named(members) => self.bind_named(members, typed),
            Params::Strings(params) => self.bind_strings(params, Rules { strings: true, emulated }),
        }
    }

    fn bind_positional(&self, items: Vec<Item>, rules: Rules) -> Result<Arguments, Failure> {
        let places = self.places_by_count(items.len(), rules)?;
        let mut slots = vec![None; self.params.len()];
        let mut items = items.into_iter();
        for place in places {
            let spec = &self.params[place];
            let takes_rest = spec.passing == Passing::Rest || (rules.strings && matches!(spec.kind, Kind::List(_)));
            let given = if takes_rest { Some(Item::Array(items.by_ref().collect())) } else { items.next() };
            slots[place] = given.map(|item| spec.read(item, rules)).transpose()?;
        }
        Ok(Arguments::Slots(slots, Vec::new()))
    }

    fn bind_named(&self, members: Vec<(Str, Item)>, rules: Rules) -> Result<Arguments, Failure> {
        let mut slots = vec![None; self.params.len()];
        let mut extra = Vec::new();
        let (count, most) = (members.len(), self.named_params().count());
        if !self.takes_any_name && (count > most || !self.fits_a_recipe(count)) {
            return Err(Failure::ParamCount);
        }
        let mut given = Vec::with_capacity(count);
        for (name, item) in members {
            match self.named_params().find(|(_, spec)| spec.name == name) {
                Some((place, spec)) => {
                    given.push(place);
                    slots[place] = Some((spec, item));
                }
                None if self.takes_any_name => extra.push((name, item)),
                None => return Err(Failure::ParamNames),
            }
        }
        self.check_named(&mut given, count)?;
        let read = |slot: Option<(&ParamSpec, Item)>| slot.map(|(spec, item)| spec.read(item, rules)).transpose();
        Ok(Arguments::Slots(slots.into_iter().map(read).collect::<Result<_, _>>()?, extra))
    }

    /// Binds positional parameters first, then named ones. OpenSIPS 1.x and 2.x ignore names and bind by position
    /// alone.
    fn bind_strings(&self, params: Vec<Param>, rules: Rules) -> Result<Arguments, Failure> {
        let unnamed =
            if rules.emulated { params.len() } else { params.iter().take_while(|p| p.name.is_empty()).count() };
        let mut params = params.into_iter();
        let positional: Vec<Item> = params.by_ref().take(unnamed).map(|param| Item::Str(param.value)).collect();
        let named: Vec<Param> = params.collect();
        if named.is_empty() {
            return self.bind_positional(positional, rules);
        }
        let mut members = Members::default();
        for (item, (_, spec)) in positional.into_iter().zip(self.named_params()) {
            members.push(spec.name.clone(), item);
        }
        if members.list.len() < unnamed {
            return Err(Failure::ParamCount);
        }
        for Param { name, value } in named {
            match members.find(&name) {
                // A repeated name adds an element to its list.
                Some(Item::Array(elements)) => elements.push(Item::Str(value)),
                Some(_) => return Err(Failure::ParamNames),
                None => {
                    let is_list =
                        self.params.iter().any(|spec| spec.name == name && matches!(spec.kind, Kind::List(_)));
                    let item = Item::Str(value);
                    members.push(name, if is_list { Item::Array(vec![item]) } else { item });
                }
            }
        }
        self.bind_named(members.list, rules)
    }

    /// The parameters that a positional call of this many values fills.
    fn places_by_count(&self, count: usize, rules: Rules) -> Result<Vec<usize>, Failure> {
        if !self.recipes.is_empty() {
            let mut fitting = self.recipes.iter().filter(|recipe| self.recipe_takes(recipe, count, rules));
            let first = fitting.next().ok_or(Failure::ParamCount)?;
            return if fitting.next().is_some() { Err(Failure::AmbiguousCall) } else { Ok(first.clone()) };
        }
        let by_position: Vec<usize> =
            (0..self.params.len()).filter(|place| self.params[*place].passing != Passing::Named).collect();
        if self.params.iter().any(|spec| spec.required && spec.passing == Passing::Named) {
            return Err(if count == 0 { Failure::ParamCount } else { Failure::NamedOnly });
        }
        let least = by_position.iter().filter(|place| self.params[**place].required).count();
        let takes_rest = by_position.last().is_some_and(|place| self.params[*place].takes_rest(rules));
        if count < least || (count > by_position.len() && !takes_rest) {
            return Err(Failure::ParamCount);
        }
        Ok(by_position.into_iter().take(count).collect())
    }

    /// Returns true if a recipe accepts this many values. Where lists are spread, the last parameter may take several.
    fn recipe_takes(&self, recipe: &[usize], count: usize, rules: Rules) -> bool {
        let takes_rest = recipe.last().is_some_and(|place| self.params[*place].takes_rest(rules));
        recipe.len() == count || (takes_rest && count > recipe.len())
    }

    fn fits_a_recipe(&self, count: usize) -> bool {
        self.recipes.is_empty() && count >= self.params.iter().filter(|spec| spec.required).count()
            || self.recipes.iter().any(|recipe| recipe.len() == count)
    }

    fn check_named(&self, given: &mut [usize], count: usize) -> Result<(), Failure> {
        given.sort_unstable();
        let fits = if self.recipes.is_empty() {
            let missing = |(place, spec): (usize, &ParamSpec)| spec.required && !given.contains(&place);
            !self.params.iter().enumerate().any(missing)
        } else {
            let same =
                |recipe: &Vec<usize>| recipe.len() == count && recipe.iter().all(|place| given.contains(place));
            self.recipes.iter().any(same)
        };
        if fits { Ok(()) } else { Err(Failure::ParamNames) }
    }

    fn named_params(&self) -> impl Iterator<Item = (usize, &ParamSpec)> {
        self.params.iter().enumerate().filter(|(_, spec)| spec.passing != Passing::Rest)
    }

    /// The sets of names that may be given, shortest first; at least one set.
    pub fn lists(&self) -> Vec<Vec<Str>> {
        let name = |place: usize| self.params[place].name.clone();
        if !self.recipes.is_empty() {
            return self.recipes.iter().map(|recipe| recipe.iter().map(|place| name(*place)).collect()).collect();
        }
        let required: Vec<usize> = (0..self.params.len()).filter(|place| self.params[*place].required).collect();
        let optional = (0..self.params.len()).filter(|place| !self.params[*place].required);
        let mut lists = vec![required];
        for place in optional {
            let mut longer = lists.last().cloned().unwrap_or_default();
            longer.push(place);
            lists.push(longer);
        }
        lists.into_iter().map(|list| list.into_iter().map(name).collect()).collect()
    }
}

/// Parameters with unique names. The time to find one does not depend on their number.
#[derive(Default)]
struct Members {
    list: Vec<(Str, Item)>,
    /// Their indexes by name, once there are more than a search in order is good for.
    places: HashMap<Str, usize>,
}

impl Members {
    fn find(&mut self, name: &Str) -> Option<&mut Item> {
        let place = if self.list.len() < LOOK_THROUGH {
            self.list.iter().position(|(other, _)| other == name)
        } else {
            self.places.get(name).copied()
        };
        place.map(|place| &mut self.list[place].1)
    }

    fn push(&mut self, name: Str, item: Item) {
        self.list.push((name, item));
        if self.list.len() >= LOOK_THROUGH {
            let listed = self.places.len();
            let more = self.list.iter().enumerate().skip(listed);
            self.places.extend(more.map(|(place, (name, _))| (name.clone(), place)));
        }
    }
}

impl ParamSpec {
    /// A parameter that must be given.
    pub fn required(name: &str, kind: Kind) -> Self {
        ParamSpec {
            name: name.into(),
            kind,
            nullable: false,
            required: true,
            passing: Passing::Either,
            default: None,
            choices: Vec::new(),
        }
    }

    /// A parameter that may be left out.
    pub fn optional(name: &str, kind: Kind) -> Self {
        ParamSpec { required: false, ..ParamSpec::required(name, kind) }
    }

    fn takes_rest(&self, rules: Rules) -> bool {
        self.passing == Passing::Rest || (rules.strings && matches!(self.kind, Kind::List(_)))
    }

    fn read(&self, item: Item, rules: Rules) -> Result<Item, Failure> {
        match (&self.kind, item) {
            (_, Item::Null) if self.nullable => Ok(Item::Null),
            (Kind::List(kind), Item::Array(elements)) => self.read_list(kind, elements, rules),
            (kind, item) => {
                let item =
                    kind.read(item, rules).filter(|item| self.choices.is_empty() || self.choices.contains(item));
                item.ok_or_else(|| Failure::ParamType(self.name.clone()))
            }
        }
    }

    fn read_list(&self, kind: &Kind, elements: Vec<Item>, rules: Rules) -> Result<Item, Failure> {
        if elements.is_empty() && rules.emulated && self.required {
            return Err(Failure::EmptyArray(self.name.clone()));
        }
        let read = |element| kind.read(element, rules).ok_or_else(|| Failure::ItemType(self.name.clone()));
        elements.into_iter().map(read).collect::<Result<_, _>>().map(Item::Array)
    }
}

/// The parameters as nodes. A list becomes several nodes, as on wires without lists.
fn params_tree(params: Params) -> Tree {
    let mut tree = Tree::ok();
    match params {
        Params::None => {}
        Params::Positional(items) => {
            for item in &items {
                convert::add_item(&mut tree, NodeId::ROOT, b"", item);
            }
        }
        Params::Named(members) => {
            for (name, item) in &members {
                convert::add_item(&mut tree, NodeId::ROOT, name, item);
            }
        }
        Params::Strings(params) => {
            for Param { name, value } in &params {
                tree.add_child(NodeId::ROOT, name, &**value);
            }
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(params: Vec<ParamSpec>) -> Recipe {
        Recipe::Signature(Signature { params, ..Signature::default() })
    }

    fn strings(params: &[(&str, &str)]) -> Params {
        Params::Strings(params.iter().map(|(n, v)| Param { name: (*n).into(), value: (*v).into() }).collect())
    }

    fn slots(recipe: &Recipe, params: Params) -> Result<Vec<Option<Item>>, Failure> {
        recipe.bind(params, Dialect::Sipmi, false).map(|arguments| match arguments {
            Arguments::Slots(slots, _) => slots,
            Arguments::Tree(_) | Arguments::Raw(_) => panic!("a signature gives slots"),
        })
    }

    fn ul_add() -> Recipe {
        signature(vec![
            ParamSpec::required("aor", Kind::Str),
            ParamSpec::optional("expires", Kind::Int),
            ParamSpec::optional("q", Kind::Float),
        ])
    }

    #[test]
    fn positions_and_names_fill_the_same_slots() {
        let expected = Ok(vec![Some("a".into()), Some(Item::Int(60)), None]);
        assert_eq!(slots(&ul_add(), Params::Positional(vec!["a".into(), Item::Int(60)])), expected);
        assert_eq!(
            slots(&ul_add(), Params::Named(vec![("expires".into(), "60".into()), ("aor".into(), "a".into())])),
            expected
        );
        assert_eq!(slots(&ul_add(), strings(&[("", "a"), ("expires", "60")])), expected);
    }

    #[test]
    fn a_wrong_count_a_wrong_name_and_a_wrong_type_are_told_apart() {
        assert_eq!(slots(&ul_add(), Params::None), Err(Failure::ParamCount));
        assert_eq!(slots(&ul_add(), Params::Positional(vec![Item::Int(1); 4])), Err(Failure::ParamCount));
        assert_eq!(slots(&ul_add(), Params::Named(vec![("nope".into(), "a".into())])), Err(Failure::ParamNames));
        assert_eq!(slots(&ul_add(), Params::Named(vec![("q".into(), "1".into())])), Err(Failure::ParamNames));
        assert_eq!(slots(&ul_add(), strings(&[("", "a"), ("", "3.7")])), Err(Failure::ParamType("expires".into())));
        assert_eq!(
            slots(&ul_add(), Params::Positional(vec![Item::Bool(true)])),
            Err(Failure::ParamType("aor".into()))
        );
    }

    #[test]
    fn a_list_takes_the_rest_where_there_are_only_strings_and_an_array_elsewhere() {
        let recipe = signature(vec![ParamSpec::required("statistics", Kind::List(Box::new(Kind::Str)))]);
        let expected = Ok(vec![Some(vec!["core:", "shmem:"].into())]);
        assert_eq!(slots(&recipe, strings(&[("", "core:"), ("", "shmem:")])), expected);
        assert_eq!(slots(&recipe, Params::Positional(vec![vec!["core:", "shmem:"].into()])), expected);
        let bare = slots(&recipe, Params::Positional(vec!["core:".into()]));
        assert_eq!(bare, Err(Failure::ParamType("statistics".into())));
        assert_eq!(slots(&recipe, Params::None), Err(Failure::ParamCount));
    }

    #[test]
    fn recipes_are_chosen_by_count_and_names() {
        let params = ["callid", "from_tag", "index", "counter"].map(|name| ParamSpec::optional(name, Kind::Str));
        let recipes = vec![vec![], vec![0], vec![0, 1], vec![2, 3]];
        let recipe = Recipe::Signature(Signature { params: params.into(), recipes, takes_any_name: false });
        assert_eq!(slots(&recipe, Params::None), Ok(vec![None; 4]));
        assert_eq!(slots(&recipe, Params::Positional(vec!["x".into(); 2])), Err(Failure::AmbiguousCall));
        assert_eq!(slots(&recipe, Params::Positional(vec!["x".into(); 3])), Err(Failure::ParamCount));
        let paged = Params::Named(vec![("index".into(), Item::Int(0)), ("counter".into(), Item::Int(1))]);
        assert_eq!(slots(&recipe, paged), Ok(vec![None, None, Some("0".into()), Some("1".into())]));
        let mixed = Params::Named(vec![("callid".into(), "x".into()), ("index".into(), Item::Int(1))]);
        assert_eq!(slots(&recipe, mixed), Err(Failure::ParamNames));
    }

    #[test]
    fn old_versions_ignore_names_and_newer_ones_cut_numbers() {
        let recipe = ul_add();
        let bound = recipe.bind(strings(&[("zzz", "a"), ("aor", "60")]), Dialect::V2_4, false);
        assert_eq!(bound, Ok(Arguments::Slots(vec![Some("a".into()), Some(Item::Int(60)), None], vec![])));
        let bound = recipe.bind(Params::Positional(vec![Item::Float(1.5), Item::Float(3.7)]), Dialect::V4_0, false);
        assert_eq!(bound, Ok(Arguments::Slots(vec![Some("1".into()), Some(Item::Int(3)), None], vec![])));
    }

    #[test]
    fn a_value_that_is_none_of_the_choices_is_refused() {
        let choices = vec!["asc".into(), "desc".into()];
        let recipe = signature(vec![ParamSpec { choices, ..ParamSpec::required("order", Kind::Str) }]);
        assert_eq!(slots(&recipe, Params::Positional(vec!["asc".into()])), Ok(vec![Some("asc".into())]));
        assert_eq!(slots(&recipe, strings(&[("", "desc")])), Ok(vec![Some("desc".into())]));
        let refused = slots(&recipe, Params::Positional(vec!["up".into()]));
        assert_eq!(refused, Err(Failure::ParamType("order".into())));
    }

    #[test]
    fn which_lists_the_required_names_and_then_each_optional_one() {
        let lists: Vec<usize> = ul_add().lists().iter().map(Vec::len).collect();
        assert_eq!(lists, [1, 2, 3]);
    }
}
