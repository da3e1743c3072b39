//! The TXT record by which a domain says that it has a policy (RFC 8461 §3.1).

use std::fmt;

/// The id of one instance of a policy: 1 to 32 ASCII letters or digits. Compared for equality only; there is no order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id(Box<str>);

/// What the TXT records of a domain say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Discovered {
    /// No record is one of MTA-STS.
    Absent,
    /// There is something, but it counts as nothing.
    Unusable(BadRecord),
    /// A policy of this id.
    Published(Id),
    /// It could not be looked up, and why.
    Failed(Box<str>),
}

/// What is wrong with the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRecord {
    /// There are this many; one must remain.
    Several(usize),
    /// It does not follow the grammar, or is not ASCII.
    Syntax,
    /// It has no `id`, or one that is no id.
    Id,
}

impl Id {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Id> {
        let fits =
            (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| Id(text.into()))
    }

    /// As it is published.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The record that publishes it.
    pub fn record(&self) -> String {
        format!("{VERSION}; id={};", self.0)
    }
}

/// Reads all TXT records found at the name, the strings of each joined without anything between them.
///
/// Those that do not begin with `v=STSv1;` are not meant for us; of the others there must be one (RFC 8461 §3.1).
pub fn discover<R: AsRef<[u8]>>(records: &[R]) -> Discovered {
    let mut ours = records.iter().filter_map(|record| {
        let rest = record.as_ref().strip_prefix(VERSION.as_bytes())?;
        rest.starts_with(b";").then_some(rest)
    });
    let Some(first) = ours.next() else {
        return Discovered::Absent;
    };
    match ours.count() {
        0 => read(first).map_or_else(Discovered::Unusable, Discovered::Published),
        more => Discovered::Unusable(BadRecord::Several(more + 1)),
    }
}

/// What stands behind the version.
fn read(rest: &[u8]) -> Result<Id, BadRecord> {
    let text = std::str::from_utf8(rest).map_err(|_| BadRecord::Syntax)?;
    let text = text.trim_end_matches(WSP);
    let text = text.strip_suffix(';').unwrap_or(text);
    let mut id = None;
    for field in text.split(';').skip(1) {
        let (name, value) = field.trim_matches(WSP).split_once('=').ok_or(BadRecord::Syntax)?;
        if !is_name(name) || !is_value(value) {
            return Err(BadRecord::Syntax);
        }
        // Of a field that comes twice the first counts.
        if name == "id" && id.is_none() {
            id = Some(Id::parse(value).ok_or(BadRecord::Id)?);
        }
    }
    id.ok_or(BadRecord::Id)
}

/// `sts-ext-name`, and the name of a field of the policy.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// `sts-ext-value`: visible ASCII but `=` and `;`.
fn is_value(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'=' && b != b';')
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRecord::Several(count) => write!(f, "{count} records begin with v=STSv1;"),
            BadRecord::Syntax => f.write_str("it is no list of name=value; in ASCII"),
            BadRecord::Id => f.write_str("it has no id of 1 to 32 letters or digits"),
        }
    }
}

const VERSION: &str = "v=STSv1";
const WSP: [char; 2] = [' ', '\t'];
const ID_BYTES_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(records: &[&[u8]], expected: Discovered) {
        assert_eq!(discover(records), expected, "{records:?}");
    }

    fn published(id: &str) -> Discovered {
        Discovered::Published(Id::parse(id).unwrap())
    }

    // proves: 8461-3.1-1 8461-3.1-2 8461-3.1-3 8461-3.2-9
    #[test]
    fn one_record() {
        let good: [(&[u8], &str); 9] = [
            (b"v=STSv1; id=20160831085700Z;", "20160831085700Z"),
            (b"v=STSv1; id=1", "1"),
            (b"v=STSv1;id=1", "1"),
            (b"v=STSv1;\t id=1 \t; ", "1"),
            (b"v=STSv1; id=a1B2; foo=bar", "a1B2"),
            (b"v=STSv1; x-foo.bar_1=b:a?r; id=7;", "7"),
            (b"v=STSv1; id=1; id=2", "1"),
            (b"v=STSv1; id=1; id=a-b", "1"),
            (
                b"v=STSv1; id=12345678901234567890123456789012",
                "12345678901234567890123456789012",
            ),
        ];
        for (record, id) in good {
            check(&[record], published(id));
        }
        let bad: [(&[u8], BadRecord); 14] = [
            (b"v=STSv1;", BadRecord::Id),
            (b"v=STSv1; ", BadRecord::Id),
            (b"v=STSv1; foo=bar;", BadRecord::Id),
            (b"v=STSv1; id=a-b", BadRecord::Id),
            (b"v=STSv1; ID=1", BadRecord::Id),
            (b"v=STSv1; id=123456789012345678901234567890123", BadRecord::Id),
            (b"v=STSv1; id=", BadRecord::Syntax),
            (b"v=STSv1; id", BadRecord::Syntax),
            (b"v=STSv1;; id=1", BadRecord::Syntax),
            (b"v=STSv1; id=1;;", BadRecord::Syntax),
            (b"v=STSv1; id=1; a=b=c", BadRecord::Syntax),
            (b"v=STSv1; id = 1", BadRecord::Syntax),
            (b"v=STSv1; id=1; foo=b\xc3\xa4r", BadRecord::Syntax),
            (b"v=STSv1; id=1; foo=\xff", BadRecord::Syntax),
        ];
        for (record, why) in bad {
            check(&[record], Discovered::Unusable(why));
        }
    }

    // proves: 8461-3.1-2 8461-3.1-5
    #[test]
    fn records_of_others_are_dropped_and_one_must_remain() {
        let ours: &[u8] = b"v=STSv1; id=1;";
        for other in [
            b"".as_slice(),
            b"v=spf1 -all",
            b"id=1; v=STSv1;",
            b"V=stsv1; id=1",
            b"V=STSv1; id=1",
            b"v=STSv1",
            b"v=STSv10; id=1",
            b" v=STSv1; id=1",
            b"\xff",
        ] {
            check(&[other], Discovered::Absent);
            check(&[other, ours], published("1"));
            check(&[ours, other], published("1"));
        }
        check(&[], Discovered::Absent);
        check(&[ours, ours], Discovered::Unusable(BadRecord::Several(2)));
        check(
            &[ours, b"v=STSv1;", ours],
            Discovered::Unusable(BadRecord::Several(3)),
        );
    }

    #[test]
    fn what_is_published_is_read_again() {
        let id = Id::parse("0123456789abcdef").unwrap();
        assert_eq!(id.record(), "v=STSv1; id=0123456789abcdef;");
        assert_eq!(discover(&[id.record()]), Discovered::Published(id));
        for text in ["", "a b", "ä", "a;", "a\n", &"a".repeat(33)] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }
}
