//! The part of a report that people read: what happened, who must act, and how the last hop was secured.

use mail::{DeliveryStatus, EnhancedStatus, ReversePath};

use super::fields::date;
use super::{Action, Original, Outcome, Reporter};

/// The subject, after what weighs most.
pub(super) fn subject(told: &[(Action, &Outcome<'_>)], sender: &ReversePath) -> &'static str {
    let first = told.iter().map(|(action, _)| *action).min();
    match (sender, first) {
        (ReversePath::Null, _) => "A report could not be delivered and was dropped",
        (ReversePath::Mailbox(_), Some(Action::Failed)) => "Your message could not be delivered",
        (ReversePath::Mailbox(_), Some(Action::Delayed)) => "Your message is delayed and still being tried",
        (ReversePath::Mailbox(_), Some(Action::Delivered | Action::Relayed | Action::Expanded) | None) => {
            "Your message has been handed on"
        }
    }
}

/// The text, with `\n` for line ends, in lines of readable length.
pub(super) fn text(original: &Original<'_>, told: &[(Action, &Outcome<'_>)], reporter: &Reporter) -> String {
    let mut text = Text(String::new());
    text.line(&format!("This is the mail system at {}.", reporter.me));
    text.line(&format!(
        "It received a message from you on {}.",
        date(original.arrival.at)
    ));
    for (action, outcome) in told {
        text.line("");
        text.line(&format!("<{}>", outcome.recipient.mailbox));
        text.indented(&what_happened(*action, outcome));
        if let Some(host) = &outcome.status.cause().remote
            && outcome.status.cause().reply.is_some()
        {
            text.indented(&format!("The answer came from {host}."));
        }
        match action {
            Action::Failed => text.indented(who_acts(outcome.status.cause().status)),
            Action::Delayed => text.indented(&format!(
                "You need not send it again. It is tried until {}, {} after it came; if that fails you will hear again.",
                date(original.arrival.at + reporter.age_max),
                days(reporter.age_max.as_secs()),
            )),
            Action::Relayed => text.indented("That host does not say what becomes of a message, so this is the last you hear."),
            Action::Delivered | Action::Expanded => {}
        }
        if let Some(evidence) = outcome.evidence {
            text.indented(&evidence.hop());
        }
    }
    text.line("");
    text.line(&format!("Questions go to <{}>;", reporter.postmaster));
    text.line(&format!("please name the message {}.", original.id));
    text.0
}

fn what_happened(action: Action, outcome: &Outcome<'_>) -> String {
    let cause = outcome.status.cause();
    let said = match &cause.reply {
        Some(reply) => format!("{}: {reply}", cause.text),
        None => cause.text.to_string(),
    };
    match action {
        Action::Failed => format!("could not be delivered: {said}"),
        Action::Delayed => match outcome.status {
            DeliveryStatus::Withheld { since, .. } => format!(
                "held since {} because no host showed the protection that is demanded for it: {said}",
                date(*since)
            ),
            DeliveryStatus::Held(_) => format!("held: {said}"),
            _ => format!("could not be delivered yet: {said}"),
        },
        Action::Delivered => "has the message in the mailbox.".to_owned(),
        Action::Relayed => format!("was accepted by the next host: {said}"),
        Action::Expanded => "stands for several addresses; the message goes on to them.".to_owned(),
    }
}

/// RFC 3463 §3: the subject of a status tells whose matter it is.
fn who_acts(status: EnhancedStatus) -> &'static str {
    match (status.subject(), status.detail()) {
        (1, 7 | 8) => "Your own address was not accepted: ask whoever runs your mail.",
        (1, 10) => "That domain takes no mail at all: find another address.",
        (1, _) => "Please check the address for mistakes, then send the message again.",
        (2, 2) => "The mailbox is full: its owner must make room before you send the message again.",
        (2, 3) | (3, 4) => "The message is too large for that host: send a smaller one.",
        (2, _) => "The recipient, or whoever runs that mailbox, must act; try to reach them in another way.",
        (4, 6) => "The hosts of that domain point at each other: whoever runs it must correct its records.",
        (3 | 4, _) => {
            "The trouble lies with the receiving host or the way to it: whoever runs it must act. You may try again later."
        }
        (6, _) => {
            "That host cannot take a message of this form: send it with plain ASCII text and addresses."
        }
        (7, 5) => {
            "Nothing was sent unprotected: whoever runs that host must mend its encryption. Reach the recipient in another way meanwhile."
        }
        (7, _) => "That host's rules forbid this message: ask the recipient, or whoever runs that host, why.",
        _ => "The receiving host gave no better reason: ask the recipient in another way.",
    }
}

fn days(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600) {
        (0 | 1, hours) => format!("{hours} hours"),
        (days, _) => format!("{days} days"),
    }
}

struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// Words wrapped under the address. What came from outside was made printable when it was read.
    fn indented(&mut self, words: &str) {
        let mut line = String::from("   ");
        for word in words.split_whitespace() {
            if line.len() > 3 && line.chars().count() + 1 + word.chars().count() > 76 {
                self.line(&std::mem::replace(&mut line, String::from("   ")));
            }
            line.push(' ');
            line.extend(word.chars().take(WORD_CHARS_MAX));
        }
        self.line(&line);
    }
}

/// Nothing makes a line longer than RFC 5322 §2.1.1 allows.
const WORD_CHARS_MAX: usize = 900;
