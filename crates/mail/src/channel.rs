//! What is known of the channel that a message came in by, or goes out by.

use std::net::SocketAddr;
use std::time::SystemTime;

/// The SHA-256 of a certificate's DER octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// The SHA-256 of a public key, as its certificate states it (SubjectPublicKeyInfo): what TLSA records with selector 1, pins
/// and the memory of peers go by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrint(pub [u8; 32]);

/// A version of TLS that this server speaks (RFC 9325 §3.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    V1_2,
    /// TLS 1.3, RFC 8446.
    V1_3,
}

/// What a handshake reached, as observed and not judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFacts {
    /// The version agreed on.
    pub version: TlsVersion,
    /// The cipher suite in IANA's spelling: `TLS_AES_256_GCM_SHA384`.
    pub cipher: Box<str>,
    /// The key exchange group: `X25519MLKEM768`; unknown after a resumed TLS 1.2 session.
    pub group: Option<Box<str>>,
    /// The peer's certificates, its own first, by fingerprint; empty when it showed none.
    pub chain: Vec<Fingerprint>,
    /// The subject of the peer's own certificate, printable characters only, if it showed one.
    pub subject: Option<Box<str>>,
    /// The name that was asked for (SNI), if any.
    pub server_name: Option<Box<str>>,
}

/// The registered `with` protocol types (RFC 3848, RFC 6531 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// After HELO.
    Smtp,
    /// After EHLO, or with UTF8 in the envelope where `smtputf8` says so.
    Esmtp,
    /// By LMTP.
    Lmtp,
    /// Not by the wire: handed over by a program on this host.
    Local,
    /// Made by this server itself: a report.
    Own,
}

/// How a message came to be here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When its end was received.
    pub at: SystemTime,
    /// By what protocol.
    pub protocol: Protocol,
    /// The name the client gave in EHLO or HELO.
    pub greeting: Option<Box<str>>,
    /// The client's address and port.
    pub client: Option<SocketAddr>,
    /// What TLS reached, or none for a clear channel.
    pub tls: Option<TlsFacts>,
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl KeyPrint {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<KeyPrint> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut print = [0; 32];
        for (byte, pair) in print.iter_mut().zip(digits.chunks(2)) {
            let digit = |octet: u8| char::from(octet).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Some(KeyPrint(print))
    }
}

impl std::fmt::Display for KeyPrint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TlsVersion::V1_2 => "TLSv1.2",
            TlsVersion::V1_3 => "TLSv1.3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_print_is_64_hexadecimal_digits() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(
            KeyPrint::parse(&text).map(|print| print.to_string()),
            Some(text.clone())
        );
        assert_eq!(KeyPrint::parse(&text.to_uppercase()), KeyPrint::parse(&text));
        for wrong in [
            "",
            "0",
            &text[1..],
            &format!("{text}0"),
            &text.replace('f', "g"),
            &text.replace("ab", "é"),
        ] {
            assert_eq!(KeyPrint::parse(wrong), None, "{wrong:?}");
        }
    }
}
