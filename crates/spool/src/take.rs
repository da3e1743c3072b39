//! Taking work: from the schedule, with the envelope and the last causes from the journal.

use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use mail::{Cause, Class, EnhancedStatus, MessageId};

use crate::commit::Request;
use crate::core::lock;
use crate::index::{Index, Standing, Standstill};
use crate::journal::Frame;
use crate::lease::Hold;
use crate::octets::{moment, time};
use crate::record::{Change, Stage, Steps, StoredCause, StoredProgress, Told};
use crate::schedule::LaneNumber;
use crate::{DiskError, Lane, Leased, Place, Progress, RecipientIndex, Spool, State};

pub(crate) fn take(spool: &Arc<Spool>, now: SystemTime, open: &dyn Fn(&Lane) -> bool) -> Option<Leased> {
    let core = &spool.core;
    if !lock(&core.unrecorded).is_empty() || core.is_closed() {
        return None;
    }
    loop {
        let (id, lane, place, leased) = {
            let mut index = lock(&core.index);
            let (id, lane, recipients) = index.lease(moment(now), open)?;
            let entry = index.get(id)?;
            let standings = entry.recipients.all();
            let leased: Vec<(u32, Standing)> = recipients
                .iter()
                .map(|&recipient| (recipient, standings[recipient as usize]))
                .collect();
            (id, index.lane(lane).clone(), entry.place, leased)
        };
        let hold = Hold {
            spool: Arc::clone(spool),
            id,
            recipients: leased.iter().map(|&(recipient, _)| recipient).collect(),
        };
        match read_lease(spool, id, &lane, place, &leased, hold) {
            Ok(Some(leased)) => return Some(leased),
            // Its lane was another one: it waits there now.
            Ok(None) => {}
            // A record that cannot be read cannot be sent: it is held, with the reason, for a person to see.
            Err((error, hold)) => hold_unreadable(spool, id, &leased, now, &error, hold),
        }
    }
}

/// Leases what waits or is held of one message in one of its lanes; none when nothing does, or no longer.
pub(crate) fn take_message(spool: &Arc<Spool>, id: MessageId) -> Result<Option<Leased>, DiskError> {
    let core = &spool.core;
    if core.is_closed() {
        return Err(DiskError::Closed);
    }
    loop {
        let (lane, place, leased) = {
            let mut index = lock(&core.index);
            let Some((lane, recipients)) = index.lease_message(id) else {
                return Ok(None);
            };
            let entry = index.get(id).ok_or(DiskError::Gone)?;
            let standings = entry.recipients.all();
            let leased: Vec<(u32, Standing)> = recipients
                .iter()
                .map(|&recipient| (recipient, standings[recipient as usize]))
                .collect();
            (index.lane(lane).clone(), entry.place, leased)
        };
        let hold = Hold {
            spool: Arc::clone(spool),
            id,
            recipients: leased.iter().map(|&(recipient, _)| recipient).collect(),
        };
        match read_lease(spool, id, &lane, place, &leased, hold) {
            Ok(Some(leased)) => return Ok(Some(leased)),
            // Its lane was another one: it waits there now.
            Ok(None) => {}
            Err((error, hold)) => {
                drop(hold); // waits or is held as before
                return Err(error);
            }
        }
    }
}

impl Index {
    /// Leases the waiting and held recipients that one message has in one of its lanes, due or not. Held ones are held
    /// again should the lease end without news.
    pub(crate) fn lease_message(&mut self, id: MessageId) -> Option<(LaneNumber, Vec<u32>)> {
        let mut leased = None;
        self.change(id, |standings, _| {
            let waits =
                |standing: &Standing| matches!(standing.state, Standstill::Waiting | Standstill::Held);
            let Some(lane) = standings
                .iter()
                .find(|standing| waits(standing))
                .map(|first| first.lane)
            else {
                return;
            };
            let mut recipients = Vec::new();
            for (standing, index) in standings.iter_mut().zip(0..) {
                if standing.lane == lane && waits(standing) {
                    standing.state = match standing.state {
                        Standstill::Held => Standstill::LeasedToHold,
                        _ => Standstill::Leased,
                    };
                    recipients.push(index);
                }
            }
            leased = Some((lane, recipients));
        });
        leased
    }
}

type Unread = (DiskError, Hold);

fn read_lease(
    spool: &Arc<Spool>,
    id: MessageId,
    lane: &Lane,
    place: Place,
    standings: &[(u32, Standing)],
    hold: Hold,
) -> Result<Option<Leased>, Unread> {
    let files = &spool.core.files;
    let read = Frame::read(files, place).and_then(|frame| frame.kept(id).ok_or(DiskError::Gone));
    let (kept, file, name, body_at) = match read {
        Ok(read) => read,
        Err(error) => return Err((error, hold)),
    };
    let lane_of = spool.core.lane_of();
    let all = &kept.message.envelope.recipients;
    let fits = |&(recipient, _): &(u32, Standing)| {
        all.get(recipient as usize)
            .is_some_and(|recipient| lane_of(recipient) == *lane)
    };
    if !standings.iter().all(fits) {
        let lanes: Vec<Lane> = all.iter().map(|recipient| lane_of(recipient)).collect();
        let mut index = lock(&spool.core.index);
        let lanes: Vec<LaneNumber> = lanes.iter().map(|lane| index.lane_number(lane)).collect();
        index.relane(id, &lanes);
        drop(index);
        return Ok(None); // the hold's drop lets the recipients wait again
    }
    let mut causes = Causes::default();
    let recipients = standings.iter().map(|(recipient, standing)| {
        let progress = causes.progress(spool, id, *recipient, standing);
        (RecipientIndex(*recipient), progress)
    });
    Ok(Some(Leased {
        recipients: recipients.collect(),
        spool: Arc::clone(spool),
        message: kept.message,
        lane: lane.clone(),
        body: kept.body,
        record: (file, name, body_at),
        hold,
    }))
}

fn hold_unreadable(
    spool: &Arc<Spool>,
    id: MessageId,
    standings: &[(u32, Standing)],
    now: SystemTime,
    error: &DiskError,
    mut hold: Hold,
) {
    let cause = Cause {
        at: now,
        status: EnhancedStatus::new(Class::Transient, 3, 0),
        remote: None,
        reply: None,
        text: format!("{error}").into(),
    };
    let steps = standings.iter().map(|(recipient, standing)| {
        let held = StoredProgress {
            stage: Stage::Held,
            marks: standing.marks.tested_no_more(),
            ..standing.stored(StoredCause::here(cause.clone()))
        };
        (*recipient, held)
    });
    let held = Change::Progress(Steps {
        id,
        steps: steps.collect(),
    });
    // Marked while leased; the hold's end makes it so. Should the record not be written, it is held in memory.
    let (done, _) = mpsc::channel();
    spool
        .core
        .submit_now(Request::Decide(Box::new(move |_| Some(vec![held])), done));
    lock(&spool.core.index).hold_leased(id, &hold.recipients);
    hold.recipients.clear();
}

/// Causes read from the journal; a record read once serves all recipients it tells of.
#[derive(Default)]
pub(crate) struct Causes {
    last: Option<(Place, Frame)>,
}

impl Causes {
    fn read(&mut self, spool: &Spool, id: MessageId, recipient: u32, place: Place) -> Option<Told> {
        if place == Place::NONE {
            return None;
        }
        if self.last.as_ref().is_none_or(|(at, _)| *at != place) {
            // A cause that cannot be read is not worth more than the message: it is shown without.
            self.last = Frame::read(&spool.core.files, place)
                .ok()
                .map(|frame| (place, frame));
        }
        let (_, frame) = self.last.as_ref()?;
        match &frame.progress(id, recipient)?.cause {
            StoredCause::Here(told) => Some((**told).clone()),
            StoredCause::None | StoredCause::At(_) => None,
        }
    }

    pub(crate) fn progress(
        &mut self,
        spool: &Spool,
        id: MessageId,
        recipient: u32,
        standing: &Standing,
    ) -> Progress {
        let told = self.read(spool, id, recipient, standing.cause);
        let since = told.as_ref().and_then(|told| told.withheld_since);
        Progress {
            attempts: u32::from(standing.attempts),
            next: time(standing.due),
            withheld_since: since.filter(|_| standing.marks.withheld).map(time),
            last: told.map(|told| told.cause),
            delay_notified: standing.marks.delay_notified,
            tls_failed: standing.marks.tls_failed,
            state: state(standing),
        }
    }
}

pub(crate) fn state(standing: &Standing) -> State {
    match standing.state {
        Standstill::Waiting if standing.marks.withheld => State::Withheld,
        Standstill::Waiting => State::Waiting,
        Standstill::Leased | Standstill::LeasedToHold => State::Leased,
        Standstill::Held => State::Held,
        Standstill::Settled => State::Settled,
    }
}
