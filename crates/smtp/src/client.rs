//! The client's end of a session; mirrors `server.rs`.
//!
//! Owns the order of the dialogue, the groups of PIPELINING, the framing of content and every wait. Never decides
//! whether a message may go over this channel: only a [`Permit`] of the same kind of channel opens the way to MAIL.
//!
//! ```text
//! Session<Clear> ── start_tls ─▶ Step::StartTls ── leave ─▶ Handshake ── done ─▶ Session<Tls>
//!       └──────────── ready(Permit<Clear>) ─▶ Ready<Clear>       ready(Permit<Tls>) ─▶ Ready<Tls>
//! ```
//! What was heard in the clear dies with that session (RFC 3207 §4.2).

mod dialogue;
mod transaction;
mod fit;
mod content;
mod outcome;

use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use mail::proof::Permit;
use mail::{Channel, Clear, Domain, Reply, Tls};

pub use self::outcome::{
    Awaited, ContentSent, End, Fate, Outcome, RecipientOutcome, Transaction, Trouble, Unsendable,
};
pub use crate::hello::{Hello, PeerLimits};
pub use crate::server::Injected;
pub use crate::wire::BadReply;

use self::dialogue::{Dialogue, Told};
use crate::limits::Limits;

/// A session that cannot send mail yet: greeting, EHLO, STARTTLS. This is how it goes over to mail:
/// ```
/// fn inside(session: smtp::client::Session<mail::Tls>, permit: mail::proof::Permit<mail::Tls>,
///     mail: smtp::client::Transaction, now: std::time::Instant) {
///     let _ = session.ready(permit).send(mail, now);
/// }
/// fn outside(mut session: smtp::client::Session<mail::Clear>, now: std::time::Instant) {
///     let _ = session.start_tls(now);
/// }
/// ```
/// There is no STARTTLS inside TLS (RFC 3207 §4.2):
/// ```compile_fail
/// fn again(mut session: smtp::client::Session<mail::Tls>, now: std::time::Instant) {
///     let _ = session.start_tls(now);
/// }
/// ```
/// Without a permit there is no MAIL:
/// ```compile_fail
/// fn send(mut session: smtp::client::Session<mail::Tls>, mail: smtp::client::Transaction, now: std::time::Instant) {
///     let _ = session.send(mail, now);
/// }
/// ```
/// And a permit for one kind of channel is none for the other:
/// ```compile_fail
/// fn cheat(session: smtp::client::Session<mail::Clear>, permit: mail::proof::Permit<mail::Tls>) {
///     session.ready(permit);
/// }
/// ```
pub struct Session<C: Channel> {
    dialogue: Dialogue,
    channel: PhantomData<C>,
}

/// Between 220 to STARTTLS and the end of the handshake. Carries nothing that the server said.
pub struct Handshake {
    me: Domain,
    limits: Limits,
}

/// A session that may send mail, one transaction after the other.
pub struct Ready<C: Channel> {
    dialogue: Dialogue,
    permit: Permit<C>,
}

/// What the session wants done or has to tell. The caller goes on calling `step` until `Close`, also after `Broken`
/// (the reply to QUIT may be awaited), or closes the connection.
#[derive(Debug)]
pub enum Step<'s> {
    /// Send these octets; if that fails, call `closed_by_peer`.
    Write(&'s [u8]),
    /// EHLO or HELO is answered: look at `hello()`, then `start_tls`, `ready` or `quit`.
    Hello,
    /// 220 to STARTTLS is read: call [`Session::leave`] and shake hands.
    StartTls,
    /// STARTTLS was refused; the session stands as before.
    StartTlsRefused(Reply),
    /// The content is wanted: [`Ready::content`], then [`Ready::content_end`].
    Content,
    /// The transaction is over.
    Done(Outcome),
    /// The session came to nothing outside of a transaction.
    Broken(Trouble),
    /// Everything is said: close the connection.
    Close,
}

/// STARTTLS cannot be said: the server does not offer it, or this is not the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotOffered;

impl Session<Clear> {
    /// A session on a fresh clear connection. `me` is this host's own name, said in EHLO.
    pub fn new(me: Domain, limits: Limits, now: Instant) -> Session<Clear> {
        Session {
            dialogue: Dialogue::greeted(me, limits, now),
            channel: PhantomData,
        }
    }

    /// Asks for TLS, after `Step::Hello`. Nothing else is said before the reply (RFC 3207 §4).
    pub fn start_tls(&mut self, now: Instant) -> Result<(), NotOffered> {
        self.dialogue.start_tls(now)
    }

    /// Ends the clear part, after `Step::StartTls`. Octets already here were sent in the clear, by the server or by
    /// someone on the way, to be taken for the server's words inside TLS (RFC 3207 §6): then there is no handshake.
    pub fn leave(self) -> Result<Handshake, Injected> {
        match self.dialogue.unread() {
            0 => {
                let (me, limits) = self.dialogue.into_parts();
                Ok(Handshake { me, limits })
            }
            octets => Err(Injected(octets)),
        }
    }
}

impl Handshake {
    /// The handshake is done: EHLO is said first, no greeting comes (RFC 3207 §4.2).
    pub fn done(self, now: Instant) -> Session<Tls> {
        Session {
            dialogue: Dialogue::afresh(self.me, self.limits, now),
            channel: PhantomData,
        }
    }

    /// The handshake is done, and what it reached is not enough: QUIT is the only word said (RFC 3207 §4.1).
    pub fn quit(self, now: Instant) -> Session<Tls> {
        Session {
            dialogue: Dialogue::parting(self.me, self.limits, now),
            channel: PhantomData,
        }
    }
}

impl Session<Tls> {
    /// A session on a connection that began with a handshake (RFC 8314 §3.3): the greeting comes inside TLS.
    pub fn implicit(me: Domain, limits: Limits, now: Instant) -> Session<Tls> {
        Session {
            dialogue: Dialogue::greeted(me, limits, now).inside_tls(),
            channel: PhantomData,
        }
    }
}

impl<C: Channel> Session<C> {
    /// Takes octets that the server sent, once all steps are taken.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.dialogue.feed(bytes);
    }

    /// The next step, or none until more octets come or [`Session::wake_at`] has passed.
    pub fn step(&mut self, now: Instant) -> Option<Step<'_>> {
        step(&mut self.dialogue, now)
    }

    /// When to call `step` again if nothing comes; a write in progress is to be given up then, too.
    pub fn wake_at(&self) -> Instant {
        self.dialogue.wake_at()
    }

    /// The connection is gone: end of file, or an error when reading or writing.
    pub fn closed_by_peer(&mut self) {
        self.dialogue.closed_by_peer();
    }

    /// What the server said of itself on this channel; nothing before `Step::Hello`.
    pub fn hello(&self) -> &Hello {
        self.dialogue.hello()
    }

    /// Ends the session: politely with QUIT where nothing is outstanding, else by closing.
    pub fn quit(&mut self, now: Instant) {
        self.dialogue.quit(now);
    }

    /// After `Step::Hello`, with leave to send over this kind of channel: the only way to MAIL.
    pub fn ready(self, permit: Permit<C>) -> Ready<C> {
        Ready {
            dialogue: self.dialogue,
            permit,
        }
    }
}

impl<C: Channel> Ready<C> {
    /// Begins a transaction, or says why this host cannot have the message; then nothing was sent.
    ///
    /// Recipients beyond the server's LIMITS are left [`RecipientOutcome::NotTried`].
    pub fn send(&mut self, transaction: Transaction, now: Instant) -> Result<(), Unsendable> {
        self.dialogue.send(transaction, now)
    }

    /// Gives a piece of the content, after `Step::Content`: the octets as stored, nothing stuffed. Take all steps
    /// before the next piece. When the transaction ended early, the rest is passed over.
    pub fn content(&mut self, bytes: &[u8]) {
        self.dialogue.content(bytes);
    }

    /// The content is complete.
    pub fn content_end(&mut self) {
        self.dialogue.content_end();
    }

    /// Octets given and not written yet: at 0 is the time for more.
    pub fn content_buffered(&self) -> usize {
        self.dialogue.unwritten()
    }

    /// Whether another transaction can begin now: nothing is under way, the server has not said 421, and its
    /// MAILMAX is not reached (RFC 9422 §4.1).
    pub fn can_send_more(&self) -> bool {
        self.dialogue.can_send_more()
    }

    /// Octets that came and are not read yet. Where nothing is under way, nobody asked for them, and they would pass for
    /// the reply to the next command.
    pub fn unread(&self) -> usize {
        self.dialogue.unread()
    }

    /// How many recipients the server takes in a transaction, if it said so (RFC 9422 §4.2).
    pub fn max_recipients(&self) -> Option<usize> {
        self.hello().limits().rcpt_max.map(|max| max as usize)
    }

    /// Leave for the next message, in place of the leave for the one before.
    pub fn renew(&mut self, permit: Permit<C>) {
        self.permit = permit;
    }

    /// The permit that the session was opened to MAIL with.
    pub fn permit(&self) -> &Permit<C> {
        &self.permit
    }

    /// As [`Session::feed`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.dialogue.feed(bytes);
    }

    /// As [`Session::step`].
    pub fn step(&mut self, now: Instant) -> Option<Step<'_>> {
        step(&mut self.dialogue, now)
    }

    /// As [`Session::wake_at`]. An idle session says QUIT by itself then.
    pub fn wake_at(&self) -> Instant {
        self.dialogue.wake_at()
    }

    /// As [`Session::closed_by_peer`].
    pub fn closed_by_peer(&mut self) {
        self.dialogue.closed_by_peer();
    }

    /// As [`Session::hello`].
    pub fn hello(&self) -> &Hello {
        self.dialogue.hello()
    }

    /// As [`Session::quit`]; a transaction under way is given up.
    pub fn quit(&mut self, now: Instant) {
        self.dialogue.quit(now);
    }
}

fn step(dialogue: &mut Dialogue, now: Instant) -> Option<Step<'_>> {
    Some(match dialogue.step(now)? {
        Told::Write => Step::Write(dialogue.written()),
        Told::Hello => Step::Hello,
        Told::StartTls => Step::StartTls,
        Told::StartTlsRefused(reply) => Step::StartTlsRefused(reply),
        Told::Content => Step::Content,
        Told::Done(outcome) => Step::Done(outcome),
        Told::Broken(trouble) => Step::Broken(trouble),
        Told::Close => Step::Close,
    })
}

/// What a reply's first digit says; further digits change nothing (RFC 5321 §4.2, §4.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Positive,
    Intermediate,
    Transient,
    Permanent,
    /// Neither 2, 3, 4 nor 5.
    Foreign,
}

impl Kind {
    fn of(reply: &Reply) -> Kind {
        match reply.code() / 100 {
            2 => Kind::Positive,
            3 => Kind::Intermediate,
            4 => Kind::Transient,
            5 => Kind::Permanent,
            _ => Kind::Foreign,
        }
    }
}

/// Whether commands may be grouped (RFC 2920).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    Groups,
    OneByOne,
}

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server does not offer STARTTLS")
    }
}

impl std::error::Error for NotOffered {}
