//! A configuration with what follows from it: parsed tables, rules, routes, what each listener offers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use mail::{Mailbox, Recipient};
use smtp::server::{Service, StartTls, Verify};
use spool::{Lane, OpenError, Spool};
use tokio::sync::Semaphore;

use crate::admit::Policy;
use crate::clients::Clients;
use crate::config::listen::StartTls as Configured;
use crate::config::{Config, ConfigError, Listen};
use crate::control::{NoSocket, Settings};
use crate::dispatch::{Ground, Rules, Witnesses};
use crate::evidence::store::NotWritten;
use crate::ledger::Ledger;
use crate::local::{BadLocal, Directory};
use crate::memory::MemoryError;
use crate::ports::Ports;
use crate::receive::Reception;
use crate::route::{Own, Routes};
use crate::spooling::off_the_async_threads;
use crate::sts::Policies;
use crate::tls::{BadKey, ClientTls, Keyring, ServerTls};

/// One generation of the configuration. Never changes; a reload makes another.
pub struct Setup {
    /// The configuration, with defaults filled in; who is local; this host's name.
    pub settings: Arc<Settings>,
    /// Names and places of this host.
    pub own: Own,
    /// Handshakes with other servers.
    pub client_tls: ClientTls,
}

/// Why a server cannot start, or take a configuration. `Display` is one line for the operator.
#[derive(Debug)]
pub enum StartError {
    /// A listener cannot be opened.
    Listen(io::Error),
    /// The configuration makes no sense.
    Config(ConfigError),
    /// `[local]` makes no sense.
    Local(BadLocal),
    /// The control socket cannot be opened.
    Control(NoSocket),
    /// The files of evidence cannot be opened.
    Evidence(NotWritten),
    /// The spool cannot be opened.
    Spool(OpenError),
    /// The memory of peers cannot be opened.
    Memory(MemoryError),
    /// A folder cannot be used.
    Folder(String),
    /// The machine's addresses cannot be found out.
    Addresses(io::Error),
    /// The trusted roots cannot be read.
    Roots(BadKey),
    /// The cryptography refuses the configuration.
    Tls(rustls::Error),
    /// This host has no usable name.
    NoHost,
    /// A reload cannot move the data folder from under a running server.
    DataDirMoved,
    /// The runtime ended meanwhile.
    Ended,
}

/// What listeners share beside the configuration.
pub(super) struct Shared {
    pub(super) keyring: Arc<Keyring>,
    pub(super) slots: Arc<Semaphore>,
    pub(super) clients: Arc<Mutex<Clients>>,
    pub(super) spool: Arc<Spool>,
    pub(super) ports: Ports,
}

impl Setup {
    /// `listening` is where the server listens. Reads the alias file and the trusted roots.
    pub(super) async fn build(
        config: Config,
        listening: &[SocketAddr],
        ports: &Ports,
    ) -> Result<Setup, StartError> {
        let host = config.server.host.clone().ok_or(StartError::NoHost)?;
        let interfaces = ports.net.addresses().map_err(StartError::Addresses)?;
        let own = Own::new(
            vec![host.clone()],
            &config.server.addresses,
            &interfaces,
            listening,
        );
        let (ca_file, aliases) = (config.tls.ca_file.clone(), config.local.alias_file.clone());
        let (clock, shown) = (ports.clock.clone(), config.trust.certificate.clone());
        let read = off_the_async_threads(move || {
            let roots = ClientTls::load(ca_file.as_deref(), clock)
                .and_then(|tls| tls.showing(&shown))
                .map_err(StartError::Roots)?;
            let aliases = aliases.map_or(Ok(String::new()), |file| crate::config::read_text(&file));
            Ok((roots, aliases.map_err(StartError::Config)?))
        });
        let (client_tls, alias_lines) = read.await.ok_or(StartError::Ended)??;
        let directory = Directory::build(&config.local, &host, &config.server.data_dir.mail(), &alias_lines)
            .map_err(StartError::Local)?
            .with_addresses(addresses(&own));
        let directory = Arc::new(directory);
        let settings = Arc::new(Settings {
            config,
            directory,
            me: host,
        });
        Ok(Setup {
            settings,
            own,
            client_tls,
        })
    }

    /// What the dispatcher works by. `started` is when this process began.
    pub(super) fn rules(
        &self,
        ports: &Ports,
        spool: &Arc<Spool>,
        policies: &Policies,
        ledger: &Ledger,
        witnesses: &Witnesses,
        started: SystemTime,
    ) -> Arc<Rules> {
        policies.renew(&self.settings.config, self.client_tls.clone());
        let ground = Ground {
            me: self.settings.me.clone(),
            ports: ports.clone(),
            spool: spool.clone(),
            ledger: ledger.clone(),
            directory: self.settings.directory.clone(),
            tls: self.client_tls.clone(),
            own: self.own.clone(),
            policies: policies.clone(),
            started,
            witnesses: witnesses.clone(),
        };
        Arc::new(Rules::new(&self.settings.config, ground))
    }

    /// Which lane a recipient waits in, before there is a spool for [`Setup::rules`].
    pub(super) fn lanes(&self) -> impl Fn(&Recipient) -> Lane + Send + Sync + 'static {
        let local = self.settings.directory.clone();
        let is_local = Arc::new(move |mailbox: &Mailbox| local.is_local(mailbox));
        let routes = Routes::new(self.settings.config.route.clone(), self.own.clone(), is_local);
        move |recipient| routes.lane_of(recipient)
    }

    /// What one listener's sessions need.
    pub(super) fn reception(&self, listen: &Listen, shared: Shared) -> Result<Reception, StartError> {
        let limits = self.settings.config.limits.clone();
        let tls = ServerTls::new(
            shared.keyring,
            self.settings.config.tls.version_min,
            listen.client_certificates,
            shared.slots,
            limits.handshake_wait,
            shared.ports.clock.clone(),
        )
        .map_err(StartError::Tls)?;
        let starttls = match listen.starttls() {
            Configured::Absent => StartTls::Absent,
            Configured::Offered => StartTls::Offered,
            Configured::Demanded => StartTls::Demanded,
        };
        Ok(Reception {
            role: listen.role,
            host: self.settings.me.clone(),
            service: Arc::new(self.service(starttls)),
            service_without_tls: Arc::new(self.service(StartTls::Absent)),
            client_certificates: listen.client_certificates,
            tls,
            policy: Policy::new(&self.settings.config.server, self.settings.directory.clone()),
            directory: self.settings.directory.clone(),
            limits,
            spool: shared.spool,
            clients: shared.clients,
            ports: shared.ports,
        })
    }

    fn service(&self, starttls: StartTls) -> Service {
        let server = &self.settings.config.server;
        Service {
            host: self.settings.me.clone(),
            software: server.announce_software.then(|| "Sealpost".into()),
            starttls,
            verify: if server.verify {
                Verify::Served
            } else {
                Verify::Hidden
            },
            limits: self.settings.config.limits.session(),
        }
    }
}

impl StartError {
    pub(super) fn folder(path: &Path, error: &io::Error) -> StartError {
        StartError::Folder(format!("{}: cannot use this folder: {error}", path.display()))
    }
}

/// The changed keys that a reload leaves as they were, for the operator to know.
pub(super) fn kept_until_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("[server] user", old.server.user != new.server.user),
        ("[server] log", old.server.log != new.server.log),
        ("[dns]", old.dns != new.dns),
        (
            "[mta_sts] fetches_max",
            old.mta_sts.fetches_max != new.mta_sts.fetches_max,
        ),
        (
            "[mta_sts.own] listen",
            old.mta_sts.own.listen != new.mta_sts.own.listen,
        ),
        (
            "[evidence]",
            (old.evidence.keep, old.evidence.file_bytes_max)
                != (new.evidence.keep, new.evidence.file_bytes_max),
        ),
        (
            "[control] submit_socket",
            old.control.submit_socket != new.control.submit_socket,
        ),
        (
            "[limits] handshakes_max",
            old.limits.handshakes_max != new.limits.handshakes_max,
        ),
    ];
    let changed = changed.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(key, _)| key).collect()
}

/// The addresses whose literals are ours.
fn addresses(own: &Own) -> Vec<IpAddr> {
    let listening = own.listeners.iter().map(SocketAddr::ip);
    own.addresses.iter().copied().chain(listening).collect()
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Listen(error) => error.fmt(f),
            StartError::Config(error) => error.fmt(f),
            StartError::Local(error) => f.write_str(&error.0),
            StartError::Control(error) => error.fmt(f),
            StartError::Spool(error) => error.fmt(f),
            StartError::Evidence(error) => error.fmt(f),
            StartError::Memory(error) => error.fmt(f),
            StartError::Folder(what) => f.write_str(what),
            StartError::Addresses(error) => write!(f, "cannot find out this machine's addresses: {error}"),
            StartError::Roots(error) => error.fmt(f),
            StartError::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
            StartError::NoHost => {
                f.write_str("this machine's own name is no domain name: set host = \"…\" in [server]")
            }
            StartError::DataDirMoved => f.write_str(
                "[server] data_dir changes at a restart only: stop the server, move the folder, start it",
            ),
            StartError::Ended => f.write_str("the server was stopped while it started"),
        }
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reload_does_not_change_is_named() {
        let old = Config::default();
        let mut new = old.clone();
        new.limits.connections_max = 7;
        assert!(kept_until_restart(&old, &new).is_empty());
        new.limits.handshakes_max = 7;
        new.dns.attempts = 7;
        assert_eq!(
            kept_until_restart(&old, &new),
            ["[dns]", "[limits] handshakes_max"]
        );
    }
}
