//! Checks of the sender: rejects pages of other sites, foreign networks, and requests without the password.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, REFERER};

use crate::server::options::credentials::Credentials;

/// The reason why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It comes from a page of another site.
    Foreign(&'static str),
    /// It has no valid credentials.
    Unproven,
}

/// The checks of a request's head.
#[derive(Debug)]
pub(crate) struct Guard {
    credentials: Credentials,
    /// The names of this server, beside addresses and `localhost`.
    hosts: Vec<String>,
    scheme: &'static str,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Guard {
    pub(crate) fn new(credentials: Credentials, hosts: Vec<String>, scheme: &'static str) -> Self {
        Guard { credentials, hosts, scheme }
    }

    /// Rejects requests from pages of other sites. This includes DNS rebinding, in which the attacker's name resolves
    /// to this server's address: `Host` then holds that name.
    pub(crate) fn check_site(&self, head: &HeaderMap) -> Result<(), Refusal> {
        let [mut host, mut site, mut origin, mut referer] = [None; 4];
        for (name, value) in head {
            let first = match name {
                name if name == HOST => &mut host,
                name if name == SEC_FETCH_SITE => &mut site,
                name if name == ORIGIN => &mut origin,
                name if name == REFERER => &mut referer,
                _ => continue,
            };
            first.get_or_insert_with(|| value.to_str().unwrap_or("?"));
        }
        if !host.is_none_or(|host| self.is_our_name(host)) {
            return Err(Refusal::Foreign("the Host header names another site"));
        }
        if site.is_some_and(|site| !matches!(site, "none" | "same-origin")) {
            return Err(Refusal::Foreign("Sec-Fetch-Site says that another site asks"));
        }
        for (found, why) in [(origin, "the Origin is another site"), (referer, "the Referer is another site")] {
            if found.is_some_and(|origin| !self.is_our_origin(origin, host)) {
                return Err(Refusal::Foreign(why));
            }
        }
        Ok(())
    }

    /// Returns true if the browser states that a page of this server sent the request. A page of another site cannot
    /// forge that.
    pub(crate) fn proves_our_origin(&self, head: &HeaderMap) -> bool {
        let is_said = head.contains_key(ORIGIN)
            || head.contains_key(REFERER)
            || head.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin");
        is_said && self.check_site(head).is_ok()
    }

    fn is_our_name(&self, host: &str) -> bool {
        let name = without_port(host);
        let inner = name.trim_start_matches('[').trim_end_matches(']');
        // A page of an attacker can have a name that resolves to this address, but never the address itself as its
        // host.
        let is_address = inner.parse::<IpAddr>().is_ok() || host.parse::<IpAddr>().is_ok();
        is_address
            || inner.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn is_our_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let authority = origin.strip_prefix(self.scheme).and_then(|rest| rest.strip_prefix("://"));
        let authority = authority.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        authority.is_some_and(|authority| host.is_some_and(|host| authority.eq_ignore_ascii_case(host)))
    }

    /// Returns the authenticated user, if the listener requires credentials.
    pub(crate) fn authenticate(&self, head: &HeaderMap) -> Result<Option<Arc<str>>, Refusal> {
        if self.credentials.are_not_asked_for() {
            return Ok(None);
        }
        let given = head.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or(Refusal::Unproven)?;
        let (scheme, proof) = given.split_once(' ').ok_or(Refusal::Unproven)?;
        let proof = proof.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return if self.credentials.have_token(proof) {
                Ok(Some("token".into()))
            } else {
                Err(Refusal::Unproven)
            };
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Refusal::Unproven);
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(proof).map_err(|_| Refusal::Unproven)?;
        let pair = String::from_utf8(decoded).map_err(|_| Refusal::Unproven)?;
        let (user, password) = pair.split_once(':').ok_or(Refusal::Unproven)?;
        if self.credentials.have_user(user, password) { Ok(Some(user.into())) } else { Err(Refusal::Unproven) }
    }

    /// The `WWW-Authenticate` field of a 401.
    pub(crate) fn challenge(&self) -> &'static str {
        if self.credentials.are_a_token() {
            "Bearer realm=\"OpenSIPS MI\""
        } else {
            "Basic realm=\"OpenSIPS MI\", charset=\"UTF-8\""
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    fn guard() -> Guard {
        let users = Some(vec![("ann".to_owned(), "s:ecret".to_owned()), ("bob".to_owned(), String::new())]);
        let credentials = Credentials { users, token: Some("tok".into()), ask: None };
        Guard::new(credentials, vec!["mi.example.org".into()], "http")
    }

    #[test]
    fn addresses_localhost_and_listed_names_are_ours() {
        for host in
            ["127.0.0.1:8888", "[::1]:80", "::1", "LOCALHOST", "10.1.2.3", "mi.example.org:1", "MI.example.org"]
        {
            assert_eq!(guard().check_site(&head(&[("host", host)])), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "mi.example.org.", "[x"]
        {
            assert!(guard().check_site(&head(&[("host", host)])).is_err(), "{host}");
        }
    }

    #[test]
    fn only_our_own_pages_may_ask() {
        let from = |name, value| guard().check_site(&head(&[("host", "127.0.0.1:88"), (name, value)]));
        assert_eq!(from("origin", "http://127.0.0.1:88"), Ok(()));
        assert_eq!(from("referer", "http://127.0.0.1:88/html?x=1"), Ok(()));
        assert_eq!(from("sec-fetch-site", "same-origin"), Ok(()));
        for (name, value) in [
            ("origin", "null"),
            ("origin", "https://127.0.0.1:88"),
            ("origin", "http://127.0.0.1:89"),
            ("origin", "http://127.0.0.1:88.evil.example"),
            ("referer", "http://evil.example/127.0.0.1:88"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(from(name, value).is_err(), "{name}: {value}");
        }
        assert!(guard().check_site(&head(&[("origin", "http://127.0.0.1:88")])).is_err(), "without a Host");
    }

    #[test]
    fn a_client_with_the_password_or_the_token_is_accepted() {
        let proves = |value: &str| guard().authenticate(&head(&[("authorization", value)]));
        let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        assert_eq!(proves(&basic("ann:s:ecret")), Ok(Some("ann".into())));
        assert_eq!(proves(&basic("bob:")), Ok(Some("bob".into())));
        assert_eq!(proves("bearer tok"), Ok(Some("token".into())));
        for wrong in
            [&basic("ann:bob"), &basic("ann"), &basic("eve:s:ecret"), "Bearer to", "Basic ?", "Digest x", "x"]
        {
            assert_eq!(proves(wrong), Err(Refusal::Unproven), "{wrong}");
        }
        assert_eq!(guard().authenticate(&HeaderMap::new()), Err(Refusal::Unproven));
        assert!(!format!("{:?}", guard()).contains("ecret"));
    }

    #[test]
    fn empty_credentials_are_rejected() {
        for credentials in [
            Credentials { users: Some(Vec::new()), ..Credentials::default() },
            Credentials { token: Some(String::new()), ..Credentials::default() },
        ] {
            let guard = Guard::new(credentials, Vec::new(), "http");
            for head in [head(&[]), head(&[("authorization", "Bearer ")]), head(&[("authorization", "Basic Og==")])] {
                assert_eq!(guard.authenticate(&head), Err(Refusal::Unproven), "{head:?}");
            }
        }
    }
}
