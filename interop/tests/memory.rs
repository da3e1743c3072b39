//! Memory does not grow with what peers send: a large message in and out, and a thousand idle TLS sessions.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use interop::letter::{Letter, Octets};
use interop::mailbox;
use interop::packages::Installed;
use interop::patience::{USUAL, wait_until};
use interop::peers::clients::{Channel, Smtplib};
use interop::peers::{Host, Knot, MailServer, Postfix};
use interop::place::Place;
use interop::sealpost::{Sealpost, Setup};

const MIB: usize = 1024 * 1024;
const LARGE_GROWTH_KIB_MAX: u64 = 32 * 1024;
const SESSIONS: u64 = 1_000;
const SESSION_KIB_MAX: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens idle STARTTLS sessions, says so, and keeps them until its input ends.
const IDLE_SESSIONS: &str = r#"
import resource, socket, ssl, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
host, count = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def reply(sock):
    text = b""
    while not (text.endswith(b"\r\n") and text.split(b"\r\n")[-2][3:4] == b" "):
        more = sock.recv(4096)
        if not more: sys.exit("closed after %r" % text)
        text += more
    return text
kept = []
for number in range(count):
    sock = socket.create_connection((host, 25), timeout=60)
    reply(sock)
    for line in (b"EHLO client.lab.test\r\n", b"STARTTLS\r\n"):
        sock.sendall(line)
        answer = reply(sock)
    if not answer.startswith(b"220"): sys.exit("no STARTTLS: %r" % answer)
    sock = context.wrap_socket(sock)
    sock.sendall(b"EHLO client.lab.test\r\n")
    reply(sock)
    kept.append(sock)
print("open", flush=True)
sys.stdin.read()
for sock in kept:
    sock.sendall(b"NOOP\r\n")
    if not reply(sock).startswith(b"250"): sys.exit("a session is gone")
print("alive", flush=True)
"#;

/// Calls `work` and gives the highest resident memory seen meanwhile.
fn peak_kib(sealpost: &Sealpost, work: impl FnOnce()) -> u64 {
    let (peak, done) = (AtomicU64::new(sealpost.resident_kib()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(sealpost.resident_kib(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
    peak.into_inner()
}

#[test]
fn a_message_of_100_mib_passes_in_32_mib_of_memory() {
    let place = Place::new("memory-large");
    let resolver = place.address();
    let [theirs, ours] = ["peer.test", "sealpost.test"].map(|domain| Host::new(&place, domain, resolver));
    let records = theirs.records() + &ours.records();
    let _knot = Knot::start(&place.subfolder("knot"), resolver, &records);
    let postfix = Postfix::start(theirs, "");
    let sealpost = Sealpost::start(
        ours,
        Setup {
            limits: "message_bytes_max = \"200MiB\"",
            ..Setup::default()
        },
    );
    let letter =
        |id: &str, bytes| Letter::new(id, "you@sealpost.test", &["big@peer.test"], bytes, Octets::Ascii);
    let client = Smtplib::new(sealpost.port(25), Channel::StartTls);
    // A first small one, so that what is made once is counted as idle.
    let carry = |letter: &Letter| {
        client.send(letter).must_succeed();
        wait_until(&format!("letter {}", letter.id), PATIENCE, || {
            mailbox::tally(&postfix.mail()).contains_key(&letter.id)
        });
        sealpost.wait_for_empty_queue(PATIENCE);
    };
    carry(&letter("small", 10_000));
    let large = letter("large", 100 * MIB);
    let idle = sealpost.resident_kib();
    let peak = peak_kib(&sealpost, || carry(&large));
    let arrived = mailbox::wait_for_letter(&postfix.mail(), "large", USUAL);
    large.must_equal(&arrived[0].octets);
    println!(
        "idle {idle} KiB, at most {peak} KiB with 100 MiB in and out: {} KiB more",
        peak - idle
    );
    assert!(
        peak - idle < LARGE_GROWTH_KIB_MAX,
        "{} KiB more than idle",
        peak - idle
    );
}

#[test]
fn a_thousand_idle_tls_sessions_cost_less_than_64_kib_each() {
    let place = Place::new("memory-sessions");
    let ours = Host::new(&place, "sealpost.test", place.address());
    let sealpost = Sealpost::start(
        ours,
        Setup {
            limits: "connections_per_client_max = 5000",
            ..Setup::default()
        },
    );
    // A first session, so that what is made once is counted as idle.
    let letter = Letter::new("first", "you@x.test", &["me@sealpost.test"], 1_000, Octets::Ascii);
    Smtplib::new(sealpost.port(25), Channel::StartTls)
        .send(&letter)
        .must_succeed();
    let idle = sealpost.resident_kib();
    let mut python = Command::new(Installed::Python.program())
        .args([
            "-c",
            IDLE_SESSIONS,
            &sealpost.host().address.to_string(),
            &SESSIONS.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python was just installed");
    let mut said = BufReader::new(python.stdout.take().expect("asked for above")).lines();
    let mut line = || said.next().and_then(Result::ok);
    assert_eq!(line().as_deref(), Some("open"), "the sessions were not opened");
    let full = sealpost.resident_kib();
    let each = (full - idle) as f64 / SESSIONS as f64;
    println!("idle {idle} KiB, {full} KiB with {SESSIONS} idle TLS sessions: {each:.1} KiB each");
    python
        .stdin
        .take()
        .expect("asked for above")
        .flush()
        .expect("an open pipe");
    assert_eq!(line().as_deref(), Some("alive"), "idle sessions were closed");
    assert!(python.wait().expect("a child of ours").success());
    assert!(
        full - idle < SESSIONS * SESSION_KIB_MAX,
        "{each:.1} KiB a session"
    );
}
