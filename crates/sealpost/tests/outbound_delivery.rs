//! What goes over the wire to scripted hosts, and what becomes of the message at once.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "outbound/mod.rs"]
mod outbound;

use std::time::Duration;

use mail::{Body, Notify, ReversePath};
use outbound::{Reachable, StartTls, Stub, World, fields};

const MINUTE: Duration = Duration::from_secs(60);

fn none() -> fn(&World) -> bool {
    |world| world.waiting().is_empty()
}

/// The stub refuses lines that begin so.
fn refusing(verb: &'static str, reply: &'static str) -> Stub {
    Stub::new("mx.a.example").says(move |_, line| line.starts_with(verb).then(|| reply.to_owned()))
}

/// Sends one message, waits until all is settled, and gives the one report.
async fn bounce_of(world: &World, recipient: &str) -> Vec<u8> {
    let home = world.home();
    world.send(&[recipient]).await;
    world.until("reported", none()).await;
    assert!(world.clock_minutes() < 5, "not at once");
    let reports = home.messages();
    assert_eq!(reports.len(), 1);
    reports.into_iter().next().unwrap()
}

// proves: 5321-4.5.4.1-7 5321-3.3-8 5321-4.1.1.1-2 5321-4.1.4-1 5321-4.1.4-8 5321-4.1.1.10-2 1869-4-1 5321-3.6.3-4
#[tokio::test(start_paused = true)]
async fn recipients_of_one_domain_share_a_transaction() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["One@a.example", "two@a.example"]).await;
    world.until("delivered", none()).await;
    world.pass(MINUTE).await;
    assert_eq!(
        stub.lines(),
        [
            "EHLO mail.own.example",
            "MAIL FROM:<s@home.example>",
            "RCPT TO:<One@a.example>",
            "RCPT TO:<two@a.example>",
            "DATA",
            "QUIT",
        ]
    );
    assert_eq!(stub.messages(), [b"Subject: x\r\n\r\ntext\r\n"]);
}

// proves: 3207-6-7 3207-4.1-2 2487-5.1-2
#[tokio::test(start_paused = true)]
async fn tls_is_used_where_it_is_offered_whatever_the_certificate() {
    let world = World::new("");
    let with = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Works));
    let without = world.host("b.example", "192.0.2.2", Stub::new("b.example"));
    world.send(&["u@a.example", "u@b.example"]).await;
    world.until("delivered", none()).await;
    let channel = |stub: &Stub, verb: &str| {
        let lines = stub.sessions().remove(0).lines;
        lines
            .into_iter()
            .find(|(_, line)| line.starts_with(verb))
            .unwrap()
            .0
    };
    assert_eq!(channel(&with, "MAIL"), "tls");
    assert_eq!(channel(&without, "MAIL"), "clear");
}

// proves: 3207-4.2-4 3207-6-12 2487-5.2-3 2487-7-5
#[tokio::test(start_paused = true)]
async fn what_was_heard_in_clear_counts_for_nothing_inside() {
    let world = World::new("");
    let mut stub = Stub::new("mx.a.example").tls(StartTls::Works);
    stub.clear.extend(["SIZE 10".to_owned(), "SMTPUTF8".to_owned()]);
    stub.inside.clear();
    let stub = world.exchanger(stub);
    world.send(&["u@a.example"]).await;
    world.until("delivered", none()).await;
    let inside: Vec<String> = stub.lines();
    assert!(
        inside.contains(&"MAIL FROM:<s@home.example>".to_owned()),
        "{inside:?}"
    );
    world.home();
    world.send(&["jürgen@a.example"]).await;
    world.until("returned", none()).await;
    assert_eq!(
        stub.lines_of("MAIL").len(),
        1,
        "SMTPUTF8 was offered in clear only"
    );
}

// After the trouble nothing more is said on that connection; the message waits, and goes in clear not before its time.
// proves: 3207-4-5 3207-6-9
#[tokio::test(start_paused = true)]
async fn failed_tls_means_later_and_never_clear_in_the_same_attempt() {
    for trouble in ["454", "handshake", "injected"] {
        let world = World::new("");
        let stub = match trouble {
            "454" => refusing("STARTTLS", "454 4.7.0 not now").tls(StartTls::Works),
            "handshake" => Stub::new("mx.a.example").tls(StartTls::Breaks),
            _ => Stub::new("mx.a.example").tls(StartTls::Injects),
        };
        let stub = world.exchanger(stub);
        world.send(&["u@a.example"]).await;
        world.until("deferred", |world| !world.causes().is_empty()).await;
        assert!(
            world.causes()[0].starts_with("4.7.5 no TLS with mx.a.example"),
            "{:?}",
            world.causes()
        );
        assert!(
            stub.lines_of("MAIL").is_empty() && stub.sessions().len() == 1,
            "{trouble}"
        );
        world.pass(9 * MINUTE).await;
        assert!(stub.lines_of("MAIL").is_empty(), "{trouble}");
        assert!(
            stub.lines_of("STARTTLS").len() >= 2,
            "TLS is tried again: {trouble}"
        );
        world.until("sent in clear at last", none()).await;
        assert!(world.clock_minutes() >= 10);
        assert_eq!(stub.messages().len(), 1);
        // The host's trouble is no reason to send other mail in clear.
        world.send(&["v@a.example"]).await;
        world.until("deferred", |world| !world.causes().is_empty()).await;
        assert_eq!(stub.messages().len(), 1, "{trouble}");
    }
}

// proves: 3207-4.2-5 3207-4-13
#[tokio::test(start_paused = true)]
async fn replies_injected_behind_220_are_never_taken_for_the_hosts() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Injects));
    world.send(&["u@a.example"]).await;
    world.until("deferred", |world| !world.causes().is_empty()).await;
    assert!(world.causes()[0].contains("injected"), "{:?}", world.causes());
    assert_eq!(stub.lines(), ["EHLO mail.own.example", "STARTTLS"]);
}

// Put off for another reason, a message has not yet tried the host's TLS itself.
#[tokio::test(start_paused = true)]
async fn only_failed_tls_opens_the_way_to_clear_text() {
    let world = World::new("[retry]\njitter_percent = 0\n");
    let grey = refusing("RCPT TO:<u@", "451 4.7.1 later").tls(StartTls::Works);
    let grey = world.exchanger(grey);
    world.send(&["u@a.example"]).await;
    world.pass(25 * MINUTE).await;
    assert_eq!(grey.sessions().len(), 3, "greylisted at 0, 5 and 20 minutes");
    let broken = world.exchanger(Stub::new("mx.a.example").tls(StartTls::Breaks));
    let other = world.send(&["v@a.example"]).await;
    world.pass(12 * MINUTE).await;
    world.retry(other).await;
    world.pass(2 * MINUTE).await;
    assert_eq!(broken.messages().len(), 1, "the other has gone in clear");
    let met = |world: &World| world.causes().iter().all(|cause| cause.starts_with("4.7.5"));
    world.until("TLS is tried first", met).await;
    assert_eq!((broken.messages().len(), world.waiting().len()), (1, 1));
    world.until("in clear at last", none()).await;
    assert_eq!(broken.messages().len(), 2);
}

// Nobody vouches for the name of the host, so that a certificate for it proves nothing.
// proves: 8689-2-4 8689-4.2.1-5 8689-4.2.1-7 8689-5-1 8689-5-3
#[tokio::test(start_paused = true)]
async fn mail_that_demands_tls_is_not_sent_where_it_cannot_be_had_and_its_sender_hears_at_once() {
    for offers in [&["REQUIRETLS"][..], &[]] {
        let world = World::new("[retry]\nage_max = \"1d\"\n");
        let stub = Stub::new("mx.a.example")
            .offers(&["REQUIRETLS"])
            .tls(StartTls::Works);
        let stub = world.exchanger(stub);
        let home = Stub::new("home.example").offers(offers).tls(StartTls::Works);
        let home = world.host("home.example", "192.0.2.200", home);
        let mut envelope = world.envelope("s@home.example", &["u@a.example"]);
        envelope.wish = mail::TlsWish::Required;
        envelope.ret = Some(mail::Return::Full);
        world.submit(envelope, b"Subject: x\r\n\r\nsecret\r\n").await;
        world.until("told", |_| home.messages().len() == 1).await;
        assert!(world.clock_minutes() < 3, "{}", world.clock_minutes());
        let report = home.messages().remove(0);
        assert_eq!(
            (fields(&report, "Action"), fields(&report, "Status")),
            (vec!["delayed".into()], vec!["4.7.10".into()])
        );
        world.until("given up", none()).await;
        let reports = home.messages();
        assert_eq!(
            (reports.len(), fields(&reports[1], "Action")),
            (2, vec!["failed".into()])
        );
        assert_eq!(fields(&reports[1], "Status"), ["5.7.10"]);
        assert!(!String::from_utf8_lossy(&reports[1]).contains("secret"));
        assert!(stub.lines_of("MAIL").is_empty());
        let said = home
            .lines_of("MAIL")
            .iter()
            .all(|line| line.ends_with(" REQUIRETLS"));
        assert_eq!(said, !offers.is_empty(), "{:?}", home.lines_of("MAIL"));
    }
}

// The sender may waive what hosts publish, not what they say.
// proves: 8689-4.2.2-2 8689-8.4-1
#[tokio::test(start_paused = true)]
async fn a_host_that_insists_on_tls_is_not_overruled_by_the_message() {
    let world = World::new("");
    let stub = refusing("MAIL", "530 5.7.0 say STARTTLS first").tls(StartTls::Breaks);
    let stub = world.exchanger(stub);
    let home = world.home();
    let mut envelope = world.envelope("s@home.example", &["u@a.example"]);
    envelope.wish = mail::TlsWish::Waived;
    world.submit(envelope, b"TLS-Required: No\r\n\r\ntext\r\n").await;
    world.until("reported", none()).await;
    assert!(stub.messages().is_empty() && !stub.lines_of("STARTTLS").is_empty());
    let failed = home
        .messages()
        .iter()
        .any(|report| fields(report, "Status") == ["5.7.0"]);
    assert!(failed);
}

// The last host's answer must not hide that TLS failed with the first: the message would wait for ever.
#[tokio::test(start_paused = true)]
async fn a_backup_host_of_no_help_does_not_keep_mail_from_a_host_with_broken_tls() {
    for backup in [None, Some(refusing("RCPT", "451 4.3.0 not now"))] {
        let world = World::new("");
        world.record("a.example MX 10 one.mx, 20 two.mx");
        let one = world.host("one.mx", "192.0.2.1", Stub::new("one.mx").tls(StartTls::Breaks));
        world.record("two.mx A 192.0.2.2");
        world.put("192.0.2.2", backup.map(Reachable::Stub));
        world.send(&["u@a.example"]).await;
        world.until("sent in clear at last", none()).await;
        assert_eq!(one.messages().len(), 1);
        assert!(
            (10..180).contains(&world.clock_minutes()),
            "{}",
            world.clock_minutes()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn where_tls_fails_the_next_host_is_tried_in_the_same_attempt() {
    let world = World::new("");
    world.record("a.example MX 10 one.mx, 20 two.mx");
    let one = world.host("one.mx", "192.0.2.1", Stub::new("one.mx").tls(StartTls::Breaks));
    let two = world.host("two.mx", "192.0.2.2", Stub::new("two.mx").tls(StartTls::Works));
    world.send(&["u@a.example"]).await;
    world.until("delivered", none()).await;
    assert!(one.lines_of("MAIL").is_empty());
    assert_eq!(two.messages().len(), 1);
    assert!(world.clock_minutes() < 1);
}

// proves: 5321-5.1-6 5321-5.2-1 5321-5.1-5
#[tokio::test(start_paused = true)]
async fn all_addresses_and_hosts_are_tried_in_turn() {
    let world = World::new("");
    world.record("a.example MX 10 one.mx, 20 two.mx");
    world.record("one.mx A 2001:db8::1, 192.0.2.1");
    world.put("2001:db8::1", Some(Reachable::Silent));
    let two = world.host("two.mx", "192.0.2.2", Stub::new("two.mx"));
    world.send(&["u@a.example"]).await;
    world.until("delivered by the third", none()).await;
    assert_eq!((world.dials("2001:db8::1"), world.dials("192.0.2.1")), (1, 1));
    assert_eq!(two.messages().len(), 1);
    // While they rest, the next message does not wait for them.
    let before = world.clock_minutes();
    world.send(&["u@a.example"]).await;
    world.until("delivered", none()).await;
    assert_eq!((world.dials("2001:db8::1"), world.dials("192.0.2.1")), (1, 1));
    assert_eq!(world.clock_minutes(), before);
}

// proves: 5321-2.2.3-1 6531-3.4-1
#[tokio::test(start_paused = true)]
async fn a_host_that_lacks_an_extension_is_passed_over_for_one_that_has_it() {
    let world = World::new("");
    world.record("a.example MX 10 one.mx, 20 two.mx");
    let one = world.host("one.mx", "192.0.2.1", Stub::new("one.mx"));
    let two = world.host("two.mx", "192.0.2.2", Stub::new("two.mx").offers(&["SMTPUTF8"]));
    world.send(&["jürgen@a.example"]).await;
    world.until("delivered", none()).await;
    assert!(one.lines_of("MAIL").is_empty());
    assert_eq!(two.lines_of("MAIL"), ["MAIL FROM:<s@home.example> SMTPUTF8"]);
}

// proves: 6531-3.2-3 6531-3.2-4
#[tokio::test(start_paused = true)]
async fn utf8_addresses_never_go_to_a_host_without_smtputf8() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    let report = bounce_of(&world, "jürgen@a.example").await;
    assert_eq!(fields(&report, "Status"), ["5.6.7"]);
    assert!(stub.lines_of("MAIL").is_empty());
    // Others of the same message do go.
    world.send(&["jürgen@a.example", "plain@a.example"]).await;
    world.until("settled", none()).await;
    assert_eq!(stub.lines_of("RCPT"), ["RCPT TO:<plain@a.example>"]);
}

// proves: 6152-3-3 5321-2.4-3 3463-3.7-1
#[tokio::test(start_paused = true)]
async fn eight_bit_content_never_goes_to_a_host_without_8bitmime() {
    let world = World::new("");
    let mut stub = Stub::new("mx.a.example");
    stub.clear.clear();
    let (stub, home) = (world.exchanger(stub), world.home());
    let mut envelope = world.envelope("s@home.example", &["u@a.example"]);
    envelope.body = Body::EightBitMime;
    world
        .submit(envelope, "Subject: x\r\n\r\nwörter\r\n".as_bytes())
        .await;
    world.until("returned", none()).await;
    assert!(stub.lines_of("MAIL").is_empty());
    assert_eq!(fields(&home.messages()[0], "Status"), ["5.6.3"]);
}

// proves: 1870-6.2-2 1870-6.2-3
#[tokio::test(start_paused = true)]
async fn a_message_too_large_goes_back_at_once() {
    for (stub, expected) in [
        (Stub::new("mx.a.example").offers(&["SIZE 5"]), "5.3.4"),
        (refusing("MAIL", "552 5.3.4 too large"), "5.3.4"),
        (refusing(".", "552 5.3.4 too large"), "5.3.4"),
    ] {
        let world = World::new("");
        let stub = world.exchanger(stub);
        let report = bounce_of(&world, "u@a.example").await;
        assert_eq!(fields(&report, "Status"), [expected]);
        assert!(stub.messages().is_empty());
    }
}

// proves: 5321-4.2-3 5321-4.2.1-2 7504-4-2 5321-3.6.3-1 3461-6.3-5 1870-6.2-1 5321-4.1.1.4-5 3463-2-3
#[tokio::test(start_paused = true)]
async fn refusals_are_told_by_their_first_digit() {
    let rows = [
        ("RCPT", "550 5.1.1 no", Some("5.1.1")),
        ("RCPT", "599 no", Some("5.0.0")),
        ("RCPT", "556 5.1.10 no", Some("5.1.10")),
        ("RCPT", "550 5.99.99 no", Some("5.99.99")),
        ("MAIL", "550 5.7.1 no", Some("5.7.1")),
        ("DATA", "554 5.6.0 no", Some("5.6.0")),
        (".", "554 5.6.0 no", Some("5.6.0")),
        ("RCPT", "459 wait", None),
        ("MAIL", "452 4.3.1 full", None),
        (".", "452 4.3.1 full", None),
        ("DATA", "451 4.3.0 wait", None),
        ("MAIL", "421 4.3.2 leaving", None),
    ];
    for (verb, reply, failed) in rows {
        let world = World::new("");
        let stub = world.exchanger(refusing(verb, reply));
        match failed {
            Some(status) => {
                let report = bounce_of(&world, "u@a.example").await;
                assert_eq!(fields(&report, "Status"), [status], "{verb} {reply}");
                assert_eq!(fields(&report, "Action"), ["failed"]);
                assert_eq!(fields(&report, "Diagnostic-Code"), [format!("smtp; {reply}")]);
                assert_eq!(fields(&report, "Remote-MTA"), ["dns; mx.a.example"]);
                assert_eq!(stub.lines_of("MAIL").len(), 1, "asked again after {reply}");
            }
            None => {
                world.home();
                world.send(&["u@a.example"]).await;
                world.until("deferred", |world| !world.causes().is_empty()).await;
                assert!(
                    world.causes()[0].starts_with("4."),
                    "{verb} {reply}: {:?}",
                    world.causes()
                );
            }
        }
    }
}

// proves: 5321-3.8-3 3463-3.5-1
#[tokio::test(start_paused = true)]
async fn a_lost_connection_puts_off_and_never_returns() {
    for (verb, status) in [("RCPT", "4.4.2"), ("EHLO", "4.4.2"), (".", "4.4.2")] {
        let world = World::new("");
        let stub = Stub::new("mx.a.example").says(move |heard, line| {
            (heard.connection == 0 && line.starts_with(verb)).then(|| "!close".to_owned())
        });
        let (stub, home) = (world.exchanger(stub), world.home());
        world.send(&["u@a.example"]).await;
        world.until("deferred", |world| !world.causes().is_empty()).await;
        assert!(
            world.causes()[0].starts_with(status),
            "{verb}: {:?}",
            world.causes()
        );
        world.until("delivered", none()).await;
        assert_eq!((stub.messages().len(), home.messages().len()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_will_not_greet_is_passed_over_and_then_waited_for() {
    for greeting in ["554 5.7.1 go away", "421 4.3.2 busy", "521 no mail"] {
        let world = World::new("");
        world.record("a.example MX 10 one.mx, 20 two.mx");
        let mut one = Stub::new("one.mx");
        one.greeting = greeting.to_owned();
        world.host("one.mx", "192.0.2.1", one);
        world.send(&["u@a.example"]).await;
        world.until("deferred", |world| !world.causes().is_empty()).await;
        assert!(world.causes()[0].starts_with("4."), "{greeting}");
        let two = world.host("two.mx", "192.0.2.2", Stub::new("two.mx"));
        world.until("delivered", none()).await;
        assert_eq!(two.messages().len(), 1);
    }
}

// proves: 9422-4.2-1 5321-4.5.3.1.8-2
#[tokio::test(start_paused = true)]
async fn recipients_are_split_as_the_host_wants() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example").offers(&["LIMITS RCPTMAX=2"]));
    world.send(&["a@a.example", "b@a.example", "c@a.example"]).await;
    world.until("delivered", none()).await;
    assert_eq!((stub.lines_of("MAIL").len(), stub.lines_of("RCPT").len()), (2, 3));
    assert_eq!((stub.messages().len(), stub.sessions().len()), (2, 1));
}

// proves: 5321-4.5.3.1.8-2 5321-4.5.3.1.10-2
#[tokio::test(start_paused = true)]
async fn too_many_recipients_go_in_further_transactions_at_once() {
    for reply in ["452 4.5.3 too many", "552 too many"] {
        let world = World::new("");
        let stub = Stub::new("mx.a.example")
            .says(move |heard, line| (line.starts_with("RCPT") && heard.rcpts > 2).then(|| reply.to_owned()));
        let (stub, home) = (world.exchanger(stub), world.home());
        world.send(&["a@a.example", "b@a.example", "c@a.example"]).await;
        world.until("delivered", none()).await;
        assert_eq!((stub.messages().len(), home.messages().len()), (2, 0));
        assert!(world.clock_minutes() < 1, "{} {reply}", world.clock_minutes());
    }
}

// proves: 9422-4.1-1
#[tokio::test(start_paused = true)]
async fn sessions_are_used_again_as_often_as_the_host_wants() {
    let world = World::new("[route]\nidle_wait = \"4m\"\n");
    let stub = world.exchanger(Stub::new("mx.a.example").offers(&["LIMITS MAILMAX=2"]));
    for _ in 0..3 {
        world.send(&["a@a.example"]).await;
        world.until("delivered", none()).await;
    }
    let mails: Vec<usize> = stub
        .sessions()
        .iter()
        .map(|session| session.messages.len())
        .collect();
    assert_eq!(mails, [2, 1]);
}

// proves: 9422-3.8-1
#[tokio::test(start_paused = true)]
async fn what_a_host_takes_may_change_from_session_to_session() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example").says(|heard, line| {
        let limit = if heard.connection == 0 { 3 } else { 1 };
        let hello = || format!("250-mx.a.example\r\n250 LIMITS MAILMAX=1 RCPTMAX={limit}");
        line.starts_with("EHLO").then(hello)
    }));
    let to = ["a@a.example", "b@a.example", "c@a.example"];
    for _ in 0..2 {
        world.send(&to).await;
        world.until("delivered", none()).await;
    }
    let rcpts: Vec<usize> = stub
        .sessions()
        .iter()
        .map(|session| {
            session
                .lines
                .iter()
                .filter(|(_, line)| line.starts_with("RCPT"))
                .count()
        })
        .collect();
    assert_eq!(rcpts, [3, 1, 1, 1]);
}

// A host whose limits cost a session for each recipient slows its own mail, and no more.
#[tokio::test(start_paused = true)]
async fn the_sessions_that_limits_cause_are_bounded() {
    let world = World::new("[retry]\njitter_percent = 0\n");
    let stub = world.exchanger(Stub::new("mx.a.example").offers(&["LIMITS MAILMAX=1 RCPTMAX=1"]));
    let to: Vec<String> = (0..120).map(|number| format!("u{number}@a.example")).collect();
    world
        .send(&to.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    world.until("deferred", |world| !world.causes().is_empty()).await;
    assert_eq!(stub.sessions().len(), 50);
    let last = world.causes().pop().unwrap();
    assert!(
        last.contains("mx.a.example takes few recipients at a time"),
        "{last}"
    );
    world.until("delivered", none()).await;
    assert_eq!(stub.sessions().len(), 120);
    assert!(world.clock_minutes() < 30);
}

// A host whose further sessions lack the keyword gets nothing of this attempt in clear.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_began_under_lock_never_goes_on_in_clear() {
    let world = World::new("");
    let stub = Stub::new("mx.a.example")
        .offers(&["LIMITS MAILMAX=1 RCPTMAX=1"])
        .tls(StartTls::Works)
        .says(|heard, line| {
            (heard.connection > 0 && line.starts_with("EHLO")).then(|| "250 mx.a.example".to_owned())
        });
    let stub = world.exchanger(stub);
    world.send(&["a@a.example", "b@a.example"]).await;
    world.until("deferred", |world| !world.causes().is_empty()).await;
    let sessions = stub.sessions();
    assert_eq!((sessions.len(), stub.messages().len()), (2, 1));
    let said: Vec<&str> = sessions[1].lines.iter().map(|(_, line)| &line[..4]).collect();
    assert_eq!(said, ["EHLO", "QUIT"]);
    let cause = world.causes().pop().unwrap();
    assert!(cause.contains("offered a moment ago"), "{cause}");
}

// proves: 9422-4.3-1
#[tokio::test(start_paused = true)]
async fn domains_of_one_session_are_as_many_as_the_host_wants() {
    let world = World::new("[[route.rule]]\ndestination = \"*.away\"\nvia = \"[192.0.2.9]:25\"\n");
    let stub = Stub::new("relay").offers(&["LIMITS RCPTDOMAINMAX=1"]);
    world.put("192.0.2.9", Some(Reachable::Stub(stub.clone())));
    world.send(&["a@one.away", "b@two.away"]).await;
    world.until("delivered", none()).await;
    let rcpts: Vec<usize> = stub
        .sessions()
        .iter()
        .map(|session| session.messages.len())
        .collect();
    assert_eq!(rcpts, [1, 1]);
}

// A session that the host closed while it was idle says nothing against the host.
#[tokio::test(start_paused = true)]
async fn an_idle_session_that_is_gone_is_replaced() {
    let world = World::new("");
    let stub = Stub::new("mx.a.example").says(|heard, line| {
        (heard.connection == 0 && heard.lines > 4 && line.starts_with("MAIL")).then(|| "!close".to_owned())
    });
    let stub = world.exchanger(stub);
    for _ in 0..2 {
        world.send(&["a@a.example"]).await;
        world.until("delivered", none()).await;
    }
    assert_eq!((stub.sessions().len(), stub.messages().len()), (2, 2));
    assert!(world.clock_minutes() < 1);
}

// Nor does one that it ends with 421, since it was idle too long or has carried enough.
#[tokio::test(start_paused = true)]
async fn an_idle_session_that_says_421_is_replaced() {
    let world = World::new("");
    let stub = Stub::new("mx.a.example").says(|heard, line| {
        let ends = heard.connection == 0 && heard.lines > 4 && line.starts_with("MAIL");
        ends.then(|| "421 4.4.2 timeout exceeded".to_owned())
    });
    let stub = world.exchanger(stub);
    for _ in 0..2 {
        world.send(&["a@a.example"]).await;
        world.until("delivered", none()).await;
    }
    assert_eq!((stub.sessions().len(), stub.messages().len()), (2, 2));
    assert!(world.clock_minutes() < 1);
}

// Else the message would be taken for refused, or the recipient for accepted.
#[tokio::test(start_paused = true)]
async fn a_reply_that_nobody_asked_for_answers_no_later_command() {
    for surplus in [
        "250 2.0.0 taken\r\n550 5.7.1 surplus",
        "250 2.0.0 taken!later550 5.7.1 surplus",
        "250 2.0.0 taken!later250 2.0.0 surplus",
    ] {
        let world = World::new("[route]\nidle_wait = \"30s\"\n");
        let stub = Stub::new("mx.a.example");
        let stub = world.exchanger(stub.says(move |_, line| (line == ".").then(|| surplus.to_owned())));
        let home = world.home();
        for _ in 0..2 {
            world.send(&["a@a.example"]).await;
            world.until("delivered", none()).await;
            world.pass(std::time::Duration::from_secs(2)).await;
        }
        assert!(home.messages().is_empty(), "returned");
        assert_eq!(
            (stub.sessions().len(), stub.messages().len()),
            (2, 2),
            "{surplus}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_leaves_before_the_content_gives_way_to_the_next() {
    for verb in ["MAIL", "RCPT", "DATA"] {
        let world = World::new("");
        world.record("a.example MX 10 one.mx, 20 two.mx");
        let one = world.host("one.mx", "192.0.2.1", refusing(verb, "421 4.3.2 too busy"));
        let two = world.host("two.mx", "192.0.2.2", Stub::new("two.mx"));
        world.send(&["u@a.example", "v@a.example"]).await;
        world.until("delivered", none()).await;
        assert_eq!((one.sessions().len(), one.messages().len()), (1, 0), "{verb}");
        assert_eq!(two.messages().len(), 1, "{verb}");
        assert!(world.clock_minutes() < 1);
    }
}

// A session opened by one configuration carries nothing by the rules of another: the port may differ, or this
// server's own name.
#[tokio::test(start_paused = true)]
async fn idle_sessions_end_when_the_rules_change() {
    let mut world = World::new("[route]\nidle_wait = \"30s\"\n");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["a@a.example"]).await;
    world.until("delivered", none()).await;
    world.reload(|_| ()).await;
    world.pass(std::time::Duration::from_secs(1)).await;
    world.send(&["a@a.example"]).await;
    world.until("delivered", none()).await;
    let sessions = stub.sessions();
    assert_eq!((sessions.len(), stub.messages().len()), (2, 2));
    assert!(sessions[0].quit);
}

// proves: 5321-5.1-7
#[tokio::test(start_paused = true)]
async fn mail_that_would_come_back_here_is_returned() {
    let world = World::new("");
    world.record("a.example MX 10 mail.own.example");
    let report = bounce_of(&world, "u@a.example").await;
    assert_eq!(fields(&report, "Status"), ["5.4.6"]);
    assert_eq!(world.dials("192.0.2.250"), 0);
    // A host that greets with our own name is ourselves, whatever its address.
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mail.own.example"));
    let report = bounce_of(&world, "u@a.example").await;
    assert_eq!(fields(&report, "Status"), ["5.4.6"]);
    assert!(stub.lines_of("MAIL").is_empty());
}

// proves: 7505-3-3 5321-5.1-2 5321-5.1-4 7505-5-1
#[tokio::test(start_paused = true)]
async fn what_dns_says_decides_before_anyone_is_dialled() {
    let world = World::new("");
    world.record("a.example MX 0 .");
    world.record("a.example A 192.0.2.1");
    assert_eq!(
        fields(&bounce_of(&world, "u@a.example").await, "Status"),
        ["5.1.10"]
    );
    assert_eq!(world.dials("192.0.2.1"), 0);
    let world = World::new("");
    assert_eq!(
        fields(&bounce_of(&world, "u@nowhere.example").await, "Status"),
        ["5.1.2"]
    );
    for (record, status) in [("a.example MX fail", "4.4.3"), ("a.example MX 10 no.mx", "4.4.4")] {
        let world = World::new("");
        world.record(record);
        world.home();
        world.send(&["u@a.example"]).await;
        world.until("deferred", |world| !world.causes().is_empty()).await;
        assert!(world.causes()[0].starts_with(status), "{:?}", world.causes());
    }
}

// proves: 3461-6.1-1 3461-6.1-2 3464-2-2 3464-2-4 5321-3.6.3-3 3461-5.2.2-3 3461-5.2.2-4 3461-5.2.8-1
#[tokio::test(start_paused = true)]
async fn one_report_for_those_who_failed_and_ask() {
    let world = World::new("");
    let stub = Stub::new("mx.a.example").says(|_, line| {
        line.starts_with("RCPT TO:<bad")
            .then(|| "550 5.1.1 no".to_owned())
    });
    let (stub, home) = (world.exchanger(stub), world.home().offers(&["DSN"]));
    world.host("home.example", "192.0.2.200", home.clone());
    let mut envelope = world.envelope(
        "s@home.example",
        &[
            "good@a.example",
            "bad1@a.example",
            "bad2@a.example",
            "bad3@a.example",
        ],
    );
    envelope.recipients[3].notify = Some(Notify::Never);
    world.submit(envelope, b"Subject: x\r\n\r\ntext\r\n").await;
    world.until("settled", none()).await;
    assert_eq!((stub.messages().len(), home.messages().len()), (1, 1));
    let final_recipients = fields(&home.messages()[0], "Final-Recipient");
    assert_eq!(
        final_recipients,
        ["rfc822; bad1@a.example", "rfc822; bad2@a.example"]
    );
    assert_eq!(home.lines_of("MAIL"), ["MAIL FROM:<>"]);
    assert_eq!(home.lines_of("RCPT"), ["RCPT TO:<s@home.example> NOTIFY=NEVER"]);
}

// proves: 3461-5.2-1 5321-3.6.3-2 5321-4.5.4-1 5321-6.1-2
#[tokio::test(start_paused = true)]
async fn failures_of_mail_from_nobody_are_dropped() {
    let world = World::new("");
    let (stub, home) = (world.exchanger(refusing("RCPT", "550 5.1.1 no")), world.home());
    world
        .submit(
            world.envelope("", &["u@a.example"]),
            b"Subject: report\r\n\r\nx\r\n",
        )
        .await;
    world.until("dropped", none()).await;
    world.pass(MINUTE).await;
    assert_eq!(
        (stub.lines_of("MAIL"), home.lines().len()),
        (vec!["MAIL FROM:<>".to_owned()], 0)
    );
}

// proves: 3461-5.2.2-2 3461-5.2.2-6 3464-2.3.3-2
#[tokio::test(start_paused = true)]
async fn success_is_reported_where_it_was_asked_for_and_nobody_else_will() {
    for (keywords, notify, reports) in [
        ([].as_slice(), Some("SUCCESS"), 1),
        (&[], None, 0),
        (&["DSN"], Some("SUCCESS"), 0),
    ] {
        let world = World::new("");
        let (stub, home) = (
            world.exchanger(Stub::new("mx.a.example").offers(keywords)),
            world.home(),
        );
        let mut envelope = world.envelope("s@home.example", &["u@a.example"]);
        envelope.recipients[0].notify = notify.and_then(Notify::parse);
        world.submit(envelope, b"Subject: x\r\n\r\ntext\r\n").await;
        world.until("settled", none()).await;
        assert_eq!(
            (stub.messages().len(), home.messages().len()),
            (1, reports),
            "{keywords:?} {notify:?}"
        );
        if let Some(report) = home.messages().first() {
            assert_eq!(fields(report, "Action"), ["relayed"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn large_messages_are_streamed_whole() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    let chunking = world.host(
        "b.example",
        "192.0.2.2",
        Stub::new("b.example").offers(&["CHUNKING"]).tls(StartTls::Works),
    );
    let mut octets = b"Subject: x\r\n\r\n".to_vec();
    for line in 0..40_000 {
        octets.extend_from_slice(format!(".{line} all work and no play makes a dull message\r\n").as_bytes());
    }
    world
        .submit(
            world.envelope("s@home.example", &["u@a.example", "u@b.example"]),
            &octets,
        )
        .await;
    world.until("delivered", none()).await;
    assert!(stub.messages() == [octets.clone()]);
    let pieces: Vec<u8> = chunking.messages().concat();
    assert!(pieces == octets);
}

#[tokio::test(start_paused = true)]
async fn literals_and_smart_hosts_need_no_exchangers() {
    let world = World::new("[[route.rule]]\ndestination = \"*.far\"\nvia = \"[192.0.2.9]:25\"\n");
    let (relay, literal) = (Stub::new("relay"), Stub::new("literal"));
    world.put("192.0.2.9", Some(Reachable::Stub(relay.clone())));
    world.put("192.0.2.8", Some(Reachable::Stub(literal.clone())));
    world.send(&["u@a.far", "u@b.far", "u@[192.0.2.8]"]).await;
    world.until("delivered", none()).await;
    assert_eq!((relay.messages().len(), literal.messages().len()), (1, 1));
    assert_eq!(relay.lines_of("RCPT").len(), 2);
}

// proves: 5321-4.5.5-1
#[tokio::test(start_paused = true)]
async fn the_null_sender_stays_null() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    let envelope = world.envelope("", &["u@a.example"]);
    assert_eq!(envelope.sender, ReversePath::Null);
    world.submit(envelope, b"Subject: x\r\n\r\n").await;
    world.until("delivered", none()).await;
    assert_eq!(stub.lines_of("MAIL"), ["MAIL FROM:<>"]);
}
