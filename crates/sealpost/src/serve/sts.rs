//! What a running server does about MTA-STS: keeps the policies of others fresh, and serves its own.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Server, Setup, StartError};
use crate::config::Config;
use crate::memory::Memory;
use crate::ports::{Listener, Ports};
use crate::spooling::off_the_async_threads;
use crate::sts::own::{domains, published};
use crate::sts::{Pages, Policies, PolicyHost};
use crate::tls::Keyring;
use crate::tls::web::WebTls;

/// Opens the listeners of our own policy.
pub(super) async fn listen(config: &Config, ports: &Ports) -> Result<Vec<Box<dyn Listener>>, StartError> {
    let mut open = Vec::new();
    for place in config.mta_sts.places() {
        open.push(ports.net.listen(&place).await.map_err(StartError::Listen)?);
    }
    Ok(open)
}

/// Reads what was known of other domains' policies.
pub(super) async fn load(setup: &Setup, memory: &Memory, ports: &Ports) -> Result<Policies, StartError> {
    let (config, tls) = (setup.settings.config.clone(), setup.client_tls.clone());
    let (memory, ports) = (memory.clone(), ports.clone());
    let loading = off_the_async_threads(move || Policies::load(memory, ports, &config, tls));
    loading.await.ok_or(StartError::Ended)
}

/// Starts what runs until the server ends.
pub(super) fn start(
    server: &Server,
    listeners: Vec<Box<dyn Listener>>,
    keyring: &Arc<Keyring>,
    parts: &mut JoinSet<&'static str>,
) -> Result<(), StartError> {
    let (policies, phase) = (server.policies.clone(), server.phase.clone());
    parts.spawn(async move {
        policies.keep_fresh(phase).await;
        "MTA-STS policies"
    });
    tell(&server.setup.borrow());
    for listener in listeners {
        let tls = WebTls::new(keyring.clone()).map_err(StartError::Tls)?;
        let setup = server.setup.clone();
        let pages = move || {
            let settings = setup.borrow().settings.clone();
            Pages::new(published(&settings.config, &settings.me))
        };
        let host = PolicyHost::new(listener, tls, server.ports.clock.clone(), Arc::new(pages));
        if let Ok(address) = host.address() {
            tracing::info!(%address, "MTA-STS policy served");
        }
        let phase = server.phase.clone();
        parts.spawn(async move {
            host.serve(phase).await;
            "policy host"
        });
    }
    Ok(())
}

/// What the operator must publish, and what is allowed and unwise about it.
pub(super) fn tell(setup: &Setup) {
    let settings = &setup.settings;
    let own = &settings.config.mta_sts.own;
    if own.listen.is_empty() {
        return;
    }
    for one in published(&settings.config, &settings.me) {
        tracing::info!(
            name = one.record_name,
            txt = one.record,
            "TXT record of our MTA-STS policy"
        );
    }
    for remark in own.remarks(domains(&settings.config)) {
        tracing::warn!("{remark}");
    }
}
