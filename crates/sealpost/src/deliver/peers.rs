//! What is remembered of hosts for a while: which did not answer, and with which TLS failed. In memory, bounded, and
//! never a reason to demand less of a host than its plan does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mail::Host;
use trust::TlsTrouble;

/// The memory. The dispatcher owns it; attempts see a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    silent: BTreeMap<SocketAddr, Silent>,
    tls: BTreeMap<Host, TlsTrouble>,
}

/// An address that did not answer (RFC 5321 §4.5.4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Silent {
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
    /// Why an address is left alone now, if it is.
    pub fn silent(&self, address: SocketAddr, now: SystemTime) -> Option<&Silent> {
        self.silent.get(&address).filter(|silent| now < silent.until)
    }

    /// What is remembered of TLS with a host.
    pub fn tls_trouble(&self, host: &Host) -> Option<&TlsTrouble> {
        self.tls.get(host)
    }

    /// Takes in what an attempt taught. `pause` gives the wait after so many failures in a row.
    pub fn learn(&mut self, lesson: Lesson, now: SystemTime, pause: impl Fn(u32) -> Duration) {
        match lesson {
            Lesson::Answered(address) => drop(self.silent.remove(&address)),
            Lesson::Silent(address, text) => {
                let times = self.silent.get(&address).map_or(0, |known| known.times) + 1;
                let until = now + pause(times);
                make_room(&mut self.silent, |silent| now < silent.until);
                self.silent.insert(address, Silent { until, times, text });
            }
            Lesson::TlsFailed(host, text) => {
                make_room(&mut self.tls, |trouble| now < trouble.at + TROUBLE_TIME_MAX);
                let trouble = self.tls.entry(host).or_insert(TlsTrouble {
                    at: now,
                    text: "".into(),
                });
                trouble.text = text;
            }
            Lesson::TlsWorked(host) => drop(self.tls.remove(&host)),
        }
    }

    /// Forgets which addresses are silent, so that they are tried again at once.
    pub fn forget_silence(&mut self) {
        self.silent.clear();
    }
}

/// Before something is added: what is over goes, and if that is not enough, everything.
fn make_room<K: Ord, V>(known: &mut BTreeMap<K, V>, holds: impl Fn(&V) -> bool) {
    if known.len() >= ENTRIES_MAX {
        known.retain(|_, value| holds(value));
    }
    if known.len() >= ENTRIES_MAX {
        known.clear();
    }
}

/// Entries of each kind.
const ENTRIES_MAX: usize = 10_000;
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
        assert!(peers.silent.len() <= ENTRIES_MAX);
    }
}
