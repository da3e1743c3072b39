//! What is remembered beside messages: one file, `memory.redb` in the data folder, with a shelf for each kind of thing.
//!
//! Owns the file and how it is written: one thread commits for all who wait, many changes with one sync. Knows nothing of
//! what the values mean: who owns a shelf encodes what lies on it, and treats what it cannot read as absent, by name.

mod committer;

use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadableDatabase, TableDefinition};

use tokio::sync::SemaphorePermit;

use crate::ports::Later;
use committer::Committer;

/// The open file. Cheap to clone; the last clone dropped writes what still waits.
#[derive(Clone)]
pub struct Memory {
    store: Arc<Store>,
    /// None where the caller commits: without a file.
    committer: Option<Arc<Committer>>,
}

/// A kind of things that are remembered. Each has its own keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shelf {
    /// What hosts have shown, by domain and host.
    Hosts,
    /// What is known of domains as a whole.
    Domains,
    /// What people said of hosts and domains, and small things of our own, such as this node's name.
    Notes,
    /// What clients have shown that send to us.
    Inbound,
    /// MTA-STS policies.
    Policies,
    /// Alarms that were raised and have not ended, and where they still have to be told.
    Alarms,
}

/// One value to be kept under a key; none to forget it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// On which shelf.
    pub shelf: Shelf,
    /// Under which key.
    pub key: Box<[u8]>,
    /// What.
    pub value: Option<Box<[u8]>>,
}

/// Why something cannot be remembered, or looked up. `Display` is one line that says who must act.
#[derive(Clone, Debug)]
pub enum MemoryError {
    /// The file cannot be opened.
    Open(Box<str>),
    /// Another server has it open.
    InUse(Box<str>),
    /// A look-up failed.
    Read(Arc<redb::Error>),
    /// A change could not be made durable: the disk is full, or fails.
    Write(Arc<redb::Error>),
    /// The file is damaged where it was read or written.
    Damaged,
    /// Too much waits to be written already.
    Busy,
    /// The server is ending.
    Closed,
}

/// What a scan calls with each key and value.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

impl Memory {
    /// Opens the file, or makes it. Blocks; takes long only for a file that an older program left without a clean end.
    pub fn open(path: &Path) -> Result<Memory, MemoryError> {
        let store = Store::prepare(open(path)?, Some(path.to_owned()))
            .map_err(|error| MemoryError::Open(format!("{}: {error}", path.display()).into()))?;
        let store = Arc::new(store);
        let committer = Committer::start(store.clone()).map_err(|error| {
            MemoryError::Open(format!("{}: no thread to write it: {error}", path.display()).into())
        })?;
        Ok(Memory {
            store,
            committer: Some(Arc::new(committer)),
        })
    }

    /// Without a file: for tests and simulations. Every change is made at once, in the caller's thread.
    pub fn in_memory() -> Result<Memory, MemoryError> {
        let backend = InMemoryBackend::new();
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(|error| MemoryError::Open(error.to_string().into()))?;
        Ok(Memory {
            store: Arc::new(Store::prepare(database, None)?),
            committer: None,
        })
    }

    /// The value under a key. Sees what is durable. A page that is not cached is read from the disk.
    pub fn get(&self, shelf: Shelf, key: &[u8]) -> Result<Option<Vec<u8>>, MemoryError> {
        sound(|| self.store.get(shelf, key))?.map_err(MemoryError::read)
    }

    /// Every key that begins with `prefix`, in order, until `each` says to stop. Sees what is durable at its begin. Blocks.
    pub fn scan(&self, shelf: Shelf, prefix: &[u8], each: &mut Each<'_>) -> Result<(), MemoryError> {
        sound(|| self.store.scan(shelf, prefix, each))?.map_err(MemoryError::read)
    }

    /// Makes all these changes durable, all or none. Resolves when they are.
    pub async fn keep(&self, changes: Vec<Change>) -> Result<(), MemoryError> {
        self.room().await?.hand_over(changes).await
    }

    /// Waits for a place in what waits to be written, for one who has to hand over under a lock.
    pub async fn room(&self) -> Result<Room<'_>, MemoryError> {
        match &self.committer {
            Some(committer) => committer.room().await.map(|permit| Room {
                memory: self,
                permit: Some(permit),
            }),
            None => Ok(Room {
                memory: self,
                permit: None,
            }),
        }
    }

    /// Makes all these changes durable soon, behind all that was handed over before. Does not wait: a failure is told in the
    /// log. Refused when too much waits.
    pub fn keep_later(&self, changes: Vec<Change>) -> Result<(), MemoryError> {
        match &self.committer {
            Some(committer) => committer.keep_later(changes),
            None => self.store.commit(&changes),
        }
    }

    /// Writes what waits, and takes nothing more. Blocks.
    pub fn close(&self) {
        if let Some(committer) = &self.committer {
            committer.close();
        }
    }
}

/// A place in what waits to be written.
pub struct Room<'a> {
    memory: &'a Memory,
    permit: Option<SemaphorePermit<'a>>,
}

/// Resolves when what was handed over is durable.
pub type Durable = Later<'static, Result<(), MemoryError>>;

impl Room<'_> {
    /// Hands changes over, behind all that was handed over before. They are made whether or not anyone waits.
    pub fn hand_over(self, changes: Vec<Change>) -> Durable {
        match (&self.memory.committer, self.permit) {
            (Some(committer), Some(permit)) => committer.hand_over(permit, changes),
            _ => {
                let kept = self.memory.store.commit(&changes);
                Box::pin(std::future::ready(kept))
            }
        }
    }

    /// As [`Room::hand_over`], where nobody waits: a failure is told in the log.
    pub fn hand_over_later(self, changes: Vec<Change>) {
        match (&self.memory.committer, self.permit) {
            (Some(committer), Some(permit)) => committer.hand_over_later(permit, changes),
            _ => {
                if let Err(because) = self.memory.store.commit(&changes) {
                    tracing::error!(%because, "not remembered");
                }
            }
        }
    }
}

impl Shelf {
    /// All of them.
    pub const ALL: [Shelf; 6] = [
        Shelf::Hosts,
        Shelf::Domains,
        Shelf::Notes,
        Shelf::Inbound,
        Shelf::Policies,
        Shelf::Alarms,
    ];

    fn table(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Shelf::Hosts => "hosts",
            Shelf::Domains => "domains",
            Shelf::Notes => "notes",
            Shelf::Inbound => "inbound",
            Shelf::Policies => "policies",
            Shelf::Alarms => "alarms",
        })
    }
}

impl Change {
    /// To keep this value.
    pub fn put(shelf: Shelf, key: impl Into<Box<[u8]>>, value: impl Into<Box<[u8]>>) -> Change {
        Change {
            shelf,
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// To forget the key.
    pub fn remove(shelf: Shelf, key: impl Into<Box<[u8]>>) -> Change {
        Change {
            shelf,
            key: key.into(),
            value: None,
        }
    }
}

/// The database itself. After a failed write it takes no more, so that it is opened anew.
struct Store {
    database: RwLock<Option<Arc<Database>>>,
    /// Where its file is; none without one.
    path: Option<PathBuf>,
}

impl Store {
    /// Sees to it that every shelf is there, so that a look-up need not ask.
    fn prepare(database: Database, path: Option<PathBuf>) -> Result<Store, MemoryError> {
        let store = Store {
            database: RwLock::new(Some(Arc::new(database))),
            path,
        };
        store.commit(&[]).map(|()| store)
    }

    /// The lock is held for the clone alone.
    fn database(&self) -> Result<Arc<Database>, redb::Error> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or(redb::Error::PreviousIo)
    }

    fn get(&self, shelf: Shelf, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database()?.begin_read()?.open_table(shelf.table())?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, shelf: Shelf, prefix: &[u8], each: &mut Each<'_>) -> Result<(), redb::Error> {
        let table = self.database()?.begin_read()?.open_table(shelf.table())?;
        for entry in table.range::<&[u8]>(prefix..)? {
            let (key, value) = entry?;
            if !key.value().starts_with(prefix) || each(key.value(), value.value()).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Blocks until the changes are synced.
    fn commit(&self, changes: &[Change]) -> Result<(), MemoryError> {
        self.open_anew()?;
        let written = sound(|| self.write(changes));
        if let (Some(_), Ok(Err(_)) | Err(_)) = (&self.path, &written) {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        written?.map_err(|error| MemoryError::Write(Arc::new(error)))
    }

    /// After a failed write, the file as it was when it was last sound. As long as a look-up holds the old one open it
    /// stays locked; the next commit tries again.
    fn open_anew(&self) -> Result<(), MemoryError> {
        let Some(path) = self.path.as_ref().filter(|_| self.database().is_err()) else {
            return Ok(());
        };
        let database = open(path)?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
        Ok(())
    }

    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let mut transaction = self.database()?.begin_write()?;
        // A start after a crash need not read the whole file then.
        transaction.set_quick_repair(true);
        for shelf in Shelf::ALL {
            let mut table = transaction.open_table(shelf.table())?;
            for change in changes.iter().filter(|change| change.shelf == shelf) {
                match &change.value {
                    Some(value) => drop(table.insert(&*change.key, &**value)?),
                    None => drop(table.remove(&*change.key)?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn open(path: &Path) -> Result<Database, MemoryError> {
    let name = path.display();
    match sound(|| Builder::new().set_cache_size(CACHE_BYTES).create(path)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => Err(MemoryError::InUse(name.to_string().into())),
        Ok(Err(error)) => Err(MemoryError::Open(format!("{name}: {error}").into())),
        Err(_) => Err(MemoryError::Open(format!("{name}: the file is damaged").into())),
    }
}

/// A damaged file can make the database panic instead of saying so; nothing of it is ours to be left half done.
fn sound<T>(work: impl FnOnce() -> T) -> Result<T, MemoryError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| MemoryError::Damaged)
}

impl MemoryError {
    fn read(error: redb::Error) -> MemoryError {
        MemoryError::Read(Arc::new(error))
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryError::Open(what) => write!(
                f,
                "cannot open the memory of peers: {what}; give the server the right to it and room for it, or move the \
                 file away to begin with an empty memory"
            ),
            MemoryError::InUse(path) => write!(f, "{path}: another server has this memory open: stop it first"),
            MemoryError::Read(error) => write!(f, "the memory of peers cannot be read: {error}"),
            MemoryError::Write(error) => write!(f, "the memory of peers cannot be written: {error}"),
            MemoryError::Damaged => f.write_str(
                "the memory of peers is damaged: stop the server, move memory.redb away, and import an export of it",
            ),
            MemoryError::Busy => f.write_str("too much waits to be written to the memory of peers: is its disk slow?"),
            MemoryError::Closed => f.write_str("the memory of peers is closed: the server is ending"),
        }
    }
}

impl std::error::Error for MemoryError {}

/// Pages of the file that are kept in main memory.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change::put(Shelf::Hosts, key.as_bytes(), value.as_bytes())
    }

    fn keys(memory: &Memory, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        memory
            .scan(Shelf::Hosts, prefix.as_bytes(), &mut |key, _| {
                found.push(String::from_utf8_lossy(key).into_owned());
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    async fn works(memory: &Memory) {
        memory
            .keep(vec![put("a/1", "x"), put("b/1", "y"), put("a/2", "z")])
            .await
            .unwrap();
        assert_eq!(memory.get(Shelf::Hosts, b"a/1").unwrap().unwrap(), b"x");
        assert_eq!(memory.get(Shelf::Domains, b"a/1").unwrap(), None, "another shelf");
        assert_eq!(keys(memory, "a/"), ["a/1", "a/2"]);
        assert_eq!(keys(memory, ""), ["a/1", "a/2", "b/1"]);
        let mut first = Vec::new();
        let stop = &mut |key: &[u8], _: &[u8]| {
            first.push(key.to_vec());
            ControlFlow::Break(())
        };
        memory.scan(Shelf::Hosts, b"", stop).unwrap();
        assert_eq!(first, [b"a/1"]);
        let forget = Change::remove(Shelf::Hosts, *b"a/1");
        memory.keep(vec![forget, put("a/2", "w")]).await.unwrap();
        assert_eq!(keys(memory, "a/"), ["a/2"]);
        assert_eq!(memory.get(Shelf::Hosts, b"a/2").unwrap().unwrap(), b"w");
    }

    #[tokio::test]
    async fn what_is_kept_is_found_with_and_without_a_file() {
        works(&Memory::in_memory().unwrap()).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.redb");
        works(&Memory::open(&path).unwrap()).await;
        let again = Memory::open(&path).unwrap();
        assert_eq!(keys(&again, ""), ["a/2", "b/1"], "a restart loses nothing");
    }

    #[tokio::test]
    async fn the_order_of_changes_is_theirs_whoever_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.redb");
        let memory = Memory::open(&path).unwrap();
        for round in 0..50 {
            memory.keep_later(vec![put("a", &round.to_string())]).unwrap();
        }
        memory.keep(vec![put("b", "x")]).await.unwrap();
        assert_eq!(memory.get(Shelf::Hosts, b"a").unwrap().unwrap(), b"49");
        memory.keep_later(vec![put("a", "last")]).unwrap();
        memory.close();
        assert!(matches!(
            memory.keep(vec![put("a", "late")]).await,
            Err(MemoryError::Closed)
        ));
        assert!(matches!(memory.keep_later(vec![]), Err(MemoryError::Closed)));
        drop(memory);
        let again = Memory::open(&path).unwrap();
        assert_eq!(again.get(Shelf::Hosts, b"a").unwrap().unwrap(), b"last");
    }

    #[test]
    fn what_cannot_be_opened_is_said_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.redb");
        let told = |opened: Result<Memory, MemoryError>| opened.map(drop).unwrap_err().to_string();
        let first = Memory::open(&path).unwrap();
        let second = told(Memory::open(&path));
        assert!(second.contains("another server"), "{second}");
        drop(first);
        std::fs::write(&path, b"no database at all, but long enough to be looked at").unwrap();
        let foreign = told(Memory::open(&path));
        assert!(
            foreign.contains("memory.redb") && foreign.contains("move the file away"),
            "{foreign}"
        );
        assert!(!foreign.contains('\n'), "{foreign}");
        let nowhere = told(Memory::open(&folder.path().join("none/memory.redb")));
        assert!(nowhere.contains("cannot open"), "{nowhere}");
    }

    /// Cut off or overwritten anywhere, the file is refused, or opens and answers; nothing panics.
    #[tokio::test]
    async fn a_damaged_file_never_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.redb");
        {
            let memory = Memory::open(&path).unwrap();
            for round in 0..40 {
                let changes = (0..20).map(|key| put(&format!("{round}/{key}"), &"v".repeat(200)));
                memory.keep(changes.collect()).await.unwrap();
            }
        }
        let whole = std::fs::read(&path).unwrap();
        let damaged = folder.path().join("damaged.redb");
        for cut in (0..whole.len()).step_by(whole.len() / 24) {
            let mut torn = whole.clone();
            torn[cut..].iter_mut().take(700).for_each(|octet| *octet ^= 0x5a);
            for octets in [&whole[..cut], &torn[..]] {
                std::fs::write(&damaged, octets).unwrap();
                if let Ok(memory) = Memory::open(&damaged) {
                    let _ = memory.get(Shelf::Hosts, b"1/1");
                    let _ = memory.scan(Shelf::Hosts, b"", &mut |_, _| ControlFlow::Continue(()));
                    let _ = memory.keep(vec![put("a", "b")]).await;
                }
            }
        }
    }
}
