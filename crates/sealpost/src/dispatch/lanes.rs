//! How much each destination may have at once: plain bookkeeping over lanes, without tasks or sockets. `K` is an open
//! connection.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use mail::Cause;
use spool::Lane;

use crate::config::route::Route;
use crate::route::LOCAL_LANE;

/// All lanes that have something running, kept or remembered.
pub struct Lanes<K> {
    lanes: BTreeMap<Lane, State<K>>,
    limits: Bounds,
    /// Attempts running that use a connection.
    running: usize,
    idle: usize,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    connections_max: usize,
    destination_connections_max: usize,
    idle_wait: std::time::Duration,
}

struct State<K> {
    running: usize,
    /// Attempts that may run at once: grows with success, shrinks with trouble.
    allowed: usize,
    /// The host has let us send since it last gave trouble.
    proven: Proven,
    idle: Vec<(K, Instant)>,
    closed: Option<Closed>,
    /// Times in a row that it was closed.
    closings: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proven {
    Yes,
    NotYet,
}

/// A lane whose messages are put off without an attempt, since the last one found no way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// Until then.
    pub until: SystemTime,
    /// Why.
    pub cause: Cause,
    /// What its messages become meanwhile.
    pub becomes: Becomes,
}

/// What becomes of the messages of a closed lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Becomes {
    /// They are deferred.
    Deferred,
    /// They are held: the hosts did not show what is demanded, and one attempt at a time tests whether they do again.
    Withheld,
}

/// What to do with a message just taken.
#[derive(Debug)]
pub enum Start<K> {
    /// Try it, over this connection if there is one.
    Attempt {
        /// Kept from the message before.
        idle: Option<K>,
        /// Times in a row that the lane was closed before.
        closings: u32,
    },
    /// Put it off like the one before.
    PutOff(Closed),
}

/// How an attempt left its lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// A host answered.
    Good,
    /// A host gave trouble.
    Troubled,
    /// There is no way for now.
    Closed(Closed),
    /// A fault of ours: it rests, whatever a person wants.
    Broken(Closed),
    /// Nothing was tried.
    Untried,
}

impl<K> Lanes<K> {
    /// No lanes yet.
    pub fn new(route: &Route) -> Lanes<K> {
        Lanes {
            lanes: BTreeMap::new(),
            limits: Bounds::of(route),
            running: 0,
            idle: 0,
        }
    }

    /// Takes new bounds over; what runs goes on.
    pub fn rebound(&mut self, route: &Route) {
        self.limits = Bounds::of(route);
    }

    /// Whether the lane may start one more now. A lane not known yet may start one: if its host does not answer, one
    /// attempt has found out (RFC 5321 §4.5.4.1).
    pub fn is_open(&self, lane: &Lane, now: SystemTime) -> bool {
        let (running, allowed) = match self.lanes.get(lane) {
            None => (0, 1),
            Some(state) => (state.running, state.allowed_at(now)),
        };
        match is_local(lane) {
            true => running < LOCAL_MAX,
            false => {
                running < allowed.min(self.limits.destination_connections_max)
                    && self.running < self.limits.connections_max
            }
        }
    }

    /// A message of this lane was taken. Also gives connections that must end, so that there is room.
    pub fn start(&mut self, lane: &Lane, now: SystemTime) -> (Start<K>, Vec<K>) {
        let state = self.lanes.entry(lane.clone()).or_default();
        state.running += 1;
        if !is_local(lane) {
            self.running += 1;
        }
        if let Some(closed) = state.closed.as_ref().filter(|closed| closed.holds(now)) {
            return (Start::PutOff(closed.clone()), Vec::new());
        }
        let idle = state.idle.pop().map(|(connection, _)| connection);
        self.idle -= usize::from(idle.is_some());
        let closings = state.closings;
        (Start::Attempt { idle, closings }, self.make_room())
    }

    /// Whether the lane's messages are held for what its hosts lacked last.
    pub fn withholds(&self, lane: &Lane) -> bool {
        let closed = self.lanes.get(lane).and_then(|state| state.closed.as_ref());
        closed.is_some_and(|closed| closed.becomes == Becomes::Withheld)
    }

    /// A host of the lane lets us send.
    pub fn reached(&mut self, lane: &Lane) {
        if let Some(state) = self.lanes.get_mut(lane)
            && state.proven == Proven::NotYet
        {
            state.proven = Proven::Yes;
            state.allowed = state.allowed.max(ALLOWED_ONCE_PROVEN);
        }
    }

    /// An attempt is over. Gives connections that must end.
    pub fn ended(&mut self, lane: &Lane, health: Health, connection: Option<K>, now: Instant) -> Vec<K> {
        let Some(state) = self.lanes.get_mut(lane) else {
            return connection.into_iter().collect();
        };
        state.running = state.running.saturating_sub(1);
        if !is_local(lane) {
            self.running = self.running.saturating_sub(1);
        }
        state.take_in(health, self.limits.destination_connections_max);
        let room = self.running + self.idle < self.limits.connections_max;
        let ends = match connection {
            Some(connection) if room && !self.limits.idle_wait.is_zero() => {
                state.idle.push((connection, now + self.limits.idle_wait));
                self.idle += 1;
                Vec::new()
            }
            other => other.into_iter().collect(),
        };
        self.forget_if_idle(lane);
        ends
    }

    /// Connections whose time without work is over, and lanes of which nothing need be remembered.
    pub fn expire(&mut self, now: Instant, wall: SystemTime) -> Vec<K> {
        let mut ends = Vec::new();
        for state in self.lanes.values_mut() {
            let late = state
                .idle
                .iter()
                .position(|(_, until)| now < *until)
                .unwrap_or(state.idle.len());
            ends.extend(state.idle.drain(..late).map(|(connection, _)| connection));
        }
        self.idle -= ends.len();
        self.lanes.retain(|_, state| !state.is_forgettable(wall));
        ends
    }

    /// When [`Lanes::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.lanes
            .values()
            .filter_map(|state| Some(state.idle.first()?.1))
            .min()
    }

    /// Closed lanes open at once. What was withheld is remembered as such, so that its end is noticed.
    pub fn reopen(&mut self) {
        for state in self.lanes.values_mut() {
            match &mut state.closed {
                Some(closed) if closed.becomes == Becomes::Withheld => closed.until = closed.cause.at,
                _ => state.closed = None,
            }
        }
    }

    /// All connections without work.
    pub fn drain(&mut self) -> Vec<K> {
        self.idle = 0;
        let states = self.lanes.values_mut();
        states
            .flat_map(|state| state.idle.drain(..))
            .map(|(connection, _)| connection)
            .collect()
    }

    /// The oldest connections without work end where the whole would be too many.
    fn make_room(&mut self) -> Vec<K> {
        let mut ends = Vec::new();
        while self.running + self.idle > self.limits.connections_max && self.idle > 0 {
            let kept = self.lanes.values_mut().filter(|state| !state.idle.is_empty());
            let Some(oldest) = kept.min_by_key(|state| state.idle[0].1) else {
                break;
            };
            ends.push(oldest.idle.remove(0).0);
            self.idle -= 1;
        }
        ends
    }

    /// What is remembered of a lane costs memory only while it says more than a lane never seen.
    fn forget_if_idle(&mut self, lane: &Lane) {
        let plain = |state: &State<K>| {
            state.running == 0
                && state.idle.is_empty()
                && state.closed.is_none()
                && state.proven == Proven::NotYet
        };
        if self.lanes.get(lane).is_some_and(plain) {
            self.lanes.remove(lane);
        }
    }
}

impl Closed {
    /// Not so behind a clock that was set back: it would be closed for too long.
    fn holds(&self, now: SystemTime) -> bool {
        self.cause.at <= now && now < self.until
    }
}

impl<K> State<K> {
    fn allowed_at(&self, now: SystemTime) -> usize {
        match &self.closed {
            // Putting off costs no connection.
            Some(closed) if closed.holds(now) => PUT_OFF_MAX,
            Some(_) => 1,
            None => self.allowed,
        }
    }

    fn take_in(&mut self, health: Health, max: usize) {
        match health {
            Health::Good => {
                self.allowed = (self.allowed + 1).min(max);
                (self.closed, self.closings) = (None, 0);
            }
            Health::Troubled => {
                self.allowed = (self.allowed / 2).max(1);
                self.proven = Proven::NotYet;
                (self.closed, self.closings) = (None, 0);
            }
            Health::Closed(closed) | Health::Broken(closed) => {
                (self.allowed, self.proven) = (1, Proven::NotYet);
                self.closings = self.closings.saturating_add(1);
                self.closed = Some(closed);
            }
            Health::Untried => {}
        }
    }

    fn is_forgettable(&self, now: SystemTime) -> bool {
        let open = self
            .closed
            .as_ref()
            .is_none_or(|closed| closed.until + CLOSINGS_REMEMBERED < now);
        self.running == 0 && self.idle.is_empty() && open
    }
}

impl<K> Default for State<K> {
    fn default() -> State<K> {
        State {
            running: 0,
            allowed: 1,
            proven: Proven::NotYet,
            idle: Vec::new(),
            closed: None,
            closings: 0,
        }
    }
}

impl Bounds {
    fn of(route: &Route) -> Bounds {
        Bounds {
            connections_max: route.connections_max,
            destination_connections_max: route.destination_connections_max,
            idle_wait: route.idle_wait,
        }
    }
}

fn is_local(lane: &Lane) -> bool {
    lane.as_str() == LOCAL_LANE
}

/// Local deliveries at once: they wait for one disk.
const LOCAL_MAX: usize = 8;
/// Messages of a closed lane put off at once.
const PUT_OFF_MAX: usize = 4;
/// Attempts at once that a destination is trusted with when it first lets us send.
const ALLOWED_ONCE_PROVEN: usize = 5;
/// How long a lane that was closed is remembered beyond its end, so that closing it again closes it longer.
const CLOSINGS_REMEMBERED: std::time::Duration = std::time::Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mail::{Class, EnhancedStatus};

    use super::*;

    fn lanes(connections_max: usize, destination_connections_max: usize) -> Lanes<u32> {
        Lanes::new(&Route {
            connections_max,
            destination_connections_max,
            idle_wait: Duration::from_secs(5),
            ..Route::default()
        })
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn closed(until: u64) -> Closed {
        let cause = Cause {
            at: at(0),
            status: EnhancedStatus::new(Class::Transient, 4, 3),
            remote: None,
            reply: None,
            text: "SERVFAIL".into(),
        };
        Closed {
            until: at(until),
            cause,
            becomes: Becomes::Deferred,
        }
    }

    /// Starts as many as may start.
    fn fill(lanes: &mut Lanes<u32>, lane: &Lane) -> usize {
        let mut started = 0;
        while lanes.is_open(lane, at(0)) {
            lanes.start(lane, at(0));
            started += 1;
        }
        started
    }

    #[test]
    fn concurrency_rises_with_success_and_falls_with_trouble() {
        let (mut lanes, lane, now) = (lanes(100, 7), Lane::new("a.example"), Instant::now());
        assert_eq!(fill(&mut lanes, &lane), 1);
        lanes.reached(&lane);
        assert_eq!(fill(&mut lanes, &lane), 4);
        lanes.ended(&lane, Health::Good, None, now);
        assert_eq!(fill(&mut lanes, &lane), 2);
        for _ in 0..3 {
            lanes.ended(&lane, Health::Good, None, now);
        }
        assert_eq!(fill(&mut lanes, &lane), 4, "seven at most");
        lanes.ended(&lane, Health::Troubled, None, now);
        assert_eq!(fill(&mut lanes, &lane), 0);
        for _ in 0..6 {
            lanes.ended(&lane, Health::Troubled, None, now);
        }
        assert_eq!(fill(&mut lanes, &lane), 1);
    }

    #[test]
    fn one_destination_never_closes_another() {
        let mut lanes = lanes(100, 20);
        let (slow, quick) = (Lane::new("slow.example"), Lane::new("quick.example"));
        assert_eq!(fill(&mut lanes, &slow), 1);
        lanes.reached(&slow);
        fill(&mut lanes, &slow);
        assert!(lanes.is_open(&quick, at(0)));
        assert!(lanes.is_open(&Lane::new(LOCAL_LANE), at(0)));
    }

    #[test]
    fn all_together_have_a_limit_and_idle_connections_give_way() {
        let (mut lanes, now) = (lanes(2, 20), Instant::now());
        let [a, b, c] = ["a.example", "b.example", "c.example"].map(Lane::new);
        lanes.start(&a, at(0));
        assert!(lanes.ended(&a, Health::Good, Some(1), now).is_empty());
        lanes.start(&b, at(0));
        assert!(lanes.is_open(&c, at(0)));
        let (start, ends) = lanes.start(&c, at(0));
        assert!(matches!(start, Start::Attempt { idle: None, .. }));
        assert_eq!(ends, [1]);
        assert!(!lanes.is_open(&a, at(0)));
        assert!(
            lanes.is_open(&Lane::new(LOCAL_LANE), at(0)),
            "local mail needs no connection"
        );
    }

    #[test]
    fn connections_are_used_again_until_their_time_is_over() {
        let (mut lanes, lane, now) = (lanes(100, 20), Lane::new("a.example"), Instant::now());
        lanes.start(&lane, at(0));
        lanes.ended(&lane, Health::Good, Some(7), now);
        assert_eq!(lanes.next_expiry(), Some(now + Duration::from_secs(5)));
        let (start, _) = lanes.start(&lane, at(0));
        assert!(matches!(start, Start::Attempt { idle: Some(7), .. }));
        lanes.ended(&lane, Health::Good, Some(7), now);
        assert!(lanes.expire(now + Duration::from_secs(4), at(0)).is_empty());
        assert_eq!(lanes.expire(now + Duration::from_secs(5), at(0)), [7]);
        assert!(lanes.lanes.is_empty());
    }

    #[test]
    fn a_closed_lane_puts_off_until_its_time_and_then_tries_once() {
        let (mut lanes, lane, now) = (lanes(100, 20), Lane::new("a.example"), Instant::now());
        lanes.start(&lane, at(0));
        lanes.ended(&lane, Health::Closed(closed(60)), None, now);
        assert!(matches!(lanes.start(&lane, at(59)).0, Start::PutOff(_)));
        lanes.ended(&lane, Health::Untried, None, now);
        assert!(matches!(
            lanes.start(&lane, at(60)).0,
            Start::Attempt { closings: 1, .. }
        ));
        assert!(!lanes.is_open(&lane, at(60)));
        lanes.ended(&lane, Health::Closed(closed(120)), None, now);
        lanes.reopen();
        assert!(matches!(
            lanes.start(&lane, at(61)).0,
            Start::Attempt { closings: 2, .. }
        ));
    }

    #[test]
    fn a_lane_whose_hosts_lack_something_tests_once_and_tells_when_they_do_no_more() {
        let (mut lanes, lane, now) = (lanes(100, 20), Lane::new("a.example"), Instant::now());
        let wanting = Closed {
            becomes: Becomes::Withheld,
            ..closed(60)
        };
        lanes.start(&lane, at(0));
        lanes.ended(&lane, Health::Closed(wanting), None, now);
        assert!(lanes.withholds(&lane));
        assert!(matches!(lanes.start(&lane, at(1)).0, Start::PutOff(_)));
        lanes.ended(&lane, Health::Untried, None, now);
        lanes.reopen();
        assert!(lanes.withholds(&lane));
        assert!(matches!(lanes.start(&lane, at(2)).0, Start::Attempt { .. }));
        assert!(!lanes.is_open(&lane, at(2)), "one test at a time");
        lanes.ended(&lane, Health::Good, None, now);
        assert!(!lanes.withholds(&lane));
    }

    #[test]
    fn a_clock_set_back_opens_closed_lanes() {
        let (mut lanes, lane, now) = (lanes(100, 20), Lane::new("a.example"), Instant::now());
        lanes.start(&lane, at(1000));
        let mut later = closed(1060);
        later.cause.at = at(1000);
        lanes.ended(&lane, Health::Closed(later), None, now);
        assert!(matches!(lanes.start(&lane, at(1059)).0, Start::PutOff(_)));
        assert!(matches!(lanes.start(&lane, at(10)).0, Start::Attempt { .. }));
    }

    #[test]
    fn lanes_without_news_are_forgotten() {
        let (mut lanes, now) = (lanes(100, 20), Instant::now());
        for number in 0..1000 {
            let lane = Lane::new(&format!("n{number}.example"));
            lanes.start(&lane, at(0));
            lanes.ended(&lane, Health::Troubled, None, now);
        }
        assert!(lanes.lanes.is_empty());
    }
}
