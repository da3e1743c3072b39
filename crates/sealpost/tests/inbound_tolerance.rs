//! What a server must not be pedantic about, and what it must leave alone, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Client, Site, friends};
use sealpost::config::Config;

/// Hands in a message for somebody elsewhere and gives the reply to its end.
async fn hand_in(client: &mut Client, recipients: &[&str], content: &str) -> String {
    client.go(&["MAIL FROM:<bob@there.example>"]).await;
    for recipient in recipients {
        client.go(&[&format!("RCPT TO:<{recipient}>")]).await;
    }
    client.go(&["DATA"]).await;
    client.say(&format!("{content}.")).await
}

// proves: 5321-3.3-6 5321-3.3-7 5321-3.7.2-1 5321-6.4-2
#[tokio::test]
async fn faulty_headers_are_taken_and_passed_on_as_they_came() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    client.go(&["EHLO client.example"]).await;
    for content in [
        "Subject: neither Date nor From nor Message-ID\r\n\r\nhello\r\n",
        "Resent-To: eve@elsewhere.example\r\nFrom: a@b.example\r\n\r\nhello\r\n",
        "Resent-Date: yesterday\r\nResent-Date: tomorrow\r\nSubject: x\r\n\r\nhello\r\n",
        "Received: garbled ((; 99 Foo\r\nReceived:\r\nReturn-Path: nobody\r\nSubject: x\r\n\r\nhello\r\n",
        "From: two@a.example\r\nFrom: b c d <<>\r\nDate: \r\nTo: list\r\n\r\nhello\r\n",
        "Content-Type: multipart/mixed\r\nContent-Transfer-Encoding: rot13\r\n\r\n--\r\n",
        "no header at all\r\n",
        "\r\nonly a body\r\n",
    ] {
        let reply = hand_in(&mut client, &["eve@elsewhere.example"], content).await;
        assert!(reply.starts_with("250 "), "{content:?}: {reply}");
        let stored = site.content(&reply).await;
        assert!(stored.starts_with("Received: from client.example "), "{stored}");
        // RFC 5321 §6.4: nothing but our own trace field is added, nothing is mended.
        let rest = stored.split_once(" +0000\r\n").unwrap().1;
        assert_eq!(rest, content);
    }
}

// proves: 5321-4.1.4-4
#[tokio::test]
async fn a_name_that_is_not_the_clients_is_no_ground_for_refusal() {
    let site = Site::with(friends).await;
    for hello in ["EHLO other.example", "EHLO [192.0.2.77]", "HELO here.example"] {
        let mut client = site.mx().await;
        client.go(&[hello]).await;
        let reply = hand_in(
            &mut client,
            &["eve@elsewhere.example"],
            "Subject: x\r\n\r\nhello\r\n",
        )
        .await;
        assert!(reply.starts_with("250 "), "{hello}: {reply}");
    }
}

// proves: 5321-7.2-1
#[tokio::test]
async fn blind_recipients_stay_blind() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    client.go(&["EHLO client.example"]).await;
    let recipients = ["seen@elsewhere.example", "blind@elsewhere.example"];
    let reply = hand_in(
        &mut client,
        &recipients,
        "Cc: seen@elsewhere.example\r\n\r\nhello\r\n",
    )
    .await;
    let stored = site.content(&reply).await;
    assert!(!stored.contains("blind"), "{stored}");
}

// proves: 1869-7-1
#[tokio::test]
async fn the_trace_says_whether_extensions_were_spoken() {
    let site = Site::with(friends).await;
    for (hello, with) in [
        ("EHLO client.example", " with ESMTP\r\n"),
        ("HELO client.example", " with SMTP\r\n"),
    ] {
        let mut client = site.mx().await;
        client.go(&[hello]).await;
        let reply = hand_in(
            &mut client,
            &["eve@elsewhere.example"],
            "Subject: x\r\n\r\nhello\r\n",
        )
        .await;
        let stored = site.content(&reply).await;
        assert!(stored.contains(with), "{hello}: {stored}");
    }
}

// proves: 5321-4.2.5-1
#[tokio::test]
async fn what_was_refused_at_its_end_is_not_kept() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    client.go(&["EHLO client.example"]).await;
    let looping = format!(
        "{}Subject: x\r\n\r\nhello\r\n",
        "Received: from a by b\r\n".repeat(150)
    );
    let reply = hand_in(
        &mut client,
        &["eve@elsewhere.example", "ann@here.example"],
        &looping,
    )
    .await;
    assert!(reply.starts_with("554 "), "{reply}");
    let spool = site.running.server().spool.clone();
    let waiting = tokio::task::spawn_blocking(move || spool.count(&spool::Filter::default()).messages)
        .await
        .unwrap();
    assert_eq!(waiting, 0);
    let mail = site.setup().settings.config.server.data_dir.mail();
    assert!(!mail.exists(), "nothing was delivered below {}", mail.display());
}

// proves: 5321-3.5.1-1 5321-3.5.2-1
#[tokio::test]
async fn addresses_are_verified_where_the_operator_allows_it() {
    let friendly = |config: &mut Config| {
        config.server.verify = true;
        friends(config);
    };
    let site = Site::with(friendly).await;
    let mut client = site.mx().await;
    let offers = client.go(&["EHLO client.example"]).await;
    assert!(offers.contains("EXPN"), "{offers}");
    for question in [
        "VRFY ann@here.example",
        "VRFY <ann@here.example>",
        "EXPN <ann@here.example>",
    ] {
        let reply = client.say(question).await;
        assert_eq!(reply, "250 2.1.5 <ann@here.example>", "{question}");
    }
    let reply = client.say("VRFY nobody@here.example").await;
    assert!(reply.starts_with("550 "), "{reply}");
    // Strangers learn nothing, and nobody does where it is not allowed.
    for allow in [|config: &mut Config| config.server.verify = true, friends] {
        let site = Site::with(allow).await;
        let mut client = site.mx().await;
        client.go(&["EHLO client.example"]).await;
        let reply = client.say("VRFY ann@here.example").await;
        assert!(reply.starts_with("252 "), "{reply}");
    }
}

/// Much less than the minutes after which a client gives up (RFC 5321 §4.5.3.2.6), also on a slow machine under load.
const REPLY_WAIT: Duration = Duration::from_secs(5);

// proves: 5321-6.1-3
#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_the_end_comes_fast_under_load() {
    let site = Site::with(friends).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = site.mx().await;
        clients.spawn(async move {
            client.go(&["EHLO client.example"]).await;
            let content = "0123456789abcdef\r\n".repeat(2000);
            for _ in 0..10 {
                let begun = std::time::Instant::now();
                let reply = hand_in(&mut client, &["eve@elsewhere.example"], &content).await;
                assert!(
                    reply.starts_with("250 ") && begun.elapsed() < REPLY_WAIT,
                    "{reply} after {:?}",
                    begun.elapsed()
                );
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}
