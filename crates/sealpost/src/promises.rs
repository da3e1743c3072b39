//! What is promised of a hop: gathers what a host publishes, what is remembered of it and what the operator demands,
//! and has `trust` make the plan of it, before it is dialled.
//!
//! Looks up and decides nothing: each source has a file of its own, and what follows from it stands in `trust::plan`.

mod dane;
mod memory;
mod sts;

use std::sync::Arc;

use mail::{Domain, TlsWish};
use trust::policy::{Rule, Table};
use trust::{Avoid, Claim, Inputs, Plan};

use crate::ledger::Ledger;
use crate::ports::Dns;
use crate::route::Hop;
use crate::sts::{Policies, Told};

/// The sources of plans. Cheap to clone.
#[derive(Clone)]
pub struct Promises {
    dns: Arc<dyn Dns>,
    table: Arc<Table>,
    policies: Policies,
    /// None for one who looks from outside and remembers nothing.
    ledger: Option<Ledger>,
}

/// The TLSA records of a hop, looked up as for its plan.
pub async fn tlsa_of(dns: &dyn Dns, hop: &Hop) -> trust::dane::Finding {
    dane::look_up(dns, hop).await
}

/// What each source said of a hop, and the plan made from that.
#[derive(Clone, Debug)]
pub struct Consulted {
    /// The operator's rule, if one fits.
    pub rule: Option<Rule>,
    /// The host's TLSA records.
    pub dane: trust::dane::Finding,
    /// The domain's policy.
    pub sts: trust::sts::Finding,
    /// What is remembered of the host.
    pub claim: Claim,
    /// The plan, or why the host must not be used.
    pub plan: Result<Plan, Avoid>,
}

impl Promises {
    /// These sources.
    pub fn new(dns: Arc<dyn Dns>, table: Arc<Table>, policies: Policies) -> Promises {
        Promises {
            dns,
            table,
            policies,
            ledger: None,
        }
    }

    /// The policy that is kept of a domain, with its age.
    pub fn kept_policy(&self, domain: &Domain) -> Option<Told> {
        self.policies
            .list()
            .into_iter()
            .find(|told| told.domain == *domain)
    }

    /// And what is remembered of peers.
    pub fn remembering(mut self, ledger: Ledger) -> Promises {
        self.ledger = Some(ledger);
        self
    }

    /// The plan for a hop on the way to a domain, for a message that wishes this.
    pub async fn plan(&self, hop: &Hop, domain: Option<&Domain>, wish: TlsWish) -> Result<Plan, Avoid> {
        self.consult(hop, domain, wish).await.plan
    }

    /// As [`Promises::plan`], with all that the plan was made from: what people are told is what delivery goes by.
    pub async fn consult(&self, hop: &Hop, domain: Option<&Domain>, wish: TlsWish) -> Consulted {
        let rule = self.table.rule_for(domain, &hop.host);
        let (dane, sts) = tokio::join!(
            dane::look_up(&*self.dns, hop),
            sts::look_up(&self.policies, domain, &hop.host),
        );
        let asked = memory::claim(self.ledger.as_ref(), hop, domain, &sts).await;
        let (claim, unknown) = match asked {
            Ok(claim) => (claim, None),
            Err(avoid) => (Claim::default(), Some(avoid)),
        };
        let plan = Plan::make(&Inputs {
            host: &hop.host,
            domain,
            origin: hop.origin,
            wish,
            rule,
            dane: &dane,
            sts: &sts,
            claim: &claim,
        });
        Consulted {
            rule: rule.cloned(),
            dane,
            sts,
            claim,
            plan: unknown.map_or(plan, Err),
        }
    }
}
