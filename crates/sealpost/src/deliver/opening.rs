//! From an address to a session with leave to send: connect, greet, turn to TLS, judge.

use std::net::{IpAddr, SocketAddr};

use mail::proof::Permit;
use mail::{Cause, Clear, Domain, Host, Tls};
use smtp::client::{Handshake, Session};
use trust::{Avoid, Demand, Evidence, Judged, Opening, Plan, Shown, Source, Verdict, WhyAvoid, WhyClear};

use super::link::QUIT_WAIT;
use super::peers::Lesson;
use super::wire::{Said, Wire};
use super::{Attempt, Connection, Elsewhere, Link, Wanting, causes};
use crate::ports::within;
use crate::route::Hop;
use crate::tls::Ask;

/// How a try at one address stands: what is told of it, and what is known so far.
struct Knock {
    plan: Plan,
    evidence: Evidence,
    address: SocketAddr,
}

impl Attempt<'_> {
    /// Opens a session with a host at one of its addresses, or says where to go on. Leaves evidence of each failure;
    /// evidence of success travels with the session.
    pub(super) async fn open(&mut self, plan: &Plan, address: SocketAddr) -> Result<Connection, Elsewhere> {
        let now = self.courier.ports.clock.now();
        let knock = Knock {
            evidence: Evidence {
                message: Some(self.errand.id),
                address: Some(address),
                ..Evidence::begun(plan, now)
            },
            plan: plan.clone(),
            address,
        };
        if let Some(silent) = self.peers.silent(address, now) {
            self.last = Some(causes::silent(
                format!("{address} left alone for now: {}", silent.text),
                now,
            ));
            return Err(Elsewhere::NextAddress);
        }
        let net = self
            .courier
            .ports
            .net
            .connect(address, self.courier.source(address));
        let connected = within(&*self.courier.ports.clock, self.courier.route.connect_wait, net).await;
        let stream = match connected.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(stream) => stream,
            Err(error) => {
                let now = self.courier.ports.clock.now();
                let cause = causes::unreached(&address.to_string(), &error, now);
                self.lessons.push(Lesson::Silent(address, cause.text.clone()));
                self.fail(knock.evidence, cause);
                return Err(Elsewhere::NextAddress);
            }
        };
        let wire = Wire::new(stream, self.courier.ports.clock.clone());
        self.greet(knock, wire).await
    }

    async fn greet(&mut self, knock: Knock, mut wire: Wire) -> Result<Connection, Elsewhere> {
        let clock = self.courier.ports.clock.clone();
        let mut session = Session::new(
            self.courier.me.clone(),
            self.courier.limits.clone(),
            clock.instant(),
        );
        match wire.hear(&mut session).await {
            Said::Hello => self.lessons.push(Lesson::Answered(knock.address)),
            other => return Err(self.broken(knock, wire, session, other).await),
        }
        if is_me(session.hello().host(), &self.courier.me) {
            let cause = causes::loops(knock.plan.host(), clock.now());
            self.dismiss(&mut wire, session).await;
            self.refuse_left(&cause);
            self.fail(knock.evidence, cause);
            return Err(Elsewhere::Nowhere);
        }
        let trouble = self.peers.tls_trouble(knock.plan.host());
        let wait = self.courier.route.clear_after;
        let why = match knock.plan.opening(trouble, self.errand.tried, wait, clock.now()) {
            Opening::Clear(why) => why,
            Opening::Tls if !session.hello().offers_starttls() => {
                if self.was_encrypted(knock.plan.host()) {
                    self.dismiss(&mut wire, session).await;
                    return Err(self.no_tls(knock, None, "STARTTLS was offered a moment ago and is no more"));
                }
                WhyClear::NotOffered
            }
            Opening::Tls => return self.start_tls(knock, wire, session).await,
        };
        self.stay_clear(knock, wire, session, why).await
    }

    /// Whether this attempt has had a session inside TLS with the host. What it sends there after that stays under lock.
    fn was_encrypted(&self, host: &Host) -> bool {
        let worked = |lesson: &Lesson| matches!(lesson, Lesson::TlsWorked(known) if known == host);
        self.lessons.iter().any(worked)
    }

    async fn start_tls(
        &mut self,
        knock: Knock,
        mut wire: Wire,
        mut session: Session<Clear>,
    ) -> Result<Connection, Elsewhere> {
        let clock = self.courier.ports.clock.clone();
        if session.start_tls(clock.instant()).is_err() {
            return Err(self.no_tls(knock, None, "STARTTLS could not be said"));
        }
        match wire.hear(&mut session).await {
            Said::StartTls => {}
            Said::StartTlsRefused(reply) => {
                self.dismiss(&mut wire, session).await;
                return Err(self.no_tls(knock, Some(reply), "STARTTLS was refused"));
            }
            other => return Err(self.broken(knock, wire, session, other).await),
        }
        // RFC 3207 §6: what came behind 220 was sent in the clear, to pass for the host's words inside TLS.
        let handshake = match session.leave() {
            Ok(handshake) => handshake,
            Err(injected) => {
                let text = format!("{} octets were injected behind the reply to STARTTLS", injected.0);
                return Err(self.no_tls(knock, None, &text));
            }
        };
        self.shake_hands(knock, wire, handshake).await
    }

    async fn shake_hands(
        &mut self,
        knock: Knock,
        wire: Wire,
        handshake: Handshake,
    ) -> Result<Connection, Elsewhere> {
        let clock = self.courier.ports.clock.clone();
        let host = knock.plan.host();
        let ask = Ask {
            server_name: knock.plan.server_name(),
            version_min: knock.plan.version_min(),
            groups: knock.plan.groups(),
            certificate: knock.plan.certificate(),
        };
        let wait = self.courier.route.handshake_wait;
        let encrypted = match self
            .courier
            .tls
            .connect(wire.into_stream(), host, ask, wait)
            .await
        {
            Ok(encrypted) => encrypted,
            // RFC 3207 §4: nothing is said in clear on a connection whose handshake failed.
            Err(error) => return Err(self.no_tls(knock, None, &error.to_string())),
        };
        self.lessons.push(Lesson::TlsWorked(host.clone()));
        let mut wire = Wire::new(encrypted.stream, clock.clone());
        let shown = Shown::<Tls>::tls(encrypted.facts, encrypted.certificates);
        // RFC 3207 §4.1: judged right after the handshake, and QUIT is all that is said where it is not enough.
        let (knock, permit) = match self.judge(knock, &shown) {
            Ok(judged) => judged,
            Err(next) => {
                self.dismiss(&mut wire, handshake.quit(clock.instant())).await;
                return Err(next);
            }
        };
        let mut session = handshake.done(clock.instant());
        match wire.hear(&mut session).await {
            Said::Hello => {}
            other => return Err(self.broken(knock, wire, session, other).await),
        }
        let link = Link::new(wire, session.ready(permit), shown, knock.evidence);
        Ok(Connection::Tls(Box::new(link)))
    }

    async fn stay_clear(
        &mut self,
        knock: Knock,
        mut wire: Wire,
        session: Session<Clear>,
        why: WhyClear,
    ) -> Result<Connection, Elsewhere> {
        let shown = Shown::<Clear>::clear(why);
        match self.judge(knock, &shown) {
            Ok((knock, permit)) => {
                let link = Link::new(wire, session.ready(permit), shown, knock.evidence);
                Ok(Connection::Clear(Box::new(link)))
            }
            Err(next) => {
                self.dismiss(&mut wire, session).await;
                Err(next)
            }
        }
    }

    /// Leave to send over this channel, or on to the next host.
    fn judge<C: mail::Channel>(
        &mut self,
        mut knock: Knock,
        shown: &Shown<C>,
    ) -> Result<(Knock, Permit<C>), Elsewhere> {
        let now = self.courier.ports.clock.now();
        let judgement = knock.plan.judge(shown, now);
        knock.evidence.seen = judgement.evidence.seen;
        knock.evidence.judged = judgement.evidence.judged;
        match judgement.verdict {
            Verdict::Send(permit) => Ok((knock, permit)),
            Verdict::Hold(unmet) => {
                let cause = causes::unmet(knock.plan.host(), &unmet, now);
                self.wants(knock.plan.host(), unmet.by, &cause);
                self.fail(knock.evidence, cause);
                Err(Elsewhere::NextHost)
            }
        }
    }

    /// The session broke before there was leave to send.
    async fn broken<C: mail::Channel>(
        &mut self,
        knock: Knock,
        mut wire: Wire,
        session: Session<C>,
        said: Said,
    ) -> Elsewhere {
        let now = self.courier.ports.clock.now();
        let cause = match said {
            Said::Broken(trouble) => causes::trouble(knock.plan.host(), &trouble, now),
            _ => causes::ours("the session told something out of place".to_owned(), now),
        };
        if cause.reply.is_none() {
            self.lessons
                .push(Lesson::Silent(knock.address, cause.text.clone()));
        }
        self.dismiss(&mut wire, session).await;
        self.fail(knock.evidence, cause);
        Elsewhere::NextAddress
    }

    /// TLS came to nothing: on to the next host, and remembered, so that a later attempt can decide anew.
    fn no_tls(&mut self, mut knock: Knock, reply: Option<mail::Reply>, text: &str) -> Elsewhere {
        let now = self.courier.ports.clock.now();
        let host = knock.plan.host().clone();
        knock.evidence.tls_trouble = Some(trust::TlsTrouble {
            at: now,
            text: text.into(),
        });
        self.lessons.push(Lesson::TlsFailed(host.clone(), text.into()));
        let cause = causes::insecure(&host, reply, text, now);
        if knock.plan.demand() > Demand::Opportunistic {
            let unmet = knock.plan.unencrypted();
            self.wants(&host, unmet.by, &cause);
            knock.evidence.judged = Some(Judged::Insufficient(unmet));
        }
        self.fail(knock.evidence, cause);
        Elsewhere::NextHost
    }

    /// A host that is not even dialled. What was not found out may be found out later; the rest is a lack of what is
    /// demanded.
    pub(super) fn avoid(&mut self, hop: &Hop, domain: Option<&Domain>, avoid: &Avoid) -> Elsewhere {
        let now = self.courier.ports.clock.now();
        let cause = causes::avoided(&hop.host, avoid, now);
        match avoid.why {
            WhyAvoid::NotFoundOut(_) => {}
            WhyAvoid::NotListed(_) | WhyAvoid::Unprovable(_) => self.wants(&hop.host, avoid.source, &cause),
        }
        let evidence = Evidence::avoided(hop.host.clone(), domain.cloned(), avoid, now);
        let message = Some(self.errand.id);
        self.fail(Evidence { message, ..evidence }, cause);
        Elsewhere::NextHost
    }

    /// A host that is there and lacks what is demanded.
    fn wants(&mut self, host: &Host, by: Source, cause: &Cause) {
        self.unmet = Some(cause.clone());
        self.wanting.push(Wanting {
            host: host.clone(),
            by,
            text: cause.text.clone(),
        });
    }

    /// QUIT, and no long wait for the answer.
    async fn dismiss<C: mail::Channel>(&mut self, wire: &mut Wire, mut session: Session<C>) {
        let clock = &*self.courier.ports.clock;
        session.quit(clock.instant());
        let quit = async { while !matches!(wire.hear(&mut session).await, Said::Close) {} };
        within(clock, QUIT_WAIT, quit).await;
    }
}

/// A host that greets with this server's own name is this server. Names without a dot are too common to tell.
fn is_me(greeting: &str, me: &Domain) -> bool {
    me.as_str().contains('.') && Host::parse(greeting).is_ok_and(|host| host.name() == Some(me))
}

impl super::Courier {
    fn source(&self, peer: SocketAddr) -> Option<IpAddr> {
        let same_family = |address: &&IpAddr| address.is_ipv4() == peer.is_ipv4();
        self.route.source.iter().find(same_family).copied()
    }
}
