//! Requests of `mi_json`: a path and a query.

use memchr::{memchr, memchr2};

use crate::codec::{CodecError, RequestError, percent, text};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::{Param, Params, Request};
use crate::response::Failure;

/// The member of the query that holds all parameters, separated by commas.
const PARAMS: &[u8] = b"params";

/// Reads a request: the path after `/json/`, and the query, both as they were sent.
///
/// `params=a,b` are parameters by position; a comma after the last one ends it. `+` is a blank, `%` begins two hex
/// digits or stands for itself. Sipmi splits at the commas before it decodes, so that `%2C` is a comma in a value, and
/// takes the other members of the query as parameters by name. Emulated versions decode first, end at a NUL,
/// refuse a parameter that is empty, and ignore other members.
pub fn decode_request(command: &[u8], query: Option<&[u8]>, dialect: Dialect) -> Result<Request, RequestError> {
    let method = Str::from(percent::decode(command));
    if method.is_empty() {
        return Err(RequestError { failure: Failure::Parse, method });
    }
    let members = query.unwrap_or_default().split(|byte| *byte == b'&').filter(|member| !member.is_empty());
    let mut params = Vec::new();
    let mut is_listed = false;
    for member in members {
        let (name, value) = match memchr(b'=', member) {
            Some(len) => (&member[..len], Some(&member[len + 1..])),
            None => (member, None),
        };
        if name == PARAMS {
            let listed = value.filter(|_| !is_listed);
            is_listed = true;
            let understood = listed.is_none_or(|listed| push_listed(&mut params, listed, dialect));
            if !understood {
                return Err(RequestError { failure: Failure::Parse, method });
            }
        } else if !dialect.is_emulated() {
            let value = percent::decode_form(value.unwrap_or_default());
            params.push(Param { name: percent::decode_form(name).into(), value: value.into() });
        }
    }
    let params = if params.is_empty() { Params::None } else { Params::Strings(params) };
    Ok(Request { method, params })
}

/// Appends `CMD` or `CMD?params=...`, percent-encoded. On error nothing is appended.
///
/// `server` is who reads it. The originals take parameters by position alone, so names are left out, and neither a
/// comma in a parameter nor an empty one, which is refused here. [`Dialect::Sipmi`] takes every value, and names as
/// members of the query beside `params`. Typed parameters become strings as they do in [`text::encode_request`].
pub fn encode_request(out: &mut Vec<u8>, request: &Request, server: Dialect) -> Result<(), CodecError> {
    if request.method.is_empty() {
        return Err(CodecError::Unsayable { what: "the method".into(), why: "it is empty" });
    }
    let params = text::as_strings(&request.params)?;
    let start = out.len();
    percent::push(out, &request.method);
    push_query(out, &params, server).inspect_err(|_| out.truncate(start))
}

/// Appends the list of `params=`; returns whether it can be understood.
fn push_listed(params: &mut Vec<Param>, listed: &[u8], dialect: Dialect) -> bool {
    let decoded;
    let listed = if dialect.is_emulated() {
        decoded = percent::decode_form(listed);
        &decoded[..memchr(0, &decoded).unwrap_or(decoded.len())]
    } else {
        listed
    };
    let listed = match listed {
        b"" => return true,
        listed => listed.strip_suffix(b",").unwrap_or(listed),
    };
    for value in listed.split(|byte| *byte == b',') {
        if value.is_empty() && dialect.is_emulated() {
            return false;
        }
        let value = if dialect.is_emulated() { value.to_vec() } else { percent::decode_form(value) };
        params.push(Param { name: Str::default(), value: value.into() });
    }
    true
}

/// Appends the query, when there are parameters.
fn push_query(out: &mut Vec<u8>, params: &[Param], server: Dialect) -> Result<(), CodecError> {
    let without_names = params.iter().take_while(|param| param.name.is_empty()).count();
    let (listed, named) = params.split_at(if server.is_emulated() { params.len() } else { without_names });
    for (place, param) in listed.iter().enumerate() {
        check_listed(&param.value, server).map_err(|why| CodecError::unsayable_param(place + 1, why))?;
        out.extend_from_slice(if place == 0 { b"?params=" } else { b"," });
        percent::push(out, &param.value);
    }
    // A last comma ends the parameter before it; without, an empty one would not be there.
    out.extend_from_slice(if listed.last().is_some_and(|last| last.value.is_empty()) { b"," } else { b"" });
    for (place, param) in named.iter().enumerate().map(|(place, param)| (listed.len() + place, param)) {
        check_named(&param.name).map_err(|why| CodecError::unsayable_param(place + 1, why))?;
        out.push(if place == 0 { b'?' } else { b'&' });
        percent::push(out, &param.name);
        out.push(b'=');
        percent::push(out, &param.value);
    }
    Ok(())
}

/// Checks that the server accepts this value in its list.
fn check_listed(value: &[u8], server: Dialect) -> Result<(), &'static str> {
    if !server.is_emulated() {
        Ok(())
    } else if value.is_empty() {
        Err("it is empty, which the server does not take")
    } else if memchr2(b',', 0, value).is_some() {
        Err("it holds a comma or a NUL byte, which the server takes for its end")
    } else {
        Ok(())
    }
}

/// Checks that a parameter beside the list can have this name.
fn check_named(name: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("it has no name, and one before it has")
    } else if name == PARAMS {
        Err("its name is that of the list of all parameters")
    } else {
        Ok(())
    }
}
