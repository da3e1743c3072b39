//! The TLSA records of a hop (RFC 7672 §2.2).
//!
//! Three things are told apart: it is proven that there are none, there are some, and it could not be found out. What an
//! attacker can bring about is the last one alone, and a host of which that is so is left alone.

use std::sync::Arc;

use mail::{Domain, Secure};
use trust::dane::{Finding, Records};

use crate::ports::{Answer, Denial, Dns, NoAnswer, tlsa_question};
use crate::route::Hop;

/// Asks for them where the names that lead to the host are proven. The host's addresses were looked up before.
pub(super) async fn look_up(dns: &dyn Dns, hop: &Hop) -> Finding {
    let bases = match bases(hop) {
        Ok(bases) => bases,
        Err(why) => return Finding::Unasked(why),
    };
    let mut unsigned = false;
    for base in bases {
        let name = base.get();
        match dns.tlsa(&tlsa_question(base, port(hop))).await {
            Ok(Answer::Secure(records)) => {
                let records = records.get().iter().cloned();
                return Finding::Published(Arc::new(Records::new(
                    name.clone(),
                    records,
                    references(hop, name),
                )));
            }
            // RFC 7672 §2.2: what lies in a zone that is not signed is as good as not there.
            Ok(Answer::Insecure(_))
            | Err(NoAnswer::NoSuchName(Denial::Insecure) | NoAnswer::NoRecords(Denial::Insecure)) => {
                unsigned = true
            }
            Err(NoAnswer::NoSuchName(Denial::Secure) | NoAnswer::NoRecords(Denial::Secure)) => {}
            Err(NoAnswer::NoSuchName(Denial::Unproven) | NoAnswer::NoRecords(Denial::Unproven)) => {
                return Finding::Failed(format!("that {name} has no TLSA records is not proven").into());
            }
            // RFC 7672 §2.1.2: a look-up that failed is not one that found nothing.
            Err(NoAnswer::Failed(why)) => {
                return Finding::Failed(format!("TLSA records of {name} not found out: {why}").into());
            }
        }
    }
    match unsigned {
        true => Finding::Unasked("TLSA records could only stand in a zone that is not signed".into()),
        false => Finding::Absent,
    }
}

/// The names that TLSA records may stand under, in the order to ask (RFC 7672 §2.2.2): where a host is an alias and all
/// is proven, what it stands for, then itself; where only the alias is proven, itself; none where not even that is.
/// Never a name between the two.
fn bases(hop: &Hop) -> Result<Vec<&Secure<Domain>>, Box<str>> {
    let Some(names) = &hop.names else {
        return Err("an address has none".into());
    };
    let candidates = names.end.iter().chain([&names.asked]);
    let bases: Vec<&Secure<Domain>> = candidates
        .filter_map(|name| match name {
            Answer::Secure(name) => Some(name),
            Answer::Insecure(_) => None,
        })
        .collect();
    match bases.is_empty() {
        true => Err(format!("the zone of {} is not signed", hop.host).into()),
        false => Ok(bases),
    }
}

/// The names besides the base that a certificate below a DANE-TA record may hold (RFC 7672 §3.2.2).
fn references(hop: &Hop, base: &Domain) -> Vec<Domain> {
    let others = hop.references.iter().filter(|name| *name != base);
    others.cloned().collect()
}

/// RFC 7672 §2.2.3: the port that is really dialled.
fn port(hop: &Hop) -> u16 {
    hop.addresses.first().map_or(SMTP_PORT, |at| at.port())
}

const SMTP_PORT: u16 = 25;
