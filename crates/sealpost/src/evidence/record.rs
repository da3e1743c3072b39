//! What is written down as evidence, in the one form that the chained file, commands, webhooks and explanations share.
//!
//! [`Attempt`] is the JSON form of [`trust::Evidence`]; the log line and reports render that same value.

use std::time::SystemTime;

use mail::{Cause, MessageId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use trust::{Evidence, Judged, Seen, WhyClear};

/// One thing that is written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// An attempt at one host, whatever came of it.
    Attempt(Box<Attempt>),
    /// What was kept back for recipients of a message.
    Held(Held),
    /// An alarm began or ended.
    Alarm(Alarm),
    /// A file of evidence came of age and is removed.
    Removed(Removed),
    /// The end of the last file was unsound at a start and was cut off.
    Cut(Cut),
    /// Records that could not be written, because of the disk.
    Missed(Missed),
}

/// One attempt at one host: what was demanded and by whom, what was shown, what was made of it, and the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was over, RFC 3339.
    pub at: String,
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The domain whose mail the host was to take.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub domain: Option<String>,
    /// The host that was meant.
    pub host: String,
    /// The address that was dialled, if one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// What the channel had to prove: `none`, `opportunistic`, `encrypted` or `verified`.
    pub demand: String,
    /// Who asked for that.
    pub source: String,
    /// What each source said.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reasons: Vec<Said>,
    /// What the channel showed, if it came to that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channel: Option<Channel>,
    /// What leave to send rested on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub basis: Option<String>,
    /// What was demanded and not shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unmet: Option<Lacked>,
    /// A handshake that came to nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls_trouble: Option<String>,
    /// The reply that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply: Option<String>,
    /// What came of it, in plain words.
    pub outcome: String,
    /// How the hop was secured, in a sentence.
    pub hop: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// What a source said of a host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Said {
    /// Who: `policy`, `dane`, `mta-sts`, `ledger`, `message` or `default`.
    pub source: String,
    /// The least that it asks for, if it asks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub demand: Option<String>,
    /// In plain words.
    pub text: String,
}

/// What a channel showed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// It was clear, and why.
    Clear(String),
    /// It was inside TLS.
    Tls {
        /// `TLSv1.3`.
        version: String,
        /// In IANA's spelling.
        cipher: String,
        /// The key exchange group.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        group: Option<String>,
        /// The name that was asked for.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        server_name: Option<String>,
        /// SHA-256 of each certificate, the peer's own first.
        certificates: Vec<String>,
        /// SHA-256 of the peer's public key.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        key: Option<String>,
        /// The end of its certificate's time, RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        until: Option<String>,
        /// What the certificates prove, in plain words.
        chain: String,
    },
}

/// What was demanded and not shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lacked {
    /// Who demanded it.
    pub by: String,
    /// What.
    pub lack: String,
}

/// A hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// When it was decided, RFC 3339.
    pub at: String,
    /// The message.
    pub message: String,
    /// Where it should go.
    pub destination: String,
    /// For how many recipients.
    pub recipients: usize,
    /// Since when, without a break, RFC 3339.
    pub since: String,
    /// Why.
    pub because: String,
}

/// An alarm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// When, RFC 3339.
    pub at: String,
    /// Its name, the same at its begin and its end.
    pub alarm: String,
    /// `begin` or `end`.
    pub event: String,
    /// What it is about.
    pub subject: String,
    /// In plain words.
    pub text: String,
}

/// A file that was removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Removed {
    /// When, RFC 3339.
    pub at: String,
    /// Its name.
    pub file: String,
    /// The number of its last record.
    pub last: u64,
    /// The hash of that record: the chain goes on from it.
    pub hash: String,
}

/// A torn end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// When, RFC 3339.
    pub at: String,
    /// Octets.
    pub octets: u64,
    /// The file in `damaged/` that has them.
    pub kept_as: String,
}

/// Records that are missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Missed {
    /// When, RFC 3339.
    pub at: String,
    /// How many.
    pub records: u64,
    /// Why.
    pub because: String,
}

impl Fact {
    /// An attempt.
    pub fn attempt(evidence: &Evidence) -> Fact {
        Fact::Attempt(Box::new(Attempt::of(evidence)))
    }

    /// What was kept back of a message: since when, and why, for each recipient. None where nothing was.
    pub fn held<'a>(
        message: MessageId,
        destination: &str,
        mut withheld: impl Iterator<Item = (SystemTime, &'a Cause)>,
    ) -> Option<Fact> {
        let (since, cause) = withheld.next()?;
        Some(Fact::Held(Held {
            at: rfc3339(cause.at),
            message: message.to_string(),
            destination: destination.to_owned(),
            recipients: 1 + withheld.count(),
            since: rfc3339(since),
            because: cause.text.to_string(),
        }))
    }

    /// When it happened.
    pub fn at(&self) -> Option<SystemTime> {
        let at = match self {
            Fact::Attempt(attempt) => &attempt.at,
            Fact::Held(held) => &held.at,
            Fact::Alarm(alarm) => &alarm.at,
            Fact::Removed(removed) => &removed.at,
            Fact::Cut(cut) => &cut.at,
            Fact::Missed(missed) => &missed.at,
        };
        parse(at)
    }

    /// The message that it is about.
    pub fn message(&self) -> Option<&str> {
        match self {
            Fact::Attempt(attempt) => attempt.message.as_deref(),
            Fact::Held(held) => Some(&held.message),
            Fact::Alarm(_) | Fact::Removed(_) | Fact::Cut(_) | Fact::Missed(_) => None,
        }
    }
}

impl Attempt {
    /// The record of an attempt.
    pub fn of(evidence: &Evidence) -> Attempt {
        let (basis, unmet) = match &evidence.judged {
            None => (None, None),
            Some(Judged::Sufficient(basis)) => (Some(basis.to_string()), None),
            Some(Judged::Insufficient(unmet)) => (
                None,
                Some(Lacked {
                    by: unmet.by.to_string(),
                    lack: unmet.lack.to_string(),
                }),
            ),
        };
        let took = evidence.ended.duration_since(evidence.started);
        Attempt {
            at: rfc3339(evidence.ended),
            message: evidence.message.map(|id| id.to_string()),
            domain: evidence.domain.as_ref().map(ToString::to_string),
            host: evidence.host.to_string(),
            address: evidence.address.map(|address| address.to_string()),
            demand: evidence.demand.to_string(),
            source: evidence.source.to_string(),
            reasons: evidence.reasons.iter().map(Said::of).collect(),
            channel: evidence.seen.as_ref().map(Channel::of),
            basis,
            unmet,
            tls_trouble: evidence
                .tls_trouble
                .as_ref()
                .map(|trouble| trouble.text.to_string()),
            reply: evidence.reply.as_ref().map(ToString::to_string),
            outcome: evidence.outcome.to_string(),
            hop: evidence.hop(),
            started: rfc3339(evidence.started),
            took_ms: took.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl Said {
    /// A reason of a plan.
    pub fn of(reason: &trust::Reason) -> Said {
        Said {
            source: reason.source.to_string(),
            demand: reason.demand.map(|demand| demand.to_string()),
            text: reason.text.to_string(),
        }
    }
}

impl Channel {
    /// What was seen.
    pub fn of(seen: &Seen) -> Channel {
        match seen {
            Seen::Clear(WhyClear::NotOffered) => Channel::Clear("TLS was not offered".to_owned()),
            Seen::Clear(WhyClear::Unwanted) => Channel::Clear("local policy wants no TLS".to_owned()),
            Seen::Clear(WhyClear::Earlier(trouble)) => {
                Channel::Clear(format!("TLS had failed earlier: {}", trouble.text))
            }
            Seen::Tls { facts, chain } => Channel::Tls {
                version: facts.version.to_string(),
                cipher: facts.cipher.to_string(),
                group: facts.group.as_ref().map(ToString::to_string),
                server_name: facts.server_name.as_ref().map(ToString::to_string),
                certificates: facts.chain.iter().map(ToString::to_string).collect(),
                key: chain.key.map(|key| key.to_string()),
                until: chain.until.map(rfc3339),
                chain: chain.to_string(),
            },
        }
    }
}

/// A time in UTC, to the millisecond.
pub fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // A clock beyond the year 9999, which this form ends with, is told as its end.
    let millis = i128::try_from(since.as_millis()).map_or(MILLIS_MAX, |millis| millis.min(MILLIS_MAX));
    let at = OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000);
    at.ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// The last millisecond of the year 9999.
const MILLIS_MAX: i128 = 253_402_300_799_999;

/// Reads such a time.
pub fn parse(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mail::{Host, MessageId, Reply};
    use trust::{Basis, Plan, TlsTrouble};

    use super::*;

    #[test]
    fn a_record_reads_back_as_what_was_written() {
        let begun = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let evidence = Evidence {
            message: Some(MessageId::from_bits(7)),
            seen: Some(Seen::Clear(WhyClear::Earlier(TlsTrouble {
                at: begun,
                text: "alert \"40\"\r\n".into(),
            }))),
            judged: Some(Judged::Sufficient(Basis::ClearUnavoided)),
            reply: Some(Reply::plain(250, "ok\nthen")),
            outcome: "1 taken, 0 refused".into(),
            ended: begun + Duration::from_millis(1500),
            ..Evidence::begun(&Plan::opportunistic(Host::parse("mx.example").unwrap()), begun)
        };
        let fact = Fact::attempt(&evidence);
        let text = serde_json::to_string(&fact).unwrap();
        assert!(
            text.starts_with("{\"kind\":\"attempt\",\"at\":\"2027-01-15T08:00:01.623Z\",\"message\":"),
            "{text}"
        );
        assert!(!text.contains('\n'), "one line: {text}");
        assert_eq!(serde_json::from_str::<Fact>(&text).unwrap(), fact);
        assert_eq!(fact.message(), Some(&*MessageId::from_bits(7).to_string()));
        assert_eq!(fact.at(), Some(evidence.ended));
    }

    #[test]
    fn any_clock_can_be_written_down() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for seconds in [0, 1, 1_800_000_000, 253_402_300_799] {
            assert_eq!(parse(&rfc3339(at(seconds))), Some(at(seconds)));
        }
        assert_eq!(rfc3339(at(200_000_000_000_000)), "9999-12-31T23:59:59.999Z");
        assert_eq!(
            rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(5)),
            "1970-01-01T00:00:00Z"
        );
    }
}
