//! A control interface on a real socket, over a real spool, in a folder that goes with it.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // helpers of several tests

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::{Domain, Recipient};
use sealpost::config::Config;
use sealpost::control::client::Client;
use sealpost::control::queue::Done;
use sealpost::control::{Desk, Private, Problem, Public, Settings};
use sealpost::local::{self, Office};
use sealpost::ports::{Clock, Later};
use spool::{Folder, Lane, Leased, Limits, Notices, Spool};

/// A server's inside, without its listeners.
pub struct House {
    pub folder: tempfile::TempDir,
    pub spool: Arc<Spool>,
    pub office: Office,
    pub desk: Desk,
    /// What was given up, by name.
    pub given_up: Arc<std::sync::Mutex<Vec<String>>>,
}

/// A clock that stands still, and dice that count.
pub struct Still(AtomicU64);

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
    fn instant(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
    fn sleep_until(&self, _: std::time::Instant) -> Later<'static, ()> {
        Box::pin(std::future::ready(()))
    }
    fn roll(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Builds it from a configuration.
pub fn house(text: &str) -> House {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::parse(text, "test").unwrap();
    let me = Domain::parse("mx.example").unwrap();
    let directory = Arc::new(local::load(&config.local, &me, &folder.path().join("mail")).unwrap());
    let disk = Arc::new(Folder::open(&folder.path().join("spool")).unwrap());
    let served = Arc::clone(&directory);
    let lane_of = move |to: &Recipient| match served.is_local(&to.mailbox) {
        true => Lane::new("local"),
        false => Lane::new("away"),
    };
    let (spool, _) = Spool::open(disk, Limits::default(), lane_of).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(Still(0.into()));
    let memory = sealpost::memory::Memory::in_memory().unwrap();
    let ledger = sealpost::ledger::Ledger::open(memory, &config.ledger, &me, clock.clone()).unwrap();
    let settings = Arc::new(Settings {
        config,
        directory: Arc::clone(&directory),
        me: me.clone(),
    });
    let given_up = Arc::new(std::sync::Mutex::new(Vec::new()));
    let book = Arc::clone(&given_up);
    let desk = Desk {
        spool: Arc::clone(&spool),
        ledger,
        clock: Arc::clone(&clock),
        witnesses: sealpost::dispatch::Witnesses::none(),
        settings: Arc::new(move || Arc::clone(&settings)),
        reload: Arc::new(|| Err("sealpost.toml:1:1: unknown key".to_owned())),
        give_up: Arc::new(move |id, cause| {
            book.lock().unwrap().push(format!("{id}: {}", cause.text));
            Ok(Done {
                messages: 1,
                in_flight: 0,
            })
        }),
        explain: Arc::new(|_| Box::pin(async { Err(Problem::later("nothing to explain here")) })),
        try_again: Arc::new(|| Box::pin(async {})),
    };
    let office = Office {
        directory,
        spool: Arc::clone(&spool),
        me,
        started: UNIX_EPOCH,
        clock,
    };
    House {
        folder,
        spool,
        office,
        desk,
        given_up,
    }
}

/// Keeps everything, as a server without a configuration.
pub const KEEP_ALL: &str = "[local]\ndomains = \"*\"\nmailboxes = \"any\"\n";

impl House {
    /// Opens the control socket and answers there until the test ends.
    pub async fn open(&self) -> Client {
        self.open_at(&self.folder.path().join("control.sock")).await
    }

    /// As `open`, with the socket elsewhere.
    pub async fn open_at(&self, socket: &Path) -> Client {
        let listener = Private::open(socket).await.unwrap();
        tokio::spawn(listener.serve(self.desk.clone(), std::future::pending()));
        Client::at(socket)
    }

    /// Opens the socket for submission alone.
    pub async fn open_public(&self) -> Client {
        let socket = self.folder.path().join("submit.sock");
        let listener = Public::open(&socket).await.unwrap();
        tokio::spawn(listener.serve(self.desk.clone(), std::future::pending()));
        Client::at(socket)
    }

    pub fn lease(&self, lane: &str) -> Option<Leased> {
        self.spool
            .take(self.office.clock.now(), &|found| found.as_str() == lane)
    }

    /// Delivers all that waits for local recipients.
    pub fn deliver(&self) -> usize {
        let mut delivered = 0;
        while let Some(leased) = self.lease("local") {
            let outcome = self
                .office
                .deliver(&leased, &|_| self.office.clock.now() + Duration::from_secs(600));
            delivered += outcome
                .statuses
                .iter()
                .filter(|status| status.is_settled())
                .count();
            leased
                .settle(
                    self.office.clock.now(),
                    outcome.statuses,
                    outcome.offspring,
                    Notices::default(),
                )
                .unwrap();
        }
        delivered
    }

    pub fn files(&self, user: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join("mail").join(user).join("new");
        let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        files.sort();
        files
    }
}

/// The content of a leased message.
pub fn content(leased: &Leased) -> Vec<u8> {
    let mut content = Vec::new();
    let mut body = leased.body().unwrap();
    let mut piece = [0; 4096];
    loop {
        match body.read(&mut piece).unwrap() {
            0 => return content,
            read => content.extend_from_slice(&piece[..read]),
        }
    }
}
