//! The running server: everything that runs is started here, and ends here.
//!
//! Owns the wiring and the order of start, reload and end. Reads no command line, knows no signal and no user: see
//! `daemon`.

mod desk;
mod gate;
mod setup;
mod sts;
mod witnesses;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use spool::disk::{Disk, Folder};
use spool::{Drive, Spool};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::clients::Clients;
use crate::config::{Config, Listen, Role};
use crate::dispatch::{self, Dispatcher, Rules, Witnesses};
use crate::ledger::Ledger;
use crate::memory::Memory;
use crate::ports::{Listener, Place, Ports, within};
use crate::receive::{Phase, Reception};
use crate::spooling::off_the_async_threads;
use crate::sts::Policies;
use crate::tls::{Keyring, own};
pub use desk::ReloadAsked;
use gate::Gate;
pub use setup::{Setup, StartError};
use witnesses::Watching;

/// What every part that runs shares.
#[derive(Clone)]
pub struct Server {
    /// The configuration of now, with what follows from it. Changes at a reload.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// Messages that wait.
    pub spool: Arc<Spool>,
    /// The file of what is remembered of peers.
    pub memory: Memory,
    /// The MTA-STS policies of other domains.
    pub policies: Policies,
    /// Who sees what attempts find.
    pub witnesses: Witnesses,
    /// What is remembered of them.
    pub ledger: Ledger,
    /// What attempts are made by. Changes with the setup.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// The world.
    pub ports: Ports,
    /// Whether the server serves or ends. A part stops soon after it ends.
    pub phase: watch::Receiver<Phase>,
}

/// What lasts: the spool's disk, how the spool works on it, and the memory of peers.
pub struct Store {
    /// Where it keeps its files.
    pub disk: Arc<dyn Disk>,
    /// Its bounds.
    pub limits: spool::Limits,
    /// Who moves it on.
    pub drive: Drive,
    /// What is remembered of peers; none: its file in the data folder.
    pub memory: Option<Memory>,
}

/// A server that runs until it is shut down. Dropped, it stops at once.
pub struct Running {
    server: Server,
    setup: watch::Sender<Arc<Setup>>,
    phase: watch::Sender<Phase>,
    gates: Vec<Gate>,
    parts: JoinSet<&'static str>,
    keyring: Arc<Keyring>,
    clients: Arc<Mutex<Clients>>,
    slots: Arc<Semaphore>,
    dispatch: dispatch::Handle,
    rules: watch::Sender<Arc<Rules>>,
    reloads_asked: mpsc::Receiver<ReloadAsked>,
    started: SystemTime,
    watching: Watching,
}

/// Starts a server: listeners first, since they fail soonest, then keys, then the spool, then what works on it.
pub async fn start(config: Config, ports: Ports) -> Result<Running, StartError> {
    let folder = config.server.data_dir.spool();
    let disk = off_the_async_threads(move || {
        Folder::open(&folder).map_err(|error| StartError::folder(&folder, &error))
    })
    .await
    .ok_or(StartError::Ended)??;
    start_on(config, ports, Arc::new(disk)).await
}

/// As [`start`], with the spool on this disk.
pub async fn start_on(config: Config, ports: Ports, disk: Arc<dyn Disk>) -> Result<Running, StartError> {
    let store = Store {
        disk,
        limits: spool::Limits::default(),
        drive: Drive::Threads,
        memory: None,
    };
    start_with(config, ports, store).await
}

/// As [`start`], with all that is to be said of the spool. With [`Drive::Caller`] the caller is the spool's committer:
/// a 250 waits for its [`Spool::flush`].
pub async fn start_with(config: Config, ports: Ports, store: Store) -> Result<Running, StartError> {
    let listeners = listen_first(&config, &ports).await?;
    let policy_listeners = sts::listen(&config, &ports).await?;
    let addresses: Vec<SocketAddr> = listeners.iter().map(|opened| opened.address).collect();
    let setup = Arc::new(Setup::build(config, &addresses, &ports).await?);
    let keyring = Arc::new(Keyring::default());
    load_keys(&setup, &keyring, &ports).await;
    let given = store.memory.clone();
    let spool = open_spool(store, &setup).await?;
    let memory = open_memory(given, &setup).await?;
    let policies = sts::load(&setup, &memory, &ports).await?;
    let ledger = open_ledger(&memory, &setup, &ports).await?;
    let started = ports.clock.now();
    clean_mailboxes(&setup, started).await;
    let handshakes_max = setup.settings.config.limits.handshakes_max;
    let (setup, setups) = watch::channel(setup);
    let (witnesses, watching) = witnesses::open(&setups, &memory, &spool, &ports).await?;
    let rules = setup
        .borrow()
        .rules(&ports, &spool, &policies, &ledger, &witnesses, started);
    let (dispatcher, dispatch) = Dispatcher::new(ports.clone(), spool.clone(), rules.clone());
    let (phase, phases) = watch::channel(Phase::Serving);
    let slots = Arc::new(Semaphore::new(handshakes_max));
    let (rules, current) = watch::channel(rules);
    let (reloads, reloads_asked) = mpsc::channel(1);
    let server = Server {
        setup: setups,
        spool,
        memory,
        policies,
        witnesses,
        ledger,
        rules: current,
        ports,
        phase: phases,
    };
    let mut running = Running {
        server,
        setup,
        phase,
        gates: Vec::new(),
        parts: JoinSet::new(),
        keyring,
        clients: Arc::default(),
        slots,
        dispatch,
        rules,
        reloads_asked,
        started,
        watching,
    };
    running.open_parts(dispatcher, reloads, policy_listeners).await?;
    for opened in listeners {
        running.open(opened)?;
    }
    Ok(running)
}

impl Running {
    /// Starts what works beside the listeners.
    async fn open_parts(
        &mut self,
        dispatcher: Dispatcher,
        reloads: mpsc::Sender<ReloadAsked>,
        policy_listeners: Vec<Box<dyn Listener>>,
    ) -> Result<(), StartError> {
        let (server, parts) = (&self.server, &mut self.parts);
        desk::open(server, self.dispatch.clone(), reloads, parts).await?;
        sts::start(server, policy_listeners, &self.keyring, parts)?;
        parts.spawn(async {
            dispatcher.run().await;
            "dispatcher"
        });
        Ok(())
    }

    /// What the parts share.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it listens, in the configuration's order.
    pub fn addresses(&self) -> impl Iterator<Item = (Role, SocketAddr)> {
        self.gates.iter().map(|gate| (gate.role(), gate.address()))
    }

    /// The first address of a role.
    pub fn address_of(&self, role: Role) -> Option<SocketAddr> {
        self.addresses()
            .find(|(known, _)| *known == role)
            .map(|(_, address)| address)
    }

    /// Waits until someone at the control interface asks for a reload.
    pub async fn reload_asked(&mut self) -> ReloadAsked {
        match self.reloads_asked.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// Takes another configuration. Sessions go on as they began; what cannot be had is told and the old kept: where a
    /// listener cannot be opened, those that are no longer configured; a key that is broken. A configuration that makes
    /// no sense is refused whole.
    pub async fn reload(&mut self, config: Config) -> Result<(), StartError> {
        let now = self.setup.borrow().settings.clone();
        if config.server.data_dir != now.config.server.data_dir {
            return Err(StartError::DataDirMoved);
        }
        for key in setup::kept_until_restart(&now.config, &config) {
            tracing::warn!(
                key,
                "changed in the configuration: it counts from the next start on"
            );
        }
        let places = keyed(&config);
        let (fresh, lacking) = self.listen_anew(&places).await;
        // One that could not be opened may have been meant in the place of an old one: port 25 must not fall silent.
        let stay = |gate: &&Gate| lacking > 0 || places.iter().any(|(_, key)| gate.is_at(key));
        let kept = self.gates.iter().filter(stay).map(Gate::address);
        let addresses: Vec<SocketAddr> = kept.chain(fresh.iter().map(|opened| opened.address)).collect();
        let setup = Arc::new(Setup::build(config, &addresses, &self.server.ports).await?);
        let (stay, gone) = self.gates.drain(..).partition(|gate| stay(&gate));
        self.gates = stay;
        self.close(gone);
        load_keys(&setup, &self.keyring, &self.server.ports).await;
        let Server {
            ports,
            spool,
            policies,
            ledger,
            witnesses,
            ..
        } = &self.server;
        ledger.configure(&setup.settings.config.ledger);
        let rules = setup.rules(ports, spool, policies, ledger, witnesses, self.started);
        sts::tell(&setup);
        self.dispatch.reload(rules.clone()).await;
        self.rules.send_replace(rules);
        self.setup.send_replace(setup);
        self.renew_gates()?;
        for opened in fresh {
            tracing::info!(at = %opened.address, "listener opened");
            self.open(opened)?;
        }
        Ok(())
    }

    /// Opens what is not open yet; what cannot be opened is told, left out, and counted.
    async fn listen_anew(&self, places: &[(Listen, Key)]) -> (Vec<Opened>, usize) {
        let (mut fresh, mut lacking) = (Vec::new(), 0);
        for (listen, key) in places {
            if self.gates.iter().any(|gate| gate.is_at(key)) {
                continue;
            }
            match Opened::at(listen.clone(), key.clone(), &self.server.ports).await {
                Ok(opened) => fresh.push(opened),
                Err(because) => {
                    lacking += 1;
                    tracing::error!(%because, "listener not opened; those no longer configured stay open until a reload opens all");
                }
            }
        }
        (fresh, lacking)
    }

    /// Their sessions go on; the parts wait for them at the end.
    fn close(&mut self, gone: Vec<Gate>) {
        for gate in gone {
            tracing::info!(at = %gate.address(), "listener closed");
            self.parts.spawn(gate.close());
        }
    }

    /// Ends: no new clients, 421 to idle ones, messages on their way in may finish within `drain_wait` or until
    /// `hurry` is done; then everything handed over is synced.
    pub async fn shut_down(mut self, hurry: impl Future<Output = ()>) {
        let wait = self.setup.borrow().settings.config.limits.drain_wait;
        self.phase.send_replace(Phase::Draining);
        let clock = self.server.ports.clock.clone();
        let (gates, parts, dispatch) = (&mut self.gates, &mut self.parts, &self.dispatch);
        let ending = async {
            dispatch.stop().await;
            for gate in gates.iter_mut() {
                gate.ended().await;
            }
            while parts.join_next().await.is_some() {}
        };
        tokio::select! {
            biased;
            ended = within(&*clock, wait, ending) => if ended.is_none() {
                tracing::warn!(limit = "drain_wait", "sessions cut off");
            },
            () = hurry => tracing::warn!("sessions cut off"),
        }
        self.gates.clear();
        self.parts.shutdown().await;
        self.watching.end(&self.server.witnesses).await;
        let (spool, memory) = (self.server.spool.clone(), self.server.memory.clone());
        off_the_async_threads(move || {
            spool.close();
            memory.close();
        })
        .await;
    }

    fn open(&mut self, opened: Opened) -> Result<(), StartError> {
        let reception = self.reception(&opened.listen)?;
        let (phase, clock) = (self.server.phase.clone(), self.server.ports.clock.clone());
        self.gates.push(Gate::open(
            opened.key,
            opened.address,
            opened.listener,
            reception,
            phase,
            clock,
        ));
        Ok(())
    }

    /// Gives each listener what the configuration of now says of it.
    fn renew_gates(&mut self) -> Result<(), StartError> {
        let setup = self.setup.borrow().clone();
        for (listen, key) in keyed(&setup.settings.config) {
            let reception = self.reception(&listen)?;
            if let Some(gate) = self.gates.iter_mut().find(|gate| gate.is_at(&key)) {
                gate.renew(reception);
            }
        }
        Ok(())
    }

    fn reception(&self, listen: &crate::config::Listen) -> Result<Arc<Reception>, StartError> {
        let setup = self.setup.borrow().clone();
        let shared = setup::Shared {
            keyring: self.keyring.clone(),
            slots: self.slots.clone(),
            clients: self.clients.clone(),
            spool: self.server.spool.clone(),
            ports: self.server.ports.clone(),
        };
        setup.reception(listen, shared).map(Arc::new)
    }
}

async fn listen_first(config: &Config, ports: &Ports) -> Result<Vec<Opened>, StartError> {
    let mut listeners = Vec::new();
    for (listen, key) in keyed(config) {
        let opened = Opened::at(listen, key, ports).await;
        listeners.push(opened.map_err(StartError::Listen)?);
    }
    Ok(listeners)
}

/// By what a listener is known again after a reload: its place and, where several ask for any free port of one address,
/// the how manyth it is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    place: Place,
    nth: usize,
}

fn keyed(config: &Config) -> Vec<(Listen, Key)> {
    let places = config.places();
    let nth = |index: usize| {
        places[..index]
            .iter()
            .filter(|(_, place)| *place == places[index].1)
            .count()
    };
    let key = |index: usize| Key {
        place: places[index].1.clone(),
        nth: nth(index),
    };
    (0..places.len())
        .map(|index| (places[index].0.clone(), key(index)))
        .collect()
}

/// A listener that is open and not attended yet.
struct Opened {
    listen: Listen,
    key: Key,
    listener: Box<dyn Listener>,
    address: SocketAddr,
}

impl Opened {
    async fn at(listen: Listen, key: Key, ports: &Ports) -> io::Result<Opened> {
        let listener = ports.net.listen(&key.place).await?;
        Ok(Opened {
            listen,
            key,
            address: listener.address()?,
            listener,
        })
    }
}

/// Reads the certificates that the configuration names, or the self-made one. A broken key leaves the keys of before in
/// place; at the start that is none, and STARTTLS is not offered (RFC 3207 §3).
async fn load_keys(setup: &Setup, keyring: &Keyring, ports: &Ports) {
    let files = setup.settings.config.tls.certificate.clone();
    let folder = setup.settings.config.server.data_dir.tls();
    let mut names = vec![setup.settings.me.to_string(), "localhost".to_owned()];
    names.dedup();
    let now = ports.clock.now();
    let loaded = off_the_async_threads(move || {
        let files = if files.is_empty() {
            vec![own::ensure(&folder, &names, now)?]
        } else {
            files
        };
        crate::tls::Keys::load(&files, &crate::tls::provider())
    });
    match loaded.await {
        Some(Ok(keys)) => keyring.replace(keys),
        Some(Err(because)) if keyring.is_usable() => {
            tracing::error!(%because, "certificate or key cannot be used: the ones of before stay");
        }
        Some(Err(because)) => {
            tracing::error!(%because, "certificate or key cannot be used: TLS is not offered until a reload finds better ones");
        }
        None => {}
    }
}

/// Removes what a crash left half written in the Maildirs.
async fn clean_mailboxes(setup: &Setup, now: SystemTime) {
    let directory = setup.settings.directory.clone();
    match off_the_async_threads(move || crate::local::clean(&directory, now)).await {
        Some(Ok(0)) | None => {}
        Some(Ok(files)) => tracing::info!(files, "unfinished deliveries removed from the Maildirs"),
        Some(Err(because)) => tracing::error!(%because, "Maildirs not cleaned"),
    }
}

async fn open_memory(given: Option<Memory>, setup: &Setup) -> Result<Memory, StartError> {
    if let Some(memory) = given {
        return Ok(memory);
    }
    let path = setup.settings.config.server.data_dir.memory();
    let opened = off_the_async_threads(move || Memory::open(&path)).await;
    opened.ok_or(StartError::Ended)?.map_err(StartError::Memory)
}

async fn open_ledger(memory: &Memory, setup: &Setup, ports: &Ports) -> Result<Ledger, StartError> {
    let (memory, settings, clock) = (memory.clone(), setup.settings.clone(), ports.clock.clone());
    let open = move || Ledger::open(memory, &settings.config.ledger, &settings.me, clock);
    let opened = off_the_async_threads(open).await;
    opened.ok_or(StartError::Ended)?.map_err(StartError::Memory)
}

async fn open_spool(store: Store, setup: &Setup) -> Result<Arc<Spool>, StartError> {
    let lane_of = setup.lanes();
    let Store {
        disk, limits, drive, ..
    } = store;
    let opened = off_the_async_threads(move || Spool::open_driven(disk, limits, lane_of, drive)).await;
    let (spool, recovery) = opened.ok_or(StartError::Ended)?.map_err(StartError::Spool)?;
    tracing::info!(
        messages = recovery.messages,
        records = recovery.records,
        torn_bytes = recovery.torn_bytes,
        "spool opened"
    );
    for damage in &recovery.damaged {
        tracing::error!(
            file = damage.file,
            at = damage.offset,
            because = damage.why,
            kept_as = damage.name,
            "damaged record set aside"
        );
    }
    Ok(spool)
}
