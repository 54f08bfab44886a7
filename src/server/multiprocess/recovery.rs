//! Answers for a worker that has died: its clients are told that the command failed.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::clock;
use crate::codec::jsonrpc::{self, Call, Id, Incoming, Refused};
use crate::codec::text::{self, Carrier, TextStyle};
use crate::dialect::Dialect;
use crate::response::Failure;
use crate::server::endpoint::Endpoint;
use crate::server::multiprocess::in_flight::AbandonedRequest;
use crate::server::options::ListenOptions;
use crate::sys::peer_address::PeerAddress;
use crate::transport::datagram::{Socket, send_from};
use crate::transport::fifo::{Opened, ReplyIdentity};
use crate::transport::spare::is_shortage;

/// How long a receiver that is full, or does not read yet, is tried.
const PATIENCE: Duration = Duration::from_secs(1);

/// An answer that is on its way.
pub(crate) struct Answer {
    endpoint: usize,
    to: To,
    bytes: Vec<u8>,
    until: Instant,
    /// Real servers have no answer for a client that is connected to a UNIX socket.
    answers_connected: bool,
}

enum To {
    Peer(Box<PeerAddress>),
    /// By name: the client has seen nothing yet, and waits there.
    Fifo(Vec<u8>),
    /// This very FIFO: the client has seen the end of its reply. It waits there at this moment, or has no use for it.
    OpenedFifo(Vec<u8>, ReplyIdentity),
}

impl Answer {
    /// Returns the answer to an abandoned request; None if it wants no answer.
    pub(crate) fn to(
        orphan: &AbandonedRequest<'_>,
        endpoint: usize,
        options: &ListenOptions,
        dialect: Dialect,
    ) -> Option<Answer> {
        let carrier = if matches!(orphan, AbandonedRequest::Fifo { .. }) { Carrier::Fifo } else { Carrier::Datagram };
        let style = TextStyle { carrier, dialect, indent: options.indent };
        let (to, bytes, patience) = match orphan {
            AbandonedRequest::Datagram { bytes, peer } if peer.can_be_answered() => {
                let is_json = dialect.reads_json() && (jsonrpc::looks_like_json(bytes) || !dialect.reads_text());
                let answer = if is_json {
                    failed_json(bytes, dialect, options.pretty_printing)
                } else {
                    let method = match text::decode_request(bytes, dialect) {
                        Ok(request) => request.method,
                        Err(error) => error.method,
                    };
                    failed_text(&method, style)
                };
                (To::Peer(Box::new(*peer)), answer, PATIENCE)
            }
            AbandonedRequest::Datagram { .. } => return None,
            AbandonedRequest::Fifo { reply, json, bytes, opened } => {
                let answer = if *json {
                    failed_json(bytes, dialect, options.pretty_printing)
                } else {
                    failed_text(bytes, style)
                };
                match opened {
                    None => (To::Fifo(reply.to_vec()), answer, options.reply_wait),
                    Some(identity) => (To::OpenedFifo(reply.to_vec(), *identity), answer, Duration::ZERO),
                }
            }
        };
        let answers_connected = !dialect.is_emulated();
        (!bytes.is_empty()).then(|| Answer {
            endpoint,
            to,
            bytes,
            until: clock::deadline(patience),
            answers_connected,
        })
    }

    /// Sends it; true when it is to be tried again.
    pub(crate) fn must_wait(&self, endpoints: &[Endpoint]) -> bool {
        let is_early = Instant::now() < self.until;
        match (&self.to, endpoints.get(self.endpoint)) {
            (To::Peer(peer), Some(Endpoint::Datagram { socket, address })) => {
                let sent = if matches!(address, Address::Unix { .. }) {
                    self.send_unnamed(peer, socket)
                } else {
                    socket.send(&self.bytes, peer)
                };
                is_early && sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            (To::Fifo(name), Some(Endpoint::Fifo { replies, .. })) => self.write(replies.open_reply(name)),
            (To::OpenedFifo(name, identity), Some(Endpoint::Fifo { replies, .. })) => {
                self.write(replies.open_again(name, *identity))
            }
            _ => false,
        }
    }

    /// Sends the answer as workers send theirs: from an unnamed socket, whose buffer no other client has filled. A
    /// client that is connected takes datagrams from the named socket alone.
    fn send_unnamed(&self, peer: &PeerAddress, named: &Socket) -> io::Result<()> {
        let sent = UnixDatagram::unbound().and_then(|socket| send_from(socket.as_fd(), &self.bytes, peer));
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && self.answers_connected => {
                named.send(&self.bytes, peer)
            }
            Err(error) if is_shortage(&error) => named.send(&self.bytes, peer),
            sent => sent,
        }
    }

    /// Writes it into a reply FIFO; true when that has no reader yet.
    fn write(&self, opened: Opened) -> bool {
        match opened {
            Opened::Ready(fifo) => {
                // A pipe has room for so little; if not, its reader has left it full.
                let _ = fifo.write(&self.bytes);
                false
            }
            Opened::NoReader | Opened::NoDescriptor => Instant::now() < self.until,
            Opened::Refused(_) => false,
        }
    }
}

fn failed_text(method: &[u8], style: TextStyle) -> Vec<u8> {
    let mut out = Vec::new();
    text::encode_response(&mut out, &Err(Failure::handler()), method, &style);
    out
}

fn failed_json(bytes: &[u8], dialect: Dialect, pretty: bool) -> Vec<u8> {
    let one = |call: Result<Call, Refused>| {
        let (id, failure) = match call {
            Ok(Call { id, .. }) => (id, Failure::handler()),
            Err(Refused { id, failure }) => (id, failure),
        };
        let mut out = Vec::new();
        jsonrpc::encode_response(&mut out, &Err(failure), &id, dialect, pretty);
        out
    };
    if bytes.is_empty() {
        return one(Err(Refused { failure: Failure::handler(), id: Id::Null }));
    }
    match jsonrpc::decode_request(bytes, dialect) {
        Incoming::One(call) => one(call),
        Incoming::Batch(calls) => {
            let mut out = Vec::new();
            let parts: Vec<Vec<u8>> = calls.into_iter().map(one).collect();
            if parts.iter().any(|part| !part.is_empty()) {
                jsonrpc::encode_batch(&mut out, parts);
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(bytes: &[u8]) -> String {
        String::from_utf8(failed_json(bytes, Dialect::Sipmi, false)).expect("JSON is text")
    }

    #[test]
    fn an_orphan_is_answered_in_the_form_of_its_request() {
        let one = failed(br#"{"jsonrpc":"2.0","id":"x","method":"m"}"#);
        assert!(one.contains("-32000") && one.contains(r#""id":"x""#), "{one}");
        assert_eq!(failed(br#"{"jsonrpc":"2.0","method":"m"}"#), "", "a notification wants no answer");
        let both = failed(br#"[{"jsonrpc":"2.0","id":1,"method":"m"},{"jsonrpc":"2.0","id":2,"method":"m"}]"#);
        assert!(both.starts_with('[') && both.contains(r#""id":1"#) && both.contains(r#""id":2"#), "{both}");
        assert!(failed(b"").contains(r#""id":null"#));
        let style = TextStyle {
            carrier: Carrier::Datagram,
            dialect: Dialect::Sipmi,
            indent: crate::codec::text::Indent::default(),
        };
        let text = String::from_utf8(failed_text(b"m", style)).expect("text");
        assert!(text.starts_with("500 "), "{text}");
    }
}
