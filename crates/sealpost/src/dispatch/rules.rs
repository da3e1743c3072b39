//! What the dispatcher works by; replaced whole when the configuration is read anew.

use std::sync::Arc;
use std::time::SystemTime;

use mail::{Domain, Recipient};
use spool::{Lane, Spool};

use crate::alarm::Bell;
use crate::config::Config;
use crate::config::retry::Retry;
use crate::config::route::Route;
use crate::deliver::Courier;
use crate::evidence::Archive;
use crate::ledger::Ledger;
use crate::local::{Directory, Office};
use crate::ports::Ports;
use crate::promises::Promises;
use crate::report::Reporter;
use crate::route::{IsLocal, Own, Routes};
use crate::sts::Policies;
use crate::tally::Tally;
use crate::tls::ClientTls;

/// The rules of one configuration.
pub struct Rules {
    /// This host's name.
    pub me: Domain,
    /// `[route]`.
    pub route: Route,
    /// Where mail goes.
    pub routes: Routes,
    /// Local delivery.
    pub office: Office,
    /// How mail leaves; none where nothing may ever leave this machine.
    pub courier: Option<Courier>,
    /// `[retry]`.
    pub retry: Retry,
    /// What is remembered of peers.
    pub ledger: Ledger,
    /// Who reports.
    pub reporter: Reporter,
    /// Who sees what attempts find.
    pub witnesses: Witnesses,
}

/// Who sees what attempts find: written down, told, and counted.
#[derive(Clone)]
pub struct Witnesses {
    /// Evidence.
    pub archive: Archive,
    /// Alarms.
    pub bell: Bell,
    /// Counts.
    pub tally: Arc<Tally>,
}

impl Witnesses {
    /// None, for tests that ask for none.
    pub fn none() -> Witnesses {
        Witnesses {
            archive: Archive::nowhere(),
            bell: Bell::mute(),
            tally: Arc::default(),
        }
    }
}

/// What rules need beside the configuration.
pub struct Ground {
    /// This host's name.
    pub me: Domain,
    /// The world.
    pub ports: Ports,
    /// Where messages from aliases go.
    pub spool: Arc<Spool>,
    /// What is remembered of peers.
    pub ledger: Ledger,
    /// Who is local.
    pub directory: Arc<Directory>,
    /// Handshakes with other hosts.
    pub tls: ClientTls,
    /// How this host is known to others.
    pub own: Own,
    /// The policies of other domains.
    pub policies: Policies,
    /// When this process began.
    pub started: SystemTime,
    /// Who sees what attempts find.
    pub witnesses: Witnesses,
}

impl Rules {
    /// The rules of a configuration.
    pub fn new(config: &Config, ground: Ground) -> Rules {
        let Ground {
            me,
            ports,
            spool,
            ledger,
            directory,
            tls,
            own,
            policies,
            started,
            witnesses,
        } = ground;
        let locals = Arc::clone(&directory);
        let promises = Promises::new(ports.dns.clone(), Arc::new(config.trust.table()), policies)
            .remembering(ledger.clone());
        let is_local: IsLocal = Arc::new(move |mailbox| locals.is_local(mailbox));
        // Without a configuration nothing ever leaves this machine: there is nobody who could carry it.
        let courier = (!config.is_loopback_only()).then(|| Courier {
            ports: ports.clone(),
            tls,
            promises,
            me: me.clone(),
            limits: config.route.waits.session_limits(),
            route: config.route.clone(),
        });
        Rules {
            route: config.route.clone(),
            routes: Routes::new(config.route.clone(), own, is_local),
            office: Office {
                directory,
                spool,
                me: me.clone(),
                started,
                clock: ports.clock,
            },
            courier,
            retry: config.retry.clone(),
            ledger,
            reporter: Reporter::new(&me, &config.retry),
            witnesses,
            me,
        }
    }

    /// The spool's view of them: which queue a recipient waits in.
    pub fn lane_of(self: &Arc<Self>) -> impl Fn(&Recipient) -> Lane + Send + Sync + 'static {
        let rules = Arc::clone(self);
        move |recipient| rules.routes.lane_of(recipient)
    }
}
