//! What a start does: reads the newest checkpoint and the journal files behind it, decides where the last write was
//! torn, sets damaged records aside, and removes what nothing needs. Reads no bodies but those of the very last batch.
//!
//! It changes nothing that a second start would judge differently: it may be interrupted anywhere and begun anew.

use std::sync::Arc;

use mail::MessageId;

use crate::checkpoint::{Checkpoint, Gap, Unusable, in_gap};
use crate::core::LaneOf;
use crate::disk::File;
use crate::files::{Files, Kind, Name, RESERVE};
use crate::frame::{BadHead, FORMAT_VERSION, HEAD_BYTES, HEADER_BYTES, Head, Header};
use crate::index::{Index, Source};
use crate::reading::{Next, Readable, Reading};
use crate::record::{Change, StoredBody};
use crate::{Damage, DiskError, OpenError, Place, Recovery};

/// What a start found.
pub(crate) struct Found {
    pub(crate) index: Index,
    pub(crate) next_journal: u32,
    /// The last journal file and where its records end.
    pub(crate) previous: (u32, u64),
    pub(crate) next_batch: u64,
    pub(crate) next_segment: u32,
    pub(crate) first_journal: u32,
    /// Octets of records behind the checkpoint.
    pub(crate) meta_bytes: u64,
}

pub(crate) fn recover(files: &Arc<Files>, lane_of: &LaneOf) -> Result<(Found, Recovery), OpenError> {
    let mut recovering = Recovering {
        files,
        lane_of,
        found: Found {
            index: Index::default(),
            next_journal: 1,
            previous: (0, 0),
            next_batch: 1,
            next_segment: 1,
            first_journal: 0,
            meta_bytes: 0,
        },
        recovery: Recovery::default(),
    };
    let names = recovering.names()?;
    let gaps = recovering.read_checkpoint(&names)?;
    recovering.read_journals(&names, &gaps)?;
    recovering.remove_leftovers(&names)?;
    let Recovering {
        found, mut recovery, ..
    } = recovering;
    recovery.messages = found.index.len() as u64;
    Ok((found, recovery))
}

struct Recovering<'s> {
    files: &'s Arc<Files>,
    lane_of: &'s LaneOf,
    found: Found,
    recovery: Recovery,
}

impl Recovering<'_> {
    fn names(&mut self) -> Result<Vec<Name>, DiskError> {
        let names = self
            .files
            .disk()
            .list()
            .map_err(|error| DiskError::failed("list its folder", error))?;
        let mut names: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
        names.sort_unstable();
        for &Name(kind, number) in &names {
            let next = number.saturating_add(1);
            match kind {
                // A checkpoint has the number of the journal file that follows it.
                Kind::Checkpoint => self.found.next_journal = self.found.next_journal.max(number),
                Kind::Journal => self.found.next_journal = self.found.next_journal.max(next),
                Kind::Segment => self.found.next_segment = self.found.next_segment.max(next),
            }
        }
        Ok(names)
    }

    /// Reads the newest checkpoint that can be read. Returns the ranges of messages that it lost.
    fn read_checkpoint(&mut self, names: &[Name]) -> Result<Vec<Gap>, OpenError> {
        let checkpoints = names.iter().filter(|name| name.0 == Kind::Checkpoint);
        let mut lost = Vec::new();
        for &name in checkpoints.rev() {
            match Checkpoint::read(self.files, name, &mut self.found.index) {
                Ok(checkpoint) => {
                    self.found.first_journal = checkpoint.first_journal;
                    self.found.next_batch = checkpoint.next_batch;
                    lost = checkpoint.gaps;
                    if !lost.is_empty() {
                        self.report(name, "some of its blocks are damaged")?;
                    }
                    break;
                }
                Err(Unusable::Version(found)) => return Err(version(name, found)),
                Err(Unusable::Damaged) => {
                    self.set_file_aside(name, "its head is damaged")?;
                    lost = vec![(None, None)];
                }
                Err(Unusable::Disk(error)) => return Err(OpenError::Disk(error)),
            }
        }
        Ok(lost)
    }

    fn read_journals(&mut self, names: &[Name], gaps: &[Gap]) -> Result<(), OpenError> {
        let journals = self.readable(names)?;
        for journal in journals {
            self.found.next_batch = self.found.next_batch.max(journal.head.batch);
            if journal.name.1 >= self.found.first_journal {
                self.read_journal(&journal, &|_| true)?;
            } else if !gaps.is_empty() {
                // Whatever the damaged checkpoint lost is still kept by an older file. That it was settled may be
                // forgotten: then it is sent twice, which is better than never.
                self.read_journal(&journal, &|id| in_gap(gaps, id))?;
            }
        }
        Ok(())
    }

    /// The journal files that count, oldest first, each with its end. Files between a file and the one it names as
    /// its predecessor hold nothing that was ever promised.
    fn readable(&mut self, names: &[Name]) -> Result<Vec<Readable>, OpenError> {
        let mut readable: Vec<Readable> = Vec::new();
        let mut next: Option<Head> = None;
        for &name in names.iter().rev().filter(|name| name.0 == Kind::Journal) {
            let covered = name.1 < self.found.first_journal;
            if next.is_some_and(|next| name.1 > next.previous) && !covered {
                continue;
            }
            let file = self.files.open(name)?;
            let head =
                Head::read(&*file).map_err(|error| DiskError::failed(format!("read {name}"), error))?;
            match head {
                Ok(head) => {
                    let end = next.map(|next| match next.previous == name.1 {
                        true => next.previous_end,
                        // The file between them is damaged or gone: this one is read as far as it goes.
                        false => u64::MAX,
                    });
                    next = Some(head);
                    readable.push(Readable {
                        name,
                        file,
                        head,
                        end,
                    });
                }
                Err(BadHead::Version(found)) => return Err(version(name, found)),
                // A file whose head was never synced has nothing behind it.
                Err(BadHead::Damaged) if is_blank(&*file)? => {}
                Err(BadHead::Damaged) => self.set_file_aside(name, "both copies of its head are damaged")?,
            }
        }
        readable.reverse();
        Ok(readable)
    }

    fn read_journal(
        &mut self,
        journal: &Readable,
        wanted: &dyn Fn(MessageId) -> bool,
    ) -> Result<(), OpenError> {
        let name = journal.name;
        let mut reading = Reading::new(journal)?;
        // Records of the batch being read: applied when it is known whether it was synced.
        let mut batch: Vec<(Place, Header, Vec<Change>)> = Vec::new();
        loop {
            let failed = |error| DiskError::failed(format!("read {name}"), error);
            match reading.next().map_err(failed)? {
                Next::Record(offset, header, changes) => {
                    if batch
                        .last()
                        .is_some_and(|(_, last, _)| last.batch != header.batch)
                    {
                        self.apply(std::mem::take(&mut batch), wanted);
                    }
                    let place = Place {
                        journal: name.1,
                        offset: u32::try_from(offset).unwrap_or(u32::MAX),
                    };
                    self.found.next_batch = self.found.next_batch.max(header.batch + 1);
                    batch.push((place, header, changes));
                }
                Next::Damage { offset, bytes, why } => {
                    self.set_aside(journal, offset, bytes, why)?;
                }
                Next::End { at, torn_bytes } => {
                    let mut end = at;
                    if journal.end.is_none() {
                        end = self.check_last_batch(journal, &mut batch, at)?;
                        self.recovery.torn_bytes += torn_bytes + (at - end);
                    }
                    self.apply(batch, wanted);
                    self.found.previous = (name.1, end);
                    return Ok(());
                }
            }
        }
    }

    /// The last batch may have been cut short by a crash in any way: its bodies are read too. What stands behind the
    /// first unsound one was never promised. Returns where the sound records end.
    fn check_last_batch(
        &self,
        journal: &Readable,
        batch: &mut Vec<(Place, Header, Vec<Change>)>,
        end: u64,
    ) -> Result<u64, DiskError> {
        let mut sound = 0;
        let mut sound_end = end;
        for (place, header, changes) in batch.iter() {
            if !bodies_are_sound(journal, *place, *header, changes)? {
                sound_end = u64::from(place.offset);
                break;
            }
            sound += 1;
        }
        batch.truncate(sound);
        Ok(sound_end)
    }

    fn apply(&mut self, batch: Vec<(Place, Header, Vec<Change>)>, wanted: &dyn Fn(MessageId) -> bool) {
        for (place, header, changes) in batch {
            self.recovery.records += 1;
            self.found.meta_bytes += u64::from(header.meta_bytes);
            for change in &changes {
                let id = match change {
                    Change::Keep(kept) => kept.message.id,
                    Change::Progress(steps) => steps.id,
                    Change::Gone(id) => *id,
                };
                if !wanted(id) {
                    continue;
                }
                let lanes = match change {
                    Change::Keep(kept) => kept
                        .message
                        .envelope
                        .recipients
                        .iter()
                        .map(|recipient| self.found.index.lane_number(&(self.lane_of)(recipient)))
                        .collect(),
                    Change::Progress(_) | Change::Gone(_) => Vec::new(),
                };
                self.found.index.apply(change, place, Source::Lease, &lanes);
            }
        }
    }

    /// Copies a damaged record into the folder for such, where a person can look at it.
    fn set_aside(
        &mut self,
        journal: &Readable,
        offset: u64,
        bytes: u64,
        why: &'static str,
    ) -> Result<(), DiskError> {
        let name = format!("{}-{offset}", journal.name);
        let path = format!("damaged/{name}");
        let failed = |error| DiskError::failed(format!("write {path}"), error);
        match self.files.disk().create(&path, 0) {
            Ok(copy) => {
                let mut buffer = vec![0; 64 << 10];
                let mut copied = 0;
                while copied < bytes {
                    let wanted = buffer.len().min((bytes - copied) as usize);
                    let read = journal
                        .file
                        .read_at(&mut buffer[..wanted], offset + copied)
                        .map_err(failed)?;
                    if read == 0 {
                        break;
                    }
                    copy.write_all_at(&buffer[..read], copied).map_err(failed)?;
                    copied += read as u64;
                }
                copy.sync_data()
                    .and_then(|()| self.files.disk().sync_folder())
                    .map_err(failed)?;
            }
            // An earlier start set it aside.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        self.recovery.damaged.push(Damage {
            name,
            file: journal.name.to_string(),
            offset,
            bytes,
            why: why.to_owned(),
        });
        Ok(())
    }

    /// Moves a file that cannot be read at all to where a person can look at it.
    fn set_file_aside(&mut self, name: Name, why: &str) -> Result<(), DiskError> {
        self.report(name, why)?;
        self.files
            .disk()
            .rename(&name.to_string(), &format!("damaged/{name}"))
            .and_then(|()| self.files.disk().sync_folder())
            .map_err(|error| DiskError::failed(format!("set {name} aside"), error))
    }

    fn report(&mut self, name: Name, why: &str) -> Result<(), DiskError> {
        let bytes = self
            .files
            .open(name)?
            .bytes()
            .map_err(|error| DiskError::failed(format!("read {name}"), error))?;
        self.recovery.damaged.push(Damage {
            name: name.to_string(),
            file: name.to_string(),
            offset: 0,
            bytes,
            why: why.to_owned(),
        });
        Ok(())
    }

    /// Removes what an interrupted step left behind.
    fn remove_leftovers(&mut self, names: &[Name]) -> Result<(), DiskError> {
        let disk = self.files.disk();
        let all = disk
            .list()
            .map_err(|error| DiskError::failed("list its folder", error))?;
        for name in all.iter().filter(|name| name.ends_with(".new")) {
            disk.unlink(name)
                .map_err(|error| DiskError::failed(format!("remove {name}"), error))?;
        }
        // A reserve that was cut short when it was made promises nothing.
        if all.iter().any(|name| name == RESERVE) {
            disk.unlink(RESERVE)
                .map_err(|error| DiskError::failed("remove the reserve", error))?;
        }
        let first = self.found.first_journal;
        // Records of messages long gone count files that are gone too.
        let index = &mut self.found.index;
        index.journals.retain(|_, usage| usage.uses > 0);
        index.segments.retain(|_, usage| usage.uses > 0);
        for &name in names {
            match name.0 {
                Kind::Checkpoint if name.1 < first => self.files.unlink(name)?,
                Kind::Checkpoint => {}
                // Counted, though perhaps unused, so that it is removed in its time.
                Kind::Journal => drop(self.found.index.journals.entry(name.1).or_default()),
                // After damage, what seems unused may be what is left of a message.
                Kind::Segment if !self.recovery.damaged.is_empty() => {}
                Kind::Segment => drop(self.found.index.segments.entry(name.1).or_default()),
            }
        }
        Ok(())
    }
}

fn version(name: Name, found: u16) -> OpenError {
    OpenError::Version {
        file: name.to_string(),
        found,
        known: FORMAT_VERSION,
    }
}

/// Whether nothing but zeros stands where the first record would.
fn is_blank(file: &dyn File) -> Result<bool, DiskError> {
    let mut bytes = vec![0; 4096];
    let read = file
        .read_at(&mut bytes, HEAD_BYTES)
        .map_err(|error| DiskError::failed("read a journal file", error))?;
    Ok(bytes[..read].iter().all(|&byte| byte == 0))
}

fn bodies_are_sound(
    journal: &Readable,
    place: Place,
    header: Header,
    changes: &[Change],
) -> Result<bool, DiskError> {
    let body_at = u64::from(place.offset) + HEADER_BYTES as u64 + u64::from(header.meta_bytes);
    let mut body = vec![0; header.body_bytes as usize];
    let read = journal
        .file
        .read_at(&mut body, body_at)
        .map_err(|error| DiskError::failed(format!("read {}", journal.name), error))?;
    body.truncate(read);
    Ok(changes.iter().all(|change| match change {
        Change::Keep(kept) => match kept.body {
            StoredBody::Beside { at, bytes, crc } => {
                let from = at as usize;
                let content = body.get(from..from.saturating_add(bytes as usize));
                content.is_some_and(|content| crc32fast::hash(content) == crc)
            }
            // Synced before the record was written.
            StoredBody::Apart { .. } => true,
        },
        Change::Progress(_) | Change::Gone(_) => true,
    }))
}
