//! A message: how it came, what was tried, why it waits, and what can be done.

use std::sync::Arc;
use std::time::SystemTime;

use mail::MessageId;
use serde::{Deserialize, Serialize};
use trust::{Evidence, Judged, Seen};

use super::outlook::{Said, said};
use super::{Explainer, words};
use crate::check::level;
use crate::control::Problem;
use crate::control::queue::{Entry, To, entry, rfc3339};
use crate::evidence::record::{Attempt, Channel, Fact};
use crate::mailbox::screen;
use crate::spooling::off_the_async_threads;

/// A message that waits, is held, or went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Story {
    /// Its name.
    pub message: String,
    /// When it was asked about, RFC 3339.
    pub at: String,
    /// How it stands, in a sentence.
    pub finding: String,
    /// Why, one line for each cause.
    pub cause: Vec<String>,
    /// What can be done.
    pub advice: Vec<String>,
    /// As it stands in the queue; none once it left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queued: Option<Entry>,
    /// Its recipients in the queue.
    pub recipients: Vec<RecipientStory>,
    /// Each attempt of which evidence is kept, oldest first.
    pub attempts: Vec<AttemptStory>,
}

/// One recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecipientStory {
    /// The address.
    pub address: String,
    /// How it stands, in a sentence.
    pub finding: String,
    /// What is next.
    pub next: String,
}

/// One attempt, from its evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttemptStory {
    /// When it began, RFC 3339.
    pub at: String,
    /// The host.
    pub host: String,
    /// The address that was dialled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// What was demanded.
    pub demand: String,
    /// Who asked for the strictest.
    pub source: String,
    /// What each source said.
    pub reasons: Vec<Said>,
    /// What the channel showed.
    pub shown: String,
    /// What was made of it.
    pub verdict: String,
    /// Whether that was enough; none if it never came to a verdict.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sufficient: Option<bool>,
    /// What the host said in the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply: Option<String>,
    /// What came of it.
    pub outcome: String,
}

impl Explainer {
    pub(super) async fn story(&self, id: MessageId) -> Result<Story, Problem> {
        let now = self.ports.clock.now();
        let spool = Arc::clone(&self.spool);
        let found = off_the_async_threads(move || spool.show(id)).await;
        let found = found.ok_or_else(|| Problem::ours("the server broke off the work: see its log"))?;
        let queued = found.map(|waiting| entry(&waiting, &self.rules.retry, now));
        let attempts = self.attempts(id).await?;
        match (queued, attempts.is_empty()) {
            (None, true) => Err(Problem::unknown(format!(
                "message {id} is not in the queue: delivered, returned or never here"
            ))),
            (queued, _) => Ok(self.tell(id, queued, attempts, now)),
        }
    }

    /// What was written down of its attempts.
    async fn attempts(&self, id: MessageId) -> Result<Vec<AttemptStory>, Problem> {
        let Some(reader) = self.rules.witnesses.archive.reader().cloned() else {
            return Ok(Vec::new());
        };
        let read = off_the_async_threads(move || reader.of_message(&id.to_string(), None)).await;
        let read = read.ok_or_else(|| Problem::ours("the server broke off the work: see its log"))?;
        let found =
            read.map_err(|error| Problem::ours(format!("the files of evidence cannot be read: {error}")))?;
        let attempts = found.iter().filter_map(|found| match &found.fact {
            Fact::Attempt(attempt) => Some(AttemptStory::from(&**attempt)),
            Fact::Held(_) | Fact::Alarm(_) | Fact::Removed(_) | Fact::Cut(_) | Fact::Missed(_) => None,
        });
        Ok(attempts.collect())
    }

    fn tell(
        &self,
        id: MessageId,
        queued: Option<Entry>,
        attempts: Vec<AttemptStory>,
        now: SystemTime,
    ) -> Story {
        let recipients: Vec<RecipientStory> = queued
            .iter()
            .flat_map(|entry| &entry.recipients)
            .map(recipient)
            .collect();
        let cause = queued
            .iter()
            .flat_map(|entry| &entry.recipients)
            .filter_map(cause);
        Story {
            message: id.to_string(),
            at: rfc3339(now),
            finding: match &queued {
                Some(entry) => finding(entry),
                None => "It is no longer in the queue; what is known of its way is below.".to_owned(),
            },
            cause: cause.collect(),
            advice: match &queued {
                Some(entry) => self.advice(entry),
                None => Vec::new(),
            },
            recipients,
            queued,
            attempts,
        }
    }

    fn advice(&self, entry: &Entry) -> Vec<String> {
        let id = &entry.id;
        let stands = |state: &str| entry.recipients.iter().any(|to| to.state == state);
        let mut advice = Vec::new();
        let waits = stands("waiting") || stands("withheld");
        if stands("held") {
            advice.push(format!(
                "sealpost queue release {id}: try again now, under the same demands"
            ));
        }
        if waits {
            advice.push(format!(
                "sealpost queue retry {id}: try again now instead of later"
            ));
        }
        if waits || stands("held") {
            advice.push(format!(
                "sealpost queue return {id}: give up now; the sender gets the report"
            ));
            let far = entry
                .recipients
                .iter()
                .filter(|to| to.state != "settled")
                .filter_map(|to| to.address.rsplit_once('@'));
            let mut domains: Vec<&str> = far.map(|(_, domain)| domain).collect();
            domains.sort_unstable();
            domains.dedup();
            for domain in domains.into_iter().take(DOMAINS_TOLD_MAX) {
                advice.push(format!(
                    "sealpost explain {domain}: what is demanded there now, and why"
                ));
            }
            advice.push(format!(
                "Left alone it is tried again by itself, and goes back to its sender when it is {} old.",
                words::span(self.rules.retry.age_max)
            ));
        }
        advice
    }
}

fn finding(entry: &Entry) -> String {
    let count = |state: &str| entry.recipients.iter().filter(|to| to.state == state).count();
    let states = [
        ("waiting", "waiting for the next attempt"),
        ("leased", "being tried this moment"),
        ("held", "held"),
        ("withheld", "withheld, since no channel was good enough"),
        ("settled", "settled"),
    ];
    let total = entry.recipients.len();
    let parts: Vec<String> = states
        .iter()
        .map(|(state, words)| (count(state), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let of = if total == 1 {
        "1 recipient"
    } else {
        &format!("{total} recipients")
    };
    format!(
        "It is in the queue since {}. Of {of}: {}.",
        entry.arrived,
        parts.join(", ")
    )
}

fn recipient(to: &To) -> RecipientStory {
    let tried = match to.attempts {
        0 => "not tried yet".to_owned(),
        1 => "tried once".to_owned(),
        more => format!("tried {more} times"),
    };
    RecipientStory {
        address: to.address.clone(),
        finding: match &to.because {
            Some(because) => format!("{}, {tried}: {}", to.state, because.text),
            None => format!("{}, {tried}", to.state),
        },
        next: match (to.state.as_str(), &to.next) {
            (_, Some(next)) => format!("next attempt at {next}"),
            ("held", None) => "not tried until released".to_owned(),
            ("leased", None) => "an attempt is under way".to_owned(),
            (_, None) => "nothing is left to do".to_owned(),
        },
    }
}

fn cause(to: &To) -> Option<String> {
    let because = to.because.as_ref()?;
    let host = because.remote.as_ref().map(|host| format!(" {host}"));
    let reply = because.reply.as_ref().map(|reply| format!("; it said: {reply}"));
    Some(format!(
        "{}:{} {} {}{}",
        to.address,
        host.unwrap_or_default(),
        because.status,
        because.text,
        reply.unwrap_or_default()
    ))
}

/// From what was written down.
impl From<&Attempt> for AttemptStory {
    fn from(attempt: &Attempt) -> AttemptStory {
        let (verdict, sufficient) = match (&attempt.basis, &attempt.unmet, &attempt.tls_trouble) {
            (Some(basis), _, _) => (format!("enough: {basis}"), Some(true)),
            (None, Some(unmet), _) => (
                format!("not enough: {} (demanded by {})", unmet.lack, unmet.by),
                Some(false),
            ),
            (None, None, Some(trouble)) => (format!("TLS came to nothing: {trouble}"), None),
            (None, None, None) => ("it never came to that".to_owned(), None),
        };
        let shown = match &attempt.channel {
            None => "nothing".to_owned(),
            Some(Channel::Clear(_)) => attempt.hop.clone(),
            Some(Channel::Tls {
                version,
                cipher,
                group,
                chain,
                ..
            }) => {
                let group = group.as_deref().unwrap_or("unknown");
                format!("{version}, {cipher}, key exchange {group}; certificate: {chain}")
            }
        };
        AttemptStory {
            at: attempt.started.clone(),
            host: attempt.host.clone(),
            address: attempt.address.clone(),
            demand: attempt.demand.clone(),
            source: attempt.source.clone(),
            reasons: attempt
                .reasons
                .iter()
                .map(|reason| Said {
                    source: reason.source.clone(),
                    demand: reason.demand.clone(),
                    text: screen::line(&reason.text),
                })
                .collect(),
            shown: screen::line(&shown),
            verdict: screen::line(&verdict),
            sufficient,
            reply: attempt.reply.as_deref().map(screen::line),
            outcome: screen::line(&attempt.outcome),
        }
    }
}

impl From<&Evidence> for AttemptStory {
    fn from(evidence: &Evidence) -> AttemptStory {
        let (verdict, sufficient) = match (&evidence.judged, &evidence.tls_trouble) {
            (Some(Judged::Sufficient(basis)), _) => (format!("enough: {}", level::words(*basis)), Some(true)),
            (Some(Judged::Insufficient(unmet)), _) => (format!("not enough: {unmet}"), Some(false)),
            (None, Some(trouble)) => (format!("TLS came to nothing: {}", trouble.text), None),
            (None, None) => ("it never came to that".to_owned(), None),
        };
        let shown = match &evidence.seen {
            None => "nothing".to_owned(),
            Some(Seen::Clear(_)) => evidence.hop(),
            Some(Seen::Tls { facts, chain }) => {
                let group = facts.group.as_deref().unwrap_or("unknown");
                format!(
                    "{}, {}, key exchange {group}; certificate: {chain}",
                    facts.version, facts.cipher
                )
            }
        };
        AttemptStory {
            at: rfc3339(evidence.started),
            host: evidence.host.to_string(),
            address: evidence.address.map(|address| address.to_string()),
            demand: evidence.demand.to_string(),
            source: evidence.source.to_string(),
            reasons: evidence.reasons.iter().map(said).collect(),
            shown: screen::line(&shown),
            verdict: screen::line(&verdict),
            sufficient,
            reply: evidence
                .reply
                .as_ref()
                .map(|reply| screen::line(&reply.to_string())),
            outcome: screen::line(&evidence.outcome),
        }
    }
}

/// Domains whose own explanation is pointed to.
const DOMAINS_TOLD_MAX: usize = 3;
