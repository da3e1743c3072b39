//! What the memory of peers demands of a hop.

use mail::Domain;
use trust::ledger::Vouched;
use trust::sts::{Finding, Listed};
use trust::{Avoid, Claim, Origin, Source, WhyAvoid};

use crate::ledger::Ledger;
use crate::route::Hop;

/// Asks it. Where it cannot be read, nobody knows what the host owes, and it must not be used now.
pub(super) async fn claim(
    ledger: Option<&Ledger>,
    hop: &Hop,
    domain: Option<&Domain>,
    sts: &Finding,
) -> Result<Claim, Avoid> {
    let Some(ledger) = ledger else {
        return Ok(Claim::default());
    };
    let asked = ledger.claim(domain, &hop.host, vouched(hop, sts)).await;
    asked.map_err(|because| {
        tracing::error!(host = %hop.host, %because, "not known what is remembered of a host");
        Avoid {
            source: Source::Ledger,
            why: WhyAvoid::NotFoundOut(because.to_string().into()),
            reasons: Vec::new(),
        }
    })
}

fn vouched(hop: &Hop, sts: &Finding) -> Vouched {
    match (hop.origin, sts) {
        (Origin::Proven | Origin::Configured, _) => Vouched::Yes,
        (Origin::Unproven, Finding::Enforced(held)) if held.listed == Listed::Yes => Vouched::Yes,
        (Origin::Unproven, _) if hop.host.name().is_none() => Vouched::Yes,
        (Origin::Unproven, _) => Vouched::No,
    }
}
