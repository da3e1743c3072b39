//! Whether a message fits a host, and how it is put to it: the parameters of MAIL and RCPT, DATA or BDAT. Decided
//! once, from what the host offered and what the message is.

use mail::{Body, Mailbox, Recipient, ReversePath, TlsWish};

use super::outcome::{Transaction, Unsendable};
use crate::hello::Hello;

/// How a message goes to a host that can take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fit {
    pub(super) carriage: Carriage,
    /// What MAIL says of the body.
    pub(super) body: Body,
    utf8: Utf8,
    dsn: Offered,
    size: Offered,
    requiretls: Offered,
}

/// How the content goes over the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carriage {
    /// Lines, dots stuffed (RFC 5321 §4.5.2).
    Data,
    /// Counted octets (RFC 3030 §2).
    Bdat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Utf8 {
    /// `SMTPUTF8` is said, addresses stand as written.
    Said,
    /// ASCII alone; domains as A-labels.
    Absent,
}

/// What kind of channel the session is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Secrecy {
    Clear,
    Tls,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Offered {
    Yes,
    No,
}

impl Fit {
    /// Finds how the message can go to the host, or why it cannot.
    pub(super) fn of(transaction: &Transaction, hello: &Hello, secrecy: Secrecy) -> Result<Fit, Unsendable> {
        let requiretls = requiretls(transaction, hello, secrecy)?;
        let content = &transaction.content;
        let utf8 = match needs_utf8(transaction) {
            true if !hello.smtputf8() => return Err(Unsendable::Utf8),
            true => Utf8::Said,
            false => Utf8::Absent,
        };
        let body = body(transaction, hello)?;
        if let Some(limit) = hello.size().filter(|limit| content.bytes > *limit) {
            return Err(Unsendable::TooLarge(limit));
        }
        let large = content.bytes >= BDAT_BYTES_MIN && hello.chunking();
        let carriage = match body {
            Body::BinaryMime => Carriage::Bdat, // RFC 3030 §3: never DATA
            Body::SevenBit | Body::EightBitMime if large => Carriage::Bdat,
            Body::SevenBit | Body::EightBitMime => Carriage::Data,
        };
        let (dsn, size) = (Offered::when(hello.dsn()), Offered::when(hello.offers_size()));
        Ok(Fit {
            carriage,
            body,
            utf8,
            dsn,
            size,
            requiretls,
        })
    }

    /// Appends the MAIL command.
    pub(super) fn write_mail(&self, transaction: &Transaction, out: &mut Vec<u8>) {
        let mut line = String::from("MAIL FROM:<");
        match &transaction.envelope_sender {
            ReversePath::Null => {}
            ReversePath::Mailbox(mailbox) => self.push_address(mailbox, &mut line),
        }
        line.push('>');
        if self.size == Offered::Yes {
            line.push_str(&format!(" SIZE={}", transaction.content.bytes));
        }
        if self.body != Body::SevenBit {
            line.push_str(" BODY=");
            line.push_str(self.body.as_str());
        }
        if self.utf8 == Utf8::Said {
            line.push_str(" SMTPUTF8");
        }
        if let (Offered::Yes, Some(ret)) = (self.dsn, transaction.ret) {
            line.push_str(" RET=");
            line.push_str(ret.as_str());
        }
        if let (Offered::Yes, Some(id)) = (self.dsn, &transaction.envelope_id) {
            line.push_str(" ENVID=");
            line.push_str(&id.to_xtext());
        }
        if self.requiretls == Offered::Yes {
            line.push_str(" REQUIRETLS");
        }
        push_line(&line, out);
    }

    /// Appends the RCPT command for one recipient.
    pub(super) fn write_rcpt(&self, recipient: &Recipient, out: &mut Vec<u8>) {
        let mut line = String::from("RCPT TO:<");
        self.push_address(&recipient.mailbox, &mut line);
        line.push('>');
        if let (Offered::Yes, Some(notify)) = (self.dsn, recipient.notify) {
            line.push_str(&format!(" NOTIFY={notify}"));
        }
        if let (Offered::Yes, Some(original)) = (self.dsn, &recipient.original) {
            line.push_str(" ORCPT=");
            match self.utf8 {
                Utf8::Said => line.push_str(original.as_str()),
                Utf8::Absent => line.push_str(&original.to_ascii()),
            }
        }
        push_line(&line, out);
    }

    /// As received (RFC 5321 §2.3.11), unless that has U-labels where only ASCII may go.
    fn push_address(&self, mailbox: &Mailbox, line: &mut String) {
        match self.utf8 {
            Utf8::Absent if !mailbox.as_str().is_ascii() => {
                line.push_str(
                    &mailbox
                        .to_ascii()
                        .expect("`needs_utf8` has found no address without an ASCII form"),
                );
            }
            Utf8::Absent | Utf8::Said => line.push_str(mailbox.as_str()),
        }
    }
}

impl Offered {
    fn when(offered: bool) -> Offered {
        if offered { Offered::Yes } else { Offered::No }
    }
}

/// Whether REQUIRETLS is said (RFC 8689 §4.2.1): inside TLS, to a host that offers it there. A report that it cannot be
/// said for goes all the same, since it would be lost (§5).
fn requiretls(transaction: &Transaction, hello: &Hello, secrecy: Secrecy) -> Result<Offered, Unsendable> {
    match (transaction.wish, secrecy, &transaction.envelope_sender) {
        (TlsWish::Usual | TlsWish::Waived, _, _) => Ok(Offered::No),
        (TlsWish::Required, Secrecy::Tls, _) if hello.requiretls() => Ok(Offered::Yes),
        (TlsWish::Required, _, ReversePath::Null) => Ok(Offered::No),
        (TlsWish::Required, _, ReversePath::Mailbox(_)) => Err(Unsendable::RequireTls),
    }
}

/// Whether the envelope or the message needs SMTPUTF8 (RFC 6531 §3.4): a UTF-8 local part, or a UTF-8 header. A
/// message that came with SMTPUTF8 may have UTF-8 in the headers of its parts, which count as body here.
fn needs_utf8(transaction: &Transaction) -> bool {
    let sender = match &transaction.envelope_sender {
        ReversePath::Null => None,
        ReversePath::Mailbox(mailbox) => Some(mailbox),
    };
    let mut addresses = transaction
        .recipients
        .iter()
        .map(|recipient| &recipient.mailbox)
        .chain(sender);
    transaction.content.eight_bit_header
        || (transaction.smtputf8 && transaction.content.eight_bit_body)
        || addresses.any(Mailbox::needs_utf8)
}

/// What the body is called, from what it holds; what it was declared as is passed on where the host knows the word.
fn body(transaction: &Transaction, hello: &Hello) -> Result<Body, Unsendable> {
    let content = &transaction.content;
    let eight_bit = content.eight_bit_header || content.eight_bit_body;
    if hello.binary_mime() {
        let long = content.longest_line_bytes > LINE_BYTES_MAX;
        if content.binary || long || transaction.body == Body::BinaryMime {
            return Ok(Body::BinaryMime);
        }
    }
    if content.binary {
        return Err(Unsendable::Binary);
    }
    if content.longest_line_bytes > LINE_BYTES_MAX {
        return Err(Unsendable::LongLine);
    }
    match (eight_bit, hello.eight_bit_mime()) {
        (true, false) => Err(Unsendable::EightBit),
        (true, true) => Ok(Body::EightBitMime),
        (false, true) if transaction.body == Body::EightBitMime => Ok(Body::EightBitMime),
        (false, _) => Ok(Body::SevenBit),
    }
}

fn push_line(line: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// RFC 5321 §4.5.3.1.6, CRLF not counted.
const LINE_BYTES_MAX: u64 = 998;
/// From here on BDAT is worth its while: nothing needs stuffing, and a refusal can come before the end.
const BDAT_BYTES_MIN: u64 = 1024 * 1024;
