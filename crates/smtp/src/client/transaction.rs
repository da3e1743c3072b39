//! One transaction: MAIL, RCPT and the content, said in groups where the host offers PIPELINING (RFC 2920), one by
//! one where it does not. Replies are matched by counting (§3.1).

use std::collections::VecDeque;

use mail::Reply;

use super::content::{Chunk, Chunks, Lines};
use super::fit::{Carriage, Fit};
use super::outcome::{Awaited, ContentSent, End, Outcome, RecipientOutcome, Transaction, Trouble};
use super::{Kind, Pace};

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Open {
    transaction: Transaction,
    fit: Fit,
    pace: Pace,
    recipients: Vec<RecipientOutcome>,
    accepted: usize,
    to_say: VecDeque<Said>,
    unanswered: VecDeque<Said>,
    phase: Phase,
    /// The reply that decided against the message while others were still to come.
    refused: Option<Refused>,
}

/// A command whose reply is to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Rset,
    Mail,
    /// The recipient's place.
    Rcpt(usize),
    Data,
    Chunk(Chunk),
    Dot,
    /// The end of an empty message that is for nobody (RFC 2920 §3.1).
    LoneDot,
}

#[derive(Debug)]
enum Phase {
    Envelope,
    Lines(Lines),
    Chunks(Chunks),
    /// All content is said.
    Ending,
}

#[derive(Debug)]
enum Refused {
    AtMail(Reply),
    AtChunk(Reply),
}

/// What follows from a reply or from content given.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing, until more comes.
    Wait,
    /// Content is wanted.
    Content,
    /// The transaction is over.
    Done(End),
    /// The transaction is over, and the server is leaving or out of step.
    Leave(End),
    /// The session is of no more use.
    Broken(Trouble),
}

/// Whether a transaction of before must be cleared away at the server first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Before {
    Nothing,
    Leftover,
}

impl Open {
    /// Prepares a transaction with those of its recipients that may be tried.
    pub(super) fn new(
        transaction: Transaction,
        fit: Fit,
        pace: Pace,
        before: Before,
        to_try: &[usize],
    ) -> Open {
        let mut to_say = VecDeque::with_capacity(to_try.len() + 3);
        if before == Before::Leftover {
            to_say.push_back(Said::Rset);
        }
        to_say.push_back(Said::Mail);
        to_say.extend(to_try.iter().map(|&place| Said::Rcpt(place)));
        if fit.carriage == Carriage::Data {
            to_say.push_back(Said::Data);
        }
        Open {
            recipients: vec![RecipientOutcome::NotTried; transaction.recipients.len()],
            transaction,
            fit,
            pace,
            accepted: 0,
            to_say,
            unanswered: VecDeque::new(),
            phase: Phase::Envelope,
            refused: None,
        }
    }

    /// Says the next group once all of the last one is answered, or finds that nothing is left to say.
    pub(super) fn go_on(&mut self, out: &mut Vec<u8>) -> Turn {
        if !self.unanswered.is_empty() {
            return Turn::Wait;
        }
        if let Some(Refused::AtMail(reply)) = self.refused.take() {
            return Turn::Done(End::RefusedAtMail(reply));
        }
        match self.to_say.front() {
            Some(Said::Data) | None if self.accepted == 0 => Turn::Done(End::NoRecipient),
            Some(_) => {
                self.say_group(out);
                Turn::Wait
            }
            None => {
                let chunk_bytes_max = match self.pace {
                    Pace::Groups => CHUNK_BYTES_MAX,
                    Pace::OneByOne => u64::MAX,
                };
                let bytes = self.transaction.content.bytes;
                self.phase = Phase::Chunks(Chunks::new(self.fit.body, bytes, chunk_bytes_max));
                Turn::Content
            }
        }
    }

    /// A group is never larger than what a send buffer takes at once: a server that stops reading until its replies
    /// are read cannot block us then (RFC 2920 §3.1).
    fn say_group(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        while let Some(said) = self.to_say.pop_front() {
            match said {
                Said::Rset => out.extend_from_slice(b"RSET\r\n"),
                Said::Mail => self.fit.write_mail(&self.transaction, out),
                Said::Rcpt(place) => self.fit.write_rcpt(&self.transaction.recipients[place], out),
                Said::Data => out.extend_from_slice(b"DATA\r\n"),
                Said::Chunk(_) | Said::Dot | Said::LoneDot => continue, // said with the content, never planned
            }
            self.unanswered.push_back(said);
            if self.pace == Pace::OneByOne || out.len() - start >= GROUP_BYTES_ENOUGH {
                break;
            }
        }
    }

    /// Takes the reply to the oldest command unanswered.
    pub(super) fn on_reply(&mut self, reply: Reply, out: &mut Vec<u8>) -> Turn {
        let awaited = self.awaited();
        let said = self.unanswered.pop_front();
        let kind = Kind::of(&reply);
        if reply.code() == 421 {
            return self.leave(said, reply);
        }
        match (said, kind) {
            (Some(Said::LoneDot), _) => Turn::Done(self.end_for_nobody()),
            (_, Kind::Foreign) => Turn::Broken(Trouble::Unexpected(awaited, reply)),
            (Some(Said::Rset), Kind::Positive) => self.go_on(out),
            (Some(Said::Mail), Kind::Positive) => self.go_on(out),
            (Some(Said::Mail), Kind::Transient | Kind::Permanent) => {
                self.refused = Some(Refused::AtMail(reply));
                self.go_on(out)
            }
            (Some(Said::Rcpt(place)), Kind::Positive | Kind::Transient | Kind::Permanent) => {
                self.note_recipient(place, reply);
                self.go_on(out)
            }
            (Some(Said::Data), Kind::Intermediate) => self.on_go_ahead(out),
            (Some(Said::Data), Kind::Transient | Kind::Permanent) => {
                Turn::Done(self.end_before_content(reply))
            }
            (Some(Said::Dot), Kind::Positive | Kind::Transient | Kind::Permanent) => {
                Turn::Done(End::Answered(reply))
            }
            (Some(Said::Chunk(chunk)), Kind::Positive | Kind::Transient | Kind::Permanent) => {
                self.on_chunk_reply(chunk, reply)
            }
            // The server gives up before the content is complete; our next octets would be commands to it, or not.
            (None, Kind::Transient | Kind::Permanent) => Turn::Leave(End::RefusedAtData(reply)),
            (Some(_) | None, _) => Turn::Broken(Trouble::Unexpected(awaited, reply)),
        }
    }

    fn note_recipient(&mut self, place: usize, reply: Reply) {
        if self.refused.is_some() {
            return; // MAIL was refused: 503 and the like say nothing about the recipient
        }
        self.recipients[place] = if reply.is_positive() {
            self.accepted += 1;
            RecipientOutcome::Accepted
        } else if self.accepted > 0 && says_too_many(&reply) {
            RecipientOutcome::TooMany(reply)
        } else {
            RecipientOutcome::Refused(reply)
        };
    }

    /// 354.
    fn on_go_ahead(&mut self, out: &mut Vec<u8>) -> Turn {
        if self.accepted == 0 || self.refused.is_some() {
            // RFC 2920 §3.1: the server waits for a message although nobody is there to get one.
            out.extend_from_slice(b".\r\n");
            self.unanswered.push_back(Said::LoneDot);
            self.phase = Phase::Ending;
            return Turn::Wait;
        }
        self.phase = Phase::Lines(Lines::new(self.fit.body, self.transaction.content.bytes));
        Turn::Content
    }

    fn on_chunk_reply(&mut self, chunk: Chunk, reply: Reply) -> Turn {
        let early = self.unanswered.is_empty() && self.owed() > 0;
        if !reply.is_positive() {
            self.refused.get_or_insert(Refused::AtChunk(reply));
            return self.drained();
        }
        match chunk {
            _ if self.refused.is_some() => self.drained(),
            _ if early => Turn::Broken(Trouble::Unexpected(Awaited::Content, reply)),
            Chunk::Inner => Turn::Wait,
            Chunk::Last => Turn::Done(End::Answered(reply)),
        }
    }

    /// Takes a piece of the content. Once the message is refused, only the chunk already announced is filled up.
    pub(super) fn content(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Turn {
        match &mut self.phase {
            Phase::Envelope | Phase::Ending => Turn::Wait,
            Phase::Lines(lines) => lines.push(bytes, out).map_or_else(Turn::Broken, |()| Turn::Wait),
            Phase::Chunks(chunks) => {
                while !bytes.is_empty() && (chunks.owed() > 0 || self.refused.is_none()) {
                    match chunks.push(bytes, out) {
                        Err(trouble) => return Turn::Broken(trouble),
                        Ok((taken, begun)) => {
                            self.unanswered.extend(begun.map(Said::Chunk));
                            bytes = &bytes[taken..];
                        }
                    }
                }
                self.drained()
            }
        }
    }

    /// The content is complete.
    pub(super) fn content_end(&mut self, out: &mut Vec<u8>) -> Turn {
        let ended = match &mut self.phase {
            Phase::Envelope | Phase::Ending => return Turn::Wait,
            Phase::Chunks(_) if self.refused.is_some() => return self.drained(),
            Phase::Lines(lines) => lines.end(out).map(|()| Some(Said::Dot)),
            Phase::Chunks(chunks) => chunks.end(out).map(|begun| begun.map(Said::Chunk)),
        };
        match ended {
            Err(trouble) => Turn::Broken(trouble),
            Ok(said) => {
                self.unanswered.extend(said);
                self.phase = Phase::Ending;
                Turn::Wait
            }
        }
    }

    /// After a refused chunk (RFC 3030 §2): over when no octet is owed and no reply outstanding.
    fn drained(&mut self) -> Turn {
        if self.owed() > 0 || !self.unanswered.is_empty() {
            return Turn::Wait;
        }
        match self.refused.take() {
            Some(Refused::AtChunk(reply)) => Turn::Done(End::Answered(reply)),
            Some(Refused::AtMail(_)) | None => Turn::Wait,
        }
    }

    fn owed(&self) -> u64 {
        match &self.phase {
            Phase::Chunks(chunks) => chunks.owed(),
            Phase::Envelope | Phase::Lines(_) | Phase::Ending => 0,
        }
    }

    /// 421: the server closes, whatever was asked (RFC 5321 §3.8).
    fn leave(&mut self, said: Option<Said>, reply: Reply) -> Turn {
        Turn::Leave(match said {
            Some(Said::Rset | Said::Mail) => End::RefusedAtMail(reply),
            Some(Said::Rcpt(place)) => {
                self.note_recipient(place, reply.clone());
                self.end_before_content(reply)
            }
            Some(Said::Data) => self.end_before_content(reply),
            Some(Said::LoneDot) => self.end_for_nobody(),
            Some(Said::Chunk(_) | Said::Dot) => End::Answered(reply),
            None => End::RefusedAtData(reply),
        })
    }

    fn end_before_content(&mut self, reply: Reply) -> End {
        match self.refused.take() {
            Some(Refused::AtMail(reply)) => End::RefusedAtMail(reply),
            Some(Refused::AtChunk(_)) | None if self.accepted > 0 => End::RefusedAtData(reply),
            Some(Refused::AtChunk(_)) | None => End::NoRecipient,
        }
    }

    fn end_for_nobody(&mut self) -> End {
        match self.refused.take() {
            Some(Refused::AtMail(reply)) => End::RefusedAtMail(reply),
            Some(Refused::AtChunk(_)) | None => End::NoRecipient,
        }
    }

    /// What the session waits for now.
    pub(super) fn awaited(&self) -> Awaited {
        match (&self.phase, self.unanswered.front()) {
            (Phase::Lines(_) | Phase::Chunks(_), _) => Awaited::Content,
            (Phase::Ending, _) | (Phase::Envelope, Some(Said::Chunk(_) | Said::Dot | Said::LoneDot)) => {
                Awaited::Final
            }
            (Phase::Envelope, Some(Said::Rset)) => Awaited::Rset,
            (Phase::Envelope, Some(Said::Mail)) => Awaited::Mail,
            (Phase::Envelope, Some(Said::Rcpt(_))) => Awaited::Rcpt,
            (Phase::Envelope, Some(Said::Data)) => Awaited::Data,
            (Phase::Envelope, None) => Awaited::Mail,
        }
    }

    /// Whether no reply is outstanding and no content owed: the caller has not begun to give any.
    pub(super) fn is_silent(&self) -> bool {
        let envelope = matches!(&self.phase, Phase::Envelope | Phase::Chunks(_)) && self.owed() == 0;
        envelope && self.unanswered.is_empty()
    }

    /// Whether the server would read QUIT as a command, and not as content.
    pub(super) fn takes_commands(&self) -> bool {
        let data_unanswered = self.unanswered.contains(&Said::Data);
        match self.phase {
            Phase::Envelope => !data_unanswered,
            Phase::Lines(_) | Phase::Chunks(_) => false,
            Phase::Ending => true,
        }
    }

    /// What the server holds of the transaction once it is over.
    pub(super) fn left_behind(&self, end: &End) -> Before {
        match end {
            End::Answered(reply) if reply.is_positive() || self.fit.carriage == Carriage::Data => {
                Before::Nothing
            }
            // RFC 3030 §2: after a refused chunk only RSET clears.
            End::Answered(_) => Before::Leftover,
            End::RefusedAtMail(_) | End::NoRecipient | End::RefusedAtData(_) | End::Lost { .. } => {
                Before::Leftover
            }
        }
    }

    /// What became of the transaction if the session breaks now; `unsent` octets have not left.
    pub(super) fn lost(self, trouble: Trouble, unsent: usize) -> Outcome {
        let nobody = self.accepted == 0;
        let content = match self.phase {
            Phase::Ending if unsent == 0 && !nobody => ContentSent::Whole,
            Phase::Ending | Phase::Envelope | Phase::Lines(_) | Phase::Chunks(_) => ContentSent::Partly,
        };
        self.outcome(End::Lost { trouble, content })
    }

    /// The facts, once it is over.
    pub(super) fn outcome(self, end: End) -> Outcome {
        Outcome {
            recipients: self.recipients,
            end,
        }
    }
}

/// Whether a refused RCPT means that there were too many before it (RFC 5321 §4.5.3.1.10), as far as codes tell.
fn says_too_many(reply: &Reply) -> bool {
    let by_code = reply.code() == 452 || reply.code() == 552;
    by_code
        && reply
            .status()
            .is_none_or(|status| (status.subject(), status.detail()) == (5, 3))
}

/// A group grows until it has so many octets; less than the smallest send buffer in use.
const GROUP_BYTES_ENOUGH: usize = 8 * 1024;
/// A chunk of BDAT where several may be under way: early enough to hear a refusal, large enough to cost nothing.
const CHUNK_BYTES_MAX: u64 = 1024 * 1024;
