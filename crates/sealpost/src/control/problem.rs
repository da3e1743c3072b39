//! What the interface answers when it cannot do what was asked: a status, and one line for people as JSON.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use spool::DiskError;

use crate::mailbox::NotRead;

/// An answer that is no success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    status: StatusCode,
    text: String,
}

/// The body of such an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProblemBody {
    /// One line that says what is wrong and what to do.
    pub error: String,
}

impl Problem {
    /// The caller asked for something that cannot be: 400.
    pub fn asked(text: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, text)
    }

    /// What was named is not here: 404.
    pub fn unknown(text: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, text)
    }

    /// It may work later: 503.
    pub fn later(text: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// Something of ours is broken: 500.
    pub fn ours(text: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Any other status.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Problem {
        Problem {
            status,
            text: text.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(ProblemBody { error: self.text })).into_response()
    }
}

impl From<NotRead> for Problem {
    fn from(why: NotRead) -> Problem {
        let text = why.to_string();
        match why {
            NotRead::Unknown(_) | NotRead::NoPart(_) => Problem::unknown(text),
            NotRead::Ambiguous(..) => Problem::new(StatusCode::CONFLICT, text),
            NotRead::TooLarge(_) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text),
            NotRead::World(..) => Problem::ours(text),
        }
    }
}

impl From<DiskError> for Problem {
    fn from(error: DiskError) -> Problem {
        match &error {
            DiskError::Gone => Problem::unknown("the message is no longer in the queue"),
            DiskError::Full => Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "the spool's disk is full: free space there",
            ),
            DiskError::TooLarge => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the message is larger than the spool can hold",
            ),
            DiskError::Closed => Problem::later("the server is shutting down"),
            DiskError::Failed { .. } | DiskError::Damaged { .. } => Problem::ours(error.to_string()),
        }
    }
}
