//! Media types of request bodies.

use hyper::header::{CONTENT_TYPE, HeaderMap};

/// JSON-RPC: the types that clients of OpenSIPS send, `text/xml`, which `mi_http` accepts too, and the two names of the
/// draft "JSON-RPC over HTTP" (`jsonrpclib` sends one).
pub(crate) const JSON: &[&str] = &["application/json", "text/xml", "application/json-rpc", "application/jsonrequest"];
pub(crate) const XML: &[&str] = &["text/xml", "application/xml"];
pub(crate) const FORM: &[&str] = &["application/x-www-form-urlencoded"];

/// Returns true if the body has one of these types, regardless of parameters (RFC 9110, 8.3).
pub(crate) fn is_one_of(head: &HeaderMap, types: &[&str]) -> bool {
    let mut values = head.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let name = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    types.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_json(values: &[&'static str]) -> bool {
        let values = values.iter().map(|value| (CONTENT_TYPE, hyper::header::HeaderValue::from_static(value)));
        is_one_of(&values.collect(), JSON)
    }

    #[test]
    fn a_type_is_known_by_its_whole_name() {
        for right in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"utf-8\"",
            "application/json ; x=y",
            "application/json;",
            "application/json-rpc",
        ] {
            assert!(is_json(&[right]), "{right}");
        }
        for wrong in ["", "application/jsonp", "application/json,text/plain", "application/json text", ";", "json"] {
            assert!(!is_json(&[wrong]), "{wrong}");
        }
        assert!(!is_json(&[]));
        assert!(!is_json(&["application/json", "application/json"]), "two of them");
    }
}
