//! The server's end of a session.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use mail::{Body, Channel, Domain, Envelope, EnvelopeId, Recipient, Return, ReversePath};

use crate::limits::Limits;

/// What a listener offers; shared by all its sessions.
#[derive(Clone, Debug)]
pub struct Service {
    /// This host's name, said in the greeting and in EHLO's reply.
    pub host: Domain,
    /// Software name for the greeting; none to keep it to ourselves (RFC 5321 §3.1).
    pub software: Option<Box<str>>,
    /// Whether and how STARTTLS is served.
    pub starttls: StartTls,
    /// Whether VRFY and EXPN are answered at all (252 otherwise, RFC 5321 §7.3).
    pub verify: Verify,
    /// Bounds.
    pub limits: Limits,
}

/// Whether a clear session may, need not, or must turn to TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartTls {
    /// Not offered: no usable certificate now (RFC 3207 §3), or switched off.
    Absent,
    /// Offered.
    Offered,
    /// Offered, and 530 to all but NOOP, EHLO, STARTTLS, QUIT until it is used (RFC 3207 §4).
    Demanded,
}

/// Whether VRFY and EXPN are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// 252 to all.
    Hidden,
    /// Asked of the caller.
    Served,
}

/// A server session over one kind of channel.
pub struct Session<C: Channel> {
    service: Arc<Service>,
    channel: PhantomData<C>,
}

/// What the session wants done next. `Write` and `Body` borrow from the session.
#[derive(Debug)]
pub enum Step<'s> {
    /// Send these octets. Replies to a pipelined group come in one piece (RFC 2920 §3.2).
    Write(&'s [u8]),
    /// Decide, then call [`Session::answer`].
    Ask(Question<'s>),
    /// Content of the message, dots unstuffed, for the draft opened at [`Question::Begin`].
    Body(&'s [u8]),
    /// The transaction ended without a message (RSET, EHLO, a refused chunk, a lost client): drop the draft.
    Abort,
    /// 220 to STARTTLS is written: call [`Session::leave`], shake hands, go on with [`Handshake::done`].
    StartTls,
    /// Everything is said: close the connection.
    Close,
}

/// What only the caller can decide. The answer is a reply; a positive one (or 354) lets the session go on.
#[derive(Debug)]
pub enum Question<'s> {
    /// MAIL: may this sender send?
    Mail(&'s Mail),
    /// RCPT: may it send to this recipient? The envelope holds the earlier ones.
    Rcpt(&'s Envelope, &'s Recipient),
    /// DATA or the first BDAT: can a message be taken now? Open a draft; the envelope is complete.
    Begin(&'s Envelope),
    /// The content is complete: keep it and answer 250 with the receipt, or refuse.
    /// The envelope can be taken with [`Session::take_envelope`].
    End,
    /// VRFY, asked only where [`Verify::Served`].
    Verify(&'s str),
    /// EXPN, asked only where [`Verify::Served`].
    Expand(&'s str),
}

/// What MAIL said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    /// The reverse-path.
    pub sender: ReversePath,
    /// `SIZE=` in octets, if declared.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Body,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `RET=`.
    pub ret: Option<Return>,
    /// `ENVID=`.
    pub envelope_id: Option<EnvelopeId>,
}

/// Octets that were already here when TLS was to begin: sent in the clear, by the peer or by someone on the way
/// (RFC 3207 §4.2, §6). How many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Injected(pub usize);

/// Between 220 and the end of the handshake. Carries nothing of the clear session but what the listener offers.
pub struct Handshake {
    service: Arc<Service>,
    client: IpAddr,
}
