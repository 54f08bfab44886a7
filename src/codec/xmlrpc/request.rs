//! Requests: typed in `native`, strings in all other forms, and several in one `system.multicall`.

use std::borrow::Cow;

use super::Form;
use super::document::{Document, Element, Source, Tag};
use super::value::{Kinds, ValueReader, push_member, push_value};
use super::write::{Escapes, Unsayable, decode_again, push_escaped};
use crate::codec::{CodecError, RequestError, push_float, push_int, text};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Param, Params, Request};
use crate::response::Failure;

/// The method that runs several.
pub const MULTICALL: &[u8] = b"system.multicall";

/// What one document asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A request alone, answered by [`super::encode_response`].
    One(Request),
    /// Several in one `system.multicall`, answered by [`super::encode_multicall`].
    Multicall(Vec<Result<Request, RequestError>>),
}

/// Reads what a client sent.
///
/// In `native` one struct alone is parameters by name, anything else parameters by position. In the other forms
/// scalars are strings; Sipmi takes lists and structs there as well, as `native` does. Line ends become newlines, as
/// XML has it; a carriage return comes as `&#13;`. Sipmi ignores blanks around the method.
///
/// Emulated versions take UTF-8 alone, and the types that their originals do: 1.11's `string` and `array` scalars alone, all `ng` forms strings that
/// are not empty, `native` strings, integers and lists and structs of them. 2.4's `ng`, 3.x and 4.x decode references
/// of two digits twice. Only sipmi and 1.11's `string` and `array` know `system.multicall`.
///
/// What is no XML is [`Failure::Parse`], what is no request [`Failure::InvalidRequest`]; in `string` and `array` that is
/// a value of the wrong type alone.
pub fn decode_request(body: &[u8], form: Form, dialect: Dialect) -> Result<Incoming, RequestError> {
    let rules = Rules { form, dialect };
    let mut reader = Reader::default();
    let refused = |failure, method| Err(RequestError { failure, method });
    let source = Source::new(body).ok().filter(|source| source.is_text() || !dialect.is_emulated());
    let Some(source) = source else { return refused(Failure::Parse, reader.method) };
    if reader.read(&source).is_err() {
        let is_xml = Document::new(&source, true).check_well_formed();
        let failure = if is_xml && !rules.is_of_xmlrpc_c() { Failure::InvalidRequest } else { Failure::Parse };
        return refused(failure, reader.method);
    }
    let mut method = reader.method;
    if !dialect.is_emulated() {
        method = method.trim_ascii().into();
    }
    if *method == *MULTICALL && rules.know_multicall() {
        return match calls_of(reader.items, rules) {
            Some(calls) => Ok(Incoming::Multicall(calls)),
            None => refused(Failure::InvalidRequest, method),
        };
    }
    if !rules.take(&reader.values) {
        return refused(Failure::InvalidRequest, method);
    }
    match rules.params(reader.items) {
        Some(params) => Ok(Incoming::One(Request { method, params })),
        None => refused(Failure::InvalidRequest, method),
    }
}

/// Appends a request. On error nothing is appended.
///
/// `server` is who reads it. To [`Dialect::Sipmi`] everything goes with its type. The originals of `native` take strings
/// that are not empty and integers of 32 bits: booleans go as 1 and 0, other numbers as strings. In the other forms
/// all parameters become strings without names, as in [`text::encode_params`]; `ng`, `ng1` and `ng2` take no empty ones.
/// A null by name or at the end is left out. What 2.4, 3.x and 4.x would decode twice is guarded.
pub fn encode_request(out: &mut Vec<u8>, request: &Request, form: Form, server: Dialect) -> Result<(), CodecError> {
    let escapes = Escapes::of_requests(form, server);
    let start = out.len();
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodCall><methodName>");
    let written = push_escaped(out, &request.method, escapes)
        .map_err(|unsayable| CodecError::Unsayable { what: "the method".into(), why: unsayable.why() })
        .and_then(|()| {
            out.extend_from_slice(b"</methodName><params>");
            match form {
                Form::Native => push_native(out, &request.params, server, escapes),
                form => push_strings(out, &request.params, form, server, escapes),
            }
        });
    match written {
        Ok(()) => out.extend_from_slice(b"</params></methodCall>"),
        Err(_) => out.truncate(start),
    }
    written
}

/// What a document says, as far as it was read.
#[derive(Default)]
struct Reader {
    method: Str,
    items: Vec<Item>,
    values: ValueReader,
}

impl Reader {
    fn read(&mut self, source: &Source<'_>) -> Result<(), CodecError> {
        let mut document = Document::new(source, true);
        document.open(Element::MethodCall, "<methodCall>")?;
        document.open(Element::MethodName, "<methodName>")?;
        let mut method = Vec::new();
        document.text(&mut method)?;
        self.method = method.into();
        match document.tag()? {
            Tag::Open(Element::Params) => {
                while let Tag::Open(element) = document.tag()? {
                    if element != Element::Param {
                        return Err(document.unexpected("<param>"));
                    }
                    document.open(Element::Value, "<value>")?;
                    self.items.push(self.values.value(&mut document)?);
                    document.close()?;
                }
                document.close()?;
            }
            Tag::Close => {}
            _ => return Err(document.unexpected("<params> or the end of <methodCall>")),
        }
        self.values.check_depth()?;
        match document.tag()? {
            Tag::End => Ok(()),
            _ => Err(document.unexpected("the end of the document")),
        }
    }
}

/// What a form takes as a version has it.
#[derive(Clone, Copy)]
struct Rules {
    form: Form,
    dialect: Dialect,
}

impl Rules {
    /// Whether the library xmlrpc-c reads requests.
    fn is_of_xmlrpc_c(self) -> bool {
        matches!(self.form, Form::String | Form::Array)
    }

    fn know_multicall(self) -> bool {
        !self.dialect.is_emulated() || self.is_of_xmlrpc_c()
    }

    /// Whether the types of these values are known.
    fn take(self, values: &ValueReader) -> bool {
        !self.dialect.is_emulated()
            || self.is_of_xmlrpc_c()
            || !(values.kinds.has(Kinds::UNTYPED) || values.kinds.has(Kinds::RARE))
    }

    /// The parameters that these values are.
    fn params(self, items: Vec<Item>) -> Option<Params> {
        if items.is_empty() {
            return Some(Params::None);
        }
        let is_scalar = |item: &Item| !matches!(item, Item::Null | Item::Array(_) | Item::Object(_));
        let are_strings = self.form != Form::Native && items.iter().all(is_scalar);
        if are_strings {
            if self.dialect.is_emulated() && !self.is_of_xmlrpc_c() && !items.iter().all(is_filled) {
                return None;
            }
            let mut params = text::as_strings(&Params::Positional(items)).ok()?;
            if self.decode_twice() {
                for param in &mut params {
                    param.value = decode_again(std::mem::take(&mut param.value).into_bytes()).into();
                }
            }
            return Some(Params::Strings(params));
        }
        if self.dialect.is_emulated() {
            return if self.form == Form::Native { native(items) } else { None };
        }
        Some(named_or_positional(items))
    }

    fn decode_twice(self) -> bool {
        self.dialect >= Dialect::V2_4 && self.dialect.is_emulated()
    }
}

/// The parameters of 3.x and 4.x.
fn native(items: Vec<Item>) -> Option<Params> {
    let mut params = named_or_positional(items);
    let understood = match &mut params {
        Params::Positional(items) => items.iter_mut().all(decode_native),
        Params::Named(members) => members.iter_mut().all(|(_, item)| decode_native(item)),
        // A struct without members is refused.
        _ => false,
    };
    understood.then_some(params)
}

/// Whether the originals take this value, which they decode twice.
fn decode_native(item: &mut Item) -> bool {
    match item {
        Item::Int(_) => true,
        Item::Str(text) if text.is_empty() => false,
        Item::Str(text) => {
            *text = decode_again(std::mem::take(text).into_bytes()).into();
            true
        }
        Item::Array(items) => items.iter_mut().all(decode_native),
        _ => false,
    }
}

fn is_filled(item: &Item) -> bool {
    item.as_str().is_some_and(|text| !text.is_empty())
}

fn named_or_positional(mut items: Vec<Item>) -> Params {
    match items.as_mut_slice() {
        [Item::Object(members)] if members.is_empty() => Params::None,
        [Item::Object(members)] => Params::Named(std::mem::take(members)),
        _ => Params::Positional(items),
    }
}

/// The requests of a `system.multicall`, if it has the one list that it wants.
fn calls_of(items: Vec<Item>, rules: Rules) -> Option<Vec<Result<Request, RequestError>>> {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Array(calls)]) => Some(calls.into_iter().map(|call| call_of(call, rules)).collect()),
        _ => None,
    }
}

fn call_of(call: Item, rules: Rules) -> Result<Request, RequestError> {
    let (mut method, mut items) = (Str::default(), Some(Vec::new()));
    let Item::Object(members) = call else {
        return Err(RequestError { failure: Failure::InvalidRequest, method });
    };
    for (name, member) in members {
        match (&*name, member) {
            (b"methodName", Item::Str(text)) => method = text,
            (b"params", Item::Array(list)) => items = Some(list),
            (b"params", _) => items = None,
            _ => {}
        }
    }
    let is_one = !method.is_empty() && *method != *MULTICALL;
    match items.filter(|_| is_one).and_then(|items| rules.params(items)) {
        Some(params) => Ok(Request { method, params }),
        None => Err(RequestError { failure: Failure::InvalidRequest, method }),
    }
}

/// A parameter as it is sent.
struct Given<'a> {
    /// Where it stands among all, from 1.
    position: usize,
    /// Empty when it has none.
    name: &'a [u8],
    item: Cow<'a, Item>,
}

impl Given<'_> {
    fn unsayable(&self, why: &'static str) -> CodecError {
        CodecError::unsayable_param(self.position, why)
    }
}

/// The parameters without those that are left out: nulls by name or at the end.
fn given(params: &Params) -> Vec<Given<'_>> {
    let given = |place: usize, name, item| Given { position: place + 1, name, item };
    match params {
        Params::None => Vec::new(),
        Params::Positional(items) => {
            let len = items.iter().rposition(|item| *item != Item::Null).map_or(0, |last| last + 1);
            items[..len].iter().enumerate().map(|(place, item)| given(place, b"", Cow::Borrowed(item))).collect()
        }
        Params::Named(members) => {
            let said = members.iter().enumerate().filter(|(_, (_, item))| *item != Item::Null);
            said.map(|(place, (name, item))| given(place, name, Cow::Borrowed(item))).collect()
        }
        Params::Strings(params) => {
            let item = |param: &Param| Cow::Owned(Item::Str(param.value.clone()));
            params.iter().enumerate().map(|(place, param)| given(place, &param.name, item(param))).collect()
        }
    }
}

fn push_native(out: &mut Vec<u8>, params: &Params, server: Dialect, escapes: Escapes) -> Result<(), CodecError> {
    let mut given = given(params);
    for param in &mut given {
        match as_taken(&param.item, server) {
            Ok(Cow::Owned(item)) => param.item = Cow::Owned(item),
            Ok(Cow::Borrowed(_)) => {}
            Err(why) => return Err(param.unsayable(why)),
        }
    }
    let by_name = given.iter().any(|param| !param.name.is_empty());
    if let Some(param) = given.iter().find(|param| by_name && param.name.is_empty()) {
        return Err(param.unsayable("it has no name, and others have one"));
    }
    if let ([param], false) = (given.as_slice(), by_name)
        && matches!(*param.item, Item::Object(_))
    {
        return Err(param.unsayable("an object alone is read as parameters by name"));
    }
    out.extend_from_slice(if by_name { b"<param><value><struct>" } else { b"" });
    for param in &given {
        let pushed = if by_name {
            push_member(out, param.name, &param.item, escapes)
        } else {
            out.extend_from_slice(b"<param>");
            push_value(out, &param.item, escapes).map(|()| out.extend_from_slice(b"</param>"))
        };
        pushed.map_err(|unsayable| param.unsayable(unsayable.why()))?;
    }
    out.extend_from_slice(if by_name { b"</struct></value></param>" } else { b"" });
    Ok(())
}

/// A value as the server takes it.
fn as_taken(item: &Item, server: Dialect) -> Result<Cow<'_, Item>, &'static str> {
    if !server.is_emulated() {
        return Ok(Cow::Borrowed(item));
    }
    match item {
        Item::Null => Err("the server knows no null"),
        Item::Object(_) => Err("the server takes no object"),
        Item::Str(text) if text.is_empty() => Err("it is empty, which the server does not take"),
        Item::Str(text) if std::str::from_utf8(text).is_err() => Err(Unsayable::Bytes.why()),
        Item::Bool(value) => Ok(Cow::Owned(Item::Int(i64::from(*value)))),
        Item::Int(value) if i32::try_from(*value).is_err() => Ok(Cow::Owned(printed(push_int, *value))),
        Item::UInt(value) => Ok(Cow::Owned(printed(push_int, *value))),
        Item::Float(value) if value.is_finite() => Ok(Cow::Owned(printed(push_float, *value))),
        Item::Float(_) => Err("it is no finite number"),
        Item::Array(items) => {
            let items = items.iter().map(|item| as_taken(item, server).map(Cow::into_owned));
            items.collect::<Result<_, _>>().map(|items| Cow::Owned(Item::Array(items)))
        }
        Item::Str(_) | Item::Int(_) => Ok(Cow::Borrowed(item)),
    }
}

fn printed<T>(push: fn(&mut Vec<u8>, T), value: T) -> Item {
    let mut digits = Vec::new();
    push(&mut digits, value);
    Item::Str(digits.into())
}

fn push_strings(
    out: &mut Vec<u8>,
    params: &Params,
    form: Form,
    server: Dialect,
    escapes: Escapes,
) -> Result<(), CodecError> {
    let takes_empty = !server.is_emulated() || matches!(form, Form::String | Form::Array);
    for (place, param) in text::as_strings(params)?.iter().enumerate() {
        if param.value.is_empty() && !takes_empty {
            return Err(CodecError::unsayable_param(place + 1, "it is empty, which the server does not take"));
        }
        out.extend_from_slice(b"<param><value><string>");
        push_escaped(out, &param.value, escapes)
            .map_err(|unsayable| CodecError::unsayable_param(place + 1, unsayable.why()))?;
        out.extend_from_slice(b"</string></value></param>");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn what_a_server_does_not_take_is_said_otherwise_or_refused() {
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
    fn what_is_no_request_is_told_from_what_is_no_xml() {
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
        fn what_is_sent_to_sipmi_arrives_as_it_was(mut items in proptest::collection::vec(items(), 1..4)) {
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
}
