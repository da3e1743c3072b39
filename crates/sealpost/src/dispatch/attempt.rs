//! One attempt as a task: find the way, hand over, settle.

use std::sync::Arc;
use std::time::SystemTime;

use mail::{Cause, Class, DeliveryStatus, EnhancedStatus, Envelope, ReversePath, TlsWish};
use spool::{Leased, Progress, Spool};
use tokio::sync::mpsc;
use trust::{Evidence, Tried};

use super::lanes::{Becomes, Closed, Health, Start};
use super::next_try::host_pause;
use super::rules::Rules;
use super::settle::{Answers, settle};
use super::witness::Sight;
use super::{Ended, Event, Wish, fault};
use crate::deliver::peers::{Lesson, Peers};
use crate::deliver::{Attempted, Concerns, Connection, Courier, Errand, Found, Reach, deliver};
use crate::ports::Ports;
use crate::route::{Destination, NoWay, Way};
use crate::spooling::off_the_async_threads;

/// What an attempt is given.
pub(super) struct Task {
    pub(super) ports: Ports,
    pub(super) spool: Arc<Spool>,
    pub(super) rules: Arc<Rules>,
    pub(super) peers: Arc<Peers>,
    pub(super) wish: Wish,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) leased: Leased,
    pub(super) start: Start<Connection>,
}

/// What came of it before it is settled.
struct Came {
    answers: Answers,
    health: Health,
    lessons: Vec<Lesson>,
    connection: Option<Connection>,
    spent: Vec<Connection>,
}

/// Makes the attempt and records what came of it.
pub(super) async fn attempt(task: Task) -> Ended {
    let Task {
        leased, start, wish, ..
    } = task;
    let around = Around {
        ports: task.ports,
        spool: task.spool,
        rules: task.rules,
        peers: task.peers,
        events: task.events,
    };
    let lane = leased.lane().clone();
    let (leased, came) = match start {
        Start::PutOff(closed) if !closed.concerns(wish_of_channels(&leased.message().envelope)) => {
            around.go(leased, None, 0).await
        }
        Start::PutOff(closed) => {
            let came = put_off(&leased, &closed, around.ports.clock.now());
            (Some(leased), came)
        }
        Start::Attempt { idle, closings } => around.go(leased, idle, closings).await,
    };
    let recorded = match leased {
        Some(leased) => around.record(leased, came.answers).await,
        None => Recorded::No, // dropped in a panic
    };
    Ended {
        lane,
        health: match recorded {
            Recorded::Yes => came.health,
            // What was given back is due at once: without a rest it would be sent again and again.
            Recorded::No => fault(around.ports.clock.now(), NOT_RECORDED),
        },
        rules: around.rules,
        wish,
        lessons: came.lessons,
        connection: came.connection,
        spent: came.spent,
    }
}

/// Whether what became of a message was recorded.
enum Recorded {
    Yes,
    No,
}

/// What surrounds an attempt.
struct Around {
    ports: Ports,
    spool: Arc<Spool>,
    rules: Arc<Rules>,
    peers: Arc<Peers>,
    events: mpsc::Sender<Event>,
}

impl Around {
    /// Gives the lease back unless a delivery here panicked.
    async fn go(&self, leased: Leased, idle: Option<Connection>, closings: u32) -> (Option<Leased>, Came) {
        let now = self.ports.clock.now();
        let mut came = match (destination(&leased, &self.rules), &self.rules.courier) {
            (Some(Destination::Local), _) => return deliver_here(leased, &self.rules).await,
            (Some(destination), Some(courier)) => {
                let came = self.outward(&leased, &destination, courier, idle, closings).await;
                return (Some(leased), came);
            }
            // The rules changed while it was on its way here: it is due in its new lanes.
            (None, _) => all_deferred(&leased, now, cause(&self.ports, 3, 0, "it is being routed anew")),
            (Some(_), None) => all_deferred(
                &leased,
                now,
                cause(&self.ports, 4, 4, "this server sends no mail to others"),
            ),
        };
        came.spent.extend(idle);
        (Some(leased), came)
    }

    async fn outward(
        &self,
        leased: &Leased,
        destination: &Destination,
        courier: &Courier,
        idle: Option<Connection>,
        closings: u32,
    ) -> Came {
        let outward = Outward {
            ports: &self.ports,
            spool: &self.spool,
            rules: &self.rules,
            peers: &self.peers,
            courier,
        };
        let lane = leased.lane();
        let bell = || drop(self.events.try_send(Event::Reached(lane.clone())));
        outward.send(leased, destination, idle, closings, &bell).await
    }

    async fn record(&self, leased: Leased, answers: Answers) -> Recorded {
        let (spool, rules, clock) = (self.spool.clone(), self.rules.clone(), self.ports.clock.clone());
        let id = leased.message().id;
        let settled = off_the_async_threads(move || settle(&spool, &rules, &*clock, leased, answers)).await;
        match settled {
            Some(Ok(())) => return Recorded::Yes,
            Some(Err(error)) => {
                tracing::error!(id = %id, %error, "cannot record what became of a message");
            }
            None => tracing::error!(id = %id, "a fault broke off recording what became of a message"),
        }
        Recorded::No
    }
}

/// The destination of all leased recipients; none if they no longer share one.
fn destination(leased: &Leased, rules: &Rules) -> Option<Destination> {
    let mut all = leased
        .recipients()
        .map(|(_, recipient, _)| rules.routes.destination(&recipient.mailbox));
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// Blocks on the disk; the lease comes back unless the delivery panicked.
async fn deliver_here(leased: Leased, rules: &Arc<Rules>) -> (Option<Leased>, Came) {
    let local = Arc::clone(rules);
    let delivered = off_the_async_threads(move || {
        let outcome = local.office.deliver(&leased, &|_| local.office.clock.now());
        (leased, outcome)
    });
    let nothing = |health| Came {
        answers: Answers {
            statuses: Vec::new(),
            evidence: Vec::new(),
            tls_failed: false,
            offspring: Vec::new(),
        },
        health,
        lessons: Vec::new(),
        connection: None,
        spent: Vec::new(),
    };
    let Some((leased, outcome)) = delivered.await else {
        // Dropped in the panic, the lease went back.
        return (None, nothing(Health::Troubled));
    };
    let mut came = nothing(Health::Good);
    came.answers.evidence = vec![None; outcome.statuses.len()];
    came.answers.statuses = outcome.statuses;
    came.answers.offspring = outcome.offspring;
    (Some(leased), came)
}

/// What the message asks of channels. RFC 8689 §5: a report says REQUIRETLS where it can, but is not kept back for it,
/// since nobody would hear of what it tells.
fn wish_of_channels(envelope: &Envelope) -> TlsWish {
    match (&envelope.sender, envelope.wish) {
        (ReversePath::Null, TlsWish::Required) => TlsWish::Usual,
        (_, wish) => wish,
    }
}

impl Closed {
    /// Whether a message need not be tried. One that waives what hosts publish may go where others are
    /// held, and one that demands more has a reason of its own to be told.
    fn concerns(&self, wish: TlsWish) -> bool {
        match (self.becomes, wish) {
            (Becomes::Deferred, _) | (Becomes::Withheld, TlsWish::Usual) => true,
            (Becomes::Withheld, TlsWish::Required | TlsWish::Waived) => false,
        }
    }
}

/// Kept back since now, or since it was first.
fn withheld(progress: &Progress, until: SystemTime, cause: Cause) -> DeliveryStatus {
    DeliveryStatus::Withheld {
        since: progress.withheld_since.unwrap_or(cause.at),
        until,
        cause,
    }
}

/// The lane is closed: nobody was tried, and everyone waits like the one that was.
fn put_off(leased: &Leased, closed: &Closed, now: SystemTime) -> Came {
    let (until, cause) = (closed.until, &closed.cause);
    match closed.becomes {
        Becomes::Deferred => all_deferred(leased, until, cause.clone()),
        Becomes::Withheld => {
            let mut came = all_deferred(leased, now, cause.clone());
            let all = leased.recipients();
            came.answers.statuses = all
                .map(|(_, _, progress)| withheld(progress, until, cause.clone()))
                .collect();
            came
        }
    }
}

/// Nobody was tried; everyone waits for the same reason.
fn all_deferred(leased: &Leased, until: SystemTime, cause: Cause) -> Came {
    same_for_all(leased, DeliveryStatus::Deferred { until, cause }, Health::Untried)
}

fn same_for_all(leased: &Leased, status: DeliveryStatus, health: Health) -> Came {
    let count = leased.recipients().len();
    Came {
        answers: Answers {
            statuses: vec![status; count],
            evidence: vec![None; count],
            tls_failed: false,
            offspring: Vec::new(),
        },
        health,
        lessons: Vec::new(),
        connection: None,
        spent: Vec::new(),
    }
}

fn cause(ports: &Ports, subject: u16, detail: u16, text: &str) -> Cause {
    Cause {
        at: ports.clock.now(),
        status: EnhancedStatus::new(Class::Transient, subject, detail),
        remote: None,
        reply: None,
        text: text.into(),
    }
}

/// An attempt at other hosts.
struct Outward<'a> {
    ports: &'a Ports,
    spool: &'a Arc<Spool>,
    rules: &'a Arc<Rules>,
    peers: &'a Peers,
    courier: &'a Courier,
}

impl Outward<'_> {
    async fn send(
        &self,
        leased: &Leased,
        destination: &Destination,
        idle: Option<Connection>,
        closings: u32,
        reached: &(dyn Fn() + Send + Sync),
    ) -> Came {
        let way = match self
            .rules
            .routes
            .find(destination, &*self.ports.dns, self.ports.clock.roll())
            .await
        {
            Ok(way) => way,
            Err(no_way) => {
                let mut came = self.no_way(leased, &no_way, closings);
                came.spent.extend(idle);
                return came;
            }
        };
        for remark in &way.remarks {
            tracing::info!(%destination, remark, "odd mail exchangers");
        }
        let errand = self.errand(leased);
        let attempted = deliver(self.courier, &way, &errand, self.peers, idle, reached).await;
        attempted
            .evidence
            .iter()
            .for_each(|evidence| tracing::info!("attempt {evidence}"));
        // Durable before the attempt is settled: what was decided by it is not decided anew after a crash.
        let notices = self.rules.ledger.observe(&attempted.evidence).await;
        let now = self.ports.clock.now();
        let seen = Sight::of(&self.rules.witnesses, leased, &errand, &attempted, &way, now);
        self.rules.witnesses.see(errand.id, seen, now).await;
        // Told only now: an alarm refers to evidence that is kept.
        self.rules.witnesses.bell.notices(notices).await;
        self.came(leased, attempted, &way, closings)
    }

    fn errand(&self, leased: &Leased) -> Errand {
        let message = leased.message();
        // One that has not met the trouble itself is no reason to send the message in clear.
        let met = leased.recipients().all(|(_, _, progress)| progress.tls_failed);
        let (spool, id) = (Arc::clone(self.spool), message.id);
        Errand {
            id,
            envelope: Envelope {
                recipients: leased
                    .recipients()
                    .map(|(_, recipient, _)| recipient.clone())
                    .collect(),
                ..message.envelope.clone()
            },
            content: message.content,
            wish: wish_of_channels(&message.envelope),
            tried: if met { Tried::Before } else { Tried::Never },
            open: Arc::new(move || {
                let body = spool.read_body(id).map_err(std::io::Error::other)?;
                Ok(Box::new(body) as Box<dyn std::io::Read + Send>)
            }),
        }
    }

    fn no_way(&self, leased: &Leased, no_way: &NoWay, closings: u32) -> Came {
        let now = self.ports.clock.now();
        let cause = Cause {
            at: now,
            status: no_way.status,
            remote: None,
            reply: None,
            text: no_way.text.clone(),
        };
        if no_way.status.class() == Class::Permanent {
            return same_for_all(leased, DeliveryStatus::Failed(cause), Health::Good);
        }
        let until = now + host_pause(closings + 1, &self.rules.retry);
        let closed = Closed {
            until,
            cause: cause.clone(),
            becomes: Becomes::Deferred,
        };
        same_for_all(
            leased,
            DeliveryStatus::Deferred { until, cause },
            Health::Closed(closed),
        )
    }

    fn came(&self, leased: &Leased, attempted: Attempted, way: &Way, closings: u32) -> Came {
        let now = self.ports.clock.now();
        let until = self.silent_until(&attempted, way).unwrap_or(now);
        let status = |(found, (_, _, progress)): (Found, (_, _, &Progress))| match found {
            Found::Taken { cause, reports } => DeliveryStatus::Relayed { cause, reports },
            Found::Refused(cause) if cause.status.class() == Class::Permanent => {
                DeliveryStatus::Failed(cause)
            }
            Found::Refused(cause) => DeliveryStatus::Deferred { until, cause },
            Found::Held { cause, .. } => withheld(progress, until, cause),
        };
        let evidence: Vec<Option<Evidence>> = attempted
            .answered_by
            .iter()
            .map(|place| place.and_then(|place| attempted.evidence.get(place).cloned()))
            .collect();
        let taught = |kind: fn(&Lesson) -> bool| attempted.lessons.iter().any(kind);
        let tls_failed = taught(|lesson| matches!(lesson, Lesson::TlsFailed(..)));
        let troubled = tls_failed || taught(|lesson| matches!(lesson, Lesson::Silent(..)));
        let closed = self.closed(&attempted, closings, now);
        Came {
            answers: Answers {
                statuses: attempted
                    .found
                    .into_iter()
                    .zip(leased.recipients())
                    .map(status)
                    .collect(),
                evidence,
                tls_failed,
                offspring: Vec::new(),
            },
            health: match (closed, attempted.reach, troubled) {
                (Some(closed), _, _) => Health::Closed(closed),
                (None, Reach::Reached, false) => Health::Good,
                (None, Reach::Reached, true) | (None, Reach::Unreached, _) => Health::Troubled,
            },
            lessons: attempted.lessons,
            connection: attempted.connection,
            spent: attempted.spent,
        }
    }

    /// Where the hosts lack what is demanded for each message, the others wait for one test.
    fn closed(&self, attempted: &Attempted, closings: u32, now: SystemTime) -> Option<Closed> {
        attempted.found.iter().find_map(|found| match found {
            Found::Held {
                cause,
                concerns: Concerns::TheDestination,
            } => Some(Closed {
                until: now + host_pause(closings + 1, &self.rules.retry),
                cause: cause.clone(),
                becomes: Becomes::Withheld,
            }),
            Found::Held { .. } | Found::Taken { .. } | Found::Refused(_) => None,
        })
    }

    /// Where every address rests already, the time at which the first may be tried again.
    fn silent_until(&self, attempted: &Attempted, way: &Way) -> Option<SystemTime> {
        if attempted.reach == Reach::Reached {
            return None;
        }
        let now = self.ports.clock.now();
        let addresses = way.hops.iter().flat_map(|hop| &hop.addresses);
        let rests: Option<Vec<SystemTime>> = addresses
            .map(|address| Some(self.peers.silent(*address, now)?.until))
            .collect();
        rests?.into_iter().min()
    }
}

const NOT_RECORDED: &str = "this server could not record what became of a message; its log says why";
