//! A request, independent of its wire: a method and its parameters.

use crate::item::{Item, Str};

/// The name of a command and its parameters (the request's `struct mi_root`, or `mi_params_t` from 3.0 on).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Request {
    /// The name as the caller wrote it: `ul_dump`, `usrloc:dump`.
    pub method: Str,
    /// The parameters.
    pub params: Params,
}

/// Parameters, in the three forms that wires have.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Params {
    /// No parameters, or an empty list: no server tells them apart.
    #[default]
    None,
    /// By position, with types (JSON-RPC array, native XML-RPC).
    Positional(Vec<Item>),
    /// By name, with types (JSON-RPC object, native XML-RPC struct).
    Named(Vec<(Str, Item)>),
    /// Strings in order, with optional names (the wires of 1.x and 2.x).
    Strings(Vec<Param>),
}

/// One parameter of a wire that has only strings (`struct mi_node` of a request).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Param {
    /// The name; empty if the caller gave none.
    pub name: Str,
    /// The value.
    pub value: Str,
}

impl Request {
    /// A request without parameters.
    pub fn new(method: impl Into<Str>) -> Self {
        Request { method: method.into(), params: Params::None }
    }

    /// A request with parameters by position.
    pub fn positional(method: impl Into<Str>, params: Vec<Item>) -> Self {
        Request { method: method.into(), params: Params::Positional(params) }
    }

    /// A request with parameters by name.
    pub fn named(method: impl Into<Str>, params: Vec<(Str, Item)>) -> Self {
        Request { method: method.into(), params: Params::Named(params) }
    }
}

impl Params {
    /// The number of parameters.
    pub fn len(&self) -> usize {
        match self {
            Params::None => 0,
            Params::Positional(items) => items.len(),
            Params::Named(members) => members.len(),
            Params::Strings(params) => params.len(),
        }
    }

    /// Returns true if there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
