//! Proofs pass between the sibling crates. Each can be made in one place only: its mint is public because crates
//! must reach it, and the tidy test allows one caller.

use std::marker::PhantomData;

use crate::address::Host;
use crate::message::MessageId;

/// Proof that a message would survive a power cut. Minted by `spool`, after its octets and records are synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt(MessageId);

/// Proof that a DNS answer validated by DNSSEC. Minted by the DNS port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secure<T>(T);

/// The kinds of channel.
pub trait Channel: sealed::Sealed {}

/// A channel that anyone on the way can read and change.
#[derive(Debug)]
pub enum Clear {}

/// A channel inside TLS.
#[derive(Debug)]
pub enum Tls {}

impl Channel for Clear {}
impl Channel for Tls {}

/// Leave to send mail to one host over one kind of channel. Minted by `trust`.
///
/// A permit for TLS is no permit for clear text:
/// ```compile_fail
/// fn send(_: mail::proof::Permit<mail::Clear>) {}
/// fn only_tls(permit: mail::proof::Permit<mail::Tls>) { send(permit) }
/// ```
#[derive(Debug)]
pub struct Permit<C: Channel> {
    host: Host,
    channel: PhantomData<C>,
}

impl Receipt {
    /// The mint; called by `spool::journal` alone.
    pub fn mint(id: MessageId) -> Receipt {
        Receipt(id)
    }

    /// The message that is safe.
    pub fn id(&self) -> MessageId {
        self.0
    }
}

impl<T> Secure<T> {
    /// The mint; called by the DNS port alone.
    pub fn mint(proven: T) -> Secure<T> {
        Secure(proven)
    }

    /// What was proven.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl<T> Secure<Vec<T>> {
    /// A proof for each part of what was proven together.
    pub fn into_each(self) -> impl Iterator<Item = Secure<T>> {
        self.0.into_iter().map(Secure)
    }
}

impl<C: Channel> Permit<C> {
    /// The mint; called by `trust` alone.
    pub fn mint(host: Host) -> Permit<C> {
        Permit {
            host,
            channel: PhantomData,
        }
    }

    /// The host it is for.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Clear {}
    impl Sealed for super::Tls {}
}
