//! The request that a caller makes, and the reply to it.

use std::borrow::Cow;
use std::time::Duration;

use super::error::CallError;
use super::server_info::Wire;
use super::shape::{modern, shape};
use crate::codec::{CodecError, jsonrpc};
use crate::item::{Item, Str};
use crate::request::{Param, Params, Request};
use crate::response::Response;

/// The arguments of a command, before the wire is known.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Arguments {
    /// By position.
    pub positional: Vec<Item>,
    /// By name.
    pub named: Vec<(Str, Item)>,
    /// Strings in order, each with or without a name, as a shell has them. Only without the other two.
    pub strings: Vec<Param>,
}

impl Arguments {
    /// The parameters as a wire takes them. A null by name or at the end is left out.
    ///
    /// Where parameters have no types, positions and names may be mixed.
    pub(super) fn into_params(self, is_typed: bool) -> Result<Params, CallError> {
        let Arguments { mut positional, mut named, strings } = self;
        if !strings.is_empty() {
            return Ok(Params::Strings(strings));
        }
        let given = positional.iter().rposition(|item| *item != Item::Null).map_or(0, |last| last + 1);
        positional.truncate(given);
        named.retain(|(_, item)| *item != Item::Null);
        if let Some(place) = positional.iter().position(|item| *item == Item::Null) {
            return Err(CallError::Params(format!("parameter {} is None, and others follow it", place + 1)));
        }
        match (positional.is_empty(), named.is_empty(), is_typed) {
            (true, true, _) => Ok(Params::None),
            (false, true, _) => Ok(Params::Positional(positional)),
            (true, false, _) => Ok(Params::Named(named)),
            (false, false, false) => {
                let unnamed = positional.into_iter().map(|item| (Str::default(), item));
                Ok(Params::Named(unnamed.chain(named).collect()))
            }
            (false, false, true) => {
                Err(CallError::Params("this wire takes parameters by position or by name, not both".into()))
            }
        }
    }
}

/// A request to the client.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Asked {
    /// The command, by any name that a version has for it.
    pub method: Str,
    /// The arguments of the command.
    pub arguments: Arguments,
    /// True if the request is sent over a limit of the server, where that does no harm.
    pub force: bool,
}

/// A server's answer, be it a success or an error.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Reply {
    /// The request that was sent.
    pub request: Request,
    /// Code, reason and value, as they came.
    pub response: Response,
    /// The bytes that were sent.
    pub sent: Vec<u8>,
    /// The bytes that were received.
    pub raw: Vec<u8>,
    /// From the first byte sent to the last received.
    pub elapsed: Duration,
    /// In which form it came.
    pub wire: Wire,
    /// True if the answer may also be an error: 1.x gives some errors an empty answer too.
    pub is_unclear: bool,
    /// A change that the server makes to the sent parameters.
    pub notice: Option<&'static str>,
    /// True if the wire keeps types, so that values have the types of 3.x and 4.x.
    pub is_typed: bool,
}

impl Reply {
    /// The response as 4.0 would have given it, where the table of shapes has the command.
    pub fn shaped(&self) -> Cow<'_, Response> {
        let Reply { request, response, .. } = self;
        let shaped = match (self.is_unclear, self.is_typed) {
            (true, _) => None,
            (false, true) => modern(&request.method, response),
            (false, false) => shape(&request.method, &request.params, response),
        };
        shaped.map_or(Cow::Borrowed(response), Cow::Owned)
    }
}

/// Reads a JSON-RPC answer, all but its result; `None` when it belongs to another request.
pub(super) fn read_json(bytes: &[u8], id: u32) -> Option<Result<Response, CodecError>> {
    let (response, answered) = match jsonrpc::skim_response(bytes) {
        Ok(answer) => answer,
        Err(error) => return Some(Err(error)),
    };
    let is_ours = match answered {
        jsonrpc::Id::Raw(text) => *text == *itoa::Buffer::new().format(id).as_bytes(),
        // A server that could not read the request does not know its id.
        jsonrpc::Id::Null | jsonrpc::Id::Absent => !response.is_success(),
        jsonrpc::Id::Broken => false,
    };
    is_ours.then_some(Ok(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(positional: &[Item], named: &[(&str, Item)]) -> Arguments {
        let named = named.iter().map(|(name, item)| ((*name).into(), item.clone())).collect();
        Arguments { positional: positional.to_vec(), named, strings: Vec::new() }
    }

    #[test]
    fn nothing_is_left_out_but_at_the_end_and_by_name() {
        let given = arguments(&[Item::Int(1), Item::Null], &[]);
        assert_eq!(given.into_params(true).ok(), Some(Params::Positional(vec![Item::Int(1)])));
        let given = arguments(&[], &[("a", Item::Null)]);
        assert_eq!(given.into_params(false).ok(), Some(Params::None));
        let given = arguments(&[Item::Null, Item::Int(1)], &[]);
        assert!(matches!(given.into_params(true), Err(CallError::Params(_))));
    }

    #[test]
    fn positions_and_names_mix_on_text_alone() {
        let given = arguments(&["a".into()], &[("b", Item::Int(1))]);
        let mixed = Params::Named(vec![(Str::default(), "a".into()), ("b".into(), Item::Int(1))]);
        assert_eq!(given.clone().into_params(false).ok(), Some(mixed));
        assert!(matches!(given.into_params(true), Err(CallError::Params(_))));
    }

    #[test]
    fn an_answer_to_another_request_is_not_ours() {
        let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","result":"OK","id":{id}}}"#);
        assert_eq!(read_json(answer("7").as_bytes(), 7), Some(Ok(Response::ok())));
        assert_eq!(read_json(answer("8").as_bytes(), 7), None);
        assert_eq!(read_json(answer("\"7\"").as_bytes(), 7), None);
        assert_eq!(read_json(answer("null").as_bytes(), 7), None);
        let refused = read_json(b"400 Parse_error", 7);
        assert!(matches!(refused, Some(Ok(Response { code: 400, .. }))), "{refused:?}");
    }
}
