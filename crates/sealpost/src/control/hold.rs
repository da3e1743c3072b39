//! A hold as people see it: who holds, since when, until when, and what can be done.

use mail::ReversePath;
use serde::{Deserialize, Serialize};
use spool::{Message, Progress, State};

use super::queue::rfc3339;
use crate::config::retry::Retry;

/// A hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// `person`: not tried until released; `trust`: no host showed what is demanded, and it is tested again by itself.
    pub by: String,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// When it goes back to its sender if nothing changes, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// What can be done, in plain words.
    pub choices: Vec<String>,
}

/// The hold of a recipient, if it is held.
pub(super) fn hold(message: &Message, progress: &Progress, retry: &Retry) -> Option<Hold> {
    let id = message.id;
    let lets = |words: &str, act: &str| format!("{words}: sealpost queue {act} {id}");
    let ends = [
        lets("give it back to its sender", "return"),
        lets("remove it, and nobody is told", "delete"),
    ];
    match progress.state {
        State::Withheld => {
            let age_max = match message.envelope.sender {
                ReversePath::Null => retry.report_age_max,
                ReversePath::Mailbox(_) => retry.age_max,
            };
            let waits = [
                format!(
                    "wait: it is tested again at {}, and goes by itself once a host shows what is demanded",
                    rfc3339(progress.next)
                ),
                lets("test it now", "release"),
                format!("see what was demanded and shown: sealpost evidence show {id}"),
                "send with less, by a decision that is written down: sealpost ledger relax, or a [[trust.rule]]"
                    .to_owned(),
            ];
            Some(Hold {
                by: "trust".to_owned(),
                since: progress.withheld_since.map(rfc3339),
                until: Some(rfc3339(message.arrival.at + age_max)),
                choices: waits.into_iter().chain(ends).collect(),
            })
        }
        State::Held => Some(Hold {
            by: "person".to_owned(),
            since: progress.last.as_ref().map(|cause| rfc3339(cause.at)),
            until: None,
            choices: [lets("let it be tried", "release")]
                .into_iter()
                .chain(ends)
                .collect(),
        }),
        State::Waiting | State::Leased | State::Settled => None,
    }
}
