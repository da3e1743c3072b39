//! The server's side of a handshake. Client certificates, where they are asked for, are recorded and not judged.

use std::sync::Arc;
use std::time::Duration;

use mail::TlsFacts;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::version::{self, Watched};
use super::{HandshakeError, Keyring};
use crate::config::listen::ClientCertificates;
use crate::config::tls::VersionMin;
use crate::ports::{Clock, Stream, within};

/// What handshakes at one listener need.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    keyring: Arc<Keyring>,
    slots: Arc<Semaphore>,
    wait: Duration,
    clock: Arc<dyn Clock>,
}

/// Leave to shake hands: one of a bounded number of slots, given back when dropped.
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl ServerTls {
    /// Prepares a listener. `slots` are shared by all listeners; a handshake may take `wait`.
    pub fn new(
        keyring: Arc<Keyring>,
        version_min: VersionMin,
        clients: ClientCertificates,
        slots: Arc<Semaphore>,
        wait: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<ServerTls, Error> {
        let provider = super::provider();
        let versions: &[_] = match version_min {
            VersionMin::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            VersionMin::V1_3 => &[&rustls::version::TLS13],
        };
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let builder = match clients {
            ClientCertificates::Ignore => builder.with_no_client_auth(),
            // Demanding one inside the handshake would break it off; SMTP can say why (RFC 3207 §4.1).
            ClientCertificates::Request | ClientCertificates::Require => {
                builder.with_client_cert_verifier(Arc::new(AnyClient { provider }))
            }
        };
        let mut config = builder.with_cert_resolver(keyring.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = TICKETS;
        Ok(ServerTls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            keyring,
            slots,
            wait,
            clock,
        })
    }

    /// Whether a usable certificate and key are loaded now.
    pub fn is_usable(&self) -> bool {
        self.keyring.is_usable()
    }

    /// A slot if one is free: what STARTTLS needs, else it answers 454 (RFC 3207 §4).
    pub fn try_slot(&self) -> Option<Slot> {
        let permit = self.slots.clone().try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    /// Waits for a slot, where TLS comes before anything could be said; bounded by the handshake's time.
    pub async fn slot(&self) -> Result<Slot, HandshakeError> {
        match within(&*self.clock, self.wait, self.slots.clone().acquire_owned()).await {
            Some(Ok(permit)) => Ok(Slot { _permit: permit }),
            Some(Err(_)) | None => Err(HandshakeError::TimedOut),
        }
    }

    /// Shakes hands.
    pub async fn accept(
        &self,
        stream: Box<dyn Stream>,
        slot: Slot,
    ) -> Result<(Box<dyn Stream>, TlsFacts), HandshakeError> {
        let shaking = self.acceptor.accept(Watched::new(stream)).into_fallible();
        let shaken = within(&*self.clock, self.wait, shaking).await;
        drop(slot);
        let stream = match shaken.ok_or(HandshakeError::TimedOut)? {
            Ok(stream) => stream,
            Err((error, stream)) => {
                self.alert(&error, stream).await;
                return Err(HandshakeError::Peer(error));
            }
        };
        let connection = stream.get_ref().1;
        let facts = super::facts(connection, connection.server_name())
            .ok_or_else(|| HandshakeError::Peer(std::io::Error::other("the handshake did not finish")))?;
        Ok((Box::new(stream), facts))
    }
}

impl ServerTls {
    /// What rustls has not told the client already.
    async fn alert(&self, error: &std::io::Error, mut stream: Watched) {
        if !version::is_too_old(error) {
            return;
        }
        let telling = async {
            stream.write_all(&version::ALERT).await?;
            stream.shutdown().await
        };
        // The handshake has failed already; a client that does not listen misses only the reason.
        let _ = within(&*self.clock, ALERT_WAIT, telling).await;
    }
}

/// Takes any certificate whose key the client proves to hold, and none as well.
#[derive(Debug)]
struct AnyClient {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
            .or_else(|_| super::check_by_raw_key(certificate, message, signed, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const ALERT_WAIT: Duration = Duration::from_secs(5);
/// Session tickets handed out after a TLS 1.3 handshake.
const TICKETS: usize = 2;
