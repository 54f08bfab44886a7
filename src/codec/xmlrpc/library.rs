//! Requests that `mi_xmlrpc` of 1.x rejects, in the words of xmlrpc-c, the library that reads for it.

use super::document::{Document, Source, Tag};
use crate::dialect::Dialect;
use crate::response::Response;

use super::Form;

/// The library's error for a document that is no call.
const NO_CALL: &str = "Call XML not a proper XML-RPC call.  ";
/// The library's error for bytes that are no XML.
const NO_XML: &str = "Call is not valid XML.  Invalid XML \"content\".  ";
/// How much of a document is shown.
const SAMPLE: usize = 40;
/// The reader of values rejects documents that are nested deeper than this.
const MAX_NESTING: usize = 512;

/// The types that the library knows, by their numbers; `mi_xmlrpc` takes the scalars.
const TYPES: [(&str, u8); 12] = [
    ("int", 0),
    ("i4", 0),
    ("boolean", 1),
    ("double", 2),
    ("dateTime.iso8601", 3),
    ("string", 4),
    ("base64", 5),
    ("array", 6),
    ("struct", 7),
    ("nil", 9),
    ("i8", 10),
    ("ex:i8", 10),
];
const TAKEN: [u8; 5] = [0, 1, 2, 4, 5];

/// Why a request is refused where a version of 1.x is imitated whose library reads it; `None`: it is not.
pub fn refuse(body: &[u8], form: Form, dialect: Dialect) -> Option<Response> {
    if !dialect.is_1x() || !matches!(form, Form::String | Form::Array) {
        return None;
    }
    match refused_type(body) {
        Ok(None) => None,
        Ok(Some(number)) => Some(Response::error(-501, format!("Unsupported value of type {number} supplied"))),
        Err(why) if why.is_empty() => None,
        Err(why) => Some(Response::error(-503, [NO_CALL.as_bytes(), &why].concat())),
    }
}

/// An element with its content.
#[derive(Default)]
struct Tree<'s> {
    name: &'s str,
    text: Vec<u8>,
    children: Vec<Tree<'s>>,
}

/// The reason for a rejection; empty where the reader of values gives the reason.
type Why = Vec<u8>;

/// The number of the first type that is not taken.
fn refused_type(body: &[u8]) -> Result<Option<u8>, Why> {
    if let Some(at) = body.iter().position(|byte| *byte < 0x20 && !b"\t\r\n".contains(byte)) {
        return Err(invalid_token(body, at));
    }
    let source = Source::new(body).map_err(|_| Why::new())?;
    let root = read(&source, body)?;
    if root.name != "methodCall" {
        let found = root.name;
        return Err(
            format!("XML-RPC call should be a <methodCall> element.  Instead, we have a <{found}> element.").into()
        );
    }
    let method = root.child("methodName")?;
    if !method.children.is_empty() {
        let count = method.children.len();
        return Err(format!("A <methodName> element should not have children.  This one has {count} of them.").into());
    }
    check_text(&method.text)?;
    // The library itself provides the method that runs several calls.
    if root.children.len() < 2 || method.text == b"system.multicall" {
        return Ok(None);
    }
    let mut refused = None;
    for param in &root.child("params")?.children {
        param.expect_name("param")?;
        param.expect_children(1)?;
        let value = &param.children[0];
        value.expect_name("value")?;
        let number = number_of(value)?;
        refused = refused.or(Some(number).filter(|number| !TAKEN.contains(number)));
    }
    if root.children.len() > 2 {
        let count = root.children.len();
        let what = "<methodCall> has extraneous children, other than <methodName> and <params>.  Total child count";
        return Err(format!("{what} = {count}").into());
    }
    Ok(refused)
}

/// The number of the type of a value. Without a type it is a string.
fn number_of(value: &Tree<'_>) -> Result<u8, Why> {
    let Some(typed) = value.children.first() else {
        check_text(&value.text)?;
        return Ok(4);
    };
    let known = TYPES.iter().find(|(name, _)| *name == typed.name);
    let Some((name, number)) = known else {
        return Err(format!("Unknown value type -- XML element is named <{}>", typed.name).into());
    };
    if *name == "string" {
        check_text(&typed.text)?;
    }
    Ok(*number)
}

/// The library takes characters of three bytes at most.
fn check_text(text: &[u8]) -> Result<(), Why> {
    let Some(first) = text.iter().find(|byte| **byte >= 0xf0) else { return Ok(()) };
    let size = text.len();
    // It prints the byte as the negative number that a char is.
    Err(format!(
        "{size}-byte supposed UTF-8 string is not valid UTF-8.  UTF-8 string contains a character not in the Basic \
         Multilingual Plane (first byte 0xffffff{first:x})"
    )
    .into())
}

impl Tree<'_> {
    fn child(&self, name: &str) -> Result<&Self, Why> {
        let found = self.children.iter().find(|child| child.name == name);
        found.ok_or_else(|| format!("Expected <{}> to have child <{name}>", self.name).into())
    }

    fn expect_name(&self, name: &str) -> Result<(), Why> {
        if self.name == name {
            return Ok(());
        }
        Err(format!("Expected element of type <{name}>, found <{}>", self.name).into())
    }

    fn expect_children(&self, count: usize) -> Result<(), Why> {
        if self.children.len() == count {
            return Ok(());
        }
        Err(format!("Expected <{}> to have {count} children, found {}", self.name, self.children.len()).into())
    }
}

/// The root of a document.
fn read<'s>(source: &'s Source<'_>, body: &[u8]) -> Result<Tree<'s>, Why> {
    let mut document = Document::new(source, true);
    let mut open = vec![Tree::default()];
    let mut text = Vec::new();
    loop {
        let tag = document.text_and_tag(&mut text).map_err(|error| match error {
            crate::codec::CodecError::Truncated { .. } => at_token(b"", "no element found"),
            _ => at_token(&body[document.offset().min(body.len())..], "mismatched tag"),
        })?;
        let level = open.len();
        let inside = open.last_mut().ok_or_else(Why::new)?;
        inside.text.append(&mut text);
        match tag {
            Tag::Open(_) if level > MAX_NESTING => return Err(Why::new()),
            Tag::Open(_) => open.push(Tree { name: document.name(), ..Tree::default() }),
            Tag::Close => {
                let closed = open.pop().ok_or_else(Why::new)?;
                open.last_mut().ok_or_else(Why::new)?.children.push(closed);
            }
            Tag::End => return inside.children.pop().ok_or_else(|| at_token(b"", "no element found")),
        }
    }
}

/// Returns the error for a byte that may not stand in a document. A tag is a token, and so is the text up to there.
fn invalid_token(body: &[u8], at: usize) -> Why {
    let tag = body[..at].iter().rposition(|byte| matches!(byte, b'<' | b'>')).filter(|tag| body[*tag] == b'<');
    let start = tag.unwrap_or(at);
    at_token(&body[start..], &format!("Invalid token, starting {} bytes in", at - start))
}

fn at_token(rest: &[u8], what: &str) -> Why {
    let mut why = [NO_XML, "Problem with token at '"].concat().into_bytes();
    for byte in rest.iter().take(SAMPLE) {
        match byte {
            b' '..=b'~' => why.push(*byte),
            _ => why.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    why.extend_from_slice(format!("...': {what}").as_bytes());
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(call: &str) -> String {
        let body = ["<?xml version=\"1.0\"?>", call].concat();
        let refused = refuse(body.as_bytes(), Form::String, Dialect::V1_11);
        refused.map_or(String::new(), |response| format!("{} {}", response.code, response.reason))
    }

    fn with_value(value: &str) -> String {
        said(&format!(
            "<methodCall><methodName>x</methodName><params><param><value>{value}</value></param></params></methodCall>"
        ))
    }

    #[test]
    fn only_1_11_has_the_library() {
        assert!(refuse(b"<a/>", Form::String, Dialect::Sipmi).is_none());
        assert!(refuse(b"<a/>", Form::Ng, Dialect::V1_11).is_none());
        assert!(refuse(b"<a/>", Form::Array, Dialect::V1_11).is_some());
    }

    #[test]
    fn missing_or_different_members_are_named() {
        let no_call = |why: &str| format!("-503 {NO_CALL}{why}");
        let root = "XML-RPC call should be a <methodCall> element.  Instead, we have a <call> element.";
        assert_eq!(said("<call/>"), no_call(root));
        assert_eq!(said("<methodCall/>"), no_call("Expected <methodCall> to have child <methodName>"));
        let other = "<methodCall><methodName>x</methodName><p/></methodCall>";
        assert_eq!(said(other), no_call("Expected <methodCall> to have child <params>"));
        let empty = "<methodCall><methodName>x</methodName><params><param/></params></methodCall>";
        assert_eq!(said(empty), no_call("Expected <param> to have 1 children, found 0"));
        assert_eq!(with_value("<x/>"), no_call("Unknown value type -- XML element is named <x>"));
    }

    #[test]
    fn types_are_numbered() {
        for (value, number) in [
            ("<array><data/></array>", 6),
            ("<struct/>", 7),
            ("<nil/>", 9),
            ("<dateTime.iso8601>20260101T00:00:00</dateTime.iso8601>", 3),
        ] {
            assert_eq!(with_value(value), format!("-501 Unsupported value of type {number} supplied"));
        }
        for value in ["<int>1</int>", "<string>a</string>", "plain", ""] {
            assert_eq!(with_value(value), "", "{value}");
        }
    }

    #[test]
    fn a_broken_token_is_shown_and_a_long_character_counted() {
        assert!(
            with_value("a\u{1}b")
                .contains("Problem with token at '\\x01b</value></param></params></methodCall>...': ")
        );
        assert!(with_value("a\u{1}b").ends_with("Invalid token, starting 0 bytes in"));
        assert!(with_value("ab\u{1f600}").contains(" 6-byte supposed UTF-8 string "));
        assert!(with_value("\u{17e}").is_empty());
        assert!(with_value("<int>").ends_with("mismatched tag"));
        assert!(said("<methodCall>").ends_with("no element found"));
    }
}
