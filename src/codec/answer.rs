//! Tells answers from requests. A server that answers answers may loop endlessly with another server or itself.

use super::{json, jsonrpc};
use crate::item::Item;

/// How many digits a code has.
const CODE: usize = 3;

/// Returns true if a datagram has the form of an answer: text that begins with a code, or JSON with a result or an
/// error and
/// without a method, alone or in an array.
pub fn looks_like_answer(datagram: &[u8]) -> bool {
    if jsonrpc::looks_like_json(datagram) {
        return json::parse(datagram).is_ok_and(|item| is_answer(&item));
    }
    let Some((code, rest)) = datagram.split_at_checked(CODE) else { return false };
    code.iter().all(u8::is_ascii_digit) && rest.first().is_none_or(u8::is_ascii_whitespace)
}

fn is_answer(item: &Item) -> bool {
    match item {
        Item::Array(parts) => !parts.is_empty() && parts.iter().all(is_answer),
        Item::Object(_) => {
            ["result", "error"].iter().any(|name| item.get(name).is_some()) && item.get("method").is_none()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_all_versions_look_like_answers() {
        for answer in [
            "200 OK\n",
            "500 command not available\n",
            "400 Parse_error",
            "500",
            "100 Trying\nmore\n\n",
            r#"{"jsonrpc":"2.0","result":"OK","id":1}"#,
            r#" {"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#,
            "{\n\t\"jsonrpc\":\t\"2.0\",\n\t\"result\":\tnull,\n\t\"id\":\t1\n}\n",
            r#"[{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","error":{"code":1},"id":2}]"#,
        ] {
            assert!(looks_like_answer(answer.as_bytes()), "{answer}");
        }
    }

    #[test]
    fn requests_and_bad_requests_do_not() {
        for request in [
            "",
            "20",
            "2000 OK",
            ":version:\n",
            "version",
            "[]",
            "{}",
            "42",
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","method":"m","result":1,"id":1}"#,
            r#"[{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","id":2}]"#,
            r#"{"result":"#,
        ] {
            assert!(!looks_like_answer(request.as_bytes()), "{request}");
        }
    }
}
