//! What one session changes. Nothing that is shown ends a bound: only time without a session that confirms it does.

use super::course::{Binding, Course};
use super::exchangers::{Fresh, Used, under};
use super::observation::{Observation, Showed, short};
use super::seconds::Second;
use super::standing::{
    DomainStanding, HostStanding, KEYS_MAX, KnownKey, Leave, Proven, Rules, Spell, Suspicion, effective,
};
use super::{Bound, News};

/// Applies one session to what is remembered. `leave` is what a person said of it. Times before the last one count as the
/// last. What changed is told.
pub fn observe(
    domain: &mut DomainStanding,
    host: &mut HostStanding,
    seen: &Observation,
    leave: Leave,
    rules: &Rules,
) -> Vec<(Of, News)> {
    let rules = &effective(rules, leave);
    let now = seen.at.max(host.last).max(domain.last);
    let mut news = Vec::new();
    note_exchanger(domain, seen, now, rules, &mut news);
    if seen.showed == Showed::NotTried {
        return news;
    }
    if let Some(from) = decay(&mut host.encrypted, &mut host.verified, now, &rules.host) {
        // What shows less than is left of the bound is suspect anew.
        let suspect = host.suspicion.take().is_some();
        news.push((Of::Host, News::Decayed { from, suspect }));
    }
    if let Some(from) = decay(&mut domain.encrypted, &mut domain.verified, now, &rules.domain) {
        news.push((Of::Domain, News::Decayed { from, suspect: false }));
    }
    let claimed = host.bound(now, rules).max(domain.owed(now, rules));
    let known = seen
        .facts
        .key
        .is_some_and(|key| host.proven_keys().any(|proven| proven == key));
    let level = Level::of(seen.showed, known);
    weigh(host, seen, level, claimed, leave, now, rules, &mut news);
    if level != Level::Trouble {
        host.learn_key(seen, level, now, &mut news);
        let before = domain.bound(now, rules);
        advance(
            &mut domain.encrypted,
            &mut domain.verified,
            level,
            OnProof::Count,
            now,
            &rules.domain,
        );
        let after = domain.bound(now, rules);
        if after > before {
            news.push((Of::Domain, News::Bound(after)));
        }
    }
    (host.first, domain.first) = (first(host.first, now), first(domain.first, now));
    (host.last, domain.last) = (now, now);
    host.showed = Some(seen.showed);
    host.facts = seen.facts.clone();
    news
}

/// Of whom news is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// The host.
    Host,
    /// The domain as a whole.
    Domain,
}

/// A session held against what is known: a key that was proven before is worth as much as proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    Trouble,
    Clear,
    Encrypted,
    KnownKey,
    Chain,
    Published,
}

impl Level {
    fn of(showed: Showed, known: bool) -> Level {
        match showed {
            Showed::NotTried | Showed::Trouble => Level::Trouble,
            Showed::Clear => Level::Clear,
            Showed::Encrypted if known => Level::KnownKey,
            Showed::Encrypted => Level::Encrypted,
            Showed::Chain => Level::Chain,
            Showed::Published => Level::Published,
        }
    }

    fn meets(self, bound: Bound) -> bool {
        match bound {
            Bound::Nothing => true,
            Bound::Encrypted => self >= Level::Encrypted,
            Bound::Verified => self >= Level::KnownKey,
        }
    }
}

/// Whether proof by what is published binds at once. It stands for the host that gave it, not for its neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OnProof {
    Bind,
    Count,
}

#[expect(
    clippy::too_many_arguments,
    reason = "one decision, with all that it is made from"
)]
fn weigh(
    host: &mut HostStanding,
    seen: &Observation,
    level: Level,
    claimed: Bound,
    leave: Leave,
    now: Second,
    rules: &Rules,
    news: &mut Vec<(Of, News)>,
) {
    let less = !level.meets(claimed);
    if level == Level::Trouble {
        host.encrypted.break_off();
        host.verified.break_off();
        let spell = grow(&mut host.trouble, now);
        let lasting = spell.sessions >= TROUBLES && now.since(spell.since) >= rules.trouble_over;
        // No mail goes in clear meanwhile: what is put off is the alarm, since handshakes fail by accident too.
        if less && lasting && leave != Leave::Relaxed {
            host.suspect(claimed, &seen.words, now, news);
        }
        return;
    }
    host.trouble = None;
    if less {
        if level >= Level::Encrypted {
            host.encrypted.shown(now, &rules.host);
        }
        if leave != Leave::Relaxed {
            host.suspect(claimed, &seen.words, now, news);
        }
        return;
    }
    if let Some(over) = host.suspicion.take() {
        let since = over.spell.since.time();
        news.push((Of::Host, News::Recovered { since }));
    }
    let before = host.bound(now, rules);
    advance(
        &mut host.encrypted,
        &mut host.verified,
        level,
        OnProof::Bind,
        now,
        &rules.host,
    );
    let after = host.bound(now, rules);
    if after > before {
        news.push((Of::Host, News::Bound(after)));
    }
    if level == Level::KnownKey && after == Bound::Verified {
        let flaw = seen.words.clone();
        news.push((Of::Host, News::Continuity { flaw }));
    }
}

/// Moves both courses on. What is bound is never moved back.
fn advance(
    encrypted: &mut Course,
    verified: &mut Course,
    level: Level,
    on_proof: OnProof,
    now: Second,
    binding: &Binding,
) {
    match (level, on_proof) {
        (Level::Trouble, _) => {}
        (Level::Clear, _) => {
            encrypted.lapse(now);
            verified.lapse(now);
        }
        (Level::Encrypted, _) => {
            encrypted.shown(now, binding);
            verified.lapse(now);
        }
        (Level::KnownKey, _) => {
            encrypted.shown(now, binding);
            // It stays the one that was proven, but a flawed certificate brings nobody nearer to be bound by proof.
            if verified.since().is_some() {
                verified.shown(now, binding);
            }
        }
        (Level::Published, OnProof::Bind) => {
            encrypted.proven(now);
            verified.proven(now);
        }
        (Level::Chain, _) | (Level::Published, OnProof::Count) => {
            encrypted.shown(now, binding);
            verified.shown(now, binding);
        }
    }
}

/// What ended, the strongest alone.
fn decay(encrypted: &mut Course, verified: &mut Course, now: Second, binding: &Binding) -> Option<Bound> {
    match (verified.decays(now, binding), encrypted.decays(now, binding)) {
        (true, _) => Some(Bound::Verified),
        (false, true) => Some(Bound::Encrypted),
        (false, false) => None,
    }
}

fn note_exchanger(
    domain: &mut DomainStanding,
    seen: &Observation,
    now: Second,
    rules: &Rules,
    news: &mut Vec<(Of, News)>,
) {
    let used = match seen.showed {
        Showed::NotTried | Showed::Trouble => Used::No,
        Showed::Clear | Showed::Encrypted | Showed::Chain | Showed::Published => Used::Yes,
    };
    let fresh = domain
        .exchangers
        .note(&seen.host, seen.vouched, used, now, &rules.host);
    // Of a domain that is bound to nothing, a forged answer could have anything.
    if fresh == Fresh::Yes && domain.bound(now, rules) > Bound::Nothing {
        let under = under(&seen.host);
        let change = rules.mx_change;
        news.push((Of::Host, News::NewExchanger { under, change }));
    }
}

impl HostStanding {
    fn suspect(&mut self, bound: Bound, showed: &str, now: Second, news: &mut Vec<(Of, News)>) {
        match &mut self.suspicion {
            Some(known) => {
                known.spell.last = now;
                known.spell.sessions = known.spell.sessions.saturating_add(1);
            }
            None => {
                let showed = short(showed);
                self.suspicion = Some(Suspicion {
                    spell: Spell {
                        since: now,
                        last: now,
                        sessions: 1,
                    },
                    showed: showed.clone(),
                });
                news.push((Of::Host, News::Suspect { bound, showed }));
            }
        }
    }

    /// Keys of sessions without proof are remembered for people, and never displace those with.
    fn learn_key(&mut self, seen: &Observation, level: Level, now: Second, news: &mut Vec<(Of, News)>) {
        let Some(print) = seen.facts.key else { return };
        let proven = match level {
            Level::Chain | Level::Published => Proven::Yes,
            Level::Trouble | Level::Clear | Level::Encrypted | Level::KnownKey => Proven::No,
        };
        if let Some(key) = self.keys.iter_mut().find(|key| key.print == print) {
            key.last = now;
            key.proven = key.proven.max(proven);
            return;
        }
        if proven == Proven::Yes && self.proven_keys().next().is_some() {
            news.push((Of::Host, News::NewKey(print)));
        }
        if self.keys.len() >= KEYS_MAX {
            let places = self.keys.iter().enumerate();
            let Some((place, oldest)) = places.min_by_key(|(_, key)| (key.proven, key.last)) else {
                return;
            };
            if oldest.proven > proven {
                return;
            }
            self.keys.remove(place);
        }
        self.keys.push(KnownKey {
            print,
            last: now,
            proven,
        });
    }
}

fn grow(spell: &mut Option<Spell>, now: Second) -> Spell {
    let grown = match *spell {
        Some(known) => Spell {
            last: now,
            sessions: known.sessions.saturating_add(1),
            ..known
        },
        None => Spell {
            since: now,
            last: now,
            sessions: 1,
        },
    };
    *spell = Some(grown);
    grown
}

fn first(known: Second, now: Second) -> Second {
    if known == Second(0) { now } else { known.min(now) }
}

/// Handshakes in a row that come to nothing by accident at most.
const TROUBLES: u32 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use mail::KeyPrint;

    use super::*;
    use crate::ledger::standing::{Word, claim};
    use crate::ledger::{MxChange, Vouched, Weight};

    const HOUR: u64 = 3600;

    /// A host and its domain, and all that was told.
    #[derive(Default)]
    struct Peer {
        domain: DomainStanding,
        host: HostStanding,
    }

    fn seen(showed: Showed, key: u8, hours: u64) -> Observation {
        let mut seen = Observation {
            domain: "a.example".into(),
            host: "mx.a.example".into(),
            at: Second(1_000_000 + hours * HOUR),
            showed,
            words: format!("{showed:?}").into(),
            vouched: Vouched::No,
            facts: Default::default(),
        };
        if showed >= Showed::Encrypted {
            seen.facts.key = Some(KeyPrint([key; 32]));
        }
        seen
    }

    impl Peer {
        fn see(&mut self, showed: Showed, key: u8, hours: u64) -> Vec<&'static str> {
            self.see_as(showed, key, hours, Leave::Strict)
        }

        fn see_as(&mut self, showed: Showed, key: u8, hours: u64, leave: Leave) -> Vec<&'static str> {
            let seen = seen(showed, key, hours);
            let news = observe(&mut self.domain, &mut self.host, &seen, leave, &Rules::default());
            let hosts = news.iter().filter(|(of, _)| *of == Of::Host);
            hosts.map(|(_, news)| news.kind()).collect()
        }

        fn bound(&self, hours: u64) -> Bound {
            let now = Second(1_000_000 + hours * HOUR);
            let claim = claim(
                &self.domain,
                &self.host,
                "mx.a.example",
                Vouched::No,
                Leave::Strict,
                now,
                &Rules::default(),
            );
            claim.bound
        }

        fn word(&self, hours: u64) -> Word {
            self.host
                .word(Second(1_000_000 + hours * HOUR), &Rules::default())
        }

        /// One that has shown this three times within a day.
        fn bound_by(showed: Showed) -> Peer {
            let mut peer = Peer::default();
            for hours in [0, 12, 24] {
                peer.see(showed, 1, hours);
            }
            peer
        }
    }

    #[test]
    fn every_standing_is_reached_as_it_should() {
        use Showed::{Chain, Clear, Encrypted, Published};
        let rows: [(&[Showed], Bound); 12] = [
            (&[], Bound::Nothing),
            (&[Clear, Clear, Clear], Bound::Nothing),
            (&[Encrypted], Bound::Nothing),
            (&[Encrypted, Encrypted], Bound::Nothing),
            (&[Encrypted, Encrypted, Encrypted], Bound::Encrypted),
            (&[Chain, Chain, Chain], Bound::Verified),
            (&[Chain, Encrypted, Chain], Bound::Encrypted),
            (&[Chain, Chain, Encrypted], Bound::Encrypted),
            (&[Encrypted, Clear, Encrypted, Encrypted], Bound::Nothing),
            (&[Published], Bound::Verified),
            (&[Clear, Published], Bound::Verified),
            (&[Encrypted, Encrypted, Published], Bound::Verified),
        ];
        for (sessions, expected) in rows {
            let mut peer = Peer::default();
            let mut hours = 0;
            for (showed, key) in sessions.iter().zip(1..) {
                // Keys differ, so that none is known.
                peer.see(*showed, key, hours);
                hours += 12;
            }
            assert_eq!(peer.bound(hours), expected, "{sessions:?}");
        }
        assert_eq!(Peer::default().word(0), Word::Unknown);
        let mut peer = Peer::default();
        peer.see(Encrypted, 1, 0);
        assert_eq!(peer.word(1), Word::Seen);
    }

    #[test]
    fn what_each_bound_makes_of_each_session() {
        use Showed::{Chain, Clear, Encrypted, Published, Trouble};
        type Row = (Showed, u8, &'static [&'static str], Word);
        let encrypted: [Row; 6] = [
            (Trouble, 0, &[], Word::Encrypted),
            (Clear, 0, &["suspect"], Word::Suspect),
            (Encrypted, 1, &[], Word::Encrypted),
            (Encrypted, 2, &[], Word::Encrypted),
            (Chain, 2, &[], Word::Encrypted),
            (Published, 2, &["bound"], Word::Verified),
        ];
        let verified: [Row; 7] = [
            (Trouble, 0, &[], Word::Verified),
            (Clear, 0, &["suspect"], Word::Suspect),
            (Encrypted, 2, &["suspect"], Word::Suspect),
            (Encrypted, 1, &["continuity"], Word::Verified),
            (Chain, 1, &[], Word::Verified),
            (Chain, 2, &["new-key"], Word::Verified),
            (Published, 2, &["new-key"], Word::Verified),
        ];
        for (by, rows) in [(Encrypted, &encrypted[..]), (Chain, &verified[..])] {
            for (showed, key, told, word) in rows {
                let mut peer = Peer::bound_by(by);
                assert_eq!(
                    peer.see(*showed, *key, 48),
                    *told,
                    "{by:?}, then {showed:?} with key {key}"
                );
                assert_eq!(peer.word(48), *word, "{by:?}, then {showed:?} with key {key}");
            }
        }
    }

    // proves: 2487-7-3
    #[test]
    fn suspicion_is_told_once_and_ends_with_the_first_session_that_shows_enough() {
        let mut peer = Peer::bound_by(Showed::Encrypted);
        assert_eq!(peer.see(Showed::Clear, 0, 30), ["suspect"]);
        assert!(peer.see(Showed::Clear, 0, 31).is_empty());
        assert_eq!(peer.host.suspicion.as_ref().unwrap().spell.sessions, 2);
        assert_eq!(peer.bound(31), Bound::Encrypted, "the demand stands");
        assert_eq!(peer.see(Showed::Encrypted, 1, 32), ["recovered"]);
        assert_eq!(peer.see(Showed::Clear, 0, 33), ["suspect"]);
    }

    #[test]
    fn handshakes_that_fail_are_suspicious_when_they_last() {
        let mut peer = Peer::bound_by(Showed::Encrypted);
        assert!(peer.see(Showed::Trouble, 0, 30).is_empty());
        assert!(peer.see(Showed::Trouble, 0, 30).is_empty());
        assert!(peer.see(Showed::Encrypted, 1, 31).is_empty(), "an accident");
        for (hours, told) in [(40, 0), (40, 0), (41, 1), (42, 0)] {
            assert_eq!(peer.see(Showed::Trouble, 0, hours).len(), told, "{hours}");
        }
        assert_eq!(peer.word(42), Word::Suspect);
        assert_eq!(peer.see(Showed::Encrypted, 1, 43), ["recovered"]);
    }

    #[test]
    fn a_bound_decays_without_confirmation_alone() {
        let day = 24;
        let mut peer = Peer::bound_by(Showed::Chain);
        for days in 2..90 {
            peer.see(Showed::Clear, 0, days * day);
            assert_eq!(peer.bound(days * day), Bound::Verified, "day {days}");
        }
        assert_eq!(peer.bound(92 * day), Bound::Nothing);
        let told = peer.see(Showed::Clear, 0, 92 * day);
        assert_eq!(told, ["decayed"], "and told with the weight of an alarm");
        let mut quiet = Peer::bound_by(Showed::Chain);
        quiet.see(Showed::Chain, 1, 80 * day);
        assert_eq!(quiet.bound(150 * day), Bound::Verified);
    }

    #[test]
    fn a_person_may_relax_and_keep_and_neither_unbinds() {
        let mut peer = Peer::bound_by(Showed::Encrypted);
        assert!(peer.see_as(Showed::Clear, 0, 30, Leave::Relaxed).is_empty());
        assert_eq!(peer.bound(31), Bound::Encrypted);
        assert_eq!(peer.see(Showed::Clear, 0, 31), ["suspect"]);
        let late = Second(1_000_000 + 24 * 400 * HOUR);
        let rules = Rules::default();
        let ask = |leave| {
            claim(
                &peer.domain,
                &peer.host,
                "mx.a.example",
                Vouched::No,
                leave,
                late,
                &rules,
            )
            .bound
        };
        assert_eq!(ask(Leave::Kept), Bound::Encrypted);
        assert_eq!(ask(Leave::Strict), Bound::Nothing);
        assert_eq!(ask(Leave::Relaxed), Bound::Nothing);
    }

    /// A domain that has been served under lock for more than a week.
    fn settled() -> Peer {
        let mut peer = Peer::default();
        for days in 0..10 {
            peer.see(Showed::Chain, 1, days * 24);
        }
        peer
    }

    #[test]
    fn a_host_never_seen_owes_encryption_where_all_others_gave_it() {
        let mut peer = settled();
        assert_eq!(
            peer.domain
                .bound(Second(1_000_000 + 240 * HOUR), &Rules::default()),
            Bound::Verified
        );
        peer.host = HostStanding::default();
        assert_eq!(peer.bound(240), Bound::Encrypted, "encryption, not proof");
        assert_eq!(
            peer.see(Showed::Clear, 0, 240),
            ["suspect"],
            "a stripped first session"
        );
        assert_eq!(
            peer.bound(241),
            Bound::Encrypted,
            "and it opens no way for the second"
        );
        assert_eq!(peer.see(Showed::Encrypted, 2, 241), ["recovered"]);
    }

    #[test]
    fn one_host_in_clear_keeps_a_domain_from_being_bound() {
        let mut peer = Peer::default();
        let mut backup = HostStanding::default();
        for days in 0..60 {
            peer.see(Showed::Chain, 1, days * 24);
            if days % 5 == 4 {
                let seen = Observation {
                    host: "mx2.a.example".into(),
                    ..seen(Showed::Clear, 0, days * 24 + 1)
                };
                let news = observe(
                    &mut peer.domain,
                    &mut backup,
                    &seen,
                    Leave::Strict,
                    &Rules::default(),
                );
                assert_eq!(news, [], "day {days}");
            }
        }
        assert_eq!(peer.bound(60 * 24), Bound::Verified, "the one host by itself");
    }

    #[test]
    fn new_exchangers_are_news_where_nobody_vouches_for_them() {
        let rules = Rules {
            mx_change: MxChange::Hold,
            ..Rules::default()
        };
        let mut peer = settled();
        let now = Second(1_000_000 + 240 * HOUR);
        let ask = |peer: &Peer, vouched| {
            claim(
                &peer.domain,
                &HostStanding::default(),
                "mx.evil.test",
                vouched,
                Leave::Strict,
                now,
                &rules,
            )
            .stranger
        };
        assert_eq!(ask(&peer, Vouched::No).as_deref(), Some("evil.test"));
        assert_eq!(ask(&peer, Vouched::Yes), None);
        let strange = Observation {
            host: "mx.evil.test".into(),
            ..seen(Showed::NotTried, 0, 240)
        };
        let mut host = HostStanding::default();
        let news = observe(&mut peer.domain, &mut host, &strange, Leave::Strict, &rules);
        assert_eq!(news.len(), 1);
        assert_eq!(
            (news[0].1.kind(), news[0].1.weight()),
            ("new-exchanger", Weight::Alarm)
        );
        assert_eq!(
            host,
            HostStanding::default(),
            "nothing was seen of the host itself"
        );
        assert_eq!(
            observe(&mut peer.domain, &mut host, &strange, Leave::Strict, &rules),
            []
        );
        peer.domain.exchangers.accept(now);
        assert_eq!(ask(&peer, Vouched::No), None);
    }

    // What someone can do who forges one answer: send us to another host, which shows clear text, or a certificate of
    // its own for another name, or for no name.
    #[test]
    fn one_forged_answer_neither_binds_nor_unbinds() {
        use Showed::{Chain, Clear, Encrypted, Trouble};
        for honest in [Clear, Encrypted, Chain] {
            for forged in [Trouble, Clear, Encrypted] {
                let mut peer = Peer::bound_by(honest);
                let (before, keys) = (peer.bound(24), peer.host.proven_keys().count());
                peer.see(forged, 66, 30);
                assert_eq!(peer.bound(30), before, "{honest:?}, then forged {forged:?}");
                assert_eq!(
                    peer.host.proven_keys().count(),
                    keys,
                    "no key of a stranger is proven"
                );
                // Forged again and again, as long as honest sessions come between.
                for round in 0..20 {
                    peer.see(honest, 1, 40 + round * 24);
                    peer.see(forged, 66, 48 + round * 24);
                    assert_eq!(
                        peer.bound(48 + round * 24),
                        before,
                        "{honest:?}, forged {forged:?} each day"
                    );
                }
            }
        }
    }

    #[test]
    fn a_clock_set_back_changes_nothing_that_is_known() {
        let mut peer = Peer::bound_by(Showed::Encrypted);
        assert_eq!(peer.see(Showed::Clear, 0, 0), ["suspect"]);
        assert_eq!(
            peer.host.last,
            Second(1_000_000 + 24 * HOUR),
            "no time before the last one"
        );
    }

    fn any_showed() -> impl Strategy<Value = Showed> {
        prop_oneof![
            Just(Showed::NotTried),
            Just(Showed::Trouble),
            Just(Showed::Clear),
            Just(Showed::Encrypted),
            Just(Showed::Chain),
            Just(Showed::Published),
        ]
    }

    proptest! {
        /// Whatever happened before: sessions below the bound never end it, while it is not too old.
        #[test]
        fn no_sessions_below_the_bound_unbind(
            before in prop::collection::vec((any_showed(), 0u8..4, 0u64..200), 0..40),
            below in prop::collection::vec((any_showed(), 0u64..24), 0..80),
        ) {
            let mut peer = Peer::default();
            let mut hours = 0;
            for (showed, key, wait) in before {
                hours += wait;
                peer.see(showed, key, hours);
            }
            let bound = peer.bound(hours);
            let own = peer.host.bound(Second(1_000_000 + hours * HOUR), &Rules::default());
            let confirmed = match own {
                Bound::Verified => peer.host.verified.confirmed,
                Bound::Encrypted => peer.host.encrypted.confirmed,
                Bound::Nothing => peer.domain.encrypted.confirmed,
            };
            for (showed, wait) in below {
                hours += wait;
                let fresh = Second(1_000_000 + hours * HOUR).since(confirmed) < Rules::default().host.decay;
                let less = match bound {
                    Bound::Nothing => true,
                    Bound::Encrypted => showed < Showed::Encrypted,
                    Bound::Verified => showed < Showed::Chain,
                };
                if fresh && less && bound > Bound::Nothing {
                    peer.see(showed, 200, hours);
                    prop_assert!(peer.bound(hours) >= bound, "{:?} ended {bound}", showed);
                }
            }
        }

        /// One more session that shows as much as any before never makes the demand less.
        #[test]
        fn more_never_asks_for_less(
            before in prop::collection::vec((any_showed(), 0u8..4, 0u64..200), 0..40),
        ) {
            let mut peer = Peer::default();
            let mut hours = 0;
            for (showed, key, wait) in before {
                hours += wait;
                peer.see(showed, key, hours);
                let bound = peer.bound(hours);
                let mut more = Peer { domain: peer.domain.clone(), host: peer.host.clone() };
                more.see(Showed::Published, 1, hours);
                prop_assert!(more.bound(hours) >= bound.max(Bound::Verified));
            }
        }

        /// What is remembered is bounded, and read back as it was written.
        #[test]
        fn what_is_written_is_read_back(
            before in prop::collection::vec((any_showed(), any::<u8>(), 0u64..2000), 0..60),
        ) {
            use crate::ledger::Stored;
            let mut peer = Peer::default();
            let mut hours = 0;
            for (showed, key, wait) in before {
                hours += wait;
                peer.see(showed, key, hours);
            }
            let octets = peer.host.write();
            prop_assert!(octets.len() < 700, "{}", octets.len());
            prop_assert_eq!(HostStanding::read(&octets), Ok(peer.host));
            prop_assert_eq!(DomainStanding::read(&peer.domain.write()), Ok(peer.domain));
        }

        /// Foreign octets are refused or make a standing that works.
        #[test]
        fn foreign_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 0..300), tag in 1u8..5) {
            use crate::ledger::{InboundStanding, Note, Stored};
            octets.insert(0, tag);
            let host = HostStanding::read(&octets);
            let domain = DomainStanding::read(&octets);
            let _ = (InboundStanding::read(&octets), Note::read(&octets));
            let mut peer = Peer { host: host.unwrap_or_default(), domain: domain.unwrap_or_default() };
            peer.see(Showed::Chain, 1, 5);
            peer.see(Showed::Clear, 1, 50);
        }

        /// One octet changed in what was written: refused, or a standing that works.
        #[test]
        fn damaged_octets_never_panic(place in any::<prop::sample::Index>(), octet in any::<u8>()) {
            use crate::ledger::Stored;
            let peer = settled();
            for octets in [peer.host.write(), peer.domain.write()] {
                let mut damaged = octets.clone();
                let at = place.index(damaged.len());
                damaged[at] = octet;
                let host = HostStanding::read(&damaged).unwrap_or_default();
                let domain = DomainStanding::read(&damaged).unwrap_or_default();
                let mut peer = Peer { host, domain };
                peer.see(Showed::Chain, 1, 500);
                peer.see(Showed::Clear, 1, 501);
            }
        }
    }
}
