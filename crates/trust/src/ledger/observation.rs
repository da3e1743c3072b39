//! What one session showed of a host, as far as it is remembered. Made from evidence; sessions that show nothing of the
//! peer (nothing answered, or we stayed clear by our own will) make none.

use std::net::SocketAddr;

use mail::{Domain, Fingerprint, Host, KeyPrint, TlsVersion};

use super::seconds::Second;
use crate::chain::{Named, Path};
use crate::evidence::Evidence;
use crate::judge::{Basis, Judged};
use crate::making::Origin;
use crate::plan::{Demand, Source};
use crate::shown::{Seen, WhyClear};

/// One session, or a host that was not dialled because of what is remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Whose mail the host was to take; the host itself for an address literal.
    pub domain: Box<str>,
    /// The host.
    pub host: Box<str>,
    /// When.
    pub at: Second,
    /// What it came to.
    pub showed: Showed,
    /// In plain words, where it was less than proof.
    pub words: Box<str>,
    /// Whether anyone vouches for the exchanger's name.
    pub vouched: Vouched,
    /// The facts, for people.
    pub facts: Facts,
}

/// What a session showed. Ordered by strength; the first two are told apart because a handshake may fail by accident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Showed {
    /// It was not dialled: its name is new, and a person has to say that it is right.
    NotTried,
    /// TLS came to nothing: 454, a broken handshake.
    Trouble,
    /// It offered no TLS.
    Clear,
    /// TLS, and nothing that proves who it is.
    Encrypted,
    /// TLS with a chain to a trusted root for its own name.
    Chain,
    /// TLS, and what is published of it (DANE, an MTA-STS policy in force) was met.
    Published,
}

/// Whether anyone vouches for the name of a mail exchanger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vouched {
    /// DNSSEC, an MTA-STS policy in force, or the operator.
    Yes,
    /// DNS alone.
    No,
}

/// The facts of a session, for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Where it was.
    pub address: Option<SocketAddr>,
    /// The version of TLS.
    pub version: Option<TlsVersion>,
    /// The cipher suite.
    pub cipher: Box<str>,
    /// The key exchange.
    pub group: Box<str>,
    /// The key.
    pub key: Option<KeyPrint>,
    /// The host's own certificate.
    pub certificate: Option<Fingerprint>,
    /// What the chain and the names came to.
    pub chain: Box<str>,
    /// What the TLSA records came to.
    pub dane: Outcome,
    /// What the MTA-STS policy came to.
    pub sts: Outcome,
    /// Which node saw it.
    pub node: Box<str>,
}

/// What became of a published demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Outcome {
    /// There was none.
    #[default]
    Unasked,
    /// It was met.
    Met,
    /// It was not.
    Failed,
    /// Something else failed before.
    Unknown,
}

impl Observation {
    /// What an attempt tells of the host; none if it tells nothing. `node` is this server's name in the memory.
    pub fn from_evidence(evidence: &Evidence, node: &str) -> Option<Observation> {
        let (showed, words): (Showed, Box<str>) = match (&evidence.seen, &evidence.tls_trouble) {
            (None, Some(trouble)) => (Showed::Trouble, trouble.text.clone()),
            (None, None) if evidence.source == Source::Ledger && evidence.address.is_none() => {
                (Showed::NotTried, "".into())
            }
            // Nothing answered; or we did not ask for TLS, so that its absence says nothing of the peer.
            (None, None) => return None,
            (Some(Seen::Clear(WhyClear::Earlier(_) | WhyClear::Unwanted)), _) => return None,
            (Some(Seen::Clear(WhyClear::NotOffered)), _) => (Showed::Clear, "TLS was not offered".into()),
            (Some(Seen::Tls { chain, .. }), _) => {
                let met = dane(evidence) == Outcome::Met || sts(evidence) == Outcome::Met;
                match (met, chain.proves_host()) {
                    (true, _) => (Showed::Published, "".into()),
                    (false, true) => (Showed::Chain, "".into()),
                    (false, false) => (Showed::Encrypted, chain.to_string().into()),
                }
            }
        };
        Some(Observation {
            domain: domain_key(evidence.domain.as_ref(), &evidence.host),
            host: evidence.host.to_string().into(),
            at: Second::of(evidence.ended),
            showed,
            words,
            vouched: vouched(evidence),
            facts: facts(evidence, node),
        })
    }
}

/// Under which name a hop's domain is remembered.
pub fn domain_key(domain: Option<&Domain>, host: &Host) -> Box<str> {
    match domain {
        Some(domain) => domain.as_str().into(),
        None => host.to_string().into(),
    }
}

fn dane(evidence: &Evidence) -> Outcome {
    let asked = asks(evidence, Source::Dane);
    match &evidence.judged {
        _ if !asked => Outcome::Unasked,
        Some(Judged::Sufficient(Basis::Dane(_))) => Outcome::Met,
        Some(Judged::Insufficient(unmet)) if unmet.by == Source::Dane => Outcome::Failed,
        Some(_) | None => Outcome::Unknown,
    }
}

fn sts(evidence: &Evidence) -> Outcome {
    match &evidence.judged {
        _ if !asks(evidence, Source::Sts) => Outcome::Unasked,
        Some(Judged::Sufficient(_)) => Outcome::Met,
        Some(Judged::Insufficient(unmet)) if unmet.by == Source::Sts => Outcome::Failed,
        Some(_) | None => Outcome::Unknown,
    }
}

/// Whether a source demanded proof.
fn asks(evidence: &Evidence, source: Source) -> bool {
    let mut reasons = evidence.reasons.iter();
    reasons.any(|reason| reason.source == source && reason.demand == Some(Demand::Verified))
}

fn vouched(evidence: &Evidence) -> Vouched {
    let by_name = match evidence.origin {
        Origin::Proven | Origin::Configured => true,
        Origin::Unproven => evidence.host.name().is_none(),
    };
    match by_name || asks(evidence, Source::Sts) {
        true => Vouched::Yes,
        false => Vouched::No,
    }
}

fn facts(evidence: &Evidence, node: &str) -> Facts {
    let mut facts = Facts {
        address: evidence.address,
        dane: dane(evidence),
        sts: sts(evidence),
        node: short(node),
        ..Facts::default()
    };
    if let Some(Seen::Tls { facts: tls, chain }) = &evidence.seen {
        facts.version = Some(tls.version);
        facts.cipher = short(&tls.cipher);
        facts.group = short(tls.group.as_deref().unwrap_or_default());
        facts.key = chain.key;
        facts.certificate = tls.chain.first().copied();
        let named = match chain.named {
            Named::Host => "",
            Named::Others(_) => ", other names",
            Named::Nobody => ", no names",
        };
        facts.chain = match &chain.path {
            Path::Trusted => short(&format!("trusted{named}")),
            Path::Flawed(_, why) => short(&format!("{why}{named}")),
            Path::Unchecked => short(&format!("unchecked{named}")),
        };
    }
    facts
}

/// Cut to what is remembered of foreign words.
pub(super) fn short(text: &str) -> Box<str> {
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => text[..end].into(),
        None => text.into(),
    }
}

/// Characters of foreign words that are remembered.
pub(super) const WORDS_MAX: usize = 80;
