//! What hosts must show and do not: mail is held, tested, told of, and goes by itself once they show it again.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "outbound/mod.rs"]
mod outbound;

use std::time::Duration;

use mail::{Cause, Class, EnhancedStatus};
use outbound::{StartTls, Stub, World, fields};
use spool::{Filter, State};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const STRICT: &str =
    "[retry]\njitter_percent = 0\n[[trust.rule]]\ndomain = \"a.example\"\ndemand = \"encrypted\"\n";

fn settled(world: &World) -> bool {
    world.waiting().is_empty()
}

fn states(world: &World) -> Vec<State> {
    let waiting = world.waiting();
    let all = waiting.iter().flat_map(|message| message.recipients());
    all.map(|(_, _, _, progress)| progress.state).collect()
}

fn all_withheld(count: usize) -> impl Fn(&World) -> bool {
    move |world| states(world) == vec![State::Withheld; count]
}

fn stripped() -> Stub {
    Stub::new("mx.a.example")
}

fn honest() -> Stub {
    Stub::new("mx.a.example").tls(StartTls::Works)
}

fn is_bare(stub: &Stub) -> bool {
    let sessions = stub.sessions();
    let mut lines = sessions.iter().flat_map(|session| &session.lines);
    lines.any(|(channel, line)| *channel == "clear" && line.starts_with("MAIL"))
}

#[tokio::test(start_paused = true)]
async fn what_a_stripped_host_may_not_have_is_held_and_goes_by_itself_when_it_is_mended() {
    let world = World::new(STRICT);
    let stub = world.exchanger(stripped());
    world.home();
    world.send(&["u@a.example"]).await;
    world.until("held", all_withheld(1)).await;
    let cause = world.causes().remove(0);
    assert!(
        cause.starts_with("4.7.5 ") && cause.contains("mx.a.example") && cause.contains("demanded by policy"),
        "{cause}"
    );
    let since = world.waiting()[0].recipients[0].1.withheld_since.unwrap();
    for _ in 0..9 {
        world.send(&["u@a.example"]).await;
    }
    world.until("all held", all_withheld(10)).await;
    assert_eq!(stub.sessions().len(), 1, "one test for all");
    world.pass(HOUR).await;
    assert!(stub.sessions().len() <= 6, "{}", stub.sessions().len());
    assert!(!is_bare(&stub));
    assert!(stub.sessions().iter().all(|session| session.quit));
    let first = &world.waiting()[0].recipients[0].1;
    assert_eq!(
        first.withheld_since,
        Some(since),
        "since the first time, however often it was tested"
    );

    let mended = world.exchanger(honest());
    let from = world.clock_minutes();
    world.until("delivered", settled).await;
    assert_eq!(mended.messages().len(), 10);
    assert!(!is_bare(&mended));
    // The first success brings the others along: none waits for a time of its own.
    assert!(world.clock_minutes() - from <= 61);
}

#[tokio::test(start_paused = true)]
async fn the_sender_hears_early_and_once_and_gets_it_back_at_the_end_of_its_life() {
    let world = World::new(STRICT);
    let stub = world.exchanger(stripped());
    let home = world.host(
        "home.example",
        "192.0.2.200",
        Stub::new("home.example").tls(StartTls::Works),
    );
    world.send(&["u@a.example"]).await;
    world.until("told", |_| !home.messages().is_empty()).await;
    assert_eq!(world.clock_minutes() / 60, 4);
    let notice = &home.messages()[0];
    assert_eq!(fields(notice, "Action"), ["delayed"]);
    assert_eq!(fields(notice, "Status"), ["4.7.5"]);
    let text = String::from_utf8_lossy(notice).replace("\r\n    ", " ");
    assert!(text.contains("held since"), "{text}");
    assert!(
        text.contains("no host showed the protection that is demanded"),
        "{text}"
    );

    world.until("returned", settled).await;
    assert!((5 * 24..5 * 24 + 9).contains(&(world.clock_minutes() / 60)));
    assert_eq!(home.messages().len(), 2, "one notice and one report");
    let report = &home.messages()[1];
    assert_eq!(fields(report, "Action"), ["failed"]);
    assert_eq!(fields(report, "Status"), ["4.7.5"]);
    assert!(stub.messages().is_empty() && !is_bare(&stub));
}

#[tokio::test(start_paused = true)]
async fn another_host_that_shows_enough_takes_it() {
    let world = World::new(STRICT);
    world.record("a.example MX 10 mx1.a.example, 20 mx2.a.example");
    let first = world.host("mx1.a.example", "192.0.2.1", Stub::new("mx1.a.example"));
    let second = world.host(
        "mx2.a.example",
        "192.0.2.2",
        Stub::new("mx2.a.example").tls(StartTls::Works),
    );
    world.send(&["u@a.example"]).await;
    world.until("delivered", settled).await;
    assert_eq!((first.messages().len(), second.messages().len()), (0, 1));
    assert!(!is_bare(&first));
}

#[tokio::test(start_paused = true)]
async fn a_persons_hold_is_not_tested_and_release_tests_at_once() {
    let world = World::new(STRICT);
    let stub = world.exchanger(stripped());
    let id = world.send(&["u@a.example"]).await;
    world.until("held", all_withheld(1)).await;
    let cause = Cause {
        at: world.waiting()[0].message.arrival.at,
        status: EnhancedStatus::new(Class::Transient, 7, 0),
        remote: None,
        reply: None,
        text: "held by the operator".into(),
    };
    let spool = world.spool.clone();
    let held = tokio::task::spawn_blocking(move || spool.hold(&Filter::one(id), cause).unwrap());
    assert_eq!(held.await.unwrap(), 1);
    world.pass(24 * HOUR).await;
    assert_eq!((states(&world), stub.sessions().len()), (vec![State::Held], 1));

    let (spool, now) = (world.spool.clone(), cause_time(&world));
    let released = tokio::task::spawn_blocking(move || spool.release(&Filter::one(id), now).unwrap());
    assert_eq!(released.await.unwrap(), 1);
    world.handle.try_again().await;
    world.until("held again", all_withheld(1)).await;
    assert_eq!(stub.sessions().len(), 2, "tested at once");

    // A second release, while it is withheld: tested at once too, with the same demand.
    world.pass(MINUTE).await;
    world.handle.try_again().await;
    let (spool, now) = (world.spool.clone(), cause_time(&world));
    let released = tokio::task::spawn_blocking(move || spool.release(&Filter::one(id), now).unwrap());
    assert_eq!(released.await.unwrap(), 1);
    world.until("tested", |_| stub.sessions().len() == 3).await;
    world.until("held again", all_withheld(1)).await;
    assert!(!is_bare(&stub));
}

fn cause_time(world: &World) -> std::time::SystemTime {
    use sealpost::ports::Clock;
    world.clock.now()
}
