//! The words that the spool shares with its callers.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use mail::{Arrival, Cause, Content, Domain, Envelope, MessageId, Recipient, ReversePath};

/// A message without its content.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name here.
    pub id: MessageId,
    /// How it came.
    pub arrival: Arrival,
    /// Who sent it to whom.
    pub envelope: Envelope,
    /// What kind of octets its content holds, and how many.
    pub content: Content,
}

/// Which queue a recipient waits in: an opaque label, given by the `lane_of` handed to the spool. Recipients of one
/// message in one lane are leased together; lanes take turns and none delays another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(Arc<str>);

/// A recipient's place in its envelope, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecipientIndex(pub u32);

/// How far the delivery to one recipient is.
#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    /// Attempts made.
    pub attempts: u32,
    /// When the next is due, while the recipient is waiting.
    pub next: SystemTime,
    /// Since when it is withheld, if it is.
    pub withheld_since: Option<SystemTime>,
    /// Why it is not settled yet, or why it is.
    pub last: Option<Cause>,
    /// Whether the sender has been told of the delay.
    pub delay_notified: bool,
    /// Whether TLS with a host failed in an earlier attempt for this recipient.
    pub tls_failed: bool,
    /// What is to be done.
    pub state: State,
}

/// What is to be done for a recipient.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// To be tried when it is due.
    Waiting,
    /// Being tried.
    Leased,
    /// Kept, not tried, until someone decides.
    Held,
    /// Kept back because no host shows what is demanded; tested again when it is due.
    Withheld,
    /// Delivered, given up or replaced; other recipients of the message are not settled yet.
    Settled,
}

/// A message in the spool, as shown to people.
#[derive(Clone, PartialEq)]
pub struct Waiting {
    /// The message without its content.
    pub message: Message,
    /// Every recipient's lane and progress, in the envelope's order.
    pub recipients: Vec<(Lane, Progress)>,
}

/// Which messages are meant. All that is given must hold for one and the same recipient; nothing given means all.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    /// This message alone.
    pub id: Option<MessageId>,
    /// A recipient waits in this lane.
    pub lane: Option<Lane>,
    /// A recipient's domain is this.
    pub destination: Option<Domain>,
    /// The sender is this.
    pub sender: Option<ReversePath>,
    /// The sender's domain is this.
    pub sender_domain: Option<Domain>,
    /// A recipient is in this state; [`State::Held`] means those withheld as well. Without it, unsettled recipients are
    /// meant.
    pub state: Option<State>,
    /// Arrived at or before.
    pub arrived_by: Option<SystemTime>,
    /// Arrived at or after.
    pub arrived_since: Option<SystemTime>,
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Messages with at least one recipient that the filter means.
    pub messages: u64,
    /// Octets of their content.
    pub bytes: u64,
    /// Recipients meant, waiting.
    pub waiting: u64,
    /// Recipients meant, being tried.
    pub leased: u64,
    /// Recipients meant, held or withheld.
    pub held: u64,
    /// Those of them that are withheld.
    pub withheld: u64,
    /// Recipients meant, settled.
    pub settled: u64,
}

/// What is remembered of recipients besides their statuses, in the same step as a settlement. Never taken back.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Notices {
    /// The recipients whose delay the sender has now been told of.
    pub delay: Vec<RecipientIndex>,
    /// The recipients for whom TLS with a host failed in this attempt.
    pub tls_failed: Vec<RecipientIndex>,
}

/// Bounds of the spool; each has a reason beside it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A body up to this many octets is kept beside its envelope in the journal: one sync for both. At most 64 KiB,
    /// which is also what a draft takes of memory at most.
    pub inline_bytes_max: usize,
    /// A journal or segment file is closed when it is this long. At most 1 GiB.
    pub file_bytes_max: u64,
    /// Space kept aside so that settlements can be written on a full disk.
    pub reserve_bytes: u64,
    /// Octets of records and small bodies written with one sync.
    pub batch_bytes_max: usize,
    /// Records written with one sync.
    pub batch_records_max: usize,
    /// A checkpoint is made when this many octets of records would have to be read at a start.
    pub checkpoint_after_bytes: u64,
    /// A closed file is compacted when less than this percentage of it is live.
    pub compact_below_percent: u8,
    /// Files kept open for reading.
    pub open_files_max: usize,
}

/// What a start found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Recovery {
    /// Messages that wait or are held.
    pub messages: u64,
    /// Records read since the last checkpoint.
    pub records: u64,
    /// Octets of a last write that a crash cut short. Nobody was promised what they held.
    pub torn_bytes: u64,
    /// Records that could not be read, set aside under these names in the folder `damaged`.
    pub damaged: Vec<Damage>,
}

/// A record that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file in the folder `damaged` that holds its octets.
    pub name: String,
    /// Where it stood.
    pub file: String,
    /// Octets from the start of that file.
    pub offset: u64,
    /// Octets set aside.
    pub bytes: u64,
    /// What is wrong.
    pub why: String,
}

/// The disk did not do what it must.
#[derive(Clone, Debug)]
pub enum DiskError {
    /// No room: take no mail for now (452 4.3.1).
    Full,
    /// The disk refused an operation.
    Failed {
        /// What was tried on which file.
        what: String,
        /// What it said.
        cause: Arc<io::Error>,
    },
    /// What is read is not what was written.
    Damaged {
        /// The file.
        file: String,
        /// Where in it, octets from its start.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The message would be larger than the format can hold.
    TooLarge,
    /// The message is not here, or no longer.
    Gone,
    /// The spool is closing.
    Closed,
}

/// The spool cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another server uses the folder.
    Locked,
    /// A later version of this program wrote it.
    Version {
        /// The file.
        file: String,
        /// Its format.
        found: u16,
        /// The newest format this program reads.
        known: u16,
    },
    /// The limits contradict the format.
    Limits(&'static str),
    /// The disk refused an operation.
    Disk(DiskError),
}

impl Lane {
    /// A lane of this name.
    pub fn new(label: &str) -> Lane {
        Lane(label.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Lane {
    fn from(label: &str) -> Lane {
        Lane::new(label)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            inline_bytes_max: 64 << 10,
            file_bytes_max: 64 << 20,
            reserve_bytes: 16 << 20,
            batch_bytes_max: 4 << 20,
            batch_records_max: 1000,
            checkpoint_after_bytes: 32 << 20,
            compact_below_percent: 25,
            open_files_max: 256,
        }
    }
}

impl Limits {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if self.inline_bytes_max > crate::record::BLOCK_BYTES {
            return Err(OpenError::Limits("inline_bytes_max is over 64 KiB"));
        }
        if !(64 << 10..=1 << 30).contains(&self.file_bytes_max) {
            return Err(OpenError::Limits(
                "file_bytes_max is not between 64 KiB and 1 GiB",
            ));
        }
        if self.reserve_bytes < 64 << 10 {
            return Err(OpenError::Limits("reserve_bytes is under 64 KiB"));
        }
        if self.compact_below_percent > 90 {
            return Err(OpenError::Limits("compact_below_percent is over 90"));
        }
        Ok(())
    }
}

impl Waiting {
    /// Every recipient with its lane and progress.
    pub fn recipients(&self) -> impl Iterator<Item = (RecipientIndex, &Recipient, &Lane, &Progress)> {
        let progress = self.recipients.iter();
        let both = self.message.envelope.recipients.iter().zip(progress);
        both.zip(0..)
            .map(|((recipient, (lane, progress)), index)| (RecipientIndex(index), recipient, lane, progress))
    }
}

impl DiskError {
    pub(crate) fn failed(what: impl Into<String>, cause: io::Error) -> DiskError {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
            _ => DiskError::Failed {
                what: what.into(),
                cause: Arc::new(cause),
            },
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Full => f.write_str("the spool's disk is full: free some space on it"),
            DiskError::Failed { what, cause } => write!(f, "the spool cannot {what}: {cause}"),
            DiskError::Damaged { file, offset, why } => {
                write!(f, "the spool's file {file} is damaged at octet {offset}: {why}")
            }
            DiskError::TooLarge => f.write_str("the message is larger than the spool's format can hold"),
            DiskError::Gone => f.write_str("the message is no longer in the spool"),
            DiskError::Closed => f.write_str("the spool is closing"),
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DiskError::Failed { cause, .. } => Some(cause.as_ref()),
            DiskError::Full
            | DiskError::Damaged { .. }
            | DiskError::TooLarge
            | DiskError::Gone
            | DiskError::Closed => None,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked => {
                f.write_str("another server uses this spool: stop it first, or give this one another folder")
            }
            OpenError::Version { file, found, known } => write!(
                f,
                "the spool's file {file} has format {found}, and this program reads up to {known}: run the newer program that wrote it"
            ),
            OpenError::Limits(why) => write!(f, "the spool's limits cannot be: {why}"),
            OpenError::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Disk(error) => error.source(),
            OpenError::Locked | OpenError::Version { .. } | OpenError::Limits(_) => None,
        }
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> OpenError {
        OpenError::Disk(error)
    }
}
