use super::*;
use proptest::prelude::*;

const FORMS: [Form; 6] = [Form::Native, Form::String, Form::Array, Form::Ng, Form::Ng1, Form::Ng2];

fn call(params: &str) -> String {
    format!("<?xml version=\"1.0\"?><methodCall><methodName>x</methodName><params>{params}</params></methodCall>")
}

fn param(value: &str) -> String {
    call(&format!("<param><value>{value}</value></param>"))
}

fn params(document: &str, form: Form, dialect: Dialect) -> Result<Params, Failure> {
    match decode_request(document.as_bytes(), form, dialect) {
        Ok(Incoming::One(request)) => Ok(request.params),
        Ok(incoming) => panic!("{incoming:?}"),
        Err(error) => Err(error.failure),
    }
}

fn said(params: Params, form: Form, server: Dialect) -> Result<String, CodecError> {
    let mut out = Vec::new();
    let request = Request { method: "x".into(), params };
    encode_request(&mut out, &request, form, server)?;
    Ok(String::from_utf8(out).expect("requests are UTF-8"))
}

fn positional(items: &[Item]) -> Params {
    Params::Positional(items.to_vec())
}

fn strings(values: &[&str]) -> Params {
    Params::Strings(values.iter().map(|value| Param { name: "".into(), value: (*value).into() }).collect())
}

#[test]
fn a_struct_alone_is_parameters_by_name() {
    let value = "<struct><member><name>a</name><value><int>1</int></value></member></struct>";
    let named = Params::Named(vec![("a".into(), Item::Int(1))]);
    for dialect in [Dialect::Sipmi, Dialect::V4_0] {
        assert_eq!(params(&param(value), Form::Native, dialect), Ok(named.clone()));
    }
    let two = call(&format!("<param><value>{value}</value></param><param><value>b</value></param>"));
    let expected = positional(&[Item::from([("a", Item::Int(1))]), "b".into()]);
    assert_eq!(params(&two, Form::Native, Dialect::Sipmi), Ok(expected));
    assert_eq!(params(&call(""), Form::Native, Dialect::V4_0), Ok(Params::None));
    assert_eq!(params(&param("<struct/>"), Form::Native, Dialect::V4_0), Err(Failure::InvalidRequest));
    assert_eq!(params(&param("<struct/>"), Form::Native, Dialect::Sipmi), Ok(Params::None));
}

#[test]
fn emulated_versions_take_the_types_of_their_originals() {
    let refused = Err(Failure::InvalidRequest);
    for value in ["<double>1</double>", "<boolean>1</boolean>", "<nil/>", "<string/>", "<base64>YQ==</base64>"] {
        assert_eq!(params(&param(value), Form::Native, Dialect::V3_4), refused, "{value}");
        assert_eq!(params(&param(value), Form::Ng2, Dialect::V2_4), refused, "{value}");
    }
    assert_eq!(params(&param("<int>1</int>"), Form::Ng1, Dialect::V2_4), refused);
    assert_eq!(params(&param("<boolean>1</boolean>"), Form::String, Dialect::V1_11), Ok(strings(&["1"])));
    assert_eq!(params(&param("untyped"), Form::Array, Dialect::V1_11), Ok(strings(&["untyped"])));
    assert_eq!(params(&param("<array><data/></array>"), Form::String, Dialect::V1_11), refused);
    assert_eq!(params(&param("<nil/>"), Form::String, Dialect::V1_11), refused);
}

#[test]
fn sipmi_takes_lists_and_structs_in_every_form() {
    let list = param("<array><data><value><int>1</int></value></data></array>");
    for form in FORMS {
        assert_eq!(params(&list, form, Dialect::Sipmi), Ok(positional(&[vec![Item::Int(1)].into()])));
    }
    assert_eq!(params(&param("<double>1.5</double>"), Form::Ng2, Dialect::Sipmi), Ok(strings(&["1.5"])));
}

#[test]
fn references_of_two_digits_are_decoded_twice_where_the_originals_do_and_guarded_for_them() {
    let document = param("<string>&amp;#39; &amp;#039; &amp;lt;</string>");
    let twice = |dialect, form| params(&document, form, dialect);
    assert_eq!(twice(Dialect::V4_0, Form::Native), Ok(positional(&["' &#039; &lt;".into()])));
    assert_eq!(twice(Dialect::V2_4, Form::Ng2), Ok(strings(&["' &#039; &lt;"])));
    assert_eq!(twice(Dialect::V1_11, Form::String), Ok(strings(&["&#39; &#039; &lt;"])));
    assert_eq!(twice(Dialect::Sipmi, Form::Native), Ok(positional(&["&#39; &#039; &lt;".into()])));
    let sent = said(positional(&["&#39;&lt;".into()]), Form::Native, Dialect::V4_0).expect("sayable");
    assert!(sent.contains("<string>&amp;#38;#39;&amp;lt;</string>"), "{sent}");
    assert_eq!(params(&sent, Form::Native, Dialect::V4_0), Ok(positional(&["&#39;&lt;".into()])));
    let sent = said(positional(&["&#39;".into()]), Form::Native, Dialect::Sipmi).expect("sayable");
    assert!(sent.contains("<string>&amp;#39;</string>"), "{sent}");
}

#[test]
fn line_ends_become_newlines_and_carriage_returns_are_sent_as_references() {
    let document = param("<string>a\r\nb\rc&#13;&#10;d</string>");
    assert_eq!(params(&document, Form::Native, Dialect::Sipmi), Ok(positional(&["a\nb\nc\r\nd".into()])));
    for server in [Dialect::Sipmi, Dialect::V2_4] {
        let sent = said(positional(&["a\r\nb".into()]), Form::Ng2, server).expect("sayable");
        assert!(sent.contains("<string>a&#13;\nb</string>"), "{sent}");
    }
}

#[test]
fn values_that_a_server_rejects_are_rewritten_or_rejected() {
    let to = |items: &[Item], server| said(positional(items), Form::Native, server);
    let real = to(&[Item::Bool(true), Item::Float(1.5), Item::Int(1 << 40), Item::Null], Dialect::V3_6);
    let expected = "<param><value><int>1</int></value></param><param><value><string>1.5</string></value></param>\
                        <param><value><string>1099511627776</string></value></param>";
    assert!(real.as_ref().is_ok_and(|sent| sent.contains(expected)), "{real:?}");
    let ours = to(&[Item::Bool(true), Item::Int(1 << 40), Item::Null, "".into()], Dialect::Sipmi);
    let expected = "<boolean>1</boolean></value></param><param><value><i8>1099511627776</i8></value></param>\
                        <param><value><nil/></value></param><param><value><string></string>";
    assert!(ours.as_ref().is_ok_and(|sent| sent.contains(expected)), "{ours:?}");
    let refused = [
        vec!["".into()],
        vec![Item::Null, "a".into()],
        vec![Item::from([("a", Item::Int(1))])],
        vec!["a\u{1}".into()],
        vec![Item::Float(f64::NAN)],
        vec![Item::Str(b"\xff".as_slice().into())],
        vec![vec![Item::from("")].into()],
    ];
    for items in refused {
        let error = to(&items, Dialect::V4_0).expect_err("not sayable").to_string();
        assert!(error.starts_with("parameter 1 cannot be sent: "), "{error}");
    }
    assert!(to(&[Item::from([("a", Item::Int(1))])], Dialect::Sipmi).is_err());
    assert!(said(positional(&["".into()]), Form::Ng2, Dialect::V2_4).is_err());
    assert!(said(positional(&["".into()]), Form::String, Dialect::V1_11).is_ok());
    let mixed = vec![Param { name: "a".into(), value: "1".into() }, Param { name: "".into(), value: "2".into() }];
    assert!(said(Params::Strings(mixed), Form::Native, Dialect::Sipmi).is_err());
    let mut out = b"before".to_vec();
    let control = Request::positional("x", vec!["fine".into(), "a\0".into()]);
    let error = encode_request(&mut out, &control, Form::Native, Dialect::Sipmi).expect_err("not sayable");
    assert_eq!((out.as_slice(), error.to_string().starts_with("parameter 2 ")), (b"before".as_slice(), true));
}

#[test]
fn a_multicall_is_several_requests_of_which_each_may_be_wrong() {
    let of = |method: &str, rest: &str| {
        let name = format!("<member><name>methodName</name><value><string>{method}</string></value></member>");
        format!("<value><struct>{name}{rest}</struct></value>")
    };
    let args = "<member><name>params</name><value><array><data><value><string>core:</string></value></data></array>\
                    </value></member>";
    let calls =
        [of("get_statistics", args), of("version", ""), of("system.multicall", ""), "<value>a</value>".into()];
    let document = param(&format!("<array><data>{}</data></array>", calls.concat()));
    let document = document.replace("<methodName>x<", "<methodName>system.multicall<");
    let incoming = decode_request(document.as_bytes(), Form::Native, Dialect::Sipmi);
    let Ok(Incoming::Multicall(calls)) = incoming else { panic!("{incoming:?}") };
    assert_eq!(calls[0], Ok(Request::positional("get_statistics", vec!["core:".into()])));
    assert_eq!(calls[1], Ok(Request::new("version")));
    assert!(calls[2].is_err() && calls[3].is_err());
    let of_1_11 = decode_request(document.as_bytes(), Form::String, Dialect::V1_11);
    assert!(matches!(of_1_11, Ok(Incoming::Multicall(calls)) if calls[0].as_ref().is_ok_and(
            |call| call.params == strings(&["core:"]))));
    let unknown = decode_request(document.as_bytes(), Form::Ng2, Dialect::V2_4);
    assert!(unknown.is_err());
}

#[test]
fn xml_that_is_no_request_and_malformed_xml_are_different_errors() {
    let failure = |document: &str, form| {
        decode_request(document.as_bytes(), form, Dialect::Sipmi).map_err(|error| error.failure)
    };
    for (document, in_native) in [
        ("<methodCall></methodCall>", Failure::InvalidRequest),
        ("<foo/>", Failure::InvalidRequest),
        ("<methodCall><methodName>x</methodName><params><param/></params></methodCall>", Failure::InvalidRequest),
        ("<methodCall><methodName>x</methodCall>", Failure::Parse),
        ("", Failure::Parse),
        ("hello", Failure::Parse),
        ("<methodCall><methodName>x</methodName></methodCall>x", Failure::Parse),
        ("<methodCall><methodName>x</methodName></methodCall><a/>", Failure::Parse),
        ("<methodCall><methodName>\u{1}</methodName></methodCall>", Failure::Parse),
        ("<methodCall><methodName>&#1;</methodName></methodCall>", Failure::Parse),
        ("<?xml version='1.0' encoding='EBCDIC'?><methodCall/>", Failure::Parse),
    ] {
        assert_eq!(failure(document, Form::Native), Err(in_native), "{document}");
        assert_eq!(failure(document, Form::String), Err(Failure::Parse), "{document}");
    }
    let bytes: Vec<u8> = param("\u{e9}").chars().map(|char| char as u8).collect();
    let raw = |dialect| decode_request(&bytes, Form::Native, dialect).map_err(|error| error.failure);
    assert_eq!(raw(Dialect::V4_0), Err(Failure::Parse));
    let expected = Request::positional("x", vec![Item::Str(b"\xe9".as_slice().into())]);
    assert_eq!(raw(Dialect::Sipmi), Ok(Incoming::One(expected)));
    let error = decode_request(param("<date/>").as_bytes(), Form::Native, Dialect::Sipmi).expect_err("no type");
    assert_eq!(error.method, "x");
}

fn items() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        Just(Item::Null),
        any::<bool>().prop_map(Item::Bool),
        any::<i64>().prop_map(Item::Int),
        any::<u64>().prop_map(Item::from),
        (-1e9..1e9f64).prop_map(Item::Float),
        "[\\PC\n\r\t&#0-9;]{0,8}".prop_map(Item::from),
        proptest::collection::vec(0x80u8.., 1..4).prop_map(|bytes| Item::Str(bytes.into())),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Item::Array),
            proptest::collection::btree_map("[a-c<]{0,2}", inner, 0..3)
                .prop_map(|members| Item::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_sent_to_sipmi_arrive_unchanged(mut items in proptest::collection::vec(items(), 1..4)) {
        // A null at the end is left out, and a struct alone has the names of parameters.
        items.truncate(items.iter().rposition(|item| *item != Item::Null).map_or(0, |last| last + 1));
        if let [] | [Item::Object(_)] = items.as_slice() {
            items.insert(0, Item::Bool(true));
        }
        let document = said(positional(&items), Form::Native, Dialect::Sipmi).expect("sayable");
        prop_assert_eq!(params(&document, Form::Native, Dialect::Sipmi), Ok(positional(&items)));
        let members: Vec<_> = items.iter().enumerate().filter(|(_, item)| **item != Item::Null)
            .map(|(place, item)| (Str::from(format!("p{place}")), item.clone())).collect();
        let document = said(Params::Named(members.clone()), Form::Native, Dialect::Sipmi).expect("sayable");
        prop_assert_eq!(params(&document, Form::Native, Dialect::Sipmi), Ok(Params::Named(members)));
    }

    #[test]
    fn strings_arrive_in_every_form_at_every_server(values in proptest::collection::vec("[\\PC\n\r&#0-9;]{1,8}", 1..4)) {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        for (form, server) in [
            (Form::String, Dialect::V1_11),
            (Form::Ng, Dialect::V1_11),
            (Form::Ng1, Dialect::V2_4),
            (Form::Ng2, Dialect::V2_4),
            (Form::Array, Dialect::Sipmi),
        ] {
            let document = said(strings(&values), form, server).expect("sayable");
            prop_assert_eq!(params(&document, form, server), Ok(strings(&values)), "{} {}", form, document);
        }
        let items: Vec<_> = values.iter().map(|value| Item::from(*value)).collect();
        let document = said(strings(&values), Form::Native, Dialect::V3_2).expect("sayable");
        prop_assert_eq!(params(&document, Form::Native, Dialect::V3_2), Ok(Params::Positional(items)));
    }
}
