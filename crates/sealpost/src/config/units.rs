//! Values that are written with a unit or a grammar of their own: lengths of time, sizes, domains, networks.
//! Each module fits `#[serde(with = "…")]`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Lengths of time: `"500ms"`, `"90s"`, `"5m"`, `"4h"`, `"5d"`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads a whole number and a unit.
    pub fn parse(text: &str) -> Option<Duration> {
        let (number, unit) = super::number_and_unit(text)?;
        let milliseconds: u64 = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        Some(Duration::from_millis(number.checked_mul(milliseconds)?))
    }

    /// The form that [`parse`] reads, in the largest unit that fits.
    pub fn print(duration: &Duration) -> String {
        let all = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (name, size) = UNITS
            .iter()
            .rev()
            .find(|(_, size)| all != 0 && all.is_multiple_of(*size))
            .unwrap_or(&UNITS[1]);
        format!("{}{name}", all / size)
    }

    /// For serde.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&print(duration))
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "\"{text}\" is no length of time; write one like \"90s\", \"5m\" or \"4h\""
            ))
        })
    }

    const UNITS: [(&str, u64); 5] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
}

/// Groups of names: `"a.example"`, `"*.example"`, `"*"`.
pub mod pattern {
    use mail::Pattern;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads one, or says what one looks like.
    pub(super) fn read<E: Error>(text: &str) -> Result<Pattern, E> {
        Pattern::parse(text).ok_or_else(|| {
            E::custom(format_args!(
                "\"{text}\" is no name; write one like \"a.example\", \"*.example\" or \"*\""
            ))
        })
    }

    /// For serde.
    pub fn serialize<S: Serializer>(pattern: &Pattern, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(pattern)
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        read(&String::deserialize(deserializer)?)
    }
}

/// A group of names, or nothing.
pub mod optional_pattern {
    use mail::Pattern;
    use serde::{Deserialize, Deserializer, Serializer};

    /// For serde.
    pub fn serialize<S: Serializer>(pattern: &Option<Pattern>, serializer: S) -> Result<S::Ok, S::Error> {
        match pattern {
            Some(pattern) => serializer.collect_str(pattern),
            None => serializer.serialize_none(),
        }
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
        super::pattern::read(&String::deserialize(deserializer)?).map(Some)
    }
}

/// Several groups of names.
pub mod patterns {
    use mail::Pattern;
    use serde::{Deserialize, Deserializer, Serializer};

    /// For serde.
    pub fn serialize<S: Serializer>(patterns: &[Pattern], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(patterns.iter().map(Pattern::to_string))
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| super::pattern::read(text)).collect()
    }
}

/// Fingerprints of public keys, in hexadecimal.
pub mod pins {
    use mail::KeyPrint;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// For serde.
    pub fn serialize<S: Serializer>(pins: &[KeyPrint], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pins.iter().map(KeyPrint::to_string))
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyPrint>, D::Error> {
        let read = |text: &String| {
            KeyPrint::parse(text).ok_or_else(|| {
                D::Error::custom(format_args!(
                    "\"{text}\" is no SHA-256 of a key; write 64 hexadecimal digits"
                ))
            })
        };
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(read)
            .collect()
    }
}

/// Mailboxes, as text.
pub mod mailboxes {
    use mail::Mailbox;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes them.
    pub fn serialize<S: Serializer>(mailboxes: &[Mailbox], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(mailboxes.iter().map(ToString::to_string))
    }

    /// Reads them.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Mailbox>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: &String| {
            Mailbox::parse(text)
                .map_err(|why| serde::de::Error::custom(format!("{text:?} is no mailbox: {why}")))
        };
        texts.iter().map(parse).collect()
    }
}

/// Sizes in octets: `"64KiB"`, `"50MiB"`, `"2GiB"`, `"1000B"`, or a bare number.
pub mod bytes {
    use serde::{Deserializer, Serializer, de};

    /// Reads a whole number and a unit; a bare number counts octets.
    pub fn parse(text: &str) -> Option<u64> {
        let (number, unit) = super::number_and_unit(text)?;
        let unit = if unit.is_empty() { "B" } else { unit };
        number.checked_mul(UNITS.iter().find(|(name, _)| *name == unit)?.1)
    }

    /// The form that [`parse`] reads, in the largest unit that fits.
    pub fn print(bytes: u64) -> String {
        let (name, size) = UNITS
            .iter()
            .rev()
            .find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size))
            .unwrap_or(&UNITS[0]);
        format!("{}{name}", bytes / size)
    }

    /// For serde.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&print(*bytes))
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Size)
    }

    struct Size;

    impl de::Visitor<'_> for Size {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a size like \"50MiB\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse(text)
                .ok_or_else(|| E::custom(format_args!("\"{text}\" is no size; write one like \"50MiB\"")))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number).map_err(|_| E::custom("a size cannot be negative"))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }
    }

    const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
}

/// A domain name.
pub mod domain {
    use mail::Domain;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// For serde.
    pub fn serialize<S: Serializer>(domain: &Domain, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(domain.as_str())
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Domain, D::Error> {
        let text = String::deserialize(deserializer)?;
        Domain::parse(&text)
            .map_err(|bad| D::Error::custom(format_args!("\"{text}\" is no domain name: {bad}")))
    }
}

/// A list of domain names that may be left out.
pub mod optional_domains {
    use mail::Domain;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes them as A-labels.
    pub fn serialize<S: Serializer>(domains: &Option<Vec<Domain>>, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = domains
            .as_ref()
            .map(|domains| -> Vec<&str> { domains.iter().map(Domain::as_str).collect() });
        texts.serialize(serializer)
    }

    /// Reads them.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Domain>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let domains = texts.iter().map(|text| {
            Domain::parse(text).map_err(|_| serde::de::Error::custom(format!("\"{text}\" is no domain name")))
        });
        domains.collect::<Result<_, _>>().map(Some)
    }
}

/// A domain name that may be left out.
pub mod optional_domain {
    use mail::Domain;
    use serde::{Deserializer, Serializer};

    /// For serde.
    pub fn serialize<S: Serializer>(domain: &Option<Domain>, serializer: S) -> Result<S::Ok, S::Error> {
        match domain {
            Some(domain) => super::domain::serialize(domain, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Domain>, D::Error> {
        super::domain::deserialize(deserializer).map(Some)
    }
}

/// A set of neighbouring addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Reads `ADDRESS/BITS` or `ADDRESS`. Bits below the prefix must be 0, for they would mean nothing.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= width)?
            }
            Some(_) => return None,
            None => width,
        };
        let network = Network { address, prefix_bits };
        (network.first_of(address) == address).then_some(network)
    }

    /// Whether an address lies in it. An IPv4 address mapped into IPv6 counts as what it is.
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.first_of(address) == self.address
    }

    fn first_of(&self, address: IpAddr) -> IpAddr {
        let keep = |width: u32| width - u32::from(self.prefix_bits).min(width);
        match address {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(keep(32)).unwrap_or(0)).into()),
            IpAddr::V6(v6) => {
                IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(keep(128)).unwrap_or(0)).into())
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = String::deserialize(deserializer)?;
        Network::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!(
                "\"{text}\" is no network; write one like \"192.0.2.0/24\" or \"2001:db8::/32\""
            ))
        })
    }
}

/// Networks that are known to be well spelled, for defaults.
pub(super) fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().filter_map(|text| Network::parse(text)).collect()
}

/// `15min` → 15 and `min`. At least one digit; a blank may stand between.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for text in ["500ms", "90s", "5m", "4h", "5d", "0s"] {
            assert_eq!(duration::print(&duration::parse(text).unwrap()), text);
        }
        assert_eq!(duration::parse("60s"), duration::parse("1m"));
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "5.5h",
            "5y",
            "99999999999999999999s",
            "18446744073709551615d",
            "5 m x",
        ] {
            assert_eq!(duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for text in ["50MiB", "1000B", "2GiB", "64KiB", "0B"] {
            assert_eq!(bytes::print(bytes::parse(text).unwrap()), text);
        }
        assert_eq!(bytes::parse("1024"), Some(1024));
        for text in ["", "MiB", "5MB", "-1B", "18446744073709551615GiB"] {
            assert_eq!(bytes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_hold_their_addresses_only() {
        let rows = [
            ("127.0.0.0/8", "127.255.255.255", true),
            ("127.0.0.0/8", "128.0.0.0", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ];
        for (network, address, expected) in rows {
            let parsed = Network::parse(network).unwrap();
            assert_eq!(
                parsed.holds(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
            assert_eq!(Network::parse(&parsed.to_string()), Some(parsed));
        }
        for text in [
            "",
            "127.0.0.1/8",
            "127.0.0.0/33",
            "127.0.0.0/+8",
            "127.0.0.0/",
            "example",
            "::/129",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
