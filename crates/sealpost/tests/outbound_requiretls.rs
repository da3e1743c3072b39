//! Mail that demands proven TLS on every hop, or waives what hosts publish (RFC 8689), on the wire.

#![allow(clippy::unwrap_used)] // these are tests, helpers included

mod outbound;

use std::time::Duration;

use mail::{MessageId, TlsWish};
use outbound::stub::{StartTls, Stub};
use outbound::{World, fields};
use sealpost::ports::Answer;
use trust::dane::Tlsa;

const CONTENT: &[u8] = b"Subject: x\r\nTLS-Required: No\r\n\r\nsecret\r\n";

/// A world in which a.example is signed.
fn signed() -> World {
    let world = World::new("[retry]\njitter_percent = 0\n");
    world.sign(&["a.example"]);
    world
}

/// A host of a.example whose TLSA record fits the stubs' key, or does not.
fn vouched(world: &World, name: &str, address: &str, key: [u8; 32], stub: Stub) -> Stub {
    let tlsa = Tlsa {
        usage: 3,
        selector: 1,
        matching: 1,
        association: key.into(),
    };
    let records = Ok(Answer::Secure(mail::Secure::mint(vec![tlsa])));
    world
        .wires
        .tlsa
        .lock()
        .unwrap()
        .insert(format!("_25._tcp.{name}"), records);
    world.host(name, address, stub)
}

/// One good exchanger, by its key.
fn proven(world: &World, stub: Stub) -> Stub {
    world.record("a.example MX 10 mx.a.example");
    vouched(
        world,
        "mx.a.example",
        "192.0.2.1",
        world.wires.key_print().0,
        stub,
    )
}

async fn send(world: &World, wish: TlsWish) -> MessageId {
    let mut envelope = world.envelope("s@home.example", &["u@a.example"]);
    (envelope.wish, envelope.ret) = (wish, Some(mail::Return::Full));
    world.submit(envelope, CONTENT).await
}

fn channels(stub: &Stub, verb: &str) -> Vec<&'static str> {
    let lines = stub.sessions().into_iter().flat_map(|session| session.lines);
    lines
        .filter(|(_, line)| line.starts_with(verb))
        .map(|(channel, _)| channel)
        .collect()
}

fn gone(world: &World) -> bool {
    world.waiting().is_empty()
}

// The content passes unchanged, the field of the header with it; the parameter wins over the field.
// proves: 8689-2-5 8689-4.2.1-9 8689-8.3-1
#[tokio::test(start_paused = true)]
async fn a_host_that_proves_itself_and_offers_the_keyword_gets_the_message() {
    let world = signed();
    let stub = Stub::new("mx.a.example")
        .offers(&["REQUIRETLS"])
        .tls(StartTls::Works);
    let stub = proven(&world, stub);
    send(&world, TlsWish::Required).await;
    world.until("sent", gone).await;
    assert_eq!(stub.lines_of("MAIL"), ["MAIL FROM:<s@home.example> REQUIRETLS"]);
    assert_eq!(channels(&stub, "MAIL"), ["tls"]);
    assert_eq!(stub.messages(), [CONTENT]);
}

// proves: 8689-2-6 8689-4.2.1-1 8689-4.2.1-5 8689-4.2.1-7
#[tokio::test(start_paused = true)]
async fn without_the_keyword_inside_tls_it_is_returned_at_once() {
    let world = signed();
    let mut stub = Stub::new("mx.a.example").tls(StartTls::Works);
    stub.clear.push("REQUIRETLS".to_owned());
    let stub = proven(&world, stub);
    let home = world.home();
    send(&world, TlsWish::Required).await;
    world.until("returned", gone).await;
    assert!(world.clock_minutes() < 3 && stub.lines_of("MAIL").is_empty());
    let report = home.messages().remove(0);
    assert_eq!(fields(&report, "Status"), ["5.7.30"]);
    assert!(!String::from_utf8_lossy(&report).contains("secret"));
}

// proves: 8689-4.2.1-3
#[tokio::test(start_paused = true)]
async fn the_next_host_is_tried_where_one_lacks_the_keyword_or_the_proof() {
    for first_proves in [true, false] {
        let world = signed();
        let key = world.wires.key_print().0;
        world.record("a.example MX 10 one.a.example, 20 two.a.example");
        let one = Stub::new("one.a.example").tls(StartTls::Works);
        let ones = if first_proves { key } else { [0; 32] };
        let one = vouched(&world, "one.a.example", "192.0.2.1", ones, one);
        let two = Stub::new("two.a.example")
            .offers(&["REQUIRETLS"])
            .tls(StartTls::Works);
        let two = vouched(&world, "two.a.example", "192.0.2.2", key, two);
        send(&world, TlsWish::Required).await;
        world.until("sent", gone).await;
        assert_eq!((one.lines_of("MAIL").len(), two.messages().len()), (0, 1));
        assert!(world.clock_minutes() < 3);
        world.pass(Duration::from_secs(600)).await;
        assert!(one.sessions().iter().all(|session| session.quit), "QUIT");
    }
}

// proves: 8689-8.2-1 8689-4.2.1-1 8689-4.2.1-5
#[tokio::test(start_paused = true)]
async fn no_attack_on_the_way_makes_it_go_or_return() {
    let stub = || Stub::new("mx.a.example").offers(&["REQUIRETLS"]);
    let refused = |_: &outbound::stub::Heard, line: &str| {
        line.starts_with("STARTTLS")
            .then(|| "454 4.7.0 not now".to_owned())
    };
    let right = [1; 32];
    let rows = [
        ("stripped", stub(), right),
        ("refused", stub().tls(StartTls::Works).says(refused), right),
        ("garbled", stub().tls(StartTls::Breaks), right),
        ("injected", stub().tls(StartTls::Injects), right),
        ("another key", stub().tls(StartTls::Works), [0; 32]),
    ];
    for (attack, stub, key) in rows {
        let world = signed();
        let key = if key == right {
            world.wires.key_print().0
        } else {
            key
        };
        world.record("a.example MX 10 mx.a.example");
        let stub = vouched(&world, "mx.a.example", "192.0.2.1", key, stub);
        let home = world.home();
        send(&world, TlsWish::Required).await;
        world.until("told", |_| home.messages().len() == 1).await;
        let report = home.messages().remove(0);
        assert_eq!(fields(&report, "Action"), ["delayed"], "{attack}");
        assert_eq!(fields(&report, "Status"), ["4.7.10"], "{attack}");
        world.pass(Duration::from_secs(24 * 3600)).await;
        assert!(stub.lines_of("MAIL").is_empty(), "{attack}");
        assert_eq!((world.waiting().len(), home.messages().len()), (1, 1), "{attack}");
    }
}

// The record that would keep other mail back is no reason to keep this; TLS is used all the same.
// proves: 8689-3-3 8689-3-4 8689-4.2.2-1
#[tokio::test(start_paused = true)]
async fn what_a_host_publishes_counts_for_nothing_where_the_message_waives_it() {
    for (wish, expected) in [(TlsWish::Waived, 1), (TlsWish::Usual, 0)] {
        let world = signed();
        world.record("a.example MX 10 mx.a.example");
        let stub = Stub::new("mx.a.example").tls(StartTls::Works);
        let stub = vouched(&world, "mx.a.example", "192.0.2.1", [0; 32], stub);
        send(&world, wish).await;
        world.pass(Duration::from_secs(3600)).await;
        assert_eq!(stub.messages().len(), expected, "{wish:?}");
        assert_eq!(channels(&stub, "MAIL"), vec!["tls"; expected]);
    }
}
