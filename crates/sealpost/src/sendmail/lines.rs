//! Line ends of a message that a program wrote, made those of mail: LF, CRLF and a lone CR each become CRLF
//! (RFC 5321 §2.3.8: nothing else is ever transmitted).

use std::io;

/// Turns octets into lines, in pieces of any size.
#[derive(Clone, Debug)]
pub struct Lines {
    dot: Dot,
    /// The last octet was a CR whose line end is already written.
    after_cr: bool,
    line: Line,
}

/// What a line with a single dot means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dot {
    /// The end of the message.
    Ends,
    /// A line like any other.
    Stays,
}

/// What of the current line has been seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Empty,
    Dot,
    Text,
    /// The message is over.
    Over,
}

/// What cannot be sent as mail.
#[derive(Debug)]
pub enum BadLine {
    /// A NUL: no mail system carries it.
    Nul,
    /// The header is too long.
    HeaderTooLong,
    /// The input failed.
    World(io::Error),
}

impl Lines {
    /// At the beginning of a message.
    pub fn new(dot: Dot) -> Lines {
        Lines {
            dot,
            after_cr: false,
            line: Line::Empty,
        }
    }

    /// Takes the next octets and appends lines to `out`. Says whether the message is over.
    pub fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<bool, BadLine> {
        for &octet in octets {
            if self.line == Line::Over {
                return Ok(true);
            }
            match octet {
                0 => return Err(BadLine::Nul),
                b'\n' if self.after_cr => self.after_cr = false,
                b'\r' | b'\n' => {
                    self.after_cr = octet == b'\r';
                    self.end_line(out);
                }
                octet => {
                    self.after_cr = false;
                    self.push(octet, out);
                }
            }
        }
        Ok(self.line == Line::Over)
    }

    /// The input is over: a last line without its end gets one.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        match self.line {
            Line::Empty | Line::Over => {}
            Line::Dot | Line::Text => self.end_line(out),
        }
        self.line = Line::Over;
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        if self.line == Line::Dot {
            if self.dot == Dot::Ends {
                self.line = Line::Over;
                return;
            }
            out.push(b'.');
        }
        out.extend_from_slice(b"\r\n");
        self.line = Line::Empty;
    }

    /// A dot that begins a line is held back until it is clear that more follows.
    fn push(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.line, octet) {
            (Line::Empty, b'.') => self.line = Line::Dot,
            (Line::Dot, octet) => {
                out.extend_from_slice(&[b'.', octet]);
                self.line = Line::Text;
            }
            (_, octet) => {
                out.push(octet);
                self.line = Line::Text;
            }
        }
    }
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadLine::Nul => f.write_str("it holds a NUL octet; encode it, in base64 for example"),
            BadLine::HeaderTooLong => f.write_str("its header is longer than 1 MiB"),
            BadLine::World(error) => write!(f, "standard input or output failed: {error}"),
        }
    }
}

impl std::error::Error for BadLine {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole, and cut at every seam.
    fn check(dot: Dot, text: &str, expected: &str) {
        for cut in 0..=text.len() {
            let (mut lines, mut out) = (Lines::new(dot), Vec::new());
            let (one, two) = text.as_bytes().split_at(cut);
            let over = lines.feed(one, &mut out).unwrap() || lines.feed(two, &mut out).unwrap();
            if !over {
                lines.end(&mut out);
            }
            assert_eq!(String::from_utf8_lossy(&out), expected, "{text:?} cut at {cut}");
        }
    }

    // proves: 5321-2.3.8-2
    #[test]
    fn every_line_end_becomes_crlf() {
        check(Dot::Stays, "a\nb\r\nc\rd", "a\r\nb\r\nc\r\nd\r\n");
        check(Dot::Stays, "\r\r\n\n", "\r\n\r\n\r\n");
        check(Dot::Stays, "a\r\n\r\n", "a\r\n\r\n");
        check(Dot::Stays, "", "");
    }

    #[test]
    fn a_dot_alone_ends_only_where_it_may() {
        check(Dot::Ends, "a\n.\nb\n", "a\r\n");
        check(Dot::Ends, "a\n..\n.b\n. \n", "a\r\n..\r\n.b\r\n. \r\n");
        check(Dot::Ends, "a\n.", "a\r\n");
        check(Dot::Stays, "a\n.\nb\n.", "a\r\n.\r\nb\r\n.\r\n");
    }

    #[test]
    fn a_nul_is_refused() {
        assert!(Lines::new(Dot::Stays).feed(b"a\0", &mut Vec::new()).is_err());
    }
}
