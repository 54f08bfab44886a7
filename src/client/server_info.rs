//! Finds out who answers: which wire a server speaks, and its generation.
//!
//! Over HTTP the wire goes by the path, and the form of XML-RPC by the reply.

use std::fmt;

use crate::codec::json;
use crate::codec::xmlrpc::Form;
use crate::item::Str;
use crate::response::{Body, Response};
use crate::tree::{NodeId, Tree, Value};

/// The format of requests and replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wire {
    /// The text of 1.x and 2.x.
    #[default]
    Text,
    /// The JSON-RPC of 3.x and 4.x.
    Json,
    /// The GET interface of 1.x and 2.x, at `/json`.
    MiJson,
    /// XML-RPC, in the form of the server's version.
    XmlRpc,
}

impl Wire {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Wire::Text => "text",
            Wire::Json => "jsonrpc",
            Wire::MiJson => "mi_json",
            Wire::XmlRpc => "xmlrpc",
        }
    }
}

impl Wire {
    /// Returns the wire that is usual at a path with this last segment.
    pub(super) fn at_root(root: &str) -> Self {
        match root {
            "json" => Wire::MiJson,
            "RPC2" | "xmlrpc" => Wire::XmlRpc,
            // mi, or a custom name.
            _ => Wire::Json,
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

/// The known facts about a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerInfo {
    /// The server's wire.
    pub wire: Wire,
    /// `None` when it does not say.
    pub generation: Option<Generation>,
    /// `2.4.11`; `None` when it does not say.
    pub version: Option<String>,
    /// How values look, where the wire is XML-RPC.
    pub form: Form,
}

impl ServerInfo {
    /// From the answer to `version`.
    pub(super) fn read(wire: Wire, response: &Response) -> Self {
        let server = server_of(response).filter(|_| response.is_success());
        let (generation, version) = server.as_deref().and_then(read_server).unzip();
        ServerInfo { form: form_of(generation, response), wire, generation, version }
    }

    /// Returns true if parameters keep their JSON types.
    pub fn is_typed(&self) -> bool {
        match self.wire {
            Wire::Json => true,
            Wire::XmlRpc => self.form == Form::Native,
            Wire::Text | Wire::MiJson => false,
        }
    }

    /// Returns true if some of its replies have shapes that are in no table: OpenSIPS 1.4 to 1.10.
    pub fn is_before_shapes(&self) -> bool {
        self.generation == Some(Generation::OpenSips(1)) && self.minor().is_some_and(|minor| minor < 11)
    }

    /// The second part of the version.
    pub(super) fn minor(&self) -> Option<u32> {
        self.part(1)
    }

    /// The third part of the version.
    pub(super) fn patch(&self) -> Option<u32> {
        self.part(2)
    }

    fn part(&self, place: usize) -> Option<u32> {
        self.version.as_deref()?.split('.').nth(place)?.parse().ok()
    }
}

/// Returns the form of XML-RPC of a server's answer, so far as requests differ by it: only typed replies are values.
fn form_of(generation: Option<Generation>, response: &Response) -> Form {
    match (&response.body, generation) {
        (Body::Tree(_), Some(Generation::OpenSips(2))) => Form::Ng2,
        (Body::Tree(_), Some(Generation::OpenSips(1))) => Form::Ng,
        (Body::Tree(_), _) => Form::String,
        (Body::Empty | Body::Item(_) | Body::Json(_), _) => Form::Native,
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
    fn a_server_that_does_not_report_its_version_is_unknown() {
        for server in ["", "OpenSIPS", "OpenSIPS (", "OpenSIPS (devel)"] {
            assert_eq!(read_server(server.as_bytes()), None, "{server}");
        }
    }
}
