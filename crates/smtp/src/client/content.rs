//! Framing of content: dots stuffed for DATA, chunks counted for BDAT. However the caller cuts the content, the
//! octets sent are the same.
//!
//! Both are the last guard before the wire: content that is not what the transaction said of it is not sent, because
//! a bare LF in DATA would let a message's text speak to the next host as commands.

use mail::Body;

use super::outcome::Trouble;

/// Puts lines on the wire for DATA (RFC 5321 §4.5.2).
#[derive(Debug)]
pub(super) struct Lines {
    guard: Guard,
}

impl Lines {
    /// For a message of so many octets.
    pub(super) fn new(body: Body, message_bytes: u64) -> Lines {
        Lines {
            guard: Guard::new(body, message_bytes),
        }
    }

    /// Appends a piece, dots stuffed.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        let place = self.guard.place;
        self.guard.check(bytes)?;
        if place == Place::LineStart && bytes.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut start = 0;
        for at in memchr::memmem::find_iter(bytes, b"\n.") {
            out.extend_from_slice(&bytes[start..=at]);
            out.push(b'.');
            start = at + 1;
        }
        out.extend_from_slice(&bytes[start..]);
        Ok(())
    }

    /// Appends the end of the content.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        self.guard.check_end()?;
        out.extend_from_slice(b".\r\n");
        Ok(())
    }
}

/// Puts counted chunks on the wire for BDAT (RFC 3030 §2).
#[derive(Debug)]
pub(super) struct Chunks {
    guard: Guard,
    /// Octets of the chunk whose command is written and that must still follow it.
    owed: u64,
    chunk_bytes_max: u64,
    begun: Option<Chunk>,
}

/// Which chunk a command announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunk {
    Inner,
    Last,
}

impl Chunks {
    /// For a message of so many octets.
    pub(super) fn new(body: Body, message_bytes: u64, chunk_bytes_max: u64) -> Chunks {
        Chunks {
            guard: Guard::new(body, message_bytes),
            owed: 0,
            chunk_bytes_max,
            begun: None,
        }
    }

    /// Appends as much of a piece as belongs to one chunk, and says how much that was. A chunk's command is written
    /// when its first octet is here, and is returned so that its reply can be awaited.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Chunk>), Trouble> {
        if bytes.len() as u64 > self.guard.left {
            return Err(Trouble::ContentDiffers);
        }
        let begun = (self.owed == 0).then(|| self.begin(out));
        let taken = self.owed.min(bytes.len() as u64) as usize;
        let taken_bytes = &bytes[..taken];
        self.guard.check(taken_bytes)?;
        out.extend_from_slice(taken_bytes);
        self.owed -= taken as u64;
        Ok((taken, begun))
    }

    /// The content is complete; an empty one still needs its command.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<Option<Chunk>, Trouble> {
        self.guard.check_end()?;
        Ok(self.begun.is_none().then(|| self.begin(out)))
    }

    /// Octets that must follow before anything else can be said.
    pub(super) fn owed(&self) -> u64 {
        self.owed
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Chunk {
        self.owed = self.guard.left.min(self.chunk_bytes_max);
        let (chunk, mark) = if self.owed == self.guard.left {
            (Chunk::Last, " LAST")
        } else {
            (Chunk::Inner, "")
        };
        out.extend_from_slice(format!("BDAT {}{mark}\r\n", self.owed).as_bytes());
        self.begun = Some(chunk);
        chunk
    }
}

/// Holds octets against what MAIL said of them.
#[derive(Debug)]
struct Guard {
    body: Body,
    place: Place,
    /// Octets of the message not given yet.
    left: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    LineStart,
    InLine,
    AfterCr,
}

impl Guard {
    fn new(body: Body, message_bytes: u64) -> Guard {
        Guard {
            body,
            place: Place::LineStart,
            left: message_bytes,
        }
    }

    /// Not more than there are; and unless the body is binary, only CRLF ends lines, no NUL, and no octet above 127 that was not announced.
    fn check(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let sound = match self.body {
            Body::BinaryMime => true,
            Body::EightBitMime => self.has_sound_lines(bytes),
            Body::SevenBit => bytes.is_ascii() && self.has_sound_lines(bytes),
        };
        self.place = match bytes.last() {
            None => self.place,
            Some(b'\n') => Place::LineStart,
            Some(b'\r') => Place::AfterCr,
            Some(_) => Place::InLine,
        };
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) if sound => {
                self.left = left;
                Ok(())
            }
            Some(_) | None => Err(Trouble::ContentDiffers),
        }
    }

    /// A message cut short must not be ended as if it were whole.
    fn check_end(&self) -> Result<(), Trouble> {
        match self.place {
            _ if self.left > 0 => Err(Trouble::ContentDiffers),
            Place::LineStart => Ok(()),
            Place::InLine | Place::AfterCr if self.body == Body::BinaryMime => Ok(()),
            Place::InLine | Place::AfterCr => Err(Trouble::ContentDiffers),
        }
    }

    fn has_sound_lines(&self, bytes: &[u8]) -> bool {
        let mut line_ends = 0;
        let mut sound = memchr::memchr(0, bytes).is_none();
        for at in memchr::memchr_iter(b'\n', bytes) {
            line_ends += 1;
            sound &= if at == 0 {
                self.place == Place::AfterCr
            } else {
                bytes[at - 1] == b'\r'
            };
        }
        // Each LF has its CR; as many CRs as LFs, but for one at the edge that waits for its LF, means none is bare.
        let before = usize::from(self.place == Place::AfterCr && !bytes.is_empty());
        let waiting = usize::from(bytes.last() == Some(&b'\r'));
        sound && before + memchr::memchr_iter(b'\r', bytes).count() == line_ends + waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(pieces: &[&[u8]]) -> Result<Vec<u8>, Trouble> {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let (mut lines, mut out) = (Lines::new(Body::EightBitMime, bytes), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut out)?;
        }
        lines.end(&mut out)?;
        Ok(out)
    }

    fn chunked(body: Body, message: &[u8], chunk_bytes_max: u64, cut: usize) -> Result<Vec<u8>, Trouble> {
        let (mut chunks, mut out) = (
            Chunks::new(body, message.len() as u64, chunk_bytes_max),
            Vec::new(),
        );
        for mut piece in message.chunks(cut) {
            while !piece.is_empty() {
                let (taken, _) = chunks.push(piece, &mut out)?;
                piece = &piece[taken..];
            }
        }
        chunks.end(&mut out)?;
        Ok(out)
    }

    // proves: 5321-4.5.2-1 5321-4.1.1.4-3
    #[test]
    fn dots_at_the_beginning_of_lines_are_doubled() {
        let check =
            |text: &str, wire: &str| assert_eq!(stuffed(&[text.as_bytes()]), Ok(wire.as_bytes().to_vec()));
        check("", ".\r\n");
        check("a\r\n", "a\r\n.\r\n");
        check(".x\r\n", "..x\r\n.\r\n");
        check(".\r\n", "..\r\n.\r\n");
        check("..\r\n.\r\n", "...\r\n..\r\n.\r\n");
        check("a.\r\n.b\r\n\r\n.c\r\n", "a.\r\n..b\r\n\r\n..c\r\n.\r\n");
    }

    // proves: 5321-2.3.8-1 5321-2.3.8-2
    #[test]
    fn what_is_no_line_is_not_sent_as_lines() {
        for text in [
            "a", "a\r", "a\n", "\n.\r\n", "a\n.\n", "a\rb\r\n", "a\r\r\n", "\r.\r\n", "a\0\r\n",
        ] {
            for cut in 1..=text.len() {
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
                assert_eq!(
                    stuffed(&pieces),
                    Err(Trouble::ContentDiffers),
                    "{text:?} by {cut}"
                );
                // proves: 3030-2-12
                assert_eq!(
                    chunked(Body::EightBitMime, text.as_bytes(), 100, cut),
                    Err(Trouble::ContentDiffers)
                );
            }
        }
        assert_eq!(
            Lines::new(Body::SevenBit, 2).push("é".as_bytes(), &mut Vec::new()),
            Err(Trouble::ContentDiffers)
        );
    }

    #[test]
    fn chunks_are_counted() {
        let check = |message: &str, max: u64, wire: &str| {
            let sent = chunked(Body::BinaryMime, message.as_bytes(), max, 3).unwrap();
            assert_eq!(String::from_utf8(sent).unwrap(), wire);
        };
        check("", 4, "BDAT 0 LAST\r\n");
        check(".\n.\r", 4, "BDAT 4 LAST\r\n.\n.\r");
        check("abcdefghi", 4, "BDAT 4\r\nabcdBDAT 4\r\nefghBDAT 1 LAST\r\ni");
        check("abcdefgh", 4, "BDAT 4\r\nabcdBDAT 4 LAST\r\nefgh");
    }

    #[test]
    fn more_or_less_than_was_said_is_not_sent() {
        let mut chunks = Chunks::new(Body::BinaryMime, 3, 10);
        assert_eq!(
            chunks.push(b"abcd", &mut Vec::new()),
            Err(Trouble::ContentDiffers)
        );
        assert_eq!(chunks.end(&mut Vec::new()), Err(Trouble::ContentDiffers));
        let mut lines = Lines::new(Body::SevenBit, 6);
        assert_eq!(lines.push(b"a\r\n", &mut Vec::new()), Ok(()));
        assert_eq!(lines.end(&mut Vec::new()), Err(Trouble::ContentDiffers));
        assert_eq!(
            lines.push(b"bcd\r\n", &mut Vec::new()),
            Err(Trouble::ContentDiffers)
        );
    }

    proptest! {
        #[test]
        fn cuts_change_nothing_and_stuffing_can_be_undone(
            words in proptest::collection::vec(prop_oneof![Just("."), Just("\r\n"), Just("text"), Just("\r\n.")], 0..30),
            cut in 1usize..7,
        ) {
            let text = words.concat() + "\r\n";
            let whole = stuffed(&[text.as_bytes()]).unwrap();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            prop_assert_eq!(&stuffed(&pieces).unwrap(), &whole);
            let wire = String::from_utf8(whole).unwrap();
            let lines = wire.strip_suffix(".\r\n").unwrap().split_terminator("\r\n");
            prop_assert!(lines.clone().all(|line| line != "."));
            let undone: String = lines.map(|line| format!("{}\r\n", line.strip_prefix('.').unwrap_or(line))).collect();
            prop_assert_eq!(undone, text);
        }
    }
}
