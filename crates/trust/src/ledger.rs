//! The memory of peers: what each has shown before, and what is demanded of it because of that.

mod observation;
mod course;
mod exchangers;
mod standing;
mod change;
mod inbound;
mod note;
mod news;
mod seconds;
mod stored;

use std::fmt;
use std::time::SystemTime;

use mail::KeyPrint;

pub use change::{Of, observe};
pub use course::{Binding, Course};
pub use exchangers::{Acquaintance, Exchangers, Under, under};
pub use inbound::{Came, InboundStanding, came_in};
pub use news::{MxChange, News, Notice, Weight};
pub use note::{Note, Say, leave};
pub use observation::{Facts, Observation, Outcome, Showed, Vouched, domain_key};
pub use seconds::{Pace, Second};
pub use standing::{
    DomainStanding, HostStanding, KnownKey, Leave, Proven, Rules, Spell, Suspicion, Word, claim,
};
pub use stored::{Stored, Unreadable};

/// What the memory demands of a host now; relaxations by a person are taken off already.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Claim {
    /// The least that it must show.
    pub bound: Bound,
    /// Since when it is bound.
    pub since: Option<SystemTime>,
    /// Keys that proven sessions have shown: with one of them a flawed certificate is continuity, not suspicion.
    pub keys: Vec<KeyPrint>,
    /// That a person relaxed it, who, why and until when, in plain words.
    pub relaxed: Option<Box<str>>,
    /// The name under which it stands, where that is new to the domain, nobody vouches for it, and the operator wants such
    /// hosts not to be used until a person says that they are right.
    pub stranger: Option<Box<str>>,
}

/// The least that a peer must show. Ordered by strictness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Bound {
    /// Nothing: it is unknown, or has not shown enough yet.
    #[default]
    Nothing,
    /// Encryption.
    Encrypted,
    /// Encryption, and proof of who it is, or a key it proved before.
    Verified,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Nothing => "nothing",
            Bound::Encrypted => "encrypted",
            Bound::Verified => "verified",
        })
    }
}
