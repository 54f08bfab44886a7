use super::*;
use crate::convert::tree_to_item;
use crate::item::Str;
use crate::tree::{NodeId, Value};
use proptest::prelude::*;

const FORMS: [Form; 6] = [Form::Native, Form::String, Form::Array, Form::Ng, Form::Ng1, Form::Ng2];

fn written(result: &Result<Response, Failure>, form: Form, dialect: Dialect) -> String {
    let mut out = Vec::new();
    encode_response(&mut out, result, b"x", form, dialect);
    String::from_utf8(out).expect("replies are UTF-8")
}

fn value_of(response: Response) -> Item {
    match response.body {
        Body::Tree(tree) => tree_to_item(&tree).expect("not too deep").expect("not empty"),
        Body::Item(item) => item,
        body => panic!("{body:?}"),
    }
}

fn error(document: &str) -> String {
    decode_response(document.as_bytes()).expect_err("no reply").to_string()
}

fn reply(value: &str) -> String {
    format!("<methodResponse><params><param><value>{value}</value></param></params></methodResponse>")
}

fn read(value: &str) -> Item {
    value_of(decode_response(reply(value).as_bytes()).expect("a reply"))
}

#[test]
fn lines_after_the_document_belong_to_the_reply() {
    // ul_dump of 1.11's mi_xmlrpc_ng, which flushes after 50 records.
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n<params>\r\n<param><value><string>Domain:: location table=512\n\tAOR:: a\n\t\tContact:: sip:a@b Q=0.5\n\t\t\tCflags\n</string></value></param>\r\n</params>\r\n</methodResponse>\r\n\tAOR:: b &amp; c\n\t\tContact:: sip:b@c Q=1\n\tAOR:: d\n";
    let response = decode_response(document.as_bytes()).expect("a reply");
    let Body::Tree(tree) = &response.body else { panic!("no tree: {response:?}") };
    let domain = tree.first_child(NodeId::ROOT).expect("a domain");
    let aors: Vec<_> = tree.children(domain).map(|node| tree.value(node)).collect();
    assert_eq!(aors, [Value::Str(b"a"), Value::Str(b"b & c"), Value::Str(b"d")]);
    assert_eq!(tree.children(NodeId::ROOT).count(), 1);
    let cut = document.replace("\tAOR:: d\n", "<a>");
    assert!(decode_response(cut.as_bytes()).is_err());
}

#[test]
fn pieces_of_one_node_are_joined() {
    // ul_dump of 2.4's mi_xmlrpc_ng: the domain once more for each 50 records.
    let piece = |aors: &str| {
        format!(
            "<value><struct><member><name>value</name><value>location</value></member><member><name>attributes</name>\
                 <value><struct><member><name>hash_size</name><value>512</value></member></struct></value></member>\
                 <member><name>kids</name><value><value><struct><member><name>AOR</name><value><array><data>{aors}</data>\
                 </array></value></member></struct></value></value></member></struct></value>"
        )
    };
    let full = piece("<value>d</value>");
    // Where the last piece was full, one without records follows.
    let (parts, _) = full.split_once("<member><name>kids").expect("kids");
    let empty = format!("{parts}</struct></value>");
    let pieces = [piece("<value>a</value><value>b</value>"), piece("<value>c</value>"), full, empty];
    let document = format!(
        "<?xml version=\"1.0\"?>\r\n<methodResponse>\r\n<params><param>\r\n<value><struct><member><name>Domain</name>\
             <value><array><data>{}</data></array></value></member></struct></value></param></params>\r\n</methodResponse>\r\n",
        pieces.concat()
    );
    let response = decode_response(document.as_bytes()).expect("a reply");
    let Body::Tree(tree) = &response.body else { panic!("no tree: {response:?}") };
    let domain = tree.first_child(NodeId::ROOT).expect("a domain");
    let aors: Vec<_> = tree.children(domain).map(|node| tree.value(node)).collect();
    assert_eq!(aors, [b"a", b"b", b"c", b"d"].map(|aor| Value::Str(aor)));
    assert_eq!(tree.children(NodeId::ROOT).count(), 1);
}

#[test]
fn an_attribute_without_a_value_is_the_word_value_in_2_4() {
    let document = "<methodResponse><params><param><value><struct><member><name>Contact</name><value><struct>\
             <member><name>value</name><value>sip:a@b</value></member><member><name>attributes</name><value><struct>\
             <member><name>Q</name><value>value</value></member></struct></value></member></struct></value></member>\
             </struct></value></param></params></methodResponse>";
    let response = decode_response(document.as_bytes()).expect("a reply");
    let Body::Tree(tree) = &response.body else { panic!("no tree: {response:?}") };
    let contact = tree.first_child(NodeId::ROOT).expect("a contact");
    assert_eq!(tree.attr(contact, "Q"), Some(Value::None));
}

#[test]
fn integers_of_64_bits_without_a_sign_are_exact() {
    let document = "<methodResponse><params><param><value><int>18446744073709551615</int></value></param></params></methodResponse>";
    let response = decode_response(document.as_bytes()).expect("a reply");
    assert_eq!(response.body, Body::Item(Item::UInt(u64::MAX)));
    let beyond = document.replace("615</", "616</");
    assert!(decode_response(beyond.as_bytes()).expect_err("too large").to_string().contains("64 bits"));
}

#[test]
fn forms_have_names() {
    for form in FORMS {
        assert_eq!(form.to_string().parse(), Ok(form));
    }
    let unknown = "soap".parse::<Form>().expect_err("no form");
    assert!(unknown.to_string().contains("native, string, array, ng, ng1, ng2"), "{unknown}");
}

#[test]
fn every_type_of_the_specification_and_its_extensions_is_read() {
    let value = read(
        "<array><data><value><i4>-1</i4></value><value><int> 2 </int></value><value><i8>9007199254740993</i8></value>\
             <value><ex:i8>3</ex:i8></value><value><boolean>1</boolean></value><value><double>-1.5e3</double></value>\
             <value><base64>\n/wBh\nYg==</base64></value><value><dateTime.iso8601>20261123T07:36:00</dateTime.iso8601>\
             </value><value><nil/></value><value><ex:nil></ex:nil></value><value> untyped </value><value/>\
             <value><string/></value></data></array>",
    );
    let expected = vec![
        Item::Int(-1),
        Item::Int(2),
        Item::Int(9_007_199_254_740_993),
        Item::Int(3),
        Item::Bool(true),
        Item::Float(-1500.0),
        Item::Str(b"\xff\0ab".as_slice().into()),
        "20261123T07:36:00".into(),
        Item::Null,
        Item::Null,
        " untyped ".into(),
        "".into(),
        "".into(),
    ];
    assert_eq!(value, Item::Array(expected));
}

#[test]
fn comments_instructions_cdata_attributes_and_blanks_do_not_matter() {
    let document = "<?xml version='1.0'?>\n<!-- a > b -->\n<?pi x?><methodResponse xmlns:ex='http://x/>'>\n<params >\
            <param><value ><string a=\"1\">a<!-- - -->&lt;<![CDATA[&amp;<b>]]>&#x41;&#066;</string ></value></param>\
            </params></methodResponse>\n<!-- end -->";
    let response = decode_response(document.as_bytes()).expect("a reply");
    assert_eq!(value_of(response), "a<&amp;<b>AB".into());
    assert_eq!(read("<STRING>a</STRING>"), "a".into());
    let marked = format!("\u{feff}{}", reply("<int>1</int>"));
    assert_eq!(value_of(decode_response(marked.as_bytes()).expect("a reply")), Item::Int(1));
}

#[test]
fn a_malformed_reply_is_an_error_with_the_expected_text_and_the_position() {
    let cases = [
        ("<methodCall/>", "expected <methodResponse>, found \"<methodCall/>\" at byte 0"),
        ("hello", "expected an element, found \"hello\" at byte 0"),
        ("<methodResponse><params>", "the XML-RPC document was cut off after 24 bytes"),
        ("<methodResponse><params><!--", "the XML-RPC document was cut off after 28 bytes"),
        ("<methodResponse></params>", "expected the end of the innermost element, found \"</params>\" at byte 16"),
        ("</a>", "expected no end without a beginning, found \"</a>\" at byte 0"),
        ("<!DOCTYPE a><methodResponse/>", "expected no document type, found"),
        ("<?xml version='1.0' encoding='UTF-16'?><a/>", "expected the encoding UTF-8 or ISO-8859-1, found \"UTF-16"),
    ];
    for (document, expected) in cases {
        let found = error(document);
        assert!(found.starts_with(expected), "{document}: {found}");
    }
    let values = [
        ("<int>1.5</int>", "expected an integer of 64 bits before this, found \"</int></value>"),
        ("<int>99999999999999999999</int>", "expected an integer of 64 bits before this"),
        ("<boolean>yes</boolean>", "expected a boolean before this"),
        ("<double>inf</double>", "expected a double before this"),
        ("<base64>a</base64>", "expected base64 before this"),
        ("<date>1</date>", "expected a type of XML-RPC, found \"<date>1</date>"),
        ("text<int>1</int>", "expected the type of a value, or text, found \"<int>"),
        ("<array><value/></array>", "expected <data>, found \"<value/>"),
        ("<struct><name>a</name></struct>", "expected <member> or the end of a struct, found \"<name>"),
        ("&copy;", "expected a reference to a character, found \"&copy;"),
        ("&#xD800;", "expected a reference to a character"),
        ("&amp", "expected a reference to a character"),
        ("<a b>1</a>", "expected a type of XML-RPC"),
    ];
    for (value, expected) in values {
        let found = error(&reply(value));
        assert!(found.starts_with(expected), "{value}: {found}");
    }
}

#[test]
fn bombs_depth_and_junk_are_errors_and_nothing_more() {
    let laugh = |n: i32| format!("<!ENTITY a{n} '{}'>", format!("&a{};", n - 1).repeat(10));
    let laughs = (1..10).map(laugh).collect::<Vec<_>>().concat();
    let bomb = format!("<!DOCTYPE x [<!ENTITY a0 'ha'>{laughs}]><methodResponse>&a9;</methodResponse>");
    assert!(error(&bomb).starts_with("expected no document type"));
    let deep = |open: &str| reply(&open.repeat(100_000));
    for open in ["<value>", "<array><data><value>", "<struct><member><name>a</name><value>", "<a>", "<a b=''>"] {
        assert!(decode_response(deep(open).as_bytes()).is_err());
        let request = deep(open).replace("methodResponse", "methodCall");
        let refused = decode_request(request.as_bytes(), Form::Native, Dialect::Sipmi).expect_err("no request");
        assert!(matches!(refused.failure, Failure::Parse | Failure::InvalidRequest));
    }
    let nested = format!("{}{}", "<array><data><value>".repeat(129), "</value></data></array>".repeat(129));
    assert!(matches!(decode_response(reply(&nested).as_bytes()), Err(CodecError::TooDeep { limit: 128, .. })));
    for junk in ["<", "&", "<a ", "\u{0}", "</", "<![CDATA[", "a", "<a>", "<a/>"] {
        let size = if junk == "<a>" { 10_000_000 } else { 1_000_000 };
        let junk = junk.repeat(size / junk.len());
        assert!(decode_response(junk.as_bytes()).is_err());
        assert!(decode_request(junk.as_bytes(), Form::Ng2, Dialect::Sipmi).is_err());
    }
}

#[test]
fn latin_1_is_read_when_declared_and_bytes_that_are_no_utf_8_stay() {
    let latin = [b"<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>".as_slice(), &reply_bytes(b"caf\xe9")].concat();
    assert_eq!(value_of(decode_response(&latin).expect("a reply")), "café".into());
    let raw = reply_bytes(b"caf\xe9 &#233; \x01");
    let expected = Item::Str(b"caf\xe9 \xc3\xa9 \x01".as_slice().into());
    assert_eq!(value_of(decode_response(&raw).expect("a reply")), expected);
    let wrong = reply_bytes(b"\xe9\xe9<x/>");
    let error = decode_response(&wrong).expect_err("no type").to_string();
    assert!(error.ends_with("at byte 40"), "{error}");
}

fn reply_bytes(value: &[u8]) -> Vec<u8> {
    let document = reply("\u{1}");
    let (begin, end) = document.split_once('\u{1}').expect("there is one");
    [begin.as_bytes(), value, end.as_bytes()].concat()
}

#[test]
fn carriage_returns_stay_in_replies_and_are_references_when_sipmi_writes() {
    assert_eq!(read("<string>a\r\nb&#13;\n</string>"), "a\r\nb\r\n".into());
    let reply = Ok(Response::from(Item::from("a\r\nb")));
    assert!(written(&reply, Form::Native, Dialect::Sipmi).contains("<string>a&#13;\nb</string>"));
    assert!(written(&reply, Form::Native, Dialect::V4_0).contains("<string>a\r\nb</string>"));
}

#[test]
fn characters_that_xml_cannot_hold_are_a_fault() {
    let control = Ok(Response::from(Item::from([("a", "b\u{1}".into())])));
    let reason = Ok(Response::error(404, "no \u{b} such"));
    let last = Ok(Response::from(Item::from("\u{ffff}")));
    for form in FORMS {
        for reply in [&control, &reason, &last] {
            let document = written(reply, form, Dialect::Sipmi);
            let response = decode_response(document.as_bytes()).expect("a document");
            assert!(!response.is_success() && !document.contains(['\u{1}', '\u{b}', '\u{ffff}']), "{document}");
        }
    }
    let fault = decode_response(written(&control, Form::Native, Dialect::Sipmi).as_bytes()).expect("a fault");
    assert_eq!(fault.code, -32000);
    assert!(matches!(&fault.body, Body::Item(Item::Str(why)) if why.to_text().contains("XML cannot hold")));
    let bytes = Ok(Response::from(Item::Str(b"\xff".as_slice().into())));
    assert!(written(&bytes, Form::Native, Dialect::Sipmi).contains("<base64>/w==</base64>"));
    assert!(written(&bytes, Form::String, Dialect::Sipmi).contains("not UTF-8"));
    let mut deep = Tree::ok();
    let mut node = NodeId::ROOT;
    for _ in 0..200 {
        node = deep.add_child(node, "n", "v");
    }
    for form in FORMS {
        let document = written(&Ok(Response::from(deep.clone())), form, Dialect::Sipmi);
        assert!(document.contains("<fault>"), "{form}: {document}");
    }
}

#[test]
fn naive_clients_of_1_x_find_the_markup_that_they_look_for() {
    let mut tree = Tree::ok();
    let node = tree.add_child(NodeId::ROOT, "AOR", "alice");
    tree.add_attr(node, "n", "1");
    tree.add_child(node, "Contact", "<sip:a@b>");
    let document = written(&Ok(Response::from(tree)), Form::String, Dialect::Sipmi);
    let (_, rest) = document.split_once("<param><value><string>").expect("the beginning");
    let (lines, _) = rest.split_once("</string></value></param>").expect("the end");
    assert_eq!(lines, "AOR:: alice n=1\nContact:: &lt;sip:a@b&gt;\n");
}

#[test]
fn failures_have_the_codes_of_their_form() {
    let codes = |failure: &Failure, dialect| {
        let forms = [Form::String, Form::Native, Form::Ng2];
        let read = |form| decode_response(written(&Err(failure.clone()), form, dialect).as_bytes()).expect("a fault");
        forms.map(|form| read(form).code)
    };
    assert_eq!(codes(&Failure::UnknownCommand, Dialect::Sipmi), [-506, -32601, 500]);
    assert_eq!(codes(&Failure::Ambiguous(vec!["a:x".into()]), Dialect::Sipmi), [-506, -32001, 500]);
    assert_eq!(codes(&Failure::Ambiguous(vec!["a:x".into()]), Dialect::V4_0), [-506, -32601, 401]);
    assert_eq!(codes(&Failure::ParamCount, Dialect::Sipmi), [400, -32602, 400]);
    assert_eq!(codes(&Failure::ParamType("a".into()), Dialect::Sipmi), [400, -32602, 400]);
    assert_eq!(codes(&Failure::Parse, Dialect::Sipmi), [-503, -32700, 400]);
    assert_eq!(codes(&Failure::Parse, Dialect::V4_0), [-503, 32700, 401]);
    assert_eq!(codes(&Failure::InvalidRequest, Dialect::Sipmi), [-501, -32600, 400]);
    assert_eq!(codes(&Failure::handler(), Dialect::Sipmi), [-500, -32000, 500]);
    assert_eq!(codes(&Failure::Timeout, Dialect::Sipmi), [408, -32000, 408]);
    assert_eq!(codes(&Failure::Busy, Dialect::Sipmi), [503, -32000, 503]);
    let fault = decode_response(written(&Err(Failure::ParamCount), Form::Native, Dialect::Sipmi).as_bytes());
    let fault = fault.expect("a fault");
    assert_eq!(fault.reason, "server error. invalid method parameters");
    assert_eq!(fault.body, Body::Item("Too few or too many parameters".into()));
    for (failure, form) in [(Failure::UnknownCommand, Form::String), (Failure::Parse, Form::Native)] {
        let fault = decode_response(written(&Err(failure.clone()), form, Dialect::Sipmi).as_bytes());
        assert_eq!(failure_of(&fault.expect("a fault")), Some(failure));
    }
}

#[test]
fn an_array_does_not_break_after_its_first_success() {
    let mut tree = Tree::ok();
    tree.add_child(NodeId::ROOT, "a", "1\n2");
    tree.add_child(NodeId::ROOT, "", "three");
    let reply = Ok(Response::from(tree.clone()));
    for _ in 0..3 {
        let document = written(&reply, Form::Array, Dialect::V1_11);
        assert_eq!(decode_response(document.as_bytes()), Ok(Response::from(tree.clone())));
    }
}

#[test]
fn the_answers_to_a_multicall_are_lists_of_one_and_faults() {
    let answers = [Ok(Response::from(Item::Int(1))), Err(Failure::UnknownCommand), Ok(Response::ok())];
    for form in FORMS {
        let mut out = Vec::new();
        let joined = answers.iter().map(|answer| (b"x".as_slice(), answer));
        encode_multicall(&mut out, joined, form, Dialect::Sipmi);
        let Item::Array(parts) = value_of(decode_response(&out).expect("a reply")) else { panic!("no list") };
        assert!(
            matches!(parts.as_slice(), [Item::Array(one), fault, Item::Array(ok)]
                if one.len() == 1 && ok.len() == 1 && fault.get("faultCode").is_some()),
            "{form}: {parts:?}"
        );
    }
}

#[test]
fn an_error_tells_its_nodes_in_native_alone() {
    let response = Response { body: Body::Item(Item::Int(5)), ..Response::error(404, "not here") };
    let fault = |form, dialect| decode_response(written(&Ok(response.clone()), form, dialect).as_bytes());
    assert_eq!(fault(Form::Native, Dialect::Sipmi), Ok(response.clone()));
    assert_eq!(fault(Form::Native, Dialect::V4_0), Ok(Response::error(404, "not here")));
    assert_eq!(fault(Form::Ng2, Dialect::Sipmi), Ok(Response::error(404, "not here")));
}

/// Text that XML can hold.
fn text() -> impl Strategy<Value = Str> {
    "[\\PC\n\t\r<>&\"']{0,8}".prop_map(Str::from)
}

fn items(leaf: impl Strategy<Value = Item> + 'static) -> impl Strategy<Value = Item> {
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Item::Array),
            proptest::collection::btree_map("[a-c <&\n]{1,3}|value|kids|attributes", inner, 0..4)
                .prop_map(|members| Item::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

fn scalars() -> impl Strategy<Value = Item> {
    prop_oneof![
        Just(Item::Null),
        any::<bool>().prop_map(Item::Bool),
        any::<i64>().prop_map(Item::Int),
        any::<u64>().prop_map(Item::from),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Item::Float),
        text().prop_map(Item::Str),
        proptest::collection::vec(0x80u8.., 1..6).prop_map(|bytes| Item::Str(bytes.into())),
    ]
}

/// Trees as handlers of 1.x and 2.x build them, with names and values of these characters.
fn trees(texts: &'static str) -> impl Strategy<Value = Tree> {
    let node = (0..6usize, "[a-c]{0,2}", texts, proptest::option::of(("[a-c]", texts)));
    proptest::collection::vec(node, 1..8).prop_map(|nodes| {
        let (mut tree, mut ids) = (Tree::ok(), vec![NodeId::ROOT]);
        for (parent, name, value, attr) in nodes {
            let node = tree.add_child(ids[parent % ids.len()], name, value.as_str());
            if let Some((name, value)) = attr {
                tree.add_attr(node, name, value.as_str());
            }
            ids.push(node);
        }
        tree
    })
}

fn without_levels(tree: &Tree) -> Tree {
    let mut flat = Tree::ok();
    for (_, node) in tree.walk() {
        let copy = flat.add_child(NodeId::ROOT, tree.name(node), tree.value(node));
        tree.attrs(node).for_each(|(name, value)| flat.add_attr(copy, name, value));
    }
    flat
}

proptest! {
    #[test]
    fn native_values_come_back_as_they_were(item in items(scalars())) {
        prop_assume!(item != Item::from("OK"));
        let document = written(&Ok(Response::from(item.clone())), Form::Native, Dialect::Sipmi);
        prop_assert_eq!(decode_response(document.as_bytes()), Ok(Response::from(item)));
    }

    #[test]
    fn structs_of_2_4_come_back_as_strings(item in items(text().prop_map(Item::Str))) {
        let document = written(&Ok(Response::from(item.clone())), Form::Ng2, Dialect::Sipmi);
        let response = decode_response(document.as_bytes()).expect("a reply");
        prop_assert_eq!(value_of(response), item, "{}", document);
    }

    #[test]
    fn plain_trees_come_back_from_lines(tree in trees("[a-z0-9:./@]{1,6}")) {
        for (form, expected) in [
            (Form::Ng, tree.clone()),
            (Form::Ng1, tree.clone()),
            (Form::String, without_levels(&tree)),
            (Form::Array, without_levels(&tree)),
        ] {
            let document = written(&Ok(Response::from(tree.clone())), form, Dialect::Sipmi);
            let response = decode_response(document.as_bytes()).expect("a reply");
            prop_assert_eq!(response, Response::from(expected), "{}", document);
        }
    }

    #[test]
    fn recorded_replies_are_written_byte_for_byte(
        tree in trees("[a-c<&'\" =\n\t\r]{0,5}|[a-c]:: [a-c =]{0,3}"),
        // A line of a value that begins with blanks cannot be told from one that is indented.
        plain in trees("[a-c<&'\"=]{0,3}([ \n\r]|\r\n|\n\n)[a-c=]{1,2}|[a-c]:: [a-c =]{0,3}"),
    ) {
        let forms = [
            (&plain, Form::String, Dialect::V1_11),
            (&plain, Form::Array, Dialect::V1_11),
            (&plain, Form::Ng, Dialect::V1_11),
            (&plain, Form::Ng1, Dialect::V2_4),
            (&tree, Form::Ng2, Dialect::V2_4),
        ];
        for (tree, form, dialect) in forms {
            let document = written(&Ok(Response::from(tree.clone())), form, dialect);
            let again = decode_response(document.as_bytes()).expect("a reply");
            prop_assert_eq!(written(&Ok(again), form, dialect), document, "{}", form);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, markup in "(<|</|>|value|string|struct|member|name|array|data|/|&|;|#|x|1|!|--|\\[CDATA\\[|\\?| |=|'){0,40}") {
        for bytes in [bytes.as_slice(), markup.as_bytes(), reply(&markup).as_bytes()] {
            let _ = decode_response(bytes);
            for form in FORMS {
                let _ = decode_request(bytes, form, Dialect::Sipmi);
                let _ = decode_request(bytes, form, Dialect::V4_0);
            }
        }
    }

    #[test]
    fn a_tree_without_values_keeps_its_names(depth in 1..100usize) {
        let mut tree = Tree::ok();
        let mut node = NodeId::ROOT;
        for _ in 0..depth {
            node = tree.add_child(node, "n", Value::None);
        }
        tree.set_value(node, "v");
        let document = written(&Ok(Response::from(tree.clone())), Form::Ng2, Dialect::V2_4);
        prop_assert_eq!(decode_response(document.as_bytes()), Ok(Response::from(tree)));
    }
}
