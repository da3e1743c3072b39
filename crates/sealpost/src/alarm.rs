//! Alarms: raised once for a cause, told by log, metric, webhook and message, and ended with one word more.
//!
//! One task owns those that stand. What is to be told is made durable together with the alarm itself, so that a crash loses no alarm
//! and raises none twice; [`teller`] carries it out. What an alarm is, and when it ends, is decided by [`trust::alarm`].

mod outbox;
mod letter;
mod teller;
mod webhook;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use mail::Domain;
use tokio::sync::{Notify, mpsc};
use trust::alarm::{Alarm, Alarms, Round, Step};
use trust::ledger::Notice;

use crate::control::Settings;
use crate::evidence::Archive;
use crate::evidence::record::{self, Fact, rfc3339};
use crate::evidence::store::lock;
use crate::memory::{Change, Memory, MemoryError, Shelf};
use crate::spooling::off_the_async_threads;
use crate::tally::Tally;
use outbox::{Event, Told};
pub use teller::Teller;
pub use webhook::{Target, signature};

/// The way to the task of alarms. Cheap to clone.
#[derive(Clone)]
pub struct Bell {
    heard: mpsc::Sender<Heard>,
    standing: Arc<Mutex<Alarms>>,
}

/// The task of alarms.
pub struct Ringer {
    heard: mpsc::Receiver<Heard>,
    standing: Arc<Mutex<Alarms>>,
    memory: Memory,
    archive: Archive,
    tally: Arc<Tally>,
    settings: Arc<dyn Fn() -> Arc<Settings> + Send + Sync>,
    work: Arc<Notify>,
}

enum Heard {
    Round(Box<Round>),
    Notices(Vec<Notice>),
    Close,
}

/// What alarms work with.
pub struct Ground {
    /// Where they are kept.
    pub memory: Memory,
    /// Where they are written down.
    pub archive: Archive,
    /// Where they are counted.
    pub tally: Arc<Tally>,
    /// The configuration now in force.
    pub settings: Arc<dyn Fn() -> Arc<Settings> + Send + Sync>,
}

impl Bell {
    /// Reads the alarms that stood when the server ended. Blocks. `work` wakes the teller.
    pub fn open(ground: Ground, work: Arc<Notify>) -> Result<(Bell, Ringer), MemoryError> {
        let mut alarms = Vec::new();
        ground.memory.scan(Shelf::Alarms, outbox::STANDING, &mut |key, value| {
            match outbox::alarm_of(value) {
                Some(alarm) => {
                    tracing::warn!(alarm = %alarm.key, since = rfc3339(alarm.began), because = %alarm.text, "an alarm stands");
                    alarms.push(alarm);
                }
                None => tracing::error!(
                    key = %String::from_utf8_lossy(key),
                    "an alarm that was kept cannot be read: it is left out, and raised again if its cause is still there"
                ),
            }
            ControlFlow::Continue(())
        })?;
        let standing = Arc::new(Mutex::new(Alarms::standing(alarms)));
        let (heard, inbox) = mpsc::channel(HEARD_MAX);
        let ringer = Ringer {
            heard: inbox,
            standing: Arc::clone(&standing),
            memory: ground.memory,
            archive: ground.archive,
            tally: ground.tally,
            settings: ground.settings,
            work,
        };
        ringer.count();
        Ok((Bell { heard, standing }, ringer))
    }

    /// One that nobody hears, for tests that ask for no alarms.
    pub fn mute() -> Bell {
        Bell {
            heard: mpsc::channel(1).0,
            standing: Arc::default(),
        }
    }

    /// What an attempt found. Costs nothing where nothing is wrong and nothing was.
    pub async fn round(&self, round: Round) {
        if round.wanting.is_empty() && !self.suspects(&round.domain) {
            return;
        }
        // A ringer that is gone rings no more: the server ends.
        drop(self.heard.send(Heard::Round(Box::new(round))).await);
    }

    /// What the memory learnt.
    pub async fn notices(&self, notices: Vec<Notice>) {
        if !notices.is_empty() {
            drop(self.heard.send(Heard::Notices(notices)).await);
        }
    }

    /// Whether an alarm stands for the way to this domain.
    pub fn suspects(&self, domain: &Domain) -> bool {
        lock(&self.standing).suspects(domain)
    }

    /// The alarms that stand.
    pub fn standing(&self) -> Vec<Alarm> {
        lock(&self.standing).iter().cloned().collect()
    }

    /// Ends the task, once it has done what was handed over before.
    pub async fn close(&self) {
        drop(self.heard.send(Heard::Close).await);
    }
}

impl Ringer {
    /// Works until it is closed, or nobody is left.
    pub async fn run(mut self) {
        while let Some(heard) = self.heard.recv().await {
            match heard {
                Heard::Round(round) => {
                    let step = lock(&self.standing).round(&round);
                    self.carry_out(step).await;
                }
                Heard::Notices(notices) => {
                    for notice in notices {
                        let step = lock(&self.standing).notice(&notice);
                        self.carry_out(step).await;
                    }
                }
                Heard::Close => return,
            }
        }
    }

    /// Written down first, then kept with what is to be told, then told.
    async fn carry_out(&self, step: Option<Step>) {
        let (alarm, event, at) = match step {
            None => return,
            Some(Step::Goes(alarm)) => return self.keep(vec![outbox::stands(&alarm)]).await,
            Some(Step::Begins(alarm)) => {
                let at = alarm.began;
                (alarm, Event::Begin, at)
            }
            Some(Step::Ends(alarm, at)) => (alarm, Event::End, at),
        };
        let settings = (self.settings)();
        let told = Told::of(&alarm, event, at, &settings.me);
        let fact = Fact::Alarm(record::Alarm {
            at: rfc3339(at),
            alarm: told.id.clone(),
            event: event.word().to_owned(),
            subject: alarm.key.to_string(),
            text: told.text.clone(),
        });
        if self.archive.reader().is_some() && self.archive.keep(vec![fact], at).await.is_err() {
            tracing::error!(alarm = %alarm.key, "an alarm is told though it could not be written down as evidence");
        }
        let mut changes = outbox::to_tell(&told, &settings.config.alarm, at);
        changes.push(match event {
            Event::Begin => outbox::stands(&alarm),
            Event::End => outbox::is_over(&alarm),
        });
        self.keep(changes).await;
        self.tally.alarm(event.word());
        self.count();
        match event {
            Event::Begin => tracing::warn!(alarm = %alarm.key, id = told.id, because = told.text, "alarm"),
            Event::End => tracing::warn!(alarm = %alarm.key, id = told.id, because = told.text, "alarm over"),
        }
        self.work.notify_one();
    }

    async fn keep(&self, changes: Vec<Change>) {
        if let Err(error) = self.memory.keep(changes).await {
            tracing::error!(%error, "an alarm cannot be kept: a restart forgets it, and webhook and mail may not tell it");
        }
    }

    fn count(&self) {
        self.tally.standing(lock(&self.standing).iter().count());
    }
}

/// Reads from the memory, off the async threads.
async fn read<T: Send + 'static>(
    memory: &Memory,
    work: impl FnOnce(&Memory) -> Result<T, MemoryError> + Send + 'static,
) -> Result<T, MemoryError> {
    let memory = memory.clone();
    off_the_async_threads(move || work(&memory))
        .await
        .unwrap_or(Err(MemoryError::Closed))
}

/// A time as milliseconds, for keys that sort by it.
fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Rounds and news that wait.
const HEARD_MAX: usize = 1024;
