//! Trust in a server by its own certificate: the user has it, so no authority has to vouch for it.
//!
//! curl and Python accept a self-signed certificate that is named among the authorities. It often is a certificate of
//! an authority, too (`openssl req -x509` makes it so), which webpki does not accept for a server.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// The object identifiers of the extension with the names of a certificate and of the common name, as DER has them.
const SUBJECT_ALT_NAME: [u8; 5] = [6, 3, 0x55, 0x1d, 0x11];
const COMMON_NAME: [u8; 5] = [6, 3, 0x55, 4, 3];

/// Trusts servers by the authorities, or by their own certificate if the user has named it.
#[derive(Debug)]
pub(super) struct OwnOrVouched {
    pub(super) authorities: Arc<WebPkiServerVerifier>,
    /// The certificates that the user has named.
    pub(super) named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for OwnOrVouched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let vouched = self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match vouched {
            // The time is checked before all else.
            Err(error) if self.named.contains(end_entity) && !is_about_time(&error) => {
                check_name(end_entity, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            vouched => vouched,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

fn is_about_time(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let Error::InvalidCertificate(error) = error else { return false };
    matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// A certificate is for the names that it lists, or else for its common name.
fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let lists_names = memchr::memmem::find(certificate, &SUBJECT_ALT_NAME).is_some();
    let has_name =
        !lists_names && common_names(certificate).any(|found| found.eq_ignore_ascii_case(name.to_str().as_bytes()));
    if has_name { Ok(()) } else { verify_server_name(&ParsedCertificate::try_from(certificate)?, name) }
}

/// The common names of a certificate: of its issuer and its subject, which are the same if it is self-signed.
fn common_names<'a>(certificate: &'a CertificateDer<'_>) -> impl Iterator<Item = &'a [u8]> {
    memchr::memmem::find_iter(certificate, &COMMON_NAME).filter_map(|at| {
        // A string: a tag, a length of one byte, and the text.
        let string = &certificate[at + COMMON_NAME.len()..];
        let length = usize::from(*string.get(1)?);
        string.get(2..2 + length)
    })
}
