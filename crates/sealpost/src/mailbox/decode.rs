//! From transfer encodings to octets, and from charsets to text (RFC 2045 §6, RFC 2046 §4.1.2).
//!
//! Faults never stop the decoding; each rule for them stands at its function.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// A part's Content-Transfer-Encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// 7bit, 8bit or binary, and when nothing is said: the octets are the content.
    Identity,
    /// RFC 2045 §6.7.
    QuotedPrintable,
    /// RFC 2045 §6.8.
    Base64,
    /// One we do not know: the octets are offered as they are, as application/octet-stream (§6.4).
    Unknown,
}

impl Encoding {
    /// Reads the field's word, in lower case; absent means 7bit (RFC 2045 §6.1).
    pub fn parse(word: Option<&str>) -> Encoding {
        match word {
            None | Some("" | "7bit" | "8bit" | "binary") => Encoding::Identity,
            Some("quoted-printable") => Encoding::QuotedPrintable,
            Some("base64") => Encoding::Base64,
            Some(_) => Encoding::Unknown,
        }
    }

    /// How long the content is, found without holding it where that is possible.
    pub fn decoded_length(self, octets: &[u8]) -> usize {
        match self {
            Encoding::Identity | Encoding::Unknown => octets.len(),
            Encoding::QuotedPrintable => quoted_printable(octets).len(),
            Encoding::Base64 => {
                let data = octets.iter().take_while(|octet| **octet != b'=');
                data.filter(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/'))
                    .count()
                    * 6
                    / 8
            }
        }
    }

    /// The content.
    pub fn decode(self, octets: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Encoding::Identity | Encoding::Unknown => Cow::Borrowed(octets),
            Encoding::QuotedPrintable => Cow::Owned(quoted_printable(octets)),
            Encoding::Base64 => Cow::Owned(base64(octets)),
        }
    }
}

/// Base64: what is not in the alphabet is passed over, `=` ends the data, missing padding is no fault (RFC 2045 §6.8).
pub fn base64(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in octets {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8); // the eight bits above the `count` that are left
        }
    }
    out
}

/// Quoted-printable: soft breaks join lines, blanks at a line's end go, and `=` before anything else stays (RFC 2045 §6.7).
pub fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for line in octets.split_inclusive(|byte| *byte == b'\n') {
        let text = super::fields::without_line_end(line);
        let end = &line[text.len()..];
        let text = text.trim_ascii_end();
        let (text, end) = match text.strip_suffix(b"=") {
            Some(text) if !end.is_empty() => (text, &b""[..]),
            _ => (text, end),
        };
        equals(text, |byte| byte, &mut out);
        out.extend_from_slice(end);
    }
    out
}

/// The Q encoding of encoded words: as quoted-printable, and `_` is a blank (RFC 2047 §4.2).
pub fn q(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    equals(octets, |byte| if byte == b'_' { b' ' } else { byte }, &mut out);
    out
}

/// Two hexadecimal digits at the start of `octets`.
pub fn hex_pair(octets: &[u8]) -> Option<u8> {
    let digit = |at: usize| octets.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

fn equals(octets: &[u8], plain: impl Fn(u8) -> u8, out: &mut Vec<u8>) {
    let mut at = 0;
    while at < octets.len() {
        let pair = (octets[at] == b'=')
            .then(|| hex_pair(&octets[at + 1..]))
            .flatten();
        out.push(pair.unwrap_or_else(|| plain(octets[at])));
        at += if pair.is_some() { 3 } else { 1 };
    }
}

/// Whether text in this charset can be shown. Empty stands for "not said".
pub fn knows_charset(charset: &str) -> bool {
    is_ascii_or_utf8(charset) || charset_decoder(charset.as_bytes()).is_some()
}

/// Text in a charset; unknown ones and undeclared octets above 127 are read as [`undeclared`] does.
pub fn text(octets: &[u8], charset: &str) -> String {
    match charset_decoder(charset.as_bytes()) {
        Some(decoder) if !is_ascii_or_utf8(charset) => decoder(octets),
        _ => undeclared(octets),
    }
}

/// Octets whose charset nobody named: UTF-8 where they are that, and each other octet as `\xNN`, so that nothing is
/// guessed silently.
pub fn undeclared(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn is_ascii_or_utf8(charset: &str) -> bool {
    ["", "us-ascii", "ascii", "utf-8", "utf8"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves: 2045-6.8-1
    #[test]
    fn base64_with_noise() {
        for (text, expected) in [
            ("aGVsbG8=", "hello"),
            ("aGVs\r\nbG8", "hello"),
            ("a*G V!s\x00bG8=", "hello"),
            ("aGVsbG8=ignored", "hello"),
            ("aGVsbG8h", "hello!"),
            ("a", ""),
            ("=", ""),
            ("", ""),
        ] {
            assert_eq!(base64(text.as_bytes()), expected.as_bytes(), "{text}");
            assert_eq!(
                Encoding::Base64.decoded_length(text.as_bytes()),
                expected.len(),
                "{text}"
            );
        }
    }

    // proves: 2045-6.7-1
    #[test]
    fn quoted_printable_with_faults() {
        for (text, expected) in [
            ("a=C3=A9=\r\nb\r\n", "aéb\r\n"),
            ("a=c3=a9", "aé"),
            ("a \t\r\nb", "a\r\nb"),
            ("a= \r\nb", "ab"),
            ("=ZZ=4\r\n=", "=ZZ=4\r\n="),
            ("a=\nb\n", "ab\n"),
            ("=\r\n=\r\n", ""),
        ] {
            assert_eq!(quoted_printable(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }

    // proves: 2045-6.1-1 2046-4.1.2-1
    #[test]
    fn encodings_and_charsets_by_name() {
        assert_eq!(Encoding::parse(None), Encoding::Identity);
        assert_eq!(Encoding::parse(Some("base64")), Encoding::Base64);
        assert_eq!(Encoding::parse(Some("x-foo")), Encoding::Unknown);
        assert_eq!(text(b"\xe4", "ISO-8859-1"), "ä");
        assert_eq!(text(b"\x80", "Windows-1252"), "€");
        assert_eq!(text(b"a\xe4\xc3\xa4", ""), "a\\xe4ä");
        assert_eq!(text(b"a\xe4", "x-nope"), "a\\xe4");
        assert!(knows_charset("UTF-8") && !knows_charset("x-nope"));
    }
}
