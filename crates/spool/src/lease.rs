//! Work taken from the spool: the due recipients of one message in one lane. Settled once, for all of them; dropped
//! in a panic or a cancelled task, it goes back: twice is bad, never is worse.

use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use mail::{DeliveryStatus, MessageId, Recipient};

use crate::commit::{NewMessage, Request, Settlement};
use crate::core::lock;
use crate::disk::File;
use crate::draft::Sealed;
use crate::files::Name;
use crate::octets::moment;
use crate::record::StoredBody;
use crate::{BodyReader, DiskError, Lane, Message, Notices, Progress, RecipientIndex, Spool};

/// A message of which some recipients are to be tried now, by whoever holds this. Dropped, it is given back.
#[must_use = "dropped, it goes back to its lane"]
pub struct Leased {
    pub(crate) spool: Arc<Spool>,
    pub(crate) message: Message,
    pub(crate) lane: Lane,
    pub(crate) recipients: Vec<(RecipientIndex, Progress)>,
    pub(crate) body: StoredBody,
    pub(crate) record: (Arc<dyn File>, Name, u64),
    /// Gives the recipients back when it is dropped.
    pub(crate) hold: Hold,
}

/// What a lease owes the spool.
pub(crate) struct Hold {
    pub(crate) spool: Arc<Spool>,
    pub(crate) id: MessageId,
    pub(crate) recipients: Vec<u32>,
}

impl Leased {
    /// The message, with all its recipients, leased or not.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The lane all leased recipients are in.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The leased recipients, in the envelope's order.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = (RecipientIndex, &Recipient, &Progress)> {
        let all = &self.message.envelope.recipients;
        let leased = self.recipients.iter();
        leased.map(|(index, progress)| (*index, &all[index.0 as usize], progress))
    }

    /// Opens the content, from its beginning.
    pub fn body(&self) -> Result<BodyReader, DiskError> {
        let (file, name, body_at) = &self.record;
        BodyReader::open(
            &self.spool.core.files,
            &self.body,
            Arc::clone(file),
            *name,
            *body_at,
        )
    }

    /// Records what has become of each leased recipient: one status each, in the order of [`Leased::recipients`].
    /// Returns after the sync: from then on nothing settled is tried again. The offspring (reports, expansions) are
    /// kept in the same step or not at all. Blocks; not to be called by the callback of a `keep`.
    ///
    /// # Errors
    /// The disk refused twice. The statuses are then remembered in memory and written as soon as the disk allows, so
    /// that nothing is sent again while this server runs. Only where the offspring themselves could not be written are
    /// the recipients given back.
    ///
    /// # Panics
    /// When there is not one status for each leased recipient.
    pub fn settle(
        self,
        now: SystemTime,
        statuses: Vec<DeliveryStatus>,
        offspring: Vec<Sealed>,
        notices: Notices,
    ) -> Result<(), DiskError> {
        assert_eq!(
            statuses.len(),
            self.recipients.len(),
            "one status for each leased recipient"
        );
        let offspring = offspring
            .into_iter()
            .map(|sealed| sealed.0)
            .collect::<Result<Vec<NewMessage>, DiskError>>()?;
        let indices = self.hold.recipients.iter().copied();
        let (done, outcome) = mpsc::channel();
        let settlement = Settlement {
            id: self.message.id,
            now: moment(now),
            statuses: indices.zip(statuses).collect(),
            notices,
            offspring,
            done: Some(done),
        };
        let spool = Arc::clone(&self.spool);
        let mut hold = self.hold;
        if spool.core.is_closed() {
            return Err(DiskError::Closed);
        }
        // From here on the committer owes the recipients an end.
        hold.recipients.clear();
        spool.core.submit_now(Request::Settle(Box::new(settlement)));
        outcome.recv().unwrap_or(Err(DiskError::Closed))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.recipients.is_empty() {
            return;
        }
        lock(&self.spool.core.index).give_back(self.id, &self.recipients);
        self.spool.core.ring();
    }
}
