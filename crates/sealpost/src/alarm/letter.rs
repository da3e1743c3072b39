//! An alarm as a message to the operator, spooled like any other, from nobody.

use std::sync::Arc;
use std::time::SystemTime;

use mail::content::Survey;
use mail::{
    Arrival, Body, Domain, Envelope, Mailbox, MessageId, Notify, Protocol, Recipient, ReversePath, TlsWish,
};
use spool::{DiskError, Spool};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::outbox::{Event, Pending, Told};
use crate::evidence::record::parse;
use crate::ports::Clock;
use crate::spooling::{keep, off_the_async_threads, push};

/// Spools it, unless it lies there already. Its name follows from the alarm and the mailbox, so that a crash between this and
/// crossing it out makes no second one while the first waits.
pub(super) async fn spool(
    spool: &Arc<Spool>,
    to: &Mailbox,
    pending: &Pending,
    me: &Domain,
    clock: &dyn Clock,
) -> Result<(), DiskError> {
    let id = name(to, pending);
    let (store, now) = (Arc::clone(spool), clock.now());
    let drafted = off_the_async_threads(move || match store.show(id) {
        Some(_) => Ok(None),
        None => store.draft(id).map(Some),
    });
    let Some(draft) = drafted.await.unwrap_or(Err(DiskError::Closed))? else {
        return Ok(());
    };
    let text = text(to, &pending.told, me, id, now);
    let mut survey = Survey::default();
    survey.feed(text.as_bytes());
    let draft = push(draft, text.as_bytes()).await?;
    let envelope = Envelope {
        sender: ReversePath::Null,
        body: if text.is_ascii() {
            Body::SevenBit
        } else {
            Body::EightBitMime
        },
        smtputf8: to.needs_utf8(),
        ret: None,
        envelope_id: None,
        wish: TlsWish::Usual,
        recipients: vec![Recipient {
            mailbox: to.clone(),
            notify: Some(Notify::Never),
            original: None,
        }],
    };
    let arrival = Arrival {
        at: now,
        protocol: Protocol::Own,
        greeting: None,
        client: None,
        tls: None,
    };
    keep(draft, envelope, arrival, survey.content()).await.map(drop)
}

/// From the time of the alarm, and the digest of what it says and to whom.
fn name(to: &Mailbox, pending: &Pending) -> MessageId {
    let said = format!("{} {} {to}", pending.told.id, pending.told.event.word());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, said.as_bytes());
    let roll = digest
        .as_ref()
        .iter()
        .take(16)
        .fold(0, |all, octet| all << 8 | u128::from(*octet));
    MessageId::new(pending.made, roll)
}

fn text(to: &Mailbox, told: &Told, me: &Domain, id: MessageId, now: SystemTime) -> String {
    let date = OffsetDateTime::from(parse(&told.at).unwrap_or(now));
    let subject = match told.event {
        Event::Begin => format!("Alarm: {} {}", told.kind, told.name),
        Event::End => format!("Alarm over: {} {}", told.kind, told.name),
    };
    let mut lines = vec![
        format!("From: Sealpost at {me} <postmaster@{me}>"),
        format!("To: <{to}>"),
        format!("Subject: {subject}"),
        format!("Date: {}", date.format(&Rfc2822).unwrap_or_default()),
        format!("Message-ID: <{id}@{me}>"),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "Content-Transfer-Encoding: 8bit".to_owned(),
        String::new(),
    ];
    lines.extend(wrapped(&told.text));
    lines.push(String::new());
    lines.push(format!("Began: {}", told.began));
    if told.event == Event::End {
        lines.push(format!("Ended: {}", told.at));
    }
    for (host, lacked) in &told.hosts {
        lines.extend(wrapped(&format!("{host}: {lacked}")));
    }
    let held = match (told.event, told.holds_mail) {
        (Event::Begin, true) => {
            "Mail for it is held: it is tested again by itself, and nothing goes out with less."
        }
        (Event::Begin, false) => "Mail for it goes over other hosts, or none has been held yet.",
        (Event::End, _) => "What was held goes by itself.",
    };
    lines.push(String::new());
    lines.push(held.to_owned());
    lines.push(
        "See: sealpost alarm list; sealpost queue list --state held; sealpost evidence show MESSAGE"
            .to_owned(),
    );
    lines.push(format!("This alarm's name: {}", told.id));
    lines.join("\r\n") + "\r\n"
}

/// Lines of readable length; foreign words cannot end one.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: String = word
            .chars()
            .filter(|c| !c.is_control())
            .take(WORD_CHARS_MAX)
            .collect();
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > 76 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines
}

/// RFC 5322 §2.1.1 allows 998 octets a line.
const WORD_CHARS_MAX: usize = 200;
