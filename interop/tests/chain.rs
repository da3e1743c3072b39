//! Postfix → Sealpost → Postfix: a thousand letters of mixed size, none lost, doubled or altered.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use interop::dialogue::Dialogue;
use interop::letter::{self, Letter, Octets};
use interop::mailbox;
use interop::patience::wait_until;
use interop::peers::{Host, Knot, MailServer, Postfix};
use interop::place::Place;
use interop::sealpost::{Sealpost, Setup};

const LETTERS: usize = 1_000;
const HANDS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(300);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The letter of this number: always the same. Most are small; a few are as large as mail gets.
fn letter(number: usize) -> Letter {
    let octets = if number.is_multiple_of(3) {
        Octets::EightBit
    } else {
        Octets::Ascii
    };
    let sender = if number % 100 == 71 {
        "bjørn@a.test".to_owned()
    } else {
        format!("sender-{}@a.test", number % 50)
    };
    let recipients = recipients(number);
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    Letter::new(&number.to_string(), &sender, &recipients, bytes(number), octets)
}

fn bytes(number: usize) -> usize {
    match number % 200 {
        7 => 30 * MIB,
        20 | 120 => 3 * MIB,
        n if n % 25 == 3 => 300 * KIB + n * 999,
        n => KIB + (n * n * 7) % (14 * KIB),
    }
}

fn recipients(number: usize) -> Vec<String> {
    match number % 100 {
        _ if bytes(number) >= MIB => vec!["big@b.test".to_owned(), "large@b.test".to_owned()],
        33 => (0..200).map(|person| format!("person-{person}@b.test")).collect(),
        66 => (0..40).map(|person| format!("person-{person}@b.test")).collect(),
        n if n % 20 == 11 => vec![format!("grüße-{n}@b.test"), "plain@b.test".to_owned()],
        n => vec![format!("user-{n}@b.test")],
    }
}

fn hand_in_all(first: &Postfix) {
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            scope.spawn(move || {
                let mut dialogue = Dialogue::open(first.host().port_25()).expect("the first Postfix answers");
                for number in (hand..LETTERS).step_by(HANDS) {
                    dialogue
                        .send(&letter(number))
                        .unwrap_or_else(|reply| panic!("letter {number}: {reply}"));
                }
                dialogue.quit();
            });
        }
    });
}

/// The recipient that the last Postfix wrote above the letter.
fn delivered_to(trace: &str) -> String {
    let line = trace.lines().find_map(|line| line.strip_prefix("Delivered-To: "));
    line.unwrap_or_else(|| panic!("no Delivered-To in\n{trace}"))
        .to_owned()
}

/// How often each letter came to each recipient, every copy compared octet by octet; and the octets of all.
fn compared(mail: &Path) -> (BTreeMap<(usize, String), usize>, usize) {
    let (mut copies, mut bytes) = (BTreeMap::new(), 0);
    for (id, files) in mailbox::by_letter(mail) {
        let number = id.parse().expect("letters are numbered");
        let sent = letter(number);
        for file in files {
            let octets = std::fs::read(&file).expect("a file that was listed");
            sent.must_equal(&octets);
            let trace = letter::trace_of(&octets);
            assert!(
                trace.contains("by mx.sealpost.test"),
                "not through Sealpost:\n{trace}"
            );
            bytes += octets.len();
            *copies.entry((number, delivered_to(&trace))).or_default() += 1;
        }
    }
    (copies, bytes)
}

// proves: 5321-3.6.3-4
#[test]
fn a_thousand_letters_pass_through_unchanged() {
    let place = Place::new("chain");
    let resolver = place.address();
    let [a, b, ours] =
        ["a.test", "b.test", "sealpost.test"].map(|domain| Host::new(&place, domain, resolver));
    let records = a.records() + &b.records() + &ours.records();
    let _knot = Knot::start(&place.subfolder("knot"), resolver, &records);
    let first = Postfix::start(a, "relayhost = [mx.sealpost.test]\n");
    let last = Postfix::start(b, "");
    let sealpost = Sealpost::start(ours, Setup::default());

    let began = Instant::now();
    hand_in_all(&first);
    let expected: usize = (0..LETTERS).map(|number| recipients(number).len()).sum();
    wait_until(
        &format!("{expected} deliveries at the last Postfix"),
        PATIENCE,
        || mailbox::files(&last.mail()).len() >= expected,
    );
    sealpost.wait_for_empty_queue(PATIENCE);
    let took = began.elapsed();

    assert_eq!(
        mailbox::files(&last.mail()).len(),
        expected,
        "more arrived than was sent"
    );
    let (mut copies, bytes) = compared(&last.mail());
    for number in 0..LETTERS {
        for recipient in recipients(number) {
            let found = copies.remove(&(number, recipient.clone())).unwrap_or(0);
            assert_eq!(found, 1, "letter {number} came {found} times to {recipient}");
        }
    }
    assert!(copies.is_empty(), "nobody sent {copies:?}");
    assert!(
        mailbox::files(&first.mail()).is_empty(),
        "something was returned to its sender"
    );
    println!(
        "{LETTERS} letters, {expected} deliveries, {} MiB arrived in {:.1} s",
        bytes / MIB,
        took.as_secs_f64()
    );
}
