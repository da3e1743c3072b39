//! The running server over real sockets, in the clear: admission, trace fields, limits, bounds.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Client, Names, Site, friends, ports};
use sealpost::config::Role;
use sealpost::ports::Ports;
use sealpost::serve;

/// Hands in a message and gives the reply to its end.
async fn hand_in(client: &mut Client, from: &str, to: &str, content: &str) -> String {
    let (mail, rcpt) = (format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"));
    client.go(&["EHLO client.example", &mail, &rcpt, "DATA"]).await;
    client.say(&format!("{content}\r\n.")).await
}

// proves: 3207-4-6 2487-5-5
#[tokio::test]
async fn local_mail_is_taken_wholly_in_the_clear_at_the_public_port() {
    let site = Site::with(|config| config.server.check_sender_domain = false).await;
    let mut client = site.mx().await;
    let reply = hand_in(
        &mut client,
        "bob@there.example",
        "ann@here.example",
        "Subject: x\r\n\r\nhello",
    )
    .await;
    assert!(reply.starts_with("250 2.0.0 kept as "), "{reply}");
    assert!(client.say("QUIT").await.starts_with("221 "));
    assert_eq!(client.reply().await, "");
}

// proves: 5321-4.4-1 5321-4.4-5
#[tokio::test]
async fn our_received_field_stands_on_top_of_an_unchanged_message() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    let content = "Received: from b by c; Thu, 1 Jan 1970 00:00:00 +0000\r\nReceived: from a by b\r\nSubject: x\r\n\r\nhello\r\n";
    let reply = hand_in(
        &mut client,
        "bob@there.example",
        "eve@elsewhere.example",
        content.trim_end(),
    )
    .await;
    let stored = site.content(&reply).await;
    let (top, rest) = stored.split_at(stored.find("Received: from b").unwrap());
    assert!(
        top.starts_with(
            "Received: from client.example ([127.0.0.1])\r\n\tby mx.here.example (Sealpost) with ESMTP\r\n"
        ),
        "{top}"
    );
    assert!(
        top.contains("\r\n\tfor <eve@elsewhere.example>;\r\n\t") && top.ends_with(" +0000\r\n"),
        "{top}"
    );
    assert_eq!(top.matches("Received:").count(), 1);
    assert_eq!(rest, content);
}

// proves: 5321-6.3-1
#[tokio::test]
async fn a_message_with_too_many_received_fields_is_a_loop() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    let content = |hops: usize| {
        format!(
            "{}Subject: x\r\n\r\nhello",
            "Received: from a by b\r\n".repeat(hops)
        )
    };
    let reply = hand_in(
        &mut client,
        "bob@there.example",
        "ann@here.example",
        &content(150),
    )
    .await;
    assert!(reply.starts_with("554 5.4.6 "), "{reply}");
    let reply = hand_in(&mut client, "bob@there.example", "ann@here.example", &content(99)).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

#[tokio::test]
async fn no_relay_for_strangers_and_relay_for_friends() {
    let site = Site::with(|config| config.server.check_sender_domain = false).await;
    let mut client = site.mx().await;
    client
        .go(&["EHLO client.example", "MAIL FROM:<bob@there.example>"])
        .await;
    for recipient in [
        "eve@elsewhere.example",
        "eve%elsewhere.example@here.example",
        "\"eve@elsewhere.example\"@here.example",
        "elsewhere.example!eve@here.example",
        "@here.example:eve@elsewhere.example",
        "eve@[192.0.2.9]",
        "\"eve@elsewhere.example\"@[127.0.0.1]",
    ] {
        let reply = client.say(&format!("RCPT TO:<{recipient}>")).await;
        assert!(reply.starts_with("550 5.7.1 "), "{recipient}: {reply}");
    }
    for recipient in [
        "ann@here.example",
        "ANN@[127.0.0.1]",
        "Postmaster",
        "pOsTmAsTeR@here.example",
    ] {
        let reply = client.say(&format!("RCPT TO:<{recipient}>")).await;
        // The literal is this host, which has no domain of users: its postmaster and ann are known there as well.
        assert!(reply.starts_with("250 2.1.5 "), "{recipient}: {reply}");
    }
    let reply = client.say("RCPT TO:<nobody@here.example>").await;
    assert!(reply.starts_with("550 5.1.1 "), "{reply}");
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    client
        .go(&[
            "EHLO client.example",
            "MAIL FROM:<bob@there.example>",
            "RCPT TO:<eve@elsewhere.example>",
        ])
        .await;
}

// proves: 7505-4.1-1 7505-4.1-2 7504-4-1
#[tokio::test]
async fn names_decide_about_senders_and_recipients() {
    let names = || {
        Names::default()
            .null_mx("null.example")
            .absent("absent.example")
            .real("real.example")
    };
    let with = |names: Names| Ports {
        dns: Arc::new(names),
        ..ports()
    };
    let (config, _folder) = common::config();
    let site = Site {
        running: serve::start(config, with(names())).await.unwrap(),
        folder: _folder,
    };
    let mut client = site.mx().await;
    client.go(&["EHLO client.example"]).await;
    for (sender, expected) in [
        ("<a@null.example>", "550 5.7.27 "),
        ("<a@absent.example>", "550 5.1.8 "),
        ("<a@unknown.example>", "451 4.4.3 "),
        ("<a@real.example>", "250 "),
        ("<>", "250 "),
        ("<ann@here.example>", "250 "),
    ] {
        let reply = client.say(&format!("MAIL FROM:{sender}")).await;
        assert!(reply.starts_with(expected), "{sender}: {reply}");
        client.go(&["RSET"]).await;
    }
    let (mut config, folder) = common::config();
    friends(&mut config);
    let site = Site {
        running: serve::start(config, with(names())).await.unwrap(),
        folder,
    };
    let mut client = Client::greeted(site.address(Role::Mx)).await;
    client
        .go(&[
            "EHLO client.example",
            "MAIL FROM:<a@null.example>",
            "RCPT TO:<a@real.example>",
        ])
        .await;
    let reply = client.say("RCPT TO:<a@null.example>").await;
    assert!(reply.starts_with("556 5.1.10 "), "{reply}");
}

// proves: 2920-3.2-2 2920-3.2-6 2920-3.2-1
#[tokio::test]
async fn replies_to_a_group_come_together_and_none_is_held_back() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    client.go(&["EHLO client.example"]).await;
    client.send("MAIL FROM:<a@there.example>\r\nRCPT TO:<ann@here.example>\r\nRCPT TO:<nobody@here.example>\r\nRSET\r\n").await;
    let together = String::from_utf8(client.read().await).unwrap();
    let codes: Vec<&str> = together.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "550", "250"], "{together}");
    // Half a group: what can be answered is answered.
    client
        .send("MAIL FROM:<a@there.example>\r\nRCPT TO:<ann@he")
        .await;
    assert!(
        String::from_utf8(client.read().await)
            .unwrap()
            .starts_with("250 2.1.0")
    );
    client.send("re.example>\r\n").await;
    assert!(client.reply().await.starts_with("250 2.1.5"));
}

// proves: 5321-7.8-1
#[tokio::test]
async fn a_client_that_is_refused_too_often_is_cut_off() {
    let site = Site::with(|config| {
        config.server.check_sender_domain = false;
        config.limits.errors_per_client_hour_max = 30;
    })
    .await;
    let mut client = site.mx().await;
    client
        .go(&["EHLO client.example", "MAIL FROM:<a@there.example>"])
        .await;
    let mut last = String::new();
    for index in 0..40 {
        last = client.say(&format!("RCPT TO:<nobody{index}@here.example>")).await;
        if last.starts_with("421 ") {
            break;
        }
        assert!(last.starts_with("550 "), "{last}");
    }
    assert!(last.starts_with("421 4.7.0 "), "{last}");
    assert_eq!(client.reply().await, "");
    // The hour's count goes on: one more session of this kind and the door stays shut.
    let mut client = site.mx().await;
    client
        .go(&["EHLO client.example", "MAIL FROM:<a@there.example>"])
        .await;
    while client
        .say("RCPT TO:<nobody@here.example>")
        .await
        .starts_with("550 ")
    {}
    let mut client = Client::connect(site.address(Role::Mx)).await;
    let greeting = client.reply().await;
    assert!(greeting.starts_with("421 "), "{greeting}");
    assert_eq!(client.reply().await, "");
}

#[tokio::test]
async fn connections_and_messages_of_a_client_are_bounded() {
    let site = Site::with(|config| {
        config.server.check_sender_domain = false;
        config.limits.connections_per_client_max = 2;
        config.limits.messages_per_client_hour_max = 1;
    })
    .await;
    let (mut first, second) = (site.mx().await, site.mx().await);
    let mut third = Client::connect(site.address(Role::Mx)).await;
    let greeting = third.reply().await;
    assert!(greeting.starts_with("421 "), "{greeting}");
    drop(second);
    hand_in(&mut first, "bob@there.example", "ann@here.example", "x").await;
    assert!(
        first
            .say("MAIL FROM:<bob@there.example>")
            .await
            .starts_with("421 4.7.0 ")
    );
    // The places are given back.
    loop {
        let mut again = Client::connect(site.address(Role::Mx)).await;
        if again.reply().await.starts_with("220 ") {
            break;
        }
    }
}

#[tokio::test]
async fn a_large_message_passes_whole() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    let line = "0123456789".repeat(7);
    let content = format!("Subject: x\r\n\r\n{}", format!("{line}\r\n").repeat(20_000));
    let reply = hand_in(
        &mut client,
        "bob@there.example",
        "eve@elsewhere.example",
        content.trim_end(),
    )
    .await;
    let stored = site.content(&reply).await;
    assert!(stored.ends_with(&content), "{} {}", stored.len(), content.len());
}

// proves: 3207-4-9 3207-4-10 3207-4-11 2487-5-8 2487-5-9 2487-5-10 8314-4-6
#[tokio::test]
async fn submission_does_nothing_in_the_clear() {
    let site = Site::with(friends).await;
    let mut client = Client::greeted(site.address(Role::Submission)).await;
    // RFC 2034 §4: no enhanced code in the reply to a greeting.
    assert!(client.say("HELO x").await.starts_with("530 "));
    for line in [
        "MAIL FROM:<a@b.example>",
        "RCPT TO:<a@b.example>",
        "DATA",
        "RSET",
        "VRFY a",
        "HELP",
        "AUTH PLAIN",
    ] {
        let reply = client.say(line).await;
        assert!(reply.starts_with("530 5.7.0 "), "{line}: {reply}");
    }
    let offer = client.say("EHLO client.example").await;
    assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    client.go(&["NOOP", "QUIT"]).await;
}
