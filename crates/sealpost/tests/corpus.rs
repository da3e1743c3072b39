//! Replays the seeds of the fuzz targets, and every input that once broke one, without a fuzzer.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
mod fuzz;

/// The seeds of one target, cut short at every length as well: what arrives in pieces is a seed too.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus-seeds")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be listed").path())
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} holds no seed", folder.display());
    for seed in seeds {
        let octets = fs::read(&seed).unwrap_or_else(|error| panic!("{}: {error}", seed.display()));
        let step = (octets.len() / 256).max(1);
        println!("{}", seed.display());
        (0..octets.len())
            .step_by(step)
            .for_each(|end| check(&octets[..end]));
        check(&octets);
    }
}

#[test]
fn addresses() {
    replay("address", fuzz::address::check);
}

#[test]
fn commands() {
    replay("command", fuzz::command::check);
}

#[test]
fn replies() {
    replay("reply", fuzz::reply::check);
}

#[test]
fn server_sessions() {
    replay("bdat_framing", fuzz::bdat_framing::check);
}

#[test]
fn stored_messages() {
    replay("mime_walk", fuzz::mime_walk::check);
}

#[test]
fn records() {
    replay("record", fuzz::record::check);
}

#[test]
fn sts() {
    replay("sts", fuzz::sts::check);
}

#[test]
fn tlsa_records() {
    replay("tlsa", fuzz::tlsa::check);
}
