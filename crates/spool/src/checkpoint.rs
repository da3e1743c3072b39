//! Checkpoints: the index written down, so that a start reads only the journal files behind it. A checkpoint is made
//! while the spool works: it may already know of later records, and reading those again changes nothing.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use mail::MessageId;

use crate::core::{Core, lock};
use crate::disk::File;
use crate::files::{Files, Kind, Name};
use crate::frame::FORMAT_VERSION;
use crate::index::{Entry, Index, Standing, Standstill};
use crate::octets::{Malformed, Put, Take};
use crate::record::{Extent, Marks, put_extents, take_extents, take_id, take_place};
use crate::schedule::LaneNumber;
use crate::{DiskError, Lane};

const MAGIC: &[u8; 8] = b"SEALINDX";
const HEAD_BYTES: usize = 64;
/// A block is closed when it is this long.
const BLOCK_BYTES: usize = 256 << 10;
/// No block is longer: one message's recipients fill it at most.
const BLOCK_BYTES_MAX: u32 = 64 << 20;
/// Messages looked at under one lock.
const ENTRIES_AT_ONCE: usize = 2000;

/// What a checkpoint says.
pub(crate) struct Checkpoint {
    /// The first journal file that it does not cover.
    pub(crate) first_journal: u32,
    /// Batches in those files have at least this number.
    pub(crate) next_batch: u64,
    /// The messages between these two names, both excluded, may be missing: their block is damaged.
    pub(crate) gaps: Vec<Gap>,
}

/// A range of names; `None` is without bound.
pub(crate) type Gap = (Option<MessageId>, Option<MessageId>);

/// Why a checkpoint cannot be used at all.
#[derive(Debug)]
pub(crate) enum Unusable {
    Version(u16),
    Damaged,
    Disk(DiskError),
}

impl Core {
    /// Writes a checkpoint and removes those before it.
    pub(crate) fn checkpoint(&self) -> Result<(), DiskError> {
        let (first_journal, next_batch) = {
            let mut journal = lock(&self.journal);
            self.meta_bytes.store(0, Ordering::Relaxed);
            (journal.rotate(), journal.next_batch())
        };
        let name = Name(Kind::Checkpoint, first_journal);
        let draft = format!("{name}.new");
        let disk = self.files.disk();
        let written = self.write_checkpoint(&draft, first_journal, next_batch);
        if let Err(error) = written {
            // It may not even exist; what is left of it is removed at the next start.
            let _ = disk.unlink(&draft);
            return Err(error);
        }
        disk.rename(&draft, &name.to_string())
            .and_then(|()| disk.sync_folder())
            .map_err(|error| DiskError::failed(format!("rename {draft}"), error))?;
        self.first_journal
            .store(u64::from(first_journal), Ordering::Release);
        self.remove_checkpoints_before(first_journal)
    }

    fn remove_checkpoints_before(&self, first_journal: u32) -> Result<(), DiskError> {
        let names = self
            .files
            .disk()
            .list()
            .map_err(|error| DiskError::failed("list its folder", error))?;
        for name in names.iter().filter_map(|name| Name::parse(name)) {
            if name.0 == Kind::Checkpoint && name.1 < first_journal {
                self.files.unlink(name)?;
            }
        }
        Ok(())
    }

    fn write_checkpoint(&self, draft: &str, first_journal: u32, next_batch: u64) -> Result<(), DiskError> {
        let failed = |error| DiskError::failed(format!("write {draft}"), error);
        let file = self.files.disk().create(draft, 0).map_err(failed)?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.put(MAGIC);
        head.put_u16(FORMAT_VERSION);
        head.put_u16(0);
        head.put_u32(first_journal);
        head.put_u64(next_batch);
        head.put_u32(crc32fast::hash(&head));
        head.resize(HEAD_BYTES, 0);
        file.write_all_at(&head, 0).map_err(failed)?;
        let mut offset = HEAD_BYTES as u64;
        let mut block = Block::default();
        let mut after = None;
        loop {
            let full = {
                let index = lock(&self.index);
                let mut entries = index.after(after).take(ENTRIES_AT_ONCE).peekable();
                let done = entries.peek().is_none();
                for entry in entries {
                    block.push(&index, entry);
                    after = Some(entry.id());
                    if block.entries.len() >= BLOCK_BYTES {
                        break;
                    }
                }
                done || block.entries.len() >= BLOCK_BYTES
            };
            if full {
                let done = block.count == 0;
                let bytes = block.take_bytes();
                file.write_all_at(&bytes, offset).map_err(failed)?;
                offset += bytes.len() as u64;
                if done {
                    break;
                }
            }
        }
        file.sync_data().map_err(failed)
    }
}

/// Some messages, with the names of their lanes, so that each block stands alone. An empty block ends a checkpoint.
#[derive(Default)]
struct Block {
    count: u32,
    entries: Vec<u8>,
    lanes: HashMap<LaneNumber, u32>,
    lane_names: Vec<u8>,
    /// The withheld: the message's and the recipient's place. They stand behind all else, so that a program that does not
    /// know of it reads the rest.
    withheld: Vec<(u32, u32)>,
}

impl Block {
    fn push(&mut self, index: &Index, entry: &Entry) {
        let place = self.count;
        let withheld = (0..).zip(entry.recipients.all());
        let withheld = withheld.filter(|(_, standing)| standing.marks.withheld);
        self.withheld.extend(withheld.map(|(index, _)| (place, index)));
        self.count += 1;
        let out = &mut self.entries;
        out.put_u128(entry.id().to_bits());
        out.put_u32(entry.place.journal);
        out.put_u32(entry.place.offset);
        out.put_u32(entry.bytes);
        put_extents(out, index.extents(entry.id()));
        let standings = entry.recipients.all();
        out.put_count(standings.len());
        for standing in standings {
            let next = self.lanes.len() as u32;
            let lane = *self.lanes.entry(standing.lane).or_insert_with(|| {
                self.lane_names.put_text(index.lane(standing.lane).as_str());
                next
            });
            put_standing(&mut self.entries, standing, lane);
        }
    }

    fn take_bytes(&mut self) -> Vec<u8> {
        let block = std::mem::take(self);
        let mut payload = Vec::with_capacity(block.entries.len() + block.lane_names.len() + 8);
        payload.put_count(block.lanes.len());
        payload.put(&block.lane_names);
        payload.put_u32(block.count);
        payload.put(&block.entries);
        payload.put_count(block.withheld.len());
        for (message, recipient) in &block.withheld {
            payload.put_u32(*message);
            payload.put_u32(*recipient);
        }
        let mut bytes = Vec::with_capacity(payload.len() + 12);
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        bytes.put_u32(length);
        bytes.put_u32(crc32fast::hash(&length.to_le_bytes()));
        bytes.put_u32(crc32fast::hash(&payload));
        bytes.put(&payload);
        bytes
    }
}

fn put_standing(out: &mut Vec<u8>, standing: &Standing, lane: u32) {
    out.put_u64(standing.due);
    out.put_u32(standing.cause.journal);
    out.put_u32(standing.cause.offset);
    out.put_u32(lane);
    out.put_u16(standing.attempts);
    out.put_u8(match standing.state {
        Standstill::Waiting | Standstill::Leased => 0,
        Standstill::Held | Standstill::LeasedToHold => 1,
        Standstill::Settled => 2,
    });
    out.put_u8(standing.marks.octet());
}

const STANDING_BYTES: usize = 8 + 8 + 4 + 2 + 1 + 1;

impl Checkpoint {
    /// Reads a checkpoint into an index.
    pub(crate) fn read(files: &Files, name: Name, index: &mut Index) -> Result<Checkpoint, Unusable> {
        let file = files.open(name).map_err(Unusable::Disk)?;
        let failed = |error| Unusable::Disk(DiskError::failed(format!("read {name}"), error));
        let mut head = [0; HEAD_BYTES];
        file.read_at(&mut head, 0).map_err(failed)?;
        let (first_journal, next_batch) = read_head(&head)?;
        let mut checkpoint = Checkpoint {
            first_journal,
            next_batch,
            gaps: Vec::new(),
        };
        checkpoint
            .read_blocks(&*file, index)
            .map_err(|error| Unusable::Disk(DiskError::failed(format!("read {name}"), error)))?;
        Ok(checkpoint)
    }

    fn read_blocks(&mut self, file: &dyn File, index: &mut Index) -> std::io::Result<()> {
        let end = file.bytes()?;
        let mut offset = HEAD_BYTES as u64;
        let mut last = None;
        let mut gap_from: Option<Option<MessageId>> = None;
        loop {
            let payload = match read_block(file, offset, end)? {
                Some((payload, next)) => {
                    offset = next;
                    payload
                }
                // Without a length there is no way to the next block: all behind it may be missing.
                None => {
                    self.gaps.push((gap_from.unwrap_or(last), None));
                    return Ok(());
                }
            };
            let Ok(block) = payload.and_then(|payload| read_entries(&payload, index)) else {
                gap_from.get_or_insert(last);
                continue;
            };
            if let Some(from) = gap_from.take() {
                self.gaps.push((from, block.first().map(|(entry, _)| entry.id())));
            }
            if block.is_empty() {
                return Ok(());
            }
            for (entry, extents) in block {
                last = Some(entry.id());
                index.insert(entry, extents);
            }
        }
    }
}

fn read_head(head: &[u8]) -> Result<(u32, u64), Unusable> {
    let fields = || -> Result<_, Malformed> {
        let mut take = Take::new(head);
        let magic = take.take(8)? == MAGIC;
        let (version, _, first_journal, next_batch) = (take.u16()?, take.u16()?, take.u32()?, take.u64()?);
        let covered = head.len() - take.left();
        let whole = crc32fast::hash(&head[..covered]) == take.u32()?;
        Ok((magic, version, first_journal, next_batch, whole))
    };
    match fields() {
        Ok((true, version, ..)) if version > FORMAT_VERSION => Err(Unusable::Version(version)),
        Ok((true, _, first_journal, next_batch, true)) => Ok((first_journal, next_batch)),
        Ok(_) | Err(_) => Err(Unusable::Damaged),
    }
}

type BlockRead = Option<(Result<Vec<u8>, Malformed>, u64)>;

/// Reads the block at an offset: its payload, if it is whole, and where the next begins, if that can be known.
fn read_block(file: &dyn File, offset: u64, end: u64) -> std::io::Result<BlockRead> {
    let mut header = [0; 12];
    if file.read_at(&mut header, offset)? < header.len() {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l] = header;
    let length = u32::from_le_bytes([a, b, c, d]);
    let next = offset + 12 + u64::from(length);
    let sound = crc32fast::hash(&length.to_le_bytes()) == u32::from_le_bytes([e, f, g, h]);
    if !sound || length > BLOCK_BYTES_MAX || next > end {
        return Ok(None);
    }
    let mut payload = vec![0; length as usize];
    file.read_at(&mut payload, offset + 12)?;
    let whole = crc32fast::hash(&payload) == u32::from_le_bytes([i, j, k, l]);
    let payload = if whole {
        Ok(payload)
    } else {
        Err(Malformed("the block's checksum is wrong"))
    };
    Ok(Some((payload, next)))
}

type Entries = Vec<(Entry, Box<[Extent]>)>;

fn read_entries(payload: &[u8], index: &mut Index) -> Result<Entries, Malformed> {
    let mut take = Take::new(payload);
    let lane_count = take.count(4)?;
    let lanes = (0..lane_count)
        .map(|_| Ok(index.lane_number(&Lane::new(take.text()?))))
        .collect::<Result<Vec<LaneNumber>, Malformed>>()?;
    let count = take.count(16 + 8 + 4 + 4 + 4)?;
    let mut entries = (0..count)
        .map(|_| take_entry(&mut take, &lanes))
        .collect::<Result<Entries, Malformed>>()?;
    // Written since some recipients may be withheld.
    if take.left() > 0 {
        for _ in 0..take.count(8)? {
            let (message, recipient) = (take.u32()? as usize, take.u32()? as usize);
            let entry = entries.get_mut(message).map(|(entry, _)| entry);
            let standing = entry.and_then(|entry| entry.recipients.all_mut().get_mut(recipient));
            standing.ok_or(Malformed("nobody is withheld"))?.marks.withheld = true;
        }
    }
    Ok(entries)
}

fn take_entry(take: &mut Take<'_>, lanes: &[LaneNumber]) -> Result<(Entry, Box<[Extent]>), Malformed> {
    let id = take_id(take)?;
    let (place, bytes) = (take_place(take)?, take.u32()?);
    let extents = take_extents(take)?;
    let count = take.count(STANDING_BYTES)?;
    let standings = (0..count)
        .map(|_| take_standing(take, lanes))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((Entry::new(id, place, bytes, standings), extents))
}

fn take_standing(take: &mut Take<'_>, lanes: &[LaneNumber]) -> Result<Standing, Malformed> {
    Ok(Standing {
        due: take.u64()?,
        cause: take_place(take)?,
        lane: *lanes
            .get(take.u32()? as usize)
            .ok_or(Malformed("a lane that is none"))?,
        attempts: take.u16()?,
        state: match take.u8()? {
            0 => Standstill::Waiting,
            1 => Standstill::Held,
            2 => Standstill::Settled,
            _ => return Err(Malformed("a stage of an unknown kind")),
        },
        marks: Marks::take(take)?,
    })
}

/// Whether a name lies in one of the gaps.
pub(crate) fn in_gap(gaps: &[Gap], id: MessageId) -> bool {
    gaps.iter()
        .any(|&(from, to)| from.is_none_or(|from| id > from) && to.is_none_or(|to| id < to))
}
