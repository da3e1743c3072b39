//! How standings are written down: a version, then numbers and short texts. Whatever octets are read, nothing panics.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use mail::{Fingerprint, KeyPrint, TlsVersion};

use super::course::{Course, LAPSES_MAX, Run};
use super::exchangers::{Exchangers, NAMES_MAX, Under};
use super::inbound::InboundStanding;
use super::note::{Note, Say};
use super::observation::{Facts, Outcome, Showed};
use super::seconds::Second;
use super::standing::{DomainStanding, HostStanding, KEYS_MAX, KnownKey, Proven, Spell, Suspicion};

/// Octets that are no standing of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

/// What can be written down.
pub trait Stored: Sized {
    /// As octets.
    fn write(&self) -> Vec<u8>;
    /// From octets.
    fn read(octets: &[u8]) -> Result<Self, Unreadable>;
}

macro_rules! stored {
    ($kind:ty, $tag:expr) => {
        impl Stored for $kind {
            fn write(&self) -> Vec<u8> {
                let mut out = Out(vec![$tag]);
                self.put(&mut out);
                out.0
            }

            fn read(octets: &[u8]) -> Result<Self, Unreadable> {
                match octets.split_first() {
                    Some((&$tag, rest)) => {
                        let mut rest = In(rest);
                        let value = <$kind>::take(&mut rest)?;
                        if rest.0.is_empty() {
                            Ok(value)
                        } else {
                            Err(Unreadable)
                        }
                    }
                    Some(_) | None => Err(Unreadable),
                }
            }
        }
    };
}

stored!(HostStanding, 1);
stored!(DomainStanding, 2);
stored!(InboundStanding, 3);
stored!(Note, 4);

struct Out(Vec<u8>);
struct In<'a>(&'a [u8]);

/// One part of a value.
trait Part: Sized {
    fn put(&self, out: &mut Out);
    fn take(input: &mut In<'_>) -> Result<Self, Unreadable>;
}

impl Out {
    /// Seven bits an octet, the lowest first.
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl<'a> In<'a> {
    fn octet(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*first)
    }

    fn octets(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for place in 0..10 {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if place == 9 && bits > 1 {
                return Err(Unreadable);
            }
            value |= bits << (7 * place);
            if octet < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Unreadable> {
        T::try_from(self.number()?).map_err(|_| Unreadable)
    }

    fn list<T: Part>(&mut self, most: usize) -> Result<Vec<T>, Unreadable> {
        let count: usize = self.small()?;
        if count > most {
            return Err(Unreadable);
        }
        (0..count).map(|_| T::take(self)).collect()
    }
}

fn list<T: Part>(out: &mut Out, all: &[T]) {
    out.number(all.len() as u64);
    all.iter().for_each(|each| each.put(out));
}

impl Part for Second {
    fn put(&self, out: &mut Out) {
        out.number(self.0);
    }

    fn take(input: &mut In<'_>) -> Result<Second, Unreadable> {
        Ok(Second(input.number()?))
    }
}

impl Part for Box<str> {
    fn put(&self, out: &mut Out) {
        out.number(self.len() as u64);
        out.0.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut In<'_>) -> Result<Box<str>, Unreadable> {
        let count: usize = input.small()?;
        if count > TEXT_BYTES_MAX {
            return Err(Unreadable);
        }
        let text = std::str::from_utf8(input.octets(count)?).map_err(|_| Unreadable)?;
        match text.chars().any(char::is_control) {
            true => Err(Unreadable),
            false => Ok(text.into()),
        }
    }
}

impl<T: Part> Part for Option<T> {
    fn put(&self, out: &mut Out) {
        out.0.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut In<'_>) -> Result<Option<T>, Unreadable> {
        match input.octet()? {
            0 => Ok(None),
            1 => T::take(input).map(Some),
            _ => Err(Unreadable),
        }
    }
}

impl Part for [u8; 32] {
    fn put(&self, out: &mut Out) {
        out.0.extend_from_slice(self);
    }

    fn take(input: &mut In<'_>) -> Result<[u8; 32], Unreadable> {
        input.octets(32)?.try_into().map_err(|_| Unreadable)
    }
}

impl Part for KeyPrint {
    fn put(&self, out: &mut Out) {
        self.0.put(out);
    }

    fn take(input: &mut In<'_>) -> Result<KeyPrint, Unreadable> {
        Part::take(input).map(KeyPrint)
    }
}

impl Part for Fingerprint {
    fn put(&self, out: &mut Out) {
        self.0.put(out);
    }

    fn take(input: &mut In<'_>) -> Result<Fingerprint, Unreadable> {
        Part::take(input).map(Fingerprint)
    }
}

impl Part for SocketAddr {
    fn put(&self, out: &mut Out) {
        match self.ip() {
            IpAddr::V4(ip) => {
                out.0.push(4);
                out.0.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.0.push(6);
                out.0.extend_from_slice(&ip.octets());
            }
        }
        out.number(self.port().into());
    }

    fn take(input: &mut In<'_>) -> Result<SocketAddr, Unreadable> {
        let ip = match input.octet()? {
            4 => IpAddr::from(<[u8; 4]>::try_from(input.octets(4)?).map_err(|_| Unreadable)?),
            6 => IpAddr::from(<[u8; 16]>::try_from(input.octets(16)?).map_err(|_| Unreadable)?),
            _ => return Err(Unreadable),
        };
        Ok(SocketAddr::new(ip, input.small()?))
    }
}

/// Enums by their place in a list.
macro_rules! places {
    ($kind:ty, $($variant:expr),+) => {
        impl Part for $kind {
            fn put(&self, out: &mut Out) {
                let all = [$($variant),+];
                let place = all.iter().position(|each| each == self).unwrap_or_default();
                out.number(place as u64);
            }

            fn take(input: &mut In<'_>) -> Result<Self, Unreadable> {
                let place: usize = input.small()?;
                [$($variant),+].get(place).copied().ok_or(Unreadable)
            }
        }
    };
}

places!(TlsVersion, TlsVersion::V1_2, TlsVersion::V1_3);
places!(Proven, Proven::No, Proven::Yes);
places!(Say, Say::Relax, Say::Keep, Say::Forget);
places!(
    Outcome,
    Outcome::Unasked,
    Outcome::Met,
    Outcome::Failed,
    Outcome::Unknown
);
places!(
    Showed,
    Showed::NotTried,
    Showed::Trouble,
    Showed::Clear,
    Showed::Encrypted,
    Showed::Chain,
    Showed::Published
);

/// Structs by their fields, in this order.
macro_rules! fields {
    ($kind:ident { $($field:ident),+ $(,)? }) => {
        impl Part for $kind {
            fn put(&self, out: &mut Out) {
                $(self.$field.put(out);)+
            }

            fn take(input: &mut In<'_>) -> Result<$kind, Unreadable> {
                Ok($kind { $($field: Part::take(input)?),+ })
            }
        }
    };
}

fields!(Course {
    run,
    since,
    confirmed,
    lapses,
    lapsed
});
fields!(Run {
    count,
    first,
    counted
});
fields!(Spell {
    since,
    last,
    sessions
});
fields!(Suspicion { spell, showed });
fields!(KnownKey { print, last, proven });
fields!(Under {
    name,
    run,
    known,
    last
});
fields!(InboundStanding {
    first,
    last,
    encrypted,
    clear
});
fields!(Note {
    say,
    author,
    reason,
    at,
    until
});
fields!(DomainStanding {
    first,
    last,
    encrypted,
    verified,
    exchangers
});
fields!(HostStanding {
    first,
    last,
    encrypted,
    verified,
    trouble,
    suspicion,
    keys,
    showed,
    facts
});
fields!(Facts {
    address,
    version,
    cipher,
    group,
    key,
    certificate,
    chain,
    dane,
    sts,
    node
});

impl Part for u16 {
    fn put(&self, out: &mut Out) {
        out.number((*self).into());
    }

    fn take(input: &mut In<'_>) -> Result<u16, Unreadable> {
        input.small()
    }
}

impl Part for u32 {
    fn put(&self, out: &mut Out) {
        out.number((*self).into());
    }

    fn take(input: &mut In<'_>) -> Result<u32, Unreadable> {
        input.small()
    }
}

/// Lapses: the only small number.
impl Part for u8 {
    fn put(&self, out: &mut Out) {
        out.0.push(*self);
    }

    fn take(input: &mut In<'_>) -> Result<u8, Unreadable> {
        match input.octet()? {
            lapses if lapses <= LAPSES_MAX => Ok(lapses),
            _ => Err(Unreadable),
        }
    }
}

impl Part for Vec<KnownKey> {
    fn put(&self, out: &mut Out) {
        list(out, self);
    }

    fn take(input: &mut In<'_>) -> Result<Vec<KnownKey>, Unreadable> {
        input.list(KEYS_MAX)
    }
}

impl Part for Exchangers {
    fn put(&self, out: &mut Out) {
        list(out, &self.0);
    }

    fn take(input: &mut In<'_>) -> Result<Exchangers, Unreadable> {
        input.list(NAMES_MAX).map(Exchangers)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no standing, or one of a newer version")
    }
}

impl std::error::Error for Unreadable {}

/// Octets of one text; writers cut theirs shorter.
const TEXT_BYTES_MAX: usize = 1024;
