//! Who must hear of what became of a message, and what they are told (RFC 3461, 3464, 6522, 6533).
//!
//! One report for a message and a moment, over all of its recipients that ask for one. Decides and writes; the original
//! is copied in by the caller as a stream, so that a report costs no more memory than its text.

mod fields;
mod shorten;
mod words;

use std::time::{Duration, SystemTime};

use mail::content::Survey;
use mail::{
    Arrival, Body, Content, DeliveryStatus, Domain, Envelope, Host, LocalPart, Mailbox, MessageId, Notify,
    Protocol, Recipient, Return, ReversePath, TlsWish,
};
use trust::Evidence;

pub use self::shorten::shorten;
use crate::config::retry::Retry;

/// Who reports, and by which rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reporter {
    /// This host.
    pub me: Domain,
    /// Who reports come from.
    pub postmaster: Mailbox,
    /// Failed messages up to this size are returned whole.
    pub return_bytes_max: u64,
    /// How long a message is tried, for `Will-Retry-Until`.
    pub age_max: Duration,
    /// Who hears of reports that reach nobody.
    pub lost: LostReports,
}

/// Who hears of failed messages that have no sender to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LostReports {
    /// The log alone.
    Logged,
    /// The log and the postmaster.
    Noted,
}

/// The message that is reported on.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its name here.
    pub id: MessageId,
    /// How it came.
    pub arrival: &'a Arrival,
    /// Who sent it.
    pub envelope: &'a Envelope,
    /// What kind of octets it holds.
    pub content: Content,
}

/// What became of it for one recipient at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// The recipient.
    pub recipient: &'a Recipient,
    /// What became of it.
    pub status: &'a DeliveryStatus,
    /// Whether the time for a delay notice has come, and no earlier one was sent.
    pub delay: Delay,
    /// When it was last tried, if it was.
    pub last_attempt: Option<SystemTime>,
    /// The record of that attempt, if it was now.
    pub evidence: Option<&'a Evidence>,
}

/// Whether a deferred recipient's sender is due to hear of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delay {
    /// Now.
    Due,
    /// Not yet, or already told.
    NotDue,
}

/// What a recipient's part of a report says (RFC 3464 §2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Given up.
    Failed,
    /// Still tried.
    Delayed,
    /// In its mailbox.
    Delivered,
    /// Handed to a host that will not report.
    Relayed,
    /// Replaced by several.
    Expanded,
}

/// A report, ready to be spooled like any other message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its name.
    pub id: MessageId,
    /// From nobody, to the sender.
    pub envelope: Envelope,
    /// All that stands before the returned octets.
    pub head: Vec<u8>,
    /// What is returned.
    pub returned: Returned,
    /// All that stands behind them.
    pub tail: Vec<u8>,
}

/// How much of the original comes back, and in what form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returned {
    /// All of it, octet by octet.
    Whole,
    /// Its header, octet by octet.
    Header,
    /// Its header in base64, since its octets or its lines could not travel everywhere.
    HeaderEncoded,
}

/// What a report says of one recipient, or nothing if its sender wants to hear nothing (RFC 3461 §5.2).
pub fn action(recipient: &Recipient, status: &DeliveryStatus, delay: Delay) -> Option<Action> {
    let (success, failure, late) = match recipient.notify {
        None => (false, true, true),
        Some(Notify::Never) => (false, false, false),
        Some(Notify::On {
            success,
            failure,
            delay,
        }) => (success, failure, delay),
    };
    let (wanted, action) = match (status, delay) {
        (DeliveryStatus::Failed(_), _) => (failure, Action::Failed),
        (
            DeliveryStatus::Deferred { .. } | DeliveryStatus::Held(_) | DeliveryStatus::Withheld { .. },
            Delay::Due,
        ) => (late, Action::Delayed),
        (
            DeliveryStatus::Deferred { .. } | DeliveryStatus::Held(_) | DeliveryStatus::Withheld { .. },
            Delay::NotDue,
        ) => return None,
        (DeliveryStatus::Relayed { reports: true, .. }, _) => return None,
        (DeliveryStatus::Relayed { reports: false, .. }, _) => (success, Action::Relayed),
        (DeliveryStatus::Delivered(_), _) => (success, Action::Delivered),
        (DeliveryStatus::Expanded(_), _) => (success, Action::Expanded),
    };
    wanted.then_some(action)
}

/// The report of this moment, if anyone must hear. Never to the null sender: then the postmaster hears of failures, if
/// so configured, and of no failure of such a note.
pub fn notification(
    original: &Original<'_>,
    outcomes: &[Outcome<'_>],
    reporter: &Reporter,
    id: MessageId,
    now: SystemTime,
) -> Option<Report> {
    let told: Vec<(Action, &Outcome<'_>)> = match &original.envelope.sender {
        ReversePath::Mailbox(_) => {
            let asked = |outcome: &Outcome<'_>| action(outcome.recipient, outcome.status, outcome.delay);
            outcomes
                .iter()
                .filter_map(|outcome| Some((asked(outcome)?, outcome)))
                .collect()
        }
        ReversePath::Null => lost(outcomes, reporter),
    };
    if told.is_empty() {
        return None;
    }
    let to = match &original.envelope.sender {
        ReversePath::Mailbox(sender) => sender,
        ReversePath::Null => &reporter.postmaster,
    };
    Some(write(original, &told, reporter, to, id, now))
}

/// Failures that no sender can be told of.
fn lost<'o, 'a>(outcomes: &'o [Outcome<'a>], reporter: &Reporter) -> Vec<(Action, &'o Outcome<'a>)> {
    let failed = |outcome: &&Outcome<'_>| matches!(outcome.status, DeliveryStatus::Failed(_));
    let is_note = |outcome: &&Outcome<'_>| outcome.recipient.mailbox == reporter.postmaster;
    match reporter.lost {
        LostReports::Logged => Vec::new(),
        LostReports::Noted => {
            let noted = outcomes.iter().filter(failed).filter(|outcome| !is_note(outcome));
            noted.map(|outcome| (Action::Failed, outcome)).collect()
        }
    }
}

fn write(
    original: &Original<'_>,
    told: &[(Action, &Outcome<'_>)],
    reporter: &Reporter,
    to: &Mailbox,
    id: MessageId,
    now: SystemTime,
) -> Report {
    let returned = returned(original, told, reporter);
    let eight_bit = returned == Returned::Whole && original.content.eight_bit_body;
    // RFC 6533 §4: addresses that ASCII cannot spell make the machine's part an international one. Encoded, it still
    // travels through every host.
    let international = told
        .iter()
        .any(|(_, outcome)| fields::is_international(outcome.recipient));
    let boundary = format!("=_{id}");
    let subject = words::subject(told, &original.envelope.sender);
    let text = words::text(original, told, reporter);
    let machine = fields::delivery_status(original, told, reporter, international);
    let text_encoding = if text.is_ascii() {
        Encoding::SevenBit
    } else {
        Encoding::QuotedPrintable
    };
    let (status_type, status_encoding) = match international {
        false => ("message/delivery-status", Encoding::SevenBit),
        true => ("message/global-delivery-status", Encoding::QuotedPrintable),
    };
    let whole_encoding = if eight_bit {
        Encoding::EightBit
    } else {
        Encoding::SevenBit
    };
    let head = [
        header(reporter, to, subject, id, now, &boundary, whole_encoding),
        part(&boundary, "text/plain; charset=utf-8", &text, text_encoding),
        part(&boundary, status_type, &machine, status_encoding),
        returned_head(&boundary, returned, &original.content),
    ];
    Report {
        id,
        envelope: envelope(
            to,
            original.envelope.wish,
            if eight_bit {
                Body::EightBitMime
            } else {
                Body::SevenBit
            },
        ),
        head: head.concat().into_bytes(),
        returned,
        tail: format!("\r\n--{boundary}--\r\n").into_bytes(),
    }
}

/// The report's own header, and a line for readers without MIME.
fn header(
    reporter: &Reporter,
    to: &Mailbox,
    subject: &str,
    id: MessageId,
    now: SystemTime,
    boundary: &str,
    encoding: Encoding,
) -> String {
    let fields = [
        format!("From: Mail Delivery System <{}>", reporter.postmaster),
        format!("To: <{to}>"),
        format!("Subject: {subject}"),
        format!("Date: {}", fields::date(now)),
        format!("Message-ID: <{id}@{}>", reporter.me),
        "Auto-Submitted: auto-replied".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        format!("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\""),
        format!("Content-Transfer-Encoding: {}", encoding.as_str()),
        String::new(),
        "This is a report in MIME format on the delivery of a message.".to_owned(),
        String::new(),
        String::new(),
    ];
    fields.join("\r\n")
}

/// What stands before the octets that come back.
fn returned_head(boundary: &str, returned: Returned, content: &Content) -> String {
    let (kind, encoding) = match (returned, content.eight_bit_header) {
        (Returned::Whole, _) if content.eight_bit_body => ("message/rfc822", Encoding::EightBit),
        (Returned::Whole, _) => ("message/rfc822", Encoding::SevenBit),
        (Returned::Header, _) => ("text/rfc822-headers", Encoding::SevenBit),
        (Returned::HeaderEncoded, true) => ("message/global-headers", Encoding::Base64),
        (Returned::HeaderEncoded, false) => ("text/rfc822-headers", Encoding::Base64),
    };
    let encoding = encoding.as_str();
    format!("--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n")
}

/// RFC 2045 §6.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    SevenBit,
    EightBit,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    fn as_str(self) -> &'static str {
        match self {
            Encoding::SevenBit => "7bit",
            Encoding::EightBit => "8bit",
            Encoding::QuotedPrintable => "quoted-printable",
            Encoding::Base64 => "base64",
        }
    }
}

/// RFC 3461 §6.1, §6.2: from nobody; nothing is asked for but silence.
fn envelope(to: &Mailbox, wish: TlsWish, body: Body) -> Envelope {
    let recipient = Recipient {
        mailbox: to.clone(),
        notify: Some(Notify::Never),
        original: None,
    };
    Envelope {
        sender: ReversePath::Null,
        body,
        smtputf8: to.needs_utf8(),
        ret: None,
        envelope_id: None,
        // RFC 8689 §5: a report is guarded as its original is.
        wish: match wish {
            TlsWish::Required => TlsWish::Required,
            TlsWish::Usual | TlsWish::Waived => TlsWish::Usual,
        },
        recipients: vec![recipient],
    }
}

/// One text part.
fn part(boundary: &str, kind: &str, text: &str, encoding: Encoding) -> String {
    let mut part = format!(
        "--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {}\r\n\r\n",
        encoding.as_str()
    );
    for line in text.lines() {
        match encoding {
            Encoding::QuotedPrintable => part.push_str(&fields::quoted_printable(line)),
            Encoding::SevenBit | Encoding::EightBit | Encoding::Base64 => part.push_str(line),
        }
        part.push_str("\r\n");
    }
    part.push_str("\r\n");
    part
}

/// RFC 3461 §6.2, RFC 6522 §3: the whole of a failed message unless the sender asked for less, it is too large, or its
/// octets could be refused on the report's way back; of all others the header.
fn returned(original: &Original<'_>, told: &[(Action, &Outcome<'_>)], reporter: &Reporter) -> Returned {
    let content = &original.content;
    let failed = told.iter().any(|(action, _)| *action == Action::Failed);
    // RFC 8689 §5: as if RET=HDRS had been said, whatever was.
    let secret = original.envelope.wish == TlsWish::Required;
    let wanted = failed && !secret && original.envelope.ret != Some(Return::Headers);
    let long_line = content.longest_line_bytes > LINE_BYTES_MAX;
    let lines = !content.binary && !long_line && !content.eight_bit_header;
    // 8-bit octets are worth a report that not every host takes only where the sender asked for them.
    let octets = !content.eight_bit_body || original.envelope.ret == Some(Return::Full);
    if wanted && lines && octets && content.bytes <= reporter.return_bytes_max {
        Returned::Whole
    } else if content.eight_bit_header || content.binary || long_line {
        Returned::HeaderEncoded
    } else {
        Returned::Header
    }
}

impl Reporter {
    /// The rules of `[retry]`, spoken by this host.
    pub fn new(me: &Domain, retry: &Retry) -> Reporter {
        let postmaster = || {
            let local = LocalPart::parse("postmaster").expect("postmaster is an atom");
            Mailbox::new(local, Host::Name(me.clone()))
        };
        Reporter {
            me: me.clone(),
            postmaster: retry.postmaster.clone().unwrap_or_else(postmaster),
            return_bytes_max: retry.return_bytes_max,
            age_max: retry.age_max,
            lost: match retry.note_lost_reports {
                true => LostReports::Noted,
                false => LostReports::Logged,
            },
        }
    }
}

impl Report {
    /// How it came: from this server itself.
    pub fn arrival(now: SystemTime) -> Arrival {
        Arrival {
            at: now,
            protocol: Protocol::Own,
            greeting: None,
            client: None,
            tls: None,
        }
    }

    /// Writes the report, reading the original as far as it is returned. Gives what kind of octets were written.
    pub fn write<E>(
        &self,
        original: &Content,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
        mut push: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Content, E> {
        let mut survey = Survey::default();
        let mut put = |bytes: &[u8]| {
            survey.feed(bytes);
            push(bytes)
        };
        put(&self.head)?;
        match self.returned {
            Returned::Whole => copy(original.bytes, &mut read, &mut put)?,
            Returned::Header if original.header_bytes <= HEADER_BYTES_MAX => {
                copy(original.header_bytes, &mut read, &mut put)?;
            }
            Returned::Header => put(&bounded_header(original, &mut read)?)?,
            Returned::HeaderEncoded => {
                let header = bounded_header(original, &mut read)?;
                header
                    .chunks(57)
                    .try_for_each(|row| put(fields::base64_line(row).as_bytes()))?;
            }
        }
        put(&self.tail)?;
        Ok(survey.content())
    }
}

fn copy<E>(
    bytes: u64,
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, E>,
    put: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut piece = vec![0; 16 * 1024];
    let mut left = bytes;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let got = read(&mut piece[..want])?;
        if got == 0 {
            break;
        }
        put(&piece[..got])?;
        left -= got as u64;
    }
    Ok(())
}

/// The header up to its bound, cut behind a whole line.
fn bounded_header<E>(
    original: &Content,
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<Vec<u8>, E> {
    let mut header = Vec::new();
    copy(
        original.header_bytes.min(HEADER_BYTES_MAX),
        read,
        &mut |bytes: &[u8]| {
            header.extend_from_slice(bytes);
            Ok(())
        },
    )?;
    if original.header_bytes > HEADER_BYTES_MAX {
        let end = header
            .windows(2)
            .rposition(|pair| pair == b"\r\n")
            .map_or(0, |at| at + 2);
        header.truncate(end);
    }
    Ok(header)
}

/// RFC 5321 §4.5.3.1.6, without the line end.
const LINE_BYTES_MAX: u64 = 998;
/// More of a header is not returned.
const HEADER_BYTES_MAX: u64 = HEADER_BYTES as u64;
const HEADER_BYTES: usize = 64 * 1024;
