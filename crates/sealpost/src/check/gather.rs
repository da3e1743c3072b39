//! Finds out: look-ups, and a conversation with each address.

use mail::Domain;

use super::facts::{Believed, Door, Facts, HostFacts};
use super::probe::Prober;
use super::published::StsFacts;
use crate::config::route::Route;
use crate::ports::{Answer, Later, together};
use crate::promises::tlsa_of;
use crate::resolver;
use crate::route::{Destination, Hop, Own, Routes};

use std::net::SocketAddr;
use std::sync::Arc;

/// Audits domains.
pub struct Auditor {
    prober: Prober,
    routes: Routes,
    /// Names that are known to be signed.
    signed: Vec<Domain>,
}

impl Auditor {
    /// With the ways that `[route]` gives, smart hosts left out: a domain is looked at as strangers see it.
    pub fn new(prober: Prober, route: &Route) -> Auditor {
        let settings = Route {
            rule: Vec::new(),
            hosts_max: prober.limits.hosts_max,
            addresses_max: prober.limits.addresses_max,
            ..route.clone()
        };
        Auditor {
            routes: Routes::new(settings, Own::default(), Arc::new(|_| false)),
            prober,
            signed: Vec::new(),
        }
    }

    /// Looks at the resolver by these names, too, which are known to be signed: what it breaks is no fault of a domain's.
    pub fn knowing(self, signed: Vec<Domain>) -> Auditor {
        Auditor { signed, ..self }
    }

    /// Finds out everything about a domain; hosts and their addresses at the same time.
    pub async fn gather(&self, domain: &Domain) -> Facts {
        let destination = Destination::Domain(domain.clone());
        // The order of equals is no matter here: the same one each time.
        let way = self.routes.find(&destination, &*self.prober.ports.dns, 0);
        let (way, sts, reports) = tokio::join!(way, self.prober.sts(domain), self.prober.reports(domain));
        let (hosts, remarks) = match way {
            Ok(way) => {
                let host = |hop| -> Later<'_, HostFacts> { Box::pin(self.host(hop, domain, &sts)) };
                let hosts = together(way.hops.iter().map(host).collect()).await;
                (Ok(hosts), way.remarks)
            }
            Err(no_way) => (Err(no_way), Vec::new()),
        };
        Facts {
            domain: domain.clone(),
            at: self.prober.ports.clock.now(),
            hosts,
            remarks,
            resolver: resolver::verdict(&resolver::probe(&*self.prober.ports.dns, &self.signed).await),
            sts,
            reports,
        }
    }

    async fn host(&self, hop: &Hop, domain: &Domain, sts: &StsFacts) -> HostFacts {
        let mut host = HostFacts {
            host: hop.host.clone(),
            preference: hop.exchanger.as_ref().map(|mx| mx.get().preference),
            origin: hop.origin,
            addresses: match hop.found {
                Answer::Secure(_) => Believed::Proven,
                Answer::Insecure(_) => Believed::Unproven,
            },
            dane: tlsa_of(&*self.prober.ports.dns, hop).await,
            // What is published now, whatever a running server remembers.
            sts: sts.finding(&hop.host),
            doors: Vec::new(),
        };
        let plan = host.plan(domain).ok();
        let server_name = plan.as_ref().and_then(|plan| plan.server_name());
        let door = |address: &SocketAddr| -> Later<'_, Door> {
            Box::pin(self.prober.door(&hop.host, server_name, *address))
        };
        host.doors = together(hop.addresses.iter().map(door).collect()).await;
        host
    }
}
