//! The spool's files by kind and number, and the ones kept open for reading.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::DiskError;
use crate::disk::{Disk, File};

/// The kinds of numbered files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Journal,
    Segment,
    Checkpoint,
}

/// A file not used yet, whose space is for settlements when the disk is full.
pub(crate) const RESERVE: &str = "reserve";

/// A file by its kind and number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Name(pub(crate) Kind, pub(crate) u32);

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Name> {
        let (number, kind) = name.split_once('.')?;
        let kind = match kind {
            "journal" => Kind::Journal,
            "segment" => Kind::Segment,
            "checkpoint" => Kind::Checkpoint,
            _ => return None,
        };
        let number = (number.len() == 10).then(|| number.parse().ok())??;
        Some(Name(kind, number))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.0 {
            Kind::Journal => "journal",
            Kind::Segment => "segment",
            Kind::Checkpoint => "checkpoint",
        };
        write!(f, "{:010}.{kind}", self.1)
    }
}

type Table = BTreeMap<Name, (u64, Arc<dyn File>)>;

/// The folder's files, opened once. Each has the number of its last use.
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    open: Mutex<Table>,
    uses: std::sync::atomic::AtomicU64,
    open_max: usize,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, open_max: usize) -> Files {
        Files {
            disk,
            open: Mutex::default(),
            uses: Default::default(),
            open_max,
        }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// A new file, kept open.
    pub(crate) fn create(&self, name: Name, bytes_reserved: u64) -> Result<Arc<dyn File>, DiskError> {
        let file = self
            .disk
            .create(&name.to_string(), bytes_reserved)
            .map_err(|error| DiskError::failed(format!("create {name}"), error))?;
        self.remember(name, &file);
        Ok(file)
    }

    /// An existing file.
    pub(crate) fn open(&self, name: Name) -> Result<Arc<dyn File>, DiskError> {
        let used = self.uses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some((last_used, file)) = self.table().get_mut(&name) {
            *last_used = used;
            return Ok(Arc::clone(file));
        }
        let file = self
            .disk
            .open(&name.to_string())
            .map_err(|error| DiskError::failed(format!("open {name}"), error))?;
        self.remember(name, &file);
        Ok(file)
    }

    /// Removes a file; readers that have it open still can read.
    pub(crate) fn unlink(&self, name: Name) -> Result<(), DiskError> {
        self.table().remove(&name);
        match self.disk.unlink(&name.to_string()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError::failed(format!("remove {name}"), error))
            }
            // Gone already: an earlier removal did more than it said.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn remember(&self, name: Name, file: &Arc<dyn File>) {
        let used = self.uses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut table = self.table();
        if table.len() >= self.open_max
            && let Some(oldest) = table
                .iter()
                .min_by_key(|(_, (last_used, _))| *last_used)
                .map(|(&name, _)| name)
        {
            table.remove(&oldest);
        }
        table.insert(name, (used, Arc::clone(file)));
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // A thread that panicked here left a whole table: every change is one insertion or removal.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
