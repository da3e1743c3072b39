//! `GET /v1/explain`: why mail goes as it goes.

use axum::Json;
use axum::extract::{Query, State as Shared};
use serde::{Deserialize, Serialize};

use super::{Desk, Problem};
use crate::explain::{Explanation, Question};

/// What is to be explained.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// An address, a domain, an address in brackets, or a message's name.
    pub of: String,
    /// For a destination: as if the message wished this, `requiretls` or `waived`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wish: Option<String>,
}

/// `GET /v1/explain`
pub(super) async fn explain(
    Shared(desk): Shared<Desk>,
    Query(of): Query<Of>,
) -> Result<Json<Explanation>, Problem> {
    let question = Question::parse(&of.of, of.wish.as_deref()).map_err(Problem::asked)?;
    (desk.explain)(question).await.map(Json)
}
