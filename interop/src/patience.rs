//! Waiting for a condition, never for a fixed time.

use std::time::{Duration, Instant};

/// What most conditions here may take: servers start, queues run every few seconds, two cores are shared.
pub const USUAL: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Asks `found` again and again until it gives a value; panics with `what` after `patience`.
pub fn wait_for<T>(what: &str, patience: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(
            began.elapsed() < patience,
            "after {} s still waiting for {what}",
            patience.as_secs()
        );
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`wait_for`], for a condition without a value.
pub fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, patience, || holds().then_some(()));
}

/// Lets time pass where nothing can be asked whether it has: what a cache holds is gone after its time, and not before.
pub fn pass(time: &Duration) {
    std::thread::sleep(*time);
}
