//! One Maildir: a message appears in it whole, or not at all, and survives a power cut.
//!
//! Written in `tmp`, synced, linked into `new`, both folders synced. The file's name follows from the message and the
//! recipient, so that a delivery repeated after a crash finds the first one instead of doubling it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::{Domain, Mailbox, MessageId};

use super::fields::WithoutReturnPath;
use super::tables::fold;

/// A user's Maildir.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maildir {
    path: PathBuf,
}

/// The name of a delivered message's file: `SECONDS.ID-RECIPIENT.HOST`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileName {
    unique: String,
    host: String,
}

/// Whether an earlier attempt may have delivered this message and been forgotten in a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// This is the first.
    First,
    /// There may have been one: the user may even have moved the message since.
    Again,
}

/// How the message came to be in the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It was written now.
    Now,
    /// It was there already.
    Before,
}

/// What could not be done, where, and why.
#[derive(Debug)]
pub struct NotKept {
    /// The act, as in "cannot …".
    pub act: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

impl FileName {
    /// The name for one recipient of one message.
    pub fn new(arrived: SystemTime, id: MessageId, recipient: &Mailbox, host: &Domain) -> FileName {
        let seconds = arrived.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        FileName {
            unique: format!("{seconds}.{id}-{:016x}", recipient_mark(recipient)),
            host: host.as_str().to_owned(), // a Domain has neither `/` nor `:`
        }
    }

    /// What names the message to people: `ID-RECIPIENT`.
    pub fn id_in(file_name: &str) -> &str {
        let base = file_name.split(':').next().unwrap_or(file_name);
        match base.split('.').nth(1) {
            Some(id) if is_ours(id) => id,
            _ => base,
        }
    }
}

impl Maildir {
    /// The Maildir at `path`; nothing is made before the first delivery.
    pub fn at(path: impl Into<PathBuf>) -> Maildir {
        Maildir { path: path.into() }
    }

    /// Puts a message into `new`: `head` (whole lines), then `content` without its `Return-Path:` fields, which are
    /// removed at final delivery alone (RFC 5321 §4.4). When this returns, a power cut takes nothing away.
    pub fn deliver(
        &self,
        name: &FileName,
        head: &[u8],
        content: &mut dyn Read,
        attempt: Attempt,
    ) -> Result<Kept, NotKept> {
        self.make_folders()?;
        let target = self.folder("new").join(name.to_string());
        if is_there(&target)? || attempt == Attempt::Again && self.holds(name)? {
            return Ok(Kept::Before);
        }
        let draft = self.folder("tmp").join(name.to_string());
        let written = self.write(&draft, head, content);
        let kept = written.and_then(|()| self.publish(&draft, &target));
        if kept.is_err() {
            // The draft is ours and unfinished; what cannot be removed now goes at the next start.
            let _ = fs::remove_file(&draft);
        }
        kept
    }

    /// Removes what broken deliveries left in `tmp`: our own files at once, since none is being written at start, and
    /// others' after 36 hours, as the format asks. A Maildir that does not exist is clean.
    pub fn clean(&self, now: SystemTime) -> Result<usize, NotKept> {
        let folder = self.folder("tmp");
        let mut removed = 0;
        for entry in entries(&folder)? {
            let path = entry.path();
            let name = entry.file_name();
            let ours = name
                .to_str()
                .is_some_and(|name| name.split('.').nth(1).is_some_and(is_ours));
            if ours || is_older(&entry, now, STALE_AFTER) {
                fs::remove_file(&path).map_err(because("remove the unfinished", &path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn make_folders(&self) -> Result<(), NotKept> {
        for folder in ["tmp", "new", "cur"] {
            make_folder(&self.folder(folder))?;
        }
        Ok(())
    }

    fn write(&self, draft: &Path, head: &[u8], content: &mut dyn Read) -> Result<(), NotKept> {
        let mut file = open_new(draft)?;
        let write = because("write", draft);
        let mut out = Vec::with_capacity(PIECE_BYTES + head.len());
        out.extend_from_slice(head);
        let mut piece = vec![0; PIECE_BYTES];
        let mut filter = WithoutReturnPath::default();
        loop {
            let read = content
                .read(&mut piece)
                .map_err(because("read the kept message for", draft))?;
            if read == 0 {
                break;
            }
            filter.feed(&piece[..read], &mut out);
            file.write_all(&out).map_err(&write)?;
            out.clear();
        }
        filter.end(&mut out);
        file.write_all(&out).map_err(&write)?;
        file.sync_all().map_err(because("sync", draft))
    }

    fn publish(&self, draft: &Path, target: &Path) -> Result<Kept, NotKept> {
        let kept = match fs::hard_link(draft, target) {
            Ok(()) => Kept::Now,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Kept::Before,
            Err(error) if has_no_links(&error) => {
                // Nobody else makes this name, so nothing is overwritten.
                fs::rename(draft, target).map_err(because("move the message to", target))?;
                sync_folder(&self.folder("new"))?;
                sync_folder(&self.folder("tmp"))?;
                return Ok(Kept::Now);
            }
            Err(error) => return Err(because("move the message to", target)(error)),
        };
        sync_folder(&self.folder("new"))?;
        fs::remove_file(draft).map_err(because("remove the draft", draft))?;
        sync_folder(&self.folder("tmp"))?;
        Ok(kept)
    }

    /// Whether a file for this message and recipient lies in `new` or `cur`, whatever flags it bears by now.
    fn holds(&self, name: &FileName) -> Result<bool, NotKept> {
        for folder in ["new", "cur"] {
            for entry in entries(&self.folder(folder))? {
                let found = entry.file_name();
                let rest = found
                    .to_str()
                    .and_then(|found| found.strip_prefix(name.unique.as_str()));
                if rest.is_some_and(|rest| rest.starts_with('.')) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The Maildirs that lie as `DOMAIN/USER` below `root`.
pub fn below(root: &Path) -> Result<Vec<Maildir>, NotKept> {
    let mut found = Vec::new();
    for domain in entries(root)? {
        for user in entries(&domain.path())? {
            found.push(Maildir::at(user.path()));
        }
    }
    Ok(found)
}

/// The folder's entries; none if it does not exist.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, NotKept> {
    let read = because("read the folder", folder);
    match fs::read_dir(folder) {
        Ok(found) => found.collect::<io::Result<Vec<_>>>().map_err(read),
        Err(error) if is_no_folder(&error) => Ok(Vec::new()),
        Err(error) => Err(read(error)),
    }
}

/// Makes a folder and those above it, each synced into its parent.
fn make_folder(path: &Path) -> Result<(), NotKept> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_folder(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(because("make the folder", path)(error)),
    }
}

/// A new file for its owner's eyes only. What lies there under this name is our own draft from before a crash.
fn open_new(path: &Path) -> Result<File, NotKept> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path).map_err(because("replace the unfinished", path))?;
            open().map_err(because("make", path))
        }
        opened => opened.map_err(because("make", path)),
    }
}

fn sync_folder(path: &Path) -> Result<(), NotKept> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(because("sync the folder", path))
}

fn is_there(path: &Path) -> Result<bool, NotKept> {
    path.try_exists().map_err(because("look at", path))
}

fn is_older(entry: &fs::DirEntry, now: SystemTime, age: Duration) -> bool {
    let changed = entry.metadata().and_then(|meta| meta.modified());
    changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|old| old > age))
}

fn is_no_folder(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// File systems without hard links answer so.
fn has_no_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

fn because<'p>(act: &'static str, path: &'p Path) -> impl Fn(io::Error) -> NotKept + 'p {
    move |source| NotKept {
        act,
        path: path.to_owned(),
        source,
    }
}

/// `ID-RECIPIENT` as [`FileName`] prints it.
fn is_ours(id: &str) -> bool {
    id.split_once('-').is_some_and(|(id, mark)| {
        MessageId::parse(id).is_some() && mark.len() == 16 && mark.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// 64 bits of FNV-1a over the folded address: tells the recipients of one message apart.
fn recipient_mark(recipient: &Mailbox) -> u64 {
    let text = format!("{}@{}", fold(recipient.local().as_str()), recipient.host());
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.unique, self.host)
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.act, self.path.display(), self.source)
    }
}

impl std::error::Error for NotKept {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

const PIECE_BYTES: usize = 64 * 1024;
const STALE_AFTER: Duration = Duration::from_secs(36 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn name(recipient: &str) -> FileName {
        FileName::new(
            UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            MessageId::new(1_700_000_000_123, 7),
            &Mailbox::parse(recipient).unwrap(),
            &Domain::parse("mx.example").unwrap(),
        )
    }

    fn deliver(maildir: &Maildir, recipient: &str, content: &[u8], attempt: Attempt) -> Kept {
        let mut content = content;
        maildir
            .deliver(&name(recipient), b"Return-Path: <>\r\n", &mut content, attempt)
            .unwrap()
    }

    fn files(path: &Path) -> Vec<PathBuf> {
        fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[test]
    fn a_message_is_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let maildir = Maildir::at(folder.path().join("x.example/ann"));
        let content = b"Subject: x\r\nReturn-Path: <a@b>\r\n folded\r\n\r\nReturn-Path: <kept>\r\n\0\xff\r";
        assert_eq!(
            deliver(&maildir, "ann@x.example", content, Attempt::First),
            Kept::Now
        );
        let new = files(&maildir.folder("new"));
        let expected: &[u8] = b"Return-Path: <>\r\nSubject: x\r\n\r\nReturn-Path: <kept>\r\n\0\xff\r";
        assert_eq!(fs::read(&new[0]).unwrap(), expected);
        assert_eq!(fs::metadata(&new[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(&maildir.path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(files(&maildir.folder("tmp")).is_empty());
        assert!(maildir.folder("cur").is_dir());
    }

    #[test]
    fn a_repeated_delivery_finds_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let maildir = Maildir::at(folder.path());
        deliver(&maildir, "ann@x.example", b"\r\n", Attempt::First);
        assert_eq!(
            deliver(&maildir, "ANN@x.example", b"\r\n", Attempt::First),
            Kept::Before
        );
        assert_eq!(
            deliver(&maildir, "ann+b@x.example", b"\r\n", Attempt::First),
            Kept::Now
        );
        // A crash between the link and the removal of the draft.
        let draft = maildir.folder("tmp").join(name("ann@x.example").to_string());
        fs::write(&draft, b"half").unwrap();
        assert_eq!(
            deliver(&maildir, "ann@x.example", b"\r\n", Attempt::Again),
            Kept::Before
        );
        // Read and moved by the user in between.
        let from = maildir.folder("new").join(name("ann@x.example").to_string());
        let to = maildir
            .folder("cur")
            .join(format!("{}:2,S", name("ann@x.example")));
        fs::rename(from, to).unwrap();
        assert_eq!(
            deliver(&maildir, "ann@x.example", b"\r\n", Attempt::Again),
            Kept::Before
        );
        assert_eq!(files(&maildir.folder("new")).len(), 1);
    }

    #[test]
    fn an_unfinished_draft_is_replaced_or_cleaned() {
        let folder = tempfile::tempdir().unwrap();
        let maildir = Maildir::at(folder.path());
        assert_eq!(maildir.clean(SystemTime::now()).unwrap(), 0);
        deliver(&maildir, "bob@x.example", b"\r\n", Attempt::First);
        let draft = maildir.folder("tmp").join(name("ann@x.example").to_string());
        fs::write(&draft, b"half").unwrap();
        assert_eq!(
            deliver(&maildir, "ann@x.example", b"\r\n", Attempt::First),
            Kept::Now
        );
        assert!(!draft.exists());
        fs::write(&draft, b"half").unwrap();
        fs::write(maildir.folder("tmp").join("another-program"), b"busy").unwrap();
        assert_eq!(maildir.clean(SystemTime::now()).unwrap(), 1);
        assert_eq!(files(&maildir.folder("tmp")).len(), 1);
        assert_eq!(maildir.clean(SystemTime::now() + STALE_AFTER * 2).unwrap(), 1);
    }

    #[test]
    fn trouble_names_the_place_and_leaves_nothing() {
        struct Breaks;
        impl Read for Breaks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let maildir = Maildir::at(folder.path().join("m"));
        let error = maildir
            .deliver(&name("a@x.example"), b"", &mut Breaks, Attempt::First)
            .unwrap_err();
        assert!(error.to_string().contains("m/tmp/1700000000."), "{error}");
        assert!(files(&maildir.folder("tmp")).is_empty());
        fs::write(folder.path().join("file"), b"").unwrap();
        let blocked = Maildir::at(folder.path().join("file/ann"));
        let mut empty: &[u8] = b"";
        assert!(
            blocked
                .deliver(&name("a@x.example"), b"", &mut empty, Attempt::First)
                .is_err()
        );
    }

    #[test]
    fn names_follow_the_format() {
        let name = name("ann@x.example").to_string();
        let parts: Vec<&str> = name.splitn(3, '.').collect();
        assert_eq!((parts[0], parts[2]), ("1700000000", "mx.example"));
        assert_eq!(FileName::id_in(&format!("{name}:2,RS")), parts[1]);
        assert_eq!(FileName::id_in("1700.P1Q2.host:2,S"), "1700.P1Q2.host");
    }
}
