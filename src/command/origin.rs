//! The origin of a request: its sender, transport and wire.

use std::sync::Arc;
use std::time::Instant;

use crate::peer::Peer;

/// The sender of a request, and the way it came.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's address; `local` for a call without a transport.
    pub listener: Arc<str>,
    /// The transport that carried it.
    pub transport: Transport,
    /// The wire in which it was written.
    pub wire: Wire,
    /// The sender, where the transport tells.
    pub peer: Peer,
    /// The name with which the sender authenticated, where the listener requires one.
    pub user: Option<Arc<str>>,
    /// The deadline of its reply.
    pub deadline: Option<Instant>,
}

impl Origin {
    /// A call without a transport in between.
    pub fn local() -> Self {
        Origin {
            listener: "local".into(),
            transport: Transport::Local,
            wire: Wire::JsonRpc,
            peer: Peer::Unknown,
            user: None,
            deadline: None,
        }
    }

    /// Returns true if the reply is sent as JSON text, so that a value may be encoded at once.
    pub fn takes_json(&self) -> bool {
        self.wire == Wire::JsonRpc && self.transport != Transport::Local
    }
}

/// A transport that carries requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Transport {
    /// No transport: a call from this process.
    Local,
    /// A named pipe (`mi_fifo`).
    Fifo,
    /// UDP (`mi_datagram`).
    Udp,
    /// A UNIX datagram socket (`mi_datagram`).
    Unix,
    /// HTTP or HTTPS (`httpd`).
    Http,
}

impl Transport {
    /// `fifo`, `udp`, `unix`, `http`, `local`: the scheme of its addresses.
    pub const fn scheme(self) -> &'static str {
        match self {
            Transport::Local => "local",
            Transport::Fifo => "fifo",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
            Transport::Http => "http",
        }
    }
}

/// The format of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Wire {
    /// The text of 1.x and 2.x: parameters are strings, replies are lines.
    Text,
    /// JSON-RPC 2.0, of 3.x and 4.x.
    JsonRpc,
    /// The parameters of a URL and JSON of nodes, of 1.11 and 2.x.
    MiJson,
    /// XML-RPC with types, of 3.x and 4.x.
    XmlRpc,
    /// XML-RPC with strings alone, of 1.x and 2.x.
    XmlRpcText,
    /// A URL with parameters in JSON and a page as reply (`mi_html` of 3.x and 4.x).
    Html,
    /// A URL with words as parameters and a page as reply (`mi_http` of 1.x and 2.x).
    HtmlWords,
}

impl Wire {
    /// `text`, `jsonrpc`, `mi_json`, `xmlrpc`, `html`.
    pub const fn name(self) -> &'static str {
        match self {
            Wire::Text => "text",
            Wire::JsonRpc => "jsonrpc",
            Wire::MiJson => "mi_json",
            Wire::XmlRpc | Wire::XmlRpcText => "xmlrpc",
            Wire::Html | Wire::HtmlWords => "html",
        }
    }

    /// Returns true if replies have the shape of 1.x and 2.x.
    pub const fn is_legacy(self) -> bool {
        matches!(self, Wire::Text | Wire::MiJson | Wire::XmlRpcText | Wire::HtmlWords)
    }
}
