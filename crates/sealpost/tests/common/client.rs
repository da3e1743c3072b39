//! A client that says lines and reads replies, in the clear or inside TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use sealpost::ports::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One connection.
pub struct Client {
    pub stream: Box<dyn Stream>,
    heard: Vec<u8>,
}

/// How a client shakes hands.
pub struct Shake {
    pub name: String,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub certificate: Option<Arc<CertifiedKey>>,
}

/// What a client saw of a handshake.
#[derive(Debug)]
pub struct Saw {
    pub version: String,
    pub group: String,
    pub suite: String,
    pub leaf: CertificateDer<'static>,
    /// Whether the server asked for a certificate.
    pub asked: bool,
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Client {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream: Box::new(stream),
            heard: Vec::new(),
        }
    }

    pub async fn greeted(to: SocketAddr) -> Client {
        let mut client = Client::connect(to).await;
        let greeting = client.reply().await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        client
    }

    /// Sends octets as they are.
    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a line and reads the reply to it, all lines joined by `\n`.
    pub async fn say(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    /// Says several lines that must all be answered positively; gives the last reply.
    pub async fn go(&mut self, lines: &[&str]) -> String {
        let mut last = String::new();
        for line in lines {
            last = self.say(line).await;
            assert!(last.starts_with(['2', '3']), "{line}: {last}");
        }
        last
    }

    /// The next reply; empty at the end of the stream.
    pub async fn reply(&mut self) -> String {
        let mut lines: Vec<String> = Vec::new();
        loop {
            while let Some(end) = self.heard.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                let line = line.strip_suffix("\r\n").expect("replies end in CRLF").to_owned();
                let last = line.as_bytes().get(3) != Some(&b'-');
                lines.push(line);
                if last {
                    return lines.join("\n");
                }
            }
            if !self.hear().await {
                assert!(
                    self.heard.is_empty() && lines.is_empty(),
                    "cut off within a reply"
                );
                return String::new();
            }
        }
    }

    /// What comes within a moment, if anything.
    pub async fn anything(&mut self) -> Vec<u8> {
        let mut piece = [0; 4096];
        match tokio::time::timeout(MOMENT, self.stream.read(&mut piece)).await {
            Ok(Ok(count)) => piece[..count].to_vec(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// What the next read gives.
    pub async fn read(&mut self) -> Vec<u8> {
        let mut piece = [0; 65536];
        let count = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece))
            .await
            .expect("nothing came")
            .unwrap();
        piece[..count].to_vec()
    }

    async fn hear(&mut self) -> bool {
        let mut piece = [0; 4096];
        let count = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece))
            .await
            .expect("no reply came");
        match count {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.heard.extend_from_slice(&piece[..count]);
                true
            }
        }
    }

    /// EHLO, STARTTLS and the handshake.
    pub async fn start_tls(mut self, shake: Shake) -> (Client, Saw) {
        self.go(&["EHLO client.example", "STARTTLS"]).await;
        self.shake(shake).await
    }

    pub async fn shake(self, shake: Shake) -> (Client, Saw) {
        self.try_shake(shake).await.unwrap()
    }

    pub async fn try_shake(self, shake: Shake) -> std::io::Result<(Client, Saw)> {
        assert!(self.heard.is_empty(), "octets before the handshake");
        let seen = Arc::new(Seen::new(shake.certificate));
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&shake.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(seen.clone())
            .with_client_cert_resolver(seen.clone());
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from(shake.name).unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, self.stream);
        let stream = tokio::time::timeout(PATIENCE, connecting)
            .await
            .expect("no handshake")?;
        let connection = stream.get_ref().1;
        let saw = Saw {
            version: format!("{:?}", connection.protocol_version().unwrap()),
            group: connection
                .negotiated_key_exchange_group()
                .map(|g| format!("{:?}", g.name()))
                .unwrap_or_default(),
            suite: format!("{:?}", connection.negotiated_cipher_suite().unwrap().suite()),
            leaf: connection.peer_certificates().unwrap()[0].clone(),
            asked: *seen.asked.lock().unwrap(),
        };
        Ok((
            Client {
                stream: Box::new(stream),
                heard: Vec::new(),
            },
            saw,
        ))
    }
}

impl Default for Shake {
    fn default() -> Shake {
        Shake {
            name: "mx.here.example".to_owned(),
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            certificate: None,
        }
    }
}

/// A self-made client certificate.
pub fn certificate(name: &str) -> Arc<CertifiedKey> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Arc::new(CertifiedKey::new(
        vec![made.cert.der().clone()],
        aws_lc_rs::sign::any_supported_type(&key).unwrap(),
    ))
}

#[derive(Debug)]
struct Seen {
    certificate: Option<Arc<CertifiedKey>>,
    asked: Mutex<bool>,
}

impl Seen {
    fn new(certificate: Option<Arc<CertifiedKey>>) -> Seen {
        Seen {
            certificate,
            asked: Mutex::new(false),
        }
    }
}

impl ResolvesClientCert for Seen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.asked.lock().unwrap() = true;
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to believe that nothing comes.
const MOMENT: Duration = Duration::from_millis(250);
