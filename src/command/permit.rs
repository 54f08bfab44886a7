//! The commands that a listener runs.

use super::{Command, CommandFlags};

/// The commands that a listener runs; by default all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// Patterns of names, bare, `module:name` or alias, with `*` for any bytes and `?` for one; `None`: every name.
    pub allow: Option<Vec<String>>,
    /// If true, only commands that change nothing.
    pub read_only: bool,
}

impl Permit {
    /// Returns true if the listener runs this command.
    pub fn allows(&self, command: &Command) -> bool {
        (!self.read_only || command.flags.has(CommandFlags::READ_ONLY)) && self.names(command)
    }

    fn names(&self, command: &Command) -> bool {
        self.allow.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| Permit::means(pattern, command)))
    }

    /// Returns a pattern that cannot match any command: names are not empty and contain no blanks.
    pub fn pattern_without_match(&self) -> Option<&str> {
        let is_vain = |pattern: &&String| pattern.is_empty() || pattern.contains(char::is_whitespace);
        self.allow.iter().flatten().find(is_vain).map(String::as_str)
    }

    /// Returns true if a pattern matches one of a command's names: bare, `module:name` or an alias.
    pub fn means(pattern: &str, command: &Command) -> bool {
        let canonical = command.canonical_name();
        let mut names = [&command.name, &canonical].into_iter().chain(&command.aliases);
        names.any(|name| Permit::is_meant(pattern, name))
    }

    /// Returns true if a pattern matches a name; `*` stands for any bytes and `?` for one byte.
    pub fn is_meant(pattern: &str, name: &[u8]) -> bool {
        matches(pattern.as_bytes(), name)
    }
}

/// Returns true if a pattern with `*` and `?` matches a text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // The position of the last star, and the length of the text that it has matched so far.
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
