//! A parser of `http://user:password@host:port/path`. Secrets in the address are never printed.

use super::credentials::Credentials;

/// Where requests go when an address has no path: the root of JSON-RPC.
const DEFAULT_PATH: &str = "/mi";

/// The host to connect to and the path to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client) struct Url {
    pub(in crate::client) is_secure: bool,
    /// Without the brackets of IPv6.
    pub(in crate::client) host: String,
    pub(in crate::client) port: u16,
    /// As it was written, with a slash at its beginning and none at its end.
    pub(in crate::client) path: String,
    /// As it was written, without user and password.
    pub(in crate::client) shown: String,
    /// The credentials in the address itself.
    pub(in crate::client) credentials: Option<Credentials>,
}

/// An address is no URL of a server. Shows nothing of its text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the address {shown:?}: {why}")]
pub struct UrlError {
    shown: String,
    why: &'static str,
}

impl Url {
    pub(in crate::client) fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        // A password may hold an @ that was not encoded.
        let (userinfo, place) = match rest[..end].rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, &rest[..end]),
        };
        let path = &rest[end..];
        // A slash in a password ends the host too early: an error shows nothing that may be part of one.
        let after_secrets = rest.rsplit('@').next().unwrap_or_default();
        let error = |why| UrlError { shown: format!("{scheme}://{after_secrets}"), why };
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(error("expected http:// or https://")),
        };
        if path.contains('@') {
            return Err(error("expected no @ in the path, and / in a password as %2F"));
        }
        if path.contains(['?', '#']) || path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(error("expected a path of printable ASCII, without ? and #"));
        }
        let (host, port) = split_port(place).ok_or_else(|| error("expected host:port, an IPv6 host in brackets"))?;
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => Some(if is_secure { 443 } else { 80 }),
        };
        let port = port.ok_or_else(|| error("expected a port of 1 to 65535"))?;
        if host.is_empty() || host.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(error("expected the name or number of a host"));
        }
        let path = match path.trim_end_matches('/') {
            "" => DEFAULT_PATH,
            path => path,
        };
        Ok(Url {
            is_secure,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            shown: format!("{scheme}://{place}{}", &rest[end..]),
            credentials: userinfo.map(read_userinfo),
        })
    }

    /// The same place with another path.
    pub(in crate::client) fn at(&self, path: &str) -> Self {
        let place = self.shown.find("://").map_or(0, |scheme| scheme + 3);
        let end = self.shown[place..].find('/').map_or(self.shown.len(), |slash| place + slash);
        Url { path: path.to_owned(), shown: format!("{}{path}", &self.shown[..end]), ..self.clone() }
    }

    /// Returns the value of the Host header, with the port unless it is the scheme's default.
    pub(in crate::client) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_secure, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The last part of the path, by which a server's wires are told apart.
    pub(in crate::client) fn root(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// The host without brackets, and the text after the colon.
fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = place.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            _ => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match place.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((place, None)),
    }
}

fn read_userinfo(userinfo: &str) -> Credentials {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<_>>().into();
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    Credentials::Basic { user: decode(user), password: decode(password) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = Url::parse("http://127.0.0.1:8888/mi").expect("a URL");
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("127.0.0.1", 8888, "/mi"));
        assert_eq!((url.authority().as_str(), url.root()), ("127.0.0.1:8888", "mi"));
        let url = Url::parse("https://[::1]/sip/RPC2/").expect("a URL");
        assert_eq!((url.host.as_str(), url.port, url.authority().as_str()), ("::1", 443, "[::1]"));
        assert_eq!((url.path.as_str(), url.root()), ("/sip/RPC2", "RPC2"));
        assert_eq!(Url::parse("http://host:1").map(|url| url.path), Ok("/mi".to_owned()));
    }

    #[test]
    fn a_password_in_a_url_is_used_and_never_shown() {
        let url = Url::parse("http://al%40ice:s3cr@t%3a@host:1/mi").expect("a URL");
        let expected = Credentials::Basic { user: "al@ice".into(), password: "s3cr@t:".into() };
        assert_eq!(url.credentials, Some(expected));
        assert_eq!(url.shown, "http://host:1/mi");
        assert!(!format!("{url:?}").contains("s3cr"), "{url:?}");
        for broken in [
            "http://a:s3cret@",
            "http://a:s3cret/@h:x/mi",
            "http://a:80/s3cret@h/mi",
            "http://a:s3cret@h/?x",
            "ftp://a:s3cret@h",
        ] {
            let error = Url::parse(broken).expect_err(broken).to_string();
            assert!(!error.contains("s3cret") && error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn an_invalid_url_is_an_error_with_the_expected_form() {
        for text in
            ["http://", "http://:80/mi", "http://h:0/", "http://h:65536/", "http://::1/mi", "http://h/m i", "h"]
        {
            let error = Url::parse(text).expect_err(text).to_string();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
