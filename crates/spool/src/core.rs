//! What the spool's handle and its two threads share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use mail::Recipient;

use crate::commit::{Request, Settlement};
use crate::files::Files;
use crate::index::Index;
use crate::journal::Journal;
use crate::segment::Segments;
use crate::{DiskError, Lane, Limits};

/// Says in which lane a recipient waits.
pub(crate) type LaneOf = dyn Fn(&Recipient) -> Lane + Send + Sync;
type Bell = Arc<dyn Fn() + Send + Sync>;

/// The shared heart of a spool. Locks are taken in the order of the fields: queue, journal, unrecorded, index.
pub(crate) struct Core {
    pub(crate) files: Arc<Files>,
    pub(crate) limits: Limits,
    pub(crate) segments: Segments,
    queue: Mutex<Queue>,
    queue_changed: Condvar,
    tidy_changed: Condvar,
    /// Held from the write of a batch until memory knows of it.
    pub(crate) journal: Mutex<Journal>,
    /// Settlements that no disk would take yet.
    pub(crate) unrecorded: Mutex<Vec<Settlement>>,
    pub(crate) index: Mutex<Index>,
    pub(crate) lane_of: RwLock<Arc<LaneOf>>,
    bell: Mutex<Option<Bell>>,
    /// Octets of records since the last checkpoint.
    pub(crate) meta_bytes: AtomicU64,
    /// The first journal that a start would read through.
    pub(crate) first_journal: AtomicU64,
    tidy_wanted: AtomicBool,
    pub(crate) drive: Drive,
}

/// Who moves the spool on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drive {
    /// Its own threads.
    Threads,
    /// The caller, so that the disk sees the same calls in each run: `flush` and `tidy`.
    Caller,
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    closed: bool,
}

/// Locks. A thread that panicked while it held the lock is no reason for all others to stop: what each lock guards is
/// whole between any two statements that can panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) fn new(
        files: Arc<Files>,
        limits: Limits,
        drive: Drive,
        lane_of: Arc<LaneOf>,
        found: crate::recover::Found,
    ) -> Core {
        let journal = Journal::new(
            Arc::clone(&files),
            limits.clone(),
            found.next_journal,
            found.previous,
            found.next_batch,
        );
        Core {
            segments: Segments::new(Arc::clone(&files), limits.file_bytes_max, found.next_segment),
            files,
            limits,
            queue: Mutex::default(),
            queue_changed: Condvar::new(),
            tidy_changed: Condvar::new(),
            journal: Mutex::new(journal),
            unrecorded: Mutex::default(),
            index: Mutex::new(found.index),
            lane_of: RwLock::new(lane_of),
            bell: Mutex::default(),
            meta_bytes: AtomicU64::new(found.meta_bytes),
            first_journal: AtomicU64::new(u64::from(found.first_journal)),
            tidy_wanted: AtomicBool::new(true),
            drive,
        }
    }

    pub(crate) fn lane_of(&self) -> Arc<LaneOf> {
        Arc::clone(&self.lane_of.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands a request to the committer.
    pub(crate) fn submit(&self, request: Request) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            drop(queue);
            refuse(request);
            return;
        }
        queue.requests.push(request);
        drop(queue);
        self.queue_changed.notify_one();
    }

    /// Hands a request over and sees to it that it is answered soon.
    pub(crate) fn submit_now(&self, request: Request) {
        self.submit(request);
        if self.drive == Drive::Caller {
            self.flush();
        }
    }

    /// Writes all that waits, in this thread.
    pub(crate) fn flush(&self) {
        while let Some(requests) = self.next_batch() {
            self.commit(requests);
        }
    }

    fn next_batch(&self) -> Option<Vec<Request>> {
        let mut queue = lock(&self.queue);
        self.cut(&mut queue)
    }

    /// The requests that go into one batch.
    fn cut(&self, queue: &mut Queue) -> Option<Vec<Request>> {
        let mut bytes = 0;
        let fitting = queue.requests.iter().take(self.limits.batch_records_max.max(1));
        let count = fitting
            .take_while(|request| {
                let fits = bytes < self.limits.batch_bytes_max;
                bytes += request.bytes();
                fits
            })
            .count();
        if count == 0 {
            return None;
        }
        let rest = queue.requests.split_off(count);
        Some(std::mem::replace(&mut queue.requests, rest))
    }

    /// The committer's thread.
    pub(crate) fn run_committer(&self) {
        loop {
            let mut queue = lock(&self.queue);
            let requests = loop {
                if let Some(requests) = self.cut(&mut queue) {
                    break requests;
                }
                if queue.closed {
                    return;
                }
                let unrecorded = !lock(&self.unrecorded).is_empty();
                let waited = self
                    .queue_changed
                    .wait_timeout(queue, if unrecorded { AGAIN } else { IDLE });
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                if unrecorded && queue.requests.is_empty() {
                    break Vec::new();
                }
            };
            drop(queue);
            self.commit(requests);
        }
    }

    /// The thread that gives space back.
    pub(crate) fn run_tidier(&self) {
        loop {
            let mut queue = lock(&self.queue);
            while !queue.closed && !self.tidy_wanted.load(Ordering::Acquire) {
                let waited = self.tidy_changed.wait_timeout(queue, IDLE);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if queue.closed {
                return;
            }
            drop(queue);
            if self.tidy().is_err() {
                // The disk is in trouble: those who write are told by their own errors. Not at once again.
                self.pause(AGAIN);
                self.tidy_wanted.store(true, Ordering::Release);
            }
        }
    }

    fn pause(&self, time: Duration) {
        let queue = lock(&self.queue);
        if !queue.closed {
            drop(self.tidy_changed.wait_timeout(queue, time));
        }
    }

    /// Takes no more requests. The threads end when those that are there are answered.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.queue_changed.notify_all();
        self.tidy_changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.queue).closed
    }

    pub(crate) fn start_tidy(&self) -> bool {
        self.tidy_wanted.swap(false, Ordering::AcqRel)
    }

    /// Counts what a start would have to read, and wakes the tidier when there is work for it.
    pub(crate) fn note_written(&self, meta_bytes: u64, emptied: bool) {
        let total = self.meta_bytes.fetch_add(meta_bytes, Ordering::Relaxed) + meta_bytes;
        let wanted = emptied || total >= self.limits.checkpoint_after_bytes;
        if wanted && !self.tidy_wanted.swap(true, Ordering::AcqRel) {
            // The queue's lock makes sure that the tidier is not between looking and sleeping.
            drop(lock(&self.queue));
            self.tidy_changed.notify_one();
        }
    }

    pub(crate) fn set_bell(&self, bell: Bell) {
        *lock(&self.bell) = Some(bell);
    }

    /// Tells the dispatcher that something may be due sooner than it knows.
    pub(crate) fn ring(&self) {
        let bell = lock(&self.bell).clone();
        if let Some(bell) = bell {
            bell();
        }
    }
}

/// How long the disk is left alone after it failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a thread sleeps when nothing calls it.
const IDLE: Duration = Duration::from_secs(60);

fn refuse(request: Request) {
    match request {
        Request::Keep(_, told) => told(Err(DiskError::Closed)),
        Request::Settle(settlement) => {
            if let Some(done) = settlement.done {
                // Who waited may have gone away.
                let _ = done.send(Err(DiskError::Closed));
            }
        }
        Request::Decide(_, done) => drop(done.send(Err(DiskError::Closed))),
    }
}
