use super::*;

use crate::dialect::Dialect;
use crate::item::Item;
use crate::request::{Params, Request};
use crate::response::{Body, Failure, Response};
use crate::tree::{NodeId, Tree};

fn one(text: &str) -> Result<Call, Refused> {
    match decode_request(text.as_bytes(), Dialect::Sipmi) {
        Incoming::One(call) => call,
        Incoming::Batch(calls) => panic!("a batch: {calls:?}"),
    }
}

fn raw(text: &str) -> Id {
    Id::Raw(text.as_bytes().into())
}

fn refused(failure: Failure, id: Id) -> Result<Call, Refused> {
    Err(Refused { failure, id })
}

fn answered(result: &Result<Response, Failure>, id: &Id) -> String {
    let mut out = Vec::new();
    encode_response(&mut out, result, id, Dialect::Sipmi, false);
    String::from_utf8(out).expect("text in, text out")
}

fn said(request: &Request) -> Result<String, String> {
    let mut out = Vec::new();
    encode_request(&mut out, request, Some(RequestId::Text("a"))).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).expect("text in, text out"))
}

#[test]
fn ids_come_back_exactly_as_they_came() {
    for id in ["1", "1.50", "-0", "1e3", "123456789012345678901234567890", r#""a\u00e9\/""#, r#""""#] {
        let call = one(&format!(r#"{{"jsonrpc":"2.0","method":"m","id": {id} }}"#)).expect("a call");
        assert_eq!(call.id, raw(id));
    }
    assert_eq!(one(r#"{"jsonrpc":"2.0","method":"m","id":null}"#).expect("a call").id, Id::Null);
    assert_eq!(one(r#"{"jsonrpc":"2.0","method":"m"}"#).expect("a call").id, Id::Absent);
    let bytes = b"{\"jsonrpc\":\"2.0\",\"method\":\"m\xff\",\"id\":\"\xff\"}";
    let Incoming::One(Ok(call)) = decode_request(bytes, Dialect::Sipmi) else { panic!("no call") };
    assert_eq!((call.request.method, call.id), (b"m\xff".as_slice().into(), Id::Raw(b"\"\xff\"".as_slice().into())));
}

#[test]
fn ids_that_are_none_are_refused_with_null() {
    for id in ["true", "[]", "{}", "[[[[1]]]]"] {
        let call = one(&format!(r#"{{"jsonrpc":"2.0","method":"m","id":{id}}}"#));
        assert_eq!(call, refused(Failure::InvalidRequest, Id::Null));
    }
    let deep = format!(r#"{{"jsonrpc":"2.0","method":"m","id":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(one(&deep), refused(Failure::InvalidRequest, Id::Null));
}

#[test]
fn emulated_versions_make_32_bit_integers_of_numeric_ids_and_break_on_others() {
    let id = |id: &str| {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"m","id":{id}}}"#);
        match decode_request(text.as_bytes(), Dialect::V4_0) {
            Incoming::One(Ok(call)) => call.id,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(id("1.5"), raw("1"));
    assert_eq!(id("1e3"), raw("1000"));
    assert_eq!(id("99999999999"), raw("2147483647"));
    assert_eq!(id("-1e99"), raw("-2147483648"));
    assert_eq!(id(r#""\u00e9\/\u0001""#), raw("\"é/\\u0001\""));
    assert_eq!(id("true"), Id::Broken);
    assert_eq!(id("{\"a\":1}"), Id::Broken);
    assert_eq!(answered(&Ok(Response::ok()), &Id::Broken), "");
}

#[test]
fn of_repeated_members_the_first_counts_and_case_does_not() {
    let call = one(r#"{"JSONRPC":"2.0","jsonrpc":"1.0","Method":"m","METHOD":"n","ID":1,"id":2,
            "Params":{"a":1,"a":2,"b":{"c":3,"c":4}},"params":null,"other":[]}"#);
    let params = vec![("a".into(), Item::Int(1)), ("b".into(), Item::Object(vec![("c".into(), Item::Int(3))]))];
    assert_eq!(call, Ok(Call { request: Request::named("m", params), id: raw("1") }));
}

#[test]
fn many_repeated_names_are_found_too() {
    let members: Vec<_> = (0..1000).map(|i| format!(r#""n{}":{i}"#, i % 100)).collect();
    let members = members.join(",");
    let call = one(&format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"x":0,{members}}}}}"#)).expect("a call");
    let Params::Named(params) = call.request.params else { panic!("not named") };
    assert_eq!((params.len(), &params[100].1), (101, &Item::Int(99)));
}

#[test]
fn json_that_is_no_request_is_rejected_with_its_id() {
    for text in [
        r#"{"jsonrpc":"1.0","method":"m","id":7}"#,
        r#"{"jsonrpc":2.0,"method":"m","id":7}"#,
        r#"{"method":"m","id":7}"#,
        r#"{"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","method":5,"id":7}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":null,"id":7}"#,
        r#"{"jsonrpc":"2.0","method":"m","params":"x","id":7}"#,
    ] {
        assert_eq!(one(text), refused(Failure::InvalidRequest, raw("7")), "{text}");
    }
    for text in ["42", "null", "\"x\"", "true", "1.5", "-1", "[]", "{}"] {
        assert_eq!(one(text), refused(Failure::InvalidRequest, Id::Null), "{text}");
    }
}

#[test]
fn malformed_json_is_a_parse_error() {
    let deep = "[".repeat(100_000);
    let params = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{}"#, "[".repeat(100_000));
    for text in ["", "{", "abc", "\0\0\0", "{\"jsonrpc\":", ":version:\n", &deep, &params, r#"{"method":"\ud83d"}"#] {
        assert_eq!(one(text), refused(Failure::Parse, Id::Null));
    }
    let nul = br#"{"jsonrpc":"2.0","method":"m","params":["a\u0000b","\\u0000"],"id":1}"#;
    assert!(matches!(decode_request(nul, Dialect::Sipmi), Incoming::One(Ok(_))));
    assert_eq!(decode_request(nul, Dialect::V4_0), Incoming::One(refused(Failure::Parse, Id::Null)));
}

#[test]
fn text_after_the_first_value_is_ignored() {
    assert!(one("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":1}\n{\"jsonrpc\"").is_ok());
}

#[test]
fn a_batch_is_answered_in_an_array_and_notifications_not_at_all() {
    let batch = br#"[{"jsonrpc":"2.0","method":"a","id":1},1,[[]],{"jsonrpc":"2.0","method":"b"}]"#;
    let Incoming::Batch(calls) = decode_request(batch, Dialect::Sipmi) else { panic!("no batch") };
    let parts: Vec<Vec<u8>> = calls
        .iter()
        .map(|call| match call {
            Ok(call) => answered(&Ok(Response::ok()), &call.id).into_bytes(),
            Err(refused) => answered(&Err(refused.failure.clone()), &refused.id).into_bytes(),
        })
        .collect();
    let mut out = Vec::new();
    encode_batch(&mut out, parts);
    let invalid = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}"#;
    let expected = format!(r#"[{{"jsonrpc":"2.0","result":"OK","id":1}},{invalid},{invalid}]"#);
    assert_eq!(String::from_utf8(out), Ok(expected));
    let mut none = Vec::new();
    encode_batch(&mut none, [Vec::new()]);
    assert!(none.is_empty());
}

#[test]
fn failures_have_the_codes_and_data_of_the_originals() {
    let cases = [
        (Failure::Parse, r#"-32700,"message":"Parse error"}"#),
        (Failure::UnknownCommand, r#"-32601,"message":"Method not found"}"#),
        (
            Failure::Ambiguous(vec!["a:list".into(), "b:list".into()]),
            r#"-32001,"message":"Method ambiguous","data":"supported names: a:list, b:list"}"#,
        ),
        (Failure::ParamType("q".into()), r#"-32602,"message":"Invalid params","data":"Bad type for parameter 'q'"}"#),
        (Failure::handler(), r#"-32000,"message":"Server error","data":"command failed"}"#),
        (
            Failure::ReplyTooLarge { size: 9, limit: 8 },
            r#"-32000,"message":"Server error","data":"Reply too large: 9 bytes, limit 8"}"#,
        ),
    ];
    for (failure, expected) in cases {
        let expected = format!(r#"{{"jsonrpc":"2.0","error":{{"code":{expected},"id":1}}"#);
        assert_eq!(answered(&Err(failure), &raw("1")), expected);
    }
    assert_eq!(answered(&Err(Failure::UnknownCommand), &Id::Absent), "");
    assert!(answered(&Err(Failure::InvalidRequest), &Id::Absent).ends_with("\"id\":null}"));
}

#[test]
fn trees_and_errors_with_data_are_answered_as_values() {
    let mut tree = Tree::new(404, "AOR not found");
    tree.add_child(NodeId::ROOT, "AOR", "alice");
    assert_eq!(
        answered(&Ok(Response::from(tree)), &raw("1")),
        r#"{"jsonrpc":"2.0","error":{"code":404,"message":"AOR not found","data":{"AOR":"alice"}},"id":1}"#
    );
    assert_eq!(answered(&Ok(Response::from(Tree::ok())), &raw("1")), r#"{"jsonrpc":"2.0","result":"OK","id":1}"#);
    let mut deep = Tree::ok();
    let mut node = NodeId::ROOT;
    for _ in 0..1000 {
        node = deep.add_child(node, "n", "v");
    }
    assert!(answered(&Ok(Response::from(deep)), &raw("1")).contains("command failed"));
}

#[test]
fn a_request_is_written_in_a_form_that_every_server_accepts() {
    let items = vec![Item::Bool(true), vec![Item::Bool(false)].into(), "x".into(), Item::Null];
    let expected = r#"{"jsonrpc":"2.0","method":"m","id":"a","params":[1,[0],"x"]}"#;
    assert_eq!(said(&Request::positional("m", items)), Ok(expected.into()));
    let members = vec![("a".into(), Item::Null), ("b".into(), Item::Bool(true))];
    let expected = r#"{"jsonrpc":"2.0","method":"m","id":"a","params":{"b":1}}"#;
    assert_eq!(said(&Request::named("m", members)), Ok(expected.into()));
    let bare = r#"{"jsonrpc":"2.0","method":"m","id":"a"}"#;
    for params in [Params::None, Params::Positional(vec![Item::Null]), Params::Named(vec![]), Params::Strings(vec![])]
    {
        assert_eq!(said(&Request { method: "m".into(), params }), Ok(bare.into()));
    }
    let inner_null = Request::positional("m", vec![Item::Null, Item::Int(1)]);
    assert_eq!(said(&inner_null), Err("parameter 1 cannot be sent: servers take no null".into()));
    assert!(said(&Request::positional("m", vec![Item::Float(f64::NAN)])).is_err());
}

#[test]
fn string_parameters_go_by_name_when_all_have_one() {
    let param = |name: &str, value: &str| crate::request::Param { name: name.into(), value: value.into() };
    let request = |params| Request { method: "m".into(), params: Params::Strings(params) };
    let named = said(&request(vec![param("a", "1"), param("b", "2")]));
    assert_eq!(named, Ok(r#"{"jsonrpc":"2.0","method":"m","id":"a","params":{"a":"1","b":"2"}}"#.into()));
    let bare = said(&request(vec![param("", "1"), param("", "")]));
    assert_eq!(bare, Ok(r#"{"jsonrpc":"2.0","method":"m","id":"a","params":["1",""]}"#.into()));
    assert!(said(&request(vec![param("a", "1"), param("", "2")])).is_err());
}

#[test]
fn answers_are_read_with_their_id() {
    let read = |text: &str| decode_response(text.as_bytes());
    assert_eq!(read(r#"{"jsonrpc":"2.0","result":"OK","id":1}"#), Ok((Response::ok(), raw("1"))));
    assert_eq!(read(r#"{"result":null,"error":null,"id":"a"}"#), Ok((Response::from(Item::Null), raw("\"a\""))));
    let synced = Response { code: 200, reason: "Synced".into(), body: Body::Item("Synced".into()) };
    assert_eq!(read(r#"{"error":{"code":200,"message":"Synced"},"id":null}"#), Ok((synced, Id::Null)));
    assert_eq!(read("400 Parse_error"), Ok((Response::error(400, "Parse_error"), Id::Null)));
}

#[test]
fn malformed_replies_are_errors_with_their_reason() {
    let error = |text: &str| decode_response(text.as_bytes()).expect_err("no answer").to_string();
    assert_eq!(error(r#"{"jsonrpc":"2.0","result":{"a":"#), "the JSON-RPC reply was cut off after 31 bytes");
    assert_eq!(error(r#"{"result":{"v":failed to print response"#), "the JSON-RPC reply was cut off after 39 bytes");
    assert_eq!(error("failed to build response"), "the JSON-RPC reply was cut off after 24 bytes");
    assert_eq!(error(""), "the JSON-RPC reply was cut off after 0 bytes");
    for text in ["[]", "42", "{}", r#"{"id":1}"#, r#"{"error":5}"#, r#"{"error":{"code":"x"}}"#, "<html>", "{} x"] {
        assert!(decode_response(text.as_bytes()).is_err(), "{text}");
    }
}
