//! What the dispatcher works by; replaced whole when the configuration is read anew.

use std::sync::Arc;

use mail::{Domain, Recipient};
use spool::Lane;

use crate::config::retry::Retry;
use crate::config::route::Route;
use crate::deliver::Courier;
use crate::local::Office;
use crate::report::Reporter;
use crate::route::Routes;

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
    /// Who reports.
    pub reporter: Reporter,
}

impl Rules {
    /// The spool's view of them: which queue a recipient waits in.
    pub fn lane_of(self: &Arc<Self>) -> impl Fn(&Recipient) -> Lane + Send + Sync + 'static {
        let rules = Arc::clone(self);
        move |recipient| rules.routes.lane_of(recipient)
    }
}
