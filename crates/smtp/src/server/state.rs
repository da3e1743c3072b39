//! Where a session stands: which transaction is open, and what the session is busy with.

use mail::{Envelope, Protocol, Recipient, Reply};

use super::content::Dots;
use crate::command::{Chunk, Mail};

/// How a session begins.
pub(super) enum Occasion {
    Connected,
    ConnectedEncrypted,
    Refused(Reply),
    /// After STARTTLS: no greeting.
    Encrypted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Clear,
    Tls,
}

/// Whether commands are carried out.
pub(super) enum Manner {
    Serving,
    /// The greeting refused: this to all but QUIT.
    Refusing(Reply),
}

pub(super) struct Hello {
    pub(super) name: Box<str>,
    pub(super) protocol: Protocol,
}

/// The open transaction.
pub(super) enum Stage {
    /// None.
    Idle,
    /// MAIL was accepted, and perhaps RCPT.
    Open(Envelope),
    /// So many octets have come by BDAT.
    Chunks(Envelope, u64),
    /// A chunk failed: the rest of its message is passed over until a new start (RFC 3030 §2).
    Spoiled,
}

/// What the session is busy with.
pub(super) enum Doing {
    Commands,
    /// A command line that is too long.
    SkippingLine,
    /// The caller is to be asked.
    Asking(Asked),
    /// The caller decides.
    Asked(Asked),
    Content(Content),
    Chunk(ChunkLeft),
    /// The last words are said; `Last` follows when they are written.
    Leaving(Last),
    Gone,
}

/// What was asked, with all that is needed to go on.
pub(super) enum Asked {
    Mail(Box<Mail>),
    Rcpt(Box<Recipient>),
    Data,
    FirstChunk(Chunk),
    End,
    Verify(LookUp),
    Expand(LookUp),
    StartTls,
}

pub(super) struct LookUp {
    pub(super) text: Box<str>,
    pub(super) repertoire: Repertoire,
}

/// What a reply may be spelled in (RFC 6531 §3.7.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repertoire {
    Ascii,
    Utf8,
}

/// Content that comes by DATA.
pub(super) struct Content {
    pub(super) dots: Dots,
    pub(super) bytes: u64,
    /// What the content will be refused with; it is passed over from there on.
    pub(super) fault: Option<Reply>,
}

/// Content that comes by BDAT.
pub(super) struct ChunkLeft {
    pub(super) bytes: u64,
    pub(super) fate: Fate,
}

pub(super) enum Fate {
    Kept,
    KeptAsLast,
    /// Passed over, then answered so.
    Refused(Reply),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Close,
    StartTls,
}

/// Whether the caller holds a draft of the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Draft {
    None,
    Open,
    /// [`super::Step::Abort`] is due.
    Doomed,
}

/// Whether the server goes down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopping {
    No,
    Soon,
}
