//! Puts attachments into a folder: new files only, inside that folder only.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::names;

/// An open folder to save into.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: OwnedFd,
    used: BTreeSet<String>,
}

impl Folder {
    /// Opens a folder, made if it is missing.
    pub fn open(path: &Path) -> io::Result<Folder> {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        let folder = rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Folder {
            path: path.to_owned(),
            folder,
            used: BTreeSet::new(),
        })
    }

    /// Saves octets under `name` or, where that is taken, under the next free number of it. Nothing is overwritten
    /// and no link is followed. Returns the file's path.
    pub fn save(&mut self, name: &str, octets: &[u8]) -> io::Result<PathBuf> {
        // Cleaned where it was read; once more here, because a mistake there must not write elsewhere.
        let name = names::safe(name).unwrap_or_else(|| "attachment".to_owned());
        let (file, name) = self.create(&name)?;
        if let Err(error) = write(file, octets) {
            let _ = rustix::fs::unlinkat(&self.folder, name.as_str(), AtFlags::empty());
            return Err(error);
        }
        Ok(self.path.join(name))
    }

    fn create(&mut self, name: &str) -> io::Result<(File, String)> {
        for number in 1..=NUMBERS_MAX {
            let candidate = match number {
                1 => name.to_owned(),
                number => names::numbered(name, number),
            };
            // A.TXT and a.txt are one file on some file systems.
            if self.used.contains(&candidate.to_lowercase()) {
                continue;
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(
                &self.folder,
                candidate.as_str(),
                flags,
                Mode::from_raw_mode(0o644),
            ) {
                Ok(file) => {
                    self.used.insert(candidate.to_lowercase());
                    return Ok((File::from(file), candidate));
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{NUMBERS_MAX} files called {name} are there already"),
        ))
    }
}

/// Writes through to the end: what is reported as saved is complete.
fn write(mut file: fs::File, octets: &[u8]) -> io::Result<()> {
    file.write_all(octets)?;
    file.sync_all()
}

const NUMBERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    // proves: 2183-2.3-1 2183-5-1
    #[test]
    fn nothing_is_overwritten_and_nothing_leaves() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("a/b");
        let mut folder = Folder::open(&path).unwrap();
        assert_eq!(folder.save("x.txt", b"1").unwrap(), path.join("x.txt"));
        assert_eq!(folder.save("X.TXT", b"2").unwrap(), path.join("X (2).TXT"));
        fs::write(path.join("y"), b"mine").unwrap();
        assert_eq!(folder.save("y", b"3").unwrap(), path.join("y (2)"));
        assert_eq!(fs::read(path.join("y")).unwrap(), b"mine");
        std::os::unix::fs::symlink(around.path().join("target"), path.join("link")).unwrap();
        assert_eq!(folder.save("link", b"4").unwrap(), path.join("link (2)"));
        assert!(!around.path().join("target").exists());
        for name in ["../up", "/etc/x", "..", "", "a\0b", "\u{202e}"] {
            let saved = folder.save(name, b"5").unwrap();
            assert_eq!(saved.parent(), Some(path.as_path()), "{name:?}");
        }
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1);
    }
}
