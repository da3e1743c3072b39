//! The machine's part of a report: its fields (RFC 3464 §2.2, §2.3; RFC 6533 §3), and the encodings that parts need.

use std::time::SystemTime;

use mail::{Class, EnhancedStatus, Host, Recipient, Reply};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{Action, Original, Outcome, Reporter};

/// Whether a recipient's addresses need UTF-8.
pub(super) fn is_international(recipient: &Recipient) -> bool {
    let original = recipient.original.as_ref().map(|original| original.decoded());
    recipient.mailbox.needs_utf8() || original.is_some_and(|(_, address)| !address.is_ascii())
}

/// The fields of the message, and a block of fields for each recipient, split by empty lines.
pub(super) fn delivery_status(
    original: &Original<'_>,
    told: &[(Action, &Outcome<'_>)],
    reporter: &Reporter,
    international: bool,
) -> String {
    let mut fields = Fields {
        text: String::new(),
        international,
    };
    // RFC 3461 §6.3: exactly when it was given.
    if let Some(id) = &original.envelope.envelope_id {
        fields.put("Original-Envelope-Id", id.as_str());
    }
    fields.put("Reporting-MTA", &format!("dns; {}", reporter.me));
    if let (Some(greeting), Some(client)) = (&original.arrival.greeting, original.arrival.client) {
        fields.put(
            "Received-From-MTA",
            &format!("dns; {greeting} ({})", Host::Literal(client.ip())),
        );
    }
    fields.put("Arrival-Date", &date(original.arrival.at));
    for (action, outcome) in told {
        fields.text.push('\n');
        recipient(
            &mut fields,
            *action,
            outcome,
            original.arrival.at + reporter.age_max,
        );
    }
    fields.text
}

fn recipient(fields: &mut Fields, action: Action, outcome: &Outcome<'_>, give_up: SystemTime) {
    let cause = outcome.status.cause();
    if let Some(original) = &outcome.recipient.original {
        let (kind, address) = original.decoded();
        fields.put("Original-Recipient", &format!("{kind}; {address}"));
    }
    let mailbox = &outcome.recipient.mailbox;
    let kind = if mailbox.needs_utf8() { "utf-8" } else { "rfc822" };
    fields.put(
        "Final-Recipient",
        &format!("{kind}; {}", final_recipient(mailbox)),
    );
    fields.put("Action", action.as_str());
    fields.put("Status", &fitting(action, cause.status).to_string());
    // RFC 3464 §2.3.5: only where a host took part.
    if let Some(host) = &cause.remote {
        fields.put("Remote-MTA", &format!("dns; {host}"));
    }
    if let Some(reply) = &cause.reply {
        fields.put("Diagnostic-Code", &format!("smtp; {}", reply_lines(reply)));
    }
    if let Some(at) = outcome.last_attempt {
        fields.put("Last-Attempt-Date", &date(at));
    }
    if action == Action::Delayed {
        fields.put("Will-Retry-Until", &date(give_up));
    }
}

/// As accepted; a domain in U-labels alone has an ASCII form that goes everywhere.
fn final_recipient(mailbox: &mail::Mailbox) -> String {
    match mailbox.as_str().is_ascii() || mailbox.needs_utf8() {
        true => mailbox.as_str().to_owned(),
        false => mailbox.to_ascii().unwrap_or_else(|| mailbox.as_str().to_owned()),
    }
}

/// RFC 3464 §2.3.4: the class fits the action.
fn fitting(action: Action, status: EnhancedStatus) -> EnhancedStatus {
    let class = match (action, status.class()) {
        (Action::Failed, Class::Transient) => Class::Transient,
        (Action::Failed, Class::Permanent) => Class::Permanent,
        (Action::Failed, Class::Success) => return EnhancedStatus::new(Class::Permanent, 0, 0),
        (Action::Delayed, _) => Class::Transient,
        (Action::Delivered | Action::Relayed | Action::Expanded, Class::Success) => Class::Success,
        (Action::Delivered | Action::Relayed | Action::Expanded, _) => {
            return EnhancedStatus::new(Class::Success, 0, 0);
        }
    };
    EnhancedStatus::new(class, status.subject(), status.detail())
}

/// The reply as received, line by line (RFC 3461 §9.2).
fn reply_lines(reply: &Reply) -> String {
    let mut wire = Vec::new();
    reply.write_to(&mut wire);
    String::from_utf8_lossy(&wire).trim_end().replace("\r\n", "\n")
}

struct Fields {
    /// With `\n` for line ends.
    text: String,
    international: bool,
}

impl Fields {
    /// A field; further lines of its value begin with a blank. What came from outside cannot begin a field or a line
    /// of its own, and is ASCII unless the part is an international one.
    fn put(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        self.text.push_str(": ");
        for (index, line) in value.split('\n').enumerate() {
            if index > 0 {
                self.text.push_str("\n ");
            }
            let clean = |c: char| match c.is_control() || (!self.international && !c.is_ascii()) {
                true => '?',
                false => c,
            };
            self.text.extend(line.chars().take(VALUE_CHARS_MAX).map(clean));
        }
        self.text.push('\n');
    }
}

impl Action {
    /// As the field has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }
}

/// RFC 5322 §3.3, in UTC with a numeric zone.
pub(super) fn date(at: SystemTime) -> String {
    // A configured age can reach beyond all calendars.
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc2822)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
}

/// One line in quoted-printable (RFC 2045 §6.7), soft line breaks included.
pub(super) fn quoted_printable(line: &str) -> String {
    let mut encoded = String::new();
    let mut width = 0;
    let end = line.len();
    for (index, octet) in line.bytes().enumerate() {
        let last = index + 1 == end;
        let plain = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !last);
        let piece = if plain {
            char::from(octet).to_string()
        } else {
            format!("={octet:02X}")
        };
        if width + piece.len() > 75 {
            encoded.push_str("=\r\n");
            width = 0;
        }
        width += piece.len();
        encoded.push_str(&piece);
    }
    encoded
}

/// One line of base64 (RFC 2045 §6.8) with its line end, of at most 57 octets.
pub(super) fn base64_line(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut line = String::new();
    for group in octets.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 63;
            line.push(if place > group.len() {
                '='
            } else {
                char::from(ALPHABET[six as usize])
            });
        }
    }
    line.push_str("\r\n");
    line
}

/// No value makes a line longer than RFC 5322 §2.1.1 allows.
const VALUE_CHARS_MAX: usize = 900;
