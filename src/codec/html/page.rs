//! A page while it is written.

use super::{Described, Frame, Style};
use crate::codec::{json, push_float, push_int};
use crate::convert::{TooDeep, item_to_tree};
use crate::dialect::Dialect;
use crate::item::{Item, MAX_DEPTH};
use crate::response::{Body, Response};
use crate::tree::{NodeId, Tree, Value};

/// Appends text, escaped for an element and a quoted attribute. Bytes that are not UTF-8 become U+FFFD, control bytes
/// their pictures.
pub fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for character in String::from_utf8_lossy(bytes).chars() {
        let replacement: &[u8] = match character {
            '&' => b"&amp;",
            '<' => b"&lt;",
            '>' => b"&gt;",
            '"' => b"&quot;",
            '\'' => b"&#39;",
            '\t' | '\n' | '\r' => &[character as u8],
            '\0'..='\x1f' => &utf8(char::from_u32(0x2400 + character as u32)),
            '\x7f' => "\u{2421}".as_bytes(),
            _ => {
                let mut buffer = [0; 4];
                out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                continue;
            }
        };
        out.extend_from_slice(replacement);
    }
}

fn utf8(character: Option<char>) -> Vec<u8> {
    character.unwrap_or(char::REPLACEMENT_CHARACTER).to_string().into_bytes()
}

/// A page while it is written.
pub(super) struct Page(pub(super) Vec<u8>);

impl Page {
    pub(super) fn begin(frame: &Frame, path: &[&[u8]], title: &[u8]) -> Page {
        let mut page = Page(Vec::with_capacity(2048));
        page.push(b"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.push(b"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
        page.text(title);
        page.push(b" - ");
        page.text(frame.server.as_bytes());
        page.push(b"</title>\n");
        if !frame.stylesheet.is_empty() {
            page.push(b"<link rel=\"stylesheet\" href=\"");
            page.text(frame.stylesheet.as_bytes());
            page.push(b"\">\n");
        }
        page.push(b"</head>\n<body class=\"plain\">\n<header>\n<p>");
        page.text(frame.server.as_bytes());
        page.push(b" is running since <i>");
        page.text(frame.since.as_bytes());
        page.push(b"</i></p>\n<nav aria-label=\"Path\"><p>");
        page.link(frame, &[], b"modules");
        for depth in 1..=path.len() {
            page.push(b" / ");
            page.link(frame, &path[..depth], path[depth - 1]);
        }
        page.push(b"</p></nav>\n</header>\n<main>\n<h1>");
        page.text(title);
        page.push(b"</h1>\n");
        page
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.push(b"</main>\n</body>\n</html>\n");
        self.0
    }

    pub(super) fn push(&mut self, markup: &[u8]) {
        self.0.extend_from_slice(markup);
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        push_escaped(&mut self.0, text);
    }

    /// A link to a page this far below the root.
    pub(super) fn link(&mut self, frame: &Frame, path: &[&[u8]], label: &[u8]) {
        self.push(b"<a href=\"");
        self.address(frame, path);
        self.push(b"\">");
        self.text(label);
        self.push(b"</a>");
    }

    pub(super) fn address(&mut self, frame: &Frame, path: &[&[u8]]) {
        // Nothing below the root would be the root's own path, which may be the console's.
        self.text(frame.root.as_bytes());
        if path.is_empty() {
            self.push(b"/");
        }
        for segment in path {
            self.push(b"/");
            for byte in *segment {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => self.0.push(*byte),
                    _ => self.push(format!("%{byte:02X}").as_bytes()),
                }
            }
        }
    }

    pub(super) fn form(&mut self, frame: &Frame, command: &Described, style: Style, arg: &[u8]) {
        self.push(b"<form method=\"");
        self.push(if command.read_only { b"get" } else { b"post" });
        self.push(b"\" action=\"");
        self.address(frame, &[&command.module, &command.name]);
        self.push(b"\">\n");
        let parameters = command.parameters.clone().unwrap_or_else(|| "any".into());
        if parameters.is_empty() {
            self.push(b"<p>Takes no parameters.</p>\n<p><input type=\"hidden\" name=\"arg\" value=\"");
            self.text(arg);
            self.push(b"\">");
        } else {
            self.push(b"<p id=\"parameters\">Parameters: <code>");
            self.text(&parameters);
            self.push(b"</code>");
            self.push(match style {
                _ if frame.takes_both => b", as words with blanks between them, or as a JSON array or object.</p>\n",
                Style::Words => b", as words with blanks between them.</p>\n",
                Style::Json => b", as a JSON array or object.</p>\n",
            });
            self.push(b"<p><label for=\"arg\">Parameters</label>\n<input type=\"text\" id=\"arg\" name=\"arg\" ");
            self.push(
                b"size=\"60\" autocomplete=\"off\" spellcheck=\"false\" aria-describedby=\"parameters\" value=\"",
            );
            self.text(arg);
            self.push(b"\">\n");
        }
        self.push(if command.read_only {
            b"<input type=\"submit\" value=\"Run\"></p>\n</form>\n"
        } else {
            b"<input type=\"submit\" value=\"Run, which changes the server\"></p>\n</form>\n"
        });
    }

    /// `200 : OK`, and a line a node.
    pub(super) fn reply_lines(&mut self, response: &Response, dialect: Dialect) -> Result<(), TooDeep> {
        self.push(b"<p>");
        push_int(&mut self.0, i64::from(response.code));
        self.push(b" : ");
        self.text(&response.reason);
        self.push(b"</p>\n");
        self.lines(response, dialect)
    }

    pub(super) fn lines(&mut self, response: &Response, dialect: Dialect) -> Result<(), TooDeep> {
        self.push(b"<pre>");
        match &response.body {
            Body::Empty => {}
            Body::Item(item) => self.nodes(&item_to_tree(item), dialect)?,
            Body::Json(text) => self.nodes(&item_to_tree(&json::parse(text).map_err(|_| TooDeep)?), dialect)?,
            Body::Tree(tree) => self.nodes(tree, dialect)?,
        }
        self.push(b"</pre>\n");
        Ok(())
    }

    /// A line a node: `name:: value attr=v`, a TAB a level, a nameless one as `:: value`, one without value as its
    /// name. Lines end in `<br/>` in 1.x and 2.x, where values may hold newlines.
    pub(super) fn nodes(&mut self, tree: &Tree, dialect: Dialect) -> Result<(), TooDeep> {
        for (level, node) in tree.walk() {
            if level >= MAX_DEPTH {
                return Err(TooDeep);
            }
            self.0.resize(self.0.len() + level, b'\t');
            self.node(tree, node);
            self.push(if dialect.is_emulated() { b"<br/>" } else { b"\n" });
        }
        Ok(())
    }

    pub(super) fn node(&mut self, tree: &Tree, node: NodeId) {
        self.text(tree.name(node));
        if !matches!(tree.value(node), Value::None | Value::Str(b"") | Value::Bytes(b"")) {
            self.push(b":: ");
            self.value(tree.value(node));
        }
        for (name, value) in tree.attrs(node) {
            self.push(b" ");
            self.text(name);
            self.push(b"=");
            self.value(value);
        }
    }

    pub(super) fn value(&mut self, value: Value<'_>) {
        match value {
            Value::None => {}
            Value::Bool(value) => push_int(&mut self.0, i64::from(value)),
            Value::Int(value) => push_int(&mut self.0, value),
            Value::UInt(value) => push_int(&mut self.0, value),
            Value::Float(value) => push_float(&mut self.0, value),
            Value::Str(bytes) | Value::Bytes(bytes) => self.text(bytes),
        }
    }

    pub(super) fn reply_json(&mut self, answer: &Item) {
        let mut written = Vec::new();
        json::write_pretty(&mut written, answer);
        self.push(b"<pre>");
        self.text(&written);
        self.push(b"</pre>\n");
    }
}
