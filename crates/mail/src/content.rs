//! What kind of octets a message's content holds, found while it streams in, so that no one has to read it again
//! to know which hosts can take it.

use crate::message::TlsWish;

/// Facts about a message's octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Content {
    /// Octets in all, line ends included (RFC 1870 §5).
    pub bytes: u64,
    /// Octets of the header, the empty line included.
    pub header_bytes: u64,
    /// An octet above 127 stands in the header.
    pub eight_bit_header: bool,
    /// An octet above 127 stands in the body.
    pub eight_bit_body: bool,
    /// A NUL, a bare CR, a bare LF, or a missing last line end: only BDAT can carry it.
    pub binary: bool,
    /// The longest line, without its line end.
    pub longest_line_bytes: u64,
    /// `Received:` fields in the header (RFC 5321 §6.3).
    pub received_fields: u32,
}

/// Reads octets in pieces of any size and finds their [`Content`]. However the octets are cut, the result is the same.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Facts already certain; what hangs on how the content ends is added by [`Survey::content`].
    content: Content,
    part: Part,
    /// Octets of the line that is not ended yet.
    line_bytes: u64,
    /// The last octet was a CR.
    after_cr: bool,
    carriage_returns: u64,
    line_ends: u64,
    field: FieldName,
    tls_required: TlsRequired,
}

impl Survey {
    /// Takes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.content.bytes += bytes.len() as u64;
        // CRs are counted apart from line ends: as many of the one as of the other means that none stands bare.
        self.carriage_returns += memchr::memchr_iter(b'\r', bytes).count() as u64;
        self.content.binary |= memchr::memchr(0, bytes).is_some();
        let body = match self.part {
            Part::Header => self.feed_header(bytes),
            Part::Body => bytes,
        };
        self.content.eight_bit_body |= !body.is_ascii();
        self.feed_body(body);
    }

    /// What has been seen so far, taken as the whole content.
    pub fn content(&self) -> Content {
        let mut content = self.content;
        content.longest_line_bytes = content.longest_line_bytes.max(self.line_bytes);
        content.binary |= self.line_bytes > 0 || self.carriage_returns != self.line_ends;
        if self.part == Part::Header {
            content.header_bytes = content.bytes;
        }
        content
    }

    /// What the header asks of channels: `TLS-Required: No` (RFC 8689 §3), if it stands there once and says so.
    pub fn wish(&self) -> TlsWish {
        self.tls_required.wish()
    }

    /// Goes on until the empty line that ends the header, and returns what stands behind it.
    fn feed_header<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let seen_before = self.content.bytes - bytes.len() as u64;
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            self.field.feed(&bytes[start..=at]);
            self.tls_required.feed(&bytes[start..=at]);
            let end = self.end_line(bytes, start, at);
            start = at + 1;
            match end {
                LineEnd::Bare => continue,
                LineEnd::Ended => self.content.received_fields += self.field.take_received(),
                LineEnd::EndedEmpty => {
                    self.part = Part::Body;
                    self.content.header_bytes = seen_before + start as u64;
                    break;
                }
            }
        }
        let (header, rest) = match self.part {
            Part::Header => (bytes, &bytes[bytes.len()..]),
            Part::Body => bytes.split_at(start),
        };
        self.content.eight_bit_header |= !header.is_ascii();
        if self.part == Part::Header {
            self.field.feed(&bytes[start..]);
            self.tls_required.feed(&bytes[start..]);
            self.hold_partial(bytes, start);
        }
        rest
    }

    fn feed_body(&mut self, bytes: &[u8]) {
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            self.end_line(bytes, start, at);
            start = at + 1;
        }
        self.hold_partial(bytes, start);
    }

    /// The LF at `at` ends the line that began at `start` or in an earlier piece, if a CR stands before it.
    fn end_line(&mut self, bytes: &[u8], start: usize, at: usize) -> LineEnd {
        let cr_before = if at > start {
            bytes[at - 1] == b'\r'
        } else {
            self.after_cr && start == 0
        };
        let octets = self.line_bytes + (at - start) as u64;
        self.after_cr = false;
        if !cr_before {
            self.content.binary = true;
            self.line_bytes = octets + 1;
            return LineEnd::Bare;
        }
        self.line_ends += 1;
        self.line_bytes = 0;
        self.content.longest_line_bytes = self.content.longest_line_bytes.max(octets - 1);
        if octets == 1 {
            LineEnd::EndedEmpty
        } else {
            LineEnd::Ended
        }
    }

    fn hold_partial(&mut self, bytes: &[u8], start: usize) {
        if let Some(last) = bytes[start..].last() {
            self.line_bytes += (bytes.len() - start) as u64;
            self.after_cr = *last == b'\r';
        }
    }
}

/// Which part of the message the octets belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Part {
    #[default]
    Header,
    Body,
}

enum LineEnd {
    /// A LF without CR: part of the line.
    Bare,
    Ended,
    EndedEmpty,
}

/// Looks for `TLS-Required` fields and what they say, in pieces that end with their line at the latest.
#[derive(Clone, Debug, Default)]
struct TlsRequired {
    /// The beginning of the field that is being read, folded or not.
    field: Vec<u8>,
    /// A line has ended: the field goes on if the next one begins with a blank (RFC 5322 §2.2.3).
    line_ended: bool,
    /// Such fields, and those of them that say `No`.
    fields: u32,
    waiving: u32,
}

impl TlsRequired {
    fn feed(&mut self, piece: &[u8]) {
        let Some(first) = piece.first() else { return };
        if self.line_ended && !matches!(first, b' ' | b'\t') {
            self.end_field();
        }
        let room = WAIVING_FIELD_BYTES_MAX - self.field.len();
        self.field.extend_from_slice(&piece[..piece.len().min(room)]);
        self.line_ended = piece.ends_with(b"\n");
    }

    fn end_field(&mut self) {
        let mut halves = self.field.splitn(2, |octet| *octet == b':');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next());
        if let Some(value) = value.filter(|_| name.trim_ascii_end().eq_ignore_ascii_case(b"tls-required")) {
            self.fields = self.fields.saturating_add(1);
            let whole = self.field.len() < WAIVING_FIELD_BYTES_MAX;
            if whole && value.trim_ascii().eq_ignore_ascii_case(b"no") {
                self.waiving = self.waiving.saturating_add(1);
            }
        }
        self.field.clear();
    }

    /// RFC 8689 §3: one field, and no value but `No`. Two of them are no valid wish.
    fn wish(&self) -> TlsWish {
        let mut all = self.clone();
        all.end_field();
        match (all.fields, all.waiving) {
            (1, 1) => TlsWish::Waived,
            _ => TlsWish::Usual,
        }
    }
}

/// More of a field is not looked at; `TLS-Required: No` with generous blanks is shorter.
const WAIVING_FIELD_BYTES_MAX: usize = 128;

/// Looks whether a header line begins with `Received:`, letter by letter across pieces.
#[derive(Clone, Copy, Debug, Default)]
enum FieldName {
    /// So many octets of the name have been found at the line's beginning.
    #[default]
    Begun,
    Matched(u8),
    Received,
    Other,
}

impl FieldName {
    fn feed(&mut self, bytes: &[u8]) {
        let mut matched = match *self {
            FieldName::Begun => 0,
            FieldName::Matched(matched) => usize::from(matched),
            FieldName::Received | FieldName::Other => return,
        };
        for &octet in bytes {
            match RECEIVED.get(matched) {
                Some(letter) if octet.eq_ignore_ascii_case(letter) => matched += 1,
                None if octet == b':' => return *self = FieldName::Received,
                None if octet == b' ' || octet == b'\t' => {} // RFC 5322 §4.5: blanks before the colon
                Some(_) | None => return *self = FieldName::Other,
            }
        }
        *self = FieldName::Matched(matched as u8);
    }

    /// 1 if the line that ends here was a `Received` field; ready for the next line.
    fn take_received(&mut self) -> u32 {
        matches!(std::mem::take(self), FieldName::Received).into()
    }
}

const RECEIVED: &[u8] = b"received";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // proves: 8689-3-1 8689-3-2
    #[test]
    fn one_field_that_says_no_waives() {
        let check = |header: &str, expected: TlsWish| {
            for content in [
                format!("{header}\r\n\r\nTLS-Required: No\r\n"),
                format!("{header}\r\n"),
            ] {
                let mut whole = Survey::default();
                whole.feed(content.as_bytes());
                assert_eq!(whole.wish(), expected, "{content:?}");
                let mut cut = Survey::default();
                content.as_bytes().chunks(1).for_each(|octet| cut.feed(octet));
                assert_eq!(cut.wish(), expected, "{content:?} octet by octet");
            }
        };
        for waives in [
            "TLS-Required: No",
            "Subject: x\r\ntls-required:nO\r\nTo: y",
            "TLS-Required \t:\r\n no \r\n\t",
        ] {
            check(waives, TlsWish::Waived);
        }
        for usual in [
            "Subject: x",
            "TLS-Required: Yes",
            "TLS-Required:",
            "TLS-Required: No, thanks",
            "TLS-Required: No\r\n more",
            "TLS-Required: No\r\nTLS-Required: No",
            "TLS-Required: No\r\nTLS-Required: Yes",
            "X-TLS-Required: No",
            "Subject: x\r\n TLS-Required: No",
        ] {
            check(usual, TlsWish::Usual);
        }
        check(&format!("TLS-Required: No{}x", " ".repeat(200)), TlsWish::Usual);
    }

    fn survey(bytes: &[u8]) -> Content {
        let mut survey = Survey::default();
        survey.feed(bytes);
        survey.content()
    }

    /// The same facts by the plainest reading, octet by octet.
    fn plainly(bytes: &[u8]) -> Content {
        let lines: Vec<&[u8]> = {
            let (mut lines, mut start) = (Vec::new(), 0);
            for at in 1..bytes.len() {
                if &bytes[at - 1..=at] == b"\r\n" && at > start {
                    lines.push(&bytes[start..at - 1]);
                    start = at + 1;
                }
            }
            lines.push(&bytes[start..]);
            lines
        };
        let last = lines[lines.len() - 1];
        let header_lines = lines[..lines.len() - 1].iter().position(|line| line.is_empty());
        let header_bytes = match header_lines {
            Some(count) => lines[..count].iter().map(|line| line.len() + 2).sum::<usize>() + 2,
            None => bytes.len(),
        };
        let bare = |line: &&[u8]| line.iter().any(|octet| b"\r\n\0".contains(octet));
        let received = |line: &&&[u8]| {
            let text = String::from_utf8_lossy(line).to_ascii_lowercase();
            text.strip_prefix("received")
                .is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with(':'))
        };
        Content {
            bytes: bytes.len() as u64,
            header_bytes: header_bytes as u64,
            eight_bit_header: !bytes[..header_bytes].is_ascii(),
            eight_bit_body: !bytes[header_bytes..].is_ascii(),
            binary: !last.is_empty() || lines.iter().any(bare),
            longest_line_bytes: lines.iter().map(|line| line.len()).max().unwrap_or(0) as u64,
            received_fields: lines[..header_lines.unwrap_or(lines.len() - 1)]
                .iter()
                .filter(received)
                .count() as u32,
        }
    }

    #[test]
    fn an_ordinary_message() {
        let content = survey(
            b"Received: a\r\nRECEIVED :b\r\n by c\r\nX-Received: d\r\nSubject: e\r\n\r\nReceived: f\r\n",
        );
        assert_eq!(
            content,
            Content {
                bytes: 75,
                header_bytes: 62,
                longest_line_bytes: 13,
                received_fields: 2,
                ..Content::default()
            }
        );
    }

    #[test]
    fn eight_bit_octets_are_placed() {
        assert!(survey("Subject: é\r\n\r\n".as_bytes()).eight_bit_header);
        let body = survey("Subject: e\r\n\r\né\r\n".as_bytes());
        assert!(!body.eight_bit_header && body.eight_bit_body && !body.binary);
    }

    #[test]
    fn binary_is_what_lines_cannot_carry() {
        for text in [
            "a", "a\r", "a\n", "\n", "\r", "a\nb\r\n", "a\rb\r\n", "\0\r\n", "a\r\r\n", "\r\n\r", "\n\r\n",
        ] {
            assert!(survey(text.as_bytes()).binary, "{text:?}");
        }
        for text in ["", "\r\n", "a\r\n", "\r\n\r\n", "a: b\r\n\r\nc\r\n"] {
            assert!(!survey(text.as_bytes()).binary, "{text:?}");
        }
    }

    #[test]
    fn a_header_alone_is_all_header() {
        assert_eq!(survey(b"").header_bytes, 0);
        assert_eq!(survey(b"Subject: x\r\n").header_bytes, 12);
        assert_eq!(survey(b"\r\nx\r\n").header_bytes, 2);
    }

    #[test]
    fn the_longest_line_is_counted_without_its_end() {
        assert_eq!(survey(b"ab\r\nabcd\r\nabc\r\n").longest_line_bytes, 4);
        assert_eq!(survey(b"ab\r\nabcd").longest_line_bytes, 4);
        assert_eq!(survey(b"\r\n").longest_line_bytes, 0);
    }

    /// Octets that matter to the survey, often enough to meet.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(&b"\r\n"[..]),
            2 => Just(&b"\r\n\r\n"[..]),
            2 => Just(&b"Received:"[..]),
            1 => Just(&b"received \t: x"[..]),
            1 => Just(&b"\r"[..]),
            1 => Just(&b"\n"[..]),
            1 => Just(&b"\0"[..]),
            1 => Just(&b"\xc3\xa9"[..]),
            3 => Just(&b"text"[..]),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_survey_is_right(bytes in octets()) {
            prop_assert_eq!(survey(&bytes), plainly(&bytes));
        }

        #[test]
        fn cuts_change_nothing(bytes in octets(), sizes in proptest::collection::vec(0usize..7, 1..20)) {
            let mut cut = Survey::default();
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle().take(200) {
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                cut.feed(piece);
                rest = behind;
            }
            cut.feed(rest);
            prop_assert_eq!(cut.content(), survey(&bytes));
        }
    }
}
