//! The program itself asking the world: `check`, `dns` and `explain` against a name server and a mail host on loopback.
#![allow(clippy::unwrap_used)] // a test may panic

mod outbound;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use outbound::{StartTls, Stub, stub};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::{Child, Command};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn answer(asked: &str, kind: RecordType) -> Vec<RData> {
    let text = |text: &str| RData::TXT(TXT::new(vec![text.to_owned()]));
    match (asked, kind) {
        ("far.test.", RecordType::MX) => vec![RData::MX(MX::new(10, name("mx.far.test.")))],
        ("mx.far.test.", RecordType::A) => vec![RData::A(A::new(127, 0, 0, 1))],
        ("here.test.", RecordType::MX) => vec![RData::MX(MX::new(10, name("mx.here.test.")))],
        ("here.test.", RecordType::TXT) => vec![text("v=spf1 ip4:198.51.100.9 -all")],
        ("_dmarc.here.test.", RecordType::TXT) => {
            vec![text("v=DMARC1; p=none; rua=mailto:postmaster@here.test")]
        }
        ("mx.here.test.", RecordType::A) => vec![RData::A(A::new(192, 0, 2, 5))],
        _ => Vec::new(),
    }
}

/// A name server without any signature.
async fn names() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            let question = Message::from_vec(&packet[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut reply = Message::response(question.metadata.id, OpCode::Query);
            reply.metadata.recursion_available = true;
            reply.metadata.response_code = ResponseCode::NoError;
            reply.add_query(query.clone());
            let found = answer(&query.name.to_ascii(), query.query_type);
            if found.is_empty() {
                let soa = SOA::new(name("ns.test."), name("admin.test."), 1, 60, 60, 60, 60);
                reply.add_authority(Record::from_rdata(name("test."), 60, RData::SOA(soa)));
            }
            for data in found {
                reply.add_answer(Record::from_rdata(query.name.clone(), 60, data));
            }
            socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
        }
    });
    at
}

/// A mail host.
async fn host(behaviour: Stub) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (certificate, _) = stub::certificate();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behaviour.clone().serve(Box::new(stream), certificate.clone()));
        }
    });
    port
}

/// A folder with a configuration.
fn site(names: SocketAddr, port: u16) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[dns]\nservers = [\"{names}\"]\ndnssec = \"off\"\n[route]\nsmtp_port = {port}\n\
         [server]\nhost = \"mx.here.test\"\ndata_dir = \"data\"\nrun_as_root = true\naddresses = [\"192.0.2.5\"]\n\
         [local]\ndomains = [\"here.test\"]\n[tls]\nreports_to = \"tls@here.test\"\n\
         [[trust.rule]]\ndomain = \"far.test\"\ndemand = \"encrypted\"\n"
    );
    std::fs::write(folder.path().join("sealpost.toml"), text).unwrap();
    folder
}

fn program(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command
        .arg("--config")
        .arg(folder.join("sealpost.toml"))
        .args(words);
    command.env_remove("SEALPOST_SOCKET");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let output = program(folder, words).output().await.unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

async fn json(folder: &Path, words: &[&str]) -> (i32, Value) {
    let (code, text, error) = run(folder, &[words, &["--json"]].concat()).await;
    (
        code,
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}")),
    )
}

fn narrow(text: &str) {
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty() && !text.contains('\x1b'), "{wide:?}");
}

/// A server that runs until it is dropped.
async fn serving(folder: &Path) -> Child {
    let mut child = program(folder, &["serve"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    for _ in 0..500 {
        if folder.join("data/control.sock").exists() {
            return child;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server does not start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_checked_from_outside() {
    let port = host(Stub::new("mx.far.test").tls(StartTls::Works)).await;
    let site = site(names().await, 25);
    let at = port.to_string();
    let (code, audit) = json(site.path(), &["check", "x@far.test", "--port", &at]).await;
    assert_eq!(
        (code, &audit["verdict"], &audit["level"]),
        (1, &"fault".into(), &"encrypt".into()),
        "{audit}"
    );
    let address = &audit["hosts"][0]["addresses"][0];
    assert_eq!(address["address"], format!("127.0.0.1:{port}"));
    assert_eq!(address["tried"][0]["group"], "X25519MLKEM768");
    let (code, text, _) = run(site.path(), &["check", "far.test", "--port", &at]).await;
    narrow(&text);
    assert!(
        code == 1 && text.contains("TLS 1.3 and TLS 1.2") && text.contains("-> "),
        "{text}"
    );
    let (code, _, error) = run(site.path(), &["check", "a b"]).await;
    assert_eq!((code, error.lines().count()), (2, 1), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_explained_by_the_running_server() {
    let port = host(Stub::new("mx.far.test").tls(StartTls::Works)).await;
    let site = site(names().await, port);
    let _server = serving(site.path()).await;
    let (code, told) = json(site.path(), &["explain", "x@far.test"]).await;
    assert_eq!((code, &told["of"]), (0, &"destination".into()), "{told}");
    let first = &told["hosts"][0];
    assert_eq!(
        (&first["demand"], &first["source"]),
        (&"encrypted".into(), &"policy".into())
    );
    assert_eq!(
        (&first["trials"][0]["event"], &first["trials"][0]["sent"]),
        (&"starttls_vanished".into(), &false.into())
    );
    let (_, text, _) = run(site.path(), &["explain", "far.test"]).await;
    narrow(&text);
    assert!(
        text.starts_with("Finding\n") && text.contains("nothing would go"),
        "{text}"
    );
    let (code, _, error) = run(site.path(), &["explain", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]).await;
    assert!(
        code == 1 && error.contains("not in the queue") && error.lines().count() == 1,
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_records_are_printed_and_compared() {
    let site = site(names().await, 25);
    let (code, zones) = json(site.path(), &["dns"]).await;
    assert_eq!(code, 0);
    let record = |zones: &Value, kind: &str, owner: &str| -> Value {
        let all = zones[0]["records"].as_array().unwrap().clone();
        let fits = |record: &&Value| record["kind"] == kind && record["owner"] == owner;
        all.iter()
            .find(fits)
            .unwrap_or_else(|| panic!("{kind} {owner} in {zones}"))
            .clone()
    };
    assert_eq!(record(&zones, "MX", "here.test.")["value"], "10 mx.here.test.");
    assert_eq!(
        record(&zones, "TXT", "_smtp._tls.here.test.")["value"],
        "\"v=TLSRPTv1; rua=mailto:tls@here.test\""
    );
    let policy = zones[0]["policy"]["text"].as_str().unwrap();
    assert!(
        policy.starts_with("version: STSv1") && policy.contains("mx: mx.here.test"),
        "{policy}"
    );
    record(&zones, "TXT", "_mta-sts.here.test.");
    record(&zones, "CNAME", "mta-sts.here.test.");
    let (code, zones) = json(site.path(), &["dns", "--check"]).await;
    let state = |kind: &str, owner: &str| record(&zones, kind, owner)["state"].as_str().unwrap().to_owned();
    assert_eq!(state("MX", "here.test."), "published");
    assert_eq!(state("A", "mx.here.test."), "published");
    assert_eq!(state("TXT", "_dmarc.here.test."), "published");
    assert_eq!(state("TXT", "here.test."), "differs");
    assert_eq!(state("TXT", "_smtp._tls.here.test."), "missing");
    assert_eq!(code, 1);
    let (_, text, _) = run(site.path(), &["dns", "here.test", "--check"]).await;
    assert!(text.contains("MISSING") && text.contains("here.test."), "{text}");
}
