//! Evidence: every attempt is written down in a chain that shows when a record was changed, removed or moved.
//!
//! One task writes for all who wait, many records with one sync. Who needs a record durable before going on waits for it
//! ([`Archive::keep`]); who does not hands it over ([`Archive::note`]). A disk that takes no records is told once and loudly, and
//! mail goes on: what is missing is said in the chain when the disk takes records again.

pub mod chain;
pub mod reading;
pub mod record;
pub mod store;

use std::sync::Arc;
use std::time::SystemTime;

use spool::disk::Disk;
use tokio::sync::{mpsc, oneshot};

use crate::spooling::off_the_async_threads;
use chain::Link;
use reading::Reader;
use record::Fact;
use store::{Limits, NotWritten, Store, lock};

/// The way to the files of evidence. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    orders: mpsc::Sender<Order>,
    reader: Option<Reader>,
}

/// The task that writes.
pub struct Writer {
    orders: mpsc::Receiver<Order>,
    store: Arc<std::sync::Mutex<Store>>,
    refused: u64,
}

/// Records could not be made durable. The log says why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotKept;

enum Order {
    Write {
        facts: Vec<Fact>,
        at: SystemTime,
        done: Option<oneshot::Sender<Result<Link, NotKept>>>,
    },
    Close,
}

impl Archive {
    /// Opens the folder. Blocks. The writer must be run.
    pub fn open(
        disk: Arc<dyn Disk>,
        limits: Limits,
        now: SystemTime,
    ) -> Result<(Archive, Writer), NotWritten> {
        let (store, cut) = Store::open(Arc::clone(&disk), limits, now)?;
        if cut > 0 {
            tracing::warn!(
                octets = cut,
                "evidence: what a crash left half written is cut off and set aside"
            );
        }
        tracing::info!(records = store.at().seq, "evidence opened");
        let reader = Reader::new(disk, store.spans());
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let archive = Archive {
            orders,
            reader: Some(reader),
        };
        let writer = Writer {
            orders: inbox,
            store: Arc::new(std::sync::Mutex::new(store)),
            refused: 0,
        };
        Ok((archive, writer))
    }

    /// One that keeps nothing, for tests that ask for no evidence.
    pub fn nowhere() -> Archive {
        Archive {
            orders: mpsc::channel(1).0,
            reader: None,
        }
    }

    /// Reads what is durable; none where nothing is kept.
    pub fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref()
    }

    /// Makes records durable. Says where the chain stands with them.
    pub async fn keep(&self, facts: Vec<Fact>, at: SystemTime) -> Result<Link, NotKept> {
        let (done, told) = oneshot::channel();
        let order = Order::Write {
            facts,
            at,
            done: Some(done),
        };
        self.orders.send(order).await.map_err(|_| NotKept)?;
        told.await.unwrap_or(Err(NotKept))
    }

    /// Hands records over; waits only where the disk is far behind.
    pub async fn note(&self, facts: Vec<Fact>, at: SystemTime) {
        if facts.is_empty() {
            return;
        }
        let order = Order::Write {
            facts,
            at,
            done: None,
        };
        // A writer that is gone has said why.
        drop(self.orders.send(order).await);
    }

    /// Writes what was handed over before, and ends the writer.
    pub async fn close(&self) {
        drop(self.orders.send(Order::Close).await);
    }
}

impl Writer {
    /// Writes until it is closed, or nobody is left.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            batch.clear();
            if self.orders.recv_many(&mut batch, BATCH_MAX).await == 0 {
                return;
            }
            let closing = batch.iter().any(|order| matches!(order, Order::Close));
            self.write(&mut batch).await;
            if closing {
                return;
            }
        }
    }

    async fn write(&mut self, batch: &mut Vec<Order>) {
        let (mut all, mut waiting, mut at) = (Vec::new(), Vec::new(), SystemTime::UNIX_EPOCH);
        for order in batch.drain(..) {
            if let Order::Write {
                facts,
                at: made,
                done,
            } = order
            {
                all.extend(facts);
                at = at.max(made);
                waiting.extend(done);
            }
        }
        if all.is_empty() {
            for done in waiting {
                // Who asked may be gone.
                let _ = done.send(Err(NotKept));
            }
            return;
        }
        let (store, count) = (Arc::clone(&self.store), all.len() as u64);
        let written = off_the_async_threads(move || {
            let mut store = lock(&store);
            store.append(&all, at).map(|()| store.at())
        });
        let result = match written.await {
            Some(Ok(link)) => {
                if self.refused > 0 {
                    tracing::info!(
                        missing = self.refused,
                        "evidence: the disk takes records again; those missing are said in the chain"
                    );
                    self.refused = 0;
                }
                Ok(link)
            }
            Some(Err(error)) => {
                if self.refused == 0 {
                    tracing::error!(%error, "evidence is not written: mail goes on without it until the disk takes records again; free some space, or see to the disk");
                }
                self.refused += count;
                Err(NotKept)
            }
            None => {
                tracing::error!("evidence is not written: the writer broke off");
                Err(NotKept)
            }
        };
        for done in waiting {
            // Who asked may be gone.
            let _ = done.send(result);
        }
    }
}

impl std::fmt::Display for NotKept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("evidence could not be written: the log says why")
    }
}

impl std::error::Error for NotKept {}

/// Orders that wait for the writer.
const ORDERS_MAX: usize = 4096;
/// Orders written with one sync.
const BATCH_MAX: usize = 1024;
