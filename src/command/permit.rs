//! Which commands a listener runs.

use super::{Command, CommandFlags};

/// The commands that a listener runs; all of them unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// Patterns of names, bare, `module:name` or alias, with `*` for any bytes and `?` for one; `None`: every name.
    pub allow: Option<Vec<String>>,
    /// Only commands that change nothing.
    pub read_only: bool,
}

impl Permit {
    /// Whether the listener runs this command.
    pub fn allows(&self, command: &Command) -> bool {
        (!self.read_only || command.flags.has(CommandFlags::READ_ONLY)) && self.names(command)
    }

    fn names(&self, command: &Command) -> bool {
        self.allow.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| Permit::means(pattern, command)))
    }

    /// A pattern that no name of a command matches: names are not empty and have no blanks.
    pub fn pattern_without_match(&self) -> Option<&str> {
        let is_vain = |pattern: &&String| pattern.is_empty() || pattern.contains(char::is_whitespace);
        self.allow.iter().flatten().find(is_vain).map(String::as_str)
    }

    /// Whether a pattern means a command, by any of its names: bare, `module:name` or an alias.
    pub fn means(pattern: &str, command: &Command) -> bool {
        let canonical = command.canonical_name();
        let mut names = [&command.name, &canonical].into_iter().chain(&command.aliases);
        names.any(|name| Permit::is_meant(pattern, name))
    }

    /// Whether a pattern with `*` for any bytes and `?` for one means a name.
    pub fn is_meant(pattern: &str, name: &[u8]) -> bool {
        matches(pattern.as_bytes(), name)
    }
}

/// Whether a pattern with `*` and `?` means a text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where the last star was, and how much of the text it has taken so far.
    let mut star = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                at = place + 1;
                seen = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_shells_mean_by_them() {
        for (pattern, text) in
            [("get_*", "get_statistics"), ("*", ""), ("a*b*c", "axxbbc"), ("?s", "ps"), ("ps", "ps")]
        {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("get_*", "reset_get_"), ("", "a"), ("a*b*c", "axxbb"), ("?s", "s"), ("ps", "psx")] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }
}
