//! Where the attributes of a line begin.

use memchr::memmem;

/// Attributes whose name has a blank: all of them in the modules of 1.4 to 2.4.
const NAMES_WITH_BLANKS: [&[u8]; 10] = [
    // log_level of 2.x
    b"Log level",
    // cc_list_flows, cc_list_agents, cc_list_calls, cc_list_queue
    b"Avg Call Duration",
    b"Processed Calls",
    b"Logged Agents",
    b"Ongoing Calls",
    b"Loged in",
    b"Call Time",
    b"Waiting for",
    // clusterer_list, list_tcp_conns
    b"Machine ID",
    b"Pending lifetime",
];

/// Nodes without attributes, whose value may well look as if it had some.
const WITHOUT_ATTRIBUTES: [&[u8]; 7] = [b"attr", b"Message", b"Help", b"Usage", b"User-agent", b"description", b"WD"];

/// Where an attribute stands in a line.
#[derive(Clone, Copy)]
pub(super) struct Attribute {
    /// The blank before its name.
    pub start: usize,
    /// The byte after its `=`.
    pub value: usize,
}

/// Which attributes the nodes of a name have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attributes {
    /// Any.
    Any,
    /// None at all.
    No,
    /// The number `count` at the end of the line (`profile_get_values`), whose value may be any text.
    Count,
}

impl Attributes {
    /// The attributes of a node; `is_cached` tells the value of `cache_fetch` from those of `profile_get_values`.
    pub fn of(name: &[u8], is_cached: bool) -> Self {
        match name {
            b"value" if is_cached => Attributes::No,
            b"value" => Attributes::Count,
            name if WITHOUT_ATTRIBUTES.contains(&name) => Attributes::No,
            _ => Attributes::Any,
        }
    }

    /// The first attribute at or after `from`.
    pub fn next(self, line: &[u8], from: usize) -> Option<Attribute> {
        match self {
            Attributes::Any => any_attribute(line, from),
            Attributes::No => None,
            Attributes::Count => count(line).filter(|count| count.start >= from),
        }
    }
}

/// The attribute of a node without a name: that of `domain_dump`, to the end of the line.
pub(super) fn of_nameless(line: &[u8]) -> Option<Attribute> {
    const NAME: &[u8] = b" attributes=";
    let start = memmem::find(line, NAME).filter(|start| *start > 0)?;
    Some(Attribute { start, value: start + NAME.len() })
}

fn any_attribute(line: &[u8], from: usize) -> Option<Attribute> {
    memchr::memchr_iter(b' ', &line[from..]).find_map(|blank| {
        let start = from + blank;
        let len = attribute_name(&line[start + 1..])?;
        Some(Attribute { start, value: start + 1 + len + 1 })
    })
}

/// ` count=` with digits to the end of the line.
fn count(line: &[u8]) -> Option<Attribute> {
    const NAME: &[u8] = b" count=";
    let start = memmem::rfind(line, NAME)?;
    let value = start + NAME.len();
    let is_number = value < line.len() && line[value..].iter().all(u8::is_ascii_digit);
    is_number.then_some(Attribute { start, value })
}

/// How long the attribute name is that these bytes begin with, before its `=`.
fn attribute_name(bytes: &[u8]) -> Option<usize> {
    let listed = NAMES_WITH_BLANKS.iter().find(|name| bytes.starts_with(name)).map(|name| name.len());
    let len = listed.unwrap_or_else(|| {
        bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count()
    });
    let begins = bytes.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    (begins && bytes.get(len) == Some(&b'=')).then_some(len)
}
