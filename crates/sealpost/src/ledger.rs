//! The memory of peers at work: what attempts showed is applied here and nowhere else, and plans ask here what is demanded.
//!
//! What a session changes is decided in `trust::ledger`; this module keeps it: a bounded part in main memory, all of it on
//! the shelves of [`Memory`]. What changed a standing is on the disk before the attempt that showed it is settled.

mod cache;
mod notes;
mod travel;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mail::{Domain, Host};
use trust::Evidence;
use trust::ledger::{
    Came, Claim, DomainStanding, HostStanding, InboundStanding, Leave, Notice, Observation, Of, Pace, Rules,
    Second, Stored, Vouched, Weight, came_in, claim, domain_key, leave, observe,
};

use crate::config::ledger::Ledger as Settings;
use crate::memory::{Change, Memory, MemoryError, Room, Shelf};
use crate::ports::Clock;
use crate::spooling::off_the_async_threads;
use cache::{Cache, Held};
pub use notes::{NotSaid, Wish};
pub use travel::{BadLine, Imported, Line};

/// The memory of peers. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    memory: Memory,
    clock: Arc<dyn Clock>,
    begun: Instant,
    node: Box<str>,
    /// Held for plain work alone, never across an await.
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    rules: Rules,
    pace: Pace,
    /// What the clock showed when it was last written down.
    pace_written: Second,
    hosts: Cache<HostStanding>,
    domains: Cache<DomainStanding>,
    clients: Cache<InboundStanding>,
    /// What persons said, by the name that it is about. Few: people write them.
    notes: notes::Notes,
}

impl Ledger {
    /// Opens it on its shelves. `me` is this server's name. Blocks on the disk.
    pub fn open(
        memory: Memory,
        settings: &Settings,
        me: &Domain,
        clock: Arc<dyn Clock>,
    ) -> Result<Ledger, MemoryError> {
        let last = memory.get(Shelf::Notes, CLOCK_KEY)?.and_then(|octets| {
            let octets: Option<[u8; 8]> = octets.try_into().ok();
            octets.map(|octets| Second(u64::from_be_bytes(octets)))
        });
        let notes = notes::Notes::load(&memory)?;
        let begun = clock.instant();
        let pace = Pace::begin(clock.now(), last, std::time::Duration::ZERO);
        let state = State {
            settings: settings.clone(),
            rules: settings.rules(),
            pace,
            pace_written: Second(0),
            hosts: Cache::new(settings.cached_hosts_max),
            domains: Cache::new(settings.cached_hosts_max),
            clients: Cache::new(settings.cached_hosts_max),
            notes,
        };
        Ok(Ledger(Arc::new(Inner {
            memory,
            clock,
            begun,
            node: settings.node.as_deref().unwrap_or(me.as_str()).into(),
            state: Mutex::new(state),
        })))
    }

    /// Takes other rules, from a configuration that was read anew.
    pub fn configure(&self, settings: &Settings) {
        let mut state = self.lock();
        state.rules = settings.rules();
        state.settings = settings.clone();
    }

    /// What is demanded of a host on the way to a domain, because of what is remembered. `vouched` says whether anyone
    /// vouches for the host's name. An error means that nobody knows: the host must not be used now.
    pub async fn claim(
        &self,
        domain: Option<&Domain>,
        host: &Host,
        vouched: Vouched,
    ) -> Result<Claim, MemoryError> {
        let keys = Keys::of(&domain_key(domain, host), &host.to_string());
        loop {
            if let Some(claim) = self.claim_cached(&keys, vouched) {
                return Ok(claim);
            }
            self.load(&keys).await?;
        }
    }

    /// As [`Ledger::claim`], if all that it takes is in main memory.
    fn claim_cached(&self, keys: &Keys, vouched: Vouched) -> Option<Claim> {
        let mut state = self.lock();
        let now = self.now(&mut state);
        let State {
            hosts,
            domains,
            notes,
            rules,
            ..
        } = &mut *state;
        let (host, domain) = (hosts.get(&keys.host)?, domains.get(&keys.domain)?);
        let (leave, note) = leave(notes.of(keys), now);
        let asked = claim(
            &domain.standing,
            &host.standing,
            &keys.name,
            vouched,
            leave,
            now,
            rules,
        );
        let relaxed = note.filter(|_| leave == Leave::Relaxed).map(notes::told);
        Some(Claim { relaxed, ..asked })
    }

    /// Applies what an attempt showed. Resolves when what it changed is durable; mere confirmations follow later. What
    /// cannot be written is told in the log, and remembered in main memory.
    pub async fn observe(&self, evidence: &[Evidence]) -> Vec<Notice> {
        let mut notices = Vec::new();
        for evidence in evidence {
            let Some(mut seen) = Observation::from_evidence(evidence, &self.0.node) else {
                continue;
            };
            match self.apply(&mut seen).await {
                Ok(told) => notices.extend(told),
                Err(because) => {
                    tracing::error!(%because, host = %seen.host, "an observation was not remembered")
                }
            }
        }
        notices.iter().for_each(tell);
        notices
    }

    async fn apply(&self, seen: &mut Observation) -> Result<Vec<Notice>, MemoryError> {
        let keys = Keys::of(&seen.domain, &seen.host);
        loop {
            self.load(&keys).await?;
            // Waited for first: what is written is handed over under the lock, so that the disk sees it in its order.
            let room = self.0.memory.room().await?;
            let Some(applied) = self.apply_cached(&keys, seen, room) else {
                continue;
            };
            if let Some(durable) = applied.durable {
                durable.await?;
            }
            return Ok(applied.notices);
        }
    }

    fn apply_cached(&self, keys: &Keys, seen: &mut Observation, room: Room<'_>) -> Option<Applied> {
        let mut state = self.lock();
        let now = self.now(&mut state);
        seen.at = now;
        let rules = state.rules;
        let leave = leave(state.notes.of(keys), now).0;
        let mut domain = state.domains.get(&keys.domain)?.clone();
        let mut host = state.hosts.get(&keys.host)?.clone();
        let before = (host.standing.clone(), domain.standing.clone());
        let news = observe(&mut domain.standing, &mut host.standing, seen, leave, &rules);
        let weight = changed(&before, (&host.standing, &domain.standing), !news.is_empty());
        let due = now.since(host.written).as_secs() >= CONFIRM_SECONDS;
        let mut changes = Vec::new();
        if weight == Changed::Standing || due {
            (host.written, domain.written) = (now, now);
            changes.push(Change::put(Shelf::Hosts, &*keys.host, host.standing.write()));
            changes.push(Change::put(
                Shelf::Domains,
                &*keys.domain,
                domain.standing.write(),
            ));
            changes.extend(state.clock_change(now));
        }
        state.hosts.put(&keys.host, host);
        state.domains.put(&keys.domain, domain);
        let notices = news.into_iter().map(|(of, news)| Notice {
            domain: seen.domain.clone(),
            host: (of == Of::Host).then(|| seen.host.clone()),
            at: now.time(),
            news,
        });
        Some(Applied {
            notices: notices.collect(),
            durable: match weight {
                Changed::Standing => Some(room.hand_over(changes)),
                Changed::Nothing if changes.is_empty() => None,
                Changed::Nothing => {
                    room.hand_over_later(changes);
                    None
                }
            },
        })
    }

    /// Notes how a client came that brought mail, by its proven name.
    pub async fn came_in(&self, client: &Domain, came: Came) -> Option<Notice> {
        let key: Box<[u8]> = client.as_str().as_bytes().into();
        match self.note_client(&key, client, came).await {
            Ok(notice) => {
                notice.iter().for_each(tell);
                notice
            }
            Err(because) => {
                tracing::error!(%because, %client, "how a client came was not remembered");
                None
            }
        }
    }

    async fn note_client(
        &self,
        key: &[u8],
        client: &Domain,
        came: Came,
    ) -> Result<Option<Notice>, MemoryError> {
        if self.lock().clients.get(key).is_none() {
            let (memory, owned) = (self.0.memory.clone(), Box::<[u8]>::from(key));
            let found = blocking(move || read(&memory, Shelf::Inbound, &owned)).await?;
            self.lock().clients.put_if_absent(key, found);
        }
        let room = self.0.memory.room().await?;
        let durable;
        let notice;
        {
            let mut state = self.lock();
            let now = self.now(&mut state);
            let binding = state.rules.host;
            let mut held = state.clients.get(key).cloned().unwrap_or_default();
            let bound = held.standing.encrypted.since();
            let news = came_in(&mut held.standing, came, now, &binding);
            let changed = news.is_some() || bound != held.standing.encrypted.since();
            let due = now.since(held.written).as_secs() >= CONFIRM_SECONDS;
            if changed || due {
                held.written = now;
            }
            let value = held.standing.write();
            state.clients.put(key, held);
            durable = (changed || due).then(|| room.hand_over(vec![Change::put(Shelf::Inbound, key, value)]));
            notice = news.map(|news| Notice {
                domain: client.as_str().into(),
                host: None,
                at: now.time(),
                news,
            });
        }
        if let Some(durable) = durable {
            durable.await?;
        }
        Ok(notice)
    }

    /// Brings a host and its domain into main memory.
    async fn load(&self, keys: &Keys) -> Result<(), MemoryError> {
        {
            let mut state = self.lock();
            if state.hosts.get(&keys.host).is_some() && state.domains.get(&keys.domain).is_some() {
                return Ok(());
            }
        }
        let (memory, wanted) = (self.0.memory.clone(), keys.clone());
        let (host, domain) = blocking(move || {
            let host = read::<HostStanding>(&memory, Shelf::Hosts, &wanted.host)?;
            let domain = read::<DomainStanding>(&memory, Shelf::Domains, &wanted.domain)?;
            Ok((host, domain))
        })
        .await?;
        let mut state = self.lock();
        state.hosts.put_if_absent(&keys.host, host);
        state.domains.put_if_absent(&keys.domain, domain);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self, state: &mut State) -> Second {
        let steady = self.0.clock.instant().saturating_duration_since(self.0.begun);
        state.pace.now(self.0.clock.now(), steady)
    }
}

impl State {
    /// The memory's time, so that the next start knows where it was.
    fn clock_change(&mut self, now: Second) -> Option<Change> {
        let due = now.since(self.pace_written).as_secs() >= CLOCK_SECONDS;
        due.then(|| {
            self.pace_written = now;
            Change::put(Shelf::Notes, CLOCK_KEY, now.0.to_be_bytes())
        })
    }
}

/// Under which keys a host and its domain lie.
#[derive(Clone, Debug)]
struct Keys {
    domain_name: Box<str>,
    name: Box<str>,
    domain: Box<[u8]>,
    host: Box<[u8]>,
}

impl Keys {
    fn of(domain: &str, host: &str) -> Keys {
        Keys {
            domain_name: domain.into(),
            name: host.into(),
            domain: domain.as_bytes().into(),
            host: [domain.as_bytes(), b"\0", host.as_bytes()].concat().into(),
        }
    }
}

/// What came of one observation.
struct Applied {
    notices: Vec<Notice>,
    durable: Option<crate::memory::Durable>,
}

/// How much an observation changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Changed {
    /// Times and facts alone.
    Nothing,
    /// What later sessions are judged by.
    Standing,
}

fn changed(
    before: &(HostStanding, DomainStanding),
    after: (&HostStanding, &DomainStanding),
    news: bool,
) -> Changed {
    let way = |course: &trust::ledger::Course| (course.since(), course.progress(&Rules::default().host));
    let same = way(&before.0.encrypted) == way(&after.0.encrypted)
        && way(&before.0.verified) == way(&after.0.verified)
        && way(&before.1.encrypted) == way(&after.1.encrypted)
        && way(&before.1.verified) == way(&after.1.verified)
        && before.0.suspicion.is_some() == after.0.suspicion.is_some()
        && before.0.proven_keys().eq(after.0.proven_keys())
        && before.1.exchangers.all().count() == after.1.exchangers.all().count();
    match same && !news {
        true => Changed::Nothing,
        false => Changed::Standing,
    }
}

/// A value, or its beginning where there is none. One that cannot be read counts as none, and is told by name.
fn read<T: Stored + Default>(memory: &Memory, shelf: Shelf, key: &[u8]) -> Result<Held<T>, MemoryError> {
    let standing = match memory.get(shelf, key)? {
        None => T::default(),
        Some(octets) => T::read(&octets).unwrap_or_else(|because| {
            let key = String::from_utf8_lossy(key).replace('\0', " at ");
            tracing::error!(?shelf, key = ?key, %because, "a standing cannot be read: nothing is known of this peer now");
            T::default()
        }),
    };
    Ok(Held {
        standing,
        written: Second(0),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MemoryError> + Send + 'static,
) -> Result<T, MemoryError> {
    off_the_async_threads(work)
        .await
        .unwrap_or(Err(MemoryError::Closed))
}

/// One line for the log.
fn tell(notice: &Notice) {
    let (kind, host) = (notice.news.kind(), notice.host.as_deref().unwrap_or("-"));
    match notice.news.weight() {
        Weight::Alarm => tracing::warn!(domain = %notice.domain, host, kind, "ledger: {}", notice.news),
        Weight::Note | Weight::End => {
            tracing::info!(domain = %notice.domain, host, kind, "ledger: {}", notice.news)
        }
    }
}

/// How often a mere confirmation is written.
const CONFIRM_SECONDS: u64 = 3600;
/// How often the memory's time is.
const CLOCK_SECONDS: u64 = 600;
const CLOCK_KEY: &[u8] = b"clock";
