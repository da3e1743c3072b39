//! MTA-STS (RFC 8461): what a domain's published policy demands of its hosts.
//!
//! Reads the TXT record and the policy, holds hosts against it, and decides what the two together mean: which policy
//! counts, whether another is to be fetched, how long one lasts. Looks nothing up and keeps nothing.

mod record;
mod text;

use std::fmt;
use std::time::Duration;

use mail::{Domain, Host};

pub use record::{BadRecord, Discovered, Id, discover};
pub use text::{BadPolicy, MAX_AGE_MAX, Mode, MxPattern, POLICY_BYTES_MAX, Policy};

/// What is known of a domain's policy for one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// There is none, or its mode is `none`, and why nothing is known if it could not be found out.
    Absent(Option<Box<str>>),
    /// A policy that is only tried out: nothing is demanded, what would have failed is reported (§5).
    Testing(Held),
    /// A policy in force.
    Enforced(Held),
}

/// A valid policy as held against one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its id.
    pub id: Box<str>,
    /// Whether the host is one of the policy's.
    pub listed: Listed,
}

/// Whether a policy lists a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    /// One of its `mx` patterns fits.
    Yes,
    /// None does: the host must not be used where the policy is in force (§5.1, §4.1).
    No,
}

/// What is to be done about a domain's policy, before a message goes to one of its hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// The policy that is kept counts.
    Apply,
    /// The policy of this id must be fetched; until that succeeds, a valid one that is kept counts on.
    Fetch(Id),
    /// No policy counts; and why, where there should be one or nobody knows.
    Nothing(Option<Box<str>>),
}

/// A fetch that failed, and stands in the way of another for the same id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// The id that the TXT record had.
    pub id: Id,
    /// How long ago.
    pub age: Duration,
    /// What went wrong.
    pub why: Box<str>,
}

impl Finding {
    /// What a policy in its time says of a host.
    pub fn of(id: &Id, policy: &Policy, host: &Host) -> Finding {
        let held = Held {
            id: id.as_str().into(),
            listed: policy.lists(host),
        };
        match policy.mode {
            // RFC 8461 §5: as though there were no policy.
            Mode::None => Finding::Absent(None),
            Mode::Testing => Finding::Testing(held),
            Mode::Enforce => Finding::Enforced(held),
        }
    }
}

/// Decides by the TXT record, by the id of the policy that is kept and still valid, and by the last failed fetch.
///
/// Nothing but a fetched policy ever replaces or ends a valid one: not a TXT record that is gone, broken or not to be
/// found out, and not a new id whose policy cannot be fetched (RFC 8461 §3.1, §5.1, §10.2).
pub fn next(valid: Option<&Id>, discovered: &Discovered, blocked: Option<&Blocked>) -> Next {
    match (discovered, valid) {
        (Discovered::Published(id), Some(kept)) if id == kept => Next::Apply,
        (Discovered::Published(id), kept) => match (standing(blocked, id), kept) {
            (None, _) => Next::Fetch(id.clone()),
            (Some(_), Some(_)) => Next::Apply,
            (Some(blocked), None) => Next::Nothing(Some(
                format!("policy {id} could not be fetched: {}", blocked.why).into(),
            )),
        },
        (Discovered::Absent | Discovered::Unusable(_) | Discovered::Failed(_), Some(_)) => Next::Apply,
        (Discovered::Absent, None) => Next::Nothing(None),
        (Discovered::Unusable(bad), None) => {
            Next::Nothing(Some(format!("TXT record not usable: {bad}").into()))
        }
        (Discovered::Failed(why), None) => Next::Nothing(Some(
            format!("the TXT record could not be looked up: {why}").into(),
        )),
    }
}

/// RFC 8461 §3.3: after a failed fetch, no other for the same id for five minutes.
fn standing<'a>(blocked: Option<&'a Blocked>, id: &Id) -> Option<&'a Blocked> {
    blocked.filter(|blocked| blocked.id == *id && blocked.age < RETRY_MIN)
}

/// Whether a policy still counts. Its age is told by the wall clock and by the steady one, which counts from when the
/// policy was read from disk: a wall clock that was set wrong, in either direction, ends no policy before its time.
pub fn is_valid(policy: &Policy, by_wall: Duration, by_steady: Duration) -> bool {
    by_wall.min(by_steady) < policy.max_age
}

/// How long after a fetch a policy is fetched anew: within a day (RFC 8461 §3.3), and well ahead of its end. The roll
/// spreads the domains.
pub fn refresh_after(max_age: Duration, roll: u64) -> Duration {
    let longest = REFRESH_MAX.min(max_age / 2).max(RETRY_MIN);
    longest - scaled(longest / 4, roll)
}

/// How long after the latest of `failures` failed refreshes in a row the next is tried.
pub fn retry_after(failures: u32, roll: u64) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let pause = doubled.min(RETRY_MAX);
    pause + scaled(pause / 4, roll)
}

/// Whether failed refreshes are worth a person's attention: three in a row, over a day or more, or with less than a
/// quarter of the policy's life left (RFC 8461 §10.2).
pub fn is_alarming(policy: &Policy, failures: u32, since: Duration, age: Duration) -> bool {
    let lasting = since >= ALARM_AFTER || age >= policy.max_age / 4 * 3;
    policy.mode != Mode::None && failures >= ALARM_FAILURES && lasting
}

fn scaled(span: Duration, roll: u64) -> Duration {
    let share = (roll >> 32) as u32;
    Duration::from_nanos_u128((span.as_nanos() * u128::from(share)) >> 32)
}

/// The name at which a domain publishes that it has a policy, and the host that serves the policy (§3.1, §3.2).
/// The domain itself only: a policy of the parent is never looked for (§3.4).
pub fn policy_host(domain: &Domain) -> Option<Domain> {
    Domain::parse(&format!("mta-sts.{domain}")).ok()
}

/// See [`policy_host`]: the name of the TXT record.
pub fn record_name(domain: &Domain) -> String {
    format!("{RECORD_LABEL}.{domain}")
}

/// The label below a domain at which its TXT record stands (§3.1).
pub const RECORD_LABEL: &str = "_mta-sts";
/// The path of a policy (§3.2).
pub const POLICY_PATH: &str = "/.well-known/mta-sts.txt";
/// The least time between two fetches of one id (§3.3).
pub const RETRY_MIN: Duration = Duration::from_secs(5 * 60);
const RETRY_MAX: Duration = Duration::from_secs(4 * 3600);
const REFRESH_MAX: Duration = Duration::from_secs(24 * 3600);
const ALARM_FAILURES: u32 = 3;
const ALARM_AFTER: Duration = Duration::from_secs(24 * 3600);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Listed::Yes => "listed",
            Listed::No => "not listed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn published(text: &str) -> Discovered {
        Discovered::Published(id(text))
    }

    fn blocked(text: &str, minutes: u64) -> Blocked {
        Blocked {
            id: id(text),
            age: Duration::from_secs(60 * minutes),
            why: "status 404".into(),
        }
    }

    // proves: 8461-3.1-3 8461-3.1-6 8461-3.3-7 8461-3.3-10 8461-3.3-11
    #[test]
    fn what_the_record_and_what_is_kept_mean_together() {
        let failed = || Discovered::Failed("SERVFAIL".into());
        let two = || Discovered::Unusable(BadRecord::Several(2));
        let nothing = |why: &str| Next::Nothing(Some(why.into()));
        let rows = [
            // Nothing is kept.
            (None, Discovered::Absent, None, Next::Nothing(None)),
            (
                None,
                two(),
                None,
                nothing("TXT record not usable: 2 records begin with v=STSv1;"),
            ),
            (
                None,
                failed(),
                None,
                nothing("the TXT record could not be looked up: SERVFAIL"),
            ),
            (None, published("1"), None, Next::Fetch(id("1"))),
            (
                None,
                published("1"),
                Some(blocked("1", 4)),
                nothing("policy 1 could not be fetched: status 404"),
            ),
            (None, published("1"), Some(blocked("1", 5)), Next::Fetch(id("1"))),
            (None, published("2"), Some(blocked("1", 0)), Next::Fetch(id("2"))),
            // A valid policy is kept.
            (Some("9"), Discovered::Absent, None, Next::Apply),
            (Some("9"), two(), None, Next::Apply),
            (Some("9"), failed(), None, Next::Apply),
            (Some("9"), published("9"), None, Next::Apply),
            (Some("9"), published("1"), None, Next::Fetch(id("1"))),
            (Some("9"), published("1"), Some(blocked("1", 4)), Next::Apply),
            (
                Some("9"),
                published("1"),
                Some(blocked("1", 5)),
                Next::Fetch(id("1")),
            ),
            (Some("9"), published("9"), Some(blocked("1", 0)), Next::Apply),
        ];
        for (kept, discovered, blocked, expected) in rows {
            let kept = kept.map(id);
            let found = next(kept.as_ref(), &discovered, blocked.as_ref());
            assert_eq!(found, expected, "{kept:?} {discovered:?} {blocked:?}");
        }
    }

    // proves: 8461-3.2-6
    #[test]
    fn a_policy_ends_with_its_age_and_not_with_a_step_of_the_clock() {
        let policy = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 3\n").unwrap();
        let rows = [
            (2, 2, true),
            (3, 3, false),
            (4, 4, false),
            // The wall clock was set ahead, or back.
            (1_000_000, 2, true),
            (0, 1_000_000, true),
        ];
        for (wall, steady, expected) in rows {
            let (wall, steady) = (Duration::from_secs(wall), Duration::from_secs(steady));
            assert_eq!(is_valid(&policy, wall, steady), expected, "{wall:?} {steady:?}");
        }
    }

    // proves: 8461-3.3-12
    #[test]
    fn refreshes_come_within_a_day_and_ahead_of_the_end() {
        let day = Duration::from_secs(24 * 3600);
        for roll in [0, 1 << 40, u64::MAX] {
            for max_age in [day * 365, day * 7, day] {
                let after = refresh_after(max_age, roll);
                assert!(
                    after <= day && after <= max_age / 2 && after >= max_age.min(day * 2) * 3 / 8,
                    "{after:?}"
                );
            }
            assert!(refresh_after(Duration::ZERO, roll) >= RETRY_MIN * 3 / 4);
        }
        assert_ne!(refresh_after(day, 0), refresh_after(day, u64::MAX));
    }

    // proves: 8461-3.3-7
    #[test]
    fn failed_refreshes_are_tried_again_less_and_less() {
        let minutes = |failures, roll| retry_after(failures, roll).as_secs() / 60;
        let rows = [
            (1, 5),
            (2, 10),
            (3, 20),
            (6, 160),
            (7, 240),
            (40, 240),
            (u32::MAX, 240),
        ];
        for (failures, expected) in rows {
            assert_eq!(minutes(failures, 0), expected, "{failures}");
            assert!((expected..=expected * 5 / 4).contains(&minutes(failures, u64::MAX)));
        }
    }

    // proves: 8461-10.2-3
    #[test]
    fn an_alarm_comes_long_before_the_end() {
        let text = |mode: &str| format!("version: STSv1\nmode: {mode}\nmx: a.example\nmax_age: 2592000\n");
        let policy = |mode: &str| Policy::parse(text(mode).as_bytes()).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let rows = [
            ("enforce", 3, day, day * 3, true),
            ("testing", 3, day, day * 3, true),
            ("none", 30, day * 20, day * 20, false),
            ("enforce", 2, day, day * 3, false),
            ("enforce", 3, day / 2, day * 3, false),
            ("enforce", 3, day / 2, day * 23, true),
        ];
        for (mode, failures, since, age, expected) in rows {
            assert_eq!(
                is_alarming(&policy(mode), failures, since, age),
                expected,
                "{mode} {failures} {since:?}"
            );
        }
    }

    // proves: 8461-3.2-1 8461-3.4-2
    #[test]
    fn names_are_made_of_the_domain_itself() {
        let domain = Domain::parse("mail.example.com").unwrap();
        assert_eq!(record_name(&domain), "_mta-sts.mail.example.com");
        assert_eq!(policy_host(&domain).unwrap().as_str(), "mta-sts.mail.example.com");
        assert_eq!(POLICY_PATH, "/.well-known/mta-sts.txt");
    }

    // proves: 8461-5-3
    #[test]
    fn each_mode_says_what_it_means_for_a_host() {
        let host = |text: &str| Host::parse(text).unwrap();
        let of = |mode: &str, name: &str| {
            let text = format!("version: STSv1\nmode: {mode}\nmx: a.example\nmax_age: 1\n");
            Finding::of(&id("7"), &Policy::parse(text.as_bytes()).unwrap(), &host(name))
        };
        let held = |listed| Held {
            id: "7".into(),
            listed,
        };
        assert_eq!(of("none", "b.example"), Finding::Absent(None));
        assert_eq!(of("testing", "a.example"), Finding::Testing(held(Listed::Yes)));
        assert_eq!(of("testing", "b.example"), Finding::Testing(held(Listed::No)));
        assert_eq!(of("enforce", "a.example"), Finding::Enforced(held(Listed::Yes)));
        assert_eq!(of("enforce", "b.example"), Finding::Enforced(held(Listed::No)));
        assert_eq!(of("enforce", "[192.0.2.1]"), Finding::Enforced(held(Listed::No)));
    }
}
