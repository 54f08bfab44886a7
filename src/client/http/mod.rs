//! Calls over HTTP/1.1: one connection carries one request at a time, and is kept for the next.

mod channel;
mod exchange;
mod pool;
#[cfg(feature = "tls")]
mod tls;
mod url;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::call::{CallError, CallFailure, REPLY_LIMIT};
use super::patience::{Patience, Stop};
use super::resolve::Known;
use crate::item::Str;
use crate::transport::stream::Stream;
use channel::{Channel, finish_connecting};
use exchange::Broken;
use pool::Pool;
use url::Url;

pub(super) use exchange::Answer;
pub use url::UrlError;

/// Who calls, as HTTP says it. Printed without what is secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password (4.x, and proxies before any version).
    Basic {
        /// Who.
        user: Str,
        /// What only that user knows.
        password: Str,
    },
    /// A bearer token.
    Token(Str),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Basic { .. } => "Basic(..)",
            Credentials::Token(_) => "Token(..)",
        })
    }
}

/// How a server is spoken to over HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Who calls; an address may say it too.
    pub credentials: Option<Credentials>,
    /// Whom to trust, for https.
    pub tls: TlsOptions,
    /// Modparam `receive_buf_size` of the server's `httpd` (3.6 and later), in bytes; `None`: its default.
    pub receive_buf_size: Option<NonZeroUsize>,
}

/// Whom to trust, and how to prove who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whether the server has to prove who it is. Without it, anybody in between can read and change everything.
    pub verify: bool,
    /// PEM certificates of those who may vouch for the server; `None`: those that this machine trusts.
    pub authorities: Option<PathBuf>,
    /// The client's own certificate chain, and its key when that is in another file; both in PEM.
    pub certificate: Option<(PathBuf, Option<PathBuf>)>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions { verify: true, authorities: None, certificate: None }
    }
}

/// Certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

#[cfg_attr(not(feature = "tls"), allow(dead_code))]
impl TlsError {
    fn new(what: &str, why: &dyn fmt::Display) -> Self {
        TlsError(format!("{what}: {why}"))
    }

    fn in_file(what: &str, path: &Path, why: &dyn fmt::Display) -> Self {
        TlsError(format!("{what} {}: {why}", path.display()))
    }
}

/// These options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The address.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// The certificates.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// Two answers to the question who calls.
    #[error("expected one way to say who calls, found several: auth, token, or user and password in the address")]
    Ambiguous,
    /// A name with a colon, or with control characters.
    #[error("{0}")]
    Unsayable(&'static str),
    /// An option of TLS for a server without.
    #[error("certificates are for https:// alone, and the address begins with http://")]
    NoTls,
}

/// With or without TLS.
#[derive(Debug)]
enum Scheme {
    Http,
    #[cfg(feature = "tls")]
    Https(std::sync::Arc<rustls::ClientConfig>),
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message<'a> {
    /// A body of this content type.
    Post(&'static str, &'a [u8]),
    /// A path with its query.
    Get(&'a [u8]),
}

/// A server, and the connections to it.
#[derive(Debug)]
pub(super) struct Http {
    url: Url,
    scheme: Scheme,
    /// The headers that every request has. They hold what is secret.
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
    pub(super) fn new(address: &str, options: &HttpOptions) -> Result<Self, HttpError> {
        let mut url = Url::parse(address)?;
        let credentials = match (url.credentials.take(), &options.credentials) {
            (Some(_), Some(_)) => return Err(HttpError::Ambiguous),
            (of_address, of_options) => of_address.or_else(|| of_options.clone()),
        };
        let mut headers = format!("Host: {}\r\n", url.authority()).into_bytes();
        if let Some(credentials) = credentials {
            headers.extend_from_slice(b"Authorization: ");
            push_credentials(&mut headers, &credentials)?;
            headers.extend_from_slice(b"\r\n");
        }
        let scheme = Scheme::new(url.is_secure, &options.tls)?;
        let (known, pool) = (Known::default(), Pool::default());
        Ok(Http { url, scheme, headers: Headers(headers), known, pool, reply_limit: REPLY_LIMIT })
    }

    /// Sets the largest body of an answer in bytes.
    pub(super) fn limit_replies(&mut self, limit: usize) {
        self.reply_limit = limit;
    }

    pub(super) fn renewed(&self) -> Self {
        Http {
            url: self.url.clone(),
            scheme: self.scheme.renewed(),
            headers: Headers(self.headers.0.clone()),
            known: Known::default(),
            pool: Pool::default(),
            reply_limit: self.reply_limit,
        }
    }

    /// The same server with another path.
    pub(super) fn at(&self, path: &str) -> Self {
        Http { url: self.url.at(path), ..self.renewed() }
    }

    /// The address without what is secret.
    pub(super) fn shown(&self) -> &str {
        &self.url.shown
    }

    /// Where requests go.
    pub(super) fn path(&self) -> &str {
        &self.url.path
    }

    /// The last part of the path.
    pub(super) fn root(&self) -> &str {
        self.url.root()
    }

    /// How long the head of a message is.
    pub(super) fn head_size(&self, message: Message<'_>) -> usize {
        self.write(message).len() - message.body().len()
    }

    /// Closes the connections that nobody uses.
    pub(super) fn close(&self) {
        self.pool.clear();
    }

    /// Sends a message and gives what is answered, whatever its status.
    pub(super) async fn exchange(
        &self,
        message: Message<'_>,
        patience: &mut Patience<'_>,
    ) -> Result<Answer, CallFailure> {
        let request = self.write(message);
        if let Some(mut channel) = self.pool.take() {
            match exchange::exchange(&mut channel, &request, self.reply_limit, patience).await {
                Ok(answer) => return Ok(self.done(channel, answer)),
                // The server has closed it meanwhile, and has not seen the request: another connection may try.
                Err(Broken::NotSent(_)) => {}
                Err(Broken::Closed) if channel.was_closed_before(patience).await => {}
                Err(broken) => return Err(failure(broken)),
            }
        }
        let mut channel = self.connect(patience).await?;
        match exchange::exchange(&mut channel, &request, self.reply_limit, patience).await {
            Ok(answer) => Ok(self.done(channel, answer)),
            Err(broken) => Err(failure(broken)),
        }
    }

    fn done(&self, channel: Channel, answer: Answer) -> Answer {
        if answer.may_be_reused {
            self.pool.keep(channel);
        }
        answer
    }

    async fn connect(&self, patience: &mut Patience<'_>) -> Result<Channel, CallError> {
        let mut left = self.known.addresses(&self.url.host, self.url.port, patience).await?;
        let mut refused = None;
        while !left.is_empty() {
            let address = left.remove(0);
            // One that swallows everything leaves time for the others.
            let share = u32::try_from(left.len() + 1).unwrap_or(u32::MAX);
            let limit = patience.left()? / share;
            match connect_to(address, &mut patience.at_most(limit)).await {
                Ok(stream) => {
                    self.known.prefer(address);
                    return Channel::over(stream, &self.url, &self.scheme, patience).await;
                }
                Err(Stop::Interrupted) => return Err(CallError::Interrupted),
                Err(stop) => refused = Some(stop),
            }
        }
        self.known.forget();
        Err(match refused {
            Some(Stop::Io(error)) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {
                CallError::Transport { what: "nobody listens there".into(), errno: libc::ECONNREFUSED }
            }
            Some(Stop::Io(error)) => CallError::io("cannot connect", &error),
            Some(stop) => stop.into(),
            None => {
                CallError::Transport { what: "the host name means no address".into(), errno: libc::EADDRNOTAVAIL }
            }
        })
    }

    /// Head and body in one piece: a server may not read what comes later.
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
    pub(super) fn body(self) -> &'a [u8] {
        match self {
            Message::Post(_, body) => body,
            Message::Get(_) => b"",
        }
    }
}

impl Scheme {
    /// The same, without the sessions that were kept and the lock on them.
    fn renewed(&self) -> Self {
        match self {
            Scheme::Http => Scheme::Http,
            #[cfg(feature = "tls")]
            Scheme::Https(config) => {
                let mut config = rustls::ClientConfig::clone(config);
                config.resumption = rustls::client::Resumption::default();
                Scheme::Https(std::sync::Arc::new(config))
            }
        }
    }

    #[cfg(feature = "tls")]
    fn new(is_secure: bool, options: &TlsOptions) -> Result<Self, HttpError> {
        if is_secure {
            return Ok(Scheme::Https(tls::configure(options)?));
        }
        if *options == TlsOptions::default() { Ok(Scheme::Http) } else { Err(HttpError::NoTls) }
    }

    #[cfg(not(feature = "tls"))]
    fn new(is_secure: bool, options: &TlsOptions) -> Result<Self, HttpError> {
        if is_secure {
            return Err(TlsError::new("https is not available", &"built without the feature tls").into());
        }
        if *options == TlsOptions::default() { Ok(Scheme::Http) } else { Err(HttpError::NoTls) }
    }
}

async fn connect_to(address: SocketAddr, patience: &mut Patience<'_>) -> Result<Stream, Stop> {
    let stream = Stream::begin(address).map_err(Stop::Io)?;
    finish_connecting(&stream, patience).await?;
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

fn push_credentials(headers: &mut Vec<u8>, credentials: &Credentials) -> Result<(), HttpError> {
    let has_control = |text: &Str| text.iter().any(|byte| *byte < b' ' || *byte == 0x7f);
    match credentials {
        Credentials::Basic { user, .. } if user.contains(&b':') => {
            return Err(HttpError::Unsayable("a user's name cannot hold a colon"));
        }
        Credentials::Basic { user, password } if has_control(user) || has_control(password) => {
            return Err(HttpError::Unsayable("a user's name and password cannot hold control characters"));
        }
        Credentials::Basic { user, password } => {
            headers.extend_from_slice(b"Basic ");
            let joined = [user.as_bytes(), b":", password.as_bytes()].concat();
            headers.extend_from_slice(STANDARD.encode(joined).as_bytes());
        }
        Credentials::Token(token) if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) => {
            return Err(HttpError::Unsayable("expected a token of printable ASCII without blanks"));
        }
        Credentials::Token(token) => {
            headers.extend_from_slice(b"Bearer ");
            headers.extend_from_slice(token);
        }
    }
    Ok(())
}
