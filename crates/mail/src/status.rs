//! Statuses: the three-part codes of RFC 3463, and what has become of a message for one recipient.

use std::time::SystemTime;

use crate::address::Host;
use crate::reply::Reply;

/// The first digit of an enhanced status.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// 2
    Success,
    /// 4: persistent, but may pass.
    Transient,
    /// 5
    Permanent,
}

/// class.subject.detail (RFC 3463 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnhancedStatus {
    class: Class,
    subject: u16,
    detail: u16,
}

/// Why a delivery status is what it is: one attempt's outcome, as reports and logs need it (RFC 3464 §2.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// When this was found out.
    pub at: SystemTime,
    /// The status to report; the peer's own where it gave one.
    pub status: EnhancedStatus,
    /// The host that answered, if one took part.
    pub remote: Option<Host>,
    /// Its reply, if it gave one.
    pub reply: Option<Reply>,
    /// In plain words, one line, for people.
    pub text: Box<str>,
}

/// What has become of a message for one recipient after an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryStatus {
    /// In the recipient's mailbox here. Settled.
    Delivered(Cause),
    /// A host took it over. Settled.
    Relayed {
        /// What it said.
        cause: Cause,
        /// Whether that host reports to the sender itself (it offered DSN), so that we need not (RFC 3461 §5.2.2).
        reports: bool,
    },
    /// Replaced by the recipients of an alias or a list, whose messages were spooled in the same step. Settled.
    Expanded(Cause),
    /// Not now; tried again at `until`.
    Deferred {
        /// When the next attempt is due.
        until: SystemTime,
        /// Why not now.
        cause: Cause,
    },
    /// Kept, not tried, until someone decides or the message is too old.
    Held(Cause),
    /// Given up. Settled.
    Failed(Cause),
}

impl EnhancedStatus {
    /// A status from its parts; `subject` and `detail` are at most 999.
    pub const fn new(class: Class, subject: u16, detail: u16) -> EnhancedStatus {
        EnhancedStatus {
            class,
            subject,
            detail,
        }
    }

    /// The first part.
    pub fn class(self) -> Class {
        self.class
    }

    /// The second part: what the status is about.
    pub fn subject(self) -> u16 {
        self.subject
    }

    /// The third part.
    pub fn detail(self) -> u16 {
        self.detail
    }

    /// Reads `5.1.1`; no leading zeros, no blanks.
    pub fn parse(text: &str) -> Option<EnhancedStatus> {
        let _ = text;
        todo!()
    }
}

impl std::fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = match self.class {
            Class::Success => 2,
            Class::Transient => 4,
            Class::Permanent => 5,
        };
        write!(f, "{class}.{}.{}", self.subject, self.detail)
    }
}

impl DeliveryStatus {
    /// Whether nothing more will be tried.
    pub fn is_settled(&self) -> bool {
        match self {
            DeliveryStatus::Delivered(_)
            | DeliveryStatus::Relayed { .. }
            | DeliveryStatus::Expanded(_)
            | DeliveryStatus::Failed(_) => true,
            DeliveryStatus::Deferred { .. } | DeliveryStatus::Held(_) => false,
        }
    }

    /// Why.
    pub fn cause(&self) -> &Cause {
        match self {
            DeliveryStatus::Delivered(cause)
            | DeliveryStatus::Relayed { cause, .. }
            | DeliveryStatus::Expanded(cause)
            | DeliveryStatus::Deferred { cause, .. }
            | DeliveryStatus::Held(cause)
            | DeliveryStatus::Failed(cause) => cause,
        }
    }
}
