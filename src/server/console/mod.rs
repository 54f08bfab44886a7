//! The web console and the pages of `mi_http` and `mi_html`: from what a browser asks to a page, or to the call whose
//! reply is one.
//!
//! A function of values: [`answer`] gives a [`Page`], or a [`PageCall`] that the listener runs, now or later, and whose
//! [`ReplyPage`] then makes a page of the result.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::codec::html::{self, Chosen, Described, Frame, Menu, Place, Style};
use crate::codec::json;
use crate::command::recipe::{Kind, ParamSpec, Passing, Recipe, Signature};
use crate::command::service::Service;
use crate::command::{Command, CommandFlags, Wire, builtin};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::Request;
use crate::response::{Failure, Response};

/// Limits the console to its own script, its own style and requests to its own server.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The pages without script may not even run one.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

/// A file of the console, below its root.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const INDEX: &str = include_str!("index.html");

const STYLESHEET: &str = "console.css";

const ASSETS: [Asset; 2] = [
    Asset { name: STYLESHEET, content_type: "text/css; charset=utf-8", bytes: include_bytes!("console.css") },
    Asset { name: "console.js", content_type: "text/javascript; charset=utf-8", bytes: include_bytes!("console.js") },
];

/// The path of the list of commands, for the console's script.
const COMMANDS: &str = "commands.json";

/// A browser's request.
pub(crate) struct PageRequest<'a> {
    pub(crate) method: &'a str,
    /// The path below [`Site::root`], as it came: empty, or beginning with a slash.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) if_none_match: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
}

/// Where the pages are, and what they show.
pub(crate) struct Site<'a> {
    /// The path of the pages: `/html`, without a slash at its end.
    pub(crate) root: &'a str,
    /// The path of JSON-RPC; none: there are pages, but no console.
    pub(crate) mi_root: Option<&'a str>,
    /// True for the pages of 1.x and 2.x, which show their words as lines.
    pub(crate) words: bool,
    pub(crate) service: &'a Service,
    /// Returns true if a command may run here; the console hides the others.
    pub(crate) allowed: &'a dyn Fn(&Command) -> bool,
}

/// The outcome of a request.
pub(crate) enum Asked {
    /// The answer.
    Page(Page),
    /// The reply to this call.
    Run(PageCall),
}

/// An answer without what every answer of the listener has.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Cow<'static, [u8]>,
}

/// A command that a page asks to run.
pub(crate) struct PageCall {
    pub(crate) request: Request,
    pub(crate) wire: Wire,
    pub(crate) reply: Box<ReplyPage>,
}

/// The context that turns a reply into a page.
pub(crate) struct ReplyPage {
    frame: Frame,
    /// The page is that of a version.
    menu: Option<Menu>,
    described: Described,
    style: Style,
    arg: Vec<u8>,
    dialect: Dialect,
    status: ReplyStatus,
}

/// The HTTP status of a reply: known when it is written.
#[derive(Clone, Default)]
pub(crate) struct ReplyStatus(Arc<AtomicU16>);

impl ReplyStatus {
    /// The page of a reply that was written.
    pub(crate) fn page(&self, body: Vec<u8>) -> Page {
        page(self.0.load(Ordering::Acquire), body)
    }
}

impl ReplyPage {
    /// Where the status of the reply will be.
    pub(crate) fn status(&self) -> ReplyStatus {
        self.status.clone()
    }

    /// Appends the page of a result.
    pub(crate) fn write(&self, out: &mut Vec<u8>, result: &Result<Response, Failure>) {
        let status = html::reply_status(result, self.style, self.dialect);
        self.status.0.store(status, Ordering::Release);
        if matches!(result, Err(Failure::Handler(_))) && self.style == Style::Words && self.dialect.is_emulated() {
            return out.extend_from_slice(html::NO_REPLY);
        }
        let asked = (self.style, &*self.arg);
        let page = match &self.menu {
            Some(menu) => menu.reply_page(&self.described.module, &self.described.name, result),
            None => html::reply_page(&self.frame, &self.described, asked, result, self.dialect),
        };
        match page {
            Ok(mut page) => out.append(&mut page),
            Err(_) => self.write(out, &Err(Failure::handler())),
        }
    }
}

/// Answers, or says what to run for it.
pub(crate) fn answer(request: &PageRequest<'_>, site: &Site<'_>) -> Asked {
    let dialect = site.service.dialect;
    let method = match (request.method, dialect) {
        ("GET", _) | ("HEAD", Dialect::Sipmi) => Method::Get,
        ("POST", _) => Method::Post,
        _ => return Asked::Page(site.refuse_method()),
    };
    if method == Method::Get
        && site.mi_root.is_some()
        && let Some(page) = site.console(request)
    {
        return Asked::Page(page);
    }
    match html::decode_path(request.path) {
        Some(Place::Command { module, name }) => match site.find(&module, &name) {
            Ok(command) => site.ask(request, method, &command, &name),
            Err(page) => Asked::Page(page),
        },
        Some(Place::Module(module)) => Asked::Page(site.module_page(&module)),
        Some(Place::Root) => Asked::Page(page(200, site.modules_page())),
        None => Asked::Page(site.not_found("There is no such page.")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
}

impl Site<'_> {
    /// The console's own pages and files, where the path leads to one.
    fn console(&self, request: &PageRequest<'_>) -> Option<Page> {
        let dialect = self.service.dialect;
        let name = request.path.strip_prefix('/');
        if let Some(asset) = ASSETS.iter().find(|asset| name == Some(asset.name)) {
            return Some(cached(asset.content_type, Cow::Borrowed(asset.bytes), request));
        }
        if name == Some(COMMANDS) {
            let mut body = Vec::new();
            json::write(&mut body, &self.described_commands());
            return Some(cached("application/json", body.into(), request));
        }
        // Versions of OpenSIPS have a list of modules there.
        let is_console = request.path.is_empty() && !dialect.is_emulated();
        is_console.then(|| {
            let mut page = cached(HTML, self.index().into_bytes().into(), request);
            page.headers.push(("content-security-policy", CONSOLE_POLICY.into()));
            page
        })
    }

    fn index(&self) -> String {
        let escaped = |text: &str| {
            let mut out = Vec::new();
            html::push_escaped(&mut out, text.as_bytes());
            String::from_utf8_lossy(&out).into_owned()
        };
        let title = escaped(&self.service.name.to_text());
        let index = INDEX.replace("{{root}}", &escaped(self.root));
        index.replace("{{mi-root}}", &escaped(self.mi_root.unwrap_or_default())).replace("{{title}}", &title)
    }

    fn frame(&self) -> Frame {
        Frame {
            root: self.root.into(),
            stylesheet: if self.mi_root.is_some() { format!("{}/{STYLESHEET}", self.root) } else { String::new() },
            server: self.service.server_name.clone(),
            since: builtin::ctime(self.service.started),
            takes_both: !self.service.dialect.is_emulated(),
        }
    }

    /// The menu that a version has on its pages.
    fn menu(&self) -> Option<Menu> {
        let dialect = self.service.dialect;
        dialect.is_emulated().then(|| Menu { frame: self.frame(), modules: self.modules(), dialect })
    }

    fn modules_page(&self) -> Vec<u8> {
        match self.menu() {
            Some(menu) => menu.modules_page(),
            None => html::modules_page(&self.frame(), &self.modules()),
        }
    }

    /// The commands that may be run here, in the order of registration.
    fn commands(&self) -> Vec<Arc<Command>> {
        // `allowed` may lock the registry, so the lock must not be held here.
        let mut commands = self.all_commands();
        commands.retain(|command| (self.allowed)(command));
        commands
    }

    /// The commands of this server, and those of the servers behind it that it has not itself.
    fn all_commands(&self) -> Vec<Arc<Command>> {
        let mut commands: Vec<Arc<Command>> = self.service.registry().commands().cloned().collect();
        let behind = self.service.forwarder().map(|forwarder| forwarder.listed()).unwrap_or_default();
        let is_new = |command: &Arc<Command>| {
            let registry = self.service.registry();
            registry.lookup(&command.name).is_err() && registry.lookup(&command.canonical_name()).is_err()
        };
        commands.extend(behind.into_iter().filter(is_new));
        commands
    }

    fn modules(&self) -> Vec<Str> {
        let mut modules: Vec<Str> = Vec::new();
        for command in self.commands() {
            if !modules.contains(&command.module) {
                modules.push(command.module.clone());
            }
        }
        modules
    }

    fn module_page(&self, module: &Str) -> Page {
        let commands = self.of_module(module);
        if commands.is_empty() {
            return self.not_found(&format!("There is no module {module}."));
        }
        let body = match self.menu() {
            Some(menu) => menu.module_page(Chosen { module, commands: &names(&commands) }),
            None => html::module_page(&self.frame(), module, &commands),
        };
        page(200, body)
    }

    fn of_module(&self, module: &Str) -> Vec<Described> {
        let commands = self.commands();
        commands.iter().filter(|command| command.module == *module).map(|command| self.describe(command)).collect()
    }

    /// A command's form. `notice` says why the command was not run, if the browser requested that.
    fn form_page(&self, described: &Described, asked: (Style, &[u8]), notice: Option<&str>) -> Vec<u8> {
        let (module, name) = (&described.module, &described.name);
        match self.menu() {
            Some(menu) => menu.form_page(Chosen { module, commands: &names(&self.of_module(module)) }, name),
            None => html::form_page(&self.frame(), described, asked.0, asked.1, notice),
        }
    }

    /// The command that a path means.
    fn find(&self, module: &Str, name: &Str) -> Result<Arc<Command>, Page> {
        let dialect = self.service.dialect;
        let is_meant = |command: &Command| {
            let bare = !dialect.is_4x() && command.name == *name;
            let canonical = dialect.has_modules() && command.canonical_name() == *name;
            let alias = !dialect.is_emulated() && command.aliases.contains(name);
            command.module == *module && (bare || canonical || alias)
        };
        let found = self.all_commands().into_iter().find(|command| is_meant(command));
        match found {
            Some(command) if (self.allowed)(&command) => Ok(command),
            Some(_) => {
                let explanation = format!("The command {name} may not be run at this address.");
                Err(page(403, html::error_page(&self.frame(), "Forbidden", &explanation)))
            }
            None => Err(self.not_found(&format!("The module {module} has no command {name}."))),
        }
    }

    /// A command's form, or the call that its `arg` asks for.
    fn ask(&self, request: &PageRequest<'_>, method: Method, command: &Command, name: &Str) -> Asked {
        let dialect = self.service.dialect;
        let described = Described { name: name.clone(), ..self.describe(command) };
        let arg = match method {
            Method::Get => request.query.and_then(|query| html::decode_arg(query.as_bytes())),
            Method::Post if is_form(request.content_type) => html::decode_arg(request.body),
            Method::Post if dialect.is_emulated() => None,
            Method::Post => {
                let explanation = "Expected a form (application/x-www-form-urlencoded).";
                return Asked::Page(page(415, html::error_page(&self.frame(), "Not a form", explanation)));
            }
        };
        let style = self.style(arg.as_deref().unwrap_or_default());
        let form = |status, notice: Option<&str>| {
            let arg = arg.as_deref().unwrap_or_default();
            page(status, self.form_page(&described, (style, arg), notice))
        };
        let Some(asked) = &arg else { return Asked::Page(form(200, None)) };
        // A link must not be able to change anything. The originals run whatever a GET asks, and their clients rely on it.
        if method == Method::Get && !dialect.is_emulated() && !command.flags.has(CommandFlags::READ_ONLY) {
            let mut page = form(405, Some("This command changes the server: it is not run by a link. Run it here."));
            page.headers.push(("allow", "POST".into()));
            return Asked::Page(page);
        }
        match html::decode_params(asked, style, dialect) {
            Ok(params) => {
                let wire = if style == Style::Words { Wire::HtmlWords } else { Wire::Html };
                let status = ReplyStatus::default();
                let (frame, menu, arg) = (self.frame(), self.menu(), asked.clone());
                let reply = ReplyPage { frame, menu, described, style, arg, dialect, status };
                // A version with flat names knows no others.
                let method = if dialect.has_modules() { method_of(command) } else { command.name.clone() };
                let request = Request { method, params };
                Asked::Run(PageCall { request, wire, reply: Box::new(reply) })
            }
            Err(_) if dialect.is_emulated() => Asked::Page(plain(500, html::NO_REPLY)),
            Err(error) => Asked::Page(form(400, Some(&format!("The parameters cannot be read: {error}.")))),
        }
    }

    /// How `arg` is written, and its reply shown.
    fn style(&self, arg: &[u8]) -> Style {
        match Style::of(self.service.dialect, arg) {
            Style::Json if self.words && arg.trim_ascii().is_empty() => Style::Words,
            style => style,
        }
    }

    fn not_found(&self, explanation: &str) -> Page {
        match self.service.dialect {
            Dialect::Sipmi => page(404, html::error_page(&self.frame(), "Not found", explanation)),
            Dialect::V1_8 | Dialect::V1_11 => plain(200, html::NO_SUCH_PATH),
            _ => plain(406, html::NO_SUCH_PATH),
        }
    }

    fn refuse_method(&self) -> Page {
        match self.service.dialect {
            Dialect::Sipmi => {
                let explanation = "Pages take GET, HEAD and POST.";
                let mut page = page(405, html::error_page(&self.frame(), "Not allowed", explanation));
                page.headers.push(("allow", "GET, HEAD, POST".into()));
                page
            }
            Dialect::V1_8 | Dialect::V1_11 => plain(200, html::NO_SUCH_METHOD),
            _ => plain(406, html::NO_SUCH_METHOD),
        }
    }

    fn describe(&self, command: &Command) -> Described {
        let canonical = self.service.dialect.is_4x();
        Described {
            module: command.module.clone(),
            name: if canonical { command.canonical_name() } else { command.name.clone() },
            help: command.help.clone(),
            parameters: parameters_line(command),
            read_only: command.flags.has(CommandFlags::READ_ONLY),
        }
    }

    /// All that the console shows of the commands, as the JSON that it reads.
    fn described_commands(&self) -> Item {
        let commands = self.commands();
        let of_module = |module: &Str| -> Item {
            let own = commands.iter().filter(|command| command.module == *module);
            let commands: Vec<Item> = own.map(|command| command_item(command)).collect();
            Item::from([("name", Item::Str(module.clone())), ("commands", Item::Array(commands))])
        };
        Item::from([
            ("name", Item::Str(self.service.name.clone())),
            ("version", Item::Str(self.service.version.clone())),
            ("server", self.service.server_name.as_str().into()),
            // Those of servers behind this one are known once `which` was asked for.
            ("forwards", Item::Bool(self.service.forwarder().is_some())),
            ("modules", Item::Array(self.modules().iter().map(of_module).collect())),
        ])
    }
}

fn names(commands: &[Described]) -> Vec<Str> {
    commands.iter().map(|command| command.name.clone()).collect()
}

/// The name by which a command is called for sure. That of a server behind this one is looked up there, by its name alone.
fn method_of(command: &Command) -> Str {
    if matches!(command.recipe, Recipe::Raw) { command.name.clone() } else { command.canonical_name() }
}

fn command_item(command: &Command) -> Item {
    let flag = |flag| Item::Bool(command.flags.has(flag));
    let mut members = vec![
        ("name", Item::Str(command.name.clone())),
        ("method", method_of(command).into()),
        ("aliases", Item::Array(command.aliases.iter().cloned().map(Item::Str).collect())),
        ("help", Item::Str(command.help.clone())),
        ("read_only", flag(CommandFlags::READ_ONLY)),
        ("built_in", flag(CommandFlags::BUILT_IN)),
        ("named_only", flag(CommandFlags::NAMED_PARAMS_ONLY)),
    ];
    match &command.recipe {
        _ if command.flags.has(CommandFlags::NO_INPUT) => members.push(("params", Item::Array(Vec::new()))),
        Recipe::Tree | Recipe::Raw => members.push(("params", Item::Null)),
        Recipe::Signature(signature) => {
            members.push(("params", Item::Array(signature.params.iter().map(param_item).collect())));
            members.push(("any_name", Item::Bool(signature.takes_any_name)));
            if !signature.recipes.is_empty() {
                let lists = command.recipe.lists().into_iter().map(Item::from);
                members.push(("recipes", Item::Array(lists.collect())));
            }
        }
    }
    Item::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn param_item(param: &ParamSpec) -> Item {
    let passing = match param.passing {
        Passing::Either => "either",
        Passing::Named => "named",
        Passing::Rest => "rest",
    };
    let mut members = vec![
        ("name".into(), Item::Str(param.name.clone())),
        ("type".into(), kind_name(&param.kind).into()),
        ("required".into(), Item::Bool(param.required)),
        ("nullable".into(), Item::Bool(param.nullable)),
        ("passing".into(), passing.into()),
    ];
    members.extend(param.default.clone().map(|default| ("default".into(), default)));
    if !param.choices.is_empty() {
        members.push(("choices".into(), Item::Array(param.choices.clone())));
    }
    Item::Object(members)
}

/// `int`, `list[str]`: as an annotation says it.
fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Any => "any".into(),
        Kind::Str => "str".into(),
        Kind::Int => "int".into(),
        Kind::Float => "float".into(),
        Kind::Bool => "bool".into(),
        Kind::Dict => "dict".into(),
        Kind::List(element) => format!("list[{}]", kind_name(element)),
    }
}

/// `user [domain] [more ...]`; None when any will do.
fn parameters_line(command: &Command) -> Option<Str> {
    if command.flags.has(CommandFlags::NO_INPUT) {
        return Some(Str::default());
    }
    let Recipe::Signature(Signature { params, takes_any_name, .. }) = &command.recipe else { return None };
    let word = |param: &ParamSpec| match (param.passing, param.required) {
        (Passing::Rest, _) => format!("[{} ...]", param.name),
        (_, true) => param.name.to_string(),
        (_, false) => format!("[{}]", param.name),
    };
    let mut words: Vec<String> = params.iter().map(word).collect();
    words.extend(takes_any_name.then(|| "[name::value ...]".into()));
    Some(words.join(" ").into())
}

fn is_form(content_type: Option<&[u8]>) -> bool {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    content_type.is_some_and(|given| {
        let essence = given.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(FORM)
    })
}

fn page(status: u16, body: Vec<u8>) -> Page {
    let headers = vec![("cache-control", "no-store".into()), ("content-security-policy", PAGE_POLICY.into())];
    finish(Page { status, content_type: HTML, headers, body: body.into() })
}

fn plain(status: u16, body: &'static [u8]) -> Page {
    finish(Page { status, content_type: HTML, headers: Vec::new(), body: body.into() })
}

/// A page that the browser may cache, provided it revalidates the page each time.
fn cached(content_type: &'static str, body: Cow<'static, [u8]>, request: &PageRequest<'_>) -> Page {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = request.if_none_match.is_some_and(|tags| is_named(tags, &tag));
    let headers = vec![("cache-control", "no-cache".into()), ("etag", tag)];
    let (status, body) = if known { (304, Cow::Borrowed(&b""[..])) } else { (200, body) };
    finish(Page { status, content_type, headers, body })
}

fn is_named(tags: &[u8], tag: &str) -> bool {
    let weak = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    tags.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|given| given == b"*" || weak(given) == tag.as_bytes())
}

fn finish(mut page: Page) -> Page {
    page.headers.push(("x-content-type-options", "nosniff".into()));
    // The guard against foreign pages goes by where a request comes from.
    page.headers.push(("referrer-policy", "same-origin".into()));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Answer, Call, Conduct, Handler};
    use crate::request::Params;

    struct Nothing;
    impl Handler for Nothing {
        fn run(&self, _: Call<'_>) -> Answer {
            Response::ok().into()
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    fn service(dialect: Dialect) -> Arc<Service> {
        let service = builtin::new_service("billing <1>", "1.4", dialect, false);
        let user = ParamSpec::required("user", Kind::Str);
        let credit = ParamSpec { default: Some(Item::Float(0.5)), ..ParamSpec::optional("credit", Kind::Float) };
        let order = ParamSpec { choices: vec!["asc".into()], ..ParamSpec::optional("order", Kind::Str) };
        let command = |name: &str, flags, recipe| Command {
            module: "billing".into(),
            name: name.into(),
            help: "<b>Add</b>".into(),
            flags,
            recipe,
            aliases: vec![format!("{name}_alias").into()],
            handler: Box::new(Nothing),
            conduct: Conduct::default(),
        };
        let signature = Signature { params: vec![user, credit, order], ..Signature::default() };
        let add = command("add", CommandFlags::NONE, Recipe::Signature(signature));
        let dump = command("dump", CommandFlags::READ_ONLY, Recipe::Tree);
        for command in [add, dump] {
            service.registry_mut().register(command).expect("a good command");
        }
        service
    }

    fn get(path: &str) -> PageRequest<'_> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        PageRequest { method: "GET", path, query, content_type: None, if_none_match: None, body: b"" }
    }

    fn ask_where(request: &PageRequest<'_>, dialect: Dialect, allowed: &dyn Fn(&Command) -> bool) -> Asked {
        let service = service(dialect);
        let site = Site { root: "/html", mi_root: Some("/mi\"<"), words: false, service: &service, allowed };
        answer(request, &site)
    }

    fn page_of(request: &PageRequest<'_>, dialect: Dialect) -> Page {
        match ask_where(request, dialect, &|_| true) {
            Asked::Page(page) => page,
            Asked::Run(call) => panic!("{} would be run", call.request.method),
        }
    }

    fn run_of(request: &PageRequest<'_>, dialect: Dialect) -> PageCall {
        match ask_where(request, dialect, &|_| true) {
            Asked::Run(call) => call,
            Asked::Page(page) => panic!("status {}: {}", page.status, String::from_utf8_lossy(&page.body)),
        }
    }

    fn header<'a>(page: &'a Page, name: &str) -> Option<&'a str> {
        page.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn body(page: &Page) -> &str {
        std::str::from_utf8(&page.body).expect("pages are UTF-8")
    }

    #[test]
    fn the_console_is_told_its_roots_and_may_run_nothing_but_its_own_files() {
        let page = page_of(&get(""), Dialect::Sipmi);
        assert_eq!((page.status, page.content_type), (200, HTML));
        assert!(body(&page).contains(r#"content="/mi&quot;&lt;""#), "{}", body(&page));
        assert!(body(&page).contains("<h1 id=\"server-name\">billing &lt;1&gt;</h1>"), "{}", body(&page));
        assert!(!body(&page).contains("{{"));
        assert_eq!(header(&page, "content-security-policy"), Some(CONSOLE_POLICY));
        assert_eq!(header(&page, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&page, "referrer-policy"), Some("same-origin"));
        for (path, content_type) in [("/console.css", "text/css"), ("/console.js", "text/javascript")] {
            let page = page_of(&get(path), Dialect::Sipmi);
            assert!(page.status == 200 && page.content_type.starts_with(content_type) && !page.body.is_empty());
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let tag = header(&page_of(&get("/console.js"), Dialect::Sipmi), "etag").expect("an etag").to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
            let again = PageRequest { if_none_match: Some(known.as_bytes()), ..get("/console.js") };
            let page = page_of(&again, Dialect::Sipmi);
            assert!(page.status == 304 && page.body.is_empty() && header(&page, "etag") == Some(&*tag), "{known}");
        }
        let other = PageRequest { if_none_match: Some(b"\"x\""), ..get("/console.js") };
        assert_eq!(page_of(&other, Dialect::Sipmi).status, 200);
    }

    #[test]
    fn commands_are_described_with_their_parameters_and_those_not_allowed_left_out() {
        let page = page_of(&get("/commands.json"), Dialect::Sipmi);
        let described = json::parse(&page.body).expect("JSON");
        let Some(Item::Array(modules)) = described.get("modules") else { panic!("modules") };
        let billing = modules.iter().find(|module| module.get("name") == Some(&"billing".into())).expect("billing");
        let mut expected = Vec::new();
        json::write(&mut expected, billing.get("commands").expect("commands"));
        let written = String::from_utf8(expected).expect("UTF-8");
        assert_eq!(
            written,
            r#"[{"name":"add","method":"billing:add","aliases":["add_alias"],"help":"<b>Add</b>","read_only":false,"#
                .to_owned()
                + r#""built_in":false,"named_only":false,"params":["#
                + r#"{"name":"user","type":"str","required":true,"nullable":false,"passing":"either"},"#
                + r#"{"name":"credit","type":"float","required":false,"nullable":false,"passing":"either","default":0.5},"#
                + r#"{"name":"order","type":"str","required":false,"nullable":false,"passing":"either","choices":["asc"]}],"#
                + r#""any_name":false},"#
                + r#"{"name":"dump","method":"billing:dump","aliases":["dump_alias"],"help":"<b>Add</b>","read_only":true,"#
                + r#""built_in":false,"named_only":false,"params":null}]"#
        );
        let allowed = |command: &Command| command.name == *"dump";
        let Asked::Page(page) = ask_where(&get("/commands.json"), Dialect::Sipmi, &allowed) else { panic!("a page") };
        assert!(
            body(&page).contains("\"dump\"") && !body(&page).contains("\"add\"") && !body(&page).contains("core")
        );
        let Asked::Page(page) = ask_where(&get("/billing/add?arg=x"), Dialect::Sipmi, &allowed) else {
            panic!("a page")
        };
        assert_eq!(page.status, 403);
    }

    #[test]
    fn a_link_runs_reads_and_a_form_runs_changes() {
        let call = run_of(&get("/billing/dump?arg=a+b"), Dialect::Sipmi);
        assert_eq!((call.request.params.len(), call.wire), (2, Wire::HtmlWords));
        let call = run_of(&get("/billing/billing:dump?arg=%5B1%5D"), Dialect::Sipmi);
        assert_eq!((call.request.params, call.wire), (Params::Positional(vec![Item::Int(1)]), Wire::Html));
        let refused = page_of(&get("/billing/add?arg=a%22"), Dialect::Sipmi);
        assert_eq!((refused.status, header(&refused, "allow")), (405, Some("POST")));
        assert!(body(&refused).contains("<form method=\"post\" action=\"/html/billing/add\">"), "{}", body(&refused));
        assert!(body(&refused).contains("value=\"a&quot;\""), "{}", body(&refused));
        let form = PageRequest {
            method: "POST",
            content_type: Some(b"application/x-www-form-urlencoded; charset=utf-8"),
            body: b"arg=alice",
            ..get("/billing/add_alias")
        };
        assert_eq!(run_of(&form, Dialect::Sipmi).request.method, "billing:add");
        let other = PageRequest { content_type: Some(b"application/json"), ..form };
        assert_eq!(page_of(&other, Dialect::Sipmi).status, 415);
    }

    #[test]
    fn versions_have_their_paths_and_answers() {
        // 1.11 and 2.4 run whatever a GET asks.
        assert_eq!(run_of(&get("/billing/add?arg=a"), Dialect::V2_4).wire, Wire::HtmlWords);
        assert_eq!(run_of(&get("/billing/billing:add?arg="), Dialect::V4_0).wire, Wire::Html);
        let refusals = [("/billing/add", Dialect::V4_0, 406), ("/nosuch", Dialect::V2_4, 406)];
        for (path, dialect, status) in refusals.into_iter().chain([("/core/add", Dialect::V1_11, 200)]) {
            let page = page_of(&get(path), dialect);
            assert_eq!((page.status, &*page.body), (status, html::NO_SUCH_PATH), "{path}");
        }
        let page = page_of(&get("/billing/billing:add?arg=core:"), Dialect::V4_0);
        assert_eq!((page.status, &*page.body), (500, html::NO_REPLY));
        let head = PageRequest { method: "HEAD", ..get("") };
        assert_eq!(page_of(&head, Dialect::V2_4).status, 406);
        assert_eq!(page_of(&head, Dialect::Sipmi).status, 200);
        assert!(body(&page_of(&get(""), Dialect::V4_0)).contains("<td><a href=\"/html/billing\">"));
    }

    #[test]
    fn unknown_paths_and_wrong_methods_are_reported() {
        for (path, expected) in
            [("/nosuch", "no module nosuch"), ("/billing/x", "no command x"), ("//x", "no such page")]
        {
            let page = page_of(&get(path), Dialect::Sipmi);
            assert!(page.status == 404 && body(&page).contains(expected), "{path}: {}", body(&page));
        }
        let bad = page_of(&get("/billing/dump?arg=%5B"), Dialect::Sipmi);
        assert!(bad.status == 400 && body(&bad).contains("cannot be read"), "{}", body(&bad));
        let delete = PageRequest { method: "DELETE", ..get("/billing") };
        let page = page_of(&delete, Dialect::Sipmi);
        assert_eq!((page.status, header(&page, "allow")), (405, Some("GET, HEAD, POST")));
    }

    #[test]
    fn the_old_root_shows_lines_where_nothing_is_asked() {
        let service = service(Dialect::Sipmi);
        let site = Site { root: "/mi", mi_root: None, words: true, service: &service, allowed: &|_| true };
        let Asked::Run(call) = answer(&get("/billing/dump?arg="), &site) else { panic!("a call") };
        assert_eq!(call.wire, Wire::HtmlWords);
        let (status, mut written) = (call.reply.status(), Vec::new());
        call.reply.write(&mut written, &Ok(Item::from([("a", Item::Int(1))]).into()));
        let page = status.page(written);
        assert!(page.status == 200 && body(&page).contains("<pre>a:: 1\n</pre>"), "{}", body(&page));
        let Asked::Page(page) = answer(&get("/commands.json"), &site) else { panic!("a page") };
        assert_eq!(page.status, 404);
    }
}
