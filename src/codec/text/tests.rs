//! Text on both sides.

use super::super::CodecError;
use super::attributes::Attributes;
use super::*;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::request::{Param, Request};
use crate::response::Body;
use crate::tree::{NodeId, Tree, Value};
use proptest::prelude::*;

const FIFO: TextStyle = TextStyle { carrier: Carrier::Fifo, dialect: Dialect::Sipmi, indent: Indent::Tab };

fn param(name: &str, value: &str) -> Param {
    Param { name: name.into(), value: value.into() }
}

fn said(params: &[Param], carrier: Carrier) -> Result<String, CodecError> {
    let mut out = Vec::new();
    encode_params(&mut out, params, carrier).map(|()| String::from_utf8(out).expect("text in, text out"))
}

fn reply(text: &str) -> Response {
    decode_response(text.as_bytes(), Carrier::Fifo).expect("a reply")
}

fn tree(response: Response) -> Tree {
    let Body::Tree(tree) = response.body else { panic!("no nodes: {response:?}") };
    tree
}

fn written(response: Response, style: TextStyle) -> String {
    let mut out = Vec::new();
    encode_response(&mut out, &Ok(response), b"x", &style);
    String::from_utf8(out).expect("text in, text out")
}

fn refused(failure: Failure, style: TextStyle) -> String {
    let mut out = Vec::new();
    encode_response(&mut out, &Err(failure), b"x", &style);
    String::from_utf8(out).expect("text in, text out")
}

#[test]
fn each_value_is_said_as_the_originals_understand_it() {
    let cases = [
        ("abc", Ok("abc\n")),
        ("a b", Ok("a b\n")),
        ("a::b", Ok("::a::b\n")),
        ("abc\\", Ok("abc\\\n")),
        ("", Ok("_::\n")),
        ("say \"hi\"", Ok("\"say \\\"hi\\\"\"\n")),
        ("a\nb", Ok("\"a\nb\"\n")),
        (" a", Ok("\" a\"\n")),
        ("a\\\"b", Ok("\"a\\\\\"b\"\n")),
        ("\"a\"", Err(())),
        ("a\nb\\", Err(())),
        ("a\n\nb", Err(())),
        ("a\n\"b", Err(())),
        ("a\0b", Err(())),
    ];
    for (value, expected) in cases {
        let found = said(&[param("", value)], Carrier::Fifo);
        assert_eq!(found.map_err(|_| ()), expected.map(str::to_owned), "{value:?}");
    }
    assert_eq!(said(&[param("", "a\n\nb")], Carrier::Datagram), Ok("\"a\n\nb\"\n".to_owned()));
    assert_eq!(said(&[param("name", ""), param("n", "a::b")], Carrier::Fifo), Ok("name::\nn::a::b\n".into()));
}

#[test]
fn lines_in_a_string_keep_empty_ones_and_have_names_without_values() {
    let lines = b"AOR:: alice\n   Contact:: sip:a Q=1\n      Cflags\n      Agent:: a\n\nb\n\n\nAOR:: bob\nc\n";
    let mut expected = Tree::ok();
    let alice = expected.add_child(NodeId::ROOT, "AOR", "alice");
    let contact = expected.add_child(alice, "Contact", "sip:a");
    expected.add_attr(contact, "Q", "1");
    expected.add_child(contact, "Cflags", Value::None);
    expected.add_child(contact, "Agent", "a\n\nb\n\n");
    expected.add_child(NodeId::ROOT, "AOR", "bob");
    expected.add_child(NodeId::ROOT, "", "c");
    assert_eq!(read_string(lines), expected);
    assert_eq!(read_string(&String::from_utf8_lossy(lines).replace("   ", "\t").into_bytes()), expected);
    assert!(read_string(b"").is_empty());
}

#[test]
fn lines_that_come_one_by_one_are_a_node_each() {
    let tree = read_elements([b"a:: 1\nb:: 2\n".as_slice(), b"  c\n", b"d:: x y=z\n", b"\n"].into_iter());
    let nodes: Vec<_> = tree.children(NodeId::ROOT).map(|node| (tree.name(node), tree.value(node))).collect();
    let expected: [(&[u8], Value); 4] = [
        (b"a", Value::Str(b"1\nb:: 2")),
        (b"", Value::Str(b"  c")),
        (b"d", Value::Str(b"x")),
        (b"", Value::Str(b"")),
    ];
    assert_eq!(nodes, expected);
    assert_eq!(tree.len(), 4);
}

#[test]
fn errors_of_values_name_the_position_and_not_the_value() {
    let error = said(&[param("", "fine"), param("", "\"secret")], Carrier::Fifo).expect_err("a leading quote");
    assert_eq!(error.to_string(), "parameter 2 cannot be sent: it begins with a quote");
}

#[test]
fn the_grammar_of_parameters_is_that_of_the_originals() {
    let read = |block: &str| decode_params(block.as_bytes(), Dialect::V2_4).map_err(|error| error.to_string());
    assert_eq!(read("a\n   \n\tb c \r\n"), Ok(vec![param("", "a"), param("", "b c")]));
    assert_eq!(
        read(" n :: v \n::w\n::a::b\nn::\n"),
        Ok(vec![param("n", "v"), param("", "w"), param("", "a::b"), param("n", "")])
    );
    assert_eq!(read("n:: \"x\ny\"  \nz"), Ok(vec![param("n", "x\ny"), param("", "z")]));
    assert_eq!(read(r#""a\b\\c""#), Ok(vec![param("", r"a\b\\c")]));
    for bad in
        ["\"\"\n", "::\n", "say \"hi\"\n", "\"abc\n", "\"abc\\\"\n", "\"\\\"hi\\\"\"\n", "\"a\" b\n", "n\"::v\n"]
    {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    assert_eq!(
        read("a\nsay \"hi\"\n").unwrap_err(),
        "expected a line without quotes inside, found \"\\\"hi\\\"\\n\" at byte 6"
    );
}

#[test]
fn sipmi_takes_empty_quotes_and_leading_quotes() {
    let read = |block: &str| decode_params(block.as_bytes(), Dialect::Sipmi);
    assert_eq!(read("\"\"\n\"\\\"hi\\\"\"\n_::\n"), Ok(vec![param("", ""), param("", "\"hi\""), param("", "")]));
    assert!(read("::\n").is_err());
}

#[test]
fn a_datagram_that_does_not_begin_as_a_request_is_an_unknown_command() {
    for bad in ["", "\n", "::\n", ":version:", ":version:foo\n", ":a:b:\n", "x", "\0\0\0"] {
        let error = decode_request(bad.as_bytes(), Dialect::Sipmi).expect_err(bad);
        assert_eq!(error, RequestError { failure: Failure::UnknownCommand, method: Str::default() }, "{bad:?}");
    }
    let error = decode_request(b":cache_store:\nsay \"hi\"\n", Dialect::V1_11).expect_err("a quote inside");
    assert_eq!(error, RequestError { failure: Failure::Parse, method: "cache_store".into() });
    assert!(decode_request(b"version:\n", Dialect::V2_4).is_err());
    assert!(decode_request(b":version:\r\n", Dialect::V2_4).is_err());
    assert_eq!(decode_request(b"version:\n", Dialect::Sipmi), Ok(Request::new("version")));
    assert_eq!(decode_request(b":version:\r\n\r\n", Dialect::Sipmi), Ok(Request::new("version")));
}

#[test]
fn typed_parameters_become_strings() {
    let items = vec![
        Item::Array(vec!["core:".into(), Item::Int(3)]),
        Item::Bool(true),
        Item::Float(0.5),
        Item::Object(vec![("a".into(), Item::Int(1))]),
        Item::Null,
    ];
    let mut out = Vec::new();
    let request = Request::positional("cmd", items);
    encode_request(&mut out, &request, Carrier::Fifo, "reply").expect("all of it can be said");
    assert_eq!(out, b":cmd:reply\ncore:\n3\n1\n0.5\n\"{\\\"a\\\":1}\"\n\n");
    out.clear();
    let request = Request::named("cmd", vec![("a".into(), Item::Null), ("b".into(), Item::Int(1))]);
    encode_request(&mut out, &request, Carrier::Datagram, "").expect("all of it can be said");
    assert_eq!(out, b":cmd:\nb::1\n");
    let request = Request::positional("cmd", vec![Item::Null, Item::Int(1)]);
    let error = encode_request(&mut out, &request, Carrier::Datagram, "").expect_err("the wire knows no null");
    assert_eq!(error.to_string(), "parameter 1 cannot be sent: the wire knows no null");
    assert_eq!(out, b":cmd:\nb::1\n");
}

#[test]
fn text_cannot_name_a_module_and_takes_no_blank_in_a_method() {
    for method in ["usrloc:dump", "a b", "", "a\n", "a\0"] {
        let mut out = Vec::new();
        let error = encode_request(&mut out, &Request::new(method), Carrier::Datagram, "").expect_err(method);
        assert!(matches!(error, CodecError::Unsayable { .. }) && out.is_empty());
    }
}

#[test]
fn a_success_without_its_closing_empty_line_was_cut() {
    let cut = decode_response(b"200 OK\nStatus:: 200 OK\n", Carrier::Fifo);
    assert_eq!(cut, Err(CodecError::Truncated { what: "the reply", size: 23 }));
    assert!(decode_response(b"500 command 'x' not available\n", Carrier::Fifo).is_ok());
    assert!(decode_response(b"200 OK\n", Carrier::Datagram).is_ok());
}

#[test]
fn malformed_replies_name_the_expected_text_and_the_position() {
    let error = |bytes: &[u8]| decode_response(bytes, Carrier::Fifo).expect_err("no reply").to_string();
    assert_eq!(error(b""), "expected the code of a reply, found the end at byte 0");
    assert_eq!(error(b"OK\n\n"), "expected the code of a reply, found \"OK\\n\\n\" at byte 0");
    assert_eq!(error(b"200OK"), "expected a blank after the code, found \"OK\" at byte 3");
    assert!(decode_response(b"99999999999 x\n\n", Carrier::Fifo).is_err());
}

#[test]
fn a_value_with_newlines_is_one_value_where_the_reply_shows_it() {
    let value = |text: &str| {
        let tree = tree(reply(text));
        let last = tree.walk().last().expect("a node").1;
        String::from_utf8_lossy(match tree.value(last) {
            Value::Str(value) => value,
            _ => b"",
        })
        .into_owned()
    };
    assert_eq!(value("200 OK\nkey:: k\nvalue:: a\n\nb c=d\n\n"), "a\n\nb c=d");
    assert_eq!(value("200 OK\nk = [a\nb:: c\n\nd]\n\n"), "k = [a\nb:: c\n\nd]");
    assert_eq!(value("200 OK\nMessage:: a\r\nb: c\r\n\r\n\n\n"), "a\r\nb: c\r\n\r\n");
    assert_eq!(value("200 OK\nx:: a\r\n\n"), "a\r");
}

/// A dump of this many records, each with two lines, and empty lines where 2.4 has them.
fn dump(records: usize, last_value: &str) -> String {
    let record = |place: usize| {
        let (attr, flush) = if place.is_multiple_of(50) { (last_value, "\n") } else { ("x", "") };
        format!("\tAOR:: u{place}\n\t\tContact:: sip:a@b Q=1\n\t\t\tAttr:: {attr}\n{flush}")
    };
    let records: String = (1..=records).map(record).collect();
    format!("200 OK\nDomain:: location hash_size=512\n{records}\n")
}

fn attr_of_record(tree: &Tree, place: usize) -> Vec<u8> {
    let domain = tree.first_child(NodeId::ROOT).expect("a domain");
    let aor = tree.children(domain).nth(place - 1).expect("a record");
    let contact = tree.first_child(aor).expect("a contact");
    let Value::Str(value) = tree.value(tree.first_child(contact).expect("a child")) else { panic!("no value") };
    value.to_vec()
}

#[test]
fn empty_lines_of_a_flush_are_no_part_of_a_value() {
    for records in [49, 50, 51, 100] {
        let tree = tree(reply(&dump(records, "x")));
        assert_eq!(tree.len(), 1 + 3 * records);
        assert_eq!(attr_of_record(&tree, records.min(50)), b"x");
    }
}

#[test]
fn values_with_newlines_at_a_flush_keep_their_own() {
    for value in ["a\nb", "a\n", "a\n\n", "a\n\nb\n", "\n"] {
        for records in [50, 51, 101] {
            let tree = tree(reply(&dump(records, value)));
            assert_eq!(tree.len(), 1 + 3 * records, "{value:?}");
            assert_eq!(attr_of_record(&tree, 50), value.as_bytes(), "{value:?}");
        }
    }
}

#[test]
fn a_value_keeps_the_newlines_at_its_end() {
    let value = |text: &str, carrier| {
        let tree = tree(decode_response(text.as_bytes(), carrier).expect("a reply"));
        let Value::Str(value) = tree.value(tree.walk().last().expect("a node").1) else { panic!("no value") };
        String::from_utf8(value.to_vec()).expect("text")
    };
    // cache_fetch of 2.4.11
    for carrier in [Carrier::Fifo, Carrier::Datagram] {
        assert_eq!(value("200 OK\nkey:: vk\nvalue:: abc\n\n", carrier), "abc");
        assert_eq!(value("200 OK\nkey:: vk\nvalue:: abc\n\n\n", carrier), "abc\n");
        assert_eq!(value("200 OK\nkey:: vk\nvalue:: abc\n\n\n\n", carrier), "abc\n\n");
        assert_eq!(value("200 OK\nkey:: vk\nvalue:: a\n\nb\n\n\n", carrier), "a\n\nb\n");
        assert_eq!(value("200 OK\nkey:: vk\nvalue:: a\r\n\n\n", carrier), "a\r\n");
    }
}

#[test]
fn attribute_names_with_blanks_are_read_as_the_modules_write_them() {
    let item = |text: &str| crate::convert::tree_to_item(&tree(reply(text))).expect("a value").expect("nodes");
    let json = |text: &str| {
        let mut out = Vec::new();
        super::super::json::write(&mut out, &item(text));
        String::from_utf8(out).expect("text")
    };
    let flow = "Flow:: my sales Avg Call Duration=12.000 Processed Calls=7 Logged Agents=3 Ongoing Calls=1 Ref=0";
    assert_eq!(
        json(&format!("200 OK\n{flow}\n\n")),
        r#"{"Flow":{"value":"my sales","Avg Call Duration":"12.000","Processed Calls":"7","Logged Agents":"3","Ongoing Calls":"1","Ref":"0"}}"#
    );
    assert_eq!(
        json("200 OK\nAgent:: a 1 Ref=1 Loged in=YES State=incall\n\n"),
        r#"{"Agent":{"value":"a 1","Ref":"1","Loged in":"YES","State":"incall"}}"#
    );
    assert_eq!(
        json("200 OK\nCall::  Ref=1 State=toagent Call Time=5 Flow=sales Agent=a\n\n"),
        r#"{"Call":{"Ref":"1","State":"toagent","Call Time":"5","Flow":"sales","Agent":"a"}}"#
    );
    assert_eq!(
        json("200 OK\nCall:: 0 Waiting for=9 ETW=3\n\tFlow:: sales Priority=1 Skill=first aid\n\n"),
        r#"{"Call":{"value":"0","Waiting for":"9","ETW":"3","Flow":{"value":"sales","Priority":"1","Skill":"first aid"}}}"#
    );
}

#[test]
fn the_values_of_a_profile_have_a_count_and_may_be_any_text() {
    let text = "200 OK\nvalue:: 5550001 count=1\nvalue:: a b x=1 count=7 count=2\nvalue::  count=3\n\n";
    let tree = tree(reply(text));
    let nodes: Vec<_> = tree.walk().map(|(_, node)| (tree.value(node), tree.attr(node, "count"))).collect();
    let expected: [(Value, Option<Value>); 3] = [
        (Value::Str(b"5550001"), Some(Value::Str(b"1"))),
        (Value::Str(b"a b x=1 count=7"), Some(Value::Str(b"2"))),
        (Value::None, Some(Value::Str(b"3"))),
    ];
    assert_eq!(nodes, expected);
    // The one of cache_fetch has none.
    let tree = self::tree(reply("200 OK\nkey:: k\nvalue:: a count=1\n\n"));
    assert_eq!(tree.value(tree.walk().nth(1).expect("a value").1), Value::Str(b"a count=1"));
}

#[test]
fn a_node_without_name_that_could_be_misread_is_marked_by_a_separator() {
    let item: Item = vec![Item::Str("a:: b".into()), Item::Str("".into()), Item::Object(vec![])].into();
    let text = written(Response::from(item), FIFO);
    assert_eq!(text, "200 OK\n:: a:: b\n:: \n:: \n\n");
    assert_eq!(tree(reply(&text)).len(), 3);
}

#[test]
fn failures_have_the_words_of_each_version_and_carrier() {
    let style = |carrier, dialect| TextStyle::new(carrier, dialect);
    let cases = [
        (Failure::UnknownCommand, Carrier::Fifo, Dialect::Sipmi, "500 command 'x' not available\n"),
        (Failure::UnknownCommand, Carrier::Datagram, Dialect::Sipmi, "500 command not available\n"),
        (Failure::Ambiguous(vec![]), Carrier::Fifo, Dialect::V1_11, "500 command 'x' not available\n"),
        (Failure::Parse, Carrier::Fifo, Dialect::Sipmi, "400 parse error in command 'x'\n"),
        (Failure::Parse, Carrier::Fifo, Dialect::V2_4, "400 Parse error in command 'x'\n"),
        (Failure::Parse, Carrier::Datagram, Dialect::V2_4, "400 parse_error\n"),
        (Failure::Parse, Carrier::Datagram, Dialect::V1_11, "400 parse error in command\n"),
        (Failure::handler(), Carrier::Fifo, Dialect::Sipmi, "500 command 'x' failed\n"),
        (Failure::handler(), Carrier::Datagram, Dialect::V2_4, "500 command failed\n"),
        (Failure::ParamCount, Carrier::Datagram, Dialect::V1_11, "400 Too few or too many arguments\n"),
        (Failure::ParamCount, Carrier::Fifo, Dialect::Sipmi, "400 Too few or too many arguments\n\n"),
        (Failure::ParamType("n".into()), Carrier::Fifo, Dialect::Sipmi, "400 Bad parameter\n\n"),
        (Failure::Timeout, Carrier::Fifo, Dialect::Sipmi, "408 Request timeout\n\n"),
        (Failure::Busy, Carrier::Fifo, Dialect::Sipmi, "503 Server busy\n\n"),
        (
            Failure::RequestTooLarge { size: 9, limit: 8 },
            Carrier::Fifo,
            Dialect::Sipmi,
            "413 Request too large: 9 bytes, limit 8\n\n",
        ),
        (
            Failure::RequestTooLarge { size: 9, limit: 8 },
            Carrier::Fifo,
            Dialect::V1_11,
            "400 parse error in command 'x'\n",
        ),
    ];
    for (failure, carrier, dialect, expected) in cases {
        assert_eq!(refused(failure, style(carrier, dialect)), expected);
    }
}

#[test]
fn a_tree_deeper_than_any_reader_goes_is_answered_as_failed() {
    let mut tree = Tree::ok();
    let mut node = NodeId::ROOT;
    for _ in 0..=MAX_DEPTH {
        node = tree.add_child(node, "n", "v");
    }
    assert_eq!(written(Response::from(tree), FIFO), "500 command 'x' failed\n");
}

#[test]
fn a_value_of_many_lines_is_read_in_linear_time() {
    let text = format!("200 OK\nkey:: k\nvalue:: {}\n\n", "x\n".repeat(500_000));
    assert_eq!(tree(reply(&text)).len(), 2);
}

/// Names and values that text tells apart: no newlines, nothing that looks like a separator or an attribute.
fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_ ;<>/@.:-]{0,12}[a-z]".prop_filter("no separator", |word| !word.contains(":: "))
}

fn trees() -> impl Strategy<Value = Tree> {
    let attrs = proptest::collection::vec(("[a-z_]{1,8}", word()), 0..3);
    let node = (0usize..4, "[a-zA-Z][a-zA-Z_:-]{0,8}", proptest::option::of(word()), attrs);
    proptest::collection::vec(node, 0..20).prop_map(|nodes| {
        let mut tree = Tree::new(200, "");
        let mut path: Vec<NodeId> = Vec::new();
        for (level, name, value, attrs) in nodes {
            path.truncate(level);
            let parent = path.last().copied().unwrap_or(NodeId::ROOT);
            // Without a value, a node is told from one that has an empty string by its other parts.
            let value = value.unwrap_or_default();
            let node = tree.add_child(parent, &name, if value.is_empty() { Value::None } else { (&*value).into() });
            let may_have = Attributes::of(name.as_bytes(), false) == Attributes::Any;
            for (name, value) in attrs.iter().filter(|_| may_have) {
                tree.add_attr(node, name, &**value);
            }
            path.push(node);
        }
        let bare: Vec<_> = tree.walk().map(|(_, node)| node).collect();
        for node in bare {
            if tree.value(node) == Value::None && !tree.has_attrs(node) && tree.first_child(node).is_none() {
                tree.set_value(node, "");
            }
        }
        tree
    })
}

/// Trees that readers misread easily: separators, blanks, newlines, equals signs, brackets, empty names and values.
fn any_trees() -> impl Strategy<Value = Tree> {
    let piece = || {
        prop_oneof![
            "[a-c]",
            "[ =\t\r\n\\[\\]]",
            Just(":: ".into()),
            Just("::".into()),
            Just(" = [".into()),
            Just(" a=".into()),
            Just("Log level".into()),
            Just("value".into()),
            Just("key".into()),
            Just("attr".into())
        ]
    };
    let text = move || proptest::collection::vec(piece(), 0..4).prop_map(|pieces| pieces.concat());
    let attrs = proptest::collection::vec((text(), text()), 0..2);
    proptest::collection::vec((0usize..3, text(), text(), attrs), 0..5).prop_map(|nodes| {
        let mut tree = Tree::new(200, "");
        let mut path: Vec<NodeId> = Vec::new();
        for (level, name, value, attrs) in nodes {
            path.truncate(level);
            let parent = path.last().copied().unwrap_or(NodeId::ROOT);
            let node = tree.add_child(parent, &name, &*value);
            for (name, value) in &attrs {
                tree.add_attr(node, name, &**value);
            }
            path.push(node);
        }
        tree
    })
}

/// The tree with an empty value where there is nothing else, and with none where there is.
fn as_text_tells(tree: &Tree) -> Tree {
    let mut told = tree.clone();
    for node in tree.walk().map(|(_, node)| node).collect::<Vec<_>>() {
        let has_parts = tree.has_attrs(node) || tree.first_child(node).is_some();
        if tree.value(node) == Value::Str(b"") && has_parts {
            told.set_value(node, Value::None);
        }
    }
    told
}

#[test]
fn unknown_facts_are_reported_with_their_reason() {
    let why = |build: fn(&mut Tree) -> NodeId| {
        let mut tree = Tree::ok();
        build(&mut tree);
        check_expressible(&tree).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(why(|tree| tree.add_child(NodeId::ROOT, "WD", "/a=b")), "");
    assert!(why(|tree| tree.add_child(NodeId::ROOT, "a", "b c=d")).contains("one attribute more"));
    assert!(why(|tree| tree.add_child(NodeId::ROOT, "a", "b\nc")).contains("a newline"));
    assert!(why(|tree| tree.add_child(NodeId::ROOT, "", "a:: b")).contains("ends a name"));
    assert!(why(|tree| tree.add_child(NodeId::ROOT, "", "")).contains("not empty"));
}

proptest! {
    #[test]
    fn parameters_that_can_be_said_are_read_as_they_were(
        params in proptest::collection::vec(("[a-z:\" ]{0,4}", "[ a\"\\\\:\n\r\t]{0,6}"), 0..4),
        datagram: bool,
    ) {
        let carrier = if datagram { Carrier::Datagram } else { Carrier::Fifo };
        for (name, value) in params {
            let params = [param(&name, &value), param("", "next")];
            if let Ok(block) = said(&params, carrier) {
                let expected = Ok(params.to_vec());
                prop_assert_eq!(decode_params(block.as_bytes(), Dialect::Sipmi), expected, "{:?}", block);
                prop_assert!(carrier == Carrier::Datagram || !block.contains("\n\n"));
                // OpenSIPS also understands the form that is sent to any server, but keeps the empty name.
                prop_assert_eq!(decode_params(block.as_bytes(), Dialect::V2_4).map(|params| params.len()), Ok(2));
            }
        }
    }

    #[test]
    fn a_tree_that_text_can_tell_is_read_as_it_was_written(tree in trees(), blanks in 0u8..5) {
        let indent = if blanks == 0 { Indent::Tab } else { Indent::Blanks(blanks) };
        let text = written(Response::from(tree.clone()), TextStyle { indent, ..FIFO });
        match reply(&text).body {
            Body::Tree(read) => prop_assert_eq!(read, tree, "{}", text),
            _ => prop_assert!(tree.is_empty()),
        }
    }

    #[test]
    fn any_tree_comes_back_or_is_told_to_be_inexpressible(tree in any_trees()) {
        let expressible = check_expressible(&tree);
        if expressible.is_ok() {
            let text = written(Response::from(tree.clone()), FIFO);
            match reply(&text).body {
                Body::Tree(read) => prop_assert_eq!(read, as_text_tells(&tree), "{:?}", text),
                _ => prop_assert!(tree.is_empty()),
            }
        }
    }

    #[test]
    fn trees_that_text_can_carry_are_expressible(tree in trees()) {
        prop_assert_eq!(check_expressible(&tree), Ok(()));
    }

    #[test]
    fn no_reply_is_read_with_a_panic(bytes in "[0-9]{0,4} ?([a-z=:\\[\\]\\t\\r\\n ]|:: ){0,40}", datagram: bool) {
        let carrier = if datagram { Carrier::Datagram } else { Carrier::Fifo };
        let _ = decode_response(bytes.as_bytes(), carrier);
        let _ = decode_request(bytes.as_bytes(), Dialect::Sipmi);
    }
}

#[test]
fn the_last_newline_of_a_datagram_belongs_to_the_value_where_no_empty_line_ends_replies() {
    // rand_get_prob of 1.11 and of 2.4
    for (carrier, reply) in [
        (Carrier::OldDatagram, "200 OK\nactual probability: 33 percent\n\n"),
        (Carrier::Datagram, "200 OK\nactual probability: 33 percent\n\n\n"),
    ] {
        let tree = tree(decode_response(reply.as_bytes(), carrier).expect("a reply"));
        let node = tree.first_child(NodeId::ROOT).expect("a node");
        assert_eq!(tree.value(node), Value::Str(b"actual probability: 33 percent\n"));
    }
}

#[test]
fn a_nameless_node_has_the_attribute_of_domain_dump_and_no_other() {
    let reply = b"200 OK\nexample.org attributes=b c\na x=1\n\n";
    let tree = tree(decode_response(reply, Carrier::Fifo).expect("a reply"));
    let nodes: Vec<_> = tree.children(NodeId::ROOT).collect();
    assert_eq!(tree.value(nodes[0]), Value::Str(b"example.org"));
    assert!(tree.has_attrs(nodes[0]));
    assert_eq!(tree.value(nodes[1]), Value::Str(b"a x=1"));
}
