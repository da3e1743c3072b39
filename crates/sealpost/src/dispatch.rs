//! Starts attempts: which message is tried when, and how many at once.
//!
//! One task owns all that changes: it waits for an [`Event`], applies it in a plain function, and starts what follows.
//! It waits for nothing else, so that no destination can delay another.

mod attempt;
pub mod lanes;
pub mod next_try;
pub mod rules;
mod settle;
mod witness;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mail::{Cause, Class, EnhancedStatus};
use spool::{Filter, Lane, Leased, Spool};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};

use self::attempt::{Task, attempt};
use self::lanes::{Becomes, Closed, Health, Lanes, Start};
use self::next_try::host_pause;
pub use self::rules::{Ground, Rules, Witnesses};
pub use self::settle::give_up;
use crate::deliver::Connection;
use crate::deliver::peers::{Lesson, Peers};
use crate::ports::Ports;
use crate::spooling::off_the_async_threads;

/// All that can happen to the dispatcher.
pub enum Event {
    /// Something may be due.
    Due,
    /// A host of this lane lets us send.
    Reached(Lane),
    /// An attempt is over.
    Ended(Box<Ended>),
    /// The task of an attempt panicked; its lease went back.
    Panicked(Lane),
    /// The configuration was read anew.
    Reload(Arc<Rules>),
    /// A person wants mail tried at once: what is remembered of silent hosts is forgotten. Answered once it is.
    TryAgain(oneshot::Sender<()>),
    /// No more attempts; those running come to their end.
    Stop,
}

/// How an attempt left things.
pub struct Ended {
    lane: Lane,
    /// Those it worked by.
    rules: Arc<Rules>,
    /// The wish it was started under.
    wish: Wish,
    health: Health,
    lessons: Vec<Lesson>,
    connection: Option<Connection>,
    spent: Vec<Connection>,
}

/// How often a person has wanted mail tried at once. What an attempt of before found out does not stand against the wish.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Wish(u64);

/// What follows from an event.
enum Action {
    /// End a connection politely.
    Close(Connection),
    /// Sort what waits into its new lanes.
    Relane(Arc<Rules>),
    /// The hosts of this lane show what is demanded again: what was withheld is due.
    Test(Lane),
}

/// The way to speak to a running dispatcher.
#[derive(Clone)]
pub struct Handle {
    events: mpsc::Sender<Event>,
}

/// The dispatcher, until it runs.
pub struct Dispatcher {
    ports: Ports,
    spool: Arc<Spool>,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    state: State,
}

/// What the dispatcher's task owns.
struct State {
    rules: Arc<Rules>,
    lanes: Lanes<Connection>,
    peers: Arc<Peers>,
    wish: Wish,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Working,
    Stopping,
}

/// A message taken, and how it starts.
type Started = (Leased, Start<Connection>);

impl Dispatcher {
    /// A dispatcher for this spool, whose bell it takes. The spool's lanes must be those of `rules`.
    pub fn new(ports: Ports, spool: Arc<Spool>, rules: Arc<Rules>) -> (Dispatcher, Handle) {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let bell = events.clone();
        // Where the channel is full, the dispatcher looks for work anyway.
        spool.on_work(move || drop(bell.try_send(Event::Due)));
        let state = State {
            lanes: Lanes::new(&rules.route),
            rules,
            peers: Arc::default(),
            wish: Wish::default(),
            stage: Stage::Working,
        };
        let handle = Handle {
            events: events.clone(),
        };
        (
            Dispatcher {
                ports,
                spool,
                events,
                inbox,
                state,
            },
            handle,
        )
    }

    /// Works until it is told to stop and the attempts then running are over. Cancelled, it gives back what it has.
    pub async fn run(mut self) {
        let mut attempts: JoinSet<Ended> = JoinSet::new();
        let mut farewells: JoinSet<()> = JoinSet::new();
        let mut lane_of: HashMap<Id, Lane> = HashMap::new();
        loop {
            for (leased, start) in self.take(&mut farewells).await {
                let lane = leased.lane().clone();
                let task = self.task(leased, start);
                lane_of.insert(attempts.spawn(attempt(task)).id(), lane);
            }
            if self.state.stage == Stage::Stopping && attempts.is_empty() {
                break;
            }
            let wake = self.wake_at();
            let first = tokio::select! {
                biased;
                Some(event) = self.inbox.recv() => event,
                Some(joined) = attempts.join_next_with_id() => joined_event(joined, &mut lane_of),
                Some(_) = farewells.join_next() => continue,
                () = self.ports.clock.sleep_until(wake) => Event::Due,
            };
            // Attempts that ended count at once, however often the inbox rings: else mail that comes in without a
            // pause would keep lanes shut.
            let ended = std::iter::from_fn(|| attempts.try_join_next_with_id());
            let ended: Vec<Event> = ended.map(|joined| joined_event(joined, &mut lane_of)).collect();
            while farewells.try_join_next().is_some() {}
            for event in std::iter::once(first).chain(ended) {
                self.apply(event, &mut farewells).await;
            }
        }
        let idle = self.state.lanes.drain();
        for connection in idle {
            self.act(Action::Close(connection), &mut farewells).await;
        }
        while farewells.join_next().await.is_some() {}
    }

    async fn apply(&mut self, event: Event, farewells: &mut JoinSet<()>) {
        let (now, wall) = (self.ports.clock.instant(), self.ports.clock.now());
        for action in self.state.apply(event, now, wall) {
            self.act(action, farewells).await;
        }
    }

    fn task(&self, leased: Leased, start: Start<Connection>) -> Task {
        Task {
            ports: self.ports.clone(),
            spool: Arc::clone(&self.spool),
            rules: Arc::clone(&self.state.rules),
            peers: Arc::clone(&self.state.peers),
            wish: self.state.wish,
            events: self.events.clone(),
            leased,
            start,
        }
    }

    /// Takes what is due in lanes that may start more. The spool may read its disk for that, so the books of the lanes
    /// travel to another thread and back.
    async fn take(&mut self, farewells: &mut JoinSet<()>) -> Vec<Started> {
        let mut all = Vec::new();
        while self.state.stage == Stage::Working {
            let empty = Lanes::new(&self.state.rules.route);
            let lanes = std::mem::replace(&mut self.state.lanes, empty);
            let (spool, now) = (Arc::clone(&self.spool), self.ports.clock.now());
            let Some((lanes, some, ends)) =
                off_the_async_threads(move || take_some(&spool, lanes, now)).await
            else {
                // Only when the runtime ends: there is nothing left to do.
                self.state.stage = Stage::Stopping;
                break;
            };
            self.state.lanes = lanes;
            for connection in ends {
                self.act(Action::Close(connection), farewells).await;
            }
            let more = some.len() == TAKEN_AT_ONCE_MAX;
            all.extend(some);
            if !more || all.len() >= STARTED_AT_ONCE_MAX {
                break;
            }
        }
        all
    }

    async fn act(&mut self, action: Action, farewells: &mut JoinSet<()>) {
        match action {
            Action::Close(connection) => {
                let ports = self.ports.clone();
                farewells.spawn(async move { connection.quit(&ports).await });
            }
            Action::Relane(rules) => {
                let spool = Arc::clone(&self.spool);
                off_the_async_threads(move || spool.relane(rules.lane_of())).await;
            }
            // In its own time: there may be much, and attempts go on meanwhile.
            Action::Test(lane) => {
                let (spool, now) = (Arc::clone(&self.spool), self.ports.clock.now());
                farewells.spawn(async move { test(spool, lane, now).await });
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let (now, wall) = (self.ports.clock.instant(), self.ports.clock.now());
        // Once it stops nothing is taken any more, however long it has been due.
        let due = match self.state.stage {
            Stage::Working => self.spool.next_due(),
            Stage::Stopping => None,
        };
        let due = due.map(|due| now + due.duration_since(wall).unwrap_or(Duration::ZERO));
        let soonest = [due, self.state.lanes.next_expiry()].into_iter().flatten().min();
        soonest.map_or(now + WAKE_MAX, |soonest| soonest.min(now + WAKE_MAX))
    }
}

/// What an event changes, and what follows from it.
impl State {
    fn apply(&mut self, event: Event, now: Instant, wall: SystemTime) -> Vec<Action> {
        match event {
            Event::Due => self
                .lanes
                .expire(now, wall)
                .into_iter()
                .map(Action::Close)
                .collect(),
            Event::Reached(lane) => {
                self.lanes.reached(&lane);
                Vec::new()
            }
            Event::Ended(ended) => self.ended(*ended, now, wall),
            Event::Panicked(lane) => {
                self.lanes.ended(&lane, fault(wall, PANICKED), None, now);
                Vec::new()
            }
            Event::Reload(rules) => {
                self.lanes.rebound(&rules.route);
                self.rules = Arc::clone(&rules);
                // Opened by other rules: perhaps to another port, from another address, under another name.
                let old = self.lanes.drain().into_iter().map(Action::Close);
                std::iter::once(Action::Relane(rules)).chain(old).collect()
            }
            Event::TryAgain(done) => {
                self.lanes.reopen();
                Arc::make_mut(&mut self.peers).forget_silence();
                self.wish.0 += 1;
                // Who asked may have gone away; it is done.
                let _ = done.send(());
                Vec::new()
            }
            Event::Stop => {
                self.stage = Stage::Stopping;
                Vec::new()
            }
        }
    }

    fn ended(&mut self, mut ended: Ended, now: Instant, wall: SystemTime) -> Vec<Action> {
        if ended.wish != self.wish {
            ended.forget_obstacles();
        }
        // Attempts hold the memory as it was when they began: it is copied only for what is news.
        let news = |lesson: &Lesson| self.peers.is_news(lesson);
        if ended.lessons.iter().any(news) {
            let peers = Arc::make_mut(&mut self.peers);
            for lesson in ended.lessons {
                peers.learn(lesson, wall, |times| host_pause(times, &self.rules.retry));
            }
        }
        let (kept, old) = match Arc::ptr_eq(&ended.rules, &self.rules) {
            true => (ended.connection, None),
            false => (None, ended.connection),
        };
        let mended = self.lanes.withholds(&ended.lane) && ended.health == Health::Good;
        let ends = self.lanes.ended(&ended.lane, ended.health, kept, now);
        let spent = ended.spent.into_iter().chain(old);
        let closing = spent.chain(ends).map(Action::Close);
        let test = mended.then_some(Action::Test(ended.lane));
        closing.chain(test).collect()
    }
}

impl Ended {
    /// What would keep the lane or a host from being tried.
    fn forget_obstacles(&mut self) {
        self.lessons
            .retain(|lesson| !matches!(lesson, Lesson::Silent(..)));
        if let Health::Closed(_) = self.health {
            self.health = Health::Troubled;
        }
    }
}

impl Handle {
    /// Replaces the rules. What runs goes on by the old ones.
    pub async fn reload(&self, rules: Arc<Rules>) {
        self.tell(Event::Reload(rules)).await;
    }

    /// Forgets which hosts are silent, for mail that a person wants tried at once. Returns when it is so.
    pub async fn try_again(&self) {
        let (done, forgotten) = oneshot::channel();
        self.tell(Event::TryAgain(done)).await;
        // A dispatcher that is gone remembers nothing.
        let _ = forgotten.await;
    }

    /// No more attempts.
    pub async fn stop(&self) {
        self.tell(Event::Stop).await;
    }

    async fn tell(&self, event: Event) {
        // A dispatcher that is gone needs no telling.
        drop(self.events.send(event).await);
    }
}

/// Makes what is withheld in a lane due now. Should that fail, each message has its own time.
async fn test(spool: Arc<Spool>, lane: Lane, now: SystemTime) {
    let filter = Filter {
        lane: Some(lane.clone()),
        state: Some(spool::State::Withheld),
        ..Filter::default()
    };
    match off_the_async_threads(move || spool.retry(&filter, now)).await {
        Some(Ok(0)) | None => {}
        Some(Ok(messages)) => {
            tracing::info!(%lane, messages, "its hosts show what is demanded again: held mail is tried now")
        }
        Some(Err(error)) => {
            tracing::error!(%lane, %error, "held mail cannot be made due at once: it waits for its next test")
        }
    }
}

/// Takes messages until nothing more is due in an open lane, or there are enough at once.
fn take_some(
    spool: &Arc<Spool>,
    mut lanes: Lanes<Connection>,
    now: SystemTime,
) -> (Lanes<Connection>, Vec<Started>, Vec<Connection>) {
    let (mut taken, mut ends) = (Vec::new(), Vec::new());
    while taken.len() < TAKEN_AT_ONCE_MAX {
        let Some(leased) = spool.take(now, &|lane| lanes.is_open(lane, now)) else {
            break;
        };
        let (start, closing) = lanes.start(leased.lane(), now);
        ends.extend(closing);
        taken.push((leased, start));
    }
    (lanes, taken, ends)
}

/// A fault of ours: the lane rests, so that what went back to it does not go round without a pause.
fn fault(wall: SystemTime, text: &str) -> Health {
    let cause = Cause {
        at: wall,
        status: EnhancedStatus::new(Class::Transient, 3, 0),
        remote: None,
        reply: None,
        text: text.into(),
    };
    let until = wall + PANIC_PAUSE;
    Health::Broken(Closed {
        until,
        cause,
        becomes: Becomes::Deferred,
    })
}

fn joined_event(joined: Result<(Id, Ended), JoinError>, lane_of: &mut HashMap<Id, Lane>) -> Event {
    match joined {
        Ok((id, ended)) => {
            lane_of.remove(&id);
            Event::Ended(Box::new(ended))
        }
        Err(error) => match lane_of.remove(&error.id()) {
            Some(lane) => Event::Panicked(lane),
            None => Event::Due,
        },
    }
}

/// Events that wait.
const EVENTS_MAX: usize = 1024;
/// Messages taken with one visit to the spool.
const TAKEN_AT_ONCE_MAX: usize = 32;
/// Messages started before events are looked at again.
const STARTED_AT_ONCE_MAX: usize = 512;
/// The dispatcher looks at its books at least so often.
const WAKE_MAX: Duration = Duration::from_secs(60);
/// How long a lane rests after a fault of ours.
const PANIC_PAUSE: Duration = Duration::from_secs(60);
const PANICKED: &str = "a fault in this server broke the attempt off; its log has the details";
