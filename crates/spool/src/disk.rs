//! The world of files, as the spool sees it: one folder, and the few things a log needs to do there. Nothing else in
//! the workspace's cores touches a file. The real body is [`Folder`]; the simulated one is [`crate::simulated`].
//!
//! A name is a plain file name, or one in the folder `damaged/`, where records that cannot be read are set aside.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
use rustix::io::Errno;

/// One folder that belongs to one spool.
pub trait Disk: Send + Sync {
    /// Claims the folder for as long as the returned value lives. `WouldBlock` when another server holds it.
    fn lock(&self) -> io::Result<Box<dyn Claim>>;
    /// The names of the files in the folder, in no fixed order, without those in `damaged/`.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new file whose first `bytes_reserved` octets are zero and cannot run out of space. `AlreadyExists`
    /// when the name is taken; `StorageFull` when there is no room, and then no file is left behind.
    fn create(&self, name: &str, bytes_reserved: u64) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file a new name, in place of a file of that name if there is one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. Who has the file open can still read it.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable: what was created, renamed and unlinked before survives a power cut.
    fn sync_folder(&self) -> io::Result<()>;
    /// Octets that this server could still write.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Some dice: unlike from start to start, so that nobody outside can foresee it.
    fn roll(&self) -> u64;
}

/// One open file.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` octets from `offset`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes the octets durable. After an error nothing is known of what was written since the last success.
    fn sync_data(&self) -> io::Result<()>;
    /// The length in octets, reserved space included.
    fn bytes(&self) -> io::Result<u64>;
    /// Cuts the file behind `bytes`, and gives back the space.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
}

/// Holds the folder while it lives.
pub trait Claim: Send + Sync {}

/// A folder of the real file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Uses `path`, and makes it, readable by its owner alone, when it is missing.
    pub fn open(path: &Path) -> io::Result<Folder> {
        make_private(path)?;
        Ok(Folder {
            path: path.to_path_buf(),
        })
    }

    fn make_room_for(&self, name: &str) -> io::Result<()> {
        match name.starts_with("damaged/") {
            true => make_private(&self.path.join("damaged")),
            false => Ok(()),
        }
    }

    fn place(&self, name: &str) -> io::Result<PathBuf> {
        let mut parts = name.split('/');
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let fits = match (parts.next(), parts.next(), parts.next()) {
            (Some(file), None, None) => plain(file),
            (Some("damaged"), Some(file), None) => plain(file),
            _ => false,
        };
        if fits {
            Ok(self.path.join(name))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is no name in the spool"),
            ))
        }
    }
}

impl Disk for Folder {
    fn lock(&self) -> io::Result<Box<dyn Claim>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.join("lock"))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(Lock { _file: file }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes_reserved: u64) -> io::Result<Arc<dyn File>> {
        let place = self.place(name)?;
        self.make_room_for(name)?;
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&place)?;
        if let Err(error) = reserve(&file, bytes_reserved) {
            // The reservation's error is the one to tell; an empty file left behind is swept at the next start.
            let _ = fs::remove_file(&place);
            return Err(error);
        }
        Ok(Arc::new(RealFile { file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.place(name)?)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.make_room_for(to)?;
        fs::rename(self.place(from)?, self.place(to)?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.place(name)?)
    }

    fn sync_folder(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()?;
        match fs::File::open(self.path.join("damaged")) {
            Ok(folder) => folder.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let facts = statvfs(&self.path)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    fn roll(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    }
}

struct Lock {
    _file: fs::File,
}

impl Claim for Lock {}

struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn reserve(file: &fs::File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // A file system that cannot promise space (some network file systems): its writes may fail instead, and
        // that is answered like any failed write.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
        Err(error) => Err(error.into()),
    }
}
