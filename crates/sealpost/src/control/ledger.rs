//! The memory of peers as people and programs see it, and what a person can say of a peer.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State as Shared};
use serde::{Deserialize, Serialize};
use trust::ledger::Say;

use super::queue::rfc3339;
use super::{Caller, Desk, Problem};
use crate::config::units::duration;
use crate::ledger::{BadLine, Imported, Line, NotSaid, Wish};
use crate::memory::MemoryError;
use crate::sendmail::user_named;

/// A listing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peers {
    /// By kind and name.
    pub peers: Vec<Line>,
    /// Ask again with `after` set to this for more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub more_after: Option<String>,
}

/// Which peers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    /// Of this domain, with its hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Only behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many are looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
}

/// A person's word.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spoken {
    /// For how long: `2d`.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who, beside the user that calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// What was said, as it counts now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// `relax`, `keep` or `forget`.
    pub act: String,
    /// Who said so.
    pub author: String,
    /// Until when it counts, RFC 3339.
    pub until: String,
    /// Of how many entries.
    pub entries: u64,
}

/// `GET /v1/ledger`
pub(super) async fn list(
    Shared(desk): Shared<Desk>,
    Query(which): Query<Which>,
) -> Result<Json<Peers>, Problem> {
    let max = which.max.unwrap_or(PAGE).clamp(1, PAGE);
    let after = which.after.as_deref().unwrap_or_default();
    let (mut peers, more_after) = desk.ledger.export(after, max).await?;
    if let Some(domain) = &which.domain {
        let domain = domain.to_ascii_lowercase();
        peers.retain(|line| line.name == domain);
    }
    Ok(Json(Peers { peers, more_after }))
}

/// `GET /v1/ledger/{name}`
pub(super) async fn show(
    Shared(desk): Shared<Desk>,
    Path(name): Path<String>,
) -> Result<Json<Peers>, Problem> {
    let peers = desk.ledger.lines_of(&name).await?;
    match peers.is_empty() {
        true => Err(Problem::unknown(format!("nothing is remembered of \"{name}\""))),
        false => Ok(Json(Peers {
            peers,
            more_after: None,
        })),
    }
}

/// `POST /v1/ledger/{name}/{act}`
pub(super) async fn say(
    Shared(desk): Shared<Desk>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path((name, act)): Path<(String, String)>,
    Query(spoken): Query<Spoken>,
) -> Result<Json<Heard>, Problem> {
    let say = Say::parse(&act)
        .ok_or_else(|| Problem::unknown(format!("\"{act}\" is no act: relax, keep or forget")))?;
    let span = match &spoken.span {
        None => None,
        Some(text) => Some(duration::parse(text).ok_or_else(|| {
            Problem::asked(format!(
                "\"{text}\" is no length of time; write one like \"12h\" or \"2d\""
            ))
        })?),
    };
    let user = caller
        .user
        .map_or_else(|| "somebody".to_owned(), |user| user_named(user).login);
    let author = match &spoken.author {
        Some(author) => format!("{author} (as {user})"),
        None => user,
    };
    let wish = Wish {
        say,
        name,
        author,
        reason: spoken.reason.unwrap_or_default(),
        span,
    };
    let (note, entries) = desk.ledger.say(wish).await?;
    if say != Say::Keep {
        // What waits for it need not wait for its time.
        (desk.try_again)().await;
    }
    Ok(Json(Heard {
        act,
        author: note.author.into(),
        until: rfc3339(note.until.time()),
        entries,
    }))
}

/// `POST /v1/ledger-import`: lines of an export, all or none.
pub(super) async fn import(Shared(desk): Shared<Desk>, lines: Bytes) -> Result<Json<Imported>, Problem> {
    let text = std::str::from_utf8(&lines).map_err(|_| Problem::asked("the lines are no UTF-8"))?;
    Ok(Json(desk.ledger.import(text).await?))
}

impl From<MemoryError> for Problem {
    fn from(error: MemoryError) -> Problem {
        Problem::later(error.to_string())
    }
}

impl From<NotSaid> for Problem {
    fn from(why: NotSaid) -> Problem {
        match why {
            NotSaid::Asked(words) => Problem::asked(words),
            NotSaid::Unknown(words) => Problem::unknown(words),
            NotSaid::Memory(error) => error.into(),
        }
    }
}

impl From<BadLine> for Problem {
    fn from(why: BadLine) -> Problem {
        match why {
            BadLine::Memory(error) => error.into(),
            bad @ BadLine::Line(..) => Problem::asked(bad.to_string()),
        }
    }
}

/// Entries of one answer.
const PAGE: usize = 1000;
