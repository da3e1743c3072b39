//! A caller for server sessions that lives in memory: it answers by simple rules and notes what happens.

#![allow(dead_code)] // each test file uses its part

use std::collections::VecDeque;
use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::status::Class;
use mail::{Body, Channel, Clear, Domain, EnhancedStatus, Envelope, Reply, Return, ReversePath, Tls};
use smtp::server::{Handshake, Question, Service, Session, StartTls, Step, Verify};

pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

pub(crate) fn service() -> Service {
    Service {
        host: Domain::parse("mx.example").unwrap(),
        software: None,
        starttls: StartTls::Offered,
        verify: Verify::Hidden,
        limits: smtp::Limits::default(),
    }
}

/// A session of either kind, or none any more.
pub(crate) enum Line {
    Clear(Session<Clear>),
    Tls(Session<Tls>),
    Handshake(Handshake),
    Closed,
}

/// What a caller does, and what it has seen.
pub(crate) struct Caller {
    pub(crate) line: Line,
    pub(crate) now: Instant,
    /// Answers to the next questions of a kind, first.
    pub(crate) scripted: VecDeque<(String, Reply)>,
    /// Octets for the client.
    pub(crate) written: Vec<u8>,
    /// How many times octets were written.
    pub(crate) writes: usize,
    /// What happened besides.
    pub(crate) events: Vec<String>,
    draft: Option<Vec<u8>>,
    /// Octets that came when the session was over or had left for TLS.
    pub(crate) unheard: usize,
}

/// What a pump came upon.
enum Met {
    Nothing,
    StartTls,
    Close,
}

impl Caller {
    pub(crate) fn new(line: Line, now: Instant) -> Caller {
        let mut caller = Caller {
            line,
            now,
            scripted: VecDeque::new(),
            written: Vec::new(),
            writes: 0,
            events: Vec::new(),
            draft: None,
            unheard: 0,
        };
        caller.pump();
        caller
    }

    pub(crate) fn connect(service: Service) -> Caller {
        let now = Instant::now();
        Caller::new(Line::Clear(Session::new(Arc::new(service), CLIENT, now)), now)
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match &mut self.line {
            Line::Clear(session) => session.feed(bytes),
            Line::Tls(session) => session.feed(bytes),
            Line::Handshake(_) | Line::Closed => self.unheard += bytes.len(),
        }
        self.pump();
    }

    /// Time passes; a session is woken no later than it asked for.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.wake_at().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.pump();
        }
        self.now = until;
        self.pump();
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.line {
            Line::Clear(session) => Some(session.wake_at()),
            Line::Tls(session) => Some(session.wake_at()),
            Line::Handshake(_) | Line::Closed => None,
        }
    }

    pub(crate) fn start_tls(&mut self) {
        match mem::replace(&mut self.line, Line::Closed) {
            Line::Handshake(handshake) => self.line = Line::Tls(handshake.done(self.now)),
            _ => panic!("the session does not wait for a handshake"),
        }
        self.pump();
    }

    pub(crate) fn closed_by_client(&mut self) {
        let now = self.now;
        match &mut self.line {
            Line::Clear(session) => session.closed_by_client(now),
            Line::Tls(session) => session.closed_by_client(now),
            Line::Handshake(_) | Line::Closed => {}
        }
        self.pump();
    }

    pub(crate) fn shut_down(&mut self) {
        let now = self.now;
        match &mut self.line {
            Line::Clear(session) => session.shut_down(now),
            Line::Tls(session) => session.shut_down(now),
            Line::Handshake(_) | Line::Closed => {}
        }
        self.pump();
    }

    pub(crate) fn greeting_name(&self) -> Option<&str> {
        match &self.line {
            Line::Clear(session) => session.greeting_name(),
            Line::Tls(session) => session.greeting_name(),
            Line::Handshake(_) | Line::Closed => None,
        }
    }

    pub(crate) fn pump(&mut self) {
        let met = match mem::replace(&mut self.line, Line::Closed) {
            Line::Clear(mut session) => {
                let met = self.take_steps(&mut session);
                self.line = match met {
                    Met::StartTls => match session.leave() {
                        Ok(handshake) => Line::Handshake(handshake),
                        Err(injected) => {
                            self.events.push(format!("injected {} octets", injected.0));
                            Line::Closed
                        }
                    },
                    Met::Nothing | Met::Close => Line::Clear(session),
                };
                met
            }
            Line::Tls(mut session) => {
                let met = self.take_steps(&mut session);
                self.line = Line::Tls(session);
                met
            }
            line => {
                self.line = line;
                Met::Nothing
            }
        };
        match met {
            Met::Close => {
                self.line = Line::Closed;
                self.events.push("closed".to_owned());
            }
            Met::StartTls => self.events.push("TLS may begin".to_owned()),
            Met::Nothing => {}
        }
    }

    fn take_steps<C: Channel>(&mut self, session: &mut Session<C>) -> Met {
        loop {
            match session.step(self.now) {
                None => return Met::Nothing,
                Some(Step::Write(bytes)) => {
                    self.written.extend_from_slice(bytes);
                    self.writes += 1;
                }
                Some(Step::Body(bytes)) => {
                    assert!(!bytes.is_empty());
                    let draft = self.draft.as_mut().expect("content belongs to an open draft");
                    draft.extend_from_slice(bytes);
                }
                Some(Step::Abort) => {
                    // How much of it had come depends on the cuts.
                    self.draft.take().expect("a draft is open");
                    self.events.push("dropped".to_owned());
                }
                Some(Step::StartTls) => return Met::StartTls,
                Some(Step::Close) => {
                    assert!(self.draft.is_none(), "a draft is left behind");
                    assert!(session.step(self.now).is_none(), "closed is closed");
                    return Met::Close;
                }
                Some(Step::Ask(question)) => {
                    let kind = kind(&question);
                    let reply = match self.scripted.iter().position(|(asked, _)| asked == kind) {
                        Some(at) => self.scripted.remove(at).unwrap().1,
                        None => answer_to(&question),
                    };
                    let accepts = reply.is_positive() || reply.is_intermediate();
                    match question {
                        Question::Begin(_) if accepts => {
                            assert!(self.draft.is_none(), "one draft at a time");
                            self.draft = Some(Vec::new());
                        }
                        Question::End => {
                            let envelope = session.take_envelope();
                            let draft = self.draft.take().expect("a draft is open");
                            let word = if accepts { "kept" } else { "refused" };
                            self.events
                                .push(format!("{word} {}: {}", said(&envelope), shown(&draft)));
                        }
                        _ => {}
                    }
                    session.answer(reply);
                }
            }
        }
    }
}

fn kind(question: &Question<'_>) -> &'static str {
    match question {
        Question::Mail(_) => "MAIL",
        Question::Rcpt(..) => "RCPT",
        Question::Begin(_) => "begin",
        Question::End => "end",
        Question::Verify(_) => "VRFY",
        Question::Expand(_) => "EXPN",
        Question::StartTls => "TLS",
    }
}

const fn status(class: Class, subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::new(class, subject, detail)
}

fn answer_to(question: &Question<'_>) -> Reply {
    match question {
        Question::Mail(_) => Reply::fixed(250, status(Class::Success, 1, 0), "sender taken"),
        Question::Rcpt(_, recipient) => match recipient.mailbox.local().as_str() {
            "unknown" => Reply::fixed(550, status(Class::Permanent, 1, 1), "no such mailbox"),
            "later" => Reply::fixed(450, status(Class::Transient, 2, 1), "mailbox busy"),
            _ => Reply::new(
                250,
                status(Class::Success, 1, 5),
                format!("recipient <{}> taken", recipient.mailbox),
            ),
        },
        Question::Begin(_) => Reply::plain(354, "go"),
        Question::End => Reply::fixed(250, status(Class::Success, 0, 0), "kept"),
        Question::Verify(text) | Question::Expand(text) => {
            Reply::new(250, status(Class::Success, 1, 5), format!("<{text}@mx.example>"))
        }
        Question::StartTls => Session::<Clear>::READY_FOR_TLS,
    }
}

/// An envelope in the words of MAIL and RCPT.
fn said(envelope: &Envelope) -> String {
    let mut words = vec![format!("from <{}>", envelope.sender)];
    if envelope.sender == ReversePath::Null {
        words[0] = "from nobody".to_owned();
    }
    match envelope.body {
        Body::SevenBit => {}
        Body::EightBitMime => words.push("BODY=8BITMIME".to_owned()),
        Body::BinaryMime => words.push("BODY=BINARYMIME".to_owned()),
    }
    if envelope.smtputf8 {
        words.push("SMTPUTF8".to_owned());
    }
    match envelope.ret {
        None => {}
        Some(Return::Full) => words.push("RET=FULL".to_owned()),
        Some(Return::Headers) => words.push("RET=HDRS".to_owned()),
    }
    if let Some(id) = &envelope.envelope_id {
        words.push(format!("envelope {:?}", id.as_str()));
    }
    if envelope.wish == mail::TlsWish::Required {
        words.push("REQUIRETLS".to_owned());
    }
    for recipient in &envelope.recipients {
        words.push(format!("to <{}>", recipient.mailbox));
        if let Some(notify) = recipient.notify {
            words.push(format!("NOTIFY={notify}"));
        }
        if let Some(original) = &recipient.original {
            words.push(format!("ORCPT={}", original.as_str()));
        }
    }
    if words.len() > 12 {
        let more = words.len() - 6;
        words.truncate(6);
        words.push(format!("and {more} more words"));
    }
    words.join(" ")
}

/// Content on one line; long content by its start, length and sum.
fn shown(content: &[u8]) -> String {
    let sum = content
        .iter()
        .fold(0_u32, |sum, &octet| sum.rotate_left(5) ^ u32::from(octet));
    match content.len() {
        0 => "nothing".to_owned(),
        1..=200 => format!("{} octets {}", content.len(), content.escape_ascii()),
        long => format!(
            "{long} octets, sum {sum:08x}, {} ...",
            content[..40].escape_ascii()
        ),
    }
}
