//! The memory of peers on real wires: what a host has shown before is demanded of it when it shows it no more.

use std::sync::Arc;
use std::time::Duration;

use interop::authority::{Identity, Validity};
use interop::hostile::{HostilePeer, Manner, StartTls};
use interop::laboratory::{Laboratory, NAMES_FORGOTTEN, Sketch};
use interop::mailbox;
use interop::patience::{USUAL, pass, wait_for, wait_until};
use interop::peers::Signing;
use interop::sealpost::{ONCE, Setup};
use serde_json::Value;

const LETTERS: usize = 5;

/// Three sessions bind, one a second; a person hears of alarms.
const QUICK: &str = "
[ledger]
bind_after = 3
bind_apart = \"1s\"
bind_over = \"2s\"
domain_over = \"1h\"
decay = \"2h\"

[alarm]
mail = [\"watch@ours.test\"]
";

/// So long that two sessions count as two.
const APART: Duration = Duration::from_millis(2_100);

/// The host of `b.test`, which is bound to what it has shown.
struct Bound {
    lab: Laboratory,
    peer: HostilePeer,
    identity: Arc<Identity>,
}

fn records(address: std::net::IpAddr, tlsa: &str) -> String {
    format!("b.test. MX 10 mx.b.test.\nmx.b.test. A {address}\n{tlsa}")
}

fn setup() -> Setup<'static> {
    Setup { more: QUICK, ..ONCE }
}

/// A host that publishes nothing, and has encrypted several times.
fn bound_by_sessions(test: &str) -> Bound {
    let mut sketch = Sketch::new(test);
    let identity = Identity::self_signed(&["mx.b.test"], Validity::Valid);
    let address = sketch.place.address();
    sketch.zone("b.test.", Signing::Unsigned, &records(address, ""));
    sketch.zone("never.test.", Signing::Unsigned, "");
    let peer = HostilePeer::start(address, "mx.b.test", Manner::honest(&identity));
    let never = sketch.peer("never.test", Manner::with(&identity, StartTls::Stripped), &[]);
    let lab = sketch.start(setup());
    for number in 0..3 {
        let id = format!("shown-{number}");
        lab.send(&id, "a@b.test");
        assert!(lab.arrives(&peer, &id), "{id} in clear");
        pass(&APART);
    }
    // One that was never met is owed nothing, and its letter goes in clear: the memory alone makes the difference.
    lab.send("never", "a@never.test");
    assert!(!lab.arrives(&never, "never"));
    let told = lab.attempts("never.test").concat();
    assert!(told.contains("basis=clear-"), "{told}");
    Bound { lab, peer, identity }
}

/// A host that has proven itself by DANE once, whose TLSA record is gone since.
fn bound_by_proof(test: &str) -> Bound {
    let mut sketch = Sketch::new(test);
    let identity = Identity::self_signed(&["mx.b.test"], Validity::Valid);
    let address = sketch.place.address();
    let tlsa = format!("_25._tcp.mx.b.test. TLSA {}\n", identity.tlsa(3, 1, 1));
    sketch.zone("b.test.", Signing::Nsec, &records(address, &tlsa));
    let peer = HostilePeer::start(address, "mx.b.test", Manner::honest(&identity));
    let mut lab = sketch.start(setup());
    lab.send("proven", "a@b.test");
    assert!(lab.arrives(&peer, "proven"));
    lab.tree.change("b.test.", &records(address, ""));
    pass(&NAMES_FORGOTTEN);
    Bound { lab, peer, identity }
}

/// Waits until so many recipients are held by trust, and none waits otherwise.
fn all_held(lab: &Laboratory, count: usize) {
    wait_until("all letters to be held", USUAL, || {
        let queue = lab.sealpost.json(&["queue", "list"]);
        let entries = queue.as_array().into_iter().flatten();
        let recipients: Vec<&Value> = entries
            .flat_map(|entry| entry["recipients"].as_array().into_iter().flatten())
            .filter(|recipient| recipient["address"] == "a@b.test")
            .collect();
        recipients.len() == count
            && recipients
                .iter()
                .all(|recipient| recipient["hold"]["by"] == "trust")
    });
}

fn send_several(lab: &Laboratory, start: &str) -> Vec<String> {
    let ids: Vec<String> = (0..LETTERS).map(|number| format!("{start}-{number}")).collect();
    for id in &ids {
        lab.send(id, "a@b.test");
    }
    ids
}

/// Lets what is held be tested now, and waits until the peer had one more conversation, which is over.
fn test_now(bound: &Bound) {
    let before = bound.peer.conversations().len();
    bound.lab.sealpost.command(&["queue", "release", "--all"]);
    wait_until("one more test", USUAL, || {
        let conversations = bound.peer.conversations();
        conversations.len() > before && conversations.iter().all(|conversation| conversation.closed)
    });
}

/// Sends a letter that is held, and is held still after a test of its own: behind another's failure it may wait untested.
fn held_after_a_test(bound: &Bound, id: &str) {
    bound.lab.send(id, "a@b.test");
    all_held(&bound.lab, 1);
    test_now(bound);
    all_held(&bound.lab, 1);
    bound.lab.delete_all();
}

/// Has what is held tested until a letter is with a peer, and says whether it came inside TLS.
fn arrives_once_tested(lab: &Laboratory, peer: &HostilePeer, id: &str) -> bool {
    wait_for(&format!("letter {id}"), USUAL, || {
        lab.sealpost.command(&["queue", "release", "--all"]);
        let mut letters = peer.letters().into_iter();
        letters
            .find(|(arrived, _)| arrived == id)
            .map(|(_, inside)| inside)
    })
}

/// All that the chain tells, in order.
fn chain(lab: &Laboratory) -> Vec<Value> {
    let exported = lab.sealpost.command(&["evidence", "export"]).stdout;
    let text = String::from_utf8_lossy(&exported);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.map(|line| line["body"].clone()).collect()
}

/// What alarms it tells of: `begin` and `end`, each with its subject.
fn alarms_told(lab: &Laboratory) -> Vec<String> {
    let facts = chain(lab).into_iter();
    let alarms = facts.filter(|fact| fact["kind"] == "alarm");
    alarms
        .map(|fact| format!("{} {}", fact["event"], fact["subject"]).replace('"', ""))
        .collect()
}

/// The chain has the host and both times: when it last encrypted, and when it was found not to.
fn chain_tells_before_and_after(lab: &Laboratory) {
    let facts = chain(lab);
    let at = |fact: &Value| fact["at"].as_str().unwrap_or_default().to_owned();
    let alarm = facts
        .iter()
        .find(|fact| fact["kind"] == "alarm")
        .expect("an alarm");
    assert!(
        alarm["text"]
            .as_str()
            .is_some_and(|text| text.contains("mx.b.test")),
        "{alarm}"
    );
    let mut of_host = facts.iter().filter(|fact| fact["host"] == "mx.b.test");
    let encrypted = of_host
        .rfind(|fact| !fact["channel"]["tls"].is_null())
        .expect("a session inside TLS");
    let times = (at(encrypted), at(alarm));
    assert!(!times.0.is_empty() && times.0 < times.1, "{times:?}");
}

/// The subjects of what came to the person who hears of alarms.
fn alarms_mailed(lab: &Laboratory) -> Vec<String> {
    let arrived = mailbox::all(&lab.sealpost.mail()).into_iter();
    let texts = arrived.map(|found| String::from_utf8_lossy(&found.octets).into_owned());
    let mut subjects: Vec<String> = texts
        .filter_map(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("Subject: Alarm").map(str::to_owned))
        })
        .collect();
    subjects.sort();
    subjects
}

fn names_in_queue(lab: &Laboratory) -> Vec<String> {
    let queue = lab.sealpost.json(&["queue", "list"]);
    let entries = queue.as_array().into_iter().flatten();
    entries
        .filter_map(|entry| entry["id"].as_str().map(str::to_owned))
        .collect()
}

/// What the evidence says of the letters that were held: of each that was tested, that the memory demanded encryption, that nothing was
/// given for less, and that it was held for that; all in a chain that is sound. One that waits behind another's test has no records
/// of its own.
fn evidence_tells_of_holds(lab: &Laboratory, names: &[String]) {
    let mut tested = 0;
    for name in names {
        let records = lab.sealpost.json(&["evidence", "show", name]);
        let found = records.as_array().into_iter().flatten();
        let facts: Vec<&Value> = found.map(|found| &found["fact"]).collect();
        let of_kind = |kind: &str| facts.iter().filter(|fact| fact["kind"] == kind).count();
        assert_eq!(of_kind("attempt"), of_kind("held"), "{name}: {records}");
        for attempt in facts.iter().filter(|fact| fact["kind"] == "attempt") {
            tested += 1;
            assert_eq!(attempt["unmet"]["by"], "ledger", "{name}: {attempt}");
            assert!(attempt["basis"].is_null(), "{name}: {attempt}");
        }
    }
    assert!(tested > 1, "of {names:?} {tested} were tested");
    let verified = lab.sealpost.json(&["evidence", "verify"]);
    assert!(verified["records"].as_u64() > Some(0), "{verified}");
}

// proves: 2487-7-3 3207-6-4 3207-6-8
#[test]
fn a_keyword_there_today_and_gone_tomorrow_holds_mail_across_a_crash_until_it_is_back() {
    let mut bound = bound_by_sessions("trust-memory-keyword");
    let stripped = Manner::with(&bound.identity, StartTls::Stripped);
    bound.peer.behave(stripped);
    let ids = send_several(&bound.lab, "stripped");
    all_held(&bound.lab, LETTERS);
    let names = names_in_queue(&bound.lab);
    bound.lab.sealpost.kill();
    bound.lab.sealpost.run();
    all_held(&bound.lab, LETTERS);
    test_now(&bound);
    all_held(&bound.lab, LETTERS);
    bound.peer.must_have_heard_nothing_in_clear();
    assert_eq!(bound.lab.reports(), Vec::<String>::new());
    let standing = bound.lab.sealpost.json(&["alarm", "list"]);
    assert_eq!(standing.as_array().map(Vec::len), Some(1), "{standing}");
    assert_eq!(
        (&standing[0]["name"], &standing[0]["holds_mail"]),
        (&Value::from("b.test"), &Value::from(true))
    );
    evidence_tells_of_holds(&bound.lab, &names);
    assert_eq!(alarms_told(&bound.lab), ["begin hosts b.test"]);
    chain_tells_before_and_after(&bound.lab);
    bound.peer.behave(Manner::honest(&bound.identity));
    bound.lab.sealpost.command(&["queue", "release", "--all"]);
    for id in &ids {
        assert!(bound.lab.arrives(&bound.peer, id), "{id} in clear");
    }
    let both = [": hosts b.test", " over: hosts b.test"];
    wait_until("word of the end", USUAL, || {
        alarms_mailed(&bound.lab).len() >= both.len()
    });
    assert_eq!(
        alarms_told(&bound.lab),
        ["begin hosts b.test", "end hosts b.test"]
    );
    let mut mailed = alarms_mailed(&bound.lab);
    mailed.sort_by_key(String::len);
    assert_eq!(mailed, both);
    let standing = bound.lab.sealpost.json(&["alarm", "list"]);
    assert_eq!(standing.as_array().map(Vec::len), Some(0), "{standing}");
    bound.peer.must_have_heard_nothing_in_clear();
    let told = bound.lab.attempts("b.test").concat();
    assert!(told.contains("demand=encrypted/ledger"), "{told}");
}

#[test]
fn what_is_bound_to_proof_is_held_from_broken_handshakes_and_strangers_and_not_from_its_own_key() {
    let bound = bound_by_proof("trust-memory-proof");
    for (name, starttls) in [
        ("strips", StartTls::Stripped),
        ("refuses", StartTls::Refuses("454 4.7.0 not now".to_owned())),
        ("garbage", StartTls::Garbage(b"\x00\x01garbage\r\n".to_vec())),
        ("stalls", StartTls::Stalls),
        ("old", StartTls::OldVersion),
        ("injects", StartTls::Injects(b"250 ok\r\n".to_vec())),
    ] {
        bound.peer.behave(Manner::with(&bound.identity, starttls));
        held_after_a_test(&bound, name);
    }
    // Neither a proof nor a key that is known: somebody else.
    let stranger = Identity::self_signed(&["mx.b.test"], Validity::Valid);
    bound.peer.behave(Manner::honest(&stranger));
    held_after_a_test(&bound, "stranger");
    bound.peer.must_have_heard_nothing_in_clear();
    let shaken = bound
        .peer
        .conversations()
        .into_iter()
        .filter(|conversation| conversation.handshake.is_some());
    let after_proof: Vec<_> = shaken
        .skip(1)
        .map(|conversation| conversation.commands_inside())
        .collect();
    assert!(
        !after_proof.is_empty() && after_proof.iter().all(|commands| *commands == ["QUIT"]),
        "{after_proof:?}"
    );
    // A certificate over the known key that has run out is no stranger's.
    let renewed = Identity::expired_over(&bound.identity, &["mx.b.test"]);
    bound.peer.behave(Manner::honest(&renewed));
    bound.lab.send("known-key", "a@b.test");
    assert!(arrives_once_tested(&bound.lab, &bound.peer, "known-key"));
    assert_eq!(bound.lab.reports(), Vec::<String>::new());
}

#[test]
fn of_two_machines_behind_one_name_the_one_that_keeps_its_word_is_used() {
    let mut bound = bound_by_proof("trust-memory-two");
    let second_address = bound.lab.place.address();
    let second = HostilePeer::start(second_address, "mx.b.test", Manner::honest(&bound.identity));
    bound
        .peer
        .behave(Manner::with(&bound.identity, StartTls::Stripped));
    let both = format!("mx.b.test. A {second_address}\n");
    bound
        .lab
        .tree
        .change("b.test.", &(records(bound.peer.address(), "") + &both));
    pass(&NAMES_FORGOTTEN);
    for id in send_several(&bound.lab, "two") {
        assert!(arrives_once_tested(&bound.lab, &second, &id), "{id} in clear");
    }
    bound.peer.must_have_heard_nothing_in_clear();
    second.must_have_heard_nothing_in_clear();
}
