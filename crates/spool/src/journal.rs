//! The journal: numbered files of checksummed records, written by one thread in batches, each batch with one sync.
//! Here, and nowhere else, a [`Receipt`] is made: after the sync of the batch that holds the message.
//!
//! A file that once failed a write or a sync is never written again: the next one is opened, and its head says where
//! the last sound record of the one before it ended.

use std::sync::Arc;

use mail::{MessageId, Receipt};

use crate::disk::File;
use crate::files::{Files, Kind, Name, RESERVE};
use crate::frame::{Batch, HEAD_BYTES, HEADER_BYTES, Head, Header, Purpose};
use crate::record::{Change, Kept, StoredProgress, read_changes};
use crate::{DiskError, Limits, Place};

/// The journal's writing end.
pub(crate) struct Journal {
    files: Arc<Files>,
    limits: Limits,
    current: Option<Current>,
    reserve_is_there: bool,
    /// The number that a next file gets.
    next_number: u32,
    /// The last file and where its synced records end.
    previous: (u32, u64),
    next_batch: u64,
}

struct Current {
    number: u32,
    file: Arc<dyn File>,
    salt: u64,
    /// Where the synced records end.
    end: u64,
    /// Octets that were reserved.
    reserved: u64,
}

/// What a batch may take when the disk is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// Only ordinary space: new messages.
    Ordinary,
    /// The reserve too: settlements, which make room.
    Reserve,
}

/// Proof that a batch is on the disk.
pub(crate) struct Synced {
    journal: u32,
    start: u32,
}

impl Synced {
    /// Where the record is that began `at` octets into the batch.
    pub(crate) fn place(&self, at: u32) -> Place {
        Place {
            journal: self.journal,
            offset: self.start + at,
        }
    }

    /// The receipt for a message in this batch.
    pub(crate) fn receipt(&self, id: MessageId) -> Receipt {
        Receipt::mint(id)
    }
}

impl Journal {
    /// Goes on behind what recovery found: always in a new file.
    pub(crate) fn new(
        files: Arc<Files>,
        limits: Limits,
        next_number: u32,
        previous: (u32, u64),
        next_batch: u64,
    ) -> Journal {
        Journal {
            files,
            limits,
            current: None,
            reserve_is_there: false,
            next_number,
            previous,
            next_batch,
        }
    }

    /// The file being written, which is not to be removed; with no file open, the number of the next.
    pub(crate) fn current(&self) -> u32 {
        self.current
            .as_ref()
            .map_or(self.next_number, |current| current.number)
    }

    /// Writes a batch and syncs it. After an error none of it counts, and a next attempt goes to a new file.
    pub(crate) fn write(&mut self, batch: &mut Batch, room: Room) -> Result<Synced, DiskError> {
        let bytes = batch.bytes() as u64;
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.end + bytes > current.reserved)
        {
            self.close_file();
        }
        if self.current.is_none() {
            self.current = Some(self.open_file(bytes, room)?);
        }
        let number = self.next_batch;
        self.next_batch += 1;
        let Some(current) = &mut self.current else {
            return Err(DiskError::Closed);
        };
        let octets = batch.seal(current.salt, number);
        let written = current
            .file
            .write_all_at(octets, current.end)
            .and_then(|()| current.file.sync_data());
        if let Err(error) = written {
            let name = Name(Kind::Journal, current.number);
            self.abandon();
            return Err(DiskError::failed(format!("write {name}"), error));
        }
        let start = u32::try_from(current.end).map_err(|_| DiskError::TooLarge)?;
        current.end += bytes;
        self.previous = (current.number, current.end);
        Ok(Synced {
            journal: current.number,
            start,
        })
    }

    /// The number of the next batch.
    pub(crate) fn next_batch(&self) -> u64 {
        self.next_batch
    }

    /// Goes on in a new file at the next write. Returns the number of that file.
    pub(crate) fn rotate(&mut self) -> u32 {
        self.close_file();
        self.next_number
    }

    /// Keeps space aside for settlements. `Full` when there is none.
    pub(crate) fn ensure_reserve(&mut self) -> Result<(), DiskError> {
        if self.reserve_is_there {
            return Ok(());
        }
        match self.files.disk().create(RESERVE, self.limits.reserve_bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DiskError::failed("create the reserve", error)),
        }
        self.reserve_is_there = true;
        Ok(())
    }

    fn close_file(&mut self) {
        if let Some(current) = self.current.take() {
            // Cutting off the reserved rest only saves space: the next file's head says where the records end.
            let _ = current.file.truncate(current.end);
        }
    }

    fn abandon(&mut self) {
        self.current = None;
    }

    fn open_file(&mut self, bytes: u64, room: Room) -> Result<Current, DiskError> {
        let wanted = self.limits.file_bytes_max.max(HEAD_BYTES + bytes);
        if wanted > u64::from(u32::MAX) {
            return Err(DiskError::TooLarge);
        }
        let number = self.next_number;
        let name = Name(Kind::Journal, number);
        let (file, reserved) = match self.files.create(name, wanted) {
            Ok(file) => (file, wanted),
            Err(DiskError::Full)
                if room == Room::Reserve && HEAD_BYTES + bytes <= self.limits.reserve_bytes =>
            {
                (self.open_reserve(name)?, self.limits.reserve_bytes)
            }
            Err(error) => return Err(error),
        };
        // The name is used up, whatever becomes of the file.
        self.next_number += 1;
        let salt = self.files.disk().roll();
        let head = Head {
            purpose: Purpose::Journal,
            number,
            salt,
            previous: self.previous.0,
            previous_end: self.previous.1,
            batch: self.next_batch,
        };
        file.write_all_at(&head.to_bytes(), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.files.disk().sync_folder())
            .map_err(|error| DiskError::failed(format!("create {name}"), error))?;
        Ok(Current {
            number,
            file,
            salt,
            end: HEAD_BYTES,
            reserved,
        })
    }

    fn open_reserve(&mut self, name: Name) -> Result<Arc<dyn File>, DiskError> {
        self.reserve_is_there = false;
        self.files
            .disk()
            .rename(RESERVE, &name.to_string())
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => DiskError::Full,
                _ => DiskError::failed("use the reserve", error),
            })?;
        self.files.open(name)
    }
}

/// A record as it stands in its file.
pub(crate) struct Frame {
    pub(crate) changes: Vec<Change>,
    pub(crate) file: Arc<dyn File>,
    pub(crate) name: Name,
    /// Where its body part begins in the file.
    pub(crate) body_at: u64,
}

impl Frame {
    /// Reads the record at a place, and checks it.
    pub(crate) fn read(files: &Files, place: Place) -> Result<Frame, DiskError> {
        let name = Name(Kind::Journal, place.journal);
        let file = files.open(name)?;
        let failed = |error| DiskError::failed(format!("read {name}"), error);
        let damaged = |why: crate::octets::Malformed| DiskError::Damaged {
            file: name.to_string(),
            offset: u64::from(place.offset),
            why: why.0,
        };
        let offset = u64::from(place.offset);
        // Most records fit into this: one read.
        let mut bytes = vec![0; 2048];
        let read = file.read_at(&mut bytes, offset).map_err(failed)?;
        bytes.truncate(read);
        let header = Header::parse_trusted(&bytes).map_err(damaged)?;
        let wanted = HEADER_BYTES + header.meta_bytes as usize;
        if bytes.len() < wanted {
            bytes.resize(wanted, 0);
            let read = file.read_at(&mut bytes, offset).map_err(failed)?;
            bytes.truncate(read);
        }
        let meta = bytes
            .get(HEADER_BYTES..wanted)
            .ok_or(crate::octets::Malformed("the record ends too early"))
            .map_err(damaged)?;
        let changes = header.read_meta(meta).map_err(damaged)?;
        Ok(Frame {
            changes,
            file,
            name,
            body_at: offset + wanted as u64,
        })
    }

    /// The message kept by this record.
    pub(crate) fn kept(self, id: MessageId) -> Option<(Kept, Arc<dyn File>, Name, u64)> {
        let Frame {
            changes,
            file,
            name,
            body_at,
        } = self;
        changes.into_iter().find_map(|change| match change {
            Change::Keep(kept) if kept.message.id == id => Some((*kept, Arc::clone(&file), name, body_at)),
            Change::Keep(_) | Change::Progress(_) | Change::Gone(_) => None,
        })
    }

    /// What this record says of a recipient's progress. The last word counts.
    pub(crate) fn progress(&self, id: MessageId, recipient: u32) -> Option<&StoredProgress> {
        self.changes.iter().rev().find_map(|change| match change {
            Change::Progress(steps) if steps.id == id => steps
                .steps
                .iter()
                .rev()
                .find(|(index, _)| *index == recipient)
                .map(|(_, progress)| progress),
            Change::Keep(kept) if kept.message.id == id => kept.steps.get(recipient as usize),
            Change::Keep(_) | Change::Progress(_) | Change::Gone(_) => None,
        })
    }
}

impl Header {
    /// Reads and checks the changes that stand behind this header.
    pub(crate) fn read_meta(self, meta: &[u8]) -> Result<Vec<Change>, crate::octets::Malformed> {
        if crc32fast::hash(meta) != self.meta_crc {
            return Err(crate::octets::Malformed("the record's checksum is wrong"));
        }
        read_changes(meta)
    }
}
