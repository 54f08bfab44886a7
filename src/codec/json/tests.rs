use super::escapes::{ESCAPES, plain_len};
use super::scanner::MAX_SCAN_DEPTH;
use super::*;
use crate::item::Str;
use proptest::prelude::*;

fn compact(item: &Item) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, item);
    out
}

fn scan(bytes: &[u8]) -> Scan {
    let mut scanner = Scanner::new();
    match scanner.feed(bytes) {
        Scan::NeedMore => scanner.finish(),
        scan => scan,
    }
}

proptest! {
    #[test]
    fn eight_bytes_at_once_are_seen_as_one_by_one(bytes: Vec<u8>, plain in "[a-zA-Z\u{80}-\u{ff}]{0,40}") {
        for bytes in [&bytes, &[plain.as_bytes(), &bytes].concat()] {
            let one_by_one = bytes.iter().take_while(|byte| ESCAPES[**byte as usize] == 0).count();
            prop_assert_eq!(plain_len(bytes), one_by_one);
        }
    }
}

#[test]
fn strings_have_the_escapes_that_the_originals_write() {
    let mut out = Vec::new();
    write_string(&mut out, b"a\"\\/\x08\x0c\n\r\t\x01\x1f\x7f\xc3\xa9\xff");
    assert_eq!(out, b"\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\xff\"");
}

#[test]
fn bytes_that_are_not_utf_8_survive_in_strings_and_names_and_are_errors_elsewhere() {
    let item = parse(b"{\"\xff\":\"caf\xe9 \xf4\x8f\xbf\xbe \\udbff\\uDFFE \\\\udbff\\\\udffe\"}").expect("JSON");
    let text = b"caf\xe9 \xf4\x8f\xbf\xbe \xf4\x8f\xbf\xbe \\udbff\\udffe".as_slice();
    assert_eq!(item, Item::Object(vec![(b"\xff".as_slice().into(), Item::Str(text.into()))]));
    assert_eq!(
        parse(b"[\"\xe9\xe9\", \xff]"),
        Err(CodecError::Unexpected { expected: "a JSON value", found: "\"\\xff]\"".into(), offset: 7 })
    );
}

#[test]
fn numbers_beyond_64_bits_are_floats_and_beyond_doubles_errors() {
    assert_eq!(parse(b"9223372036854775807"), Ok(Item::Int(i64::MAX)));
    assert_eq!(parse(b"9223372036854775808"), Ok(Item::UInt(9_223_372_036_854_775_808)));
    assert_eq!(parse(b"18446744073709551615"), Ok(Item::UInt(u64::MAX)));
    assert_eq!(compact(&Item::UInt(u64::MAX)), b"18446744073709551615");
    assert_eq!(parse(b"18446744073709551616"), Ok(Item::Float(18_446_744_073_709_551_616.0)));
    assert_eq!(parse(b"-9223372036854775809"), Ok(Item::Float(-9_223_372_036_854_775_809.0)));
    assert!(parse(b"1e999").is_err());
    assert!(parse("9".repeat(400).as_bytes()).is_err());
    assert_eq!(
        compact(&Item::Array(vec![Item::Float(f64::NAN), Item::Float(0.1), Item::Float(1e300)])),
        b"[null,0.1,1e300]"
    );
}

#[test]
fn depth_ends_at_a_limit_and_never_at_the_stack() {
    let deep = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
    assert!(parse(&deep(127)).is_ok());
    assert_eq!(parse(&deep(129)), Err(CodecError::TooDeep { limit: 128, offset: 127 }));
    assert!(matches!(parse(&deep(100_000)), Err(CodecError::TooDeep { .. })));
    assert_eq!(scan(&deep(100_000)), Scan::Complete(200_000));
    assert_eq!(scan(&b"[".repeat(MAX_SCAN_DEPTH + 1)), Scan::Invalid(MAX_SCAN_DEPTH));
}

#[test]
fn objects_keep_order_and_repeated_names() {
    let text = br#"{"b":1,"a":2,"b":3}"#;
    assert_eq!(compact(&parse(text).expect("JSON")), text);
}

#[test]
fn errors_name_the_expected_and_the_found_text_and_the_position() {
    let error = |bytes: &[u8]| parse(bytes).expect_err("no JSON").to_string();
    assert_eq!(error(b"{\"a\":\n 1 x}"), "expected a JSON value, found \"x}\" at byte 9");
    assert_eq!(error(b""), "expected the rest of a JSON value, found the end at byte 0");
    assert_eq!(error(b"{} {}"), "expected a JSON value, found \"{}\" at byte 3");
}

#[test]
fn a_prefix_says_how_long_it_is() {
    assert_eq!(parse_prefix(b" {\"a\":1} tail"), Ok((Item::Object(vec![("a".into(), Item::Int(1))]), 8)));
    assert_eq!(parse_prefix(b"12:"), Ok((Item::Int(12), 2)));
    assert_eq!(parse_prefix(b"\"\xff\"x"), Ok((Item::Str(b"\xff".as_slice().into()), 3)));
    assert!(parse_prefix(b"{\"a\"").is_err());
    assert!(parse_prefix(b"").is_err());
}

#[test]
fn a_scanner_says_where_a_value_goes_wrong() {
    assert_eq!(scan(b"{\"a\"::1}"), Scan::Invalid(5));
    assert_eq!(scan(b"{\"a\":1]"), Scan::Invalid(6));
    assert_eq!(scan(b"[1,]"), Scan::Invalid(3));
    assert_eq!(scan(b"\"\\x\""), Scan::Invalid(2));
    assert_eq!(scan(b"\"\n\""), Scan::Invalid(1));
    assert_eq!(scan(b"01"), Scan::Complete(1));
    assert_eq!(scan(b"-"), Scan::NeedMore);
    assert_eq!(scan(b"nul"), Scan::NeedMore);
}

fn items() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        Just(Item::Null),
        any::<bool>().prop_map(Item::Bool),
        any::<i64>().prop_map(Item::Int),
        any::<i32>().prop_map(|value| Item::Float(f64::from(value) / 8.0)),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Item::Str(bytes.into())),
        "[\u{10FFFE}\\\\\"a]{0,6}".prop_map(Item::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = proptest::collection::vec(any::<u8>(), 0..4).prop_map(Str::from);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Item::Array),
            proptest::collection::vec((name, inner), 0..4).prop_map(Item::Object),
        ]
    })
}

proptest! {
    #[test]
    fn written_values_are_read_back_unchanged(item in items()) {
        let mut pretty = Vec::new();
        write_pretty(&mut pretty, &item);
        prop_assert_eq!(parse(&compact(&item)), Ok(item.clone()));
        prop_assert_eq!(parse(&pretty), Ok(item));
    }

    #[test]
    fn a_scanner_finds_the_end_however_the_bytes_come(item in items(), tail in "[ x:{]{1,3}", split in 0usize..40) {
        let mut bytes = compact(&Item::Array(vec![item]));
        let end = bytes.len();
        bytes.extend_from_slice(tail.as_bytes());
        let (first, second) = bytes.split_at(split.min(bytes.len()));
        let mut scanner = Scanner::new();
        scanner.feed(first);
        prop_assert_eq!(scanner.feed(second), Scan::Complete(end));
    }

    #[test]
    fn scanner_and_parser_accept_the_same_json(bytes in "[\\[\\]{}\",:0-9.eE+\\-tf ntrueals\\\\]{0,12}") {
        let parsed = parse(bytes.as_bytes()).is_ok();
        let complete = matches!(scan(bytes.as_bytes()), Scan::Complete(end) if bytes[end..].trim_ascii().is_empty());
        // A number may be too large, an escape half a character: the scanner leaves that to the parser.
        prop_assert!(complete || !parsed, "{}", bytes);
        prop_assert!(parsed || !complete || bytes.contains(['e', 'E', '\\']), "{}", bytes);
    }
}
