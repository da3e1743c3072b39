//! Where a session stands, and the turns it takes: what comes next, how long to wait for it, and when replies go out.

use std::mem;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::status::Class;
use mail::{EnhancedStatus, Envelope, Protocol, Reply};

use super::content::Dots;
use super::input::Input;
use super::state::{
    Asked, Content, Doing, Draft, Hello, Kind, Last, Manner, Occasion, Repertoire, Stage, Stopping,
};
use super::{Question, Service, replies};

/// A session apart from its input. Whether the channel is encrypted is a value here; the type around it keeps the two
/// kinds apart.
pub(super) struct Conversation {
    pub(super) service: Arc<Service>,
    pub(super) client: IpAddr,
    pub(super) channel: Kind,
    pub(super) manner: Manner,
    pub(super) hello: Option<Hello>,
    pub(super) stage: Stage,
    pub(super) doing: Doing,
    pub(super) draft: Draft,
    out: Out,
    errors: usize,
    /// MAIL commands so far (RFC 9422 §4.1: whatever became of them).
    pub(super) messages: usize,
    clock: Clock,
    stopping: Stopping,
}

/// Replies that wait to be written.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    when: When,
    /// The caller has them in hand.
    lent: Option<Lent>,
}

struct Lent;

/// RFC 2920 §3.2: which replies may wait for others.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum When {
    /// Together with the replies to the rest of the group.
    #[default]
    Grouped,
    /// Before the next command is looked at.
    AtOnce,
}

struct Clock {
    /// When the wait for input ends.
    until: Instant,
    session_until: Instant,
    /// The wait begins anew: something was finished or, in content, something came.
    anew: Anew,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Anew {
    No,
    Yes,
}

/// What a turn leads to. Octets to lend are named by their place.
pub(super) enum Turn {
    Again,
    Wait,
    Write,
    Ask,
    Body(Range<usize>),
    Abort,
    StartTls,
    Close,
}

impl Conversation {
    pub(super) fn new(
        service: Arc<Service>,
        client: IpAddr,
        occasion: Occasion,
        now: Instant,
    ) -> Conversation {
        let limits = &service.limits;
        let clock = Clock {
            until: now + limits.command_wait,
            session_until: now + limits.session_time_max,
            anew: Anew::No,
        };
        let channel = match occasion {
            Occasion::Connected | Occasion::Refused(_) => Kind::Clear,
            Occasion::ConnectedEncrypted | Occasion::Encrypted => Kind::Tls,
        };
        let mut conversation = Conversation {
            service,
            client,
            channel,
            manner: Manner::Serving,
            hello: None,
            stage: Stage::Idle,
            doing: Doing::Commands,
            draft: Draft::None,
            out: Out::default(),
            errors: 0,
            messages: 0,
            clock,
            stopping: Stopping::No,
        };
        match occasion {
            Occasion::Connected | Occasion::ConnectedEncrypted => conversation.greet(),
            Occasion::Refused(reply) => conversation.greet_refusing(&reply),
            Occasion::Encrypted => {}
        }
        conversation
    }

    /// RFC 5321 §3.1. The greeting has no enhanced status (RFC 2034 §4).
    fn greet(&mut self) {
        let host = &self.service.host;
        let text = match &self.service.software {
            Some(software) => format!("{host} ESMTP {software}"),
            None => format!("{host} ESMTP"),
        };
        self.write(&Reply::plain(220, text), When::AtOnce, Repertoire::Ascii);
    }

    /// RFC 5321 §3.1, RFC 7504 §3.
    fn greet_refusing(&mut self, reply: &Reply) {
        let greeting = Reply::plain(reply.code(), text_of(reply));
        self.write(&greeting, When::AtOnce, Repertoire::Ascii);
        match reply.code() {
            421 => self.doing = Doing::Leaving(Last::Close),
            521 => self.manner = Manner::Refusing(replies::NO_MAIL_EVER),
            _ => self.manner = Manner::Refusing(replies::REFUSED),
        }
    }

    pub(super) fn unsatisfied(&mut self, reply: Reply) {
        self.manner = Manner::Refusing(reply);
    }

    /// Goes on as far as one step, or says why not.
    pub(super) fn turn(&mut self, input: &mut Input, now: Instant) -> Turn {
        if self.draft == Draft::Doomed {
            self.draft = Draft::None;
            return Turn::Abort;
        }
        if self.out.is_due() {
            return self.out.lend();
        }
        match self.doing {
            Doing::Commands | Doing::SkippingLine if self.may_stop() => self.close_with(replies::STOPPING),
            Doing::Commands => self.take_command(input, now),
            Doing::SkippingLine => self.skip_line(input, now),
            Doing::Asking(_) => self.put_question(),
            Doing::Asked(_) | Doing::Gone => Turn::Wait,
            Doing::Content(_) => self.take_content(input, now),
            Doing::Chunk(_) => self.take_chunk(input, now),
            Doing::Leaving(last) => self.leave(last),
        }
    }

    /// Something was finished: the next wait begins with it.
    pub(super) fn wait_anew(&mut self) {
        self.clock.anew = Anew::Yes;
    }

    /// Nothing more can be done with what has come: write, wait, or give up.
    pub(super) fn rest(&mut self, input: &mut Input, now: Instant) -> Turn {
        let wait = self.wait();
        if mem::replace(&mut self.clock.anew, Anew::No) == Anew::Yes {
            self.clock.until = now + wait;
        }
        // RFC 2920 §3.2: all that is pending goes when the input has run empty.
        if !self.out.bytes.is_empty() {
            return self.out.lend();
        }
        if now >= self.clock.session_until {
            return self.close_with(replies::TOO_LONG);
        }
        if now >= self.clock.until {
            return self.close_with(replies::TOO_SLOW);
        }
        input.rest();
        Turn::Wait
    }

    fn wait(&self) -> Duration {
        let limits = &self.service.limits;
        match self.doing {
            Doing::Content(_) | Doing::Chunk(_) => limits.body_wait,
            Doing::Commands
            | Doing::SkippingLine
            | Doing::Asking(_)
            | Doing::Asked(_)
            | Doing::Leaving(_)
            | Doing::Gone => limits.command_wait,
        }
    }

    fn leave(&mut self, last: Last) -> Turn {
        if !self.out.bytes.is_empty() {
            return self.out.lend();
        }
        self.doing = Doing::Gone;
        match last {
            Last::Close => Turn::Close,
            Last::StartTls => Turn::StartTls,
        }
    }

    /// In content, whatever comes begins the wait anew; a command has to be whole in time.
    pub(super) fn fed(&mut self) {
        match self.doing {
            Doing::Content(_) | Doing::Chunk(_) => self.clock.anew = Anew::Yes,
            Doing::Commands
            | Doing::SkippingLine
            | Doing::Asking(_)
            | Doing::Asked(_)
            | Doing::Leaving(_)
            | Doing::Gone => {}
        }
    }

    pub(super) fn wake_at(&self) -> Instant {
        self.clock.until.min(self.clock.session_until)
    }

    pub(super) fn shut_down(&mut self) {
        self.stopping = Stopping::Soon;
    }

    fn may_stop(&self) -> bool {
        self.stopping == Stopping::Soon && self.draft == Draft::None
    }

    pub(super) fn closed_by_client(&mut self) {
        self.drop_draft();
        self.out.bytes.clear();
        if !matches!(self.doing, Doing::Gone) {
            self.doing = Doing::Leaving(Last::Close);
        }
    }

    pub(super) fn greeting_name(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| &*hello.name)
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.hello.as_ref().map_or(Protocol::Smtp, |hello| hello.protocol)
    }

    pub(super) fn question(&self) -> Option<Question<'_>> {
        let Doing::Asked(asked) = &self.doing else {
            return None;
        };
        Some(match (asked, self.envelope()) {
            (Asked::Mail(mail), _) => Question::Mail(mail),
            (Asked::Rcpt(recipient), Some(envelope)) => Question::Rcpt(envelope, recipient),
            (Asked::Data | Asked::FirstChunk(_), Some(envelope)) => Question::Begin(envelope),
            (Asked::Rcpt(_) | Asked::Data | Asked::FirstChunk(_), None) => return None,
            (Asked::End, _) => Question::End,
            (Asked::Verify(look_up), _) => Question::Verify(&look_up.text),
            (Asked::Expand(look_up), _) => Question::Expand(&look_up.text),
            (Asked::StartTls, _) => Question::StartTls,
        })
    }

    fn envelope(&self) -> Option<&Envelope> {
        match &self.stage {
            Stage::Open(envelope) | Stage::Chunks(envelope, _) => Some(envelope),
            Stage::Idle | Stage::Spoiled => None,
        }
    }

    pub(super) fn take_envelope(&mut self) -> Envelope {
        let at_end = matches!(self.doing, Doing::Asked(Asked::End));
        match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Open(envelope) | Stage::Chunks(envelope, _) if at_end => envelope,
            _ => panic!("the envelope is taken once, at Question::End"),
        }
    }

    pub(super) fn ask(&mut self, asked: Asked) -> Turn {
        self.doing = Doing::Asking(asked);
        Turn::Again
    }

    fn put_question(&mut self) -> Turn {
        if let Doing::Asking(asked) = mem::replace(&mut self.doing, Doing::Commands) {
            self.doing = Doing::Asked(asked);
        }
        Turn::Ask
    }

    /// What was asked, once it is answered.
    pub(super) fn asked(&mut self) -> Option<Asked> {
        match mem::replace(&mut self.doing, Doing::Commands) {
            Doing::Asked(asked) => {
                self.clock.anew = Anew::Yes;
                Some(asked)
            }
            doing => {
                self.doing = doing;
                None
            }
        }
    }

    /// DATA was answered 354: content comes.
    pub(super) fn begin_content(&mut self) {
        self.doing = Doing::Content(Content {
            dots: Dots::LineStart,
            bytes: 0,
            fault: None,
        });
    }

    /// The caller has opened a draft.
    pub(super) fn open_draft(&mut self) {
        self.draft = Draft::Open;
    }

    /// The caller has kept the draft, or refused the message and dropped it.
    pub(super) fn settle_draft(&mut self) {
        self.draft = Draft::None;
    }

    /// The message will not be.
    pub(super) fn drop_draft(&mut self) {
        if self.draft == Draft::Open {
            self.draft = Draft::Doomed;
        }
    }

    /// Answers a command, with a status on each reply (RFC 2034 §4).
    pub(super) fn say(&mut self, reply: Reply, when: When) -> Turn {
        self.reply(with_status(reply), when, Repertoire::Ascii)
    }

    /// Answers EHLO or HELO: no status (RFC 2034 §4).
    pub(super) fn say_hello(&mut self, reply: &Reply) -> Turn {
        let reply = Reply::plain(reply.code(), text_of(reply));
        self.reply(reply, When::AtOnce, Repertoire::Ascii)
    }

    /// Answers a command that allowed UTF-8 (RFC 6531 §3.7.4).
    pub(super) fn say_in_utf8(&mut self, reply: Reply, when: When) -> Turn {
        self.reply(with_status(reply), when, Repertoire::Utf8)
    }

    /// Refuses without holding it against the client.
    pub(super) fn say_kindly(&mut self, reply: Reply, when: When) -> Turn {
        self.write(&reply, when, Repertoire::Ascii);
        Turn::Again
    }

    /// Too many refusals end the session, and so does a 421.
    fn reply(&mut self, reply: Reply, when: When, repertoire: Repertoire) -> Turn {
        if reply.is_transient() || reply.is_permanent() {
            self.errors += 1;
        }
        if reply.code() == 421 {
            self.close_with(reply)
        } else if self.errors > self.service.limits.errors_max {
            self.close_with(replies::TOO_MANY_ERRORS)
        } else {
            self.write(&reply, when, repertoire);
            Turn::Again
        }
    }

    pub(super) fn close_with(&mut self, reply: Reply) -> Turn {
        self.leave_with(reply, Last::Close)
    }

    /// The last reply of this session.
    pub(super) fn leave_with(&mut self, reply: Reply, last: Last) -> Turn {
        self.drop_draft();
        self.stage = Stage::Idle;
        self.write(&with_status(reply), When::AtOnce, Repertoire::Ascii);
        self.doing = Doing::Leaving(last);
        Turn::Again
    }

    fn write(&mut self, reply: &Reply, when: When, repertoire: Repertoire) {
        match repertoire {
            Repertoire::Ascii => reply.write_to(&mut self.out.bytes),
            Repertoire::Utf8 => reply.write_utf8_to(&mut self.out.bytes),
        }
        if when == When::AtOnce || self.out.bytes.len() >= GROUPED_BYTES_MAX {
            self.out.when = When::AtOnce;
        }
    }

    /// What the last step lent has been written.
    pub(super) fn written(&mut self) {
        if self.out.lent.take().is_some() {
            self.out = Out::default();
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.out.bytes.capacity()
    }

    pub(super) fn to_write(&self) -> &[u8] {
        &self.out.bytes
    }
}

impl Out {
    fn is_due(&self) -> bool {
        self.when == When::AtOnce
    }

    fn lend(&mut self) -> Turn {
        self.lent = Some(Lent);
        Turn::Write
    }
}

/// RFC 2034 §4: a status on each 2yz, 4yz and 5yz, its class the code's own.
fn with_status(reply: Reply) -> Reply {
    let class = match reply.code() / 100 {
        2 => Class::Success,
        4 => Class::Transient,
        5 => Class::Permanent,
        _ => return reply,
    };
    if reply.status().is_some_and(|status| status.class() == class) {
        return reply;
    }
    Reply::new(reply.code(), EnhancedStatus::new(class, 0, 0), text_of(&reply))
}

fn text_of(reply: &Reply) -> String {
    reply.lines().collect::<Vec<_>>().join("\n")
}

/// Replies to one group are written in pieces of about this size, so that a long group costs little memory.
const GROUPED_BYTES_MAX: usize = 4096;
