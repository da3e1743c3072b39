//! MTA-STS over real sockets: policies fetched by HTTPS from hosts good and bad, and our own policy served.
#![allow(clippy::unwrap_used)] // a test may panic

mod common;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Site, config};
use mail::Domain;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sealpost::config::tls::Certificate;
use sealpost::ports::{
    Answer, Dns, Fetch, Later, Listener, Mx, Net, NoAnswer, NotFetched, Place, Resolved, Stream,
    TlsaQuestion, Txt, Wanted,
};
use sealpost::real::clock::SystemClock;
use sealpost::real::fetch::Https;
use sealpost::real::net::SystemNet;
use sealpost::serve;
use sealpost::tls::ClientTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use trust::dane::Tlsa;

const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx.a.example\r\nmax_age: 604800\r\n";

/// Names that lead to 127.0.0.1, and port 443 there to a port of the test.
struct Web {
    ports: Mutex<BTreeMap<u16, u16>>,
    net: SystemNet,
}

impl Dns for Web {
    fn mx<'a>(&'a self, _: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("not here".into())) })
    }
    fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>> {
        Box::pin(async { Ok(Resolved::insecure(host, vec![Ipv4Addr::LOCALHOST.into()])) })
    }
    fn tlsa<'a>(&'a self, _: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("not here".into())) })
    }
    fn txt<'a>(&'a self, _: &'a str, _: &'a Domain) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("not here".into())) })
    }
}

impl Net for Web {
    fn connect(&self, peer: SocketAddr, from: Option<IpAddr>) -> Later<'_, io::Result<Box<dyn Stream>>> {
        let port = self.ports.lock().unwrap().get(&peer.port()).copied().unwrap_or(1);
        Box::pin(self.net.connect(SocketAddr::new(peer.ip(), port), from))
    }
    fn listen<'a>(&'a self, at: &'a Place) -> Later<'a, io::Result<Box<dyn Listener>>> {
        self.net.listen(at)
    }
    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        self.net.addresses()
    }
}

/// A private authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let issuer = Issuer::new(params, key);
    Authority { issuer, roots }
}

impl Authority {
    /// A certificate and key, in PEM.
    fn signed(&self, change: impl FnOnce(&mut CertificateParams), names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn tls(&self) -> ClientTls {
        ClientTls::trusting(self.roots.clone(), Arc::new(SystemClock::new()))
    }
}

fn both() -> Vec<&'static SupportedProtocolVersion> {
    vec![&rustls::version::TLS13, &rustls::version::TLS12]
}

fn server(pair: &(String, String), versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let chain = vec![CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.1.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(sealpost::tls::provider());
    let builder = builder
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// What a host heard: the name by SNI, and the request.
type Heard = Arc<Mutex<Vec<(Option<String>, String)>>>;

/// A host that answers every request with these octets, and then closes.
async fn host(config: Arc<ServerConfig>, answer: Vec<u8>) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Heard::default());
    let notes = heard.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(config.clone()).accept(stream).await else {
                continue;
            };
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(octet) => request.push(octet),
                    Err(_) => break,
                }
            }
            notes
                .lock()
                .unwrap()
                .push((name, String::from_utf8(request).unwrap()));
            drop(stream.write_all(&answer).await);
            drop(stream.shutdown().await);
        }
    });
    (port, heard)
}

async fn get(web: &Arc<Web>, tls: &ClientTls, port: u16, wait: Duration) -> Result<String, NotFetched> {
    web.ports.lock().unwrap().insert(443, port);
    let https = Https::new(web.clone(), web.clone(), Arc::new(SystemClock::new()));
    let wanted = Wanted {
        host: Domain::parse("mta-sts.a.example").unwrap(),
        path: trust::sts::POLICY_PATH,
        media_type: "text/plain",
        bytes_max: 64 * 1024,
        wait,
        tls: tls.clone(),
    };
    https
        .get(&wanted)
        .await
        .map(|octets| String::from_utf8(octets).unwrap())
}

fn web() -> Arc<Web> {
    Arc::new(Web {
        ports: Mutex::default(),
        net: SystemNet::default(),
    })
}

const PATIENCE: Duration = Duration::from_secs(20);

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

// proves: 8461-3.2-1 8461-3.2-2 8461-3.3-4 8461-3.3-5 8461-3.3-6 8461-3.3-8 8461-7.1-1
#[tokio::test]
async fn only_200_with_plain_text_of_bounded_length_is_a_policy() {
    let (web, authority) = (web(), authority());
    let config = server(&authority.signed(|_| {}, &["mta-sts.a.example"]), &both());
    let plain = "200 OK\r\nContent-Type: text/plain";
    let rows: Vec<(Vec<u8>, Result<&str, &str>)> = vec![
        (answer(plain, POLICY), Ok(POLICY)),
        (
            answer(
                "200 OK\r\nContent-Type: TEXT/plain; charset=utf-8; foo=1\r\nCache-Control: max-age=86400",
                POLICY,
            ),
            Ok(POLICY),
        ),
        (
            format!(
                "HTTP/1.1 {plain}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{POLICY}\r\n0\r\n\r\n",
                POLICY.len()
            )
            .into_bytes(),
            Ok(POLICY),
        ),
        (answer("204 No Content", ""), Err("HTTP status 204")),
        (
            answer("206 Partial Content\r\nContent-Type: text/plain", POLICY),
            Err("HTTP status 206"),
        ),
        (
            answer(
                "301 Moved\r\nLocation: https://mta-sts.a.example/other\r\nContent-Type: text/plain",
                POLICY,
            ),
            Err("HTTP status 301, and redirects are not followed"),
        ),
        (
            answer(
                "302 Found\r\nLocation: /other\r\nContent-Type: text/plain",
                POLICY,
            ),
            Err("HTTP status 302, and redirects are not followed"),
        ),
        (
            answer("404 Not Found\r\nContent-Type: text/plain", POLICY),
            Err("HTTP status 404"),
        ),
        (
            answer("500 Oops\r\nContent-Type: text/plain", POLICY),
            Err("HTTP status 500"),
        ),
        (
            answer("200 OK\r\nContent-Type: text/html", POLICY),
            Err("media type \"text/html\""),
        ),
        (
            answer("200 OK\r\nContent-Type: text/plainer", POLICY),
            Err("media type \"text/plainer\""),
        ),
        (answer("200 OK", POLICY), Err("media type \"\"")),
        (
            answer(plain, &"x".repeat(64 * 1024 + 1)),
            Err("the answer is too long"),
        ),
        (
            format!("HTTP/1.1 {plain}\r\n\r\n{}", "x".repeat(1 << 20)).into_bytes(),
            Err("the answer is too long"),
        ),
        (
            format!("HTTP/1.1 {plain}\r\nContent-Length: 500\r\n\r\n{POLICY}").into_bytes(),
            Err("no proper answer"),
        ),
        (b"220 mx.a.example ESMTP\r\n".to_vec(), Err("no proper answer")),
        (
            format!("HTTP/1.1 {plain}\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024)).into_bytes(),
            Err("no proper answer"),
        ),
        (Vec::new(), Err("no proper answer")),
    ];
    for (octets, expected) in rows {
        let begin = String::from_utf8_lossy(&octets[..octets.len().min(60)]).into_owned();
        let (port, heard) = host(config.clone(), octets).await;
        let found = get(&web, &authority.tls(), port, PATIENCE).await;
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => {
                assert!(
                    found.to_string().starts_with(expected),
                    "{begin}: {found} is not {expected}"
                );
            }
            (found, expected) => panic!("{begin}: {found:?} is not {expected:?}"),
        }
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 1, "{begin}: one request and no other");
        let (name, request) = &heard[0];
        assert_eq!(name.as_deref(), Some("mta-sts.a.example"));
        assert!(
            request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"),
            "{request}"
        );
        let lower = request.to_ascii_lowercase();
        assert!(lower.contains("\r\nhost: mta-sts.a.example\r\n"), "{request}");
        assert!(
            !lower.contains("if-none-match") && !lower.contains("if-modified-since"),
            "{request}"
        );
    }
}

// proves: 8461-3.3-1 8461-3.3-2 8461-8.2-1
#[tokio::test]
async fn the_certificate_must_prove_the_policy_host() {
    let (web, authority, stranger) = (web(), authority(), self::authority());
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    let only_cn = |params: &mut CertificateParams| {
        params
            .distinguished_name
            .push(DnType::CommonName, "mta-sts.a.example");
    };
    let own = rcgen::generate_simple_self_signed(vec!["mta-sts.a.example".to_owned()]).unwrap();
    let rows = [
        (authority.signed(|_| {}, &["mta-sts.a.example"]), None),
        (authority.signed(|_| {}, &["other.example", "*.a.example"]), None),
        (
            authority.signed(|_| {}, &["a.example"]),
            Some("it is not for mta-sts.a.example"),
        ),
        (
            authority.signed(|_| {}, &["mta-sts.provider.example"]),
            Some("it is not for mta-sts.a.example"),
        ),
        (
            authority.signed(|_| {}, &["*.example"]),
            Some("it is not for mta-sts.a.example"),
        ),
        (
            authority.signed(|_| {}, &["mta-*.a.example"]),
            Some("it is not for mta-sts.a.example"),
        ),
        (
            authority.signed(only_cn, &[]),
            Some("it is not for mta-sts.a.example"),
        ),
        (
            authority.signed(expired, &["mta-sts.a.example"]),
            Some("a certificate is out of date"),
        ),
        (stranger.signed(|_| {}, &["mta-sts.a.example"]), Some("")),
        ((own.cert.pem(), own.signing_key.serialize_pem()), Some("")),
    ];
    for (number, (pair, why)) in rows.into_iter().enumerate() {
        let octets = answer("200 OK\r\nContent-Type: text/plain", POLICY);
        let (port, heard) = host(server(&pair, &both()), octets).await;
        let found = get(&web, &authority.tls(), port, PATIENCE).await;
        match why {
            None => assert_eq!(found.as_deref(), Ok(POLICY), "{number}"),
            Some(words) => {
                assert!(
                    matches!(&found, Err(NotFetched::Certificate(why)) if why.contains(words)),
                    "{number}: {found:?}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
                let heard = heard.lock().unwrap();
                assert!(
                    heard.iter().all(|(_, request)| request.is_empty()),
                    "nothing is asked of it"
                );
            }
        }
    }
}

// proves: 8461-7.2-1
#[tokio::test]
async fn both_versions_of_tls_will_do() {
    let (web, authority) = (web(), authority());
    let pair = authority.signed(|_| {}, &["mta-sts.a.example"]);
    for version in both() {
        let octets = answer("200 OK\r\nContent-Type: text/plain", POLICY);
        let (port, _) = host(server(&pair, &[version]), octets).await;
        assert!(
            get(&web, &authority.tls(), port, PATIENCE).await.is_ok(),
            "{version:?}"
        );
    }
}

// proves: 8461-3.3-8
#[tokio::test]
async fn a_host_that_stalls_anywhere_is_left_in_time() {
    let (web, authority) = (web(), authority());
    let wait = Duration::from_millis(300);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    assert_eq!(
        get(&web, &authority.tls(), port, wait).await,
        Err(NotFetched::TimedOut),
        "no handshake"
    );
    let config = server(&authority.signed(|_| {}, &["mta-sts.a.example"]), &both());
    for begin in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\nversion",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = config.clone();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(config).accept(stream).await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        assert_eq!(
            get(&web, &authority.tls(), port, wait).await,
            Err(NotFetched::TimedOut),
            "{begin:?}"
        );
    }
    let nobody = get(&web, &authority.tls(), 1, wait).await;
    assert!(matches!(nobody, Err(NotFetched::NotConnected(_))), "{nobody:?}");
}

/// A server that serves the policy of `here.example` with a certificate for its policy host.
async fn serving(authority: &Authority, names: &[&str]) -> (Site, u16) {
    let (mut config, folder) = config();
    let port = free_port();
    config.mta_sts.own.listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    config.tls.certificate = names
        .iter()
        .map(|name| keep(folder.path(), name, authority))
        .collect();
    let running = serve::start(config, common::ports()).await.unwrap();
    (Site { running, folder }, port)
}

fn keep(folder: &Path, name: &str, authority: &Authority) -> Certificate {
    let (chain, key) = authority.signed(|_| {}, &[name]);
    let files = Certificate {
        chain: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
        next_key: None,
    };
    std::fs::write(&files.chain, chain).unwrap();
    std::fs::write(&files.key, key).unwrap();
    files
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Sends a request as it stands; gives the answer, or none where there was no handshake.
async fn raw(authority: &Authority, port: u16, name: &str, request: &str) -> Option<String> {
    let config = rustls::ClientConfig::builder_with_provider(sealpost::tls::provider());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config
        .with_root_certificates(authority.roots.clone())
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.ok()?;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // However the server closes: what it said is what counts.
    let _ = stream.read_to_end(&mut answer).await;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

// proves: 8461-3.2-1 8461-3.3-9 8461-7.1-2 8461-3.1-3
#[tokio::test]
async fn our_own_policy_is_served_for_its_host_only() {
    let authority = authority();
    let (site, port) = serving(
        &authority,
        &["mx.here.example", "mta-sts.here.example", "mta-sts.else.example"],
    )
    .await;
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let page = get("/.well-known/mta-sts.txt", "mta-sts.here.example");
    let ours = "mta-sts.here.example";
    let started = std::time::Instant::now();
    let found = raw(&authority, port, ours, &page).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(60) && found.len() < 65_536);
    assert!(found.starts_with("HTTP/1.1 200 OK\r\n"), "{found}");
    assert!(
        found.to_ascii_lowercase().contains("content-type: text/plain"),
        "{found}"
    );
    let body = found.split_once("\r\n\r\n").unwrap().1;
    let policy = trust::sts::Policy::parse(body.as_bytes()).unwrap();
    assert_eq!(policy.mx[0].to_string(), "mx.here.example");
    let settings = site.setup().settings.clone();
    let published = sealpost::sts::own::published(&settings.config, &settings.me);
    assert_eq!(
        published[0].policy, body,
        "what is served is what the record stands for"
    );
    for (request, status) in [
        (get("/", ours), "404"),
        (get("/.well-known/mta-sts.txt/", ours), "404"),
        (get("/.well-known/mta-sts.txt", "else.example"), "404"),
        (get("/.well-known/mta-sts.txt", "MTA-STS.here.example:443"), "200"),
        (page.replace("GET", "POST"), "404"),
        (page.replace("GET", "HEAD"), "200"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (
            page.replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(20_000))),
            "431",
        ),
    ] {
        let found = raw(&authority, port, ours, &request).await.unwrap();
        assert!(
            found.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:?} {found:?}"
        );
    }
    for other in ["mta-sts.else.example", "mx.here.example", "unknown.example"] {
        assert_eq!(
            raw(&authority, port, other, &page).await,
            None,
            "{other}: no handshake"
        );
    }
}

// proves: 8461-7.1-2
#[tokio::test]
async fn without_a_certificate_for_the_policy_host_there_is_no_handshake() {
    let authority = authority();
    let (_site, port) = serving(&authority, &["mx.here.example"]).await;
    let page = "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.here.example\r\n\r\n";
    assert_eq!(raw(&authority, port, "mta-sts.here.example", page).await, None);
}

/// Both ends at once: what this server publishes is fetched by this server's own client.
// proves: 8461-3.3-9
#[tokio::test]
async fn our_own_client_reads_our_own_policy() {
    let authority = authority();
    let (_site, port) = serving(&authority, &["*.here.example"]).await;
    let web = web();
    web.ports.lock().unwrap().insert(443, port);
    let https = Https::new(web.clone(), web.clone(), Arc::new(SystemClock::new()));
    let wanted = Wanted {
        host: trust::sts::policy_host(&Domain::parse("here.example").unwrap()).unwrap(),
        path: trust::sts::POLICY_PATH,
        media_type: "text/plain",
        bytes_max: 64 * 1024,
        wait: PATIENCE,
        tls: authority.tls(),
    };
    let octets = https.get(&wanted).await.unwrap();
    assert!(trust::sts::Policy::parse(&octets).is_ok());
}
