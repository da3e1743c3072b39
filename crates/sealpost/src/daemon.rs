//! `sealpost serve`: the process around a server, from its configuration to its last signal.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use mail::Domain;
use tracing_subscriber::EnvFilter;
use trust::dane::Tlsa;

use crate::config::server::Log;
use crate::config::{Config, Role};
use crate::ports::{Answer, Clock, Dns, Later, Mx, NoAnswer, Ports, Resolved, TlsaQuestion, Txt};
use crate::real::clock::SystemClock;
use crate::real::dns::Resolve;
use crate::real::net::SystemNet;
use crate::serve::{self, Running};
use crate::system::{self, Asked, Signals, User};
use crate::{config, real, resolver};

/// Serves until a signal ends it. Without a configuration file: a complete server on loopback. What is wrong is said on
/// one line.
pub fn run(file: Option<&Path>) -> ExitCode {
    match prepare(file).and_then(|prepared| prepared.run(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            // There is nobody left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "sealpost: {what}");
            ExitCode::FAILURE
        }
    }
}

/// What needs rights or a process with one thread is done.
struct Prepared {
    config: Config,
    net: SystemNet,
}

fn prepare(file: Option<&Path>) -> Result<Prepared, String> {
    let config = read(file)?;
    start_log(config.server.log);
    let user = config
        .server
        .user
        .as_deref()
        .filter(|_| system::is_root())
        .map(User::find)
        .transpose()?;
    if system::is_root() && user.is_none() {
        may_stay_root(&config)?;
    }
    if config.listen.is_empty() {
        tracing::warn!("no [[listen]] in the configuration: nobody can hand mail in by SMTP");
    }
    system::prepare_data_dir(config.server.data_dir.path(), user.as_ref())?;
    let handed = system::handed_sockets().map_err(|error| format!("sockets from systemd: {error}"))?;
    let listens = config.places().into_iter().map(|(_, place)| place);
    let places: Vec<_> = listens.chain(config.mta_sts.places()).collect();
    let net = SystemNet::bind(&places, handed).map_err(|error| error.to_string())?;
    if let Some(user) = user {
        user.become_it()
            .map_err(|error| format!("cannot become user {}: {error}", user.name()))?;
    }
    Ok(Prepared { config, net })
}

/// A server that the network can reach must not be root after binding; one that only this machine can reach, on high
/// ports and with a folder of its own, may be tried out as root.
fn may_stay_root(config: &Config) -> Result<(), String> {
    if config.server.run_as_root || config.is_loopback_only() {
        tracing::warn!("running as root; nothing here needs that: any other user will do");
        return Ok(());
    }
    Err("will not serve as root: set user = \"sealpost\" in [server], or start it as another user (docs/configuration.md)".to_owned())
}

impl Prepared {
    fn run(self, file: Option<&Path>) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start threads: {error}"))?;
        runtime.block_on(self.serve(file))
    }

    async fn serve(self, file: Option<&Path>) -> Result<(), String> {
        let mut signals = Signals::catch().map_err(|error| format!("cannot catch signals: {error}"))?;
        let ports = real::ports(
            dns(&self.config)?,
            Arc::new(self.net),
            Arc::new(SystemClock::new()),
        );
        let clock = ports.clock.clone();
        let loopback = file.is_none();
        let watch = resolver_watch(&self.config, &ports);
        let running = serve::start(self.config, ports)
            .await
            .map_err(|error| error.to_string())?;
        greet(&running, loopback);
        system::notify_ready();
        let alive = tokio::spawn(stay_alive(clock));
        let watch = watch.map(tokio::spawn);
        let running = until_end(running, file, &mut signals).await;
        system::notify_stopping();
        tracing::info!("ending: SIGTERM once more to end at once");
        running
            .shut_down(async { while signals.next().await != Asked::End {} })
            .await;
        alive.abort();
        if let Some(watch) = watch {
            watch.abort();
        }
        tracing::info!("ended");
        Ok(())
    }
}

async fn until_end(mut running: Running, file: Option<&Path>, signals: &mut Signals) -> Running {
    loop {
        tokio::select! {
            biased;
            asked = signals.next() => match asked {
                Asked::End => return running,
                Asked::Reload => drop(reload(&mut running, file).await),
            },
            asked = running.reload_asked() => {
                let outcome = reload(&mut running, file).await;
                // Whoever asked may not wait any longer.
                let _ = asked.send(outcome);
            }
        }
    }
}

/// A configuration that cannot be used changes nothing. What went wrong is logged here, and said to who asked.
async fn reload(running: &mut Running, file: Option<&Path>) -> Result<(), String> {
    system::notify_reloading();
    let taken = match read(file) {
        Ok(config) => running.reload(config).await.map_err(|error| error.to_string()),
        Err(what) => Err(what),
    };
    match &taken {
        Ok(()) => tracing::info!("configuration and certificates read again"),
        Err(because) => tracing::error!(because, "not reloaded: the configuration of before stays"),
    }
    system::notify_ready();
    taken
}

fn read(file: Option<&Path>) -> Result<Config, String> {
    let mut config = match file {
        Some(file) => Config::load(file).map_err(|error| error.to_string())?,
        None => Config::default_loopback(),
    };
    config.server.host = Some(full_name(&config, system::host_name())?);
    Ok(config)
}

/// The name to greet with: the configured one, or the machine's own. Only full names appear in SMTP (RFC 5321 §2.3.5);
/// on loopback, alone, any name will do.
fn full_name(config: &Config, own: Option<Domain>) -> Result<Domain, String> {
    let alone = config.is_loopback_only();
    let full = |name: &Domain| alone || name.as_str().contains('.');
    let said = config.server.host.clone().or(own);
    said.filter(full).ok_or_else(|| {
        "this server needs a full name that others can look up: set host = \"mx.example.org\" in [server]"
            .to_owned()
    })
}

/// Tells systemd for as long as this runtime runs its tasks.
async fn stay_alive(clock: Arc<dyn Clock>) {
    let Some(every) = system::alive_every() else {
        return;
    };
    loop {
        system::notify_alive();
        clock.sleep_until(clock.instant() + every).await;
    }
}

/// Without a configuration nothing leaves this machine, so that a machine without any resolver can try it.
fn dns(config: &Config) -> Result<Arc<dyn Dns>, String> {
    match Resolve::new(&config.dns) {
        Ok(resolve) => Ok(Arc::new(resolve)),
        Err(_) if config.is_loopback_only() => Ok(Arc::new(NoDns)),
        Err(error) => Err(error.to_string()),
    }
}

/// Looks at the resolver from time to time, but where nothing leaves this machine and no resolver is named.
fn resolver_watch(config: &Config, ports: &Ports) -> Option<impl Future<Output = ()> + use<>> {
    let unneeded = config.is_loopback_only() && config.dns == config::dns::Dns::default();
    let (dns, clock) = (ports.dns.clone(), ports.clock.clone());
    (!unneeded).then(|| resolver::watch(dns, clock, config.dns.known_signed()))
}

struct NoDns;

impl Dns for NoDns {
    fn mx<'a>(&'a self, _: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("this machine has no resolver".into())) })
    }

    fn addresses<'a>(
        &'a self,
        _: &'a Domain,
    ) -> Later<'a, Result<Resolved<Vec<std::net::IpAddr>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("this machine has no resolver".into())) })
    }

    fn tlsa<'a>(&'a self, _: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("this machine has no resolver".into())) })
    }

    fn txt<'a>(&'a self, _: &'a str, _: &'a Domain) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
        Box::pin(async { Err(NoAnswer::Failed("this machine has no resolver".into())) })
    }
}

/// Where it listens and, without a configuration, what to try.
fn greet(running: &Running, loopback: bool) {
    for (role, address) in running.addresses() {
        tracing::info!(%address, ?role, "listening");
    }
    if !loopback {
        return;
    }
    let mut text =
        String::from("\nSealpost serves this machine only: every domain is local, nothing is sent out.\n\n");
    for (role, address) in running.addresses() {
        let what = match role {
            Role::Mx => "SMTP",
            Role::Submission => "submission (STARTTLS)",
            Role::Submissions => "submission (TLS first)",
        };
        text.push_str(&format!("  {what:<24}{address}\n"));
    }
    let data = running
        .server()
        .setup
        .borrow()
        .settings
        .config
        .server
        .data_dir
        .path()
        .display()
        .to_string();
    text.push_str(&format!("  {:<24}{data}\n\nTry, in a second terminal:\n", "data"));
    if let Some(address) = running.address_of(Role::Mx) {
        text.push_str(&format!(
            "  swaks --server {address} --tls --from me@example.org --to you@anything.test\n"
        ));
    }
    text.push_str("  sealpost mail list\n\nCtrl-C ends it.\n\n");
    // A terminal that is gone does not end a server.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// To standard error, where systemd's journal and a terminal read it. `SEALPOST_LOG=debug` says more.
fn start_log(form: Log) {
    // The resolver's own warnings are raw packets; what they come to stands in our line on the attempt.
    let filter = EnvFilter::try_from_env("SEALPOST_LOG").unwrap_or_else(|_| {
        EnvFilter::new("info,hickory_proto=error,hickory_net=error,hickory_resolver=error")
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr);
    // Started twice only in tests.
    let _ = match form {
        Log::Text => builder.try_init(),
        Log::Json => builder.json().flatten_event(true).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves: 5321-4.1.1.1-3
    #[test]
    fn a_server_for_others_has_a_full_name_or_does_not_start() {
        let named = |name: &str| Domain::parse(name).ok();
        let with = |name: &str| {
            let mut config = Config::default();
            config.listen = vec![crate::config::Listen::at(([0, 0, 0, 0], 25).into(), Role::Mx)];
            config.server.host = named(name);
            config
        };
        let full = |config: &Config, own: &str| full_name(config, named(own)).map(|name| name.to_string());
        assert_eq!(
            full(&with("mx.example.org"), "box"),
            Ok("mx.example.org".to_owned())
        );
        assert_eq!(
            full(&with(""), "box.example.org"),
            Ok("box.example.org".to_owned())
        );
        for (configured, own) in [("", "box"), ("", ""), ("mail", "box.example.org")] {
            let error = full(&with(configured), own).unwrap_err();
            assert!(error.contains("set host"), "{error}");
        }
        assert_eq!(full(&Config::default_loopback(), "box"), Ok("box".to_owned()));
    }
}
