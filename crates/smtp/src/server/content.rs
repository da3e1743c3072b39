//! The content of a message behind DATA: where it ends, which dots to drop, and which line ends are none
//! (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! Only CRLF.CRLF ends it. A CR or LF alone is never a line end, not before a dot and not behind it: taking one for
//! a line end is what lets a message smuggle another.

/// Where in a line the content stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dots {
    /// Behind DATA's reply or behind a CRLF.
    LineStart,
    /// In a line.
    InLine,
}

/// What the front of the input is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// So many octets of content, at least one.
    Content(usize),
    /// One dot that was stuffed in.
    Stuffing,
    /// Three octets: the dot and the line end that end the content.
    End,
    /// So many octets, the last of which is a CR or LF alone.
    Bare(usize),
    /// What has come so far can still be several of these.
    Unclear,
}

impl Dots {
    /// Finds the next piece of `input`; the caller takes it off before it asks again.
    pub(super) fn next(&mut self, input: &[u8]) -> Piece {
        match (*self, input) {
            (_, []) => Piece::Unclear,
            (Dots::LineStart, [b'.', b'\r', b'\n', ..]) => Piece::End,
            (Dots::LineStart, [b'.'] | [b'.', b'\r']) => Piece::Unclear,
            (Dots::LineStart, [b'.', ..]) => {
                *self = Dots::InLine;
                Piece::Stuffing
            }
            (Dots::LineStart | Dots::InLine, _) => self.run(input),
        }
    }

    /// Content up to a dot that begins a line, or to the end of what has come.
    fn run(&mut self, input: &[u8]) -> Piece {
        let mut at = 0;
        *self = Dots::InLine;
        while let Some(found) = memchr::memchr2(b'\r', b'\n', &input[at..]) {
            let end = at + found;
            match input[end..] {
                [b'\r', b'\n', b'.', ..] | [b'\r', b'\n'] => {
                    *self = Dots::LineStart;
                    return Piece::Content(end + 2);
                }
                [b'\r', b'\n', ..] => at = end + 2,
                [b'\r'] if end == 0 => return Piece::Unclear,
                [b'\r'] => return Piece::Content(end),
                _ => return Piece::Bare(end + 1),
            }
        }
        Piece::Content(input.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content with each piece in brackets, then `.` if it ended, `!` for each bare line end.
    fn read(mut input: &[u8]) -> String {
        let mut dots = Dots::LineStart;
        let mut shown = String::new();
        loop {
            let (length, text) = match dots.next(input) {
                Piece::Content(length) => (length, format!("[{}]", input[..length].escape_ascii())),
                Piece::Stuffing => (1, String::new()),
                Piece::Bare(length) => (length, "!".to_owned()),
                Piece::End => return shown + ".",
                Piece::Unclear => return shown,
            };
            shown += &text;
            input = &input[length..];
        }
    }

    #[test]
    fn pieces() {
        let check =
            |input: &[u8], expected: &str| assert_eq!(read(input), expected, "{}", input.escape_ascii());
        check(b".\r\n", ".");
        check(b"a\r\n.\r\n", r"[a\r\n].");
        check(b"a\r\nb\r\n.\r\nc", r"[a\r\nb\r\n].");
        check(b"..a\r\n.b\r\n..\r\n.\r\n", r"[.a\r\n][b\r\n][.\r\n].");
        check(b"a\r\n.", r"[a\r\n]");
        check(b"a\r\n.\r", r"[a\r\n]");
        check(b"a\r", "[a]");
        check(b"a\n.\n", "!!");
        check(b"a\n.\r\n", r"![.\r\n]");
        check(b"a\r.\r", "![.]");
        check(b"a\r\n.\n", r"[a\r\n]!");
        check(b"a\r\n.\r.\r\n", r"[a\r\n]![.\r\n]");
        check(b"a\r\r\n.\r\n", r"![\r\n].");
        check(b"a\n\r\n.\r\n", r"![\r\n].");
        check(b"\0\r\n\0.\r\n", r"[\x00\r\n\x00.\r\n]");
    }
}
