//! Measures the spool on the real disk: `measure keep FOLDER [MESSAGES [WRITERS]]`, `measure reopen FOLDER [MESSAGES]`.
//! Run it in release. What it prints is for people; no test depends on it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use mail::{
    Arrival, Body, Cause, Class, Content, DeliveryStatus, EnhancedStatus, Envelope, Mailbox, MessageId,
    Protocol, Recipient, ReversePath,
};
use spool::{Filter, Folder, Lane, Limits, Notices, Spool};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u64| -> u64 {
        arguments
            .get(index)
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    };
    match (arguments.first().map(String::as_str), arguments.get(1)) {
        (Some("keep"), Some(folder)) => keep(Path::new(folder), number(2, 200_000), number(3, 100)),
        (Some("reopen"), Some(folder)) => reopen(Path::new(folder), number(2, 1_000_000)),
        _ => Err("usage: measure keep|reopen FOLDER [MESSAGES [WRITERS]]".into()),
    }
}

fn open(folder: &Path) -> Result<Arc<Spool>, Failure> {
    let started = Instant::now();
    let lane_of = |recipient: &Recipient| Lane::new(&recipient.mailbox.host().to_string());
    let (spool, recovery) = Spool::open(Arc::new(Folder::open(folder)?), Limits::default(), lane_of)?;
    println!(
        "opened in {:.2?}: {} messages, {} records read, resident {} MiB",
        started.elapsed(),
        recovery.messages,
        recovery.records,
        resident_bytes() >> 20
    );
    Ok(spool)
}

/// Keeps 4 KiB messages by many writers, each waiting for its receipt, then delivers all.
fn keep(folder: &Path, messages: u64, writers: u64) -> Result<(), Failure> {
    let spool = open(folder)?;
    let written_before = written_bytes();
    let started = Instant::now();
    let mut waits = write_all(&spool, messages, writers, 4096);
    let took = started.elapsed();
    waits.sort_unstable();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    println!(
        "{writers} writers: {:.0} messages/s, p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, written {:.3} octets an octet kept",
        messages as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        (written_bytes() - written_before) as f64 / (messages * 4096) as f64,
    );
    let started = Instant::now();
    let settled = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                while let Some(leased) = spool.take(SystemTime::now(), &|_| true) {
                    let statuses = vec![DeliveryStatus::Delivered(cause()); leased.recipients().len()];
                    match leased.settle(SystemTime::now(), statuses, Vec::new(), Notices::default()) {
                        Ok(()) => settled.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            eprintln!("{error}");
                            return;
                        }
                    };
                }
            });
        }
    });
    println!(
        "taken and settled: {:.0}/s",
        settled.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
    );
    std::thread::sleep(Duration::from_secs(1));
    println!("left in the folder: {} MiB", folder_bytes(folder)? >> 20);
    Ok(())
}

/// Keeps many messages and measures how quickly a start is ready: after an orderly end, and after none.
fn reopen(folder: &Path, messages: u64) -> Result<(), Failure> {
    let spool = open(folder)?;
    let started = Instant::now();
    write_all(&spool, messages, 200, 512);
    println!(
        "kept {messages} in {:.2?}, resident {} MiB",
        started.elapsed(),
        resident_bytes() >> 20
    );
    // As after a kill: the threads live on, but nothing is written any more.
    let copy = folder.with_extension("killed");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(folder)
        .arg(&copy)
        .status()?;
    println!("copied: {copied}");
    let started = Instant::now();
    drop(spool);
    println!("closed in {:.2?}", started.elapsed());
    let base = resident_bytes();
    for folder in [folder, &copy] {
        let spool = open(folder)?;
        let started = Instant::now();
        println!(
            "{:?} in {:.2?}",
            spool.count(&Filter::default()),
            started.elapsed()
        );
        let leased = spool.take(SystemTime::now(), &|_| true);
        println!("took one: {} after {:.2?}", leased.is_some(), started.elapsed());
        println!(
            "resident {} MiB more",
            resident_bytes().saturating_sub(base) >> 20
        );
    }
    Ok(())
}

fn write_all(spool: &Arc<Spool>, messages: u64, writers: u64, bytes: usize) -> Vec<Duration> {
    let each = messages / writers;
    let mut waits = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| scope.spawn(move || write_some(spool, writer * each, each, bytes)))
            .collect();
        for thread in threads {
            waits.extend(thread.join().unwrap_or_default());
        }
    });
    waits
}

fn write_some(spool: &Arc<Spool>, first: u64, count: u64, bytes: usize) -> Vec<Duration> {
    let octets = vec![b'x'; bytes];
    let mut waits = Vec::with_capacity(count as usize);
    for number in first..first + count {
        let started = Instant::now();
        let (answer, answered) = mpsc::channel();
        let draft = spool.draft(MessageId::new(
            1_800_000_000_000 + number / 100,
            u128::from(number),
        ));
        let Ok(mut draft) = draft else { return waits };
        if draft.push(&octets).is_err() {
            return waits;
        }
        let content = Content {
            bytes: bytes as u64,
            ..Content::default()
        };
        draft.keep(envelope(number), arrival(), content, move |kept| {
            drop(answer.send(kept))
        });
        if !matches!(answered.recv(), Ok(Ok(_))) {
            eprintln!("message {number} was not kept");
            return waits;
        }
        waits.push(started.elapsed());
    }
    waits
}

fn envelope(number: u64) -> Envelope {
    let mailbox = |text: &str| Mailbox::parse(text).expect("the text is an address");
    Envelope {
        sender: ReversePath::Mailbox(mailbox("someone@sender.example")),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
        wish: mail::TlsWish::Usual,
        recipients: vec![Recipient {
            mailbox: mailbox(&format!("user{number}@host{}.example", number % 1000)),
            notify: None,
            original: None,
        }],
    }
}

fn arrival() -> Arrival {
    Arrival {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        protocol: Protocol::Esmtp,
        greeting: Some("client.example".into()),
        client: Some(([127, 0, 0, 1], 40_000).into()),
        tls: None,
    }
}

fn cause() -> Cause {
    Cause {
        at: SystemTime::now(),
        status: EnhancedStatus::new(Class::Success, 0, 0),
        remote: None,
        reply: None,
        text: "delivered".into(),
    }
}

fn proc_number(file: &str, key: &str) -> u64 {
    let text = read_text(file);
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn read_text(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

fn resident_bytes() -> u64 {
    proc_number("/proc/self/status", "VmRSS:") << 10
}

fn written_bytes() -> u64 {
    proc_number("/proc/self/io", "write_bytes:")
}

fn folder_bytes(folder: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}
