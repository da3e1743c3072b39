//! Reading evidence: what was written of a message, pages of the chain for an export, and whether all of it is sound.
//!
//! Blocks on the disk. Reads only what is durable, beside the writer.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use spool::disk::{Disk, File};

use super::chain::{Follower, Hash, Line, Link};
use super::record::Fact;
use super::store::{Spans, lock};

/// One file, as far as it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Where the chain stood before it.
    pub after: Link,
    /// Durable octets.
    pub bytes: u64,
    /// When its first record was made.
    pub first_at: Option<SystemTime>,
}

/// Reads beside the writer. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    disk: Arc<dyn Disk>,
    spans: Spans,
}

/// A record with its place in the chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// What it says.
    pub fact: Fact,
}

/// Some lines of the chain, one behind the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The line that stands before them in an export.
    pub head: String,
    /// The records' lines.
    pub lines: Vec<String>,
    /// The line that ends an export here.
    pub end: String,
    /// The number of the last record, if there are more behind it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub more_after: Option<u64>,
}

/// A chain that is sound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verified {
    /// Records.
    pub records: u64,
    /// Those of them whose bodies are left out.
    pub left_out: u64,
    /// The first record's number.
    pub first: u64,
    /// The last record's number.
    pub last: u64,
    /// The hash that the first record builds on.
    pub from: String,
    /// The last record's hash: whoever keeps it can prove later that nothing before it was changed.
    pub hash: String,
    /// Whether the end is marked as such, as in an export.
    pub ended: bool,
}

/// Where a chain is not sound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unsound {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The number of the record before it that is sound.
    pub behind: u64,
    /// What is wrong.
    pub why: String,
}

/// Checks files line by line, one behind the other.
#[derive(Default)]
pub struct Check {
    follower: Follower,
    begun: Option<Link>,
    records: u64,
    left_out: u64,
    removed: Vec<Link>,
}

impl Span {
    /// The number of a file's first record, by its name.
    pub fn first_of(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(".evidence")?;
        let fits = digits.len() == 20 && digits.bytes().all(|octet| octet.is_ascii_digit());
        digits.parse().ok().filter(|_| fits)
    }

    /// The name of the file that goes on from here.
    pub fn name_after(link: Link) -> String {
        format!("{:020}.evidence", link.seq.saturating_add(1))
    }

    pub(super) fn read(name: &str, begin: &[u8], bytes: u64) -> Span {
        let head = lines(begin).next().and_then(|line| Line::parse(line).ok());
        let by_name = Link {
            seq: Span::first_of(name).unwrap_or(1).saturating_sub(1),
            hash: Hash::default(),
        };
        Span {
            name: name.to_owned(),
            after: match head {
                Some(Line::Head(link)) => link,
                // `verify` will name it; until then it has its place by its name.
                _ => by_name,
            },
            bytes,
            first_at: first_fact(begin),
        }
    }
}

/// When the first record was made.
pub(super) fn first_fact(octets: &[u8]) -> Option<SystemTime> {
    let record = lines(octets).nth(1).and_then(|line| Line::parse(line).ok());
    match record? {
        Line::Record { body, .. } => serde_json::from_str::<Fact>(body).ok()?.at(),
        _ => None,
    }
}

/// Whole lines, without their ends.
fn lines(octets: &[u8]) -> impl Iterator<Item = &str> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    lines.filter_map(|line| std::str::from_utf8(line.strip_suffix(b"\n")?).ok())
}

pub(super) fn read_all(file: &dyn File, max: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(file.bytes()?.min(max)).unwrap_or(usize::MAX);
    let mut octets = vec![0; bytes];
    let read = file.read_at(&mut octets, 0)?;
    octets.truncate(read);
    Ok(octets)
}

impl Reader {
    /// One for these files.
    pub fn new(disk: Arc<dyn Disk>, spans: Spans) -> Reader {
        Reader { disk, spans }
    }

    fn read(&self, span: &Span) -> io::Result<Vec<u8>> {
        let opened = self
            .disk
            .open(&span.name)
            .and_then(|file| read_all(&*file, span.bytes));
        match opened {
            // It came of age meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.has(span) => Ok(Vec::new()),
            other => other,
        }
    }

    fn has(&self, span: &Span) -> bool {
        lock(&self.spans).iter().any(|known| known.name == span.name)
    }

    /// What was written of a message, oldest first. `since` is when it came: older files are not looked at unless nothing
    /// is found otherwise.
    pub fn of_message(&self, id: &str, since: Option<SystemTime>) -> io::Result<Vec<Found>> {
        let spans = lock(&self.spans).clone();
        let from = since.map_or(0, |since| {
            spans.partition_point(|span| span.first_at.is_some_and(|at| at < since))
        });
        let (early, late) = spans.split_at(from.saturating_sub(1));
        let found = self.search(id, late)?;
        match found.is_empty() {
            true => self.search(id, early),
            false => Ok(found),
        }
    }

    fn search(&self, id: &str, spans: &[Span]) -> io::Result<Vec<Found>> {
        let needle = memchr::memmem::Finder::new(id.as_bytes());
        let mut found = Vec::new();
        for span in spans {
            let octets = self.read(span)?;
            if needle.find(&octets).is_none() {
                continue;
            }
            let named = lines(&octets).filter(|line| needle.find(line.as_bytes()).is_some());
            found.extend(named.filter_map(|line| record_of(line, id)));
        }
        Ok(found)
    }

    /// The records behind number `after`, at most `max`. Of a message, with the bodies of all others left out, from its
    /// first record to its last; or made at `since` or later.
    pub fn page(
        &self,
        message: Option<&str>,
        since: Option<SystemTime>,
        after: u64,
        max: usize,
    ) -> io::Result<Page> {
        let spans = lock(&self.spans).clone();
        let (from, to) = match message {
            None => (self.first_since(&spans, since)?.max(after), u64::MAX),
            Some(id) => {
                let found = self.search(id, &spans)?;
                let ends = found.first().zip(found.last());
                ends.map_or((u64::MAX, 0), |(first, last)| {
                    ((first.seq - 1).max(after), last.seq)
                })
            }
        };
        let mut cut = Cutting {
            message,
            max: max.max(1),
            before: None,
            at: Link::default(),
            lines: Vec::new(),
            more: false,
        };
        for (place, span) in spans.iter().enumerate() {
            let passed = spans.get(place + 1).is_some_and(|next| next.after.seq <= from);
            if passed || span.after.seq >= to || cut.more {
                continue;
            }
            lines(&self.read(span)?).for_each(|line| cut.take(line, from, to));
        }
        Ok(cut.page())
    }

    /// The number before the first record made at `since` or later.
    fn first_since(&self, spans: &[Span], since: Option<SystemTime>) -> io::Result<u64> {
        let Some(since) = since else { return Ok(0) };
        let behind = spans.partition_point(|span| span.first_at.is_some_and(|at| at < since));
        let Some(span) = behind.checked_sub(1).and_then(|place| spans.get(place)) else {
            return Ok(0);
        };
        let octets = self.read(span)?;
        let earlier = lines(&octets).filter_map(|line| match Line::parse(line) {
            Ok(Line::Record { body, link, .. }) => {
                let at = serde_json::from_str::<Fact>(body).ok()?.at()?;
                (at < since).then_some(link.seq)
            }
            _ => None,
        });
        Ok(earlier.max().unwrap_or(span.after.seq))
    }
}

/// A page being cut out of the chain.
struct Cutting<'a> {
    message: Option<&'a str>,
    max: usize,
    before: Option<Link>,
    at: Link,
    lines: Vec<String>,
    more: bool,
}

impl Cutting<'_> {
    fn take(&mut self, line: &str, from: u64, to: u64) {
        let Ok(read @ Line::Record { before, body, link }) = Line::parse(line) else {
            return;
        };
        if link.seq <= from || link.seq > to {
            return;
        }
        if self.lines.len() == self.max {
            self.more = true;
            return;
        }
        self.before.get_or_insert(before);
        self.at = link;
        let wanted = self.message.is_none_or(|id| is_of(body, id));
        let left_out = read.left_out().filter(|_| !wanted);
        self.lines.push(left_out.unwrap_or_else(|| line.to_owned()));
    }

    fn page(self) -> Page {
        Page {
            head: self.before.unwrap_or_default().head(),
            end: self.at.end(),
            more_after: self.more.then_some(self.at.seq),
            lines: self.lines,
        }
    }
}

fn is_of(body: &str, id: &str) -> bool {
    body.contains(id) && serde_json::from_str::<Fact>(body).is_ok_and(|fact| fact.message() == Some(id))
}

fn record_of(line: &str, id: &str) -> Option<Found> {
    let Line::Record { body, link, .. } = Line::parse(line).ok()? else {
        return None;
    };
    let fact: Fact = serde_json::from_str(body).ok()?;
    (fact.message() == Some(id)).then(|| Found {
        seq: link.seq,
        hash: link.hash.to_string(),
        fact,
    })
}

/// Checks all that a server keeps. What stood before the oldest file must be said to have been removed.
pub fn verify(reader: &Reader) -> Result<Verified, Unsound> {
    let spans = lock(&reader.spans).clone();
    let mut check = Check::default();
    for span in &spans {
        let octets = reader
            .read(span)
            .map_err(|error| check.unsound(&span.name, 0, error.to_string()))?;
        check.file(&span.name, &octets)?;
    }
    check.is_anchored(spans.first().map_or("", |first| &first.name))?;
    Ok(check.verified())
}

impl Check {
    /// Takes a file that goes on where the one before ended.
    pub fn file(&mut self, name: &str, octets: &[u8]) -> Result<(), Unsound> {
        if let Some(at) = self.follower.at() {
            self.follower = Follower::behind(at);
        }
        for (line, number) in octets.split_inclusive(|octet| *octet == b'\n').zip(1..) {
            let text = line
                .strip_suffix(b"\n")
                .and_then(|line| std::str::from_utf8(line).ok());
            let text = text
                .ok_or_else(|| self.unsound(name, number, "the line is cut short or no text".to_owned()))?;
            match self.follower.follow(text) {
                Ok(line) => self.take(line),
                Err(broken) => return Err(self.unsound(name, number, broken.to_string())),
            }
        }
        match self.follower.from() {
            Some(from) => drop(self.begun.get_or_insert(from)),
            None if octets.is_empty() => {}
            None => return Err(self.unsound(name, 1, "it has no head".to_owned())),
        }
        Ok(())
    }

    fn take(&mut self, line: Line<'_>) {
        match line {
            Line::Record { body, .. } => {
                self.records += 1;
                if let Ok(Fact::Removed(removed)) = serde_json::from_str(body)
                    && let Some(hash) = Hash::parse(&removed.hash)
                {
                    self.removed.push(Link {
                        seq: removed.last,
                        hash,
                    });
                }
            }
            Line::LeftOut { .. } => {
                self.records += 1;
                self.left_out += 1;
            }
            Line::Head(_) | Line::End(_) => {}
        }
    }

    /// Whether it begins at the first record, or where the chain says that what was before was removed.
    fn is_anchored(&self, name: &str) -> Result<(), Unsound> {
        match self.begun {
            None => Ok(()),
            Some(begun) if begun == Link::default() || self.removed.contains(&begun) => Ok(()),
            Some(begun) => {
                let why = format!(
                    "what stood before record {} is gone, and nothing says that it was removed",
                    begun.seq + 1
                );
                Err(self.unsound(name, 1, why))
            }
        }
    }

    /// What was found sound.
    pub fn verified(&self) -> Verified {
        let begun = self.begun.unwrap_or_default();
        let at = self.follower.at().unwrap_or_default();
        Verified {
            records: self.records,
            left_out: self.left_out,
            first: begun.seq + 1,
            last: at.seq,
            from: begun.hash.to_string(),
            hash: at.hash.to_string(),
            ended: self.follower.ended(),
        }
    }

    fn unsound(&self, file: &str, line: u64, why: String) -> Unsound {
        Unsound {
            file: file.to_owned(),
            line,
            behind: self.follower.at().map_or(0, |at| at.seq),
            why,
        }
    }
}
