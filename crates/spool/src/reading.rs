//! Reads a journal file's records one by one, hopping over bodies, and tells what is no record: the end, the torn
//! last write, or damage in the middle.

use std::io;
use std::sync::Arc;

use crate::DiskError;
use crate::disk::File;
use crate::files::Name;
use crate::frame::{HEAD_BYTES, HEADER_BYTES, Head, Header};
use crate::record::Change;

/// A journal file that is to be read.
pub(crate) struct Readable {
    pub(crate) name: Name,
    pub(crate) file: Arc<dyn File>,
    pub(crate) head: Head,
    /// Where its records end; `None` for the last file, whose last write may be torn.
    pub(crate) end: Option<u64>,
}

/// What stands at a place of a journal.
pub(crate) enum Next {
    Record(u64, Header, Vec<Change>),
    Damage {
        offset: u64,
        bytes: u64,
        why: &'static str,
    },
    End {
        at: u64,
        torn_bytes: u64,
    },
}

/// Reads a journal's records one by one, hopping over bodies.
pub(crate) struct Reading<'j> {
    journal: &'j Readable,
    at: u64,
    /// Where the file ends, or its records end.
    end: u64,
    /// The batch of the last record, and how much of it was to follow.
    last: (u64, u32),
    window: Vec<u8>,
    window_at: u64,
}

const WINDOW_BYTES: usize = 256 << 10;

impl<'j> Reading<'j> {
    pub(crate) fn new(journal: &'j Readable) -> Result<Reading<'j>, DiskError> {
        let bytes = journal
            .file
            .bytes()
            .map_err(|error| DiskError::failed(format!("read {}", journal.name), error))?;
        Ok(Reading {
            journal,
            at: HEAD_BYTES,
            end: journal.end.map_or(bytes, |end| end.min(bytes)),
            last: (journal.head.batch.saturating_sub(1), 0),
            window: Vec::new(),
            window_at: 0,
        })
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let offset = self.at;
        let salt = self.journal.head.salt;
        let header_bytes = self.bytes(offset, HEADER_BYTES)?;
        if header_bytes.len() < HEADER_BYTES {
            return Ok(self.finish(offset));
        }
        let header = match Header::parse(header_bytes, salt) {
            Ok(header) if offset + header.frame_bytes() <= self.end.next_multiple_of(8) => header,
            Ok(_) => return self.bad(offset, "the record is cut short"),
            Err(why) => return self.bad(offset, why.0),
        };
        let meta = self.bytes(offset + HEADER_BYTES as u64, header.meta_bytes as usize)?;
        match header.read_meta(meta) {
            Ok(changes) => {
                self.at = offset + header.frame_bytes();
                self.last = (header.batch, header.left);
                Ok(Next::Record(offset, header, changes))
            }
            Err(why) => self.bad(offset, why.0),
        }
    }

    fn finish(&self, at: u64) -> Next {
        Next::End { at, torn_bytes: 0 }
    }

    /// Something other than a record stands at an offset: the end, the torn last write, or damage in the middle.
    fn bad(&mut self, offset: u64, why: &'static str) -> io::Result<Next> {
        let found = self.search(offset + 8)?;
        let is_last = self.journal.end.is_none();
        // The batch that the unreadable record belongs to.
        let (last_batch, left) = self.last;
        let batch = if left > 0 { last_batch } else { last_batch + 1 };
        match found {
            // Records of a later batch were written only after this one's batch was synced.
            Some((next, header)) if !is_last || header.batch > batch => {
                self.at = next;
                // What was left of the batch is unknown now; the next record says anew.
                self.last = (header.batch, 1);
                Ok(Next::Damage {
                    offset,
                    bytes: next - offset,
                    why,
                })
            }
            Some(_) => Ok(Next::End {
                at: offset,
                torn_bytes: self.end - offset,
            }),
            None if is_last => Ok(Next::End {
                at: offset,
                torn_bytes: self.torn_bytes(offset)?,
            }),
            None if self.journal.end == Some(u64::MAX) && self.torn_bytes(offset)? == 0 => {
                Ok(self.finish(offset))
            }
            None => {
                self.at = self.end;
                Ok(Next::Damage {
                    offset,
                    bytes: self.end - offset,
                    why,
                })
            }
        }
    }

    /// The next place that holds a sound header of this file and the batch numbers that can follow.
    fn search(&mut self, from: u64) -> io::Result<Option<(u64, Header)>> {
        let salt = self.journal.head.salt;
        let mut at = from;
        while at + HEADER_BYTES as u64 <= self.end {
            if at.is_multiple_of(BLANK.len() as u64) && self.bytes(at, BLANK.len())? == BLANK {
                at += BLANK.len() as u64;
                continue;
            }
            if let Ok(header) = Header::parse(self.bytes(at, HEADER_BYTES)?, salt)
                && header.batch >= self.last.0
                && at + header.frame_bytes() <= self.end
            {
                return Ok(Some((at, header)));
            }
            at += 8;
        }
        Ok(None)
    }

    /// Octets from an offset to the last one that is not blank.
    fn torn_bytes(&mut self, offset: u64) -> io::Result<u64> {
        let mut torn = 0;
        let mut at = offset;
        while at < self.end {
            let bytes = self.bytes(at, BLANK.len())?;
            let length = bytes.len() as u64;
            if length == 0 {
                break;
            }
            if bytes != &BLANK[..bytes.len()]
                && let Some(last) = bytes.iter().rposition(|&byte| byte != 0)
            {
                torn = at - offset + last as u64 + 1;
            }
            at += length;
        }
        Ok(torn)
    }

    /// Octets of the file up to its end, through a window so that small records cost no read each.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let count = count.min(self.end.saturating_sub(offset) as usize);
        let held = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + count as u64 > held {
            let wanted = count
                .max(WINDOW_BYTES)
                .min((self.end - offset.min(self.end)) as usize);
            self.window.resize(wanted, 0);
            self.window_at = offset;
            let read = self.journal.file.read_at(&mut self.window, offset)?;
            self.window.truncate(read);
        }
        let from = (offset - self.window_at) as usize;
        let to = (from + count).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or(&[]))
    }
}

/// What reserved and unwritten space reads as.
const BLANK: [u8; 4096] = [0; 4096];
