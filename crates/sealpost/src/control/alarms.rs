//! The alarms that stand, and the counts for those who watch.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, header};
use serde::{Deserialize, Serialize};

use super::{Desk, Problem, blocking, queue};
use crate::evidence::record::rfc3339;

/// The alarms that stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// By kind and name.
    pub alarms: Vec<Alarm>,
}

/// An alarm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// `hosts`, `client`, `exchangers` or `forgotten`.
    pub kind: String,
    /// The domain or client.
    pub name: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// In plain words.
    pub text: String,
    /// What hosts lack.
    pub hosts: BTreeMap<String, String>,
    /// Whether mail is held for it.
    pub holds_mail: bool,
}

/// `GET /v1/alarms`
pub(super) async fn list(Shared(desk): Shared<Desk>) -> Json<Standing> {
    let standing = desk.witnesses.bell.standing();
    let alarms = standing.into_iter().map(|alarm| Alarm {
        kind: alarm.key.kind().to_owned(),
        name: alarm.key.name().to_owned(),
        began: rfc3339(alarm.began),
        text: alarm.text.to_string(),
        hosts: alarm
            .wanting
            .iter()
            .map(|(host, text)| (host.to_string(), text.to_string()))
            .collect(),
        holds_mail: alarm.holds,
    });
    Json(Standing {
        alarms: alarms.collect(),
    })
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn metrics(
    Shared(desk): Shared<Desk>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let tally = desk.witnesses.tally.clone();
    let counts = blocking(move || queue::counts(&desk)).await?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], tally.text(&counts)))
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
