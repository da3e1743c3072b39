//! DANE on the ways that lead to a host: several exchangers, unsigned ones, other ports, literals (RFC 7672 §2.2, §3.2.2).

use std::process::Command;

use interop::authority::{Identity, Validity};
use interop::enclosure::run;
use interop::fate::{Case, Fate, check};
use interop::hostile::{HostilePeer, Manner, ONLY_TLS_1_2, StartTls};
use interop::laboratory::{Laboratory, Sketch};
use interop::meddler::{Manner as Names, Meddler, RecordType};
use interop::packages::Installed;
use interop::peers::Signing;
use interop::sealpost::{ONCE, Setup};

const TLSA: RecordType = RecordType::TLSA;

fn asked_tlsa(lab: &Laboratory) -> Vec<String> {
    let asked = lab.meddler.asked().into_iter();
    asked
        .filter(|(_, kind)| *kind == TLSA)
        .map(|(name, _)| name)
        .collect()
}

// proves: 7672-2.2.1-1 7672-2.2.1-6 7672-2.2.2-3 7672-2.1.3-1 7671-3-2
#[test]
fn each_exchanger_is_held_to_its_own_records_in_the_order_of_preference() {
    let mut sketch = Sketch::new("trust-ways-order");
    sketch.zone("d.test.", Signing::Nsec, "");
    let wrong = Identity::self_signed(&["wrong.test"], Validity::Valid).tlsa(3, 1, 1);
    let third = Identity::self_signed(&["mx.three.d.test"], Validity::Valid);
    let lost = sketch.place.address();
    let failing = Meddler::start(lost, lost);
    failing.be(Names::Fails);
    let two = ["one.d.test", "two.d.test"].map(|domain| {
        let identity = sketch.identity(&format!("mx.{domain}"));
        sketch.peer(domain, Manner::honest(&identity), std::slice::from_ref(&wrong))
    });
    let only_1_2 = Manner {
        versions: ONLY_TLS_1_2,
        ..Manner::honest(&third)
    };
    let three = sketch.peer("three.d.test", only_1_2, &[third.tlsa(3, 1, 1)]);
    // Without addresses, and an alias whose target cannot be asked for: neither is there.
    sketch.records(
        "d.test",
        &format!(
            "many.d.test. MX 1 nowhere.d.test.\nmany.d.test. MX 2 astray.d.test.\nmany.d.test. MX 10 mx.one.d.test.\n\
             many.d.test. MX 20 mx.two.d.test.\nmany.d.test. MX 30 mx.three.d.test.\nnowhere.d.test. TXT none\n\
             astray.d.test. CNAME a.lost.d.test.\nlost.d.test. NS ns.lost.d.test.\nns.lost.d.test. A {lost}\n"
        ),
    );
    // The better host has no record, the other one has: preference counts.
    let plain = sketch.identity("mx.plain.d.test");
    let plain = sketch.peer("plain.d.test", Manner::honest(&plain), &[]);
    sketch.records("d.test", "plain.d.test. MX 20 mx.three.d.test.\n");
    let lab = sketch.start(ONCE);
    lab.send("many", "a@many.d.test");
    assert!(lab.arrives(&three, "many"));
    for (peer, number) in two.iter().zip(1..) {
        peer.must_have_heard_nothing_in_clear();
        let conversations = peer.conversations();
        assert_eq!(conversations.len(), 1, "exchanger {number}");
        assert_eq!(conversations[0].commands_inside(), ["QUIT"], "exchanger {number}");
    }
    lab.send("plain", "a@plain.d.test");
    assert!(lab.arrives(&plain, "plain"));
    assert_eq!(three.conversations().len(), 1);
    assert_eq!(
        three.conversations()[0]
            .handshake
            .as_ref()
            .expect("a handshake")
            .version,
        "TLSv1_2"
    );
    let asked = asked_tlsa(&lab);
    for host in ["one", "two", "three"] {
        assert!(
            asked.contains(&format!("_25._tcp.mx.{host}.d.test.")),
            "{asked:?}"
        );
    }
    assert!(
        !asked
            .iter()
            .any(|name| name.contains("nowhere") || name.contains("astray")),
        "{asked:?}"
    );
}

// proves: 7672-2.2.1-2 7672-2.2.1-3 7672-3.2.2-3 7672-2.2-8 7672-2.2.3-1
#[test]
fn unsigned_exchangers_literals_and_other_ports() {
    let mut sketch = Sketch::new("trust-ways-other");
    sketch.zone("d.test.", Signing::Nsec, "");
    sketch.zone("plain.test.", Signing::Unsigned, "");
    let mut cases = Vec::new();
    // An unsigned domain with a signed provider's exchanger: its records are kept to, and only its own name counts.
    for (name, names, fits, fate) in [
        ("kept", "mx.kept.d.test", true, Fate::Inside),
        ("broken", "mx.broken.d.test", false, Fate::Goodbye),
        ("own-name", "own-name.plain.test", true, Fate::Goodbye),
        ("only", "mx.only.d.test", true, Fate::NoContact),
    ] {
        let host = format!("mx.{name}.d.test");
        let identity = sketch.identity(names);
        let other = sketch.authority.issue(&[names], Validity::Valid);
        let tlsa = match (name, fits) {
            ("own-name", _) => identity.tlsa(2, 0, 1),
            (_, true) => identity.tlsa(3, 1, 1),
            (_, false) => other.tlsa(3, 1, 1),
        };
        let peer = sketch.peer(&format!("{name}.d.test"), Manner::honest(&identity), &[tlsa]);
        sketch.records("plain.test", &format!("{name}.plain.test. MX 10 {host}.\n"));
        cases.push(Case::new(&format!("{name}.plain.test"), peer, fate));
    }
    let literal = sketch.place.address();
    let identity = sketch.identity("mx.elsewhere.test");
    let literal_peer = HostilePeer::start(literal, "mx.elsewhere.test", Manner::honest(&identity));
    let smart = sketch.place.address();
    sketch.records("d.test", &format!("smart.d.test. A {smart}\n"));
    let route = "[[route.rule]]\ndestination = \"port.d.test\"\nvia = \"smart.d.test:2525\"\n\n";
    let rule = "[[trust.rule]]\ndomain = \"only.plain.test\"\ndemand = \"verified\"\nproof = \"dane\"\n";
    let lab = sketch.start(Setup {
        more: &format!("{route}{rule}"),
        ..ONCE
    });
    check(&lab, &cases);
    lab.send("literal", &format!("a@[{literal}]"));
    assert!(lab.arrives(&literal_peer, "literal"));
    lab.send("port", "a@port.d.test");
    lab.put_off("a@port.d.test");
    let asked = asked_tlsa(&lab);
    assert!(
        asked.contains(&"_2525._tcp.smart.d.test.".to_owned()),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|name| name.contains("127.")), "{asked:?}");
}

// RFC 7672 §2.2: where nothing obliges, and only then, a later attempt may be in clear.
// proves: 7672-2.2-5
#[test]
fn without_records_a_later_attempt_may_be_in_clear() {
    let mut sketch = Sketch::new("trust-ways-later");
    sketch.zone("d.test.", Signing::Nsec, "");
    let broken = |sketch: &mut Sketch, name: &str, obliges: bool| {
        let identity = sketch.identity(&format!("mx.{name}.d.test"));
        let tlsa: Vec<String> = obliges.then(|| identity.tlsa(3, 1, 1)).into_iter().collect();
        sketch.peer(
            &format!("{name}.d.test"),
            Manner::with(&identity, StartTls::Closes),
            &tlsa,
        )
    };
    let free = broken(&mut sketch, "free", false);
    let obliged = broken(&mut sketch, "obliged", true);
    let setup = Setup {
        route: "clear_after = \"1s\"",
        retry: "",
        ..ONCE
    };
    let lab = sketch.start(setup);
    lab.send("obliged", "a@obliged.d.test");
    lab.send("free", "a@free.d.test");
    assert!(!lab.arrives(&free, "free"));
    let first = &free.conversations()[0];
    first.must_have_told_nothing_in_clear();
    obliged.must_have_heard_nothing_in_clear();
    assert!(!obliged.conversations().is_empty());
}

// proves: 7672-8.1-3 7672-8.1-4 7671-3-3
#[test]
fn this_server_shakes_hands_whatever_name_is_asked_for_and_without_any() {
    let lab = Sketch::new("trust-ways-sni").start(ONCE);
    for name in [&["-noservername"][..], &["-servername", "nosuch.invalid"]] {
        let mut command = Command::new(Installed::OpenSsl.program());
        command.args([
            "s_client",
            "-starttls",
            "smtp",
            "-connect",
            &lab.sealpost.port(25).to_string(),
        ]);
        let output = run(command.args(name).stdin(std::process::Stdio::null()));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("New, TLSv1.3"), "{name:?}: {said}");
    }
}
