//! Evidence as it is asked for: of a message, as pages of the chain, and whether the chain is sound.

use axum::Json;
use axum::extract::{Path, Query, State as Shared};
use mail::MessageId;
use serde::{Deserialize, Serialize};

use super::{Desk, Problem, blocking};
use crate::evidence::reading::{Found, Page, Reader, Unsound, Verified, verify};
use crate::evidence::record;
use crate::mailbox::screen;

/// What was written of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OfMessage {
    /// Oldest first.
    pub records: Vec<Found>,
}

/// Which part of the chain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Part {
    /// From this message's first record to its last, with the bodies of others left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Made at this time or later, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Behind the record of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Whether the chain is sound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// It is.
    Sound(Verified),
    /// It is not, and where.
    Unsound(Unsound),
}

/// `GET /v1/evidence/messages/{id}`
pub(super) async fn of_message(
    Shared(desk): Shared<Desk>,
    Path(name): Path<String>,
) -> Result<Json<OfMessage>, Problem> {
    let id = id(&name)?;
    let reader = reader(&desk)?;
    // The name of a message holds the time at which it came.
    let millis = u64::try_from(id.to_bits() >> 80).unwrap_or(0);
    let since = std::time::UNIX_EPOCH + std::time::Duration::from_millis(millis);
    let found = blocking(move || reader.of_message(&id.to_string(), Some(since))).await?;
    Ok(Json(OfMessage {
        records: found.map_err(unreadable)?,
    }))
}

/// `GET /v1/evidence`
pub(super) async fn page(
    Shared(desk): Shared<Desk>,
    Query(part): Query<Part>,
) -> Result<Json<Page>, Problem> {
    let message = part.message.as_deref().map(id).transpose()?;
    let since = part.since.as_deref().map(time).transpose()?;
    let after = part.after.unwrap_or(0);
    let max = (desk.settings)().config.evidence.page_max;
    let reader = reader(&desk)?;
    let message = message.map(|id| id.to_string());
    let page = blocking(move || reader.page(message.as_deref(), since, after, max)).await?;
    page.map(Json).map_err(unreadable)
}

/// `GET /v1/evidence/check`
pub(super) async fn check(Shared(desk): Shared<Desk>) -> Result<Json<Checked>, Problem> {
    let reader = reader(&desk)?;
    let checked = blocking(move || verify(&reader)).await?;
    Ok(Json(match checked {
        Ok(verified) => Checked::Sound(verified),
        Err(unsound) => Checked::Unsound(unsound),
    }))
}

fn reader(desk: &Desk) -> Result<Reader, Problem> {
    let reader = desk.witnesses.archive.reader().cloned();
    reader.ok_or_else(|| Problem::unknown("this server keeps no evidence"))
}

fn unreadable(error: std::io::Error) -> Problem {
    Problem::ours(format!("the files of evidence cannot be read: {error}"))
}

fn time(text: &str) -> Result<std::time::SystemTime, Problem> {
    record::parse(text).ok_or_else(|| {
        Problem::asked(format!(
            "{} is no time; write one like 2027-01-15T08:00:00Z",
            screen::line(text)
        ))
    })
}

fn id(text: &str) -> Result<MessageId, Problem> {
    MessageId::parse(text).ok_or_else(|| {
        Problem::asked(format!(
            "{} is no message's name; one has 26 letters and digits",
            screen::line(text)
        ))
    })
}
