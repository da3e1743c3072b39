//! The server's end of a session: what a client says becomes steps for the caller and replies for the client.
//!
//! Owns the order of commands, the framing of content and every bound of a session. Decides nothing about who may
//! send what: it asks. Feed it octets, take steps until there is none, answer each question before the next step,
//! and call [`Session::step`] again at [`Session::wake_at`].
//! ```
//! use mail::{Reply, status::{Class, EnhancedStatus}};
//! use smtp::server::{Handshake, Question, Session, Step};
//!
//! /// What a clear client has said is answered; whether TLS is to begin.
//! fn talk(
//!     mut session: Session<mail::Clear>,
//!     read: &[u8],
//!     now: std::time::Instant,
//!     mut write: impl FnMut(&[u8]),
//! ) -> Option<Handshake> {
//!     session.feed(read);
//!     while let Some(step) = session.step(now) {
//!         match step {
//!             Step::Write(octets) => write(octets),
//!             Step::Body(_) | Step::Abort => {}
//!             Step::Ask(Question::StartTls) => session.answer(Session::<mail::Clear>::READY_FOR_TLS),
//!             Step::Ask(_) => {
//!                 let later = EnhancedStatus::new(Class::Transient, 3, 2);
//!                 session.answer(Reply::fixed(451, later, "not today"));
//!             }
//!             Step::StartTls => return session.leave().ok(),
//!             Step::Close => return None,
//!         }
//!     }
//!     None
//! }
//! ```
//!
//! What was heard in the clear dies with the clear session. A clear session cannot go on inside TLS:
//! ```compile_fail
//! fn go_on(session: smtp::server::Session<mail::Clear>) -> smtp::server::Session<mail::Tls> { session }
//! ```
//! only a handshake makes a session that counts as encrypted:
//! ```compile_fail
//! fn skip(service: std::sync::Arc<smtp::server::Service>) -> smtp::server::Handshake {
//!     smtp::server::Handshake { service, client: [127, 0, 0, 1].into() }
//! }
//! ```
//! TLS does not start inside TLS, and a session that left is gone:
//! ```compile_fail
//! fn again(session: smtp::server::Session<mail::Tls>) { session.leave(); }
//! ```
//! ```compile_fail
//! fn twice(session: smtp::server::Session<mail::Clear>) { session.leave(); session.wake_at(); }
//! ```
//! and a clear session has no handshake to be unsatisfied with:
//! ```compile_fail
//! fn weak(mut session: smtp::server::Session<mail::Clear>, reply: mail::Reply) { session.unsatisfied(reply); }
//! ```

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use mail::{Channel, Clear, Domain, Envelope, Protocol, Recipient, Reply, Tls};

pub use crate::command::Mail;
use crate::limits::Limits;

mod state;
mod conversation;
mod intake;
mod conduct;
mod content;
mod input;
mod replies;

use conversation::{Conversation, Turn};
use input::Input;
use state::Occasion;

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
    /// Asked of the caller; EXPN is announced.
    Served,
}

/// A server session over one kind of channel.
pub struct Session<C: Channel> {
    input: Input,
    conversation: Conversation,
    channel: PhantomData<C>,
}

/// What the session wants done next. `Write` and `Body` borrow from the session.
#[derive(Debug)]
pub enum Step<'s> {
    /// Send these octets. Replies to a pipelined group come in one piece (RFC 2920 §3.2).
    Write(&'s [u8]),
    /// Decide, then call [`Session::answer`]. Until then there is no further step.
    Ask(Question<'s>),
    /// Content of the message, dots unstuffed, for the draft opened at [`Question::Begin`].
    Body(&'s [u8]),
    /// The message will not be: drop the draft. The transaction ended before its content was complete (RSET, EHLO,
    /// a lost client, a timeout), or the content was found faulty or too large and its rest is passed over.
    Abort,
    /// 220 to STARTTLS is written: call [`Session::leave`], shake hands, go on with [`Handshake::done`].
    StartTls,
    /// Everything is said: close the connection. No step follows.
    Close,
}

/// What only the caller can decide. The answer is a reply; a positive one (or 354) lets the session go on, one with
/// code 421 ends it.
#[derive(Debug)]
pub enum Question<'s> {
    /// MAIL: may this sender send?
    Mail(&'s Mail),
    /// RCPT: may it send to this recipient? The envelope holds the earlier ones.
    Rcpt(&'s Envelope, &'s Recipient),
    /// DATA or the first BDAT: can a message be taken now? Open a draft; the envelope is complete.
    Begin(&'s Envelope),
    /// The content is complete: keep it and answer 250 with the receipt, or refuse. The envelope can be taken with
    /// [`Session::take_envelope`]. Loops (`Limits::received_fields_max`) are the caller's to find.
    End,
    /// VRFY, asked only where [`Verify::Served`].
    Verify(&'s str),
    /// EXPN, asked only where [`Verify::Served`].
    Expand(&'s str),
    /// STARTTLS: can TLS begin now? [`Session::READY_FOR_TLS`] lets it; 454 says that it cannot for the moment, and
    /// the clear session goes on (RFC 3207 §4).
    StartTls,
}

/// Octets that were already here when TLS was to begin: sent in the clear, by the peer or by someone on the way
/// (RFC 3207 §4.2, §6). How many. They have not been looked at and never will be: close the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Injected(pub usize);

/// Between 220 and the end of the handshake. Carries nothing of the clear session but what the listener offers.
pub struct Handshake {
    service: Arc<Service>,
    client: IpAddr,
}

impl Session<Clear> {
    /// A client has connected in the clear; the first step greets it.
    pub fn new(service: Arc<Service>, client: IpAddr, now: Instant) -> Session<Clear> {
        Session::open(service, client, Occasion::Connected, now)
    }

    /// A client that is not served: greeted with 554 or 521, then 503 or 521 to all but QUIT (RFC 5321 §3.1,
    /// RFC 7504 §3). A 421 is said and the connection closed.
    pub fn refuse(service: Arc<Service>, client: IpAddr, reply: Reply, now: Instant) -> Session<Clear> {
        Session::open(service, client, Occasion::Refused(reply), now)
    }

    /// Ends the clear session at [`Step::StartTls`]. All that was heard in it is forgotten (RFC 3207 §4.2).
    ///
    /// Octets that reached the session behind the STARTTLS line make the way to TLS impossible. Where they came
    /// together with the line, the session has already refused it and there is no such step.
    pub fn leave(self) -> Result<Handshake, Injected> {
        match self.input.unread() {
            0 => Ok(Handshake {
                service: self.conversation.service,
                client: self.conversation.client,
            }),
            unread => Err(Injected(unread)),
        }
    }
}

impl Handshake {
    /// The handshake succeeded: a session that knows nothing yet. There is no second greeting (RFC 3207 §4.2).
    pub fn done(self, now: Instant) -> Session<Tls> {
        Session::open(self.service, self.client, Occasion::Encrypted, now)
    }
}

impl Session<Tls> {
    /// A client has connected to a port where TLS comes first (RFC 8314 §3.3), and the handshake is done; the first
    /// step greets it.
    pub fn implicit(service: Arc<Service>, client: IpAddr, now: Instant) -> Session<Tls> {
        Session::open(service, client, Occasion::ConnectedEncrypted, now)
    }

    /// The handshake reached less than this server asks for: from now on `reply` (554) to all but QUIT
    /// (RFC 3207 §4.1).
    pub fn unsatisfied(&mut self, reply: Reply) {
        self.conversation.unsatisfied(reply);
    }
}

impl<C: Channel> Session<C> {
    /// The answer that lets TLS begin.
    pub const READY_FOR_TLS: Reply = replies::READY_FOR_TLS;

    /// Takes octets from the client. Take all steps before feeding more: then what is kept here is bounded by one
    /// read and one command line.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.feed(bytes);
        self.conversation.fed();
    }

    /// The next step, or none: more octets or [`Session::wake_at`] must come first.
    pub fn step(&mut self, now: Instant) -> Option<Step<'_>> {
        self.conversation.written();
        let turn = loop {
            match self.conversation.turn(&mut self.input, now) {
                Turn::Again => {}
                turn => break turn,
            }
        };
        match turn {
            Turn::Again | Turn::Wait => None,
            Turn::Write => Some(Step::Write(self.conversation.to_write())),
            Turn::Ask => self.conversation.question().map(Step::Ask),
            Turn::Body(range) => Some(Step::Body(self.input.taken(range))),
            Turn::Abort => Some(Step::Abort),
            Turn::StartTls => Some(Step::StartTls),
            Turn::Close => Some(Step::Close),
        }
    }

    /// Answers the last [`Step::Ask`]. Without a question open it does nothing.
    pub fn answer(&mut self, reply: Reply) {
        self.conversation.answer(reply);
    }

    /// The envelope of the message that [`Question::End`] is about.
    ///
    /// # Panics
    /// At any other time, or the second time: the caller has mixed up its steps.
    pub fn take_envelope(&mut self) -> Envelope {
        self.conversation.take_envelope()
    }

    /// The name that the client gave in its last EHLO or HELO, as it wrote it.
    pub fn greeting_name(&self) -> Option<&str> {
        self.conversation.greeting_name()
    }

    /// SMTP after HELO, ESMTP after EHLO.
    pub fn protocol(&self) -> Protocol {
        self.conversation.protocol()
    }

    /// When to call [`Session::step`] although nothing came: the client has then been too slow.
    pub fn wake_at(&self) -> Instant {
        self.conversation.wake_at()
    }

    /// The client closed its end. Only the open transaction is lost (RFC 5321 §4.1.1.10).
    pub fn closed_by_client(&mut self, _now: Instant) {
        self.conversation.closed_by_client();
    }

    /// The server stops: 421 4.3.2 as soon as no message is on its way in, then [`Step::Close`] (RFC 5321 §3.8).
    pub fn shut_down(&mut self, _now: Instant) {
        self.conversation.shut_down();
    }

    fn open(service: Arc<Service>, client: IpAddr, occasion: Occasion, now: Instant) -> Session<C> {
        Session {
            input: Input::default(),
            conversation: Conversation::new(service, client, occasion, now),
            channel: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn session(now: Instant) -> Session<Clear> {
        let service = Service {
            host: Domain::parse("mx.example").unwrap(),
            software: None,
            starttls: StartTls::Offered,
            verify: Verify::Hidden,
            limits: Limits::default(),
        };
        Session::new(Arc::new(service), [192, 0, 2, 7].into(), now)
    }

    /// Feeds and takes all steps, saying yes to all.
    fn talk(session: &mut Session<Clear>, octets: &[u8], now: Instant) {
        session.feed(octets);
        while let Some(step) = session.step(now) {
            if let Step::Ask(_) = step {
                session.answer(Reply::plain(250, "yes"));
            }
        }
    }

    const ENVELOPE: &[u8] =
        b"EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n";

    #[test]
    fn an_idle_session_holds_no_buffers() {
        let now = Instant::now();
        let mut session = session(now);
        talk(&mut session, &ENVELOPE[..ENVELOPE.len() - 6], now);
        assert_eq!(session.input.held(), 0);
        assert_eq!(session.conversation.held(), 0);
        assert!(
            size_of::<Session<Clear>>() < 1024,
            "{}",
            size_of::<Session<Clear>>()
        );
    }

    #[test]
    fn memory_does_not_grow_with_what_comes() {
        let now = Instant::now();
        let mut session = session(now);
        let piece = vec![b'x'; 16 * 1024];
        for _ in 0..1000 {
            talk(&mut session, &piece, now);
            assert!(session.input.held() <= 32 * 1024);
        }
        talk(&mut session, b"\r\n", now);
        talk(&mut session, ENVELOPE, now);
        for _ in 0..5000 {
            talk(&mut session, &piece, now);
            assert!(session.input.held() <= 32 * 1024);
        }
    }

    #[test]
    fn a_long_group_is_answered_in_pieces() {
        let now = Instant::now();
        let mut session = session(now);
        talk(&mut session, b"EHLO c.example\r\n", now);
        session.feed(&b"RSET\r\n".repeat(10_000));
        let mut longest = 0;
        while let Some(step) = session.step(now) {
            let Step::Write(octets) = step else { panic!() };
            longest = longest.max(octets.len());
        }
        assert!((4096..8192).contains(&longest), "{longest}");
    }

    #[test]
    fn an_answer_without_a_question_changes_nothing() {
        let now = Instant::now();
        let mut session = session(now);
        session.answer(Reply::plain(250, "yes"));
        assert!(matches!(session.step(now), Some(Step::Write(_))));
        assert!(session.step(now).is_none());
    }

    #[test]
    fn the_wait_begins_with_the_answer() {
        let start = Instant::now();
        let mut session = session(start);
        while session.step(start).is_some() {}
        session.feed(b"EHLO c.example\r\nMAIL FROM:<a@x.example>\r\n");
        let later = start + Duration::from_secs(200);
        while !matches!(session.step(start), Some(Step::Ask(_))) {}
        session.answer(Reply::plain(250, "yes"));
        while session.step(later).is_some() {}
        assert_eq!(session.wake_at(), later + Limits::default().command_wait);
    }

    #[test]
    #[should_panic(expected = "the envelope is taken once")]
    fn an_envelope_is_taken_at_the_end_alone() {
        session(Instant::now()).take_envelope();
    }
}
