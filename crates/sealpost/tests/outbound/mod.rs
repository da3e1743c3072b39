//! A world in memory for outgoing mail: names, hosts, hours and dice, and the real spool and dispatcher in it.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::type_complexity)] // helpers of tests

pub mod stub;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use mail::content::Survey;
use mail::{Arrival, Body, Domain, Envelope, Mailbox, MessageId, Protocol, Recipient, ReversePath};
use rustls::{RootCertStore, ServerConfig};
use sealpost::check::probe::{Limits, Prober};
use sealpost::check::{Audit, Auditor};
use sealpost::config::Config;
use sealpost::control::Problem;
use sealpost::dispatch::{Dispatcher, Ground, Handle, Rules};
use sealpost::explain::{Explainer, Explanation, Question};
use sealpost::memory::Memory;
use sealpost::ports::{
    Answer, Clock, Denial, Dns, Fetch, Later, Listener, Mx, Names, Net, NoAnswer, NotFetched, Place, Ports,
    Resolved, Stream, TlsaQuestion, Txt, Wanted,
};
use sealpost::route::Own;
use sealpost::sts::Policies;
use sealpost::tls::ClientTls;
use spool::simulated::SimulatedDisk;
use spool::{Filter, Spool, Waiting};
use trust::dane::Tlsa;

pub use stub::{StartTls, Stub};

/// Time that the test advances, and dice that count.
pub struct Hours {
    pub origin: Instant,
    rolls: AtomicU64,
    /// Whether the dice break whoever throws them off the async threads, as recording does.
    pub breaks: AtomicBool,
    /// How far the wall clock was set, ahead or back.
    pub skew_seconds: AtomicI64,
}

impl Clock for Hours {
    fn now(&self) -> SystemTime {
        let skewed = 1_800_000_000 + self.skew_seconds.load(Ordering::Relaxed);
        SystemTime::UNIX_EPOCH + Duration::from_secs(skewed as u64) + (self.instant() - self.origin)
    }
    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
    fn sleep_until(&self, when: Instant) -> Later<'static, ()> {
        Box::pin(tokio::time::sleep_until(when.into()))
    }
    fn roll(&self) -> u64 {
        let blocking = || {
            std::thread::current()
                .name()
                .is_some_and(|name| name.starts_with("tokio"))
        };
        assert!(
            !(self.breaks.load(Ordering::Relaxed) && blocking()),
            "as the test wants"
        );
        self.rolls
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Names and hosts.
#[derive(Default)]
pub struct Wires {
    pub mx: Mutex<BTreeMap<Domain, Result<Vec<Mx>, NoAnswer>>>,
    pub hosts: Mutex<BTreeMap<Domain, Result<Vec<IpAddr>, NoAnswer>>>,
    /// Names that are aliases.
    pub aliases: Mutex<BTreeMap<Domain, Domain>>,
    /// Zones, and whether they are signed; what is in none is not.
    pub zones: Mutex<BTreeMap<Domain, bool>>,
    /// TLSA records by their owner.
    pub tlsa: Mutex<BTreeMap<String, Result<Answer<Vec<Tlsa>>, NoAnswer>>>,
    /// TXT records by their owner.
    pub txt: Mutex<BTreeMap<String, Result<Vec<Txt>, NoAnswer>>>,
    /// What was asked, as `TYPE name`.
    pub asked: Mutex<Vec<String>>,
    pub stubs: Mutex<BTreeMap<SocketAddr, Reachable>>,
    pub dials: Mutex<Vec<SocketAddr>>,
    pub pages: Mutex<BTreeMap<String, Page>>,
    pub fetches: Mutex<Vec<String>>,
    certificate: Mutex<Option<Arc<ServerConfig>>>,
    key: Mutex<Option<mail::KeyPrint>>,
}

/// What is at a URL.
#[derive(Clone)]
pub enum Page {
    Says(String),
    Fails(NotFetched),
    /// It comes after this time.
    Takes(Duration, String),
}

/// What is at an address.
#[derive(Clone)]
pub enum Reachable {
    Stub(Stub),
    /// Packets vanish.
    Silent,
}

impl Dns for Wires {
    fn mx<'a>(&'a self, domain: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>> {
        self.ask("MX", domain.as_str());
        let end = self.end(domain);
        let known = self.mx.lock().unwrap().get(&end).cloned();
        assert_ne!(known, Some(panics()), "as the test wants");
        Box::pin(async move { self.resolved(domain, known.unwrap_or_else(|| Err(self.nothing(&end)))) })
    }
    fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>> {
        self.ask("A", host.as_str());
        let end = self.end(host);
        let known = self.hosts.lock().unwrap().get(&end).cloned();
        Box::pin(async move { self.resolved(host, known.unwrap_or_else(|| Err(self.nothing(&end)))) })
    }
    fn tlsa<'a>(&'a self, question: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
        self.ask("TLSA", &question.owner());
        let known = self.tlsa.lock().unwrap().get(&question.owner()).cloned();
        Box::pin(async move { known.unwrap_or_else(|| Err(self.nothing(question.base()))) })
    }
    fn txt<'a>(
        &'a self,
        label: &'a str,
        domain: &'a Domain,
    ) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
        let owner = format!("{label}.{domain}");
        self.ask("TXT", &owner);
        let known = self.txt.lock().unwrap().get(&owner).cloned();
        Box::pin(async move {
            let found = known.unwrap_or_else(|| Err(self.nothing(domain)))?;
            Ok(self.believed(domain, found))
        })
    }
}

impl Wires {
    fn ask(&self, kind: &str, name: &str) {
        self.asked.lock().unwrap().push(format!("{kind} {name}"));
    }

    fn is_signed(&self, name: &Domain) -> bool {
        let zones = self.zones.lock().unwrap();
        let around = zones.iter().filter(|(zone, _)| name.is_within(zone));
        let nearest = around.max_by_key(|(zone, _)| zone.as_str().len());
        nearest.is_some_and(|(_, signed)| *signed)
    }

    fn believed<T>(&self, name: &Domain, found: T) -> Answer<T> {
        match self.is_signed(name) {
            true => Answer::Secure(mail::Secure::mint(found)),
            false => Answer::Insecure(found),
        }
    }

    /// The name and all that it leads to.
    fn links(&self, name: &Domain) -> Vec<Domain> {
        let aliases = self.aliases.lock().unwrap();
        std::iter::successors(Some(name.clone()), |name| aliases.get(name).cloned()).collect()
    }

    fn end(&self, name: &Domain) -> Domain {
        self.links(name).pop().unwrap()
    }

    fn resolved<T>(&self, name: &Domain, found: Result<T, NoAnswer>) -> Result<Resolved<T>, NoAnswer> {
        let links = self.links(name);
        let worst = links
            .iter()
            .find(|name| !self.is_signed(name))
            .unwrap_or(name)
            .clone();
        let end = links.last().filter(|end| *end != name).cloned();
        Ok(Resolved {
            answer: self.believed(&worst, found?),
            names: Names {
                asked: self.believed(name, name.clone()),
                end: end.map(|end| self.believed(&worst, end)),
            },
        })
    }

    fn nothing(&self, name: &Domain) -> NoAnswer {
        let denial = match self.is_signed(name) {
            true => Denial::Secure,
            false => Denial::Insecure,
        };
        match self.hosts.lock().unwrap().contains_key(name) {
            true => NoAnswer::NoRecords(denial),
            false => NoAnswer::NoSuchName(denial),
        }
    }
}

impl Fetch for Wires {
    fn get<'a>(&'a self, wanted: &'a Wanted) -> Later<'a, Result<Vec<u8>, NotFetched>> {
        let url = format!("https://{}{}", wanted.host, wanted.path);
        let page = self.pages.lock().unwrap().get(&url).cloned();
        self.fetches.lock().unwrap().push(url);
        Box::pin(async move {
            match page {
                None => Err(NotFetched::NoAddress("no such host".into())),
                Some(Page::Says(text)) => Ok(text.into_bytes()),
                Some(Page::Fails(why)) => Err(why),
                Some(Page::Takes(wait, text)) => {
                    tokio::time::sleep(wait.min(wanted.wait)).await;
                    match wait <= wanted.wait {
                        true => Ok(text.into_bytes()),
                        false => Err(NotFetched::TimedOut),
                    }
                }
            }
        })
    }
}

impl Net for Wires {
    fn connect(&self, peer: SocketAddr, _: Option<IpAddr>) -> Later<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            self.dials.lock().unwrap().push(peer);
            let there = self.stubs.lock().unwrap().get(&peer).cloned();
            match there {
                None => Err(io::ErrorKind::ConnectionRefused.into()),
                Some(Reachable::Silent) => std::future::pending().await,
                Some(Reachable::Stub(stub)) => {
                    let (ours, theirs) = tokio::io::duplex(64 * 1024);
                    let certificate = self.certificate();
                    tokio::spawn(stub.serve(Box::new(theirs), certificate));
                    Ok(Box::new(ours) as Box<dyn Stream>)
                }
            }
        })
    }
    fn listen<'a>(&'a self, _: &'a Place) -> Later<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

impl Wires {
    /// The key of every stub's certificate.
    pub fn key_print(&self) -> mail::KeyPrint {
        self.certificate();
        self.key.lock().unwrap().unwrap()
    }

    fn certificate(&self) -> Arc<ServerConfig> {
        self.certificate
            .lock()
            .unwrap()
            .get_or_insert_with(|| {
                let (certificate, key) = stub::certificate();
                *self.key.lock().unwrap() = Some(key);
                certificate
            })
            .clone()
    }
}

/// The world with its server at work.
pub struct World {
    pub wires: Arc<Wires>,
    pub clock: Arc<Hours>,
    pub spool: Arc<Spool>,
    pub handle: Handle,
    pub disk: Arc<SimulatedDisk>,
    pub policies: Policies,
    pub memory: Memory,
    tls: ClientTls,
    config: Config,
    ports: Ports,
    _folder: tempfile::TempDir,
}

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

impl World {
    /// A server called mail.own.example that keeps own.example's mail, with this configuration besides.
    pub fn new(config: &str) -> World {
        World::trusting(config, RootCertStore::empty())
    }

    /// A world in which hosts show a certificate for these names, from a root that is trusted.
    pub fn certified(config: &str, names: &[&str]) -> World {
        World::certified_until(config, names, 4000)
    }

    /// The certificate ends with the beginning of this year.
    pub fn certified_until(config: &str, names: &[&str], year: i32) -> World {
        let (certificate, roots) = stub::signed(names, year);
        let world = World::trusting(config, roots);
        *world.wires.certificate.lock().unwrap() = Some(certificate);
        world
    }

    fn trusting(config: &str, roots: RootCertStore) -> World {
        let mut config = Config::parse(config, "test").unwrap();
        config.local = toml::from_str("domains = [\"own.example\"]\n").unwrap();
        let wires = Arc::new(Wires::default());
        let clock = Arc::new(Hours {
            origin: tokio::time::Instant::now().into_std(),
            rolls: AtomicU64::new(1),
            breaks: AtomicBool::new(false),
            skew_seconds: AtomicI64::new(0),
        });
        let ports = Ports {
            dns: wires.clone(),
            net: wires.clone(),
            fetch: wires.clone(),
            clock: clock.clone(),
        };
        let tls = ClientTls::trusting(roots, clock.clone());
        let memory = Memory::in_memory().unwrap();
        let policies = Policies::load(memory.clone(), ports.clone(), &config, tls.clone());
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(SimulatedDisk::new(1));
        let lane_of = |_: &Recipient| spool::Lane::new("unsorted");
        let (spool, _) = Spool::open(disk.clone(), spool::Limits::default(), lane_of).unwrap();
        let rules = Arc::new(rules(&config, &ports, &spool, &policies, &tls, folder.path()));
        spool.relane(rules.lane_of());
        let (dispatcher, handle) = Dispatcher::new(ports.clone(), spool.clone(), rules);
        tokio::spawn(dispatcher.run());
        World {
            wires,
            clock,
            spool,
            handle,
            disk,
            policies,
            memory,
            tls,
            config,
            ports,
            _folder: folder,
        }
    }

    /// As `explain` does.
    pub async fn explain(&self, of: &str, wish: Option<&str>) -> Result<Explanation, Problem> {
        let explainer = Explainer {
            rules: Arc::new(self.rules()),
            ports: self.ports.clone(),
            spool: self.spool.clone(),
        };
        explainer.explain(Question::parse(of, wish).unwrap()).await
    }

    /// As `check` does.
    pub async fn check(&self, of: &str) -> Audit {
        let prober = Prober {
            ports: self.ports.clone(),
            tls: self.tls.clone(),
            me: domain("mail.own.example"),
            limits: Limits::default(),
        };
        let facts = Auditor::new(prober, &self.config.route).gather(&domain(of)).await;
        sealpost::check::audit(&facts)
    }

    /// What a new process knows of policies.
    pub fn restarted_policies(&self) -> Policies {
        Policies::load(
            self.memory.clone(),
            self.ports.clone(),
            &self.config,
            self.tls.clone(),
        )
    }

    fn rules(&self) -> Rules {
        rules(
            &self.config,
            &self.ports,
            &self.spool,
            &self.policies,
            &self.tls,
            self._folder.path(),
        )
    }

    /// Reads another configuration.
    pub async fn reload(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        let rules = self.rules();
        self.handle.reload(Arc::new(rules)).await;
    }

    /// `a.example MX 10 host, 20 .` or `host A 192.0.2.1`; `fail` for a failed look-up, `MX panic` for a fault of ours.
    pub fn record(&self, record: &str) {
        let (owner, rest) = record.split_once(' ').unwrap();
        let (kind, values) = rest.split_once(' ').unwrap();
        let failed = || Err(NoAnswer::Failed("SERVFAIL".into()));
        if kind == "MX" {
            let mx = |value: &str| {
                let (preference, exchange) = value.split_once(' ').unwrap();
                let exchange = (exchange != ".").then(|| domain(exchange));
                Mx {
                    preference: preference.parse().unwrap(),
                    exchange,
                }
            };
            let found = if values == "fail" {
                failed()
            } else if values == "panic" {
                panics()
            } else {
                Ok(values.split(", ").map(mx).collect())
            };
            self.wires.mx.lock().unwrap().insert(domain(owner), found);
        } else {
            let found = match values {
                "fail" => Err(NoAnswer::Failed("SERVFAIL".into())),
                values => Ok(values.split(", ").map(|value| value.parse().unwrap()).collect()),
            };
            self.wires.hosts.lock().unwrap().insert(domain(owner), found);
        }
    }

    /// Signs these zones.
    pub fn sign(&self, zones: &[&str]) {
        let signed = zones.iter().map(|zone| (domain(zone), true));
        self.wires.zones.lock().unwrap().extend(signed);
    }

    /// Makes these zones of their own, unsigned.
    pub fn unsign(&self, zones: &[&str]) {
        let unsigned = zones.iter().map(|zone| (domain(zone), false));
        self.wires.zones.lock().unwrap().extend(unsigned);
    }

    /// Makes a name an alias.
    pub fn alias(&self, name: &str, target: &str) {
        let mut aliases = self.wires.aliases.lock().unwrap();
        aliases.insert(domain(name), domain(target));
    }

    /// What the look-up of TLSA records brings; records are as proven as their base.
    pub fn tlsa(&self, owner: &str, found: Result<Vec<Tlsa>, NoAnswer>) {
        let base = domain(owner.split_once("._tcp.").unwrap().1);
        let found = found.map(|found| self.wires.believed(&base, found));
        self.wires.tlsa.lock().unwrap().insert(owner.to_owned(), found);
    }

    /// What was asked of the DNS.
    pub fn asked(&self) -> Vec<String> {
        self.wires.asked.lock().unwrap().clone()
    }

    /// A server at an address and port.
    pub fn put_at(&self, at: &str, stub: Stub) {
        let mut stubs = self.wires.stubs.lock().unwrap();
        stubs.insert(at.parse().unwrap(), Reachable::Stub(stub));
    }

    /// A host with an address and a server at it.
    pub fn host(&self, name: &str, address: &str, stub: Stub) -> Stub {
        self.record(&format!("{name} A {address}"));
        self.put(address, Some(Reachable::Stub(stub.clone())));
        stub
    }

    pub fn put(&self, address: &str, there: Option<Reachable>) {
        let at = SocketAddr::new(address.parse().unwrap(), 25);
        let mut stubs = self.wires.stubs.lock().unwrap();
        match there {
            Some(there) => drop(stubs.insert(at, there)),
            None => drop(stubs.remove(&at)),
        }
    }

    /// `a.example` with one exchanger of that behaviour; `home.example`, where senders live, with a friendly one.
    pub fn exchanger(&self, stub: Stub) -> Stub {
        self.record("a.example MX 10 mx.a.example");
        self.host("mx.a.example", "192.0.2.1", stub)
    }

    pub fn home(&self) -> Stub {
        self.host(
            "home.example",
            "192.0.2.200",
            Stub::new("home.example").offers(&["SMTPUTF8"]),
        )
    }

    pub fn envelope(&self, sender: &str, recipients: &[&str]) -> Envelope {
        let to = |text: &&str| Recipient {
            mailbox: Mailbox::parse(text).unwrap(),
            notify: None,
            original: None,
        };
        Envelope {
            sender: match sender {
                "" => ReversePath::Null,
                text => ReversePath::Mailbox(Mailbox::parse(text).unwrap()),
            },
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envelope_id: None,
            wish: mail::TlsWish::Usual,
            recipients: recipients.iter().map(to).collect(),
        }
    }

    /// Keeps a message for sending.
    pub async fn submit(&self, envelope: Envelope, octets: &[u8]) -> MessageId {
        let millis = self
            .clock
            .now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let id = MessageId::new(u64::try_from(millis).unwrap(), u128::from(self.clock.roll()));
        let (spool, octets, at) = (self.spool.clone(), octets.to_vec(), self.clock.now());
        let kept = tokio::task::spawn_blocking(move || {
            let mut draft = spool.draft(id).unwrap();
            let mut survey = Survey::default();
            survey.feed(&octets);
            draft.push(&octets).unwrap();
            let arrival = Arrival {
                at,
                protocol: Protocol::Esmtp,
                greeting: None,
                client: None,
                tls: None,
            };
            let (tell, told) = std::sync::mpsc::channel();
            draft.keep(envelope, arrival, survey.content(), move |kept| {
                drop(tell.send(kept))
            });
            told.recv().unwrap().unwrap();
        });
        kept.await.unwrap();
        let real = || std::thread::sleep(Duration::from_millis(2));
        tokio::task::spawn_blocking(real).await.unwrap();
        id
    }

    /// A small message from s@home.example.
    pub async fn send(&self, recipients: &[&str]) -> MessageId {
        let envelope = self.envelope("s@home.example", recipients);
        self.submit(envelope, b"Subject: x\r\n\r\ntext\r\n").await
    }

    /// Lets this much time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets time pass until it holds; at most ten days.
    pub async fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let end = self.clock.instant() + Duration::from_secs(10 * 24 * 3600);
        while !holds(self) {
            assert!(
                self.clock.instant() < end,
                "never: {what}; waiting: {:?}",
                self.causes()
            );
            // The spool's own threads know nothing of the test's hours: let them come along first.
            let real = || std::thread::sleep(Duration::from_millis(1));
            tokio::task::spawn_blocking(real).await.unwrap();
            let step = match self.clock_minutes() {
                0..2 => 1,
                2..120 => 20,
                _ => 300,
            };
            tokio::time::sleep(Duration::from_secs(step)).await;
        }
    }

    pub fn waiting(&self) -> Vec<Waiting> {
        self.spool.list(&Filter::default(), None, 1000)
    }

    /// Why what waits was not delivered: `4.4.1 text`, one for each recipient that was tried.
    pub fn causes(&self) -> Vec<String> {
        let waiting = self.waiting();
        let all = waiting.iter().flat_map(|message| message.recipients());
        let causes = all.filter_map(|(_, _, _, progress)| progress.last.as_ref());
        causes
            .map(|cause| format!("{} {}", cause.status, cause.text))
            .collect()
    }

    /// As `queue retry` does.
    pub async fn retry(&self, id: MessageId) {
        let (spool, now) = (self.spool.clone(), self.clock.now());
        let retried = tokio::task::spawn_blocking(move || spool.retry(&Filter::one(id), now).unwrap());
        assert_eq!(retried.await.unwrap(), 1);
    }

    /// Whole minutes since the beginning.
    pub fn clock_minutes(&self) -> u64 {
        (self.clock.instant() - self.clock.origin).as_secs() / 60
    }

    pub fn dials(&self, address: &str) -> usize {
        let address: IpAddr = address.parse().unwrap();
        self.wires
            .dials
            .lock()
            .unwrap()
            .iter()
            .filter(|at| at.ip() == address)
            .count()
    }
}

fn panics() -> Result<Vec<Mx>, NoAnswer> {
    Err(NoAnswer::Failed("panic".into()))
}

fn rules(
    config: &Config,
    ports: &Ports,
    spool: &Arc<Spool>,
    policies: &Policies,
    tls: &ClientTls,
    folder: &std::path::Path,
) -> Rules {
    let me = domain("mail.own.example");
    let directory = Arc::new(sealpost::local::load(&config.local, &me, &folder.join("mail")).unwrap());
    let own = Own::new(vec![me.clone()], &[], &[], &["192.0.2.250:25".parse().unwrap()]);
    policies.renew(config, tls.clone());
    let memory = sealpost::memory::Memory::in_memory().unwrap();
    let ledger = sealpost::ledger::Ledger::open(memory, &config.ledger, &me, ports.clock.clone()).unwrap();
    let ground = Ground {
        me,
        ledger,
        ports: ports.clone(),
        spool: spool.clone(),
        directory,
        tls: tls.clone(),
        own,
        policies: policies.clone(),
        started: ports.clock.now(),
        witnesses: sealpost::dispatch::Witnesses::none(),
    };
    Rules::new(config, ground)
}

/// The part of a report that machines read, field by field.
pub fn fields(report: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(report).into_owned();
    let prefix = format!("{name}: ");
    text.split("\r\n")
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}
