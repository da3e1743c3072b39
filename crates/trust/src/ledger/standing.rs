//! How hosts and domains stand, and how one session changes that.
//!
//! `unknown → seen → bound(encrypted) → bound(verified)`, and suspect while sessions show less than the bound. Only sessions
//! that show as much confirm a bound; only time without any of them, or a person, ends one. Nothing that is shown does.

use std::fmt;
use std::time::Duration;

use mail::KeyPrint;

use super::course::{Binding, Course};
use super::exchangers::{Acquaintance, Exchangers, under};
use super::observation::{Facts, Showed, Vouched};
use super::seconds::Second;
use super::{Bound, Claim, MxChange};

/// What the rules of memory are made of: `[ledger]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// What binds a host.
    pub host: Binding,
    /// What binds a domain as a whole, so that its new hosts owe encryption too.
    pub domain: Binding,
    /// How long handshakes must have come to nothing, without one that did not, to be suspicious.
    pub trouble_over: Duration,
    /// What is done about mail exchangers under new names.
    pub mx_change: MxChange,
}

/// How a host of a domain stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostStanding {
    /// The first session.
    pub first: Second,
    /// The last one.
    pub last: Second,
    /// Its way to be bound to encryption.
    pub encrypted: Course,
    /// Its way to be bound to proof.
    pub verified: Course,
    /// Handshakes that came to nothing since the last that did not.
    pub trouble: Option<Spell>,
    /// Sessions that showed less than the bound since the last that showed enough.
    pub suspicion: Option<Suspicion>,
    /// Keys that it has shown.
    pub keys: Vec<KnownKey>,
    /// What the last session showed.
    pub showed: Option<Showed>,
    /// The facts of the last session.
    pub facts: Facts,
}

/// How a domain stands as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DomainStanding {
    /// The first session.
    pub first: Second,
    /// The last one.
    pub last: Second,
    /// Whether all its hosts encrypt.
    pub encrypted: Course,
    /// Whether all its hosts prove who they are.
    pub verified: Course,
    /// Under which names its exchangers stand.
    pub exchangers: Exchangers,
}

/// Sessions of one kind in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spell {
    /// When they began.
    pub since: Second,
    /// When the last was.
    pub last: Second,
    /// How many.
    pub sessions: u32,
}

/// Why a peer is suspect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspicion {
    /// The sessions.
    pub spell: Spell,
    /// What the first of them showed.
    pub showed: Box<str>,
}

/// A key that a host has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownKey {
    /// Which.
    pub print: KeyPrint,
    /// When last.
    pub last: Second,
    /// Whether a session that proved who it was showed it.
    pub proven: Proven,
}

/// Whether a key was shown with proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Proven {
    /// Never.
    No,
    /// Once at least.
    Yes,
}

/// Whether a person has lifted the demand for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leave {
    /// No.
    Strict,
    /// Yes: less than the bound is neither held nor suspicious.
    Relaxed,
    /// The other way round: a person wants the bound kept, and it does not decay.
    Kept,
}

/// One word for how a peer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// Never met, or too long ago.
    Unknown,
    /// Met, and not bound.
    Seen,
    /// Bound to encryption.
    Encrypted,
    /// Bound to proof.
    Verified,
    /// Showing less than it is bound to.
    Suspect,
}

impl HostStanding {
    /// What it is bound to by itself.
    pub fn bound(&self, now: Second, rules: &Rules) -> Bound {
        bound(&self.encrypted, &self.verified, now, &rules.host)
    }

    /// In one word.
    pub fn word(&self, now: Second, rules: &Rules) -> Word {
        match self.bound(now, rules) {
            _ if self.suspicion.is_some() => Word::Suspect,
            Bound::Verified => Word::Verified,
            Bound::Encrypted => Word::Encrypted,
            Bound::Nothing if self.last == Second(0) => Word::Unknown,
            Bound::Nothing => Word::Seen,
        }
    }

    /// Keys that proven sessions have shown.
    pub fn proven_keys(&self) -> impl Iterator<Item = KeyPrint> {
        let proven = self.keys.iter().filter(|key| key.proven == Proven::Yes);
        proven.map(|key| key.print)
    }
}

impl DomainStanding {
    /// What all its hosts are bound to.
    pub fn bound(&self, now: Second, rules: &Rules) -> Bound {
        bound(&self.encrypted, &self.verified, now, &rules.domain)
    }

    /// What a host owes that is not bound by itself. Encryption and not proof: a certificate for a new host's own name
    /// proves nothing where a forged answer can name the host, and many honest new hosts have none.
    pub fn owed(&self, now: Second, rules: &Rules) -> Bound {
        self.bound(now, rules).min(Bound::Encrypted)
    }
}

fn bound(encrypted: &Course, verified: &Course, now: Second, binding: &Binding) -> Bound {
    match (verified.is_bound(now, binding), encrypted.is_bound(now, binding)) {
        (true, _) => Bound::Verified,
        (false, true) => Bound::Encrypted,
        (false, false) => Bound::Nothing,
    }
}

/// What is asked of a host now.
pub fn claim(
    domain: &DomainStanding,
    host: &HostStanding,
    name: &str,
    vouched: Vouched,
    leave: Leave,
    now: Second,
    rules: &Rules,
) -> Claim {
    let rules = &effective(rules, leave);
    let own = host.bound(now, rules);
    let bound = own.max(domain.owed(now, rules));
    let since = match (bound, own) {
        (Bound::Nothing, _) => None,
        (Bound::Verified, _) => host.verified.since(),
        (Bound::Encrypted, Bound::Encrypted) => host.encrypted.since(),
        (Bound::Encrypted, _) => domain.encrypted.since(),
    };
    let strange = rules.mx_change == MxChange::Hold
        && leave != Leave::Relaxed
        && domain.exchangers.acquaintance(name, vouched) == Acquaintance::New;
    Claim {
        bound: if leave == Leave::Relaxed {
            Bound::Nothing
        } else {
            bound
        },
        since: since.map(Second::time),
        keys: host.proven_keys().collect(),
        relaxed: None,
        stranger: strange.then(|| under(name)),
    }
}

/// What a person keeps does not decay.
pub(super) fn effective(rules: &Rules, leave: Leave) -> Rules {
    let mut rules = *rules;
    if leave == Leave::Kept {
        rules.host.decay = Duration::MAX;
        rules.domain.decay = Duration::MAX;
    }
    rules
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Unknown => "unknown",
            Word::Seen => "seen",
            Word::Encrypted => "bound(encrypted)",
            Word::Verified => "bound(verified)",
            Word::Suspect => "suspect",
        })
    }
}

impl Default for Rules {
    fn default() -> Rules {
        let day = Duration::from_secs(86_400);
        let host = Binding {
            after: 3,
            over: day,
            apart: Duration::from_secs(4 * 3600),
            decay: 90 * day,
        };
        Rules {
            host,
            domain: Binding {
                over: 7 * day,
                ..host
            },
            trouble_over: Duration::from_secs(3600),
            mx_change: MxChange::Note,
        }
    }
}

/// Keys of a host that are remembered.
pub(super) const KEYS_MAX: usize = 8;
