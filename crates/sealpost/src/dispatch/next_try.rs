//! When a message is tried again, and when no more (RFC 5321 §4.5.4.1).

use std::time::{Duration, SystemTime};

use crate::config::retry::Retry;

/// What comes after an attempt that put a message off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextTry {
    /// Another attempt.
    At(SystemTime),
    /// It is too old: back to the sender.
    GiveUp,
}

/// A message's time in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waited {
    /// Attempts made, the last one included.
    pub attempts: u32,
    /// When it came.
    pub since: SystemTime,
    /// How old it may get.
    pub age_max: Duration,
    /// When its sender is to be told that it is late, if that is still ahead.
    pub notice: Option<SystemTime>,
}

/// Decides. `roll` lengthens the pause by chance, so that what failed together does not return together. There is one
/// attempt at the time of the delay notice, so that it tells the newest, and one at the end of the message's life.
pub fn next_try(waited: &Waited, now: SystemTime, retry: &Retry, roll: u64) -> NextTry {
    let end = waited.since + waited.age_max;
    if now >= end {
        return NextTry::GiveUp;
    }
    let due = now + lengthened(retry.pauses.after(waited.attempts), retry.jitter_percent, roll);
    let notice = waited.notice.filter(|notice| now < *notice);
    NextTry::At(due.min(notice.unwrap_or(due)).min(end))
}

/// How long a host that did not answer is left alone.
pub fn host_pause(times: u32, retry: &Retry) -> Duration {
    retry.pauses.after(times).min(retry.host_wait_max)
}

fn lengthened(pause: Duration, percent_max: u8, roll: u64) -> Duration {
    let steps = u32::from(percent_max) * 10 + 1;
    let steps = u32::try_from(roll % u64::from(steps)).unwrap_or(0);
    pause.saturating_add(pause / 1000 * steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minutes)
    }

    fn decide(attempts: u32, now: u64, roll: u64) -> NextTry {
        let waited = Waited {
            attempts,
            since: at(0),
            age_max: Duration::from_secs(5 * 24 * 3600),
            notice: Some(at(240)),
        };
        next_try(&waited, at(now), &Retry::default(), roll)
    }

    // proves: 5321-4.5.4.1-1 5321-4.5.4.1-2
    #[test]
    fn pauses_grow_and_are_never_shortened_but_for_the_notice_and_the_end() {
        let rows = [
            (1, 0, at(5)),
            (2, 5, at(20)),
            (3, 20, at(50)),
            (4, 50, at(110)),
            // The next one would come at 250 min.
            (5, 130, at(240)),
            (6, 240, at(480)),
            (7, 480, at(720)),
            (99, 5 * 24 * 60 - 1, at(5 * 24 * 60)),
        ];
        for (attempts, now, expected) in rows {
            assert_eq!(
                decide(attempts, now, 0),
                NextTry::At(expected),
                "{attempts} {now}"
            );
        }
        assert_eq!(decide(9, 5 * 24 * 60, 0), NextTry::GiveUp);
    }

    #[test]
    fn chance_lengthens_within_its_bound() {
        for roll in [1, 77, 200, 201, 9_999_999, u64::MAX] {
            let NextTry::At(due) = decide(4, 0, roll) else {
                panic!("it gave up");
            };
            assert!((at(60)..=at(72)).contains(&due), "{due:?}");
        }
    }

    #[test]
    fn hosts_rest_no_longer_than_their_bound() {
        let retry = Retry::default();
        let minutes: Vec<u64> = [1, 2, 4, 5, 100]
            .map(|n| host_pause(n, &retry).as_secs() / 60)
            .to_vec();
        assert_eq!(minutes, [5, 15, 60, 60, 60]);
    }
}
