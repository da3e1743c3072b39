//! DANE from the look-ups to the wire: the faults that other servers have shipped, each kept from happening here.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "outbound/mod.rs"]
mod outbound;

use std::sync::Arc;
use std::time::Duration;

use outbound::stub::{Identity, identity, identity_by, root};
use outbound::{StartTls, Stub, World};
use sealpost::ports::NoAnswer;
use trust::dane::Tlsa;

const HOUR: Duration = Duration::from_secs(3600);

fn servfail() -> Result<Vec<Tlsa>, NoAnswer> {
    Err(NoAnswer::Failed("SERVFAIL".into()))
}

fn record(usage: u8, selector: u8, matching: u8, of: &Identity) -> Tlsa {
    Tlsa::of(usage, selector, matching, &of.chain[0]).unwrap()
}

/// A record that no certificate fits.
fn foreign(usage: u8) -> Tlsa {
    format!("{usage} 1 1 {}", "ab".repeat(32)).parse().unwrap()
}

fn showing(name: &str, identity: &Arc<Identity>) -> Stub {
    Stub::new(name).tls(StartTls::Works).shows(identity)
}

/// `a.example` and its exchanger, signed, with this identity and these TLSA records.
fn signed(config: &str, identity: &Arc<Identity>, records: Result<Vec<Tlsa>, NoAnswer>) -> (World, Stub) {
    let world = World::new(config);
    world.sign(&["a.example"]);
    world.tlsa("_25._tcp.mx.a.example", records);
    let stub = world.exchanger(showing("mx.a.example", identity));
    (world, stub)
}

async fn delivered(world: &World, stub: &Stub) {
    world.send(&["u@a.example"]).await;
    world.until("delivered", |world| world.waiting().is_empty()).await;
    assert_eq!(stub.messages().len(), 1);
    assert!(stub.sessions().iter().all(|session| {
        let mut mails = session.lines.iter().filter(|(_, line)| line.starts_with("MAIL"));
        mails.all(|(channel, _)| *channel == "tls")
    }));
}

/// Sends, and sees after a day that the message is still here, neither sent nor returned.
async fn kept(world: &World, stub: &Stub, because: &str) {
    let home = world.home();
    world.send(&["u@a.example"]).await;
    world.until("tried", |world| !world.causes().is_empty()).await;
    world.pass(2 * HOUR).await;
    assert_eq!(world.waiting().len(), 1);
    assert_eq!(stub.lines_of("MAIL"), Vec::<String>::new());
    let causes = world.causes();
    assert!(
        causes[0].starts_with('4') && causes[0].contains(because),
        "{causes:?}"
    );
    let failed = home.messages().into_iter().filter(|report| {
        outbound::fields(report, "Action")
            .iter()
            .any(|action| action == "failed")
    });
    assert_eq!(failed.count(), 0, "nothing is returned");
}

// The first fault: a look-up that failed passes for one that found nothing.
// proves: 7672-2.1.2-4 7672-2.1.2-5 7672-2.2-6 7672-10-1 6698-4.1-3 6698-4.1-8
#[tokio::test(start_paused = true)]
async fn servfail_and_timeout_are_not_no_tlsa() {
    for why in ["SERVFAIL", "timeout", "the answer did not validate by DNSSEC"] {
        let own = identity(&["mx.a.example"]);
        let (world, stub) = signed("", &own, Err(NoAnswer::Failed(why.into())));
        kept(&world, &stub, why).await;
        assert_eq!(world.dials("192.0.2.1"), 0, "not even dialled");
    }
}

// proves: 7672-2.2-6 7672-2.1.2-2
#[tokio::test(start_paused = true)]
async fn what_fails_for_one_host_leaves_the_next() {
    let (own, next) = (identity(&["mx.a.example"]), identity(&["x"]));
    for (tlsa, address) in [
        (servfail(), "192.0.2.1"),
        (Ok(vec![record(3, 1, 1, &own)]), "fail"),
    ] {
        let (world, first) = signed("", &own, tlsa);
        world.record("a.example MX 10 mx.a.example, 20 two.a.example");
        world.record(&format!("mx.a.example A {address}"));
        world.tlsa("_25._tcp.two.a.example", Ok(vec![record(3, 1, 1, &next)]));
        let second = world.host("two.a.example", "192.0.2.2", showing("two.a.example", &next));
        delivered(&world, &second).await;
        assert!(first.sessions().is_empty());
    }
}

/// The questions, but for those of MTA-STS.
fn asked(world: &World) -> Vec<String> {
    let mut asked = world.asked();
    asked.retain(|question| !question.starts_with("TXT "));
    asked
}

// The second fault: TLSA is asked for, and believed, where the addresses are not proven.
// proves: 7672-2.1.2-3 7672-2.2.2-1 7672-2.2.2-2 7672-2.2.2-3 6698-4.1-4
#[tokio::test(start_paused = true)]
async fn tlsa_is_asked_for_after_proven_addresses_only() {
    let own = identity(&["mx.a.example"]);
    let (world, stub) = signed("", &own, Ok(vec![record(3, 1, 1, &own)]));
    delivered(&world, &stub).await;
    assert_eq!(
        asked(&world),
        ["MX a.example", "A mx.a.example", "TLSA _25._tcp.mx.a.example"]
    );

    // Unsigned: nothing is asked, though a record stands there that would not fit.
    let (world, stub) = signed("", &own, Ok(vec![foreign(3)]));
    world.unsign(&["mx.a.example"]);
    delivered(&world, &stub).await;
    assert_eq!(asked(&world), ["MX a.example", "A mx.a.example"]);

    // Without an address there is nothing to ask for.
    let (world, _) = signed("", &own, Ok(vec![record(3, 1, 1, &own)]));
    world.record("a.example MX 10 gone.a.example");
    world.send(&["u@a.example"]).await;
    world.until("tried", |world| !world.causes().is_empty()).await;
    assert!(world.asked().iter().all(|asked| !asked.starts_with("TLSA")));
}

// The fourth fault: DANE-EE and DANE-TA are both required where both are published; the third is `trust`'s.
#[tokio::test(start_paused = true)]
async fn one_record_that_fits_is_enough() {
    let authority = root("authority");
    let own = identity_by(&["mx.a.example"], &authority);
    let anchor = Tlsa::of(2, 0, 1, own.chain.last().unwrap()).unwrap();
    for records in [vec![foreign(2), record(3, 1, 1, &own)], vec![foreign(3), anchor]] {
        let (world, stub) = signed("", &own, Ok(records));
        delivered(&world, &stub).await;
    }
}

// The fifth fault: wrong reference names.
// proves: 7672-3.2.2-1 7672-3.2.2-2 7672-3.2.2-3 7672-3.2.2-4
#[tokio::test(start_paused = true)]
async fn the_names_below_a_trust_anchor_are_those_that_are_proven() {
    let authority = root("authority");
    let anchored = |names: &[&str]| {
        let own = identity_by(names, &authority);
        let anchor = Tlsa::of(2, 0, 1, own.chain.last().unwrap()).unwrap();
        signed("", &own, Ok(vec![anchor]))
    };
    for name in ["mx.a.example", "a.example"] {
        let (world, stub) = anchored(&[name]);
        delivered(&world, &stub).await;
    }
    let (world, stub) = anchored(&["b.example"]);
    kept(&world, &stub, "is not for mx.a.example or a.example").await;

    // What the domain is a proven alias for counts, too.
    let (world, stub) = anchored(&["real.example"]);
    world.sign(&["real.example"]);
    world.alias("a.example", "real.example");
    world.record("real.example MX 10 mx.a.example");
    delivered(&world, &stub).await;

    // MX records without proof leave the name of the host alone.
    let (world, stub) = anchored(&["a.example"]);
    world.unsign(&["a.example"]);
    world.sign(&["mx.a.example"]);
    kept(&world, &stub, "is not for mx.a.example").await;

    // Without MX records: the domain and what it is an alias for.
    for name in ["a.example", "host.b.example"] {
        let own = identity_by(&[name], &authority);
        let world = World::new("");
        world.sign(&["a.example", "b.example"]);
        world.alias("a.example", "host.b.example");
        let anchor = Tlsa::of(2, 0, 1, own.chain.last().unwrap()).unwrap();
        world.tlsa("_25._tcp.host.b.example", Ok(vec![anchor]));
        let stub = world.host("host.b.example", "192.0.2.1", showing("host.b.example", &own));
        delivered(&world, &stub).await;
    }
}

/// `a.example`, whose exchanger is an alias for `one.b.example` and that for `two.b.example`.
fn aliased(own: &Arc<Identity>, records: &[(&str, Vec<Tlsa>)]) -> (World, Stub) {
    let world = World::new("");
    world.sign(&["a.example", "b.example"]);
    world.record("a.example MX 10 mx.a.example");
    world.alias("mx.a.example", "one.b.example");
    world.alias("one.b.example", "two.b.example");
    for (owner, records) in records {
        world.tlsa(&format!("_25._tcp.{owner}"), Ok(records.clone()));
    }
    let stub = world.host("two.b.example", "192.0.2.1", showing("two.b.example", own));
    (world, stub)
}

// The sixth fault: aliases at the exchanger's name.
// proves: 7672-2.2.2-4 7672-2.2.2-5 7672-2.2.3-4 7672-8.1-1 7671-7-1 7671-7-2 7671-3-1 7671-10.2-1 7672-2.1.3-2
#[tokio::test(start_paused = true)]
async fn aliases_at_the_exchanger_are_followed_with_their_proof() {
    let own = identity(&["x"]);
    let right = || vec![record(3, 1, 1, &own)];
    let tlsa = |world: &World| -> Vec<String> {
        let asked = world.asked().into_iter();
        asked.filter(|asked| asked.starts_with("TLSA")).collect()
    };
    // All is proven: the end of the chain first, then the name itself, never one between.
    let (world, stub) = aliased(
        &own,
        &[("two.b.example", right()), ("mx.a.example", vec![foreign(3)])],
    );
    delivered(&world, &stub).await;
    assert_eq!(tlsa(&world), ["TLSA _25._tcp.two.b.example"]);
    assert_eq!(stub.sessions()[0].server_name.as_deref(), Some("two.b.example"));
    let (world, stub) = aliased(
        &own,
        &[("one.b.example", vec![foreign(3)]), ("mx.a.example", right())],
    );
    delivered(&world, &stub).await;
    assert_eq!(
        tlsa(&world),
        ["TLSA _25._tcp.two.b.example", "TLSA _25._tcp.mx.a.example"]
    );
    assert_eq!(stub.sessions()[0].server_name.as_deref(), Some("mx.a.example"));
    // The alias is proven, what it leads to is not: the name itself alone.
    let (world, stub) = aliased(
        &own,
        &[("two.b.example", vec![foreign(3)]), ("mx.a.example", right())],
    );
    world.unsign(&["b.example"]);
    delivered(&world, &stub).await;
    assert_eq!(tlsa(&world), ["TLSA _25._tcp.mx.a.example"]);
    // A link between that is not proven is no better.
    let (world, stub) = aliased(
        &own,
        &[("two.b.example", vec![foreign(3)]), ("mx.a.example", right())],
    );
    world.unsign(&["one.b.example"]);
    delivered(&world, &stub).await;
    assert_eq!(tlsa(&world), ["TLSA _25._tcp.mx.a.example"]);
    // The alias itself is not proven: nothing is asked.
    let (world, stub) = aliased(
        &own,
        &[
            ("two.b.example", vec![foreign(3)]),
            ("mx.a.example", vec![foreign(3)]),
        ],
    );
    world.unsign(&["mx.a.example"]);
    delivered(&world, &stub).await;
    assert_eq!(tlsa(&world), Vec::<String>::new());
}

// The seventh fault: a mismatch counts as permanent.
// proves: 7672-2.2-2 7672-9.1-2 6698-4.1-7 6698-4.1-2
#[tokio::test(start_paused = true)]
async fn a_mismatch_waits_until_it_is_mended() {
    let own = identity(&["mx.a.example"]);
    let (world, stub) = signed("", &own, Ok(vec![foreign(3)]));
    kept(&world, &stub, "do not fit its TLSA records").await;
    let session = stub.sessions().remove(0);
    assert!(session.quit, "{:?}", session.lines);
    world.tlsa("_25._tcp.mx.a.example", Ok(vec![record(3, 1, 1, &own)]));
    let id = world.waiting()[0].message.id;
    world.retry(id).await;
    world.until("delivered", |world| world.waiting().is_empty()).await;
    assert_eq!(stub.messages().len(), 1);
}

// proves: 7672-2.2-2 7672-2.2.1-1 7672-2.2.1-6
#[tokio::test(start_paused = true)]
async fn a_mismatch_leaves_the_next_host() {
    let (own, next) = (identity(&["mx.a.example"]), identity(&["x"]));
    let (world, first) = signed("", &own, Ok(vec![foreign(3)]));
    world.record("a.example MX 10 mx.a.example, 20 two.a.example, 30 three.a.example");
    let second = world.host("two.a.example", "192.0.2.2", showing("two.a.example", &next));
    let third = world.host("three.a.example", "192.0.2.3", showing("three.a.example", &next));
    world.tlsa("_25._tcp.two.a.example", Ok(vec![foreign(3)]));
    world.tlsa("_25._tcp.three.a.example", Ok(vec![record(3, 0, 2, &next)]));
    delivered(&world, &third).await;
    assert_eq!(first.lines_of("MAIL").len() + second.lines_of("MAIL").len(), 0);
    let tlsa = world
        .asked()
        .into_iter()
        .filter(|asked| asked.starts_with("TLSA"));
    assert_eq!(tlsa.count(), 3);

    // RFC 7672 §2.2.1: the order of the exchangers counts, not who has records.
    let (world, last) = signed("", &own, Ok(vec![record(3, 1, 1, &own)]));
    world.record("a.example MX 10 two.a.example, 20 mx.a.example");
    let first = world.host("two.a.example", "192.0.2.2", Stub::new("two.a.example"));
    world.send(&["u@a.example"]).await;
    world.until("delivered", |world| world.waiting().is_empty()).await;
    assert_eq!((first.messages().len(), last.sessions().len()), (1, 0));
}

// proves: 7672-2.2-3 7672-2.2.3-3 7671-10.3-3 7671-10.3-4 7672-3.1.3-2 6698-2.1.1-1 6698-2.1.1-2
#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_used_oblige_to_encrypt() {
    let own = identity(&["x"]);
    for unusable in ["0 0 1", "1 1 1", "4 1 1", "3 2 1", "3 1 9"] {
        let unusable: Tlsa = format!("{unusable} {}", "ab".repeat(32)).parse().unwrap();
        let (world, stub) = signed("", &own, Ok(vec![unusable.clone()]));
        delivered(&world, &stub).await;
        let world = World::new("");
        world.sign(&["a.example"]);
        world.tlsa("_25._tcp.mx.a.example", Ok(vec![unusable]));
        let stub = world.exchanger(Stub::new("mx.a.example"));
        kept(&world, &stub, "").await;
    }
}

// proves: 7672-2.2-4 7672-2.2-5
#[tokio::test(start_paused = true)]
async fn a_proven_absence_changes_nothing() {
    let world = World::new("");
    world.sign(&["a.example"]);
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["u@a.example"]).await;
    world.until("delivered", |world| world.waiting().is_empty()).await;
    assert_eq!(stub.messages().len(), 1);
    assert!(world.asked().contains(&"TLSA _25._tcp.mx.a.example".to_owned()));

    let world = World::new("");
    world.sign(&["a.example"]);
    let broken = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Breaks));
    world.send(&["u@a.example"]).await;
    world.until("delivered", |world| world.waiting().is_empty()).await;
    assert_eq!(broken.messages().len(), 1, "in clear, at a later attempt");
}

// Below a proven name, a bare "there is none" is no answer.
#[tokio::test(start_paused = true)]
async fn an_absence_that_is_not_proven_is_a_failure() {
    let own = identity(&["x"]);
    for denial in [
        NoAnswer::NoSuchName(sealpost::ports::Denial::Unproven),
        NoAnswer::NoRecords(sealpost::ports::Denial::Unproven),
    ] {
        let (world, stub) = signed("", &own, Err(denial));
        kept(&world, &stub, "is not proven").await;
        assert_eq!(world.dials("192.0.2.1"), 0);
    }
}

// proves: 7672-2.1.2-1
#[tokio::test(start_paused = true)]
async fn mx_records_that_do_not_validate_put_mail_off() {
    let own = identity(&["x"]);
    let (world, stub) = signed("", &own, Ok(vec![record(3, 1, 1, &own)]));
    world.record("a.example MX fail");
    kept(&world, &stub, "MX of a.example not found out").await;
    assert!(stub.sessions().is_empty());
}

// proves: 7672-2.2-8
#[tokio::test(start_paused = true)]
async fn an_address_has_no_tlsa_records() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["u@[192.0.2.1]"]).await;
    world.until("delivered", |world| world.waiting().is_empty()).await;
    assert_eq!(stub.messages().len(), 1);
    assert_eq!(world.asked(), Vec::<String>::new());
}

// proves: 7672-2.2.3-1 6698-4-1
#[tokio::test(start_paused = true)]
async fn the_port_that_is_dialled_is_the_port_that_is_asked_for() {
    let own = identity(&["x"]);
    let world = World::new("[[route.rule]]\ndestination = \"*\"\nvia = \"relay.b.example:2525\"\n");
    world.sign(&["b.example"]);
    world.tlsa("_25._tcp.relay.b.example", Ok(vec![foreign(3)]));
    world.tlsa("_2525._tcp.relay.b.example", Ok(vec![record(3, 1, 1, &own)]));
    let relay = showing("relay.b.example", &own);
    world.record("relay.b.example A 192.0.2.1");
    world.put_at("192.0.2.1:2525", relay.clone());
    delivered(&world, &relay).await;
    assert!(
        world
            .asked()
            .contains(&"TLSA _2525._tcp.relay.b.example".to_owned())
    );
}

// proves: 6698-3-1
#[test]
fn the_question_is_asked_in_a_labels() {
    let host = mail::Domain::parse("mx.bücher.example").unwrap();
    let question = sealpost::ports::tlsa_question(&mail::Secure::mint(host), 25);
    assert_eq!(question.owner(), "_25._tcp.mx.xn--bcher-kva.example");
}

// proves: 7672-2.2-7 7672-6-1 7671-10.3-2 7672-2.2.1-2
#[tokio::test(start_paused = true)]
async fn where_dane_is_demanded_nothing_else_will_do() {
    let only = "[[trust.rule]]\ndomain = \"a.example\"\ndemand = \"verified\"\nproof = \"dane\"\n";
    let own = identity(&["mx.a.example"]);
    let right = || Ok(vec![record(3, 1, 1, &own)]);
    let (world, stub) = signed(only, &own, right());
    delivered(&world, &stub).await;
    for records in [
        Err(NoAnswer::NoSuchName(sealpost::ports::Denial::Secure)),
        Ok(vec![foreign(1)]),
    ] {
        let (world, stub) = signed(only, &own, records);
        kept(&world, &stub, "usable TLSA records").await;
        assert_eq!(world.dials("192.0.2.1"), 0);
    }
    // MX records without proof: whoever forged them could have named any host with records of its own.
    let (world, stub) = signed(only, &own, right());
    world.record("a.example MX 10 mx.b.example");
    world.record("mx.b.example A 192.0.2.1");
    world.sign(&["mx.b.example"]);
    world.unsign(&["a.example"]);
    world.tlsa("_25._tcp.mx.b.example", right());
    kept(&world, &stub, "below proven MX records").await;
}

// proves: 7672-2.2.1-3
#[tokio::test(start_paused = true)]
async fn a_host_that_unproven_records_name_is_held_to_its_own() {
    let own = identity(&["x"]);
    for (records, good) in [(vec![record(3, 1, 1, &own)], true), (vec![foreign(3)], false)] {
        let (world, stub) = signed("", &own, servfail());
        world.record("a.example MX 10 mx.b.example");
        world.record("mx.b.example A 192.0.2.1");
        world.sign(&["b.example"]);
        world.unsign(&["a.example"]);
        world.tlsa("_25._tcp.mx.b.example", Ok(records));
        match good {
            true => delivered(&world, &stub).await,
            false => kept(&world, &stub, "do not fit its TLSA records").await,
        }
    }
}

// The cache is the resolver's own: no plan outlives its records.
#[tokio::test(start_paused = true)]
async fn each_attempt_sees_the_records_of_its_time() {
    let (own, next) = (identity(&["x"]), identity(&["x"]));
    let (world, first) = signed("", &own, Ok(vec![record(3, 1, 1, &own)]));
    delivered(&world, &first).await;
    world.pass(HOUR).await;
    world.tlsa("_25._tcp.mx.a.example", Ok(vec![record(3, 1, 1, &next)]));
    let second = world.exchanger(showing("mx.a.example", &next));
    delivered(&world, &second).await;
}
