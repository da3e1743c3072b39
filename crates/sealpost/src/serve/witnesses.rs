//! Starts and ends what watches over attempts: the archive of evidence, the alarms, and who tells them.

use std::sync::Arc;

use spool::Spool;
use spool::disk::Folder;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::{Setup, StartError};
use crate::alarm::{self, Bell, Teller};
use crate::dispatch::Witnesses;
use crate::evidence::Archive;
use crate::evidence::store::Limits;
use crate::memory::Memory;
use crate::ports::Ports;
use crate::spooling::off_the_async_threads;

/// The tasks behind the witnesses. Dropped, they stop at once.
pub(super) struct Watching {
    ringing: JoinSet<()>,
    writing: JoinSet<()>,
    telling: JoinSet<()>,
}

/// Opens all of it, and starts what works for it.
pub(super) async fn open(
    setups: &watch::Receiver<Arc<Setup>>,
    memory: &Memory,
    spool: &Arc<Spool>,
    ports: &Ports,
) -> Result<(Witnesses, Watching), StartError> {
    let setup = setups.borrow().clone();
    let folder = setup.settings.config.server.data_dir.evidence();
    let bounds = &setup.settings.config.evidence;
    let limits = Limits {
        file_bytes_max: bounds.file_bytes_max,
        keep: bounds.keep,
    };
    let now = ports.clock.now();
    let opened = off_the_async_threads(move || {
        let disk = Folder::open(&folder).map_err(|error| StartError::folder(&folder, &error))?;
        Archive::open(Arc::new(disk), limits, now).map_err(StartError::Evidence)
    });
    let (archive, writer) = opened.await.ok_or(StartError::Ended)??;
    let (tally, work) = (Arc::default(), Arc::new(Notify::new()));
    let settings: Arc<dyn Fn() -> _ + Send + Sync> = {
        let setups = setups.clone();
        Arc::new(move || setups.borrow().settings.clone())
    };
    let ground = alarm::Ground {
        memory: memory.clone(),
        archive: archive.clone(),
        tally: Arc::clone(&tally),
        settings: Arc::clone(&settings),
    };
    let bell = Arc::clone(&work);
    let opened = off_the_async_threads(move || Bell::open(ground, bell)).await;
    let (bell, ringer) = opened.ok_or(StartError::Ended)?.map_err(StartError::Memory)?;
    let tls = setups.clone();
    let teller = Teller {
        memory: memory.clone(),
        bell: bell.clone(),
        spool: Arc::clone(spool),
        ports: ports.clone(),
        tls: Arc::new(move || tls.borrow().client_tls.clone()),
        settings,
        tally: Arc::clone(&tally),
        work,
    };
    let mut watching = Watching {
        ringing: JoinSet::new(),
        writing: JoinSet::new(),
        telling: JoinSet::new(),
    };
    watching.writing.spawn(writer.run());
    watching.ringing.spawn(ringer.run());
    watching.telling.spawn(teller.run());
    let witnesses = Witnesses { archive, bell, tally };
    Ok((witnesses, watching))
}

impl Watching {
    /// Ends them in the order in which they need each other. What is not told yet is told after the next start.
    pub(super) async fn end(mut self, witnesses: &Witnesses) {
        self.telling.shutdown().await;
        witnesses.bell.close().await;
        while self.ringing.join_next().await.is_some() {}
        witnesses.archive.close().await;
        while self.writing.join_next().await.is_some() {}
    }
}
