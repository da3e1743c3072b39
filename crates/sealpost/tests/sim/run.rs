//! One run from a seed: a few simulated days with mail and mishaps, then calm, then the reckoning.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use mail::Domain;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealpost::config::tls::Certificate;
use sealpost::config::{Config, DataDir, Domains, Listen, Role};
use sealpost::serve::Running;
use sealpost::spooling::InPlace;
use spool::Filter;
use spool::simulated::Fault;
use tempfile::TempDir;

use super::client::{Letter, hand_in};
use super::dice::Dice;
use super::ledger::Ledger;
use super::peer::{Mood, Peer};
use super::world::{World, here};

/// What a run came to.
pub struct Report {
    pub broken: Vec<String>,
    /// Everything that happened, in order: the same seed gives the same.
    pub notes: Vec<String>,
    pub log: String,
    pub counts: Counts,
}

/// How much a run had in it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub accepted: usize,
    pub delivered: usize,
    pub reports: usize,
    pub dials: usize,
    pub attacked: usize,
    pub ends: usize,
}

/// Runs a seed in this thread.
pub fn run(seed: u64) -> Report {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || written.clone())
        .finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(seed);
    let pace = Mutex::new(dice.of());
    // Without a wait, work is done at once; with one, other things happen meanwhile.
    let _in_place = InPlace::begin(move || {
        let millis = {
            let mut pace = pace.lock().unwrap();
            *pace.pick(&[0, 0, 0, 1, 5, 40])
        };
        Box::pin(async move {
            if millis > 0 {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
        })
    });
    let ledger = runtime.block_on(days(dice, folder.path(), log.clone()));
    drop(runtime);
    let ledger = Arc::into_inner(ledger)
        .expect("all tasks are gone")
        .into_inner()
        .unwrap();
    let counts = Counts {
        accepted: ledger.sent.values().filter(|sent| sent.kept_as.is_some()).count(),
        delivered: ledger.deliveries.len(),
        reports: ledger.told.len(),
        dials: ledger.dials.len(),
        attacked: ledger.dials.iter().filter(|dial| dial.wire.attacked()).count(),
        ends: ledger.ends.len(),
    };
    Report {
        broken: ledger.broken,
        notes: ledger.notes,
        log: log.text(),
        counts,
    }
}

async fn days(mut dice: Dice, folder: &Path, log: Log) -> Arc<Mutex<Ledger>> {
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let world = Arc::new(build(&mut dice, &ledger));
    let config = config(&mut dice, folder);
    let committer = tokio::spawn(world.clone().commit());
    let mut story = Story {
        running: Some(world.start(&config).await),
        world: world.clone(),
        config,
        next: 1,
        letters: Vec::new(),
        dice,
    };
    let chapters = story.dice.between(6, 30);
    for _ in 0..chapters {
        story.chapter().await;
    }
    world.calm();
    world.disk().set_fault(Fault::None);
    world.disk().set_capacity(u64::MAX);
    story.until_empty().await;
    for letter in story.letters.drain(..) {
        // Each has a patience of its own.
        letter.await.unwrap();
    }
    let now = tokio::time::Instant::now();
    let waiting = story.waiting();
    {
        let mut ledger = world.ledger();
        for (id, recipient) in &waiting {
            ledger.wrong(format!("{id} for {recipient} still waits after all those days"));
        }
        ledger.read_mailboxes(&folder.join("mail"), now);
        ledger.check(&log.text(), &log.timed(), &waiting);
    }
    if let Some(running) = story.running.take() {
        world.shut_down(running).await;
    }
    committer.abort();
    ledger
}

/// What happens, chapter by chapter.
struct Story {
    world: Arc<World>,
    config: Config,
    running: Option<Running>,
    next: u32,
    letters: Vec<tokio::task::JoinHandle<()>>,
    dice: Dice,
}

impl Story {
    async fn chapter(&mut self) {
        let what = self.dice.below(100);
        self.world.note(format!("chapter {what}"));
        match what {
            0..45 => {
                for _ in 0..self.dice.between(1, 4) {
                    self.letter();
                }
            }
            45..65 => self.moods(),
            65..75 => self.cut_power().await,
            75..80 => self.cut_power_in_a_call().await,
            80..85 => self.restart().await,
            85..90 => self.disk_fails(),
            90..93 => self.full_disk().await,
            93..96 => self.wrong_clock(),
            _ => tokio::time::sleep(Duration::from_secs(self.dice.below(24 * 3600))).await,
        }
        let pause = *self
            .dice
            .pick(&[0, 5, 50, 500, 5000, 60_000, 1_000_000, 10_000_000]);
        tokio::time::sleep(Duration::from_millis(self.dice.below(pause + 1))).await;
    }

    fn letter(&mut self) {
        let id = self.next;
        self.next += 1;
        let dice = &mut self.dice;
        let stranger = dice.percent(20);
        let users = ["u1", "u2", "u3", "no1", "full1", "odd1", "spam1", "u4"];
        let count = *dice.pick(&[1, 1, 1, 2, 3, 5]);
        let mut recipients: BTreeSet<String> = BTreeSet::new();
        for _ in 0..count {
            let local = ["ann@here.example", "bea@here.example", "team@here.example"];
            recipients.insert(match stranger || dice.percent(20) {
                true => (*dice.pick(&local)).to_owned(),
                false => format!("{}@d{}.example", dice.pick(&users), dice.below(DOMAINS)),
            });
        }
        // As an alias and by itself a mailbox would rightly get it twice.
        if recipients.contains("team@here.example") {
            recipients.remove("bea@here.example");
        }
        let sender = dice
            .percent(85)
            .then(|| format!("s{}@home.example", dice.below(4)));
        let letter = Letter {
            id,
            client: match stranger {
                true => IpAddr::from([203, 0, 113, dice.below(4) as u8]),
                false => IpAddr::from([10, 1, 0, dice.below(4) as u8]),
            },
            content: content(id, dice),
            sender,
            recipients: recipients.into_iter().collect(),
            wants_tls: dice.percent(50),
            dice: dice.of(),
        };
        self.letters
            .push(tokio::spawn(hand_in(self.world.clone(), letter)));
    }

    fn moods(&mut self) {
        for peer in self.world.peers.values() {
            if !self.dice.percent(60) {
                continue;
            }
            let mood = match peer.name.as_str() {
                // The senders' own host takes every report in the end.
                "mx.home.example" => {
                    *self
                        .dice
                        .pick(&[Mood::Good, Mood::Greylists, Mood::Slow, Mood::TakesSilently])
                }
                _ => *self.dice.pick(&MOODS),
            };
            *peer.mood.lock().unwrap() = mood;
        }
    }

    async fn cut_power(&mut self) {
        if let Some(running) = self.running.take() {
            self.world.power_cut(running).await;
        }
        self.start_again().await;
    }

    /// In the middle of one of the next calls to the disk.
    async fn cut_power_in_a_call(&mut self) {
        let disk = self.world.disk();
        disk.set_fault(Fault::PowerCut(disk.calls() + self.dice.between(1, 12)));
        for _ in 0..self.dice.between(1, 3) {
            self.letter();
        }
        for _ in 0..1500 {
            if disk.is_dead() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.cut_power().await;
    }

    async fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            self.world.shut_down(running).await;
        }
        self.start_again().await;
    }

    async fn start_again(&mut self) {
        let pause = *self.dice.pick(&[0, 1, 60, 7200]);
        tokio::time::sleep(Duration::from_secs(pause)).await;
        self.running = Some(self.world.start(&self.config).await);
    }

    fn disk_fails(&mut self) {
        let disk = self.world.disk();
        disk.set_fault(Fault::Failure(disk.calls() + self.dice.between(1, 20)));
        self.world.ledger().disk_faults.push(tokio::time::Instant::now());
        self.letter();
    }

    async fn full_disk(&mut self) {
        let disk = self.world.disk();
        disk.set_capacity(disk.used_bytes() + self.dice.below(200_000));
        self.world.ledger().disk_faults.push(tokio::time::Instant::now());
        self.letter();
        self.letter();
        tokio::time::sleep(Duration::from_secs(self.dice.below(20_000))).await;
        // After a power cut it is another disk with the same bound.
        self.world.disk().set_capacity(u64::MAX);
    }

    fn wrong_clock(&mut self) {
        let hours = self.dice.between(22, 27);
        self.world.skew(Duration::from_secs(hours * 3600));
        self.world.ledger().clock_sets += 1;
    }

    async fn until_empty(&mut self) {
        for _ in 0..HOURS_MAX {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            if self.waiting().is_empty() {
                return;
            }
        }
    }

    fn waiting(&self) -> BTreeSet<(String, String)> {
        let Some((spool, _)) = self.world.spool() else {
            return BTreeSet::new();
        };
        let all = spool.list(&Filter::default(), None, 10_000);
        let each = all.iter().flat_map(|waiting| {
            let id = waiting.message.id.to_string();
            waiting
                .recipients()
                .map(move |(_, recipient, _, _)| (id.clone(), recipient.mailbox.to_string()))
        });
        each.collect()
    }
}

fn content(id: u32, dice: &mut Dice) -> Vec<u8> {
    let mut content =
        format!("From: <s@home.example>\r\nSubject: number {id}\r\nX-Sim-Id: {id}\r\n\r\n").into_bytes();
    let lines: [&[u8]; 7] = [
        b".\r\n",
        b"..\r\n",
        b"text\r\n",
        b"\r\n",
        b"QUIT\r\n",
        "Gr\u{fc}\u{df}e\r\n".as_bytes(),
        b".x\r\n",
    ];
    let eight_bit = dice.percent(20);
    for _ in 0..*dice.pick(&[0, 1, 5, 50, 300]) {
        let line = *dice.pick(&lines);
        if eight_bit || line.is_ascii() {
            content.extend_from_slice(line);
        }
    }
    if dice.percent(10) {
        let long = format!("{}\r\n", "x".repeat(90));
        content.extend(long.repeat(dice.between(700, 2500) as usize).bytes());
    }
    content
}

fn build(dice: &mut Dice, ledger: &Arc<Mutex<Ledger>>) -> World {
    let mut world = World::new(dice, ledger.clone());
    let mut address = 1;
    let mut add = |world: &mut World, domain: &str, preference: u16, name: &str, tls: bool| {
        let tls = tls.then(peer_tls);
        let peer = Peer::new(name, tls, ledger.clone());
        world.add_host(domain, preference, peer, IpAddr::from([192, 0, 2, address]));
        address += 1;
    };
    for number in 0..DOMAINS {
        let domain = format!("d{number}.example");
        for host in 0..dice.between(1, 2) {
            let name = format!("mx{host}.{domain}");
            let preference = 10 * dice.between(1, 2) as u16;
            let tls = dice.percent(75);
            add(&mut world, &domain, preference, &name, tls);
        }
    }
    let tls = dice.percent(50);
    add(&mut world, "home.example", 10, "mx.home.example", tls);
    world
}

fn config(dice: &mut Dice, folder: &Path) -> Config {
    let mut config = Config {
        listen: vec![Listen::at(here(), Role::Mx)],
        ..Config::default()
    };
    config.server.host = Some(Domain::parse("mx.here.example").unwrap());
    config.server.data_dir = DataDir::new(folder);
    config.server.relay_from = vec![sealpost::config::units::Network::parse("10.1.0.0/16").unwrap()];
    config.tls.certificate = vec![certificate()];
    config.tls.ca_file = Some(certificate().chain);
    config.local =
        toml::from_str("mailboxes = [\"ann\", \"bea\"]\n[aliases]\nteam = [\"bea\", \"team9@d0.example\"]\n")
            .unwrap();
    config.local.domains = Domains::These(vec![Domain::parse("here.example").unwrap()]);
    let days = *dice.pick(&[1, 1, 2, 5]);
    config.retry.age_max = Duration::from_secs(days * 24 * 3600);
    config
}

/// Ed25519, whose signatures have one length: so that octets count the same in each run.
fn certificate() -> Certificate {
    static FILES: OnceLock<TempDir> = OnceLock::new();
    let folder = FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = rcgen::CertificateParams::new(vec!["mx.here.example".to_owned()]).unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("chain.pem"), made.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        folder
    });
    Certificate {
        chain: folder.path().join("chain.pem"),
        key: folder.path().join("key.pem"),
        next_key: None,
    }
}

fn peer_tls() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    let made = || {
        let files = certificate();
        let chain = CertificateDer::from_pem_file(files.chain).unwrap();
        let key = PrivateKeyDer::from_pem_file(files.key).unwrap();
        let builder = ServerConfig::builder_with_provider(sealpost::tls::provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let mut config = builder.with_single_cert(vec![chain], key).unwrap();
        config.send_tls13_tickets = 0;
        Arc::new(config)
    };
    CONFIG.get_or_init(made).clone()
}

/// Whether the story is told while it happens: where one seed alone runs.
pub fn is_told() -> bool {
    static TOLD: OnceLock<bool> = OnceLock::new();
    *TOLD.get_or_init(|| std::env::var_os("SIM_SEED").is_some())
}

/// The server's log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<(tokio::time::Instant, String)>>>);

impl Log {
    fn text(&self) -> String {
        let lines = self.0.lock().unwrap();
        lines.iter().map(|(_, line)| line.as_str()).collect()
    }

    fn timed(&self) -> Vec<(tokio::time::Instant, String)> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        if is_told() {
            eprint!("{}", String::from_utf8_lossy(octets));
        }
        let line = String::from_utf8_lossy(octets).into_owned();
        self.0.lock().unwrap().push((tokio::time::Instant::now(), line));
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const MOODS: [Mood; 14] = [
    Mood::Good,
    Mood::Good,
    Mood::Good,
    Mood::Good,
    Mood::Refuses,
    Mood::Silent,
    Mood::Busy,
    Mood::Greylists,
    Mood::TlsBroken,
    Mood::Vanishes,
    Mood::TakesSilently,
    Mood::DropsSilently,
    Mood::Slow,
    Mood::Slow,
];
const DOMAINS: u64 = 4;
const HOURS_MAX: usize = 10 * 24;
