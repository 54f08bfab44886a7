//! One request and its reply over HTTP/1.1: written in one piece, read by the parser of replies.

use std::io;

use super::channel::Channel;
use super::reply_parser::{Event, HttpReply, ReplyError, ReplyParser};
use crate::client::deadline::Deadline;
use crate::client::error::{CallError, CallFailure};
use crate::transport::stream::Moved;

/// Why there is no reply.
#[derive(Debug)]
pub(in crate::client) enum Broken {
    /// Nothing of the request went out.
    NotSent(io::Error),
    /// The request went out, and then the server closed the connection before it sent anything.
    Closed,
    /// Anything else; a part of a reply may have been received.
    Failed(CallFailure),
}

/// Why no complete reply was received.
struct Ended {
    error: CallError,
    /// How the connection ended, if it did.
    by: Option<End>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Reset,
}

impl<E: Into<CallError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Ended { error: error.into(), by: None }
    }
}

impl From<ReplyError> for CallError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::TooLarge(limit) => CallError::too_large(limit),
            ReplyError::Malformed(what) => {
                CallError::Transport { what: format!("the answer cannot be read: {what}"), errno: libc::EPROTO }
            }
        }
    }
}

/// Sends a request and reads the reply to it.
pub(in crate::client) async fn exchange(
    channel: &mut Channel,
    request: &[u8],
    limit: usize,
    deadline: &mut Deadline<'_>,
) -> Result<HttpReply, Broken> {
    let lost = send(channel, request, deadline).await?;
    let mut parser = ReplyParser::new(limit);
    let Ended { error, by } = match receive(channel, &mut parser, deadline).await {
        Ok(reply) => return Ok(reply),
        Err(ended) => ended,
    };
    let is_silent = parser.received() == 0;
    let error = match (by, lost) {
        (Some(End::Closed), None) if is_silent => return Err(Broken::Closed),
        // The server did not take the whole request, and did not say why either.
        (Some(_), Some(lost)) if is_silent => went_away("while it was sent the request", &lost),
        _ => error,
    };
    let failure = error.after(b"", parser.part()).after_part(parser.progress());
    Err(Broken::Failed(CallFailure { received_size: parser.received(), ..failure }))
}

/// Writes the request. A server may answer and close before it has read all of it: the error of that is given back.
async fn send(
    channel: &mut Channel,
    request: &[u8],
    deadline: &mut Deadline<'_>,
) -> Result<Option<io::Error>, Broken> {
    let mut sent = 0;
    while sent < request.len() {
        match channel.write(&request[sent..]) {
            Ok(Moved::Bytes(count)) => sent += count,
            Ok(Moved::Not(wanted)) => {
                deadline.wait(channel.as_fd(), wanted).await.map_err(|error| Broken::Failed(error.into()))?;
            }
            Err(error) if sent == 0 => return Err(Broken::NotSent(error)),
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

/// Reads a reply.
async fn receive(
    channel: &mut Channel,
    parser: &mut ReplyParser,
    deadline: &mut Deadline<'_>,
) -> Result<HttpReply, Ended> {
    let mut size = 0;
    loop {
        deadline.checkpoint_after(size).await?;
        let when = if parser.has_head() { "in the middle of its answer" } else { "before its answer" };
        size = read(channel, parser.room(), when, deadline).await?;
        parser.note_received(size);
        if size == 0 {
            let what = format!("the server closed the connection {when}");
            let error = CallError::Transport { what, errno: libc::ECONNRESET };
            return parser.end().ok_or(Ended { error, by: Some(End::Closed) });
        }
        if let Event::Reply(reply) = parser.next_event().map_err(CallError::from)? {
            return Ok(reply);
        }
    }
}

/// Appends the next bytes, at most `most`; none at the end of the connection.
async fn read(
    channel: &mut Channel,
    (bytes, most): (&mut Vec<u8>, usize),
    when: &str,
    deadline: &mut Deadline<'_>,
) -> Result<usize, Ended> {
    let eagerness = deadline.eagerness();
    loop {
        match channel.read(bytes, most) {
            Ok(Moved::Bytes(count)) => return Ok(count),
            // To try again tells as much as to ask.
            Ok(Moved::Not(_)) if eagerness.give_way() => {}
            Ok(Moved::Not(wanted)) => drop(deadline.block(channel.as_fd(), wanted).await?),
            Err(error) => return Err(Ended { error: went_away(when, &error), by: Some(End::Reset) }),
        }
    }
}

fn went_away(when: &str, error: &io::Error) -> CallError {
    CallError::io(&format!("the connection was lost {when}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use crate::client::deadline::run;
    use crate::transport::stream::Stream;

    /// A connection over which one exchange has gone well, and its server's end.
    fn kept_connection() -> (Channel, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let stream = Stream::begin(listener.local_addr().expect("its address")).expect("a connection");
        let (mut server, _) = listener.accept().expect("the client");
        let mut channel = Channel::Plain(stream);
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").expect("room");
        let answer = exchange_now(&mut channel).expect("an answer");
        assert!(answer.may_be_reused && channel.is_quiet());
        let mut request = [0; 16];
        assert_eq!(server.read(&mut request).ok(), Some(REQUEST.len()));
        (channel, server)
    }

    const REQUEST: &[u8] = b"GET /\r\n\r\n";

    fn exchange_now(channel: &mut Channel) -> Result<HttpReply, Broken> {
        run(exchange(channel, REQUEST, 1 << 20, &mut Deadline::new(Duration::from_secs(10), &mut || false)))
    }

    fn was_closed_before(channel: &Channel) -> bool {
        run(channel.was_closed_before(&mut Deadline::new(Duration::from_secs(10), &mut || false)))
    }

    #[test]
    fn a_request_that_meets_a_closed_connection_cannot_have_run() {
        let (mut channel, server) = kept_connection();
        drop(server);
        // As when the close crosses the request: the client has not checked the connection before it was sent.
        let outcome = exchange_now(&mut channel);
        assert!(matches!(outcome, Err(Broken::Closed)), "{outcome:?}");
        assert!(was_closed_before(&channel));
    }

    #[test]
    fn a_request_that_was_read_before_the_close_may_have_run() {
        let (mut channel, mut server) = kept_connection();
        let reader = std::thread::spawn(move || server.read(&mut [0; 16]).expect("the request"));
        let outcome = exchange_now(&mut channel);
        assert!(matches!(outcome, Err(Broken::Closed)), "{outcome:?}");
        assert!(!was_closed_before(&channel));
        assert_eq!(reader.join().expect("no panic"), REQUEST.len());
    }

    #[test]
    fn a_reset_says_nothing_of_whether_a_request_has_run() {
        let (mut channel, server) = kept_connection();
        let resetter = std::thread::spawn(move || {
            // Closed with the request unread in it.
            while server.peek(&mut [0]).ok() != Some(1) {}
        });
        let outcome = exchange_now(&mut channel);
        assert!(matches!(outcome, Err(Broken::Failed(_))), "{outcome:?}");
        resetter.join().expect("no panic");
    }
}
