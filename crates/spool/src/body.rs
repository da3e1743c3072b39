//! A message's content: written in blocks while it comes in, read back block by block. Nothing is handed out before
//! its checksum is proven.

use std::sync::Arc;

use crate::DiskError;
use crate::disk::File;
use crate::files::{Files, Kind, Name};
use crate::record::{BLOCK_BYTES, Extent, StoredBody};
use crate::segment::{Segment, Segments};

/// Writes a content: the beginning into memory, what does not fit there into segments.
pub(crate) struct BodyWriter {
    inline_bytes_max: usize,
    /// Content that is not yet in a segment.
    pub(crate) block: Vec<u8>,
    extents: Vec<Extent>,
    crcs: Vec<u32>,
    /// The segments written to: kept from removal while this lives.
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl BodyWriter {
    pub(crate) fn new(inline_bytes_max: usize) -> BodyWriter {
        BodyWriter {
            inline_bytes_max,
            block: Vec::new(),
            extents: Vec::new(),
            crcs: Vec::new(),
            segments: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, segments: &Segments, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            // A full block goes out only when more follows, so that a message of exactly that size stays small.
            if self.block.len() == BLOCK_BYTES {
                self.write_block(segments)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// What is left goes beside the record when all of it is small, else into a segment.
    pub(crate) fn finish(&mut self, segments: &Segments) -> Result<StoredBody, DiskError> {
        if self.extents.is_empty() && self.block.len() <= self.inline_bytes_max {
            return Ok(StoredBody::Beside {
                at: 0,
                bytes: self.block.len() as u32,
                crc: crc32fast::hash(&self.block),
            });
        }
        if !self.block.is_empty() {
            self.write_block(segments)?;
        }
        Ok(StoredBody::Apart {
            extents: std::mem::take(&mut self.extents).into(),
            crcs: std::mem::take(&mut self.crcs).into(),
        })
    }

    fn write_block(&mut self, segments: &Segments) -> Result<(), DiskError> {
        let (segment, extent) = segments.write(&self.block)?;
        self.crcs.push(crc32fast::hash(&self.block));
        self.block.clear();
        match self.extents.last_mut() {
            Some(last) if last.segment == extent.segment && last.offset + last.bytes == extent.offset => {
                last.bytes += extent.bytes;
            }
            _ => self.extents.push(extent),
        }
        if self.segments.iter().all(|known| known.number != segment.number) {
            self.segments.push(segment);
        }
        Ok(())
    }
}

/// Streams a message's content. Keeps the files open: the message can be read to its end though it be deleted or moved
/// meanwhile.
pub struct BodyReader {
    pieces: Vec<Piece>,
    crcs: Box<[u32]>,
    /// Octets of all blocks.
    total: u64,
    /// Octets read from the disk so far.
    position: u64,
    block: Vec<u8>,
    /// Octets of the block that were handed out.
    handed: usize,
}

struct Piece {
    file: Arc<dyn File>,
    name: Name,
    offset: u64,
    bytes: u64,
}

impl BodyReader {
    /// The content of a record whose body part begins at `body_at` of `file`.
    pub(crate) fn open(
        files: &Files,
        body: &StoredBody,
        file: Arc<dyn File>,
        name: Name,
        body_at: u64,
    ) -> Result<BodyReader, DiskError> {
        let (pieces, crcs) = match body {
            StoredBody::Beside { at, bytes, crc } => {
                let piece = Piece {
                    file,
                    name,
                    offset: body_at + u64::from(*at),
                    bytes: u64::from(*bytes),
                };
                (vec![piece], Box::from([*crc]))
            }
            StoredBody::Apart { extents, crcs } => {
                let pieces = extents.iter().map(|extent| Piece::open(files, extent));
                (pieces.collect::<Result<_, _>>()?, crcs.clone())
            }
        };
        Ok(BodyReader {
            total: pieces.iter().map(|piece| piece.bytes).sum(),
            pieces,
            crcs,
            position: 0,
            block: Vec::new(),
            handed: 0,
        })
    }

    /// Octets of content in all.
    pub fn bytes(&self) -> u64 {
        self.total
    }

    /// Fills the beginning of `buffer` with the next octets and says how many; 0 at the end. An error means that the
    /// disk fails or that what it holds is not what was written: what was handed out before is sound.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DiskError> {
        if self.handed == self.block.len() {
            self.next_block()?;
        }
        let rest = &self.block[self.handed..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.handed += count;
        Ok(count)
    }

    fn next_block(&mut self) -> Result<(), DiskError> {
        self.handed = 0;
        let start = self.position;
        let bytes = (self.total - start).min(BLOCK_BYTES as u64) as usize;
        self.block.resize(bytes, 0);
        if bytes == 0 {
            return Ok(());
        }
        let mut filled = 0;
        while filled < bytes {
            filled += self.read_piece(start + filled as u64, filled)?;
        }
        let number = (start / BLOCK_BYTES as u64) as usize;
        if self.crcs.get(number) != Some(&crc32fast::hash(&self.block)) {
            self.block.clear();
            return Err(self.damaged(start, "the content's checksum is wrong"));
        }
        self.position = start + bytes as u64;
        Ok(())
    }

    /// Reads into the block from `filled` on what the piece at `position` holds of it.
    fn read_piece(&mut self, position: u64, filled: usize) -> Result<usize, DiskError> {
        let mut before = 0;
        let piece = self.pieces.iter().find_map(|piece| {
            let within = position - before;
            before += piece.bytes;
            (position < before).then_some((piece, within))
        });
        let Some((piece, within)) = piece else {
            return Err(self.damaged(position, "the content ends too early"));
        };
        let count = (self.block.len() - filled).min((piece.bytes - within) as usize);
        let target = &mut self.block[filled..filled + count];
        let read = piece
            .file
            .read_at(target, piece.offset + within)
            .map_err(|error| DiskError::failed(format!("read {}", piece.name), error))?;
        if read < count {
            return Err(self.damaged(position, "the file ends too early"));
        }
        Ok(count)
    }

    fn damaged(&self, position: u64, why: &'static str) -> DiskError {
        let mut before = 0;
        let piece = self.pieces.iter().find(|piece| {
            before += piece.bytes;
            position < before
        });
        DiskError::Damaged {
            file: piece.map_or_else(String::new, |piece| piece.name.to_string()),
            offset: piece.map_or(0, |piece| piece.offset + position - (before - piece.bytes)),
            why,
        }
    }
}

impl std::io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        BodyReader::read(self, buffer).map_err(std::io::Error::other)
    }
}

impl Piece {
    fn open(files: &Files, extent: &Extent) -> Result<Piece, DiskError> {
        let name = Name(Kind::Segment, extent.segment);
        Ok(Piece {
            file: files.open(name)?,
            name,
            offset: u64::from(extent.offset),
            bytes: u64::from(extent.bytes),
        })
    }
}
