//! Tells webhook and mailboxes what is to be told of alarms, as long as it takes. What is told is crossed out only when it was
//! taken: a crash in between tells it again, under the same name.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use mail::Mailbox;
use spool::Spool;
use tokio::sync::Notify;

use super::outbox::{Outlet, Pending, TO_TELL};
use super::{Bell, letter, millis, read, webhook};
use crate::control::Settings;
use crate::memory::{Change, Memory, Shelf};
use crate::ports::Ports;
use crate::tally::Tally;
use crate::tls::ClientTls;

/// The task that tells.
pub struct Teller {
    /// Where what is to be told is kept.
    pub memory: Memory,
    /// Which alarms stand.
    pub bell: Bell,
    /// Where messages go.
    pub spool: Arc<Spool>,
    /// The world.
    pub ports: Ports,
    /// Handshakes with the web.
    pub tls: Arc<dyn Fn() -> ClientTls + Send + Sync>,
    /// The configuration now in force.
    pub settings: Arc<dyn Fn() -> Arc<Settings> + Send + Sync>,
    /// Where it is counted.
    pub tally: Arc<Tally>,
    /// Rings when there is something to tell.
    pub work: Arc<Notify>,
}

/// What came of telling.
enum Outcome {
    Taken,
    /// Nobody wants it any more.
    Unwanted,
    /// Not now; why.
    Later(String),
    /// Not over this way, as long as it is under suspicion.
    Suspect,
}

impl Teller {
    /// Works for ever.
    pub async fn run(self) {
        loop {
            let next = self.round().await;
            let clock = &self.ports.clock;
            let wake = clock.sleep_until(clock.instant() + next.clamp(SOONEST, LATEST));
            tokio::select! {
                biased;
                () = self.work.notified() => {}
                () = wake => {}
            }
        }
    }

    /// Tells what is due. Gives the time until more is.
    async fn round(&self) -> Duration {
        let waiting = match read(&self.memory, waiting).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "alarms that are to be told cannot be read");
                return LATEST;
            }
        };
        let mut stuck: BTreeSet<Outlet> = BTreeSet::new();
        let mut soonest = LATEST;
        let surplus = waiting.len().saturating_sub(WAITING_MAX);
        for (place, pending) in waiting.into_iter().enumerate() {
            let now = millis(self.ports.clock.now());
            if stuck.contains(&pending.outlet) {
                continue;
            }
            // A clock that was set back must not silence an alarm.
            let due = pending.next <= now || pending.next > now + LATEST_MILLIS;
            if !due {
                soonest = soonest.min(Duration::from_millis(pending.next - now));
                stuck.insert(pending.outlet);
                continue;
            }
            let given_up = place < surplus || self.is_too_old(&pending, now);
            if let Some(wait) = self.tell(&pending, given_up).await {
                soonest = soonest.min(wait);
                stuck.insert(pending.outlet);
            }
        }
        soonest
    }

    fn is_too_old(&self, pending: &Pending, now: u64) -> bool {
        let keep = (self.settings)().config.alarm.retry_for;
        now.saturating_sub(pending.made) > u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells one. Gives the wait if it must be tried again.
    async fn tell(&self, pending: &Pending, given_up: bool) -> Option<Duration> {
        let outcome = match &pending.outlet {
            Outlet::Webhook => self.post(pending).await,
            Outlet::Mail(address) => self.write(address, pending).await,
        };
        let id = &pending.told.id;
        let (change, wait): (Change, _) = match outcome {
            Outcome::Taken => {
                tracing::info!(alarm = id, event = pending.told.event.word(), to = ?pending.outlet, "alarm told");
                (pending.done(), None)
            }
            Outcome::Unwanted => (pending.done(), None),
            Outcome::Later(because) if given_up => {
                tracing::error!(alarm = id, to = ?pending.outlet, because, "an alarm could not be told, and is told here alone");
                (pending.done(), None)
            }
            Outcome::Suspect if given_up => {
                tracing::error!(alarm = id, to = ?pending.outlet, "an alarm could only have gone over the route that it is about, and is told here alone");
                (pending.done(), None)
            }
            Outcome::Later(because) => {
                let wait = pause(pending.tries);
                self.tally.untold();
                tracing::warn!(alarm = id, to = ?pending.outlet, because, again_in_s = wait.as_secs(), "alarm not told yet");
                (self.put_off(pending, wait), Some(wait))
            }
            Outcome::Suspect => {
                if pending.tries == 0 {
                    tracing::warn!(alarm = id, to = ?pending.outlet, "the way to this mailbox is under suspicion itself: it is told when that is over; [alarm] via gives another way");
                }
                (self.put_off(pending, LATEST), Some(LATEST))
            }
        };
        if let Err(error) = self.memory.keep(vec![change]).await {
            tracing::error!(%error, alarm = id, "that an alarm was told cannot be kept: it may be told twice");
            return Some(LATEST);
        }
        wait
    }

    fn put_off(&self, pending: &Pending, wait: Duration) -> Change {
        let next = millis(self.ports.clock.now() + wait);
        let again = Pending {
            tries: pending.tries.saturating_add(1),
            next,
            ..pending.clone()
        };
        again.change()
    }

    async fn post(&self, pending: &Pending) -> Outcome {
        let settings = (self.settings)();
        let alarm = &settings.config.alarm;
        let Some(url) = &alarm.webhook else {
            return Outcome::Unwanted;
        };
        let post = webhook::Post {
            url,
            secret_file: alarm.secret_file.as_deref(),
            wait: alarm.webhook_wait,
            body: serde_json::to_vec(&pending.told).unwrap_or_default(),
            ports: &self.ports,
            tls: (self.tls)(),
        };
        match post.send().await {
            Ok(()) => Outcome::Taken,
            Err(because) => Outcome::Later(because),
        }
    }

    async fn write(&self, address: &str, pending: &Pending) -> Outcome {
        let settings = (self.settings)();
        let wanted = settings
            .config
            .alarm
            .mail
            .iter()
            .find(|mailbox| mailbox.to_string() == address);
        let Some(to) = wanted else {
            return Outcome::Unwanted;
        };
        if self.is_suspect(to, &settings) {
            return Outcome::Suspect;
        }
        match letter::spool(&self.spool, to, pending, &settings.me, &*self.ports.clock).await {
            Ok(()) => Outcome::Taken,
            Err(error) => Outcome::Later(error.to_string()),
        }
    }

    fn is_suspect(&self, to: &Mailbox, settings: &Settings) -> bool {
        let detour = settings.config.alarm.via.is_some() || settings.directory.is_local(to);
        let domain = to.host().name();
        !detour && domain.is_some_and(|domain| self.bell.suspects(domain))
    }
}

fn waiting(memory: &Memory) -> Result<Vec<Pending>, crate::memory::MemoryError> {
    let mut waiting = Vec::new();
    memory.scan(Shelf::Alarms, TO_TELL, &mut |key, value| {
        match Pending::of(value) {
            Some(pending) => waiting.push(pending),
            None => tracing::error!(key = %String::from_utf8_lossy(key), "what is to be told of an alarm cannot be read: it is left out"),
        }
        match waiting.len() < READ_MAX {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(waiting)
}

/// 10 s, doubled each time, at most 15 min.
fn pause(tries: u32) -> Duration {
    (SOONEST * 10).saturating_mul(1 << tries.min(10)).min(LATEST)
}

/// Kept for later rounds; more than this is given up, the oldest first.
const WAITING_MAX: usize = 1000;
const READ_MAX: usize = 2 * WAITING_MAX;
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(15 * 60);
const LATEST_MILLIS: u64 = 15 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let seconds: Vec<u64> = [0, 1, 2, 6, 7, 99].map(|tries| pause(tries).as_secs()).to_vec();
        assert_eq!(seconds, [10, 20, 40, 640, 900, 900]);
    }
}
