//! How records stand in a journal file: the file's head, and before each record a header with checksums. Knows the
//! octets, not what the records mean.
//!
//! A header's checksum covers the file's salt too. Who sends a message does not know the salt, so no content can hold
//! octets that pass for a record when damage makes recovery search for the next one.

use std::io;

use crate::disk::File;
use crate::octets::{Malformed, Put, Take};

/// Version of the format that this code writes, and the newest that it reads.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// The head of a journal or segment stands twice, a page apart, so that one bad sector does not cost the file.
pub(crate) const HEAD_BYTES: u64 = 8192;
const HEAD_COPY_AT: usize = 4096;
const MAGIC: &[u8; 8] = b"SEALPOST";
/// Octets before each record.
pub(crate) const HEADER_BYTES: usize = 32;
const FRAME_MAGIC: u32 = 0x3146_5053; // "SPF1"
/// A record's changes may not be longer: what is read is bounded before memory is taken for it.
pub(crate) const META_BYTES_MAX: u32 = 64 << 20;

/// What a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Journal,
    Segment,
}

/// The head of a journal or segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) purpose: Purpose,
    pub(crate) number: u32,
    pub(crate) salt: u64,
    /// The journal before this one and where its last synced record ended; 0 and 0 for the first journal and for segments.
    pub(crate) previous: u32,
    pub(crate) previous_end: u64,
    /// The number that the first batch of records in this journal has.
    pub(crate) batch: u64,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadHead {
    /// It is of a later version of the format.
    Version(u16),
    /// Neither copy is whole.
    Damaged,
}

impl Head {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD_BYTES as usize);
        head.put(MAGIC);
        head.put_u16(FORMAT_VERSION);
        head.put_u16(match self.purpose {
            Purpose::Journal => 1,
            Purpose::Segment => 2,
        });
        head.put_u32(self.number);
        head.put_u64(self.salt);
        head.put_u32(self.previous);
        head.put_u64(self.previous_end);
        head.put_u64(self.batch);
        head.put_u32(crc32fast::hash(&head));
        let copy = head.clone();
        head.resize(HEAD_COPY_AT, 0);
        head.extend_from_slice(&copy);
        head.resize(HEAD_BYTES as usize, 0);
        head
    }

    pub(crate) fn read(file: &dyn File) -> io::Result<Result<Head, BadHead>> {
        let mut bytes = vec![0; HEAD_BYTES as usize];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        let copy = bytes.get(HEAD_COPY_AT..).unwrap_or(&[]);
        Ok(Head::parse(&bytes).or_else(|bad| Head::parse(copy).map_err(|_| bad)))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Head, BadHead> {
        Head::parse_fields(bytes).unwrap_or(Err(BadHead::Damaged))
    }

    fn parse_fields(bytes: &[u8]) -> Result<Result<Head, BadHead>, Malformed> {
        let mut take = Take::new(bytes);
        if take.take(8)? != MAGIC {
            return Ok(Err(BadHead::Damaged));
        }
        let version = take.u16()?;
        let purpose = take.u16()?;
        let head = Head {
            purpose: match purpose {
                1 => Purpose::Journal,
                _ => Purpose::Segment,
            },
            number: take.u32()?,
            salt: take.u64()?,
            previous: take.u32()?,
            previous_end: take.u64()?,
            batch: take.u64()?,
        };
        let covered = bytes.len() - take.left();
        // A later version keeps magic and version in their places, but perhaps nothing else.
        if version > FORMAT_VERSION {
            return Ok(Err(BadHead::Version(version)));
        }
        let whole = take.u32()? == crc32fast::hash(&bytes[..covered]) && (1..=2).contains(&purpose);
        Ok(if whole { Ok(head) } else { Err(BadHead::Damaged) })
    }
}

/// What stands before each record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Which group of records, synced together, this one belongs to; grows over all journals.
    pub(crate) batch: u64,
    /// Octets of the batch behind this record.
    pub(crate) left: u32,
    pub(crate) meta_bytes: u32,
    /// Octets of content behind the changes, not covered by the checksums here.
    pub(crate) body_bytes: u32,
    pub(crate) meta_crc: u32,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8], salt: u64) -> Result<Header, Malformed> {
        let mut take = Take::new(bytes);
        let (magic, crc) = (take.u32()?, take.u32()?);
        let covered = take.take(HEADER_BYTES - 8)?;
        if magic != FRAME_MAGIC || crc != salted_crc(salt, covered) {
            return Err(Malformed("the record's header is damaged"));
        }
        Header::parse_fields(Take::new(covered))
    }

    /// Reads a header whose place is known from elsewhere, so that the checksum of the changes is enough.
    pub(crate) fn parse_trusted(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut take = Take::new(bytes);
        let (magic, _) = (take.u32()?, take.u32()?);
        if magic != FRAME_MAGIC {
            return Err(Malformed("the record's header is damaged"));
        }
        Header::parse_fields(take)
    }

    fn parse_fields(mut take: Take<'_>) -> Result<Header, Malformed> {
        let header = Header {
            batch: take.u64()?,
            left: take.u32()?,
            meta_bytes: take.u32()?,
            body_bytes: take.u32()?,
            meta_crc: take.u32()?,
        };
        if header.meta_bytes > META_BYTES_MAX {
            return Err(Malformed("the record is longer than any can be"));
        }
        Ok(header)
    }

    fn to_bytes(self, salt: u64) -> [u8; HEADER_BYTES] {
        let mut covered = Vec::with_capacity(HEADER_BYTES);
        covered.put_u64(self.batch);
        covered.put_u32(self.left);
        covered.put_u32(self.meta_bytes);
        covered.put_u32(self.body_bytes);
        covered.put_u32(self.meta_crc);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&salted_crc(salt, &covered).to_le_bytes());
        bytes[8..].copy_from_slice(&covered);
        bytes
    }

    /// Octets from this header to the next.
    pub(crate) fn frame_bytes(self) -> u64 {
        frame_bytes(self.meta_bytes as usize, self.body_bytes as usize)
    }
}

fn frame_bytes(meta: usize, body: usize) -> u64 {
    (HEADER_BYTES as u64 + meta as u64 + body as u64).next_multiple_of(8)
}

fn salted_crc(salt: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

/// Records that are written and synced together.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each record begins, its changes' octets, its content's octets.
    frames: Vec<(usize, u32, u32)>,
}

impl Batch {
    /// Appends a record and returns where it will stand, counted from the batch's start. `meta` appends the changes.
    pub(crate) fn push(&mut self, body: &[u8], meta: impl FnOnce(&mut Vec<u8>)) -> Result<u32, Malformed> {
        let start = self.bytes.len();
        self.bytes.resize(start + HEADER_BYTES, 0);
        meta(&mut self.bytes);
        let meta_bytes = self.bytes.len() - start - HEADER_BYTES;
        let counted = (
            u32::try_from(meta_bytes)
                .ok()
                .filter(|&bytes| bytes <= META_BYTES_MAX),
            u32::try_from(body.len()).ok(),
            u32::try_from(start).ok(),
        );
        let (Some(meta_bytes), Some(body_bytes), Some(at)) = counted else {
            self.bytes.truncate(start);
            return Err(Malformed("the record would be longer than any can be"));
        };
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.frames.push((start, meta_bytes, body_bytes));
        Ok(at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn meta_bytes(&self) -> u64 {
        self.frames.iter().map(|&(_, meta, _)| u64::from(meta)).sum()
    }

    /// Fills in the headers for the file it goes to.
    pub(crate) fn seal(&mut self, salt: u64, batch: u64) -> &[u8] {
        let end = self.bytes.len();
        for &(start, meta_bytes, body_bytes) in &self.frames {
            let meta_at = start + HEADER_BYTES;
            let frame_end = start + frame_bytes(meta_bytes as usize, body_bytes as usize) as usize;
            let header = Header {
                batch,
                left: u32::try_from(end - frame_end).unwrap_or(u32::MAX),
                meta_bytes,
                body_bytes,
                meta_crc: crc32fast::hash(&self.bytes[meta_at..meta_at + meta_bytes as usize]),
            };
            self.bytes[start..meta_at].copy_from_slice(&header.to_bytes(salt));
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_only_with_its_salt() {
        let mut batch = Batch::default();
        batch.push(b"body", |out| out.put(b"meta")).unwrap();
        batch.push(b"", |out| out.put(b"more meta")).unwrap();
        let bytes = batch.seal(7, 42).to_vec();
        let first = Header::parse(&bytes, 7).unwrap();
        assert_eq!((first.batch, first.meta_bytes, first.body_bytes), (42, 4, 4));
        assert_eq!(first.frame_bytes(), 40);
        assert_eq!(u64::from(first.left) + first.frame_bytes(), bytes.len() as u64);
        assert!(Header::parse(&bytes, 8).is_err());
        for at in 0..HEADER_BYTES {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Header::parse(&changed, 7).is_err(), "octet {at}");
        }
    }

    #[test]
    fn a_head_survives_a_bad_sector_and_names_a_later_version() {
        let head = Head {
            purpose: Purpose::Journal,
            number: 3,
            salt: 99,
            previous: 2,
            previous_end: 12345,
            batch: 17,
        };
        let mut bytes = head.to_bytes();
        assert_eq!(Head::parse(&bytes), Ok(head));
        assert_eq!(Head::parse(&bytes[HEAD_COPY_AT..]), Ok(head));
        bytes[20] ^= 1;
        assert_eq!(Head::parse(&bytes), Err(BadHead::Damaged));
        bytes[8] = 2;
        assert_eq!(Head::parse(&bytes), Err(BadHead::Version(2)));
        assert_eq!(Head::parse(&[]), Err(BadHead::Damaged));
    }
}
