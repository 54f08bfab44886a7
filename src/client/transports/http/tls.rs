//! TLS over a socket that does not wait: rustls turns bytes into records, this file moves them.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use nix::poll::PollFlags;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::options::{TlsError, TlsOptions};
use super::own_certificate::OwnOrVouched;
use crate::client::deadline::{Deadline, WaitError};
use crate::client::error::CallError;
use crate::transport::stream::{Moved, Stream, moved};

/// The number of reads of records without data after which an idle connection is not used again.
const MOST_QUIET_READS: usize = 16;

/// A connection under TLS.
pub(in crate::client) struct Secured {
    stream: Stream,
    tls: ClientConnection,
    /// The number of bytes of the current write that are in records not fully sent.
    in_records: usize,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Why a handshake ended.
enum Ended {
    WaitError(WaitError),
    Tls(rustls::Error),
}

impl From<WaitError> for Ended {
    fn from(error: WaitError) -> Self {
        Ended::WaitError(error)
    }
}

impl Secured {
    /// Shakes hands with the server, and checks who it is.
    pub(in crate::client) async fn over(
        stream: Stream,
        host: &str,
        config: &Arc<ClientConfig>,
        deadline: &mut Deadline<'_>,
    ) -> Result<Self, CallError> {
        let failed = |what: String| CallError::Transport { what, errno: libc::EPROTO };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| failed(format!("{host:?} is no name that a certificate can have")))?;
        let mut tls = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| failed(format!("TLS cannot begin: {error}")))?;
        // A request goes out in one piece, however large it is.
        tls.set_buffer_limit(None);
        let mut secured = Secured { stream, tls, in_records: 0 };
        match secured.shake_hands(deadline).await {
            Ok(()) => Ok(secured),
            Err(Ended::WaitError(WaitError::Io(error))) => {
                Err(CallError::io("the TLS handshake was broken off", &error))
            }
            Err(Ended::WaitError(error)) => Err(error.into()),
            Err(Ended::Tls(error)) => Err(failed(explain(&error))),
        }
    }

    async fn shake_hands(&mut self, deadline: &mut Deadline<'_>) -> Result<(), Ended> {
        while self.tls.is_handshaking() || self.tls.wants_write() {
            deadline.checkpoint().await?;
            let wanted = if self.tls.wants_write() {
                match self.send_records().map_err(WaitError::Io)? {
                    Moved::Bytes(_) => continue,
                    Moved::Not(wanted) => wanted,
                }
            } else {
                match self.take_records().map_err(WaitError::Io)? {
                    Moved::Bytes(0) => return Err(WaitError::Io(io::ErrorKind::UnexpectedEof.into()).into()),
                    Moved::Bytes(_) => {
                        if let Err(error) = self.tls.process_new_packets() {
                            // Sends the alert, so that the server learns the fault of its certificate.
                            drop(self.send_records());
                            return Err(Ended::Tls(error));
                        }
                        continue;
                    }
                    Moved::Not(wanted) => wanted,
                }
            };
            deadline.wait(self.stream.as_fd(), wanted).await?;
        }
        Ok(())
    }

    pub(in crate::client) fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Moved> {
        if let Some(read) = self.read_plain(bytes, most)? {
            return Ok(Moved::Bytes(read));
        }
        if let later @ Moved::Not(_) = self.take_records()? {
            return Ok(later);
        }
        self.tls.process_new_packets().map_err(io::Error::other)?;
        // Answers to the protocol's own messages. An answer that cannot be sent now goes with the next.
        while self.tls.wants_write() && matches!(self.send_records()?, Moved::Bytes(_)) {}
        // Of records without data there may be no end: the caller asks again, and looks at its deadline between.
        Ok(self.read_plain(bytes, most)?.map_or(Moved::Not(PollFlags::POLLIN), Moved::Bytes))
    }

    /// Appends at most `most` bytes of deciphered data; `None` when there is none.
    fn read_plain(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Option<usize>> {
        let mut reader = self.tls.reader();
        let size = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            deciphered => {
                let deciphered = deciphered?;
                let size = deciphered.len().min(most);
                bytes.extend_from_slice(&deciphered[..size]);
                size
            }
        };
        reader.consume(size);
        Ok(Some(size))
    }

    pub(in crate::client) fn write(&mut self, bytes: &[u8]) -> io::Result<Moved> {
        // All of it becomes records at once, and is written when they are. A caller that has to wait calls again with
        // the same bytes, which are in the records already.
        if self.in_records == 0 {
            self.tls.writer().write_all(bytes)?;
            self.in_records = bytes.len();
        }
        while self.tls.wants_write() {
            if let later @ Moved::Not(_) = self.send_records()? {
                return Ok(later);
            }
        }
        Ok(Moved::Bytes(std::mem::take(&mut self.in_records)))
    }

    /// Returns true if the connection is open and the server has sent only messages of TLS itself.
    pub(in crate::client) fn is_quiet(&mut self) -> bool {
        for _ in 0..MOST_QUIET_READS {
            match self.take_records() {
                Ok(Moved::Bytes(count)) if count > 0 => {}
                Ok(Moved::Not(_)) => return !self.tls.wants_write(),
                _ => return false,
            }
            let is_quiet = self
                .tls
                .process_new_packets()
                .is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed());
            if !is_quiet {
                return false;
            }
        }
        false
    }

    pub(in crate::client) fn stream(&self) -> &Stream {
        &self.stream
    }

    fn send_records(&mut self) -> io::Result<Moved> {
        moved(self.tls.write_tls(&mut WithoutSignals(self.stream.socket())), PollFlags::POLLOUT)
    }

    fn take_records(&mut self) -> io::Result<Moved> {
        moved(self.tls.read_tls(&mut self.stream.socket()), PollFlags::POLLIN)
    }
}

/// Writes one piece at a time: several at once raise SIGPIPE where the peer has closed, which ends a program that does
/// not ignore it.
struct WithoutSignals<'s>(&'s TcpStream);

impl Write for WithoutSignals<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the remedy for the user.
fn explain(error: &rustls::Error) -> String {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
    };
    match error {
        rustls::Error::InvalidCertificate(why) => {
            let remedy = match why {
                Expired | ExpiredContext { .. } => "the server needs a new one",
                NotValidYet | NotValidYetContext { .. } => "does the clock go right, here and there?",
                NotValidForName | NotValidForNameContext { .. } => "is this the name of the server?",
                _ => "cafile= names who may vouch for it, or the certificate itself",
            };
            format!("the server's certificate is not to be trusted: {error} ({remedy})")
        }
        rustls::Error::InvalidMessage(_) => format!("the server does not speak TLS: {error} (is it http://?)"),
        rustls::Error::AlertReceived(_) => {
            format!("the server refused the TLS connection: {error} (does it want a certificate, cert=?)")
        }
        _ => format!("TLS failed: {error}"),
    }
}

/// Reads certificates and keys, and decides which certificates are trusted.
pub(in crate::client) fn configure(options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new("TLS cannot be used", &error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier(options, provider)?);
    let config = match &options.certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = read_certificates(certificate)?;
            let key_path = key.as_ref().unwrap_or(certificate);
            let key = PrivateKeyDer::from_pem_file(key_path)
                .map_err(|error| TlsError::in_file("no private key can be read from", key_path, &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsError::in_file("the client certificate cannot be used", certificate, &error))?
        }
    };
    Ok(Arc::new(config))
}

fn verifier(options: &TlsOptions, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if !options.verify {
        return Ok(Arc::new(Anybody(provider)));
    }
    let (roots, named) = match &options.authorities {
        Some(path) => (Arc::new(read_roots(path)?), read_certificates(path)?),
        None => (system_roots(), Vec::new()),
    };
    if roots.is_empty() {
        return Err(TlsError::new(
            "no trusted certificate authorities",
            &"the system has no root certificates (name some by cafile=)",
        ));
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| TlsError::new("the root certificates cannot be used", &error))?;
    Ok(Arc::new(OwnOrVouched { authorities, named }))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error: &dyn fmt::Display| TlsError::in_file("no certificate can be read from", path, error);
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&error))?;
    if certificates.is_empty() { Err(failed(&"it holds none in PEM form")) } else { Ok(certificates) }
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::in_file("a certificate cannot be used for trust, from", path, &error))?;
    }
    Ok(roots)
}

/// The certificates that this machine trusts; read once, which takes some milliseconds.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        // Some systems ship a certificate or two that cannot be read.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// Believes that a server is who it says, because the user said so. That it has the certificate's key is checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
