//! What an attempt is asked to do, and what it found.

use std::io::{self, Read};
use std::sync::Arc;

use mail::{Cause, Class, Content, Envelope, MessageId, TlsWish};
use trust::{Evidence, Tried};

use super::Connection;
use super::peers::Lesson;

/// Opens a message's content, from its beginning. Called off the async threads.
pub type OpenContent = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// A message for some recipients of one destination.
#[derive(Clone)]
pub struct Errand {
    /// The message.
    pub id: MessageId,
    /// Its envelope, with these recipients only.
    pub envelope: Envelope,
    /// What kind of octets it holds.
    pub content: Content,
    /// What it asks of channels.
    pub wish: TlsWish,
    /// Whether it was tried before.
    pub tried: Tried,
    /// Its octets.
    pub open: OpenContent,
}

/// What a recipient was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A host took the message over.
    Taken {
        /// What it said.
        cause: Cause,
        /// Whether it reports to the sender itself (it offers DSN).
        reports: bool,
    },
    /// Not now, or never: the class of the status says which.
    Refused(Cause),
    /// Kept back: hosts were there, and none showed what is demanded.
    Held(Cause),
}

/// Whether the destination has a host that talks with us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// At least one.
    Reached,
    /// None.
    Unreached,
}

/// What came of an attempt.
pub struct Attempted {
    /// For each recipient of the errand, in order.
    pub found: Vec<Found>,
    /// One record for each host tried.
    pub evidence: Vec<Evidence>,
    /// The record of the answer, for each recipient that got one from a host.
    pub answered_by: Vec<Option<usize>>,
    /// What it taught of hosts.
    pub lessons: Vec<Lesson>,
    /// Whether any host talked with us.
    pub reach: Reach,
    /// A session that can take another message.
    pub connection: Option<Connection>,
    /// Sessions to end.
    pub spent: Vec<Connection>,
}

impl Found {
    /// Whether nothing more can be hoped for.
    pub fn is_final(&self) -> bool {
        match self {
            Found::Taken { .. } => true,
            Found::Refused(cause) => cause.status.class() == Class::Permanent,
            Found::Held(_) => false,
        }
    }
}
