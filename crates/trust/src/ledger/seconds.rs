//! Time as the memory of peers keeps it: whole seconds, so that no foreign value can overflow, and its own pace, so that
//! a clock that jumps neither binds nor unbinds.

use std::time::{Duration, SystemTime};

/// Seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Second(pub u64);

impl Second {
    /// The second in which this instant lies; the first one of all for what was before.
    pub fn of(at: SystemTime) -> Second {
        Second(
            at.duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }

    /// As an instant; what no calendar reaches is the last that one does.
    pub fn time(self) -> SystemTime {
        let last = Duration::from_secs(self.0.min(LAST));
        SystemTime::UNIX_EPOCH
            .checked_add(last)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// How long ago `earlier` was; no time at all if it is still to come.
    pub fn since(self, earlier: Second) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// So much later.
    pub fn after(self, wait: Duration) -> Second {
        Second(self.0.saturating_add(wait.as_secs()))
    }
}

/// The memory's own time. It follows the wall clock where that goes as fast as the steady one; where it jumps, the memory's
/// time goes on at its own pace and comes closer to the wall clock by and by, never backwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    shown: Second,
    steady: Duration,
    /// Steady time that has not made a second of the way to the wall clock yet.
    rest: Duration,
}

impl Pace {
    /// Where time begins in this run: `last` is what was shown at the end of the run before, if there was one. A clock that
    /// says much more has been set wrong, or the server stood still for long: both are caught up with slowly.
    pub fn begin(wall: SystemTime, last: Option<Second>, steady: Duration) -> Pace {
        let wall = Second::of(wall);
        let shown = match last {
            None => wall,
            Some(last) => wall.clamp(last, last.after(AWAY_MAX)),
        };
        Pace {
            shown,
            steady,
            rest: Duration::ZERO,
        }
    }

    /// The time now. `steady` only grows, whatever is done to the wall clock.
    pub fn now(&mut self, wall: SystemTime, steady: Duration) -> Second {
        let passed = steady.saturating_sub(self.steady) + self.rest;
        let (wall, seconds) = (Second::of(wall), passed.as_secs());
        let even = self.shown.0.saturating_add(seconds);
        self.steady = self.steady.max(steady);
        self.rest = passed - Duration::from_secs(seconds);
        let apart = wall.0.abs_diff(even);
        self.shown = if apart <= AGREE.as_secs() {
            self.shown.max(wall)
        } else if wall.0 > even {
            // Twice as fast until it is there.
            Second(even.saturating_add(seconds.min(apart)))
        } else {
            // Half as fast.
            Second(self.shown.0.saturating_add(seconds / 2))
        };
        self.shown
    }

    /// The time when it was last asked for.
    pub fn shown(&self) -> Second {
        self.shown
    }
}

/// The end of the year 9999.
const LAST: u64 = 253_402_300_799;
/// Clocks that differ by less are the same.
const AGREE: Duration = Duration::from_secs(300);
/// The longest pause between two runs that is taken for true at once.
const AWAY_MAX: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> SystemTime {
        Second(seconds).time()
    }

    fn steady(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_follows_the_wall_clock_while_that_goes_evenly() {
        let mut pace = Pace::begin(at(1000), None, steady(5));
        assert_eq!(pace.now(at(1010), steady(15)), Second(1010));
        assert_eq!(
            pace.now(at(1100), steady(104)),
            Second(1100),
            "a small difference is none"
        );
        assert_eq!(pace.now(at(1090), steady(105)), Second(1100), "never backwards");
    }

    #[test]
    fn a_clock_that_jumps_moves_it_no_faster_than_twice() {
        let mut pace = Pace::begin(at(10 * DAY), None, steady(0));
        assert_eq!(pace.now(at(410 * DAY), steady(1)), Second(10 * DAY + 2));
        let hour = pace.now(at(410 * DAY), steady(3601));
        assert_eq!(hour, Second(10 * DAY + 7202));
        // Set right again.
        assert_eq!(
            pace.now(at(10 * DAY + 3700), steady(3700)),
            Second(10 * DAY + 7202 + 49)
        );
        let mut back = Pace::begin(at(10 * DAY), None, steady(0));
        assert_eq!(back.now(at(3 * DAY), steady(1000)), Second(10 * DAY + 500));
    }

    #[test]
    fn a_start_believes_a_month_at_most() {
        let begin = |wall, last| Pace::begin(at(wall), Some(Second(last)), steady(0)).shown();
        assert_eq!(begin(100 * DAY, 99 * DAY), Second(100 * DAY));
        assert_eq!(begin(100 * DAY, 10 * DAY), Second(40 * DAY));
        assert_eq!(begin(0, 99 * DAY), Second(99 * DAY), "a clock without a battery");
    }

    #[test]
    fn many_small_steps_are_one_large_one() {
        let mut pace = Pace::begin(at(0), None, steady(0));
        for tenth in 1..=10_000 {
            pace.now(at(900 * DAY), Duration::from_millis(tenth * 100));
        }
        assert_eq!(pace.shown(), Second(2000));
    }

    #[test]
    fn no_second_overflows() {
        for seconds in [0, 1, LAST, LAST + 1, u64::MAX] {
            let second = Second(seconds);
            assert_eq!(Second::of(second.time()), Second(seconds.min(LAST)));
            let _ = second.after(Duration::MAX).since(Second(7));
        }
    }
}
