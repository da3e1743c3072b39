//! The queue as people and programs see it: entries, filters, and what can be done to them.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Path, Query, State as Shared};
use mail::{Cause, Class, Domain, EnhancedStatus, Mailbox, MessageId, ReversePath, TlsWish};
use serde::{Deserialize, Serialize};
use spool::{Counts, Filter, State, Waiting};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use super::hold::Hold;
use super::hold::hold;
use super::{Desk, Problem, blocking};
use crate::config::retry::Retry;
use crate::config::units::duration;
use crate::mailbox::screen;

/// A message in the queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// When it arrived, RFC 3339.
    pub arrived: String,
    /// Seconds since then.
    pub age_seconds: u64,
    /// The envelope sender; empty for reports.
    pub sender: String,
    /// Octets.
    pub size: u64,
    /// Whether it came inside TLS.
    pub encrypted: bool,
    /// What it asks of every channel: `required` (REQUIRETLS) or `waived` (`TLS-Required: No`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls: Option<String>,
    /// Where it came from, if by the wire.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<String>,
    /// Its recipients.
    pub recipients: Vec<To>,
}

/// One recipient of a message in the queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct To {
    /// The address.
    pub address: String,
    /// `waiting`, `leased`, `held` or `settled`.
    pub state: String,
    /// The queue within the queue it waits in.
    pub lane: String,
    /// Attempts made.
    pub attempts: u32,
    /// When the next is due, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// Where it is held: by whom, and what can be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hold: Option<Hold>,
    /// Why it is not settled, or why it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<Because>,
}

/// A cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Because {
    /// When it was found out, RFC 3339.
    pub at: String,
    /// The enhanced status.
    pub status: String,
    /// The host that took part.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote: Option<String>,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply: Option<String>,
    /// In plain words.
    pub text: String,
}

/// A listing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listing {
    /// Oldest first.
    pub messages: Vec<Entry>,
    /// Ask again with `after` set to this for more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub more_after: Option<String>,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// For how many messages.
    pub messages: u64,
    /// Recipients that are being tried at this moment and may be delivered nevertheless.
    #[serde(default)]
    pub in_flight: u64,
}

/// Which messages, as asked for in a query.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    /// A recipient's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The sender's address, its domain, or `<>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// A recipient's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Arrived longer ago than this: `4h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<String>,
    /// Arrived less long ago than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<String>,
    /// Only messages behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// For acts on several messages: that all are really meant, where no filter is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// For hold: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /v1/queue`
pub(super) async fn list(
    Shared(desk): Shared<Desk>,
    Query(which): Query<Which>,
) -> Result<Json<Listing>, Problem> {
    let now = desk.clock.now();
    let filter = which.filter(now)?;
    let after = which.after.as_deref().map(id).transpose()?;
    let max = which
        .max
        .unwrap_or(usize::MAX)
        .min((desk.settings)().config.control.list_max);
    let found = blocking(move || desk.spool.list(&filter, after, max)).await?;
    let full = found.len() == max;
    let settings = (desk.settings)();
    let retry = &settings.config.retry;
    let messages: Vec<Entry> = found.iter().map(|waiting| entry(waiting, retry, now)).collect();
    Ok(Json(Listing {
        more_after: messages.last().filter(|_| full).map(|last| last.id.clone()),
        messages,
    }))
}

/// `GET /v1/queue/{id}`
pub(super) async fn show(
    Shared(desk): Shared<Desk>,
    Path(name): Path<String>,
) -> Result<Json<Entry>, Problem> {
    let (id, now) = (id(&name)?, desk.clock.now());
    let settings = (desk.settings)();
    let found = blocking(move || desk.spool.show(id)).await?;
    found
        .map(|waiting| Json(entry(&waiting, &settings.config.retry, now)))
        .ok_or_else(|| not_here(&name))
}

/// `POST /v1/queue/{id}/{act}`
pub(super) async fn act_on_one(
    Shared(desk): Shared<Desk>,
    Path((name, act)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Result<Json<Done>, Problem> {
    let id = id(&name)?;
    if act == "return" {
        return give_up(desk, id, which.reason).await.map(Json);
    }
    let filter = Filter::one(id);
    let done = act_on(desk, &act, filter, which.reason).await?;
    match done.messages {
        0 => Err(Problem::new(
            axum::http::StatusCode::CONFLICT,
            format!("message {name} is not in the queue, or there is nothing to {act}"),
        )),
        _ => Ok(Json(done)),
    }
}

/// `POST /v1/queue/{act}`: on all that the filter means.
pub(super) async fn act_on_several(
    Shared(desk): Shared<Desk>,
    Path(act): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<Done>, Problem> {
    if !which.narrows() && which.all != Some(true) {
        return Err(Problem::asked(format!(
            "say which messages to {act}: names, --destination, --sender, --state, --older-than, or --all"
        )));
    }
    let filter = which.filter(desk.clock.now())?;
    act_on(desk, &act, filter, which.reason).await.map(Json)
}

/// `DELETE /v1/queue/{id}`
pub(super) async fn delete(
    Shared(desk): Shared<Desk>,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    let id = id(&name)?;
    let in_flight = blocking(move || desk.spool.delete(id)).await??;
    tracing::info!(id = %id, in_flight, "deleted from the queue by the operator; nobody is told");
    Ok(Json(Done {
        messages: 1,
        in_flight: in_flight as u64,
    }))
}

async fn act_on(desk: Desk, act: &str, filter: Filter, reason: Option<String>) -> Result<Done, Problem> {
    let now = desk.clock.now();
    let act = Act::parse(act)?;
    match act {
        // Before anything is due: it would be put off again for what is remembered.
        Act::Retry | Act::Release => (desk.try_again)().await,
        Act::Hold => {}
    }
    let messages = blocking(move || match act {
        Act::Retry => desk.spool.retry(&filter, now),
        Act::Hold => desk.spool.hold(&filter, held(now, reason)),
        Act::Release => desk.spool.release(&filter, now),
    })
    .await??;
    Ok(Done {
        messages,
        in_flight: 0,
    })
}

/// Gives a message up now: its sender gets the report that would otherwise come when it is too old.
async fn give_up(desk: Desk, id: MessageId, reason: Option<String>) -> Result<Done, Problem> {
    let cause = Cause {
        at: desk.clock.now(),
        status: EnhancedStatus::new(Class::Permanent, 0, 0),
        remote: None,
        reply: None,
        text: reason
            .map_or("returned by the operator".to_owned(), |reason| {
                format!("returned by the operator: {}", screen::line(&reason))
            })
            .into(),
    };
    let return_now = std::sync::Arc::clone(&desk.give_up);
    blocking(move || return_now(id, cause)).await?
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Retry,
    Hold,
    Release,
}

impl Act {
    fn parse(word: &str) -> Result<Act, Problem> {
        match word {
            "retry" => Ok(Act::Retry),
            "hold" => Ok(Act::Hold),
            "release" => Ok(Act::Release),
            other => Err(Problem::unknown(format!(
                "no such act on the queue: {}",
                screen::line(other)
            ))),
        }
    }
}

impl Which {
    /// Whether it says anything of which messages are meant.
    pub fn narrows(&self) -> bool {
        let said = [
            &self.destination,
            &self.sender,
            &self.state,
            &self.older_than,
            &self.newer_than,
        ];
        said.iter().any(|part| part.is_some())
    }

    /// Parses the query.
    fn filter(&self, now: SystemTime) -> Result<Filter, Problem> {
        let (sender, sender_domain) = match self.sender.as_deref() {
            None => (None, None),
            Some(text) => sender(text)?,
        };
        Ok(Filter {
            destination: self.destination.as_deref().map(domain).transpose()?,
            sender,
            sender_domain,
            state: self.state.as_deref().map(state).transpose()?,
            arrived_by: self.older_than.as_deref().map(|age| ago(age, now)).transpose()?,
            arrived_since: self.newer_than.as_deref().map(|age| ago(age, now)).transpose()?,
            ..Filter::default()
        })
    }
}

fn sender(text: &str) -> Result<(Option<ReversePath>, Option<Domain>), Problem> {
    match text {
        "<>" | "" => Ok((Some(ReversePath::Null), None)),
        text if text.contains('@') => {
            let mailbox = Mailbox::parse(text.trim_matches(['<', '>']));
            let mailbox =
                mailbox.map_err(|why| Problem::asked(format!("sender {}: {why}", screen::line(text))))?;
            Ok((Some(ReversePath::Mailbox(mailbox)), None))
        }
        text => Ok((None, Some(domain(text)?))),
    }
}

fn domain(text: &str) -> Result<Domain, Problem> {
    Domain::parse(text).map_err(|why| Problem::asked(format!("{} is no domain: {why}", screen::line(text))))
}

fn state(word: &str) -> Result<State, Problem> {
    match word {
        "waiting" => Ok(State::Waiting),
        "leased" => Ok(State::Leased),
        "held" => Ok(State::Held),
        "settled" => Ok(State::Settled),
        other => Err(Problem::asked(format!(
            "{} is no state; one is waiting, leased, held or settled",
            screen::line(other)
        ))),
    }
}

fn ago(age: &str, now: SystemTime) -> Result<SystemTime, Problem> {
    let age: Duration = duration::parse(age).ok_or_else(|| {
        Problem::asked(format!(
            "{} is no length of time; write one like 90s, 5m, 4h or 2d",
            screen::line(age)
        ))
    })?;
    Ok(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))
}

fn id(text: &str) -> Result<MessageId, Problem> {
    MessageId::parse(text).ok_or_else(|| {
        Problem::asked(format!(
            "{} is no message's name; one has 26 letters and digits, see `sealpost queue list`",
            screen::line(text)
        ))
    })
}

fn not_here(name: &str) -> Problem {
    Problem::unknown(format!(
        "message {} is not in the queue: delivered, returned or never here",
        screen::line(name)
    ))
}

fn held(at: SystemTime, reason: Option<String>) -> Cause {
    let text = reason.map_or("held by the operator".to_owned(), |reason| {
        format!("held by the operator: {}", screen::line(&reason))
    });
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, 7, 0),
        remote: None,
        reply: None,
        text: text.into(),
    }
}

/// The counts of all states, for `status`.
pub(super) fn counts(desk: &Desk) -> Counts {
    desk.spool.count(&Filter::default())
}

/// A message as it is shown.
pub fn entry(waiting: &Waiting, retry: &Retry, now: SystemTime) -> Entry {
    let message = &waiting.message;
    let recipients = message.envelope.recipients.iter().zip(&waiting.recipients);
    Entry {
        id: message.id.to_string(),
        arrived: rfc3339(message.arrival.at),
        age_seconds: now
            .duration_since(message.arrival.at)
            .unwrap_or_default()
            .as_secs(),
        sender: screen::line(&message.envelope.sender.to_string()),
        size: message.content.bytes,
        encrypted: message.arrival.tls.is_some(),
        tls: match message.envelope.wish {
            TlsWish::Usual => None,
            TlsWish::Required => Some("required".to_owned()),
            TlsWish::Waived => Some("waived".to_owned()),
        },
        client: message.arrival.client.map(|client| client.to_string()),
        recipients: recipients
            .map(|(recipient, (lane, progress))| To {
                address: screen::line(&recipient.mailbox.to_string()),
                state: word(progress.state).to_owned(),
                lane: screen::line(lane.as_str()),
                attempts: progress.attempts,
                next: is_due(progress.state).then(|| rfc3339(progress.next)),
                hold: hold(message, progress, retry),
                because: progress.last.as_ref().map(because),
            })
            .collect(),
    }
}

fn is_due(state: State) -> bool {
    matches!(state, State::Waiting | State::Withheld)
}

fn because(cause: &Cause) -> Because {
    Because {
        at: rfc3339(cause.at),
        status: cause.status.to_string(),
        remote: cause.remote.as_ref().map(ToString::to_string),
        reply: cause.reply.as_ref().map(|reply| screen::line(&reply.to_string())),
        text: screen::line(&cause.text),
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Leased => "leased",
        State::Held | State::Withheld => "held",
        State::Settled => "settled",
    }
}

/// A time in UTC, whole seconds.
pub fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}
