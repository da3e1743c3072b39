//! Octets that have come and are not yet understood.

use std::ops::Range;

/// A buffer read from its front. What was taken stays in place until the next feed, so that a step can lend it.
#[derive(Default)]
pub(super) struct Input {
    octets: Vec<u8>,
    /// Everything before has been taken.
    start: usize,
    /// No line end begins between `start` and here.
    searched: usize,
}

/// What the front of the input holds.
pub(super) enum Line {
    /// A line that lies here, without its CRLF.
    Whole(Range<usize>),
    /// The beginning of a line.
    Partial,
    /// More octets than a line may have, its end included or not yet seen.
    TooLong,
}

impl Input {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.octets.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.octets.extend_from_slice(bytes);
    }

    /// How many octets wait.
    pub(super) fn unread(&self) -> usize {
        self.octets.len() - self.start
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.octets[self.start..]
    }

    /// What a range given out since the last feed holds.
    pub(super) fn taken(&self, range: Range<usize>) -> &[u8] {
        &self.octets[range]
    }

    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let range = self.start..self.start + count;
        self.start = range.end;
        self.searched = range.end;
        range
    }

    /// Takes a line of at most `bytes_max` octets, CRLF included. RFC 5321 §2.3.8: CRLF alone ends a line.
    pub(super) fn take_line(&mut self, bytes_max: usize) -> Line {
        match self.line_end() {
            Some(end) if end + 2 - self.start > bytes_max => Line::TooLong,
            Some(end) => {
                let line = self.take(end + 2 - self.start);
                Line::Whole(line.start..end)
            }
            None if self.unread() >= bytes_max => Line::TooLong,
            None => Line::Partial,
        }
    }

    /// Drops octets up to and with the next CRLF; whether it was there.
    pub(super) fn skip_line(&mut self) -> Skipped {
        match self.line_end() {
            Some(end) => {
                self.take(end + 2 - self.start);
                Skipped::Whole
            }
            None => {
                // The CR of a CRLF may be the last octet that has come.
                let kept = usize::from(self.waiting().last() == Some(&b'\r'));
                self.take(self.unread() - kept);
                Skipped::InPart
            }
        }
    }

    /// Gives memory back when nothing waits: an idle session costs little.
    pub(super) fn rest(&mut self) {
        if self.unread() == 0 {
            *self = Input::default();
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.octets.capacity()
    }

    fn line_end(&mut self) -> Option<usize> {
        let mut from = self.searched;
        while let Some(at) = memchr::memchr(b'\r', &self.octets[from..]) {
            let cr = from + at;
            match self.octets.get(cr + 1) {
                Some(b'\n') => return Some(cr),
                Some(_) => from = cr + 1,
                None => {
                    self.searched = cr;
                    return None;
                }
            }
        }
        self.searched = self.octets.len();
        None
    }
}

/// How far [`Input::skip_line`] came.
#[derive(PartialEq, Eq)]
pub(super) enum Skipped {
    /// Behind the line's end.
    Whole,
    /// The end has not come.
    InPart,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]], bytes_max: usize) -> Vec<String> {
        let mut input = Input::default();
        let mut found = Vec::new();
        let mut skipped = Skipped::Whole;
        for piece in pieces {
            input.feed(piece);
            loop {
                if skipped == Skipped::InPart {
                    skipped = input.skip_line();
                }
                if skipped == Skipped::InPart {
                    break;
                }
                match input.take_line(bytes_max) {
                    Line::Whole(range) => found.push(input.taken(range).escape_ascii().to_string()),
                    Line::Partial => break,
                    Line::TooLong => {
                        found.push("too long".to_owned());
                        skipped = Skipped::InPart;
                    }
                }
            }
            input.rest();
        }
        found
    }

    #[test]
    fn only_crlf_ends_a_line() {
        let check = |pieces: &[&[u8]], expected: &[&str]| assert_eq!(lines(pieces, 8), expected);
        check(&[b"a\r\nb\r\n"], &["a", "b"]);
        check(&[b"a\r", b"\nb"], &["a"]);
        check(&[b"a\nb\rc\r\n"], &[r"a\nb\rc"]);
        check(&[b"\r\r\n"], &[r"\r"]);
        check(&[b"\n\r", b"\r", b"\n"], &[r"\n\r"]);
        check(&[b"123456\r\n"], &["123456"]);
        check(&[b"1234567\r\na\r\n"], &["too long", "a"]);
        check(&[b"12345678"], &["too long"]);
        check(&[b"1234567", b"\r", b"\na\r\n"], &["too long", "a"]);
    }
}
