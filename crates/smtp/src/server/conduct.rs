//! What each command does at each stage, and how the caller's answers move the session on.

use std::mem;

use mail::{Body, Envelope, Host, LocalPart, Mailbox, Protocol, Recipient, Reply, TlsWish};

use super::conversation::{Conversation, Turn, When};
use super::state::{Asked, ChunkLeft, Doing, Fate, Hello, Kind, Last, LookUp, Manner, Repertoire, Stage};
use super::{StartTls, Verify, replies};
use crate::command::{self, BDAT_SYNTAX, Chunk, Command, ForwardPath, Mail, Rcpt, Verb};

impl Conversation {
    /// Carries out one command line; `behind` octets have come after it.
    pub(super) fn obey(&mut self, line: &[u8], behind: usize) -> Turn {
        let verb = Verb::of(line);
        let command = Command::parse(line);
        if let Some(refusal) = self.refusal_of(verb) {
            return match command {
                Ok(Command::Bdat(Chunk { bytes, .. }) | Command::OddBdat(bytes)) => {
                    self.pass_over(bytes, refusal)
                }
                Err(_) if verb == Verb::Bdat => self.close_with(refusal),
                _ => self.say_to(verb, refusal),
            };
        }
        match command {
            Ok(Command::Ehlo(name)) => self.ehlo(name),
            Ok(Command::Helo(name)) => self.helo(name),
            Ok(Command::Mail(mail)) => self.mail(mail),
            Ok(Command::Rcpt(rcpt)) => self.rcpt(rcpt),
            Ok(Command::Data) => self.data(),
            Ok(Command::Bdat(chunk)) => self.bdat(chunk),
            Ok(Command::OddBdat(bytes)) => self.odd_bdat(bytes),
            Ok(Command::Rset) => self.rset(),
            Ok(Command::Noop) => self.say(replies::NOTHING_DONE, When::AtOnce),
            Ok(Command::Quit) => self.close_with(replies::BYE),
            Ok(Command::Vrfy(look_up)) => self.look_up(look_up, Asked::Verify),
            Ok(Command::Expn(look_up)) => self.look_up(look_up, Asked::Expand),
            Ok(Command::Help) => self.say(replies::HELP, When::Grouped),
            Ok(Command::StartTls) => self.start_tls(behind),
            // What follows is content, nobody knows how much: read as commands it would be someone else's words.
            Err(reply) if verb == Verb::Bdat => self.close_with(reply),
            Err(reply) => self.say_to(verb, reply),
        }
    }

    /// What a session says to this verb that serves none, or none before TLS.
    fn refusal_of(&self, verb: Verb) -> Option<Reply> {
        let demanded = self.channel == Kind::Clear && self.service.starttls == StartTls::Demanded;
        match (&self.manner, verb) {
            (_, Verb::Quit) => None,
            (Manner::Refusing(reply), _) => Some(reply.clone()),
            // RFC 3207 §4.
            (Manner::Serving, Verb::Noop | Verb::Ehlo | Verb::StartTls) => None,
            (Manner::Serving, _) => demanded.then_some(replies::TLS_FIRST),
        }
    }

    fn say_to(&mut self, verb: Verb, reply: Reply) -> Turn {
        match verb {
            Verb::Ehlo | Verb::Helo => self.say_hello(&reply),
            Verb::Mail | Verb::Rcpt | Verb::Rset | Verb::Bdat | Verb::Help => self.say(reply, When::Grouped),
            // RFC 2920 §3.2: never held back.
            Verb::Data
            | Verb::Noop
            | Verb::Quit
            | Verb::Vrfy
            | Verb::Expn
            | Verb::StartTls
            | Verb::NotServed
            | Verb::Web
            | Verb::Unknown => self.say(reply, When::AtOnce),
        }
    }

    /// RFC 5321 §4.1.4: like RSET.
    fn ehlo(&mut self, name: &str) -> Turn {
        self.forget_transaction();
        self.hello = Some(Hello {
            name: name.into(),
            protocol: Protocol::Esmtp,
        });
        let text = self.extensions().join("\n");
        self.say_hello(&Reply::plain(250, text))
    }

    fn extensions(&self) -> Vec<String> {
        let limits = &self.service.limits;
        let mut lines = vec![
            format!("{} greets {}", self.service.host, Host::Literal(self.client)),
            format!("SIZE {}", limits.message_bytes_max),
            format!(
                "LIMITS MAILMAX={} RCPTMAX={}",
                limits.messages_max, limits.recipients_max
            ),
        ];
        lines.extend(EXTENSIONS.iter().map(ToString::to_string));
        if self.service.verify == Verify::Served {
            lines.push("EXPN".to_owned());
        }
        match (self.channel, self.service.starttls) {
            (Kind::Clear, StartTls::Offered | StartTls::Demanded) => lines.push("STARTTLS".to_owned()),
            // RFC 3207 §3: not without a certificate.
            (Kind::Clear, StartTls::Absent) => {}
            // RFC 8689 §2: inside TLS alone; RFC 3207 §4.2: STARTTLS not there.
            (Kind::Tls, _) => lines.push("REQUIRETLS".to_owned()),
        }
        lines
    }

    /// RFC 5321 §3.2: one line.
    fn helo(&mut self, name: &str) -> Turn {
        self.forget_transaction();
        self.hello = Some(Hello {
            name: name.into(),
            protocol: Protocol::Smtp,
        });
        self.say_hello(&Reply::plain(250, self.service.host.to_string()))
    }

    /// RFC 5321 §3.3: a new transaction forgets the one that was open.
    fn mail(&mut self, mail: Mail) -> Turn {
        if self.hello.is_none() {
            return self.say(replies::HELLO_FIRST, When::Grouped);
        }
        if mail.requiretls && self.channel == Kind::Clear {
            return self.say(replies::REQUIRETLS_IN_CLEAR, When::Grouped);
        }
        self.messages += 1;
        if self.messages > self.service.limits.messages_max {
            return self.close_with(replies::TOO_MANY_MESSAGES);
        }
        // RFC 1870 §6.1.
        if mail
            .size
            .is_some_and(|bytes| self.service.limits.message_is_too_large(bytes))
        {
            return self.say(replies::TOO_LARGE, When::Grouped);
        }
        self.forget_transaction();
        self.ask(Asked::Mail(Box::new(mail)))
    }

    fn rcpt(&mut self, rcpt: Rcpt) -> Turn {
        let envelope = match &self.stage {
            Stage::Idle => return self.say(self.start_first(), When::Grouped),
            Stage::Chunks(..) => return self.say(replies::CHUNKS_BEGUN, When::Grouped),
            Stage::Spoiled => return self.say(replies::CHUNK_FAILED, When::Grouped),
            Stage::Open(envelope) => envelope,
        };
        let mailbox = match rcpt.to {
            ForwardPath::Mailbox(mailbox) => mailbox,
            ForwardPath::Postmaster => self.postmaster(),
        };
        // RFC 6531 §3.5.
        if !envelope.smtputf8 && !mailbox.as_str().is_ascii() {
            return self.say(replies::RECIPIENT_NEEDS_UTF8, When::Grouped);
        }
        if envelope.recipients.len() >= self.service.limits.recipients_max {
            return self.say_kindly(replies::TOO_MANY_RECIPIENTS, When::Grouped);
        }
        self.ask(Asked::Rcpt(Box::new(Recipient {
            mailbox,
            notify: rcpt.notify,
            original: rcpt.original,
        })))
    }

    fn postmaster(&self) -> Mailbox {
        let local = LocalPart::parse("postmaster").expect("this word is an atom");
        Mailbox::new(local, Host::Name(self.service.host.clone()))
    }

    fn data(&mut self) -> Turn {
        let refusal = match &self.stage {
            Stage::Idle => self.start_first(),
            Stage::Chunks(..) => replies::CHUNKS_BEGUN,
            Stage::Spoiled => replies::CHUNK_FAILED,
            Stage::Open(envelope) if envelope.recipients.is_empty() => replies::NO_RECIPIENT,
            // RFC 3030 §3.
            Stage::Open(envelope) if envelope.body == Body::BinaryMime => replies::BINARY_BY_CHUNKS,
            Stage::Open(_) => return self.ask(Asked::Data),
        };
        self.say(refusal, When::AtOnce)
    }

    /// RFC 3030 §2: whatever the reply will be, the chunk's octets come first.
    fn bdat(&mut self, chunk: Chunk) -> Turn {
        let limits = &self.service.limits;
        match &mut self.stage {
            Stage::Idle => self.pass_over(chunk.bytes, self.start_first()),
            Stage::Spoiled => self.pass_over(chunk.bytes, replies::CHUNK_FAILED),
            Stage::Open(envelope) if envelope.recipients.is_empty() => {
                self.pass_over(chunk.bytes, replies::NO_RECIPIENT)
            }
            Stage::Open(_) if limits.message_is_too_large(chunk.bytes) => {
                self.spoil(chunk.bytes, replies::TOO_LARGE)
            }
            Stage::Open(_) => self.ask(Asked::FirstChunk(chunk)),
            Stage::Chunks(_, bytes) => {
                *bytes = bytes.saturating_add(chunk.bytes);
                if limits.message_is_too_large(*bytes) {
                    self.spoil(chunk.bytes, replies::TOO_LARGE)
                } else {
                    self.keep(chunk)
                }
            }
        }
    }

    /// Its octets might be any part of the message: without them it is not whole.
    fn odd_bdat(&mut self, bytes: u64) -> Turn {
        match &self.stage {
            Stage::Idle | Stage::Spoiled => self.pass_over(bytes, BDAT_SYNTAX),
            Stage::Open(_) | Stage::Chunks(..) => self.spoil(bytes, BDAT_SYNTAX),
        }
    }

    fn keep(&mut self, chunk: Chunk) -> Turn {
        self.doing = Doing::Chunk(ChunkLeft {
            bytes: chunk.bytes,
            fate: if chunk.last { Fate::KeptAsLast } else { Fate::Kept },
        });
        Turn::Again
    }

    /// A chunk that fails takes the message with it.
    fn spoil(&mut self, bytes: u64, reply: Reply) -> Turn {
        self.drop_draft();
        self.stage = Stage::Spoiled;
        self.pass_over(bytes, reply)
    }

    fn pass_over(&mut self, bytes: u64, reply: Reply) -> Turn {
        self.doing = Doing::Chunk(ChunkLeft {
            bytes,
            fate: Fate::Refused(reply),
        });
        Turn::Again
    }

    fn rset(&mut self) -> Turn {
        self.forget_transaction();
        self.say(replies::RESET, When::Grouped)
    }

    fn forget_transaction(&mut self) {
        self.drop_draft();
        self.stage = Stage::Idle;
    }

    fn start_first(&self) -> Reply {
        match self.hello {
            None => replies::HELLO_FIRST,
            Some(_) => replies::MAIL_FIRST,
        }
    }

    /// RFC 5321 §7.3.
    fn look_up(&mut self, look_up: command::LookUp<'_>, asked: fn(LookUp) -> Asked) -> Turn {
        match self.service.verify {
            Verify::Hidden => self.say(replies::NOT_VERIFIED, When::AtOnce),
            Verify::Served => self.ask(asked(LookUp {
                text: look_up.text.into(),
                repertoire: if look_up.smtputf8 {
                    Repertoire::Utf8
                } else {
                    Repertoire::Ascii
                },
            })),
        }
    }

    fn start_tls(&mut self, behind: usize) -> Turn {
        match (self.channel, self.service.starttls) {
            (Kind::Tls, _) => self.say(replies::TLS_ALREADY, When::AtOnce),
            (Kind::Clear, StartTls::Absent) => self.say(replies::TLS_ABSENT, When::AtOnce),
            // RFC 3207 §4.2: what came behind was sent in the clear, by whomever. 220 would make a lie of it.
            (Kind::Clear, _) if behind > 0 => self.close_with(replies::INJECTED),
            (Kind::Clear, StartTls::Offered | StartTls::Demanded) => self.ask(Asked::StartTls),
        }
    }

    /// The caller has decided.
    pub(super) fn answer(&mut self, reply: Reply) {
        let Some(asked) = self.asked() else { return };
        match asked {
            Asked::Mail(mail) => self.answer_mail(*mail, reply),
            Asked::Rcpt(recipient) => self.answer_rcpt(*recipient, reply),
            Asked::Data => self.answer_data(reply),
            Asked::FirstChunk(chunk) => self.answer_first_chunk(chunk, reply),
            Asked::End => {
                self.settle_draft();
                self.stage = Stage::Idle;
                self.say(reply, When::AtOnce)
            }
            Asked::Verify(look_up) | Asked::Expand(look_up) => self.answer_look_up(&look_up, reply),
            Asked::StartTls if reply.is_positive() => self.leave_with(reply, Last::StartTls),
            Asked::StartTls => self.say(reply, When::AtOnce),
        };
    }

    fn answer_mail(&mut self, mail: Mail, reply: Reply) -> Turn {
        if reply.is_positive() {
            self.stage = Stage::Open(Envelope {
                sender: mail.sender,
                body: mail.body,
                smtputf8: mail.smtputf8,
                ret: mail.ret,
                envelope_id: mail.envelope_id,
                wish: match mail.requiretls {
                    true => TlsWish::Required,
                    false => TlsWish::Usual,
                },
                recipients: Vec::new(),
            });
        }
        self.say(reply, When::Grouped)
    }

    fn answer_rcpt(&mut self, recipient: Recipient, reply: Reply) -> Turn {
        let mut repertoire = Repertoire::Ascii;
        if let Stage::Open(envelope) = &mut self.stage {
            if reply.is_positive() {
                envelope.recipients.push(recipient);
            }
            if envelope.smtputf8 {
                repertoire = Repertoire::Utf8;
            }
        }
        let tells_address = matches!(reply.code(), 251 | 551) && !reply.lines().all(str::is_ascii);
        match (tells_address, repertoire, reply.code()) {
            (false, _, _) => self.say(reply, When::Grouped),
            // RFC 6531 §3.7.4.1.
            (true, Repertoire::Utf8, _) => self.say_in_utf8(reply, When::Grouped),
            (true, Repertoire::Ascii, 251) => self.say(replies::FORWARDED, When::Grouped),
            (true, Repertoire::Ascii, _) => self.say(replies::NOT_TOLD_IN_ASCII, When::Grouped),
        }
    }

    fn answer_data(&mut self, reply: Reply) -> Turn {
        if reply.is_positive() || reply.is_intermediate() {
            self.open_draft();
            self.begin_content();
            self.say(Reply::plain(354, replies::GO_AHEAD), When::AtOnce)
        } else {
            self.say(reply, When::AtOnce)
        }
    }

    fn answer_first_chunk(&mut self, chunk: Chunk, reply: Reply) -> Turn {
        match mem::replace(&mut self.stage, Stage::Spoiled) {
            Stage::Open(envelope) if reply.is_positive() || reply.is_intermediate() => {
                self.stage = Stage::Chunks(envelope, chunk.bytes);
                self.open_draft();
                self.keep(chunk)
            }
            _ => self.pass_over(chunk.bytes, reply),
        }
    }

    /// RFC 6531 §3.7.4.2.
    fn answer_look_up(&mut self, look_up: &LookUp, reply: Reply) -> Turn {
        let ascii = reply.lines().all(str::is_ascii);
        match (look_up.repertoire, ascii) {
            (Repertoire::Utf8, _) => self.say_in_utf8(reply, When::AtOnce),
            (Repertoire::Ascii, true) => self.say(reply, When::AtOnce),
            (Repertoire::Ascii, false) if reply.is_positive() => {
                self.say(replies::NOT_VERIFIED_IN_ASCII, When::AtOnce)
            }
            (Repertoire::Ascii, false) => self.say(replies::NOT_TOLD_IN_ASCII, When::AtOnce),
        }
    }
}

/// Keywords without parameters that are always offered.
const EXTENSIONS: &[&str] = &[
    "8BITMIME",
    "BINARYMIME",
    "CHUNKING",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "HELP",
    "PIPELINING",
    "SMTPUTF8",
];
