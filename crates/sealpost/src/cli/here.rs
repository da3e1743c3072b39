//! Whether the data folder found in the current folder is one to talk to. Who may write to the current folder (`/tmp`, a
//! customer's home) could else put a socket there, and be shown messages or be told to read them out.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Failed;
use crate::sendmail::user_named;

/// Refuses a socket that is not this user's own nor root's: itself, its folder, or a link on the way.
pub(super) fn trusted(socket: &Path) -> Result<(), Failed> {
    let me = rustix::process::geteuid().as_raw();
    let failed = |error| Failed::World(format!("see who owns {}", socket.display()), error);
    for path in [socket.parent(), Some(socket)].into_iter().flatten() {
        let owners = owners(path).map_err(failed)?;
        if let Some(owner) = owners.into_iter().find(|owner| !is_trusted(*owner, me)) {
            return Err(Failed::Words(refusal(path, &user_named(owner).login, socket)));
        }
    }
    Ok(())
}

/// The owners of a path, and of what it leads to if it is a link. None of what is not there: then nobody answers.
fn owners(path: &Path) -> io::Result<Vec<u32>> {
    let mut owners = Vec::new();
    for found in [path.symlink_metadata(), path.metadata()] {
        match found {
            Ok(found) => owners.push(found.uid()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(owners)
}

fn is_trusted(owner: u32, me: u32) -> bool {
    owner == me || owner == 0
}

fn refusal(path: &Path, owner: &str, socket: &Path) -> String {
    format!(
        "{} belongs to {owner}, neither to you nor to root: to talk to that server all the same, say --socket {}",
        path.display(),
        socket.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_and_roots_are_trusted() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }

    #[test]
    fn links_are_judged_by_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("sealpost-data");
        std::os::unix::fs::symlink("/proc/self", &link).unwrap();
        assert_eq!(owners(&link).unwrap().len(), 2);
        assert!(owners(&folder.path().join("nothing")).unwrap().is_empty());
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
        assert_eq!(owners(&folder.path().join("dangling")).unwrap().len(), 1);
    }
}
