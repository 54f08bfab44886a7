//! The body of a reply: complete, or streamed while it is produced.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::connection::{Progress, Stage};
use super::reactor::Reactor;
use crate::server::dispatch::route::{Advance, StreamedReply};

/// The time after which a streamed reply yields to other connections.
const TURN: Duration = Duration::from_millis(1);

pub(crate) enum ReplyBody {
    Whole(Full<Bytes>),
    Made(Box<Making>),
    /// No bytes and no end, as some versions leave a connection after the head.
    Open,
}

/// A streamed body. hyper polls for more when the socket has taken the bytes so far.
pub(crate) struct Making {
    first: Option<Bytes>,
    stream: Option<Box<dyn StreamedReply>>,
    progress: Arc<Progress>,
    reactor: Arc<Reactor>,
    /// The time at which its turn started.
    since: Option<Instant>,
}

/// The reply was aborted. The connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the reply ends short")]
pub(crate) struct Short;

impl Making {
    pub(super) fn new(
        first: Vec<u8>,
        stream: Box<dyn StreamedReply>,
        progress: Arc<Progress>,
        reactor: Arc<Reactor>,
    ) -> Self {
        Making { first: Some(first.into()), stream: Some(stream), progress, reactor, since: None }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Short>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        if self.since.get_or_insert_with(Instant::now).elapsed() > TURN {
            self.since = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match stream.advance(context.waker()) {
            Advance::Wait => {
                self.since = None;
                // The server is still producing bytes, so the client's timeout does not run.
                self.progress.reach(Stage::Running, self.reactor.round());
                Poll::Pending
            }
            Advance::Part(bytes) => {
                self.progress.reach(Stage::Reply, self.reactor.round());
                Poll::Ready(Some(Ok(bytes.into())))
            }
            Advance::Last(bytes) | Advance::Whole(bytes) => {
                stream.note_sent();
                self.stream = None;
                self.progress.reach(Stage::Reply, self.reactor.round());
                Poll::Ready(Some(Ok(bytes.into())))
            }
            Advance::Answer(_) | Advance::Short => {
                self.stream = None;
                Poll::Ready(Some(Err(Short)))
            }
        }
    }
}

impl From<Bytes> for ReplyBody {
    fn from(body: Bytes) -> Self {
        ReplyBody::Whole(Full::new(body))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Short;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Short>>> {
        match self.get_mut() {
            ReplyBody::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            ReplyBody::Made(making) => making.next(context).map(|next| next.map(|bytes| bytes.map(Frame::data))),
            ReplyBody::Open => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Whole(body) => body.is_end_stream(),
            ReplyBody::Made(making) => making.first.is_none() && making.stream.is_none(),
            ReplyBody::Open => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Whole(body) => body.size_hint(),
            ReplyBody::Made(_) | ReplyBody::Open => SizeHint::default(),
        }
    }
}
