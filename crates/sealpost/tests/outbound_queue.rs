//! What waits, for how long, and who is told of it: days of a queue in seconds.
#![allow(clippy::unwrap_used)] // a test may panic

#[path = "outbound/mod.rs"]
mod outbound;

use std::time::Duration;

use mail::Notify;
use outbound::{Reachable, Stub, World, fields};

const MINUTE: Duration = Duration::from_secs(60);

fn settled(world: &World) -> bool {
    world.waiting().is_empty()
}

fn refusing(verb: &'static str, reply: &'static str) -> Stub {
    Stub::new("mx.a.example").says(move |_, line| line.starts_with(verb).then(|| reply.to_owned()))
}

// proves: 5321-4.5.4.1-1 5321-4.5.4.1-2
#[tokio::test(start_paused = true)]
async fn what_cannot_go_now_is_tried_again_by_the_schedule() {
    let world = World::new("[retry]\njitter_percent = 0\n");
    let stub = Stub::new("mx.a.example").says(|heard, line| {
        (heard.connection < 2 && line.starts_with("RCPT")).then(|| "451 4.7.1 later".to_owned())
    });
    let stub = world.exchanger(stub);
    world.send(&["u@a.example"]).await;
    world.until("deferred", |world| !world.causes().is_empty()).await;
    world.pass(4 * MINUTE).await;
    assert_eq!(stub.sessions().len(), 1);
    world.pass(2 * MINUTE).await;
    assert_eq!(stub.sessions().len(), 2);
    world.pass(13 * MINUTE).await;
    assert_eq!(stub.sessions().len(), 2);
    world.until("delivered", settled).await;
    assert_eq!((stub.sessions().len(), stub.messages().len()), (3, 1));
}

// proves: 5321-4.5.4.1-5
#[tokio::test(start_paused = true)]
async fn ten_messages_to_a_dead_host_make_one_connection_an_interval() {
    for there in [None, Some(Reachable::Silent)] {
        let world = World::new("[retry]\njitter_percent = 0\n");
        world.record("a.example MX 10 mx.a.example");
        world.record("mx.a.example A 192.0.2.1");
        world.put("192.0.2.1", there);
        for _ in 0..10 {
            world.send(&["u@a.example"]).await;
        }
        world
            .until("all deferred", |world| world.causes().len() == 10)
            .await;
        assert!(
            world.causes().iter().all(|cause| cause.starts_with("4.4.1")),
            "{:?}",
            world.causes()
        );
        assert_eq!(world.dials("192.0.2.1"), 1);
        world
            .until("tried again", |world| world.dials("192.0.2.1") == 2)
            .await;
        world.pass(5 * MINUTE).await;
        assert_eq!(world.dials("192.0.2.1"), 2);
        let stub = world.host("mx.a.example", "192.0.2.1", Stub::new("mx.a.example"));
        world.until("delivered", settled).await;
        assert_eq!(stub.messages().len(), 10);
    }
}

// proves: 5321-4.5.4.1-6
#[tokio::test(start_paused = true)]
async fn a_refused_sender_says_nothing_of_the_next() {
    let world = World::new("");
    let stub = world.exchanger(refusing("MAIL FROM:<s@", "550 5.1.8 not you"));
    world.home();
    world.send(&["u@a.example"]).await;
    world.until("returned", settled).await;
    world
        .submit(
            world.envelope("t@home.example", &["u@a.example"]),
            b"Subject: x\r\n\r\n",
        )
        .await;
    world.until("delivered", settled).await;
    assert_eq!((stub.messages().len(), world.clock_minutes()), (1, 0));
}

// proves: 5321-4.5.4.1-4
#[tokio::test(start_paused = true)]
async fn the_schedule_can_be_changed_while_the_server_runs() {
    let mut world = World::new("[retry]\njitter_percent = 0\n");
    let stub = world.exchanger(refusing("RCPT", "451 4.7.1 later"));
    let hourly = |config: &mut sealpost::config::Config| {
        config.retry = toml::from_str("pauses = [\"1h\"]\njitter_percent = 0\n").unwrap();
    };
    world.reload(hourly).await;
    world.send(&["u@a.example"]).await;
    world.pass(55 * MINUTE).await;
    assert_eq!(stub.sessions().len(), 1);
    world.pass(6 * MINUTE).await;
    assert_eq!(stub.sessions().len(), 2);
}

// proves: 3461-5.2.5-1 3461-5.2.5-2 3461-5.2.6-1 5321-4.5.4.1-3 3463-3.5-2 3464-2.3.9-1 3461-5.2.6-2
#[tokio::test(start_paused = true)]
async fn late_mail_is_told_of_once_and_returned_at_its_end() {
    let world = World::new("");
    let (stub, home) = (
        world.exchanger(refusing("RCPT", "451 4.7.1 greylisted")),
        world.home(),
    );
    let mut envelope = world.envelope(
        "s@home.example",
        &["plain@a.example", "quiet@a.example", "failure@a.example"],
    );
    envelope.recipients[1].notify = Some(Notify::Never);
    envelope.recipients[2].notify = Notify::parse("FAILURE");
    world.submit(envelope, b"Subject: x\r\n\r\ntext\r\n").await;
    world
        .until("told of the delay", |_| !home.messages().is_empty())
        .await;
    assert!(
        (240..=250).contains(&world.clock_minutes()),
        "{}",
        world.clock_minutes()
    );
    let delay = home.messages().remove(0);
    assert_eq!(fields(&delay, "Action"), ["delayed"]);
    assert_eq!(fields(&delay, "Final-Recipient"), ["rfc822; plain@a.example"]);
    assert_eq!(fields(&delay, "Will-Retry-Until").len(), 1);
    world.until("given up", settled).await;
    let age = world.clock_minutes();
    assert!((5 * 1440..=5 * 1440 + 10).contains(&age), "{age}");
    let reports = home.messages();
    assert_eq!(reports.len(), 2, "one delay notice, one return");
    let returned = &reports[1];
    assert_eq!(fields(returned, "Action"), ["failed", "failed"]);
    assert_eq!(
        fields(returned, "Diagnostic-Code"),
        ["smtp; 451 4.7.1 greylisted"; 2]
    );
    assert_eq!(fields(returned, "Status"), ["4.7.1"; 2]);
    assert!(stub.messages().is_empty());
}

// proves: 3461-5.2.3-1 3461-5.2.3-2
#[tokio::test(start_paused = true)]
async fn local_delivery_is_reported_where_it_was_asked_for() {
    let world = World::new("");
    let home = world.home();
    let mut envelope = world.envelope("s@home.example", &["postmaster@own.example", "abuse@own.example"]);
    envelope.recipients[0].notify = Notify::parse("SUCCESS");
    world.submit(envelope, b"Subject: x\r\n\r\ntext\r\n").await;
    world.until("settled", settled).await;
    let reports = home.messages();
    let actions: Vec<String> = reports
        .iter()
        .flat_map(|report| fields(report, "Action"))
        .collect();
    let told: Vec<String> = reports
        .iter()
        .flat_map(|report| fields(report, "Final-Recipient"))
        .collect();
    assert_eq!(
        told.iter().filter(|to| to.contains("postmaster")).count(),
        1,
        "{told:?} {actions:?}"
    );
    assert!(actions.contains(&"delivered".to_owned()), "{actions:?}");
}

#[tokio::test(start_paused = true)]
async fn one_slow_destination_delays_no_other() {
    let world = World::new("");
    world.record("slow.example A 192.0.2.66");
    world.put("192.0.2.66", Some(Reachable::Silent));
    let stub = world.exchanger(Stub::new("mx.a.example"));
    for _ in 0..50 {
        world.send(&["u@slow.example"]).await;
    }
    world.send(&["u@a.example"]).await;
    world.until("delivered", |_| !stub.messages().is_empty()).await;
    assert!(world.clock_minutes() < 1);
    assert_eq!(world.dials("192.0.2.66"), 1);
}

#[tokio::test(start_paused = true)]
async fn concurrency_rises_once_a_host_answers_and_keeps_its_bound() {
    let world = World::new("[route]\ndestination_connections_max = 3\n");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    for number in 0..60 {
        world.send(&[&format!("u{number}@a.example")]).await;
    }
    world.until("delivered", settled).await;
    assert_eq!(stub.messages().len(), 60);
    assert!(stub.sessions().len() <= 3, "{}", stub.sessions().len());
}

// A report that cannot be delivered makes no report; a note to the postmaster is the operator's choice.
#[tokio::test(start_paused = true)]
async fn a_report_that_fails_is_dropped_or_noted() {
    for noted in [false, true] {
        let world = World::new(&format!(
            "[retry]\nnote_lost_reports = {noted}\npostmaster = \"admin@ops.example\"\n"
        ));
        world.exchanger(refusing("RCPT", "550 5.1.1 no"));
        world.host("home.example", "192.0.2.200", refusing("RCPT", "550 5.1.1 gone"));
        let ops = world.host("ops.example", "192.0.2.201", Stub::new("ops.example"));
        world.send(&["u@a.example"]).await;
        world.until("settled", settled).await;
        world.pass(MINUTE).await;
        assert_eq!(ops.messages().len(), usize::from(noted));
    }
}

// A person's wish to try at once is not held up by what is remembered of the host.
#[tokio::test(start_paused = true)]
async fn trying_again_forgets_what_was_silent() {
    let world = World::new("");
    world.record("a.example MX 10 mx.a.example");
    world.record("mx.a.example A 192.0.2.1");
    let id = world.send(&["u@a.example"]).await;
    world.until("deferred", |world| !world.causes().is_empty()).await;
    let stub = world.host("mx.a.example", "192.0.2.1", Stub::new("mx.a.example"));
    world.handle.try_again().await;
    world.retry(id).await;
    world.until("delivered", settled).await;
    assert_eq!((stub.messages().len(), world.clock_minutes()), (1, 0));
}

// What an attempt finds out that began before the wish does not stand against it.
#[tokio::test(start_paused = true)]
async fn an_attempt_under_way_does_not_hold_up_a_wish_to_try_again() {
    let world = World::new("[route]\nconnect_wait = \"30s\"\n[retry]\njitter_percent = 0\n");
    world.record("a.example MX 10 mx.a.example");
    world.record("mx.a.example A 192.0.2.1");
    world.put("192.0.2.1", Some(Reachable::Silent));
    let id = world.send(&["u@a.example"]).await;
    world
        .until("dialled", |world| world.dials("192.0.2.1") == 1)
        .await;
    world.handle.try_again().await;
    world.until("deferred", |world| !world.causes().is_empty()).await;
    let stub = world.host("mx.a.example", "192.0.2.1", Stub::new("mx.a.example"));
    world.retry(id).await;
    world.until("delivered", settled).await;
    assert_eq!((stub.messages().len(), world.dials("192.0.2.1")), (1, 2));
    assert!(world.clock_minutes() < 4, "before its next regular attempt");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_dispatcher_ends_what_runs_and_starts_no_more() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["u@a.example"]).await;
    world.until("delivered", settled).await;
    world.handle.stop().await;
    world.pass(MINUTE).await;
    assert!(stub.sessions().iter().all(|session| session.quit));
    world.send(&["u@a.example"]).await;
    world.pass(10 * MINUTE).await;
    assert_eq!((stub.messages().len(), world.waiting().len()), (1, 1));
}

// Attempts that end are seen however much else there is to see.
#[tokio::test(start_paused = true)]
async fn a_busy_inbox_keeps_no_lane_shut() {
    let world = World::new("");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    let handle = world.handle.clone();
    let noise = tokio::spawn(async move {
        loop {
            handle.try_again().await;
        }
    });
    for _ in 0..10 {
        world.send(&["u@a.example"]).await;
    }
    for _ in 0..400 {
        if stub.messages().len() == 10 {
            break;
        }
        let real = || std::thread::sleep(Duration::from_millis(10));
        tokio::task::spawn_blocking(real).await.unwrap();
    }
    noise.abort();
    assert_eq!(stub.messages().len(), 10);
}

// A fault of ours costs its destination a rest, nobody the message, and nobody else anything.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_gives_its_message_back() {
    let world = World::new("[retry]\njitter_percent = 0\n");
    world.record("b.example MX panic");
    let stub = world.exchanger(Stub::new("mx.a.example"));
    world.send(&["u@b.example"]).await;
    world.send(&["u@a.example"]).await;
    world
        .until("put off", |world| {
            world.causes().len() == 1 && world.waiting().len() == 1
        })
        .await;
    assert_eq!(stub.messages().len(), 1);
    assert!(
        world.causes()[0].contains("a fault in this server"),
        "{:?}",
        world.causes()
    );
    world.record("b.example MX 10 mx.a.example");
    world.until("delivered", settled).await;
    assert_eq!(stub.messages().len(), 2);
}

// A fault of ours while recording: what was handed over is not sent again, the rest waits for a person.
#[tokio::test(start_paused = true)]
async fn a_fault_while_recording_sends_nothing_again() {
    let world = World::new("");
    let stub = world.exchanger(refusing("RCPT TO:<late", "451 4.2.0 later"));
    world
        .clock
        .breaks
        .store(true, std::sync::atomic::Ordering::Relaxed);
    world.send(&["u@a.example", "late@a.example"]).await;
    world
        .until("held", |world| {
            world
                .causes()
                .iter()
                .any(|cause| cause.contains("fault in this server"))
        })
        .await;
    world
        .clock
        .breaks
        .store(false, std::sync::atomic::Ordering::Relaxed);
    world.pass(600 * MINUTE).await;
    assert_eq!((stub.messages().len(), stub.sessions().len()), (1, 1));
    let states: Vec<spool::State> = world.waiting()[0]
        .recipients()
        .map(|(.., progress)| progress.state)
        .collect();
    assert_eq!(states, [spool::State::Settled, spool::State::Held]);
}

// A report that its way back cannot carry would be lost: what the way can carry comes instead.
#[tokio::test(start_paused = true)]
async fn a_full_report_in_eight_bits_is_cut_to_the_header_where_the_way_back_takes_seven() {
    let world = World::new("");
    world.exchanger(refusing("RCPT", "550 5.1.1 no such user"));
    let mut narrow = Stub::new("home.example");
    narrow.clear.retain(|keyword| keyword != "8BITMIME");
    let home = world.host("home.example", "192.0.2.200", narrow);
    let mut envelope = world.envelope("s@home.example", &["u@a.example"]);
    envelope.ret = Some(mail::Return::Full);
    envelope.body = mail::Body::EightBitMime;
    let octets = "Subject: lines\r\nX-Folded: a\r\n b\r\n\r\nwörter\r\nContent-Type: message/rfc822\r\n";
    world.submit(envelope, octets.as_bytes()).await;
    world.until("reported", settled).await;
    let reports = home.messages();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].is_ascii());
    let text = String::from_utf8(reports[0].clone()).unwrap();
    assert!(!text.contains("8bit") && !text.contains("rter") && !text.contains("message/rfc822"));
    let part = "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: lines\r\nX-Folded: a\r\n b\r\n\r\n--=_";
    assert!(text.contains(part) && text.ends_with("--\r\n"), "{text}");
    assert_eq!(fields(&reports[0], "Status"), ["5.1.1"]);
    assert_eq!(home.lines_of("MAIL").len(), 1, "{:?}", home.lines());
}
