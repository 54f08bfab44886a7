//! HTTP with or without TLS.

#[cfg(not(feature = "tls"))]
use super::options::TlsError;
use super::options::{HttpError, TlsOptions};
#[cfg(feature = "tls")]
use super::tls;

/// With or without TLS.
#[derive(Debug)]
pub(in crate::client) enum Scheme {
    Http,
    #[cfg(feature = "tls")]
    Https(std::sync::Arc<rustls::ClientConfig>),
}

impl Scheme {
    /// The same, without the sessions that were kept and the lock on them.
    pub(in crate::client) fn after_fork(&self) -> Self {
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
    pub(in crate::client) fn new(is_secure: bool, options: &TlsOptions) -> Result<Self, HttpError> {
        if is_secure {
            return Ok(Scheme::Https(tls::configure(options)?));
        }
        if *options == TlsOptions::default() { Ok(Scheme::Http) } else { Err(HttpError::NoTls) }
    }

    #[cfg(not(feature = "tls"))]
    pub(in crate::client) fn new(is_secure: bool, options: &TlsOptions) -> Result<Self, HttpError> {
        if is_secure {
            return Err(TlsError::new("https is not available", &"built without the feature tls").into());
        }
        if *options == TlsOptions::default() { Ok(Scheme::Http) } else { Err(HttpError::NoTls) }
    }
}
