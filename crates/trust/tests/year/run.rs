//! One destination's year under one way to remember.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mail::{Clear, Domain, Host, KeyPrint, Tls, TlsFacts, TlsVersion, TlsWish};
use trust::dane::{self, Records, Tlsa};
use trust::ledger::{
    Bound, DomainStanding, HostStanding, Leave, Notice, Observation, Rules, Second, Showed, Vouched, Weight,
    claim, observe,
};
use trust::{
    Certificates, Claim, Evidence, Flaw, Inputs, Judgement, Opening, Origin, Path, Plan, Presented, Shown,
    TlsTrouble, Tried, Verdict, WhyClear, sts,
};

use super::nature::{Destination, Kind, Trouble};
use super::table::Counts;
use super::{BEGIN, DAY, Dice, HOUR, YEAR};

/// How peers are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// As Sealpost does; a person answers each alarm within hours.
    Ledger,
    /// As Sealpost does; nobody ever answers.
    LedgerAlone,
    /// The first session binds to what it showed, for ever.
    FirstSight,
    /// Nothing is remembered.
    Nothing,
}

impl Way {
    pub const ALL: [Way; 4] = [Way::Ledger, Way::LedgerAlone, Way::FirstSight, Way::Nothing];

    fn rules(self) -> Rules {
        let mut rules = Rules::default();
        if self == Way::FirstSight {
            for binding in [&mut rules.host, &mut rules.domain] {
                binding.after = 1;
                binding.over = Duration::ZERO;
                binding.decay = Duration::MAX;
            }
        }
        rules
    }
}

/// What all destinations share: one real certificate, for DANE.
pub struct Shared {
    der: Presented,
    records: Arc<Records>,
}

impl Shared {
    pub fn new() -> Shared {
        let made = rcgen::generate_simple_self_signed(vec!["mx.example".to_owned()]).unwrap();
        let der = made.cert.der().to_vec();
        let record = Tlsa {
            usage: 3,
            selector: 0,
            matching: 0,
            association: der.clone().into(),
        };
        Shared {
            der: Presented::new([der.as_slice()]),
            records: Arc::new(Records {
                base: Domain::parse("mx.example").unwrap(),
                all: vec![record],
                references: Vec::new(),
            }),
        }
    }
}

/// A message on its way.
#[derive(Clone, Copy)]
struct Message {
    arrived: u64,
    tries: u32,
    /// When it was first put off for want of what was demanded.
    unmet: Option<u64>,
    /// When a handshake first failed for it.
    failed: Option<u64>,
    /// Whether an attacker was at work in any attempt.
    attacked: bool,
}

/// What happens next.
enum Event {
    Arrives,
    Due(Message),
    /// A person answers an alarm of a host.
    Answer(Box<str>),
}

/// A destination's year.
struct Year<'a> {
    destination: &'a Destination,
    way: Way,
    rules: Rules,
    shared: &'a Shared,
    dice: Dice,
    domain: Domain,
    standing: DomainStanding,
    hosts: BTreeMap<Box<str>, HostStanding>,
    /// What the ledger would know had it seen the honest sessions alone.
    honest: BTreeMap<Box<str>, HostStanding>,
    honest_domain: DomainStanding,
    troubles: BTreeMap<Box<str>, TlsTrouble>,
    /// Until when a person relaxed each host.
    relaxed: BTreeMap<Box<str>, u64>,
    queue: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    counts: Counts,
    /// Attacks that were noticed.
    noticed: bool,
    held_since: Option<u64>,
}

/// How a host is at one moment.
struct Face {
    name: String,
    origin: Origin,
    showing: Showing,
    /// Whether an attacker shows this.
    forged: bool,
    published: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Showing {
    Dead,
    Clear,
    Broken,
    SelfSigned(u8),
    Proven(u8),
    Expired(u8),
}

/// Plays one destination's year.
pub fn play(destination: &Destination, way: Way, shared: &Shared) -> Counts {
    let mut year = Year {
        destination,
        way,
        rules: way.rules(),
        shared,
        dice: Dice::new(destination.seed),
        domain: Domain::parse(&format!("d{}.example", destination.number)).unwrap(),
        standing: DomainStanding::default(),
        hosts: BTreeMap::new(),
        honest: BTreeMap::new(),
        honest_domain: DomainStanding::default(),
        troubles: BTreeMap::new(),
        relaxed: BTreeMap::new(),
        queue: BTreeMap::new(),
        numbers: 0,
        counts: Counts::default(),
        noticed: false,
        held_since: None,
    };
    year.counts.destinations = 1;
    let first = year.dice.gap(destination.rate);
    year.plan(first, Event::Arrives);
    while let Some(((at, _), event)) = year.queue.pop_first() {
        year.happen(at, event);
    }
    year.close()
}

impl Year<'_> {
    fn plan(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        self.queue.insert((at, self.numbers), event);
    }

    fn happen(&mut self, at: u64, event: Event) {
        match event {
            Event::Arrives if at >= YEAR => {}
            Event::Arrives => {
                self.counts.messages += 1;
                let message = Message {
                    arrived: at,
                    tries: 0,
                    unmet: None,
                    failed: None,
                    attacked: false,
                };
                self.attempt(at, message);
                let next = at + self.dice.gap(self.destination.rate);
                self.plan(next, Event::Arrives);
            }
            Event::Due(message) => self.attempt(at, message),
            Event::Answer(host) => self.answer(at, host),
        }
    }

    /// A person who looks into it finds out whether it is an attack.
    fn answer(&mut self, at: u64, host: Box<str>) {
        self.counts.answers += 1;
        let attacked = self.destination.troubles(at).any(Trouble::is_attack);
        let lasting = self
            .destination
            .troubles(at)
            .any(|what| what.is_downgrade() || matches!(what, Trouble::Migrated(_)));
        let known = self
            .hosts
            .get(&host)
            .is_some_and(|standing| standing.suspicion.is_some());
        match (attacked, lasting, known) {
            (true, ..) | (_, _, false) => {}
            (false, true, true) => {
                self.hosts.remove(&host);
                self.honest.remove(&host);
                self.standing = DomainStanding::default();
                self.honest_domain = DomainStanding::default();
            }
            (false, false, true) => drop(self.relaxed.insert(host, at + 30 * DAY)),
        }
    }

    fn attempt(&mut self, at: u64, mut message: Message) {
        let (faces, attacked) = self.faces(at);
        message.attacked |= attacked;
        message.tries += 1;
        let (mut unmet, mut failed, mut reached) = (false, false, false);
        let first_of_greylisted = self.destination.greylists && message.tries == 1;
        for face in &faces {
            if face.showing == Showing::Dead {
                continue;
            }
            reached = true;
            match self.session(at, &message, face) {
                Came::Avoided | Came::Unmet => unmet = true,
                Came::Failed => failed = true,
                // RFC 5321: a host that puts off is no reason to ask the others; the session counts all the same.
                Came::Sent(_) if first_of_greylisted && !face.forged => break,
                Came::Sent(how) => return self.delivered(at, &message, face, how),
            }
        }
        if failed {
            message.failed = message.failed.or(Some(at));
        }
        if unmet {
            message.unmet = message.unmet.or(Some(at));
            self.held_since = self.held_since.or(Some(at));
        }
        let _ = reached;
        if at - message.arrived > 5 * DAY {
            self.counts.returned += 1;
            return self.settled(&message, at);
        }
        let pauses = [5, 15, 30, 60, 120, 240];
        let place = usize::try_from(message.tries - 1)
            .unwrap_or(0)
            .min(pauses.len() - 1);
        let due = at + pauses[place] * 60 + self.dice.between(0, 60);
        self.plan(due, Event::Due(message));
    }

    /// One session with one host: plan, channel, verdict, and what is remembered of it.
    fn session(&mut self, at: u64, message: &Message, face: &Face) -> Came {
        let now = Second(BEGIN + at);
        let host = Host::parse(&face.name).unwrap();
        let key: Box<str> = face.name.as_str().into();
        let leave = match self.relaxed.get(&key) {
            Some(until) if at < *until => Leave::Relaxed,
            Some(_) | None => Leave::Strict,
        };
        let vouched = match (face.origin, face.published) {
            (Origin::Unproven, Kind::Sts) => Vouched::Yes,
            (Origin::Unproven, _) => Vouched::No,
            (Origin::Proven | Origin::Configured, _) => Vouched::Yes,
        };
        let standing = self.hosts.get(&key).cloned().unwrap_or_default();
        let asked = match self.way {
            Way::Nothing => Claim::default(),
            _ => claim(
                &self.standing,
                &standing,
                &face.name,
                vouched,
                leave,
                now,
                &self.rules,
            ),
        };
        let dane = match face.published {
            Kind::Dane => dane::Finding::Published(self.shared.records.clone()),
            _ => dane::Finding::Unasked("the zone is not signed".into()),
        };
        let sts = match face.published {
            Kind::Sts => sts::Finding::Enforced(sts::Held {
                id: "1".into(),
                listed: sts::Listed::Yes,
            }),
            _ => sts::Finding::Absent(None),
        };
        let inputs = Inputs {
            host: &host,
            domain: Some(&self.domain),
            origin: face.origin,
            wish: TlsWish::Usual,
            rule: None,
            dane: &dane,
            sts: &sts,
            claim: &asked,
        };
        let (came, evidence) = match Plan::make(&inputs) {
            Ok(plan) => self.channel(&plan, face, message, now),
            Err(avoid) => {
                let evidence = Evidence::avoided(host, Some(self.domain.clone()), &avoid, now.time());
                (Came::Avoided, evidence)
            }
        };
        self.remember(at, face, &key, &evidence, leave);
        self.account(at, face, &key, came, asked.bound);
        came
    }

    fn channel(&mut self, plan: &Plan, face: &Face, message: &Message, now: Second) -> (Came, Evidence) {
        let tried = if message.failed.is_some() {
            Tried::Before
        } else {
            Tried::Never
        };
        let trouble = self.troubles.get(face.name.as_str());
        let opening = plan.opening(trouble, tried, Duration::from_secs(600), now.time());
        let mut evidence = Evidence::begun(plan, now.time());
        evidence.address = Some(([192, 0, 2, 1], 25).into());
        let clear = |why| plan.judge(&Shown::<Clear>::clear(why), now.time());
        match (opening, face.showing) {
            (Opening::Clear(why), _) => told(evidence, clear(why), false),
            (Opening::Tls, Showing::Clear | Showing::Dead) => {
                told(evidence, clear(WhyClear::NotOffered), false)
            }
            (Opening::Tls, Showing::Broken) => {
                let trouble = TlsTrouble {
                    at: now.time(),
                    text: "the handshake broke".into(),
                };
                self.troubles
                    .entry(face.name.as_str().into())
                    .or_insert(trouble.clone());
                evidence.tls_trouble = Some(trouble);
                let came = match plan.demand() > trust::Demand::Opportunistic {
                    true if face.forged => Came::Unmet,
                    _ => Came::Failed,
                };
                (came, evidence)
            }
            (Opening::Tls, showing) => {
                self.troubles.remove(face.name.as_str());
                let shown = Shown::<Tls>::tls(facts(), self.certificates(face, showing));
                told(evidence, plan.judge(&shown, now.time()), true)
            }
        }
    }

    fn certificates(&self, face: &Face, showing: Showing) -> Certificates {
        let name = face.name.as_str();
        let (path, key) = match showing {
            Showing::Proven(key) => (Path::Trusted, key),
            Showing::Expired(key) => (
                Path::Flawed(Flaw::Expired, "a certificate is out of date".into()),
                key,
            ),
            Showing::SelfSigned(key) => (
                Path::Flawed(Flaw::Untrusted, "no trusted root signed it".into()),
                key,
            ),
            Showing::Dead | Showing::Clear | Showing::Broken => (Path::Unchecked, 0),
        };
        let presented = match face.published {
            Kind::Dane if !face.forged => self.shared.der.clone(),
            _ => Presented::default(),
        };
        Certificates::stated(presented, path, &[name], KeyPrint([key; 32]))
    }

    fn remember(&mut self, at: u64, face: &Face, key: &str, evidence: &Evidence, leave: Leave) {
        let Some(mut seen) = Observation::from_evidence(evidence, "here") else {
            return;
        };
        seen.at = Second(BEGIN + at);
        if !face.forged {
            let honest = self.honest.entry(key.into()).or_default();
            observe(&mut self.honest_domain, honest, &seen, leave, &Rules::default());
        }
        if self.way == Way::Nothing {
            return;
        }
        let host = self.hosts.entry(key.into()).or_default();
        let news = observe(&mut self.standing, host, &seen, leave, &self.rules);
        for (_, news) in news {
            let notice = Notice {
                domain: self.domain.as_str().into(),
                host: Some(key.into()),
                at: seen.at.time(),
                news,
            };
            if notice.news.weight() == Weight::Alarm {
                self.counts.alarms += 1;
                self.noticed |= face.forged;
                if self.way == Way::Ledger {
                    let answer = at + self.dice.between(HOUR, 16 * HOUR);
                    self.plan(answer, Event::Answer(key.into()));
                }
            }
            if face.forged && notice.news.kind() == "new-exchanger" {
                self.counts.new_exchangers_noted += 1;
            }
        }
        // Keys are proven by honest sessions alone, but those of hosts that are the attacker's own.
        if face.name.starts_with("mx.d") {
            let stolen = self.hosts.get(key).is_some_and(|host| {
                host.proven_keys()
                    .any(|known| known == KeyPrint([ATTACKER_KEY; 32]))
            });
            self.counts.keys_poisoned += u64::from(stolen);
        }
    }

    /// What a session says of the rules.
    fn account(&mut self, at: u64, face: &Face, key: &str, came: Came, bound: Bound) {
        let now = Second(BEGIN + at);
        let known = self
            .honest
            .get(key)
            .map_or(Bound::Nothing, |host| host.bound(now, &Rules::default()));
        let owed = if self.way == Way::Nothing { known } else { bound };
        if face.forged && owed > Bound::Nothing {
            let less = match face.showing {
                Showing::Clear | Showing::Broken => true,
                Showing::Proven(_) => false,
                _ => owed == Bound::Verified,
            };
            if less {
                self.counts.attacked_sessions += 1;
                self.counts.attacked_refused += u64::from(!matches!(came, Came::Sent(_)));
            } else {
                self.counts.beyond_bound += 1;
                self.counts.beyond_bound_sent += u64::from(matches!(came, Came::Sent(_)));
            }
        }
        if face.forged && !face.name.starts_with("mx.d") {
            self.counts.forged_exchangers += 1;
            self.counts.forged_exchangers_sent += u64::from(matches!(came, Came::Sent(_)));
        }
        if let Came::Sent(Channel::Clear) = came {
            self.counts.clear_to_bound += u64::from(bound > Bound::Nothing);
            self.counts.clear_to_known += u64::from(known > Bound::Nothing);
        }
    }

    fn delivered(&mut self, at: u64, message: &Message, face: &Face, how: Channel) {
        let _ = how;
        if !face.forged
            && self.destination.troubles(at).any(Trouble::is_downgrade)
            && let Some(since) = self.held_since.take()
        {
            self.counts.recoveries.push(at - since);
        }
        if !self.destination.troubles(at).any(Trouble::is_downgrade) {
            self.held_since = None;
        }
        self.settled(message, at);
    }

    fn settled(&mut self, message: &Message, at: u64) {
        let Some(since) = message.unmet else {
            self.counts.accidents += u64::from(message.failed.is_some() && !message.attacked);
            return;
        };
        if message.attacked {
            self.counts.held_under_attack += 1;
            return;
        }
        let forged_before = self.destination.spells.iter().any(|spell| {
            spell.what.is_forged() && spell.from <= since && self.destination.kind == Kind::Plain
        });
        // An honest host without TLS whose mail is held because a forger showed TLS in its place.
        self.counts.poisoned += u64::from(forged_before);
        self.counts.held += 1;
        if std::env::var_os("WHY").is_some() && self.way == Way::Ledger {
            let now: Vec<Trouble> = self.destination.troubles(since).collect();
            eprintln!("{:?} {now:?}", self.destination.kind);
        }
        self.counts.held_long += u64::from(at - since > 4 * HOUR);
        let downgrade = self
            .destination
            .troubles(since)
            .any(|what| what.is_downgrade() || matches!(what, Trouble::Migrated(_)));
        self.counts.held_by_downgrade += u64::from(downgrade);
    }

    fn close(mut self) -> Counts {
        for spell in &self.destination.spells {
            use Trouble::{Impersonate, Strip};
            if matches!(spell.what, Strip | Impersonate) && self.counts.attacked_sessions > 0 {
                self.counts.attacks += 1;
                self.counts.attacks_noticed += u64::from(self.noticed);
            }
        }
        self.counts
    }

    /// The hosts as DNS and the wire show them now, in their order, and whether an attacker is at work.
    fn faces(&mut self, at: u64) -> (Vec<Face>, bool) {
        let destination = self.destination;
        let moved = destination
            .spells
            .iter()
            .rev()
            .find_map(|spell| match spell.what {
                Trouble::Migrated(kind) if (spell.from..spell.until).contains(&at) => {
                    Some((kind, spell.from))
                }
                _ => None,
            });
        let kind = moved.map_or(destination.kind, |(kind, _)| kind);
        let own = if moved.is_some() { "mx.dnew" } else { "mx.d" };
        let names: Vec<String> = match kind {
            Kind::Hosted => (0..2)
                .map(|place| format!("{own}{}{place}.provider.test", destination.number))
                .collect(),
            Kind::PlainBackup => vec![
                format!("{own}{}.example", destination.number),
                format!("{own}{}b.example", destination.number),
            ],
            _ => vec![format!("{own}{}.example", destination.number)],
        };
        let attack = destination.troubles(at).find(|what| what.is_attack());
        // A forger's answer is believed now and then; who sits on the way is always there.
        let attack = attack.filter(|what| !what.is_forged() || self.dice.chance(0.3));
        let mut faces: Vec<Face> = names
            .into_iter()
            .enumerate()
            .map(|(place, name)| {
                let showing = self.showing(kind, place, at);
                Face {
                    name,
                    origin: if kind == Kind::Dane {
                        Origin::Proven
                    } else {
                        Origin::Unproven
                    },
                    showing,
                    forged: false,
                    published: kind,
                }
            })
            .collect();
        if let Some(what) = attack {
            self.falsify(&mut faces, what, kind);
        }
        (faces, attack.is_some())
    }

    fn showing(&mut self, kind: Kind, place: usize, at: u64) -> Showing {
        let has = |what| self.destination.has(what, at);
        if place == 0 && has(Trouble::Outage) {
            return Showing::Dead;
        }
        if kind != Kind::Plain && (has(Trouble::Off) || has(Trouble::NoKeyword)) {
            return Showing::Clear;
        }
        let proven = !matches!(kind, Kind::SelfSigned | Kind::Plain | Kind::Dane);
        if proven && (has(Trouble::Unproven) || has(Trouble::WrongCertificate)) {
            return Showing::SelfSigned(250);
        }
        // Providers change their certificates every three weeks and have several, others every two months.
        let months = u8::try_from(at / (60 * DAY)).unwrap_or(0) + 1;
        let weeks = u8::try_from(at / (21 * DAY)).unwrap_or(0) * 4 + 1;
        if kind != Kind::Plain && self.dice.chance(0.0001) {
            return Showing::Broken;
        }
        match kind {
            Kind::Hosted => Showing::Proven(weeks + (self.dice.roll() % 4) as u8),
            Kind::Proven | Kind::Sts if has(Trouble::Expired) => Showing::Expired(months),
            Kind::Proven | Kind::Sts => Showing::Proven(months),
            Kind::SelfSigned | Kind::Dane => Showing::SelfSigned(200),
            Kind::Plain => Showing::Clear,
            Kind::MixedCertificates(part) if self.dice.chance(f64::from(part) / 100.0) => {
                Showing::SelfSigned(201)
            }
            Kind::MixedCertificates(_) => Showing::Proven(months),
            Kind::MixedTls(part) if self.dice.chance(f64::from(part) / 100.0) => Showing::Clear,
            Kind::MixedTls(_) => Showing::SelfSigned(200),
            Kind::PlainBackup if place == 1 => Showing::Clear,
            Kind::PlainBackup => Showing::Proven(months),
        }
    }

    fn falsify(&self, faces: &mut Vec<Face>, what: Trouble, kind: Kind) {
        let showing = match what {
            Trouble::Strip | Trouble::ForgeClear => Showing::Clear,
            Trouble::Garble => Showing::Broken,
            _ => Showing::SelfSigned(ATTACKER_KEY),
        };
        match what {
            // A signed zone has no forged answers, and a policy in force names its hosts.
            Trouble::ForgeMx if kind == Kind::Dane => {}
            Trouble::ForgeMx => {
                *faces = vec![Face {
                    name: "mx.attacker.test".to_owned(),
                    origin: Origin::Unproven,
                    showing: Showing::Proven(ATTACKER_KEY),
                    forged: true,
                    published: if kind == Kind::Sts { Kind::Plain } else { kind },
                }];
                if kind == Kind::Sts {
                    faces.clear();
                }
            }
            _ if what.is_forged() && kind == Kind::Dane => {}
            _ => {
                for face in faces.iter_mut().filter(|face| face.showing != Showing::Dead) {
                    // There is nothing to take away from a host that shows nothing.
                    let nothing = face.showing == Showing::Clear && showing == Showing::Clear;
                    (face.showing, face.forged) = (showing, !nothing);
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Channel {
    Clear,
    Tls,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Came {
    Sent(Channel),
    Unmet,
    Failed,
    Avoided,
}

fn told<C: mail::Channel>(evidence: Evidence, judgement: Judgement<C>, tls: bool) -> (Came, Evidence) {
    let came = match judgement.verdict {
        Verdict::Send(_) if tls => Came::Sent(Channel::Tls),
        Verdict::Send(_) => Came::Sent(Channel::Clear),
        Verdict::Hold(_) => Came::Unmet,
    };
    let evidence = Evidence {
        seen: judgement.evidence.seen,
        judged: judgement.evidence.judged,
        ..evidence
    };
    (came, evidence)
}

fn facts() -> TlsFacts {
    TlsFacts {
        version: TlsVersion::V1_3,
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        group: Some("X25519MLKEM768".into()),
        chain: Vec::new(),
        subject: None,
        server_name: None,
    }
}

const ATTACKER_KEY: u8 = 255;

/// So that the name is not lost where only its order matters.
pub const LEAST: Showed = Showed::Clear;
