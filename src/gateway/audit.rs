//! One entry of the audit log for each forwarded request: caller, command and result. Secrets are masked.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::catalog::names::flat_name;
use crate::catalog::secrets::{self, MASK};
use crate::codec::json;
use crate::command::Origin;
use crate::item::{Item, Str};
use crate::request::{Param, Params};
use crate::response::{Failure, Response};

/// Takes entries, as JSON text; called on the threads that answer, so it must not wait.
pub type Audit = Arc<dyn Fn(String) + Send + Sync>;

/// A value in the log has at most this many bytes.
const LONGEST: usize = 256;

/// A request on its way to become an entry.
pub struct Entry {
    started: Instant,
    members: Vec<(Str, Item)>,
}

impl Entry {
    /// Records the caller, the command and its parameters, and the upstream.
    pub fn new(origin: &Origin, method: &[u8], params: &Params, upstream: &str) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let members = [
            ("time", Item::Float((now.as_secs_f64() * 1000.0).round() / 1000.0)),
            ("user", origin.user.as_deref().map_or(Item::Null, Item::from)),
            ("peer", origin.peer.to_string().into()),
            ("listener", (&*origin.listener).into()),
            ("wire", origin.wire.name().into()),
            ("command", Item::Str(method.into())),
            ("params", masked(method, params)),
            ("upstream", upstream.into()),
        ];
        Entry {
            started: Instant::now(),
            members: members.into_iter().map(|(name, item)| (name.into(), item)).collect(),
        }
    }

    /// The entry, now that the request is answered.
    pub fn finish(mut self, result: &Result<Response, Failure>, from_cache: bool) -> String {
        let (outcome, code) = match result {
            Ok(response) if response.is_success() => ("ok", Item::Int(response.code.into())),
            Ok(response) => ("error", Item::Int(response.code.into())),
            Err(Failure::Forbidden) => ("refused", Item::Null),
            Err(_) => ("failed", Item::Null),
        };
        let micros = self.started.elapsed().as_micros() as f64;
        let reason = match result {
            Ok(response) if response.is_success() => Item::Null,
            Ok(response) => cut(&response.reason),
            Err(failure) => failure.to_string().into(),
        };
        let last = [
            ("outcome", outcome.into()),
            ("code", code),
            ("reason", reason),
            ("cached", Item::Bool(from_cache)),
            ("elapsed", Item::Float(micros / 1e6)),
        ];
        self.members.extend(last.into_iter().map(|(name, item)| (name.into(), item)));
        let mut text = Vec::new();
        json::write(&mut text, &Item::Object(self.members));
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn masked(method: &[u8], params: &Params) -> Item {
    let flat = flat_name(method);
    let is_secret = |place: usize, name: &Str| secrets::is_secret_parameter(&flat, &name.to_text(), place);
    let shown = |place: usize, name: &Str, item: &Item| if is_secret(place, name) { MASK.into() } else { show(item) };
    match params {
        Params::None => Item::Array(Vec::new()),
        Params::Positional(items) => {
            let items = items.iter().enumerate();
            Item::Array(items.map(|(place, item)| shown(place, &Str::default(), item)).collect())
        }
        Params::Named(members) => {
            let members = members.iter().enumerate();
            Item::Object(members.map(|(place, (name, item))| (name.clone(), shown(place, name, item))).collect())
        }
        Params::Strings(strings) => {
            let shown = |(place, Param { name, value }): (usize, &Param)| {
                let value = shown(place, name, &Item::Str(value.clone()));
                if name.is_empty() { value } else { Item::Object(vec![(name.clone(), value)]) }
            };
            Item::Array(strings.iter().enumerate().map(shown).collect())
        }
    }
}

fn show(item: &Item) -> Item {
    match item {
        Item::Str(text) => cut(text),
        Item::Array(elements) => Item::Array(elements.iter().map(show).collect()),
        Item::Object(members) => {
            let shown = |(name, member): &(Str, Item)| {
                let is_secret = secrets::is_secret(&name.to_text());
                (name.clone(), if is_secret { MASK.into() } else { show(member) })
            };
            Item::Object(members.iter().map(shown).collect())
        }
        scalar => scalar.clone(),
    }
}

/// The beginning of a text, with its secrets masked.
fn cut(text: &[u8]) -> Item {
    let mut text = secrets::hidden(&String::from_utf8_lossy(text));
    if let Some((end, _)) = text.char_indices().find(|(at, _)| *at >= LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &str, params: &Params) -> String {
        let mut text = Vec::new();
        json::write(&mut text, &masked(method.as_bytes(), params));
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn secrets_are_masked_by_name_by_position_and_by_value() {
        let named = |name: &str, value: &str| Params::Named(vec![(name.into(), value.into())]);
        assert_eq!(shown("x", &named("auth_password", "p")), r#"{"auth_password":"***"}"#);
        assert_eq!(shown("x", &named("user", "ann")), r#"{"user":"ann"}"#);
        let stored = |items: [&str; 3]| Params::Positional(items.iter().map(|item| (*item).into()).collect());
        assert_eq!(shown("cache:store", &stored(["local", "k", "v"])), r#"["local","k","***"]"#);
        assert_eq!(shown("x", &named("url", "mysql://ann:pw@db/x")), r#"{"url":"mysql://ann:***@db/x"}"#);
        assert_eq!(shown("x", &named("url", "http://h/mi?token=t&a=1")), r#"{"url":"http://h/mi?token=***&a=1"}"#);
        assert_eq!(shown("x", &named("hdrs", "Authorization: Digest a")), r#"{"hdrs":"***"}"#);
        let nested =
            Params::Positional(vec![Item::Array(vec![Item::from([("db_Passwd", "p".into()), ("a", "b".into())])])]);
        assert_eq!(shown("x", &nested), r#"[[{"db_Passwd":"***","a":"b"}]]"#);
    }

    #[test]
    fn an_audit_entry_has_the_outcome_of_the_request() {
        let entry = || Entry::new(&Origin::local(), b"ps", &Params::None, "udp:127.0.0.1:1");
        assert!(
            entry()
                .finish(&Ok(Response::ok()), true)
                .contains(r#""outcome":"ok","code":200,"reason":null,"cached":true"#)
        );
        assert!(entry().finish(&Err(Failure::Forbidden), false).contains(r#""outcome":"refused""#));
        let failed = entry().finish(&Ok(Response::error(404, "AOR not found")), false);
        assert!(failed.contains(r#""outcome":"error","code":404,"reason":"AOR not found""#), "{failed}");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let Item::Str(text) = cut("é".repeat(500).as_bytes()) else { panic!("a text") };
        assert!(text.len() < LONGEST + 8 && text.to_text().ends_with('…'));
    }
}
