//! The running server when the disk is full or fails, and when clients are slow.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::client::Shake;
use common::hours::Hours;
use common::{Client, Site, friends, ports};
use sealpost::config::Role;
use sealpost::ports::Ports;
use sealpost::serve;
use spool::simulated::{Fault, SimulatedDisk};

const MESSAGE: [&str; 4] = [
    "EHLO b.example",
    "MAIL FROM:<>",
    "RCPT TO:<ann@here.example>",
    "DATA",
];

async fn on_disk(disk: &SimulatedDisk) -> Site {
    let (mut config, folder) = common::config();
    friends(&mut config);
    let running = serve::start_on(config, ports(), Arc::new(disk.clone()))
        .await
        .unwrap();
    Site { running, folder }
}

async fn at_hours() -> (Site, Arc<Hours>) {
    let (config, folder) = common::config();
    let hours = Arc::new(Hours::new());
    let running = serve::start(
        config,
        Ports {
            clock: hours.clone(),
            ..ports()
        },
    )
    .await
    .unwrap();
    (Site { running, folder }, hours)
}

// proves: 1870-6.1-2
#[tokio::test]
async fn a_size_that_finds_no_room_now_is_put_off() {
    let disk = SimulatedDisk::new(1);
    let site = on_disk(&disk).await;
    disk.set_capacity(disk.used_bytes() + (90 << 20));
    let mut client = site.mx().await;
    client.go(&["EHLO b.example"]).await;
    let reply = client.say("MAIL FROM:<a@there.example> SIZE=40000000").await;
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    let reply = client.say("MAIL FROM:<a@there.example> SIZE=1000").await;
    assert!(reply.starts_with("250 "), "{reply}");
}

#[tokio::test]
async fn a_full_disk_takes_no_mail_and_loses_none() {
    let disk = SimulatedDisk::new(2);
    let site = on_disk(&disk).await;
    let mut client = site.mx().await;
    client.go(&MESSAGE).await;
    assert!(client.say("x: y\r\n\r\nz\r\n.").await.starts_with("250 "));
    disk.set_capacity(disk.used_bytes());
    client.go(&MESSAGE[1..3]).await;
    let reply = client.say("DATA").await;
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    disk.set_capacity(u64::MAX);
    client.go(&MESSAGE[1..]).await;
    assert!(client.say("x: y\r\n\r\nz\r\n.").await.starts_with("250 "));
}

#[tokio::test]
async fn no_positive_reply_without_a_sync() {
    let disk = SimulatedDisk::new(3);
    let site = on_disk(&disk).await;
    let mut client = site.mx().await;
    client.go(&MESSAGE).await;
    disk.set_fault(Fault::FailureFrom(disk.calls() + 1));
    let reply = client.say("x: y\r\n\r\nz\r\n.").await;
    assert!(reply.starts_with("452 4.3."), "{reply}");
    disk.set_fault(Fault::None);
    client.go(&MESSAGE[1..]).await;
    let reply = client.say("x: y\r\n\r\nz\r\n.").await;
    assert!(reply.starts_with("250 "), "{reply}");
}

#[tokio::test]
async fn a_disk_that_fails_within_a_large_message_is_told_at_its_end() {
    let disk = SimulatedDisk::new(4);
    let site = on_disk(&disk).await;
    let mut client = site.mx().await;
    client.go(&MESSAGE).await;
    disk.set_fault(Fault::FailureFrom(disk.calls() + 1));
    client.send(&"0123456789\r\n".repeat(20_000)).await;
    let reply = client.say(".").await;
    assert!(reply.starts_with("452 4.3."), "{reply}");
    client.go(&["NOOP"]).await;
}

/// Lets time pass in steps, so that whoever begins to wait in between is reached as well.
async fn pass(hours: &Hours, seconds: u64) {
    for _ in 0..seconds.div_ceil(10) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        hours.pass(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn an_idle_client_is_told_and_left() {
    let (site, hours) = at_hours().await;
    let mut client = site.mx().await;
    client.go(&["EHLO b.example"]).await;
    pass(&hours, 280).await;
    client.go(&["NOOP"]).await;
    pass(&hours, 280).await;
    assert_eq!(client.anything().await, b"");
    pass(&hours, 40).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("421 4.4.2 "), "{reply}");
    assert_eq!(client.reply().await, "");
}

#[tokio::test]
async fn a_client_that_stops_within_a_message_is_left() {
    let (site, hours) = at_hours().await;
    let mut client = site.mx().await;
    client.go(&MESSAGE).await;
    client.send("x: y\r\n\r\nhalf").await;
    pass(&hours, 200).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("421 4.4.2 "), "{reply}");
    assert_eq!(
        site.running
            .server()
            .spool
            .count(&spool::Filter::default())
            .messages,
        0
    );
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_ends_and_gives_its_slot_back() {
    let (site, hours) = at_hours().await;
    let mut silent = Client::connect(site.address(Role::Submissions)).await;
    let mut stuck = site.mx().await;
    stuck.go(&["EHLO b.example", "STARTTLS"]).await;
    pass(&hours, 40).await;
    assert_eq!(stuck.reply().await, "");
    assert_eq!(silent.reply().await, "");
    let (mut client, _) = site.mx().await.start_tls(Shake::default()).await;
    client.go(&["EHLO b.example"]).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_slow_messages_only_so_long() {
    let (site, hours) = at_hours().await;
    let mut busy = site.mx().await;
    busy.go(&MESSAGE).await;
    let ending = tokio::spawn(site.running.shut_down(std::future::pending()));
    pass(&hours, 40).await;
    ending.await.unwrap();
    assert_eq!(busy.reply().await, "");
}
