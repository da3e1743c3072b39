//! The dialogue from the greeting to the last QUIT, the same for both kinds of channel; `client.rs` says which part
//! of it each type may reach.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use mail::{Domain, Host, Reply};

use super::fit::{Fit, Secrecy};
use super::outcome::{Awaited, End, Outcome, Transaction, Trouble, Unsendable};
use super::transaction::{Before, Open, Turn};
use super::{Kind, NotOffered, Pace};
use crate::hello::Hello;
use crate::limits::Limits;
use crate::wire::ReplyReader;

pub(super) struct Dialogue {
    me: Domain,
    limits: Limits,
    secrecy: Secrecy,
    replies: ReplyReader,
    out: Vec<u8>,
    writing: Writing,
    peer: Peer,
    told: VecDeque<Told>,
    stage: Stage,
    hello: Hello,
    deadline: Instant,
    mails_said: u32,
    /// Domains of recipients tried, kept only where the server limits them (RFC 9422 §4.3).
    domains_tried: BTreeSet<Host>,
    before: Before,
}

/// What the caller is told; `Write` stands for the octets in `out`.
pub(super) enum Told {
    Write,
    Hello,
    StartTls,
    StartTlsRefused(Reply),
    Content,
    Done(Outcome),
    Broken(Trouble),
    Close,
}

enum Stage {
    Greeting,
    Ehlo,
    Helo,
    /// Nothing is outstanding.
    Idle,
    StartTls,
    /// 220 was read: nothing but TLS may follow.
    Handshake,
    Transaction(Box<Open>),
    Quit,
    /// Close as soon as what is left to write is written.
    Closing,
    Closed,
}

/// Whether the octets of `out` have been handed to the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    NotYet,
    Handed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    There,
    Gone,
}

impl Dialogue {
    /// A fresh connection: the server speaks first (RFC 5321 §4.3.1).
    pub(super) fn greeted(me: Domain, limits: Limits, now: Instant) -> Dialogue {
        Dialogue {
            me,
            secrecy: Secrecy::Clear,
            replies: ReplyReader::new(limits.reply_bytes_max),
            out: Vec::new(),
            writing: Writing::NotYet,
            peer: Peer::There,
            told: VecDeque::new(),
            stage: Stage::Greeting,
            hello: Hello::default(),
            deadline: now + limits.client_waits.greeting,
            mails_said: 0,
            domains_tried: BTreeSet::new(),
            before: Before::Nothing,
            limits,
        }
    }

    /// It all happens inside TLS.
    pub(super) fn inside_tls(self) -> Dialogue {
        Dialogue {
            secrecy: Secrecy::Tls,
            ..self
        }
    }

    /// Behind a TLS handshake: no greeting, EHLO first, nothing known (RFC 3207 §4.2).
    pub(super) fn afresh(me: Domain, limits: Limits, now: Instant) -> Dialogue {
        let mut dialogue = Dialogue::greeted(me, limits, now).inside_tls();
        dialogue.say_ehlo();
        dialogue.deadline = now + dialogue.wait();
        dialogue
    }

    /// Behind a TLS handshake that is not good enough: QUIT, and nothing before it.
    pub(super) fn parting(me: Domain, limits: Limits, now: Instant) -> Dialogue {
        let mut dialogue = Dialogue::greeted(me, limits, now);
        dialogue.stage = Stage::Idle;
        dialogue.quit(now);
        dialogue
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        match self.stage {
            Stage::Closing | Stage::Closed => {}
            _ => self.replies.feed(bytes),
        }
    }

    pub(super) fn closed_by_peer(&mut self) {
        self.peer = Peer::Gone;
    }

    pub(super) fn wake_at(&self) -> Instant {
        self.deadline
    }

    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    pub(super) fn unread(&self) -> usize {
        self.replies.unread()
    }

    pub(super) fn unwritten(&self) -> usize {
        self.out.len()
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.out
    }

    pub(super) fn into_parts(self) -> (Domain, Limits) {
        (self.me, self.limits)
    }

    /// The next thing to tell.
    pub(super) fn step(&mut self, now: Instant) -> Option<Told> {
        if self.writing == Writing::Handed {
            self.writing = Writing::NotYet;
            self.out.clear();
            self.deadline = now + self.wait(); // the wait for a reply begins when its command is written
        }
        loop {
            // First what is to be written: a caller that closes at `Broken` has said QUIT then.
            if !self.out.is_empty() && self.peer == Peer::There {
                self.writing = Writing::Handed;
                self.deadline = now + self.wait();
                return Some(Told::Write);
            }
            if let Some(told) = self.told.pop_front() {
                return Some(told);
            }
            match self.stage {
                Stage::Closed | Stage::Handshake => return None,
                Stage::Closing => {
                    self.out.clear();
                    self.stage = Stage::Closed;
                    return Some(Told::Close);
                }
                _ => {}
            }
            match self.replies.next_reply() {
                Ok(Some(reply)) => {
                    self.on_reply(reply);
                    self.deadline = now + self.wait();
                }
                Err(bad) => self.fail(Trouble::BadReply(bad)),
                Ok(None) if self.peer == Peer::Gone => self.fail(Trouble::Closed(self.awaited())),
                Ok(None) if now >= self.deadline => self.expire(),
                Ok(None) => return None,
            }
        }
    }

    fn on_reply(&mut self, reply: Reply) {
        let kind = Kind::of(&reply);
        match (&mut self.stage, kind) {
            (Stage::Greeting, Kind::Positive) => self.say_ehlo(),
            (Stage::Ehlo, Kind::Positive) => self.greeted_by(Hello::extended(&reply)),
            (Stage::Ehlo, Kind::Permanent) if lacks_ehlo(&reply) => {
                self.say(format_args!("HELO {}\r\n", self.me.clone()));
                self.stage = Stage::Helo;
            }
            (Stage::Helo, Kind::Positive) => self.greeted_by(Hello::plain(&reply)),
            (Stage::StartTls, _) if reply.code() == 220 => {
                self.stage = Stage::Handshake;
                self.told.push_back(Told::StartTls);
            }
            (Stage::StartTls, Kind::Transient | Kind::Permanent) if reply.code() != 421 => {
                self.stage = Stage::Idle;
                self.told.push_back(Told::StartTlsRefused(reply));
            }
            (
                Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::StartTls,
                Kind::Transient | Kind::Permanent,
            ) => {
                self.refused(reply);
            }
            (Stage::Idle, _) if reply.code() == 421 => self.refused(reply),
            (Stage::Transaction(open), _) => {
                let turn = open.on_reply(reply, &mut self.out);
                self.turn(turn);
            }
            (Stage::Quit, _) => self.stage = Stage::Closing,
            (Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::StartTls | Stage::Idle, _) => {
                self.fail(Trouble::Unexpected(self.awaited(), reply));
            }
            (Stage::Handshake | Stage::Closing | Stage::Closed, _) => {} // no reply is read there
        }
    }

    fn say(&mut self, command: std::fmt::Arguments<'_>) {
        self.out.extend_from_slice(command.to_string().as_bytes());
    }

    fn say_ehlo(&mut self) {
        self.say(format_args!("EHLO {}\r\n", self.me.clone()));
        self.stage = Stage::Ehlo;
    }

    fn greeted_by(&mut self, hello: Hello) {
        self.hello = hello;
        self.stage = Stage::Idle;
        self.told.push_back(Told::Hello);
    }

    /// The server will not talk to us: say so, and part politely (RFC 5321 §3.1).
    fn refused(&mut self, reply: Reply) {
        let leaving = reply.code() == 421;
        self.told.push_back(Told::Broken(Trouble::Refused(reply)));
        self.say(format_args!("QUIT\r\n"));
        self.stage = if leaving { Stage::Closing } else { Stage::Quit };
    }

    pub(super) fn start_tls(&mut self, now: Instant) -> Result<(), NotOffered> {
        match self.stage {
            Stage::Idle if self.hello.offers_starttls() => {
                self.say(format_args!("STARTTLS\r\n"));
                self.stage = Stage::StartTls;
                self.deadline = now + self.wait();
                Ok(())
            }
            _ => Err(NotOffered),
        }
    }

    /// QUIT where nothing is outstanding; elsewhere it would come before a reply (RFC 5321 §4.3.1), or be content, and
    /// closing is all that is left.
    pub(super) fn quit(&mut self, now: Instant) {
        let silent = match &self.stage {
            Stage::Quit | Stage::Closing | Stage::Closed => return,
            Stage::Idle => true,
            Stage::Transaction(open) => open.is_silent(),
            Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::StartTls | Stage::Handshake => false,
        };
        self.stage = if silent { Stage::Quit } else { Stage::Closing };
        if silent {
            self.say(format_args!("QUIT\r\n"));
        }
        self.deadline = now + self.wait();
    }

    pub(super) fn can_send_more(&self) -> bool {
        let mail_max = self.hello.limits().mail_max.unwrap_or(u32::MAX);
        matches!(self.stage, Stage::Idle) && self.peer == Peer::There && self.mails_said < mail_max
    }

    pub(super) fn send(&mut self, transaction: Transaction, now: Instant) -> Result<(), Unsendable> {
        if !self.can_send_more() {
            return Err(Unsendable::NotReady);
        }
        let fit = Fit::of(&transaction, &self.hello, self.secrecy)?;
        let to_try = self.recipients_to_try(&transaction);
        if to_try.is_empty() {
            return Err(Unsendable::NotReady);
        }
        self.mails_said += 1;
        let pace = if self.hello.pipelining() {
            Pace::Groups
        } else {
            Pace::OneByOne
        };
        let mut open = Open::new(transaction, fit, pace, self.before, &to_try);
        let turn = open.go_on(&mut self.out);
        self.stage = Stage::Transaction(Box::new(open));
        self.turn(turn);
        self.deadline = now + self.wait();
        Ok(())
    }

    /// The recipients that the server's limits leave room for (RFC 9422 §4.2, §4.3).
    fn recipients_to_try(&mut self, transaction: &Transaction) -> Vec<usize> {
        let limits = self.hello.limits();
        let rcpt_max = limits.rcpt_max.map_or(usize::MAX, |max| max as usize);
        let domain_max = limits.rcpt_domain_max.map_or(usize::MAX, |max| max as usize);
        let mut to_try = Vec::new();
        for (place, recipient) in transaction.recipients.iter().enumerate() {
            if to_try.len() == rcpt_max {
                break;
            }
            if limits.rcpt_domain_max.is_some() {
                let host = recipient.mailbox.host();
                if !self.domains_tried.contains(host) {
                    if self.domains_tried.len() == domain_max {
                        continue;
                    }
                    self.domains_tried.insert(host.clone());
                }
            }
            to_try.push(place);
        }
        to_try
    }

    pub(super) fn content(&mut self, bytes: &[u8]) {
        if let Stage::Transaction(open) = &mut self.stage {
            let turn = open.content(bytes, &mut self.out);
            self.turn(turn);
        }
    }

    pub(super) fn content_end(&mut self) {
        if let Stage::Transaction(open) = &mut self.stage {
            let turn = open.content_end(&mut self.out);
            self.turn(turn);
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Wait => {}
            Turn::Content => self.told.push_back(Told::Content),
            Turn::Done(end) => {
                if let Stage::Transaction(open) = &self.stage {
                    self.before = open.left_behind(&end);
                }
                self.finish(end, Stage::Idle);
            }
            Turn::Leave(end) => {
                let takes_commands = self.takes_commands();
                self.finish(end, Stage::Closing);
                self.out.clear();
                if takes_commands {
                    self.say(format_args!("QUIT\r\n"));
                }
            }
            Turn::Broken(trouble) => self.fail(trouble),
        }
    }

    fn finish(&mut self, end: End, next: Stage) {
        if let Stage::Transaction(open) = std::mem::replace(&mut self.stage, next) {
            self.told.push_back(Told::Done(open.outcome(end)));
        }
    }

    /// The session is of no more use. QUIT is said where it would be heard as such.
    fn fail(&mut self, trouble: Trouble) {
        let heard = match &trouble {
            Trouble::BadReply(_) | Trouble::Unexpected(..) | Trouble::Refused(_) => self.takes_commands(),
            Trouble::Closed(_) | Trouble::TimedOut(_) | Trouble::ContentDiffers => false,
        };
        let unsent = self.out.len();
        match std::mem::replace(&mut self.stage, Stage::Closing) {
            Stage::Transaction(open) => self.told.push_back(Told::Done(open.lost(trouble, unsent))),
            Stage::Quit | Stage::Closing | Stage::Closed => {}
            Stage::Greeting
            | Stage::Ehlo
            | Stage::Helo
            | Stage::Idle
            | Stage::StartTls
            | Stage::Handshake => {
                self.told.push_back(Told::Broken(trouble));
            }
        }
        self.out.clear();
        if heard {
            self.say(format_args!("QUIT\r\n"));
        }
    }

    fn takes_commands(&self) -> bool {
        match &self.stage {
            Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::Idle => true,
            Stage::Transaction(open) => open.takes_commands(),
            // Behind a strange reply to STARTTLS the server may already wait for a handshake.
            Stage::StartTls | Stage::Handshake | Stage::Quit | Stage::Closing | Stage::Closed => false,
        }
    }

    fn expire(&mut self) {
        match self.stage {
            Stage::Idle => {
                self.say(format_args!("QUIT\r\n"));
                self.stage = Stage::Quit;
            }
            _ => self.fail(Trouble::TimedOut(self.awaited())),
        }
    }

    fn awaited(&self) -> Awaited {
        match &self.stage {
            Stage::Greeting => Awaited::Greeting,
            Stage::Ehlo => Awaited::Ehlo,
            Stage::Helo => Awaited::Helo,
            Stage::Idle => Awaited::Idle,
            Stage::StartTls => Awaited::StartTls,
            Stage::Handshake => Awaited::Handshake,
            Stage::Transaction(open) => open.awaited(),
            Stage::Quit | Stage::Closing | Stage::Closed => Awaited::Quit,
        }
    }

    /// RFC 5321 §4.5.3.2: a wait for each command and each block of content, none for the transaction.
    fn wait(&self) -> Duration {
        let waits = &self.limits.client_waits;
        match self.awaited() {
            Awaited::Greeting => waits.greeting,
            Awaited::Ehlo | Awaited::Helo | Awaited::StartTls | Awaited::Handshake => waits.command,
            Awaited::Idle | Awaited::Rset => waits.command,
            Awaited::Quit => waits.quit,
            Awaited::Mail => waits.mail,
            Awaited::Rcpt => waits.rcpt,
            Awaited::Data => waits.data_start,
            Awaited::Content => waits.data_block,
            Awaited::Final => waits.data_end,
        }
    }
}

/// RFC 5321 §4.1.1.1, §4.1.4, RFC 1869 §4.4, §4.5: replies to EHLO after which HELO is worth saying.
fn lacks_ehlo(reply: &Reply) -> bool {
    matches!(reply.code(), 500 | 501 | 502 | 504 | 550)
}
