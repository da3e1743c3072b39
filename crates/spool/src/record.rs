//! What the journal says, as octets: changes to what the spool keeps. Several changes that must happen together stand
//! in one record. Reading takes any octets without panic and without allocating more than they could fill.

use mail::{Cause, MessageId};

use crate::nouns::{
    put_arrival, put_cause, put_content, put_envelope, put_wish, take_arrival, take_cause, take_content,
    take_envelope, take_wish,
};
use crate::octets::{Malformed, Moment, Put, Take};
use crate::{Message, Place};

/// One change. A tag below 128 that is unknown makes the record unreadable; one above is news that may be ignored.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A message is kept, or moved: whatever was known of it before is replaced.
    Keep(Box<Kept>),
    /// What has become of some recipients: absolute, so that reading it twice does no harm.
    Progress(Steps),
    /// The message is no longer here.
    Gone(MessageId),
}

/// All there is to know of a kept message but its content.
#[derive(Clone, PartialEq)]
pub struct Kept {
    /// The message without its content.
    pub message: Message,
    /// Where its content is.
    pub body: StoredBody,
    /// How far each recipient is, in the envelope's order.
    pub steps: Vec<StoredProgress>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({})", self.message.id)
    }
}

/// Where a message's content is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoredBody {
    /// In the same record, behind the changes: from `at`, with this checksum.
    Beside {
        /// Octets from the start of the record's body part.
        at: u32,
        /// Octets.
        bytes: u32,
        /// CRC-32 of them.
        crc: u32,
    },
    /// In body segments: blocks of [`BLOCK_BYTES`] one behind the other, the last one perhaps shorter.
    Apart {
        /// Where the blocks lie.
        extents: Box<[Extent]>,
        /// The CRC-32 of each block.
        crcs: Box<[u32]>,
    },
}

/// Octets of a checksummed block of a body segment.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// A run of octets in a body segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The segment's number.
    pub segment: u32,
    /// Where it begins.
    pub offset: u32,
    /// Octets.
    pub bytes: u32,
}

/// Progress of some recipients of a message.
#[derive(Clone, PartialEq, Debug)]
pub struct Steps {
    /// The message.
    pub id: MessageId,
    /// The recipient's place in the envelope, and how far it is.
    pub steps: Vec<(u32, StoredProgress)>,
}

/// How far one recipient is.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredProgress {
    /// Attempts made.
    pub attempts: u16,
    /// When the next is due.
    pub due: Moment,
    /// What is to be done.
    pub stage: Stage,
    /// What else is remembered of it.
    pub marks: Marks,
    /// Why it is so.
    pub cause: StoredCause,
}

/// What is remembered of a recipient from one attempt to the next, besides the last cause. One octet, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The sender has been told of the delay.
    pub delay_notified: bool,
    /// TLS with a host failed in an attempt for it.
    pub tls_failed: bool,
    /// It waits because no host showed what is demanded. Stands behind the fields of the change, not in the octet, so
    /// that a program that does not know of it tries the recipient when it is due.
    pub withheld: bool,
}

/// What is to be done for a recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Try when due.
    Waiting,
    /// Nothing until someone decides.
    Held,
    /// Nothing more.
    Settled,
}

/// Where the last cause is told.
#[derive(Clone, PartialEq, Debug)]
pub enum StoredCause {
    /// There is none yet.
    None,
    /// Here.
    Here(Box<Told>),
    /// In an earlier record, which must be kept for it.
    At(Place),
}

/// A cause, and what is told with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// The cause.
    pub cause: Cause,
    /// Since when the recipient is withheld, if it is.
    pub withheld_since: Option<Moment>,
}

/// Reads the changes of a record. Takes any octets.
pub fn read_changes(meta: &[u8]) -> Result<Vec<Change>, Malformed> {
    let mut take = Take::new(meta);
    let mut changes = Vec::new();
    while take.left() > 0 {
        let tag = take.u8()?;
        let length = take.u32()? as usize;
        // What stands behind the known fields of a change is from a later version and may be ignored.
        let mut fields = Take::new(take.take(length)?);
        match tag {
            KEEP => changes.push(Change::Keep(Box::new(take_kept(&mut fields)?))),
            PROGRESS => changes.push(Change::Progress(take_steps(&mut fields)?)),
            GONE => changes.push(Change::Gone(take_id(&mut fields)?)),
            128.. => {}
            _ => return Err(Malformed("a change of an unknown kind")),
        }
    }
    Ok(changes)
}

/// Writes a kept message.
pub(crate) fn put_kept(out: &mut Vec<u8>, kept: &Kept) {
    put_change(out, KEEP, |out| {
        put_message(out, &kept.message);
        put_body(out, &kept.body);
        out.put_count(kept.steps.len());
        for step in &kept.steps {
            put_progress(out, step);
        }
        put_wish(out, kept.message.envelope.wish);
        put_withheld(out, (0..).zip(&kept.steps));
    });
}

/// Writes the progress of some recipients.
pub(crate) fn put_steps(out: &mut Vec<u8>, steps: &Steps) {
    put_change(out, PROGRESS, |out| {
        out.put_u128(steps.id.to_bits());
        out.put_count(steps.steps.len());
        for (index, step) in &steps.steps {
            out.put_u32(*index);
            put_progress(out, step);
        }
        put_withheld(out, steps.steps.iter().map(|(index, step)| (*index, step)));
    });
}

/// Writes that a message is no longer here.
pub(crate) fn put_gone(out: &mut Vec<u8>, id: MessageId) {
    put_change(out, GONE, |out| out.put_u128(id.to_bits()));
}

/// Writes any change.
pub fn put(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Keep(kept) => put_kept(out, kept),
        Change::Progress(steps) => put_steps(out, steps),
        Change::Gone(id) => put_gone(out, *id),
    }
}

impl Marks {
    /// The same, of a recipient that a person holds.
    pub(crate) fn tested_no_more(self) -> Marks {
        Marks {
            withheld: false,
            ..self
        }
    }

    pub(crate) fn octet(self) -> u8 {
        u8::from(self.delay_notified) | u8::from(self.tls_failed) << 1
    }

    pub(crate) fn take(take: &mut Take<'_>) -> Result<Marks, Malformed> {
        match take.u8()? {
            octet @ 0..4 => Ok(Marks {
                delay_notified: octet & 1 != 0,
                tls_failed: octet & 2 != 0,
                withheld: false,
            }),
            _ => Err(Malformed("a mark of an unknown kind")),
        }
    }
}

const KEEP: u8 = 1;
const PROGRESS: u8 = 2;
const GONE: u8 = 3;

fn put_change(out: &mut Vec<u8>, tag: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    out.put_u8(tag);
    let length_at = out.len();
    out.put_u32(0);
    fields(out);
    let length = u32::try_from(out.len() - length_at - 4).unwrap_or(u32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    out.put_u128(message.id.to_bits());
    put_arrival(out, &message.arrival);
    put_content(out, &message.content);
    put_envelope(out, &message.envelope);
}

fn take_kept(take: &mut Take<'_>) -> Result<Kept, Malformed> {
    let mut message = Message {
        id: take_id(take)?,
        arrival: take_arrival(take)?,
        content: take_content(take)?,
        envelope: take_envelope(take)?,
    };
    let body = take_body(take)?;
    let count = take.count(PROGRESS_BYTES_MIN)?;
    if count != message.envelope.recipients.len() {
        return Err(Malformed("there is not one progress for each recipient"));
    }
    let mut steps = (0..count)
        .map(|_| take_progress(take))
        .collect::<Result<Vec<_>, _>>()?;
    message.envelope.wish = take_wish(take)?;
    for (place, since) in take_withheld(take)? {
        let step = steps.get_mut(place as usize).ok_or(WITHHELD_NOBODY)?;
        step.withhold(since);
    }
    Ok(Kept { message, body, steps })
}

fn take_steps(take: &mut Take<'_>) -> Result<Steps, Malformed> {
    let id = take_id(take)?;
    let count = take.count(PROGRESS_BYTES_MIN + 4)?;
    let mut steps = (0..count)
        .map(|_| Ok((take.u32()?, take_progress(take)?)))
        .collect::<Result<Vec<_>, _>>()?;
    for (place, since) in take_withheld(take)? {
        let mut meant = steps.iter_mut().filter(|(index, _)| *index == place);
        meant.next().ok_or(WITHHELD_NOBODY)?.1.withhold(since);
    }
    Ok(Steps { id, steps })
}

pub(crate) fn take_id(take: &mut Take<'_>) -> Result<MessageId, Malformed> {
    Ok(MessageId::from_bits(take.u128()?))
}

fn put_body(out: &mut Vec<u8>, body: &StoredBody) {
    match body {
        StoredBody::Beside { at, bytes, crc } => {
            out.put_u8(0);
            out.put_u32(*at);
            out.put_u32(*bytes);
            out.put_u32(*crc);
        }
        StoredBody::Apart { extents, crcs } => {
            out.put_u8(1);
            put_extents(out, extents);
            out.put_count(crcs.len());
            for crc in crcs {
                out.put_u32(*crc);
            }
        }
    }
}

fn take_body(take: &mut Take<'_>) -> Result<StoredBody, Malformed> {
    match take.u8()? {
        0 => Ok(StoredBody::Beside {
            at: take.u32()?,
            bytes: take.u32()?,
            crc: take.u32()?,
        }),
        1 => {
            let extents = take_extents(take)?;
            let count = take.count(4)?;
            let crcs = (0..count)
                .map(|_| take.u32())
                .collect::<Result<Box<[u32]>, _>>()?;
            let bytes: u64 = extents.iter().map(|extent| u64::from(extent.bytes)).sum();
            if bytes.div_ceil(BLOCK_BYTES as u64) != crcs.len() as u64 {
                return Err(Malformed("there is not one checksum for each block"));
            }
            Ok(StoredBody::Apart { extents, crcs })
        }
        _ => Err(Malformed("a body of an unknown kind")),
    }
}

pub(crate) fn put_extents(out: &mut Vec<u8>, extents: &[Extent]) {
    out.put_count(extents.len());
    for extent in extents {
        out.put_u32(extent.segment);
        out.put_u32(extent.offset);
        out.put_u32(extent.bytes);
    }
}

pub(crate) fn take_extents(take: &mut Take<'_>) -> Result<Box<[Extent]>, Malformed> {
    let count = take.count(12)?;
    (0..count)
        .map(|_| {
            Ok(Extent {
                segment: take.u32()?,
                offset: take.u32()?,
                bytes: take.u32()?,
            })
        })
        .collect()
}

const PROGRESS_BYTES_MIN: usize = 2 + 8 + 1 + 1 + 1;

fn put_progress(out: &mut Vec<u8>, step: &StoredProgress) {
    out.put_u16(step.attempts);
    out.put_u64(step.due);
    out.put_u8(match step.stage {
        Stage::Waiting => 0,
        Stage::Held => 1,
        Stage::Settled => 2,
    });
    out.put_u8(step.marks.octet());
    match &step.cause {
        StoredCause::None => out.put_u8(0),
        StoredCause::Here(told) => {
            out.put_u8(1);
            put_cause(out, &told.cause);
        }
        StoredCause::At(place) => {
            out.put_u8(2);
            out.put_u32(place.journal);
            out.put_u32(place.offset);
        }
    }
}

fn take_progress(take: &mut Take<'_>) -> Result<StoredProgress, Malformed> {
    Ok(StoredProgress {
        attempts: take.u16()?,
        due: take.u64()?,
        stage: take_stage(take)?,
        marks: Marks::take(take)?,
        cause: match take.u8()? {
            0 => StoredCause::None,
            1 => StoredCause::here(take_cause(take)?),
            2 => StoredCause::At(take_place(take)?),
            _ => return Err(Malformed("a cause of an unknown kind")),
        },
    })
}

/// Behind the other fields of a change: which recipients are withheld, and since when. Nothing where none is.
fn put_withheld<'s>(out: &mut Vec<u8>, steps: impl Iterator<Item = (u32, &'s StoredProgress)>) {
    let withheld: Vec<_> = steps.filter(|(_, step)| step.marks.withheld).collect();
    if withheld.is_empty() {
        return;
    }
    out.put_count(withheld.len());
    for (index, step) in withheld {
        out.put_u32(index);
        out.put_u64(match &step.cause {
            StoredCause::Here(told) => told.withheld_since.unwrap_or(step.due),
            StoredCause::None | StoredCause::At(_) => 0,
        });
    }
}

fn take_withheld(take: &mut Take<'_>) -> Result<Vec<(u32, Moment)>, Malformed> {
    if take.left() == 0 {
        return Ok(Vec::new());
    }
    let count = take.count(4 + 8)?;
    (0..count).map(|_| Ok((take.u32()?, take.u64()?))).collect()
}

const WITHHELD_NOBODY: Malformed = Malformed("a recipient that is none is withheld");

impl StoredProgress {
    fn withhold(&mut self, since: Moment) {
        self.marks.withheld = true;
        if let StoredCause::Here(told) = &mut self.cause {
            told.withheld_since = Some(since);
        }
    }
}

impl StoredCause {
    /// A cause told here, of a recipient that is not withheld.
    pub(crate) fn here(cause: Cause) -> StoredCause {
        StoredCause::Here(Box::new(Told {
            cause,
            withheld_since: None,
        }))
    }
}

pub(crate) fn take_stage(take: &mut Take<'_>) -> Result<Stage, Malformed> {
    match take.u8()? {
        0 => Ok(Stage::Waiting),
        1 => Ok(Stage::Held),
        2 => Ok(Stage::Settled),
        _ => Err(Malformed("a stage of an unknown kind")),
    }
}

pub(crate) fn take_place(take: &mut Take<'_>) -> Result<Place, Malformed> {
    Ok(Place {
        journal: take.u32()?,
        offset: take.u32()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    use mail::{
        Arrival, Body, Class, Content, EnhancedStatus, Envelope, EnvelopeId, Fingerprint, Host, Mailbox,
        Notify, OriginalRecipient, Protocol, Recipient, Reply, Return, ReversePath, TlsFacts, TlsVersion,
    };
    use proptest::prelude::*;

    fn recipient(text: &str, notify: Option<Notify>, original: Option<&str>) -> Recipient {
        Recipient {
            mailbox: Mailbox::parse(text).unwrap(),
            notify,
            original: original.map(|text| OriginalRecipient::parse(text).unwrap()),
        }
    }

    fn time(nanos: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    fn everything() -> Message {
        let on = |success, failure, delay| Notify::On {
            success,
            failure,
            delay,
        };
        Message {
            id: MessageId::from_bits(u128::MAX - 5),
            arrival: Arrival {
                at: time(1_234_567_890_123_456_789),
                protocol: Protocol::Esmtp,
                greeting: Some("client.example".into()),
                client: Some("[2001:db8::1%7]:25".parse().unwrap()),
                tls: Some(TlsFacts {
                    version: TlsVersion::V1_3,
                    cipher: "TLS_AES_256_GCM_SHA384".into(),
                    group: Some("X25519MLKEM768".into()),
                    chain: vec![Fingerprint([7; 32]), Fingerprint([9; 32])],
                    subject: Some("CN=client".into()),
                    server_name: Some("mx.example".into()),
                }),
            },
            envelope: Envelope {
                sender: ReversePath::Mailbox(Mailbox::parse("\"a b\"@Bücher.example").unwrap()),
                body: Body::BinaryMime,
                smtputf8: true,
                ret: Some(Return::Headers),
                envelope_id: EnvelopeId::parse_xtext("a+2Bb"),
                wish: mail::TlsWish::Required,
                recipients: vec![
                    recipient("x@[192.0.2.1]", None, None),
                    recipient(
                        "grün@x.example",
                        Some(Notify::Never),
                        Some("utf-8;grün@x.example"),
                    ),
                    recipient(
                        "y@x.example",
                        Some(on(true, false, true)),
                        Some("rfc822;a+2Bb@x.example"),
                    ),
                    recipient("z@x.example", Some(on(false, true, false)), None),
                ],
            },
            content: Content {
                bytes: 1 << 40,
                header_bytes: 300,
                eight_bit_header: true,
                eight_bit_body: false,
                binary: true,
                longest_line_bytes: 998,
                received_fields: 3,
            },
        }
    }

    #[test]
    fn a_record_from_before_wishes_has_none() {
        let kept = changes().into_iter().find_map(|change| match change {
            Change::Keep(kept) => Some(kept),
            Change::Progress(_) | Change::Gone(_) => None,
        });
        let mut expected = kept.unwrap();
        let mut octets = Vec::new();
        put_kept(&mut octets, &expected);
        octets.pop();
        let length = u32::try_from(octets.len() - 5).unwrap();
        octets[1..5].copy_from_slice(&length.to_le_bytes());
        assert_eq!(expected.message.envelope.wish, mail::TlsWish::Required);
        expected.message.envelope.wish = mail::TlsWish::Usual;
        assert_eq!(read_changes(&octets).unwrap(), [Change::Keep(expected)]);
    }

    fn step(stage: Stage, cause: StoredCause) -> StoredProgress {
        StoredProgress {
            attempts: 9,
            due: 77,
            stage,
            marks: Marks {
                delay_notified: true,
                tls_failed: stage == Stage::Waiting,
                withheld: false,
            },
            cause,
        }
    }

    fn changes() -> Vec<Change> {
        let why = |reply| Cause {
            at: time(5),
            status: EnhancedStatus::new(Class::Permanent, 1, 999),
            remote: Some(Host::parse("mx.example").unwrap()),
            reply,
            text: "why".into(),
        };
        let cause = |reply| StoredCause::here(why(reply));
        let withheld = |cause| {
            let mut step = step(Stage::Waiting, cause);
            step.marks.withheld = true;
            step
        };
        let place = Place {
            journal: 4,
            offset: 9000,
        };
        let status = EnhancedStatus::new(Class::Transient, 2, 2);
        let steps = vec![
            step(Stage::Waiting, StoredCause::None),
            step(
                Stage::Held,
                cause(Some(Reply::new(452, status, "full\nstill full"))),
            ),
            step(Stage::Settled, cause(Some(Reply::plain(550, "no")))),
            step(Stage::Waiting, StoredCause::At(place)),
        ];
        let tested = vec![
            withheld(StoredCause::Here(Box::new(Told {
                cause: why(None),
                withheld_since: Some(31),
            }))),
            step(Stage::Waiting, StoredCause::None),
            withheld(StoredCause::At(place)),
            step(Stage::Settled, cause(None)),
        ];
        let extent = |segment| Extent {
            segment,
            offset: 8192,
            bytes: 70_000,
        };
        let apart = StoredBody::Apart {
            extents: Box::new([extent(1), extent(2)]),
            crcs: Box::new([1, 2, 3]),
        };
        let beside = StoredBody::Beside {
            at: 1,
            bytes: 2,
            crc: 3,
        };
        let keep = |body| {
            Change::Keep(Box::new(Kept {
                message: everything(),
                body,
                steps: steps.clone(),
            }))
        };
        vec![
            keep(apart),
            keep(beside.clone()),
            Change::Keep(Box::new(Kept {
                message: everything(),
                body: beside,
                steps: tested.clone(),
            })),
            Change::Progress(Steps {
                id: MessageId::from_bits(9),
                steps: (7..).zip(tested).collect(),
            }),
            Change::Progress(Steps {
                id: MessageId::from_bits(3),
                steps: (0..).zip(steps.clone()).collect(),
            }),
            Change::Gone(MessageId::from_bits(1)),
        ]
    }

    fn written(changes: &[Change]) -> Vec<u8> {
        let mut out = Vec::new();
        changes.iter().for_each(|change| super::put(&mut out, change));
        out
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(read_changes(&written(&changes())), Ok(changes()));
    }

    #[test]
    fn a_later_version_may_add_fields_and_kinds() {
        let mut out = Vec::new();
        put_change(&mut out, GONE, |out| {
            out.put_u128(1);
            out.put_text("a field of tomorrow");
        });
        put_change(&mut out, 200, |out| out.put_text("news of tomorrow"));
        assert_eq!(
            read_changes(&out),
            Ok(vec![Change::Gone(MessageId::from_bits(1))])
        );
        put_change(&mut out, 100, |_| {});
        assert!(read_changes(&out).is_err());
    }

    /// What was written before there was such a thing reads as before, and a program that does not know of it tries such
    /// recipients when they are due.
    #[test]
    fn what_is_withheld_stands_behind_the_fields_that_were_there_before() {
        let place = Place {
            journal: 4,
            offset: 9000,
        };
        let mut steps = Steps {
            id: MessageId::from_bits(3),
            steps: vec![(0, step(Stage::Waiting, StoredCause::At(place)))],
        };
        let mut before = Vec::new();
        put_steps(&mut before, &steps);
        assert_eq!(read_changes(&before), Ok(vec![Change::Progress(steps.clone())]));
        steps.steps[0].1.marks.withheld = true;
        let mut after = Vec::new();
        put_steps(&mut after, &steps);
        // The same octets but for the length, and more behind them.
        assert_eq!(
            (&before[..1], &before[5..]),
            (&after[..1], &after[5..before.len()])
        );
        assert_eq!(after.len(), before.len() + 4 + 4 + 8);
    }

    #[test]
    fn every_cut_and_every_changed_octet_is_read_without_panic() {
        let whole = written(&changes());
        for end in 0..whole.len() {
            let _ = read_changes(&whole[..end]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = read_changes(&changed);
            }
        }
    }

    proptest! {
        /// Whatever can be read at all is written back as something that reads the same.
        #[test]
        fn any_octets_are_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..300), kind in 1..4u8) {
            let mut framed = Vec::new();
            put_change(&mut framed, kind, |out| out.put(&octets));
            if let Ok(changes) = read_changes(&framed) {
                prop_assert_eq!(read_changes(&written(&changes)), Ok(changes));
            }
            let _ = read_changes(&octets);
        }
    }
}
