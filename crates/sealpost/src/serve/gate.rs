//! One listener and the sessions that came through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::Key;
use crate::config::Role;
use crate::ports::{Clock, Listener};
use crate::receive::{self, Phase, Reception};

/// An open listener. Dropped, it is closed and its sessions are cut off.
pub(super) struct Gate {
    key: Key,
    address: SocketAddr,
    /// What new sessions are served with; none closes the listener and leaves the sessions alone.
    reception: watch::Sender<Option<Arc<Reception>>>,
    role: Role,
    attendant: Attendant,
}

struct Attendant(JoinHandle<()>);

impl Drop for Attendant {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Gate {
    pub(super) fn open(
        key: Key,
        address: SocketAddr,
        listener: Box<dyn Listener>,
        reception: Arc<Reception>,
        phase: watch::Receiver<Phase>,
        clock: Arc<dyn Clock>,
    ) -> Gate {
        let role = reception.role;
        let (reception, receptions) = watch::channel(Some(reception));
        let attendant = Attendant(tokio::spawn(attend(listener, receptions, phase, clock)));
        Gate {
            key,
            address,
            reception,
            role,
            attendant,
        }
    }

    pub(super) fn is_at(&self, key: &Key) -> bool {
        self.key == *key
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Sessions from now on are served with this.
    pub(super) fn renew(&mut self, reception: Arc<Reception>) {
        self.role = reception.role;
        self.reception.send_replace(Some(reception));
    }

    /// Takes no more clients, and is done when the last one is gone.
    pub(super) async fn close(mut self) -> &'static str {
        self.reception.send_replace(None);
        self.ended().await;
        "listener"
    }

    /// Waits until the listener is closed and the last session is gone.
    pub(super) async fn ended(&mut self) {
        // Cut off or panicked: either way it is over, and a panic was printed.
        let _ = (&mut self.attendant.0).await;
    }
}

async fn attend(
    listener: Box<dyn Listener>,
    reception: watch::Receiver<Option<Arc<Reception>>>,
    phase: watch::Receiver<Phase>,
    clock: Arc<dyn Clock>,
) {
    let mut sessions = JoinSet::new();
    let (mut ending, mut closing) = (phase.clone(), reception.clone());
    loop {
        tokio::select! {
            biased;
            () = draining(&mut ending) => break,
            () = closed(&mut closing) => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => told(ended),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    let current = reception.borrow().clone();
                    if let Some(current) = current {
                        sessions.spawn(receive::serve(accepted, current, phase.clone()));
                    }
                }
                // The client is gone already, or there are no more file descriptors: neither is the listener's end.
                Err(because) => {
                    tracing::warn!(%because, "connection not accepted");
                    clock.sleep_until(clock.instant() + ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = sessions.join_next().await {
        told(ended);
    }
}

/// The one who would say so being gone is the same.
async fn draining(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
}

async fn closed(reception: &mut watch::Receiver<Option<Arc<Reception>>>) {
    let _ = reception.wait_for(Option::is_none).await;
}

fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(because = %error, "a session broke; please report this");
    }
}

/// After a failed accept, so that a lack of file descriptors does not turn into a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
