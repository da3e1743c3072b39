//! An SMTP reply: code, enhanced status, text (RFC 5321 §4.2, RFC 2034). The same noun for what we say and what a
//! peer said.

use std::borrow::Cow;

use crate::status::EnhancedStatus;

/// One reply, of one line or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    code: u16,
    status: Option<EnhancedStatus>,
    /// Lines split by `\n`, without codes. Printable: a peer's octets outside printable ASCII and UTF-8 are escaped
    /// when it is parsed.
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply whose text is known beforehand. `code` is 200 to 599.
    pub const fn fixed(code: u16, status: EnhancedStatus, text: &'static str) -> Reply {
        Reply {
            code,
            status: Some(status),
            text: Cow::Borrowed(text),
        }
    }

    /// A reply without an enhanced status: the greeting, EHLO's, and 3yz (RFC 2034 §4).
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            status: None,
            text: text.into(),
        }
    }

    /// A reply with an enhanced status.
    pub fn new(code: u16, status: EnhancedStatus, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            status: Some(status),
            text: text.into(),
        }
    }

    /// The three-digit code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status, if the reply has one.
    pub fn status(&self) -> Option<EnhancedStatus> {
        self.status
    }

    /// The text's lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// 2yz.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz: may go well later.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz: will not go well.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply as it goes over the wire: CRLF line ends, the code and status on each line
    /// (RFC 2034 §4), no line over 512 octets (RFC 5321 §4.5.3.1.5).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }
}

/// On one line, as logs and reports show it: `550 5.1.1 no such mailbox`.
impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        todo!()
    }
}
