//! When what is tried: due times, one queue for each lane, and turns between the lanes. Pure: knows no clock, no disk
//! and no message, only slots (whose they are is the index's business). Every step is logarithmic in what waits, but
//! that `take` asks each due lane whether it is open until one is.

use std::collections::{BTreeMap, BTreeSet};

use crate::octets::Moment;

/// A message's number in memory.
pub(crate) type Slot = u32;
/// A lane's number in memory.
pub(crate) type LaneNumber = u32;

/// What waits, by lane and due time.
#[derive(Default)]
pub(crate) struct Schedule {
    lanes: Vec<Queue>,
    /// Lanes whose first message is due later than `now`, by that due time.
    asleep: BTreeSet<(Moment, LaneNumber)>,
    /// Lanes with a message due at `now`, in the order of their turns.
    ready: BTreeMap<u64, LaneNumber>,
    next_turn: u64,
    /// The time that `take` was told last.
    now: Moment,
}

#[derive(Default)]
struct Queue {
    waiting: BTreeSet<(Moment, Slot)>,
    standing: Standing,
}

/// Where a lane stands. Follows from its first message and `now`: see `place`.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Standing {
    #[default]
    Empty,
    Asleep(Moment),
    Ready(u64),
}

impl Schedule {
    /// Lets a message wait in a lane until it is due. A message waits at most once in a lane.
    pub(crate) fn add(&mut self, lane: LaneNumber, due: Moment, slot: Slot) {
        let index = lane as usize;
        if index >= self.lanes.len() {
            self.lanes.resize_with(index + 1, Queue::default);
        }
        self.lanes[index].waiting.insert((due, slot));
        self.place(lane);
    }

    /// Takes a message out of its lane. Says whether it was there.
    pub(crate) fn remove(&mut self, lane: LaneNumber, due: Moment, slot: Slot) -> bool {
        let Some(queue) = self.lanes.get_mut(lane as usize) else {
            return false;
        };
        let found = queue.waiting.remove(&(due, slot));
        self.place(lane);
        found
    }

    /// Takes out the message that is due first in the lane whose turn it is, among the lanes that are open. The lane
    /// then waits until all other due lanes had their turn.
    pub(crate) fn take(
        &mut self,
        now: Moment,
        mut open: impl FnMut(LaneNumber) -> bool,
    ) -> Option<(LaneNumber, Slot)> {
        if now < self.now {
            self.set_back(now);
        }
        self.now = now;
        while let Some(&(due, lane)) = self.asleep.first()
            && due <= self.now
        {
            self.place(lane);
        }
        let (turn, lane) = self
            .ready
            .iter()
            .map(|(&turn, &lane)| (turn, lane))
            .find(|&(_, lane)| open(lane))?;
        let queue = &mut self.lanes[lane as usize];
        let (_, slot) = queue.waiting.pop_first()?;
        queue.standing = Standing::Empty;
        self.ready.remove(&turn);
        self.place(lane);
        Some((lane, slot))
    }

    /// When the first message is due that no `take` has seen due yet. What is due already is not told of again: it
    /// waits only for its lane to open, and who opens lanes knows when.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.asleep.first().map(|&(due, _)| due)
    }

    /// Whether something is due that no `take` has taken.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The time that `take` was told last.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// The clock was set back: what is no longer due waits for its time again. Otherwise all that is put off would count
    /// as due until the clock has caught up, and be tried again without a pause.
    fn set_back(&mut self, now: Moment) {
        self.now = now;
        let ready: Vec<LaneNumber> = self.ready.values().copied().collect();
        for lane in ready {
            self.place(lane);
        }
    }

    /// Puts a lane where its first message belongs. A ready lane keeps its turn.
    fn place(&mut self, lane: LaneNumber) {
        let queue = &mut self.lanes[lane as usize];
        let first = queue.waiting.first().map(|&(due, _)| due);
        let wanted = match (first, queue.standing) {
            (None, _) => Standing::Empty,
            (Some(due), _) if due > self.now => Standing::Asleep(due),
            (Some(_), Standing::Ready(turn)) => Standing::Ready(turn),
            (Some(_), _) => Standing::Ready(self.next_turn),
        };
        if wanted == queue.standing {
            return;
        }
        match queue.standing {
            Standing::Empty => {}
            Standing::Asleep(due) => {
                self.asleep.remove(&(due, lane));
            }
            Standing::Ready(turn) => {
                self.ready.remove(&turn);
            }
        }
        match wanted {
            Standing::Empty => {}
            Standing::Asleep(due) => {
                self.asleep.insert((due, lane));
            }
            Standing::Ready(turn) => {
                self.ready.insert(turn, lane);
                self.next_turn += 1;
            }
        }
        queue.standing = wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(schedule: &mut Schedule, now: Moment) -> Vec<(LaneNumber, Slot)> {
        std::iter::from_fn(|| schedule.take(now, |_| true)).collect()
    }

    #[test]
    fn lanes_take_turns_and_each_is_in_order() {
        let mut schedule = Schedule::default();
        for (lane, due, slot) in [(0, 5, 1), (0, 3, 2), (0, 4, 3), (1, 9, 4), (2, 1, 5), (2, 2, 6)] {
            schedule.add(lane, due, slot);
        }
        assert_eq!(schedule.next_due(), Some(1));
        assert_eq!(drain(&mut schedule, 5), [(2, 5), (0, 2), (2, 6), (0, 3), (0, 1)]);
        assert_eq!(schedule.next_due(), Some(9));
        assert_eq!(drain(&mut schedule, 9), [(1, 4)]);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn a_closed_lane_delays_no_other() {
        let mut schedule = Schedule::default();
        schedule.add(0, 1, 1);
        schedule.add(1, 2, 2);
        assert_eq!(schedule.take(5, |lane| lane == 1), Some((1, 2)));
        assert_eq!(schedule.take(5, |lane| lane == 1), None);
        // It is due already: nothing new will become due.
        assert_eq!(schedule.next_due(), None);
        assert_eq!(schedule.take(5, |_| true), Some((0, 1)));
    }

    #[test]
    fn a_clock_set_back_makes_nothing_due_early() {
        let mut schedule = Schedule::default();
        schedule.add(0, 1_000, 1);
        schedule.add(1, 5, 2);
        assert_eq!(
            schedule.take(2_000, |lane| lane == 2),
            None,
            "both lanes are shut"
        );
        assert_eq!(drain(&mut schedule, 10), [(1, 2)]);
        schedule.add(1, 310, 2); // put off for a while
        assert_eq!(drain(&mut schedule, 309), []);
        assert_eq!(schedule.next_due(), Some(310));
        assert_eq!(drain(&mut schedule, 1_000), [(1, 2), (0, 1)]);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Add(LaneNumber, Moment, Slot),
        Remove(usize),
        Take(Moment, u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..5u32, 0..60u64, 0..40u32).prop_map(|(lane, due, slot)| Act::Add(lane, due, slot)),
            any::<prop::sample::Index>().prop_map(|index| Act::Remove(index.index(40))),
            (0..60u64, any::<u8>()).prop_map(|(now, shut)| Act::Take(now, shut)),
        ]
    }

    proptest! {
        /// Against a plain list: what is taken is the first of its lane, due, of an open lane; nothing due in an open
        /// lane is passed over; a lane with due work is served again only after every other that stayed due and open.
        #[test]
        fn does_what_a_plain_list_does(acts in prop::collection::vec(act(), 1..200)) {
            let mut schedule = Schedule::default();
            let mut list: Vec<(LaneNumber, Moment, Slot)> = Vec::new();
            let mut latest = 0;
            let mut passed_over = [0usize; 5];
            for act in acts {
                // A lane that has nothing due loses its turn.
                for lane in 0..5u32 {
                    if !list.iter().any(|entry| entry.0 == lane && entry.1 <= latest) {
                        passed_over[lane as usize] = 0;
                    }
                }
                match act {
                    Act::Add(lane, due, slot) => {
                        if !list.iter().any(|&(l, _, s)| (l, s) == (lane, slot)) {
                            schedule.add(lane, due, slot);
                            list.push((lane, due, slot));
                        }
                    }
                    Act::Remove(index) => {
                        if index < list.len() {
                            let (lane, due, slot) = list.swap_remove(index);
                            prop_assert!(schedule.remove(lane, due, slot));
                            if !list.iter().any(|&(other, ..)| other == lane) {
                                // An emptied lane gives up its turn and comes last again.
                                passed_over[lane as usize] = 0;
                            }
                        }
                    }
                    Act::Take(now, shut) => {
                        latest = now;
                        let is_open = |lane: LaneNumber| shut & (1 << lane) == 0;
                        let due_lanes: BTreeSet<_> = list.iter()
                            .filter(|&&(lane, due, _)| due <= latest && is_open(lane))
                            .map(|&(lane, ..)| lane).collect();
                        match schedule.take(now, is_open) {
                            None => prop_assert!(due_lanes.is_empty()),
                            Some((lane, slot)) => {
                                prop_assert!(due_lanes.contains(&lane));
                                let first = list.iter().filter(|entry| entry.0 == lane)
                                    .map(|&(_, due, slot)| (due, slot)).min();
                                prop_assert_eq!(first.map(|(_, slot)| slot), Some(slot));
                                list.retain(|&(l, _, s)| (l, s) != (lane, slot));
                                for other in 0..5u32 {
                                    if other != lane && due_lanes.contains(&other) {
                                        passed_over[other as usize] += 1;
                                    } else {
                                        passed_over[other as usize] = 0;
                                    }
                                }
                                prop_assert!(passed_over.iter().all(|&turns| turns < 5));
                            }
                        }
                        let next = list.iter().map(|&(_, due, _)| due).filter(|&due| due > latest).min();
                        let asleep = (0..5u32).filter_map(|lane| {
                            list.iter().filter(|e| e.0 == lane).map(|e| e.1).min().filter(|&due| due > latest)
                        }).min();
                        prop_assert_eq!(schedule.next_due(), asleep);
                        prop_assert!(asleep >= next || asleep.is_none());
                    }
                }
            }
        }
    }
}
