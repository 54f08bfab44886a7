//! Passwords and tokens that let in.

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq as _};

/// Says whether a user has this password.
pub type AskPassword = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// How requests prove who sends them.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User names and their passwords (Basic); an empty list rejects every password.
    pub users: Option<Vec<(String, String)>>,
    /// Asked whether a user has this password (Basic).
    pub ask: Option<AskPassword>,
    /// A bearer token; an empty one rejects every client.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    /// Nothing that is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<&str> = self.users.iter().flatten().map(|(user, _)| user.as_str()).collect();
        f.debug_struct("Credentials")
            .field("users", &users)
            .field("asks", &self.ask.is_some())
            .field("has_token", &self.token.is_some())
            .finish()
    }
}

/// Credentials or names that no request can ever match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeverMatches {
    /// Basic authentication ends the name at the first colon.
    #[error("auth: expected a user name without a colon, got {0:?}, which no client can send")]
    User(String),
    /// A header field has no other bytes, and no blanks around its value.
    #[error("token: expected visible ASCII without blanks around it; no client can send the token that was given")]
    Token,
    /// `Host` is compared by its name alone.
    #[error("hosts: expected a name such as mi.example.org, without scheme, port and path, got {0:?}")]
    Host(String),
}

impl Credentials {
    /// Refuses what no request can match. Secrets are not in the error.
    pub fn check(&self) -> Result<(), NeverMatches> {
        if let Some((user, _)) = self.users.iter().flatten().find(|(user, _)| user.contains(':')) {
            return Err(NeverMatches::User(user.clone()));
        }
        let is_sendable =
            |token: &str| token.trim() == token && token.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if self.token.as_ref().is_some_and(|token| !is_sendable(token)) {
            return Err(NeverMatches::Token);
        }
        Ok(())
    }

    /// Returns true if every request is accepted.
    pub(crate) fn are_not_asked_for(&self) -> bool {
        self.users.is_none() && self.ask.is_none() && self.token.is_none()
    }

    /// Returns true if a token is the only credential.
    pub(crate) fn are_a_token(&self) -> bool {
        self.users.is_none() && self.ask.is_none() && self.token.is_some()
    }

    pub(crate) fn have_token(&self, proof: &str) -> bool {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        token.is_some_and(|token| token.as_bytes().ct_eq(proof.as_bytes()).into())
    }

    pub(crate) fn have_user(&self, user: &str, password: &str) -> bool {
        let is_listed = self.users.as_ref().is_some_and(|users| is_listed(users, user, password));
        is_listed || self.ask.as_ref().is_some_and(|ask| ask(user, password))
    }
}

/// Refuses names that no `Host` can match.
pub fn check_hosts(hosts: &[String]) -> Result<(), NeverMatches> {
    let is_name = |host: &str| {
        let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        is_address || (!host.is_empty() && host.bytes().all(is_host))
    };
    hosts.iter().find(|host| !is_name(host)).map_or(Ok(()), |host| Err(NeverMatches::Host(host.clone())))
}

/// Looks at every user and every byte, so that the time taken tells nothing.
fn is_listed(users: &[(String, String)], user: &str, password: &str) -> bool {
    let found = users.iter().fold(Choice::from(0), |found, (name, secret)| {
        found | (name.as_bytes().ct_eq(user.as_bytes()) & secret.as_bytes().ct_eq(password.as_bytes()))
    });
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_no_request_can_match_are_rejected() {
        let users = |user: &str| Some(vec![(user.to_owned(), "secret".to_owned())]);
        let check =
            |users, token: Option<&str>| Credentials { users, token: token.map(str::to_owned), ask: None }.check();
        assert_eq!(check(users("a:b"), None), Err(NeverMatches::User("a:b".into())));
        for token in [" t", "t ", "t\n", "t\u{e9}", "\t"] {
            assert_eq!(check(None, Some(token)), Err(NeverMatches::Token), "{token:?}");
        }
        for token in ["", "t", "a b", "a+/=~"] {
            assert_eq!(check(users("a@b"), Some(token)), Ok(()), "{token:?}");
        }
        let hosts = |host: &str| check_hosts(&[host.to_owned()]);
        for host in ["", "a:80", "http://a", "a/b", "a b", "b\u{fc}cher.example", "*.example.org"] {
            assert_eq!(hosts(host), Err(NeverMatches::Host(host.into())));
        }
        for host in ["a", "MI.example.org", "my_host", "::1", "[::1]", "10.0.0.1", "mi.example.org."] {
            assert_eq!(hosts(host), Ok(()), "{host}");
        }
    }
}
