//! Refreshing policies ahead of their end, whether or not mail flows (RFC 8461 §3.3, §10.2).

use std::time::Instant;

use mail::Domain;
use tokio::sync::watch;
use trust::sts::{Discovered, Id};

use super::host::draining;
use super::{Policies, discovered, fetching, kept};
use crate::receive::Phase;

/// What is to be done about a policy that is due.
enum Due {
    /// Fetch it anew.
    Refresh(Id),
    /// Nobody has asked for it for long: let it end in peace.
    Rest,
    /// It ended long ago.
    Forget,
}

impl Policies {
    /// Refreshes until the server ends.
    pub async fn keep_fresh(self, mut phase: watch::Receiver<Phase>) {
        let refreshing = async {
            loop {
                self.wait_for_due().await;
                self.refresh_due().await;
            }
        };
        tokio::select! {
            biased;
            () = draining(&mut phase) => {}
            () = refreshing => {}
        }
    }

    async fn wait_for_due(&self) {
        let first = self.inner.state().due.first().map(|(at, _)| *at);
        let clock = &self.inner.ports.clock;
        let due = async {
            match first {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => {}
            () = self.inner.sooner.notified() => {}
        }
    }

    /// A bounded number at a time; each waits for its own end, so that a slow host delays those beside it only.
    async fn refresh_due(&self) {
        let now = self.inner.ports.clock.instant();
        let batch = self.inner.setting().config.fetches_max.max(1);
        let due: Vec<Domain> = {
            let state = self.inner.state();
            let due = state.due.iter().take_while(|(at, _)| *at <= now);
            due.take(batch).map(|(_, domain)| domain.clone()).collect()
        };
        let refreshing = due
            .iter()
            .map(|domain| Box::pin(self.refresh(domain, now)) as crate::ports::Later<'_, ()>);
        crate::ports::together(refreshing.collect()).await;
    }

    async fn refresh(&self, domain: &Domain, now: Instant) {
        let inner = &self.inner;
        let Some(due) = self.due(domain, now) else {
            inner.state().schedule(domain, None);
            return;
        };
        match due {
            Due::Refresh(kept) => {
                // Whatever the TXT record says: a domain cannot be made to forget its policy by hiding that.
                let id = match discovered(&*inner.ports.dns, domain).await {
                    Discovered::Published(id) => id,
                    Discovered::Absent | Discovered::Unusable(_) | Discovered::Failed(_) => kept,
                };
                fetching::ended(self.fetch(domain, &id)).await;
                inner.put_off(domain, now);
            }
            Due::Rest => {
                let at = inner
                    .state()
                    .domains
                    .get(domain)
                    .and_then(|known| Some(known.kept.as_ref()?.forgotten_at()));
                inner.state().schedule(domain, at);
            }
            Due::Forget => {
                {
                    let mut state = inner.state();
                    state.schedule(domain, None);
                    state.domains.remove(domain);
                }
                inner.write(domain, vec![kept::removal(domain)]).await;
                tracing::info!(%domain, "MTA-STS policy ended and is forgotten");
            }
        }
    }

    fn due(&self, domain: &Domain, now: Instant) -> Option<Due> {
        let wall = self.inner.ports.clock.now();
        let setting = self.inner.setting();
        let state = self.inner.state();
        let kept = state.domains.get(domain)?.kept.as_ref()?;
        let idle = wall.duration_since(kept.used).unwrap_or_default();
        Some(
            if kept.is_valid(wall, now) && setting.enabled && idle <= setting.config.refresh_unused_for {
                Due::Refresh(kept.id.clone())
            } else if now < kept.forgotten_at() {
                Due::Rest
            } else {
                Due::Forget
            },
        )
    }
}

impl super::Inner {
    /// All that is kept is due within the time that it is refreshed in anyway.
    pub(super) fn refresh_all(&self) {
        let clock = &self.ports.clock;
        let mut state = self.state();
        let kept = |(domain, known): (&Domain, &super::Known)| {
            Some((domain.clone(), known.kept.as_ref()?.policy.max_age))
        };
        let all: Vec<_> = state.domains.iter().filter_map(kept).collect();
        for (domain, max_age) in all {
            let after = trust::sts::refresh_after(max_age, clock.roll());
            state.schedule(&domain, Some(clock.instant() + after));
        }
        drop(state);
        self.sooner.notify_one();
    }

    /// Should a fetch have ended without saying anything, its policy is not due again at once.
    fn put_off(&self, domain: &Domain, now: Instant) {
        let mut state = self.state();
        let stuck = state
            .domains
            .get(domain)
            .and_then(|known| known.due)
            .is_some_and(|due| due <= now);
        if stuck {
            state.schedule(domain, Some(now + trust::sts::RETRY_MIN));
        }
    }
}
