//! The memory of those who send to us: a client that always came encrypted and now comes in clear is noted and told. It is
//! never refused: what it brings is there already, for all to have read.

use super::News;
use super::course::{Binding, Course};
use super::seconds::Second;
use super::standing::Spell;

/// How a client stands, by its proven name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InboundStanding {
    /// The first session.
    pub first: Second,
    /// The last one.
    pub last: Second,
    /// Its way to count as one that always encrypts.
    pub encrypted: Course,
    /// Sessions in clear since the last encrypted one, of a client that is bound.
    pub clear: Option<Spell>,
}

/// How a client came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    /// Inside TLS.
    Encrypted,
    /// In clear, though TLS was offered to it.
    Clear,
}

/// Applies one session that brought mail.
pub fn came_in(client: &mut InboundStanding, came: Came, at: Second, binding: &Binding) -> Option<News> {
    let now = at.max(client.last);
    let decayed = client.encrypted.decays(now, binding);
    let suspect = client.clear.is_some();
    if decayed {
        client.clear = None;
    }
    client.first = if client.first == Second(0) {
        now
    } else {
        client.first
    };
    client.last = now;
    let bound = client.encrypted.is_bound(now, binding);
    match came {
        Came::Encrypted => {
            client.encrypted.shown(now, binding);
            let over = client.clear.take()?;
            Some(News::Recovered {
                since: over.since.time(),
            })
        }
        Came::Clear if bound => {
            let first = client.clear.is_none();
            let spell = client.clear.get_or_insert(Spell {
                since: now,
                last: now,
                sessions: 0,
            });
            spell.last = now;
            spell.sessions = spell.sessions.saturating_add(1);
            first.then_some(News::CameInClear)
        }
        Came::Clear => {
            client.encrypted.lapse(now);
            decayed.then_some(News::Decayed {
                from: super::Bound::Encrypted,
                suspect,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Rules;

    #[test]
    fn a_client_that_always_encrypted_is_noted_once_when_it_comes_in_clear() {
        let binding = Rules::default().host;
        let mut client = InboundStanding::default();
        let mut come =
            |came, hours: u64| came_in(&mut client, came, Second(1_000_000 + hours * 3600), &binding);
        for hours in [1, 12, 26] {
            assert_eq!(come(Came::Encrypted, hours), None);
        }
        assert_eq!(come(Came::Clear, 30), Some(News::CameInClear));
        assert_eq!(come(Came::Clear, 31), None, "told once");
        let recovered = come(Came::Encrypted, 32);
        assert!(matches!(recovered, Some(News::Recovered { .. })), "{recovered:?}");
        assert_eq!(come(Came::Clear, 33), Some(News::CameInClear));
        let decayed = come(Came::Clear, 33 + 24 * 90);
        assert!(
            matches!(decayed, Some(News::Decayed { suspect: true, .. })),
            "{decayed:?}"
        );
        assert_eq!(
            come(Came::Clear, 34 + 24 * 90),
            None,
            "nothing is known of it any more"
        );
    }
}
