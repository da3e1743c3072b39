//! What a channel showed, as observed. A clear channel can only be described as clear, a TLS channel only by what
//! its handshake reached, so that the one never passes for the other.

use std::marker::PhantomData;
use std::time::SystemTime;

use mail::{Channel, Clear, Tls, TlsFacts};

/// What a channel of kind `C` showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown<C: Channel> {
    seen: Seen,
    channel: PhantomData<C>,
}

/// The observation itself, for evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Anyone on the way could read it.
    Clear(WhyClear),
    /// Inside TLS.
    Tls {
        /// What the handshake reached.
        facts: TlsFacts,
        /// What the certificate chain proved against the operator's trust store.
        chain: Chain,
    },
}

/// Why a channel stayed clear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WhyClear {
    /// The peer's EHLO listed no STARTTLS, or it knew HELO alone (RFC 3207 §6: perhaps stripped on the way).
    NotOffered,
    /// TLS failed with this host in an earlier attempt, long enough ago.
    Earlier(TlsTrouble),
    /// Clear text was asked for by local policy, by name.
    Unwanted,
}

/// A handshake that came to nothing, or 454 to STARTTLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsTrouble {
    /// When it happened first.
    pub at: SystemTime,
    /// In plain words.
    pub text: Box<str>,
}

/// What the chain of certificates proved, whether or not the plan asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chain {
    /// It leads to a trusted root, is in date, and names the host.
    Trusted,
    /// It does not, and why.
    Untrusted(Box<str>),
    /// Nothing was there to check it against, or the peer showed no certificate.
    Unchecked,
}

impl Shown<Clear> {
    /// A channel that stayed clear.
    pub fn clear(why: WhyClear) -> Shown<Clear> {
        Shown {
            seen: Seen::Clear(why),
            channel: PhantomData,
        }
    }
}

impl Shown<Tls> {
    /// A channel inside TLS.
    pub fn tls(facts: TlsFacts, chain: Chain) -> Shown<Tls> {
        Shown {
            seen: Seen::Tls { facts, chain },
            channel: PhantomData,
        }
    }
}

impl<C: Channel> Shown<C> {
    /// The observation.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}
