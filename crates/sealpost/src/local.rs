//! Local mail: what stays here, who it is for, and how it gets into a mailbox (RFC 5321 §3.9, §4.4; RFC 3461 §5.2.7).
//!
//! Owns the look-up of local addresses and final delivery. Blocks on the disk: call it off the async threads.

pub mod aliases;
mod tables;
pub mod maildir;
mod fields;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use mail::{
    Arrival, Cause, Class, Content, DeliveryStatus, Domain, EnhancedStatus, Envelope, Mailbox, Notify,
    OriginalRecipient, Protocol, Recipient,
};
use spool::{BodyReader, DiskError, Leased, Progress, Sealed, Spool};

use crate::config;
use crate::ports::Clock;
use crate::spooling::new_id;

pub use aliases::{Directory, Knows};
pub use tables::BadLocal;

use aliases::{Expansion, NoExpansion, Onward, Place, Shape, sender_of};
use maildir::{Attempt, FileName, Kept, Maildir, NotKept};

/// Delivers messages of the local lane.
pub struct Office {
    /// Who is who.
    pub directory: Arc<Directory>,
    /// Where messages to other hosts go that came from aliases.
    pub spool: Arc<Spool>,
    /// This server's name.
    pub me: Domain,
    /// When this process began: older messages may have been delivered before a crash.
    pub started: SystemTime,
    /// Time and dice, for the names of new messages.
    pub clock: Arc<dyn Clock>,
}

/// What has become of the leased recipients, and what must be kept in the same step.
pub struct Outcome {
    /// One for each leased recipient, in order.
    pub statuses: Vec<DeliveryStatus>,
    /// Messages to where aliases and lists point.
    pub offspring: Vec<Sealed>,
}

/// Reads the tables: `section`, and the alias file that it names. `root` holds the Maildirs without a place of their own.
pub fn load(section: &config::local::Local, me: &Domain, root: &Path) -> Result<Directory, BadLocal> {
    let lines = match &section.alias_file {
        Some(path) => fs::read_to_string(path).map_err(|error| {
            BadLocal(format!(
                "[local] alias_file: cannot read {}: {error}",
                path.display()
            ))
        })?,
        None => String::new(),
    };
    Directory::build(section, me, root, &lines)
}

/// Removes what a crash left unfinished in the Maildirs. To be called at start, before anything is delivered; says how
/// many files went.
pub fn clean(directory: &Directory, now: SystemTime) -> Result<usize, NotKept> {
    let (root, own) = directory.places();
    let mut maildirs: Vec<Maildir> = own.into_iter().map(Maildir::at).collect();
    maildirs.extend(maildir::below(root)?);
    maildirs.iter().map(|maildir| maildir.clean(now)).sum()
}

impl Office {
    /// Delivers a message to each leased recipient. `next_try` says when one that must wait is tried again, by the
    /// attempts made so far.
    pub fn deliver(&self, leased: &Leased, next_try: &dyn Fn(u32) -> SystemTime) -> Outcome {
        let now = self.clock.now();
        let mut outcome = Outcome {
            statuses: Vec::new(),
            offspring: Vec::new(),
        };
        let visited = self.visited(leased);
        for (_, recipient, progress) in leased.recipients() {
            let delivered = match &visited {
                Ok(visited) => self.deliver_to(leased, recipient, progress, visited),
                Err(error) => Err(Trouble::from(error)),
            };
            let status = match delivered {
                Ok((settled, offspring)) => {
                    outcome.offspring.extend(offspring);
                    settled.status(now)
                }
                Err(Trouble { status, text }) if status.class() == Class::Transient => {
                    DeliveryStatus::Deferred {
                        until: next_try(progress.attempts),
                        cause: cause(now, status, text),
                    }
                }
                Err(Trouble { status, text }) => DeliveryStatus::Failed(cause(now, status, text)),
            };
            outcome.statuses.push(status);
        }
        outcome
    }

    /// The addresses that the message has been delivered to before it came here.
    fn visited(&self, leased: &Leased) -> Result<Vec<String>, DiskError> {
        let mut body = leased.body()?;
        let length = leased.message().content.header_bytes.min(HEADER_BYTES_MAX);
        let mut header = vec![0; usize::try_from(length).unwrap_or(0)];
        let mut filled = 0;
        while filled < header.len() {
            match body.read(&mut header[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(fields::delivered_to(&header[..filled]))
    }

    fn deliver_to(
        &self,
        leased: &Leased,
        recipient: &Recipient,
        progress: &Progress,
        visited: &[String],
    ) -> Result<(Settled, Vec<Sealed>), Trouble> {
        let address = recipient.mailbox.to_string().to_lowercase();
        if visited.contains(&address) {
            return Err(Trouble::new(
                LOOP,
                format!("it was delivered to {address} before: a mail loop"),
            ));
        }
        let expansion = self.directory.expand(&recipient.mailbox)?;
        let attempt = match progress.attempts == 0 && leased.message().arrival.at >= self.started {
            true => Attempt::First,
            false => Attempt::Again,
        };
        // Mailboxes first: if one has to wait, so has the whole, and what is kept already is found the next time.
        for place in &expansion.maildirs {
            self.keep(leased, place, attempt)?;
        }
        let offspring = self.send_on(leased, recipient, &expansion)?;
        Ok((Settled::of(recipient, &expansion), offspring))
    }

    fn keep(&self, leased: &Leased, place: &Place, attempt: Attempt) -> Result<Kept, Trouble> {
        let message = leased.message();
        let name = FileName::new(message.arrival.at, message.id, &place.address, &self.me);
        let sender = sender_of(place.owner.as_ref(), &message.envelope.sender);
        let head = format!("Return-Path: <{sender}>\r\nDelivered-To: {}\r\n", place.address);
        let mut content = SpoolContent(leased.body().map_err(|error| Trouble::from(&error))?);
        Maildir::at(&place.path)
            .deliver(&name, head.as_bytes(), &mut content, attempt)
            .map_err(Trouble::from)
    }

    /// Seals a message for each sender that addresses elsewhere are written to under.
    fn send_on(
        &self,
        leased: &Leased,
        recipient: &Recipient,
        expansion: &Expansion,
    ) -> Result<Vec<Sealed>, Trouble> {
        let mut groups: BTreeMap<Option<&Mailbox>, Vec<&Onward>> = BTreeMap::new();
        for onward in &expansion.onward {
            groups.entry(onward.owner.as_ref()).or_default().push(onward);
        }
        let groups = groups.into_iter();
        groups
            .map(|(owner, members)| {
                let envelope = envelope_for(
                    leased.message().envelope.clone(),
                    recipient,
                    expansion.shape,
                    owner,
                    &members,
                );
                self.seal(leased, recipient, envelope)
                    .map_err(|error| Trouble::from(&error))
            })
            .collect()
    }

    fn seal(&self, leased: &Leased, recipient: &Recipient, envelope: Envelope) -> Result<Sealed, DiskError> {
        let now = self.clock.now();
        let mut draft = self.spool.draft(new_id(now, &*self.clock))?;
        let head = format!("Delivered-To: {}\r\n", recipient.mailbox);
        draft.push(head.as_bytes())?;
        let mut body = leased.body()?;
        let mut piece = vec![0; 64 * 1024];
        loop {
            match body.read(&mut piece)? {
                0 => break,
                read => draft.push(&piece[..read])?,
            }
        }
        let arrival = Arrival {
            at: now,
            protocol: Protocol::Own,
            greeting: None,
            client: None,
            tls: None,
        };
        Ok(draft.seal(envelope, arrival, with_line(leased.message().content, &head)))
    }
}

/// What was done for a recipient; it decides what its sender hears (RFC 3461 §5.2.7).
enum Settled {
    /// In a mailbox, or with a list, where delivery ends (§5.2.7.1).
    Delivered(String),
    /// The one address behind an alias takes over all promises, so no report is due (§5.2.7.2).
    PassedOn(String),
    /// Several addresses took its place (§5.2.7.3).
    Expanded(String),
}

impl Settled {
    fn of(recipient: &Recipient, expansion: &Expansion) -> Settled {
        let count = expansion.maildirs.len() + expansion.onward.len();
        let address = &recipient.mailbox;
        match (expansion.shape, expansion.onward.as_slice()) {
            (Shape::Mailbox, _) => Settled::Delivered(format!("in the mailbox of {address}")),
            (Shape::List, _) => Settled::Delivered(format!("with the list {address}, {count} members")),
            (Shape::OneAlias, []) => Settled::Delivered(format!("in the mailbox behind {address}")),
            (Shape::OneAlias, _) => Settled::PassedOn(format!("passed on to the address behind {address}")),
            (Shape::ManyAlias, _) => Settled::Expanded(format!("{address} stands for {count} addresses")),
        }
    }

    fn status(self, now: SystemTime) -> DeliveryStatus {
        match self {
            Settled::Delivered(text) => DeliveryStatus::Delivered(cause(now, DELIVERED, text)),
            Settled::PassedOn(text) => DeliveryStatus::Relayed {
                cause: cause(now, DELIVERED, text),
                reports: true,
            },
            Settled::Expanded(text) => DeliveryStatus::Expanded(cause(now, DELIVERED, text)),
        }
    }
}

/// The envelope under which members of one owner, or of none, are written to.
fn envelope_for(
    original: Envelope,
    recipient: &Recipient,
    shape: Shape,
    owner: Option<&Mailbox>,
    members: &[&Onward],
) -> Envelope {
    let is_list = owner.is_some();
    let (notify, orcpt) = match (is_list, shape) {
        // RFC 3461 §5.2.7.1: a list's mail is new mail and carries nothing of what the poster asked for.
        (true, _) => (None, None),
        (false, Shape::Mailbox | Shape::OneAlias) => (recipient.notify, original_of(recipient)),
        // §5.2.7.3: `expanded` is reported here, so no one below may report success once more.
        (false, Shape::ManyAlias | Shape::List) => {
            (recipient.notify.map(without_success), original_of(recipient))
        }
    };
    let recipients = members.iter().map(|member| Recipient {
        mailbox: member.address.clone(),
        notify,
        original: orcpt.clone(),
    });
    let recipients: Vec<Recipient> = recipients.collect();
    Envelope {
        sender: sender_of(owner, &original.sender),
        smtputf8: original.smtputf8 || recipients.iter().any(|to| to.mailbox.needs_utf8()),
        body: original.body,
        ret: original.ret.filter(|_| !is_list),
        envelope_id: original.envelope_id.filter(|_| !is_list),
        // RFC 8689 §4.1, §6: whatever it becomes.
        wish: original.wish,
        recipients,
    }
}

fn original_of(recipient: &Recipient) -> Option<OriginalRecipient> {
    let original = recipient.original.clone();
    Some(original.unwrap_or_else(|| OriginalRecipient::of(&recipient.mailbox)))
}

fn without_success(notify: Notify) -> Notify {
    match notify {
        Notify::Never
        | Notify::On {
            failure: false,
            delay: false,
            ..
        } => Notify::Never,
        Notify::On { failure, delay, .. } => Notify::On {
            success: false,
            failure,
            delay,
        },
    }
}

/// The facts of a message once a line stands on top of it.
fn with_line(content: Content, line: &str) -> Content {
    let bytes = line.len() as u64;
    Content {
        bytes: content.bytes + bytes,
        header_bytes: content.header_bytes + bytes,
        eight_bit_header: content.eight_bit_header || !line.is_ascii(),
        longest_line_bytes: content.longest_line_bytes.max(bytes - 2),
        ..content
    }
}

/// A message's content as the standard library reads.
struct SpoolContent(BodyReader);

impl Read for SpoolContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}

/// Why a recipient is not settled well; the status' class says whether it may be later.
struct Trouble {
    status: EnhancedStatus,
    text: String,
}

impl Trouble {
    fn new(status: EnhancedStatus, text: impl Into<String>) -> Trouble {
        Trouble {
            status,
            text: text.into(),
        }
    }
}

impl From<NoExpansion> for Trouble {
    fn from(why: NoExpansion) -> Trouble {
        match why {
            NoExpansion::Unknown => Trouble::new(NO_MAILBOX, "no such mailbox here"),
            NoExpansion::Loop => Trouble::new(
                LOOP,
                "its aliases lead only to each other: correct [local] aliases",
            ),
            NoExpansion::TooMany(max) => Trouble::new(
                BAD_SETUP,
                format!(
                    "it expands to more than {max} addresses: raise [local] expansion_max or shorten the alias"
                ),
            ),
        }
    }
}

impl From<NotKept> for Trouble {
    fn from(error: NotKept) -> Trouble {
        let status = match error.source.kind() {
            io::ErrorKind::StorageFull => SYSTEM_FULL,
            io::ErrorKind::QuotaExceeded => MAILBOX_FULL,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => MAILBOX_TROUBLE,
            _ => SYSTEM_TROUBLE,
        };
        Trouble::new(status, error.to_string())
    }
}

impl From<&DiskError> for Trouble {
    fn from(error: &DiskError) -> Trouble {
        match error {
            DiskError::Full => Trouble::new(
                SYSTEM_FULL,
                "the spool has no room for the message to the alias' members",
            ),
            other => Trouble::new(
                SYSTEM_TROUBLE,
                format!("the kept message cannot be read: {other}"),
            ),
        }
    }
}

fn cause(at: SystemTime, status: EnhancedStatus, text: String) -> Cause {
    Cause {
        at,
        status,
        remote: None,
        reply: None,
        text: text.into(),
    }
}

/// How much of a header is searched for `Delivered-To:`; the count of `Received:` stops loops beyond it.
const HEADER_BYTES_MAX: u64 = 256 * 1024;

const DELIVERED: EnhancedStatus = EnhancedStatus::new(Class::Success, 0, 0);
const NO_MAILBOX: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 1, 1);
const LOOP: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 4, 6);
const MAILBOX_TROUBLE: EnhancedStatus = EnhancedStatus::new(Class::Transient, 2, 0);
const MAILBOX_FULL: EnhancedStatus = EnhancedStatus::new(Class::Transient, 2, 2);
const SYSTEM_TROUBLE: EnhancedStatus = EnhancedStatus::new(Class::Transient, 3, 0);
const SYSTEM_FULL: EnhancedStatus = EnhancedStatus::new(Class::Transient, 3, 1);
const BAD_SETUP: EnhancedStatus = EnhancedStatus::new(Class::Transient, 3, 5);
