//! Calls of commands that run one at a time: the turn goes with whatever answers, and ends when that is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use super::pending_request::PendingRequest;
use super::responder::Pending;
use crate::command::{Detach, Hook, Origin, Responder, Source};
use crate::response::{Failure, Response};

/// Detaches a call of a command that has the turn, which goes with the responder.
pub(super) struct DetachInTurn {
    pub(super) request: Arc<PendingRequest>,
    pub(super) turn: Mutex<Option<crate::command::serial::Turn>>,
}

impl DetachInTurn {
    pub(super) fn take_turn(&self) -> Option<crate::command::serial::Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Detach for DetachInTurn {
    fn origin(&self) -> &Origin {
        self.request.origin()
    }

    fn detach(self: Arc<Self>) -> Box<dyn Responder> {
        Box::new(InTurn(Pending::new(&self.request), self.take_turn()))
    }
}

/// Answers a call of a command that has the turn, which ends when the handler does.
struct InTurn(Pending, Option<crate::command::serial::Turn>);

impl Responder for InTurn {
    fn answer(self: Box<Self>, result: Result<Response, Failure>) {
        Box::new(self.0).answer(result);
    }

    fn stream(self: Box<Self>, source: Box<dyn Source>) {
        let InTurn(pending, turn) = *self;
        Box::new(pending).stream(Box::new(SourceInTurn(source, turn)));
    }

    fn provisional(&self, response: Response) -> bool {
        self.0.provisional(response)
    }

    fn on_cancel(&self, hook: Hook) {
        self.0.on_cancel(hook);
    }

    fn is_awaited(&self) -> bool {
        self.0.is_awaited()
    }
}

/// Nodes of a command that has the turn, which ends when they do.
pub(super) struct SourceInTurn(
    pub(super) Box<dyn Source>,
    #[allow(dead_code)] pub(super) Option<crate::command::serial::Turn>,
);

impl Source for SourceInTurn {
    fn fill(&mut self, batch: &mut crate::tree::Tree, waker: &std::task::Waker) -> crate::command::Filled {
        self.0.fill(batch, waker)
    }
}
