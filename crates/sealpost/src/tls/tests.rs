use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::{Domain, Host, TlsFacts, TlsVersion};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use trust::{Flaw, Named, Path};

use super::client::{Ask, ClientTls, Encrypted};
use super::server::ServerTls;
use super::{HandshakeError, Keyring, Keys, own};
use crate::config::listen::ClientCertificates;
use crate::config::tls::VersionMin;
use crate::ports::Clock;
use crate::real::clock::SystemClock;

const WITHIN: Duration = Duration::from_secs(5);

/// A server with a self-made certificate for one name, and a client that trusts that certificate.
fn both(name: &str) -> (ServerTls, ClientTls) {
    let folder = tempfile::tempdir().unwrap();
    let files = own::ensure(folder.path(), &[name.to_owned()], SystemTime::now()).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.chain).unwrap())
        .unwrap();
    let keyring = Arc::new(Keyring::default());
    keyring.replace(Keys::load(&[files], &super::provider()).unwrap());
    (server(keyring, 1), ClientTls::trusting(roots, clock()))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn server(keyring: Arc<Keyring>, slots: usize) -> ServerTls {
    let slots = Arc::new(Semaphore::new(slots));
    ServerTls::new(
        keyring,
        VersionMin::V1_2,
        ClientCertificates::Request,
        slots,
        WITHIN,
        clock(),
    )
    .unwrap()
}

fn ask(server_name: Option<&Domain>) -> Ask<'_> {
    Ask {
        server_name,
        version_min: TlsVersion::V1_2,
        groups: None,
        certificate: None,
    }
}

async fn shake(server: &ServerTls, client: &ClientTls, name: &str) -> (TlsFacts, Encrypted) {
    let (here, there) = duplex(64 * 1024);
    let domain = Domain::parse(name).unwrap();
    let host = Host::Name(domain.clone());
    let slot = server.try_slot().unwrap();
    let (served, connected) = tokio::join!(
        server.accept(Box::new(here), slot),
        client.connect(Box::new(there), &host, ask(Some(&domain)), WITHIN)
    );
    let ((mut stream, facts), mut encrypted) = (served.unwrap(), connected.unwrap());
    stream.write_all(b"220 inside\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut read = [0; 12];
    encrypted.stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"220 inside\r\n");
    (facts, encrypted)
}

#[tokio::test]
async fn both_sides_record_the_same_facts() {
    let (server, client) = both("mx.a.example");
    let (served, connected) = shake(&server, &client, "mx.a.example").await;
    for facts in [&served, &connected.facts] {
        assert_eq!(facts.version, TlsVersion::V1_3);
        assert_eq!(facts.group.as_deref(), Some("X25519MLKEM768"));
        assert!(facts.cipher.starts_with("TLS_AES_"), "{}", facts.cipher);
        assert_eq!(facts.server_name.as_deref(), Some("mx.a.example"));
    }
    assert_eq!(connected.facts.chain.len(), 1);
    assert_eq!(connected.facts.subject.as_deref(), Some("CN=mx.a.example"));
    assert!(served.chain.is_empty());
    // The slot of the handshake is free again.
    assert!(server.try_slot().is_some());
}

#[tokio::test]
async fn a_chain_is_trusted_for_its_own_name_only_and_never_refused() {
    let (server, client) = both("mx.a.example");
    let (_, connected) = shake(&server, &client, "mx.b.example").await;
    let host = Host::parse("mx.b.example").unwrap();
    let told = connected.certificates.told(&host);
    assert_eq!(told.path, Path::Trusted);
    assert_eq!(told.named, Named::Others("mx.a.example".into()));
    let (_, stranger) = both("mx.a.example");
    let (_, connected) = shake(&server, &stranger, "mx.a.example").await;
    let path = connected.certificates.path();
    assert!(matches!(path, Path::Flawed(Flaw::Untrusted, _)), "{path:?}");
    let nobody = ClientTls::trusting(RootCertStore::empty(), clock());
    let (_, connected) = shake(&server, &nobody, "mx.a.example").await;
    assert_eq!(*connected.certificates.path(), Path::Unchecked);
}

#[tokio::test]
async fn without_keys_there_is_nothing_to_offer_and_a_handshake_fails() {
    let server = server(Arc::new(Keyring::default()), 1);
    assert!(!server.is_usable());
    let client = ClientTls::trusting(RootCertStore::empty(), clock());
    let (here, there) = duplex(64 * 1024);
    let host = Host::Name(Domain::parse("a.example").unwrap());
    let slot = server.try_slot().unwrap();
    assert!(server.try_slot().is_none());
    let (served, connected) = tokio::join!(
        server.accept(Box::new(here), slot),
        client.connect(Box::new(there), &host, ask(None), WITHIN)
    );
    assert!(matches!(served, Err(HandshakeError::Peer(_))));
    assert!(matches!(connected, Err(HandshakeError::Peer(_))));
}

#[tokio::test]
async fn what_a_rule_names_is_offered_and_shown_and_nothing_else() {
    let (server, client) = both("mx.a.example");
    let folder = tempfile::tempdir().unwrap();
    let own = own::ensure(folder.path(), &["client.example".to_owned()], SystemTime::now()).unwrap();
    let shown = crate::config::trust::Certificate {
        name: "partner".to_owned(),
        chain: own.chain,
        key: own.key,
    };
    let client = client.showing(&[shown]).unwrap();
    let domain = Domain::parse("mx.a.example").unwrap();
    let groups = ["x25519".into()];
    let asked = Ask {
        version_min: TlsVersion::V1_3,
        groups: Some(&groups),
        certificate: Some("partner"),
        ..ask(Some(&domain))
    };
    for (asked, subject, group) in [
        (asked, Some("CN=client.example"), "x25519"),
        (ask(Some(&domain)), None, "X25519MLKEM768"),
    ] {
        let (here, there) = duplex(64 * 1024);
        let slot = server.try_slot().unwrap();
        let host = Host::Name(domain.clone());
        let (served, connected) = tokio::join!(
            server.accept(Box::new(here), slot),
            client.connect(Box::new(there), &host, asked, WITHIN)
        );
        let (facts, connected) = (served.unwrap().1, connected.unwrap());
        assert_eq!(facts.subject.as_deref(), subject);
        assert_eq!(connected.facts.group.as_deref(), Some(group));
    }
}

/// A server that shows this certificate and signs with this key, whether or not they belong together.
async fn shake_with(
    certificate: &[u8],
    key: &[u8],
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<Encrypted, HandshakeError> {
    let key = PrivateKeyDer::Pkcs8(key.to_vec().into());
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let shown = CertifiedKey::new(vec![CertificateDer::from(certificate.to_vec())], signing);
    let config = ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(shown))));
    let (here, there) = duplex(64 * 1024);
    let domain = Domain::parse("mx.a.example").unwrap();
    let host = Host::Name(domain.clone());
    let client = ClientTls::trusting(RootCertStore::empty(), clock());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (_, connected) = tokio::join!(
        acceptor.accept(here),
        client.connect(Box::new(there), &host, ask(Some(&domain)), WITHIN)
    );
    connected
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

// A certificate of the first version is shown to anybody who asks for it: its key must sign, or a TLSA record or a pin that
// names it would prove whoever copied it.
#[tokio::test]
async fn a_certificate_of_the_first_version_needs_its_key() {
    let octets = |hex: &str| -> Vec<u8> {
        let digits: Vec<char> = hex.chars().collect();
        let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
        pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
    };
    let (certificate, key) = (octets(FIRST_VERSION), octets(FIRST_VERSION_KEY));
    let other = rcgen::KeyPair::generate().unwrap().serialize_der();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        assert!(
            shake_with(&certificate, &key, version).await.is_ok(),
            "{version:?}"
        );
        assert!(
            shake_with(&certificate, &other, version).await.is_err(),
            "{version:?}"
        );
    }
}

const FIRST_VERSION: &str = "3082011a3081c10214666a9aa13725d23a8b3633ca5dddb30bc8deb0ca300a06082a8648ce3d040302300f310d300b060355\
     04030c046c6561663020170d3236313132323032353732355a180f32303831303832353032353732355a300f310d300b0603\
     5504030c046c6561663059301306072a8648ce3d020106082a8648ce3d03010703420004c1f83acedd94c2c693e9ce741709\
     1c32a0c3c5592d6458a334996b32e1d2e02285493b1552c17950ee146278ecfbd5d5bbbb4e6aed20fa51d20a06ad64cb58d1\
     300a06082a8648ce3d0403020348003045022100c6f9330ede18446605be8f52bda2773fe433d8156c9fdb6caf3e05568552\
     52be022012a62bcfd817f4d3666c70adde1ad93bbc0d5731a05e24ff28b83814d8e311ae";
/// Its key, made for this test.
const FIRST_VERSION_KEY: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b02010104207587662efe1b9cc07a4ee7b2156f\
     ba1ef2faceb473d0ee1e59ca62acbba12d3aa14403420004c1f83acedd94c2c693e9ce7417091c32a0c3c5592d6458a33499\
     6b32e1d2e02285493b1552c17950ee146278ecfbd5d5bbbb4e6aed20fa51d20a06ad64cb58d1";
