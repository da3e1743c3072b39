//! The repository's files, as a clone would have them.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are made by building and running, never committed.
const MADE: [&str; 6] = [
    ".git",
    "target",
    "sealpost-data",
    "artifacts",
    "corpus",
    "coverage",
];

/// The repository's top folder.
pub fn top() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// All files below `top`, relative, with `/` between the parts, in alphabetical order.
pub fn files(top: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    walk(top, "", &mut found)?;
    found.sort();
    Ok(found)
}

/// The text of one file, or a message that names it.
pub fn read(top: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(top.join(path)).map_err(|error| format!("{path}: {error}"))
}

fn walk(top: &Path, below: &str, found: &mut Vec<String>) -> Result<(), String> {
    let folder = top.join(below);
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(|error| format!("{name}: {error}"))?;
        let path = if below.is_empty() {
            name.clone()
        } else {
            format!("{below}/{name}")
        };
        if kind.is_dir() {
            if !MADE.contains(&name.as_str()) {
                walk(top, &path, found)?;
            }
        } else if kind.is_file() && name != ".git" {
            found.push(path);
        }
    }
    Ok(())
}
