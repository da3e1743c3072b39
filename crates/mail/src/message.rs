//! A message's identity and its envelope: who sends, who receives, and what the sender asked for
//! (RFC 5321 §2.3.1, RFC 3461 §4, RFC 6531, RFC 3030, RFC 6152).

use std::fmt::{self, Write as _};

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

/// What a message itself asks of the channels it travels by (RFC 8689).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsWish {
    /// Nothing: each hop's plan decides.
    #[default]
    Usual,
    /// `REQUIRETLS`: proven TLS on every hop, or it is not sent (§2, §4).
    Required,
    /// `TLS-Required: No`: what hosts publish of TLS is no reason to keep it back (§3).
    Waived,
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

/// `ENVID`: the sender's own name for the envelope, at most 100 characters as xtext and printable when decoded
/// (RFC 3461 §4.4). Kept as written too, because a relay passes it on unchanged (§5.2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvelopeId {
    written: Box<str>,
    decoded: Box<str>,
}

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
    /// What is asked of the channels it travels by: stays with it to the last hop, and passes to what it becomes
    /// (RFC 8689 §4.1).
    pub wish: TlsWish,
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

    /// Reads the printed form, in any letter case; as Crockford's alphabet has it, `I` and `L` are read as 1 and
    /// `O` as 0.
    pub fn parse(text: &str) -> Option<MessageId> {
        if text.len() != MESSAGE_ID_CHARACTERS {
            return None;
        }
        let mut bits: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let digit = crockford_digit(byte)?;
            if place == 0 && digit > 7 {
                return None; // 26 characters hold 130 bits, of which we have 128
            }
            bits = (bits << 5) | u128::from(digit);
        }
        Some(MessageId(bits))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..MESSAGE_ID_CHARACTERS).rev() {
            let digit = (self.0 >> (5 * place)) & 31;
            f.write_char(char::from(CROCKFORD[digit as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Body {
    /// Reads the value of `BODY=`, in any letter case.
    pub fn parse(value: &str) -> Option<Body> {
        [Body::SevenBit, Body::EightBitMime, Body::BinaryMime]
            .into_iter()
            .find(|body| value.eq_ignore_ascii_case(body.as_str()))
    }

    /// As `BODY=` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Body::SevenBit => "7BIT",
            Body::EightBitMime => "8BITMIME",
            Body::BinaryMime => "BINARYMIME",
        }
    }
}

impl Return {
    /// Reads the value of `RET=`, in any letter case.
    pub fn parse(value: &str) -> Option<Return> {
        [Return::Full, Return::Headers]
            .into_iter()
            .find(|ret| value.eq_ignore_ascii_case(ret.as_str()))
    }

    /// As `RET=` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Return::Full => "FULL",
            Return::Headers => "HDRS",
        }
    }
}

impl Notify {
    /// Reads the value of `NOTIFY=`: `NEVER` alone, or a list of the others, in any letter case and at most 28
    /// characters (RFC 3461 §4.1, §5.4).
    pub fn parse(value: &str) -> Option<Notify> {
        if value.len() > NOTIFY_CHARACTERS_MAX {
            return None;
        }
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Notify::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in value.split(',') {
            match word {
                _ if word.eq_ignore_ascii_case("SUCCESS") => success = true,
                _ if word.eq_ignore_ascii_case("FAILURE") => failure = true,
                _ if word.eq_ignore_ascii_case("DELAY") => delay = true,
                _ => return None,
            }
        }
        Some(Notify::On {
            success,
            failure,
            delay,
        })
    }
}

/// As `NOTIFY=` spells it.
impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notify::On {
            success,
            failure,
            delay,
        } = *self
        else {
            return f.write_str("NEVER");
        };
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let mut wanted = words.into_iter().filter_map(|(on, word)| on.then_some(word));
        // On nothing at all is never.
        f.write_str(wanted.next().unwrap_or("NEVER"))?;
        wanted.try_for_each(|word| write!(f, ",{word}"))
    }
}

impl EnvelopeId {
    /// Decodes the xtext value of `ENVID=`.
    pub fn parse_xtext(value: &str) -> Option<EnvelopeId> {
        if value.is_empty() || value.len() > ENVELOPE_ID_CHARACTERS_MAX {
            return None;
        }
        let decoded = xtext_decode(value)?;
        Some(EnvelopeId {
            written: value.into(),
            decoded: decoded.into(),
        })
    }

    /// The decoded text.
    pub fn as_str(&self) -> &str {
        &self.decoded
    }

    /// The xtext form for `ENVID=`, as received.
    pub fn to_xtext(&self) -> String {
        self.written.to_string()
    }
}

impl OriginalRecipient {
    /// Checks the value of `ORCPT=` and keeps it as it stands: an address type, `;`, and xtext of printable ASCII
    /// (RFC 3461 §4.2), or for the type `utf-8` any of the forms of RFC 6533 §3. At most 500 characters.
    pub fn parse(value: &str) -> Option<OriginalRecipient> {
        if value.chars().count() > ORIGINAL_RECIPIENT_CHARACTERS_MAX {
            return None;
        }
        let (kind, address) = value.split_once(';')?;
        if kind.is_empty() || !kind.bytes().all(is_atom_octet) || address.is_empty() {
            return None;
        }
        decode_address(kind, address)?;
        Some(OriginalRecipient {
            written: value.into(),
        })
    }

    /// The value for a recipient whose first address is known: `rfc822;` or, for UTF-8 addresses, `utf-8;`.
    pub fn of(mailbox: &Mailbox) -> OriginalRecipient {
        let written = match mailbox.to_ascii() {
            Some(address) => format!("rfc822;{}", xtext_encode(&address)),
            None => {
                // The domain in A-labels, so that the encoded form stays short of its limit.
                let address = Mailbox::new(mailbox.local().clone(), mailbox.host().clone());
                format!("utf-8;{}", utf8_address_encode(address.as_str()))
            }
        };
        OriginalRecipient {
            written: written.into(),
        }
    }

    /// As received, for passing on to a host that offers SMTPUTF8.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The value in ASCII alone, for passing on to any host: UTF-8 becomes `\x{…}` (RFC 6533 §3).
    pub fn to_ascii(&self) -> String {
        let mut ascii = String::with_capacity(self.written.len());
        for character in self.written.chars() {
            if character.is_ascii() {
                ascii.push(character);
            } else {
                push_embedded(&mut ascii, character);
            }
        }
        ascii
    }

    /// The address type and the decoded address, for `Original-Recipient:`. The type of a UTF-8 address is `utf-8`,
    /// whatever its writer called it (RFC 6533 §3).
    pub fn decoded(&self) -> (String, String) {
        let (kind, address) = self.written.split_once(';').unwrap_or(("rfc822", &self.written));
        let decoded = decode_address(kind, address).unwrap_or_else(|| address.to_owned());
        let kind = if decoded.is_ascii() { kind } else { "utf-8" };
        (kind.to_owned(), decoded)
    }
}

fn decode_address(kind: &str, address: &str) -> Option<String> {
    if kind.eq_ignore_ascii_case("utf-8") {
        return utf8_address_decode(address);
    }
    // Wider than RFC 3461 §4.2: Postfix 3.7 writes a UTF-8 address as xtext under the type `rfc822`. The written form is
    // ASCII and goes on as it came.
    let decoded = String::from_utf8(xtext_octets(address)?).ok()?;
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

/// Undoes xtext (RFC 3461 §4), and refuses what does not decode to printable ASCII: ENVID ends up in a header field
/// (RFC 3461 §4.4).
fn xtext_decode(text: &str) -> Option<String> {
    let decoded = String::from_utf8(xtext_octets(text)?).ok()?;
    decoded
        .bytes()
        .all(|octet| (b' '..=b'~').contains(&octet))
        .then_some(decoded)
}

/// Undoes xtext (RFC 3461 §4).
fn xtext_octets(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' => upper_hex(octets.next()?)? << 4 | upper_hex(octets.next()?)?,
            b'=' => return None,
            b'!'..=b'~' => octet,
            _ => return None,
        });
    }
    Some(decoded)
}

fn xtext_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' => push_hex(&mut encoded, octet),
            b'!'..=b'~' => encoded.push(char::from(octet)),
            _ => push_hex(&mut encoded, octet),
        }
    }
    encoded
}

/// Undoes the encodings of `utf-8;` addresses (RFC 6533 §3): `\x{…}`, plain ASCII, plain UTF-8.
fn utf8_address_decode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let (meant, taken) = match character {
            '\\' => {
                let hex = rest.strip_prefix("\\x{")?.split_once('}')?.0;
                (embedded(hex)?, hex.len() + 4)
            }
            '+' | '=' => return None,
            _ if character.is_ascii_graphic() || !character.is_ascii() => (character, character.len_utf8()),
            _ => return None,
        };
        if meant.is_control() {
            return None;
        }
        decoded.push(meant);
        rest = &rest[taken..];
    }
    Some(decoded)
}

/// The form that is good for any host, whether it knows UTF-8 or not.
fn utf8_address_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '+' | '=' | '\\' => push_embedded(&mut encoded, character),
            _ if character.is_ascii_graphic() => encoded.push(character),
            _ => push_embedded(&mut encoded, character),
        }
    }
    encoded
}

/// The character that two to six hexadecimal digits name.
fn embedded(hex: &str) -> Option<char> {
    if !(2..=6).contains(&hex.len()) || !hex.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(hex, 16).ok()?)
}

fn push_embedded(out: &mut String, character: char) {
    out.push_str(&format!("\\x{{{:02X}}}", u32::from(character)));
}

fn push_hex(out: &mut String, octet: u8) {
    out.push_str(&format!("+{octet:02X}"));
}

fn upper_hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

/// RFC 5322 §3.2.3 `atext`.
fn is_atom_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

fn crockford_digit(octet: u8) -> Option<u8> {
    let digit = match octet.to_ascii_uppercase() {
        b'I' | b'L' => 1,
        b'O' => 0,
        octet => CROCKFORD.iter().position(|&other| other == octet)? as u8,
    };
    Some(digit)
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const MESSAGE_ID_CHARACTERS: usize = 26;
const NOTIFY_CHARACTERS_MAX: usize = 28; // RFC 3461 §5.4
const ENVELOPE_ID_CHARACTERS_MAX: usize = 100; // RFC 3461 §4.4
const ORIGINAL_RECIPIENT_CHARACTERS_MAX: usize = 500; // RFC 3461 §4.2

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn message_ids_print_in_order_of_time_and_parse_back() {
        let check = |bits: u128, text: &str| {
            let id = MessageId::from_bits(bits);
            assert_eq!(id.to_string(), text);
            assert_eq!(MessageId::parse(text), Some(id));
            assert_eq!(MessageId::parse(&text.to_lowercase()), Some(id));
        };
        check(0, "00000000000000000000000000");
        check(31, "0000000000000000000000000Z");
        check(u128::MAX, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        let (early, late) = (MessageId::new(1, u128::MAX), MessageId::new(2, 0));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(
            MessageId::parse("oOiIlL00000000000000000000"),
            MessageId::parse("00111100000000000000000000")
        );
    }

    #[test]
    fn what_is_no_message_id_is_refused() {
        for text in [
            "",
            "0",
            "0000000000000000000000000",
            "000000000000000000000000000",
            "80000000000000000000000000", // 129 bits
            "0000000000000000000000000U",
            "0000000000000000000000000-",
            "../../../../../etc/passwd0",
            "00000000000000000000000é0",
        ] {
            assert_eq!(MessageId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn notify_is_never_or_a_list() {
        let check = |value: &str, success, failure, delay| {
            assert_eq!(
                Notify::parse(value),
                Some(Notify::On {
                    success,
                    failure,
                    delay
                }),
                "{value}"
            );
        };
        assert_eq!(Notify::parse("never"), Some(Notify::Never));
        check(
            "notify=success,delay".trim_start_matches("notify="),
            true,
            false,
            true,
        );
        check("SUCCESS", true, false, false);
        check("FAILURE", false, true, false);
        check("DELAY,FAILURE,SUCCESS", true, true, true);
        for value in [
            "",
            "FOO",
            "NEVER,FAILURE",
            "SUCCESS,",
            ",SUCCESS",
            "SUCCESS FAILURE",
            "SUCCESS,,DELAY",
        ] {
            assert_eq!(Notify::parse(value), None, "{value:?}");
        }
        assert_eq!(Notify::parse("SUCCESS,SUCCESS,SUCCESS,DELAY"), None); // 29 characters
    }

    #[test]
    fn notify_prints_as_it_parses() {
        for value in [
            "NEVER",
            "SUCCESS",
            "FAILURE",
            "SUCCESS,DELAY",
            "SUCCESS,FAILURE,DELAY",
        ] {
            assert_eq!(
                Notify::parse(value).map(|notify| notify.to_string()).as_deref(),
                Some(value)
            );
        }
        let nothing = Notify::On {
            success: false,
            failure: false,
            delay: false,
        };
        assert_eq!(nothing.to_string(), "NEVER");
    }

    #[test]
    fn body_and_return_print_as_they_parse() {
        for value in ["7BIT", "8BITMIME", "BINARYMIME"] {
            assert_eq!(Body::parse(&value.to_lowercase()).map(Body::as_str), Some(value));
        }
        for value in ["FULL", "HDRS"] {
            assert_eq!(
                Return::parse(&value.to_lowercase()).map(Return::as_str),
                Some(value)
            );
        }
        assert_eq!((Body::parse("8BIT"), Return::parse("ALL")), (None, None));
    }

    // proves: 3461-4-1 3461-4.4-1
    #[test]
    fn envelope_ids_are_strict_xtext() {
        let check = |value: &str, decoded: Option<&str>| {
            let id = EnvelopeId::parse_xtext(value);
            assert_eq!(id.as_ref().map(EnvelopeId::as_str), decoded, "{value:?}");
            if let Some(id) = id {
                assert_eq!(id.to_xtext(), value);
            }
        };
        check("a+2Bb+3Dc", Some("a+b=c"));
        check("QQ314159", Some("QQ314159"));
        check("two+20words", Some("two words"));
        check("+7E~!", Some("~~!"));
        for bad in [
            "", "a+2b", "a=b", "a+", "a+2", "a b", "a+0Db", "a+0A", "a+7F", "a+FF", "é", "a\t", "+G0",
        ] {
            check(bad, None);
        }
        let long = "x".repeat(100);
        check(&long, Some(&long));
        check(&"x".repeat(101), None);
    }

    #[test]
    fn original_recipients_are_kept_as_written() {
        let check = |value: &str, kind: &str, address: &str| {
            let original = OriginalRecipient::parse(value).expect(value);
            assert_eq!(original.as_str(), value);
            assert_eq!(original.decoded(), (kind.to_owned(), address.to_owned()));
        };
        check("rfc822;a+2Bb@x.example", "rfc822", "a+b@x.example");
        check("RFC822;MiXed@X.example", "RFC822", "MiXed@X.example");
        check("x400;/S=a/".replace('=', "+3D").as_str(), "x400", "/S=a/");
        check("utf-8;f\\x{F6}\\x{3D}@x.example", "utf-8", "fö=@x.example");
        check("utf-8;fö@x.example", "utf-8", "fö@x.example");
        check("rfc822;a;b", "rfc822", "a;b");
        // As Postfix 3.7 says it.
        check("rfc822;gr+C3+BC+C3+9Fe-1@b.test", "utf-8", "grüße-1@b.test");
        for bad in [
            "",
            "u@x",
            ";a@x",
            "rfc822;",
            "rfc822;a=b",
            "rfc822;a+0D+0Ab",
            "rfc822;a+C2+85b",
            "rfc822;a+C3b",
            "rfc822;ö@x",
            "rfc 822;a@x",
            "utf-8;a\\",
            "utf-8;\\x{}",
            "utf-8;\\x{D800}",
            "utf-8;\\x{0A}",
            "utf-8;\\x{110000}",
            "utf-8;a b",
            "utf-8;\\x{é}",
            "utf-8;a\u{85}b",
        ] {
            assert_eq!(OriginalRecipient::parse(bad), None, "{bad:?}");
        }
        assert!(OriginalRecipient::parse(&format!("rfc822;{}", "x".repeat(493))).is_some());
        assert!(OriginalRecipient::parse(&format!("rfc822;{}", "x".repeat(494))).is_none());
    }

    #[test]
    fn original_recipients_have_an_ascii_form() {
        let original = OriginalRecipient::parse("utf-8;fö😀@x.example").unwrap();
        let ascii = original.to_ascii();
        assert_eq!(ascii, "utf-8;f\\x{F6}\\x{1F600}@x.example");
        assert_eq!(
            OriginalRecipient::parse(&ascii).unwrap().decoded(),
            original.decoded()
        );
    }

    proptest! {
        #[test]
        fn any_message_id_prints_and_parses(bits: u128) {
            let id = MessageId::from_bits(bits);
            prop_assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn xtext_round_trips(text in "[ -~]{1,33}") {
            let encoded = xtext_encode(&text);
            prop_assert_eq!(xtext_decode(&encoded), Some(text.clone()));
            let encoded = utf8_address_encode(&text);
            prop_assert_eq!(utf8_address_decode(&encoded), Some(text));
        }

        #[test]
        fn foreign_text_never_panics(text: String) {
            let _ = MessageId::parse(&text);
            let _ = Notify::parse(&text);
            let _ = EnvelopeId::parse_xtext(&text);
            if let Some(original) = OriginalRecipient::parse(&text) {
                prop_assert!(original.to_ascii().is_ascii());
                let _ = original.decoded();
            }
        }
    }
}
