//! Kept until settled: the messages this server has promised to deliver.
//!
//! Owns the files that hold them and the schedule of what is due. Blocks on the disk and knows no async; never looks
//! at a message's meaning beyond its envelope. The files' format is in `docs/spool.md`, its reasons in
//! `docs/decisions/0001-the-store.md`.
//!
//! A message arrives as a [`Draft`], is kept with a [`mail::Receipt`] as proof, waits in the schedule, is taken as a
//! [`Leased`] and ends when every recipient is settled.

mod types;
mod draft;
mod lease;
mod body;
mod take;
mod queue;
mod schedule;
mod index;
mod core;
mod commit;
mod journal;
mod segment;
pub mod record;
mod nouns;
mod frame;
mod octets;
mod recover;
mod reading;
mod checkpoint;
mod tidy;
mod files;
pub mod disk;
pub mod simulated;

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;

use mail::{MessageId, Recipient};

pub use body::BodyReader;
pub use disk::{Disk, Folder};
pub use draft::{Draft, Sealed};
pub use lease::Leased;
pub use octets::Malformed;
pub use types::{
    Counts, Damage, DiskError, Filter, Lane, Limits, Message, Notices, OpenError, Progress, RecipientIndex,
    Recovery, State, Waiting,
};

pub use crate::core::Drive;
use crate::core::{Core, lock};

/// Where a record stands: which journal file, and how many octets from its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The file's number, from 1.
    pub journal: u32,
    /// Octets from its start.
    pub offset: u32,
}

/// The spool: shared by `Arc`, used from any thread. Its methods may block on the disk.
pub struct Spool {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _claim: Box<dyn disk::Claim>,
}

impl Spool {
    /// Opens the spool in `disk`'s folder: claims it, reads what is there and starts its two threads. `lane_of` says
    /// which lane a recipient waits in; it must be quick and give the same answer until [`Spool::relane`].
    pub fn open(
        disk: Arc<dyn Disk>,
        limits: Limits,
        lane_of: impl Fn(&Recipient) -> Lane + Send + Sync + 'static,
    ) -> Result<(Arc<Spool>, Recovery), OpenError> {
        Spool::open_driven(disk, limits, lane_of, Drive::Threads)
    }

    /// As [`Spool::open`], but without threads: nothing is written or given back but by [`Spool::flush`],
    /// [`Spool::tidy`] and the calls that wait for an answer. So a test sees the same disk calls in each run.
    pub fn open_without_threads(
        disk: Arc<dyn Disk>,
        limits: Limits,
        lane_of: impl Fn(&Recipient) -> Lane + Send + Sync + 'static,
    ) -> Result<(Arc<Spool>, Recovery), OpenError> {
        Spool::open_driven(disk, limits, lane_of, Drive::Caller)
    }

    /// [`Spool::open`] or [`Spool::open_without_threads`], as `drive` says.
    pub fn open_driven(
        disk: Arc<dyn Disk>,
        limits: Limits,
        lane_of: impl Fn(&Recipient) -> Lane + Send + Sync + 'static,
        drive: Drive,
    ) -> Result<(Arc<Spool>, Recovery), OpenError> {
        let lane_of: Arc<core::LaneOf> = Arc::new(lane_of);
        limits.check()?;
        let claim = disk.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::Disk(DiskError::failed("lock its folder", error)),
        })?;
        let files = Arc::new(files::Files::new(disk, limits.open_files_max));
        let (found, recovery) = recover::recover(&files, &*lane_of)?;
        let core = Arc::new(Core::new(files, limits, drive, lane_of, found));
        let spool = Spool {
            threads: Mutex::new(match drive {
                Drive::Threads => start_threads(&core)?,
                Drive::Caller => Vec::new(),
            }),
            core,
            _claim: claim,
        };
        Ok((Arc::new(spool), recovery))
    }

    /// Begins a message of this name. Names must never be used twice.
    ///
    /// # Errors
    /// [`DiskError::Full`] when there is no room for mail now: 452 4.3.1.
    pub fn draft(self: &Arc<Self>, id: MessageId) -> Result<Draft, DiskError> {
        if self.core.is_closed() {
            return Err(DiskError::Closed);
        }
        if !self.has_room_for(0) {
            return Err(DiskError::Full);
        }
        Ok(Draft::new(Arc::clone(self), id))
    }

    /// Whether a message of this many octets would find room now, beside what is kept aside for settlements
    /// (RFC 1870 §6.1).
    pub fn has_room_for(&self, bytes: u64) -> bool {
        let spare = self.core.limits.file_bytes_max;
        let free = self.core.files.disk().free_bytes();
        free.is_ok_and(|free| free >= bytes.saturating_add(spare))
    }

    /// Leases the next due recipients: those of one message in one lane, of the lanes for which `open` says that it may
    /// start one now. Lanes with due work take turns; a lane gives its messages by due time. `open` is asked while the
    /// schedule is locked: it must be quick and not call the spool.
    ///
    /// `None` when nothing is due in an open lane, and while the disk refuses to record what was delivered.
    pub fn take(self: &Arc<Self>, now: SystemTime, open: &dyn Fn(&Lane) -> bool) -> Option<Leased> {
        take::take(self, now, open)
    }

    /// Leases the waiting and held recipients of one message in one of its lanes, due or not: for a person's decision to
    /// end it. Ask again for its other lanes, until there is none. Recipients being tried are not among them.
    pub fn take_message(self: &Arc<Self>, id: MessageId) -> Result<Option<Leased>, DiskError> {
        take::take_message(self, id)
    }

    /// When `take` should be called again, if nothing else happens and no lane opens: the earliest time at which
    /// something will become due that no `take` has seen due yet. None while `take` gives nothing because the disk
    /// refuses to record what was delivered: the bell rings when it does again.
    pub fn next_due(&self) -> Option<SystemTime> {
        if !lock(&self.core.unrecorded).is_empty() || self.core.is_closed() {
            return None;
        }
        lock(&self.core.index).schedule.next_due().map(octets::time)
    }

    /// Calls `bell` whenever something may be due sooner than [`Spool::next_due`] said before, in the thread that
    /// brought it about: it must return at once and not call the spool.
    pub fn on_work(&self, bell: impl Fn() + Send + Sync + 'static) {
        self.core.set_bell(Arc::new(bell));
    }

    /// Writes and syncs everything handed over, makes a checkpoint so that the next start is quick, and stops. What is
    /// asked of the spool afterwards is answered with [`DiskError::Closed`].
    pub fn close(&self) {
        self.core.close();
        for thread in lock(&self.threads).drain(..) {
            // The last `Arc` may fall in one of the spool's own threads, by a callback: it cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                // A panic there was printed when it happened; closing goes on.
                let _ = thread.join();
            }
        }
        self.core.commit(Vec::new());
        self.core.flush();
        // Only the next start's speed depends on it.
        let _ = self.core.checkpoint();
    }

    /// Without threads: writes and syncs what was handed over, and answers; then tries again what the disk refused
    /// before.
    pub fn flush(&self) {
        self.core.flush();
        if !lock(&self.core.unrecorded).is_empty() {
            self.core.commit(Vec::new());
        }
    }

    /// Without threads: gives space back, makes a checkpoint and compacts, where it is time for it.
    pub fn tidy(&self) -> Result<(), DiskError> {
        self.core.tidy()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        match self.core.drive {
            Drive::Threads => self.close(),
            Drive::Caller => self.core.close(),
        }
    }
}

fn start_threads(core: &Arc<Core>) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let start = |name: &str, run: fn(&Core)| {
        let core = Arc::clone(core);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&core))
            .map_err(|error| OpenError::Disk(DiskError::failed(format!("start the thread {name}"), error)))
    };
    Ok(vec![
        start("spool-commit", Core::run_committer)?,
        start("spool-tidy", Core::run_tidier)?,
    ])
}
