//! The real bodies of the ports.

pub mod dns;
pub mod net;
pub mod fetch;
pub mod clock;

use std::sync::Arc;

use crate::ports::{Clock, Dns, Net, Ports};

/// All ports, the web by HTTPS over these.
pub fn ports(dns: Arc<dyn Dns>, net: Arc<dyn Net>, clock: Arc<dyn Clock>) -> Ports {
    let fetch = fetch::Https::new(dns.clone(), net.clone(), clock.clone());
    Ports {
        dns,
        net,
        fetch: Arc::new(fetch),
        clock,
    }
}
