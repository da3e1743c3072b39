//! A message that is still arriving. Its content goes to the disk while it comes in, or waits in a small buffer; it
//! counts only once it is kept.

use std::sync::Arc;
use std::time::SystemTime;

use mail::{Arrival, Content, Envelope, MessageId, Receipt};

use crate::body::BodyWriter;
use crate::commit::{NewMessage, Request};
use crate::octets::moment;
use crate::record::{Kept, Marks, Stage, StoredCause, StoredProgress};
use crate::{DiskError, Message, Spool};

/// A message being written. Takes at most 64 KiB of memory for its content, whatever its size. Dropped, it is
/// discarded.
pub struct Draft {
    spool: Arc<Spool>,
    id: MessageId,
    body: BodyWriter,
    bytes: u64,
}

/// A finished message that is kept only together with something else: a report or an expansion, handed to
/// [`crate::Leased::settle`]. Dropped, it is discarded.
#[must_use]
pub struct Sealed(pub(crate) Result<NewMessage, DiskError>);

impl Draft {
    pub(crate) fn new(spool: Arc<Spool>, id: MessageId) -> Draft {
        Draft {
            body: BodyWriter::new(spool.core.limits.inline_bytes_max),
            spool,
            id,
            bytes: 0,
        }
    }

    /// The name the message will have.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Octets pushed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends content. May write to the disk, but does not wait for a sync. After an error the draft is of no use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.bytes += bytes.len() as u64;
        self.body.push(&self.spool.core.segments, bytes)
    }

    /// Makes the message durable and lets it be delivered. `done` is called by the committer's thread after the sync,
    /// with the receipt, or with the reason why the message is not kept; it must return at once. Every recipient is
    /// due at once. May write up to 64 KiB, but does not wait for a sync.
    ///
    /// ```no_run
    /// # fn receive(draft: spool::Draft, envelope: mail::Envelope, arrival: mail::Arrival, content: mail::Content) {
    /// let (answer, answered) = std::sync::mpsc::channel();
    /// draft.keep(envelope, arrival, content, move |kept| drop(answer.send(kept)));
    /// match answered.recv() {
    ///     Ok(Ok(receipt)) => println!("250 kept as {}", receipt.id()),
    ///     _ => println!("452 not now"),
    /// }
    /// # }
    /// ```
    pub fn keep(
        self,
        envelope: Envelope,
        arrival: Arrival,
        content: Content,
        done: impl FnOnce(Result<Receipt, DiskError>) + Send + 'static,
    ) {
        let spool = Arc::clone(&self.spool);
        match self.seal(envelope, arrival, content).0 {
            Ok(message) => spool
                .core
                .submit(Request::Keep(Box::new(message), Box::new(done))),
            Err(error) => done(Err(error)),
        }
    }

    /// Finishes the message, to be kept in the same step as a settlement. An error of the disk is told by that
    /// settlement. Recipients are due from `arrival.at`.
    pub fn seal(mut self, envelope: Envelope, arrival: Arrival, content: Content) -> Sealed {
        let body = match self.body.finish(&self.spool.core.segments) {
            Ok(body) => body,
            Err(error) => return Sealed(Err(error)),
        };
        let lane_of = self.spool.core.lane_of();
        let lanes = envelope.recipients.iter().map(|to| lane_of(to)).collect();
        let steps = vec![first_step(arrival.at); envelope.recipients.len()];
        let message = Message {
            id: self.id,
            arrival,
            envelope,
            content,
        };
        Sealed(Ok(NewMessage {
            kept: Kept { message, body, steps },
            beside: self.body.block,
            lanes,
            segments: self.body.segments,
        }))
    }
}

fn first_step(due: SystemTime) -> StoredProgress {
    StoredProgress {
        attempts: 0,
        due: moment(due),
        stage: Stage::Waiting,
        marks: Marks::default(),
        cause: StoredCause::None,
    }
}
