//! One client, from its connection to its end: octets in and out, TLS, time limits.
//!
//! Drives a [`smtp::server::Session`] over any stream. What the session asks is answered by [`answers`]; what it says
//! goes out here. Holds no policy.

mod answers;
mod incoming;
mod io;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mail::{Channel, Class, Clear, Domain, EnhancedStatus, Reply, Tls, TlsFacts};
use smtp::server::{Service, Session, StartTls, Step};
use spool::Spool;
use tokio::sync::watch;

use crate::admit::Policy;
use crate::clients::{Clients, Deed, Kin, Reached};
use crate::config::Role;
use crate::config::limits::Limits;
use crate::config::listen::ClientCertificates;
use crate::local::Directory;
use crate::ports::{Accepted, Ports, Stream, within};
use crate::tls::ServerTls;
use answers::Talk;
use io::{Heard, hear, say};

/// What the sessions of one listener share, for as long as a configuration holds.
pub struct Reception {
    /// Who is served here.
    pub role: Role,
    /// This host's name.
    pub host: Domain,
    /// What is offered while TLS can be had.
    pub service: Arc<Service>,
    /// What is offered while it cannot (RFC 3207 §3).
    pub service_without_tls: Arc<Service>,
    /// Whether clients must show a certificate.
    pub client_certificates: ClientCertificates,
    /// Handshakes.
    pub tls: ServerTls,
    /// Who may enter.
    pub policy: Policy,
    /// Who has a mailbox.
    pub directory: Arc<Directory>,
    /// Bounds.
    pub limits: Limits,
    /// Where messages are kept.
    pub spool: Arc<Spool>,
    /// What all clients of all listeners have asked.
    pub clients: Arc<Mutex<Clients>>,
    /// The world.
    pub ports: Ports,
}

/// How far the server's end has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It ends: no new connections; messages on their way in may finish.
    Draining,
}

/// How a conversation ended.
enum End {
    /// Everything is said, or the client is gone.
    Closed,
    /// 220 to STARTTLS is written.
    StartTls,
}

/// Serves one client to its end. Nothing that happens in it is an error of the server.
pub async fn serve(accepted: Accepted, reception: Arc<Reception>, phase: watch::Receiver<Phase>) {
    let Accepted { stream, client, here } = accepted;
    let entered = reception.enter(client);
    let _guest = match entered {
        Ok(guest) => guest,
        Err(reached) => return reception.turn_away(stream, client, reached).await,
    };
    tracing::debug!(%client, %here, "connected");
    let ended = match reception.role {
        Role::Mx | Role::Submission => begin_clear(stream, client, &reception, phase).await,
        Role::Submissions => begin_encrypted(stream, client, &reception, phase).await,
    };
    match ended {
        Ok(()) => tracing::debug!(%client, "disconnected"),
        Err(lost) => tracing::debug!(%client, because = %lost, "connection lost"),
    }
}

async fn begin_clear(
    mut stream: Box<dyn Stream>,
    client: SocketAddr,
    reception: &Arc<Reception>,
    mut phase: watch::Receiver<Phase>,
) -> std::io::Result<()> {
    let mut session = Session::<Clear>::new(
        reception.service_now(),
        client.ip(),
        reception.ports.clock.instant(),
    );
    let mut talk = Talk::new(reception.clone(), client, None);
    match converse(&mut session, &mut stream, &mut talk, &mut phase).await? {
        End::Closed => return close(stream, reception).await,
        End::StartTls => {}
    }
    let handshake = match session.leave() {
        Ok(handshake) => handshake,
        Err(injected) => {
            // RFC 3207 §6: someone on the way put commands behind STARTTLS, or a client does not wait for 220.
            tracing::warn!(%client, octets = injected.0, "clear octets behind STARTTLS: connection closed");
            return Ok(());
        }
    };
    let Some((stream, facts)) = shake(stream, client, reception, talk.take_slot()).await else {
        return Ok(());
    };
    let session = handshake.done(reception.ports.clock.instant());
    encrypted(session, stream, client, reception, facts, phase).await
}

/// RFC 8314 §3.3: TLS first, the greeting inside.
async fn begin_encrypted(
    stream: Box<dyn Stream>,
    client: SocketAddr,
    reception: &Arc<Reception>,
    phase: watch::Receiver<Phase>,
) -> std::io::Result<()> {
    let slot = reception.tls.slot().await.ok();
    let Some((stream, facts)) = shake(stream, client, reception, slot).await else {
        return Ok(());
    };
    let now = reception.ports.clock.instant();
    let session = Session::<Tls>::implicit(reception.service.clone(), client.ip(), now);
    encrypted(session, stream, client, reception, facts, phase).await
}

async fn shake(
    stream: Box<dyn Stream>,
    client: SocketAddr,
    reception: &Reception,
    slot: Option<crate::tls::server::Slot>,
) -> Option<(Box<dyn Stream>, TlsFacts)> {
    let Some(slot) = slot else {
        tracing::info!(%client, because = "handshakes_max", "no TLS handshake");
        return None;
    };
    match reception.tls.accept(stream, slot).await {
        Ok(shaken) => Some(shaken),
        Err(because) => {
            tracing::info!(%client, %because, "no TLS handshake");
            None
        }
    }
}

async fn encrypted(
    mut session: Session<Tls>,
    mut stream: Box<dyn Stream>,
    client: SocketAddr,
    reception: &Arc<Reception>,
    facts: TlsFacts,
    mut phase: watch::Receiver<Phase>,
) -> std::io::Result<()> {
    tracing::debug!(%client, tls = %facts.version, cipher = %facts.cipher, group = facts.group.as_deref(), "encrypted");
    if reception.client_certificates == ClientCertificates::Require && facts.chain.is_empty() {
        tracing::info!(%client, because = "no client certificate", "not served");
        session.unsatisfied(CERTIFICATE_REQUIRED);
    }
    let mut talk = Talk::new(reception.clone(), client, Some(facts));
    converse(&mut session, &mut stream, &mut talk, &mut phase).await?;
    close(stream, reception).await
}

/// The one loop: takes steps, and hears more when there is none.
async fn converse<C: Channel + Send>(
    session: &mut Session<C>,
    stream: &mut Box<dyn Stream>,
    talk: &mut Talk,
    phase: &mut watch::Receiver<Phase>,
) -> std::io::Result<End> {
    let clock = talk.reception().ports.clock.clone();
    let write_wait = talk.reception().limits.write_wait;
    if *phase.borrow() == Phase::Draining {
        session.shut_down(clock.instant());
    }
    loop {
        while let Some(step) = session.step(clock.instant()) {
            match step {
                Step::Write(bytes) => {
                    talk.said(bytes);
                    say(stream, bytes, &*clock, write_wait).await?;
                }
                Step::Ask(question) => {
                    let reply = match talk.answer(question).await {
                        Ok(reply) => reply,
                        Err(open) => talk.close(open, session).await,
                    };
                    session.answer(reply);
                }
                Step::Body(bytes) => talk.body(bytes).await,
                Step::Abort => talk.abort(),
                Step::StartTls => return Ok(End::StartTls),
                Step::Close => return Ok(End::Closed),
            }
        }
        match hear(session, stream, phase, &*clock).await? {
            Heard::Octets | Heard::Nothing => {}
            Heard::Gone => session.closed_by_client(clock.instant()),
            Heard::Draining => session.shut_down(clock.instant()),
        }
    }
}

/// Says goodbye properly: close_notify inside TLS (RFC 8314 §3.4), then the end of the stream.
async fn close(mut stream: Box<dyn Stream>, reception: &Reception) -> std::io::Result<()> {
    let shutting = tokio::io::AsyncWriteExt::shutdown(&mut stream);
    within(&*reception.ports.clock, CLOSE_WAIT, shutting)
        .await
        .unwrap_or(Ok(()))
}

/// A client that is counted as connected until this is dropped.
struct Guest {
    clients: Arc<Mutex<Clients>>,
    address: std::net::IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .leave(self.address);
    }
}

impl Reception {
    /// What is offered to a client that connects now.
    fn service_now(&self) -> Arc<Service> {
        match self.tls.is_usable() {
            true => self.service.clone(),
            false => self.service_without_tls.clone(),
        }
    }

    /// Whether mail may only come inside TLS.
    fn demands_tls(&self) -> bool {
        self.service.starttls == StartTls::Demanded
    }

    fn enter(&self, client: SocketAddr) -> Result<Guest, Reached> {
        let now = self.ports.clock.instant();
        let kin = match self.policy.is_named_network(client.ip()) {
            true => Kin::Ours,
            false => Kin::Stranger,
        };
        self.clients().enter(client.ip(), kin, &self.limits, now)?;
        Ok(Guest {
            clients: self.clients.clone(),
            address: client.ip(),
        })
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something a client did or was refused.
    fn count(&self, client: SocketAddr, deed: Deed) {
        let now = self.ports.clock.instant();
        self.clients().count(client.ip(), deed, now);
    }

    /// 421 in the clear; nothing where TLS should come first. A new socket takes a line at once, so this is quick.
    async fn turn_away(&self, mut stream: Box<dyn Stream>, client: SocketAddr, reached: Reached) {
        tracing::info!(%client, limit = reached.0, "turned away");
        if self.role == Role::Submissions {
            return;
        }
        let clock = &*self.ports.clock;
        let mut session =
            Session::<Clear>::refuse(self.service.clone(), client.ip(), TOO_MUCH, clock.instant());
        if let Some(Step::Write(bytes)) = session.step(clock.instant()) {
            // Whether it is heard changes nothing.
            let _ = say(&mut stream, bytes, clock, CLOSE_WAIT).await;
        }
    }
}

const TOO_MUCH: Reply = Reply::fixed(
    421,
    EnhancedStatus::new(Class::Transient, 7, 0),
    "too much from your address, try later",
);
const CERTIFICATE_REQUIRED: Reply = Reply::fixed(
    554,
    EnhancedStatus::new(Class::Permanent, 7, 0),
    "this port asks for a client certificate",
);
/// For a close_notify to leave.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
