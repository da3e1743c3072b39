//! A message on its way in: its draft, and what is learned of its octets while they pass.

use mail::content::Survey;
use mail::{Arrival, Class, EnhancedStatus, Envelope, Receipt, Reply, TlsWish};
use spool::{DiskError, Draft};

use crate::spooling;

/// From the first octet to the receipt. A fault of the disk is remembered, so that the rest of the content can pass and
/// the client hears of it at its end.
pub(super) struct Incoming {
    draft: Result<Draft, DiskError>,
    survey: Survey,
}

impl Incoming {
    /// Begins with our own trace field.
    pub(super) async fn begin(draft: Draft, received: &str) -> Incoming {
        let mut incoming = Incoming {
            draft: Ok(draft),
            survey: Survey::default(),
        };
        incoming.push(received.as_bytes()).await;
        incoming
    }

    pub(super) async fn push(&mut self, bytes: &[u8]) {
        self.survey.feed(bytes);
        let broken = Err(DiskError::Closed);
        if let Ok(draft) = std::mem::replace(&mut self.draft, broken) {
            self.draft = spooling::push(draft, bytes).await;
        }
    }

    /// Octets so far, our trace field included.
    pub(super) fn bytes(&self) -> u64 {
        self.survey.content().bytes
    }

    /// `Received:` fields that came with the message, ours not counted (RFC 5321 §6.3).
    pub(super) fn earlier_hops(&self) -> u32 {
        self.survey.content().received_fields.saturating_sub(1)
    }

    pub(super) async fn keep(self, mut envelope: Envelope, arrival: Arrival) -> Result<Receipt, DiskError> {
        // RFC 8689 §4.1: what MAIL says wins over the header.
        if envelope.wish == TlsWish::Usual {
            envelope.wish = self.survey.wish();
        }
        spooling::keep(self.draft?, envelope, arrival, self.survey.content()).await
    }
}

/// The only way to a 250 for a message: with the proof that it is kept.
pub(super) fn accepted(receipt: &Receipt) -> Reply {
    let text = format!("kept as {}", receipt.id());
    Reply::new(250, EnhancedStatus::new(Class::Success, 0, 0), text)
}

/// What a client hears when the disk fails it: to come again later.
pub(super) fn not_kept(error: &DiskError) -> Reply {
    match error {
        DiskError::Full => NO_ROOM,
        DiskError::TooLarge => Reply::fixed(
            552,
            EnhancedStatus::new(Class::Permanent, 3, 4),
            "message larger than this server can keep",
        ),
        DiskError::Failed { .. } | DiskError::Damaged { .. } | DiskError::Gone | DiskError::Closed => {
            Reply::fixed(
                452,
                EnhancedStatus::new(Class::Transient, 3, 0),
                "message not kept, try later",
            )
        }
    }
}

/// RFC 1870 §6.1, RFC 3463 §3.4.
pub(super) const NO_ROOM: Reply = Reply::fixed(
    452,
    EnhancedStatus::new(Class::Transient, 3, 1),
    "no room for mail now, try later",
);
