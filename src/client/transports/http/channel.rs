//! The byte stream below HTTP: a TCP connection, plain or under TLS.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::PollFlags;

use super::scheme::Scheme;
use super::url::Url;
use crate::client::deadline::{Deadline, WaitError};
use crate::client::error::CallError;
use crate::transport::stream::{Moved, Stream};

/// For so long a closed connection is watched for word that its server had not read the request.
const WORD_OF_REFUSAL: Duration = Duration::from_millis(100);

/// A connection.
#[derive(Debug)]
pub(in crate::client) enum Channel {
    Plain(Stream),
    #[cfg(feature = "tls")]
    Tls(Box<super::tls::Secured>),
}

impl Channel {
    /// Over a connection that is made. Under TLS the two sides get to know each other first.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables, clippy::unnecessary_wraps))]
    pub(in crate::client) async fn over(
        stream: Stream,
        url: &Url,
        scheme: &Scheme,
        deadline: &mut Deadline<'_>,
    ) -> Result<Self, CallError> {
        match scheme {
            Scheme::Http => Ok(Channel::Plain(stream)),
            #[cfg(feature = "tls")]
            Scheme::Https(config) => {
                let secured = super::tls::Secured::over(stream, &url.host, config, deadline).await?;
                Ok(Channel::Tls(Box::new(secured)))
            }
        }
    }

    /// Reads at most `most` bytes of those that are there, and appends them.
    pub(in crate::client) fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Moved> {
        match self {
            Channel::Plain(stream) => stream.read(bytes, most),
            #[cfg(feature = "tls")]
            Channel::Tls(secured) => secured.read(bytes, most),
        }
    }

    pub(in crate::client) fn write(&mut self, bytes: &[u8]) -> io::Result<Moved> {
        match self {
            Channel::Plain(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            Channel::Tls(secured) => secured.write(bytes),
        }
    }

    pub(in crate::client) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }

    /// Returns true if the connection is open and has no data to read, so that the next data answers the next request.
    pub(in crate::client) fn is_quiet(&mut self) -> bool {
        match self {
            Channel::Plain(stream) => stream.is_quiet(),
            #[cfg(feature = "tls")]
            Channel::Tls(secured) => secured.is_quiet(),
        }
    }

    /// Returns true if the server had closed this connection before the request reached it, so that it cannot have
    /// run.
    ///
    /// A system answers what comes for a closed connection with a reset; after a close the kernel notes that as a
    /// broken pipe. A server that read the request and then closed causes no reset; one that resets without closing
    /// leaves another error. Both may have run it.
    pub(in crate::client) async fn was_closed_before(&self, deadline: &mut Deadline<'_>) -> bool {
        let waited = deadline.at_most(WORD_OF_REFUSAL).wait(self.as_fd(), PollFlags::empty()).await;
        let was_reset = waited.is_ok_and(|events| events.contains(PollFlags::POLLERR));
        was_reset && self.stream().outcome().is_err_and(|error| error.raw_os_error() == Some(libc::EPIPE))
    }

    fn stream(&self) -> &Stream {
        match self {
            Channel::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Channel::Tls(secured) => secured.stream(),
        }
    }
}

/// Waits until a stream is connected.
pub(in crate::client) async fn finish_connecting(
    stream: &Stream,
    deadline: &mut Deadline<'_>,
) -> Result<(), WaitError> {
    deadline.wait(stream.as_fd(), PollFlags::POLLOUT).await?;
    stream.outcome().map_err(WaitError::Io)
}
