//! mi_json, the GET interface of 1.x and 2.x: a command in the path, parameters in the query, a tree as JSON.

use super::{CodecError, RequestError};
use crate::dialect::Dialect;
use crate::request::Request;
use crate::response::{Failure, Response};

/// Reads a request: what follows `/json/` in the path, and the query, both as they were sent.
pub fn decode_request(command: &[u8], query: Option<&[u8]>, dialect: Dialect) -> Result<Request, RequestError> {
    let _ = (command, query, dialect);
    todo!()
}

/// Appends `CMD` or `CMD?params=...`, percent-encoded. On error nothing is appended.
///
/// `server` is who reads it: [`Dialect::Sipmi`] takes every value, the originals no comma and nothing empty.
pub fn encode_request(out: &mut Vec<u8>, request: &Request, server: Dialect) -> Result<(), CodecError> {
    let _ = (out, request, server);
    todo!()
}

/// Appends the body of a reply, which always goes with status 200. It may stay empty.
pub fn encode_response(out: &mut Vec<u8>, result: &Result<Response, Failure>, dialect: Dialect) {
    let _ = (out, result, dialect);
    todo!()
}

/// Reads the body of a reply, without loss: repeated names, nodes without names, raw control bytes, bad UTF-8.
///
/// An empty body is success here; that 1.x also answers errors so is for the caller to know.
pub fn decode_response(body: &[u8]) -> Result<Response, CodecError> {
    let _ = body;
    todo!()
}
