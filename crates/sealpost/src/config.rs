//! The configuration: TOML parsed once into types.
//!
//! Owns what may be configured, its defaults, and the words for what is wrong with it. Each section stands in a
//! file of its own. Opens the file itself and never what it names: certificates, sockets and folders are other modules' work.

pub mod server;
pub mod listen;
pub mod tls;
pub mod limits;
pub mod dns;
pub mod mta_sts;
pub mod route;
pub mod trust;
pub mod retry;
pub mod local;
pub mod ledger;
pub mod control;
pub mod evidence;
pub mod alarm;
pub mod units;
mod error;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ports::Place;
pub use error::ConfigError;
pub use listen::{Listen, Role};
pub use local::Domains;
pub use server::DataDir;

/// Everything an operator can decide. `Default` is what an empty file means.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this server is, where it keeps its files, and who may relay.
    pub server: server::Server,
    /// Where clients can connect.
    pub listen: Vec<Listen>,
    /// Certificates, and what is asked of clients.
    pub tls: tls::Tls,
    /// Bounds of sessions and clients.
    pub limits: limits::Limits,
    /// How names are looked up.
    pub dns: dns::Dns,
    /// Policies of other domains, and our own.
    pub mta_sts: mta_sts::MtaSts,
    /// Where mail goes that does not stay here.
    pub route: route::Route,
    /// What is demanded of other hosts.
    pub trust: trust::Trust,
    /// When it is tried again, and when it is given up.
    pub retry: retry::Retry,
    /// How peers are remembered.
    pub ledger: ledger::Ledger,
    /// Mail that stays here.
    pub local: local::Local,
    /// The operator's interface.
    pub control: control::Control,
    /// What is written down of each attempt.
    pub evidence: evidence::Evidence,
    /// Who hears when other hosts show less than they must.
    pub alarm: alarm::Alarm,
}

impl Config {
    /// Reads and checks a file. Relative paths in it are taken from its folder.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let mut config = Config::parse(&read_text(path)?, &path.display().to_string())?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Reads and checks a text; `file` is its name in messages. Paths stay as they are written.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| ConfigError::from_toml(file, text, &error))?;
        config.check().map_err(|what| ConfigError::whole(file, &what))?;
        let detour = |mailbox: &mail::Mailbox| Some((mailbox.clone(), config.alarm.via.clone()?));
        config.route.detours = config.alarm.mail.iter().filter_map(detour).collect();
        Ok(config)
    }

    /// What `serve` does without a configuration: a complete server on loopback whose mail all stays here.
    pub fn default_loopback() -> Config {
        let at = |port, role| Listen::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), role);
        let mut config = Config {
            listen: vec![
                at(2525, Role::Mx),
                at(2587, Role::Submission),
                at(2465, Role::Submissions),
            ],
            ..Config::default()
        };
        config.server.data_dir = DataDir::new("sealpost-data");
        config.server.relay_from = units::networks(&["127.0.0.0/8", "::1"]);
        config.server.check_sender_domain = false;
        config.local = local::Local::keep_everything();
        config
    }

    /// Every listener with the place to bind.
    pub fn places(&self) -> Vec<(Listen, Place)> {
        let place = |listen: &Listen| Some((listen.clone(), listen.place(&self.listen)?));
        self.listen.iter().filter_map(place).collect()
    }

    /// Whether mail can only come from this machine and never leaves it.
    pub fn is_loopback_only(&self) -> bool {
        self.local.domains == Domains::Every
            && self
                .listen
                .iter()
                .all(|listen| listen.address.is_some_and(|at| at.ip().is_loopback()))
    }

    /// What the types cannot say: rules between keys.
    fn check(&self) -> Result<(), String> {
        for (index, listen) in self.listen.iter().enumerate() {
            listen
                .check()
                .map_err(|what| format!("listener {} of [[listen]]: {what}", index + 1))?;
            let twin = self.listen[..index]
                .iter()
                .any(|other| other.is_same_place(listen));
            if let (true, Some(place)) = (twin, listen.place(&[])) {
                return Err(format!("two [[listen]] entries name {place}"));
            }
        }
        self.server.check()?;
        self.limits.check()?;
        self.mta_sts.check()?;
        self.route.check()?;
        self.ledger.check()?;
        self.trust.check()?;
        self.dns.check()?;
        self.alarm.check()?;
        self.tls.check()
    }

    fn resolve(&mut self, base: &Path) {
        let settle = |path: &mut PathBuf| *path = base.join(&*path);
        self.server.data_dir.settle(base);
        for certificate in &mut self.tls.certificate {
            settle(&mut certificate.chain);
            settle(&mut certificate.key);
            certificate.next_key.iter_mut().for_each(settle);
        }
        self.tls.ca_file.iter_mut().for_each(settle);
        self.local.paths().for_each(settle);
        self.trust.paths().for_each(settle);
        self.control.submit_socket.iter_mut().for_each(settle);
        self.alarm.secret_file.iter_mut().for_each(settle);
        self.dns.trust_anchor_file.iter_mut().for_each(settle);
    }
}

/// Reads a text that the configuration consists of. Blocks.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let name = path.display().to_string();
    std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(&name, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        Config::parse(text, "sealpost.toml")
            .map(|_| String::new())
            .unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn errors_are_one_line_with_place_and_nearest_name() {
        let rows = [
            (
                "[server]\nhots = \"a.example\"\n",
                "sealpost.toml:2:1: unknown key \"hots\" in [server]; did you mean \"host\"?",
            ),
            (
                "[sever]\n",
                "sealpost.toml:1:2: unknown key \"sever\"; did you mean \"server\"?",
            ),
            (
                "[[listen]]\naddress = \"127.0.0.1:25\"\nrole = \"mix\"\n",
                "sealpost.toml:3:8: unknown value \"mix\" in [[listen]]; did you mean \"mx\"?",
            ),
            (
                "[limits]\nzzzzzzzzzzzz = 1\n",
                "sealpost.toml:2:1: unknown key \"zzzzzzzzzzzz\" in [limits]",
            ),
            (
                "[limits]\nmessage_bytes_max = \"5 parsecs\"\n",
                "sealpost.toml:2:21: \"5 parsecs\" is no size; write one like \"50MiB\"",
            ),
            (
                "[limits]\ncommand_wait = \"soon\"\n",
                "sealpost.toml:2:16: \"soon\" is no length of time; write one like \"90s\", \"5m\" or \"4h\"",
            ),
            (
                "[server]\nhost = \"a..b\"\n",
                "sealpost.toml:2:8: \"a..b\" is no domain name: ",
            ),
            (
                "[server]\nrelay_from = [\"10.0.0.0/33\"]\n",
                "\"10.0.0.0/33\" is no network; write one like \"192.0.2.0/24\" or \"2001:db8::/32\"",
            ),
            ("[server\n", "sealpost.toml:1:8: "),
            (
                "[[listen]]\nrole = \"mx\"\n",
                "sealpost.toml: listener 1 of [[listen]]: it needs an address or the name of a socket",
            ),
            (
                "[[listen]]\naddress=\"127.0.0.1:25\"\n[[listen]]\naddress=\"127.0.0.1:25\"\n",
                "sealpost.toml: two [[listen]] entries name 127.0.0.1:25",
            ),
            (
                "[limits]\nrecipients_max = 5\n",
                "sealpost.toml: [limits] recipients_max = 5 is below 100, the least that RFC 5321 allows",
            ),
        ];
        for (text, expected) in rows {
            let error = error_of(text);
            assert!(error.contains(expected), "{text:?} gave {error:?}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn printing_and_parsing_give_the_same() {
        for config in [Config::default(), Config::default_loopback()] {
            let text = toml::to_string(&config).unwrap();
            assert_eq!(Config::parse(&text, "printed").unwrap(), config, "{text}");
        }
    }

    #[test]
    fn the_default_server_is_loopback_only() {
        assert!(Config::default_loopback().is_loopback_only());
        let mut open = Config::default_loopback();
        open.listen
            .push(Listen::at("0.0.0.0:2526".parse().unwrap(), Role::Mx));
        assert!(!open.is_loopback_only());
    }

    #[test]
    fn relative_paths_are_taken_from_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sealpost.toml");
        std::fs::write(
            &file,
            "[server]\ndata_dir = \"data\"\n[[tls.certificate]]\nchain = \"c.pem\"\nkey = \"/k.pem\"\n",
        )
        .unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.server.data_dir.path(), folder.path().join("data"));
        assert_eq!(config.tls.certificate[0].chain, folder.path().join("c.pem"));
        assert_eq!(config.tls.certificate[0].key, Path::new("/k.pem"));
    }
}
