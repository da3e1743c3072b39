//! What is kept in main memory of the memory of peers: bounded, the least used given up first.

use std::collections::BTreeMap;

use trust::ledger::Second;

/// A standing with when it was last written to the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Held<T> {
    pub(super) standing: T,
    pub(super) written: Second,
}

/// Two generations: when the young one is full, it becomes the old one, and what was not used for a whole generation goes.
pub(super) struct Cache<T> {
    young: BTreeMap<Box<[u8]>, Held<T>>,
    old: BTreeMap<Box<[u8]>, Held<T>>,
    generation_max: usize,
}

impl<T> Cache<T> {
    pub(super) fn new(entries_max: usize) -> Cache<T> {
        Cache {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            // What was handed over to be written is not given up before it is: that takes a moment, never so many others.
            generation_max: (entries_max / 2).max(GENERATION_MIN),
        }
    }

    pub(super) fn get(&mut self, key: &[u8]) -> Option<&Held<T>> {
        if !self.young.contains_key(key) {
            let (key, held) = self.old.remove_entry(key)?;
            self.insert(key, held);
        }
        self.young.get(key)
    }

    pub(super) fn put(&mut self, key: &[u8], held: Held<T>) {
        match self.young.get_mut(key) {
            Some(known) => *known = held,
            None => {
                self.old.remove(key);
                self.insert(key.into(), held);
            }
        }
    }

    /// What is known already is newer than what was read from the disk meanwhile.
    pub(super) fn put_if_absent(&mut self, key: &[u8], held: Held<T>) {
        if self.get(key).is_none() {
            self.insert(key.into(), held);
        }
    }

    /// Gives up all that `which` says.
    pub(super) fn forget(&mut self, which: impl Fn(&[u8]) -> bool) {
        self.young.retain(|key, _| !which(key));
        self.old.retain(|key, _| !which(key));
    }

    fn insert(&mut self, key: Box<[u8]>, held: Held<T>) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, held);
    }
}

const GENERATION_MIN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache: Cache<u64> = Cache::new(0);
        let held = |standing| Held {
            standing,
            written: Second(0),
        };
        cache.put(b"used", held(7));
        for round in 0..5 * GENERATION_MIN {
            cache.put(round.to_string().as_bytes(), held(0));
            assert_eq!(cache.get(b"used").unwrap().standing, 7);
        }
        assert!(cache.get(b"1").is_none());
        assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION_MIN);
        cache.put_if_absent(b"used", held(8));
        assert_eq!(
            cache.get(b"used").unwrap().standing,
            7,
            "older news from the disk"
        );
        cache.forget(|key| key == b"used");
        assert!(cache.get(b"used").is_none());
    }
}
