//! The world around the server: names, addresses, hours and dice; and the server itself, started, cut off and started
//! again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant as Steady, SystemTime};

use mail::Domain;
use sealpost::config::Config;
use sealpost::ports::{
    Accepted, Answer, Clock, Denial, Dns, Later, Listener, Mx, Net, NoAnswer, Place, Resolved, Stream,
    TlsaQuestion, Txt,
};
use sealpost::serve::{self, Running, StartError, Store};
use spool::simulated::SimulatedDisk;
use spool::{Drive, OpenError, Spool};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use trust::dane::Tlsa;

use super::dice::Dice;
use super::ledger::{Dial, Ledger};
use super::peer::{Mood, Peer};
use super::wire::{DOWN, Faults, UP, Wire};

/// Everything outside the server.
pub struct World {
    pub clock: Arc<SimClock>,
    ledger: Arc<Mutex<Ledger>>,
    pub peers: BTreeMap<IpAddr, Arc<Peer>>,
    mx: BTreeMap<Domain, Vec<Mx>>,
    hosts: BTreeMap<Domain, Vec<IpAddr>>,
    /// Outlasts every power cut: each of its changes is durable at once.
    memory: sealpost::memory::Memory,
    inner: Mutex<Inner>,
    touched: Notify,
}

struct Inner {
    dice: Dice,
    /// Percent of connections, and of look-ups, that something happens to.
    wire_trouble: u64,
    dns_trouble: u64,
    gate: Option<mpsc::UnboundedSender<Accepted>>,
    /// The wires of the machine that runs now.
    wires: Vec<Wire>,
    disk: SimulatedDisk,
    spool: Option<Arc<Spool>>,
    last_touch: Instant,
}

/// Simulated hours and seeded dice.
pub struct SimClock {
    origin: Instant,
    skew: Mutex<Duration>,
    dice: Mutex<Dice>,
    /// How often the time was asked for without any passing.
    asked: Mutex<(Instant, u32)>,
}

impl Clock for SimClock {
    fn now(&self) -> SystemTime {
        let skew = *self.skew.lock().unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + skew + self.origin.elapsed()
    }

    fn instant(&self) -> Steady {
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap();
        let times = if asked.0 == now { asked.1 + 1 } else { 0 };
        *asked = (now, times);
        drop(asked);
        assert!(
            times < STILL_MAX,
            "time stands still: something runs without waiting"
        );
        now.into_std()
    }

    fn sleep_until(&self, when: Steady) -> Later<'static, ()> {
        Box::pin(tokio::time::sleep_until(when.into()))
    }

    fn roll(&self) -> u64 {
        self.dice.lock().unwrap().roll()
    }
}

impl World {
    pub fn new(dice: &mut Dice, ledger: Arc<Mutex<Ledger>>) -> World {
        let clock = SimClock {
            origin: Instant::now(),
            skew: Mutex::new(Duration::from_secs(24 * 3600)),
            dice: Mutex::new(dice.of()),
            asked: Mutex::new((Instant::now(), 0)),
        };
        World {
            memory: sealpost::memory::Memory::in_memory().expect("it needs no file"),
            clock: Arc::new(clock),
            ledger,
            peers: BTreeMap::new(),
            mx: BTreeMap::new(),
            hosts: BTreeMap::new(),
            inner: Mutex::new(Inner {
                dice: dice.of(),
                wire_trouble: *dice.pick(&[0, 10, 30, 60]),
                dns_trouble: *dice.pick(&[0, 5, 25]),
                gate: None,
                wires: Vec::new(),
                disk: SimulatedDisk::new(dice.roll()),
                spool: None,
                last_touch: Instant::now(),
            }),
            touched: Notify::new(),
        }
    }

    /// A host of a domain, at an address.
    pub fn add_host(&mut self, domain: &str, preference: u16, peer: Arc<Peer>, address: IpAddr) {
        let host = Domain::parse(&peer.name).unwrap();
        let exchange = Some(host.clone());
        let mx = Mx { preference, exchange };
        self.mx
            .entry(Domain::parse(domain).unwrap())
            .or_default()
            .push(mx);
        self.hosts.entry(host).or_default().push(address);
        self.peers.insert(address, peer);
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub fn note(&self, what: String) {
        let at = self.clock.origin.elapsed().as_millis();
        if super::run::is_told() {
            eprintln!("{at} {what}");
        }
        self.ledger().notes.push(format!("{at} {what}"));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The spool that runs now, and its disk.
    pub fn spool(&self) -> Option<(Arc<Spool>, SimulatedDisk)> {
        let inner = self.inner();
        Some((inner.spool.clone()?, inner.disk.clone()))
    }

    pub fn disk(&self) -> SimulatedDisk {
        self.inner().disk.clone()
    }

    /// From now on nothing goes wrong by itself.
    pub fn calm(&self) {
        let mut inner = self.inner();
        (inner.wire_trouble, inner.dns_trouble) = (0, 0);
        for peer in self.peers.values() {
            *peer.mood.lock().unwrap() = Mood::Good;
        }
    }

    /// Sets the wall clock; steady time goes on.
    pub fn skew(&self, hours: Duration) {
        *self.clock.skew.lock().unwrap() = hours;
    }

    /// A client calls the server.
    pub fn call(self: &Arc<World>, client: IpAddr, dice: &mut Dice) -> Option<Box<dyn Stream>> {
        let mut inner = self.inner();
        let faults = match dice.percent(inner.wire_trouble) {
            true => Faults::some(dice),
            false => Faults::none(dice),
        };
        let (ours, theirs, wire) = Wire::new(faults, DOWN, &inner.disk);
        let accepted = Accepted {
            stream: Box::new(theirs),
            client: SocketAddr::new(client, 40_000),
            here: here(),
        };
        inner.gate.as_ref()?.send(accepted).ok()?;
        inner.wires.push(wire);
        Some(Box::new(ours))
    }

    /// Clients are at work: the committer must be, too.
    pub fn touch(&self) {
        self.inner().last_touch = Instant::now();
        self.touched.notify_one();
    }

    /// The spool's committer, as a task: what is handed over is synced a little later.
    pub async fn commit(self: Arc<World>) {
        let mut dice = self.inner().dice.of();
        loop {
            let idle = self.inner().last_touch.elapsed() > Duration::from_secs(3);
            let pause = match idle {
                true => Duration::from_secs(1800),
                false => Duration::from_millis(dice.between(1, 60)),
            };
            tokio::select! {
                biased;
                () = self.touched.notified(), if idle => {}
                () = tokio::time::sleep(pause) => {}
            }
            let Some((spool, _)) = self.spool() else { continue };
            spool.flush();
            if dice.percent(5) || idle {
                // Its errors are the disk's, and those are simulated.
                let _ = spool.tidy();
            }
        }
    }

    /// Starts the server on the disk as it is.
    pub async fn start(self: &Arc<World>, config: &Config) -> Running {
        let ports = sealpost::real::ports(self.clone(), self.clone(), self.clock.clone());
        for _ in 0..1000 {
            let store = Store {
                disk: Arc::new(self.disk()),
                limits: spool_limits(),
                drive: Drive::Caller,
                memory: Some(self.memory.clone()),
            };
            match serve::start_with(config.clone(), ports.clone(), store).await {
                Ok(running) => {
                    self.inner().spool = Some(running.server().spool.clone());
                    return running;
                }
                // The tasks of the server before are still being taken apart.
                Err(StartError::Spool(OpenError::Locked)) => {
                    tokio::time::sleep(Duration::from_millis(10)).await
                }
                // A disk that fails once: whoever watches the server starts it again.
                Err(StartError::Spool(OpenError::Disk(error))) if !self.ledger().disk_faults.is_empty() => {
                    self.note(format!("not started: {error}"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => panic!("the server does not start: {error}"),
            }
        }
        panic!("the server before does not let go of the spool");
    }

    /// The power goes: every connection is gone, and of the disk there is what it had synced, and perhaps more.
    pub async fn power_cut(&self, running: Running) {
        {
            let mut inner = self.inner();
            inner.wires.drain(..).for_each(|wire| wire.cut());
            (inner.gate, inner.spool) = (None, None);
            let seed = inner.dice.roll();
            let after = inner.disk.after_power_cut(seed);
            let calls = inner.disk.calls();
            // Whatever the dead server's tasks still do, they do to no disk.
            inner.disk.set_fault(spool::simulated::Fault::FailureFrom(calls));
            inner.disk = after;
        }
        self.ledger().ends.push(Instant::now());
        drop(running);
        settle_down().await;
    }

    /// SIGTERM.
    pub async fn shut_down(&self, running: Running) {
        self.ledger().ends.push(Instant::now());
        self.inner().spool = None;
        running.shut_down(std::future::pending()).await;
        {
            let mut inner = self.inner();
            inner.wires.drain(..).for_each(|wire| wire.cut());
            inner.gate = None;
        }
        self.ledger().ends.push(Instant::now());
        settle_down().await;
    }
}

/// Lets aborted tasks end.
async fn settle_down() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

impl Dns for World {
    fn mx<'a>(&'a self, domain: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>> {
        Box::pin(async move {
            self.look_up().await?;
            let other = match self.hosts.contains_key(domain) {
                true => NoAnswer::NoRecords(Denial::Insecure),
                false => NoAnswer::NoSuchName(Denial::Insecure),
            };
            let found = self.mx.get(domain).cloned().ok_or(other)?;
            Ok(Resolved::insecure(domain, found))
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>> {
        Box::pin(async move {
            self.look_up().await?;
            let found = self.hosts.get(host).cloned();
            let found = found.ok_or(NoAnswer::NoSuchName(Denial::Insecure))?;
            Ok(Resolved::insecure(host, found))
        })
    }

    fn tlsa<'a>(&'a self, _: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
        Box::pin(async move {
            self.look_up().await?;
            Err(NoAnswer::NoSuchName(Denial::Insecure))
        })
    }

    fn txt<'a>(&'a self, _: &'a str, _: &'a Domain) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
        Box::pin(async move {
            self.look_up().await?;
            Err(NoAnswer::NoSuchName(Denial::Insecure))
        })
    }
}

impl World {
    async fn look_up(&self) -> Result<(), NoAnswer> {
        let (trouble, wait) = {
            let mut inner = self.inner();
            let percent = inner.dns_trouble;
            (inner.dice.percent(percent), inner.dice.below(3000))
        };
        match trouble {
            false => tokio::time::sleep(Duration::from_millis(wait / 50)).await,
            true if wait < 1500 => return Err(NoAnswer::Failed("SERVFAIL".into())),
            true => {
                tokio::time::sleep(Duration::from_secs(10 + wait / 50)).await;
                return Err(NoAnswer::Failed("it took too long".into()));
            }
        }
        Ok(())
    }

    fn dial(&self, peer: SocketAddr) -> Result<Box<dyn Stream>, Mood> {
        let mut inner = self.inner();
        let Some(host) = self.peers.get(&peer.ip()).filter(|_| peer.port() == 25) else {
            return Err(Mood::Refuses);
        };
        if host.mood() == Mood::Refuses || host.mood() == Mood::Silent || inner.disk.is_dead() {
            return Err(host.mood());
        }
        let percent = inner.wire_trouble;
        let faults = match inner.dice.percent(percent) {
            true => Faults::some(&mut inner.dice),
            false => Faults::none(&mut inner.dice),
        };
        let (ours, theirs, wire) = Wire::new(faults, UP, &inner.disk);
        inner.wires.push(wire.clone());
        self.ledger().dials.push(Dial {
            host: host.name.clone(),
            at: Instant::now(),
            wire: wire.clone(),
        });
        let dice = inner.dice.of();
        tokio::spawn(host.clone().serve(theirs, wire, dice));
        Ok(Box::new(ours))
    }
}

impl Net for World {
    fn connect(&self, peer: SocketAddr, _: Option<IpAddr>) -> Later<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let dialled = self.dial(peer);
            let how = dialled.as_ref().err().map(|mood| format!(": {mood:?}"));
            self.note(format!("dial {peer}{}", how.unwrap_or_default()));
            match dialled {
                Ok(stream) => Ok(stream),
                Err(Mood::Silent) => std::future::pending().await,
                Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }

    fn listen<'a>(&'a self, _: &'a Place) -> Later<'a, io::Result<Box<dyn Listener>>> {
        let (gate, calls) = mpsc::unbounded_channel();
        self.inner().gate = Some(gate);
        let listener = SimListener(tokio::sync::Mutex::new(calls));
        Box::pin(async { Ok(Box::new(listener) as Box<dyn Listener>) })
    }

    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(vec![here().ip()])
    }
}

struct SimListener(tokio::sync::Mutex<mpsc::UnboundedReceiver<Accepted>>);

impl Listener for SimListener {
    fn accept(&self) -> Later<'_, io::Result<Accepted>> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(accepted) => Ok(accepted),
                None => std::future::pending().await,
            }
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        Ok(here())
    }
}

/// More looks at the clock in one moment are a loop that waits for nothing.
const STILL_MAX: u32 = 300_000;

/// Where the server listens.
pub fn here() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 25))
}

/// Small files, so that all of the spool's life is seen in a few messages.
pub fn spool_limits() -> spool::Limits {
    spool::Limits {
        inline_bytes_max: 2000,
        file_bytes_max: 160 << 10,
        reserve_bytes: 64 << 10,
        checkpoint_after_bytes: 6000,
        ..spool::Limits::default()
    }
}
