//! The client's side of a handshake: any certificate is taken, and what it proves is recorded for `trust` to judge.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mail::{Domain, Host, TlsFacts};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use trust::Chain;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{BadKey, HandshakeError};
use crate::ports::{Clock, Stream, within};

/// What handshakes with other servers need; cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    provider: Arc<CryptoProvider>,
    /// None where no root is trusted: then every chain stays unchecked.
    judge: Option<Arc<WebPkiServerVerifier>>,
    clock: Arc<dyn Clock>,
}

/// A channel inside TLS, and what it showed.
pub struct Encrypted {
    /// The octets inside.
    pub stream: Box<dyn Stream>,
    /// What the handshake reached.
    pub facts: TlsFacts,
    /// What the chain proved against the trusted roots for the reference names.
    pub chain: Chain,
}

impl ClientTls {
    /// Reads the trusted roots: those of `ca_file`, or the system's own. Roots that cannot be read are left out; none at
    /// all is no error. Blocks.
    pub fn load(ca_file: Option<&Path>, clock: Arc<dyn Clock>) -> Result<ClientTls, BadKey> {
        let mut roots = RootCertStore::empty();
        let found = match ca_file {
            Some(file) => CertificateDer::pem_file_iter(file)
                .and_then(|found| found.collect::<Result<Vec<_>, _>>())
                .map_err(|error| BadKey::at(file, format!("cannot read the trusted roots: {error}")))?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        roots.add_parsable_certificates(found);
        Ok(ClientTls::trusting(roots, clock))
    }

    /// With these roots.
    pub fn trusting(roots: RootCertStore, clock: Arc<dyn Clock>) -> ClientTls {
        let provider = super::provider();
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .ok();
        ClientTls {
            provider,
            judge,
            clock,
        }
    }

    /// Shakes hands with a host over a connected stream, within a time. A chain counts as proven for any of the
    /// `references`; a named host is asked for by SNI.
    pub async fn connect(
        &self,
        stream: Box<dyn Stream>,
        host: &Host,
        references: &[Domain],
        wait: Duration,
    ) -> Result<Encrypted, HandshakeError> {
        let witness = Arc::new(Witness::new(self, references));
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(HandshakeError::Ours)?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        // A resumed session would show no certificate, and what is not shown cannot be judged.
        config.resumption = Resumption::disabled();
        let (name, asked) = match host {
            Host::Name(domain) => (server_name(domain)?, Some(domain.as_str())),
            Host::Literal(address) => (ServerName::from(*address), None),
        };
        let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = within(&*self.clock, wait, shaking)
            .await
            .ok_or(HandshakeError::TimedOut)?
            .map_err(HandshakeError::Peer)?;
        let facts = super::facts(stream.get_ref().1, asked)
            .ok_or_else(|| HandshakeError::Peer(std::io::Error::other("the handshake did not finish")))?;
        Ok(Encrypted {
            stream: Box::new(stream),
            facts,
            chain: witness.seen(),
        })
    }
}

fn server_name(domain: &Domain) -> Result<ServerName<'static>, HandshakeError> {
    ServerName::try_from(domain.as_str().to_owned())
        .map_err(|_| HandshakeError::Ours(Error::General(format!("{domain} cannot be asked for by name"))))
}

/// Sees one handshake and refuses nothing but a false signature.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    judge: Option<Arc<WebPkiServerVerifier>>,
    references: Vec<ServerName<'static>>,
    chain: Mutex<Chain>,
}

impl Witness {
    fn new(tls: &ClientTls, references: &[Domain]) -> Witness {
        Witness {
            provider: tls.provider.clone(),
            judge: tls.judge.clone(),
            references: references
                .iter()
                .filter_map(|name| server_name(name).ok())
                .collect(),
            chain: Mutex::new(Chain::Unchecked),
        }
    }

    fn seen(&self) -> Chain {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        ocsp: &[u8],
        now: UnixTime,
    ) -> Chain {
        let Some(judge) = &self.judge else {
            return Chain::Unchecked;
        };
        let mut why = None;
        for name in &self.references {
            match judge.verify_server_cert(end, between, name, ocsp, now) {
                Ok(_) => return Chain::Trusted,
                Err(error) => why = why.or(Some(error.to_string())),
            }
        }
        why.map_or(Chain::Unchecked, |why| Chain::Untrusted(why.into()))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = self.check(end_entity, intermediates, ocsp, now);
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match verify_tls12_signature(message, certificate, signed, algorithms) {
            // webpki cannot read such certificates, and TLS 1.2 has no check by the bare key. The chain is recorded
            // as untrusted already, so nothing will rest on it.
            Err(error) if is_version_1(certificate) && !is_false(&error) => {
                Ok(HandshakeSignatureValid::assertion())
            }
            other => other,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match verify_tls13_signature(message, certificate, signed, algorithms) {
            Err(error) if !is_false(&error) => {
                super::check_by_raw_key(certificate, message, signed, algorithms)
            }
            other => other,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn is_false(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::BadSignature))
}

fn is_version_1(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.version().0 == 0)
}
