//! The grammar of systemd's `EnvironmentFile=` (`src/basic/env-file.c`), kept so that an edit changes one assignment and no other byte.

/// The program that reads the file. A shell runs it and so knows `export A=1`, which systemd passes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reader {
    /// `EnvironmentFile=` of a unit.
    #[default]
    Systemd,
    /// The start script of a machine without systemd.
    Shell,
}

/// One assignment and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub key: String,
    /// Its value, unquoted.
    pub value: String,
    /// True if the line is written `export A=1`.
    pub is_exported: bool,
    /// First byte of the logical line.
    start: usize,
    /// Behind its last byte, before the line end.
    end: usize,
}

/// All assignments in order; of equal keys the last one counts. Lines without `=` and comments are passed over.
pub fn parse(bytes: &[u8]) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let start = at;
        if matches!(bytes.get(at), Some(b'#' | b';')) {
            at = skip_comment(bytes, at);
            continue;
        }
        let line = bytes[at..].iter().position(|byte| matches!(byte, b'=' | b'\n'));
        let Some(stop) = line.map(|line| at + line) else { break };
        if bytes[stop] == b'\n' {
            at = stop + 1;
            continue;
        }
        let left = String::from_utf8_lossy(&bytes[at..stop]).trim().to_owned();
        let exported = left.strip_prefix("export ").map(|key| key.trim_start().to_owned());
        let (is_exported, key) = (exported.is_some(), exported.unwrap_or(left));
        let (value, end) = read_value(bytes, stop + 1);
        at = end;
        if !key.is_empty() {
            let value = String::from_utf8_lossy(&value).into_owned();
            found.push(Assignment { key, value, is_exported, start, end });
        }
    }
    found
}

/// systemd lets a backslash continue a comment; the shell does not. The longer reading is the safe one.
fn skip_comment(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'\n' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// The value and where it ends: at a line end outside quotes.
fn read_value(bytes: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut value = Vec::new();
    // Blanks count only inside quotes or before more of the value.
    let mut solid = 0;
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        match byte {
            b'\n' => {
                value.truncate(solid);
                return (value, at - 1);
            }
            b'\'' => {
                while let Some(inner) = bytes.get(at).copied() {
                    at += 1;
                    if inner == b'\'' {
                        break;
                    }
                    value.push(inner);
                }
                solid = value.len();
            }
            b'"' => {
                at = read_quoted(bytes, at, &mut value);
                solid = value.len();
            }
            b'\\' => {
                if let Some(escaped) = bytes.get(at).copied() {
                    at += 1;
                    if escaped != b'\n' {
                        value.push(escaped);
                    }
                }
                solid = value.len();
            }
            blank if blank.is_ascii_whitespace() => value.push(blank),
            other => {
                value.push(other);
                solid = value.len();
            }
        }
    }
    value.truncate(solid);
    (value, bytes.len())
}

fn read_quoted(bytes: &[u8], mut at: usize, value: &mut Vec<u8>) -> usize {
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => {
                let Some(escaped) = bytes.get(at).copied() else { break };
                at += 1;
                match escaped {
                    b'"' | b'\\' | b'`' | b'$' => value.push(escaped),
                    b'\n' => {}
                    other => value.extend([b'\\', other]),
                }
            }
            other => value.push(other),
        }
    }
    at
}

/// The assignment that counts: the last one.
fn last(bytes: &[u8], key: &str, reader: Reader) -> Option<Assignment> {
    let counts =
        |assignment: &Assignment| assignment.key == key && (reader == Reader::Shell || !assignment.is_exported);
    parse(bytes).into_iter().rev().find(counts)
}

/// The value that counts: the last one.
pub fn get(bytes: &[u8], key: &str, reader: Reader) -> Option<String> {
    last(bytes, key, reader).map(|assignment| assignment.value)
}

/// The bytes with one variable set: its last assignment is replaced where it stands, or a line is added at the end.
/// Always in double quotes: a `SysV` script reads the same file with sh.
///
/// ```
/// use sipmi::affinity::envfile::{self, Reader};
/// let changed = envfile::set(b"# mine\nA=1\nB=2", "A", "x y", Reader::Systemd);
/// assert_eq!(changed, b"# mine\nA=\"x y\"\nB=2");
/// ```
pub fn set(bytes: &[u8], key: &str, value: &str, reader: Reader) -> Vec<u8> {
    let old = last(bytes, key, reader);
    let export = if old.as_ref().is_some_and(|old| old.is_exported) { "export " } else { "" };
    let mut quoted = format!("{export}{key}=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '`' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    let mut changed = bytes.to_vec();
    if let Some(old) = old {
        changed.splice(old.start..old.end, quoted.bytes());
        return changed;
    }
    if changed.last().is_some_and(|last| *last != b'\n') {
        changed.push(b'\n');
    }
    changed.extend(quoted.bytes());
    changed.push(b'\n');
    // An unfinished quote or comment at the end would swallow the line: then it goes first.
    if get(&changed, key, reader).as_deref() != Some(value) {
        changed = [quoted.as_bytes(), b"\n", bytes].concat();
    }
    changed
}
