//! Events as their subscribers get them (`evi`): the text of 1.x and 2.x, the JSON-RPC of 3.x and 4.x, both ways.
//!
//! Text is a name and one `name::value` a line, with an empty line last. Only a value with a newline is quoted, and
//! only in it is `\"` a quote; a backslash is never escaped. So a few texts can be read in two ways. This reader
//! takes for quoted what begins with `"` and ends, beyond a newline, with a `"` that ends its line; the first such
//! quote that no backslash precedes, or else the first of all.

use super::json::{self, Scan, Scanner};
use super::{CodecError, is_blank, push_float, push_int};
use crate::item::{Item, Str};
use crate::request::Params;

/// The largest event that is read from a stream: far more than a datagram could carry.
pub const LARGEST_EVENT: usize = 1 << 20;

/// An event and its parameters.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Event {
    /// `E_UL_AOR_INSERT`.
    pub name: Str,
    /// By name as a rule; by position when it was raised so.
    pub params: Params,
}

impl Event {
    /// An event with the parameters that a value says: an object by name, a list by position, null none. `None` for
    /// any other value.
    pub fn with(name: impl Into<Str>, params: Item) -> Option<Event> {
        let params = match params {
            Item::Null => Params::None,
            Item::Array(items) => Params::Positional(items),
            Item::Object(members) => Params::Named(members),
            _ => return None,
        };
        Some(Event { name: name.into(), params })
    }
}

/// How an event is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The lines of 1.x and 2.x.
    Text,
    /// The JSON-RPC notification of 3.x and 4.x, or the request when it wants a reply.
    Json,
}

impl Form {
    /// `text`, `jsonrpc`.
    pub const fn name(self) -> &'static str {
        match self {
            Form::Text => "text",
            Form::Json => "jsonrpc",
        }
    }
}

/// An event as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The decoded event.
    pub event: Event,
    /// How it was written.
    pub form: Form,
    /// The id that a reply must carry; `None` when the sender wants no reply.
    pub id: Option<Item>,
}

/// Appends an event as 1.x and 2.x send it.
pub fn encode_text(out: &mut Vec<u8>, event: &Event) {
    out.extend_from_slice(&event.name);
    out.push(b'\n');
    match &event.params {
        Params::None => {}
        Params::Positional(items) => items.iter().for_each(|item| push_line(out, b"", item)),
        Params::Named(members) => members.iter().for_each(|(name, item)| push_line(out, name, item)),
        Params::Strings(params) => {
            for param in params {
                push_line(out, &param.name, &Item::Str(param.value.clone()));
            }
        }
    }
    out.push(b'\n');
}

/// Appends an event as 3.x and 4.x send it. `method` is the event's name unless the subscriber wants another; with an
/// `id` it is a request, which wants a reply.
pub fn encode_json(out: &mut Vec<u8>, method: &[u8], params: &Params, id: Option<i64>) {
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        push_int(out, id);
        out.push(b',');
    }
    out.extend_from_slice(b"\"jsonrpc\":\"2.0\",\"method\":");
    json::write_string(out, method);
    match params {
        _ if params.is_empty() => {}
        Params::None => {}
        Params::Positional(items) => push_params(out, &Item::Array(items.clone())),
        Params::Named(members) => push_params(out, &Item::Object(members.clone())),
        Params::Strings(params) => {
            let member = |param: &crate::request::Param| (param.name.clone(), Item::Str(param.value.clone()));
            push_params(out, &Item::Object(params.iter().map(member).collect()));
        }
    }
    out.push(b'}');
}

/// Reads one event, in the form that its first byte says.
pub fn decode(bytes: &[u8]) -> Result<Received, CodecError> {
    match bytes.iter().find(|byte| !is_blank(**byte)) {
        Some(b'{') => decode_json(bytes),
        _ => decode_text(bytes),
    }
}

/// Appends a subscriber's reply to an event with an `id`.
pub fn encode_reply(out: &mut Vec<u8>, id: &Item) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"result\":\"OK\",\"id\":");
    json::write(out, id);
    out.push(b'}');
}

/// Reads a subscriber's reply: the event, and whether the subscriber accepted it.
pub fn decode_reply(bytes: &[u8]) -> Result<(Item, bool), CodecError> {
    let reply = json::parse(bytes)?;
    let id = reply.get("id").cloned().ok_or_else(|| CodecError::unexpected("a reply with an id", bytes, 0))?;
    Ok((id, reply.get("error").is_none()))
}

/// JSON values back to back, in bytes that come in pieces.
#[derive(Default)]
pub struct Stream {
    bytes: Vec<u8>,
    /// Where the value that is not complete yet begins.
    start: usize,
    /// How much of it the scanner has seen.
    seen: usize,
    scanner: Scanner,
}

impl Stream {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next value that is complete. After an error nothing more can be read.
    pub fn next_value(&mut self) -> Result<Option<Vec<u8>>, CodecError> {
        if self.seen == 0 {
            let blanks = self.bytes[self.start..].iter().take_while(|byte| is_blank(**byte)).count();
            self.start += blanks;
        }
        let value = &self.bytes[self.start..];
        match self.scanner.feed(&value[self.seen..]) {
            Scan::Complete(end) => {
                let value = value[..end].to_vec();
                self.start += end;
                (self.seen, self.scanner) = (0, Scanner::new());
                Ok(Some(value))
            }
            Scan::Invalid(offset) => Err(CodecError::unexpected("a JSON value", value, offset)),
            Scan::NeedMore if value.len() > LARGEST_EVENT => {
                Err(CodecError::Truncated { what: "an event over the limit of 1 MiB", size: value.len() })
            }
            Scan::NeedMore => {
                self.seen = value.len();
                self.bytes.drain(..self.start);
                self.start = 0;
                Ok(None)
            }
        }
    }
}

fn push_params(out: &mut Vec<u8>, params: &Item) {
    out.extend_from_slice(b",\"params\":");
    json::write(out, params);
}

fn push_line(out: &mut Vec<u8>, name: &[u8], item: &Item) {
    if !name.is_empty() {
        out.extend_from_slice(name);
        out.extend_from_slice(b"::");
    }
    match item {
        Item::Null => {}
        Item::Bool(flag) => out.push(if *flag { b'1' } else { b'0' }),
        Item::Int(value) => push_int(out, *value),
        Item::UInt(value) => push_int(out, *value),
        Item::Float(value) => push_float(out, *value),
        Item::Str(text) => push_value(out, text),
        Item::Array(_) | Item::Object(_) => json::write(out, item),
    }
    out.push(b'\n');
}

fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    if memchr::memchr(b'\n', value).is_none() {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    for &byte in value {
        if byte == b'"' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn decode_json(bytes: &[u8]) -> Result<Received, CodecError> {
    let Item::Object(mut members) = json::parse(bytes)? else {
        return Err(CodecError::unexpected("a JSON object", bytes, 0));
    };
    // Of a name that occurs twice, the first counts.
    let mut take = |name: &str| {
        let place = members.iter().position(|(key, _)| *key == name)?;
        Some(std::mem::take(&mut members[place].1))
    };
    let Some(Item::Str(name)) = take("method") else {
        return Err(CodecError::unexpected("an event: an object with a string `method`", bytes, 0));
    };
    let params = match take("params") {
        None | Some(Item::Null) => Params::None,
        Some(Item::Array(items)) => Params::Positional(items),
        Some(Item::Object(members)) => Params::Named(members),
        Some(_) => return Err(CodecError::unexpected("`params` that are an object or an array", bytes, 0)),
    };
    let id = take("id").filter(|id| *id != Item::Null);
    Ok(Received { event: Event { name, params }, form: Form::Json, id })
}

fn decode_text(bytes: &[u8]) -> Result<Received, CodecError> {
    let end = line_end(bytes, 0)?;
    let name = Str::from(&bytes[..end]);
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return Err(CodecError::unexpected("an event's name on a line of its own", bytes, 0));
    }
    let mut members = Vec::new();
    let mut at = end + 1;
    while line_end(bytes, at)? > at {
        let line = &bytes[at..line_end(bytes, at)?];
        let colons = line.windows(2).position(|pair| pair == b"::");
        let value = colons.map_or(at, |place| at + place + 2);
        let name = colons.map_or_else(Str::default, |place| line[..place].into());
        if let Some(quote) = quoted_end(bytes, value) {
            members.push((name, Item::Str(unescape(&bytes[value + 1..quote]))));
            at = quote + 2;
        } else {
            members.push((name, Item::Str(bytes[value..at + line.len()].into())));
            at += line.len() + 1;
        }
    }
    let params = if members.is_empty() { Params::None } else { Params::Named(members) };
    Ok(Received { event: Event { name, params }, form: Form::Text, id: None })
}

/// Where the line that begins at `start` ends. Each has an end, or the event was cut.
fn line_end(bytes: &[u8], start: usize) -> Result<usize, CodecError> {
    let rest = bytes.get(start..).unwrap_or_default();
    memchr::memchr(b'\n', rest)
        .map(|place| start + place)
        .ok_or(CodecError::Truncated { what: "an event without its last empty line", size: bytes.len() })
}

/// Where the quote is that ends the quoted value at `start`; none when it is not quoted.
fn quoted_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..).filter(|rest| rest.first() == Some(&b'"'))?;
    let newline = memchr::memchr(b'\n', rest)?;
    let mut fallback = None;
    for place in memchr::memchr_iter(b'"', &rest[1..]).map(|place| place + 1) {
        let may_end = place > newline && rest.get(place + 1) == Some(&b'\n');
        match (rest[place - 1] == b'\\', may_end) {
            (false, true) => return Some(start + place),
            // Quotes within a quoted value are always escaped: this one is not within one.
            (false, false) => break,
            (true, true) => fallback = fallback.or(Some(start + place)),
            (true, false) => {}
        }
    }
    fallback
}

fn unescape(quoted: &[u8]) -> Str {
    let mut value = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter().peekable();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' || bytes.peek() != Some(&&b'"') {
            value.push(byte);
        }
    }
    value.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(members: &[(&str, Item)]) -> Event {
        let members = members.iter().map(|(name, item)| ((*name).into(), item.clone())).collect();
        Event { name: "E_X".into(), params: Params::Named(members) }
    }

    fn text_of(event: &Event) -> String {
        let mut out = Vec::new();
        encode_text(&mut out, event);
        String::from_utf8(out).expect("it is text")
    }

    fn json_of(event: &Event, id: Option<i64>) -> String {
        let mut out = Vec::new();
        encode_json(&mut out, &event.name, &event.params, id);
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn text_has_a_line_a_parameter_and_an_empty_line_last() {
        let event = named(&[
            ("a", "x".into()),
            ("n", Item::Int(5)),
            ("none", Item::Null),
            ("flag", true.into()),
            ("list", vec![1i64, 2].into()),
            ("q", "say \"hi\"".into()),
            ("lines", "one \"1\"\n\ntwo".into()),
        ]);
        let expected =
            "E_X\na::x\nn::5\nnone::\nflag::1\nlist::[1,2]\nq::say \"hi\"\nlines::\"one \\\"1\\\"\n\ntwo\"\n\n";
        assert_eq!(text_of(&event), expected);
        assert_eq!(text_of(&Event { name: "E_X".into(), params: Params::None }), "E_X\n\n");
        let unnamed = Event { name: "E_X".into(), params: Params::Positional(vec![3i64.into(), "b".into()]) };
        assert_eq!(text_of(&unnamed), "E_X\n3\nb\n\n");
    }

    #[test]
    fn json_omits_missing_members_and_puts_an_id_first() {
        assert_eq!(json_of(&named(&[]), None), r#"{"jsonrpc":"2.0","method":"E_X"}"#);
        let one = named(&[("a", Item::Null)]);
        assert_eq!(json_of(&one, Some(7)), r#"{"id":7,"jsonrpc":"2.0","method":"E_X","params":{"a":null}}"#);
        let unnamed = named(&[("", 1i64.into()), ("", 2i64.into())]);
        assert_eq!(json_of(&unnamed, None), r#"{"jsonrpc":"2.0","method":"E_X","params":{"":1,"":2}}"#);
        let list = Event { name: "E_X".into(), params: Params::Positional(vec![1i64.into()]) };
        assert_eq!(json_of(&list, None), r#"{"jsonrpc":"2.0","method":"E_X","params":[1]}"#);
    }

    #[test]
    fn json_is_read_back_with_types_and_id() {
        let event = named(&[("a", "x\n".into()), ("n", 5i64.into()), ("none", Item::Null)]);
        let received = decode(json_of(&event, Some(9)).as_bytes());
        assert_eq!(received, Ok(Received { event, form: Form::Json, id: Some(9i64.into()) }));
    }

    #[test]
    fn a_quoted_value_on_one_line_is_taken_literally() {
        for value in ["\"", "\"x\"", "\"x", "x\"", "\\\"", "a::b", "::"] {
            let event = named(&[("v", value.into()), ("w", "1".into())]);
            assert_eq!(decode(text_of(&event).as_bytes()).map(|received| received.event), Ok(event), "{value:?}");
        }
    }

    #[test]
    fn a_quoted_value_may_end_in_a_backslash_when_no_other_reading_fits() {
        let event = named(&[("v", "a\nb\\".into()), ("w", "1".into())]);
        assert_eq!(decode(text_of(&event).as_bytes()).map(|received| received.event), Ok(event));
    }

    #[test]
    fn a_malformed_event_is_an_error_with_the_expected_form() {
        for bad in ["", "E_X", "E_X\na::b\n", "\n", "not a name\n\n", "E_X\na::\"x\ny\n"] {
            let error = decode(bad.as_bytes()).expect_err(bad).to_string();
            assert!(error.contains("event"), "{bad:?}: {error}");
        }
        for bad in ["{", "{}", r#"{"method":1}"#, r#"{"method":"E","params":1}"#, r#"{"method":"E"}x"#] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn replies_name_the_event_and_say_whether_it_was_taken() {
        let mut reply = Vec::new();
        encode_reply(&mut reply, &5i64.into());
        assert_eq!(decode_reply(&reply), Ok((5i64.into(), true)));
        assert_eq!(decode_reply(br#"{"id":5,"error":{"code":1}}"#), Ok((5i64.into(), false)));
        assert!(decode_reply(b"{}").is_err());
    }

    #[test]
    fn a_stream_gives_values_however_they_are_cut_and_refuses_what_is_none() {
        let text = br#" {"a":1}{"b":"}"} [2] {"c""#;
        for size in 1..text.len() {
            let mut stream = Stream::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                stream.push(piece);
                while let Some(value) = stream.next_value().expect("they are values") {
                    found.push(String::from_utf8(value).expect("they are text"));
                }
            }
            assert_eq!(found, [r#"{"a":1}"#, r#"{"b":"}"}"#, "[2]"], "{size}");
        }
        let mut stream = Stream::default();
        stream.push(b"{]");
        assert!(stream.next_value().is_err());
    }

    #[test]
    fn a_stream_does_not_grow_without_bound() {
        let mut stream = Stream::default();
        stream.push(b"\"");
        stream.push(&vec![b'x'; LARGEST_EVENT]);
        assert!(matches!(stream.next_value(), Err(CodecError::Truncated { .. })));
    }

    /// Values that text can say in one way only: those with a newline hold no backslash.
    fn sayable() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z \"\\\\:]{0,12}", "[a-z \":\n]{0,12}"]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&[b"E_X\n", &bytes[..]].concat());
        }

        #[test]
        fn json_events_come_back(values in proptest::collection::vec(any::<String>(), 0..5)) {
            let members = values.iter().map(|value| (Str::from("k"), Item::from(value.as_str()))).collect::<Vec<_>>();
            let params = if members.is_empty() { Params::None } else { Params::Named(members) };
            let event = Event { name: "E_X".into(), params };
            prop_assert_eq!(decode(json_of(&event, None).as_bytes()).map(|received| received.event), Ok(event));
        }

        #[test]
        fn text_events_with_one_value_come_back(value in sayable()) {
            let event = named(&[("k", value.as_str().into())]);
            prop_assert_eq!(decode(text_of(&event).as_bytes()).map(|received| received.event), Ok(event));
        }
    }
}
