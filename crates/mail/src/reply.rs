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
    /// (RFC 2034 §4), no line over 512 octets (RFC 5321 §4.5.3.1.5), ASCII alone (`\x{…}` for the rest, as RFC 6533
    /// spells it): most replies go to clients that have not asked for UTF-8.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_in(Repertoire::Ascii, out);
    }

    /// As [`Reply::write_to`], with UTF-8 as it stands: for replies to a command with `SMTPUTF8` (RFC 6531 §3.7.4).
    pub fn write_utf8_to(&self, out: &mut Vec<u8>) {
        self.write_in(Repertoire::Utf8, out);
    }

    fn write_in(&self, repertoire: Repertoire, out: &mut Vec<u8>) {
        let status = self.status.map(|status| format!("{status} ")).unwrap_or_default();
        let room = REPLY_LINE_BYTES_MAX - "250-\r\n".len() - status.len();
        let clean: Vec<String> = self.lines().map(|line| clean(line, repertoire)).collect();
        let mut pieces = clean.iter().flat_map(|line| wrap(line, room)).peekable();
        while let Some(piece) = pieces.next() {
            let mark = if pieces.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{mark}{status}{piece}\r\n", self.code).as_bytes());
        }
    }
}

/// On one line, as logs and reports show it: `550 5.1.1 no such mailbox`.
impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        for line in self.lines().filter(|line| !line.is_empty()) {
            write!(f, " {}", clean(line, Repertoire::Utf8))?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Repertoire {
    Ascii,
    Utf8,
}

/// The line without control characters, which would end it or move the reader's cursor.
fn clean(line: &str, repertoire: Repertoire) -> String {
    let mut clean = String::with_capacity(line.len());
    for character in line.chars() {
        match (character, repertoire) {
            (' '..='~', _) => clean.push(character),
            (_, Repertoire::Utf8) if !character.is_control() => clean.push(character),
            _ => clean.push_str(&format!("\\x{{{:02X}}}", u32::from(character))),
        }
    }
    clean
}

/// Cuts a line into pieces of at most `room` octets, at blanks where it has some; an empty line is one empty piece.
fn wrap(line: &str, room: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while rest.len() > room {
        let edge = rest.floor_char_boundary(room);
        let cut = rest[..edge]
            .rfind(' ')
            .filter(|&at| at > 0)
            .map_or(edge, |at| at + 1);
        let (piece, behind) = rest.split_at(cut);
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

/// RFC 5321 §4.5.3.1.5, CRLF included.
const REPLY_LINE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Class;
    use proptest::prelude::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    const NO_SUCH: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 1, 1);

    #[test]
    fn one_line_and_several() {
        let check = |reply: Reply, wire: &str, shown: &str| {
            assert_eq!(written(&reply), wire);
            assert_eq!(reply.to_string(), shown);
        };
        check(
            Reply::fixed(550, NO_SUCH, "no such mailbox"),
            "550 5.1.1 no such mailbox\r\n",
            "550 5.1.1 no such mailbox",
        );
        check(
            Reply::new(550, NO_SUCH, "no such mailbox\nask elsewhere"),
            "550-5.1.1 no such mailbox\r\n550 5.1.1 ask elsewhere\r\n",
            "550 5.1.1 no such mailbox ask elsewhere",
        );
        check(
            Reply::plain(220, "mx.example ESMTP"),
            "220 mx.example ESMTP\r\n",
            "220 mx.example ESMTP",
        );
        check(Reply::plain(250, ""), "250 \r\n", "250");
    }

    #[test]
    fn text_cannot_leave_its_line() {
        assert_eq!(
            written(&Reply::plain(250, "a\r\nb\0c\t\u{1b}é")),
            "250-a\\x{0D}\r\n250 b\\x{00}c\\x{09}\\x{1B}\\x{E9}\r\n"
        );
        assert_eq!(Reply::plain(250, "é\r\u{85}").to_string(), "250 é\\x{0D}\\x{85}");
        let mut out = Vec::new();
        Reply::plain(252, "<é@x.example>").write_utf8_to(&mut out);
        assert_eq!(out, "252 <é@x.example>\r\n".as_bytes());
    }

    // proves: 5321-4.5.3.1.5-1
    #[test]
    fn long_text_is_wrapped_at_blanks() {
        let fits = "x".repeat(512 - "550 5.1.1 \r\n".len());
        assert_eq!(
            written(&Reply::new(550, NO_SUCH, fits.clone())).lines().count(),
            1
        );
        let over = format!("{fits}x");
        assert_eq!(
            written(&Reply::new(550, NO_SUCH, over)),
            format!("550-5.1.1 {fits}\r\n550 5.1.1 x\r\n")
        );
        let blank = format!("{} {}", "y".repeat(400), "z".repeat(400));
        let wire = format!("250-{} \r\n250 {}\r\n", "y".repeat(400), "z".repeat(400));
        assert_eq!(written(&Reply::plain(250, blank)), wire);
    }

    proptest! {
        // proves: 5321-4.2.1-1 5321-2.3.8-1
        #[test]
        fn whatever_the_text_the_wire_form_is_one_reply(text: String, long in 0usize..2000, statused: bool) {
            let text = format!("{text}{}", "é ".repeat(long / 3));
            let reply = if statused { Reply::new(550, NO_SUCH, text) } else { Reply::plain(550, text) };
            let (mut ascii, mut utf8) = (Vec::new(), Vec::new());
            reply.write_to(&mut ascii);
            reply.write_utf8_to(&mut utf8);
            prop_assert!(ascii.is_ascii());
            for wire in [ascii, utf8] {
                let wire = String::from_utf8(wire).unwrap();
                let lines: Vec<&str> = wire.split_terminator("\r\n").collect();
                for (number, line) in lines.iter().enumerate() {
                    prop_assert!(line.len() <= 510 && !line.contains(['\r', '\n']));
                    let mark = if number + 1 == lines.len() { "550 " } else { "550-" };
                    prop_assert!(line.starts_with(mark));
                }
            }
            prop_assert!(!reply.to_string().contains(['\r', '\n']));
        }
    }
}
