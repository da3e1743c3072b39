//! What is known not to exist, for a while (RFC 2308).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{Name, RecordType};

use crate::ports::{Denial, NoAnswer};

/// What a look-up was denied, and how far that can be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    NoSuchName(Denial),
    NoRecords(Denial),
}

/// A bounded memory of denials. The lock is held for single look-ups in memory, never across an await.
pub(super) struct Denials {
    known: Mutex<BTreeMap<(Name, u16), (Denied, Instant)>>,
    entries_max: usize,
    time_max: Duration,
}

impl Denials {
    pub(super) fn new(entries_max: usize, time_max: Duration) -> Denials {
        Denials {
            known: Mutex::default(),
            entries_max,
            time_max,
        }
    }

    pub(super) fn get(&self, name: &Name, kind: RecordType, now: Instant) -> Option<Denied> {
        let known = self.known();
        let (denial, until) = known.get(&(name.clone(), kind.into()))?;
        (now < *until).then_some(*denial)
    }

    pub(super) fn put(&self, name: &Name, kind: RecordType, denial: Denied, now: Instant, ttl: Duration) {
        let until = now + ttl.min(self.time_max);
        let mut known = self.known();
        if known.len() >= self.entries_max {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() >= self.entries_max {
            // Full of live entries: start anew rather than search for the best one to drop.
            known.clear();
        }
        known.insert((name.clone(), kind.into()), (denial, until));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Name, u16), (Denied, Instant)>> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl From<Denied> for NoAnswer {
    fn from(denied: Denied) -> NoAnswer {
        match denied {
            Denied::NoSuchName(denial) => NoAnswer::NoSuchName(denial),
            Denied::NoRecords(denial) => NoAnswer::NoRecords(denial),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn denials_end_with_their_time() {
        let denials = Denials::new(10, Duration::from_secs(60));
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        denials.put(
            &name("a.example"),
            RecordType::MX,
            Denied::NoRecords(Denial::Secure),
            now,
            Duration::from_secs(5),
        );
        denials.put(
            &name("b.example"),
            RecordType::MX,
            Denied::NoSuchName(Denial::Insecure),
            now,
            Duration::from_secs(9999),
        );
        assert_eq!(
            denials.get(&name("a.example"), RecordType::MX, later(4)),
            Some(Denied::NoRecords(Denial::Secure))
        );
        assert_eq!(denials.get(&name("a.example"), RecordType::A, later(4)), None);
        assert_eq!(denials.get(&name("a.example"), RecordType::MX, later(5)), None);
        assert_eq!(
            denials.get(&name("b.example"), RecordType::MX, later(59)),
            Some(Denied::NoSuchName(Denial::Insecure))
        );
        assert_eq!(denials.get(&name("b.example"), RecordType::MX, later(60)), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let denials = Denials::new(3, Duration::from_secs(60));
        let now = Instant::now();
        for number in 0..100 {
            let name = name(&format!("n{number}.example"));
            denials.put(
                &name,
                RecordType::MX,
                Denied::NoRecords(Denial::Secure),
                now,
                Duration::from_secs(30),
            );
        }
        assert!(denials.known().len() <= 3);
    }
}
