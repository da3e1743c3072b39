//! Records of the spool: any octets are read or refused, and what is read is written the same.

use spool::record::{put, read_changes};

/// Checks one record's changes.
pub fn check(octets: &[u8]) {
    let Ok(changes) = read_changes(octets) else {
        return;
    };
    let mut written = Vec::new();
    changes.iter().for_each(|change| put(&mut written, change));
    assert_eq!(read_changes(&written).as_deref(), Ok(changes.as_slice()));
}
