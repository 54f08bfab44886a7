//! Answers that are sent together: those of a batch, and those of a multicall.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::asked::Form;
use super::dispatcher::Dispatcher;
use super::route::{Abandon, ReplySink};
use crate::codec::jsonrpc::{self, Id};
use crate::codec::xmlrpc;
use crate::item::Str;
use crate::response::Failure;

/// How the answers become one.
#[derive(Clone, Copy)]
pub(crate) enum BatchForm {
    /// The array of a JSON-RPC batch.
    Json,
    /// The array of a `system.multicall`.
    Xml(xmlrpc::Form),
}

/// The answers of calls that came together, sent when the last has come, or as soon as they are too large in all.
pub(crate) struct Batch {
    dispatcher: Arc<Dispatcher>,
    joint: BatchForm,
    limit: usize,
    answers: Mutex<Answers>,
    is_over: AtomicBool,
    route: Mutex<Option<Box<dyn ReplySink>>>,
}

struct Answers {
    parts: Vec<Vec<u8>>,
    size: usize,
    missing: usize,
}

impl Batch {
    pub(crate) fn new(
        dispatcher: Arc<Dispatcher>,
        joint: BatchForm,
        (calls, limit): (usize, usize),
        route: Box<dyn ReplySink>,
    ) -> Arc<Self> {
        let batch = Arc::new(Batch {
            dispatcher,
            joint,
            limit,
            answers: Mutex::new(Answers { parts: vec![Vec::new(); calls], size: 0, missing: calls }),
            is_over: AtomicBool::new(false),
            route: Mutex::new(Some(route)),
        });
        if calls == 0 {
            batch.send(Ok(Vec::new()));
        }
        batch
    }

    /// Returns true if the answer has been sent, so that no call has to run for it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// How many bytes of answers may still come.
    fn room(&self) -> usize {
        self.limit - self.answers.lock().unwrap_or_else(PoisonError::into_inner).size.min(self.limit)
    }

    /// Keeps the answer to one call; notifications have an empty one.
    fn put(&self, place: usize, bytes: Vec<u8>) {
        let result = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.missing == 0 {
                return;
            }
            answers.size += bytes.len();
            answers.missing -= 1;
            let size = answers.size;
            if size > self.limit {
                answers.missing = 0;
                answers.parts = Vec::new();
                Err(Failure::ReplyTooLarge { size, limit: self.limit })
            } else {
                answers.parts[place] = bytes;
                if answers.missing > 0 {
                    return;
                }
                Ok(std::mem::take(&mut answers.parts))
            }
        };
        self.send(result);
    }

    fn send(&self, answers: Result<Vec<Vec<u8>>, Failure>) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(route) = self.route().take() {
            route.deliver(self.dispatcher.finish_batch(self.joint, answers));
        }
    }

    fn route(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn ReplySink>>> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way back of one of the calls. Left without an answer, its call has failed.
pub(crate) struct BatchSink(Option<(Arc<Batch>, usize)>);

impl BatchSink {
    pub(crate) fn new(batch: &Arc<Batch>, place: usize) -> Self {
        BatchSink(Some((batch.clone(), place)))
    }
}

impl ReplySink for BatchSink {
    fn deliver(mut self: Box<Self>, bytes: Vec<u8>) {
        if let Some((batch, place)) = self.0.take() {
            batch.put(place, bytes);
        }
    }

    fn will_take_long(&mut self, request: Weak<dyn Abandon>) {
        if let Some((batch, _)) = &self.0
            && let Some(route) = &mut *batch.route()
        {
            route.will_take_long(request);
        }
    }

    fn limit(&self) -> usize {
        self.0.as_ref().map_or(0, |(batch, _)| batch.room())
    }

    fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|(batch, _)| !batch.is_over())
    }
}

impl Drop for BatchSink {
    fn drop(&mut self) {
        if let Some((batch, place)) = self.0.take() {
            let bytes = batch.dispatcher.lost_part(batch.joint);
            batch.put(place, bytes);
        }
    }
}

impl Dispatcher {
    /// Joins the answers to calls that came together, or says that they are too large.
    fn finish_batch(&self, joint: BatchForm, answers: Result<Vec<Vec<u8>>, Failure>) -> Vec<u8> {
        let mut out = Vec::new();
        let joined = answers.and_then(|answers| {
            match joint {
                BatchForm::Json => jsonrpc::encode_batch(&mut out, answers),
                BatchForm::Xml(form) => xmlrpc::join_multicall(&mut out, answers, form),
            }
            let (size, limit) = (out.len(), self.reply_limit);
            if size > limit { Err(Failure::ReplyTooLarge { size, limit }) } else { Ok(()) }
        });
        if let Err(failure) = joined {
            if let Failure::ReplyTooLarge { size, limit } = failure {
                self.limits.too_large_replies.note(1, || {
                    format!("{}: replies to several calls have {size} bytes, limit {limit}", self.listener)
                });
            }
            out.clear();
            let form = match joint {
                BatchForm::Json => Form::Json { id: Id::Null },
                BatchForm::Xml(form) => Form::Xml { form, method: xmlrpc::MULTICALL.into() },
            };
            self.encode(&form, &Err(failure), &mut out);
        }
        out
    }

    /// The placeholder for the answer of a call that was given up without one.
    fn lost_part(&self, joint: BatchForm) -> Vec<u8> {
        let mut out = Vec::new();
        if let BatchForm::Xml(form) = joint {
            self.encode(&Form::XmlPart { form, method: Str::default() }, &Err(Failure::handler()), &mut out);
        }
        out
    }
}
