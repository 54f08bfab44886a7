//! Between generations: what a caller gives as an upstream takes it, and what that answers as the caller reads it.
//!
//! Trees stay trees where the caller's wire has trees, and values stay values where it has types. Only what crosses over
//! is changed.

use std::borrow::Cow;

use super::outcome::{Outcome, UpstreamError};
use crate::catalog::parameters;
use crate::client::{Arguments, Reply};
use crate::codec::{json, jsonrpc, text};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::{Body, Failure, Response};

const INVALID_PARAMS: i32 = -32602;
const SERVER_ERROR: i32 = -32000;

/// Parameters as the client takes them. `typed`: the upstream has names and types; the caller has, when they are no
/// strings.
pub(super) fn arguments(flat: &[u8], params: Params, typed: bool) -> Arguments {
    match params {
        Params::None => Arguments::default(),
        Params::Strings(strings) if typed => match parameters::by_name(flat, &strings) {
            Some(named) => Arguments { named, ..Arguments::default() },
            None => Arguments { strings, ..Arguments::default() },
        },
        Params::Strings(strings) => Arguments { strings, ..Arguments::default() },
        Params::Named(named) => Arguments { named, ..Arguments::default() },
        // The places of 1.x and 2.x are not always those of today.
        Params::Positional(items) if !typed => match parameters::names_of(flat, items.len()) {
            Some(names) => {
                Arguments { named: names.into_iter().map(Str::from).zip(items).collect(), ..Arguments::default() }
            }
            None => Arguments { positional: items, ..Arguments::default() },
        },
        Params::Positional(positional) => Arguments { positional, ..Arguments::default() },
    }
}

/// Returns the reply to a caller. `legacy`: its wire is one of 1.x and 2.x.
pub(super) fn answer(outcome: &Outcome, legacy: bool, upstream: &str) -> Result<Response, Failure> {
    match outcome {
        Ok(reply) if reply.is_unclear => {
            let nothing = if legacy { Body::Empty } else { Body::Item(Item::Null) };
            Ok(Response { body: nothing, ..reply.response.clone() })
        }
        Ok(reply) => {
            // In 4.0, whose values typed wires have, some errors of old versions are none, and some successes are errors.
            let response = if legacy { Cow::Borrowed(&reply.response) } else { reply.shaped() };
            let is_error = !response.is_success() && !reply.response.is_success();
            if is_error { error(reply, legacy) } else { Ok(response.into_owned()) }
        }
        Err(error) => Ok(explain(error, legacy, upstream)),
    }
}

/// An error answer keeps code and message; what a transport says of a request is said in the words of the caller's.
fn error(reply: &Reply, legacy: bool) -> Result<Response, Failure> {
    let response = &reply.response;
    if reply.is_typed && !legacy {
        return Ok(response.clone());
    }
    if let Some(failure) = failure_of(response) {
        return Err(failure);
    }
    let data = data_of(response);
    Ok(match response.code {
        // Codes of JSON-RPC mean nothing on older wires, and their detail is in the data.
        INVALID_PARAMS if legacy => Response::error(400, data.unwrap_or_else(|| "Bad parameter".into())),
        code if code < 0 && legacy && reply.is_typed => {
            Response::error(500, data.unwrap_or_else(|| response.reason.clone()))
        }
        400 if !legacy && matches!(&*response.reason, b"Bad parameter" | b"Bad parameter value") => Response {
            body: Body::Item(Item::Str(response.reason.clone())),
            ..Response::error(INVALID_PARAMS, "Invalid params")
        },
        _ => response.clone(),
    })
}

/// Returns the failure that a transport of any generation means by an error; `None` when it is a command's error.
fn failure_of(response: &Response) -> Option<Failure> {
    let data = data_of(response);
    let data = data.as_deref().unwrap_or_default();
    match (response.code, &*response.reason) {
        (-32601 | -506, _) | (401 | 500, b"Command not found") => Some(Failure::UnknownCommand),
        (-32001, _) => {
            let names = data.strip_prefix(b"supported names: ").unwrap_or(data);
            let names = names.split(|byte| *byte == b',').map(|name| name.trim_ascii().into());
            Some(Failure::Ambiguous(names.collect()))
        }
        (400, b"Too few or too many arguments") => Some(Failure::ParamCount),
        (SERVER_ERROR, _) if Failure::is_handler(data) => Some(Failure::handler()),
        (INVALID_PARAMS | SERVER_ERROR, _) => known_failures().into_iter().find(|failure| {
            let said = jsonrpc::failure_response(failure, Dialect::V4_0);
            said.code == response.code && data_of(&said).as_deref() == Some(data)
        }),
        _ => text::failure_of(response),
    }
}

/// Those of which JSON-RPC says the same words whatever the command is.
fn known_failures() -> [Failure; 5] {
    [Failure::ParamCount, Failure::ParamNames, Failure::AmbiguousCall, Failure::NamedOnly, Failure::handler()]
}

fn data_of(response: &Response) -> Option<Str> {
    match json::item_of(&response.body).ok()??.as_ref() {
        Item::Str(text) => Some(text.clone()),
        _ => None,
    }
}

/// Explains in the caller's form why the upstream did not answer.
fn explain(error: &UpstreamError, legacy: bool, upstream: &str) -> Response {
    let (code, what) = match error {
        UpstreamError::Timeout(seconds) => (408, format!("no answer within {seconds} s")),
        UpstreamError::Unreachable(what) => (502, what.clone()),
        UpstreamError::Refused(why) => (400, format!("not sent: {why}")),
        UpstreamError::Loop => (508, "it leads back to this server".to_owned()),
    };
    let said = format!("upstream {upstream}: {what}");
    if legacy {
        // A reason is one line.
        return Response::error(code, said.replace('\n', " "));
    }
    let (code, reason) = match error {
        UpstreamError::Refused(_) => (INVALID_PARAMS, "Invalid params"),
        _ => (SERVER_ERROR, "Server error"),
    };
    Response { body: Body::Item(said.into()), ..Response::error(code, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Param;

    fn strings(values: &[&str]) -> Params {
        Params::Strings(values.iter().map(|value| Param { name: "".into(), value: (*value).into() }).collect())
    }

    fn named(flat: &str, values: &[&str]) -> Vec<(String, Item)> {
        let arguments = arguments(flat.as_bytes(), strings(values), true);
        arguments.named.into_iter().map(|(name, item)| (name.to_string(), item)).collect()
    }

    #[test]
    fn strings_in_their_places_become_names_where_the_upstream_has_names() {
        let list = Item::Array(vec!["core:".into(), "shmem:".into()]);
        assert_eq!(named("get_statistics", &["core:", "shmem:"]), [("statistics".into(), list)]);
        assert_eq!(named("ul_dump", &["brief"]), [("brief".into(), Item::Int(1))]);
        assert_eq!(named("dlg_list", &["12", "34"])[0].0, "index");
        assert_eq!(named("dlg_list", &["call", "tag"])[0].0, "callid");
        let given = ["location", "alice", "sip:a@b", "60", "0.5", "0", "0", "0", "0"];
        let names: Vec<_> = named("ul_add", &given).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["table_name", "aor", "contact", "expires", "q", "flags", "cflags", "methods"]);
        assert_eq!(arguments(b"nosuch", strings(&["a"]), true).strings.len(), 1);
    }

    #[test]
    fn positions_of_today_are_brought_to_those_of_old_servers_by_name() {
        let items = vec![Item::from("x"); 8];
        let given = arguments(b"ul_add", Params::Positional(items), false);
        assert_eq!(given.named.len(), 8);
        assert_eq!(given.named[5].0, "flags");
    }

    fn crossed(code: i32, reason: &str, data: Option<&str>, typed: bool) -> Result<Response, Failure> {
        let body = data.map_or(Body::Empty, |data| Body::Item(data.into()));
        let response = Response { body, ..Response::error(code, reason) };
        answer(&Ok(Reply { response, is_typed: typed, ..Reply::default() }), typed, "u")
    }

    #[test]
    fn transport_errors_are_translated_to_the_other_generation() {
        assert_eq!(crossed(-32601, "Method not found", None, true), Err(Failure::UnknownCommand));
        assert_eq!(crossed(500, "command 'x' not available", None, false), Err(Failure::UnknownCommand));
        let count = "Too few or too many parameters";
        assert_eq!(crossed(-32602, "Invalid params", Some(count), true), Err(Failure::ParamCount));
        assert_eq!(crossed(400, "Too few or too many arguments", None, false), Err(Failure::ParamCount));
        assert_eq!(crossed(-32602, "Invalid params", Some("Bad PID"), true), Ok(Response::error(400, "Bad PID")));
        let names = vec!["a:list".into(), "b:list".into()];
        let said = crossed(-32001, "Method ambiguous", Some("supported names: a:list, b:list"), true);
        assert_eq!(said, Err(Failure::Ambiguous(names)));
    }

    #[test]
    fn faults_of_commands_keep_code_and_message() {
        for typed in [true, false] {
            assert_eq!(crossed(404, "AOR not found", None, typed), Ok(Response::error(404, "AOR not found")));
        }
    }
}
