//! `kill -9` at fifty random instants under load: what was answered 250 arrives; it arrives twice only where the last reply
//! was lost on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use interop::letter::{self, Dice, Letter, Octets};
use interop::mailbox;
use interop::packages::Installed;
use interop::patience::wait_until;
use interop::peers::{Host, Knot, MailServer, Postfix};
use interop::place::{Place, write};
use interop::sealpost::{Sealpost, Setup};

const KILLS: usize = 50;
const HANDS: usize = 8;
/// A server lives this long after it answers its port, at least and at most.
const LIFE_MILLIS: std::ops::Range<u64> = 50..900;
const PATIENCE: Duration = Duration::from_secs(180);

/// Sizes of the letters that the load is made of; sent in turn, each under a name of its own.
const SIZES: [usize; 6] = [1_500, 20_000, 4_000, 700_000, 9_000, 2_500];

/// smtplib under STARTTLS, in several threads, until its input ends. No name is ever sent twice. It prints `250 NAME` for what was
/// acknowledged, `lost NAME` where the connection broke after the content was sent, `refused NAME REPLY` for the rest.
const LOAD: &str = r#"
import smtplib, ssl, sys, threading, time
host, folder, hands, kinds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
templates = [open("%s/template-%d" % (folder, kind), "rb").read() for kind in range(kinds)]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
over, printing = threading.Event(), threading.Lock()
def say(*words):
    with printing:
        print(*words, flush=True)
def recipients_of(number):
    here, there = "local-%d@sealpost.test" % (number % 5), "far-%d@peer.test" % (number % 5)
    return [[there], [here], [here, there]][number % 3]
def transaction(server, name, number):
    sent = False
    try:
        code, reply = server.mail("load@sealpost.test")
        for recipient in recipients_of(number):
            if code == 250: code, reply = server.rcpt(recipient)
        if code == 250:
            kind = number % kinds
            code, reply = server.docmd("DATA")
            if code == 354:
                content = templates[kind].replace(b"template-%d" % kind, name.encode())
                sent = True
                server.send(smtplib._quote_periods(content) + b".\r\n")
                code, reply = server.getreply()
        if code == 250: say("250", name)
        else:
            say("refused", name, code, reply)
            server.rset()
    except Exception as error:
        if sent: say("lost", name)
        raise
def hand(which):
    number = 0
    while not over.is_set():
        try:
            with smtplib.SMTP(host, 25, timeout=30) as server:
                server.ehlo("client.lab.test")
                server.starttls(context=context)
                server.ehlo("client.lab.test")
                while not over.is_set():
                    number += 1
                    transaction(server, "h%d-%d-%d" % (which, number, number % kinds), number)
        except (OSError, smtplib.SMTPException):
            time.sleep(0.02)
threads = [threading.Thread(target=hand, args=(which,)) for which in range(hands)]
for thread in threads: thread.start()
sys.stdin.read()
over.set()
for thread in threads: thread.join()
"#;

/// What the clients were told.
#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<String>,
    lost: BTreeSet<String>,
    refused: BTreeSet<String>,
}

struct Load {
    process: Child,
    reader: std::thread::JoinHandle<Told>,
}

impl Load {
    fn start(folder: &std::path::Path, server: &Host) -> Load {
        for (kind, bytes) in SIZES.iter().enumerate() {
            write(
                &folder.join(format!("template-{kind}")),
                template(kind, *bytes).content,
            );
        }
        let arguments = [
            &server.address.to_string(),
            &folder.display().to_string(),
            &HANDS.to_string(),
            &SIZES.len().to_string(),
        ];
        let mut process = Command::new(Installed::Python.program())
            .args(["-c", LOAD])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python was just installed");
        let lines = BufReader::new(process.stdout.take().expect("asked for above")).lines();
        let reader = std::thread::spawn(move || {
            let mut told = Told::default();
            for line in lines.map_while(Result::ok) {
                let mut words = line.splitn(3, ' ');
                let (word, name) = (
                    words.next().unwrap_or_default(),
                    words.next().unwrap_or_default().to_owned(),
                );
                match word {
                    "250" => told.acknowledged.insert(name),
                    "lost" => told.lost.insert(name),
                    "refused" => told.refused.insert(name),
                    other => panic!("the load said {other:?}"),
                };
            }
            told
        });
        Load { process, reader }
    }

    fn end(mut self) -> Told {
        drop(self.process.stdin.take());
        assert!(
            self.process.wait().expect("a child of ours").success(),
            "the load failed"
        );
        self.reader.join().expect("the reader does not panic")
    }
}

fn template(kind: usize, bytes: usize) -> Letter {
    Letter::new(
        &format!("template-{kind}"),
        "load@sealpost.test",
        &["anyone@peer.test"],
        bytes,
        Octets::Ascii,
    )
}

/// The letter that the load sends under this name; the name ends with the number of its template.
fn sent_as(name: &str) -> Letter {
    let kind: usize = name
        .rsplit('-')
        .next()
        .and_then(|kind| kind.parse().ok())
        .expect("names end with a kind");
    let mut letter = template(kind, SIZES[kind]);
    let text = String::from_utf8(letter.content).expect("ASCII");
    letter.content = text.replace(&letter.id, name).into_bytes();
    letter.id = name.to_owned();
    letter
}

/// Where a letter of this name goes: to a mailbox here, to one far away.
fn destinations(name: &str) -> (bool, bool) {
    let number: usize = name
        .split('-')
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("names hold a number");
    let (to_far_alone, to_here_alone) = (number.is_multiple_of(3), number % 3 == 1);
    (!to_far_alone, !to_here_alone)
}

/// How often each letter lies below `folder`, each copy compared octet by octet.
fn copies(folder: &std::path::Path) -> BTreeMap<String, Vec<String>> {
    let mut copies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in mailbox::files(folder) {
        let octets = std::fs::read(&file).expect("a file that was listed");
        let name = letter::id_of(&octets).unwrap_or_else(|| panic!("{} is no letter", file.display()));
        sent_as(&name).must_equal(&octets);
        copies.entry(name).or_default().push(letter::trace_of(&octets));
    }
    copies
}

/// The queue names of messages that came in sessions which the client ended with QUIT: their 250 was read and acted upon.
fn cleanly_received(log: &str) -> BTreeSet<String> {
    let (mut open, mut clean): (BTreeMap<&str, Vec<&str>>, BTreeSet<String>) = Default::default();
    for line in log.lines() {
        let Some((process, words)) = line
            .split_once("postfix/smtpd[")
            .and_then(|(_, rest)| rest.split_once("]: "))
        else {
            continue;
        };
        if words.starts_with("connect from") {
            open.insert(process, Vec::new());
        } else if let Some((queue_name, _)) = words.split_once(": client=") {
            open.entry(process).or_default().push(queue_name);
        } else if words.starts_with("disconnect from") && words.contains(" quit=1") {
            clean.extend(
                open.remove(process)
                    .unwrap_or_default()
                    .into_iter()
                    .map(str::to_owned),
            );
        }
    }
    clean
}

/// Postfix's queue name in a trace: `by mx.peer.test (Postfix) with ESMTPS id NAME`.
fn queue_name(trace: &str) -> &str {
    let after = trace
        .split_once("(Postfix) with ESMTPS id ")
        .map(|(_, after)| after);
    after
        .and_then(|after| after.split_whitespace().next())
        .unwrap_or_else(|| panic!("no queue name in\n{trace}"))
}

fn kill_often(sealpost: &mut Sealpost, dice: &mut Dice) {
    for _ in 0..KILLS {
        let life = LIFE_MILLIS.start + dice.roll() % (LIFE_MILLIS.end - LIFE_MILLIS.start);
        std::thread::sleep(Duration::from_millis(life));
        sealpost.kill();
        sealpost.run();
    }
}

// proves: 5321-6.1-1
#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed_fifty_times() {
    let place = Place::new("crash");
    let resolver = place.address();
    let [theirs, ours] = ["peer.test", "sealpost.test"].map(|domain| Host::new(&place, domain, resolver));
    let records = theirs.records() + &ours.records();
    let _knot = Knot::start(&place.subfolder("knot"), resolver, &records);
    let postfix = Postfix::start(theirs, "");
    // One message a connection: a session that ends with QUIT then tells that its one 250 was read.
    let setup = Setup {
        route: "connection_messages_max = 1",
        limits: "messages_max = 100000",
        ..Setup::default()
    };
    let mut sealpost = Sealpost::start(ours, setup);
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    println!("seed of the instants: {seed}");

    let began = Instant::now();
    let load = Load::start(&place.subfolder("load"), sealpost.host());
    kill_often(&mut sealpost, &mut Dice(seed));
    let told = load.end();
    println!(
        "{KILLS} kills in {:.0} s: {} acknowledged, {} without a final reply, {} refused",
        began.elapsed().as_secs_f64(),
        told.acknowledged.len(),
        told.lost.len(),
        told.refused.len()
    );
    assert!(
        told.acknowledged.len() > KILLS,
        "hardly any load: {}",
        told.acknowledged.len()
    );
    let far_wanted: BTreeSet<&String> = told
        .acknowledged
        .iter()
        .filter(|name| destinations(name).1)
        .collect();
    wait_until("all that was acknowledged to arrive", PATIENCE, || {
        let far = mailbox::tally(&postfix.mail());
        far_wanted.iter().all(|name| far.contains_key(*name))
    });
    sealpost.wait_for_empty_queue(PATIENCE);
    postfix.retry();
    wait_until("Postfix's queue to be empty", PATIENCE, || {
        postfix.queue().contains("Mail queue is empty")
    });

    let (here, far) = (copies(&sealpost.mail()), copies(&postfix.mail()));
    for name in &told.acknowledged {
        let (to_here, to_far) = destinations(name);
        assert!(
            !to_here || here.contains_key(name),
            "{name} was answered 250 and is not in its mailbox here"
        );
        assert!(
            !to_far || far.contains_key(name),
            "{name} was answered 250 and did not arrive at Postfix"
        );
    }
    for name in &told.refused {
        assert!(
            !here.contains_key(name) && !far.contains_key(name),
            "{name} was refused and yet delivered"
        );
    }
    let doubled_here: Vec<&String> = here
        .iter()
        .filter(|(_, copies)| copies.len() > 1)
        .map(|(name, _)| name)
        .collect();
    assert!(
        doubled_here.is_empty(),
        "delivered twice to a mailbox here: {doubled_here:?}"
    );
    let clean = cleanly_received(&postfix.logged());
    // Most sessions do end with QUIT, or the log is no longer written as we read it.
    assert!(
        clean.len() > far.len() / 2,
        "only {} of {} sessions",
        clean.len(),
        far.len()
    );
    let mut doubled_far = 0;
    for (name, traces) in far.iter().filter(|(_, traces)| traces.len() > 1) {
        doubled_far += 1;
        let finished: Vec<&str> = traces
            .iter()
            .map(|trace| queue_name(trace))
            .filter(|id| clean.contains(*id))
            .collect();
        assert!(
            finished.len() <= 1,
            "{name} was sent again after its 250 was read and QUIT said: {finished:?}"
        );
    }
    println!(
        "{} arrived here, {} at Postfix, {doubled_far} of them twice, each after a lost final reply",
        here.len(),
        far.len()
    );
}
