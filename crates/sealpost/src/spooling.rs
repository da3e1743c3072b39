//! The way from async tasks to the spool, which blocks on its disk.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use mail::{Arrival, Content, Envelope, MessageId, Receipt};
use spool::{DiskError, Draft};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::ports::{Clock, Later};

/// The one function that moves blocking work off the async threads. None if the work panicked or the runtime ends.
pub async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let wait = IN_PLACE.with_borrow(|wait| wait.as_ref().map(|wait| wait()));
    match wait {
        None => spawn_blocking(work).await.ok(),
        Some(wait) => {
            wait.await;
            // Where it belongs, a panic stays in its own thread.
            catch_unwind(AssertUnwindSafe(work)).ok()
        }
    }
}

/// While it lives, blocking work of this thread's tasks is done in this thread, so that a simulation in one thread can be
/// replayed. A server would stand still meanwhile.
#[must_use = "dropped, work goes to other threads again"]
pub struct InPlace {
    /// It ends in the thread where it began.
    thread: PhantomData<*const ()>,
}

impl InPlace {
    /// `wait` gives the time that a piece of work takes before it is done.
    pub fn begin(wait: impl Fn() -> Later<'static, ()> + 'static) -> InPlace {
        IN_PLACE.set(Some(Box::new(wait)));
        InPlace { thread: PhantomData }
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        IN_PLACE.set(None);
    }
}

type Wait = Box<dyn Fn() -> Later<'static, ()>>;

thread_local! {
    static IN_PLACE: RefCell<Option<Wait>> = const { RefCell::new(None) };
}

/// A name for a message that begins now.
pub fn new_id(now: SystemTime, clock: &dyn Clock) -> MessageId {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let roll = u128::from(clock.roll()) << 64 | u128::from(clock.roll());
    MessageId::new(millis, roll)
}

/// Appends content to a draft; hops to another thread only when the disk has to be written.
pub async fn push(mut draft: Draft, bytes: &[u8]) -> Result<Draft, DiskError> {
    if !writes(draft.bytes(), bytes.len()) {
        draft.push(bytes)?;
        return Ok(draft);
    }
    let bytes = bytes.to_vec();
    let pushed = off_the_async_threads(move || draft.push(&bytes).map(|()| draft)).await;
    pushed.unwrap_or(Err(DiskError::Closed))
}

/// Makes a draft durable and waits for the sync.
pub async fn keep(
    draft: Draft,
    envelope: Envelope,
    arrival: Arrival,
    content: Content,
) -> Result<Receipt, DiskError> {
    let (answer, answered) = oneshot::channel();
    let done = move |kept| {
        // A session that is gone does not hear it; the message is kept all the same.
        let _ = answer.send(kept);
    };
    if draft.bytes() > DRAFT_BYTES {
        off_the_async_threads(move || draft.keep(envelope, arrival, content, done)).await;
    } else {
        draft.keep(envelope, arrival, content, done);
    }
    answered.await.unwrap_or(Err(DiskError::Closed))
}

/// Whether the next octets overflow the buffer of a draft that has taken `before` octets. Only a guess to save the hop: if
/// it were wrong, a write would take place on an async thread, without waiting for a sync.
fn writes(before: u64, more: usize) -> bool {
    let buffered = match before {
        0 => 0,
        some => (some - 1) % DRAFT_BYTES + 1,
    };
    buffered + more as u64 > DRAFT_BYTES
}

/// What a draft holds in memory before it writes.
const DRAFT_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_overflowing_buffer_is_written() {
        let rows = [
            (0, 65536, false),
            (0, 65537, true),
            (65536, 0, false),
            (65536, 1, true),
            (65537, 65535, false),
            (65537, 65536, true),
        ];
        for (before, more, expected) in rows {
            assert_eq!(writes(before, more), expected, "{before} {more}");
        }
    }
}
