//! Counters and log lines for failed requests, and the records of traced requests.

use std::sync::Arc;
use std::time::Instant;

use super::dispatcher::Dispatcher;
use crate::command::trace::Trace;
use crate::command::{Command, Peer, Wire};
use crate::item::Str;
use crate::response::Failure;
use crate::transport::fifo::Refusal;

impl Dispatcher {
    /// A handler was done after its request had been answered for.
    pub(crate) fn note_late(&self, command: &Command) {
        self.limits
            .late
            .note(1, || format!("{}: command {} was done too late", self.listener, command.canonical_name()));
    }

    /// A request was answered in the place of its handler.
    pub(crate) fn note_given_up(&self, command: &Command, failure: &Failure, started: Instant) {
        if *failure == Failure::Timeout {
            self.limits.timeouts.note(1, || {
                let (name, time) = (command.canonical_name(), started.elapsed().as_secs_f64());
                format!("{}: command {name} was not done after {time:.3} s and is answered for", self.listener)
            });
        }
    }

    /// A client has left before its answer came.
    pub(crate) fn note_abandoned(&self, command: &Command) {
        self.counters.dropped.add(1);
        log::debug!("{}: who called {} has left", self.listener, command.canonical_name());
    }

    /// Too many bytes wait for one client, and another reply to it is given up.
    pub(crate) fn note_full_peer(&self, peer: &Peer, waiting: usize) {
        self.counters.dropped.add(1);
        self.limits.unsent.note(1, || {
            format!(
                "{}: {waiting} bytes wait for {peer}, which does not read; replies to it are given up",
                self.listener
            )
        });
    }

    /// Too many bytes wait for all clients of one user, and another reply to one of them is given up.
    pub(crate) fn note_full_user(&self, user: Option<u32>, waiting: usize) {
        self.counters.dropped.add(1);
        self.limits.unsent.note(1, || {
            let whose = user.map_or_else(|| "clients".to_owned(), |user| format!("clients of user {user}"));
            format!(
                "{}: {waiting} bytes wait for {whose} that do not read; replies to them are given up",
                self.listener
            )
        });
    }

    /// A client took nothing of its reply for as long as it may.
    pub(crate) fn note_stalled(&self, command: Option<&Command>) {
        self.limits.write_timeouts.note(1, || match command {
            Some(command) => {
                format!("{}: who called {} does not read the reply", self.listener, command.canonical_name())
            }
            None => format!("{}: a client does not read its reply", self.listener),
        });
    }

    /// Counts and tells that the process had no descriptor left, and what came of it.
    pub(crate) fn note_shortage(&self, consequence: &str) {
        self.limits.descriptors.note(1, || {
            format!(
                "{}: {consequence}: no other descriptor is left (raise `ulimit -n`, or LimitNOFILE= of the service)",
                self.listener
            )
        });
    }

    /// A caller names a reply FIFO that is not written to.
    pub(crate) fn note_refused_reply(&self, name: &Str, why: &Refusal) {
        self.counters.dropped.add(1);
        match why {
            Refusal::CommandFifo | Refusal::Restricted { .. } => {
                self.limits
                    .refused_replies
                    .note(1, || format!("{}: reply FIFO {name:?} refused: {why}", self.listener));
            }
            _ => log::debug!("{}: reply FIFO {name:?} refused: {why}", self.listener),
        }
    }

    /// Records a traced request and its answer.
    pub(crate) fn record(&self, command: &Command, record: &Record, started: Instant, reply: &str) {
        let (name, elapsed) = (command.canonical_name().to_string(), started.elapsed().as_secs_f64());
        let (peer, user) = (record.peer.to_string(), record.user.as_deref().unwrap_or_default());
        log::info!(
            target: "sipmi.trace",
            command = name.as_str(),
            listener = &*self.listener,
            transport = self.transport.scheme(),
            wire = record.wire.name(),
            peer = peer.as_str(),
            user = user,
            elapsed = elapsed,
            request = record.request.as_str(),
            reply = reply;
            "{name} from {peer}: {} -> {reply} in {elapsed:.6} s", record.request
        );
    }

    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.service.trace.get()
    }

    /// A reply ended before its end.
    pub(crate) fn note_short(&self, command: &Command) {
        self.limits
            .short_replies
            .note(1, || format!("{}: a reply of command {} ends short", self.listener, command.canonical_name()));
    }
}

/// The record of a traced request.
pub(crate) struct Record {
    pub(super) request: String,
    pub(super) peer: Peer,
    pub(super) user: Option<Arc<str>>,
    pub(super) wire: Wire,
}
