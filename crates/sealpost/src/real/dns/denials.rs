//! What is known not to exist, for a while (RFC 2308).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;
use mail::Domain;

use crate::ports::NoAnswer;

/// What a look-up was denied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denial {
    NoSuchName,
    NoRecords,
}

/// A bounded memory of denials. The lock is held for single look-ups in memory, never across an await.
pub(super) struct Denials {
    known: Mutex<BTreeMap<(Domain, u16), (Denial, Instant)>>,
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

    pub(super) fn get(&self, name: &Domain, kind: RecordType, now: Instant) -> Option<Denial> {
        let known = self.known();
        let (denial, until) = known.get(&(name.clone(), kind.into()))?;
        (now < *until).then_some(*denial)
    }

    pub(super) fn put(&self, name: &Domain, kind: RecordType, denial: Denial, now: Instant, ttl: Duration) {
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

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Domain, u16), (Denial, Instant)>> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl From<Denial> for NoAnswer {
    fn from(denial: Denial) -> NoAnswer {
        match denial {
            Denial::NoSuchName => NoAnswer::NoSuchName,
            Denial::NoRecords => NoAnswer::NoRecords,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn denials_end_with_their_time() {
        let denials = Denials::new(10, Duration::from_secs(60));
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        denials.put(
            &name("a.example"),
            RecordType::MX,
            Denial::NoRecords,
            now,
            Duration::from_secs(5),
        );
        denials.put(
            &name("b.example"),
            RecordType::MX,
            Denial::NoSuchName,
            now,
            Duration::from_secs(9999),
        );
        assert_eq!(
            denials.get(&name("a.example"), RecordType::MX, later(4)),
            Some(Denial::NoRecords)
        );
        assert_eq!(denials.get(&name("a.example"), RecordType::A, later(4)), None);
        assert_eq!(denials.get(&name("a.example"), RecordType::MX, later(5)), None);
        assert_eq!(
            denials.get(&name("b.example"), RecordType::MX, later(59)),
            Some(Denial::NoSuchName)
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
                Denial::NoRecords,
                now,
                Duration::from_secs(30),
            );
        }
        assert!(denials.known().len() <= 3);
    }
}
