//! Fetching a policy, for a message that waits for it or ahead of its end.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use mail::Domain;
use tokio::sync::watch;
use trust::sts::{self, Id, Mode, POLICY_BYTES_MAX, POLICY_PATH, Policy};

use super::kept::{self, Kept};
use super::{Failed, Inner, NoPolicy, Policies, State};
use crate::memory::Change;
use crate::ports::{NotFetched, Wanted};

/// Waits until a fetch is over.
pub(super) async fn ended(mut fetching: watch::Receiver<()>) {
    // Nothing is ever sent: the end is that the sender is gone.
    while fetching.changed().await.is_ok() {}
}

impl Policies {
    /// Starts a fetch, unless one is under way; gives what closes when it is over.
    pub(super) fn fetch(&self, domain: &Domain, id: &Id) -> watch::Receiver<()> {
        let mut state = self.inner.state();
        let known = state.known(domain);
        if let Some(fetching) = known.fetching.as_ref().filter(|_| known.is_fetching()) {
            return fetching.clone();
        }
        let (over, fetching) = watch::channel(());
        known.fetching = Some(fetching.clone());
        drop(state);
        let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        // It holds the policies only in moments, so that their last owner's end is its own.
        let work = fetch(Arc::downgrade(&self.inner), domain.clone(), id.clone());
        tasks.spawn(async move {
            work.await;
            drop(over);
        });
        fetching
    }
}

async fn fetch(policies: Weak<Inner>, domain: Domain, id: Id) {
    let Some(found) = get(&policies, &domain).await else {
        return;
    };
    let Some(inner) = policies.upgrade() else {
        return;
    };
    match found {
        Ok(policy) => inner.take_in(&domain, id, policy).await,
        Err(why) => inner.give_up(&domain, id, why),
    }
}

/// None if nobody wants it any more.
async fn get(policies: &Weak<Inner>, domain: &Domain) -> Option<Result<Policy, NoPolicy>> {
    let host = match sts::policy_host(domain) {
        Some(host) => host,
        None => {
            let why = NotFetched::NoAddress(format!("mta-sts.{domain} is no name").into());
            return Some(Err(NoPolicy::Fetch(why)));
        }
    };
    let (fetch, wanted) = {
        let inner = policies.upgrade()?;
        let setting = inner.setting();
        let wanted = Wanted {
            host,
            path: POLICY_PATH,
            media_type: "text/plain",
            bytes_max: POLICY_BYTES_MAX,
            wait: setting.config.fetch_wait,
            tls: setting.tls.clone(),
        };
        (inner.ports.fetch.clone(), wanted)
    };
    let slots = policies.upgrade()?.slots.clone();
    let _slot = slots.acquire_owned().await.ok()?;
    let octets = fetch.get(&wanted).await;
    Some(
        octets
            .map_err(NoPolicy::Fetch)
            .and_then(|octets| Policy::parse(&octets).map_err(NoPolicy::Invalid)),
    )
}

impl Inner {
    /// A policy arrived: on the shelf first, so that what counts also outlives a crash.
    async fn take_in(&self, domain: &Domain, id: Id, policy: Policy) {
        let clock = &*self.ports.clock;
        let used = self
            .state()
            .domains
            .get(domain)
            .and_then(|known| known.kept.as_ref())
            .map(|kept| kept.used);
        let kept = Kept::fresh(id, policy, used.unwrap_or_else(|| clock.now()), clock);
        match kept.change(domain) {
            Ok(change) => self.write(domain, vec![change]).await,
            Err(because) => tracing::error!(%domain, %because, "MTA-STS policy not kept"),
        }
        let (id, mode, max_age_s) = (kept.id.clone(), kept.policy.mode, kept.policy.max_age.as_secs());
        let after = sts::refresh_after(kept.policy.max_age, clock.roll());
        let due = clock.instant() + after;
        let evicted = {
            let mut state = self.state();
            let known = state.known(domain);
            known.failed = None;
            let recovered = known.failures.take().is_some();
            let news = known
                .kept
                .as_ref()
                .is_none_or(|old| old.id != id || old.policy != kept.policy);
            known.kept = Some(kept);
            state.schedule(domain, Some(due));
            if news || recovered {
                tracing::info!(%domain, %id, %mode, max_age_s, "MTA-STS policy fetched");
            }
            state.evict(domain, self.setting().config.policies_max)
        };
        self.sooner.notify_one();
        if let Some(evicted) = evicted {
            self.write(&evicted, vec![kept::removal(&evicted)]).await;
        }
    }

    /// No policy arrived: what is kept stays as it was.
    fn give_up(&self, domain: &Domain, id: Id, why: NoPolicy) {
        let (wall, steady) = (self.ports.clock.now(), self.ports.clock.instant());
        let roll = self.ports.clock.roll();
        let mut state = self.state();
        let known = state.known(domain);
        let kept = known.kept.clone().filter(|kept| kept.is_valid(wall, steady));
        let (id, because) = (id, why.to_string());
        known.failed = Some(Failed {
            id: id.clone(),
            at: steady,
            why,
        });
        let Some(kept) = kept else {
            tracing::warn!(%domain, %id, because, "MTA-STS policy not fetched: none counts for this domain");
            return;
        };
        let (failures, since) = known.failures.unwrap_or((0, steady));
        let failures = failures.saturating_add(1);
        known.failures = Some((failures, since));
        state.schedule(domain, Some(steady + sts::retry_after(failures, roll)));
        drop(state);
        self.sooner.notify_one();
        tell(domain, &kept, failures, since, steady, &because);
    }

    pub(super) async fn write(&self, domain: &Domain, changes: Vec<Change>) {
        if let Err(because) = self.memory.keep(changes).await {
            tracing::error!(%domain, %because, "MTA-STS policy not written down: it would not outlive a restart");
        }
    }
}

impl State {
    /// Where there are too many policies, the one goes that mail has not asked for for the longest time.
    fn evict(&mut self, newest: &Domain, policies_max: usize) -> Option<Domain> {
        if self.domains.len() <= policies_max {
            return None;
        }
        let kept = self
            .domains
            .iter()
            .filter_map(|(domain, known)| Some((known.kept.as_ref()?.used, domain)));
        let kept: Vec<_> = kept.collect();
        let (_, oldest) = kept
            .iter()
            .filter(|(_, domain)| *domain != newest)
            .min()
            .filter(|_| kept.len() > policies_max)?;
        let oldest = (*oldest).clone();
        self.schedule(&oldest, None);
        self.domains.remove(&oldest);
        Some(oldest)
    }
}

/// RFC 8461 §3.3, §10.2: a person hears of it long before the policy ends, unless its mode is `none`.
fn tell(domain: &Domain, kept: &Kept, failures: u32, since: Instant, now: Instant, because: &str) {
    let age = kept.age(now);
    let left_h = kept.policy.max_age.saturating_sub(age).as_secs() / 3600;
    let id = &kept.id;
    if kept.policy.mode == Mode::None {
        tracing::debug!(%domain, %id, because, "MTA-STS policy of mode none not refreshed");
    } else if sts::is_alarming(&kept.policy, failures, now.saturating_duration_since(since), age) {
        tracing::error!(
            %domain, %id, failures, left_h, because,
            "MTA-STS policy not refreshed again and again: somebody may be in the way; it counts until it ends"
        );
    } else {
        tracing::warn!(%domain, %id, failures, left_h, because, "MTA-STS policy not refreshed: the one of before counts on");
    }
}
