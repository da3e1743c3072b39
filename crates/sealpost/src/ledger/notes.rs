//! What persons say of peers: relax a demand for a time, keep a standing, forget one. Each with who, why, and until when.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use trust::ledger::{DomainStanding, Note, Say, Second, Stored};

use super::{Held, Keys, Ledger, blocking, read};
use crate::config::units::duration;
use crate::memory::{Change, Memory, MemoryError, Shelf};

/// All words of persons, by the name that they are about.
pub(super) struct Notes(BTreeMap<Box<str>, Note>);

/// What a person wants said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// What.
    pub say: Say,
    /// Of which domain, host or client.
    pub name: String,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// For how long; the longest that is allowed if nothing is said.
    pub span: Option<Duration>,
}

/// Why a person's word is not taken. `Display` is one line.
#[derive(Debug)]
pub enum NotSaid {
    /// It makes no sense.
    Asked(String),
    /// Nothing is remembered by this name.
    Unknown(String),
    /// The memory cannot be read or written.
    Memory(MemoryError),
}

impl Notes {
    pub(super) fn load(memory: &Memory) -> Result<Notes, MemoryError> {
        let mut notes = BTreeMap::new();
        memory.scan(Shelf::Notes, PREFIX, &mut |key, value| {
            let name = String::from_utf8_lossy(key.get(PREFIX.len()..).unwrap_or_default());
            match Note::read(value) {
                Ok(note) => drop(notes.insert(name.into(), note)),
                Err(because) => tracing::error!(%name, %because, "a person's note on a peer cannot be read"),
            }
            ControlFlow::Continue(())
        })?;
        Ok(Notes(notes))
    }

    /// Those on a host and on its domain.
    pub(super) fn of(&self, keys: &Keys) -> [Option<&Note>; 2] {
        // Few servers have any.
        match self.0.is_empty() {
            true => [None, None],
            false => [self.0.get(&keys.name), self.0.get(&keys.domain_name)],
        }
    }

    pub(super) fn on(&self, name: &str) -> Option<&Note> {
        self.0.get(name)
    }

    pub(super) fn put(&mut self, name: &str, note: Note) {
        self.0.insert(name.into(), note);
    }
}

impl Ledger {
    /// Takes a person's word. Resolves when it is durable; says until when it counts, and of how many peers.
    pub async fn say(&self, wish: Wish) -> Result<(Note, u64), NotSaid> {
        let name = wish.name.trim().to_ascii_lowercase();
        let found = self.named(&name).await.map_err(NotSaid::Memory)?;
        if found.is_empty() {
            return Err(NotSaid::Unknown(format!(
                "nothing is remembered of \"{}\"",
                wish.name
            )));
        }
        let note = self.note(&wish)?;
        let room = self.0.memory.room().await.map_err(NotSaid::Memory)?;
        let durable = {
            let mut state = self.lock();
            if state.notes.0.len() >= NOTES_MAX && state.notes.on(&name).is_none() {
                return Err(NotSaid::Asked(format!(
                    "there are {NOTES_MAX} notes on peers already"
                )));
            }
            let mut changes = vec![note_change(&name, &note)];
            match note.say {
                Say::Forget => {
                    changes.extend(found.iter().map(|(shelf, key)| Change::remove(*shelf, &**key)));
                    state.hosts.forget(|key| is_among(&found, Shelf::Hosts, key));
                    state.domains.forget(|key| is_among(&found, Shelf::Domains, key));
                    state.clients.forget(|key| is_among(&found, Shelf::Inbound, key));
                }
                Say::Keep => changes.extend(state.accept(&name, &self.0.memory, note.at)),
                Say::Relax => {}
            }
            state.notes.put(&name, note.clone());
            room.hand_over(changes)
        };
        durable.await.map_err(NotSaid::Memory)?;
        let peers = found.len() as u64;
        tracing::warn!(name, say = note.say.word(), author = %note.author, reason = %note.reason, "ledger: a person's word");
        Ok((note, peers))
    }

    fn note(&self, wish: &Wish) -> Result<Note, NotSaid> {
        let (reason, author) = (wish.reason.trim(), wish.author.trim());
        let fits = |text: &str| {
            !text.is_empty() && text.len() <= WORDS_BYTES_MAX && !text.contains(char::is_control)
        };
        if !fits(reason) || !fits(author) {
            return Err(NotSaid::Asked(format!(
                "say why with --reason, in one line of up to {WORDS_BYTES_MAX} octets"
            )));
        }
        let mut state = self.lock();
        let most = match wish.say {
            Say::Relax => state.settings.relax_max,
            Say::Keep => state.settings.keep_max,
            Say::Forget => Duration::ZERO,
        };
        let span = match (wish.say, wish.span) {
            (Say::Relax, None) => return Err(NotSaid::Asked("say for how long: --for 2d".to_owned())),
            (Say::Relax | Say::Keep, Some(span)) if span > most => {
                return Err(NotSaid::Asked(format!(
                    "{} is longer than [ledger] allows: {}",
                    duration::print(&span),
                    duration::print(&most)
                )));
            }
            (Say::Forget, _) | (_, None) => most,
            (_, Some(span)) => span,
        };
        let now = self.now(&mut state);
        Ok(Note {
            say: wish.say,
            author: author.into(),
            reason: reason.into(),
            at: now,
            until: now.after(span),
        })
    }

    /// Everything that is remembered under a name: of a domain, of a host for any domain, of a client.
    pub(super) async fn named(&self, name: &str) -> Result<Vec<(Shelf, Box<[u8]>)>, MemoryError> {
        let (memory, name) = (self.0.memory.clone(), name.to_owned());
        blocking(move || {
            let mut found = Vec::new();
            for shelf in [Shelf::Domains, Shelf::Inbound] {
                if memory.get(shelf, name.as_bytes())?.is_some() {
                    found.push((shelf, name.as_bytes().into()));
                }
            }
            memory.scan(Shelf::Hosts, b"", &mut |key, _| {
                let mut parts = key.splitn(2, |octet| *octet == 0);
                let (domain, host) = (parts.next(), parts.next());
                if domain == Some(name.as_bytes()) || host == Some(name.as_bytes()) {
                    found.push((Shelf::Hosts, key.into()));
                }
                ControlFlow::Continue(())
            })?;
            Ok(found)
        })
        .await
    }
}

impl super::State {
    /// A person says that a domain's exchangers are right, new ones included.
    fn accept(&mut self, name: &str, memory: &Memory, now: Second) -> Option<Change> {
        let key = name.as_bytes();
        let held = match self.domains.get(key) {
            Some(held) => held.clone(),
            None => read::<DomainStanding>(memory, Shelf::Domains, key).ok()?,
        };
        if held.standing.last == Second(0) {
            return None;
        }
        let mut standing = held.standing;
        standing.exchangers.accept(now);
        let change = Change::put(Shelf::Domains, key, standing.write());
        self.domains.put(
            key,
            Held {
                standing,
                written: now,
            },
        );
        Some(change)
    }
}

fn is_among(found: &[(Shelf, Box<[u8]>)], shelf: Shelf, key: &[u8]) -> bool {
    found.iter().any(|(on, known)| *on == shelf && **known == *key)
}

/// The change that keeps a note.
pub(super) fn note_change(name: &str, note: &Note) -> Change {
    Change::put(Shelf::Notes, [PREFIX, name.as_bytes()].concat(), note.write())
}

/// A note in a sentence, for evidence.
pub(super) fn told(note: &Note) -> Box<str> {
    let until = crate::control::queue::rfc3339(note.until.time());
    format!("relaxed by {} until {until}: {}", note.author, note.reason).into()
}

impl fmt::Display for NotSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotSaid::Asked(words) | NotSaid::Unknown(words) => f.write_str(words),
            NotSaid::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotSaid {}

const PREFIX: &[u8] = b"note\0";
/// Notes that there may be.
const NOTES_MAX: usize = 10_000;
/// Octets of a reason or an author.
const WORDS_BYTES_MAX: usize = 500;
