//! A real server process on a real disk, killed with -9 while it keeps and delivers. What it said before is true after.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use spool::{Filter, Folder, Limits, Spool};

const FOLDER: &str = "SPOOL_KILL_FOLDER";
const FIRST: &str = "SPOOL_KILL_FIRST";

fn open(folder: &Path) -> Arc<Spool> {
    let limits = Limits {
        file_bytes_max: 1 << 20,
        reserve_bytes: 64 << 10,
        checkpoint_after_bytes: 50_000,
        ..Limits::default()
    };
    Spool::open(Arc::new(Folder::open(folder).unwrap()), limits, by_domain)
        .unwrap()
        .0
}

fn bytes_of(number: u64) -> usize {
    if number.is_multiple_of(9) {
        100_000
    } else {
        1000 + number as usize % 3000
    }
}

/// The process that is killed: this very test, started with the folder in its environment. Says on its output what
/// was kept, what is about to be settled, and what was settled.
#[test]
fn serve_until_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let spool = open(Path::new(&folder));
    let say = |word: &str, number: u64| {
        let line = format!("{word} {number}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (spool, say) = (&spool, &say);
            scope.spawn(move || {
                for count in 0.. {
                    let number = first + thread * 100_000 + count;
                    let answered = keep_later(spool, number, bytes_of(number), &["a@x.example"]);
                    answered.recv().unwrap().unwrap();
                    say("kept", number);
                    if count % 3 == 0
                        && let Some(leased) = take(spool, 1)
                    {
                        let settled = number_of(leased.message().id);
                        say("settling", settled);
                        settle_all(leased, &delivered()).unwrap();
                        say("settled", settled);
                    }
                }
            });
        }
    });
}

fn number_of(id: mail::MessageId) -> u64 {
    (id.to_bits() & ((1 << 80) - 1)) as u64
}

// proves: 5321-6.1-1
#[test]
fn what_was_said_before_kill_9_is_true_after() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut settling, mut settled) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for round in 0..4u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve_until_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(FIRST, (1_000_000 * (round + 1)).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = 0;
        while let Some(Ok(line)) = lines.next() {
            said += u64::from(note(&line, &mut kept, &mut settling, &mut settled));
            if said == 40 + round * 37 {
                std::thread::sleep(Duration::from_millis(round * 3));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said >= 40, "the server said only {said} things");
        let spool = open(folder.path());
        for &number in &kept {
            let shown = spool.show(id(number));
            if settled.contains(&number) {
                assert!(shown.is_none(), "{number} came back");
            } else if !settling.contains(&number) {
                assert!(shown.is_some(), "{number} is lost");
            }
        }
        for waiting in spool.list(&Filter::default(), None, usize::MAX) {
            let number = number_of(waiting.message.id);
            assert!(
                read_all(&spool, id(number)).unwrap() == body(number, bytes_of(number)),
                "{number}"
            );
        }
        // The next process delivers what this one left; what is perhaps settled is settled now.
        settling.retain(|number| spool.show(id(*number)).is_none());
    }
}

fn note(
    line: &str,
    kept: &mut BTreeSet<u64>,
    settling: &mut BTreeSet<u64>,
    settled: &mut BTreeSet<u64>,
) -> bool {
    let Some((word, number)) = line.split_once(' ') else {
        return false;
    };
    let Ok(number) = number.parse() else { return false };
    match word {
        "kept" => kept.insert(number),
        "settling" => settling.insert(number),
        "settled" => settled.insert(number),
        _ => false,
    }
}
