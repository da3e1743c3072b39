//! The thread that writes: takes all changes that wait, makes them durable with one sync, and tells who waits.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError, oneshot};

use super::{Change, Durable, MemoryError, Store};

/// The thread with what waits for it.
pub(super) struct Committer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What waits to be written.
struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
    /// A place for each job; given back when it is written.
    room: Semaphore,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Whether anyone waits to hear of it.
    urgent: bool,
    ended: bool,
}

struct Job {
    changes: Vec<Change>,
    answer: Option<oneshot::Sender<Result<(), MemoryError>>>,
}

impl Committer {
    pub(super) fn start(store: Arc<Store>) -> io::Result<Committer> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            bell: Condvar::new(),
            room: Semaphore::new(JOBS_MAX),
        });
        let theirs = queue.clone();
        let thread = std::thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || theirs.work(&store))?;
        Ok(Committer {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) async fn room(&self) -> Result<SemaphorePermit<'_>, MemoryError> {
        let room = self.queue.room.acquire().await;
        room.map_err(|_| MemoryError::Closed)
    }

    pub(super) fn hand_over(&self, room: SemaphorePermit<'_>, changes: Vec<Change>) -> Durable {
        room.forget();
        let (answer, answered) = oneshot::channel();
        let pushed = self.queue.push(Job {
            changes,
            answer: Some(answer),
        });
        Box::pin(async move {
            pushed?;
            answered.await.unwrap_or(Err(MemoryError::Closed))
        })
    }

    pub(super) fn hand_over_later(&self, room: SemaphorePermit<'_>, changes: Vec<Change>) {
        room.forget();
        let job = Job {
            changes,
            answer: None,
        };
        if let Err(because) = self.queue.push(job) {
            tracing::error!(%because, "not remembered");
        }
    }

    pub(super) fn keep_later(&self, changes: Vec<Change>) -> Result<(), MemoryError> {
        match self.queue.room.try_acquire() {
            Ok(room) => room.forget(),
            Err(TryAcquireError::NoPermits) => return Err(MemoryError::Busy),
            Err(TryAcquireError::Closed) => return Err(MemoryError::Closed),
        }
        self.queue.push(Job {
            changes,
            answer: None,
        })
    }

    pub(super) fn close(&self) {
        self.queue.room.close();
        self.queue.lock().ended = true;
        self.queue.bell.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the memory of peers broke off");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<(), MemoryError> {
        let mut waiting = self.lock();
        if waiting.ended {
            return Err(MemoryError::Closed);
        }
        waiting.urgent |= job.answer.is_some();
        waiting.jobs.push(job);
        self.bell.notify_all();
        Ok(())
    }

    fn work(&self, store: &Store) {
        while let Some(jobs) = self.next() {
            self.room.add_permits(jobs.len());
            let changes: Vec<Change> = jobs.iter().flat_map(|job| job.changes.iter().cloned()).collect();
            let kept = store.commit(&changes);
            if let Err(because) = &kept {
                tracing::error!(%because, changes = changes.len(), "not remembered");
            }
            for answer in jobs.into_iter().filter_map(|job| job.answer) {
                // One who is gone does not hear it; the change is kept all the same.
                let _ = answer.send(kept.clone());
            }
        }
    }

    /// All that waits; none at the end. Where nobody waits to hear of it, more is let come together first.
    fn next(&self) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() {
            if waiting.ended {
                return None;
            }
            waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let patience = self
            .bell
            .wait_timeout_while(waiting, LINGER, |waiting| !waiting.urgent && !waiting.ended);
        let (mut waiting, _) = patience.unwrap_or_else(PoisonError::into_inner);
        waiting.urgent = false;
        Some(std::mem::take(&mut waiting.jobs))
    }
}

/// Jobs that may wait.
const JOBS_MAX: usize = 4096;
/// How long changes wait for company that nobody waits to hear of.
const LINGER: Duration = Duration::from_millis(500);
