//! A policy as it is kept, in main memory and on the shelf.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mail::Domain;
use serde::{Deserialize, Serialize};
use trust::sts::{self, Id, Policy};

use super::{Known, State};
use crate::memory::{Change, Memory, MemoryError, Shelf};
use crate::ports::Clock;

/// A fetched policy with its age.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) id: Id,
    pub(super) policy: Arc<Policy>,
    /// By the wall clock, which may have been set since.
    pub(super) fetched: SystemTime,
    /// When mail last asked for it, by the wall clock.
    pub(super) used: SystemTime,
    /// Since when this process has it, and how old it was then.
    seen: Instant,
    age_then: Duration,
    origin: Origin,
}

/// How this process came by a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Fetched,
    Shelf,
}

impl Kept {
    /// Fetched just now.
    pub(super) fn fresh(id: Id, policy: Policy, used: SystemTime, clock: &dyn Clock) -> Kept {
        Kept {
            id,
            policy: Arc::new(policy),
            fetched: clock.now(),
            used,
            seen: clock.instant(),
            age_then: Duration::ZERO,
            origin: Origin::Fetched,
        }
    }

    pub(super) fn is_valid(&self, wall: SystemTime, steady: Instant) -> bool {
        sts::is_valid(&self.policy, age(self.fetched, wall), self.age(steady))
    }

    /// Whether this process fetched it then or later.
    pub(super) fn was_fetched_since(&self, then: Instant) -> bool {
        self.origin == Origin::Fetched && self.seen >= then
    }

    /// Its age by the steady clock.
    pub(super) fn age(&self, steady: Instant) -> Duration {
        self.age_then + steady.saturating_duration_since(self.seen)
    }

    /// When it is long over by both clocks.
    pub(super) fn forgotten_at(&self) -> Instant {
        let left = (self.policy.max_age + GRACE).saturating_sub(self.age_then);
        self.seen + left
    }

    pub(super) fn change(&self, domain: &Domain) -> Result<Change, serde_json::Error> {
        let written = Written {
            version: VERSION,
            id: self.id.as_str().into(),
            policy: self.policy.to_string(),
            fetched: seconds(self.fetched),
            used: seconds(self.used),
        };
        let octets = serde_json::to_vec(&written)?;
        Ok(Change::put(Shelf::Policies, domain.as_str().as_bytes(), octets))
    }

    fn read(octets: &[u8], clock: &dyn Clock) -> Option<Kept> {
        let written: Written = serde_json::from_slice(octets).ok()?;
        let fetched = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(written.fetched))?;
        let used = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(written.used))?;
        Some(Kept {
            id: Id::parse(&written.id).filter(|_| written.version == VERSION)?,
            policy: Arc::new(Policy::parse(written.policy.as_bytes()).ok()?),
            fetched,
            used,
            seen: clock.instant(),
            age_then: age(fetched, clock.now()),
            origin: Origin::Shelf,
        })
    }
}

/// What takes a domain's policy from the shelf.
pub(super) fn removal(domain: &Domain) -> Change {
    Change::remove(Shelf::Policies, domain.as_str().as_bytes())
}

/// Reads the shelf. All of it is due soon: what is over is forgotten then, the rest refreshed in its time.
pub(super) fn load(memory: &Memory, clock: &dyn Clock) -> State {
    let mut state = State::default();
    let mut found = Vec::new();
    let scanned = memory.scan(Shelf::Policies, b"", &mut |key, value| {
        found.push((key.to_vec(), Kept::read(value, clock)));
        ControlFlow::Continue(())
    });
    if let Err(because) = scanned {
        unread(&because);
    }
    for (key, kept) in found {
        let domain = std::str::from_utf8(&key)
            .ok()
            .and_then(|name| Domain::parse(name).ok());
        let (Some(domain), Some(kept)) = (domain, kept) else {
            tracing::error!(domain = %String::from_utf8_lossy(&key), "kept MTA-STS policy unreadable: it counts as absent");
            continue;
        };
        let spread = sts::refresh_after(kept.policy.max_age, clock.roll());
        let due = kept.seen + spread.saturating_sub(kept.age_then).max(FIRST_REFRESH);
        let known = Known {
            kept: Some(kept),
            ..Known::default()
        };
        state.domains.insert(domain.clone(), known);
        state.schedule(&domain, Some(due));
    }
    state
}

fn unread(because: &MemoryError) {
    tracing::error!(%because, "kept MTA-STS policies not read: they are fetched anew");
}

/// By the wall clock: nothing that was fetched in the future is old.
fn age(fetched: SystemTime, wall: SystemTime) -> Duration {
    wall.duration_since(fetched).unwrap_or(Duration::ZERO)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// As it lies on the shelf.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u8,
    id: String,
    policy: String,
    fetched: u64,
    used: u64,
}

const VERSION: u8 = 1;
/// How long a policy that is over is still kept, should the clock have been wrong when it ended.
const GRACE: Duration = Duration::from_secs(30 * 24 * 3600);
/// After a start nothing is refreshed before this, so that the start itself is quick.
const FIRST_REFRESH: Duration = Duration::from_secs(10);
