//! The power goes, a sync fails or the disk is full, at every disk call of a busy scenario. Always true afterwards:
//! a message with a receipt is whole, no recipient settled comes back, and nothing unacknowledged appears in part.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use common::*;
use mail::DeliveryStatus;
use spool::simulated::{Fault, SimulatedDisk};
use spool::{DiskError, Filter, Limits, Notices, OpenError, Recovery, Sealed, Spool, State};

/// What this side of the disk was told.
#[derive(Default)]
struct Ledger {
    messages: BTreeMap<u64, Told>,
}

struct Told {
    bytes: usize,
    to: Vec<&'static str>,
    kept: Word,
    settled: Vec<Word>,
    /// Since when each is surely withheld.
    withheld: Vec<Option<u64>>,
    /// The message whose settlement brought it, and the recipient settled with it.
    parent: Option<(u64, usize)>,
}

/// What is known of something that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Never,
    /// Asked for; answered with an error or not at all.
    Perhaps,
    Yes,
}

struct Run {
    disk: SimulatedDisk,
    spool: Arc<Spool>,
    ledger: Ledger,
    clock: u64,
    next: u64,
}

const ONE: [&str; 1] = ["a@x.example"];
const THREE: [&str; 3] = ["a@x.example", "b@y.example", "c@x.example"];

fn try_open(disk: &SimulatedDisk) -> Result<(Arc<Spool>, Recovery), OpenError> {
    Spool::open_without_threads(Arc::new(disk.clone()), small_limits(), by_domain)
}

impl Run {
    fn begin(disk: SimulatedDisk) -> Option<Run> {
        let (spool, _) = try_open(&disk).ok()?;
        Some(Run {
            disk,
            spool,
            ledger: Ledger::default(),
            clock: 1,
            next: 1,
        })
    }

    /// Notes a message that is about to be handed over.
    fn note(&mut self, bytes: usize, to: &[&'static str], parent: Option<(u64, usize)>) -> u64 {
        let number = self.next;
        self.next += 1;
        let told = Told {
            bytes,
            to: to.to_vec(),
            kept: Word::Perhaps,
            settled: vec![Word::Never; to.len()],
            withheld: vec![None; to.len()],
            parent,
        };
        self.ledger.messages.insert(number, told);
        number
    }

    /// Keeps messages that arrive at the same time, their pieces interleaved, in one batch.
    fn keep_together(&mut self, all: &[(usize, &[&'static str])]) {
        let mut arriving = Vec::new();
        for &(bytes, to) in all {
            let number = self.note(bytes, to, None);
            if let Ok(draft) = self.spool.draft(id(number)) {
                arriving.push((number, draft, body(number, bytes), 0, to));
            }
        }
        let mut more = true;
        while more {
            more = false;
            arriving.retain_mut(|(_, draft, octets, pushed, _)| {
                let end = octets.len().min(*pushed + 50_000);
                let result = draft.push(&octets[*pushed..end]);
                *pushed = end;
                more |= end < octets.len();
                result.is_ok()
            });
        }
        let mut answers: Vec<(u64, mpsc::Receiver<Kept>)> = Vec::new();
        for (number, draft, octets, _, to) in arriving {
            let (answer, answered) = mpsc::channel();
            draft.keep(envelope(to), arrival(0), content(octets.len()), move |kept| {
                let _ = answer.send(kept);
            });
            answers.push((number, answered));
        }
        self.spool.flush();
        for (number, answered) in answers {
            if answered.recv().unwrap().is_ok() {
                self.ledger.messages.get_mut(&number).unwrap().kept = Word::Yes;
            }
        }
    }

    /// Takes the next message and settles it with one status for all leased recipients.
    fn settle_next(
        &mut self,
        status: impl Fn(u64) -> DeliveryStatus,
        offspring: &[(usize, &[&'static str])],
    ) {
        let Some(leased) = take(&self.spool, self.clock) else {
            return;
        };
        let number = number_of(leased.message().id);
        let recipients: Vec<usize> = leased.recipients().map(|(index, ..)| index.0 as usize).collect();
        let status = status(self.clock);
        let mut sealed_offspring: Vec<Sealed> = Vec::new();
        let mut children = Vec::new();
        for &(bytes, to) in offspring {
            let child = self.note(bytes, to, Some((number, recipients[0])));
            children.push(child);
            match sealed(&self.spool, child, bytes, to) {
                Ok(sealed) => sealed_offspring.push(sealed),
                Err(_) => {
                    for child in children {
                        self.ledger.messages.remove(&child);
                    }
                    return;
                }
            }
        }
        let told = self.ledger.messages.get_mut(&number).unwrap();
        for &recipient in &recipients {
            assert_eq!(
                told.settled[recipient],
                Word::Never,
                "message {number} was settled before"
            );
            told.withheld[recipient] = None;
            if status.is_settled() {
                told.settled[recipient] = Word::Perhaps;
            }
        }
        let statuses = recipients.iter().map(|_| status.clone()).collect();
        let settled = leased.settle(at(self.clock), statuses, sealed_offspring, Notices::default());
        if settled.is_ok() {
            let told = self.ledger.messages.get_mut(&number).unwrap();
            for recipient in recipients {
                match &status {
                    DeliveryStatus::Withheld { since, .. } => {
                        told.withheld[recipient] = Some(seconds(*since))
                    }
                    status if status.is_settled() => told.settled[recipient] = Word::Yes,
                    _ => {}
                }
            }
            for child in children {
                self.ledger.messages.get_mut(&child).unwrap().kept = Word::Yes;
            }
        } else if let Some(waiting) = self.spool.show(id(number)) {
            // Given back: nothing of the settlement counts.
            if recipients
                .iter()
                .all(|&recipient| waiting.recipients[recipient].1.state == State::Waiting)
            {
                let told = self.ledger.messages.get_mut(&number).unwrap();
                for recipient in recipients {
                    told.settled[recipient] = Word::Never;
                }
                for child in children {
                    self.ledger.messages.remove(&child);
                }
            }
        }
    }

    fn delete_first(&mut self) {
        let listed = self.spool.list(&Filter::default(), None, 1);
        let Some(first) = listed.first() else { return };
        let number = number_of(first.message.id);
        let result = self.spool.delete(first.message.id);
        let told = self.ledger.messages.get_mut(&number).unwrap();
        for settled in &mut told.settled {
            if *settled != Word::Yes {
                *settled = if result.is_ok() { Word::Yes } else { Word::Perhaps };
            }
        }
    }

    fn restart(&mut self) -> bool {
        match try_open_again(&self.disk, &mut self.spool) {
            Some(recovery) => {
                assert_eq!(recovery.damaged, []);
                true
            }
            None => false,
        }
    }

    /// Everything that the spool does, in little.
    fn busy_day(&mut self) {
        self.keep_together(&[(900, &ONE), (1500, &THREE), (10, &ONE)]);
        self.settle_next(|_| delivered(), &[]);
        self.keep_together(&[(150_000, &ONE), (70_000, &THREE), (1000, &ONE)]);
        self.settle_next(|now| withheld(now - 1, now + 3), &[]);
        self.settle_next(
            |_| DeliveryStatus::Expanded(cause("expanded")),
            &[(1200, &THREE), (90_000, &ONE), (50, &ONE)],
        );
        let _ = self.spool.tidy();
        self.clock += 5;
        for _ in 0..3 {
            self.settle_next(|_| delivered(), &[]);
            self.keep_together(&[(1900, &ONE), (1800, &THREE)]);
        }
        self.delete_first();
        if !self.restart() {
            return;
        }
        for told in self.ledger.messages.values_mut() {
            told.withheld.fill(None);
        }
        let hold = self.spool.hold(&Filter::default(), cause("hold on"));
        let _ = self.spool.release(&Filter::default(), at(self.clock));
        if hold.is_ok() {
            self.settle_next(|now| withheld(now, now + 1), &[(300, &ONE)]);
        }
        let _ = self.spool.tidy();
        for _ in 0..12 {
            self.settle_next(|_| delivered(), &[]);
            self.clock += 2;
        }
        self.keep_together(&[(120_000, &ONE), (1999, &THREE)]);
        let _ = self.spool.tidy();
        self.spool.close();
    }
}

fn try_open_again(disk: &SimulatedDisk, spool: &mut Arc<Spool>) -> Option<Recovery> {
    // The folder is free only when nothing holds the old spool.
    let aside = SimulatedDisk::new(0);
    *spool = try_open(&aside).unwrap().0;
    // A start that fails is begun again.
    let (opened, recovery) = try_open(disk).or_else(|_| try_open(disk)).ok()?;
    *spool = opened;
    Some(recovery)
}

/// What must be true after any misfortune.
fn check(spool: &Arc<Spool>, ledger: &Ledger, context: &str) {
    let listed = spool.list(&Filter::default(), None, usize::MAX);
    let shown: BTreeMap<u64, _> = listed
        .into_iter()
        .map(|waiting| (number_of(waiting.message.id), waiting))
        .collect();
    for number in shown.keys() {
        assert!(
            ledger.messages.contains_key(number),
            "{context}: message {number} is nobody's"
        );
    }
    for (&number, told) in &ledger.messages {
        let Some(waiting) = shown.get(&number) else {
            let may_be_gone = told.kept != Word::Yes || !told.settled.contains(&Word::Never);
            assert!(may_be_gone, "{context}: message {number} is lost");
            continue;
        };
        assert!(
            told.settled.iter().any(|&word| word != Word::Yes),
            "{context}: message {number} came back"
        );
        assert_eq!(
            waiting.message.envelope,
            envelope(&told.to),
            "{context}: envelope {number}"
        );
        assert_eq!(waiting.message.arrival, arrival(0));
        let octets = read_all(spool, id(number)).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(octets == body(number, told.bytes), "{context}: body {number}");
        for (index, _, _, progress) in waiting.recipients() {
            if let Some(since) = told.withheld[index.0 as usize] {
                let found = (progress.state, progress.withheld_since.map(seconds));
                assert_eq!(
                    found,
                    (State::Withheld, Some(since)),
                    "{context}: {number} {index:?}"
                );
                assert!(progress.last.is_some(), "{context}: {number} {index:?}");
            }
            match told.settled[index.0 as usize] {
                Word::Never => assert_ne!(progress.state, State::Settled, "{context}: {number} {index:?}"),
                Word::Yes => assert_eq!(progress.state, State::Settled, "{context}: {number} {index:?}"),
                Word::Perhaps => {}
            }
        }
    }
    check_families(ledger, &shown, context);
}

/// A settlement and its offspring are one step.
fn check_families(ledger: &Ledger, shown: &BTreeMap<u64, spool::Waiting>, context: &str) {
    for (&number, told) in &ledger.messages {
        let Some((parent, recipient)) = told.parent else {
            continue;
        };
        if told.kept == Word::Yes || told.settled.iter().any(|&word| word != Word::Never) {
            continue;
        }
        let is_here = shown.contains_key(&number);
        let parent_settled = match shown.get(&parent) {
            None => true,
            Some(waiting) => waiting.recipients[recipient].1.state == State::Settled,
        };
        let was_settlement = ledger.messages[&parent].settled[recipient] != Word::Never;
        if was_settlement && ledger.messages[&parent].kept == Word::Yes {
            assert_eq!(
                is_here, parent_settled,
                "{context}: offspring {number} of {parent}"
            );
        }
    }
}

fn seconds(at: std::time::SystemTime) -> u64 {
    at.duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn number_of(id: mail::MessageId) -> u64 {
    (id.to_bits() & ((1 << 80) - 1)) as u64
}

/// Opens what a power cut left, checks it, works on, and checks what is left of that after another cut.
fn check_after_cut(disk: &SimulatedDisk, ledger: Ledger, seed: u64, context: &str) {
    let (spool, recovery) = try_open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(recovery.damaged, [], "{context}");
    check(&spool, &ledger, context);
    let mut run = Run {
        disk: disk.clone(),
        spool,
        next: 1 + ledger.messages.keys().max().copied().unwrap_or(0),
        ledger,
        clock: 50,
    };
    for told in run.ledger.messages.values_mut() {
        // The tests' own words: what was not sure is looked at below no more.
        told.parent = None;
    }
    run.resolve();
    run.keep_together(&[(1000, &ONE), (80_000, &ONE)]);
    run.settle_next(|_| delivered(), &[]);
    if seed.is_multiple_of(3) {
        run.spool.tidy().unwrap();
    }
    let again = run.disk.after_power_cut(seed + 1);
    let (spool, _) = try_open(&again).unwrap();
    check(&spool, &run.ledger, &format!("{context}, and again"));
}

impl Run {
    /// After a start it is known what became of everything.
    fn resolve(&mut self) {
        for (&number, told) in &mut self.ledger.messages {
            let waiting = self.spool.show(id(number));
            told.kept = Word::Yes;
            for (recipient, settled) in told.settled.iter_mut().enumerate() {
                let is_settled = match &waiting {
                    None => true,
                    Some(waiting) => waiting.recipients[recipient].1.state == State::Settled,
                };
                *settled = if is_settled { Word::Yes } else { Word::Never };
            }
        }
    }
}

/// How many times each power cut is tried, with other sectors lost each time: `CRASH_SEEDS`, for longer runs.
fn seeds() -> u64 {
    let wanted = std::env::var("CRASH_SEEDS").ok();
    wanted.and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

fn calls_of_a_busy_day() -> u64 {
    let disk = SimulatedDisk::new(11);
    let mut run = Run::begin(disk.clone()).unwrap();
    run.busy_day();
    check_everything_was_met(&disk);
    disk.calls()
}

/// The scenario is worth its name: files were rotated, checkpointed, compacted and removed.
fn check_everything_was_met(disk: &SimulatedDisk) {
    let names = disk.names();
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    assert!(
        has(".checkpoint") && has(".segment") && has(".journal"),
        "{names:?}"
    );
    assert!(!names.contains(&"0000000001.journal".to_owned()), "{names:?}");
    assert!(!names.contains(&"0000000001.segment".to_owned()), "{names:?}");
}

// proves: 5321-6.1-1
#[test]
fn the_power_goes_at_any_disk_call() {
    let calls = calls_of_a_busy_day();
    assert!(calls > 100, "{calls}");
    for cut in 1..=calls {
        for seed in (0..seeds()).map(|round| cut + round * 1000) {
            let disk = SimulatedDisk::new(11);
            disk.set_fault(Fault::PowerCut(cut));
            let ledger = match Run::begin(disk.clone()) {
                None => Ledger::default(),
                Some(mut run) => {
                    run.busy_day();
                    std::mem::take(&mut run.ledger)
                }
            };
            let found = disk.after_power_cut(seed);
            check_after_cut(&found, ledger, seed, &format!("cut {cut}, seed {seed}"));
        }
    }
}

#[test]
fn the_power_goes_again_while_a_start_recovers() {
    let calls = calls_of_a_busy_day();
    for cut in (1..=calls).step_by(7) {
        for second in 1..8 {
            let disk = SimulatedDisk::new(11);
            disk.set_fault(Fault::PowerCut(cut));
            let Some(mut run) = Run::begin(disk.clone()) else {
                continue;
            };
            run.busy_day();
            let ledger = std::mem::take(&mut run.ledger);
            let found = disk.after_power_cut(cut);
            found.set_fault(Fault::PowerCut(second));
            if let Ok((spool, _)) = try_open(&found) {
                let _ = spool.tidy();
            }
            let found = found.after_power_cut(cut + second);
            check_after_cut(&found, ledger, cut, &format!("cut {cut}, then {second}"));
        }
    }
}

#[test]
fn any_disk_call_fails_once() {
    let calls = calls_of_a_busy_day();
    for failing in 1..=calls {
        let disk = SimulatedDisk::new(11);
        disk.set_fault(Fault::Failure(failing));
        let Some(mut run) = Run::begin(disk.clone()) else {
            continue;
        };
        run.busy_day();
        let context = format!("failure {failing}");
        let ledger = std::mem::take(&mut run.ledger);
        check(&run.spool, &ledger, &context);
        drop(run);
        let found = disk.after_power_cut(failing);
        check_after_cut(&found, ledger, failing, &context);
    }
}

#[test]
fn after_a_failed_sync_the_next_message_is_kept() {
    for failing in 1..40 {
        let disk = SimulatedDisk::new(5);
        disk.set_fault(Fault::None);
        let (spool, _) = try_open(&disk).unwrap();
        keep(&spool, 1, 100, &ONE).unwrap();
        disk.set_fault(Fault::Failure(disk.calls() + failing));
        let mut refused = 0;
        for number in 2..20 {
            refused += u64::from(keep(&spool, number, 1000, &ONE).is_err());
        }
        assert!(refused <= 1, "failure {failing}: {refused} refused");
        assert_eq!(spool.count(&Filter::default()).messages, 19 - refused);
    }
}

#[test]
fn a_file_that_failed_is_never_written_again() {
    for failing in 1..3 {
        let disk = SimulatedDisk::new(5);
        let (spool, _) = try_open(&disk).unwrap();
        keep(&spool, 1, 100, &ONE).unwrap();
        disk.set_fault(Fault::Failure(disk.calls() + failing));
        assert!(keep(&spool, 2, 1000, &ONE).is_err());
        let failed = disk.octets("0000000001.journal");
        keep(&spool, 3, 500, &ONE).unwrap();
        assert_eq!(disk.octets("0000000001.journal"), failed, "failure {failing}");
        drop(spool);
        let (spool, _) = try_open(&disk.after_power_cut(failing)).unwrap();
        assert_eq!(spool.count(&Filter::default()).messages, 2);
        assert!(spool.show(id(2)).is_none());
    }
}

#[test]
fn what_was_settled_stays_so_though_its_journal_file_seems_unused() {
    let disk = SimulatedDisk::new(5);
    let limits = Limits {
        checkpoint_after_bytes: 1 << 30,
        ..small_limits()
    };
    let open = |disk: &SimulatedDisk| {
        Spool::open_without_threads(Arc::new(disk.clone()), limits.clone(), by_domain).unwrap()
    };
    let (spool, _) = open(&disk);
    let journals = || {
        let names = disk.names();
        names.iter().filter(|name| name.ends_with(".journal")).count()
    };
    for number in 1..=2 {
        keep(&spool, number, 1000, &ONE).unwrap();
    }
    let (first, second) = (take(&spool, 1).unwrap(), take(&spool, 1).unwrap());
    let mut number = 2;
    while journals() < 2 {
        number += 1;
        keep(&spool, number, 2000, &ONE).unwrap();
    }
    // In the second file: one is settled, all others come and go, and the file is full.
    settle_all(first, &delivered()).unwrap();
    while let Some(leased) = take(&spool, 1) {
        settle_all(leased, &delivered()).unwrap();
    }
    while journals() < 3 {
        number += 1;
        keep(&spool, number, 2000, &ONE).unwrap();
        settle_all(take(&spool, 1).unwrap(), &delivered()).unwrap();
    }
    spool.tidy().unwrap();
    drop(second);
    drop(spool);
    let (spool, recovery) = open(&disk);
    assert_eq!(recovery.messages, 1);
    assert!(spool.show(id(2)).is_some());
}

#[test]
fn nothing_settled_is_sent_again_while_the_disk_refuses() {
    let disk = SimulatedDisk::new(5);
    let (spool, _) = try_open(&disk).unwrap();
    keep(&spool, 1, 100, &ONE).unwrap();
    keep(&spool, 2, 100, &ONE).unwrap();
    let leased = take(&spool, 1).unwrap();
    let number = number_of(leased.message().id);
    disk.set_fault(Fault::FailureFrom(1));
    assert!(settle_all(leased, &delivered()).is_err());
    assert!(take(&spool, 1).is_none());
    assert!(keep(&spool, 3, 100, &ONE).is_err());
    disk.set_fault(Fault::None);
    keep(&spool, 4, 100, &ONE).unwrap();
    let next = take(&spool, 1).unwrap();
    assert_ne!(number_of(next.message().id), number);
    drop(next);
    drop(spool);
    let (spool, _) = try_open(&disk.after_power_cut(1)).unwrap();
    assert!(spool.show(id(number)).is_none());
    assert_eq!(spool.count(&Filter::default()).messages, 2);
}

// A full disk refuses mail (452 by the caller) and loses nothing; settlements go on and make room again.
#[test]
fn a_full_disk_refuses_mail_and_recovers_by_delivering() {
    for room in [700_000, 1_000_000, 1_234_567] {
        let disk = SimulatedDisk::new(3);
        disk.set_capacity(room);
        let (spool, _) = try_open(&disk).unwrap();
        let mut kept = Vec::new();
        let mut number = 0;
        let full = loop {
            number += 1;
            let bytes = if number % 5 == 0 { 70_000 } else { 1900 };
            match keep(&spool, number, bytes, &ONE) {
                Ok(_) => kept.push((number, bytes)),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, DiskError::Full), "{full}");
        assert!(!spool.has_room_for(1_000_000));
        assert!(kept.len() > 5);
        for &(number, bytes) in &kept {
            assert!(read_all(&spool, id(number)).unwrap() == body(number, bytes));
        }
        // Small mail fills what is left of the journal, too.
        while keep(&spool, number + 1, 1900, &ONE).is_ok() {
            number += 1;
            kept.push((number, 1900));
        }
        for _ in 0..kept.len() {
            let leased = take(&spool, 1).unwrap();
            settle_all(leased, &delivered()).unwrap();
            spool.tidy().unwrap();
        }
        assert_eq!(spool.count(&Filter::default()).messages, 0);
        keep(&spool, number + 10, 70_000, &ONE).unwrap();
        drop(spool);
        let (spool, _) = try_open(&disk.after_power_cut(9)).unwrap();
        assert_eq!(
            read_all(&spool, id(number + 10)).unwrap(),
            body(number + 10, 70_000)
        );
    }
}

#[test]
fn a_damaged_record_is_set_aside_and_the_rest_goes_on() {
    let disk = SimulatedDisk::new(1);
    let limits = Limits {
        checkpoint_after_bytes: 1 << 20,
        ..small_limits()
    };
    let open = |disk: &SimulatedDisk| {
        Spool::open_without_threads(Arc::new(disk.clone()), limits.clone(), by_domain).unwrap()
    };
    let (spool, _) = open(&disk);
    for number in 1..=5 {
        keep(&spool, number, 500, &ONE).unwrap();
    }
    drop(spool);
    let journal = "0000000001.journal";
    let octets = disk.octets(journal).unwrap();
    let records: Vec<usize> = (8192..octets.len() - 4)
        .filter(|&at| at % 8 == 0 && &octets[at..at + 4] == b"SPF1")
        .collect();
    assert_eq!(records.len(), 5);
    // In the header, in the changes.
    for within in [5, 20, 40, 60] {
        let disk = disk.after_power_cut(1);
        disk.damage(journal, records[2] + within);
        for round in 0..2 {
            let (spool, recovery) = open(&disk);
            assert_eq!(recovery.damaged.len(), 1, "octet {within}, round {round}");
            let damage = &recovery.damaged[0];
            assert_eq!(damage.offset as usize, records[2]);
            assert_eq!(damage.file, journal);
            assert!(disk.octets(&format!("damaged/{}", damage.name)).is_some());
            for number in [1, 2, 4, 5] {
                assert_eq!(read_all(&spool, id(number)).unwrap(), body(number, 500));
            }
            assert!(spool.show(id(3)).is_none());
        }
    }
    // In the content: the message is named when it is read, and no octet of it is handed out.
    disk.damage(journal, records[2] + 450);
    let (spool, recovery) = open(&disk);
    assert_eq!(recovery.damaged, []);
    assert!(matches!(read_all(&spool, id(3)), Err(DiskError::Damaged { .. })));
    // At the very end: a torn last write.
    disk.damage(journal, records[4] + 300);
    drop(spool);
    let (spool, recovery) = open(&disk);
    assert!(recovery.torn_bytes > 0 && recovery.damaged.is_empty());
    assert_eq!(spool.count(&Filter::default()).messages, 4);
}

#[test]
fn a_damaged_checkpoint_costs_no_message() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = try_open(&disk).unwrap();
    for number in 1..=40 {
        keep(&spool, number, 1000, &THREE).unwrap();
    }
    for _ in 0..20 {
        settle_all(take(&spool, 1).unwrap(), &deferred(9)).unwrap();
    }
    spool.close();
    drop(spool);
    let name = disk
        .names()
        .into_iter()
        .find(|name| name.ends_with(".checkpoint"))
        .unwrap();
    let bytes = disk.octets(&name).unwrap().len();
    for offset in (0..bytes).step_by(97) {
        let disk = disk.after_power_cut(1);
        disk.damage(&name, offset);
        for _ in 0..2 {
            let (spool, recovery) = match try_open(&disk) {
                Ok(opened) => opened,
                // The octets that say which version it is.
                Err(OpenError::Version { .. }) => continue,
                Err(error) => panic!("octet {offset}: {error}"),
            };
            assert_eq!(recovery.messages, 40, "octet {offset}");
            spool.tidy().unwrap();
            for number in 1..=40 {
                assert_eq!(read_all(&spool, id(number)).unwrap(), body(number, 1000));
            }
        }
    }
}

#[test]
fn a_later_format_is_refused_by_name() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = try_open(&disk).unwrap();
    keep(&spool, 1, 10, &ONE).unwrap();
    drop(spool);
    for copy in [0, 4096] {
        disk.damage("0000000001.journal", copy + 9); // version 0x5501
    }
    match try_open(&disk) {
        Err(OpenError::Version { file, found, .. }) => {
            assert_eq!((file.as_str(), found), ("0000000001.journal", 0x5501))
        }
        other => panic!("{:?}", other.err()),
    }
}

/// Deliveries deferred and retried for days: a few old messages among many that come and go must not keep the disk
/// full.
#[test]
fn old_messages_do_not_keep_the_disk_full() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = try_open(&disk).unwrap();
    let mut number = 0;
    let mut old = Vec::new();
    let mut most = 0;
    for round in 0..60 {
        for count in 0..10 {
            number += 1;
            let bytes = if count % 3 == 0 { 20_000 } else { 1500 };
            keep(&spool, number, bytes, &ONE).unwrap();
            let is_old = number % 50 == 0;
            while let Some(leased) = take(&spool, round) {
                let status = if number_of(leased.message().id) == number && !is_old {
                    delivered()
                } else {
                    deferred(round + 5)
                };
                settle_all(leased, &status).unwrap();
            }
            if is_old {
                old.push((number, bytes));
            }
        }
        spool.tidy().unwrap();
        if round > 20 {
            most = most.max(disk.used_bytes());
        }
    }
    let live: usize = old.iter().map(|&(_, bytes)| bytes).sum();
    assert!(
        most < 1_600_000 + live as u64,
        "{most} octets on the disk, {live} live: {:?}",
        disk.names()
    );
    for (number, bytes) in old {
        assert!(read_all(&spool, id(number)).unwrap() == body(number, bytes));
        let shown = spool.show(id(number)).unwrap();
        let progress = &shown.recipients[0].1;
        assert!(progress.attempts >= 1);
        assert_eq!(progress.last.as_ref().unwrap().text.as_ref(), "not now");
    }
}
