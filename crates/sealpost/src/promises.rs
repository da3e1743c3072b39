//! What is promised of a hop: gathers what a host publishes, what is remembered of it and what the operator demands,
//! and has `trust` make the plan of it, before it is dialled.
//!
//! Looks up and decides nothing: each source has a file of its own, and what follows from it stands in `trust::plan`.

mod dane;

use std::sync::Arc;

use mail::{Domain, TlsWish};
use trust::policy::Table;
use trust::{Avoid, Claim, Inputs, Plan, sts};

use crate::ports::Dns;
use crate::route::Hop;

/// The sources of plans. Cheap to clone.
#[derive(Clone)]
pub struct Promises {
    dns: Arc<dyn Dns>,
    table: Arc<Table>,
}

impl Promises {
    /// These sources.
    pub fn new(dns: Arc<dyn Dns>, table: Arc<Table>) -> Promises {
        Promises { dns, table }
    }

    /// The plan for a hop on the way to a domain, for a message that wishes this.
    pub async fn plan(&self, hop: &Hop, domain: Option<&Domain>, wish: TlsWish) -> Result<Plan, Avoid> {
        let inputs = Inputs {
            host: &hop.host,
            domain,
            origin: hop.origin,
            wish,
            rule: self.table.rule_for(domain, &hop.host),
            dane: &dane::look_up(&*self.dns, hop).await,
            sts: &sts::Finding::Absent(None),
            claim: &Claim::default(),
        };
        Plan::make(&inputs)
    }
}
