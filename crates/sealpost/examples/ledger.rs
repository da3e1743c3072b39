//! Measures the memory of peers on the real disk: `ledger fill FOLDER [HOSTS]` writes hosts down and opens the file again,
//! `ledger plan [ROUNDS]` makes plans and verdicts with everything at hand. Run it in release. What it prints is for people;
//! no test depends on it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mail::{Domain, Host, Tls, TlsFacts, TlsVersion, TlsWish};
use sealpost::config::ledger::Ledger as Settings;
use sealpost::ledger::Ledger;
use sealpost::memory::Memory;
use sealpost::ports::Clock;
use sealpost::real::clock::SystemClock;
use trust::dane::{self, Records, Tlsa};
use trust::ledger::Vouched;
use trust::sts::{self, Held, Listed};
use trust::{Certificates, Claim, Evidence, Inputs, Origin, Plan, Presented, Roots, Shown};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u32| -> u32 {
        let given = arguments.get(index).and_then(|text| text.parse().ok());
        given.unwrap_or(otherwise)
    };
    match (arguments.first().map(String::as_str), arguments.get(1)) {
        (Some("fill"), Some(folder)) => fill(Path::new(folder), number(2, 1_000_000)).await,
        (Some("plan"), _) => plan(number(1, 200_000)).await,
        _ => Err("usage: ledger fill FOLDER [HOSTS] | ledger plan [ROUNDS]".into()),
    }
}

fn open(memory: Memory) -> Result<Ledger, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let me = Domain::parse("mx.own.example")?;
    Ok(Ledger::open(memory, &Settings::default(), &me, clock)?)
}

/// A session inside TLS with one host, proven by DANE or not.
struct Peer {
    host: Host,
    domain: Domain,
}

impl Peer {
    fn numbered(number: u32) -> Result<Peer, Failure> {
        let domain = Domain::parse(&format!("domain-{number}.example"))?;
        Ok(Peer {
            host: Host::Name(Domain::parse(&format!("mx.domain-{number}.example"))?),
            domain,
        })
    }

    fn plan(&self, dane: &dane::Finding, sts: &sts::Finding, claim: &Claim) -> Result<Plan, Failure> {
        let inputs = Inputs {
            host: &self.host,
            domain: Some(&self.domain),
            origin: Origin::Proven,
            wish: TlsWish::Usual,
            rule: None,
            dane,
            sts,
            claim,
        };
        Plan::make(&inputs).map_err(|avoid| avoid.why.to_string().into())
    }
}

fn facts() -> TlsFacts {
    TlsFacts {
        version: TlsVersion::V1_3,
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        group: Some("X25519MLKEM768".into()),
        chain: vec![mail::Fingerprint([7; 32])],
        subject: None,
        server_name: None,
    }
}

/// What a host shows, and the records that it fits.
fn shown() -> Result<(Shown<Tls>, dane::Finding), Failure> {
    let made = rcgen::generate_simple_self_signed(["mx.domain-1.example".to_owned()])?;
    let der = made.cert.der().as_ref();
    let record = Tlsa::of(3, 1, 1, der).ok_or("the certificate cannot be read")?;
    let base = Domain::parse("mx.domain-1.example")?;
    let records = Records::new(base, [record], Vec::new());
    let certificates = Certificates::examine(Presented::new([der]), &Roots::default(), SystemTime::now());
    let shown = Shown::tls(facts(), certificates);
    Ok((shown, dane::Finding::Published(Arc::new(records))))
}

async fn fill(folder: &Path, hosts: u32) -> Result<(), Failure> {
    let file = folder.join("memory.redb");
    let memory = Memory::open(&file)?;
    let ledger = open(memory.clone())?;
    let (shown, records) = shown()?;
    let started = Instant::now();
    let mut number = 0;
    while number < hosts {
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..WRITERS.min(hosts - number) {
            let peer = Peer::numbered(number)?;
            let plan = peer.plan(&records, &sts::Finding::Absent(None), &Claim::default())?;
            let seen: Evidence = plan.judge(&shown, SystemTime::now()).evidence;
            let ledger = ledger.clone();
            writers.spawn(async move { drop(ledger.observe(&[seen]).await) });
            number += 1;
        }
        while writers.join_next().await.is_some() {}
    }
    println!("{hosts} hosts written down in {:.2?}", started.elapsed());
    drop(ledger);
    memory.close();
    drop(memory);
    let bytes = std::fs::metadata(&file)?.len();
    println!(
        "{} octets on disk, {} a host",
        bytes,
        bytes / u64::from(hosts.max(1))
    );
    let started = Instant::now();
    let ledger = open(Memory::open(&file)?)?;
    println!("opened in {:.2?}", started.elapsed());
    let last = Peer::numbered(hosts.saturating_sub(1))?;
    let started = Instant::now();
    let claim = ledger.claim(Some(&last.domain), &last.host, Vouched::No).await?;
    println!("the first claim ({:?}) in {:.2?}", claim.bound, started.elapsed());
    Ok(())
}

async fn plan(rounds: u32) -> Result<(), Failure> {
    let ledger = open(Memory::in_memory()?)?;
    let peer = Peer::numbered(1)?;
    let (shown, records) = shown()?;
    let enforced = sts::Finding::Enforced(Held {
        id: "1".into(),
        listed: Listed::Yes,
    });
    let first = peer.plan(&records, &enforced, &Claim::default())?;
    ledger
        .observe(&[first.judge(&shown, SystemTime::now()).evidence])
        .await;
    let started = Instant::now();
    for _ in 0..rounds {
        let claim = ledger.claim(Some(&peer.domain), &peer.host, Vouched::No).await?;
        let plan = peer.plan(&records, &enforced, &claim)?;
        let judgement = plan.judge(&shown, SystemTime::now());
        std::hint::black_box(judgement);
    }
    println!(
        "claim, plan and verdict, DANE before MTA-STS, a bound host: {:.2} µs",
        started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds.max(1))
    );
    Ok(())
}

/// Sessions that end at the same time.
const WRITERS: u32 = 2000;
