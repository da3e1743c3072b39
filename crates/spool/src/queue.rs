//! Looking at what waits, and an operator's decisions about it.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use mail::{Cause, MessageId, Recipient, ReversePath};

use crate::commit::{Decision, Request};
use crate::core::lock;
use crate::index::{Entry, Index, Standing, Standstill};
use crate::journal::Frame;
use crate::octets::moment;
use crate::record::{Change, Kept, Stage, Steps, StoredCause, StoredProgress};
use crate::schedule::LaneNumber;
use crate::take::{Causes, state};
use crate::{BodyReader, Counts, DiskError, Filter, Lane, Message, Place, Spool, State, Waiting};

/// Messages looked at under one lock, so that nobody else waits long.
const LOOK_MAX: usize = 1000;

/// A message with what memory knew of it at one moment.
struct Seen {
    id: MessageId,
    entry: Entry,
    lanes: Vec<Lane>,
}

impl Seen {
    fn of(index: &Index, entry: &Entry) -> Seen {
        let standings = entry.recipients.all();
        Seen {
            id: entry.id(),
            lanes: standings
                .iter()
                .map(|standing| index.lane(standing.lane).clone())
                .collect(),
            entry: entry.clone(),
        }
    }

    fn read(&self, spool: &Spool) -> Result<Kept, DiskError> {
        let frame = Frame::read(&spool.core.files, self.entry.place)?;
        frame.kept(self.id).map(|(kept, ..)| kept).ok_or(DiskError::Gone)
    }

    fn waiting(self, spool: &Spool, message: Message) -> Waiting {
        let mut causes = Causes::default();
        let standings = self.entry.recipients.all().iter().zip(0..);
        let recipients = standings
            .zip(self.lanes)
            .map(|((standing, index), lane)| (lane, causes.progress(spool, self.id, index, standing)));
        Waiting {
            recipients: recipients.collect(),
            message,
        }
    }
}

impl Spool {
    /// The messages that the filter means, in order of their names (which is that of their age), behind `after`, at
    /// most `max`. Ask again with the last one's name for more.
    pub fn list(&self, filter: &Filter, after: Option<MessageId>, max: usize) -> Vec<Waiting> {
        let mut found = Vec::new();
        self.walk(filter, after, |seen, message| {
            if found.len() < max {
                found.push(seen.waiting(self, message));
            }
            found.len() < max
        });
        found
    }

    /// One message; none when it is not here, or its record cannot be read.
    pub fn show(&self, id: MessageId) -> Option<Waiting> {
        let seen = {
            let index = lock(&self.core.index);
            Seen::of(&index, index.get(id)?)
        };
        let kept = seen.read(self).ok()?;
        Some(seen.waiting(self, kept.message))
    }

    /// Counts the messages and recipients that the filter means.
    pub fn count(&self, filter: &Filter) -> Counts {
        let mut counts = Counts::default();
        self.look(filter, None, |seen, message| {
            let mut any = false;
            for (index, standing) in seen.entry.recipients.all().iter().enumerate() {
                let recipient = message.and_then(|message| message.envelope.recipients.get(index));
                if !filter.means_recipient(&seen.lanes[index], standing, recipient) {
                    continue;
                }
                any = true;
                match state(standing) {
                    State::Waiting => counts.waiting += 1,
                    State::Leased => counts.leased += 1,
                    State::Held => counts.held += 1,
                    State::Withheld => {
                        counts.held += 1;
                        counts.withheld += 1;
                    }
                    State::Settled => counts.settled += 1,
                }
            }
            if any {
                counts.messages += 1;
                counts.bytes += u64::from(seen.entry.bytes);
            }
            true
        });
        counts
    }

    /// Opens a message's content.
    pub fn read_body(&self, id: MessageId) -> Result<BodyReader, DiskError> {
        let place = lock(&self.core.index).get(id).ok_or(DiskError::Gone)?.place;
        let frame = Frame::read(&self.core.files, place)?;
        let (kept, file, name, body_at) = frame.kept(id).ok_or(DiskError::Gone)?;
        BodyReader::open(&self.core.files, &kept.body, file, name, body_at)
    }

    /// Makes the waiting and withheld recipients that the filter means due at once. Says for how many messages. Durable.
    pub fn retry(&self, filter: &Filter, now: SystemTime) -> Result<u64, DiskError> {
        let due = moment(now);
        self.decide(filter, move |standing| {
            (standing.state == Standstill::Waiting).then(|| StoredProgress {
                due,
                ..standing.stored(StoredCause::At(standing.cause))
            })
        })
    }

    /// Holds the unsettled recipients that the filter means, for a reason. Those being tried are held when that ends
    /// without success. Says for how many messages. Durable.
    pub fn hold(&self, filter: &Filter, cause: Cause) -> Result<u64, DiskError> {
        self.decide(filter, move |standing| {
            let unsettled = matches!(standing.state, Standstill::Waiting | Standstill::Leased);
            unsettled.then(|| StoredProgress {
                stage: Stage::Held,
                marks: standing.marks.tested_no_more(),
                ..standing.stored(StoredCause::here(cause.clone()))
            })
        })
    }

    /// Lets the held recipients that the filter means be tried again, at once; withheld ones are tested at once. Says for how many messages. Durable.
    pub fn release(&self, filter: &Filter, now: SystemTime) -> Result<u64, DiskError> {
        let due = moment(now);
        self.decide(filter, move |standing| {
            let held = matches!(standing.state, Standstill::Held | Standstill::LeasedToHold);
            (held || state(standing) == State::Withheld).then(|| StoredProgress {
                due,
                stage: Stage::Waiting,
                ..standing.stored(StoredCause::At(standing.cause))
            })
        })
    }

    /// Removes a message for all its recipients; nobody is told: what an attempt under way would leave behind it is
    /// dropped. Says how many recipients are being tried at this
    /// moment and may receive it nevertheless. Durable.
    pub fn delete(&self, id: MessageId) -> Result<usize, DiskError> {
        let in_flight = {
            let index = lock(&self.core.index);
            let entry = index.get(id).ok_or(DiskError::Gone)?;
            let standings = entry.recipients.all().iter();
            standings
                .filter(|standing| state(standing) == State::Leased)
                .count()
        };
        self.submit_decision(Box::new(move |_| Some(vec![Change::Gone(id)])))?;
        Ok(in_flight)
    }

    /// Sorts everything into lanes anew, after the configuration changed. New mail follows at once, the rest within
    /// this call; whatever is taken meanwhile is in its new lane.
    pub fn relane(&self, lane_of: impl Fn(&Recipient) -> Lane + Send + Sync + 'static) {
        *self
            .core
            .lane_of
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(lane_of);
        let lane_of = self.core.lane_of();
        self.walk(&Filter::default(), None, |seen, message| {
            let recipients = message.envelope.recipients.iter();
            let lanes: Vec<Lane> = recipients.map(|recipient| lane_of(recipient)).collect();
            if lanes != seen.lanes {
                let mut index = lock(&self.core.index);
                let lanes: Vec<LaneNumber> = lanes.iter().map(|lane| index.lane_number(lane)).collect();
                index.relane(seen.id, &lanes);
            }
            true
        });
        self.core.ring();
    }

    /// Visits the messages that the filter means, with their envelopes, until `visit` says no.
    fn walk(&self, filter: &Filter, after: Option<MessageId>, mut visit: impl FnMut(Seen, Message) -> bool) {
        self.look_with(filter, after, Reading::Always, |seen, message| match message {
            Some(message) => visit(seen, message),
            None => true,
        });
    }

    /// Visits the messages that the filter means; reads envelopes only where the filter asks about them.
    fn look(
        &self,
        filter: &Filter,
        after: Option<MessageId>,
        mut visit: impl FnMut(Seen, Option<&Message>) -> bool,
    ) {
        let reading = if filter.asks_envelope() {
            Reading::Always
        } else {
            Reading::Never
        };
        self.look_with(filter, after, reading, |seen, message| {
            visit(seen, message.as_ref())
        });
    }

    fn look_with(
        &self,
        filter: &Filter,
        mut after: Option<MessageId>,
        reading: Reading,
        mut visit: impl FnMut(Seen, Option<Message>) -> bool,
    ) {
        loop {
            let seen: Vec<Seen> = {
                let index = lock(&self.core.index);
                match filter.id {
                    Some(id) if after.is_some_and(|after| after >= id) => Vec::new(),
                    Some(id) => index
                        .get(id)
                        .map(|entry| Seen::of(&index, entry))
                        .into_iter()
                        .collect(),
                    None => index
                        .after(after)
                        .take(LOOK_MAX)
                        .map(|entry| Seen::of(&index, entry))
                        .collect(),
                }
            };
            let Some(last) = seen.last() else { return };
            after = Some(last.id);
            for seen in seen {
                if !filter.may_mean(&seen) {
                    continue;
                }
                let message = match reading {
                    Reading::Never => None,
                    // What cannot be read is left out; it is held when its turn comes, and named then.
                    Reading::Always => match seen.read(self) {
                        Ok(kept) => Some(kept.message),
                        Err(_) => continue,
                    },
                };
                if message
                    .as_ref()
                    .is_some_and(|message| !filter.means(&seen, message))
                {
                    continue;
                }
                if !visit(seen, message) {
                    return;
                }
            }
        }
    }

    /// Changes the recipients that the filter means, as `decide` says, in records of bounded size.
    fn decide(
        &self,
        filter: &Filter,
        decide: impl Fn(&Standing) -> Option<StoredProgress> + Send + Sync + 'static,
    ) -> Result<u64, DiskError> {
        let decide = Arc::new(decide);
        let mut changed = 0;
        let mut meant: BTreeMap<MessageId, Vec<u32>> = BTreeMap::new();
        let mut failed = None;
        self.look(filter, None, |seen, message| {
            let standings = seen.entry.recipients.all().iter().enumerate();
            let recipients: Vec<u32> = standings
                .filter(|(index, standing)| {
                    let recipient = message.and_then(|message| message.envelope.recipients.get(*index));
                    filter.means_recipient(&seen.lanes[*index], standing, recipient)
                        && decide(standing).is_some()
                })
                .map(|(index, _)| index as u32)
                .collect();
            if !recipients.is_empty() {
                changed += 1;
                meant.insert(seen.id, recipients);
            }
            if meant.len() >= LOOK_MAX {
                failed = self
                    .submit_steps(std::mem::take(&mut meant), Arc::clone(&decide))
                    .err();
            }
            failed.is_none()
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if !meant.is_empty() {
            self.submit_steps(meant, decide)?;
        }
        Ok(changed)
    }

    fn submit_steps(
        &self,
        meant: BTreeMap<MessageId, Vec<u32>>,
        decide: Arc<impl Fn(&Standing) -> Option<StoredProgress> + Send + Sync + 'static>,
    ) -> Result<(), DiskError> {
        self.submit_decision(Box::new(move |index| {
            let mut changes = Vec::new();
            for (id, recipients) in meant {
                let Some(entry) = index.get(id) else { continue };
                let standings = entry.recipients.all();
                let steps: Vec<_> = recipients
                    .into_iter()
                    .filter_map(|recipient| {
                        let mut step = decide(standings.get(recipient as usize)?)?;
                        if step.cause == StoredCause::At(Place::NONE) {
                            step.cause = StoredCause::None;
                        }
                        Some((recipient, step))
                    })
                    .collect();
                changes.push(Change::Progress(Steps { id, steps }));
            }
            (!changes.is_empty()).then_some(changes)
        }))?;
        self.core.ring();
        Ok(())
    }

    fn submit_decision(&self, decision: Decision) -> Result<(), DiskError> {
        let (done, outcome) = mpsc::channel();
        self.core.submit_now(Request::Decide(decision, done));
        outcome.recv().unwrap_or(Err(DiskError::Closed))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Never,
    Always,
}

impl Filter {
    /// The one message of this name.
    pub fn one(id: MessageId) -> Filter {
        Filter {
            id: Some(id),
            ..Filter::default()
        }
    }

    fn asks_envelope(&self) -> bool {
        self.destination.is_some()
            || self.sender.is_some()
            || self.sender_domain.is_some()
            || self.arrived_by.is_some()
            || self.arrived_since.is_some()
    }

    /// Whether a message may be meant, as far as memory can tell.
    fn may_mean(&self, seen: &Seen) -> bool {
        let standings = seen.entry.recipients.all().iter().zip(&seen.lanes);
        self.id.is_none_or(|id| id == seen.id)
            && standings
                .into_iter()
                .any(|(standing, lane)| self.means_standing(lane, standing))
    }

    fn means(&self, seen: &Seen, message: &Message) -> bool {
        let sender_domain = match &message.envelope.sender {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => mailbox.host().name(),
        };
        let standings = seen.entry.recipients.all().iter().zip(&seen.lanes);
        let mut recipients = message.envelope.recipients.iter().zip(standings);
        self.sender
            .as_ref()
            .is_none_or(|sender| *sender == message.envelope.sender)
            && self
                .sender_domain
                .as_ref()
                .is_none_or(|domain| Some(domain) == sender_domain)
            && self.arrived_by.is_none_or(|by| message.arrival.at <= by)
            && self.arrived_since.is_none_or(|since| message.arrival.at >= since)
            && recipients
                .any(|(recipient, (standing, lane))| self.means_recipient(lane, standing, Some(recipient)))
    }

    fn means_recipient(&self, lane: &Lane, standing: &Standing, recipient: Option<&Recipient>) -> bool {
        self.means_standing(lane, standing)
            && recipient.is_none_or(|recipient| self.means_destination(recipient))
    }

    fn means_standing(&self, lane: &Lane, standing: &Standing) -> bool {
        self.lane.as_ref().is_none_or(|wanted| wanted == lane) && self.means_state(standing)
    }

    fn means_state(&self, standing: &Standing) -> bool {
        match self.state {
            Some(State::Held) => matches!(state(standing), State::Held | State::Withheld),
            Some(wanted) => state(standing) == wanted,
            None => standing.state != Standstill::Settled,
        }
    }

    fn means_destination(&self, recipient: &Recipient) -> bool {
        self.destination
            .as_ref()
            .is_none_or(|wanted| recipient.mailbox.host().name() == Some(wanted))
    }
}
