//! What comes in, by what the session is busy with: command lines, content, chunks.

use std::mem;
use std::ops::Range;
use std::time::Instant;

use mail::Reply;

use super::content::Piece;
use super::conversation::{Conversation, Turn, When};
use super::input::{Input, Line, Skipped};
use super::replies;
use super::state::{Asked, Doing, Draft, Fate, Stage};
use crate::command::Verb;

impl Conversation {
    pub(super) fn take_command(&mut self, input: &mut Input, now: Instant) -> Turn {
        match input.take_line(self.service.limits.command_line_bytes_max) {
            Line::Partial => self.rest(input, now),
            // Its chunk would be read as commands.
            Line::TooLong if Verb::of(input.waiting()) == Verb::Bdat => {
                self.close_with(replies::LINE_TOO_LONG)
            }
            Line::TooLong => {
                self.doing = Doing::SkippingLine;
                Turn::Again
            }
            Line::Whole(range) => {
                self.wait_anew();
                self.obey(input.taken(range), input.unread())
            }
        }
    }

    /// RFC 5321 §4.3.2: 500, once the line is over.
    pub(super) fn skip_line(&mut self, input: &mut Input, now: Instant) -> Turn {
        if input.skip_line() == Skipped::InPart {
            return self.rest(input, now);
        }
        self.wait_anew();
        self.doing = Doing::Commands;
        self.say(replies::LINE_TOO_LONG, When::AtOnce)
    }

    pub(super) fn take_content(&mut self, input: &mut Input, now: Instant) -> Turn {
        let Doing::Content(content) = &mut self.doing else {
            return Turn::Again;
        };
        match content.dots.next(input.waiting()) {
            Piece::Unclear => self.rest(input, now),
            Piece::Stuffing => {
                input.take(1);
                Turn::Again
            }
            Piece::Content(count) => {
                let range = input.take(count);
                content.bytes = content.bytes.saturating_add(count as u64);
                if content.fault.is_none() && self.service.limits.message_is_too_large(content.bytes) {
                    self.fault(replies::TOO_LARGE);
                }
                self.pass_on(range)
            }
            Piece::Bare(count) => {
                input.take(count);
                self.fault(replies::BARE_LINE_END);
                Turn::Again
            }
            Piece::End => {
                input.take(3);
                self.wait_anew();
                self.end_content()
            }
        }
    }

    /// The first fault counts; the content is passed over from here on.
    fn fault(&mut self, reply: Reply) {
        if let Doing::Content(content) = &mut self.doing
            && content.fault.is_none()
        {
            content.fault = Some(reply);
            self.drop_draft();
        }
    }

    fn pass_on(&self, range: Range<usize>) -> Turn {
        match self.draft {
            Draft::Open => Turn::Body(range),
            Draft::None | Draft::Doomed => Turn::Again,
        }
    }

    fn end_content(&mut self) -> Turn {
        let Doing::Content(content) = mem::replace(&mut self.doing, Doing::Commands) else {
            return Turn::Again;
        };
        match content.fault {
            None => self.ask(Asked::End),
            Some(reply) => {
                self.stage = Stage::Idle;
                self.say(reply, When::AtOnce)
            }
        }
    }

    pub(super) fn take_chunk(&mut self, input: &mut Input, now: Instant) -> Turn {
        let Doing::Chunk(chunk) = &mut self.doing else {
            return Turn::Again;
        };
        let count = usize::try_from(chunk.bytes)
            .unwrap_or(usize::MAX)
            .min(input.unread());
        if chunk.bytes == 0 {
            self.wait_anew();
            self.end_chunk()
        } else if count == 0 {
            self.rest(input, now)
        } else {
            chunk.bytes -= count as u64;
            let kept = matches!(chunk.fate, Fate::Kept | Fate::KeptAsLast);
            let range = input.take(count);
            if kept { Turn::Body(range) } else { Turn::Again }
        }
    }

    fn end_chunk(&mut self) -> Turn {
        let Doing::Chunk(chunk) = mem::replace(&mut self.doing, Doing::Commands) else {
            return Turn::Again;
        };
        match chunk.fate {
            Fate::Kept => self.say(replies::CHUNK_TAKEN, When::Grouped),
            Fate::KeptAsLast => self.ask(Asked::End),
            Fate::Refused(reply) => self.say(reply, When::Grouped),
        }
    }
}
