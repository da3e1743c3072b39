//! Delivered mail over the control interface.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{Desk, Problem, blocking};
use crate::mailbox::{Bounds, Mailboxes, Shown, Summary};

/// A listing of delivered messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Letters {
    /// Oldest first.
    pub messages: Vec<Summary>,
    /// Older messages that were left out.
    pub left_out: usize,
}

/// Whose mail.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Whose {
    /// The address it was delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// At most so many, the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
}

/// `GET /v1/mail`
pub(super) async fn list(
    Shared(desk): Shared<Desk>,
    Query(whose): Query<Whose>,
) -> Result<Json<Letters>, Problem> {
    let mailboxes = mailboxes(&desk, whose.max.unwrap_or(usize::MAX));
    let listing = blocking(move || mailboxes.list(whose.mailbox.as_deref())).await??;
    Ok(Json(Letters {
        messages: listing.messages,
        left_out: listing.left_out,
    }))
}

/// `GET /v1/mail/{id}`
pub(super) async fn show(Shared(desk): Shared<Desk>, Path(id): Path<String>) -> Result<Json<Shown>, Problem> {
    let mailboxes = mailboxes(&desk, usize::MAX);
    Ok(Json(blocking(move || mailboxes.show(&id)).await??))
}

/// `GET /v1/mail/{id}/parts/{place}`: the decoded octets of a part.
pub(super) async fn part(
    Shared(desk): Shared<Desk>,
    Path((id, place)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let mailboxes = mailboxes(&desk, usize::MAX);
    let part = blocking(move || mailboxes.part(&id, &place)).await??;
    // Never the sender's type: a browser must not run what a stranger sent.
    let name: String = part.name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    Response::builder()
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(
            CONTENT_DISPOSITION,
            format!("attachment; filename*=UTF-8''{name}"),
        )
        .header("x-content-type-options", "nosniff")
        .body(Body::from(part.octets))
        .map_err(|error| Problem::ours(error.to_string()))
}

fn mailboxes(desk: &Desk, max: usize) -> Mailboxes {
    let settings = (desk.settings)();
    let control = &settings.config.control;
    let bounds = Bounds {
        list_max: max.min(control.list_max),
        read_bytes_max: control.read_bytes_max,
    };
    Mailboxes::of(&settings.directory, bounds)
}
