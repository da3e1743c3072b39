//! What is remembered of hosts for a while: which did not answer, and with which TLS failed. In memory, bounded, and
//! never a reason to demand less of a host than its plan does.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::Host;
use trust::TlsTrouble;

/// The memory. The dispatcher owns it; attempts see a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    silent: Shelves<SocketAddr, Silent>,
    tls: Shelves<Host, TlsTrouble>,
}

/// A map in parts: a snapshot shares them all, and what is learnt while it is held copies one.
#[derive(Clone, Debug)]
struct Shelves<K, V>(Vec<Arc<BTreeMap<K, V>>>);

/// An address that did not answer (RFC 5321 §4.5.4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Silent {
    /// When it was silent last.
    pub at: SystemTime,
    /// Not tried again before.
    pub until: SystemTime,
    /// How often in a row.
    pub times: u32,
    /// What happened last, in plain words.
    pub text: Box<str>,
}

/// What an attempt taught.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lesson {
    /// The address answers.
    Answered(SocketAddr),
    /// It does not.
    Silent(SocketAddr, Box<str>),
    /// A handshake with the host failed, or it said 454.
    TlsFailed(Host, Box<str>),
    /// A handshake with the host went well.
    TlsWorked(Host),
}

impl Peers {
    /// Why an address is left alone now, if it is. Not so behind a clock that was set back: it would be for too long.
    pub fn silent(&self, address: SocketAddr, now: SystemTime) -> Option<&Silent> {
        let known = self.silent.get(&address);
        known.filter(|silent| silent.at <= now && now < silent.until)
    }

    /// What is remembered of TLS with a host.
    pub fn tls_trouble(&self, host: &Host) -> Option<&TlsTrouble> {
        self.tls.get(host)
    }

    /// Whether an attempt's lesson changes anything. Most say only that all is well, as before.
    pub fn is_news(&self, lesson: &Lesson) -> bool {
        match lesson {
            Lesson::Silent(..) | Lesson::TlsFailed(..) => true,
            Lesson::Answered(address) => self.silent.get(address).is_some(),
            Lesson::TlsWorked(host) => self.tls.get(host).is_some(),
        }
    }

    /// Takes in what an attempt taught. `pause` gives the wait after so many failures in a row.
    pub fn learn(&mut self, lesson: Lesson, now: SystemTime, pause: impl Fn(u32) -> Duration) {
        match lesson {
            Lesson::Answered(address) => drop(self.silent.shelf(&address).remove(&address)),
            Lesson::Silent(address, text) => {
                let times = self.silent.get(&address).map_or(0, |known| known.times) + 1;
                let until = now + pause(times);
                let silent = Silent {
                    at: now,
                    until,
                    times,
                    text,
                };
                let shelf = self.silent.shelf(&address);
                make_room(shelf, |silent| now < silent.until);
                shelf.insert(address, silent);
            }
            Lesson::TlsFailed(host, text) => {
                let shelf = self.tls.shelf(&host);
                make_room(shelf, |trouble| now < trouble.at + TROUBLE_TIME_MAX);
                let trouble = shelf.entry(host).or_insert(TlsTrouble {
                    at: now,
                    text: "".into(),
                });
                trouble.text = text;
            }
            Lesson::TlsWorked(host) => drop(self.tls.shelf(&host).remove(&host)),
        }
    }

    /// Forgets which addresses are silent, so that they are tried again at once.
    pub fn forget_silence(&mut self) {
        self.silent = Shelves::default();
    }
}

impl<K: Ord + Hash + Clone, V: Clone> Shelves<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.0[place(key)].get(key)
    }

    fn shelf(&mut self, key: &K) -> &mut BTreeMap<K, V> {
        Arc::make_mut(&mut self.0[place(key)])
    }
}

impl<K, V> Default for Shelves<K, V> {
    fn default() -> Shelves<K, V> {
        Shelves((0..SHELVES).map(|_| Arc::default()).collect())
    }
}

/// Always the same for a key, in each process: order is behaviour.
fn place<K: Hash>(key: &K) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % SHELVES as u64).unwrap_or(0)
}

/// Before something is added: what is over goes, and if that is not enough, everything.
fn make_room<K: Ord, V>(known: &mut BTreeMap<K, V>, holds: impl Fn(&V) -> bool) {
    if known.len() >= SHELF_ENTRIES_MAX {
        known.retain(|_, value| holds(value));
    }
    if known.len() >= SHELF_ENTRIES_MAX {
        known.clear();
    }
}

/// Parts of each kind.
const SHELVES: usize = 64;
/// Entries of each part: 10,000 of each kind in all.
const SHELF_ENTRIES_MAX: usize = 10_000 / SHELVES;
/// After this, a host's trouble with TLS may make room for another's.
const TROUBLE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn pause(times: u32) -> Duration {
        Duration::from_secs(u64::from(times) * 100)
    }

    #[test]
    fn a_silent_address_rests_longer_each_time_until_it_answers() {
        let mut peers = Peers::default();
        peers.learn(Lesson::Silent(address(25), "refused".into()), at(0), pause);
        assert!(peers.silent(address(25), at(99)).is_some());
        assert!(peers.silent(address(26), at(99)).is_none());
        assert!(peers.silent(address(25), at(100)).is_none());
        peers.learn(Lesson::Silent(address(25), "refused".into()), at(100), pause);
        assert!(peers.silent(address(25), at(299)).is_some());
        peers.learn(Lesson::Answered(address(25)), at(300), pause);
        peers.learn(Lesson::Silent(address(25), "refused".into()), at(300), pause);
        assert!(peers.silent(address(25), at(400)).is_none());
    }

    #[test]
    fn trouble_with_tls_dates_from_its_beginning_and_ends_with_success() {
        let host = Host::parse("mx.example").unwrap();
        let mut peers = Peers::default();
        peers.learn(Lesson::TlsFailed(host.clone(), "alert".into()), at(5), pause);
        peers.learn(Lesson::TlsFailed(host.clone(), "454".into()), at(500), pause);
        let trouble = peers.tls_trouble(&host).unwrap();
        assert_eq!((trouble.at, &*trouble.text), (at(5), "454"));
        peers.learn(Lesson::TlsWorked(host.clone()), at(501), pause);
        assert!(peers.tls_trouble(&host).is_none());
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut peers = Peers::default();
        for port in 0..=u16::MAX {
            peers.learn(Lesson::Silent(address(port), "".into()), at(0), pause);
        }
        let entries: usize = peers.silent.0.iter().map(|shelf| shelf.len()).sum();
        assert!((1000..=10_000).contains(&entries), "{entries}");
    }

    // Hundreds of attempts may each hold another state of the memory.
    #[test]
    fn a_lesson_copies_little_of_what_a_snapshot_holds() {
        let mut peers = Peers::default();
        for port in 0..5_000 {
            peers.learn(Lesson::Silent(address(port), "".into()), at(0), pause);
        }
        let snapshot = peers.clone();
        peers.learn(Lesson::Silent(address(5_000), "".into()), at(0), pause);
        let shelves = peers.silent.0.iter().zip(&snapshot.silent.0);
        assert_eq!(shelves.filter(|(now, then)| !Arc::ptr_eq(now, then)).count(), 1);
    }

    #[test]
    fn only_news_changes_the_memory() {
        let mut peers = Peers::default();
        let host = Host::parse("mx.example").unwrap();
        assert!(!peers.is_news(&Lesson::Answered(address(25))));
        assert!(!peers.is_news(&Lesson::TlsWorked(host.clone())));
        for trouble in [
            Lesson::Silent(address(25), "refused".into()),
            Lesson::TlsFailed(host.clone(), "alert".into()),
        ] {
            assert!(peers.is_news(&trouble));
            peers.learn(trouble, at(0), pause);
        }
        assert!(peers.is_news(&Lesson::Answered(address(25))));
        assert!(peers.is_news(&Lesson::TlsWorked(host)));
    }

    #[test]
    fn a_clock_set_back_leaves_nobody_alone() {
        let mut peers = Peers::default();
        peers.learn(
            Lesson::Silent(address(25), "refused".into()),
            at(1_000_000),
            pause,
        );
        assert!(peers.silent(address(25), at(1_000_099)).is_some());
        assert!(peers.silent(address(25), at(10)).is_none());
    }
}
