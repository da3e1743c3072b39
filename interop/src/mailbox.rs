//! What arrived: folders of one file a message, as the peers' local delivery leaves them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::letter;
use crate::patience::wait_for;

/// A message that arrived.
#[derive(Clone)]
pub struct Arrived {
    /// The file it lies in.
    pub file: PathBuf,
    /// Its octets, trace included.
    pub octets: Vec<u8>,
}

impl Arrived {
    /// What the hosts on the way wrote above the letter.
    pub fn trace(&self) -> String {
        letter::trace_of(&self.octets)
    }
}

/// All finished messages in the Maildirs (`new`, `cur`) and plain folders below `folder`.
pub fn all(folder: &Path) -> Vec<Arrived> {
    files(folder)
        .into_iter()
        .filter_map(|file| fs::read(&file).ok().map(|octets| Arrived { file, octets }))
        .collect()
}

/// The files of all finished messages below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "tmp" {
            found.extend(files(&path));
        } else if path.is_file() && !name.starts_with("tmp.") && !name.starts_with("maildir") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Waits for the letter named `id`, and gives every copy of it that is there then.
pub fn wait_for_letter(folder: &Path, id: &str, patience: Duration) -> Vec<Arrived> {
    wait_for(&format!("letter {id} in {}", folder.display()), patience, || {
        let copies: Vec<Arrived> = all(folder)
            .into_iter()
            .filter(|arrived| letter::id_of(&arrived.octets).as_deref() == Some(id))
            .collect();
        (!copies.is_empty()).then_some(copies)
    })
}

/// How many copies of each letter arrived, by name.
pub fn tally(folder: &Path) -> BTreeMap<String, usize> {
    by_letter(folder)
        .into_iter()
        .map(|(id, files)| (id, files.len()))
        .collect()
}

/// The files that hold each letter, by name. Reads no more than their heads, and leaves out what is no letter.
pub fn by_letter(folder: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut letters: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files(folder) {
        if let Some(id) = head_of(&file).as_deref().and_then(letter::id_of) {
            letters.entry(id).or_default().push(file);
        }
    }
    letters
}

fn head_of(file: &Path) -> Option<Vec<u8>> {
    const HEAD_BYTES_MAX: u64 = 16 * 1024;
    let mut head = Vec::new();
    std::io::Read::read_to_end(
        &mut std::io::Read::take(fs::File::open(file).ok()?, HEAD_BYTES_MAX),
        &mut head,
    )
    .ok()?;
    Some(head)
}
