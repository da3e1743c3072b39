//! DANE against real zones, a real resolver and hosts that keep or break what their TLSA records promise (RFC 7672, RFC 7671).

use interop::authority::{Authority, Identity, Validity};
use interop::fate::{Case, Fate, check};
use interop::hostile::{HostilePeer, Manner, StartTls};
use interop::laboratory::Sketch;
use interop::meddler::{Forgery, Manner as Names, Meddler, RecordType};
use interop::peers::Signing;
use interop::sealpost::{ONCE, Setup};

/// Adds a host to the zone `d.test`.
fn host(sketch: &mut Sketch, name: &str, manner: Manner, tlsa: &[String], fate: Fate) -> Case {
    let domain = format!("{name}.d.test");
    let peer = sketch.peer(&domain, manner, tlsa);
    Case::new(&domain, peer, fate)
}

// proves: 7672-2.2-2 7672-3.2-1 7672-3.1.1-1 7672-3.1.1-2 7672-3.2.1-1 7672-3.2.2-1 7672-3.2.2-2 7671-2-1 7671-5.1-1 7671-5.1-2 7671-10.2-2
#[test]
fn what_a_host_shows_is_held_against_its_records() {
    let mut sketch = Sketch::new("trust-dane-records");
    sketch.zone("d.test.", Signing::Nsec, "");
    let other = Identity::self_signed(&["elsewhere.test"], Validity::Valid);
    let strange = Authority::new("Another Root");
    let mut cases = Vec::new();
    let mx = |name: &str| format!("mx.{name}.d.test");
    for (name, usage, selector, matching) in [
        ("ee-key", 3, 1, 1),
        ("ee-certificate", 3, 0, 1),
        ("ee-long", 3, 1, 2),
        ("ee-whole-key", 3, 1, 0),
        ("ee-whole", 3, 0, 0),
    ] {
        let identity = Identity::self_signed(&[&mx(name)], Validity::Valid);
        let tlsa = [identity.tlsa(usage, selector, matching)];
        cases.push(host(
            &mut sketch,
            name,
            Manner::honest(&identity),
            &tlsa,
            Fate::Inside,
        ));
    }
    // RFC 7672 §3.1.1: names and dates mean nothing to usage 3.
    for (name, identity) in [
        (
            "ee-misnamed",
            Identity::self_signed(&["elsewhere.test"], Validity::Valid),
        ),
        (
            "ee-expired",
            Identity::self_signed(&["mx.ee-expired.d.test"], Validity::Expired),
        ),
    ] {
        let tlsa = [identity.tlsa(3, 1, 1)];
        cases.push(host(
            &mut sketch,
            name,
            Manner::honest(&identity),
            &tlsa,
            Fate::Inside,
        ));
    }
    // RFC 7672 §3.2.2: the host's name or the domain's, below the anchor that the record names, whatever the web trusts.
    for (name, names, validity, fate) in [
        (
            "ta-host",
            vec!["mx.ta-host.d.test"],
            Validity::Valid,
            Fate::Inside,
        ),
        (
            "ta-domain",
            vec!["ta-domain.d.test"],
            Validity::Valid,
            Fate::Inside,
        ),
        (
            "ta-wildcard",
            vec!["*.ta-wildcard.d.test"],
            Validity::Valid,
            Fate::Inside,
        ),
        (
            "ta-misnamed",
            vec!["mx.elsewhere.test"],
            Validity::Valid,
            Fate::Goodbye,
        ),
        (
            "ta-expired",
            vec!["mx.ta-expired.d.test"],
            Validity::Expired,
            Fate::Goodbye,
        ),
    ] {
        let identity = strange.issue(&names, validity);
        let tlsa = [identity.tlsa(2, 0, 1)];
        cases.push(host(&mut sketch, name, Manner::honest(&identity), &tlsa, fate));
    }
    // Trusted by the web's roots, and for the right name: nothing against a record that does not fit.
    for (name, tlsa) in [
        ("mismatch", vec![other.tlsa(3, 1, 1)]),
        (
            "ta-mismatch",
            vec![strange.issue(&["x.test"], Validity::Valid).tlsa(2, 0, 1)],
        ),
    ] {
        let identity = sketch.identity(&mx(name));
        cases.push(host(
            &mut sketch,
            name,
            Manner::honest(&identity),
            &tlsa,
            Fate::Goodbye,
        ));
    }
    // Roll-over: one that fits is enough, whatever stands beside it.
    for (name, beside) in [
        ("roll-over", vec![other.tlsa(3, 1, 1)]),
        (
            "either-usage",
            vec![strange.issue(&["x.test"], Validity::Valid).tlsa(2, 0, 1)],
        ),
        ("beside-unusable", vec![other.tlsa(1, 1, 1), other.tlsa(3, 1, 9)]),
    ] {
        let identity = Identity::self_signed(&[&mx(name)], Validity::Valid);
        let tlsa = [beside, vec![identity.tlsa(3, 1, 1)]].concat();
        cases.push(host(
            &mut sketch,
            name,
            Manner::honest(&identity),
            &tlsa,
            Fate::Inside,
        ));
    }
    let lab = sketch.start(ONCE);
    check(&lab, &cases);
    for case in cases.iter().filter(|case| case.fate == Fate::Inside) {
        let told = lab.attempts(&case.domain).concat();
        assert!(told.contains("demand=verified/dane"), "{}: {told}", case.domain);
        let handshakes: Vec<_> = case
            .peer
            .conversations()
            .into_iter()
            .filter_map(|one| one.handshake)
            .collect();
        assert_eq!(
            handshakes[0].server_name,
            Some(format!("mx.{}", case.domain)),
            "{}",
            case.domain
        );
    }
}

// proves: 7672-2.2-3 7672-2.2-4 7672-2.2.3-3 7671-10.3-3 7671-10.3-4 7671-4-1
#[test]
fn records_oblige_to_encrypt_whatever_the_host_does() {
    let mut sketch = Sketch::new("trust-dane-encrypt");
    sketch.zone("d.test.", Signing::Nsec3, "");
    let mut cases = Vec::new();
    let identity = |sketch: &Sketch, name: &str| sketch.identity(&format!("mx.{name}.d.test"));
    for (name, starttls) in [
        ("stripped", StartTls::Stripped),
        ("refuses", StartTls::Refuses("454 4.7.0 not now".to_owned())),
        ("garbage", StartTls::Garbage(b"\x00\x01garbage\r\n".to_vec())),
        ("stalls", StartTls::Stalls),
        ("old", StartTls::OldVersion),
        ("closes", StartTls::Closes),
        ("injects", StartTls::Injects(b"250-mx\r\n250 SIZE 1\r\n".to_vec())),
    ] {
        let identity = identity(&sketch, name);
        let tlsa = [identity.tlsa(3, 1, 1)];
        cases.push(host(
            &mut sketch,
            name,
            Manner::with(&identity, starttls),
            &tlsa,
            Fate::NoHandshake,
        ));
    }
    for (name, usage, matching) in [("pkix-ta", 0, 1), ("pkix-ee", 1, 1), ("strange-digest", 3, 9)] {
        let identity = Identity::self_signed(&["elsewhere.test"], Validity::Valid);
        let tlsa = [identity.tlsa(usage, 1, matching)];
        cases.push(host(
            &mut sketch,
            name,
            Manner::honest(&identity),
            &tlsa,
            Fate::Inside,
        ));
    }
    for (name, tlsa) in [("unusable-stripped", true), ("none-stripped", false)] {
        let identity = identity(&sketch, name);
        let records: Vec<String> = tlsa.then(|| identity.tlsa(1, 1, 1)).into_iter().collect();
        // What proves that there is no record takes the obligation away too.
        let fate = if tlsa { Fate::NoHandshake } else { Fate::InClear };
        cases.push(host(
            &mut sketch,
            name,
            Manner::with(&identity, StartTls::Stripped),
            &records,
            fate,
        ));
    }
    let lab = sketch.start(ONCE);
    check(&lab, &cases);
}

// proves: 7672-2.1.2-3 7672-2.1.2-4 7672-2.1.2-5 7672-2.2-6 7672-2.2.2-1 7672-2.2.2-2 7672-10-1
#[test]
fn a_look_up_that_fails_is_not_one_that_finds_nothing() {
    let mut sketch = Sketch::new("trust-dane-failures");
    let lost = sketch.place.address();
    let failing = Meddler::start(lost, lost);
    failing.be(Names::Fails);
    sketch.zone("d.test.", Signing::Nsec, "");
    sketch.zone("plain.test.", Signing::Unsigned, "");
    let mut cases = Vec::new();
    for name in [
        "dead-zone",
        "servfail",
        "silent",
        "nothing",
        "no-such-name",
        "forged",
        "next",
    ] {
        let identity = sketch.identity(&format!("mx.{name}.d.test"));
        let tlsa: Vec<String> = (name != "dead-zone")
            .then(|| identity.tlsa(3, 1, 1))
            .into_iter()
            .collect();
        cases.push(host(
            &mut sketch,
            name,
            Manner::honest(&identity),
            &tlsa,
            Fate::NoContact,
        ));
    }
    sketch.records(
        "d.test",
        &format!("_tcp.mx.dead-zone.d.test. NS ns.dead-zone.d.test.\nns.dead-zone.d.test. A {lost}\n"),
    );
    let second = sketch.identity("mx.second.d.test");
    let tlsa = [second.tlsa(3, 1, 1)];
    let second = sketch.peer("second.d.test", Manner::honest(&second), &tlsa);
    sketch.records("d.test", "next.d.test. MX 20 mx.second.d.test.\n");
    let other = sketch.identity("mx.elsewhere.test");
    let unsigned = sketch.identity("mx.plain.test");
    let unsigned = sketch.peer("plain.test", Manner::honest(&unsigned), &[other.tlsa(3, 1, 1)]);
    let lab = sketch.start(ONCE);
    let question = |name: &str| format!("_25._tcp.mx.{name}.d.test.");
    for (name, forgery) in [
        ("servfail", Forgery::ServFail),
        ("silent", Forgery::Silence),
        ("nothing", Forgery::Nothing),
        ("no-such-name", Forgery::NoSuchName),
        ("forged", Forgery::Records(vec![other.tlsa(3, 1, 1)])),
        ("next", Forgery::ServFail),
    ] {
        lab.meddler.forge(&question(name), RecordType::TLSA, forgery);
    }
    let next = cases.pop().expect("the last one");
    check(&lab, &cases);
    lab.send("next", "a@next.d.test");
    assert!(lab.arrives(&second, "next"));
    assert_eq!(next.peer.conversations().len(), 0);
    lab.send("plain", "a@plain.test");
    assert!(lab.arrives(&unsigned, "plain"));
    let asked = lab.meddler.asked();
    assert!(!asked.contains(&("_25._tcp.mx.plain.test.".to_owned(), RecordType::TLSA)));
    for case in &cases {
        let at = |question: (String, RecordType)| asked.iter().position(|known| *known == question);
        let address = at((format!("mx.{}.", case.domain), RecordType::A));
        let tlsa = at((format!("_25._tcp.mx.{}.", case.domain), RecordType::TLSA));
        assert!(
            address.is_some() && address < tlsa,
            "{}: {address:?} {tlsa:?}",
            case.domain
        );
    }
}

// proves: 7671-7-1 7672-2.1.3-3
// proves: 7672-2.1.3-2 7672-2.2.2-4 7672-2.2.2-5 7672-2.2.3-2 7672-2.2.3-4 7672-8.1-1 7671-3-1 7671-7-2 7671-10.2-1
#[test]
fn aliases_lead_to_the_records_as_far_as_they_are_proven() {
    let mut sketch = Sketch::new("trust-dane-aliases");
    sketch.zone("d.test.", Signing::Nsec, "");
    sketch.zone("e.test.", Signing::Nsec3, "");
    sketch.zone("plain.test.", Signing::Unsigned, "");
    let wrong = Identity::self_signed(&["wrong.test"], Validity::Valid).tlsa(3, 1, 1);
    let mut peers = Vec::new();
    // Which name is aliased to which; where the record stands; whether it fits; the name to be asked for by SNI.
    for (name, target, base, fits) in [
        ("to-target", "mx.to-target.e.test", "mx.to-target.e.test", true),
        (
            "to-target-wrong",
            "mx.to-target-wrong.e.test",
            "mx.to-target-wrong.e.test",
            false,
        ),
        ("at-origin", "mx.at-origin.e.test", "mx.at-origin.d.test", true),
        (
            "at-origin-wrong",
            "mx.at-origin-wrong.e.test",
            "mx.at-origin-wrong.d.test",
            false,
        ),
        (
            "into-plain",
            "mx.into-plain.plain.test",
            "mx.into-plain.d.test",
            true,
        ),
        (
            "into-plain-wrong",
            "mx.into-plain-wrong.plain.test",
            "mx.into-plain-wrong.d.test",
            false,
        ),
    ] {
        let address = sketch.place.address();
        let identity = Identity::self_signed(&[base], Validity::Valid);
        let tlsa = if fits {
            identity.tlsa(3, 1, 1)
        } else {
            wrong.clone()
        };
        let origin = format!("mx.{name}.d.test");
        sketch.records(
            "d.test",
            &format!("{name}.d.test. MX 10 {origin}.\n{origin}. CNAME {target}.\n"),
        );
        sketch.records(target, &format!("{target}. A {address}\n"));
        sketch.records(base, &format!("_25._tcp.{base}. TLSA {tlsa}\n"));
        peers.push((
            name,
            base,
            fits,
            HostilePeer::start(address, target, Manner::honest(&identity)),
        ));
    }
    // The record itself is an alias: the base stays what it was.
    let shared = Identity::self_signed(&["shared.test"], Validity::Valid);
    let peer = sketch.peer("shared.d.test", Manner::honest(&shared), &[]);
    sketch.records("d.test", "_25._tcp.mx.shared.d.test. CNAME tlsa.e.test.\n");
    sketch.records("e.test", &format!("tlsa.e.test. TLSA {}\n", shared.tlsa(3, 1, 1)));
    peers.push(("shared", "mx.shared.d.test", true, peer));
    // The alias of the domain.
    sketch.records("d.test", "alias.d.test. CNAME shared.d.test.\n");
    let lab = sketch.start(ONCE);
    lab.send("alias", "a@alias.d.test");
    for (name, base, fits, peer) in &peers {
        lab.send(name, &format!("a@{name}.d.test"));
        if *fits {
            assert!(lab.arrives(peer, name), "{name} came in clear");
        } else {
            lab.put_off(&format!("a@{name}.d.test"));
            assert_eq!(peer.letters(), []);
        }
        peer.must_have_heard_nothing_in_clear();
        for conversation in peer.conversations() {
            let handshake = conversation
                .handshake
                .unwrap_or_else(|| panic!("{name}: no handshake"));
            assert_eq!(handshake.server_name.as_deref(), Some(*base), "{name}");
        }
    }
    // What it stands for is asked about first, then itself, and no name between.
    let asked = lab.meddler.asked();
    let at = |name: &str| {
        let question = (format!("_25._tcp.mx.at-origin.{name}.test."), RecordType::TLSA);
        asked.iter().position(|known| *known == question)
    };
    assert!(
        at("e").is_some() && at("e") < at("d"),
        "{:?} {:?}",
        at("e"),
        at("d")
    );
    assert!(lab.arrives(&peers[6].3, "alias"));
}

// proves: 7672-2.2-7 7672-6-1 7671-10.3-2
#[test]
fn where_dane_alone_is_demanded_nothing_else_will_do() {
    let mut sketch = Sketch::new("trust-dane-only");
    sketch.zone("d.test.", Signing::Nsec, "");
    let mut cases = Vec::new();
    for (name, usage, fate) in [
        ("good", Some(3), Fate::Inside),
        ("unusable", Some(1), Fate::NoContact),
        ("none", None, Fate::NoContact),
    ] {
        let identity = sketch.identity(&format!("mx.{name}.d.test"));
        let tlsa: Vec<String> = usage
            .map(|usage| identity.tlsa(usage, 1, 1))
            .into_iter()
            .collect();
        cases.push(host(&mut sketch, name, Manner::honest(&identity), &tlsa, fate));
    }
    let more = "[[trust.rule]]\ndomain = \"*.d.test\"\ndemand = \"verified\"\nproof = \"dane\"\n";
    let lab = sketch.start(Setup { more, ..ONCE });
    check(&lab, &cases);
}
