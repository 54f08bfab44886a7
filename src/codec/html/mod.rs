//! The pages of `mi_http` (1.x, 2.x) and `mi_html` (3.x, 4.x): what a URL asks, and forms and replies as HTML without
//! script.
//!
//! `ROOT` lists the modules, `ROOT/MODULE` the commands of one, `ROOT/MODULE/CMD` is a form with the one field `arg`,
//! and `ROOT/MODULE/CMD?arg=...` the reply. The originals wrote tables with markup of their time; what programs read
//! from them, paths, status codes and the reply between `<pre>` and `</pre>`, is kept.

mod original;
mod page;

use super::{CodecError, answer_of, is_blank, json, percent};
use crate::convert::TooDeep;
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Param, Params};
use crate::response::{Failure, Response};
pub use original::{Chosen, Menu};
use page::Page;
pub use page::push_escaped;

/// The page of `mi_http` for an unknown path.
pub const NO_SUCH_PATH: &[u8] = b"<html><body>Unable to parse URL!</body></html>";

/// The page of `mi_http` for a method that is neither GET nor POST.
pub const NO_SUCH_METHOD: &[u8] = b"<html><body>Unsupported HTTP request!</body></html>";

/// The page of `mi_http` for a command without a reply, and of `mi_html` also for an unreadable `arg`.
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

/// Returns the command that the path below the root leads to; `None` when a segment before the last is empty. Text
/// after the command is ignored, as OpenSIPS does.
pub fn decode_path(below_root: &str) -> Option<Place> {
    let path = below_root.strip_prefix('/').unwrap_or(below_root);
    if path.is_empty() {
        return Some(Place::Root);
    }
    let mut segments = path.split('/').map(|segment| percent::decode(segment.as_bytes()));
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
        (percent::decode_form(name) == b"arg").then(|| percent::decode_form(value))
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

/// The frame that all pages of a server share.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The path of the list of modules: `/html`.
    pub root: String,
    /// The path of the style sheet; none when empty.
    pub stylesheet: String,
    /// The name of the server: `sipmi (0.1.0; billing 1.4)`.
    pub server: String,
    /// Since when it runs, as a line of text.
    pub since: String,
    /// True if `arg` may be either words or JSON.
    pub takes_both: bool,
}

/// The description of a command on its page.
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
    /// True if the command changes nothing.
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

/// Writes the page of a command: its form. `notice` says why a requested run was refused.
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

/// A page that explains an error.
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
        (Err(Failure::Handler(_)), _) => 500,
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

/// The code, reason and body of a reply that is shown as lines.
fn answer_in_words(result: &Result<Response, Failure>, command: &Str) -> Response {
    match result {
        Ok(response) => response.clone(),
        Err(Failure::Handler(_)) => Response::error(500, format!("command '{command}' failed")),
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

#[cfg(test)]
mod tests;
