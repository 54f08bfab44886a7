use super::*;
use crate::convert::tree_to_item;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::request::{Param, Params, Request};
use crate::tree::Flags;
use proptest::prelude::*;

fn tree(body: &[u8]) -> Tree {
    match decode_response(body).expect("a reply").body {
        Body::Tree(tree) => tree,
        body => panic!("{body:?}"),
    }
}

fn value(body: &str) -> Item {
    tree_to_item(&tree(body.as_bytes())).expect("not too deep").expect("not empty")
}

fn written(result: &Result<Response, Failure>, dialect: Dialect) -> String {
    let mut out = Vec::new();
    encode_response(&mut out, result, dialect);
    String::from_utf8(out).expect("text in, text out")
}

fn of_item(item: impl Into<Item>) -> String {
    written(&Ok(Response::from(item.into())), Dialect::Sipmi)
}

fn values(strings: &[&str]) -> Params {
    Params::Strings(strings.iter().map(|value| Param { name: "".into(), value: (*value).into() }).collect())
}

fn asked(query: &str, dialect: Dialect) -> Result<Params, Failure> {
    decode_request(b"x", Some(query.as_bytes()), dialect).map(|request| request.params).map_err(|error| error.failure)
}

fn said(params: Params, server: Dialect) -> Result<String, CodecError> {
    let mut out = Vec::new();
    encode_request(&mut out, &Request { method: "x".into(), params }, server)?;
    Ok(String::from_utf8(out).expect("URLs are ASCII"))
}

#[test]
fn the_blank_after_a_colon_tells_a_name_from_a_node_without_one() {
    assert_eq!(value(r#"{"value":"Value not found"}"#), "Value not found".into());
    assert_eq!(value(r#"{"key": "a", "value": "b"}"#), Item::from([("key", "a".into()), ("value", "b".into())]));
    assert_eq!(value(r#"{"value":"200 OK", "value":".", "value":"."}"#), vec!["200 OK", ".", "."].into());
    let parts = tree(br#"{"value":"a", "attributes":{"b": "c"}, "children":{"d": "e"}, "attributes":{"f": "g"}}"#);
    assert_eq!(parts.children(NodeId::ROOT).count(), 2);
}

#[test]
fn repeated_names_raw_control_bytes_and_bad_utf_8_are_read_without_loss() {
    let body = b"{\"a\": \"1\n\x01\xff\", \"b\": \"x\", \"a\": \"2\"}";
    let tree = tree(body);
    let nodes: Vec<_> = tree.children(NodeId::ROOT).map(|node| (tree.name(node), tree.value(node))).collect();
    let expected: [(&[u8], Value); 3] =
        [(b"a", Value::Str(b"1\n\x01\xff")), (b"b", Value::Str(b"x")), (b"a", Value::Str(b"2"))];
    assert_eq!(nodes, expected);
    let mut again = Vec::new();
    encode_response(&mut again, &Ok(Response::from(tree)), Dialect::V1_11);
    assert_eq!(again, body);
}

#[test]
fn sipmi_says_each_name_once_and_lists_as_lists() {
    assert_eq!(of_item([("cdr", vec!["0"].into()), ("n", Item::Int(1))]), r#"{"cdr": [{"value":"0"}], "n": "1"}"#);
    assert_eq!(of_item(vec!["a", "b"]), r#"{"": [{"value":"a"}, {"value":"b"}]}"#);
    assert_eq!(of_item("a"), r#"{"value":"a"}"#);
    assert_eq!(of_item(Item::Null), r#"{"value":null}"#);
    assert_eq!(of_item(Item::Array(vec![])), r#"{"": []}"#);
    assert_eq!(of_item(Item::Object(vec![])), "{}");
    assert_eq!(of_item([("", "a".into())]), r#"{"": "a"}"#);
    assert_eq!(value(r#"{"": "a"}"#), Item::from([("", "a".into())]));
    let mut tree = Tree::ok();
    for name in ["a", "b", "a"] {
        tree.add_child(NodeId::ROOT, name, "1");
    }
    let reply = Ok(Response::from(tree));
    assert_eq!(written(&reply, Dialect::Sipmi), r#"{"a": [{"value":"1"}, {"value":"1"}], "b": "1"}"#);
    assert_eq!(written(&reply, Dialect::V2_4), r#"{"a": "1", "b": "1", "a": "1"}"#);
    assert_eq!(written(&Ok(Response::ok()), Dialect::Sipmi), "");
}

#[test]
fn an_original_gives_all_of_a_list_the_name_of_its_first() {
    let mut tree = Tree::ok();
    tree.mark(NodeId::ROOT, Flags::IS_ARRAY);
    tree.add_child(NodeId::ROOT, "dlg_counter", "2");
    let dialog = tree.add_child(NodeId::ROOT, "dialog", Value::None);
    tree.add_attr(dialog, "ID", Value::None);
    let reply = Ok(Response::from(tree));
    assert_eq!(written(&reply, Dialect::V2_4), r#"{"dlg_counter": [{"value":"2"}, {"attributes":{"ID": null}}]}"#);
    assert_eq!(
        written(&reply, Dialect::Sipmi),
        r#"{"dlg_counter": [{"value":"2"}], "dialog": [{"attributes":{"ID": null}}]}"#
    );
}

#[test]
fn errors_have_the_words_of_each_version() {
    let errors = |failure: Failure| {
        [Dialect::V1_11, Dialect::V2_4, Dialect::Sipmi].map(|dialect| written(&Err(failure.clone()), dialect))
    };
    let none = r#"{"error":"Internal server error"}"#;
    let error = |code: i32, text: &str| format!(r#"{{"error": {{"code": {code}, "message": "{text}"}}}}"#);
    let not_found = error(500, "Command not found");
    assert_eq!(errors(Failure::UnknownCommand), [none, &not_found, &not_found]);
    let count = error(400, "Too few or too many arguments");
    assert_eq!(errors(Failure::ParamCount), ["", &count, &count]);
    let internal = error(500, "Internal server error");
    assert_eq!(errors(Failure::Parse), [none, &internal, &error(400, "Parse error")]);
    assert_eq!(errors(Failure::handler()), [none, &internal, &error(500, "command failed")]);
    let by_post = error(406, "Unexpected method");
    assert_eq!(errors(Failure::InvalidRequest), [r#"{"error":"Unexpected method"}"#, &by_post, &by_post]);
    assert_eq!(errors(Failure::Timeout)[1], error(408, "Request timeout"));
    for failure in [Failure::UnknownCommand, Failure::Parse, Failure::handler(), Failure::InvalidRequest] {
        let body = written(&Err(failure.clone()), Dialect::Sipmi);
        assert_eq!(failure_of(&decode_response(body.as_bytes()).expect("an error")), Some(failure));
    }
    assert_eq!(written(&Ok(Response::error(404, "AOR not found")), Dialect::V1_11), "");
    assert_eq!(decode_response(b"").map(|response| response.code), Ok(200));
}

#[test]
fn sipmi_tells_the_nodes_of_an_error_under_data() {
    let mut nodes = Tree::new(404, "not \"here\"");
    nodes.add_child(NodeId::ROOT, "why", "gone");
    let body = written(&Ok(Response::from(nodes.clone())), Dialect::Sipmi);
    assert_eq!(body, r#"{"error": {"code": 404, "message": "not \"here\"", "data": {"children":{"why": "gone"}}}}"#);
    assert_eq!(decode_response(body.as_bytes()), Ok(Response::from(nodes)));
    assert_eq!(value(r#"{"error": "no", "b": "c"}"#), Item::from([("error", "no".into()), ("b", "c".into())]));
}

#[test]
fn a_malformed_reply_is_an_error_with_the_expected_text_and_the_position() {
    let error = |body: &str| decode_response(body.as_bytes()).expect_err("no reply").to_string();
    assert_eq!(error("[]"), "expected an object, found \"[]\" at byte 0");
    assert_eq!(error(r#"{"a" "b"}"#), r#"expected a colon, found "\"b\"}" at byte 5"#);
    assert_eq!(error(r#"{"a": b}"#), "expected a value, found \"b}\" at byte 6");
    assert_eq!(error(r#"{"a": "b" "c"}"#), r#"expected a comma or the end of an object, found "\"c\"}" at byte 10"#);
    assert_eq!(error(r#"{"a": ["b" "c"]}"#), r#"expected a comma or the end of a list, found "\"c\"]}" at byte 11"#);
    assert_eq!(error(r#"{"a": "\x"}"#), r#"expected an escape of JSON, found "\\x\"}" at byte 7"#);
    assert_eq!(error(r#"{"a": "\ud800"}"#), r#"expected an escaped character, found "\\ud800\"}" at byte 7"#);
    assert_eq!(error("{} {}"), "expected the end of the reply, found \"{}\" at byte 3");
    for cut in [r#"{"a": "b"#, r#"{"a""#, r#"{"a": ["#, "{", r#"{"a": "\"#] {
        assert_eq!(error(cut), format!("the mi_json reply was cut off after {} bytes", cut.len()));
    }
    let page = decode_response(b"<html><body>Unable to parse URL!</body></html>").expect("a page");
    assert_eq!(page, Response::error(500, "Unable to parse URL!"));
}

#[test]
fn depth_and_junk_are_errors_and_nothing_more() {
    for open in [r#"{"a": "#, r#"{"a": {"children":"#, r#"{"a": ["#, r#"{"attributes":"#] {
        let deep = open.repeat(100_000);
        assert!(decode_response(deep.as_bytes()).is_err());
    }
    let deep = r#"{"a": {"children":"#.repeat(100_000);
    assert!(matches!(decode_response(deep.as_bytes()), Err(CodecError::TooDeep { limit: MAX_DEPTH, .. })));
    for junk in ["{", "\"", "\\", "{\"", "{\"a\": ", "[", ",", " "] {
        let size = if junk == "\\" { 10_000_000 } else { 1_000_000 };
        let junk = format!("{{\"{}", junk.repeat(size / junk.len()));
        assert!(decode_response(junk.as_bytes()).is_err());
    }
    let mut tree = Tree::ok();
    let mut node = NodeId::ROOT;
    for _ in 0..200 {
        node = tree.add_child(node, "n", Value::None);
    }
    assert!(written(&Ok(Response::from(tree)), Dialect::Sipmi).contains("command failed"));
}

#[test]
fn parameters_are_split_at_commas_before_or_after_they_are_decoded() {
    assert_eq!(asked("params=a%2Cb,c+d", Dialect::Sipmi), Ok(values(&["a,b", "c d"])));
    assert_eq!(asked("params=a%2Cb,c+d", Dialect::V2_4), Ok(values(&["a", "b", "c d"])));
    assert_eq!(asked("params=a,,b", Dialect::Sipmi), Ok(values(&["a", "", "b"])));
    assert_eq!(asked("params=a,,b", Dialect::V2_4), Err(Failure::Parse));
    assert_eq!(asked("params=a,", Dialect::V2_4), Ok(values(&["a"])));
    assert_eq!(asked("params=a%00b,c", Dialect::V1_11), Ok(values(&["a"])));
    assert_eq!(asked("params=100%,%zz,%", Dialect::Sipmi), Ok(values(&["100%", "%zz", "%"])));
    assert_eq!(asked("params=", Dialect::Sipmi), Ok(Params::None));
    assert_eq!(asked("params", Dialect::V2_4), Ok(Params::None));
    assert_eq!(asked("other=a", Dialect::V2_4), Ok(Params::None));
    let by_name = vec![Param { name: "user name".into(), value: "a&b".into() }];
    assert_eq!(asked("user+name=a%26b", Dialect::Sipmi), Ok(Params::Strings(by_name)));
    let command = decode_request(b"%76ersion", None, Dialect::Sipmi).expect("a command");
    assert_eq!(command, Request::new("version"));
    assert_eq!(decode_request(b"", None, Dialect::V2_4).map_err(|error| error.failure), Err(Failure::Parse));
}

#[test]
fn names_that_opensips_rejects_are_accepted_by_sipmi() {
    for value in ["a,b", "", "a\0b"] {
        let error = said(values(&["fine", value]), Dialect::V2_4).expect_err("not sayable").to_string();
        assert!(error.starts_with("parameter 2 cannot be sent: it "), "{error}");
    }
    assert_eq!(said(values(&["a,b", ""]), Dialect::Sipmi), Ok("x?params=a%2Cb,,".into()));
    assert_eq!(said(values(&["sip:a@b;c=d"]), Dialect::V1_11), Ok("x?params=sip:a@b%3Bc%3Dd".into()));
    let named = vec![("user".into(), "a".into()), ("n".into(), Item::Int(1)), ("none".into(), Item::Null)];
    assert_eq!(said(Params::Named(named.clone()), Dialect::Sipmi), Ok("x?user=a&n=1".into()));
    assert_eq!(said(Params::Named(named), Dialect::V2_4), Ok("x?params=a,1".into()));
    let reserved = vec![("params".into(), "a".into())];
    assert!(said(Params::Named(reserved), Dialect::Sipmi).is_err());
    let mut out = b"before".to_vec();
    assert!(encode_request(&mut out, &Request::new(""), Dialect::Sipmi).is_err());
    assert!(encode_request(&mut out, &Request::positional("x", vec!["".into()]), Dialect::V2_4).is_err());
    assert_eq!(out, b"before");
}

fn printed(item: Item) -> Item {
    match item {
        Item::Bool(value) => i64::from(value).to_string().into(),
        Item::Int(value) => value.to_string().into(),
        Item::Array(items) => Item::Array(items.into_iter().map(printed).collect()),
        Item::Object(members) => Item::Object(members.into_iter().map(|(k, v)| (k, printed(v))).collect()),
        item => item,
    }
}

fn items() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        Just(Item::Null),
        any::<bool>().prop_map(Item::Bool),
        any::<i64>().prop_map(Item::Int),
        proptest::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Item::Str(bytes.into())),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Item::Array),
            // A list called "" is one without a name.
            proptest::collection::btree_map("[a-c]{1,2}|value|attributes|children", inner, 0..4)
                .prop_map(|members| Item::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

/// Trees as handlers of 1.x and 2.x build them.
fn trees() -> impl Strategy<Value = Tree> {
    let text = || proptest::collection::vec(any::<u8>(), 0..4);
    let node = (0..5usize, "[a-c]{0,2}|value", proptest::option::of(text()), proptest::option::of(text()), 0..2u8);
    proptest::collection::vec(node, 1..8).prop_map(|nodes| {
        let (mut tree, mut ids) = (Tree::ok(), vec![NodeId::ROOT]);
        for (parent, name, value, attr, flags) in nodes {
            // An original writes nothing at all for a node without a name and anything else.
            let value = value.or_else(|| name.is_empty().then(|| b"v".to_vec()));
            let value = value.as_deref().map_or(Value::None, Value::Str);
            let node = tree.add_child(ids[parent % ids.len()], name, value);
            tree.set_flags(node, Flags::NONE.with_bits(flags));
            if let Some(attr) = attr {
                tree.add_attr(node, "a", attr.as_slice());
            }
            ids.push(node);
        }
        tree
    })
}

proptest! {
       #[test]
       fn values_come_back_as_strings(item in items()) {
           let mut body = Vec::new();
           encode_response(&mut body, &Ok(Response::from(item.clone())), Dialect::Sipmi);
           let tree = tree(&body);
           prop_assert_eq!(tree_to_item(&tree), Ok(Some(printed(item))), "{}", body.escape_ascii());
       }

       #[test]
       fn recorded_replies_are_written_byte_for_byte(tree in trees()) {
           for dialect in [Dialect::V1_11, Dialect::V2_4] {
               let (mut body, mut again) = (Vec::new(), Vec::new());
               encode_response(&mut body, &Ok(Response::from(tree.clone())), dialect);
               encode_response(&mut again, &Ok(decode_response(&body).expect("a reply")), dialect);
               prop_assert_eq!(again.escape_ascii().to_string(), body.escape_ascii().to_string());
           }
       }

       #[test]
       fn trees_keep_their_attributes(tree in trees()) {
           let mut body = Vec::new();
           encode_response(&mut body, &Ok(Response::from(tree.clone())), Dialect::Sipmi);
           let read = decode_response(&body).expect("a reply");
           let Body::Tree(read) = read.body else { panic!("{read:?}") };
           prop_assert_eq!(tree_to_item(&read), tree_to_item(&tree), "{}", body.escape_ascii());
       }

       #[test]
       fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, text in "[\\[\\]{}\",:\\\\ a1u\n]{0,30}") {
           for bytes in [bytes.as_slice(), text.as_bytes()] {
               let _ = decode_response(bytes);
               for dialect in [Dialect::V1_11, Dialect::Sipmi] {
                   let _ = decode_request(bytes, Some(bytes), dialect);
               }
           }
       }

       #[test]
       fn parameters_arrive_as_they_were(params in proptest::collection::vec(
           (proptest::option::of("[a-c =&]{1,3}"), proptest::collection::vec(any::<u8>(), 0..5)), 1..5)) {
           let params: Vec<_> = params.into_iter().map(|(name, value)| {
               Param { name: name.unwrap_or_default().into(), value: value.into() }
           }).collect();
           for server in [Dialect::Sipmi, Dialect::V2_4] {
               let Ok(target) = said(Params::Strings(params.clone()), server) else { continue };
               let (_, query) = target.split_once('?').expect("there are parameters");
               let mut expected = params.clone();
               if server.is_emulated() {
                   for param in &mut expected {
param.name = Str::default();
}
               }
               prop_assert_eq!(asked(query, server), Ok(Params::Strings(expected)), "{}", target);
           }
       }
   }
