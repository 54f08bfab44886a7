//! Which values logs, traces, audits and recordings hide: by their names, by their places, and inside texts.

use std::ops::Range;

/// Stands in the place of a secret.
pub const MASK: &str = "***";

/// Parts of the names of secret values, in lower case.
pub const NAMES: [&str; 10] =
    ["passw", "secret", "token", "credential", "private", "auth", "ha1", "api_key", "api-key", "apikey"];

/// Parameters that are secret by their place: the command, the name of the parameter and its places.
///
/// From `mi_export_t` of 3.x to master. Commands for other nodes of a cluster have parameters of their own.
const PLACES: [(&str, &str, Range<usize>); 8] = [
    ("cache_store", "value", 2..3),
    ("reg_upsert", "password", 6..7),
    ("aka_av_add", "authenticate", 2..3),
    ("aka_av_add", "authorize", 3..4),
    ("aka_av_add", "confidentiality-key", 4..5),
    ("aka_av_add", "integrity-key", 5..6),
    ("cluster_send_mi", "cmd_params", 3..usize::MAX),
    ("cluster_broadcast_mi", "cmd_params", 2..usize::MAX),
];

/// Schemes of URLs with passwords that have no slashes before the user.
const SCHEMES_WITHOUT_SLASHES: [&str; 3] = ["rabbitmq", "sip", "sips"];

/// Words that begin the credentials of a SIP or HTTP header field: the whole text is secret.
const CREDENTIALS: [&str; 3] = ["authorization:", "digest ", "bearer "];

/// Returns true if values of this name are secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|part| name.contains(part))
}

/// Returns true if a parameter of a command is secret, by its name or else by its position.
pub fn is_secret_parameter(flat_command: &[u8], name: &str, place: usize) -> bool {
    let is_meant =
        |named: &str, places: &Range<usize>| if name.is_empty() { places.contains(&place) } else { named == name };
    is_secret(name)
        || PLACES.iter().any(|(command, named, at)| command.as_bytes() == flat_command && is_meant(named, at))
}

/// A text without the secrets in it: passwords of URLs, credentials of header fields, values after secret names.
///
/// Takes linear time.
pub fn hidden(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if CREDENTIALS.iter().any(|word| lower.contains(word)) {
        return MASK.to_owned();
    }
    without_named_values(&without_passwords(text))
}

/// `mysql://user:password@host` and `rabbitmq:user:password@host` without the password.
fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut copied, mut from) = (0, 0);
    while let Some(colon) = find_from(text, from, |char| char == ':') {
        from = colon + 1;
        if let Some(start) = start_of_authority(text, colon) {
            let end =
                find_from(text, start, |char| matches!(char, '/' | ' ' | '\n' | ';' | '>')).unwrap_or(text.len());
            let at = text[start..end].rfind('@').map(|at| start + at);
            let colon = at.and_then(|at| text[start..at].find(':').map(|colon| start + colon));
            if let (Some(colon), Some(at)) = (colon, at) {
                shown.push_str(&text[copied..=colon]);
                shown.push_str(MASK);
                copied = at;
            }
            from = end;
        }
    }
    shown.push_str(&text[copied..]);
    shown
}

/// The place of the user in a URL whose scheme ends at this colon; `None` where no URL is.
fn start_of_authority(text: &str, colon: usize) -> Option<usize> {
    if text[colon..].starts_with("://") {
        return Some(colon + 3);
    }
    let before = text.as_bytes()[..colon].iter().rev();
    let length =
        before.take_while(|byte| byte.is_ascii_alphabetic()).take(SCHEMES_WITHOUT_SLASHES[0].len() + 1).count();
    let scheme = &text[colon - length..colon];
    SCHEMES_WITHOUT_SLASHES.iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(colon + 1)
}

/// `?token=abc`, `X-Api-Key: abc` and `{"password": "abc"}` without `abc`.
fn without_named_values(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(start) = find_from(text, at, is_of_name) {
        let end = find_from(text, start, |char| !is_of_name(char)).unwrap_or(text.len());
        let value = if is_secret(&text[start..end]) { value_after(text, end) } else { end..end };
        shown.push_str(&text[at..value.start]);
        shown.push_str(if value.is_empty() { "" } else { MASK });
        at = value.end;
    }
    shown.push_str(&text[at..]);
    shown
}

/// The value that belongs to the name that ends here; empty where none does.
fn value_after(text: &str, name_end: usize) -> Range<usize> {
    let none = name_end..name_end;
    let after_name = text[name_end..].trim_start_matches(['"', '\'', '\\']);
    let is_quoted_name = after_name.len() < text.len() - name_end;
    let after_name = after_name.trim_start_matches(' ');
    let Some(separator) = after_name.chars().next().filter(|char| matches!(char, '=' | ':')) else { return none };
    let value = &after_name[1..];
    // `auth:reload` is the name of a command; a header field has a blank.
    if separator == ':' && !is_quoted_name && !value.starts_with(' ') {
        return none;
    }
    let value = value.trim_start_matches(' ');
    let opening = value.len() - value.trim_start_matches('\\').len();
    let start = text.len() - value.len();
    let length = match value[opening..].chars().next() {
        Some(quote @ ('"' | '\'')) => {
            return start + opening + 1..text.len() - after_quoted(&value[opening + 1..], quote);
        }
        _ if separator == ':' && !is_quoted_name => value.find(['\r', '\n']),
        _ => value.find(['&', ';', ',', ' ', '\r', '\n', '"', '\'', '>', '}', ']', ')']),
    };
    start..start + length.unwrap_or(value.len())
}

/// How much of a text follows a quoted value: from its closing quote on.
fn after_quoted(value: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, char) in value.char_indices() {
        if char == quote && !is_escaped {
            return value.len() - at;
        }
        is_escaped = char == '\\' && !is_escaped;
    }
    0
}

fn find_from(text: &str, from: usize, wanted: impl Fn(char) -> bool) -> Option<usize> {
    text[from..].find(wanted).map(|at| from + at)
}

fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_secret_by_a_part_of_them_whatever_their_case() {
        for name in ["Password", "db_passwd", "HA1", "ha1b", "auth_token", "X-Api-Key", "apiKey", "Authorization"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["user", "key", "pass_through", "hash", ""] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(is_secret_parameter(b"reg_upsert", "", 6));
        assert!(is_secret_parameter(b"aka_av_add", "integrity-key", 5));
        assert!(is_secret_parameter(b"cluster_send_mi", "", 5), "a value for a command of another node");
        assert!(!is_secret_parameter(b"cluster_send_mi", "", 2));
        assert!(is_secret_parameter(b"cache_store", "", 2));
        assert!(is_secret_parameter(b"cache_store", "value", 9));
        assert!(!is_secret_parameter(b"cache_store", "attr", 2));
        assert!(!is_secret_parameter(b"cache_fetch", "", 2));
    }

    #[test]
    fn texts_are_shown_without_the_secrets_in_them() {
        for (text, shown) in [
            ("mysql://ann:pw@db/x and redis://:pw@db", "mysql://ann:***@db/x and redis://:***@db"),
            ("rabbitmq:guest:pw@127.0.0.1:5672/pike", "rabbitmq:guest:***@127.0.0.1:5672/pike"),
            ("<SIP:ann:pw@h;x> sips:bob@h:5061", "<SIP:ann:***@h;x> sips:bob@h:5061"),
            ("a:b:c@d 10:20:30 gossip:a:b@c", "a:b:c@d 10:20:30 gossip:a:b@c"),
            ("http://h/mi?token=abc&a=1", "http://h/mi?token=***&a=1"),
            ("http://h/mi?a=1;API_KEY=abc", "http://h/mi?a=1;API_KEY=***"),
            ("Authorization: Digest username=\"ann\"", "***"),
            ("proxy-authorization:Basic YTpi", "***"),
            ("Bearer abc", "***"),
            ("A: 1\r\nX-Api-Key: a b\r\nB: 2", "A: 1\r\nX-Api-Key: ***\r\nB: 2"),
            (r#"{"user":"ann","password": "p\"w","pin":1}"#, r#"{"user":"ann","password": "***","pin":1}"#),
            (r#"{"ha1":12,"a":[{"secret":null}]}"#, r#"{"ha1":***,"a":[{"secret":***}]}"#),
            ("password=abc", "password=***"),
            ("password='a b' x", "password='***' x"),
            ("password=\"cut off", "password=\"***"),
            ("auth:reload, auth_db:reload", "auth:reload, auth_db:reload"),
            ("password", "password"),
            ("token=", "token="),
            ("é tokén password=é", "é tokén password=***"),
            ("", ""),
        ] {
            assert_eq!(hidden(text), shown);
        }
    }
}
