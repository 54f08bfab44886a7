//! GET requests from web browsers, and the commands that they may run.
//!
//! `mi_json` changes state by GET, so programs must be able to do so, too. A page of another site can make a browser
//! send a GET with neither Origin, Referer nor Sec-Fetch-Site, if the address is plain HTTP and not loopback (Referrer
//! Policy; Fetch Metadata: "potentially trustworthy URL"). A page cannot remove the other fields that browsers send.

use hyper::header::{ACCEPT_LANGUAGE, HeaderMap, UPGRADE_INSECURE_REQUESTS, USER_AGENT};

use super::guard::Guard;
use crate::server::options::http::JsonGet;

impl JsonGet {
    /// Returns true if a GET with this head may run only commands that change nothing.
    pub(super) fn reads_only(self, head: &HeaderMap, guard: &Guard) -> bool {
        match self {
            JsonGet::Programs => is_from_browser(head) && !guard.proves_our_origin(head),
            JsonGet::ReadOnly => true,
            JsonGet::All => false,
        }
    }
}

/// Returns true if a request has a field that every browser sends and that no page can remove.
fn is_from_browser(head: &HeaderMap) -> bool {
    head.iter().any(|(name, value)| {
        *name == ACCEPT_LANGUAGE
            || *name == UPGRADE_INSECURE_REQUESTS
            || name.as_str().starts_with("sec-")
            || *name == USER_AGENT && is_of_browser(value.as_bytes())
    })
}

fn is_of_browser(user_agent: &[u8]) -> bool {
    const PREFIX: &[u8] = b"mozilla/";
    user_agent.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;
    use crate::server::options::credentials::Credentials;

    fn reads_only(fields: &[(&'static str, &'static str)]) -> bool {
        let guard = Guard::new(Credentials::default(), vec!["mi.example.org".into()], "http");
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), hyper::header::HeaderValue::from_static(value)));
        JsonGet::Programs.reads_only(&fields.collect(), &guard)
    }

    #[test]
    fn a_browser_is_known_by_each_field_that_a_page_cannot_remove() {
        for field in [
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
            ("user-agent", "mozilla/5.0"),
            ("accept-language", "en"),
            ("accept-language", ""),
            ("sec-fetch-mode", "no-cors"),
            ("sec-gpc", "1"),
            ("upgrade-insecure-requests", "1"),
        ] {
            assert!(reads_only(&[("host", "10.0.0.1"), field]), "{field:?}");
        }
    }

    #[test]
    fn a_program_runs_everything() {
        for field in [
            ("user-agent", "curl/8.5.0"),
            ("user-agent", "Python-urllib/3.11"),
            ("user-agent", "not Mozilla/5.0"),
            ("user-agent", ""),
            ("accept", "*/*"),
            ("x-sec-fetch", "1"),
        ] {
            assert!(!reads_only(&[("host", "10.0.0.1"), field]), "{field:?}");
        }
        assert!(!reads_only(&[]));
    }

    #[test]
    fn a_page_of_this_server_runs_everything_and_another_one_does_not() {
        let mozilla = ("user-agent", "Mozilla/5.0");
        for (host, field, is_ours) in [
            ("10.0.0.1:88", ("origin", "http://10.0.0.1:88"), true),
            ("10.0.0.1:88", ("referer", "http://10.0.0.1:88/html/web"), true),
            ("10.0.0.1:88", ("sec-fetch-site", "same-origin"), true),
            ("mi.example.org", ("origin", "http://mi.example.org"), true),
            // A link in a mail, or a typed address: the browser names no page.
            ("10.0.0.1:88", ("sec-fetch-site", "none"), false),
            ("10.0.0.1:88", ("sec-fetch-site", "cross-site"), false),
            ("10.0.0.1:88", ("referer", "http://evil.example/"), false),
            // A name of the attacker that resolves to this server's address.
            ("evil.example", ("origin", "http://evil.example"), false),
        ] {
            assert_eq!(reads_only(&[("host", host), mozilla, field]), !is_ours, "{host} {field:?}");
        }
        let mixed = [("host", "h"), mozilla, ("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")];
        assert!(reads_only(&mixed));
    }
}
