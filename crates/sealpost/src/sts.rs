//! The MTA-STS policies of other domains (RFC 8461): looked for, fetched, kept, and refreshed ahead of their end.
//!
//! Owns what is known of each domain's policy, in main memory and in the memory file. Which policy counts is decided by
//! [`trust::sts`]; this finds out what there is. One fetch a domain at a time, and all who want it wait for the same one.

mod kept;
mod fetching;
mod refresh;
pub mod own;
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use mail::{Domain, Host};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use trust::sts::{Blocked, Discovered, Finding, Id, Listed, Next, Policy, RECORD_LABEL, discover, next};

use crate::config::Config;
use crate::config::mta_sts::MtaSts;
use crate::memory::Memory;
use crate::ports::{Dns, NoAnswer, NotFetched, Ports, within};
use crate::tls::ClientTls;
pub use host::{Pages, PolicyHost};
use kept::Kept;

/// The policies of other domains. Cheap to clone; the last clone dropped ends the fetches under way.
#[derive(Clone)]
pub struct Policies {
    inner: Arc<Inner>,
}

struct Inner {
    ports: Ports,
    memory: Memory,
    setting: Mutex<Arc<Setting>>,
    state: Mutex<State>,
    slots: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
    /// Something is due earlier than it was.
    sooner: Notify,
}

/// What may change with the configuration.
struct Setting {
    config: MtaSts,
    /// Off where nothing ever leaves this machine, too.
    enabled: bool,
    /// The trusted roots.
    tls: ClientTls,
}

#[derive(Default)]
struct State {
    domains: BTreeMap<Domain, Known>,
    /// When each kept policy is to be refreshed or forgotten.
    due: BTreeSet<(Instant, Domain)>,
}

/// What is known of one domain.
#[derive(Default)]
struct Known {
    kept: Option<Kept>,
    /// What the last look-up of the TXT record found, and when.
    looked: Option<(Instant, Discovered)>,
    /// The last failed fetch, until one succeeds.
    failed: Option<Failed>,
    /// Failed refreshes in a row, and since when.
    failures: Option<(u32, Instant)>,
    /// Closes when the fetch under way is over.
    fetching: Option<watch::Receiver<()>>,
    due: Option<Instant>,
}

/// A fetch that brought no policy.
#[derive(Clone, Debug)]
struct Failed {
    id: Id,
    at: Instant,
    why: NoPolicy,
}

/// Why a fetch brought no policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoPolicy {
    /// It was not fetched (`sts-policy-fetch-error` or `sts-webpki-invalid`, RFC 8460 §4.3.2.2).
    Fetch(NotFetched),
    /// It is none (`sts-policy-invalid`).
    Invalid(trust::sts::BadPolicy),
}

/// How recent the look-up of a TXT record must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// A recent one will do.
    Recent,
    /// It is looked up now.
    Now,
}

/// One kept policy, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Whose.
    pub domain: Domain,
    /// Its id.
    pub id: Id,
    /// What it says.
    pub policy: Arc<Policy>,
    /// When it was fetched.
    pub fetched: SystemTime,
    /// Failed refreshes in a row, with the words of the last; none if it is fresh.
    pub trouble: Option<(u32, Box<str>)>,
}

impl Policies {
    /// Reads what is kept. Blocks. What cannot be read is told in the log and counts as absent.
    pub fn load(memory: Memory, ports: Ports, config: &Config, tls: ClientTls) -> Policies {
        let setting = Setting::of(config, tls);
        let state = kept::load(&memory, &*ports.clock);
        Policies {
            inner: Arc::new(Inner {
                slots: Arc::new(Semaphore::new(setting.config.fetches_max)),
                ports,
                memory,
                setting: Mutex::new(Arc::new(setting)),
                state: Mutex::new(state),
                tasks: Mutex::default(),
                sooner: Notify::new(),
            }),
        }
    }

    /// Another configuration counts from now on.
    pub fn renew(&self, config: &Config, tls: ClientTls) {
        let setting = Arc::new(Setting::of(config, tls));
        let enabled = setting.enabled;
        let before = {
            let mut current = self.inner.setting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, setting)
        };
        if enabled && !before.enabled {
            self.inner.refresh_all();
        }
    }

    /// What a domain's policy says of a host. Where the host is not one of the policy's, a newer policy is looked for
    /// before that is said (RFC 8461 §5.1).
    pub async fn finding(&self, domain: &Domain, host: &Host) -> Finding {
        match self.find(domain, host, Look::Recent).await {
            Finding::Enforced(held) if held.listed == Listed::No => self.find(domain, host, Look::Now).await,
            other => other,
        }
    }

    /// Asks anew whether a domain has another policy, and fetches it: before mail is given up because of the policy that
    /// is kept (RFC 8461 §5). Says whether another one counts now.
    pub async fn look_again(&self, domain: &Domain) -> bool {
        let before = self.inner.kept(domain).map(|(id, _)| id);
        let after = self.policy(domain, Look::Now).await.ok().map(|(id, _)| id);
        before != after
    }

    /// Every policy that is kept and still counts.
    pub fn list(&self) -> Vec<Told> {
        let (wall, steady) = (self.inner.ports.clock.now(), self.inner.ports.clock.instant());
        let state = self.inner.state();
        let told = state.domains.iter().filter_map(|(domain, known)| {
            let kept = known.kept.as_ref().filter(|kept| kept.is_valid(wall, steady))?;
            let words = |failed: &Failed| failed.why.to_string().into();
            let last = known.failed.as_ref().map(words).unwrap_or_default();
            Some(Told {
                domain: domain.clone(),
                id: kept.id.clone(),
                policy: kept.policy.clone(),
                fetched: kept.fetched,
                trouble: known.failures.map(|(failures, _)| (failures, last)),
            })
        });
        told.collect()
    }

    async fn find(&self, domain: &Domain, host: &Host, look: Look) -> Finding {
        if !self.inner.setting().enabled {
            return Finding::Absent(None);
        }
        match self.policy(domain, look).await {
            Ok((id, policy)) => Finding::of(&id, &policy, host),
            Err(why) => Finding::Absent(why),
        }
    }

    /// The policy that counts; else why there is none, if that is worth a word.
    async fn policy(&self, domain: &Domain, look: Look) -> Result<(Id, Arc<Policy>), Option<Box<str>>> {
        let inner = &self.inner;
        let discovered = match inner.recent(domain, look) {
            Some(discovered) => discovered,
            None => inner.look_up(domain).await,
        };
        match inner.decide(domain, &discovered) {
            Next::Apply => inner.kept(domain).ok_or(None),
            Next::Nothing(why) => Err(why),
            Next::Fetch(id) => {
                let asked = inner.ports.clock.instant();
                let fetching = self.fetch(domain, &id);
                let wait = inner.setting().config.message_wait;
                // Whether it ended or not: what is known by then counts.
                let _ = within(&*inner.ports.clock, wait, fetching::ended(fetching)).await;
                inner.after_fetch(domain, &id, asked)
            }
        }
    }
}

impl Setting {
    fn of(config: &Config, tls: ClientTls) -> Setting {
        Setting {
            config: config.mta_sts.clone(),
            enabled: config.mta_sts.enabled && !config.is_loopback_only(),
            tls,
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setting(&self) -> Arc<Setting> {
        self.setting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The policy that is kept, while it is valid.
    fn kept(&self, domain: &Domain) -> Option<(Id, Arc<Policy>)> {
        let (wall, steady) = (self.ports.clock.now(), self.ports.clock.instant());
        let unused_max = self.setting().config.refresh_unused_for;
        let mut state = self.state();
        let kept = state.domains.get_mut(domain)?.kept.as_mut()?;
        let used = std::mem::replace(&mut kept.used, wall);
        let found = kept
            .is_valid(wall, steady)
            .then(|| (kept.id.clone(), kept.policy.clone()));
        if wall.duration_since(used).is_ok_and(|idle| idle > unused_max) {
            state.schedule(domain, Some(steady));
            self.sooner.notify_one();
        }
        found
    }

    fn recent(&self, domain: &Domain, look: Look) -> Option<Discovered> {
        let setting = self.setting();
        let now = self.ports.clock.instant();
        let state = self.state();
        let (at, discovered) = state.domains.get(domain)?.looked.as_ref()?;
        let recent = look == Look::Recent && now < *at + setting.config.look_up_every;
        recent.then(|| discovered.clone())
    }

    async fn look_up(&self, domain: &Domain) -> Discovered {
        let discovered = discovered(&*self.ports.dns, domain).await;
        let now = self.ports.clock.instant();
        let mut state = self.state();
        state.known(domain).looked = Some((now, discovered.clone()));
        discovered
    }

    fn decide(&self, domain: &Domain, discovered: &Discovered) -> Next {
        let valid = self.kept(domain).map(|(id, _)| id);
        let now = self.ports.clock.instant();
        let state = self.state();
        let failed = state.domains.get(domain).and_then(|known| known.failed.as_ref());
        let blocked = failed.map(|failed| Blocked {
            id: failed.id.clone(),
            age: now.saturating_duration_since(failed.at),
            why: failed.why.to_string().into(),
        });
        next(valid.as_ref(), discovered, blocked.as_ref())
    }

    /// What counts when the wait for a fetch is over. A policy that was fetched for this very question counts for it, were
    /// its `max_age` zero.
    fn after_fetch(
        &self,
        domain: &Domain,
        id: &Id,
        asked: Instant,
    ) -> Result<(Id, Arc<Policy>), Option<Box<str>>> {
        if let Some(kept) = self.kept(domain) {
            return Ok(kept);
        }
        let state = self.state();
        let known = state.domains.get(domain);
        let kept = known.and_then(|known| known.kept.as_ref());
        if let Some(kept) = kept.filter(|kept| kept.was_fetched_since(asked)) {
            return Ok((kept.id.clone(), kept.policy.clone()));
        }
        let failed = known
            .and_then(|known| known.failed.as_ref())
            .filter(|failed| failed.id == *id);
        Err(Some(match failed {
            Some(failed) => format!("policy {id} could not be fetched: {}", failed.why).into(),
            None => format!("policy {id} is still being fetched").into(),
        }))
    }
}

impl State {
    fn known(&mut self, domain: &Domain) -> &mut Known {
        if !self.domains.contains_key(domain) && self.domains.len() >= PASSING_MAX {
            // Domains without a policy are remembered for a minute's convenience only.
            self.domains
                .retain(|_, known| known.kept.is_some() || known.is_fetching());
        }
        self.domains.entry(domain.clone()).or_default()
    }

    fn schedule(&mut self, domain: &Domain, at: Option<Instant>) {
        let Some(known) = self.domains.get_mut(domain) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut known.due, at) {
            self.due.remove(&(old, domain.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, domain.clone()));
        }
    }
}

impl Known {
    fn is_fetching(&self) -> bool {
        self.fetching
            .as_ref()
            .is_some_and(|fetching| fetching.has_changed().is_ok())
    }
}

/// What the TXT records of a domain say.
async fn discovered(dns: &dyn Dns, domain: &Domain) -> Discovered {
    match dns.txt(RECORD_LABEL, domain).await {
        Ok(answer) => discover(answer.get()),
        Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)) => Discovered::Absent,
        Err(NoAnswer::Failed(why)) => Discovered::Failed(why),
    }
}

impl std::fmt::Display for NoPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoPolicy::Fetch(why) => why.fmt(f),
            NoPolicy::Invalid(why) => write!(f, "it is no policy: {why}"),
        }
    }
}

impl NoPolicy {
    /// The result type of RFC 8460 §4.3.2.2 for it.
    pub fn result_type(&self) -> &'static str {
        match self {
            NoPolicy::Fetch(NotFetched::Certificate(_)) => "sts-webpki-invalid",
            NoPolicy::Fetch(_) => "sts-policy-fetch-error",
            NoPolicy::Invalid(_) => "sts-policy-invalid",
        }
    }
}

/// Domains that are remembered at once, beside those with a policy.
const PASSING_MAX: usize = 16_384;
