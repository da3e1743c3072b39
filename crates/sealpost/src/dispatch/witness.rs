//! What an attempt found, as its witnesses see it: written down, counted, and a reason for an alarm or none.

use std::time::SystemTime;

use mail::{MessageId, TlsWish};
use spool::Leased;
use trust::Judged;
use trust::alarm::Round;

use super::rules::Witnesses;
use crate::deliver::{Attempted, Errand, Found};
use crate::evidence::record::Fact;
use crate::route::Way;

/// What is to be seen of one attempt.
pub(super) struct Sight {
    facts: Vec<Fact>,
    /// What is held after it.
    held: Option<Fact>,
    round: Option<Round>,
}

impl Sight {
    /// Of this attempt. Counts its verdicts.
    pub(super) fn of(
        witnesses: &Witnesses,
        leased: &Leased,
        errand: &Errand,
        attempted: &Attempted,
        way: &Way,
        now: SystemTime,
    ) -> Sight {
        for judged in attempted
            .evidence
            .iter()
            .filter_map(|evidence| evidence.judged.as_ref())
        {
            match judged {
                Judged::Sufficient(basis) => witnesses.tally.verdict(&basis.to_string()),
                Judged::Insufficient(_) => witnesses.tally.verdict("insufficient"),
            }
        }
        let found = attempted.found.iter().zip(leased.recipients());
        let held = found.filter_map(|(found, (_, _, progress))| match found {
            Found::Held { cause, .. } => Some((progress.withheld_since.unwrap_or(cause.at), cause)),
            Found::Taken { .. } | Found::Refused(_) => None,
        });
        Sight {
            held: Fact::held(errand.id, leased.lane().as_str(), held),
            facts: attempted.evidence.iter().map(Fact::attempt).collect(),
            round: round(errand, attempted, way, now),
        }
    }
}

impl Witnesses {
    /// Writes down what was found, and raises an alarm where it is a reason for one: all of that before a hold is recorded.
    pub(super) async fn see(&self, id: MessageId, seen: Sight, now: SystemTime) {
        let mut facts = seen.facts;
        match seen.held {
            None => self.archive.note(facts, now).await,
            Some(held) => {
                facts.push(held);
                self.tally.hold();
                if self.archive.reader().is_some() && self.archive.keep(facts, now).await.is_err() {
                    tracing::error!(%id, "held, though the evidence of it could not be written down");
                }
            }
        }
        if let Some(round) = seen.round {
            self.bell.round(round).await;
        }
    }
}

/// What an attempt says of the hosts of its destination.
fn round(errand: &Errand, attempted: &Attempted, way: &Way, now: SystemTime) -> Option<Round> {
    let of_hosts = || way.hops.first().and_then(|hop| hop.host.name());
    let domain = way.domain.as_ref().or_else(of_hosts)?.clone();
    let wanting = attempted.wanting.iter();
    let sound = attempted.evidence.iter().filter(|evidence| {
        let enough = matches!(evidence.judged, Some(Judged::Sufficient(_)));
        // What waives demands proves nothing of hosts that lacked what is demanded.
        enough && errand.wish != TlsWish::Waived
    });
    Some(Round {
        domain,
        at: now,
        hosts: way.hops.iter().map(|hop| hop.host.clone()).collect(),
        wanting: wanting
            .map(|wanting| (wanting.host.clone(), wanting.by, wanting.text.clone()))
            .collect(),
        sound: sound.map(|evidence| evidence.host.clone()).collect(),
        holds: attempted
            .found
            .iter()
            .any(|found| matches!(found, Found::Held { .. })),
    })
}
