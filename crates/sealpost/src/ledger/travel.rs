//! The memory of peers as lines of JSON: for people and programs to look at, to keep a copy, and to bring to another
//! server. Lines that come in are foreign: each is bounded and parsed, and none makes a demand weaker.

use std::fmt;
use std::ops::ControlFlow;

use mail::{Domain, Host};
use serde::{Deserialize, Serialize};
use trust::ledger::{Bound, DomainStanding, HostStanding, InboundStanding, Note, Say, Second, Stored};

use super::notes::note_change;
use super::{Held, Keys, Ledger, blocking};
use crate::control::queue::rfc3339;
use crate::memory::{Change, MemoryError, Shelf};

/// One peer, or one note, on a line of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// `host`, `domain`, `client` or `note`.
    pub kind: String,
    /// Of which domain, client, or name.
    pub name: String,
    /// Of which host of the domain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// How it stands, for readers: what is read in are the octets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub standing: Option<String>,
    /// When it was last met, for readers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<String>,
    /// The standing itself, in hexadecimal digits.
    pub octets: String,
}

/// What came of lines that were read in.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Imported {
    /// Lines taken.
    pub taken: u64,
    /// Lines left out, because as much or more is known here.
    pub known: u64,
}

/// A line that makes no sense; nothing of what was handed in with it is taken.
#[derive(Debug)]
pub enum BadLine {
    /// Which, from 1 on, and why.
    Line(usize, String),
    /// The memory cannot be read or written.
    Memory(MemoryError),
}

/// A line with its octets read.
enum Read {
    Host(Keys, Box<HostStanding>),
    Domain(Keys, Box<DomainStanding>),
    Client(Box<[u8]>, InboundStanding),
    Note(String, Note),
}

impl Ledger {
    /// Up to `max` lines behind `after`, which is empty at the start, with where to go on.
    pub async fn export(&self, after: &str, max: usize) -> Result<(Vec<Line>, Option<String>), MemoryError> {
        let ledger = self.clone();
        let after = unhex(after).unwrap_or_default();
        blocking(move || {
            let mut lines = Vec::new();
            let mut last = None;
            let (from_shelf, from_key) = match after.split_first() {
                Some((shelf, key)) => (usize::from(*shelf), key),
                None => (0, &[][..]),
            };
            for (place, shelf) in SHELVES.iter().enumerate().skip(from_shelf) {
                ledger.0.memory.scan(*shelf, b"", &mut |key, value| {
                    if place == from_shelf && !after.is_empty() && key <= from_key {
                        return ControlFlow::Continue(());
                    }
                    if lines.len() == max {
                        return ControlFlow::Break(());
                    }
                    lines.extend(ledger.line(*shelf, key, value));
                    last = Some(hex(&[&[place as u8], key].concat()));
                    ControlFlow::Continue(())
                })?;
            }
            let more = last.filter(|_| lines.len() == max);
            Ok((lines, more))
        })
        .await
    }

    /// What is remembered under one name: of a domain with its hosts, of a host, of a client, and the note on it.
    pub async fn lines_of(&self, name: &str) -> Result<Vec<Line>, MemoryError> {
        let name = name.trim().to_ascii_lowercase();
        let mut found = self.named(&name).await?;
        found.push((Shelf::Notes, [b"note\0", name.as_bytes()].concat().into()));
        let ledger = self.clone();
        blocking(move || {
            let mut lines = Vec::new();
            for (shelf, key) in found {
                if let Some(value) = ledger.0.memory.get(shelf, &key)? {
                    lines.extend(ledger.line(shelf, &key, &value));
                }
            }
            Ok(lines)
        })
        .await
    }

    fn line(&self, shelf: Shelf, key: &[u8], value: &[u8]) -> Option<Line> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let mut state = self.lock();
        let now = self.now(&mut state);
        let rules = state.rules;
        let line = |kind: &str, name, host, standing, last: Option<Second>| Line {
            kind: kind.to_owned(),
            name,
            host,
            standing,
            last: last.map(|last| rfc3339(last.time())),
            octets: hex(value),
        };
        match shelf {
            Shelf::Hosts => {
                let standing = HostStanding::read(value).ok()?;
                let mut parts = key.splitn(2, |octet| *octet == 0);
                let (domain, host) = (parts.next()?, parts.next()?);
                let word = standing.word(now, &rules).to_string();
                Some(line(
                    "host",
                    text(domain),
                    Some(text(host)),
                    Some(word),
                    Some(standing.last),
                ))
            }
            Shelf::Domains => {
                let standing = DomainStanding::read(value).ok()?;
                let word = standing.bound(now, &rules).to_string();
                Some(line("domain", text(key), None, Some(word), Some(standing.last)))
            }
            Shelf::Inbound => {
                let standing = InboundStanding::read(value).ok()?;
                Some(line("client", text(key), None, None, Some(standing.last)))
            }
            Shelf::Notes => {
                let name = key.strip_prefix(b"note\0")?;
                Note::read(value).ok()?;
                Some(line("note", text(name), None, None, None))
            }
            Shelf::Policies | Shelf::Alarms => None,
        }
    }

    /// Takes lines in. A bound that is known here is not replaced by less. All lines are taken, or none.
    pub async fn import(&self, lines: &str) -> Result<Imported, BadLine> {
        let now = {
            let mut state = self.lock();
            self.now(&mut state)
        };
        let mut read = Vec::new();
        for (index, line) in lines
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            if index >= LINES_MAX {
                return Err(BadLine::Line(
                    index + 1,
                    format!("more than {LINES_MAX} lines at once"),
                ));
            }
            read.push(parse(line, now).map_err(|why| BadLine::Line(index + 1, why))?);
        }
        let mut imported = Imported::default();
        let mut changes = Vec::new();
        for line in &read {
            if let Read::Host(keys, _) | Read::Domain(keys, _) = line {
                self.load(keys).await.map_err(BadLine::Memory)?;
            }
            match self.take(line, now) {
                Some(change) => {
                    imported.taken += 1;
                    changes.push(change);
                }
                None => imported.known += 1,
            }
        }
        self.0.memory.keep(changes).await.map_err(BadLine::Memory)?;
        Ok(imported)
    }

    /// What is to be written for one line, if it says more than what is known.
    fn take(&self, line: &Read, now: Second) -> Option<Change> {
        let mut state = self.lock();
        let rules = state.rules;
        match line {
            Read::Host(keys, standing) => {
                let known = state.hosts.get(&keys.host).cloned().unwrap_or_default().standing;
                let more = more(
                    (known.bound(now, &rules), known.last),
                    (standing.bound(now, &rules), standing.last),
                );
                more.then(|| {
                    state.hosts.put(&keys.host, held(standing, now));
                    Change::put(Shelf::Hosts, &*keys.host, standing.write())
                })
            }
            Read::Domain(keys, standing) => {
                let known = state
                    .domains
                    .get(&keys.domain)
                    .cloned()
                    .unwrap_or_default()
                    .standing;
                let more = more(
                    (known.bound(now, &rules), known.last),
                    (standing.bound(now, &rules), standing.last),
                );
                more.then(|| {
                    state.domains.put(&keys.domain, held(standing, now));
                    Change::put(Shelf::Domains, &*keys.domain, standing.write())
                })
            }
            Read::Client(key, standing) => {
                let known = state.clients.get(key).cloned().unwrap_or_default().standing;
                (known.last < standing.last).then(|| {
                    state.clients.put(key, held(standing, now));
                    Change::put(Shelf::Inbound, &**key, standing.write())
                })
            }
            Read::Note(name, note) => {
                // Who relaxes a demand does so here, in person.
                let newer = state.notes.on(name).is_none_or(|known| known.at < note.at);
                (newer && note.say != Say::Relax).then(|| {
                    state.notes.put(name, note.clone());
                    note_change(name, note)
                })
            }
        }
    }
}

fn held<T: Clone>(standing: &T, now: Second) -> Held<T> {
    Held {
        standing: standing.clone(),
        written: now,
    }
}

/// Whether what comes in says more than what is known.
fn more(known: (Bound, Second), comes: (Bound, Second)) -> bool {
    comes.0 > known.0 || comes.0 == known.0 && comes.1 > known.1
}

fn parse(text: &str, now: Second) -> Result<Read, String> {
    if text.len() > LINE_BYTES_MAX {
        return Err(format!("longer than {LINE_BYTES_MAX} octets"));
    }
    let line: Line =
        serde_json::from_str(text).map_err(|error| format!("it is no line of an export: {error}"))?;
    let octets = unhex(&line.octets).ok_or("its octets are no hexadecimal digits")?;
    let unreadable = |error: trust::ledger::Unreadable| error.to_string();
    let name = peer(&line.name)?;
    let (read, last) = match (line.kind.as_str(), &line.host) {
        ("host", Some(host)) => {
            let standing = HostStanding::read(&octets).map_err(unreadable)?;
            let last = standing
                .last
                .max(standing.encrypted.confirmed())
                .max(standing.verified.confirmed());
            (
                Read::Host(Keys::of(&name, &peer(host)?), Box::new(standing)),
                last,
            )
        }
        ("domain", None) => {
            let standing = DomainStanding::read(&octets).map_err(unreadable)?;
            let last = standing
                .last
                .max(standing.encrypted.confirmed())
                .max(standing.verified.confirmed());
            (Read::Domain(Keys::of(&name, ""), Box::new(standing)), last)
        }
        ("client", None) => {
            let standing = InboundStanding::read(&octets).map_err(unreadable)?;
            let last = standing.last.max(standing.encrypted.confirmed());
            (Read::Client(name.as_bytes().into(), standing), last)
        }
        ("note", None) => {
            let note = Note::read(&octets).map_err(unreadable)?;
            let at = note.at;
            (Read::Note(name, note), at)
        }
        (kind, _) => return Err(format!("\"{kind}\" is no kind of line, or it lacks its host")),
    };
    // A standing from the future would not decay for as long.
    match last > now.after(FUTURE_MAX) {
        true => Err("it lies in the future: one of the two clocks is wrong".to_owned()),
        false => Ok(read),
    }
}

fn peer(text: &str) -> Result<String, String> {
    let host = Domain::parse(text).map(Host::Name).or_else(|_| Host::parse(text));
    host.map(|host| host.to_string())
        .map_err(|error| format!("\"{}\" names no host: {error}", text.escape_debug()))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadLine::Line(number, why) => write!(f, "line {number}: {why}; nothing was taken"),
            BadLine::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BadLine {}

const SHELVES: [Shelf; 4] = [Shelf::Hosts, Shelf::Domains, Shelf::Inbound, Shelf::Notes];
/// Octets of one line.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines that are taken in at once.
const LINES_MAX: usize = 2000;
/// How far clocks of two servers may differ.
const FUTURE_MAX: std::time::Duration = std::time::Duration::from_secs(3600);
