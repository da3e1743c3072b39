//! What would happen if: channels that are pretended, and really judged against the plan.

use std::time::SystemTime;

use mail::{Channel, Clear, Tls, TlsFacts, TlsVersion};
use serde::{Deserialize, Serialize};
use trust::{Judged, Opening, Plan, Presented, Shown, TlsTrouble, Tried, WhyClear};

use super::words;
use crate::check::level;
use crate::dispatch::Rules;
use crate::tls::{ClientTls, own};

/// One pretended turn of events, and what the plan makes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// What would have happened: `starttls_vanished`, `certificate_changed`, `handshake_failed`.
    pub event: String,
    /// The same in words.
    pub what_if: String,
    /// Whether mail would go.
    pub sent: bool,
    /// Whether anyone on the way could read it then.
    pub in_clear: bool,
    /// On what that would rest, or what would be lacking and who demands it.
    pub because: String,
    /// What would follow.
    pub follows: String,
}

/// All trials of a plan.
pub(super) fn trials(plan: &Plan, rules: &Rules, tls: &ClientTls, now: SystemTime) -> Vec<Trial> {
    let mut trials = vec![vanished(plan, rules, now)];
    trials.extend(changed(plan, rules, tls, now));
    trials.push(failed(plan, rules, now));
    trials
}

fn vanished(plan: &Plan, rules: &Rules, now: SystemTime) -> Trial {
    let shown = Shown::<Clear>::clear(WhyClear::NotOffered);
    let mut trial = tried(
        "starttls_vanished",
        "STARTTLS vanished this minute",
        plan,
        &shown,
        rules,
        now,
    );
    trial.in_clear = trial.sent;
    trial
}

/// None if no certificate could be made up.
fn changed(plan: &Plan, rules: &Rules, tls: &ClientTls, now: SystemTime) -> Option<Trial> {
    let stranger = own::of_a_stranger(now)?;
    let certificates = tls.examine(Presented::new([stranger.as_slice()]), now);
    let facts = TlsFacts {
        version: TlsVersion::V1_3,
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        // One that the plan allows, so that the certificate alone decides.
        group: plan
            .groups()
            .and_then(|groups| groups.first().cloned())
            .or(Some("X25519MLKEM768".into())),
        chain: Vec::new(),
        subject: None,
        server_name: None,
    };
    let shown = Shown::<Tls>::tls(facts, certificates);
    let what_if = "the certificate were another, self-signed, with another key";
    Some(tried("certificate_changed", what_if, plan, &shown, rules, now))
}

/// The attempt in which a handshake fails never goes on in clear; a later one may, where the plan says so.
fn failed(plan: &Plan, rules: &Rules, now: SystemTime) -> Trial {
    let trouble = TlsTrouble {
        at: now,
        text: "the handshake failed".into(),
    };
    let wait = rules.route.clear_after;
    let (event, what_if) = ("handshake_failed", "every handshake failed from now on");
    match plan.opening(Some(&trouble), Tried::Before, wait, now + wait) {
        Opening::Clear(why) => {
            let shown = Shown::<Clear>::clear(why);
            let mut trial = tried(event, what_if, plan, &shown, rules, now + wait);
            trial.in_clear = trial.sent;
            if trial.sent && plan.opening(Some(&trouble), Tried::Never, wait, now) == Opening::Tls {
                trial.follows = format!(
                    "Nothing would go in that attempt. A message that met the failure itself would go in clear {} later, \
                     with that on record.",
                    words::span(wait)
                );
            }
            trial
        }
        Opening::Tls => Trial {
            event: event.to_owned(),
            what_if: what_if.to_owned(),
            sent: false,
            in_clear: false,
            because: plan.unencrypted().to_string(),
            follows: held(rules),
        },
    }
}

fn tried<C: Channel>(
    event: &str,
    what_if: &str,
    plan: &Plan,
    shown: &Shown<C>,
    rules: &Rules,
    now: SystemTime,
) -> Trial {
    let judged = plan.judge(shown, now).evidence.judged;
    let (sent, because, follows) = match judged {
        Some(Judged::Sufficient(basis)) => (
            true,
            level::words(basis),
            "Mail would go on, with that on record.".to_owned(),
        ),
        Some(Judged::Insufficient(unmet)) => (false, unmet.to_string(), held(rules)),
        None => (false, "no verdict".to_owned(), held(rules)),
    };
    Trial {
        event: event.to_owned(),
        what_if: what_if.to_owned(),
        sent,
        in_clear: false,
        because,
        follows,
    }
}

/// What becomes of mail that no channel is good enough for.
fn held(rules: &Rules) -> String {
    format!(
        "QUIT at once, no octet of the message; then the next host; with none left it waits here and is tried again. Its \
         sender hears after {}; only after {} does it go back.",
        words::span(rules.retry.delay_notice),
        words::span(rules.retry.age_max)
    )
}
