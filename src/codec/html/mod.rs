//! The pages of `mi_http` (1.x, 2.x) and `mi_html` (3.x, 4.x): what a URL asks, and forms and replies as HTML without
//! script.
//!
//! `ROOT` lists the modules, `ROOT/MODULE` the commands of one, `ROOT/MODULE/CMD` is a form with the one field `arg`,
//! and `ROOT/MODULE/CMD?arg=...` the reply. The originals wrote tables with markup of their time; what programs read
//! from them, paths, status codes and the reply between `<pre>` and `</pre>`, is kept.

mod original;

use super::{CodecError, answer_of, is_blank, json, push_float, push_int};
use crate::convert::{TooDeep, item_to_tree};
use crate::dialect::Dialect;
use crate::item::{Item, MAX_DEPTH, Str};
use crate::request::{Param, Params};
use crate::response::{Body, Failure, Response};
use crate::tree::{NodeId, Tree, Value};
pub use original::{Chosen, Menu};

/// What `mi_http` says of a path that leads nowhere.
pub const NO_SUCH_PATH: &[u8] = b"<html><body>Unable to parse URL!</body></html>";

/// What `mi_http` says of a method that is neither GET nor POST.
pub const NO_SUCH_METHOD: &[u8] = b"<html><body>Unsupported HTTP request!</body></html>";

/// What `mi_http` says when a command gives no reply, and `mi_html` also when `arg` cannot be read.
pub const NO_REPLY: &[u8] = b"<html><body>Internal server error!</body></html>";

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The list of modules.
    Root,
    /// The commands of a module.
    Module(Str),
    /// One command.
    Command {
        /// The module that exports it.
        module: Str,
        /// Its name, with or without the module.
        name: Str,
    },
}

/// How `arg` is written, and the reply shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Words with blanks between them; a line a node (`mi_http` of 1.x and 2.x).
    Words,
    /// A JSON array or object; JSON (`mi_html` of 3.x and 4.x).
    Json,
}

impl Style {
    /// The style of a version. Sipmi tells by the argument: what begins as JSON, or is empty, is JSON.
    pub fn of(dialect: Dialect, arg: &[u8]) -> Style {
        let first = arg.iter().find(|byte| !is_blank(**byte));
        match dialect {
            Dialect::V1_8 | Dialect::V1_11 | Dialect::V2_4 => Style::Words,
            Dialect::Sipmi if !matches!(first, None | Some(b'[' | b'{')) => Style::Words,
            _ => Style::Json,
        }
    }
}

/// Where the path below the root leads; nowhere when a segment before the last is empty. What follows the command is
/// ignored, as it was by the originals.
pub fn decode_path(below_root: &str) -> Option<Place> {
    let path = below_root.strip_prefix('/').unwrap_or(below_root);
    if path.is_empty() {
        return Some(Place::Root);
    }
    let mut segments = path.split('/').map(|segment| decode_escapes(segment.as_bytes(), false));
    let module = segments.next().filter(|module| !module.is_empty())?;
    match segments.next() {
        Some(name) if !name.is_empty() => Some(Place::Command { module: module.into(), name: name.into() }),
        Some(_) if segments.next().is_some() => None,
        _ => Some(Place::Module(module.into())),
    }
}

/// The field `arg` of a query or of a form's body; the first, when there are several.
pub fn decode_arg(form: &[u8]) -> Option<Vec<u8>> {
    form.split(|byte| *byte == b'&').find_map(|field| {
        let equals = memchr::memchr(b'=', field);
        let (name, value) = equals.map_or((field, &b""[..]), |at| (&field[..at], &field[at + 1..]));
        (decode_escapes(name, true) == b"arg").then(|| decode_escapes(value, true))
    })
}

/// The parameters that `arg` says.
pub fn decode_params(arg: &[u8], style: Style, dialect: Dialect) -> Result<Params, CodecError> {
    if style == Style::Words {
        let words = arg.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let params: Vec<Param> = words.map(|word| read_word(word, dialect)).collect();
        return Ok(if params.is_empty() { Params::None } else { Params::Strings(params) });
    }
    if arg.iter().all(|byte| is_blank(*byte)) {
        return Ok(Params::None);
    }
    match json::parse(arg)? {
        Item::Array(items) if items.is_empty() => Ok(Params::None),
        Item::Object(members) if members.is_empty() => Ok(Params::None),
        Item::Array(items) => Ok(Params::Positional(items)),
        Item::Object(members) => Ok(Params::Named(members)),
        _ => Err(CodecError::unexpected("a JSON array or object", arg, 0)),
    }
}

/// Versions 1.x and 2.x know no names here; Sipmi takes `name::value` as on every wire of words.
fn read_word(word: &[u8], dialect: Dialect) -> Param {
    let names = if dialect.is_emulated() { None } else { memchr::memmem::find(word, b"::") };
    match names {
        Some(at) => Param { name: word[..at].into(), value: word[at + 2..].into() },
        None => Param { name: Str::default(), value: word.into() },
    }
}

/// What every page of a server has.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The path of the list of modules: `/html`.
    pub root: String,
    /// The path of the style sheet; none when empty.
    pub stylesheet: String,
    /// Who answers: `sipmi (0.1.0; billing 1.4)`.
    pub server: String,
    /// Since when it runs, as a line of text.
    pub since: String,
    /// Whether `arg` may be either: words or JSON.
    pub takes_both: bool,
}

/// What a page says of a command.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// The module that exports it.
    pub module: Str,
    /// The name that its path has.
    pub name: Str,
    /// One line for people.
    pub help: Str,
    /// Its parameters as a line: `user [domain]`; None when it takes a tree.
    pub parameters: Option<Str>,
    /// Whether it changes nothing.
    pub read_only: bool,
}

/// The page at the root: the modules.
pub fn modules_page(frame: &Frame, modules: &[Str]) -> Vec<u8> {
    let mut page = Page::begin(frame, &[], b"Management Interface");
    page.push(b"<h2>Modules</h2>\n<ul>\n");
    for module in modules {
        page.push(b"<li>");
        page.link(frame, &[module], module);
        page.push(b"</li>\n");
    }
    page.push(b"</ul>\n");
    page.end()
}

/// The page of a module: its commands.
pub fn module_page(frame: &Frame, module: &[u8], commands: &[Described]) -> Vec<u8> {
    let mut page = Page::begin(frame, &[module], module);
    page.push(b"<dl>\n");
    for command in commands {
        page.push(b"<dt>");
        page.link(frame, &[module, &command.name], &command.name);
        page.push(b"</dt>\n<dd>");
        page.text(&command.help);
        page.push(if command.read_only { b"</dd>\n" } else { b" (changes the server)</dd>\n" });
    }
    page.push(b"</dl>\n");
    page.end()
}

/// The page of a command: its form. `notice` says why it was not run, if somebody asked for that.
pub fn form_page(frame: &Frame, command: &Described, style: Style, arg: &[u8], notice: Option<&str>) -> Vec<u8> {
    let mut page = Page::begin(frame, &[&command.module, &command.name], &command.name);
    if !command.help.is_empty() {
        page.push(b"<p>");
        page.text(&command.help);
        page.push(b"</p>\n");
    }
    if let Some(notice) = notice {
        page.push(b"<p role=\"alert\"><strong>");
        page.text(notice.as_bytes());
        page.push(b"</strong></p>\n");
    }
    page.form(frame, command, style, arg);
    page.end()
}

/// The page of a reply, above the form that asks again.
pub fn reply_page(
    frame: &Frame,
    command: &Described,
    (style, arg): (Style, &[u8]),
    result: &Result<Response, Failure>,
    dialect: Dialect,
) -> Result<Vec<u8>, TooDeep> {
    let mut page = Page::begin(frame, &[&command.module, &command.name], &command.name);
    match style {
        Style::Words => page.reply_lines(&answer_in_words(result, &command.name), dialect)?,
        Style::Json => page.reply_json(&answer_in_json(result, dialect)?),
    }
    page.push(b"<hr>\n");
    page.form(frame, command, style, arg);
    Ok(page.end())
}

/// A page that says what is wrong.
pub fn error_page(frame: &Frame, title: &str, explanation: &str) -> Vec<u8> {
    let mut page = Page::begin(frame, &[], title.as_bytes());
    page.push(b"<p role=\"alert\">");
    page.text(explanation.as_bytes());
    page.push(b"</p>\n");
    page.end()
}

/// The HTTP status of a reply: 2.4 says the reply's own code, 1.11 and 3.x always 200. Sipmi says that of an error,
/// where HTTP has it.
pub fn reply_status(result: &Result<Response, Failure>, style: Style, dialect: Dialect) -> u16 {
    let code = match (result, style) {
        (Err(Failure::Handler), _) => 500,
        (Ok(response), _) => response.code,
        (Err(failure), _) => answer_of(failure).0,
    };
    let answered = |code: i32| u16::try_from(code).ok().filter(|code| (200..=599).contains(code));
    match dialect {
        Dialect::V2_4 => answered(code).unwrap_or(500),
        Dialect::Sipmi if (200..300).contains(&code) => 200,
        // Browsers send a request again that was answered 408, and ask for a password after 401 and 407.
        Dialect::Sipmi if code == 408 => 504,
        Dialect::Sipmi if matches!(code, 401 | 407) => 403,
        Dialect::Sipmi => answered(code).filter(|code| *code >= 400).unwrap_or(500),
        _ => 200,
    }
}

/// Appends text so that it stands for itself in an element and in a quoted attribute. What is not UTF-8 becomes
/// U+FFFD, control bytes their pictures.
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

/// Reads `%XX`, and in forms `+` as a blank. A percent sign that is none stays.
fn decode_escapes(bytes: &[u8], plus: bool) -> Vec<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) if plus => decoded.push(b' '),
            (byte, _, _) => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}

/// Code, reason and body of what is shown as lines.
fn answer_in_words(result: &Result<Response, Failure>, command: &Str) -> Response {
    match result {
        Ok(response) => response.clone(),
        Err(Failure::Handler) => Response::error(500, format!("command '{command}' failed")),
        Err(failure) => {
            let (code, reason) = answer_of(failure);
            Response::error(code, reason.into_owned())
        }
    }
}

/// The result, or the error object.
fn answer_in_json(result: &Result<Response, Failure>, dialect: Dialect) -> Result<Item, TooDeep> {
    let failed;
    let response = match result {
        Ok(response) => response,
        Err(failure) => {
            failed = super::jsonrpc::failure_response(failure, dialect);
            &failed
        }
    };
    let value = json::item_of(&response.body).map_err(|_| TooDeep)?.map(std::borrow::Cow::into_owned);
    if response.is_success_of(dialect) {
        return Ok(value.unwrap_or_else(|| "OK".into()));
    }
    let mut members =
        vec![("code".into(), i64::from(response.code).into()), ("message".into(), response.reason.clone().into())];
    members.extend(value.map(|value| ("data".into(), value)));
    Ok(Item::Object(members))
}

/// A page while it is written.
struct Page(Vec<u8>);

impl Page {
    fn begin(frame: &Frame, path: &[&[u8]], title: &[u8]) -> Page {
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

    fn end(mut self) -> Vec<u8> {
        self.push(b"</main>\n</body>\n</html>\n");
        self.0
    }

    fn push(&mut self, markup: &[u8]) {
        self.0.extend_from_slice(markup);
    }

    fn text(&mut self, text: &[u8]) {
        push_escaped(&mut self.0, text);
    }

    /// A link to what is this far below the root.
    fn link(&mut self, frame: &Frame, path: &[&[u8]], label: &[u8]) {
        self.push(b"<a href=\"");
        self.address(frame, path);
        self.push(b"\">");
        self.text(label);
        self.push(b"</a>");
    }

    fn address(&mut self, frame: &Frame, path: &[&[u8]]) {
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

    fn form(&mut self, frame: &Frame, command: &Described, style: Style, arg: &[u8]) {
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
    fn reply_lines(&mut self, response: &Response, dialect: Dialect) -> Result<(), TooDeep> {
        self.push(b"<p>");
        push_int(&mut self.0, i64::from(response.code));
        self.push(b" : ");
        self.text(&response.reason);
        self.push(b"</p>\n");
        self.lines(response, dialect)
    }

    fn lines(&mut self, response: &Response, dialect: Dialect) -> Result<(), TooDeep> {
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
    fn nodes(&mut self, tree: &Tree, dialect: Dialect) -> Result<(), TooDeep> {
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

    fn node(&mut self, tree: &Tree, node: NodeId) {
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

    fn value(&mut self, value: Value<'_>) {
        match value {
            Value::None => {}
            Value::Bool(value) => push_int(&mut self.0, i64::from(value)),
            Value::Int(value) => push_int(&mut self.0, value),
            Value::UInt(value) => push_int(&mut self.0, value),
            Value::Float(value) => push_float(&mut self.0, value),
            Value::Str(bytes) | Value::Bytes(bytes) => self.text(bytes),
        }
    }

    fn reply_json(&mut self, answer: &Item) {
        let mut written = Vec::new();
        json::write_pretty(&mut written, answer);
        self.push(b"<pre>");
        self.text(&written);
        self.push(b"</pre>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "<script>alert(\"x\")</script>&'\u{1b}\0";
    const TAMED: &str = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;\u{241b}\u{2400}";

    fn frame() -> Frame {
        Frame {
            root: "/html".into(),
            stylesheet: String::new(),
            server: HOSTILE.into(),
            since: HOSTILE.into(),
            takes_both: false,
        }
    }

    fn hostile() -> Described {
        let text = || Str::from(HOSTILE);
        Described { module: text(), name: text(), help: text(), parameters: Some(text()), read_only: false }
    }

    fn reply(item: Item, style: Style, dialect: Dialect) -> String {
        let command = Described { module: "m".into(), name: "c".into(), ..Described::default() };
        let page = reply_page(&frame(), &command, (style, b""), &Ok(item.into()), dialect).expect("shallow enough");
        String::from_utf8(page).expect("pages are UTF-8")
    }

    fn between<'a>(page: &'a str, open: &str, close: &str) -> &'a str {
        page.split_once(open).and_then(|(_, rest)| rest.split_once(close)).expect("both are there").0
    }

    #[test]
    fn a_path_leads_to_the_root_a_module_or_a_command() {
        let command = |module: &str, name: &str| Place::Command { module: module.into(), name: name.into() };
        assert_eq!(decode_path(""), Some(Place::Root));
        assert_eq!(decode_path("/"), Some(Place::Root));
        assert_eq!(decode_path("/core"), Some(Place::Module("core".into())));
        assert_eq!(decode_path("/core/"), Some(Place::Module("core".into())));
        assert_eq!(decode_path("/core/core%3Aversion"), Some(command("core", "core:version")));
        assert_eq!(decode_path("/core/version/more/of/it"), Some(command("core", "version")));
        assert_eq!(decode_path("/a%2Fb/c+d"), Some(command("a/b", "c+d")));
        assert_eq!(decode_path("//version"), None);
        assert_eq!(decode_path("/core//version"), None);
    }

    #[test]
    fn arg_is_the_first_field_of_its_name_also_when_empty() {
        assert_eq!(decode_arg(b"x=1&arg=a+b%20c&arg=d"), Some(b"a b c".to_vec()));
        assert_eq!(decode_arg(b"arg"), Some(Vec::new()));
        assert_eq!(decode_arg(b"arg="), Some(Vec::new()));
        assert_eq!(decode_arg(b"argument=1"), None);
        assert_eq!(decode_arg(b"arg=%zz%4%C5%BE"), Some("%zz%4\u{17e}".into()));
    }

    #[test]
    fn words_are_split_at_blanks_only_and_json_is_an_array_or_object() {
        let values = |params: Params| match params {
            Params::Strings(params) => params.into_iter().map(|param| param.value.to_string()).collect::<Vec<_>>(),
            other => panic!("words, not {other:?}"),
        };
        let words = decode_params(b" local  \"a b\" c\nd", Style::Words, Dialect::V2_4).expect("words");
        assert_eq!(values(words), ["local", "\"a", "b\"", "c\nd"]);
        assert_eq!(decode_params(b"", Style::Words, Dialect::V2_4), Ok(Params::None));
        assert_eq!(decode_params(b" ", Style::Json, Dialect::V4_0), Ok(Params::None));
        assert_eq!(decode_params(b"[]", Style::Json, Dialect::V4_0), Ok(Params::None));
        assert_eq!(decode_params(b"[1]", Style::Json, Dialect::V4_0), Ok(Params::Positional(vec![Item::Int(1)])));
        for bad in [&b"core:"[..], b"1", b"[", b"[1] x"] {
            assert!(decode_params(bad, Style::Json, Dialect::V4_0).is_err(), "{bad:?}");
        }
        assert_eq!(Style::of(Dialect::Sipmi, b" {}"), Style::Json);
        assert_eq!(Style::of(Dialect::Sipmi, b""), Style::Json);
        assert_eq!(Style::of(Dialect::Sipmi, b"core:"), Style::Words);
    }

    #[test]
    fn words_may_have_names_where_nobody_is_imitated() {
        let named = decode_params(b"user::alice", Style::Words, Dialect::Sipmi);
        assert_eq!(named, Ok(Params::Strings(vec![Param { name: "user".into(), value: "alice".into() }])));
        let plain = decode_params(b"user::alice", Style::Words, Dialect::V1_11);
        assert_eq!(plain, Ok(Params::Strings(vec![Param { name: "".into(), value: "user::alice".into() }])));
    }

    #[test]
    fn whatever_a_page_shows_it_is_text() {
        let failed: Result<Response, Failure> = Ok(Response::error(400, HOSTILE));
        let result: Result<Response, Failure> = Ok(Item::from([(HOSTILE, Item::from(HOSTILE))]).into());
        let arg = (Style::Words, HOSTILE.as_bytes());
        let shown = |asked, result, dialect| {
            reply_page(&frame(), &hostile(), asked, result, dialect).expect("shallow enough")
        };
        let pages = [
            modules_page(&frame(), &[HOSTILE.into()]),
            module_page(&frame(), HOSTILE.as_bytes(), &[hostile()]),
            form_page(&frame(), &hostile(), Style::Json, HOSTILE.as_bytes(), Some(HOSTILE)),
            shown(arg, &result, Dialect::V1_11),
            shown(arg, &failed, Dialect::Sipmi),
            shown((Style::Json, b""), &result, Dialect::Sipmi),
            shown((Style::Json, b""), &failed, Dialect::V4_0),
            error_page(&frame(), HOSTILE, HOSTILE),
        ];
        for page in pages {
            let page = String::from_utf8(page).expect("pages are UTF-8");
            assert!(!page.contains("<script") && !page.contains('\0') && page.contains(TAMED), "{page}");
            assert!(!page.contains("=\"<") && !page.contains("&'"), "{page}");
        }
    }

    #[test]
    fn a_reply_is_lines_in_words_and_json_in_json() {
        let item = || Item::from([("Up time", Item::from("6 [sec]")), ("Empty", "".into())]);
        let page = reply(item(), Style::Words, Dialect::V1_11);
        assert_eq!(between(&page, "<pre>", "</pre>"), "Up time:: 6 [sec]<br/>Empty<br/>");
        assert!(page.contains("<p>200 : OK</p>"), "{page}");
        let page = reply(item(), Style::Json, Dialect::V4_0);
        let expected = "{\n\t&quot;Up time&quot;:\t&quot;6 [sec]&quot;,\n\t&quot;Empty&quot;:\t&quot;&quot;\n}";
        assert_eq!(between(&page, "<pre>", "</pre>"), expected);
        let page = reply(Item::Array(vec!["a=[b\nc]".into()]), Style::Words, Dialect::V1_11);
        assert_eq!(between(&page, "<pre>", "</pre>"), ":: a=[b\nc]<br/>");
    }

    #[test]
    fn a_reply_that_nests_too_deep_is_no_page() {
        let mut tree = Tree::ok();
        (0..=MAX_DEPTH).fold(NodeId::ROOT, |node, _| tree.add_child(node, "n", Value::None));
        let result = Ok(tree.into());
        for style in [Style::Words, Style::Json] {
            assert!(reply_page(&frame(), &hostile(), (style, b""), &result, Dialect::Sipmi).is_err());
        }
    }

    #[test]
    fn the_status_is_the_reply_s_code_in_2_4_and_200_in_the_others() {
        let status = |result: Result<Response, Failure>, dialect| reply_status(&result, Style::Words, dialect);
        let missing = || Ok(Response::error(404, "AOR not found"));
        assert_eq!(status(missing(), Dialect::V1_11), 200);
        assert_eq!(status(missing(), Dialect::V2_4), 404);
        assert_eq!(status(missing(), Dialect::V4_0), 200);
        assert_eq!(status(missing(), Dialect::Sipmi), 404);
        assert_eq!(status(Err(Failure::ParamCount), Dialect::Sipmi), 400);
        assert_eq!(status(Err(Failure::Handler), Dialect::Sipmi), 500);
        assert_eq!(status(Err(Failure::Timeout), Dialect::Sipmi), 504);
        for odd in [-32602, 401, 0, 700, 100] {
            let status = status(Ok(Response::error(odd, "odd")), Dialect::Sipmi);
            assert!((400..600).contains(&status) && status != 401, "{odd} became {status}");
        }
    }

    #[test]
    fn a_link_leads_back_to_its_command() {
        let name = "a/b c\u{17e}?#&%:<";
        let page = module_page(&frame(), b"m", &[Described { name: name.into(), ..Described::default() }]);
        let page = String::from_utf8(page).expect("pages are UTF-8");
        let href = between(&page, "<dt><a href=\"", "\"");
        let place = decode_path(href.strip_prefix("/html").expect("below the root"));
        assert_eq!(place, Some(Place::Command { module: "m".into(), name: name.into() }));
    }
}
