//! What the spool knows of each message without reading the disk: a few dozen octets each. The rest — envelope,
//! arrival, causes — is read from the journal when it is needed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use mail::MessageId;

use crate::octets::Moment;
use crate::record::{Change, Extent, Kept, Marks, Stage, Steps, StoredBody, StoredCause, StoredProgress};
use crate::schedule::{LaneNumber, Schedule, Slot};
use crate::{Lane, Place};

/// All messages, and when they are due.
#[derive(Default)]
pub(crate) struct Index {
    slots: Vec<Option<Entry>>,
    free: Vec<Slot>,
    ids: BTreeMap<MessageId, Slot>,
    /// Where the few large bodies lie.
    apart: BTreeMap<Slot, Box<[Extent]>>,
    pub(crate) schedule: Schedule,
    lanes: Vec<Lane>,
    lane_numbers: HashMap<Lane, LaneNumber>,
    pub(crate) journals: BTreeMap<u32, Usage>,
    pub(crate) segments: BTreeMap<u32, Usage>,
    /// Set when a message went away: a file may be needed no longer.
    pub(crate) emptied: bool,
}

/// How much of a file is still needed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Usage {
    /// Messages, and causes of recipients, that are read from it.
    pub(crate) uses: u64,
    /// Octets that these take, about.
    pub(crate) live_bytes: u64,
}

/// What is known of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// The message's name, in halves so that it needs no wider alignment than the rest.
    id: [u64; 2],
    /// The record that keeps it.
    pub(crate) place: Place,
    /// Octets of content, at most 4 GiB counted.
    pub(crate) bytes: u32,
    pub(crate) recipients: Recipients,
}

/// How far each recipient is; most messages have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Recipients {
    One(Standing),
    Many(Box<[Standing]>),
}

/// How far a recipient is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) due: Moment,
    /// The record that tells the last cause; [`Place::NONE`] when there is no cause.
    pub(crate) cause: Place,
    pub(crate) lane: LaneNumber,
    pub(crate) attempts: u16,
    pub(crate) state: Standstill,
    pub(crate) marks: Marks,
}

/// What is to be done, as memory knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standstill {
    Waiting,
    Leased,
    /// Leased; held when it comes back unsettled.
    LeasedToHold,
    Held,
    Settled,
}

/// Who asks for a change: a lease that ends, or anyone else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Lease,
    Other,
}

/// What a record counts for in its file besides its content.
const RECORD_BYTES: u64 = 320;

impl Place {
    pub(crate) const NONE: Place = Place {
        journal: 0,
        offset: 0,
    };
}

impl Recipients {
    pub(crate) fn all(&self) -> &[Standing] {
        match self {
            Recipients::One(one) => std::slice::from_ref(one),
            Recipients::Many(many) => many,
        }
    }

    pub(crate) fn all_mut(&mut self) -> &mut [Standing] {
        match self {
            Recipients::One(one) => std::slice::from_mut(one),
            Recipients::Many(many) => many,
        }
    }

    fn from_vec(standings: Vec<Standing>) -> Recipients {
        match <[Standing; 1]>::try_from(standings) {
            Ok([one]) => Recipients::One(one),
            Err(many) => Recipients::Many(many.into_boxed_slice()),
        }
    }
}

impl Entry {
    pub(crate) fn new(id: MessageId, place: Place, bytes: u32, standings: Vec<Standing>) -> Entry {
        let bits = id.to_bits();
        Entry {
            id: [(bits >> 64) as u64, bits as u64],
            place,
            bytes,
            recipients: Recipients::from_vec(standings),
        }
    }

    pub(crate) fn id(&self) -> MessageId {
        MessageId::from_bits(u128::from(self.id[0]) << 64 | u128::from(self.id[1]))
    }

    /// When the first waiting recipient of a lane is due.
    fn due_in(&self, lane: LaneNumber) -> Option<Moment> {
        let all = self.recipients.all().iter();
        all.filter(|standing| standing.lane == lane && standing.state == Standstill::Waiting)
            .map(|standing| standing.due)
            .min()
    }

    /// The lanes in which recipients wait, and when the first in each is due.
    fn waits(&self) -> Vec<(LaneNumber, Moment)> {
        let mut waits: Vec<(LaneNumber, Moment)> = Vec::new();
        for standing in self.recipients.all() {
            if standing.state == Standstill::Waiting {
                waits.push((standing.lane, standing.due));
            }
        }
        waits.sort_unstable();
        waits.dedup_by_key(|&mut (lane, _)| lane);
        waits
    }

    fn is_settled(&self) -> bool {
        let mut all = self.recipients.all().iter();
        all.all(|standing| standing.state == Standstill::Settled)
    }
}

impl Index {
    /// The number of a lane, new or known.
    pub(crate) fn lane_number(&mut self, lane: &Lane) -> LaneNumber {
        if let Some(&number) = self.lane_numbers.get(lane) {
            return number;
        }
        let number = self.lanes.len() as LaneNumber;
        self.lanes.push(lane.clone());
        self.lane_numbers.insert(lane.clone(), number);
        number
    }

    pub(crate) fn lane(&self, number: LaneNumber) -> &Lane {
        &self.lanes[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Entry> {
        let slot = *self.ids.get(&id)?;
        self.slots[slot as usize].as_ref()
    }

    /// The lanes of a known message's recipients.
    pub(crate) fn lanes_of(&self, id: MessageId) -> Vec<LaneNumber> {
        let entry = self.get(id);
        let standings = entry.map_or(&[][..], |entry| entry.recipients.all());
        standings.iter().map(|standing| standing.lane).collect()
    }

    pub(crate) fn extents(&self, id: MessageId) -> &[Extent] {
        let slot = self.ids.get(&id);
        slot.and_then(|slot| self.apart.get(slot))
            .map_or(&[], |extents| extents)
    }

    /// The messages behind `after`, in order.
    pub(crate) fn after(&self, after: Option<MessageId>) -> impl Iterator<Item = &Entry> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.ids
            .range((from, Bound::Unbounded))
            .filter_map(|(_, &slot)| self.slots[slot as usize].as_ref())
    }

    /// Applies a record's change. The same code runs at a start and after each sync, so that memory after a start is
    /// what it was before. `lanes` are those of a kept message's recipients.
    pub(crate) fn apply(&mut self, change: &Change, place: Place, source: Source, lanes: &[LaneNumber]) {
        match change {
            Change::Keep(kept) => self.keep(kept, place, lanes),
            Change::Progress(steps) => self.progress(steps, place, source),
            Change::Gone(id) => {
                self.remove(*id);
            }
        }
    }

    fn keep(&mut self, kept: &Kept, place: Place, lanes: &[LaneNumber]) {
        let before = self.remove(kept.message.id);
        let standings = kept.steps.iter().zip(lanes).enumerate();
        let standings = standings.map(|(index, (step, &lane))| {
            let mut standing = Standing::of(step, place, lane);
            // A message that is moved may be leased meanwhile.
            if let Some(before) = before
                .as_ref()
                .and_then(|before| before.recipients.all().get(index))
            {
                standing.state = before.state_after(standing.state);
            }
            standing
        });
        let bytes = u32::try_from(kept.message.content.bytes).unwrap_or(u32::MAX);
        let entry = Entry::new(kept.message.id, place, bytes, standings.collect());
        let extents = match &kept.body {
            StoredBody::Beside { .. } => Box::default(),
            StoredBody::Apart { extents, .. } => extents.clone(),
        };
        self.insert(entry, extents);
    }

    /// Puts in a message, if anything is left to do for it.
    pub(crate) fn insert(&mut self, entry: Entry, extents: Box<[Extent]>) {
        if entry.is_settled() {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as Slot
        });
        self.count(&entry, &extents, Usage::add);
        for (lane, due) in entry.waits() {
            self.schedule.add(lane, due, slot);
        }
        self.ids.insert(entry.id(), slot);
        self.slots[slot as usize] = Some(entry);
        if !extents.is_empty() {
            self.apart.insert(slot, extents);
        }
    }

    fn remove(&mut self, id: MessageId) -> Option<Entry> {
        let slot = self.ids.remove(&id)?;
        let entry = self.slots[slot as usize].take()?;
        self.emptied = true;
        let extents = self.apart.remove(&slot).unwrap_or_default();
        self.count(&entry, &extents, Usage::sub);
        for (lane, due) in entry.waits() {
            self.schedule.remove(lane, due, slot);
        }
        self.free.push(slot);
        Some(entry)
    }

    fn progress(&mut self, steps: &Steps, place: Place, source: Source) {
        let gone = self.change(steps.id, |standings, journals| {
            for (index, step) in &steps.steps {
                let Some(standing) = standings.get_mut(*index as usize) else {
                    continue;
                };
                let mut next = Standing::of(step, place, standing.lane);
                if source == Source::Other {
                    next.state = standing.state_after(next.state);
                }
                uncount_cause(journals, standing);
                count_cause(journals, &next);
                *standing = next;
            }
        });
        if gone {
            self.remove(steps.id);
        }
    }

    /// Changes a message's standings and keeps the schedule in step. Says whether all are settled now.
    pub(crate) fn change(
        &mut self,
        id: MessageId,
        act: impl FnOnce(&mut [Standing], &mut BTreeMap<u32, Usage>),
    ) -> bool {
        let Some(&slot) = self.ids.get(&id) else {
            return false;
        };
        let Some(entry) = self.slots[slot as usize].as_mut() else {
            return false;
        };
        let before = entry.waits();
        act(entry.recipients.all_mut(), &mut self.journals);
        let after = entry.waits();
        let settled = entry.is_settled();
        for &(lane, due) in before.iter().filter(|wait| !after.contains(wait)) {
            self.schedule.remove(lane, due, slot);
        }
        for &(lane, due) in after.iter().filter(|wait| !before.contains(wait)) {
            self.schedule.add(lane, due, slot);
        }
        settled
    }

    /// Leases the due recipients of the next message in a lane that is open.
    pub(crate) fn lease(
        &mut self,
        now: Moment,
        open: &dyn Fn(&Lane) -> bool,
    ) -> Option<(MessageId, LaneNumber, Vec<u32>)> {
        let lanes = &self.lanes;
        let (lane, slot) = self.schedule.take(now, |lane| open(&lanes[lane as usize]))?;
        let now = self.schedule.now();
        let entry = self.slots[slot as usize].as_mut()?;
        let mut leased = Vec::new();
        for (standing, index) in entry.recipients.all_mut().iter_mut().zip(0..) {
            if standing.lane == lane && standing.state == Standstill::Waiting && standing.due <= now {
                standing.state = Standstill::Leased;
                leased.push(index);
            }
        }
        let id = entry.id();
        if let Some(due) = entry.due_in(lane) {
            self.schedule.add(lane, due, slot);
        }
        Some((id, lane, leased))
    }

    /// Ends a lease without any news.
    pub(crate) fn give_back(&mut self, id: MessageId, recipients: &[u32]) {
        self.change(id, |standings, _| {
            for &index in recipients {
                let Some(standing) = standings.get_mut(index as usize) else {
                    continue;
                };
                standing.state = match standing.state {
                    Standstill::Leased => Standstill::Waiting,
                    Standstill::LeasedToHold => Standstill::Held,
                    other => other,
                };
            }
        });
    }

    /// Ends a lease by holding its recipients.
    pub(crate) fn hold_leased(&mut self, id: MessageId, recipients: &[u32]) {
        self.change(id, |standings, _| {
            for &index in recipients {
                if let Some(standing) = standings.get_mut(index as usize)
                    && matches!(standing.state, Standstill::Leased | Standstill::LeasedToHold)
                {
                    standing.state = Standstill::Held;
                }
            }
        });
    }

    /// Gives recipients their lanes anew.
    pub(crate) fn relane(&mut self, id: MessageId, lanes: &[LaneNumber]) {
        self.change(id, |standings, _| {
            for (standing, &lane) in standings.iter_mut().zip(lanes) {
                standing.lane = lane;
            }
        });
    }

    fn count(&mut self, entry: &Entry, extents: &[Extent], count: fn(&mut Usage, u64)) {
        let beside = if extents.is_empty() {
            u64::from(entry.bytes)
        } else {
            0
        };
        count(
            self.journals.entry(entry.place.journal).or_default(),
            RECORD_BYTES + beside,
        );
        for standing in entry.recipients.all() {
            if standing.cause != Place::NONE {
                count(
                    self.journals.entry(standing.cause.journal).or_default(),
                    RECORD_BYTES,
                );
            }
        }
        for extent in extents {
            count(
                self.segments.entry(extent.segment).or_default(),
                u64::from(extent.bytes),
            );
        }
    }
}

fn count_cause(journals: &mut BTreeMap<u32, Usage>, standing: &Standing) {
    if standing.cause != Place::NONE {
        journals
            .entry(standing.cause.journal)
            .or_default()
            .add(RECORD_BYTES);
    }
}

fn uncount_cause(journals: &mut BTreeMap<u32, Usage>, standing: &Standing) {
    if standing.cause != Place::NONE {
        journals
            .entry(standing.cause.journal)
            .or_default()
            .sub(RECORD_BYTES);
    }
}

impl Usage {
    fn add(&mut self, bytes: u64) {
        self.uses += 1;
        self.live_bytes += bytes;
    }

    fn sub(&mut self, bytes: u64) {
        self.uses = self.uses.saturating_sub(1);
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
    }
}

impl Standing {
    fn of(step: &StoredProgress, place: Place, lane: LaneNumber) -> Standing {
        Standing {
            due: step.due,
            cause: match &step.cause {
                StoredCause::None => Place::NONE,
                StoredCause::Here(_) => place,
                StoredCause::At(place) => *place,
            },
            lane,
            attempts: step.attempts,
            state: match step.stage {
                Stage::Waiting => Standstill::Waiting,
                Stage::Held => Standstill::Held,
                Stage::Settled => Standstill::Settled,
            },
            marks: step.marks,
        }
    }

    /// What is to be done after someone other than the lease's holder changed it: a lease goes on, and a settled
    /// recipient stays so.
    fn state_after(&self, wanted: Standstill) -> Standstill {
        match (self.state, wanted) {
            (Standstill::Leased | Standstill::LeasedToHold, Standstill::Held) => Standstill::LeasedToHold,
            (Standstill::Leased | Standstill::LeasedToHold, Standstill::Waiting) => Standstill::Leased,
            (_, wanted) => wanted,
        }
    }

    /// As it is stored, with a given cause.
    pub(crate) fn stored(&self, cause: StoredCause) -> StoredProgress {
        StoredProgress {
            attempts: self.attempts,
            due: self.due,
            stage: match self.state {
                Standstill::Waiting | Standstill::Leased => Stage::Waiting,
                Standstill::Held | Standstill::LeasedToHold => Stage::Held,
                Standstill::Settled => Stage::Settled,
            },
            marks: self.marks,
            cause,
        }
    }
}
