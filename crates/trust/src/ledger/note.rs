//! What a person said of a domain, a host or a client: who, why, and until when.

use super::seconds::Second;
use super::standing::Leave;

/// A person's word. Each ends by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// What is to be done.
    pub say: Say,
    /// Who said so.
    pub author: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// When.
    pub at: Second,
    /// Until when it counts.
    pub until: Second,
}

/// What a person can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Say {
    /// The demand is lifted for a time; what is known stays.
    Relax,
    /// What is known is right: it does not decay for a time, and new exchangers are accepted.
    Keep,
    /// What was known is forgotten; it is learned anew.
    Forget,
}

impl Note {
    /// Whether it counts now.
    pub fn counts(&self, now: Second) -> bool {
        now < self.until
    }

    /// What it means for a demand.
    pub fn leave(&self, now: Second) -> Leave {
        match (self.counts(now), self.say) {
            (true, Say::Relax) => Leave::Relaxed,
            (true, Say::Keep) => Leave::Kept,
            (true, Say::Forget) | (false, _) => Leave::Strict,
        }
    }
}

impl Say {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Say::Relax => "relax",
            Say::Keep => "keep",
            Say::Forget => "forget",
        }
    }

    /// Reads what [`Say::word`] writes.
    pub fn parse(text: &str) -> Option<Say> {
        [Say::Relax, Say::Keep, Say::Forget]
            .into_iter()
            .find(|say| say.word() == text)
    }
}

/// Of what was said of a host and of its domain, what counts: the newer word, if both do.
pub fn leave(notes: [Option<&Note>; 2], now: Second) -> (Leave, Option<&Note>) {
    let counting = notes
        .into_iter()
        .flatten()
        .filter(|note| note.leave(now) != Leave::Strict);
    match counting.max_by_key(|note| note.at) {
        Some(note) => (note.leave(now), Some(note)),
        None => (Leave::Strict, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_word_counts_until_its_end() {
        let note = |say, at, until| Note {
            say,
            author: "ann".into(),
            reason: "their new host".into(),
            at: Second(at),
            until: Second(until),
        };
        let (relax, keep) = (note(Say::Relax, 10, 100), note(Say::Keep, 20, 50));
        let at = |now| leave([Some(&relax), Some(&keep)], Second(now)).0;
        assert_eq!(at(30), Leave::Kept);
        assert_eq!(at(50), Leave::Relaxed);
        assert_eq!(at(100), Leave::Strict);
        assert_eq!(leave([None, None], Second(0)).0, Leave::Strict);
    }
}
