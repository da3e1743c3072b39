//! Nouns of `trust` in plain words.

use std::time::Duration;

use trust::plan::Requirement;
use trust::{Bound, Claim, Demand, Origin, Source, dane, sts};

/// What is asked of a channel.
pub fn requirement(what: &Requirement) -> String {
    match what {
        Requirement::Encryption => "TLS, with any certificate".to_owned(),
        Requirement::Dane(records) => format!("a certificate that fits its {}", records.told()),
        Requirement::Chain(names) => format!("a trusted certificate for {}", list(names)),
        Requirement::Pin(keys) => match keys.len() {
            1 => "the pinned key".to_owned(),
            more => format!("one of {more} pinned keys"),
        },
        Requirement::Identity(identity) => {
            let mut ways = Vec::new();
            if let Some(records) = &identity.dane {
                ways.push(format!("a certificate that fits its {}", records.told()));
            }
            if !identity.names.is_empty() {
                ways.push(format!("a trusted certificate for {}", list(&identity.names)));
            }
            if !identity.known.is_empty() {
                ways.push("a key that it proved before".to_owned());
            }
            ways.join(", or ")
        }
        Requirement::Version(version) => format!("{version} or newer"),
        Requirement::Group(groups) => format!("a key exchange by {}", list(groups)),
    }
}

/// A demand, as the end of "mail goes …".
pub fn demand(demand: Demand) -> &'static str {
    match demand {
        Demand::None => "in clear: TLS is not even tried",
        Demand::Opportunistic => "inside TLS where that is offered, else in clear",
        Demand::Encrypted => "only inside TLS",
        Demand::Verified => "only inside TLS, and only to a host that proves who it is",
    }
}

/// Who asks, as a person would say it.
pub fn source(source: Source) -> &'static str {
    match source {
        Source::Default => "nobody in particular",
        Source::Policy => "your policy table",
        Source::Dane => "the host's TLSA records (DANE)",
        Source::Sts => "the domain's MTA-STS policy",
        Source::Ledger => "the ledger, by what the host has shown before",
        Source::Message => "the message itself",
    }
}

/// How the name of a host came to be known.
pub fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Proven => "proven by DNSSEC",
        Origin::Configured => "named in the configuration",
        Origin::Unproven => "named by DNS without proof",
    }
}

/// What DANE says.
pub fn dane(finding: &dane::Finding) -> String {
    match finding {
        dane::Finding::Unasked(why) => format!("not asked for: {why}"),
        dane::Finding::Absent => "it is proven that there is no TLSA record".to_owned(),
        dane::Finding::Published(records) if records.has_usable() => {
            format!("{}, proven by DNSSEC", records.told())
        }
        dane::Finding::Published(records) => format!("{}, none of them usable", records.told()),
        dane::Finding::Failed(why) => format!("could not be found out: {why}"),
    }
}

/// What MTA-STS says.
pub fn sts(finding: &sts::Finding) -> String {
    let lists = |listed| match listed {
        sts::Listed::Yes => "lists this host",
        sts::Listed::No => "does not list this host",
    };
    match finding {
        sts::Finding::Absent(None) => "no policy".to_owned(),
        sts::Finding::Absent(Some(why)) => why.to_string(),
        sts::Finding::Testing(held) => {
            format!("policy {}, only being tested, {}", held.id, lists(held.listed))
        }
        sts::Finding::Enforced(held) => format!("policy {}, in force, {}", held.id, lists(held.listed)),
    }
}

/// What the ledger says.
pub fn claim(claim: &Claim) -> String {
    let bound = match claim.bound {
        Bound::Nothing => "nothing is demanded because of what was seen before".to_owned(),
        Bound::Encrypted => "bound: it has always encrypted".to_owned(),
        Bound::Verified => match claim.keys.len() {
            0 => "bound: it has always proven who it is".to_owned(),
            1 => "bound: it has always proven who it is; 1 key is known".to_owned(),
            more => format!("bound: it has always proven who it is; {more} keys are known"),
        },
    };
    match &claim.relaxed {
        Some(relaxed) => format!("{bound}; relaxed: {relaxed}"),
        None => bound,
    }
}

/// A length of time as people say it.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(" or ")
}
