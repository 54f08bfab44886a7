//! The trace of chosen commands: requests and replies, without secrets.

use super::permit::Permit;
use super::{Command, Recipe};
use crate::catalog::names::flat_name;
use crate::catalog::secrets::{self, MASK};
use crate::codec::json;
use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::{Failure, Response};

/// Longer texts are truncated, so that the trace of a large reply stays small.
const LONGEST: usize = 4096;

/// The commands that are traced, and the parameters that are masked.
#[derive(Debug, Default)]
pub struct Trace {
    /// Patterns of names, in the syntax of listeners.
    commands: Vec<String>,
    /// Names whose values are masked, in addition to the names known to hold secrets.
    secrets: Vec<String>,
}

impl Trace {
    /// Traces commands of which a name, bare or `module:name`, matches one of the patterns.
    pub fn new(commands: Vec<String>, secrets: Vec<String>) -> Self {
        Trace { commands, secrets: secrets.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Returns true if a command is traced.
    pub fn records(&self, command: &Command) -> bool {
        self.commands.iter().any(|pattern| Permit::means(pattern, command))
    }

    /// The request as JSON text. Positional values get the parameter names of the signature.
    pub fn request(&self, command: &Command, params: &Params) -> String {
        let names: &[super::recipe::ParamSpec] = match &command.recipe {
            Recipe::Signature(signature) => &signature.params,
            Recipe::Tree | Recipe::Raw => &[],
        };
        let by_position = |place: usize| {
            // Values beyond the signature belong to its last parameter.
            names.get(place).or(names.last()).map_or_else(Str::default, |spec| spec.name.clone())
        };
        let mut members: Vec<(Str, Item)> = match params {
            Params::None => Vec::new(),
            Params::Named(members) => members.clone(),
            Params::Positional(items) => {
                items.iter().enumerate().map(|(place, item)| (by_position(place), item.clone())).collect()
            }
            Params::Strings(params) => params
                .iter()
                .enumerate()
                .map(|(place, param)| {
                    let name = if param.name.is_empty() { by_position(place) } else { param.name.clone() };
                    (name, Item::Str(param.value.clone()))
                })
                .collect(),
        };
        let flat = flat_name(&command.canonical_name());
        for (place, (name, item)) in members.iter_mut().enumerate() {
            if secrets::is_secret_parameter(&flat, &name.to_text(), place) {
                *item = MASK.into();
            }
        }
        self.written(Item::Object(members))
    }

    /// The reply as JSON text: the value, or the error.
    pub fn reply(&self, result: &Result<Response, Failure>) -> String {
        match result {
            Ok(response) => {
                let value = json::item_of(&response.body).ok().flatten();
                let value = value.map_or_else(String::new, |value| self.written(value.into_owned()));
                let reason = secrets::hidden(&response.reason.to_text());
                format!("{} {reason} {value}", response.code).trim_end().to_owned()
            }
            Err(failure) => secrets::hidden(&failure.to_string()),
        }
    }

    fn written(&self, mut item: Item) -> String {
        self.mask(&mut item);
        let mut text = Vec::new();
        json::write(&mut text, &item);
        let cut = text.len().min(LONGEST);
        let shown = String::from_utf8_lossy(&text[..cut]);
        if cut < text.len() { format!("{shown}... ({} bytes)", text.len()) } else { shown.into_owned() }
    }

    fn mask(&self, item: &mut Item) {
        match item {
            Item::Str(text) => *text = secrets::hidden(&text.to_text()).into(),
            Item::Array(items) => items.iter_mut().for_each(|item| self.mask(item)),
            Item::Object(members) => {
                for (name, item) in members {
                    if self.is_secret(name) { *item = MASK.into() } else { self.mask(item) }
                }
            }
            _ => {}
        }
    }

    fn is_secret(&self, name: &Str) -> bool {
        let name = name.to_text();
        secrets::is_secret(&name) || self.secrets.contains(&name.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::super::recipe::{Kind, ParamSpec, Signature};
    use super::super::{Answer, Call, CommandFlags, Conduct, Handler};
    use super::*;

    struct Nothing;
    impl Handler for Nothing {
        fn run(&self, _: Call<'_>) -> Answer {
            Response::ok().into()
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    #[test]
    fn secrets_are_hidden_by_name_wherever_they_stand() {
        let params = ["user", "Password"].map(|name| ParamSpec::required(name, Kind::Str)).to_vec();
        let command = Command {
            module: "billing".into(),
            name: "sub_add".into(),
            help: Str::default(),
            flags: CommandFlags::NONE,
            recipe: Recipe::Signature(Signature { params, ..Signature::default() }),
            aliases: Vec::new(),
            handler: Box::new(Nothing),
            conduct: Conduct::default(),
        };
        let trace = Trace::new(vec!["sub_*".into()], vec!["PIN".into()]);
        assert!(trace.records(&command));
        assert!(!Trace::default().records(&command));
        let asked = Params::Positional(vec!["alice".into(), "hunter2".into()]);
        assert_eq!(trace.request(&command, &asked), r#"{"user":"alice","Password":"***"}"#);
        let inner = Item::from([("auth_token", "t".into()), ("pin", Item::Int(7)), ("spin", Item::Int(7))]);
        let reply = Response::from(Item::Array(vec![inner]));
        assert_eq!(trace.reply(&Ok(reply)), r#"200 OK [{"auth_token":"***","pin":"***","spin":7}]"#);
        assert_eq!(trace.reply(&Err(Failure::Timeout)), "request timeout");
        let nested =
            Item::Array(vec![Item::from([("ha1", "h".into()), ("url", "mysql://ann:pw@db/x?token=t".into())])]);
        let asked = Params::Named(vec![("user".into(), nested), ("hdr".into(), "Authorization: Digest a".into())]);
        assert_eq!(
            trace.request(&command, &asked),
            r#"{"user":[{"ha1":"***","url":"mysql://ann:***@db/x?token=***"}],"hdr":"***"}"#
        );
        assert_eq!(trace.reply(&Ok(Response::error(400, "no token=t"))), "400 no token=***");
    }
}
