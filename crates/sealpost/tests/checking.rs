//! What `check` finds out about hosts of every kind, without ever beginning a message.
#![allow(clippy::unwrap_used)] // a test may panic

mod outbound;

use outbound::{Reachable, StartTls, Stub, World};
use sealpost::check::{Audit, Level, Mark, Row};

fn row<'a>(audit: &'a Audit, about: &str) -> &'a Row {
    let found = audit.rows.iter().find(|row| row.about == about);
    found.unwrap_or_else(|| panic!("{about} in {audit:?}"))
}

fn never_mail(stub: &Stub) {
    let words = ["MAIL", "RCPT", "DATA", "BDAT"];
    assert!(
        !stub
            .lines()
            .iter()
            .any(|line| words.iter().any(|word| line.to_uppercase().starts_with(word)))
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_with_tls_is_told_by_version_group_and_certificate() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    let audit = world.check("a.example").await;
    assert_eq!(row(&audit, "versions").finding, "TLS 1.3 and TLS 1.2");
    assert_eq!(row(&audit, "key exchange").mark, Mark::Good, "{audit:?}");
    assert_eq!(row(&audit, "protection").mark, Mark::Fault);
    assert_eq!((audit.verdict, audit.level), (Mark::Fault, Some(Level::Encrypt)));
    let address = &audit.hosts[0].addresses[0];
    assert_eq!(address.tried.len(), 2);
    assert!(address.tried[0].post_quantum && address.tried[1].cipher.is_some());
    assert!(address.would.as_ref().unwrap().send);
    let levels = audit.hosts[0].levels;
    assert!(levels.may && levels.encrypt && !levels.verify && !levels.secure && !levels.dane);
    never_mail(&stub);
    assert!(
        stub.sessions().iter().all(|session| session.quit),
        "{:?}",
        stub.sessions()
    );
}

#[tokio::test(start_paused = true)]
async fn a_keyword_taken_out_on_the_way_is_seen() {
    let world = World::new("");
    let unknown = |_: &_, line: &str| (line == "STARTTLS").then(|| "502 what?".to_owned());
    let plain = world.exchanger(Stub::new("mx.a.example").says(unknown));
    let audit = world.check("a.example").await;
    assert!(
        row(&audit, "STARTTLS").finding.starts_with("not offered"),
        "{audit:?}"
    );
    assert_eq!(audit.level, Some(Level::May));
    never_mail(&plain);
    for (stub, sign) in [
        (Stub::new("mx.a.example"), "obeys"),
        (Stub::new("mx.a.example").offers(&["XXXXXXXA"]), "written over"),
    ] {
        let world = World::new("");
        world.exchanger(stub);
        let audit = world.check("a.example").await;
        let finding = &row(&audit, "STARTTLS").finding;
        assert!(
            finding.starts_with("taken out") && finding.contains(sign),
            "{finding}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn broken_and_silent_hosts_are_told_apart() {
    let rows = [
        (StartTls::Breaks, "no handshake succeeds"),
        (StartTls::Injects, "injected"),
    ];
    for (how, words) in rows {
        let world = World::new("");
        let stub = world.exchanger(Stub::new("mx.a.example").tls(how));
        let audit = world.check("a.example").await;
        let versions = row(&audit, "versions");
        assert!(
            versions.mark == Mark::Fault && versions.finding.contains(words),
            "{versions:?}"
        );
        assert!(!audit.hosts[0].addresses[0].would.as_ref().unwrap().send);
        never_mail(&stub);
    }
    let world = World::new("");
    world.record("a.example MX 10 mx.a.example");
    world.record("mx.a.example A 192.0.2.1");
    world.put("192.0.2.1", Some(Reachable::Silent));
    let audit = world.check("a.example").await;
    assert_eq!(row(&audit, "SMTP").mark, Mark::Unknown);
    assert_eq!((audit.level, audit.hosts[0].level), (None, Level::None));
}

#[tokio::test(start_paused = true)]
async fn domains_without_hosts_end_in_a_row() {
    let world = World::new("");
    assert_eq!(row(&world.check("nowhere.example").await, "MX").mark, Mark::Fault);
    world.record("a.example MX fail");
    assert_eq!(world.check("a.example").await.verdict, Mark::Unknown);
    world.record("n.example MX 0 .");
    let audit = world.check("n.example").await;
    assert_eq!(
        (audit.verdict, &*row(&audit, "MX").finding),
        (Mark::Note, "n.example takes no mail (null MX)")
    );
}
