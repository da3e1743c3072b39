//! `[ledger]`: how peers are remembered.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trust::ledger::{Binding, MxChange, Rules};

use super::units;

/// `[ledger]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// How many sessions in a row that showed the same bind a host to it.
    pub bind_after: u16,
    /// How long the first and the last of them are apart at least.
    #[serde(with = "units::duration")]
    pub bind_over: Duration,
    /// Sessions closer together count once.
    #[serde(with = "units::duration")]
    pub bind_apart: Duration,
    /// How long all hosts of a domain must have encrypted, for its new hosts to owe encryption too.
    #[serde(with = "units::duration")]
    pub domain_over: Duration,
    /// How long a bound lasts without a session that confirms it.
    #[serde(with = "units::duration")]
    pub decay: Duration,
    /// How long handshakes must fail, without one that does not, to be suspicious.
    #[serde(with = "units::duration")]
    pub trouble_over: Duration,
    /// What is done about mail exchangers under a new registered name, where neither DNSSEC nor MTA-STS vouches for them:
    /// `note` it, raise an `alarm`, or `hold` mail until a person says `sealpost ledger keep DOMAIN`.
    pub mx_change: OnMxChange,
    /// The longest that a person can relax a demand for.
    #[serde(with = "units::duration")]
    pub relax_max: Duration,
    /// The longest that a person can have a standing kept for without confirmation.
    #[serde(with = "units::duration")]
    pub keep_max: Duration,
    /// Hosts that are kept in main memory; all others are read from the disk when they are needed.
    pub cached_hosts_max: usize,
    /// This server's name in what it remembers; its host name if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// See [`Ledger::mx_change`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMxChange {
    /// It is written to the log.
    #[default]
    Note,
    /// An alarm is raised too.
    Alarm,
    /// Such hosts are not used until a person says that they are right.
    Hold,
}

impl Ledger {
    /// The rules of memory.
    pub fn rules(&self) -> Rules {
        let host = Binding {
            after: self.bind_after,
            over: self.bind_over,
            apart: self.bind_apart,
            decay: self.decay,
        };
        Rules {
            host,
            domain: Binding {
                over: self.domain_over,
                ..host
            },
            trouble_over: self.trouble_over,
            mx_change: match self.mx_change {
                OnMxChange::Note => MxChange::Note,
                OnMxChange::Alarm => MxChange::Alarm,
                OnMxChange::Hold => MxChange::Hold,
            },
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let node = self.node.as_deref().unwrap_or("node");
        let printable =
            !node.is_empty() && node.len() <= 64 && node.bytes().all(|octet| octet.is_ascii_graphic());
        match self {
            _ if self.bind_after < 2 => Err(format!(
                "[ledger] bind_after = {}: one forged answer could bind; use 2 or more",
                self.bind_after
            )),
            _ if self.bind_apart.is_zero() || self.bind_over < self.bind_apart => {
                Err("[ledger] bind_over is shorter than bind_apart, or that is no time at all".to_owned())
            }
            _ if self.domain_over < self.bind_over => {
                Err("[ledger] domain_over is shorter than bind_over".to_owned())
            }
            _ if self.decay < self.domain_over => {
                Err("[ledger] decay is shorter than domain_over: nothing would ever be bound".to_owned())
            }
            _ if !printable => Err(format!(
                "[ledger] node = {node:?}: use up to 64 printable characters"
            )),
            _ => Ok(()),
        }
    }
}

impl Default for Ledger {
    fn default() -> Ledger {
        let rules = Rules::default();
        let day = Duration::from_secs(86_400);
        Ledger {
            bind_after: rules.host.after,
            bind_over: rules.host.over,
            bind_apart: rules.host.apart,
            domain_over: rules.domain.over,
            decay: rules.host.decay,
            trouble_over: rules.trouble_over,
            mx_change: OnMxChange::Note,
            relax_max: 30 * day,
            keep_max: 730 * day,
            cached_hosts_max: 65_536,
            node: None,
        }
    }
}
