//! What an attempt is asked to do, and what it found.

use std::io::{self, Read};
use std::sync::Arc;

use mail::{Cause, Class, Content, Envelope, Host, MessageId, TlsWish};
use trust::{Evidence, Source, Tried};

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
    Held {
        /// What the last one lacked.
        cause: Cause,
        /// Whether other mail for the destination meets the same.
        concerns: Concerns,
    },
}

/// Whom a hold concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Concerns {
    /// All mail for the destination: what is demanded of its hosts is demanded for each message.
    TheDestination,
    /// The message: it demands itself what the hosts lack.
    TheMessage,
}

/// A host that did not show what is demanded of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanting {
    /// The host.
    pub host: Host,
    /// Who demands it.
    pub by: Source,
    /// What it lacked, in plain words.
    pub text: Box<str>,
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
    /// Hosts that were there and lacked what is demanded.
    pub wanting: Vec<Wanting>,
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
            Found::Held { .. } => false,
        }
    }
}
