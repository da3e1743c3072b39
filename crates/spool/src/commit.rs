//! The committer: one thread that takes what waits to be written, writes it in one go, syncs once, brings memory up to
//! date and only then answers. Nothing becomes visible, and nothing is promised, before its sync.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use mail::{DeliveryStatus, MessageId, Receipt};

use crate::core::{Core, lock};
use crate::frame::Batch;
use crate::index::{Index, Source, Standstill};
use crate::journal::{Journal, Room, Synced};
use crate::octets::{Moment, moment};
use crate::record::{
    Change, Kept, Marks, Stage, Steps, StoredBody, StoredCause, StoredProgress, Told as ToldCause, put,
    put_kept,
};
use crate::segment::Segment;
use crate::{DiskError, Lane, Notices, RecipientIndex};

/// A message that is to be written.
pub(crate) struct NewMessage {
    pub(crate) kept: Kept,
    /// The content of a small message, written beside the record.
    pub(crate) beside: Vec<u8>,
    pub(crate) lanes: Vec<Lane>,
    /// The segments that hold the content of a large one: kept from removal until the index counts it.
    pub(crate) segments: Vec<Arc<Segment>>,
}

/// Who is told when a message is safe.
pub(crate) type Told = Box<dyn FnOnce(Result<Receipt, DiskError>) + Send>;

/// Looks at the index, when nothing else is being written, and says what to change. `None`: nothing to do.
pub(crate) type Decision = Box<dyn FnOnce(&Index) -> Option<Vec<Change>> + Send>;

/// Something to be written.
pub(crate) enum Request {
    Keep(Box<NewMessage>, Told),
    Settle(Box<Settlement>),
    Decide(Decision, mpsc::Sender<Result<(), DiskError>>),
}

/// The end of a lease.
pub(crate) struct Settlement {
    pub(crate) id: MessageId,
    pub(crate) now: Moment,
    pub(crate) statuses: Vec<(u32, DeliveryStatus)>,
    pub(crate) notices: Notices,
    pub(crate) offspring: Vec<NewMessage>,
    /// Nobody waits any more after the first failure.
    pub(crate) done: Option<mpsc::Sender<Result<(), DiskError>>>,
}

impl Request {
    /// Octets it adds to a batch, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Request::Keep(message, _) => message.beside.len() + 512,
            Request::Settle(settlement) => {
                let offspring = settlement.offspring.iter();
                512 + offspring.map(|message| message.beside.len() + 512).sum::<usize>()
            }
            Request::Decide(..) => 0,
        }
    }
}

/// A record in a batch, and what is left to do once it is synced.
struct Written {
    at: u32,
    changes: Vec<Change>,
    lanes: BTreeMap<MessageId, Vec<Lane>>,
    source: Source,
    /// Kept until the index counts their uses.
    segments: Vec<Arc<Segment>>,
    then: Then,
}

enum Then {
    Told(MessageId, Told),
    Nothing,
}

impl Core {
    /// Writes requests in the order they came. A decision sees all that came before it.
    pub(crate) fn commit(&self, requests: Vec<Request>) {
        let mut group = Vec::new();
        for request in requests {
            match request {
                Request::Decide(decision, done) => {
                    self.commit_group(std::mem::take(&mut group));
                    let result = self.commit_decision(decision);
                    // Who asked may have gone away: it does not matter, the change is made.
                    let _ = done.send(result);
                }
                Request::Keep(..) | Request::Settle(_) => group.push(request),
            }
        }
        self.commit_group(group);
    }

    fn commit_group(&self, requests: Vec<Request>) {
        let mut journal = lock(&self.journal);
        let mut settlements = std::mem::take(&mut *lock(&self.unrecorded));
        let refused_before = !settlements.is_empty();
        let mut keeps = Vec::new();
        let room = journal.ensure_reserve();
        for request in requests {
            match (request, &room) {
                (Request::Keep(_, told), Err(error)) => told(Err(error.clone())),
                (Request::Keep(message, told), Ok(())) => keeps.push((message, told)),
                (Request::Settle(settlement), _) => settlements.push(*settlement),
                (Request::Decide(..), _) => {}
            }
        }
        keeps = sync_bodies(keeps);
        settlements.retain_mut(|settlement| self.sync_offspring(settlement));
        if keeps.is_empty() && settlements.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let mut written = Vec::new();
        {
            let index = lock(&self.index);
            for settlement in &mut settlements {
                push_settlement(&mut batch, &mut written, settlement, &index);
            }
        }
        let settled_count = written.len();
        for (message, told) in keeps {
            push_message(&mut batch, &mut written, *message, told);
        }
        match journal.write(&mut batch, Room::Ordinary) {
            Ok(synced) => {
                self.finish(&synced, written, batch.meta_bytes());
                self.answer_settlements(settlements, &Ok(()));
            }
            Err(error) => {
                for keep in written.drain(settled_count..) {
                    keep.fail(&error);
                }
                self.commit_settlements_again(&mut journal, settlements);
            }
        }
        if refused_before && lock(&self.unrecorded).is_empty() {
            // Meanwhile nothing was taken, so that nobody knows what has become due.
            self.ring();
        }
    }

    /// After a failed write: settlements are worth a second attempt on another file, into the reserve if need be. When
    /// that fails too they stay in memory, so that nothing delivered is sent again while this server runs.
    fn commit_settlements_again(&self, journal: &mut Journal, mut settlements: Vec<Settlement>) {
        if settlements.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let mut written = Vec::new();
        {
            let index = lock(&self.index);
            for settlement in &mut settlements {
                push_settlement(&mut batch, &mut written, settlement, &index);
            }
        }
        match journal.write(&mut batch, Room::Reserve) {
            Ok(synced) => {
                self.finish(&synced, written, batch.meta_bytes());
                self.answer_settlements(settlements, &Ok(()));
            }
            Err(error) => {
                for settlement in &mut settlements {
                    settlement.answer(Err(error.clone()));
                }
                lock(&self.unrecorded).append(&mut settlements);
            }
        }
    }

    fn answer_settlements(&self, settlements: Vec<Settlement>, result: &Result<(), DiskError>) {
        for mut settlement in settlements {
            settlement.answer(result.clone());
        }
    }

    fn commit_decision(&self, decision: Decision) -> Result<(), DiskError> {
        let mut journal = lock(&self.journal);
        let Some(changes) = decision(&lock(&self.index)) else {
            return Ok(());
        };
        let mut batch = Batch::default();
        let at = batch
            .push(&[], |out| changes.iter().for_each(|change| put(out, change)))
            .map_err(|_| DiskError::TooLarge)?;
        let synced = match journal.write(&mut batch, Room::Reserve) {
            Ok(synced) => synced,
            // Another file may do.
            Err(_) => journal.write(&mut batch, Room::Reserve)?,
        };
        let written = Written {
            at,
            changes,
            lanes: BTreeMap::new(),
            source: Source::Other,
            segments: Vec::new(),
            then: Then::Nothing,
        };
        self.finish(&synced, vec![written], batch.meta_bytes());
        Ok(())
    }

    /// Writes moved messages: their records with their bodies, evaluated against the index as it is now.
    pub(crate) fn commit_moves(&self, moves: Vec<Move>) -> Result<(), DiskError> {
        let mut journal = lock(&self.journal);
        let mut batch = Batch::default();
        let mut written = Vec::new();
        {
            let index = lock(&self.index);
            for moved in moves {
                push_move(&mut batch, &mut written, moved, &index);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let synced = journal.write(&mut batch, Room::Ordinary)?;
        self.finish(&synced, written, batch.meta_bytes());
        Ok(())
    }

    /// Brings memory up to date with a synced batch, then tells everyone.
    fn finish(&self, synced: &Synced, written: Vec<Written>, meta_bytes: u64) {
        let mut told = Vec::with_capacity(written.len());
        let mut index = lock(&self.index);
        let due_before = index.schedule.next_due();
        for record in written {
            let place = synced.place(record.at);
            for change in &record.changes {
                let lanes: Vec<_> = match change {
                    Change::Keep(kept) => match record.lanes.get(&kept.message.id) {
                        Some(lanes) => lanes.iter().map(|lane| index.lane_number(lane)).collect(),
                        None => index.lanes_of(kept.message.id),
                    },
                    Change::Progress(_) | Change::Gone(_) => Vec::new(),
                };
                index.apply(change, place, record.source, &lanes);
            }
            told.push((record.then, record.segments));
        }
        let emptied = std::mem::take(&mut index.emptied);
        let due_sooner = index.schedule.next_due() != due_before || index.schedule.has_ready();
        drop(index);
        self.note_written(meta_bytes, emptied);
        for (then, segments) in told {
            match then {
                Then::Told(id, told) => told(Ok(synced.receipt(id))),
                Then::Nothing => {}
            }
            drop(segments);
        }
        if due_sooner {
            self.ring();
        }
    }

    /// Makes the bodies of a settlement's offspring durable. When that fails nothing of the settlement counts: the
    /// lease is given back, since a report that is lost would be worse than a message sent twice.
    fn sync_offspring(&self, settlement: &mut Settlement) -> bool {
        let segments = settlement.offspring.iter().flat_map(|message| &message.segments);
        let failed = distinct(segments).find_map(|segment| segment.sync().err());
        if let Some(error) = failed {
            let recipients: Vec<u32> = settlement.statuses.iter().map(|&(index, _)| index).collect();
            lock(&self.index).give_back(settlement.id, &recipients);
            settlement.answer(Err(error));
            return false;
        }
        true
    }
}

/// A message that is copied forward out of a file that is mostly dead.
pub(crate) struct Move {
    pub(crate) message: NewMessage,
    /// For each recipient the cause that was read, and where it stood: it counts only if it still stands there.
    pub(crate) causes: Vec<Option<(crate::Place, ToldCause)>>,
}

impl Settlement {
    fn answer(&mut self, result: Result<(), DiskError>) {
        if let Some(done) = self.done.take() {
            // Who waited may have gone away; the result is the same.
            let _ = done.send(result);
        }
    }
}

impl Written {
    fn fail(self, error: &DiskError) {
        match self.then {
            Then::Told(_, told) => told(Err(error.clone())),
            Then::Nothing => {}
        }
    }
}

fn distinct<'s>(segments: impl Iterator<Item = &'s Arc<Segment>>) -> impl Iterator<Item = &'s Arc<Segment>> {
    segments
        .map(|segment| (segment.number, segment))
        .collect::<BTreeMap<_, _>>()
        .into_values()
}

type Keep = (Box<NewMessage>, Told);

/// Makes the bodies in segments durable, each segment once; refuses the messages where that failed.
fn sync_bodies(keeps: Vec<Keep>) -> Vec<Keep> {
    let segments = keeps.iter().flat_map(|(message, _)| &message.segments);
    let failed: BTreeMap<u32, DiskError> = distinct(segments)
        .filter_map(|segment| segment.sync().err().map(|error| (segment.number, error)))
        .collect();
    let mut sound = Vec::with_capacity(keeps.len());
    for (message, told) in keeps {
        let mut segments = message.segments.iter();
        match segments.find_map(|segment| failed.get(&segment.number)) {
            Some(error) => told(Err(error.clone())),
            None => sound.push((message, told)),
        }
    }
    sound
}

fn push_message(batch: &mut Batch, written: &mut Vec<Written>, message: NewMessage, told: Told) {
    let id = message.kept.message.id;
    match batch.push(&message.beside, |out| put_kept(out, &message.kept)) {
        Ok(at) => written.push(Written {
            at,
            lanes: BTreeMap::from([(id, message.lanes)]),
            changes: vec![Change::Keep(Box::new(message.kept))],
            source: Source::Other,
            segments: message.segments,
            then: Then::Told(id, told),
        }),
        Err(_) => told(Err(DiskError::TooLarge)),
    }
}

fn push_settlement(
    batch: &mut Batch,
    written: &mut Vec<Written>,
    settlement: &mut Settlement,
    index: &Index,
) {
    if index.get(settlement.id).is_none() {
        // Deleted meanwhile: nobody is told, and nothing takes its place.
        settlement.offspring.clear();
    }
    let mut changes = vec![Change::Progress(steps_of(settlement, index))];
    let mut lanes = BTreeMap::new();
    let mut body = Vec::new();
    let mut segments = Vec::new();
    for message in &mut settlement.offspring {
        if let StoredBody::Beside { at, .. } = &mut message.kept.body {
            *at = body.len() as u32;
        }
        body.extend_from_slice(&message.beside);
        lanes.insert(message.kept.message.id, message.lanes.clone());
        segments.extend(message.segments.iter().cloned());
        changes.push(Change::Keep(Box::new(message.kept.clone())));
    }
    let pushed = batch.push(&body, |out| changes.iter().for_each(|change| put(out, change)));
    match pushed {
        Ok(at) => written.push(Written {
            at,
            changes,
            lanes,
            source: Source::Lease,
            segments,
            then: Then::Nothing,
        }),
        // Gigabytes of offspring: the recipients stay leased until a restart, rather than go round in circles.
        Err(_) => settlement.answer(Err(DiskError::TooLarge)),
    }
}

fn steps_of(settlement: &Settlement, index: &Index) -> Steps {
    let entry = index.get(settlement.id);
    let standings = entry.map_or(&[][..], |entry| entry.recipients.all());
    let statuses = settlement.statuses.iter();
    let steps = statuses.filter_map(|(recipient, status)| {
        let standing = standings.get(*recipient as usize)?;
        let to_hold = standing.state == Standstill::LeasedToHold;
        let (stage, due) = match status {
            DeliveryStatus::Deferred { until, .. } | DeliveryStatus::Withheld { until, .. } if to_hold => {
                (Stage::Held, moment(*until))
            }
            DeliveryStatus::Deferred { until, .. } | DeliveryStatus::Withheld { until, .. } => {
                (Stage::Waiting, moment(*until))
            }
            DeliveryStatus::Held(_) => (Stage::Held, settlement.now),
            DeliveryStatus::Delivered(_)
            | DeliveryStatus::Relayed { .. }
            | DeliveryStatus::Expanded(_)
            | DeliveryStatus::Failed(_) => (Stage::Settled, settlement.now),
        };
        let withheld_since = match status {
            DeliveryStatus::Withheld { since, .. } if stage == Stage::Waiting => Some(moment(*since)),
            _ => None,
        };
        let progress = StoredProgress {
            attempts: standing.attempts.saturating_add(1),
            due,
            stage,
            marks: Marks {
                delay_notified: standing.marks.delay_notified || noted(&settlement.notices.delay, *recipient),
                tls_failed: standing.marks.tls_failed || noted(&settlement.notices.tls_failed, *recipient),
                withheld: withheld_since.is_some(),
            },
            cause: StoredCause::Here(Box::new(ToldCause {
                cause: status.cause().clone(),
                withheld_since,
            })),
        };
        Some((*recipient, progress))
    });
    Steps {
        id: settlement.id,
        steps: steps.collect(),
    }
}

fn noted(recipients: &[RecipientIndex], recipient: u32) -> bool {
    recipients.contains(&RecipientIndex(recipient))
}

fn push_move(batch: &mut Batch, written: &mut Vec<Written>, moved: Move, index: &Index) {
    let mut message = moved.message;
    let id = message.kept.message.id;
    // Settled or deleted since it was read: nothing to move.
    let Some(entry) = index.get(id) else { return };
    let standings = entry.recipients.all().iter().zip(moved.causes);
    message.kept.steps = standings
        .map(|(standing, cause)| {
            standing.stored(match cause {
                Some((place, told)) if place == standing.cause => StoredCause::Here(Box::new(told)),
                _ if standing.cause == crate::Place::NONE => StoredCause::None,
                _ => StoredCause::At(standing.cause),
            })
        })
        .collect();
    if let Ok(at) = batch.push(&message.beside, |out| put_kept(out, &message.kept)) {
        written.push(Written {
            at,
            changes: vec![Change::Keep(Box::new(message.kept))],
            lanes: BTreeMap::new(),
            source: Source::Other,
            segments: message.segments,
            then: Then::Nothing,
        });
    }
}
