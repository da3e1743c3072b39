//! The client's side of a handshake: any certificate is taken, and what it proves is recorded for `trust` to judge.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::{Domain, Host, TlsFacts, TlsVersion};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use tokio_rustls::TlsConnector;
use trust::{Certificates, Presented, Roots};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::keys::read_pair;
use super::{BadKey, HandshakeError};
use crate::config::trust::Certificate;
use crate::ports::{Clock, Stream, within};

/// What handshakes with other servers need; cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    provider: Arc<CryptoProvider>,
    roots: Roots,
    /// What rules may have shown to hosts, by name.
    certificates: Arc<BTreeMap<Box<str>, Arc<CertifiedKey>>>,
    clock: Arc<dyn Clock>,
    newest: TlsVersion,
}

/// How to shake hands with one host.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The name to ask for by SNI; none for an address.
    pub server_name: Option<&'a Domain>,
    /// The oldest version to offer.
    pub version_min: TlsVersion,
    /// The only key exchange groups to offer, if it is said.
    pub groups: Option<&'a [Box<str>]>,
    /// The certificate to show where the host asks for one, by its name in the configuration.
    pub certificate: Option<&'a str>,
}

/// A channel inside TLS, and what it showed.
pub struct Encrypted {
    /// The octets inside.
    pub stream: Box<dyn Stream>,
    /// What the handshake reached.
    pub facts: TlsFacts,
    /// What the certificates prove against the trusted roots.
    pub certificates: Certificates,
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
        ClientTls {
            provider: super::provider(),
            roots: Roots::new(roots.roots),
            certificates: Arc::default(),
            clock,
            newest: TlsVersion::V1_3,
        }
    }

    /// With these certificates to show to hosts. Blocks.
    pub fn showing(self, files: &[Certificate]) -> Result<ClientTls, BadKey> {
        let read = |file: &Certificate| {
            let pair = read_pair(&file.chain, &file.key, &self.provider)?;
            Ok((Box::from(file.name.as_str()), Arc::new(pair)))
        };
        let certificates: BTreeMap<_, _> = files.iter().map(read).collect::<Result<_, BadKey>>()?;
        Ok(ClientTls {
            certificates: Arc::new(certificates),
            ..self
        })
    }

    /// The same, offering no version newer than this.
    pub fn at_most(self, newest: TlsVersion) -> ClientTls {
        ClientTls { newest, ..self }
    }

    /// What certificates would prove here, had a host shown them.
    pub fn examine(&self, presented: Presented, now: SystemTime) -> Certificates {
        Certificates::examine(presented, &self.roots, now)
    }

    /// Shakes hands with a host over a connected stream, within a time.
    pub async fn connect(
        &self,
        stream: Box<dyn Stream>,
        host: &Host,
        ask: Ask<'_>,
        wait: Duration,
    ) -> Result<Encrypted, HandshakeError> {
        let provider = self.provider_for(ask);
        let versions: &[&SupportedProtocolVersion] = match (ask.version_min, self.newest) {
            (TlsVersion::V1_2, TlsVersion::V1_3) => &[&TLS13, &TLS12],
            (TlsVersion::V1_3, TlsVersion::V1_3) => &[&TLS13],
            (TlsVersion::V1_2, TlsVersion::V1_2) => &[&TLS12],
            (TlsVersion::V1_3, TlsVersion::V1_2) => &[],
        };
        let witness = Arc::new(Witness(provider.signature_verification_algorithms));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(HandshakeError::Ours)?
            .dangerous()
            .with_custom_certificate_verifier(witness)
            .with_client_cert_resolver(Arc::new(self.shown(ask)));
        // A resumed session would show no certificate, and what is not shown cannot be judged.
        config.resumption = Resumption::disabled();
        let (name, asked) = match (ask.server_name, host) {
            (Some(domain), _) | (None, Host::Name(domain)) => (server_name(domain)?, Some(domain.as_str())),
            (None, Host::Literal(address)) => (ServerName::from(*address), None),
        };
        let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = within(&*self.clock, wait, shaking)
            .await
            .ok_or(HandshakeError::TimedOut)?
            .map_err(HandshakeError::Peer)?;
        let connection = stream.get_ref().1;
        let facts = super::facts(connection, asked)
            .ok_or_else(|| HandshakeError::Peer(std::io::Error::other("the handshake did not finish")))?;
        let shown = connection.peer_certificates().unwrap_or_default();
        let presented = Presented::new(shown.iter().map(|der| der.as_ref()));
        let certificates = Certificates::examine(presented, &self.roots, self.clock.now());
        Ok(Encrypted {
            stream: Box::new(stream),
            facts,
            certificates,
        })
    }

    fn shown(&self, ask: Ask<'_>) -> OwnCertificate {
        let named = ask.certificate.and_then(|name| self.certificates.get(name));
        OwnCertificate(named.cloned())
    }

    /// The cryptography, cut down to the groups that may be offered.
    fn provider_for(&self, ask: Ask<'_>) -> Arc<CryptoProvider> {
        let Some(groups) = ask.groups else {
            return Arc::clone(&self.provider);
        };
        let mut provider = (*self.provider).clone();
        provider.kx_groups = aws_lc_rs::ALL_KX_GROUPS.to_vec();
        provider.kx_groups.retain(|group| {
            let name = super::registered_group(&format!("{:?}", group.name()));
            groups.iter().any(|wanted| wanted.eq_ignore_ascii_case(&name))
        });
        Arc::new(provider)
    }
}

fn server_name(domain: &Domain) -> Result<ServerName<'static>, HandshakeError> {
    ServerName::try_from(domain.as_str().to_owned())
        .map_err(|_| HandshakeError::Ours(Error::General(format!("{domain} cannot be asked for by name"))))
}

/// The certificate that a rule wants shown, if any.
#[derive(Debug)]
struct OwnCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _roots: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0
            .clone()
            .filter(|own| own.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Sees one handshake and refuses nothing but a false signature: what the certificates prove is judged behind it.
#[derive(Debug)]
struct Witness(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0;
        match verify_tls12_signature(message, certificate, signed, algorithms) {
            // webpki cannot read such certificates. Their key is held against the signature all the same: a TLSA record or
            // a pin may name it, and whoever shows a certificate need not have its key.
            Err(error) if is_version_1(certificate) && !is_false(&error) => {
                super::check_by_bare_key(certificate, message, signed, algorithms)
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
        let algorithms = &self.0;
        match verify_tls13_signature(message, certificate, signed, algorithms) {
            Err(error) if !is_false(&error) => {
                super::check_by_raw_key(certificate, message, signed, algorithms)
            }
            other => other,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn is_false(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::BadSignature))
}

fn is_version_1(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.version().0 == 0)
}
