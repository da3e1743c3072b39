//! What a client is given to send, and what became of it. Statements of fact: nothing here decides when to try
//! again or whom to tell.

use std::fmt;

use mail::{Body, Content, EnvelopeId, Recipient, Reply, Return, ReversePath, TlsWish};

use crate::wire::BadReply;

/// One message for some recipients at one host.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Where failure reports go.
    pub envelope_sender: ReversePath,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// Facts about the octets that will be given; they must be true, since the choice between DATA and BDAT, the
    /// parameters of MAIL and the framing hang on them.
    pub content: Content,
    /// What the message was declared as when it came.
    pub body: Body,
    /// Whether it came with SMTPUTF8.
    pub smtputf8: bool,
    /// RET as it came.
    pub ret: Option<Return>,
    /// ENVID as it came.
    pub envelope_id: Option<EnvelopeId>,
    /// What it asks of the channel.
    pub wish: TlsWish,
}

/// Why a message cannot go to this host, decided from its [`Hello`](crate::hello::Hello) before MAIL. Nothing was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsendable {
    /// Octets above 127, and no 8BITMIME (RFC 6152 §3).
    EightBit,
    /// A UTF-8 address or header field, and no SMTPUTF8 (RFC 6531 §3.2).
    Utf8,
    /// Octets that no line can carry, and no BINARYMIME (RFC 3030 §3).
    Binary,
    /// A line over 998 octets (RFC 5321 §4.5.3.1.6), and no BINARYMIME.
    LongLine,
    /// Larger than the limit that SIZE named (RFC 1870).
    TooLarge(u64),
    /// The message demands REQUIRETLS, and the host does not offer it inside TLS (RFC 8689 §4.2.1).
    RequireTls,
    /// No transaction can begin on this session now; see [`Ready::can_send_more`](super::Ready::can_send_more).
    NotReady,
}

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What RCPT was answered, one for each recipient, in order.
    pub recipients: Vec<RecipientOutcome>,
    /// What became of the message for the recipients accepted.
    pub end: End,
}

/// What the host said to one RCPT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecipientOutcome {
    /// Yes; what follows depends on [`Outcome::end`].
    Accepted,
    /// No: for now if 4yz, for good if 5yz.
    Refused(Reply),
    /// Not in this transaction: 452 or 552 for too many recipients behind others that were accepted. A further
    /// transaction may take it at once (RFC 5321 §4.5.3.1.8, §4.5.3.1.10).
    TooMany(Reply),
    /// RCPT was not said, or its answer means nothing since MAIL was refused.
    NotTried,
}

/// What the host said to the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The final reply: 2yz means the host is responsible now.
    Answered(Reply),
    /// MAIL was refused.
    RefusedAtMail(Reply),
    /// Every recipient tried was refused; no content was sent.
    NoRecipient,
    /// DATA was refused, or the server gave up before the content was complete.
    RefusedAtData(Reply),
    /// The session broke before the final reply.
    Lost {
        /// How.
        trouble: Trouble,
        /// Whether the host may have the message nevertheless.
        content: ContentSent,
    },
}

/// How much of the content had left when a session broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentSent {
    /// Not all: the host cannot have the message (RFC 5321 §3.8).
    Partly,
    /// All: the host may have accepted it, and sending it again may double it (RFC 1047).
    Whole,
}

/// What the outcome means for one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate<'o> {
    /// The host took the message over.
    Taken(&'o Reply),
    /// The host refused the recipient or the message: for now if 4yz, for good if 5yz.
    Refused(&'o Reply),
    /// Nothing against it: send it in a further transaction, on this session if it can take more.
    Again,
    /// The session broke.
    Lost(&'o Trouble, ContentSent),
}

/// Why a session is of no more use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The connection was closed while this was awaited.
    Closed(Awaited),
    /// This took too long.
    TimedOut(Awaited),
    /// Octets that are no reply.
    BadReply(BadReply),
    /// A reply that has no meaning at its place, or a code outside 200 to 599 (RFC 5321 §4.2).
    Unexpected(Awaited, Reply),
    /// The host will not talk to us: its greeting, its reply to EHLO or HELO, or a 421 between transactions.
    Refused(Reply),
    /// The octets given as content contradict the facts given in the transaction: a fault on our side.
    ContentDiffers,
}

/// What a client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// The greeting.
    Greeting,
    /// The reply to EHLO.
    Ehlo,
    /// The reply to HELO.
    Helo,
    /// The reply to STARTTLS.
    StartTls,
    /// The end of the TLS handshake.
    Handshake,
    /// Nothing: the session is idle.
    Idle,
    /// The reply to RSET.
    Rset,
    /// The reply to MAIL.
    Mail,
    /// The reply to RCPT.
    Rcpt,
    /// The reply to DATA.
    Data,
    /// That the content flows.
    Content,
    /// The reply to the end of the content.
    Final,
    /// The reply to QUIT.
    Quit,
}

impl Outcome {
    /// What the outcome means for each recipient, in order.
    pub fn fates(&self) -> impl Iterator<Item = Fate<'_>> {
        self.recipients.iter().map(|recipient| self.fate(recipient))
    }

    fn fate<'o>(&'o self, recipient: &'o RecipientOutcome) -> Fate<'o> {
        let untold = match recipient {
            RecipientOutcome::Refused(reply) => return Fate::Refused(reply),
            RecipientOutcome::TooMany(_) => return Fate::Again,
            RecipientOutcome::Accepted => Untold::Accepted,
            RecipientOutcome::NotTried => Untold::NotTried,
        };
        match (&self.end, untold) {
            (End::Lost { trouble, content }, Untold::Accepted) => Fate::Lost(trouble, *content),
            // Whatever arrived there was not for this recipient.
            (End::Lost { trouble, .. }, Untold::NotTried) => Fate::Lost(trouble, ContentSent::Partly),
            (End::RefusedAtMail(reply), _) => Fate::Refused(reply),
            (End::Answered(reply), Untold::Accepted) if reply.is_positive() => Fate::Taken(reply),
            (End::Answered(reply) | End::RefusedAtData(reply), Untold::Accepted) => Fate::Refused(reply),
            (End::NoRecipient, Untold::Accepted) => Fate::Again,
            (End::Answered(_) | End::RefusedAtData(_) | End::NoRecipient, Untold::NotTried) => Fate::Again,
        }
    }
}

#[derive(Clone, Copy)]
enum Untold {
    Accepted,
    NotTried,
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsendable::EightBit => {
                f.write_str("the message has 8-bit octets and the host does not offer 8BITMIME")
            }
            Unsendable::Utf8 => {
                f.write_str("an address or the header needs UTF-8 and the host does not offer SMTPUTF8")
            }
            Unsendable::Binary => f.write_str("the message is binary and the host does not offer BINARYMIME"),
            Unsendable::LongLine => {
                f.write_str("a line of the message is over 998 octets and the host does not offer BINARYMIME")
            }
            Unsendable::TooLarge(limit) => {
                write!(f, "the message is larger than the host takes, {limit} octets")
            }
            Unsendable::RequireTls => {
                f.write_str("the message demands REQUIRETLS and the host does not offer it")
            }
            Unsendable::NotReady => f.write_str("the session cannot take another message now"),
        }
    }
}

impl std::error::Error for Unsendable {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Closed(awaited) => write!(f, "the host closed the connection, awaited: {awaited}"),
            Trouble::TimedOut(awaited) => write!(f, "the host took too long, awaited: {awaited}"),
            Trouble::BadReply(bad) => write!(f, "the host broke the protocol: {bad}"),
            Trouble::Unexpected(awaited, reply) => {
                write!(f, "the host said out of place: {reply}, awaited: {awaited}")
            }
            Trouble::Refused(reply) => write!(f, "the host said: {reply}"),
            Trouble::ContentDiffers => f.write_str("the content differs from what is recorded of it"),
        }
    }
}

impl std::error::Error for Trouble {}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Awaited::Greeting => "the greeting",
            Awaited::Ehlo => "the reply to EHLO",
            Awaited::Helo => "the reply to HELO",
            Awaited::StartTls => "the reply to STARTTLS",
            Awaited::Handshake => "the TLS handshake",
            Awaited::Idle => "nothing",
            Awaited::Rset => "the reply to RSET",
            Awaited::Mail => "the reply to MAIL",
            Awaited::Rcpt => "the reply to RCPT",
            Awaited::Data => "the reply to DATA",
            Awaited::Content => "that the content flows",
            Awaited::Final => "the reply to the end of the content",
            Awaited::Quit => "the reply to QUIT",
        })
    }
}
