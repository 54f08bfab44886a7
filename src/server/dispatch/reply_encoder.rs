//! Writes replies in the form of their requests, within the limits, and counts them.

use std::sync::Arc;
use std::time::Instant;

use super::asked::Form;
use super::dispatcher::Dispatcher;
use crate::codec::pieces::Pieces;
use crate::codec::{jsonrpc, mi_json, text, xmlrpc};
use crate::command::Command;
use crate::response::{Failure, Response};
use crate::server::panics::contained;

impl Dispatcher {
    /// Returns the encoder that writes a reply in this form node by node, if the form has one.
    pub(crate) fn pieces(&self, form: &Form) -> Option<Pieces> {
        match form {
            Form::Text { .. } => Some(Pieces::text(self.style)),
            Form::Json { id } => Pieces::json(id, self.pretty),
            Form::MiJson => Pieces::mi_json(self.dialect()),
            Form::Xml { form, .. } => Pieces::xml(*form, self.dialect()),
            Form::XmlPart { .. } | Form::Custom(_) => None,
        }
    }

    /// Writes an answer, or the error that it is too large, and counts it.
    pub(crate) fn finish(
        &self,
        form: &Form,
        result: &Result<Response, Failure>,
        (started, command): (Instant, Option<&Arc<Command>>),
        out: &mut Vec<u8>,
    ) {
        let before = out.len();
        let what = || format!("{}: writing a reply", self.listener);
        if contained(what, || self.encode(form, result, out)).is_none() {
            out.truncate(before);
            if result.is_ok() {
                self.finish(form, &Err(Failure::handler()), (started, command), out);
            }
            return;
        }
        // An error is a short reply, however small the command's limit.
        let limit = if result.is_ok() { self.limit_of_replies(command) } else { self.reply_limit };
        let size = out.len() - before;
        if size > limit {
            out.truncate(before);
            self.limits
                .too_large_replies
                .note(1, || format!("{}: a reply of {size} bytes is over the limit of {limit}", self.listener));
            if self.policy.explains_oversize() {
                self.encode(form, &Err(Failure::ReplyTooLarge { size, limit }), out);
            }
        }
        let is_error = size > limit || !result.as_ref().is_ok_and(Response::is_success);
        self.count(command, is_error, started, out.len() - before);
    }

    /// Counts an answer of `size` bytes.
    pub(crate) fn count(&self, command: Option<&Arc<Command>>, is_error: bool, started: Instant, size: usize) {
        let elapsed = started.elapsed();
        self.counters.answered(is_error, elapsed);
        if let Some(command) = command.filter(|_| self.policy.counts_commands()) {
            let name = || format!("{}.{}", command.module, command.name);
            command.conduct.metrics.count(&self.service.statistics, name, is_error, elapsed);
        }
        if size > 0 {
            self.counters.replies.add(1);
            self.counters.bytes_out.add(size as i64);
        }
    }

    pub(crate) fn encode(&self, form: &Form, result: &Result<Response, Failure>, out: &mut Vec<u8>) {
        match form {
            Form::Text { method } => text::encode_response(out, result, method, &self.style),
            Form::Json { id } => match self.policy.plain_reply(id, result) {
                Some(words) => out.extend_from_slice(words),
                None => jsonrpc::encode_response(out, result, id, self.dialect(), self.pretty),
            },
            Form::Custom(writer) => writer.write(out, result),
            Form::MiJson => mi_json::encode_response(out, result, self.dialect()),
            Form::Xml { form, method } => xmlrpc::encode_response(out, result, method, *form, self.dialect()),
            Form::XmlPart { form, method } => {
                xmlrpc::encode_multicall_answer(out, result, method, *form, self.dialect());
            }
        }
    }
}
