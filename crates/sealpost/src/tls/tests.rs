use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::{Domain, Host, TlsFacts, TlsVersion};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::Semaphore;
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
