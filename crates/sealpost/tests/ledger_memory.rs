//! The memory of peers at work: what it keeps through restarts and crashes, what persons can say, and what travels.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::hours::Hours;
use mail::{Domain, Host, TlsFacts, TlsVersion};
use sealpost::config::ledger::Ledger as Settings;
use sealpost::ledger::{Ledger, Line, Wish};
use sealpost::memory::{Change, Memory, Shelf};
use trust::ledger::{Came, Say, Vouched};
use trust::{Bound, Chain, Claim, Evidence, Flaw, Named, Path, Plan, Seen, WhyClear};

const HOUR: Duration = Duration::from_secs(3600);

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

struct House {
    folder: tempfile::TempDir,
    hours: Arc<Hours>,
    ledger: Ledger,
    memory: Memory,
}

fn open(path: &std::path::Path, hours: &Arc<Hours>) -> (Memory, Ledger) {
    let memory = Memory::open(path).unwrap();
    let me = domain("here.example");
    let ledger = Ledger::open(memory.clone(), &Settings::default(), &me, hours.clone()).unwrap();
    (memory, ledger)
}

impl House {
    fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let hours = Arc::new(Hours::new());
        let (memory, ledger) = open(&folder.path().join("memory.redb"), &hours);
        House {
            folder,
            hours,
            ledger,
            memory,
        }
    }

    /// As after `kill -9`: what was not synced when the file was copied is gone.
    fn killed(&self) -> (Memory, Ledger) {
        let copies = std::fs::read_dir(self.folder.path()).unwrap().count();
        let copy = self.folder.path().join(format!("killed-{copies}.redb"));
        std::fs::copy(self.folder.path().join("memory.redb"), &copy).unwrap();
        open(&copy, &self.hours)
    }

    fn evidence(&self, to: &str, seen: Seen) -> Evidence {
        use sealpost::ports::Clock;
        let host = Host::parse(&format!("mx.{to}")).unwrap();
        let plan = Plan::opportunistic(host);
        Evidence {
            domain: Some(domain(to)),
            address: Some("192.0.2.1:25".parse().unwrap()),
            seen: Some(seen),
            ..Evidence::begun(&plan, self.hours.now())
        }
    }

    async fn see(&self, to: &str, seen: Seen) -> Vec<&'static str> {
        let told = self.ledger.observe(&[self.evidence(to, seen)]).await;
        told.iter().map(|notice| notice.news.kind()).collect()
    }

    /// Three sessions within a day.
    async fn bind(&self, to: &str) {
        for _ in 0..3 {
            self.see(to, encrypted()).await;
            self.hours.pass(12 * HOUR);
        }
    }
}

async fn claim(ledger: &Ledger, to: &str) -> Claim {
    let host = Host::parse(&format!("mx.{to}")).unwrap();
    ledger.claim(Some(&domain(to)), &host, Vouched::No).await.unwrap()
}

fn encrypted() -> Seen {
    let facts = TlsFacts {
        version: TlsVersion::V1_3,
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        group: None,
        chain: Vec::new(),
        subject: None,
        server_name: None,
    };
    let chain = Chain {
        path: Path::Flawed(Flaw::Untrusted, "self-signed".into()),
        named: Named::Host,
        key: None,
        until: None,
    };
    Seen::Tls { facts, chain }
}

fn clear() -> Seen {
    Seen::Clear(WhyClear::NotOffered)
}

fn wish(say: Say, name: &str, span: Option<Duration>) -> Wish {
    Wish {
        say,
        name: name.to_owned(),
        author: "ann".to_owned(),
        reason: "their new machine".to_owned(),
        span,
    }
}

#[tokio::test]
async fn what_decided_something_is_durable_before_it_is_answered() {
    let house = House::new();
    house.bind("a.example").await;
    assert_eq!(claim(&house.ledger, "a.example").await.bound, Bound::Encrypted);
    let (_memory, after) = house.killed();
    assert_eq!(
        claim(&after, "a.example").await.bound,
        Bound::Encrypted,
        "bound before the crash"
    );
    assert_eq!(house.see("a.example", clear()).await, ["suspect"]);
    let (_memory, after) = house.killed();
    let told = after.observe(&[house.evidence("a.example", clear())]).await;
    assert!(told.is_empty(), "the alarm was raised before the crash");
}

#[tokio::test]
async fn a_restart_keeps_everything_and_a_clock_that_jumps_ends_nothing() {
    let mut house = House::new();
    house.bind("a.example").await;
    house.memory.close();
    let path = house.folder.path().join("moved.redb");
    std::fs::copy(house.folder.path().join("memory.redb"), &path).unwrap();
    // Ten years ahead at the next start.
    let ahead = Arc::new(Hours::new());
    ahead.pass(87_600 * HOUR);
    house.hours = ahead;
    (house.memory, house.ledger) = open(&path, &house.hours);
    assert_eq!(claim(&house.ledger, "a.example").await.bound, Bound::Encrypted);
    assert_eq!(house.see("a.example", clear()).await, ["suspect"]);
}

#[tokio::test]
async fn unreadable_values_count_as_absent_and_nothing_panics() {
    let house = House::new();
    let garbage = |shelf, key: &[u8]| Change::put(shelf, key, vec![1, 255, 255, 3, 9]);
    house
        .memory
        .keep(vec![
            garbage(Shelf::Hosts, b"a.example\0mx.a.example"),
            garbage(Shelf::Domains, b"a.example"),
            garbage(Shelf::Inbound, b"a.example"),
            garbage(Shelf::Notes, b"note\0a.example"),
            garbage(Shelf::Hosts, b"\xff\xfe"),
        ])
        .await
        .unwrap();
    assert_eq!(claim(&house.ledger, "a.example").await, Claim::default());
    house.bind("a.example").await;
    assert_eq!(claim(&house.ledger, "a.example").await.bound, Bound::Encrypted);
    assert_eq!(
        house.ledger.came_in(&domain("a.example"), Came::Encrypted).await,
        None
    );
    let (_memory, again) = house.killed();
    assert_eq!(claim(&again, "a.example").await.bound, Bound::Encrypted);
}

#[tokio::test]
async fn a_person_relaxes_keeps_and_forgets_with_a_reason_and_an_end() {
    let house = House::new();
    house.bind("a.example").await;
    let ledger = &house.ledger;
    let refused = |wish| async { ledger.say(wish).await.unwrap_err().to_string() };
    assert!(
        refused(wish(Say::Relax, "nobody.example", Some(HOUR)))
            .await
            .contains("nothing is remembered")
    );
    assert!(
        refused(wish(Say::Relax, "a.example", None))
            .await
            .contains("--for")
    );
    assert!(
        refused(wish(Say::Relax, "a.example", Some(1000 * 24 * HOUR)))
            .await
            .contains("longer than")
    );
    let silent = Wish {
        reason: "  ".to_owned(),
        ..wish(Say::Relax, "a.example", Some(HOUR))
    };
    assert!(refused(silent).await.contains("--reason"));

    ledger
        .say(wish(Say::Relax, "A.example", Some(48 * HOUR)))
        .await
        .unwrap();
    let asked = claim(ledger, "a.example").await;
    assert_eq!(asked.bound, Bound::Nothing);
    let told = asked.relaxed.unwrap();
    assert!(
        told.contains("ann") && told.contains("their new machine"),
        "{told}"
    );
    assert!(house.see("a.example", clear()).await.is_empty());
    let (_memory, again) = house.killed();
    assert_eq!(
        claim(&again, "a.example").await.bound,
        Bound::Nothing,
        "a restart keeps the word"
    );
    house.hours.pass(48 * HOUR);
    assert_eq!(
        claim(ledger, "a.example").await.bound,
        Bound::Encrypted,
        "it ends by itself"
    );

    ledger.say(wish(Say::Keep, "mx.a.example", None)).await.unwrap();
    house.hours.pass(200 * 24 * HOUR);
    assert_eq!(
        claim(ledger, "a.example").await.bound,
        Bound::Encrypted,
        "kept without confirmation"
    );
    ledger.say(wish(Say::Forget, "a.example", None)).await.unwrap();
    assert_eq!(claim(ledger, "a.example").await.bound, Bound::Nothing);
    let (_memory, again) = house.killed();
    assert_eq!(claim(&again, "a.example").await.bound, Bound::Nothing);
}

#[tokio::test]
async fn what_is_known_travels_and_foreign_lines_weaken_nothing() {
    let house = House::new();
    for name in ["a.example", "b.example"] {
        house.bind(name).await;
    }
    house
        .ledger
        .came_in(&domain("client.example"), Came::Encrypted)
        .await;
    let mut lines: Vec<Line> = Vec::new();
    let mut after = String::new();
    loop {
        let (page, more) = house.ledger.export(&after, 2).await.unwrap();
        lines.extend(page);
        match more {
            Some(next) => after = next,
            None => break,
        }
    }
    let kinds: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {}", line.kind, line.name))
        .collect();
    assert_eq!(
        kinds,
        [
            "host a.example",
            "host b.example",
            "domain a.example",
            "domain b.example",
            "client client.example"
        ]
    );
    let text: String = lines
        .iter()
        .map(|line| serde_json::to_string(line).unwrap() + "\n")
        .collect();

    let other = House::new();
    other.hours.pass(72 * HOUR);
    let imported = other.ledger.import(&text).await.unwrap();
    assert_eq!((imported.taken, imported.known), (5, 0));
    assert_eq!(claim(&other.ledger, "b.example").await.bound, Bound::Encrypted);
    let again = other.ledger.import(&text).await.unwrap();
    assert_eq!((again.taken, again.known), (0, 5));
    // A standing that is bound to nothing takes no bound away.
    let weak = House::new();
    weak.see("a.example", clear()).await;
    let (page, _) = weak.ledger.export("", 100).await.unwrap();
    let text: String = page
        .iter()
        .map(|line| serde_json::to_string(line).unwrap() + "\n")
        .collect();
    assert_eq!(other.ledger.import(&text).await.unwrap().taken, 0);
    assert_eq!(claim(&other.ledger, "a.example").await.bound, Bound::Encrypted);
}

#[tokio::test]
async fn lines_that_make_no_sense_are_refused_whole() {
    let house = House::new();
    house.bind("a.example").await;
    let (lines, _) = house.ledger.export("", 1).await.unwrap();
    let good = serde_json::to_string(&lines[0]).unwrap();
    let with = |change: fn(&mut Line)| {
        let mut line = lines[0].clone();
        change(&mut line);
        serde_json::to_string(&line).unwrap()
    };
    let fresh = House::new();
    fresh.hours.pass(72 * HOUR);
    let rows = [
        ("no json".to_owned(), "it is no line of an export"),
        ("{}".to_owned(), "it is no line of an export"),
        (with(|line| line.kind = "relax".to_owned()), "is no kind of line"),
        (with(|line| line.host = None), "lacks its host"),
        (with(|line| line.name = "a b\n".to_owned()), "names no host"),
        (with(|line| line.octets = "xyz".to_owned()), "hexadecimal"),
        (with(|line| line.octets = "01ff".to_owned()), "no standing"),
        (format!("{{\"kind\":\"{}\"}}", "x".repeat(20_000)), "longer than"),
        ("\n".repeat(3000) + &good, "more than"),
    ];
    for (line, expected) in rows {
        let refused = fresh
            .ledger
            .import(&format!("{good}\n{line}"))
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(expected), "{expected}: {refused}");
        assert!(
            !refused.contains('\n') && refused.contains("nothing was taken"),
            "{refused}"
        );
    }
    assert_eq!(
        claim(&fresh.ledger, "a.example").await.bound,
        Bound::Nothing,
        "nothing was taken"
    );
    // Five days before the standing was met.
    let early = Arc::new(Hours::new());
    let memory = Memory::in_memory().unwrap();
    house.hours.pass(120 * HOUR);
    house.see("a.example", encrypted()).await;
    let (lines, _) = house.ledger.export("", 1).await.unwrap();
    let ledger = Ledger::open(memory, &Settings::default(), &domain("b.example"), early).unwrap();
    let refused = ledger
        .import(&serde_json::to_string(&lines[0]).unwrap())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("future"), "{refused}");
}
