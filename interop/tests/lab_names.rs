//! The laboratory's names: a signed tree under a private root, a resolver that checks it, one that hands it on, and one that lies.

use interop::lookup::{Answer, ask};
use interop::meddler::{Forgery, Manner, Meddler, RecordType};
use interop::peers::unbound::Validation;
use interop::peers::{Signing, Tree, Unbound, Zone};
use interop::place::Place;

const MX: RecordType = RecordType::MX;
const TLSA: RecordType = RecordType::TLSA;

struct Names {
    tree: Tree,
    checks: Unbound,
    hands_on: Unbound,
    meddler: Meddler,
    _failing: Meddler,
    _place: Place,
}

fn zone(name: &str, signing: Signing) -> Zone {
    let host = format!("mx.{name}");
    let records = format!(
        "{name} MX 10 {host}\n{host} A 127.0.0.1\n_25._tcp.{host} TLSA 3 1 1 {}\n",
        "ab".repeat(32)
    );
    Zone::new(name, signing, &records)
}

fn start(test: &str) -> Names {
    let place = Place::new(test);
    // The server of a delegation that has lost its zone.
    let lost = place.address();
    let failing = Meddler::start(lost, lost);
    failing.be(Manner::Fails);
    let mut zones = vec![
        zone("nsec.test.", Signing::Nsec),
        zone("nsec3.test.", Signing::Nsec3),
        zone("unsigned.test.", Signing::Unsigned),
        zone("wrong-ds.test.", Signing::WrongDs),
        zone("expired.test.", Signing::Expired),
    ];
    zones[0].records += &format!(
        "secure.nsec.test. CNAME mx.nsec3.test.\ninsecure.nsec.test. CNAME mx.unsigned.test.\n*.wild.nsec.test. MX 10 mx.nsec.test.\n\
         dead.nsec.test. A 127.0.0.1\n_tcp.dead.nsec.test. NS ns.dead.nsec.test.\nns.dead.nsec.test. A {lost}\n"
    );
    let tree = Tree::start(&place.subfolder("knot"), place.address(), &zones);
    let unbound =
        |name: &str, validation| Unbound::start(&place.subfolder(name), place.address(), &tree, validation);
    let checks = unbound("checks", Validation::Checks);
    let hands_on = unbound("hands-on", Validation::HandsOn);
    let meddler = Meddler::start(place.address(), hands_on.address());
    Names {
        checks,
        hands_on,
        meddler,
        _failing: failing,
        tree,
        _place: place,
    }
}

fn proven(answer: &Answer) -> bool {
    answer.code == "No Error" && answer.authentic
}

#[test]
fn every_fate_of_a_signature_is_there_for_a_validating_resolver() {
    let names = start("lab-names-fates");
    let about = |name: &str, kind| ask(names.checks.address(), name, kind);
    for signed in ["nsec.test.", "nsec3.test."] {
        let mx = about(signed, MX);
        assert!(proven(&mx) && mx.records == [format!("10 mx.{signed}")], "{mx:?}");
        assert!(proven(&about(&format!("_25._tcp.mx.{signed}"), TLSA)));
        let denied = about(&format!("absent.{signed}"), MX);
        assert!(
            denied.code.contains("Non-Existent") && denied.authentic,
            "{denied:?}"
        );
    }
    let unsigned = about("unsigned.test.", MX);
    assert!(!unsigned.authentic && unsigned.records.len() == 1, "{unsigned:?}");
    for bogus in ["wrong-ds.test.", "expired.test."] {
        assert_eq!(about(bogus, MX).code, "Server Failure", "{bogus}");
        let unchecked = ask(names.hands_on.address(), bogus, MX);
        assert_eq!(
            unchecked.records.len(),
            1,
            "{bogus} is not served at all: {unchecked:?}"
        );
        assert!(unchecked.kinds.contains(&RecordType::RRSIG), "{unchecked:?}");
    }
    assert!(proven(&about("secure.nsec.test.", RecordType::A)));
    assert!(proven(&about("x.wild.nsec.test.", MX)));
    let crossing = about("insecure.nsec.test.", RecordType::A);
    assert!(!crossing.authentic && crossing.records.len() == 1, "{crossing:?}");
    assert!(proven(&about("dead.nsec.test.", RecordType::A)));
    assert_eq!(about("_25._tcp.dead.nsec.test.", TLSA).code, "Server Failure");
}

#[test]
fn a_zone_changes_under_way_and_stays_signed() {
    let mut names = start("lab-names-change");
    names
        .tree
        .change("nsec.test.", "nsec.test. MX 10 other.nsec.test.\n");
    interop::patience::wait_for("the changed zone", interop::patience::USUAL, || {
        let mx = ask(names.checks.address(), "nsec.test.", MX);
        (proven(&mx) && mx.records == ["10 other.nsec.test."]).then_some(())
    });
}

#[test]
fn the_meddler_passes_strips_forges_and_notes_what_was_asked() {
    let names = start("lab-names-meddler");
    let about = |name: &str, kind| ask(names.meddler.address(), name, kind);
    let honest = about("nsec.test.", MX);
    assert!(honest.kinds.contains(&RecordType::RRSIG), "{honest:?}");
    names.meddler.be(Manner::Strips);
    let stripped = about("nsec.test.", MX);
    assert_eq!(
        (stripped.kinds, stripped.records),
        (vec![MX], honest.records.clone())
    );
    names.meddler.relent();
    let lie = Forgery::Records(vec!["5 mx.evil.test.".to_owned()]);
    names.meddler.forge("nsec.test.", MX, lie);
    names
        .meddler
        .forge("_25._tcp.mx.nsec.test.", TLSA, Forgery::ServFail);
    assert_eq!(about("nsec.test.", MX).records, ["5 mx.evil.test."]);
    assert_eq!(about("_25._tcp.mx.nsec.test.", TLSA).code, "Server Failure");
    names.meddler.relent();
    assert_eq!(about("nsec.test.", MX).records, honest.records);
    assert_eq!(names.meddler.asked().len(), 5);
}
