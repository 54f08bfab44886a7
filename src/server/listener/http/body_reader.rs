//! Reads the body of a request completely, within the limits of the listener.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::http::request::Parts;

use super::connection::Progress;
use super::exchange::AppState;
use super::reply::Problem;

impl AppState {
    /// Reads the body of a request.
    pub(super) async fn read(&self, head: &Parts, body: Incoming, progress: &Progress) -> Result<Bytes, Problem> {
        if self.policy.reads_pieces(head.uri.path()) {
            return Box::pin(self.read_pieces(body, progress)).await;
        }
        self.read_whole(&head.headers, body, progress).await
    }

    async fn read_whole(&self, head: &HeaderMap, body: Incoming, progress: &Progress) -> Result<Bytes, Problem> {
        if let Some(encoding) = head.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(Problem::Encoded(String::from_utf8_lossy(encoding.as_bytes()).into_owned()));
        }
        let limit = self.request_limit;
        if body.size_hint().lower() > limit as u64 {
            self.dispatcher.counters.parse_errors.add(1);
            return Err(Problem::TooLarge { limit });
        }
        let mut body = pin!(body);
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        loop {
            let frame = poll_fn(|context| {
                if progress.is_overdue() {
                    return Poll::Ready(Err(Problem::TooSlow));
                }
                body.as_mut().poll_frame(context).map(Ok)
            });
            let piece = match frame.await? {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(Problem::Unreadable(error.to_string())),
            };
            if first.len() + rest.len() + piece.len() > limit {
                return Err(Problem::TooLarge { limit });
            }
            // The buffer grows to hold all pieces, and they are joined at the end.
            if rest.capacity() - rest.len() < piece.len() && !self.dispatcher.has_memory_for(first.len() + rest.len())
            {
                return Err(Problem::NoMemory);
            }
            if first.is_empty() {
                first = piece;
            } else {
                rest.extend_from_slice(&piece);
            }
        }
        self.dispatcher.counters.bytes_in.add((first.len() + rest.len()) as i64);
        if first.is_empty() {
            Err(Problem::NoBody)
        } else if rest.is_empty() {
            Ok(first)
        } else {
            Ok([first, rest.freeze()].concat().into())
        }
    }

    /// Reads a body in the pieces in which it arrives, as some emulated servers do.
    async fn read_pieces(&self, body: Incoming, progress: &Progress) -> Result<Bytes, Problem> {
        let (mut pieces, mut gatherer, mut size) = (Vec::new(), Gatherer::default(), 0);
        let mut body = pin!(body);
        loop {
            let piece = poll_fn(|context| {
                if progress.is_overdue() {
                    return Poll::Ready(Some(Err(Problem::TooSlow)));
                }
                let piece = gatherer.poll_piece(body.as_mut(), context);
                piece.map_err(|error| Problem::Unreadable(error.to_string()))
            });
            let Some(piece) = piece.await else { break };
            let piece = piece?;
            size += piece.len();
            if size > self.request_limit {
                return Err(Problem::TooLarge { limit: self.request_limit });
            }
            pieces.push(piece);
        }
        self.dispatcher.counters.bytes_in.add(size as i64);
        let joined = self.policy.join(pieces).ok_or(Problem::Unserved)?;
        if joined.is_empty() { Err(Problem::NoBody) } else { Ok(joined) }
    }
}

/// Collects a body in the pieces in which it arrives.
#[derive(Default)]
struct Gatherer {
    arrived: BytesMut,
    has_looked_again: bool,
}

impl Gatherer {
    /// The bytes that have arrived by now, which a server would get by one read; `None` at the end.
    fn poll_piece(
        &mut self,
        mut body: Pin<&mut Incoming>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            match body.as_mut().poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.arrived.extend_from_slice(&frame.into_data().unwrap_or_default());
                    self.has_looked_again = false;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) if self.arrived.is_empty() => return Poll::Ready(None),
                Poll::Pending if self.arrived.is_empty() => return Poll::Pending,
                // hyper may have returned only a part of the bytes that are available.
                Poll::Pending if !self.has_looked_again => {
                    self.has_looked_again = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(None) | Poll::Pending => {
                    self.has_looked_again = false;
                    return Poll::Ready(Some(Ok(self.arrived.split().freeze())));
                }
            }
        }
    }
}
