//! A server on loopback ports of its own, a client that speaks line by line, and names from a table.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses its own part

pub mod client;
pub mod hours;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use mail::{Domain, MessageId};
use sealpost::config::{Config, DataDir, Domains, Listen, Role};
use sealpost::ports::{Answer, Denial, Dns, Later, Mx, NoAnswer, Ports, Resolved, TlsaQuestion, Txt};
use sealpost::real::clock::SystemClock;
use sealpost::real::net::SystemNet;
use sealpost::serve::{self, Running};
use tempfile::TempDir;
use trust::dane::Tlsa;

pub use client::Client;

/// The domain whose mail the test server takes.
pub const LOCAL: &str = "here.example";

/// A running server with a data folder of its own.
pub struct Site {
    pub running: Running,
    pub folder: TempDir,
}

/// `here.example` with the user ann, a listener of each role on a free port, strangers on 127.0.0.1.
pub fn config() -> (Config, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.listen = [Role::Mx, Role::Submission, Role::Submissions]
        .map(|role| Listen::at(free, role))
        .to_vec();
    config.server.host = Some(Domain::parse("mx.here.example").unwrap());
    config.server.data_dir = DataDir::new(folder.path());
    config.local.domains = Domains::These(vec![Domain::parse(LOCAL).unwrap()]);
    config.local.mailboxes = sealpost::config::local::Mailboxes::Named(BTreeMap::from([
        ("ann".to_owned(), None),
        ("bea".to_owned(), None),
    ]));
    (config, folder)
}

/// All clients on loopback may relay.
pub fn friends(config: &mut Config) {
    config.server.relay_from = ["127.0.0.0/8", "::1"]
        .map(|text| sealpost::config::units::Network::parse(text).unwrap())
        .to_vec();
}

impl Site {
    /// With [`config`] as it stands.
    pub async fn plain() -> Site {
        Site::with(|_| {}).await
    }

    /// With some keys changed.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Site {
        let (mut config, folder) = config();
        change(&mut config);
        let running = serve::start(config, ports()).await.unwrap();
        Site { running, folder }
    }

    pub fn address(&self, role: Role) -> SocketAddr {
        self.running.address_of(role).unwrap()
    }

    pub fn setup(&self) -> Arc<serve::Setup> {
        self.running.server().setup.borrow().clone()
    }

    /// A client of the MX listener that has read the greeting.
    pub async fn mx(&self) -> Client {
        Client::greeted(self.address(Role::Mx)).await
    }

    /// The content of a message that still waits, by the reply that took it in.
    pub async fn content(&self, kept: &str) -> String {
        let id = MessageId::parse(kept.rsplit(' ').next().unwrap().trim()).unwrap();
        let spool = self.running.server().spool.clone();
        tokio::task::spawn_blocking(move || {
            let mut body = spool.read_body(id).unwrap();
            let (mut all, mut piece) = (Vec::new(), [0; 4096]);
            loop {
                match body.read(&mut piece).unwrap() {
                    0 => return String::from_utf8(all).unwrap(),
                    count => all.extend_from_slice(&piece[..count]),
                }
            }
        })
        .await
        .unwrap()
    }

    pub fn tls_folder(&self) -> PathBuf {
        self.setup().settings.config.server.data_dir.tls()
    }
}

pub fn ports() -> Ports {
    let (net, clock) = (SystemNet::default(), SystemClock::new());
    sealpost::real::ports(Arc::new(Names::default()), Arc::new(net), Arc::new(clock))
}

/// Names that exist; every other look-up fails, so that mail for elsewhere stays in the spool.
#[derive(Default)]
pub struct Names {
    pub mx: BTreeMap<Domain, Result<Vec<Mx>, NoAnswer>>,
}

impl Names {
    pub fn null_mx(mut self, domain: &str) -> Names {
        let null = Mx {
            preference: 0,
            exchange: None,
        };
        self.mx.insert(Domain::parse(domain).unwrap(), Ok(vec![null]));
        self
    }

    pub fn absent(mut self, domain: &str) -> Names {
        self.mx.insert(
            Domain::parse(domain).unwrap(),
            Err(NoAnswer::NoSuchName(Denial::Unproven)),
        );
        self
    }

    pub fn real(mut self, domain: &str) -> Names {
        let mx = Mx {
            preference: 0,
            exchange: Some(Domain::parse(&format!("mx.{domain}")).unwrap()),
        };
        self.mx.insert(Domain::parse(domain).unwrap(), Ok(vec![mx]));
        self
    }
}

impl Dns for Names {
    fn mx<'a>(&'a self, domain: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>> {
        let found = self
            .mx
            .get(domain)
            .cloned()
            .unwrap_or(Err(NoAnswer::Failed("no such entry in the test".into())));
        Box::pin(async { found.map(|found| Resolved::insecure(domain, found)) })
    }

    fn addresses<'a>(&'a self, _: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("no such entry in the test".into())) })
    }

    fn tlsa<'a>(&'a self, _: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("no such entry in the test".into())) })
    }

    fn txt<'a>(&'a self, _: &'a str, _: &'a Domain) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("no such entry in the test".into())) })
    }
}
