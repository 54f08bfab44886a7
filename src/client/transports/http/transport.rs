//! Requests over HTTP/1.1: one connection carries one request at a time, and is kept for the next.

use std::fmt;
use std::net::SocketAddr;

use super::channel::{Channel, finish_connecting};
use super::exchange::{Broken, exchange};
use super::options::{HttpError, HttpOptions};
use super::pool::Pool;
use super::reply_parser::HttpReply;
use super::scheme::Scheme;
use super::url::Url;
use crate::client::deadline::{Deadline, WaitError};
use crate::client::error::{CallError, CallFailure};
use crate::client::transports::reply_limit::REPLY_LIMIT;
use crate::client::transports::resolve::Known;
use crate::transport::stream::Stream;

/// The request to send.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) enum Message<'a> {
    /// A body of this content type.
    Post(&'static str, &'a [u8]),
    /// A path with its query.
    Get(&'a [u8]),
}

/// A server, and the connections to it.
#[derive(Debug)]
pub(in crate::client) struct Http {
    url: Url,
    scheme: Scheme,
    /// The headers of every request. They hold secrets.
    headers: Headers,
    known: Known,
    pool: Pool,
    /// The largest body of an answer in bytes.
    reply_limit: usize,
}

struct Headers(Vec<u8>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers(..)")
    }
}

impl Http {
    pub(in crate::client) fn new(address: &str, options: &HttpOptions) -> Result<Self, HttpError> {
        let mut url = Url::parse(address)?;
        let credentials = match (url.credentials.take(), &options.credentials) {
            (Some(_), Some(_)) => return Err(HttpError::Ambiguous),
            (of_address, of_options) => of_address.or_else(|| of_options.clone()),
        };
        let mut headers = format!("Host: {}\r\n", url.authority()).into_bytes();
        if let Some(credentials) = credentials {
            headers.extend_from_slice(b"Authorization: ");
            credentials.write(&mut headers).map_err(HttpError::Unsayable)?;
            headers.extend_from_slice(b"\r\n");
        }
        let scheme = Scheme::new(url.is_secure, &options.tls)?;
        let (known, pool) = (Known::default(), Pool::default());
        Ok(Http { url, scheme, headers: Headers(headers), known, pool, reply_limit: REPLY_LIMIT })
    }

    /// Sets the largest body of an answer in bytes.
    pub(in crate::client) fn limit_replies(&mut self, limit: usize) {
        self.reply_limit = limit;
    }

    pub(in crate::client) fn after_fork(&self) -> Self {
        Http {
            url: self.url.clone(),
            scheme: self.scheme.after_fork(),
            headers: Headers(self.headers.0.clone()),
            known: Known::default(),
            pool: Pool::default(),
            reply_limit: self.reply_limit,
        }
    }

    /// The same server with another path.
    pub(in crate::client) fn at(&self, path: &str) -> Self {
        Http { url: self.url.at(path), ..self.after_fork() }
    }

    /// The address without its secrets.
    pub(in crate::client) fn shown(&self) -> &str {
        &self.url.shown
    }

    /// Where requests go.
    pub(in crate::client) fn path(&self) -> &str {
        &self.url.path
    }

    /// The last part of the path.
    pub(in crate::client) fn root(&self) -> &str {
        self.url.root()
    }

    /// How long the head of a message is.
    pub(in crate::client) fn head_size(&self, message: Message<'_>) -> usize {
        self.write(message).len() - message.body().len()
    }

    /// Closes the idle connections.
    pub(in crate::client) fn close_idle(&self) {
        self.pool.clear();
    }

    /// Sends a message and returns the answer, whatever its status.
    pub(in crate::client) async fn exchange(
        &self,
        message: Message<'_>,
        deadline: &mut Deadline<'_>,
    ) -> Result<HttpReply, CallFailure> {
        let request = self.write(message);
        if let Some(mut channel) = self.pool.take() {
            match exchange(&mut channel, &request, self.reply_limit, deadline).await {
                Ok(answer) => return Ok(self.done(channel, answer)),
                // The server has closed it meanwhile, and has not seen the request: another connection may try.
                Err(Broken::NotSent(_)) => {}
                Err(Broken::Closed) if channel.was_closed_before(deadline).await => {}
                Err(broken) => return Err(failure(broken)),
            }
        }
        let mut channel = self.connect(deadline).await?;
        match exchange(&mut channel, &request, self.reply_limit, deadline).await {
            Ok(answer) => Ok(self.done(channel, answer)),
            Err(broken) => Err(failure(broken)),
        }
    }

    fn done(&self, channel: Channel, answer: HttpReply) -> HttpReply {
        if answer.may_be_reused {
            self.pool.keep(channel);
        }
        answer
    }

    async fn connect(&self, deadline: &mut Deadline<'_>) -> Result<Channel, CallError> {
        let mut left = self.known.addresses(&self.url.host, self.url.port, deadline).await?;
        let mut refused = None;
        while !left.is_empty() {
            let address = left.remove(0);
            // One that swallows everything leaves time for the others.
            let share = u32::try_from(left.len() + 1).unwrap_or(u32::MAX);
            let limit = deadline.left()? / share;
            match connect_to(address, &mut deadline.at_most(limit)).await {
                Ok(stream) => {
                    self.known.prefer(address);
                    return Channel::over(stream, &self.url, &self.scheme, deadline).await;
                }
                Err(WaitError::Interrupted) => return Err(CallError::Interrupted),
                Err(error) => refused = Some(error),
            }
        }
        self.known.forget();
        Err(match refused {
            Some(WaitError::Io(error)) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {
                CallError::Transport { what: "connection refused".into(), errno: libc::ECONNREFUSED }
            }
            Some(WaitError::Io(error)) => CallError::io("cannot connect", &error),
            Some(error) => error.into(),
            None => CallError::Transport { what: "the host name has no address".into(), errno: libc::EADDRNOTAVAIL },
        })
    }

    /// Head and body in one piece: a server may not read a second piece.
    fn write(&self, message: Message<'_>) -> Vec<u8> {
        let body = message.body();
        let mut request = Vec::with_capacity(256 + self.headers.0.len() + body.len());
        match message {
            Message::Post(content_type, _) => {
                request.extend_from_slice(b"POST ");
                request.extend_from_slice(self.url.path.as_bytes());
                request.extend_from_slice(b" HTTP/1.1\r\n");
                request.extend_from_slice(&self.headers.0);
                request.extend_from_slice(b"Content-Type: ");
                request.extend_from_slice(content_type.as_bytes());
                request.extend_from_slice(b"\r\nContent-Length: ");
                request.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
                request.extend_from_slice(b"\r\n\r\n");
            }
            Message::Get(target) => {
                request.extend_from_slice(b"GET ");
                request.extend_from_slice(target);
                request.extend_from_slice(b" HTTP/1.1\r\n");
                request.extend_from_slice(&self.headers.0);
                request.extend_from_slice(b"\r\n");
            }
        }
        request.extend_from_slice(body);
        request
    }
}

impl<'a> Message<'a> {
    pub(in crate::client) fn body(self) -> &'a [u8] {
        match self {
            Message::Post(_, body) => body,
            Message::Get(_) => b"",
        }
    }
}

async fn connect_to(address: SocketAddr, deadline: &mut Deadline<'_>) -> Result<Stream, WaitError> {
    let stream = Stream::begin(address).map_err(WaitError::Io)?;
    finish_connecting(&stream, deadline).await?;
    Ok(stream)
}

fn failure(broken: Broken) -> CallFailure {
    match broken {
        Broken::NotSent(error) => CallError::io("the request cannot be sent", &error).into(),
        Broken::Closed => {
            let what = "the server closed the connection without an answer".into();
            CallError::Transport { what, errno: libc::ECONNRESET }.into()
        }
        Broken::Failed(failure) => failure,
    }
}
