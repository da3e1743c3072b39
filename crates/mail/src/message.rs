//! A message's identity and its envelope: who sends, who receives, and what the sender asked for
//! (RFC 5321 §2.3.1, RFC 3461 §4, RFC 6531, RFC 3030, RFC 6152).

use crate::address::{Mailbox, ReversePath};

/// A message's name in this server: 128 bits that grow with time, unique without coordination between nodes.
/// The high 48 bits are milliseconds since 1970; the rest is random. Prints as 26 characters of Crockford base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

/// What `BODY=` said of the content (RFC 6152 §2, RFC 3030 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// Lines of ASCII; also what is assumed when nothing is said.
    #[default]
    SevenBit,
    /// Lines that may hold octets above 127.
    EightBitMime,
    /// Any octets, lines or not.
    BinaryMime,
}

/// How much of the message a failure report brings back (RFC 3461 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header alone.
    Headers,
}

/// When a recipient's sender wants to hear (RFC 3461 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notify {
    /// Never, whatever happens.
    Never,
    /// On each event that is true, at least one.
    On {
        /// Delivered, or handed to a host that will not tell.
        success: bool,
        /// Given up.
        failure: bool,
        /// Still waiting after the time for such notes.
        delay: bool,
    },
}

/// `ENVID`: the sender's own name for the envelope, decoded from xtext, at most 100 printable characters (RFC 3461 §4.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvelopeId(Box<str>);

/// `ORCPT`: the address the message was first sent to, kept octet by octet (RFC 3461 §4.2): `rfc822;a+2Bb@x.example`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginalRecipient {
    written: Box<str>,
}

/// One recipient of an envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// The address, as accepted.
    pub mailbox: Mailbox,
    /// What the sender asked to be told, if it said so.
    pub notify: Option<Notify>,
    /// The first address, if it was given.
    pub original: Option<OriginalRecipient>,
}

/// What travels beside the content (RFC 5321 §2.3.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Where reports go.
    pub sender: ReversePath,
    /// What kind of octets the content may hold.
    pub body: Body,
    /// Whether an address or a header field needs UTF-8 on its way (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// How much to return, if said.
    pub ret: Option<Return>,
    /// The sender's name for this envelope, if given.
    pub envelope_id: Option<EnvelopeId>,
    /// At least one once the message is accepted.
    pub recipients: Vec<Recipient>,
}

impl MessageId {
    /// Makes a name from the time in milliseconds since 1970 and a roll of the dice.
    pub fn new(unix_millis: u64, roll: u128) -> MessageId {
        MessageId((u128::from(unix_millis) << 80) | (roll & ((1 << 80) - 1)))
    }

    /// Rebuilds a name from its stored form.
    pub fn from_bits(bits: u128) -> MessageId {
        MessageId(bits)
    }

    /// The stored form.
    pub fn to_bits(self) -> u128 {
        self.0
    }

    /// Reads the printed form, in any letter case.
    pub fn parse(text: &str) -> Option<MessageId> {
        let _ = text;
        todo!()
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        todo!()
    }
}

impl std::fmt::Debug for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Notify {
    /// Reads the value of `NOTIFY=`.
    pub fn parse(value: &str) -> Option<Notify> {
        let _ = value;
        todo!()
    }
}

/// As `NOTIFY=` spells it.
impl std::fmt::Display for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        todo!()
    }
}

impl EnvelopeId {
    /// Decodes the xtext value of `ENVID=`.
    pub fn parse_xtext(value: &str) -> Option<EnvelopeId> {
        let _ = value;
        todo!()
    }

    /// The decoded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The xtext form for `ENVID=`.
    pub fn to_xtext(&self) -> String {
        todo!()
    }
}

impl OriginalRecipient {
    /// Checks the value of `ORCPT=` and keeps it as it stands.
    pub fn parse(value: &str) -> Option<OriginalRecipient> {
        let _ = value;
        todo!()
    }

    /// The value for a recipient whose first address is known: `rfc822;` or, for UTF-8 addresses, `utf-8;`.
    pub fn of(mailbox: &Mailbox) -> OriginalRecipient {
        let _ = mailbox;
        todo!()
    }

    /// As received, for passing on.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The address type and the decoded address, for `Original-Recipient:`.
    pub fn decoded(&self) -> (String, String) {
        todo!()
    }
}
