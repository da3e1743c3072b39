//! Whether the resolver hands on what DNSSEC needs: looked at when the server starts, every hour, and by `check`.
//!
//! Tells a resolver that strips signatures from a single zone that is broken or attacked, and both from no network: for
//! each of them someone else must act.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mail::Domain;

use crate::ports::{Answer, Clock, Denial, Dns, Later, NoAnswer, RootKeys, together};

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The keys of the root.
    pub root: Result<RootKeys, NoAnswer>,
    /// Names that are known to be signed.
    pub names: Vec<(Domain, Shown)>,
}

/// What the look-up of a name that is known to be signed showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// An answer that validated.
    Proven,
    /// An answer that passes for one of an unsigned zone.
    Unsigned,
    /// No answer, or one that did not validate.
    Failed(Box<str>),
}

/// What that says of the resolver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Signed names validate.
    Works,
    /// It works, but these names, known to be signed, do not validate: their zones are broken, or someone interferes.
    Zones(Vec<Domain>),
    /// `dnssec = "off"`: nothing is validated.
    Off,
    /// It leaves signatures out: every signed zone fails.
    Strips,
    /// It hands on the root's keys, and nothing below them validates.
    Loses(Box<str>),
    /// The root's signatures do not fit the keys that are trusted here.
    Contradicts(Box<str>),
    /// With `dnssec = "upstream-ad"`: it does not validate.
    Believes,
    /// It does not answer.
    Unreachable(Box<str>),
}

/// Looks at the resolver.
pub async fn probe(dns: &dyn Dns, names: &[Domain]) -> Probe {
    let root = dns.root_keys().await;
    let asked = names
        .iter()
        .map(|name| -> Later<'_, Shown> { Box::pin(look_at(dns, name)) });
    let shown = together(asked.collect()).await;
    Probe {
        root,
        names: names.iter().cloned().zip(shown).collect(),
    }
}

async fn look_at(dns: &dyn Dns, name: &Domain) -> Shown {
    match dns.mx(name).await.map(|found| found.answer) {
        Ok(Answer::Secure(_)) => Shown::Proven,
        Err(NoAnswer::NoSuchName(Denial::Secure) | NoAnswer::NoRecords(Denial::Secure)) => Shown::Proven,
        Ok(Answer::Insecure(_)) | Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)) => Shown::Unsigned,
        Err(NoAnswer::Failed(why)) => Shown::Failed(why),
    }
}

/// What a probe says.
pub fn verdict(probe: &Probe) -> Verdict {
    match &probe.root {
        Ok(RootKeys::Unchecked) => Verdict::Off,
        Ok(RootKeys::Unsigned) => Verdict::Strips,
        Ok(RootKeys::Unvalidated) => Verdict::Believes,
        Ok(RootKeys::Contradicted(why)) => Verdict::Contradicts(why.clone()),
        Err(NoAnswer::Failed(why)) => Verdict::Unreachable(why.clone()),
        Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)) => Verdict::Strips,
        Ok(RootKeys::Proven) => below_the_root(&probe.names),
    }
}

fn below_the_root(names: &[(Domain, Shown)]) -> Verdict {
    let bad: Vec<&(Domain, Shown)> = names
        .iter()
        .filter(|(_, shown)| *shown != Shown::Proven)
        .collect();
    match bad.as_slice() {
        [] => Verdict::Works,
        // One name alone says as much about its zone as about the resolver.
        all if all.len() == names.len() && names.len() > 1 => Verdict::Loses(match &all[0].1 {
            Shown::Failed(why) => why.clone(),
            Shown::Proven | Shown::Unsigned => "they pass for unsigned".into(),
        }),
        some => Verdict::Zones(some.iter().map(|(name, _)| name.clone()).collect()),
    }
}

impl Verdict {
    /// Whether DANE can be relied on.
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Works | Verdict::Zones(_))
    }

    /// What to do about it; none where nothing is to be done.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Verdict::Works => None,
            Verdict::Zones(_) => Some(
                "mail to such domains waits; if it stays so for hours while others see nothing, someone interferes with your DNS",
            ),
            Verdict::Off => Some(
                "DANE is off: set dnssec = \"validate\" in [dns], with a resolver that hands on signatures",
            ),
            Verdict::Strips => Some(
                "mail to every signed domain waits until this is mended: name a resolver that hands on signatures in [dns] servers (unbound or knot-resolver on this machine do), or replace the forwarder or firewall that removes them",
            ),
            Verdict::Loses(_) => Some(
                "mail to signed domains waits until this is mended: the resolver or a firewall drops large or unusual answers; let UDP with EDNS and TCP through to it, or name another in [dns] servers",
            ),
            Verdict::Contradicts(_) => Some(
                "mail to every signed domain waits until this is mended: look at this machine's clock first, then at [dns] trust_anchor_file; if both are right, the answers are forged",
            ),
            Verdict::Believes => Some(
                "the resolver on this machine sets no AD bit: turn on its validation, or set dnssec = \"validate\" in [dns]",
            ),
            Verdict::Unreachable(_) => {
                Some("look at the network and at [dns] servers; mail waits until names can be looked up")
            }
        }
    }
}

/// Looks at the start and every hour, and says loudly what is wrong; once when it is right again.
pub async fn watch(dns: Arc<dyn Dns>, clock: Arc<dyn Clock>, names: Vec<Domain>) {
    let mut last = None;
    loop {
        let now = verdict(&probe(&*dns, &names).await);
        match (&now, &last) {
            (Verdict::Works, None) => tracing::info!("resolver: {now}"),
            (Verdict::Works, Some(Verdict::Works)) => {}
            (Verdict::Works, Some(_)) => tracing::info!("resolver: {now} again"),
            (Verdict::Zones(_) | Verdict::Off, last) if last.as_ref() == Some(&now) => {}
            (Verdict::Zones(_) | Verdict::Off, _) => {
                tracing::warn!(advice = now.advice(), "resolver: {now}");
            }
            _ => tracing::error!(advice = now.advice(), "resolver: {now}"),
        }
        last = Some(now);
        clock.sleep_until(clock.instant() + EVERY).await;
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Works => f.write_str("DNSSEC works"),
            Verdict::Zones(names) => {
                let names: Vec<&str> = names.iter().map(Domain::as_str).collect();
                write!(
                    f,
                    "DNSSEC works, but {} is known to be signed and does not validate",
                    names.join(", ")
                )
            }
            Verdict::Off => f.write_str("DNSSEC is off, and with it DANE"),
            Verdict::Strips => f.write_str("it leaves DNSSEC signatures out of its answers"),
            Verdict::Loses(why) => write!(
                f,
                "it hands on the root's signatures, but nothing below them validates: {why}"
            ),
            Verdict::Contradicts(why) => {
                write!(f, "the root's signatures do not fit the keys trusted here: {why}")
            }
            Verdict::Believes => {
                f.write_str("it does not validate, though dnssec = \"upstream-ad\" relies on that")
            }
            Verdict::Unreachable(why) => write!(f, "it does not answer: {why}"),
        }
    }
}

const EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Shown {
        Shown::Failed("bogus".into())
    }

    /// The verdict on these, with the advice that comes with it.
    fn check(root: Result<RootKeys, NoAnswer>, names: &[Shown], expected: &str, good: bool) {
        let name = |index: usize| Domain::parse(&format!("n{index}.example")).unwrap();
        let names = names.iter().cloned().enumerate();
        let probe = Probe {
            root,
            names: names.map(|(index, shown)| (name(index), shown)).collect(),
        };
        let verdict = verdict(&probe);
        assert!(verdict.to_string().starts_with(expected), "{verdict}: {probe:?}");
        assert_eq!(verdict.is_good(), good, "{verdict}");
        assert_eq!(verdict.advice().is_none(), verdict == Verdict::Works);
    }

    #[test]
    fn a_broken_resolver_is_told_from_a_broken_zone_and_from_no_network() {
        use Shown::{Proven, Unsigned};
        let proven = || Ok(RootKeys::Proven);
        check(proven(), &[], "DNSSEC works", true);
        check(proven(), &[Proven, Proven], "DNSSEC works", true);
        check(
            proven(),
            &[Proven, failed(), Proven],
            "DNSSEC works, but n1.example",
            true,
        );
        check(
            proven(),
            &[Proven, Unsigned],
            "DNSSEC works, but n1.example",
            true,
        );
        check(proven(), &[failed()], "DNSSEC works, but n0.example", true);
        check(proven(), &[failed(), Unsigned], "it hands on the root's", false);
        check(
            Ok(RootKeys::Unsigned),
            &[failed(), failed()],
            "it leaves DNSSEC signatures out",
            false,
        );
        let contradicted = RootKeys::Contradicted("expired".into());
        check(
            Ok(contradicted),
            &[failed()],
            "the root's signatures do not fit",
            false,
        );
        check(
            Ok(RootKeys::Unvalidated),
            &[Unsigned],
            "it does not validate",
            false,
        );
        check(Ok(RootKeys::Unchecked), &[Unsigned], "DNSSEC is off", false);
        let silent = NoAnswer::Failed("timeout".into());
        check(Err(silent), &[failed()], "it does not answer: timeout", false);
    }
}
