//! The answer of a handler that returned before it: the holder of the responder answers the request.

use std::sync::Arc;

use super::deadline::Due as _;
use super::pending_request::PendingRequest;
use super::reply_stream;
use crate::command::{Detach, Hook, Origin, Responder, Source};
use crate::response::{Failure, Response};

impl Detach for PendingRequest {
    fn origin(&self) -> &Origin {
        self.request_origin()
    }

    fn detach(self: Arc<Self>) -> Box<dyn Responder> {
        Box::new(Pending::new(&self))
    }
}

/// Its holder answers; when it is dropped, the caller is told that the command failed.
pub(crate) struct Pending(Option<Arc<PendingRequest>>);

impl Pending {
    /// Holds a ticket, which is watched over from now on.
    pub(crate) fn new(request: &Arc<PendingRequest>) -> Self {
        request.file();
        Pending(Some(request.clone()))
    }
}

impl Responder for Pending {
    fn answer(mut self: Box<Self>, result: Result<Response, Failure>) {
        if let Some(request) = self.0.take() {
            request.answer(&result);
        }
    }

    fn stream(mut self: Box<Self>, source: Box<dyn Source>) {
        if let Some(request) = self.0.take() {
            reply_stream::open(&request, source);
        }
    }

    fn provisional(&self, response: Response) -> bool {
        self.0.as_ref().is_some_and(|request| request.provisional(response))
    }

    fn on_cancel(&self, hook: Hook) {
        if let Some(request) = &self.0 {
            request.on_cancel(hook);
        }
    }

    fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|request| request.is_open())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // A late answer that no client waits for is not reported.
        if let Some(request) = self.0.take().filter(|request| request.is_open()) {
            request.answer(&Err(request.command().failure()));
        }
    }
}
