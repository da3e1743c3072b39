//! Makes the plan for one host from all that is known of it.
//!
//! All that is asked counts at once, so that the strictest wins; where a standard says otherwise, what gives way is left
//! out: MTA-STS before DANE (RFC 8461 §2), what is published before `TLS-Required: No` (RFC 8689 §4.2).

use std::sync::Arc;

use mail::{Domain, Host, Pattern, TlsWish};

use crate::dane::{self, Records};
use crate::ledger::{Bound, Claim};
use crate::plan::{Asked, Avoid, Demand, Identity, Plan, Reason, Requirement, Source, Vouched, WhyAvoid};
use crate::policy::{Proofs, Rule};
use crate::sts::{self, Listed};

/// Everything that the plan for one host is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The host to dial.
    pub host: &'a Host,
    /// The domain whose mail it takes; none for an address literal.
    pub domain: Option<&'a Domain>,
    /// How the host's name came to be known.
    pub origin: Origin,
    /// What the message asks.
    pub wish: TlsWish,
    /// The policy rule for it, if there is one.
    pub rule: Option<&'a Rule>,
    /// Its TLSA records.
    pub dane: &'a dane::Finding,
    /// The domain's policy.
    pub sts: &'a sts::Finding,
    /// What is remembered.
    pub claim: &'a Claim,
}

/// How the name of a host came to be known, which says whether a certificate for that name proves anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// DNSSEC vouches for the record that named it, or it is the recipient's domain itself.
    Proven,
    /// The operator named it.
    Configured,
    /// DNS named it without proof.
    Unproven,
}

impl Plan {
    /// Makes the plan from all that is known, or says why the host must not be used.
    pub fn make(inputs: &Inputs<'_>) -> Result<Plan, Avoid> {
        let mut plan = Plan::opportunistic(inputs.host.clone());
        plan.domain = inputs.domain.cloned();
        plan.vouched = match is_vouched_for(inputs) {
            true => Vouched::Yes,
            false => Vouched::No,
        };
        plan.origin = inputs.origin;
        let made = plan
            .ask_rule(inputs)
            .and_then(|()| plan.ask_dane(inputs))
            .and_then(|()| plan.ask_sts(inputs))
            .and_then(|()| plan.ask_ledger(inputs))
            .and_then(|()| plan.ask_message(inputs));
        match made {
            Ok(()) => Ok(plan),
            Err((source, why)) => Err(Avoid {
                source,
                why,
                reasons: plan.reasons,
            }),
        }
    }

    fn ask_rule(&mut self, inputs: &Inputs<'_>) -> Result<(), (Source, WhyAvoid)> {
        let Some(rule) = inputs.rule else { return Ok(()) };
        self.default = self.default.min(rule.demand);
        self.certificate.clone_from(&rule.certificate);
        let text = format!("rule {} asks for {}", rule.name, rule.demand);
        self.note(Source::Policy, Some(rule.demand), text);
        match rule.demand {
            Demand::None | Demand::Opportunistic => {}
            Demand::Encrypted => self.ask(Source::Policy, Requirement::Encryption),
            Demand::Verified => {
                let proof = proof(rule, inputs).map_err(|why| (Source::Policy, why))?;
                self.ask(Source::Policy, proof);
            }
        }
        if let Some(version) = rule.version_min {
            self.ask(Source::Policy, Requirement::Version(version));
        }
        if !rule.groups.is_empty() {
            self.ask(Source::Policy, Requirement::Group(rule.groups.clone()));
        }
        Ok(())
    }

    fn ask_dane(&mut self, inputs: &Inputs<'_>) -> Result<(), (Source, WhyAvoid)> {
        match inputs.dane {
            dane::Finding::Unasked(why) => self.note(Source::Dane, None, format!("not asked for: {why}")),
            dane::Finding::Absent => self.note(Source::Dane, None, "proven: no TLSA record".to_owned()),
            dane::Finding::Failed(why) if inputs.wish == TlsWish::Waived => {
                self.note(
                    Source::Dane,
                    None,
                    format!("waived by the message; not found out: {why}"),
                );
            }
            dane::Finding::Failed(why) => {
                return Err((Source::Dane, WhyAvoid::NotFoundOut(why.clone())));
            }
            dane::Finding::Published(records) if inputs.wish == TlsWish::Waived => {
                self.note(
                    Source::Dane,
                    None,
                    format!("waived by the message: {}", records.told()),
                );
            }
            dane::Finding::Published(records) if records.has_usable() => {
                let text = match inputs.origin {
                    Origin::Proven | Origin::Configured => records.told(),
                    // RFC 7672 §2.2.1: not to be told as if the domain had proven it.
                    Origin::Unproven => format!("{}, which MX records without proof name", records.told()),
                };
                self.note(Source::Dane, Some(Demand::Verified), text);
                self.ask(Source::Dane, Requirement::Dane(Arc::clone(records)));
            }
            // RFC 7672 §2.2: records that we cannot use still oblige us to encrypt.
            dane::Finding::Published(records) => {
                let text = format!("{}, none of them usable: encryption is owed", records.told());
                self.note(Source::Dane, Some(Demand::Encrypted), text);
                self.ask(Source::Dane, Requirement::Encryption);
            }
        }
        Ok(())
    }

    fn ask_sts(&mut self, inputs: &Inputs<'_>) -> Result<(), (Source, WhyAvoid)> {
        let held = match inputs.sts {
            sts::Finding::Absent(None) => return Ok(()),
            sts::Finding::Absent(Some(why)) => {
                self.note(Source::Sts, None, why.to_string());
                return Ok(());
            }
            sts::Finding::Testing(held) => {
                let text = format!("policy {} is being tested: nothing is demanded", held.id);
                self.note(Source::Sts, None, text);
                return Ok(());
            }
            sts::Finding::Enforced(held) => held,
        };
        let by_dane = matches!(inputs.dane, dane::Finding::Published(records) if records.has_usable());
        if inputs.wish == TlsWish::Waived {
            self.note(
                Source::Sts,
                None,
                format!("policy {} waived by the message", held.id),
            );
        } else if by_dane {
            self.note(Source::Sts, None, format!("policy {} gives way to DANE", held.id));
        } else if held.listed == Listed::No {
            let why = format!("policy {} does not list {}", held.id, inputs.host);
            self.note(Source::Sts, Some(Demand::Verified), why.clone());
            return Err((Source::Sts, WhyAvoid::NotListed(why.into())));
        } else {
            let text = format!("policy {} in force lists {}", held.id, inputs.host);
            self.note(Source::Sts, Some(Demand::Verified), text);
            // RFC 8461 §4.2: the name of the host itself.
            self.ask(Source::Sts, Requirement::Chain(own_name(inputs.host)));
        }
        Ok(())
    }

    fn ask_ledger(&mut self, inputs: &Inputs<'_>) -> Result<(), (Source, WhyAvoid)> {
        if let Some(under) = &inputs.claim.stranger {
            let why = format!(
                "mail exchangers under {under} are new, and nobody vouches for them; if they are right: sealpost ledger keep {}",
                inputs
                    .domain
                    .map_or_else(|| inputs.host.to_string(), Domain::to_string)
            );
            self.note(Source::Ledger, None, why.clone());
            return Err((Source::Ledger, WhyAvoid::Unprovable(why.into())));
        }
        if let Some(relaxed) = &inputs.claim.relaxed {
            self.note(Source::Ledger, None, relaxed.to_string());
        }
        match inputs.claim.bound {
            Bound::Nothing => {}
            Bound::Encrypted => {
                self.note(
                    Source::Ledger,
                    Some(Demand::Encrypted),
                    "it has always encrypted".to_owned(),
                );
                self.ask(Source::Ledger, Requirement::Encryption);
            }
            Bound::Verified => {
                let text = "it has always proven who it is".to_owned();
                self.note(Source::Ledger, Some(Demand::Verified), text);
                self.ask(Source::Ledger, Requirement::Identity(remembered(inputs)));
            }
        }
        Ok(())
    }

    /// RFC 8689 §4.2.1: the host must be the one that was meant, by DNSSEC or MTA-STS, and prove it.
    fn ask_message(&mut self, inputs: &Inputs<'_>) -> Result<(), (Source, WhyAvoid)> {
        if inputs.wish != TlsWish::Required {
            return Ok(());
        }
        let named = match (inputs.origin, inputs.sts) {
            (Origin::Proven | Origin::Configured, _) => true,
            (Origin::Unproven, sts::Finding::Testing(held) | sts::Finding::Enforced(held)) => {
                held.listed == Listed::Yes
            }
            (Origin::Unproven, sts::Finding::Absent(_)) => false,
        };
        let text = "the message asks for proven TLS on every hop (REQUIRETLS)".to_owned();
        self.note(Source::Message, Some(Demand::Verified), text);
        match (usable(inputs.dane), named) {
            (Some(records), true) => self.ask(Source::Message, Requirement::Dane(records)),
            (None, true) if inputs.host.name().is_some() => {
                self.ask(Source::Message, Requirement::Chain(own_name(inputs.host)));
            }
            (Some(_) | None, _) => {
                let why = format!("neither DNSSEC nor MTA-STS vouches for {}", inputs.host);
                return Err((Source::Message, WhyAvoid::Unprovable(why.into())));
            }
        }
        Ok(())
    }

    fn ask(&mut self, by: Source, what: Requirement) {
        self.asked.push(Asked { by, what });
    }

    fn note(&mut self, source: Source, demand: Option<Demand>, text: String) {
        self.reasons.push(Reason {
            source,
            demand,
            text: text.into(),
        });
    }
}

/// What a rule that demands proof takes for one.
fn proof(rule: &Rule, inputs: &Inputs<'_>) -> Result<Requirement, WhyAvoid> {
    let unprovable = |what: &str| {
        WhyAvoid::Unprovable(format!("rule {} wants {what} of {}", rule.name, inputs.host).into())
    };
    match &rule.proofs {
        Proofs::Pin(keys) => Ok(Requirement::Pin(keys.clone())),
        Proofs::Dane => match (usable(inputs.dane), inputs.dane) {
            (Some(records), _) if is_vouched_for(inputs) => Ok(Requirement::Dane(records)),
            // RFC 7672 §2.2.1: they prove the host that was named, and nobody proves that it is the domain's.
            (Some(_), _) => Err(unprovable("TLSA records below proven MX records")),
            (None, dane::Finding::Failed(why)) => Err(WhyAvoid::NotFoundOut(why.clone())),
            (None, _) => Err(unprovable("usable TLSA records")),
        },
        Proofs::Chain { names } => match references(names, inputs) {
            names if names.is_empty() => Err(unprovable("a name that a certificate could prove")),
            names => Ok(Requirement::Chain(names)),
        },
        Proofs::Any { names } => {
            let identity = Identity {
                dane: usable(inputs.dane).filter(|_| is_vouched_for(inputs)),
                names: references(names, inputs),
                known: Vec::new(),
            };
            match identity.dane.is_none() && identity.names.is_empty() {
                true => Err(unprovable(
                    "TLSA records, or a name that a certificate could prove,",
                )),
                false => Ok(Requirement::Identity(identity)),
            }
        }
    }
}

/// What proves to the memory that a host is still the same: what proved it before, and what the operator takes for proof.
fn remembered(inputs: &Inputs<'_>) -> Identity {
    let mut identity = Identity {
        dane: usable(inputs.dane),
        names: own_name(inputs.host),
        known: inputs.claim.keys.clone(),
    };
    match inputs.rule.map(|rule| &rule.proofs) {
        Some(Proofs::Any { names } | Proofs::Chain { names }) if !names.is_empty() => {
            identity.names.extend(references(names, inputs));
        }
        Some(Proofs::Pin(keys)) => identity.known.extend(keys),
        Some(Proofs::Any { .. } | Proofs::Chain { .. } | Proofs::Dane) | None => {}
    }
    identity
}

/// The names whose certificate proves a host. Where DNS named it without proof, its own name is only as good as the
/// domain's: a certificate for the wrong host's own name proves nothing.
fn references(named: &[Pattern], inputs: &Inputs<'_>) -> Vec<Domain> {
    let own = inputs.host.name();
    let listed = named.iter().filter_map(|pattern| match pattern {
        Pattern::Name(name) => Some(name.clone()),
        Pattern::Below(_) | Pattern::All => own.filter(|_| pattern.fits(inputs.host)).cloned(),
    });
    let mut names: Vec<Domain> = listed.collect();
    if named.is_empty() {
        names.extend(own.filter(|_| is_vouched_for(inputs)).cloned());
        names.extend(inputs.domain.filter(|domain| Some(*domain) != own).cloned());
    }
    names
}

/// Whether anything but a bare DNS answer says that the host is one of the domain's.
fn is_vouched_for(inputs: &Inputs<'_>) -> bool {
    match (inputs.origin, inputs.sts) {
        (Origin::Proven | Origin::Configured, _) => true,
        (Origin::Unproven, sts::Finding::Enforced(held)) => held.listed == Listed::Yes,
        (Origin::Unproven, _) => inputs
            .host
            .name()
            .zip(inputs.domain)
            .is_some_and(|(own, domain)| own == domain || own.is_within(domain)),
    }
}

fn own_name(host: &Host) -> Vec<Domain> {
    host.name().cloned().into_iter().collect()
}

fn usable(finding: &dane::Finding) -> Option<Arc<Records>> {
    match finding {
        dane::Finding::Published(records) if records.has_usable() => Some(Arc::clone(records)),
        dane::Finding::Published(_)
        | dane::Finding::Unasked(_)
        | dane::Finding::Absent
        | dane::Finding::Failed(_) => None,
    }
}
