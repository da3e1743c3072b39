//! What the spool's tests share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses its part

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mail::{
    Arrival, Body, Cause, Class, Content, DeliveryStatus, EnhancedStatus, Envelope, Mailbox, MessageId,
    Protocol, Receipt, Recipient, ReversePath,
};
use spool::{DiskError, Draft, Lane, Leased, Limits, Notices, Sealed, Spool};

pub type Kept = Result<Receipt, DiskError>;

pub fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub fn id(number: u64) -> MessageId {
    MessageId::new(1_800_000_000_000 + number, u128::from(number))
}

pub fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        sender: ReversePath::Mailbox(Mailbox::parse("sender@from.example").unwrap()),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
        wish: mail::TlsWish::Usual,
        recipients: recipients
            .iter()
            .map(|text| Recipient {
                mailbox: Mailbox::parse(text).unwrap(),
                notify: None,
                original: None,
            })
            .collect(),
    }
}

pub fn arrival(seconds: u64) -> Arrival {
    Arrival {
        at: at(seconds),
        protocol: Protocol::Esmtp,
        greeting: Some("client.example".into()),
        client: Some("192.0.2.1:2525".parse().unwrap()),
        tls: None,
    }
}

pub fn content(bytes: usize) -> Content {
    Content {
        bytes: bytes as u64,
        ..Content::default()
    }
}

/// Octets that differ from message to message and block to block.
pub fn body(number: u64, bytes: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut octets = Vec::with_capacity(bytes + 8);
    while octets.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend_from_slice(&state.to_le_bytes());
    }
    octets.truncate(bytes);
    octets
}

pub fn by_domain(recipient: &Recipient) -> Lane {
    Lane::new(&recipient.mailbox.host().to_string())
}

/// Files so small that a short test fills many.
pub fn small_limits() -> Limits {
    Limits {
        inline_bytes_max: 2000,
        file_bytes_max: 160 << 10,
        reserve_bytes: 64 << 10,
        checkpoint_after_bytes: 6000,
        ..Limits::default()
    }
}

pub fn filled(spool: &Arc<Spool>, number: u64, bytes: usize) -> Result<Draft, DiskError> {
    let mut draft = spool.draft(id(number))?;
    for piece in body(number, bytes).chunks(50_000) {
        draft.push(piece)?;
    }
    Ok(draft)
}

pub fn sealed(
    spool: &Arc<Spool>,
    number: u64,
    bytes: usize,
    recipients: &[&str],
) -> Result<Sealed, DiskError> {
    let draft = filled(spool, number, bytes)?;
    Ok(draft.seal(envelope(recipients), arrival(0), content(bytes)))
}

/// Hands a message over; the outcome comes by the channel.
pub fn keep_later(
    spool: &Arc<Spool>,
    number: u64,
    bytes: usize,
    recipients: &[&str],
) -> mpsc::Receiver<Kept> {
    let (answer, answered) = mpsc::channel();
    match filled(spool, number, bytes) {
        Ok(draft) => draft.keep(envelope(recipients), arrival(0), content(bytes), move |kept| {
            let _ = answer.send(kept);
        }),
        Err(error) => answer.send(Err(error)).unwrap(),
    }
    answered
}

pub fn keep(spool: &Arc<Spool>, number: u64, bytes: usize, recipients: &[&str]) -> Kept {
    let answered = keep_later(spool, number, bytes, recipients);
    spool.flush();
    answered.recv().unwrap()
}

pub fn read_all(spool: &Spool, id: MessageId) -> Result<Vec<u8>, DiskError> {
    let mut reader = spool.read_body(id)?;
    let mut octets = Vec::new();
    let mut buffer = [0; 10_000];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(octets),
            read => octets.extend_from_slice(&buffer[..read]),
        }
    }
}

pub fn cause(text: &str) -> Cause {
    Cause {
        at: at(1),
        status: EnhancedStatus::new(Class::Transient, 4, 1),
        remote: None,
        reply: None,
        text: text.into(),
    }
}

pub fn delivered() -> DeliveryStatus {
    DeliveryStatus::Delivered(Cause {
        status: EnhancedStatus::new(Class::Success, 0, 0),
        ..cause("delivered")
    })
}

pub fn deferred(until: u64) -> DeliveryStatus {
    DeliveryStatus::Deferred {
        until: at(until),
        cause: cause("not now"),
    }
}

pub fn withheld(since: u64, until: u64) -> DeliveryStatus {
    DeliveryStatus::Withheld {
        since: at(since),
        until: at(until),
        cause: cause("no host shows enough"),
    }
}

pub fn take(spool: &Arc<Spool>, seconds: u64) -> Option<Leased> {
    spool.take(at(seconds), &|_| true)
}

pub fn settle_all(leased: Leased, status: &DeliveryStatus) -> Result<(), DiskError> {
    let statuses = leased.recipients().map(|_| status.clone()).collect();
    leased.settle(at(5), statuses, Vec::new(), Notices::default())
}

pub type Shared<T> = Arc<Mutex<T>>;
