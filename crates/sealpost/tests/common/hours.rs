//! A clock that stands still until a test moves it.

use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use sealpost::ports::{Clock, Later};

/// Simulated hours, and dice that are a counter.
pub struct Hours {
    steady: Instant,
    wall: SystemTime,
    passed: std::sync::Arc<Mutex<Passed>>,
}

#[derive(Default)]
struct Passed {
    time: Duration,
    rolls: u64,
    sleepers: Vec<Waker>,
}

impl Hours {
    pub fn new() -> Hours {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        Hours {
            steady: Instant::now(),
            wall,
            passed: Default::default(),
        }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let sleepers = {
            let mut passed = self.passed.lock().unwrap();
            passed.time += time;
            std::mem::take(&mut passed.sleepers)
        };
        sleepers.into_iter().for_each(Waker::wake);
    }
}

impl Clock for Hours {
    fn now(&self) -> SystemTime {
        self.wall + self.passed.lock().unwrap().time
    }

    fn instant(&self) -> Instant {
        self.steady + self.passed.lock().unwrap().time
    }

    fn sleep_until(&self, when: Instant) -> Later<'static, ()> {
        let (steady, passed) = (self.steady, self.passed.clone());
        Box::pin(poll_fn(move |context| {
            let mut passed = passed.lock().unwrap();
            if steady + passed.time >= when {
                return Poll::Ready(());
            }
            passed.sleepers.push(context.waker().clone());
            Poll::Pending
        }))
    }

    fn roll(&self) -> u64 {
        let mut passed = self.passed.lock().unwrap();
        passed.rolls += 1;
        passed.rolls
    }
}
