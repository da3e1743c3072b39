//! Body segments: files that hold the blocks of large bodies, written while they arrive, many at the same time.
//! A block is written once and never changed. Which blocks count is for the journal to say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::DiskError;
use crate::disk::File;
use crate::files::{Files, Kind, Name};
use crate::frame::{HEAD_BYTES, Head, Purpose};
use crate::record::Extent;

/// A segment that is being written. While a draft or a request holds it, it is not removed.
pub(crate) struct Segment {
    pub(crate) number: u32,
    file: Arc<dyn File>,
    end: Mutex<u64>,
    failed: AtomicBool,
}

/// The segments open for writing, and the number of the next.
pub(crate) struct Segments {
    files: Arc<Files>,
    file_bytes_max: u64,
    current: Mutex<Current>,
}

struct Current {
    segment: Option<Arc<Segment>>,
    next_number: u32,
    /// Every segment of this run that a draft may still hold, or that is current.
    held: Vec<Arc<Segment>>,
}

impl Segments {
    pub(crate) fn new(files: Arc<Files>, file_bytes_max: u64, next_number: u32) -> Segments {
        Segments {
            files,
            file_bytes_max,
            current: Mutex::new(Current {
                segment: None,
                next_number,
                held: Vec::new(),
            }),
        }
    }

    /// Writes a block behind all others. Durable only after the segment's sync.
    pub(crate) fn write(&self, block: &[u8]) -> Result<(Arc<Segment>, Extent), DiskError> {
        let (segment, extent) = self.allot(block.len())?;
        segment.check()?;
        if let Err(error) = segment.file.write_all_at(block, u64::from(extent.offset)) {
            segment.fail();
            return Err(DiskError::failed(
                format!("write {}", Name(Kind::Segment, segment.number)),
                error,
            ));
        }
        Ok((segment, extent))
    }

    /// Segments of this run that are not to be removed: the current one and those that a draft or a request holds.
    pub(crate) fn held(&self) -> Vec<u32> {
        let mut current = self.lock();
        let now = current.segment.as_ref().map(|segment| segment.number);
        // One count is the list's own.
        current
            .held
            .retain(|segment| Some(segment.number) == now || Arc::strong_count(segment) > 1);
        current.held.iter().map(|segment| segment.number).collect()
    }

    fn allot(&self, bytes: usize) -> Result<(Arc<Segment>, Extent), DiskError> {
        let bytes = u32::try_from(bytes).map_err(|_| DiskError::TooLarge)?;
        let mut current = self.lock();
        let usable = current.segment.as_ref().filter(|segment| {
            !segment.failed.load(Ordering::Acquire) && segment.end() + u64::from(bytes) <= self.file_bytes_max
        });
        let segment = match usable {
            Some(segment) => Arc::clone(segment),
            None => {
                if let Some(full) = current.segment.take() {
                    full.give_back()?;
                }
                let segment = Arc::new(self.create(current.next_number)?);
                current.next_number += 1;
                current.segment = Some(Arc::clone(&segment));
                current.held.push(Arc::clone(&segment));
                segment
            }
        };
        let mut end = segment.lock_end();
        let offset = u32::try_from(*end).map_err(|_| DiskError::TooLarge)?;
        *end += u64::from(bytes);
        drop(end);
        let extent = Extent {
            segment: segment.number,
            offset,
            bytes,
        };
        Ok((segment, extent))
    }

    fn create(&self, number: u32) -> Result<Segment, DiskError> {
        let name = Name(Kind::Segment, number);
        let file = self.files.create(name, self.file_bytes_max)?;
        let head = Head {
            purpose: Purpose::Segment,
            number,
            salt: 0,
            previous: 0,
            previous_end: 0,
            batch: 0,
        };
        let made = file
            .write_all_at(&head.to_bytes(), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.files.disk().sync_folder());
        if let Err(error) = made {
            // Nothing points into it. Should the removal fail as well, the next start removes it.
            let _ = self.files.unlink(name);
            return Err(DiskError::failed(format!("create {name}"), error));
        }
        Ok(Segment {
            number,
            file,
            end: Mutex::new(HEAD_BYTES),
            failed: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // Every change under this lock is complete when a panic could happen.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segment {
    /// Makes all blocks written so far durable. After a failure the segment is never written or synced again, and
    /// what was not durable before is lost: the kernel may have thrown the octets away.
    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        self.check()?;
        self.file.sync_data().map_err(|error| {
            self.fail();
            DiskError::failed(format!("sync {}", Name(Kind::Segment, self.number)), error)
        })
    }

    fn check(&self) -> Result<(), DiskError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(DiskError::failed(
                format!("use {}", Name(Kind::Segment, self.number)),
                std::io::Error::other("an earlier write or sync of it failed"),
            ));
        }
        Ok(())
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn end(&self) -> u64 {
        *self.lock_end()
    }

    /// Gives back the space that was reserved and not used.
    fn give_back(&self) -> Result<(), DiskError> {
        if self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.file.truncate(self.end()).map_err(|error| {
            self.fail();
            DiskError::failed(format!("cut {}", Name(Kind::Segment, self.number)), error)
        })
    }

    fn lock_end(&self) -> std::sync::MutexGuard<'_, u64> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
