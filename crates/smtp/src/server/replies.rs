//! Replies whose words are known beforehand. Those about spelling stand in `command.rs`.

use mail::status::Class;
use mail::{EnhancedStatus, Reply};

pub(super) const READY_FOR_TLS: Reply = ok(220, 0, "begin TLS");
pub(super) const RESET: Reply = ok(250, 0, "the transaction is forgotten");
pub(super) const NOTHING_DONE: Reply = ok(250, 0, "done");
pub(super) const CHUNK_TAKEN: Reply = ok(250, 6, "chunk taken");
pub(super) const NOT_VERIFIED: Reply = ok(252, 5, "not verified here: send to it, and it will be tried");
pub(super) const NOT_VERIFIED_IN_ASCII: Reply = Reply::fixed(
    252,
    EnhancedStatus::new(Class::Success, 6, 8),
    "not to be told without SMTPUTF8",
);
pub(super) const NOT_TOLD_IN_ASCII: Reply = no(550, 6, 8, "not to be told without SMTPUTF8");
pub(super) const FORWARDED: Reply = Reply::fixed(
    250,
    EnhancedStatus::new(Class::Success, 1, 5),
    "recipient taken, and forwarded",
);
pub(super) const HELP: Reply = ok(
    214,
    0,
    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY EXPN HELP STARTTLS: RFC 5321",
);

pub(super) const HELLO_FIRST: Reply = no(503, 5, 1, "say EHLO first");
pub(super) const MAIL_FIRST: Reply = no(503, 5, 1, "say MAIL first");
pub(super) const NO_RECIPIENT: Reply = no(554, 5, 1, "no recipient has been accepted");
pub(super) const REQUIRETLS_IN_CLEAR: Reply = no(555, 5, 4, "REQUIRETLS is served inside TLS alone");
pub(super) const CHUNKS_BEGUN: Reply = no(503, 5, 1, "BDAT has begun: send chunks, or RSET");
pub(super) const CHUNK_FAILED: Reply = no(503, 5, 1, "a chunk has failed: send RSET");
pub(super) const BINARY_BY_CHUNKS: Reply = no(503, 5, 1, "BODY=BINARYMIME needs BDAT");
pub(super) const RECIPIENT_NEEDS_UTF8: Reply = no(553, 6, 7, "this recipient address needs SMTPUTF8");
pub(super) const TOO_MANY_RECIPIENTS: Reply = Reply::fixed(
    452,
    EnhancedStatus::new(Class::Transient, 5, 3),
    "too many recipients: send to the rest in another message",
);
pub(super) const TOO_LARGE: Reply = no(552, 3, 4, "the message is too large");
pub(super) const BARE_LINE_END: Reply = no(
    554,
    6,
    0,
    "the message holds a CR or LF alone: lines end with CR LF",
);
pub(super) const LINE_TOO_LONG: Reply = no(500, 5, 2, "the command line is too long");

pub(super) const TLS_FIRST: Reply = no(530, 7, 0, "say STARTTLS first");
pub(super) const TLS_ABSENT: Reply = no(502, 5, 1, "TLS is not offered now");
pub(super) const TLS_ALREADY: Reply = no(503, 5, 1, "TLS has begun already");
pub(super) const INJECTED: Reply = no(
    554,
    5,
    0,
    "something followed STARTTLS in the clear: closing, nothing of it was looked at",
);

pub(super) const REFUSED: Reply = no(503, 5, 1, "no service for you: say QUIT");
pub(super) const NO_MAIL_EVER: Reply = no(521, 3, 2, "this host takes no mail");
pub(super) const TOO_MANY_ERRORS: Reply = later(7, 0, "too many errors: closing");
pub(super) const TOO_MANY_MESSAGES: Reply = later(5, 0, "enough messages for one session: connect again");
pub(super) const TOO_SLOW: Reply = later(4, 2, "nothing came for too long: closing");
pub(super) const TOO_LONG: Reply = later(4, 2, "the session lasts too long: connect again");
pub(super) const STOPPING: Reply = later(3, 2, "the server stops: come back soon");
pub(super) const BYE: Reply = ok(221, 0, "bye");

/// To DATA.
pub(super) const GO_AHEAD: &str = "send the message, and end it with a dot on a line of its own";

/// A positive reply; those with subject 0 tell nothing but success.
const fn ok(code: u16, subject: u16, text: &'static str) -> Reply {
    Reply::fixed(code, EnhancedStatus::new(Class::Success, subject, 0), text)
}

const fn no(code: u16, subject: u16, detail: u16, text: &'static str) -> Reply {
    Reply::fixed(code, EnhancedStatus::new(Class::Permanent, subject, detail), text)
}

/// 421: said last, then the connection closes.
const fn later(subject: u16, detail: u16, text: &'static str) -> Reply {
    Reply::fixed(421, EnhancedStatus::new(Class::Transient, subject, detail), text)
}
