//! Alarms against a real file and a real web server: told though the server was killed in between, signed, tried again, in order,
//! once.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "outbound/mod.rs"]
mod outbound;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use mail::Host;
use outbound::{Wires, domain};
use rustls::RootCertStore;
use sealpost::alarm::{Bell, Ground, Teller, signature};
use sealpost::config::Config;
use sealpost::control::Settings;
use sealpost::evidence::Archive;
use sealpost::evidence::store::Limits;
use sealpost::memory::Memory;
use sealpost::ports::Ports;
use sealpost::real::clock::SystemClock;
use sealpost::real::fetch::Https;
use sealpost::real::net::SystemNet;
use sealpost::route::{Own, Routes};
use sealpost::tls::ClientTls;
use spool::{Filter, Folder, Lane, Spool};
use tokio::sync::Notify;
use trust::Source;
use trust::alarm::Round;

fn now() -> SystemTime {
    SystemTime::now()
}

/// What was posted: the signature, and the body.
type Posts = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// A web server that answers 500 to the first `failures` posts. Gives its URL.
async fn hook(failures: usize) -> (String, Posts) {
    let posts = Posts::default();
    let (seen, count) = (posts.clone(), Arc::new(Mutex::new(0)));
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let signed = headers["sealpost-signature"].to_str().unwrap().to_owned();
        let seconds = signed.strip_prefix("t=").unwrap().split(',').next().unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.parse().unwrap());
        assert_eq!(signature(b"secret", at, &body), signed);
        let mut count = count.lock().unwrap();
        *count += 1;
        if *count <= failures {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        seen.lock()
            .unwrap()
            .push((signed, serde_json::from_slice(&body).unwrap()));
        StatusCode::NO_CONTENT
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, posts)
}

struct House {
    memory: Memory,
    bell: Bell,
    spool: Arc<Spool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    work: Arc<Notify>,
    settings: Arc<Settings>,
    ports: Ports,
}

impl House {
    async fn open(folder: &Path, config: &str) -> House {
        let secret = folder.join("secret");
        std::fs::write(&secret, "secret\n").unwrap();
        let config = config.replace("SECRET", &secret.display().to_string());
        let config = Config::parse(&config, "test").unwrap();
        let me = domain("mail.own.example");
        let directory = Arc::new(sealpost::local::load(&config.local, &me, &folder.join("mail")).unwrap());
        let settings = Arc::new(Settings {
            config,
            directory,
            me,
        });
        let wires = Arc::new(Wires::default());
        let ports = Ports {
            dns: wires.clone(),
            net: Arc::new(SystemNet::default()),
            fetch: Arc::new(Https::new(
                wires,
                Arc::new(SystemNet::default()),
                Arc::new(SystemClock::new()),
            )),
            clock: Arc::new(SystemClock::new()),
        };
        let (place, chain) = (folder.join("memory.redb"), folder.join("evidence"));
        let memory = tokio::task::spawn_blocking(move || Memory::open(&place).unwrap())
            .await
            .unwrap();
        let limits = Limits {
            file_bytes_max: 1 << 20,
            keep: Duration::from_secs(86_400),
        };
        let (archive, writer) =
            Archive::open(Arc::new(Folder::open(&chain).unwrap()), limits, now()).unwrap();
        let disk = Arc::new(Folder::open(&folder.join("spool")).unwrap());
        let (spool, _) = Spool::open(disk, spool::Limits::default(), |_| Lane::new("all")).unwrap();
        let work = Arc::new(Notify::new());
        let own = settings.clone();
        let ground = Ground {
            memory: memory.clone(),
            archive,
            tally: Arc::default(),
            settings: Arc::new(move || own.clone()),
        };
        let ring = work.clone();
        let (bell, ringer) = tokio::task::spawn_blocking(move || Bell::open(ground, ring).unwrap())
            .await
            .unwrap();
        House {
            tasks: vec![tokio::spawn(writer.run()), tokio::spawn(ringer.run())],
            memory,
            bell,
            spool,
            work,
            settings,
            ports,
        }
    }

    fn tell(&mut self) {
        let (settings, clock) = (self.settings.clone(), self.ports.clock.clone());
        let teller = Teller {
            memory: self.memory.clone(),
            bell: self.bell.clone(),
            spool: self.spool.clone(),
            ports: self.ports.clone(),
            tls: Arc::new(move || ClientTls::trusting(RootCertStore::empty(), clock.clone())),
            settings: Arc::new(move || settings.clone()),
            tally: Arc::default(),
            work: self.work.clone(),
        };
        self.tasks.push(tokio::spawn(teller.run()));
    }

    async fn round(&self, lacks: bool) {
        let host = Host::parse("mx.a.example").unwrap();
        self.bell.round(round(&host, lacks)).await;
    }

    async fn end(self) {
        self.bell.close().await;
        for task in &self.tasks[2..] {
            task.abort();
        }
        for task in self.tasks {
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
        tokio::task::spawn_blocking(move || {
            self.memory.close();
            self.spool.close();
        })
        .await
        .unwrap();
    }
}

fn round(host: &Host, lacks: bool) -> Round {
    Round {
        domain: domain("a.example"),
        at: now(),
        hosts: vec![host.clone()],
        wanting: lacks
            .then(|| (host.clone(), Source::Ledger, "no TLS".into()))
            .into_iter()
            .collect(),
        sound: (!lacks).then(|| host.clone()).into_iter().collect(),
        holds: lacks,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

fn config(url: &str) -> String {
    format!("[alarm]\nwebhook = \"{url}\"\nsecret_file = \"SECRET\"\n")
}

fn events(posts: &Posts) -> Vec<String> {
    let posts = posts.lock().unwrap();
    posts
        .iter()
        .map(|(_, body)| body["event"].as_str().unwrap().to_owned())
        .collect()
}

/// What the killed process does: raises an alarm, and tells nobody before it is killed.
#[tokio::test]
async fn in_a_process_that_is_killed() {
    let Some(folder) = std::env::var_os("ALARM_FOLDER").map(PathBuf::from) else {
        return;
    };
    let house = House::open(&folder, &config("http://127.0.0.1:9/nobody")).await;
    for _ in 0..5 {
        house.round(true).await;
    }
    until("raised", || !house.bell.standing().is_empty()).await;
    // What stands is told only when it is kept; this work rings for the teller.
    house.work.notified().await;
    println!("raised");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_outlives_a_kill_and_is_told_once_at_its_begin_and_once_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_that_is_killed", "--nocapture"])
        .env("ALARM_FOLDER", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let raised = tokio::task::spawn_blocking(move || lines.any(|line| line.unwrap().contains("raised")));
    assert!(raised.await.unwrap());
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();

    let (url, posts) = hook(1).await;
    let mut house = House::open(folder.path(), &config(&url)).await;
    assert_eq!(house.bell.standing().len(), 1, "it stands");
    house.tell();
    house.round(true).await;
    // The first post fails; it is tried again.
    until("told", || events(&posts) == ["begin"]).await;
    house.round(true).await;
    house.round(false).await;
    until("told", || events(&posts) == ["begin", "end"]).await;
    house.end().await;

    let body = posts.lock().unwrap()[0].1.clone();
    assert_eq!(
        (body["kind"].as_str(), body["name"].as_str()),
        (Some("hosts"), Some("a.example"))
    );
    assert_eq!(body["hosts"]["mx.a.example"], "no TLS");
    assert_eq!(body["holds_mail"], true);
    assert_eq!(body["id"], posts.lock().unwrap()[1].1["id"]);

    // Another start has nothing to tell.
    let mut house = House::open(folder.path(), &config(&url)).await;
    assert!(house.bell.standing().is_empty());
    house.tell();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(events(&posts).len(), 2);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_to_operators_but_not_over_the_way_under_suspicion() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[alarm]\nmail = [\"ops@b.example\", \"ops@a.example\"]\n";
    let mut house = House::open(folder.path(), text).await;
    house.tell();
    house.round(true).await;
    let recipients = |house: &House| -> Vec<String> {
        let all = house.spool.list(&Filter::default(), None, 100);
        let recipients = all
            .iter()
            .flat_map(|message| &message.message.envelope.recipients);
        recipients
            .map(|recipient| recipient.mailbox.to_string())
            .collect()
    };
    until("spooled", || !recipients(&house).is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(recipients(&house), ["ops@b.example"]);
    let first = house.spool.list(&Filter::default(), None, 1).remove(0);
    assert_eq!(first.message.envelope.sender, mail::ReversePath::Null);
    house.round(false).await;
    until("told of the end", || recipients(&house).len() >= 2).await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_way_carries_it_whatever_is_under_suspicion() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[alarm]\nmail = [\"ops@a.example\"]\nvia = \"[192.0.2.9]:2525\"\n";
    let mut house = House::open(folder.path(), text).await;
    house.tell();
    house.round(true).await;
    let spool = house.spool.clone();
    until("spooled", || !spool.list(&Filter::default(), None, 1).is_empty()).await;
    let message = spool.list(&Filter::default(), None, 1).remove(0);
    let own = Own::new(vec![domain("mail.own.example")], &[], &[], &[]);
    let routes = Routes::new(house.settings.config.route.clone(), own, Arc::new(|_| false));
    let lane = routes.lane_of(&message.message.envelope.recipients[0]);
    assert!(
        lane.as_str().contains("192.0.2.9") && lane.as_str().contains("2525"),
        "{lane}"
    );
    house.end().await;
}
