//! What a channel showed, as observed. A clear channel can only be described as clear, a TLS channel only by what
//! its handshake reached, so that the one never passes for the other.

use std::marker::PhantomData;
use std::time::SystemTime;

use mail::{Channel, Clear, Host, Tls, TlsFacts};

use crate::chain::{Certificates, Chain};

/// What a channel of kind `C` showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown<C: Channel> {
    observed: Observed,
    channel: PhantomData<C>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Observed {
    Clear(WhyClear),
    Tls(TlsFacts, Certificates),
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
        /// What the certificates say, held against the operator's trusted roots and the host's name.
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

impl Shown<Clear> {
    /// A channel that stayed clear.
    pub fn clear(why: WhyClear) -> Shown<Clear> {
        Shown {
            observed: Observed::Clear(why),
            channel: PhantomData,
        }
    }
}

impl Shown<Tls> {
    /// A channel inside TLS.
    pub fn tls(facts: TlsFacts, certificates: Certificates) -> Shown<Tls> {
        Shown {
            observed: Observed::Tls(facts, certificates),
            channel: PhantomData,
        }
    }
}

impl<C: Channel> Shown<C> {
    /// What is told of it, for a session with this host.
    pub fn seen(&self, host: &Host) -> Seen {
        match &self.observed {
            Observed::Clear(why) => Seen::Clear(why.clone()),
            Observed::Tls(facts, certificates) => Seen::Tls {
                facts: facts.clone(),
                chain: certificates.told(host),
            },
        }
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }
}
