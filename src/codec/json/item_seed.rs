//! Items from any parser that serde knows.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::stand_ins::Text;
use crate::item::{Item, Str};

/// How many members of an object are looked through for a repeated name before they are hashed.
const LOOK_THROUGH: usize = 16;

/// Builds an [`Item`]; of members with the same name all stay, or with `first_wins` the first alone.
#[derive(Clone, Copy)]
pub(crate) struct ItemSeed<'t> {
    pub(crate) text: &'t Text<'t>,
    pub(crate) first_wins: bool,
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Item;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Item, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed<'_> {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Item, E> {
        Ok(Item::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Item, E> {
        Ok(Item::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Item, E> {
        Ok(Item::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Item, E> {
        Ok(Item::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Item, E> {
        Ok(Item::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Item, E> {
        Ok(Item::Str(self.text.bytes(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Item, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = elements.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Item::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Item, A::Error> {
        read_members(self, members).map(Item::Object)
    }
}

/// The members of an object, in order.
fn read_members<'de, A: MapAccess<'de>>(seed: ItemSeed<'_>, mut object: A) -> Result<Vec<(Str, Item)>, A::Error> {
    let mut members: Vec<(Str, Item)> = Vec::new();
    let mut names = HashSet::new();
    while let Some(name) = object.next_key_seed(NameSeed(seed.text))? {
        if seed.first_wins && is_repeated(&members, &mut names, &name) {
            object.next_value::<IgnoredAny>()?;
        } else {
            members.push((name, object.next_value_seed(seed)?));
        }
    }
    Ok(members)
}

/// Returns true if a member has this name; `names` is filled once there are too many members for a linear search.
fn is_repeated(members: &[(Str, Item)], names: &mut HashSet<Str>, name: &Str) -> bool {
    if members.len() < LOOK_THROUGH {
        return members.iter().any(|(other, _)| other == name);
    }
    if names.is_empty() {
        names.extend(members.iter().map(|(name, _)| name.clone()));
    }
    !names.insert(name.clone())
}

/// Reads a string.
struct NameSeed<'t>(&'t Text<'t>);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Str;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Str, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Str, E> {
        Ok(self.0.bytes(name))
    }
}
