//! Alarms as they are kept: those that stand, and what is still to be told of them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use mail::{Domain, Mailbox};
use serde::{Deserialize, Serialize};
use trust::alarm::{Alarm, Key};

use super::millis;
use crate::config::alarm as config;
use crate::evidence::record::{parse, rfc3339};
use crate::memory::{Change, Shelf};

/// Where those that stand are kept.
pub(super) const STANDING: &[u8] = b"a/";
/// Where what is to be told is kept, oldest first.
pub(super) const TO_TELL: &[u8] = b"t/";

/// What happened to an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Begin,
    End,
}

/// What is told of an alarm: the body of a webhook, and what messages say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// The alarm's name, the same at its begin and its end.
    pub(super) id: String,
    /// What happened.
    pub(super) event: Event,
    /// When, RFC 3339.
    pub(super) at: String,
    /// Of which kind it is.
    pub(super) kind: String,
    /// The domain or client.
    pub(super) name: String,
    /// When it began, RFC 3339.
    pub(super) began: String,
    /// In plain words.
    pub(super) text: String,
    /// What hosts lacked.
    pub(super) hosts: BTreeMap<String, String>,
    /// Whether mail is held for it.
    pub(super) holds_mail: bool,
    /// This server.
    pub(super) server: String,
}

/// One thing to be told to one outlet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) outlet: Outlet,
    pub(super) told: Told,
    /// When it was raised, in milliseconds since 1970.
    pub(super) made: u64,
    pub(super) tries: u32,
    /// Not tried before, in milliseconds since 1970.
    pub(super) next: u64,
}

/// Who is told.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outlet {
    Webhook,
    Mail(String),
}

#[derive(Serialize, Deserialize)]
struct Kept {
    kind: String,
    name: String,
    began: String,
    text: String,
    wanting: BTreeMap<String, String>,
    holds: bool,
}

impl Event {
    pub(super) fn word(self) -> &'static str {
        match self {
            Event::Begin => "begin",
            Event::End => "end",
        }
    }
}

impl Told {
    pub(super) fn of(alarm: &Alarm, event: Event, at: SystemTime, me: &Domain) -> Told {
        let text = match event {
            Event::Begin => alarm.text.to_string(),
            Event::End => format!("over since {}: {}", rfc3339(at), alarm.text),
        };
        Told {
            id: format!(
                "{}-{}-{}",
                alarm.key.kind(),
                alarm.key.name(),
                millis(alarm.began)
            ),
            event,
            at: rfc3339(at),
            kind: alarm.key.kind().to_owned(),
            name: alarm.key.name().to_owned(),
            began: rfc3339(alarm.began),
            text,
            hosts: texts(&alarm.wanting),
            holds_mail: alarm.holds && event == Event::Begin,
            server: me.to_string(),
        }
    }
}

/// What is to be kept so that every outlet hears.
pub(super) fn to_tell(told: &Told, config: &config::Alarm, at: SystemTime) -> Vec<Change> {
    let webhook = config.webhook.iter().map(|_| Outlet::Webhook);
    let mail = config
        .mail
        .iter()
        .map(|mailbox: &Mailbox| Outlet::Mail(mailbox.to_string()));
    webhook
        .chain(mail)
        .map(|outlet| {
            let pending = Pending {
                outlet,
                told: told.clone(),
                made: millis(at),
                tries: 0,
                next: 0,
            };
            pending.change()
        })
        .collect()
}

impl Pending {
    fn key(&self) -> Box<[u8]> {
        let outlet = match &self.outlet {
            Outlet::Webhook => "webhook".to_owned(),
            Outlet::Mail(address) => format!("mail {address}"),
        };
        // An end never stands before its begin.
        let event = u8::from(self.told.event == Event::End);
        format!("t/{:016x}/{event}/{}/{outlet}", self.made, self.told.id)
            .into_bytes()
            .into()
    }

    pub(super) fn change(&self) -> Change {
        Change {
            shelf: Shelf::Alarms,
            key: self.key(),
            value: serde_json::to_vec(self).ok().map(Into::into),
        }
    }

    pub(super) fn done(&self) -> Change {
        Change {
            shelf: Shelf::Alarms,
            key: self.key(),
            value: None,
        }
    }

    pub(super) fn of(value: &[u8]) -> Option<Pending> {
        serde_json::from_slice(value).ok()
    }
}

fn standing_key(key: &Key) -> Box<[u8]> {
    format!("a/{key}").into_bytes().into()
}

pub(super) fn stands(alarm: &Alarm) -> Change {
    let kept = Kept {
        kind: alarm.key.kind().to_owned(),
        name: alarm.key.name().to_owned(),
        began: rfc3339(alarm.began),
        text: alarm.text.to_string(),
        wanting: texts(&alarm.wanting),
        holds: alarm.holds,
    };
    Change {
        shelf: Shelf::Alarms,
        key: standing_key(&alarm.key),
        value: serde_json::to_vec(&kept).ok().map(Into::into),
    }
}

pub(super) fn is_over(alarm: &Alarm) -> Change {
    Change {
        shelf: Shelf::Alarms,
        key: standing_key(&alarm.key),
        value: None,
    }
}

pub(super) fn alarm_of(value: &[u8]) -> Option<Alarm> {
    let kept: Kept = serde_json::from_slice(value).ok()?;
    let wanting = kept
        .wanting
        .into_iter()
        .map(|(host, text)| (host.into(), text.into()));
    Some(Alarm {
        key: Key::of(&kept.kind, &kept.name)?,
        began: parse(&kept.began)?,
        text: kept.text.into(),
        wanting: wanting.collect(),
        holds: kept.holds,
    })
}

fn texts(wanting: &BTreeMap<Box<str>, Box<str>>) -> BTreeMap<String, String> {
    let texts = wanting
        .iter()
        .map(|(host, text)| (host.to_string(), text.to_string()));
    texts.collect()
}
