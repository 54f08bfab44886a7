//! XML-RPC in the six forms that versions of OpenSIPS have given it, for both sides.

use std::fmt;
use std::str::FromStr;

use super::{CodecError, RequestError};
use crate::dialect::Dialect;
use crate::request::Request;
use crate::response::{Failure, Response};

/// How trees and parameters look in XML-RPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Form {
    /// Typed values, both ways (3.x and 4.x).
    #[default]
    Native,
    /// One string of lines `name:: value attr=v`, not indented (1.x, `reply_option` 0).
    String,
    /// An array of such lines (1.x, `reply_option` 1).
    Array,
    /// 1.11's `mi_xmlrpc_ng`: one string.
    Ng,
    /// 2.4's `format_version` 1: one string, indented.
    Ng1,
    /// 2.4's `format_version` 2: structs of `value`, `attributes` and `kids`.
    Ng2,
}

/// There is no such form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no form {found:?} of XML-RPC: expected one of native, string, array, ng, ng1, ng2")]
pub struct UnknownForm {
    found: String,
}

impl Form {
    const NAMES: [(&'static str, Form); 6] = [
        ("native", Form::Native),
        ("string", Form::String),
        ("array", Form::Array),
        ("ng", Form::Ng),
        ("ng1", Form::Ng1),
        ("ng2", Form::Ng2),
    ];
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(name: &str) -> Result<Self, UnknownForm> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, form)| *form).ok_or_else(|| UnknownForm { found: name.to_owned() })
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.iter().find(|(_, form)| form == self);
        f.write_str(known.map_or("native", |(name, _)| name))
    }
}

/// What one document asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A request alone, answered by [`encode_response`].
    One(Request),
    /// Several in one `system.multicall`, answered by [`encode_multicall`].
    Multicall(Vec<Result<Request, RequestError>>),
}

/// Reads what a client sent.
pub fn decode_request(body: &[u8], form: Form, dialect: Dialect) -> Result<Incoming, RequestError> {
    let _ = (body, form, dialect);
    todo!()
}

/// Appends the answer to a request.
pub fn encode_response(
    out: &mut Vec<u8>,
    result: &Result<Response, Failure>,
    method: &[u8],
    form: Form,
    dialect: Dialect,
) {
    let _ = (out, result, method, form, dialect);
    todo!()
}

/// Appends the answer to a `system.multicall`: for each request, in order, its method and what became of it.
pub fn encode_multicall<'a>(
    out: &mut Vec<u8>,
    answers: impl IntoIterator<Item = (&'a [u8], &'a Result<Response, Failure>)>,
    form: Form,
    dialect: Dialect,
) {
    let _ = (out, answers.into_iter().count(), form, dialect);
    todo!()
}

/// Appends a request. On error nothing is appended.
///
/// `server` is who reads it: the originals of 3.x and 4.x decode references twice, [`Dialect::Sipmi`] does not.
pub fn encode_request(out: &mut Vec<u8>, request: &Request, form: Form, server: Dialect) -> Result<(), CodecError> {
    let _ = (out, request, form, server);
    todo!()
}

/// Reads what a server answered, in whatever form: a fault is a response with its code.
pub fn decode_response(body: &[u8]) -> Result<Response, CodecError> {
    let _ = body;
    todo!()
}
