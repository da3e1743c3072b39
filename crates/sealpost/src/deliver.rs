//! One attempt to hand a message to the hosts of its destination.
//!
//! Goes through the hosts in their order until every recipient has an answer. Says what each was answered and leaves
//! one record of evidence for each host that was tried; what follows from that is decided by the dispatcher.

mod causes;
mod errand;
mod link;
mod opening;
pub mod peers;
mod wire;

use std::time::SystemTime;

use mail::{Cause, Channel, Domain, Reply};
use smtp::client::{ContentSent, End, Fate, Outcome, Trouble, Unsendable};
use trust::{Avoid, Evidence, Plan, Source};

pub use self::errand::{Attempted, Concerns, Errand, Found, OpenContent, Reach, Wanting};
use self::link::NotSent;
pub use self::link::{Connection, Link};
use self::peers::{Lesson, Peers};
use crate::config::route::Route;
use crate::ports::Ports;
use crate::promises::Promises;
use crate::route::{Hop, Way};
use crate::tls::ClientTls;

/// What every attempt needs.
#[derive(Clone)]
pub struct Courier {
    /// The world.
    pub ports: Ports,
    /// Handshakes.
    pub tls: ClientTls,
    /// What is demanded of hosts.
    pub promises: Promises,
    /// This host's name, said in EHLO.
    pub me: Domain,
    /// `[route]`.
    pub route: Route,
    /// Bounds of sessions.
    pub limits: smtp::Limits,
}

struct Attempt<'a> {
    courier: &'a Courier,
    errand: &'a Errand,
    peers: &'a Peers,
    reached: &'a (dyn Fn() + Send + Sync),
    /// Recipients without an answer.
    left: Vec<usize>,
    found: Vec<Option<(Found, usize)>>,
    /// Why the last host could not be used.
    last: Option<Cause>,
    /// What the last host lacked of what is demanded.
    unmet: Option<Cause>,
    wanting: Vec<Wanting>,
    /// Why a host could not have this message.
    unfit: Option<Cause>,
    evidence: Vec<Evidence>,
    lessons: Vec<Lesson>,
    reach: Reach,
    connection: Option<Connection>,
    spent: Vec<Connection>,
    dialled: usize,
}

/// Where to go on when a host or an address came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Elsewhere {
    NextAddress,
    NextHost,
    Nowhere,
}

/// How a session left things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    /// Everyone has an answer.
    Over,
    /// Some are left that a further session with the same host may take.
    AnotherSession,
    /// On to the next address.
    NextAddress,
    /// On to the next host.
    NextHost,
    /// The session was no longer there when it was used again.
    Stale,
}

/// Makes one attempt. `idle` is a session kept from before; `reached` is called once a host lets us send.
pub async fn deliver(
    courier: &Courier,
    way: &Way,
    errand: &Errand,
    peers: &Peers,
    idle: Option<Connection>,
    reached: &(dyn Fn() + Send + Sync),
) -> Attempted {
    let mut attempt = Attempt::new(courier, errand, peers, reached);
    if let Some(connection) = idle {
        attempt.reuse(connection, way).await;
    }
    for hop in &way.hops {
        if attempt.left.is_empty() || attempt.try_host(hop, way.domain.as_ref()).await == Elsewhere::Nowhere {
            break;
        }
    }
    attempt.finish()
}

/// Whether a session is fresh, or was kept idle and may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    Fresh,
    Idle,
}

impl Courier {
    async fn plan(&self, hop: &Hop, domain: Option<&Domain>, errand: &Errand) -> Result<Plan, Avoid> {
        self.promises.plan(hop, domain, errand.wish).await
    }
}

impl<'a> Attempt<'a> {
    fn new(
        courier: &'a Courier,
        errand: &'a Errand,
        peers: &'a Peers,
        reached: &'a (dyn Fn() + Send + Sync),
    ) -> Attempt<'a> {
        Attempt {
            courier,
            errand,
            peers,
            reached,
            left: (0..errand.envelope.recipients.len()).collect(),
            found: vec![None; errand.envelope.recipients.len()],
            last: None,
            unmet: None,
            wanting: Vec::new(),
            unfit: None,
            evidence: Vec::new(),
            lessons: Vec::new(),
            reach: Reach::Unreached,
            connection: None,
            spent: Vec::new(),
            dialled: 0,
        }
    }

    /// Uses a session kept from before, if what it has shown is enough for this message now.
    async fn reuse(&mut self, connection: Connection, way: &Way) {
        let hop = way.hops.iter().find(|hop| hop.host == *connection.host());
        let Some(hop) = hop else {
            return self.spent.push(connection);
        };
        let Ok(plan) = self.courier.plan(hop, way.domain.as_ref(), self.errand).await else {
            return self.spent.push(connection);
        };
        match connection.judged_anew(&plan, self.courier.ports.clock.now()) {
            Ok(connection) => drop(self.converse_on(connection, Kept::Idle).await),
            Err(insufficient) => self.spent.push(insufficient),
        }
    }

    async fn try_host(&mut self, hop: &Hop, domain: Option<&Domain>) -> Elsewhere {
        let plan = match self.courier.plan(hop, domain, self.errand).await {
            Ok(plan) => plan,
            Err(avoid) => return self.avoid(hop, domain, &avoid),
        };
        for address in &hop.addresses {
            for _session in 0..SESSIONS_MAX {
                if self.dialled == DIALLED_MAX {
                    return Elsewhere::Nowhere;
                }
                self.dialled += 1;
                let connection = match self.open(&plan, *address).await {
                    Ok(connection) => connection,
                    Err(Elsewhere::NextAddress) => break,
                    Err(other) => return other,
                };
                self.reach = Reach::Reached;
                (self.reached)();
                match self.converse_on(connection, Kept::Fresh).await {
                    After::Over => return Elsewhere::Nowhere,
                    After::AnotherSession => self.last = Some(self.few_at_a_time(hop)),
                    After::NextAddress | After::Stale => break,
                    After::NextHost => return Elsewhere::NextHost,
                }
            }
        }
        Elsewhere::NextHost
    }

    /// Why recipients may be left when no more sessions are opened in this attempt.
    fn few_at_a_time(&self, hop: &Hop) -> Cause {
        causes::few_at_a_time(&hop.host, self.courier.ports.clock.now())
    }

    async fn converse_on(&mut self, connection: Connection, kept: Kept) -> After {
        match connection {
            Connection::Clear(link) => self.converse(link, kept, Connection::Clear).await,
            Connection::Tls(link) => self.converse(link, kept, Connection::Tls).await,
        }
    }

    /// Sends to all recipients that are left, in as many transactions as the host wants.
    async fn converse<C: Channel>(
        &mut self,
        mut link: Box<Link<C>>,
        kept: Kept,
        kind: fn(Box<Link<C>>) -> Connection,
    ) -> After {
        let mut stale = kept == Kept::Idle;
        let mut useful = false;
        loop {
            let batch: Vec<usize> = self.left.iter().copied().take(BATCH_RECIPIENTS_MAX).collect();
            let started = self.courier.ports.clock.now();
            let outcome = match link.transact(self.errand, &batch, &self.courier.ports).await {
                Ok(outcome) => outcome,
                Err(NotSent::Unsendable(Unsendable::Utf8)) if self.part_by_utf8(&link.evidence) => continue,
                Err(NotSent::Unsendable(Unsendable::NotReady)) if kept == Kept::Idle => {
                    self.spent.push(kind(link));
                    return After::Stale;
                }
                Err(NotSent::Unsendable(why)) => return self.not_for_this_host(link, kind, why, started),
                Err(NotSent::Ours(text)) => {
                    // The session is dropped without a final dot: the host cannot take half a message for a whole.
                    let cause = causes::ours(text, self.courier.ports.clock.now());
                    self.refuse_left(&cause);
                    let evidence = self.record(&link, started);
                    self.conclude(evidence, &cause);
                    return After::Over;
                }
            };
            if stale && is_stale(&outcome) {
                return After::Stale;
            }
            stale = false;
            let before = self.left.len();
            let lost = self.take_in(&link, &batch, &outcome, started);
            useful |= self.left.len() < before;
            if self.left.is_empty() && !lost {
                self.keep(link, kind);
                return After::Over;
            }
            if self.left.is_empty() {
                return After::Over;
            }
            if lost {
                return After::NextAddress;
            }
            if self.left.len() < before && link.ready.can_send_more() {
                continue;
            }
            if !useful {
                let cause = causes::unsendable(&link.evidence.host, Unsendable::NotReady, started);
                self.refuse_left(&cause);
            }
            self.spent.push(kind(link));
            return if useful {
                After::AnotherSession
            } else {
                After::Over
            };
        }
    }

    /// The host offers too little for this message, or its session is used up.
    fn not_for_this_host<C: Channel>(
        &mut self,
        link: Box<Link<C>>,
        kind: fn(Box<Link<C>>) -> Connection,
        why: Unsendable,
        started: SystemTime,
    ) -> After {
        if why == Unsendable::NotReady && link.sent > 0 {
            self.spent.push(kind(link));
            return After::AnotherSession;
        }
        let evidence = self.record(&link, started);
        let cause = causes::unsendable(&evidence.host, why, evidence.ended);
        match why {
            Unsendable::NotReady => self.last = Some(cause.clone()),
            Unsendable::RequireTls
            | Unsendable::EightBit
            | Unsendable::Utf8
            | Unsendable::Binary
            | Unsendable::LongLine
            | Unsendable::TooLarge(_) => self.unfit = Some(cause.clone()),
        }
        self.conclude(evidence, &cause);
        self.keep(link, kind);
        After::NextHost
    }

    /// Writes down what a transaction brought. Says whether the session broke.
    fn take_in<C: Channel>(
        &mut self,
        link: &Link<C>,
        batch: &[usize],
        outcome: &Outcome,
        started: SystemTime,
    ) -> bool {
        let mut evidence = self.record(link, started);
        let (host, at) = (evidence.host.clone(), evidence.ended);
        let place = self.evidence.len();
        let reports = link.ready.hello().dsn();
        let (mut taken, mut refused, mut lost) = (0, 0, false);
        for (recipient, fate) in batch.iter().zip(outcome.fates()) {
            let found = match fate {
                Fate::Taken(reply) => {
                    taken += 1;
                    evidence.reply = Some(reply.clone());
                    Some(Found::Taken {
                        cause: causes::taken(&host, reply, at),
                        reports,
                    })
                }
                Fate::Refused(reply) if leaves(outcome, reply) => {
                    lost = true;
                    evidence.reply.get_or_insert_with(|| reply.clone());
                    self.last = Some(causes::trouble(&host, &Trouble::Refused(reply.clone()), at));
                    None
                }
                Fate::Refused(reply) => {
                    refused += 1;
                    evidence.reply.get_or_insert_with(|| reply.clone());
                    Some(Found::Refused(causes::refused(&host, reply, at)))
                }
                Fate::Again => None,
                Fate::Lost(trouble, sent) => {
                    lost = true;
                    let cause = causes::lost(&host, trouble, sent, at);
                    self.last = Some(cause.clone());
                    // The host may have it: no other host is asked in this attempt.
                    (sent == ContentSent::Whole).then_some(Found::Refused(cause))
                }
            };
            if let Some(found) = found {
                self.found[*recipient] = Some((found, place));
                self.left.retain(|left| left != recipient);
            }
        }
        evidence.outcome = match (&self.last, lost) {
            (Some(cause), true) => format!("{taken} taken, {refused} refused; {}", cause.text).into(),
            _ => format!("{taken} taken, {refused} refused").into(),
        };
        self.evidence.push(evidence);
        lost
    }

    /// The message's own copy of the channel's evidence.
    fn record<C: Channel>(&self, link: &Link<C>, started: SystemTime) -> Evidence {
        Evidence {
            message: Some(self.errand.id),
            started: if link.sent <= 1 {
                link.evidence.started.min(started)
            } else {
                started
            },
            ended: self.courier.ports.clock.now(),
            ..link.evidence.clone()
        }
    }

    /// A host or address came to nothing.
    fn fail(&mut self, evidence: Evidence, cause: Cause) {
        self.conclude(evidence, &cause);
        self.last = Some(cause);
    }

    fn conclude(&mut self, mut evidence: Evidence, cause: &Cause) {
        evidence.reply = evidence.reply.or_else(|| cause.reply.clone());
        evidence.outcome = format!("{} {}", cause.status, cause.text).into();
        evidence.ended = cause.at.max(evidence.started);
        self.evidence.push(evidence);
    }

    /// Everyone left gets this answer. The evidence that follows is theirs.
    fn refuse_left(&mut self, cause: &Cause) {
        let place = self.evidence.len();
        for recipient in std::mem::take(&mut self.left) {
            self.found[recipient] = Some((Found::Refused(cause.clone()), place));
        }
    }

    /// Where UTF-8 is needed by some recipients' addresses alone, those are refused here and the others go on.
    fn part_by_utf8(&mut self, channel: &Evidence) -> bool {
        let recipients = &self.errand.envelope.recipients;
        let needs = |place: &usize| recipients[*place].mailbox.needs_utf8();
        let (utf8, ascii): (Vec<usize>, Vec<usize>) = self.left.iter().partition(|place| needs(place));
        if utf8.is_empty() || ascii.is_empty() {
            return false;
        }
        let cause = causes::unsendable(&channel.host, Unsendable::Utf8, self.courier.ports.clock.now());
        for recipient in utf8 {
            self.found[recipient] = Some((Found::Refused(cause.clone()), self.evidence.len()));
        }
        self.left = ascii;
        true
    }

    /// Keeps a session for the next message, unless it can take none or went clear for this message alone.
    fn keep<C: Channel>(&mut self, link: Box<Link<C>>, kind: fn(Box<Link<C>>) -> Connection) {
        let full = link.sent >= self.courier.route.connection_messages_max;
        let more = link.ready.can_send_more() && !link.is_exception() && !full && self.connection.is_none();
        match more {
            true => self.connection = Some(kind(link)),
            false => self.spent.push(kind(link)),
        }
    }

    fn finish(self) -> Attempted {
        let at = self.courier.ports.clock.now();
        // Another host might have taken it: only where all that answered could not, it is for good.
        let wish = self.errand.wish;
        let by_message = self.wanting.iter().any(|wanting| wanting.by == Source::Message);
        let held = self.unmet.map(|cause| Found::Held {
            cause: causes::for_wish(cause, wish),
            concerns: match by_message {
                true => Concerns::TheMessage,
                false => Concerns::TheDestination,
            },
        });
        let last = self
            .last
            .map(|cause| causes::for_wish(cause, wish))
            .or(self.unfit);
        let last = last.unwrap_or_else(|| causes::silent("no host could be tried".to_owned(), at));
        let count = self.evidence.len();
        let (found, answered_by) = self
            .found
            .into_iter()
            .map(|found| match found {
                Some((found, place)) => (found, Some(place).filter(|place| *place < count)),
                None => (
                    held.clone().unwrap_or(Found::Refused(last.clone())),
                    count.checked_sub(1),
                ),
            })
            .unzip();
        Attempted {
            found,
            evidence: self.evidence,
            answered_by,
            wanting: self.wanting,
            lessons: self.lessons,
            reach: self.reach,
            connection: self.connection,
            spent: self.spent,
        }
    }
}

/// RFC 5321 §3.8: 421 says that the host closes, and nothing of the sender or recipient. Not so behind the content: that
/// answers the message.
fn leaves(outcome: &Outcome, reply: &Reply) -> bool {
    reply.code() == 421 && !matches!(outcome.end, End::Answered(_))
}

/// A kept session that broke, or said 421 (RFC 5321 §3.8), before anyone was accepted was gone already; that says
/// nothing of the host.
fn is_stale(outcome: &Outcome) -> bool {
    let before = |fate: Fate<'_>| match fate {
        Fate::Lost(_, ContentSent::Partly) => true,
        Fate::Refused(reply) => leaves(outcome, reply),
        Fate::Taken(_) | Fate::Again | Fate::Lost(_, ContentSent::Whole) => false,
    };
    outcome.fates().all(before)
}

/// Recipients of one transaction: what every host must take (RFC 5321 §4.5.3.1.8).
const BATCH_RECIPIENTS_MAX: usize = 100;
/// Sessions with one address in an attempt, whatever limits the host names (RFC 9422 §6).
const SESSIONS_MAX: usize = 50;
/// Connections of one attempt, over all hosts.
const DIALLED_MAX: usize = 60;
