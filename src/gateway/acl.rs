//! The access list of an upstream: which callers may run which commands.

use std::net::IpAddr;
use std::str::FromStr;

use super::command_names::Names;
use crate::catalog::effects::{Effect, effect_of};
use crate::command::{Origin, Peer};
use crate::server::listener::http::Network;

/// Stands among patterns for all commands that are known to change nothing.
const READS: &str = "@read";

/// The rights of all callers. The first rule that matches a caller counts; a caller that no rule matches has none.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    /// `None`: all callers may run all commands that listeners allow.
    rules: Option<Vec<Rule>>,
}

/// The commands that some callers may run.
#[derive(Clone, Debug)]
pub struct Rule {
    who: Who,
    /// Patterns of commands, and `@read`.
    patterns: Vec<String>,
}

#[derive(Clone, Debug)]
enum Who {
    Everybody,
    User(String),
    Network(Network),
}

/// A rule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// No user can have such a name.
    #[error("expected \"*\", a user or a network such as 10.0.0.0/8, found {0:?}")]
    Who(String),
    /// No group of commands is called so.
    #[error("expected a pattern of commands or \"@read\", found {0:?}")]
    Pattern(String),
}

impl Rule {
    /// `who` is `*`, the name of a user, or a network.
    pub fn new(who: &str, patterns: Vec<String>) -> Result<Self, AclError> {
        if let Some(bad) =
            patterns.iter().find(|pattern| pattern.is_empty() || (pattern.starts_with('@') && *pattern != READS))
        {
            return Err(AclError::Pattern(bad.clone()));
        }
        let who = match who {
            "" => return Err(AclError::Who(who.into())),
            "*" => Who::Everybody,
            _ => match Network::from_str(who) {
                Ok(network) => Who::Network(network),
                Err(_) if who.contains('/') => return Err(AclError::Who(who.into())),
                Err(_) => Who::User(who.into()),
            },
        };
        Ok(Rule { who, patterns })
    }

    fn is_about(&self, origin: &Origin) -> bool {
        match &self.who {
            Who::Everybody => true,
            Who::User(user) => origin.user.as_deref() == Some(user),
            Who::Network(network) => address(&origin.peer).is_some_and(|address| network.contains(address)),
        }
    }

    fn allows(&self, names: &Names) -> bool {
        let reads = self.patterns.iter().any(|pattern| pattern == READS);
        reads && effect_of(&names.flat) == Effect::Read || names.match_any(&self.patterns)
    }
}

impl From<Vec<Rule>> for Acl {
    fn from(rules: Vec<Rule>) -> Self {
        Acl { rules: Some(rules) }
    }
}

impl Acl {
    /// Returns true if a caller may run a command.
    pub(super) fn allow(&self, origin: &Origin, names: &Names) -> bool {
        let Some(rules) = &self.rules else { return true };
        rules.iter().find(|rule| rule.is_about(origin)).is_some_and(|rule| rule.allows(names))
    }
}

fn address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Inet(address) => Some(address.ip()),
        Peer::Unknown | Peer::Unix(_) | Peer::Fifo(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(user: Option<&str>, peer: &str) -> Origin {
        Origin { user: user.map(Into::into), peer: Peer::Inet(peer.parse().expect("an address")), ..Origin::local() }
    }

    fn acl(rules: &[(&str, &[&str])]) -> Acl {
        let rule = |(who, patterns): &(&str, &[&str])| {
            Rule::new(who, patterns.iter().map(ToString::to_string).collect()).expect("a rule")
        };
        rules.iter().map(rule).collect::<Vec<_>>().into()
    }

    #[test]
    fn the_first_rule_about_a_caller_counts() {
        let acl = acl(&[("ann", &["ul_*"]), ("10.0.0.0/8", &["@read"]), ("*", &["uptime"])]);
        let may = |user, peer, command: &str| acl.allow(&origin(user, peer), &Names::of(command.as_bytes()));
        assert!(may(Some("ann"), "10.0.0.1:1", "ul_rm") && may(Some("ann"), "10.0.0.1:1", "usrloc:rm"));
        assert!(!may(Some("ann"), "10.0.0.1:1", "uptime"));
        assert!(may(None, "10.0.0.1:1", "dialog:list") && !may(None, "10.0.0.1:1", "ul_rm"));
        assert!(may(None, "192.0.2.1:1", "core:uptime") && !may(Some("bob"), "192.0.2.1:1", "ps"));
    }

    #[test]
    fn without_rules_all_clients_are_allowed_and_without_a_match_none_is() {
        assert!(Acl::default().allow(&origin(None, "192.0.2.1:1"), &Names::of(b"ul_rm")));
        assert!(!acl(&[]).allow(&origin(None, "192.0.2.1:1"), &Names::of(b"ps")));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        assert_eq!(Rule::new("10.0.0.0/99", vec![]).err(), Some(AclError::Who("10.0.0.0/99".into())));
        assert_eq!(Rule::new("ann", vec!["@write".into()]).err(), Some(AclError::Pattern("@write".into())));
    }
}
