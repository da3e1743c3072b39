//! From what attempts find and the memory learns to alarms: one for a cause, not one for a message, and one word when it is
//! over. Pure: keeps nothing, tells nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use mail::{Domain, Host};

use crate::ledger::{News, Notice, Weight};
use crate::plan::Source;

/// What an alarm is about: there is one at a time for each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// Hosts of this domain show less than is demanded of them.
    Hosts(Box<str>),
    /// A client always came encrypted and came in clear.
    Client(Box<str>),
    /// Mail exchangers of this domain that nobody vouches for.
    Exchangers(Box<str>),
    /// The memory of a domain's host came to its end while it showed less.
    Forgotten(Box<str>),
}

/// An alarm that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// What it is about.
    pub key: Key,
    /// When it began.
    pub began: SystemTime,
    /// What is wrong, in plain words.
    pub text: Box<str>,
    /// The hosts that lack something, and what each lacked last.
    pub wanting: BTreeMap<Box<str>, Box<str>>,
    /// Whether mail is held.
    pub holds: bool,
}

/// What an attempt at a destination found of its hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Round {
    /// Whose mail it was.
    pub domain: Domain,
    /// When it was over.
    pub at: SystemTime,
    /// The hosts that the domain has now.
    pub hosts: Vec<Host>,
    /// Hosts that lacked something, who demanded it, and what it was.
    pub wanting: Vec<(Host, Source, Box<str>)>,
    /// Hosts that showed all that is demanded.
    pub sound: Vec<Host>,
    /// Whether mail is held for it.
    pub holds: bool,
}

/// What became of an alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// It begins: tell it.
    Begins(Alarm),
    /// It stands, and is otherwise than before: remember it.
    Goes(Alarm),
    /// It is over: tell it.
    Ends(Alarm, SystemTime),
}

/// The alarms that stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Alarms(BTreeMap<Key, Alarm>);

impl Alarms {
    /// Those that stood before.
    pub fn standing(alarms: impl IntoIterator<Item = Alarm>) -> Alarms {
        Alarms(
            alarms
                .into_iter()
                .map(|alarm| (alarm.key.clone(), alarm))
                .collect(),
        )
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.0.values()
    }

    /// Whether mail to this domain may be led astray or held now.
    pub fn suspects(&self, domain: &Domain) -> bool {
        let name: Box<str> = domain.as_str().into();
        self.0.contains_key(&Key::Hosts(name.clone())) || self.0.contains_key(&Key::Exchangers(name))
    }

    /// Takes in what an attempt found. What a message demands for itself is no reason for an alarm: nothing is wrong with
    /// the host. An alarm ends when every host that lacked something has shown enough, or is none of the domain's any more
    /// while others show enough.
    pub fn round(&mut self, round: &Round) -> Option<Step> {
        let key = Key::Hosts(round.domain.as_str().into());
        let wanting = round.wanting.iter().filter(|(_, by, _)| *by != Source::Message);
        let wanting: BTreeMap<Box<str>, Box<str>> = wanting
            .map(|(host, _, text)| (host.to_string().into(), text.clone()))
            .collect();
        let holds = round.holds && !wanting.is_empty();
        let Some(mut alarm) = self.0.get(&key).cloned() else {
            let text = wanting.values().next()?.clone();
            return Some(self.begin(Alarm {
                key,
                began: round.at,
                text,
                wanting,
                holds,
            }));
        };
        let is_sound = |host: &str| round.sound.iter().any(|sound| sound.to_string() == host);
        let is_gone = |host: &str| {
            let there = round.hosts.iter().any(|there| there.to_string() == host);
            !there && !round.sound.is_empty()
        };
        alarm.wanting.retain(|host, _| !is_sound(host) && !is_gone(host));
        alarm.wanting.extend(wanting);
        alarm.holds = holds || (alarm.holds && round.sound.is_empty());
        self.change(alarm, round.at)
    }

    /// Takes in what the memory learnt.
    pub fn notice(&mut self, notice: &Notice) -> Option<Step> {
        let name = notice.domain.clone();
        let key = match &notice.news {
            News::Suspect { .. } | News::Recovered { .. } => Key::Hosts(name),
            News::CameInClear => Key::Client(name),
            News::NewExchanger { .. } => Key::Exchangers(name),
            News::Decayed { .. } => Key::Forgotten(name),
            News::Bound(_) | News::NewKey(_) | News::Continuity { .. } => return None,
        };
        let host = notice.host.clone().unwrap_or_default();
        match notice.news.weight() {
            Weight::Note => None,
            Weight::End => {
                let mut alarm = self.0.get(&key)?.clone();
                alarm.wanting.remove(&host);
                self.change(alarm, notice.at)
            }
            Weight::Alarm => {
                let text: Box<str> = notice.news.to_string().into();
                match self.0.get(&key).cloned() {
                    None => Some(self.begin(Alarm {
                        key,
                        began: notice.at,
                        text: notice.to_string().into(),
                        wanting: BTreeMap::from([(host, text)]),
                        holds: false,
                    })),
                    Some(mut alarm) => {
                        alarm.wanting.entry(host).or_insert(text);
                        self.change(alarm, notice.at)
                    }
                }
            }
        }
    }

    /// A person has seen to it: it ends.
    pub fn end(&mut self, key: &Key, at: SystemTime) -> Option<Step> {
        let alarm = self.0.remove(key)?;
        Some(Step::Ends(alarm, at))
    }

    fn begin(&mut self, alarm: Alarm) -> Step {
        self.0.insert(alarm.key.clone(), alarm.clone());
        Step::Begins(alarm)
    }

    fn change(&mut self, alarm: Alarm, at: SystemTime) -> Option<Step> {
        if alarm.wanting.is_empty() {
            self.0.remove(&alarm.key);
            return Some(Step::Ends(alarm, at));
        }
        let before = self.0.insert(alarm.key.clone(), alarm.clone());
        (before.as_ref() != Some(&alarm)).then_some(Step::Goes(alarm))
    }
}

impl Key {
    /// One word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Key::Hosts(_) => "hosts",
            Key::Client(_) => "client",
            Key::Exchangers(_) => "exchangers",
            Key::Forgotten(_) => "forgotten",
        }
    }

    /// The name that it is about.
    pub fn name(&self) -> &str {
        match self {
            Key::Hosts(name) | Key::Client(name) | Key::Exchangers(name) | Key::Forgotten(name) => name,
        }
    }

    /// From its kind and its name.
    pub fn of(kind: &str, name: &str) -> Option<Key> {
        match kind {
            "hosts" => Some(Key::Hosts(name.into())),
            "client" => Some(Key::Client(name.into())),
            "exchangers" => Some(Key::Exchangers(name.into())),
            "forgotten" => Some(Key::Forgotten(name.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// `mx1! mx2` : mx1 lacks something, mx2 is sound, among the hosts mx1, mx2, mx3.
    fn round(seconds: u64, found: &str) -> Round {
        let host = |name: &str| Host::parse(&format!("{name}.a.example")).unwrap();
        let wanting = found.split_whitespace().filter_map(|word| word.strip_suffix('!'));
        let sound = found
            .split_whitespace()
            .filter(|word| !word.ends_with(['!', '?']));
        let wanting: Vec<_> = wanting
            .map(|name| (host(name), Source::Ledger, "no TLS".into()))
            .collect();
        let sound: Vec<Host> = sound.map(host).collect();
        Round {
            domain: Domain::parse("a.example").unwrap(),
            at: at(seconds),
            hosts: ["mx1", "mx2", "mx3"].map(host).to_vec(),
            holds: sound.is_empty() && !wanting.is_empty(),
            wanting,
            sound,
        }
    }

    fn told(step: Option<&Step>) -> &'static str {
        match step {
            None => "nothing",
            Some(Step::Begins(_)) => "begins",
            Some(Step::Goes(_)) => "goes",
            Some(Step::Ends(..)) => "ends",
        }
    }

    fn check(rounds: &[(&str, &str)]) {
        let mut alarms = Alarms::default();
        for (place, (found, expected)) in rounds.iter().enumerate() {
            let step = alarms.round(&round(place as u64, found));
            assert_eq!(told(step.as_ref()), *expected, "{place}: {found}");
        }
    }

    #[test]
    fn one_alarm_for_a_cause_and_one_word_at_its_end() {
        check(&[
            ("mx1", "nothing"),
            ("mx1! mx2! mx3!", "begins"),
            ("mx1! mx2! mx3!", "nothing"),
            ("", "nothing"),
            ("mx1! mx2", "goes"),
            ("mx1", "goes"),
            ("mx3", "ends"),
            ("mx3", "nothing"),
            ("mx1!", "begins"),
        ]);
    }

    #[test]
    fn a_kept_session_with_a_sound_host_ends_no_alarm_of_another() {
        check(&[
            ("mx1! mx2", "begins"),
            ("mx2", "nothing"),
            ("mx2", "nothing"),
            ("mx1", "ends"),
        ]);
    }

    #[test]
    fn a_host_that_was_never_the_domains_is_forgotten_once_others_show_enough() {
        check(&[
            ("evil!", "begins"),
            ("evil!", "nothing"),
            ("", "nothing"),
            ("mx1", "ends"),
        ]);
    }

    #[test]
    fn what_a_message_demands_for_itself_raises_no_alarm() {
        let mut own = round(1, "mx1!");
        own.wanting[0].1 = Source::Message;
        assert_eq!(Alarms::default().round(&own), None);
    }

    #[test]
    fn the_memory_and_an_attempt_raise_one_alarm_between_them() {
        let notice = |news| Notice {
            domain: "a.example".into(),
            host: Some("mx1.a.example".into()),
            at: at(5),
            news,
        };
        let suspect = notice(News::Suspect {
            bound: crate::Bound::Encrypted,
            showed: "clear text".into(),
        });
        for first in [0, 1] {
            let mut alarms = Alarms::default();
            let round = round(5, "mx1!");
            let steps = match first {
                0 => [alarms.round(&round), alarms.notice(&suspect)],
                _ => [alarms.notice(&suspect), alarms.round(&round)],
            };
            assert_eq!(told(steps[0].as_ref()), "begins");
            assert_ne!(told(steps[1].as_ref()), "begins");
            assert!(alarms.suspects(&Domain::parse("a.example").unwrap()));
            let ends = alarms.notice(&notice(News::Recovered { since: at(5) }));
            assert_eq!(told(ends.as_ref()), "ends");
        }
        let mut alarms = Alarms::default();
        assert_eq!(alarms.notice(&notice(News::Bound(crate::Bound::Encrypted))), None);
        assert_eq!(told(alarms.notice(&notice(News::CameInClear)).as_ref()), "begins");
        assert_eq!(
            told(alarms.notice(&notice(News::CameInClear)).as_ref()),
            "nothing"
        );
    }

    #[test]
    fn keys_print_and_parse() {
        for key in [
            Key::Hosts("a".into()),
            Key::Client("b".into()),
            Key::Exchangers("c".into()),
            Key::Forgotten("d".into()),
        ] {
            assert_eq!(Key::of(key.kind(), key.name()), Some(key));
        }
        assert_eq!(Key::of("x", "y"), None);
    }
}
