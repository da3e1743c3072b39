//! What a line that is no command is answered with.

use mail::status::Class;
use mail::{EnhancedStatus, Reply};

const fn permanent(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::new(Class::Permanent, subject, detail)
}

pub(super) const BAD_SENDER: EnhancedStatus = permanent(1, 7);
pub(super) const BAD_RECIPIENT: EnhancedStatus = permanent(1, 3);
const SYNTAX: EnhancedStatus = permanent(5, 2);
const ARGUMENT: EnhancedStatus = permanent(5, 4);

pub(super) const BARE_OR_NUL: Reply = Reply::fixed(
    500,
    SYNTAX,
    "a line ends with CR LF and holds no CR, LF or NUL alone",
);
pub(super) const NOT_UTF8: Reply = Reply::fixed(501, SYNTAX, "the line is not UTF-8");
pub(super) const UNKNOWN: Reply = Reply::fixed(500, SYNTAX, "no such command");
pub(super) const NOT_SERVED: Reply = Reply::fixed(502, permanent(5, 1), "this command is not served here");
pub(super) const NOT_THE_WEB: Reply = Reply::fixed(
    421,
    EnhancedStatus::new(Class::Transient, 7, 0),
    "this is a mail server: closing",
);
pub(super) const NO_ARGUMENT: Reply = Reply::fixed(501, ARGUMENT, "this command takes no argument");
pub(super) const MAIL_SYNTAX: Reply = Reply::fixed(501, SYNTAX, "say MAIL FROM:<address> and its parameters");
pub(super) const RCPT_SYNTAX: Reply = Reply::fixed(501, SYNTAX, "say RCPT TO:<address> and its parameters");
pub(crate) const BDAT_SYNTAX: Reply = Reply::fixed(
    501,
    ARGUMENT,
    "say BDAT, the number of octets, and LAST at the end",
);
pub(super) const BAD_PARAMETER: Reply = Reply::fixed(501, ARGUMENT, "a parameter or its value is not valid");
pub(super) const REPEATED_PARAMETER: Reply = Reply::fixed(501, ARGUMENT, "a parameter stands twice");
pub(super) const UNKNOWN_PARAMETER: Reply = Reply::fixed(555, ARGUMENT, "a parameter is not known here");
pub(super) const NOTHING_TO_LOOK_UP: Reply = Reply::fixed(501, ARGUMENT, "say a name or an address");
pub(super) const CONTROL_CHARACTER: Reply = Reply::fixed(501, ARGUMENT, "no control characters here");
pub(super) const SENDER_NEEDS_UTF8: Reply =
    Reply::fixed(550, permanent(6, 7), "this sender address needs SMTPUTF8");
pub(super) const LOOK_UP_NEEDS_UTF8: Reply =
    Reply::fixed(550, permanent(6, 7), "this address needs SMTPUTF8");
