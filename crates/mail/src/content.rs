//! What kind of octets a message's content holds, found while it streams in, so that no one has to read it again
//! to know which hosts can take it.

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

/// Reads octets in pieces of any size and finds their [`Content`].
#[derive(Clone, Debug, Default)]
pub struct Survey {
    content: Content,
}

impl Survey {
    /// Takes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        let _ = bytes;
        todo!()
    }

    /// What has been seen so far.
    pub fn content(&self) -> Content {
        self.content
    }
}
