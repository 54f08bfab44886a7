//! Finds out who answers: which wire a server speaks, and its generation.

use std::fmt;

use crate::codec::json;
use crate::item::Str;
use crate::response::{Body, Response};
use crate::tree::{NodeId, Tree, Value};

/// What requests and replies look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// The text of 1.x and 2.x.
    Text,
    /// The JSON-RPC of 3.x and 4.x.
    Json,
}

impl Wire {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Wire::Text => "text",
            Wire::Json => "jsonrpc",
        }
    }
}

/// Servers of which kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Generation {
    /// OpenSIPS, with the first part of its version.
    OpenSips(u32),
    /// Sipmi's own.
    Sipmi,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Generation::OpenSips(major) => write!(f, "{major}.x"),
            Generation::Sipmi => f.write_str("sipmi"),
        }
    }
}

/// What is known of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What it speaks.
    pub wire: Wire,
    /// `None` when it does not say.
    pub generation: Option<Generation>,
    /// `2.4.11`; `None` when it does not say.
    pub version: Option<String>,
}

impl Found {
    /// From the answer to `version`.
    pub(super) fn read(wire: Wire, response: &Response) -> Self {
        let server = server_of(response).filter(|_| response.is_success());
        let (generation, version) = server.as_deref().and_then(read_server).unzip();
        Found { wire, generation, version }
    }
}

/// The member `Server` of an answer.
fn server_of(response: &Response) -> Option<Str> {
    match &response.body {
        Body::Tree(tree) => {
            tree.children(NodeId::ROOT).find(|node| tree.name(*node) == b"Server").and_then(|node| text(tree, node))
        }
        body => json::item_of(body).ok()??.get("Server")?.as_str().map(Str::from),
    }
}

fn text(tree: &Tree, node: NodeId) -> Option<Str> {
    match tree.value(node) {
        Value::Str(value) => Some(value.into()),
        _ => None,
    }
}

/// Reads `OpenSIPS (2.4.11 (x86_64/linux))`, `OpenSIPS (1.11.11-notls (i386/linux))` and `sipmi (0.1.0; billing 1.4)`.
fn read_server(server: &[u8]) -> Option<(Generation, String)> {
    let server = String::from_utf8_lossy(server);
    let (name, rest) = server.split_once('(')?;
    let version: String = rest.chars().take_while(|char| char.is_ascii_digit() || *char == '.').collect();
    let generation = match name.trim() {
        "sipmi" => Generation::Sipmi,
        _ => Generation::OpenSips(version.split('.').next()?.parse().ok()?),
    };
    Some((generation, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_string_says_its_generation() {
        let cases = [
            ("OpenSIPS (1.11.11-notls (x86_64/linux))", "1.x", "1.11.11"),
            ("OpenSIPS (2.4.11 (x86_64/linux))", "2.x", "2.4.11"),
            ("OpenSIPS (3.6.8 (x86_64/linux))", "3.x", "3.6.8"),
            ("OpenSIPS (4.0.1 (x86_64/linux))", "4.x", "4.0.1"),
            ("OpenSIPS (4.1.0-dev (x86_64/linux))", "4.x", "4.1.0"),
            ("sipmi (0.1.0; billing 1.4)", "sipmi", "0.1.0"),
        ];
        for (server, generation, version) in cases {
            let (found, number) = read_server(server.as_bytes()).unwrap_or_else(|| panic!("{server}"));
            assert_eq!((found.to_string().as_str(), number.as_str()), (generation, version), "{server}");
        }
    }

    #[test]
    fn a_server_that_does_not_say_who_it_is_is_unknown() {
        for server in ["", "OpenSIPS", "OpenSIPS (", "OpenSIPS (devel)"] {
            assert_eq!(read_server(server.as_bytes()), None, "{server}");
        }
    }
}
