//! Delivered mail, read back: what lies in the Maildirs, what a message says, and what hangs on it.
//!
//! Reads files and never changes one. Everything in a message is foreign: bounded, made harmless before it is shown,
//! and no fault in it is an error.

pub mod decode;
pub mod fields;
pub mod mime;
pub mod names;
pub mod save;
pub mod screen;
pub mod travel;
pub mod view;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::local::Directory;
use crate::local::maildir::FileName;

pub use view::{Attachment, Shown, Summary};

/// The Maildirs of this server.
#[derive(Clone, Debug)]
pub struct Mailboxes {
    root: PathBuf,
    own: Vec<PathBuf>,
    bounds: Bounds,
}

/// How much is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Most messages in a listing; the newest are kept.
    pub list_max: usize,
    /// Largest file that is read whole; of larger ones only the header is.
    pub read_bytes_max: u64,
}

/// Why a message was not found or not read.
#[derive(Debug)]
pub enum NotRead {
    /// No message has this name.
    Unknown(String),
    /// Several have a name that begins so.
    Ambiguous(String, usize),
    /// The message has no such part.
    NoPart(String),
    /// The message is larger than `[control] read_bytes_max`.
    TooLarge(u64),
    /// The system's answer, and for what.
    World(PathBuf, io::Error),
}

/// What a listing holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Oldest first.
    pub messages: Vec<Summary>,
    /// Older messages that were left out.
    pub left_out: usize,
}

/// A stored message's file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Stored {
    arrived: u64,
    id: String,
    path: PathBuf,
}

/// A part's octets and how to name them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartFile {
    /// A name that is safe in any folder.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its decoded content.
    pub octets: Vec<u8>,
}

impl Mailboxes {
    /// The Maildirs that a directory delivers to.
    pub fn of(directory: &Directory, bounds: Bounds) -> Mailboxes {
        let (root, own) = directory.places();
        Mailboxes {
            root: root.to_owned(),
            own: own.into_iter().map(Path::to_owned).collect(),
            bounds,
        }
    }

    /// The messages here, or those for one address, oldest first.
    pub fn list(&self, recipient: Option<&str>) -> Result<Listing, NotRead> {
        let mut stored = self.stored()?;
        stored.sort();
        let mut messages = Vec::new();
        let mut left = stored.len();
        for one in stored.iter().rev() {
            if messages.len() == self.bounds.list_max {
                break;
            }
            left -= 1;
            // A message that its user moved or removed meanwhile is no fault.
            let Some((octets, size)) = gone_is_none(self.read(&one.path, self.bounds.read_bytes_max))? else {
                continue;
            };
            let summary = view::summary(&one.id, one.arrived, &octets, size);
            if recipient.is_none_or(|wanted| summary.is_for(wanted)) {
                messages.push(summary);
            }
        }
        messages.reverse();
        Ok(Listing {
            messages,
            left_out: left,
        })
    }

    /// A message to be read by people.
    pub fn show(&self, id: &str) -> Result<Shown, NotRead> {
        let stored = self.find(id)?;
        let (octets, size) = self.read(&stored.path, self.bounds.read_bytes_max)?;
        Ok(view::shown(&stored.id, stored.arrived, &octets, size))
    }

    /// One part of a message, by its place (`2.1`); `message` means all of it, as it is stored.
    pub fn part(&self, id: &str, place: &str) -> Result<PartFile, NotRead> {
        let stored = self.find(id)?;
        let (octets, size) = self.read(&stored.path, self.bounds.read_bytes_max)?;
        if (octets.len() as u64) < size {
            return Err(NotRead::TooLarge(size));
        }
        view::part(&stored.id, octets, place).ok_or_else(|| NotRead::NoPart(place.to_owned()))
    }

    /// Finds a message by its name or the beginning of it.
    fn find(&self, id: &str) -> Result<Stored, NotRead> {
        let begins = |name: &str| {
            name.get(..id.len())
                .is_some_and(|start| !id.is_empty() && start.eq_ignore_ascii_case(id))
        };
        let mut found: Vec<Stored> = self.stored()?;
        found.retain(|stored| begins(&stored.id));
        if let Some(exact) = found.iter().position(|stored| stored.id.eq_ignore_ascii_case(id)) {
            return Ok(found.swap_remove(exact));
        }
        match found.len() {
            1 => Ok(found.swap_remove(0)),
            0 => Err(NotRead::Unknown(id.to_owned())),
            several => Err(NotRead::Ambiguous(id.to_owned(), several)),
        }
    }

    fn stored(&self) -> Result<Vec<Stored>, NotRead> {
        let mut stored = Vec::new();
        for domain in folders(&self.root)? {
            for user in folders(&domain)? {
                collect(&user, &mut stored)?;
            }
        }
        for maildir in &self.own {
            collect(maildir, &mut stored)?;
        }
        Ok(stored)
    }

    /// The file's octets, or its first ones if it is larger than `max`; and its size.
    fn read(&self, path: &Path, max: u64) -> Result<(Vec<u8>, u64), NotRead> {
        let world = |error| NotRead::World(path.to_owned(), error);
        let file = File::open(path).map_err(world)?;
        let size = file.metadata().map_err(world)?.len();
        let limit = if size > max {
            HEADER_BYTES_MAX.min(max)
        } else {
            size
        };
        let mut octets = Vec::with_capacity(usize::try_from(limit).unwrap_or(0));
        file.take(limit).read_to_end(&mut octets).map_err(world)?;
        Ok((octets, size))
    }
}

fn gone_is_none<T>(read: Result<T, NotRead>) -> Result<Option<T>, NotRead> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(NotRead::World(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The folders in a folder; none if it does not exist. Symbolic links are not followed.
fn folders(path: &Path) -> Result<Vec<PathBuf>, NotRead> {
    let entries = entries(path)?.into_iter();
    Ok(entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect())
}

fn collect(maildir: &Path, stored: &mut Vec<Stored>) -> Result<(), NotRead> {
    for folder in ["new", "cur"] {
        for entry in entries(&maildir.join(folder))? {
            let name = entry.file_name();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let Some(name) = name.to_str().filter(|name| is_file && !name.starts_with('.')) else {
                continue;
            };
            let seconds = name.split('.').next().and_then(|seconds| seconds.parse().ok());
            stored.push(Stored {
                arrived: seconds.unwrap_or(0),
                id: FileName::id_in(name).to_owned(),
                path: entry.path(),
            });
        }
    }
    Ok(())
}

fn entries(path: &Path) -> Result<Vec<fs::DirEntry>, NotRead> {
    let world = |error| NotRead::World(path.to_owned(), error);
    match fs::read_dir(path) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map_err(world),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(world(error)),
    }
}

impl std::fmt::Display for NotRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotRead::Unknown(id) => {
                write!(
                    f,
                    "no message here is called {}; see `sealpost mail list`",
                    screen::line(id)
                )
            }
            NotRead::Ambiguous(id, count) => write!(
                f,
                "{count} messages have names that begin with {}; write more of it",
                screen::line(id)
            ),
            NotRead::NoPart(place) => write!(
                f,
                "the message has no part {}; `sealpost mail show` names them",
                screen::line(place)
            ),
            NotRead::TooLarge(size) => write!(
                f,
                "the message has {size} octets, more than [control] read_bytes_max allows to read"
            ),
            NotRead::World(path, error) => write!(f, "cannot read {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for NotRead {}

const HEADER_BYTES_MAX: u64 = 256 * 1024;
