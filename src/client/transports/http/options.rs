//! The options of a client over HTTP, and the errors in them.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::credentials::Credentials;
use super::url::UrlError;

/// How a server is spoken to over HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// The caller's credentials; the address may hold them too.
    pub credentials: Option<Credentials>,
    /// The trusted certificates, for https.
    pub tls: TlsOptions,
    /// Modparam `receive_buf_size` of the server's `httpd` (3.6 and later), in bytes; `None`: its default.
    pub receive_buf_size: Option<NonZeroUsize>,
}

/// The trusted certificates, and the client's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// True if the server has to prove its identity. Without it, a man in the middle can read and change everything.
    pub verify: bool,
    /// A PEM file of trusted certificate authorities; `None`: the authorities that this machine trusts.
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
    pub(in crate::client) fn new(what: &str, why: &dyn fmt::Display) -> Self {
        TlsError(format!("{what}: {why}"))
    }

    pub(in crate::client) fn in_file(what: &str, path: &Path, why: &dyn fmt::Display) -> Self {
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
