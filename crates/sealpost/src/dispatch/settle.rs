//! What an attempt's answers mean for each recipient, who must hear of it, and that it is recorded: all in one step of
//! the spool. Blocks on the disk: called off the async threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use mail::{
    Body, Cause, Class, DeliveryStatus, EnhancedStatus, Envelope, MessageId, Protocol, Recipient,
    ReversePath, TlsWish,
};
use spool::{DiskError, Leased, Notices, Progress, RecipientIndex, Sealed, Spool};
use trust::Evidence;

use super::next_try::{NextTry, Waited, next_try};
use super::rules::Rules;
use crate::ports::Clock;
use crate::report::{Delay, Original, Outcome, Report, notification, shorten};
use crate::spooling::new_id;

/// What an attempt found for its recipients.
pub(super) struct Answers {
    /// One for each leased recipient, in order. The time of a deferral is the earliest that makes sense; what the
    /// schedule says is later.
    pub(super) statuses: Vec<DeliveryStatus>,
    /// The record behind each, if a host was tried.
    pub(super) evidence: Vec<Option<Evidence>>,
    /// Whether TLS with a host failed.
    pub(super) tls_failed: bool,
    /// Messages to be kept in the same step.
    pub(super) offspring: Vec<Sealed>,
}

/// One recipient's part.
struct Part<'l> {
    index: RecipientIndex,
    recipient: &'l Recipient,
    status: DeliveryStatus,
    delay: Delay,
    last_attempt: Option<SystemTime>,
    evidence: Option<&'l Evidence>,
}

/// What is recorded of an attempt, in one step.
struct Decided {
    statuses: Vec<DeliveryStatus>,
    offspring: Vec<Sealed>,
    notices: Notices,
}

/// Decides and records. An error means that the spool will write the statuses when its disk allows.
pub(super) fn settle(
    spool: &Arc<Spool>,
    rules: &Rules,
    clock: &dyn Clock,
    leased: Leased,
    answers: Answers,
) -> Result<(), DiskError> {
    let now = clock.now();
    let found = answers.statuses.clone();
    let decided = catch_unwind(AssertUnwindSafe(|| {
        conclude(spool, rules, clock, &leased, answers, now)
    }));
    let decided = decided.unwrap_or_else(|_| held(&leased, found, now));
    leased.settle(now, decided.statuses, decided.offspring, decided.notices)
}

/// A fault of ours while deciding. What was handed over must not go out again because of it, and what was not would
/// meet it again: a person decides.
fn held(leased: &Leased, found: Vec<DeliveryStatus>, now: SystemTime) -> Decided {
    tracing::error!(id = %leased.message().id, "a fault while recording an attempt: what is not delivered is held");
    let cause = Cause {
        at: now,
        status: EnhancedStatus::new(Class::Transient, 3, 0),
        remote: None,
        reply: None,
        text: "a fault in this server while recording an attempt; its log has the details".into(),
    };
    let keep = |status| match status {
        DeliveryStatus::Delivered(_) | DeliveryStatus::Relayed { .. } => status,
        // What an expansion made is lost with the fault.
        DeliveryStatus::Expanded(_)
        | DeliveryStatus::Deferred { .. }
        | DeliveryStatus::Failed(_)
        | DeliveryStatus::Held(_)
        | DeliveryStatus::Withheld { .. } => DeliveryStatus::Held(cause.clone()),
    };
    Decided {
        statuses: found.into_iter().map(keep).collect(),
        offspring: Vec::new(),
        notices: Notices::default(),
    }
}

fn conclude(
    spool: &Arc<Spool>,
    rules: &Rules,
    clock: &dyn Clock,
    leased: &Leased,
    answers: Answers,
    now: SystemTime,
) -> Decided {
    let mut offspring = answers.offspring;
    let found = leased.recipients().zip(answers.statuses).zip(&answers.evidence);
    let mut parts: Vec<Part<'_>> = found
        .map(|(((index, recipient, progress), status), evidence)| {
            let status = decide(leased, progress, status, rules, now, clock.roll());
            let delay = delay(leased, progress, &status, rules, now);
            let last_attempt = evidence.as_ref().map(|evidence| evidence.ended);
            Part {
                index,
                recipient,
                delay,
                last_attempt: last_attempt.or(progress.last.as_ref().map(|cause| cause.at)),
                evidence: evidence.as_ref(),
                status,
            }
        })
        .collect();
    if let Err(error) = replace_report(spool, clock, leased, &mut parts, &mut offspring) {
        tracing::error!(id = %leased.message().id, %error, "cannot shorten a report: it is kept and tried again");
        parts.iter_mut().for_each(|part| keep_failure(part, rules, now));
    }
    if let Err(error) = report(spool, rules, clock, leased, &parts, &mut offspring) {
        tracing::error!(id = %leased.message().id, %error, "cannot write a report: what failed is kept and tried again");
        parts.iter_mut().for_each(|part| keep_failure(part, rules, now));
    }
    parts.iter().for_each(|part| tell(leased, part));
    let late = parts.iter().filter(|part| part.delay == Delay::Due);
    let tls_failed = parts.iter().filter(|_| answers.tls_failed);
    let notices = Notices {
        delay: late.map(|part| part.index).collect(),
        tls_failed: tls_failed.map(|part| part.index).collect(),
    };
    Decided {
        statuses: parts.into_iter().map(|part| part.status).collect(),
        offspring,
        notices,
    }
}

/// Gives up now what a message has waiting or held, by a person's decision, and reports to its sender. What is being
/// tried at this moment is left alone. Says for how many recipients.
pub fn give_up(
    spool: &Arc<Spool>,
    rules: &Rules,
    clock: &dyn Clock,
    id: MessageId,
    cause: &Cause,
) -> Result<usize, DiskError> {
    let (mut given_up, mut rounds) = (0, 1);
    while rounds > 0 {
        let Some(leased) = spool.take_message(id)? else {
            break;
        };
        let count = leased.recipients().len();
        // No more rounds than there can be lanes: a failure that could not be reported waits again.
        rounds = match given_up {
            0 => leased.message().envelope.recipients.len(),
            _ => rounds - 1,
        };
        let answers = Answers {
            statuses: vec![DeliveryStatus::Failed(cause.clone()); count],
            evidence: (0..count).map(|_| None).collect(),
            tls_failed: false,
            offspring: Vec::new(),
        };
        settle(spool, rules, clock, leased, answers)?;
        given_up += count;
    }
    Ok(given_up)
}

/// A deferral gets its time from the schedule, or ends in failure when the message is too old: then its last real cause
/// is told (RFC 3463 §3.5).
fn decide(
    leased: &Leased,
    progress: &Progress,
    status: DeliveryStatus,
    rules: &Rules,
    now: SystemTime,
    roll: u64,
) -> DeliveryStatus {
    let next = || next_try(&waited(leased, progress, rules), now, &rules.retry, roll);
    match status {
        DeliveryStatus::Deferred { until, cause } => match next() {
            NextTry::At(due) => DeliveryStatus::Deferred {
                until: due.max(until),
                cause,
            },
            NextTry::GiveUp => too_old("given up, it is too old; last", cause),
        },
        // A hold that age alone ends.
        DeliveryStatus::Withheld { since, until, cause } => match next() {
            NextTry::At(due) => DeliveryStatus::Withheld {
                since,
                until: due.max(until),
                cause,
            },
            NextTry::GiveUp => too_old(
                "held to the end of its life, since no host showed what is demanded; last",
                cause,
            ),
        },
        DeliveryStatus::Delivered(_)
        | DeliveryStatus::Relayed { .. }
        | DeliveryStatus::Expanded(_)
        | DeliveryStatus::Held(_)
        | DeliveryStatus::Failed(_) => status,
    }
}

fn too_old(words: &str, cause: Cause) -> DeliveryStatus {
    DeliveryStatus::Failed(Cause {
        // RFC 8689 §7.
        status: match cause.status {
            NO_TLS => EnhancedStatus::new(Class::Permanent, 7, 10),
            other => other,
        },
        text: format!("{words}: {}", cause.text).into(),
        ..cause
    })
}

fn waited(leased: &Leased, progress: &Progress, rules: &Rules) -> Waited {
    let message = leased.message();
    let from_nobody = message.envelope.sender == ReversePath::Null;
    let told = from_nobody || progress.delay_notified;
    Waited {
        attempts: progress.attempts + 1,
        since: message.arrival.at,
        age_max: match from_nobody {
            true => rules.retry.report_age_max,
            false => rules.retry.age_max,
        },
        notice: (!told).then(|| message.arrival.at + rules.retry.delay_notice),
    }
}

fn delay(
    leased: &Leased,
    progress: &Progress,
    status: &DeliveryStatus,
    rules: &Rules,
    now: SystemTime,
) -> Delay {
    let waits = matches!(
        status,
        DeliveryStatus::Deferred { .. } | DeliveryStatus::Held(_) | DeliveryStatus::Withheld { .. }
    );
    // RFC 8689 §4.2.1: who demands TLS and cannot have it hears of it when all hosts have been tried, and can choose
    // another way long before the message is too old.
    let demands_more = leased.message().envelope.wish == TlsWish::Required && status.cause().status == NO_TLS;
    match waited(leased, progress, rules).notice {
        Some(notice) if waits && (notice <= now || demands_more) => Delay::Due,
        Some(_) | None => Delay::NotDue,
    }
}

/// Writes the report of this moment, if anyone must hear.
fn report(
    spool: &Arc<Spool>,
    rules: &Rules,
    clock: &dyn Clock,
    leased: &Leased,
    parts: &[Part<'_>],
    offspring: &mut Vec<Sealed>,
) -> Result<(), DiskError> {
    let now = clock.now();
    let message = leased.message();
    let original = Original {
        id: message.id,
        arrival: &message.arrival,
        envelope: &message.envelope,
        content: message.content,
    };
    let outcomes: Vec<Outcome<'_>> = parts
        .iter()
        .map(|part| Outcome {
            recipient: part.recipient,
            status: &part.status,
            delay: part.delay,
            last_attempt: part.last_attempt,
            evidence: part.evidence,
        })
        .collect();
    let Some(report) = notification(&original, &outcomes, &rules.reporter, new_id(now, clock), now) else {
        return Ok(());
    };
    offspring.push(write(spool, &report, leased, now)?);
    Ok(())
}

fn write(spool: &Arc<Spool>, report: &Report, leased: &Leased, now: SystemTime) -> Result<Sealed, DiskError> {
    let mut draft = spool.draft(report.id)?;
    let mut body = leased.body()?;
    let read = |piece: &mut [u8]| body.read(piece);
    let content = report.write(&leased.message().content, read, |bytes| draft.push(bytes))?;
    Ok(draft.seal(report.envelope.clone(), Report::arrival(now), content))
}

/// A report of ours that returns 8-bit octets and met only hosts that cannot take them: its shorter form takes its place,
/// since a report that fails is lost (RFC 6522 §4).
fn replace_report(
    spool: &Arc<Spool>,
    clock: &dyn Clock,
    leased: &Leased,
    parts: &mut [Part<'_>],
    offspring: &mut Vec<Sealed>,
) -> Result<(), DiskError> {
    let message = leased.message();
    let ours = message.arrival.protocol == Protocol::Own && message.envelope.sender == ReversePath::Null;
    if !ours || !message.content.eight_bit_body || !parts.iter().any(Part::is_unfit) {
        return Ok(());
    }
    let mut draft = spool.draft(new_id(clock.now(), clock))?;
    let mut body = leased.body()?;
    let read = |piece: &mut [u8]| body.read(piece);
    let Some(content) = shorten(read, |bytes| draft.push(bytes))? else {
        return Ok(());
    };
    let unfit = || parts.iter().filter(|part| part.is_unfit());
    let envelope = Envelope {
        body: Body::SevenBit,
        recipients: unfit().map(|part| part.recipient.clone()).collect(),
        ..message.envelope.clone()
    };
    offspring.push(draft.seal(envelope, message.arrival.clone(), content));
    for part in parts.iter_mut().filter(|part| part.is_unfit()) {
        let cause = part.status.cause();
        part.status = DeliveryStatus::Expanded(Cause {
            // RFC 3463 §3.7: conversion with loss performed.
            status: EnhancedStatus::new(Class::Success, 6, 4),
            text: format!("sent anew without the original's text; {}", cause.text).into(),
            ..cause.clone()
        });
    }
    Ok(())
}

impl Part<'_> {
    /// No host could take the message in its form: it was offered to none.
    fn is_unfit(&self) -> bool {
        match &self.status {
            DeliveryStatus::Failed(cause) => cause.reply.is_none() && cause.status == UNFIT,
            DeliveryStatus::Delivered(_)
            | DeliveryStatus::Relayed { .. }
            | DeliveryStatus::Expanded(_)
            | DeliveryStatus::Deferred { .. }
            | DeliveryStatus::Held(_)
            | DeliveryStatus::Withheld { .. } => false,
        }
    }
}

/// A failure whose report cannot be written waits, so that its sender hears of it later.
fn keep_failure(part: &mut Part<'_>, rules: &Rules, now: SystemTime) {
    part.delay = Delay::NotDue;
    if let DeliveryStatus::Failed(cause) = &part.status {
        part.status = DeliveryStatus::Deferred {
            until: now + rules.retry.pauses.after(1),
            cause: cause.clone(),
        };
    }
}

/// One line for each recipient that got no record of a host, or no delivery.
fn tell(leased: &Leased, part: &Part<'_>) {
    let (id, to) = (leased.message().id, &part.recipient.mailbox);
    let cause = part.status.cause();
    let because = cause.reply.as_ref().map_or_else(
        || cause.text.to_string(),
        |reply| format!("{}: {reply}", cause.text),
    );
    match &part.status {
        DeliveryStatus::Failed(_) => {
            tracing::warn!(id = %id, %to, status = %cause.status, because, "failed");
            if leased.message().envelope.sender == ReversePath::Null {
                tracing::warn!(id = %id, %to, "a report reaches nobody and is dropped");
            }
        }
        DeliveryStatus::Held(_) => {
            tracing::warn!(id = %id, %to, status = %cause.status, because, "held")
        }
        DeliveryStatus::Withheld { until, .. } => {
            let seconds = until.duration_since(cause.at).unwrap_or_default().as_secs();
            tracing::warn!(id = %id, %to, status = %cause.status, because, tested_in_s = seconds, "held")
        }
        DeliveryStatus::Deferred { until, .. } => {
            let seconds = until.duration_since(cause.at).unwrap_or_default().as_secs();
            tracing::info!(id = %id, %to, status = %cause.status, because, again_in_s = seconds, "deferred");
        }
        DeliveryStatus::Delivered(_) => tracing::info!(id = %id, %to, because, "delivered"),
        DeliveryStatus::Expanded(_) => tracing::info!(id = %id, %to, because, "expanded"),
        DeliveryStatus::Relayed { .. } => tracing::info!(id = %id, %to, because, "relayed"),
    }
}

/// RFC 8689 §7: no host had the TLS that the message demands.
const NO_TLS: EnhancedStatus = EnhancedStatus::new(Class::Transient, 7, 10);
/// RFC 3463 §3.7: conversion required but not supported.
const UNFIT: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 6, 3);
