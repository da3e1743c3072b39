//! Replies as they come over the wire (RFC 5321 §4.2): octets in pieces of any size in, whole replies out.
//!
//! Owns what a reply line looks like and how long a reply may grow. Never judges what a reply means.

use std::fmt;

use mail::{EnhancedStatus, Reply};

/// Collects octets until a reply is whole.
#[derive(Debug)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    /// Octets of `buffer` already taken as lines.
    taken: usize,
    /// Octets of `buffer` already searched for a line end.
    searched: usize,
    /// The lines of the reply that is not whole yet.
    begun: Option<Begun>,
    reply_bytes_max: usize,
    overflowed: bool,
}

/// Why octets are not a reply. The session cannot go on: nothing says where the next reply would begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadReply {
    /// The line does not begin with three digits.
    NoCode,
    /// Behind the code stands neither a blank, nor a hyphen, nor the end of the line.
    NoSeparator,
    /// A line of a reply has another code than the lines before it.
    CodeChanged,
    /// A CR or LF that is not part of a CRLF.
    BareLineEnd,
    /// The reply is longer than [`Limits::reply_bytes_max`](crate::Limits::reply_bytes_max).
    TooLong,
}

#[derive(Debug)]
struct Begun {
    code: u16,
    status: Option<EnhancedStatus>,
    text: String,
    bytes: usize,
}

impl ReplyReader {
    /// A reader of replies of at most so many octets, all lines together.
    pub fn new(reply_bytes_max: usize) -> ReplyReader {
        ReplyReader {
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            begun: None,
            reply_bytes_max,
            overflowed: false,
        }
    }

    /// Takes octets. What goes beyond the bound is dropped, and the overflow reported when the rest is used up.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        let room = (self.reply_bytes_max + FEED_BYTES_SPARE).saturating_sub(self.buffer.len());
        self.overflowed |= bytes.len() > room;
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The next whole reply, if there is one.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, BadReply> {
        while let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let line_end = self.searched + end;
            let bytes = line_end + 1 - self.taken;
            if self.begun_bytes() + bytes > self.reply_bytes_max {
                return Err(BadReply::TooLong);
            }
            let line = self.buffer[self.taken..line_end]
                .strip_suffix(b"\r")
                .ok_or(BadReply::BareLineEnd)?;
            let line = Line::parse(line)?;
            (self.taken, self.searched) = (line_end + 1, line_end + 1);
            let begun = match self.begun.take() {
                None => Begun::with(&line, bytes),
                Some(begun) => begun.and(&line, bytes)?,
            };
            match line.place {
                Place::Last => return Ok(Some(begun.reply())),
                Place::Inner => self.begun = Some(begun),
            }
        }
        self.searched = self.buffer.len();
        if self.overflowed || self.begun_bytes() + self.unread() > self.reply_bytes_max {
            return Err(BadReply::TooLong);
        }
        Ok(None)
    }

    /// Octets that are here and belong to no reply returned so far.
    pub fn unread(&self) -> usize {
        self.buffer.len() - self.taken
    }

    fn begun_bytes(&self) -> usize {
        self.begun.as_ref().map_or(0, |begun| begun.bytes)
    }
}

/// One line of a reply, split but not yet interpreted.
struct Line<'b> {
    code: u16,
    place: Place,
    text: &'b [u8],
}

enum Place {
    Inner,
    Last,
}

impl Line<'_> {
    /// Reads a line without its CRLF. A missing blank behind the last line's code is tolerated (RFC 5321 §4.2.1),
    /// a bare `250` too.
    fn parse(line: &[u8]) -> Result<Line<'_>, BadReply> {
        if memchr::memchr(b'\r', line).is_some() {
            return Err(BadReply::BareLineEnd);
        }
        let (digits, rest) = line.split_at_checked(3).ok_or(BadReply::NoCode)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(BadReply::NoCode);
        }
        let code = digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let (place, text) = match rest {
            [] => (Place::Last, rest),
            [b' ', text @ ..] => (Place::Last, text),
            [b'-', text @ ..] => (Place::Inner, text),
            _ => return Err(BadReply::NoSeparator),
        };
        Ok(Line { code, place, text })
    }
}

impl Begun {
    fn with(line: &Line<'_>, bytes: usize) -> Begun {
        let text = printable(line.text);
        let (status, rest) = split_status(line.code, &text);
        Begun {
            code: line.code,
            status,
            text: rest.to_owned(),
            bytes,
        }
    }

    fn and(mut self, line: &Line<'_>, bytes: usize) -> Result<Begun, BadReply> {
        if line.code != self.code {
            return Err(BadReply::CodeChanged);
        }
        let text = printable(line.text);
        let (status, rest) = split_status(line.code, &text);
        self.text.push('\n');
        // The status stands on each line (RFC 2034 §4); one that differs is part of the text.
        self.text
            .push_str(if status == self.status { rest } else { &text });
        self.bytes += bytes;
        Ok(self)
    }

    fn reply(self) -> Reply {
        match self.status {
            Some(status) => Reply::new(self.code, status, self.text),
            None => Reply::plain(self.code, self.text),
        }
    }
}

/// Splits `5.1.1 text` where the status fits the code; one of another class is not believed (RFC 2034 §4).
fn split_status(code: u16, text: &str) -> (Option<EnhancedStatus>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match EnhancedStatus::parse(word).filter(|status| status.fits(code)) {
        Some(status) => (Some(status), rest),
        None => (None, text),
    }
}

/// The octets as text that is safe to log and to show: printable ASCII and UTF-8 as they stand, a tab as a blank,
/// everything else as `\x{…}`.
fn printable(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                ' '..='~' => text.push(character),
                '\t' => text.push(' '),
                // What Rust's own escaping leaves alone is visible: no controls, no marks that turn the text around.
                _ if character.escape_debug().count() == 1 => text.push(character),
                _ => text.push_str(&format!("\\x{{{:02X}}}", u32::from(character))),
            }
        }
        for octet in chunk.invalid() {
            text.push_str(&format!("\\x{{{octet:02X}}}"));
        }
    }
    text
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadReply::NoCode => "a reply line does not begin with three digits",
            BadReply::NoSeparator => "a reply line has neither a blank nor a hyphen behind its code",
            BadReply::CodeChanged => "the code changes within a reply",
            BadReply::BareLineEnd => "a reply holds a CR or LF that is not part of a CRLF",
            BadReply::TooLong => "a reply is too long",
        })
    }
}

impl std::error::Error for BadReply {}

/// What may be fed at once beyond the longest reply.
const FEED_BYTES_SPARE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1000;

    /// All replies of the octets, and how the reading ended.
    fn read(pieces: &[&[u8]]) -> (Vec<String>, Result<usize, BadReply>) {
        let mut reader = ReplyReader::new(MAX);
        let mut replies = Vec::new();
        for piece in pieces {
            reader.feed(piece);
            loop {
                match reader.next_reply() {
                    Ok(Some(reply)) => replies.push(format!("{reply:?}")),
                    Ok(None) => break,
                    Err(bad) => return (replies, Err(bad)),
                }
            }
        }
        (replies, Ok(reader.unread()))
    }

    fn one(octets: &[u8]) -> Reply {
        let mut reader = ReplyReader::new(MAX);
        reader.feed(octets);
        let reply = reader.next_reply().unwrap().unwrap();
        assert_eq!(reader.unread(), 0);
        reply
    }

    // proves: 5321-4.2.1-1 7504-4-2
    #[test]
    fn replies_of_one_line_and_several() {
        let check = |octets: &str, code: u16, text: &[&str]| {
            let reply = one(octets.as_bytes());
            assert_eq!(
                (reply.code(), reply.lines().collect::<Vec<_>>()),
                (code, text.to_vec()),
                "{octets:?}"
            );
        };
        check("220 mx.example ESMTP\r\n", 220, &["mx.example ESMTP"]);
        check("250-a\r\n250-b\r\n250 c\r\n", 250, &["a", "b", "c"]);
        check("250-a\r\n250-b\r\n250\r\n", 250, &["a", "b", ""]);
        check("250\r\n", 250, &[""]);
        check("250 \r\n", 250, &[""]);
        check("250-\r\n250 x\r\n", 250, &["", "x"]);
        check("250 -x\r\n", 250, &["-x"]);
        check("199 odd\r\n", 199, &["odd"]);
        check("556 5.1.10 no mail\r\n", 556, &["no mail"]);
    }

    // proves: 5321-2.3.8-1
    #[test]
    fn what_is_no_reply_is_refused() {
        let check = |octets: &[u8], bad: BadReply| {
            assert_eq!(read(&[octets]).1, Err(bad), "{}", octets.escape_ascii());
        };
        check(b"\r\n", BadReply::NoCode);
        check(b"25\r\n", BadReply::NoCode);
        check(b"OK\r\n", BadReply::NoCode);
        check(b"+OK ready\r\n", BadReply::NoCode);
        check(b"2x0 a\r\n", BadReply::NoCode);
        check(b" 250 a\r\n", BadReply::NoCode);
        check("25٠ a\r\n".as_bytes(), BadReply::NoCode);
        check(b"250a\r\n", BadReply::NoSeparator);
        check(b"2500 a\r\n", BadReply::NoSeparator);
        check(b"250\ta\r\n", BadReply::NoSeparator);
        check(b"250-a\r\n550 b\r\n", BadReply::CodeChanged);
        check(b"250-a\r\n251 b\r\n", BadReply::CodeChanged);
        check(b"250 a\n", BadReply::BareLineEnd);
        check(b"250-a\n250 b\r\n", BadReply::BareLineEnd);
        check(b"250 a\rb\r\n", BadReply::BareLineEnd);
        check(b"250 a\r\r\n", BadReply::BareLineEnd);
    }

    // proves: 5321-4.5.3.1.5-1
    #[test]
    fn length_is_bounded() {
        let line = format!("250 {}\r\n", "x".repeat(506));
        assert_eq!(one(line.as_bytes()).lines().next().map(str::len), Some(506));
        let fits = format!("250 {}\r\n", "x".repeat(MAX - 6));
        assert_eq!(read(&[fits.as_bytes()]).0.len(), 1);
        let over = format!("250 {}\r\n", "x".repeat(MAX - 5));
        assert_eq!(read(&[over.as_bytes()]).1, Err(BadReply::TooLong));
        let endless = "250-x\r\n".repeat(MAX);
        assert_eq!(read(&[endless.as_bytes()]).1, Err(BadReply::TooLong));
        let no_end = vec![b'2'; MAX + 1];
        assert_eq!(read(&[&no_end]).1, Err(BadReply::TooLong));
        // More whole replies than the buffer takes: those that fit are read, then the overflow shows.
        let flood = "250 x\r\n".repeat(20_000);
        let (replies, end) = read(&[flood.as_bytes()]);
        assert!(replies.len() > 1000 && end == Err(BadReply::TooLong));
    }

    #[test]
    fn what_is_not_read_does_not_pile_up() {
        let mut reader = ReplyReader::new(MAX);
        for _ in 0..1000 {
            reader.feed(&[b'2'; 16 * 1024]);
        }
        assert!(reader.unread() <= MAX + FEED_BYTES_SPARE);
        assert_eq!(reader.next_reply(), Err(BadReply::TooLong));
    }

    #[test]
    fn a_status_is_believed_where_its_class_fits() {
        let check = |octets: &str, shown: &str, status: Option<&str>| {
            let reply = one(octets.as_bytes());
            assert_eq!(
                reply.status().map(|status| status.to_string()).as_deref(),
                status,
                "{octets:?}"
            );
            assert_eq!(reply.to_string(), shown);
        };
        check("550 5.1.1 no such\r\n", "550 5.1.1 no such", Some("5.1.1"));
        check("550 5.1.1\r\n", "550 5.1.1", Some("5.1.1"));
        check(
            "550-5.1.1 no\r\n550 5.1.1 such\r\n",
            "550 5.1.1 no such",
            Some("5.1.1"),
        );
        check(
            "550-5.1.1 no\r\n550 5.7.1 such\r\n",
            "550 5.1.1 no 5.7.1 such",
            Some("5.1.1"),
        );
        check("550 4.1.1 no such\r\n", "550 4.1.1 no such", None);
        check("354 2.0.0 go\r\n", "354 2.0.0 go", None);
        check("550 5.1.1.1 no\r\n", "550 5.1.1.1 no", None);
        check("250-x\r\n250 2.0.0 y\r\n", "250 x 2.0.0 y", None);
    }

    #[test]
    fn foreign_octets_become_printable() {
        let check = |octets: &[u8], text: &str| assert_eq!(one(octets).lines().next(), Some(text));
        check(b"250 a\0b\x1b[2J\r\n", "a\\x{00}b\\x{1B}[2J");
        check(b"250 a\tb\r\n", "a b");
        check("250 schön \"so\" \\\r\n".as_bytes(), "schön \"so\" \\");
        check(b"250 caf\xe9!\r\n", "caf\\x{E9}!");
        check(
            "250 \u{202e}evil\u{200b}\u{85}\r\n".as_bytes(),
            "\\x{202E}evil\\x{200B}\\x{85}",
        );
    }

    /// Octets that look like replies often enough.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"250 ok\r\n".to_vec()),
            3 => Just(b"250-more\r\n".to_vec()),
            1 => Just(b"250\r\n".to_vec()),
            1 => Just(b"550 5.1.1 no\r\n".to_vec()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..8),
            1 => Just(vec![b'x'; 400]),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(octets in octets(), size in 1usize..20) {
            let cut: Vec<&[u8]> = octets.chunks(size).collect();
            let (whole, whole_end) = read(&[&octets]);
            let (cut, cut_end) = read(&cut);
            prop_assert_eq!(whole, cut);
            prop_assert_eq!(whole_end, cut_end);
        }

        #[test]
        fn garbage_never_panics_and_text_is_clean(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut line = b"250 ".to_vec();
            line.extend(octets.iter().filter(|octet| !b"\r\n".contains(octet)));
            line.extend(b"\r\n");
            prop_assert!(!one(&line).to_string().chars().any(char::is_control));
            let _ = read(&[&octets]);
        }
    }
}
