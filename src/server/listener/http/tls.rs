//! TLS on a non-blocking socket.

use std::io::{self, BufRead as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use hyper::rt::ReadBufCursor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {what} {path}: {why}")]
pub struct TlsError {
    what: &'static str,
    path: String,
    why: String,
}

fn because(what: &'static str, path: &Path) -> impl Fn(&dyn std::fmt::Display) -> TlsError {
    let path = path.display().to_string();
    move |why| TlsError { what, path: path.clone(), why: why.to_string() }
}

/// Creates the server's side of TLS from its certificate chain and key (PEM). If `client_ca` is given (PEM), clients must
/// have a certificate signed by it.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_certificates(certificate)?;
    let failed = because("cannot read the key", key);
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = because("cannot use the certificate", certificate);
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    let config = match client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let unusable = because("cannot use the authority", path);
            let mut roots = RootCertStore::empty();
            for authority in read_certificates(path)? {
                roots.add(authority).map_err(|error| unusable(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().map_err(|error| unusable(&error))?)
        }
    };
    config.with_single_cert(chain, secret).map(Arc::new).map_err(|error| unusable(&error))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = because("cannot read the certificates", path);
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    if certificates.is_empty() { Err(failed(&"there is none in it")) } else { Ok(certificates) }
}

/// A client's TLS connection.
pub(super) struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(TlsStream { socket, session })
    }

    pub(super) fn read(&mut self, cursor: &mut ReadBufCursor<'_>) -> io::Result<usize> {
        loop {
            let mut reader = self.session.reader();
            match reader.fill_buf() {
                Ok(bytes) => {
                    let size = bytes.len().min(cursor.remaining());
                    cursor.put_slice(&bytes[..size]);
                    reader.consume(size);
                    return Ok(size);
                }
                // A client that closes without an alert has closed all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.send_what_waits()?;
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            if let Err(error) = self.session.process_new_packets() {
                // The alert names the reason, if it still arrives.
                let _ = self.send_what_waits();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.send_what_waits()?;
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    pub(super) fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let is_empty = parts.iter().all(|part| part.is_empty());
        loop {
            let taken = self.session.writer().write_vectored(parts)?;
            self.send_what_waits()?;
            if taken > 0 || is_empty {
                return Ok(taken);
            }
            if self.session.wants_write() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.send_what_waits()?;
        if self.session.wants_write() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush()?;
        self.socket.shutdown(std::net::Shutdown::Write)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// The socket below TLS.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Sends as many pending bytes as the socket takes now.
    fn send_what_waits(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
