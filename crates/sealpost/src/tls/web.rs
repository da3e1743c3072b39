//! The server's side of a handshake for web pages: only with a certificate for the very name that is asked for.

use std::sync::Arc;

use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use tokio_rustls::LazyConfigAcceptor;

use super::{HandshakeError, Keyring};
use crate::ports::Stream;

/// What handshakes at a web listener need. Cheap to clone.
#[derive(Clone)]
pub struct WebTls(Arc<ServerConfig>);

impl WebTls {
    /// With these keys; TLS 1.2 and newer.
    pub fn new(keyring: Arc<Keyring>) -> Result<WebTls, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Exactly(keyring)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(WebTls(Arc::new(config)))
    }

    /// Shakes hands with a client that asks for a name that is served here; gives the name. No time limit of its own.
    ///
    /// RFC 8461 §7.1: with any other name, and without one, the handshake fails.
    pub async fn accept(
        &self,
        stream: Box<dyn Stream>,
        is_served: impl FnOnce(&str) -> bool,
    ) -> Result<(Box<dyn Stream>, Box<str>), HandshakeError> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let start = hello.await.map_err(HandshakeError::Peer)?;
        let name: Option<Box<str>> = start.client_hello().server_name().map(Box::from);
        let Some(name) = name.filter(|name| is_served(name)) else {
            return Err(HandshakeError::Peer(std::io::Error::other(
                "it asks for no name that is served here",
            )));
        };
        let stream = start
            .into_stream(self.0.clone())
            .await
            .map_err(HandshakeError::Peer)?;
        Ok((Box::new(stream), name))
    }
}

/// No fallback, which is for SMTP.
#[derive(Debug)]
struct Exactly(Arc<Keyring>);

impl ResolvesServerCert for Exactly {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.exactly(&hello)
    }
}
