//! The chain of records: each holds the hash of the one before, so that none can be changed, removed or moved unnoticed.
//! Pure: lines in, verdicts out.
//!
//! A record is one line, `{"seq":7,"prev":"…","body":{…},"hash":"…"}`, where the hash is the SHA-256 of a mark, `prev`, `seq` and the
//! SHA-256 of the body's octets. An excerpt can so leave a body out and still be checked: such a line holds the body's digest
//! in its place.

use std::fmt;
use std::str;

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

/// Where a chain stands: its last record. The default is a chain without any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// The record's number; they count from 1.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A line of a file of evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line<'l> {
    /// The first of each file: where the chain stood before.
    Head(Link),
    /// A record.
    Record {
        /// Where the chain stood before it.
        before: Link,
        /// What it says, as JSON.
        body: &'l str,
        /// Where the chain stands with it.
        link: Link,
    },
    /// A record whose body is left out.
    LeftOut {
        /// Where the chain stood before it.
        before: Link,
        /// The digest of its body.
        digest: Hash,
        /// Where the chain stands with it.
        link: Link,
    },
    /// The last of an export: where the chain stands.
    End(Link),
}

/// Why a line is none of a chain, or does not follow on the one before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Broken {
    /// It has another form, or its octets were changed.
    Form,
    /// Its hash is not that of what it says: something in it was changed.
    Changed {
        /// Its number.
        seq: u64,
    },
    /// It does not follow on what stands before it: records were removed, put in, or moved.
    Order {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// Lines stand behind the end, or records before the head.
    Place,
}

/// Follows a chain line by line.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    at: Option<Link>,
    from: Option<Link>,
    ended: bool,
}

impl Link {
    /// Where the chain stands after a record with this body, and the record's line.
    pub fn seal(self, body: &str) -> (String, Link) {
        let next = self.next(Hash::of(body.as_bytes()));
        let line = format!(
            "{{\"seq\":{},\"prev\":\"{}\",\"body\":{body},\"hash\":\"{}\"}}",
            next.seq, self.hash, next.hash
        );
        (line, next)
    }

    fn next(self, digest: Hash) -> Link {
        let seq = self.seq.wrapping_add(1);
        let mut context = Context::new(&SHA256);
        context.update(MARK);
        context.update(&self.hash.0);
        context.update(&seq.to_be_bytes());
        context.update(&digest.0);
        Link {
            seq,
            hash: Hash::taken(context.finish().as_ref()),
        }
    }

    /// The line that begins a file.
    pub fn head(self) -> String {
        format!(
            "{{\"sealpost_evidence\":1,\"after\":{},\"prev\":\"{}\"}}",
            self.seq, self.hash
        )
    }

    /// The line that ends an export.
    pub fn end(self) -> String {
        format!("{{\"end\":{},\"hash\":\"{}\"}}", self.seq, self.hash)
    }
}

impl Line<'_> {
    /// A record's line without its body, for an excerpt.
    pub fn left_out(&self) -> Option<String> {
        match self {
            Line::Record { before, body, link } => Some(format!(
                "{{\"seq\":{},\"prev\":\"{}\",\"digest\":\"{}\",\"hash\":\"{}\"}}",
                link.seq,
                before.hash,
                Hash::of(body.as_bytes()),
                link.hash
            )),
            Line::Head(_) | Line::LeftOut { .. } | Line::End(_) => None,
        }
    }

    /// Reads a line, without its line end. Only the exact form that is written here is read, so that every octet counts.
    pub fn parse(line: &str) -> Result<Line<'_>, Broken> {
        let read = Line::read(line).ok_or(Broken::Form)?;
        let (before, digest, link) = match read {
            Line::Head(_) | Line::End(_) => return Ok(read),
            Line::Record { before, body, link } => (before, Hash::of(body.as_bytes()), link),
            Line::LeftOut { before, digest, link } => (before, digest, link),
        };
        match before.next(digest) == link {
            true => Ok(read),
            false => Err(Broken::Changed { seq: link.seq }),
        }
    }

    fn read(line: &str) -> Option<Line<'_>> {
        if let Some(rest) = line.strip_prefix("{\"sealpost_evidence\":1,\"after\":") {
            let (seq, rest) = number(rest)?;
            let (hash, rest) = hash(rest.strip_prefix(",\"prev\":\"")?)?;
            return (rest == "\"}").then_some(Line::Head(Link { seq, hash }));
        }
        if let Some(rest) = line.strip_prefix("{\"end\":") {
            let (seq, rest) = number(rest)?;
            let (hash, rest) = hash(rest.strip_prefix(",\"hash\":\"")?)?;
            return (rest == "\"}").then_some(Line::End(Link { seq, hash }));
        }
        let (seq, rest) = number(line.strip_prefix("{\"seq\":")?)?;
        let (prev, rest) = hash(rest.strip_prefix(",\"prev\":\"")?)?;
        let before = Link {
            seq: seq.checked_sub(1)?,
            hash: prev,
        };
        let rest = rest.strip_prefix("\",")?.strip_suffix("\"}")?;
        let (rest, own) = rest.split_at_checked(rest.len().checked_sub(HEX)?)?;
        let (own, _) = hash(own)?;
        let rest = rest.strip_suffix(",\"hash\":\"")?;
        let link = Link { seq, hash: own };
        if let Some(body) = rest.strip_prefix("\"body\":") {
            return Some(Line::Record { before, body, link });
        }
        let (digest, rest) = hash(rest.strip_prefix("\"digest\":\"")?)?;
        (rest == "\"").then_some(Line::LeftOut { before, digest, link })
    }
}

impl Follower {
    /// One that goes on where another file ended.
    pub fn behind(link: Link) -> Follower {
        Follower {
            at: Some(link),
            from: None,
            ended: false,
        }
    }

    /// Takes the next line, without its line end.
    pub fn follow<'l>(&mut self, line: &'l str) -> Result<Line<'l>, Broken> {
        if self.ended {
            return Err(Broken::Place);
        }
        let read = Line::parse(line)?;
        match read {
            Line::Head(link) => {
                if self.from.is_some() {
                    return Err(Broken::Place);
                }
                self.agrees(link, link.seq.wrapping_add(1))?;
                (self.from, self.at) = (Some(link), Some(link));
            }
            Line::Record { before, link, .. } | Line::LeftOut { before, link, .. } => {
                if self.from.is_none() {
                    return Err(Broken::Place);
                }
                self.agrees(before, link.seq)?;
                self.at = Some(link);
            }
            Line::End(link) => {
                if self.from.is_none() {
                    return Err(Broken::Place);
                }
                self.agrees(link, link.seq.wrapping_add(1))?;
                self.ended = true;
            }
        }
        Ok(read)
    }

    fn agrees(&self, before: Link, found: u64) -> Result<(), Broken> {
        match self.at {
            Some(at) if at != before => Err(Broken::Order {
                expected: at.seq.wrapping_add(1),
                found,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Where the file begins: what its head says.
    pub fn from(&self) -> Option<Link> {
        self.from
    }

    /// The last record that was followed.
    pub fn at(&self) -> Option<Link> {
        self.at
    }

    /// Whether an end was read.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

impl Hash {
    fn of(octets: &[u8]) -> Hash {
        Hash::taken(digest(&SHA256, octets).as_ref())
    }

    fn taken(octets: &[u8]) -> Hash {
        let mut hash = [0; 32];
        hash.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        Hash(hash)
    }

    /// Reads 64 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Hash> {
        match hash(text)? {
            (hash, "") => Some(hash),
            _ => None,
        }
    }
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    // One number has one form.
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

fn hash(text: &str) -> Option<(Hash, &str)> {
    let (digits, rest) = text.split_at_checked(HEX)?;
    let mut hash = [0; 32];
    let value = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = value(pair[0])? << 4 | value(*pair.get(1)?)?;
    }
    Some((Hash(hash), rest))
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Form => f.write_str("this is no line of evidence, or it was changed"),
            Broken::Changed { seq } => write!(f, "record {seq} was changed"),
            Broken::Order { expected, found } if expected == found => {
                write!(f, "record {found} does not follow on the one before it")
            }
            Broken::Order { expected, found } => write!(
                f,
                "record {expected} should stand here and {found} does: records were removed, put in or moved"
            ),
            Broken::Place => f.write_str("this line stands where none of its kind may stand"),
        }
    }
}

/// Keeps these hashes apart from any others.
const MARK: &[u8] = b"sealpost evidence 1\n";
/// Digits of a hash.
const HEX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by other means than this program.
    const HASH: &str = "0a9137b9860637eba39159cd722410865513ce7121b114a129beb92529c9fa95";

    fn bodies() -> impl Strategy<Value = Vec<String>> {
        let body = "[a-z\"\\\\ {}:é,]{0,40}".prop_map(|text| serde_json::json!({ "x": text }).to_string());
        prop::collection::vec(body, 2..12)
    }

    fn chain(bodies: &[String]) -> Vec<String> {
        let mut link = Link::default();
        let mut lines = vec![link.head()];
        for body in bodies {
            let (line, next) = link.seal(body);
            lines.push(line);
            link = next;
        }
        lines.push(link.end());
        lines
    }

    /// The place of the first line that does not follow, or how many followed.
    fn follow<'l>(lines: impl Iterator<Item = &'l str>) -> Result<Follower, (usize, Broken)> {
        let mut follower = Follower::default();
        for (place, line) in lines.enumerate() {
            follower.follow(line).map_err(|broken| (place, broken))?;
        }
        Ok(follower)
    }

    fn is_whole(text: &[u8]) -> bool {
        let Ok(text) = str::from_utf8(text) else {
            return false;
        };
        let followed = text.strip_suffix('\n').map(|text| follow(text.split('\n')));
        followed.is_some_and(|followed| followed.is_ok_and(|follower| follower.ended()))
    }

    #[test]
    fn the_form_is_fixed() {
        let (line, link) = Link::default().seal("{\"kind\":\"x\"}");
        let zeros = "0".repeat(64);
        assert_eq!(
            line,
            format!("{{\"seq\":1,\"prev\":\"{zeros}\",\"body\":{{\"kind\":\"x\"}},\"hash\":\"{HASH}\"}}")
        );
        assert_eq!(link.hash.to_string(), HASH);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["body"]["kind"], "x");
    }

    proptest! {
        #[test]
        fn every_changed_octet_is_found(bodies in bodies(), place: prop::sample::Index, change in 1..=255u8) {
            let mut text = chain(&bodies).join("\n").into_bytes();
            text.push(b'\n');
            prop_assert!(is_whole(&text));
            let at = place.index(text.len());
            text[at] ^= change;
            prop_assert!(!is_whole(&text), "octet {}", at);
        }

        #[test]
        fn every_removed_moved_or_doubled_record_is_found_where_it_is(
            bodies in bodies(), one: prop::sample::Index, other: prop::sample::Index,
        ) {
            let lines = chain(&bodies);
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            let mut removed = lines.clone();
            removed.remove(one);
            let found = follow(removed.iter().map(String::as_str));
            match found {
                // Without its last line a chain is whole, and does not say that it ends there.
                Ok(follower) => prop_assert!(one == lines.len() - 1 && !follower.ended()),
                Err((place, _)) => prop_assert_eq!(place, one.min(removed.len() - 1)),
            }
            if one != other {
                let mut moved = lines.clone();
                moved.swap(one, other);
                let (place, _) = follow(moved.iter().map(String::as_str)).unwrap_err();
                prop_assert!(place <= one.min(other) + 1);
                let mut doubled = lines.clone();
                doubled.insert(other, lines[one].clone());
                prop_assert!(follow(doubled.iter().map(String::as_str)).is_err());
            }
        }

        #[test]
        fn bodies_may_be_left_out(bodies in bodies(), left: prop::sample::Index) {
            let mut lines = chain(&bodies);
            let left = 1 + left.index(bodies.len());
            lines[left] = Line::parse(&lines[left]).unwrap().left_out().unwrap();
            let follower = follow(lines.iter().map(String::as_str)).unwrap();
            prop_assert!(follower.ended());
            let kept = lines[left].replace("\"digest\":\"", "\"digest\":\"0");
            lines[left] = kept;
            prop_assert!(follow(lines.iter().map(String::as_str)).is_err());
        }

        #[test]
        fn foreign_text_never_panics(text: String) {
            let _ = Line::parse(&text);
            let _ = Line::parse(&format!("{{\"seq\":1,\"prev\":\"{text}"));
        }
    }
}
