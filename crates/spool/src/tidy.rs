//! Gives space back: removes files that nothing needs, makes checkpoints, and copies the last messages of a mostly dead
//! file forward. Runs beside acceptance and never stops it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mail::MessageId;

use crate::body::{BodyReader, BodyWriter};
use crate::commit::{Move, NewMessage};
use crate::core::{Core, lock};
use crate::files::{Kind, Name};
use crate::index::Usage;
use crate::journal::Frame;
use crate::record::{Kept, StoredBody, StoredCause, Told};
use crate::{DiskError, Place};

/// Octets that one message takes in a checkpoint, about.
const ENTRY_BYTES: u64 = 72;
/// Messages moved with one sync, so that new mail never waits long behind them.
const MOVES_AT_ONCE: usize = 64;
/// Octets of content moved with one sync.
const MOVED_BYTES_AT_ONCE: u64 = 1 << 20;

impl Core {
    /// One round.
    pub(crate) fn tidy(&self) -> Result<(), DiskError> {
        self.start_tidy();
        if self.checkpoint_is_due() {
            self.checkpoint()?;
        }
        self.remove_unneeded()?;
        for name in self.mostly_dead()? {
            if self.is_closed() {
                return Ok(());
            }
            self.compact(name)?;
            self.remove_unneeded()?;
        }
        Ok(())
    }

    fn first_journal(&self) -> u32 {
        u32::try_from(self.first_journal.load(Ordering::Acquire)).unwrap_or(u32::MAX)
    }

    /// When a start would have much to read, compared with the checkpoint's own size, or when journal files are kept
    /// only because no checkpoint covers them.
    fn checkpoint_is_due(&self) -> bool {
        let current = lock(&self.journal).current();
        let first = self.first_journal();
        let index = lock(&self.index);
        let own_bytes = index.len() as u64 * ENTRY_BYTES;
        let idle = index.journals.range(first..current);
        let threshold = self.threshold(self.limits.file_bytes_max);
        let idle = idle.filter(|(_, usage)| usage.live_bytes <= threshold).count() as u64;
        let meta_bytes = self.meta_bytes.load(Ordering::Relaxed);
        meta_bytes >= self.limits.checkpoint_after_bytes.max(own_bytes)
            || idle >= 4 && idle * self.limits.file_bytes_max >= own_bytes
    }

    /// Removes files that hold nothing needed: journal files before the checkpoint and segments, without uses.
    pub(crate) fn remove_unneeded(&self) -> Result<(), DiskError> {
        let current = lock(&self.journal).current();
        let first = self.first_journal().min(current);
        let held = self.segments.held();
        let mut unneeded = Vec::new();
        {
            let mut index = lock(&self.index);
            let unused = |usage: &Usage| usage.uses == 0;
            let journals = index.journals.range(..first);
            unneeded.extend(
                journals
                    .filter(|(_, usage)| unused(usage))
                    .map(|(&number, _)| Name(Kind::Journal, number)),
            );
            let segments = index.segments.iter();
            unneeded.extend(
                segments
                    .filter(|(number, usage)| unused(usage) && !held.contains(number))
                    .map(|(&number, _)| Name(Kind::Segment, number)),
            );
            for name in &unneeded {
                match name.0 {
                    Kind::Journal => index.journals.remove(&name.1),
                    Kind::Segment => index.segments.remove(&name.1),
                    Kind::Checkpoint => None,
                };
            }
        }
        for name in unneeded {
            self.files.unlink(name)?;
        }
        Ok(())
    }

    fn threshold(&self, bytes: u64) -> u64 {
        bytes / 100 * u64::from(self.limits.compact_below_percent)
    }

    /// Files that are no longer written and of which little is live. Journal files that a start would read through
    /// anyway are left alone: most of what is in them will soon be delivered.
    fn mostly_dead(&self) -> Result<Vec<Name>, DiskError> {
        let current = lock(&self.journal).current().min(self.first_journal());
        let held = self.segments.held();
        let usages: Vec<(Name, Usage)> = {
            let index = lock(&self.index);
            let journals = index.journals.range(..current);
            let journals = journals.map(|(&number, &usage)| (Name(Kind::Journal, number), usage));
            let segments = index.segments.iter();
            let segments = segments.filter(|(number, _)| !held.contains(number));
            let segments = segments.map(|(&number, &usage)| (Name(Kind::Segment, number), usage));
            journals
                .chain(segments)
                .filter(|(_, usage)| usage.uses > 0)
                .collect()
        };
        let mut found = Vec::new();
        for (name, usage) in usages {
            let bytes = self
                .files
                .open(name)?
                .bytes()
                .map_err(|error| DiskError::failed(format!("look at {name}"), error))?;
            if usage.live_bytes < self.threshold(bytes) {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Copies what is live in a file forward.
    fn compact(&self, name: Name) -> Result<(), DiskError> {
        let mut after = None;
        loop {
            let (ids, last) = self.users_of(name, after);
            let mut moves = Vec::new();
            let mut bytes = 0;
            for id in ids {
                if let Some(moved) = self.prepare_move(id, name)? {
                    bytes += moved.message.beside.len() as u64;
                    moves.push(moved);
                }
                if moves.len() >= MOVES_AT_ONCE || bytes >= MOVED_BYTES_AT_ONCE {
                    self.commit_moves(std::mem::take(&mut moves))?;
                    bytes = 0;
                }
            }
            self.commit_moves(moves)?;
            if last.is_none() {
                return Ok(());
            }
            after = last;
        }
    }

    /// Messages behind `after` that need a file, among the next few thousand; and where to go on.
    fn users_of(&self, name: Name, after: Option<MessageId>) -> (Vec<MessageId>, Option<MessageId>) {
        let index = lock(&self.index);
        let mut users = Vec::new();
        let mut last = None;
        for entry in index.after(after).take(4000) {
            last = Some(entry.id());
            let uses = match name.0 {
                Kind::Journal => {
                    let mut standings = entry.recipients.all().iter();
                    entry.place.journal == name.1
                        || standings.any(|standing| standing.cause.journal == name.1)
                }
                Kind::Segment => index
                    .extents(entry.id())
                    .iter()
                    .any(|extent| extent.segment == name.1),
                Kind::Checkpoint => false,
            };
            if uses {
                users.push(entry.id());
            }
        }
        (users, last)
    }

    /// Reads a message so that it can be written anew. A message that cannot be read stays where it is.
    fn prepare_move(&self, id: MessageId, out_of: Name) -> Result<Option<Move>, DiskError> {
        let (place, cause_places) = {
            let index = lock(&self.index);
            let Some(entry) = index.get(id) else {
                return Ok(None);
            };
            let standings = entry.recipients.all().iter();
            let causes: Vec<Place> = standings.map(|standing| standing.cause).collect();
            (entry.place, causes)
        };
        let kept = Frame::read(&self.files, place).map(|frame| frame.kept(id));
        let (mut kept, file, name, body_at) = match kept {
            Ok(Some(read)) => read,
            // It is held and named when its turn to be sent comes.
            Ok(None) | Err(DiskError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stays = matches!(&kept.body, StoredBody::Apart { extents, .. }
            if out_of.0 != Kind::Segment || extents.iter().all(|extent| extent.segment != out_of.1));
        let (beside, segments) = if stays {
            (Vec::new(), Vec::new())
        } else {
            let body = BodyReader::open(&self.files, &kept.body, file, name, body_at)?;
            match self.copy_body(body, &mut kept)? {
                Some(copied) => copied,
                None => return Ok(None),
            }
        };
        Ok(Some(Move {
            causes: self.read_causes(id, &cause_places),
            message: NewMessage {
                kept,
                beside,
                lanes: Vec::new(),
                segments,
            },
        }))
    }

    fn read_causes(&self, id: MessageId, places: &[Place]) -> Vec<Option<(Place, Told)>> {
        let mut frames: BTreeMap<Place, Option<Frame>> = BTreeMap::new();
        let causes = places.iter().zip(0..).map(|(&place, recipient)| {
            if place == Place::NONE {
                return None;
            }
            let frame = frames
                .entry(place)
                .or_insert_with(|| Frame::read(&self.files, place).ok());
            match &frame.as_ref()?.progress(id, recipient)?.cause {
                StoredCause::Here(told) => Some((place, (**told).clone())),
                StoredCause::None | StoredCause::At(_) => None,
            }
        });
        causes.collect()
    }

    /// Writes the content anew: beside the record, or into the segment being written. None when it is damaged.
    fn copy_body(&self, mut body: BodyReader, kept: &mut Kept) -> Result<Option<Copied>, DiskError> {
        let mut writer = BodyWriter::new(self.limits.inline_bytes_max);
        let mut buffer = vec![0; crate::record::BLOCK_BYTES];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => writer.push(&self.segments, &buffer[..read])?,
                Err(DiskError::Damaged { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        kept.body = writer.finish(&self.segments)?;
        for segment in &writer.segments {
            segment.sync()?;
        }
        Ok(Some((writer.block, writer.segments)))
    }
}

type Copied = (Vec<u8>, Vec<Arc<crate::segment::Segment>>);
