//! Names and trust: what a lying or failing name service can bring about, and what it cannot.

use interop::hostile::{HostilePeer, Manner};
use interop::laboratory::Sketch;
use interop::meddler::{Forgery, Manner as Names, RecordType};
use interop::peers::Signing;
use interop::sealpost::ONCE;

// proves: 7672-2.1.2-1
#[test]
fn forged_and_bogus_answers_put_mail_off_and_lead_it_nowhere() {
    let mut sketch = Sketch::new("trust-names-forged");
    let honest = sketch.identity("mx.signed.test");
    let evil_address = sketch.place.address();
    let evil = HostilePeer::start(
        evil_address,
        "mx.evil.test",
        Manner::honest(&sketch.identity("mx.evil.test")),
    );
    let evil_host = format!("mx.evil.test. A {evil_address}\n");
    sketch.zone("evil.test.", Signing::Unsigned, &evil_host);
    let mut peers = Vec::new();
    for (domain, signing) in [
        ("signed.test", Signing::Nsec),
        ("signed-3.test", Signing::Nsec3),
        ("unsigned.test", Signing::Unsigned),
        ("moved.test", Signing::Nsec),
        ("gone.test", Signing::Nsec),
        ("absent.test", Signing::Nsec3),
        ("failing.test", Signing::Unsigned),
        ("wrong-ds.test", Signing::WrongDs),
        ("expired.test", Signing::Expired),
    ] {
        sketch.zone(&format!("{domain}."), signing, "");
        peers.push((domain, sketch.peer(domain, Manner::honest(&honest), &[])));
    }
    let lab = sketch.start(ONCE);
    let to_evil = || Forgery::Records(vec!["1 mx.evil.test.".to_owned()]);
    lab.meddler.forge("moved.test.", RecordType::MX, to_evil());
    lab.meddler.forge("gone.test.", RecordType::MX, Forgery::Nothing);
    lab.meddler
        .forge("absent.test.", RecordType::MX, Forgery::NoSuchName);
    lab.meddler
        .forge("failing.test.", RecordType::MX, Forgery::ServFail);
    for (domain, _) in &peers {
        lab.send(domain, &format!("a@{domain}"));
    }
    for (domain, peer) in &peers {
        match *domain {
            "signed.test" | "signed-3.test" | "unsigned.test" => {
                assert!(lab.arrives(peer, domain), "{domain} in clear")
            }
            _ => {
                let waiting = lab.put_off(&format!("a@{domain}"));
                assert_eq!(waiting["because"]["status"], "4.4.3", "{domain}: {waiting}");
                assert_eq!(peer.conversations().len(), 0, "{domain}");
            }
        }
    }
    assert_eq!(evil.conversations().len(), 0);
    assert_eq!(lab.reports(), Vec::<String>::new());
}

#[test]
fn a_resolver_that_strips_signatures_makes_signed_zones_unreachable_for_now() {
    let mut sketch = Sketch::new("trust-names-stripped");
    let honest = sketch.identity("mx.signed.test");
    sketch.zone("signed.test.", Signing::Nsec, "");
    let peer = sketch.peer("signed.test", Manner::honest(&honest), &[]);
    let lab = sketch.start(ONCE);
    lab.meddler.be(Names::Strips);
    lab.send("stripped", "a@signed.test");
    lab.put_off("a@signed.test");
    assert_eq!(peer.conversations().len(), 0);
    lab.meddler.relent();
    lab.sealpost.command(&["queue", "retry", "--all"]);
    assert!(lab.arrives(&peer, "stripped"));
    peer.must_have_heard_nothing_in_clear();
}

// proves: 7672-2.1.2-2
#[test]
fn an_exchanger_whose_address_cannot_be_had_leaves_the_next_one() {
    let mut sketch = Sketch::new("trust-names-next");
    let identity = sketch.identity("mx.signed.test");
    sketch.zone(
        "signed.test.",
        Signing::Nsec,
        "signed.test. MX 5 lost.signed.test.\nlost.signed.test. A 127.0.0.1\n",
    );
    let peer = sketch.peer("signed.test", Manner::honest(&identity), &[]);
    let lab = sketch.start(ONCE);
    lab.meddler
        .forge("lost.signed.test.", RecordType::A, Forgery::ServFail);
    lab.send("next", "a@signed.test");
    assert!(lab.arrives(&peer, "next"));
    assert!(
        lab.meddler
            .asked()
            .contains(&("lost.signed.test.".to_owned(), RecordType::A))
    );
}

// A resolver that asks for no more than it must (RFC 9156) lays the target's denial of an address beside the answer.
#[test]
fn a_domain_that_is_an_alias_is_reached_through_a_real_resolver() {
    let mut sketch = Sketch::new("trust-names-alias");
    for (zone, signing) in [("nsec.test", Signing::Nsec), ("nsec-3.test", Signing::Nsec3)] {
        let aliases = format!("alias.{zone}. CNAME second.{zone}.\nsecond.{zone}. CNAME real.{zone}.\n");
        sketch.zone(&format!("{zone}."), signing, &aliases);
    }
    let peers = ["nsec.test", "nsec-3.test"].map(|zone| {
        let identity = sketch.identity(&format!("mx.real.{zone}"));
        (
            zone,
            sketch.peer(&format!("real.{zone}"), Manner::honest(&identity), &[]),
        )
    });
    let lab = sketch.start(ONCE);
    for (zone, peer) in &peers {
        lab.send(zone, &format!("a@alias.{zone}"));
        assert!(lab.arrives(peer, zone));
    }
    // Lies are not believed at any step.
    let lie = Forgery::Records(vec!["1 mx.real.nsec-3.test.".to_owned()]);
    lab.meddler.forge("alias.nsec.test.", RecordType::MX, lie.clone());
    lab.meddler
        .forge("second.nsec.test.", RecordType::MX, lie.clone());
    lab.meddler.forge("real.nsec.test.", RecordType::MX, lie);
    interop::patience::pass(&interop::laboratory::NAMES_FORGOTTEN);
    lab.send("lied", "a@alias.nsec.test");
    lab.put_off("a@alias.nsec.test");
}
