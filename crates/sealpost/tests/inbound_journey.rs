//! All parts of the running server together: in by SMTP, into a mailbox, seen at the control socket.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::client::Shake;
use common::{Site, friends};
use sealpost::control::client::Client as Control;
use sealpost::control::queue::{Done, Entry, Listing};
use sealpost::control::{Reloaded, Status};

fn control(site: &Site) -> Control {
    Control::at(site.setup().settings.config.server.data_dir.control_socket())
}

async fn hand_in(site: &Site, to: &str) -> String {
    let (mut client, _) = site.mx().await.start_tls(Shake::default()).await;
    let rcpt = format!("RCPT TO:<{to}>");
    let kept = client
        .go(&[
            "EHLO b.example",
            "MAIL FROM:<bea@here.example>",
            &rcpt,
            "DATA",
            "Subject: x\r\n\r\nhello\r\n.",
        ])
        .await;
    kept.rsplit(' ').next().unwrap().to_owned()
}

/// Looks again until something is so.
async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(seen) = look().await {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come to be");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_mail_goes_into_its_mailbox() {
    let site = Site::with(friends).await;
    hand_in(&site, "ann@here.example").await;
    let folder = site.folder.path().join("mail/here.example/ann/new");
    let file = eventually(async || std::fs::read_dir(&folder).ok()?.next()?.ok()).await;
    let stored = std::fs::read_to_string(file.path()).unwrap();
    assert!(
        stored.starts_with("Return-Path: <bea@here.example>\r\n"),
        "{stored}"
    );
    assert!(
        stored.contains(" with ESMTPS") && stored.ends_with("hello\r\n"),
        "{stored}"
    );
    let control = control(&site);
    // The file is there a moment before the queue forgets the message.
    let status: Status = eventually(async || {
        control
            .get("/v1/status")
            .await
            .ok()
            .filter(|status: &Status| status.messages == 0)
    })
    .await;
    assert_eq!(status.host, "mx.here.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_must_wait_is_seen_and_returned_at_the_control_socket() {
    let site = Site::with(friends).await;
    let id = hand_in(&site, "eve@elsewhere.example").await;
    let control = control(&site);
    // Its name cannot be looked up: it waits.
    let tried = eventually(async || {
        let listing: Listing = control.get("/v1/queue").await.unwrap();
        let text = serde_json::to_value(&listing).unwrap().to_string();
        text.contains("\"attempts\":1").then_some(text)
    })
    .await;
    assert!(tried.contains(&id), "{tried}");
    let act = |path: String| control.act::<Done>(hyper::Method::POST, Box::leak(path.into_boxed_str()));
    assert_eq!(act(format!("/v1/queue/{id}/return")).await.unwrap().messages, 1);
    assert!(act(format!("/v1/queue/{id}/return")).await.is_err());
    let folder = site.folder.path().join("mail/here.example/bea/new");
    let report = eventually(async || std::fs::read_dir(&folder).ok()?.next()?.ok()).await;
    assert!(
        std::fs::read_to_string(report.path())
            .unwrap()
            .contains("returned by the operator")
    );
}

// proves: 8689-2-2 8689-4.1-2 8689-4.1-3
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_asks_of_tls_is_kept_with_its_message() {
    let site = Site::with(friends).await;
    let control = control(&site);
    let rows = [
        ("", "Subject: x", None),
        (" REQUIRETLS", "Subject: x", Some("required")),
        ("", "TLS-Required: No", Some("waived")),
        (" REQUIRETLS", "TLS-Required: No", Some("required")),
        ("", "TLS-Required: No\r\nTLS-Required: No", None),
    ];
    for (parameter, field, expected) in rows {
        let (mut client, _) = site.mx().await.start_tls(Shake::default()).await;
        let mail = format!("MAIL FROM:<bea@here.example>{parameter}");
        let content = format!("{field}\r\n\r\nhello\r\n.");
        let rcpt = "RCPT TO:<eve@elsewhere.example>";
        let kept = client
            .go(&["EHLO b.example", &mail, rcpt, "DATA", &content])
            .await;
        let id = kept.rsplit(' ').next().unwrap();
        let entry: Entry = control.get(&format!("/v1/queue/{id}")).await.unwrap();
        assert_eq!(entry.tls.as_deref(), expected, "{parameter} {field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_can_be_asked_for_at_the_control_socket() {
    let mut site = Site::with(friends).await;
    let control = control(&site);
    let asking =
        tokio::spawn(async move { control.act::<Reloaded>(hyper::Method::POST, "/v1/reload").await });
    let asked = site.running.reload_asked().await;
    let config = site.setup().settings.config.clone();
    let outcome = site
        .running
        .reload(config)
        .await
        .map_err(|error| error.to_string());
    asked.send(outcome).unwrap();
    assert!(asking.await.unwrap().unwrap().reloaded);
}
