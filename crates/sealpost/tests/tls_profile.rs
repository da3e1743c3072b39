//! The profile of TLS on both sides (RFC 9325, RFC 8996, RFC 8997), octet by octet where a library would not offer what is
//! forbidden.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Site;
use common::client::{Client, Shake};
use mail::{Domain, Host, TlsVersion};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, HandshakeKind, RootCertStore};
use sealpost::config::tls::{Certificate, VersionMin};
use sealpost::config::{Config, Role};
use sealpost::ports::Clock;
use sealpost::real::clock::SystemClock;
use sealpost::tls::{Ask, ClientTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// A ClientHello of TLS 1.2 put together by hand.
#[derive(Clone)]
struct Hello {
    suites: Vec<u16>,
    compressions: Vec<u8>,
    groups: Vec<u16>,
    signatures: Vec<u16>,
    others: Vec<u16>,
}

const ECDSA_AES128: u16 = 0xc02b;

impl Default for Hello {
    fn default() -> Hello {
        Hello {
            suites: vec![ECDSA_AES128],
            compressions: vec![0],
            groups: vec![29, 23],
            signatures: vec![0x0403, 0x0804, 0x0401],
            others: vec![EXTENDED_MASTER_SECRET],
        }
    }
}

const EXTENDED_MASTER_SECRET: u16 = 23;
const TRUNCATED_HMAC: u16 = 4;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURES: u16 = 13;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

impl Hello {
    fn record(&self) -> Vec<u8> {
        let list = |items: &[u16]| {
            let octets: Vec<u8> = items.iter().flat_map(|item| item.to_be_bytes()).collect();
            [&u16::try_from(octets.len()).unwrap().to_be_bytes()[..], &octets].concat()
        };
        let extension = |kind: u16, body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap();
            [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
        };
        let mut extensions = extension(SUPPORTED_GROUPS, &list(&self.groups));
        extensions.extend(extension(SIGNATURES, &list(&self.signatures)));
        extensions.extend(extension(11, &[1, 0]));
        for kind in &self.others {
            extensions.extend(extension(*kind, &[]));
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend(list(&self.suites));
        body.push(u8::try_from(self.compressions.len()).unwrap());
        body.extend(&self.compressions);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let length = u16::try_from(body.len()).unwrap();
        let mut record = vec![0x16, 3, 1];
        record.extend((length + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend(length.to_be_bytes());
        record.extend(body);
        record
    }
}

/// What a server made of a hello.
#[derive(PartialEq, Eq, Debug)]
enum Answer {
    /// The suite, the compression, and the extensions of its ServerHello.
    Chosen(u16, u8, Vec<u16>),
    /// A fatal alert.
    Alert(u8),
}

async fn answer(site: &Site, role: Role, hello: &Hello) -> Answer {
    let mut client = match role {
        Role::Submissions => Client::connect(site.address(role)).await,
        _ => Client::greeted(site.address(role)).await,
    };
    if role != Role::Submissions {
        client.go(&["EHLO a.example", "STARTTLS"]).await;
    }
    client.stream.write_all(&hello.record()).await.unwrap();
    let octets = client.read().await;
    match octets[0] {
        0x15 => Answer::Alert(octets[6]),
        _ => {
            let (fixed, extensions) = fields(&octets[5..]);
            let suite = u16::from_be_bytes([fixed[0], fixed[1]]);
            Answer::Chosen(
                suite,
                fixed[2],
                extensions.into_iter().map(|(kind, _)| kind).collect(),
            )
        }
    }
}

/// Of a ServerHello: suite and compression, and its extensions.
fn fields(message: &[u8]) -> (Vec<u8>, Vec<(u16, Vec<u8>)>) {
    assert_eq!(message[0], 2, "a ServerHello");
    let session = usize::from(message[38]);
    let fixed = message[39 + session..42 + session].to_vec();
    (fixed, extensions(&message[42 + session..]))
}

fn extensions(octets: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    let length = usize::from(u16::from_be_bytes([octets[0], octets[1]]));
    let mut rest = &octets[2..2 + length];
    while let [a, b, c, d, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        found.push((u16::from_be_bytes([*a, *b]), more[..length].to_vec()));
        rest = &more[length..];
    }
    found
}

// Each alone in a hello that is sound otherwise: NULL, export, RC4, DES and 3DES; RSA and DH key exchange; CBC.
// proves: 9325-4.1-1 9325-4.1-2 9325-4.1-3 9325-4.1-5 9325-4.2-2
#[tokio::test]
async fn weak_suites_are_never_negotiated() {
    let site = Site::plain().await;
    let sound = answer(&site, Role::Mx, &Hello::default()).await;
    assert!(matches!(sound, Answer::Chosen(ECDSA_AES128, ..)), "{sound:?}");
    let weak = [
        0x0001, 0x003b, 0xc006, 0x0003, 0x0008, 0x0005, 0xc007, 0xc011, 0x0009, 0x000a, 0xc008, 0xc012,
        0x002f, 0x009c, 0x009d, 0xc004, 0xc02d, 0x0033, 0x009e, 0x009f, 0xccaa, 0xc009, 0xc00a, 0xc023,
        0xc024, 0xc013, 0xc027,
    ];
    for suite in weak {
        let hello = Hello {
            suites: vec![suite],
            ..Hello::default()
        };
        assert_eq!(
            answer(&site, Role::Mx, &hello).await,
            Answer::Alert(40),
            "{suite:04x}"
        );
    }
}

// proves: 9325-4.1-4 9325-4.2.1-1
#[tokio::test]
async fn a_strong_suite_is_chosen_wherever_it_stands() {
    let site = Site::plain().await;
    let hello = Hello {
        suites: vec![0x002f, 0x009c, 0xc009, 0xc00a, 0xc013, ECDSA_AES128],
        ..Hello::default()
    };
    let chosen = answer(&site, Role::Mx, &hello).await;
    assert!(matches!(chosen, Answer::Chosen(ECDSA_AES128, ..)), "{chosen:?}");
}

// Small curves, small groups, and signatures by SHA-1 and MD5.
// proves: 9325-4.5-1 9325-4.5-3
#[tokio::test]
async fn weak_curves_and_digests_end_the_handshake() {
    let site = Site::plain().await;
    for groups in [vec![19], vec![21], vec![1, 3, 15], vec![256]] {
        let hello = Hello {
            groups,
            ..Hello::default()
        };
        let answer = answer(&site, Role::Mx, &hello).await;
        // secp224r1 is not weak by this measure; it is not offered either.
        assert!(
            matches!(answer, Answer::Alert(_)),
            "{:?}: {answer:?}",
            hello.groups
        );
    }
    for signatures in [vec![0x0201], vec![0x0203], vec![0x0101, 0x0103]] {
        let hello = Hello {
            signatures,
            ..Hello::default()
        };
        let answer = answer(&site, Role::Mx, &hello).await;
        assert!(
            matches!(answer, Answer::Alert(_)),
            "{:x?}: {answer:?}",
            hello.signatures
        );
    }
}

// proves: 9325-3.3-1 9325-4.6-1
#[tokio::test]
async fn compression_and_short_macs_are_passed_over() {
    let site = Site::plain().await;
    let hello = Hello {
        compressions: vec![1, 0],
        others: vec![EXTENDED_MASTER_SECRET, TRUNCATED_HMAC],
        ..Hello::default()
    };
    let Answer::Chosen(_, compression, extensions) = answer(&site, Role::Mx, &hello).await else {
        panic!("an alert");
    };
    assert_eq!(compression, 0);
    assert!(!extensions.contains(&TRUNCATED_HMAC), "{extensions:?}");
    let own = own_hello(&client(), ask(None)).await;
    assert!(own.iter().all(|(kind, _)| *kind != TRUNCATED_HMAC));
}

// proves: 9325-3.5-2
#[tokio::test]
async fn the_extended_master_secret_is_spoken_by_both_sides() {
    let site = Site::plain().await;
    let Answer::Chosen(_, _, extensions) = answer(&site, Role::Mx, &Hello::default()).await else {
        panic!("an alert");
    };
    assert!(extensions.contains(&EXTENDED_MASTER_SECRET));
    let own = own_hello(&client(), ask(None)).await;
    assert!(own.iter().any(|(kind, _)| *kind == EXTENDED_MASTER_SECRET));
}

// proves: 9325-3.9-1
#[tokio::test]
async fn all_listeners_are_equally_strong() {
    let site = Site::plain().await;
    let hello = Hello {
        suites: vec![0xc02c, 0xcca9, ECDSA_AES128, 0xc009],
        ..Hello::default()
    };
    let mx = answer(&site, Role::Mx, &hello).await;
    assert!(matches!(mx, Answer::Chosen(..)), "{mx:?}");
    for role in [Role::Submission, Role::Submissions] {
        assert_eq!(answer(&site, role, &hello).await, mx);
    }
}

// proves: 8997-3-1
#[tokio::test]
async fn submission_speaks_nothing_before_1_2() {
    let site = Site::plain().await;
    for role in [Role::Submission, Role::Submissions] {
        for version in [1, 2] {
            let mut record = Hello::default().record();
            // The version that the hello itself asks for, at most.
            record[10] = version;
            let mut client = match role {
                Role::Submissions => Client::connect(site.address(role)).await,
                _ => Client::greeted(site.address(role)).await,
            };
            if role == Role::Submission {
                client.go(&["EHLO a.example", "STARTTLS"]).await;
            }
            client.stream.write_all(&record).await.unwrap();
            let mut answer = Vec::new();
            client.stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(
                (answer[0], &answer[5..]),
                (0x15, &[2, 70][..]),
                "{role:?} 3.{version}"
            );
        }
    }
}

// proves: 8997-3-2
#[test]
fn the_least_version_is_1_2_as_shipped() {
    for config in [Config::default(), Config::default_loopback()] {
        assert_eq!(config.tls.version_min, VersionMin::V1_2);
    }
    assert!(Config::parse("[tls]\nversion_min = \"1.1\"\n", "f").is_err());
}

/// Shakes hands with the MX listener by a configuration of one's own.
async fn shaken(site: &Site, config: &Arc<ClientConfig>) -> rustls::ClientConnection {
    let mut client = Client::greeted(site.address(Role::Mx)).await;
    client.go(&["EHLO a.example", "STARTTLS"]).await;
    let name = "mx.here.example".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let mut stream = connector.connect(name, client.stream).await.unwrap();
    // An answer inside TLS: tickets have come by then.
    stream.write_all(b"NOOP\r\n").await.unwrap();
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).await.unwrap();
    stream.into_inner().1
}

/// Offers one version, and takes every certificate.
fn offering(provider: CryptoProvider, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth()
}

// proves: 9325-3.4-5 9325-3.10-1
#[tokio::test]
async fn a_resumed_session_exchanges_fresh_keys_and_takes_no_early_data() {
    let site = Site::plain().await;
    let mut config = offering(aws_lc_rs::default_provider(), &TLS13);
    config.resumption = Resumption::in_memory_sessions(8);
    config.enable_early_data = true;
    let config = Arc::new(config);
    let first = shaken(&site, &config).await;
    assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
    let mut early =
        rustls::ClientConnection::new(config.clone(), "mx.here.example".try_into().unwrap()).unwrap();
    assert!(early.early_data().is_none(), "no ticket allows early data");
    let second = shaken(&site, &config).await;
    assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(
        second.negotiated_key_exchange_group().is_some(),
        "a key share as well"
    );
    let own = own_hello(&client(), ask(None)).await;
    assert!(own.iter().all(|(kind, _)| *kind != EARLY_DATA));
}

// The ECDSA suites with the key that is made at the first start, the RSA ones with an RSA key.
// proves: 9325-4.2-1
#[tokio::test]
async fn each_suite_that_is_advised_works() {
    let folder = tempfile::tempdir().unwrap();
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["mx.here.example".to_owned()]).unwrap();
    let made = params.self_signed(&rsa).unwrap();
    let files = Certificate {
        chain: folder.path().join("chain.pem"),
        key: folder.path().join("key.pem"),
        next_key: None,
    };
    std::fs::write(&files.chain, made.pem()).unwrap();
    std::fs::write(&files.key, rsa.serialize_pem()).unwrap();
    let by_ecdsa = Site::plain().await;
    let by_rsa = Site::with(|config| config.tls.certificate.push(files)).await;
    for (site, suites) in [
        (
            &by_ecdsa,
            [
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            ],
        ),
        (
            &by_rsa,
            [
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            ],
        ),
    ] {
        for suite in suites {
            let mut provider = aws_lc_rs::default_provider();
            provider.cipher_suites.retain(|known| known.suite() == suite);
            let connection = shaken(site, &Arc::new(offering(provider, &TLS12))).await;
            assert_eq!(connection.negotiated_cipher_suite().unwrap().suite(), suite);
        }
    }
}

/// Takes every certificate.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

// proves: 9325-4.2-3
#[tokio::test]
async fn the_key_made_at_the_first_start_is_of_p_256() {
    let site = Site::plain().await;
    let (_, saw) = site.mx().await.start_tls(Shake::default()).await;
    let spki_of_p_256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let holds = saw
        .leaf
        .windows(spki_of_p_256.len())
        .any(|octets| octets == spki_of_p_256);
    assert!(holds, "the curve's name in the certificate");
}

// The key and its certificate were made with openssl for this test alone.
// proves: 9325-4.5-2
#[tokio::test]
async fn a_short_rsa_key_is_refused() {
    let keys = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let short = Certificate {
        chain: keys.join("rsa1024.chain.pem"),
        key: keys.join("rsa1024.key.pem"),
        next_key: None,
    };
    let because = sealpost::tls::Keys::load(std::slice::from_ref(&short), &sealpost::tls::provider());
    let because = because
        .err()
        .map(|because| because.to_string())
        .unwrap_or_default();
    assert!(because.contains("rsa1024.key.pem"), "{because:?}");
    let site = Site::with(|config| config.tls.certificate.push(short)).await;
    let mut client = site.mx().await;
    assert!(!client.say("EHLO a.example").await.contains("STARTTLS"));
}

fn client() -> ClientTls {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    ClientTls::trusting(RootCertStore::empty(), clock)
}

fn ask(server_name: Option<&Domain>) -> Ask<'_> {
    Ask {
        server_name,
        version_min: TlsVersion::V1_2,
        groups: None,
        certificate: None,
    }
}

/// The extensions of the hello that this server says to others.
async fn own_hello(tls: &ClientTls, ask: Ask<'_>) -> Vec<(u16, Vec<u8>)> {
    let (ours, mut theirs) = duplex(64 * 1024);
    let host = Host::parse("mx.a.example").unwrap();
    let heard = Mutex::new(Vec::new());
    let hear = async {
        let mut octets = vec![0; 16 * 1024];
        let count = theirs.read(&mut octets).await.unwrap();
        heard.lock().unwrap().extend_from_slice(&octets[..count]);
        drop(theirs);
    };
    let (shaken, ()) = tokio::join!(
        tls.connect(Box::new(ours), &host, ask, Duration::from_secs(5)),
        hear
    );
    assert!(shaken.is_err());
    let octets = heard.into_inner().unwrap();
    let message = &octets[5..];
    assert_eq!(message[0], 1, "a ClientHello");
    let session = 38 + 1 + usize::from(message[38]);
    let suites = usize::from(u16::from_be_bytes([message[session], message[session + 1]]));
    let compressions = session + 2 + suites;
    extensions(&message[compressions + 1 + usize::from(message[compressions])..])
}

fn of(hello: &[(u16, Vec<u8>)], kind: u16) -> &[u8] {
    let found = hello.iter().find(|(known, _)| *known == kind);
    &found.unwrap_or_else(|| panic!("no extension {kind}")).1
}

// proves: 9325-4.2.1-2 9325-3.7-1 7671-5.1-4 7672-8.2-1 7671-3-1 8461-7.1-1
#[tokio::test]
async fn what_is_offered_to_other_hosts() {
    let name = Domain::parse("mx.a.example").unwrap();
    let hello = own_hello(&client(), ask(Some(&name))).await;
    let groups = of(&hello, SUPPORTED_GROUPS);
    let groups: Vec<u16> = groups[2..]
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    let name_of = |group: &&'static dyn SupportedKxGroup| u16::from(group.name());
    let ours: Vec<u16> = sealpost::tls::provider().kx_groups.iter().map(name_of).collect();
    assert_eq!(groups, ours);
    assert!(
        groups.contains(&23) && groups.contains(&29),
        "P-256 and X25519: {groups:?}"
    );
    assert_eq!(groups[0], 0x11ec, "X25519MLKEM768 first");
    let asked = of(&hello, 0);
    assert!(asked.ends_with(b"mx.a.example"), "SNI: {asked:?}");
    // Certificates, not bare keys: the suites of TLS 1.3 know nothing else, and RFC 7250 is not spoken.
    assert!(of(&hello, 43).windows(2).any(|version| version == [3, 4]));
    assert!(hello.iter().all(|(kind, _)| ![19, 20].contains(kind)));
}

// A host that breaks the handshake is offered the same again, never less.
// proves: 9325-3.1.3-1 9325-7.4-1 8689-4.2.1-8
#[tokio::test]
async fn each_handshake_offers_the_same_versions_and_other_keys() {
    let tls = client();
    let (first, second) = (own_hello(&tls, ask(None)).await, own_hello(&tls, ask(None)).await);
    assert_eq!(of(&first, SUPPORTED_VERSIONS), of(&second, SUPPORTED_VERSIONS));
    assert_eq!(of(&first, SUPPORTED_VERSIONS), [4, 3, 4, 3, 3]);
    assert_ne!(of(&first, KEY_SHARE), of(&second, KEY_SHARE));
}
