//! What the memory of peers does to mail that goes out, on the wire.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "outbound/mod.rs"]
mod outbound;

use std::time::Duration;

use outbound::{Reachable, StartTls, Stub, World};

const HOUR: Duration = Duration::from_secs(3600);

fn none() -> fn(&World) -> bool {
    |world| world.waiting().is_empty()
}

/// Three messages within a day, each under lock.
async fn bind(world: &World) -> Stub {
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    for count in 1..=3 {
        world.send(&["u@a.example"]).await;
        world.until("delivered", none()).await;
        assert_eq!(stub.messages().len(), count);
        world.pass(13 * HOUR).await;
    }
    stub
}

fn clear_lines(stub: &Stub) -> Vec<String> {
    let lines = stub.sessions().into_iter().flat_map(|session| session.lines);
    lines
        .filter(|(channel, _)| *channel == "clear")
        .map(|(_, line)| line)
        .collect()
}

// The keyword is gone from the reply to EHLO: a host that was never met gets its mail in clear, as one without TLS does;
// one that is remembered gets not an octet of it, its mail waits, and its sender hears nothing in the first hours.
// proves: 2487-7-4 3207-6-4 3207-6-8
#[tokio::test(start_paused = true)]
async fn a_remembered_host_without_its_keyword_gets_nothing_until_it_has_it_again() {
    let world = World::new("");
    let home = world.home();
    bind(&world).await;
    let stripped = Stub::new("mx.a.example");
    world.put("192.0.2.1", Some(Reachable::Stub(stripped.clone())));
    let unknown = world.host("b.example", "192.0.2.2", Stub::new("b.example"));
    world.send(&["u@a.example"]).await;
    world.send(&["u@b.example"]).await;
    world.pass(3 * HOUR).await;
    assert_eq!(unknown.messages().len(), 1, "never met: in clear");
    assert_eq!(
        clear_lines(&unknown)
            .iter()
            .filter(|line| line.starts_with("MAIL"))
            .count(),
        1
    );
    let said = clear_lines(&stripped);
    assert!(
        said.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"),
        "{said:?}"
    );
    assert!(
        said.iter().filter(|line| *line == "QUIT").count() > 1,
        "tried more than once"
    );
    assert_eq!(world.waiting().len(), 1);
    let causes = world.causes();
    assert!(causes[0].contains("not encrypted"), "{causes:?}");
    assert_eq!(home.messages().len(), 0, "no report");
    let back = Stub::new("mx.a.example").tls(StartTls::Works);
    world.put("192.0.2.1", Some(Reachable::Stub(back.clone())));
    world.until("delivered", none()).await;
    assert_eq!(back.messages().len(), 1);
    assert!(!clear_lines(&back).iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_host_with_broken_tls_gets_nothing_in_clear_however_often_it_is_tried() {
    let world = World::new("");
    bind(&world).await;
    let broken = Stub::new("mx.a.example").tls(StartTls::Breaks);
    world.put("192.0.2.1", Some(Reachable::Stub(broken.clone())));
    world.send(&["u@a.example"]).await;
    world.pass(24 * HOUR).await;
    let said = clear_lines(&broken);
    assert!(
        said.len() > 4 && !said.iter().any(|line| line.starts_with("MAIL")),
        "{said:?}"
    );
    assert_eq!(world.waiting().len(), 1);
}

/// Another host of the domain, never met, takes the mail if it encrypts; not in clear.
#[tokio::test(start_paused = true)]
async fn the_other_hosts_of_a_domain_owe_the_same() {
    let world = World::new("");
    let first = bind(&world).await;
    for _ in 0..7 {
        world.send(&["u@a.example"]).await;
        world.until("delivered", none()).await;
        world.pass(24 * HOUR).await;
    }
    assert_eq!(first.messages().len(), 10);
    world.record("a.example MX 10 mx.a.example, 20 mx2.a.example, 30 mx3.a.example");
    world.put("192.0.2.1", Some(Reachable::Stub(Stub::new("mx.a.example"))));
    let clear = world.host("mx2.a.example", "192.0.2.2", Stub::new("mx2.a.example"));
    let locked = world.host(
        "mx3.a.example",
        "192.0.2.3",
        Stub::new("mx3.a.example").tls(StartTls::Works),
    );
    world.send(&["u@a.example"]).await;
    world.until("delivered", none()).await;
    assert_eq!((clear.messages().len(), locked.messages().len()), (0, 1));
    assert!(!clear_lines(&clear).iter().any(|line| line.starts_with("MAIL")));
}
