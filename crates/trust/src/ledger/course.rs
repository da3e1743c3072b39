//! The way to a bound: sessions that show the same, several of them, apart from each other. Then the bound itself, for as
//! long as sessions confirm it.

use std::time::Duration;

use super::seconds::Second;

/// How a peer comes to be bound to one thing that it shows, and stays so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Course {
    pub(super) run: Run,
    /// Since when it is bound.
    pub(super) since: Option<Second>,
    /// When a session last showed it.
    pub(super) confirmed: Second,
    /// How often a run broke off before it was bound.
    pub(super) lapses: u8,
    /// When the last did.
    pub(super) lapsed: Second,
}

/// Sessions in a row that showed the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Run {
    /// How many, those that stand close together counted once.
    pub(super) count: u16,
    pub(super) first: Second,
    /// The last that counted.
    pub(super) counted: Second,
}

/// What it takes to bind, and to stay bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Sessions in a row.
    pub after: u16,
    /// Between the first and the last.
    pub over: Duration,
    /// Sessions closer together count once.
    pub apart: Duration,
    /// How long a bound lasts without a session that confirms it.
    pub decay: Duration,
}

impl Run {
    /// One more session that showed it. Whether they are enough now.
    pub(super) fn grow(&mut self, now: Second, binding: &Binding) -> bool {
        if self.count == 0 || now.since(self.counted) > binding.decay {
            *self = Run {
                count: 1,
                first: now,
                counted: now,
            };
        } else if now.since(self.counted) >= binding.apart {
            self.count = self.count.saturating_add(1);
            self.counted = now;
        }
        self.count >= binding.after && now.since(self.first) >= binding.over
    }
}

impl Course {
    /// Whether it is bound now.
    pub fn is_bound(&self, now: Second, binding: &Binding) -> bool {
        self.since.is_some() && now.since(self.confirmed) < binding.decay
    }

    /// Since when it is bound, or was before that decayed.
    pub fn since(&self) -> Option<Second> {
        self.since
    }

    /// When a session last showed it.
    pub fn confirmed(&self) -> Second {
        self.confirmed
    }

    /// Sessions in a row on the way to be bound, and how many it takes.
    pub fn progress(&self, binding: &Binding) -> (u16, u16) {
        (self.run.count, self.needed(binding).after)
    }

    /// Ends a bound that nothing has confirmed for too long. Whether there was one to end.
    pub(super) fn decays(&mut self, now: Second, binding: &Binding) -> bool {
        let ends = self.since.is_some() && !self.is_bound(now, binding);
        if ends {
            self.since = None;
            self.run = Run::default();
        }
        ends
    }

    /// A session showed it. Whether it is bound because of that, and was not before.
    pub(super) fn shown(&mut self, now: Second, binding: &Binding) -> bool {
        self.confirmed = self.confirmed.max(now);
        if self.since.is_some() {
            return false;
        }
        if now.since(self.lapsed) > binding.decay {
            self.lapses = 0;
        }
        let needed = self.needed(binding);
        let enough = self.run.grow(now, &needed);
        if enough {
            self.since = Some(now);
        }
        enough
    }

    /// Proof that stands by itself: bound at once.
    pub(super) fn proven(&mut self, now: Second) -> bool {
        self.confirmed = self.confirmed.max(now);
        let fresh = self.since.is_none();
        self.since.get_or_insert(now);
        fresh
    }

    /// A session of one that is not bound showed less: what was counted is void, and it takes longer from now on. A name
    /// behind which hosts differ is so not bound by a few lucky sessions.
    pub(super) fn lapse(&mut self, now: Second) {
        if self.since.is_none() {
            let lapses = match self.run.count {
                // It is known to show less: a few forged answers between its own must not bind it.
                0 => self.lapses.max(LAPSES_KNOWN),
                _ => (self.lapses + 1).max(LAPSES_KNOWN),
            };
            self.run = Run::default();
            self.lapses = lapses.min(LAPSES_MAX);
            self.lapsed = now;
        }
    }

    /// A session of one that is not bound came to nothing: counting begins anew.
    pub(super) fn break_off(&mut self) {
        if self.since.is_none() {
            self.run = Run::default();
        }
    }

    /// Twice as much after each lapse.
    fn needed(&self, binding: &Binding) -> Binding {
        let times = 1u16 << self.lapses.min(LAPSES_MAX);
        Binding {
            after: binding.after.saturating_mul(times),
            over: binding.over.saturating_mul(times.into()),
            ..*binding
        }
    }
}

/// Lapses of one that has shown less at least once.
const LAPSES_KNOWN: u8 = 2;
/// Lapses that count.
pub(super) const LAPSES_MAX: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const BINDING: Binding = Binding {
        after: 3,
        over: Duration::from_secs(24 * HOUR),
        apart: Duration::from_secs(4 * HOUR),
        decay: Duration::from_secs(90 * 24 * HOUR),
    };

    /// At which of these hours it is bound.
    fn bound_at(hours: &[u64]) -> Option<u64> {
        let mut course = Course::default();
        let mut shown = hours.iter();
        shown
            .find(|hour| course.shown(Second(1_000_000 + **hour * HOUR), &BINDING))
            .copied()
    }

    #[test]
    fn several_sessions_apart_from_each_other_bind() {
        let rows: [(&[u64], Option<u64>); 9] = [
            (&[0, 12, 24], Some(24)),
            (&[0, 12, 23], None),
            (&[0, 24], None),
            (&[0, 24, 25], None),
            (&[0, 24, 28], Some(28)),
            (&[0, 1, 2, 3], None),
            (&[0, 1, 2, 3, 25, 30], Some(30)),
            (&[0, 24 * 60, 24 * 120], Some(24 * 120)),
            (&[0, 24 * 91, 24 * 91 + 30], None),
        ];
        for (hours, expected) in rows {
            assert_eq!(bound_at(hours), expected, "{hours:?}");
        }
    }

    #[test]
    fn each_lapse_doubles_what_it_takes() {
        let mut course = Course::default();
        let mut now = Second(1_000_000);
        for lapses in [0, 2, 3, 4, 5, 5, 5, 5] {
            let mut sessions = 0;
            let mut copy = course;
            let begun = now;
            while !copy.shown(now, &BINDING) {
                sessions += 1;
                now = now.after(Duration::from_secs(12 * HOUR));
            }
            let times = 1 << lapses;
            assert_eq!(sessions + 1, 3 * times, "after {lapses} lapses");
            assert!(now.since(begun) >= BINDING.over * times);
            course.shown(now, &BINDING);
            course.lapse(now);
            assert!(course.lapses > lapses || course.lapses == 5);
        }
        course.shown(now.after(Duration::from_secs(91 * 24 * HOUR)), &BINDING);
        assert_eq!(course.lapses, 0, "lapses are forgotten");
    }

    #[test]
    fn a_bound_lapses_by_time_alone() {
        let mut course = Course::default();
        assert!(course.proven(Second(0)));
        course.lapse(Second(5));
        course.break_off();
        assert!(course.is_bound(Second(90 * 24 * HOUR - 1), &BINDING));
        assert!(!course.decays(Second(90 * 24 * HOUR - 1), &BINDING));
        assert!(!course.is_bound(Second(90 * 24 * HOUR), &BINDING));
        assert!(course.decays(Second(90 * 24 * HOUR), &BINDING));
        assert_eq!(course.since, None);
    }
}
