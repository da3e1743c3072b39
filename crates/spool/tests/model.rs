//! The spool against a plain list: any order of keeping, taking, settling, holding, deleting, tidying and restarting,
//! with power cuts between, gives what the list gives.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use proptest::prelude::*;
use spool::simulated::SimulatedDisk;
use spool::{Filter, Notices, RecipientIndex, Spool, State};

const DOMAINS: [&str; 3] = ["x.example", "y.example", "z.example"];

#[derive(Clone, Debug)]
enum Act {
    /// Recipients by domain, and octets.
    Keep(Vec<usize>, usize),
    /// At this time, lanes that are closed, what becomes of each recipient, and whether there is offspring.
    Settle(u64, u8, Vec<Fate>, bool),
    GiveBack(u64),
    Hold(usize),
    Release(usize, u64),
    Retry(u64),
    Delete(usize),
    Tidy,
    Restart,
    PowerCut,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Delivered,
    Deferred(u64),
    Held,
    Withheld(u64, u64),
}

#[derive(Clone, Debug)]
struct Expected {
    bytes: usize,
    recipients: Vec<Recipient>,
}

#[derive(Clone, Debug, PartialEq)]
struct Recipient {
    domain: usize,
    state: State,
    due: u64,
    attempts: u32,
    withheld_since: Option<u64>,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Delivered),
        2 => (0..100u64).prop_map(Fate::Deferred),
        1 => Just(Fate::Held),
        2 => (0..100u64, 0..100u64).prop_map(|(since, until)| Fate::Withheld(since, until)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = prop_oneof![4 => 0..2500usize, 1 => 60_000..140_000usize];
    prop_oneof![
        6 => (prop::collection::vec(0..3usize, 1..5), bytes).prop_map(|(to, bytes)| Act::Keep(to, bytes)),
        8 => (0..100u64, any::<u8>(), prop::collection::vec(fate(), 5), any::<bool>())
            .prop_map(|(now, shut, fates, child)| Act::Settle(now, shut, fates, child)),
        1 => (0..100u64).prop_map(Act::GiveBack),
        1 => (0..3usize).prop_map(Act::Hold),
        1 => (0..3usize, 0..100u64).prop_map(|(domain, now)| Act::Release(domain, now)),
        1 => (0..100u64).prop_map(Act::Retry),
        1 => (0..20usize).prop_map(Act::Delete),
        2 => Just(Act::Tidy),
        1 => Just(Act::Restart),
        1 => Just(Act::PowerCut),
    ]
}

struct Pair {
    disk: SimulatedDisk,
    spool: Option<Arc<Spool>>,
    list: BTreeMap<u64, Expected>,
    next: u64,
    latest: u64,
}

impl Pair {
    fn open(disk: SimulatedDisk) -> Arc<Spool> {
        let opened = Spool::open_without_threads(Arc::new(disk), small_limits(), by_domain);
        let (spool, recovery) = opened.unwrap();
        assert_eq!(recovery.damaged, []);
        spool
    }

    fn spool(&self) -> &Arc<Spool> {
        self.spool.as_ref().unwrap()
    }

    fn expect(&mut self, domains: &[usize], bytes: usize) -> (u64, Vec<String>) {
        let number = self.next;
        self.next += 1;
        let recipients = domains.iter().map(|&domain| Recipient {
            domain,
            state: State::Waiting,
            due: 0,
            attempts: 0,
            withheld_since: None,
        });
        let recipients = recipients.collect();
        self.list.insert(number, Expected { bytes, recipients });
        let to = domains.iter().enumerate();
        let to = to.map(|(place, &domain)| format!("r{place}@{}", DOMAINS[domain]));
        (number, to.collect())
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Keep(domains, bytes) => {
                let (number, to) = self.expect(domains, *bytes);
                let to: Vec<&str> = to.iter().map(String::as_str).collect();
                keep(self.spool(), number, *bytes, &to).unwrap();
            }
            Act::Settle(now, shut, fates, child) => self.settle(*now, *shut, fates, *child),
            Act::GiveBack(now) => {
                self.latest = *now;
                drop(take(self.spool(), *now));
            }
            Act::Hold(domain) => {
                let held = self.spool().hold(&to(*domain), cause("hold")).unwrap();
                let waits = |state| matches!(state, State::Waiting | State::Withheld);
                let changed = self.change(*domain, waits, |recipient| {
                    recipient.state = State::Held;
                    recipient.withheld_since = None;
                });
                assert_eq!(held, changed);
            }
            Act::Release(domain, now) => {
                let released = self.spool().release(&to(*domain), at(*now)).unwrap();
                let held = |state| matches!(state, State::Held | State::Withheld);
                let changed = self.change(*domain, held, |recipient| {
                    if recipient.state == State::Held {
                        recipient.state = State::Waiting;
                    }
                    recipient.due = *now;
                });
                assert_eq!(released, changed);
            }
            Act::Retry(now) => {
                self.spool().retry(&Filter::default(), at(*now)).unwrap();
                for domain in 0..3 {
                    let waits = |state| matches!(state, State::Waiting | State::Withheld);
                    self.change(domain, waits, |recipient| recipient.due = *now);
                }
            }
            Act::Delete(place) => {
                let number = self.list.keys().nth(*place).copied();
                if let Some(number) = number {
                    assert_eq!(self.spool().delete(id(number)).unwrap(), 0);
                    self.list.remove(&number);
                }
            }
            Act::Tidy => self.spool().tidy().unwrap(),
            Act::Restart => {
                self.spool().close();
                self.spool = None;
                self.spool = Some(Pair::open(self.disk.clone()));
                self.latest = 0;
            }
            Act::PowerCut => {
                self.spool = None;
                self.disk = self.disk.after_power_cut(self.next);
                self.spool = Some(Pair::open(self.disk.clone()));
                self.latest = 0;
            }
        }
    }

    fn change(
        &mut self,
        domain: usize,
        state: impl Fn(State) -> bool,
        change: impl Fn(&mut Recipient),
    ) -> u64 {
        let mut changed = 0;
        for expected in self.list.values_mut() {
            let recipients = expected.recipients.iter_mut();
            let meant = recipients.filter(|recipient| recipient.domain == domain && state(recipient.state));
            changed += u64::from(meant.map(&change).count() > 0);
        }
        changed
    }

    fn settle(&mut self, now: u64, shut: u8, fates: &[Fate], child: bool) {
        self.latest = now;
        let latest = self.latest;
        let is_open = |domain: usize| shut & (1 << domain) == 0;
        let is_due = |recipient: &Recipient| {
            matches!(recipient.state, State::Waiting | State::Withheld) && recipient.due <= latest
        };
        let open =
            |lane: &spool::Lane| is_open(DOMAINS.iter().position(|name| *name == lane.as_str()).unwrap());
        let Some(leased) = self.spool().take(at(now), &open) else {
            let mut all = self.list.values().flat_map(|expected| &expected.recipients);
            assert!(
                !all.any(|recipient| is_due(recipient) && is_open(recipient.domain)),
                "due, but not given"
            );
            return;
        };
        let number = (leased.message().id.to_bits() & ((1 << 80) - 1)) as u64;
        let domain = DOMAINS
            .iter()
            .position(|name| *name == leased.lane().as_str())
            .unwrap();
        assert!(is_open(domain));
        let expected = self.list.get_mut(&number).unwrap();
        let wanted: Vec<u32> = (0..)
            .zip(&expected.recipients)
            .filter(|(_, recipient)| recipient.domain == domain && is_due(recipient))
            .map(|(place, _)| place)
            .collect();
        let given: Vec<u32> = leased
            .recipients()
            .map(|(RecipientIndex(place), ..)| place)
            .collect();
        assert_eq!(given, wanted, "recipients of message {number}");
        let mut statuses = Vec::new();
        for (&place, fate) in given.iter().zip(fates.iter().cycle()) {
            let recipient = &mut expected.recipients[place as usize];
            recipient.attempts += 1;
            (recipient.state, recipient.withheld_since) = (State::Waiting, None);
            statuses.push(match fate {
                Fate::Delivered => {
                    recipient.state = State::Settled;
                    delivered()
                }
                Fate::Deferred(until) => {
                    recipient.due = *until;
                    deferred(*until)
                }
                Fate::Withheld(since, until) => {
                    (recipient.state, recipient.withheld_since) = (State::Withheld, Some(*since));
                    recipient.due = *until;
                    mail::DeliveryStatus::Withheld {
                        since: at(*since),
                        until: at(*until),
                        cause: cause("withheld"),
                    }
                }
                Fate::Held => {
                    recipient.state = State::Held;
                    mail::DeliveryStatus::Held(cause("held"))
                }
            });
        }
        if expected
            .recipients
            .iter()
            .all(|recipient| recipient.state == State::Settled)
        {
            self.list.remove(&number);
        }
        let mut offspring = Vec::new();
        if child {
            let (number, to) = self.expect(&[0, 1], 300);
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            offspring.push(sealed(self.spool(), number, 300, &to).unwrap());
        }
        leased
            .settle(at(now), statuses, offspring, Notices::default())
            .unwrap();
    }

    /// Both say the same.
    fn compare(&self) {
        let shown = self.spool().list(&Filter::default(), None, usize::MAX);
        let unsettled = |recipient: &Recipient| recipient.state != State::Settled;
        assert!(
            self.list
                .values()
                .all(|expected| expected.recipients.iter().any(unsettled))
        );
        assert_eq!(
            shown.iter().map(|waiting| waiting.message.id).collect::<Vec<_>>(),
            self.list.keys().map(|&number| id(number)).collect::<Vec<_>>()
        );
        for (waiting, (number, expected)) in shown.iter().zip(&self.list) {
            for ((_, _, lane, progress), recipient) in waiting.recipients().zip(&expected.recipients) {
                assert_eq!(lane.as_str(), DOMAINS[recipient.domain]);
                assert_eq!(
                    (progress.state, progress.attempts),
                    (recipient.state, recipient.attempts),
                    "{number}"
                );
                assert_eq!(
                    progress.withheld_since,
                    recipient.withheld_since.map(at),
                    "{number}"
                );
                if matches!(recipient.state, State::Waiting | State::Withheld) && recipient.due > 0 {
                    assert_eq!(progress.next, at(recipient.due), "{number}");
                }
                assert_eq!(
                    progress.last.is_some(),
                    recipient.attempts > 0 || progress.last.is_some()
                );
            }
        }
    }

    fn compare_bodies(&self) {
        for (&number, expected) in &self.list {
            assert!(read_all(self.spool(), id(number)).unwrap() == body(number, expected.bytes));
        }
    }
}

fn to(domain: usize) -> Filter {
    Filter {
        destination: Some(mail::Domain::parse(DOMAINS[domain]).unwrap()),
        ..Filter::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn does_what_a_plain_list_does(acts in prop::collection::vec(act(), 1..80)) {
        let disk = SimulatedDisk::new(1);
        let mut pair = Pair {
            spool: Some(Pair::open(disk.clone())),
            disk,
            list: BTreeMap::new(),
            next: 1,
            latest: 0,
        };
        for act in &acts {
            pair.act(act);
            pair.compare();
        }
        pair.compare_bodies();
        pair.act(&Act::PowerCut);
        pair.compare();
        pair.compare_bodies();
    }
}
