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
    /// Kept back: hosts are there, and none shows what is demanded of it. Tested again at `until`, with the same demand.
    Withheld {
        /// Since when, without a break.
        since: SystemTime,
        /// When the next test is due.
        until: SystemTime,
        /// What was lacking last.
        cause: Cause,
    },
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
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => Class::Success,
            "4" => Class::Transient,
            "5" => Class::Permanent,
            _ => return None,
        };
        let (subject, detail) = (number(parts.next()?)?, number(parts.next()?)?);
        parts.next().is_none().then_some(EnhancedStatus {
            class,
            subject,
            detail,
        })
    }

    /// Whether the status may stand beside a reply code: 2 beside 2yz, 4 beside 4yz, 5 beside 5yz (RFC 2034 §4).
    pub fn fits(self, code: u16) -> bool {
        self.class.digit() == code / 100
    }
}

impl Class {
    /// The digit itself.
    pub fn digit(self) -> u16 {
        match self {
            Class::Success => 2,
            Class::Transient => 4,
            Class::Permanent => 5,
        }
    }
}

impl std::fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.class.digit(), self.subject, self.detail)
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
            DeliveryStatus::Deferred { .. } | DeliveryStatus::Held(_) | DeliveryStatus::Withheld { .. } => {
                false
            }
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
            | DeliveryStatus::Withheld { cause, .. }
            | DeliveryStatus::Failed(cause) => cause,
        }
    }
}

/// One to three digits without a leading zero (RFC 3463 §2).
fn number(text: &str) -> Option<u16> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // proves: 3463-2-1
    #[test]
    fn a_status_is_a_class_and_two_numbers() {
        for text in ["2.0.0", "4.2.99", "5.1.1", "5.999.999", "5.7.10"] {
            assert_eq!(
                EnhancedStatus::parse(text)
                    .map(|status| status.to_string())
                    .as_deref(),
                Some(text)
            );
        }
        for text in [
            "", "5", "5.1", "5.1.", "5..1", ".1.1", "5.1.1.1", "3.1.1", "1.0.0", "6.0.0", "5.01.1", "5.1.00",
            "5.1.1000", "5.+1.1", "5. 1.1", "5.1.1 ", " 5.1.1", "55.1.1", "5.1.x", "5.1.١",
        ] {
            assert_eq!(EnhancedStatus::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_status_fits_codes_of_its_class() {
        let status = EnhancedStatus::new(Class::Transient, 7, 1);
        assert!(status.fits(450) && !status.fits(550) && !status.fits(250) && !status.fits(354));
    }

    proptest! {
        #[test]
        fn any_status_prints_and_parses(class in 0usize..3, subject in 0u16..1000, detail in 0u16..1000) {
            let class = [Class::Success, Class::Transient, Class::Permanent][class];
            let status = EnhancedStatus::new(class, subject, detail);
            prop_assert_eq!(EnhancedStatus::parse(&status.to_string()), Some(status));
        }

        #[test]
        fn foreign_text_never_panics(text: String) {
            let _ = EnhancedStatus::parse(&text);
        }
    }
}
