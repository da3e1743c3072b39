//! The running server over real sockets: STARTTLS, TLS first, certificates, reload.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::client::{Saw, Shake, certificate};
use common::{Client, Site, friends};
use rustls::version::{TLS12, TLS13};
use sealpost::config::Role;
use sealpost::config::listen::ClientCertificates;
use sealpost::config::tls::{Certificate, VersionMin};
use sealpost::tls::own;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn encrypted(site: &Site) -> (Client, Saw) {
    site.mx().await.start_tls(Shake::default()).await
}

fn listen_for_certificates(config: &mut sealpost::config::Config, asked: ClientCertificates) {
    for listen in &mut config.listen {
        listen.client_certificates = asked;
    }
}

// proves: 3207-4.2-1 3207-4.2-2 2487-5.2-1 2487-5.2-2 3207-4.2-8 2487-5.2-6 8314-4.3-1 3848-1-2
#[tokio::test]
async fn after_the_handshake_nothing_from_before_counts() {
    let site = Site::with(friends).await;
    let mut client = site.mx().await;
    client
        .go(&["EHLO a.example", "MAIL FROM:<x@a.example>", "STARTTLS"])
        .await;
    let (mut client, _) = client.shake(Shake::default()).await;
    assert_eq!(client.anything().await, b"", "no second greeting");
    assert!(client.say("MAIL FROM:<x@a.example>").await.starts_with("503 "));
    client.go(&["EHLO b.example"]).await;
    assert!(
        client
            .say("RCPT TO:<eve@elsewhere.example>")
            .await
            .starts_with("503 ")
    );
    let kept = client
        .go(&[
            "MAIL FROM:<x@b.example>",
            "RCPT TO:<eve@elsewhere.example>",
            "DATA",
            "Subject: x\r\n\r\nhello\r\n.",
        ])
        .await;
    let stored = site.content(&kept).await;
    assert!(
        stored.starts_with(
            "Received: from b.example ([127.0.0.1])\r\n\tby mx.here.example (Sealpost) with ESMTPS\r\n"
        ),
        "{stored}"
    );
    assert!(
        stored.contains("\r\n\ttls TLS_AES_256_GCM_SHA384 group X25519MLKEM768;"),
        "{stored}"
    );
    assert!(!stored.contains("a.example ("), "{stored}");
}

// proves: 6531-3.7.3-1
#[tokio::test]
async fn international_mail_over_tls_says_so() {
    let site = Site::with(friends).await;
    let (mut client, _) = encrypted(&site).await;
    let kept = client
        .go(&[
            "EHLO b.example",
            "MAIL FROM:<grün@b.example> SMTPUTF8",
            "RCPT TO:<eve@elsewhere.example>",
            "DATA",
            "Subject: ü\r\n\r\nhello\r\n.",
        ])
        .await;
    assert!(site.content(&kept).await.contains(" with UTF8SMTPS\r\n"));
}

// proves: 3207-4.2-10 3207-4.2-11
#[tokio::test]
async fn starttls_is_neither_offered_nor_done_inside_tls() {
    let site = Site::plain().await;
    let (mut client, _) = encrypted(&site).await;
    for _ in 0..2 {
        assert!(!client.say("EHLO b.example").await.contains("STARTTLS"));
    }
    assert!(client.say("STARTTLS").await.starts_with('5'));
    client.go(&["NOOP"]).await;
}

// proves: 3207-4.2-3
#[tokio::test]
async fn clear_octets_behind_starttls_are_never_executed() {
    let site = Site::plain().await;
    let mut client = site.mx().await;
    client.go(&["EHLO a.example"]).await;
    client.send("STARTTLS\r\nRSET\r\nNOOP\r\n").await;
    // Whether the server refuses or goes on: nothing of the injected may be answered inside TLS.
    let reply = client.reply().await;
    if reply.starts_with("220 ") {
        match client.try_shake(Shake::default()).await {
            Ok((mut client, _)) => {
                assert!(client.say("EHLO b.example").await.contains("PIPELINING"));
                assert_eq!(client.anything().await, b"");
            }
            Err(closed) => drop(closed),
        }
    } else {
        assert!(reply.starts_with(['4', '5']), "{reply}");
    }
}

// proves: 3207-4-3 2487-5-3
#[tokio::test]
async fn after_220_the_first_octet_is_of_tls() {
    let site = Site::plain().await;
    let mut client = site.mx().await;
    client.go(&["EHLO a.example", "STARTTLS"]).await;
    assert_eq!(client.anything().await, b"", "nothing more of SMTP");
    client.stream.write_all(&client_hello(0x0301)).await.unwrap();
    assert_eq!(client.read().await[0], 0x16);
}

/// A ClientHello of today, its record layer saying `record`.
fn client_hello(record: u16) -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(sealpost::tls::provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut connection =
        rustls::ClientConnection::new(Arc::new(config), "mx.here.example".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello[1..3].copy_from_slice(&record.to_be_bytes());
    hello
}

/// A ClientHello as it was before TLS 1.3: one version, two suites, no extension.
fn old_client_hello(version: u16, suites: [u16; 2]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 4]);
    body.extend(suites.into_iter().flat_map(u16::to_be_bytes));
    body.extend([1, 0]);
    let length = body.len() as u8;
    let mut hello = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

// proves: 8996-4-1 8996-5-1 8996-5-2 9325-3.1.1-1 8314-4-10
#[tokio::test]
async fn versions_before_1_2_get_an_alert_and_the_end() {
    let site = Site::plain().await;
    for version in [0x0300_u16, 0x0301, 0x0302] {
        let mut client = Client::connect(site.address(Role::Submissions)).await;
        let hello = old_client_hello(version, [0xc013, 0x002f]);
        client.stream.write_all(&hello).await.unwrap();
        let mut answer = Vec::new();
        client.stream.read_to_end(&mut answer).await.unwrap();
        // An alert record: fatal, protocol_version.
        assert_eq!((answer[0], &answer[5..]), (0x15, &[2, 70][..]), "{version:x}");
    }
}

// proves: 3207-6-2 2487-7-2
#[tokio::test]
async fn weak_suites_get_an_alert_and_the_end() {
    let site = Site::plain().await;
    // Without encryption; with export keys; RC4; RSA key exchange and CBC.
    for suites in [
        [0x003b, 0x0002],
        [0x0003, 0x0008],
        [0x0005, 0xc011],
        [0x002f, 0xc013],
    ] {
        let mut client = Client::greeted(site.address(Role::Mx)).await;
        client.go(&["EHLO a.example", "STARTTLS"]).await;
        let hello = old_client_hello(0x0303, suites);
        client.stream.write_all(&hello).await.unwrap();
        let mut answer = Vec::new();
        client.stream.read_to_end(&mut answer).await.unwrap();
        // An alert record: fatal; and not a word of SMTP behind it.
        assert_eq!((answer[0], answer[5], answer.len()), (0x15, 2, 7), "{suites:x?}");
    }
}

// proves: 8996-4-2
#[tokio::test]
async fn whatever_version_the_record_layer_says_is_taken() {
    let site = Site::plain().await;
    for record in [0x0300, 0x0301, 0x0302, 0x0303] {
        let mut client = Client::connect(site.address(Role::Submissions)).await;
        client.stream.write_all(&client_hello(record)).await.unwrap();
        let answer = client.read().await;
        // A handshake record with a ServerHello.
        assert_eq!((answer[0], answer[5]), (0x16, 2), "{record:x}");
    }
}

// proves: 8314-3.3-1 8314-3.3-5 8314-4-1 8314-4-8 9325-3.1.1-2 9325-3.1.1-3 9325-3.1.1-4
#[tokio::test]
async fn submissions_speaks_tls_first_and_greets_inside() {
    let site = Site::with(friends).await;
    for (versions, expected) in [
        (vec![&TLS12], "TLSv1_2"),
        (vec![&TLS13], "TLSv1_3"),
        (vec![&TLS12, &TLS13], "TLSv1_3"),
    ] {
        let mut client = Client::connect(site.address(Role::Submissions)).await;
        assert_eq!(client.anything().await, b"");
        let (mut client, saw) = client
            .shake(Shake {
                versions,
                ..Shake::default()
            })
            .await;
        assert_eq!(saw.version, expected);
        assert!(client.reply().await.starts_with("220 mx.here.example "));
        assert!(!client.say("EHLO b.example").await.contains("STARTTLS"));
        client
            .go(&["MAIL FROM:<a@b.example>", "RCPT TO:<ann@here.example>"])
            .await;
    }
}

// proves: 8314-7.3-1
#[tokio::test]
async fn strangers_at_submission_ports_are_told_to_authenticate() {
    let site = Site::plain().await;
    let client = Client::connect(site.address(Role::Submissions)).await;
    let (mut client, _) = client.shake(Shake::default()).await;
    client.reply().await;
    client.go(&["EHLO b.example"]).await;
    assert!(
        client
            .say("MAIL FROM:<ann@here.example>")
            .await
            .starts_with("530 5.7.0 ")
    );
    assert!(client.say("RCPT TO:<ann@here.example>").await.starts_with('5'));
}

// proves: 3207-4.3-1 8314-4-3 8314-4-11
#[tokio::test]
async fn submission_works_once_tls_is_there() {
    let site = Site::with(friends).await;
    let mut client = Client::greeted(site.address(Role::Submission)).await;
    client.go(&["EHLO b.example"]).await;
    assert!(
        client
            .say("MAIL FROM:<a@b.example>")
            .await
            .starts_with("530 5.7.0 ")
    );
    client.go(&["STARTTLS"]).await;
    let (mut client, _) = client.shake(Shake::default()).await;
    let kept = client
        .go(&[
            "EHLO b.example",
            "MAIL FROM:<a@b.example>",
            "RCPT TO:<eve@elsewhere.example>",
            "DATA",
            "x: y\r\n\r\nz\r\n.",
        ])
        .await;
    assert!(site.content(&kept).await.contains("\r\n\ttls TLS_AES_"));
}

// proves: 3207-3-1 2487-4-1 2487-7-6 8314-4-4
#[tokio::test]
async fn a_broken_key_hides_starttls_until_a_reload_finds_a_good_one() {
    let files = tempfile::tempdir().unwrap();
    let good = own::ensure(
        &files.path().join("good"),
        &["mx.here.example".to_owned()],
        SystemTime::now(),
    )
    .unwrap();
    let used = Certificate {
        chain: files.path().join("chain.pem"),
        key: files.path().join("key.pem"),
        next_key: None,
    };
    std::fs::copy(&good.chain, &used.chain).unwrap();
    std::fs::write(&used.key, "-----BEGIN PRIVATE KEY-----\nbroken\n").unwrap();
    let mut site = Site::with(|config| config.tls.certificate = vec![used.clone()]).await;
    for role in [Role::Mx, Role::Submission] {
        let mut client = Client::greeted(site.address(role)).await;
        assert!(!client.say("EHLO a.example").await.contains("STARTTLS"));
    }
    // Where TLS is demanded, its absence is no way around it.
    let mut client = Client::greeted(site.address(Role::Submission)).await;
    client.go(&["EHLO a.example"]).await;
    assert!(
        client
            .say("MAIL FROM:<a@b.example>")
            .await
            .starts_with("454 4.7.0 ")
    );
    std::fs::copy(&good.key, &used.key).unwrap();
    let config = site.setup().settings.config.clone();
    site.running.reload(config).await.unwrap();
    let mut client = site.mx().await;
    assert!(client.say("EHLO a.example").await.contains("STARTTLS"));
    // Broken once more: the key of before stays.
    std::fs::write(&used.key, "broken").unwrap();
    let config = site.setup().settings.config.clone();
    site.running.reload(config).await.unwrap();
    encrypted(&site).await;
}

// proves: 3207-4-4 2487-5-4
#[tokio::test]
async fn without_a_free_handshake_slot_starttls_is_put_off() {
    let site = Site::with(|config| config.limits.handshakes_max = 1).await;
    // A client that goes no further than 220 holds the only slot.
    let mut slow = site.mx().await;
    slow.go(&["EHLO a.example", "STARTTLS"]).await;
    let mut client = site.mx().await;
    client.go(&["EHLO a.example"]).await;
    assert!(client.say("STARTTLS").await.starts_with("454 4.7.0 "));
    client.go(&["NOOP", "MAIL FROM:<>"]).await;
    drop(slow);
    for _ in 0..200 {
        let reply = client.say("STARTTLS").await;
        if reply.starts_with("220 ") {
            client.shake(Shake::default()).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the slot was not given back");
}

// proves: 3207-4-8 2487-5-7 3207-4.1-4 2487-5.1-4
#[tokio::test]
async fn without_a_demanded_certificate_everything_but_quit_gets_554() {
    let site = Site::with(|config| listen_for_certificates(config, ClientCertificates::Require)).await;
    let (mut client, saw) = encrypted(&site).await;
    assert!(saw.asked);
    for line in ["EHLO b.example", "NOOP", "RSET", "MAIL FROM:<>"] {
        assert!(client.say(line).await.starts_with("554 "), "{line}");
    }
    assert!(client.say("QUIT").await.starts_with("221 "));
    let shake = Shake {
        certificate: Some(certificate("client.example")),
        ..Shake::default()
    };
    let (mut client, _) = site.mx().await.start_tls(shake).await;
    client
        .go(&["EHLO b.example", "MAIL FROM:<>", "RCPT TO:<ann@here.example>"])
        .await;
}

// proves: 3207-4-7 2487-5-6 3207-4.1-7 2487-5.1-7
#[tokio::test]
async fn a_named_certificate_may_relay_and_is_written_down() {
    let known = certificate("client.example");
    let fingerprint = sealpost::tls::fingerprint(&known.cert[0]);
    let site = Site::with(|config| {
        listen_for_certificates(config, ClientCertificates::Request);
        config.server.relay_certificates = vec![fingerprint];
        config.server.check_sender_domain = false;
    })
    .await;
    for (shown, expected) in [
        (None, "550 5.7.1 "),
        (Some(certificate("client.example")), "550 5.7.1 "),
        (Some(known), "250 "),
    ] {
        let (mut client, _) = site
            .mx()
            .await
            .start_tls(Shake {
                certificate: shown,
                ..Shake::default()
            })
            .await;
        client.go(&["EHLO b.example", "MAIL FROM:<a@b.example>"]).await;
        let reply = client.say("RCPT TO:<eve@elsewhere.example>").await;
        assert!(reply.starts_with(expected), "{reply}");
        if expected == "250 " {
            let kept = client.go(&["DATA", "x: y\r\n\r\nz\r\n."]).await;
            let stored = site.content(&kept).await;
            assert!(
                stored.contains("(client certificate CN=")
                    && stored.contains(&format!("sha256 {fingerprint})")),
                "{stored}"
            );
        }
    }
}

// proves: 8314-4.2-2
#[tokio::test]
async fn by_default_no_certificate_is_asked_for() {
    let site = Site::plain().await;
    assert!(!encrypted(&site).await.1.asked);
    let client = Client::connect(site.address(Role::Submissions)).await;
    assert!(!client.shake(Shake::default()).await.1.asked);
}

// The last name, an address, is asked for without SNI.
// proves: 7672-8.1-4 8461-7.1-3 8461-7.1-4 9325-3.7-2
#[tokio::test]
async fn certificates_are_chosen_by_name_with_a_fallback() {
    let files = tempfile::tempdir().unwrap();
    let made = ["mx.here.example", "mail.also.example"]
        .map(|name| own::ensure(&files.path().join(name), &[name.to_owned()], SystemTime::now()).unwrap());
    let site = Site::with(|config| config.tls.certificate = made.to_vec()).await;
    let leaf = |files: &Certificate| {
        let text = std::fs::read(&files.chain).unwrap();
        rustls::pki_types::pem::PemObject::from_pem_slice(&text).unwrap()
    };
    let leaves: [rustls::pki_types::CertificateDer<'static>; 2] = [leaf(&made[0]), leaf(&made[1])];
    for (name, index) in [
        ("mx.here.example", 0),
        ("mail.also.example", 1),
        ("nosuch.invalid", 0),
        ("127.0.0.1", 0),
    ] {
        let (_, saw) = site
            .mx()
            .await
            .start_tls(Shake {
                name: name.to_owned(),
                ..Shake::default()
            })
            .await;
        assert_eq!(saw.leaf, leaves[index], "{name}");
    }
}

// proves: 3207-6-3
#[tokio::test]
async fn the_least_version_can_be_raised() {
    let site = Site::with(|config| config.tls.version_min = VersionMin::V1_3).await;
    let mut client = site.mx().await;
    client.go(&["EHLO a.example", "STARTTLS"]).await;
    assert!(
        client
            .try_shake(Shake {
                versions: vec![&TLS12],
                ..Shake::default()
            })
            .await
            .is_err()
    );
    encrypted(&site).await;
}

// proves: 8314-3.4-1
#[tokio::test]
async fn the_end_of_tls_is_said_before_the_end_of_tcp() {
    let site = Site::plain().await;
    let (mut client, _) = encrypted(&site).await;
    assert!(client.say("QUIT").await.starts_with("221 "));
    // rustls gives an error of kind UnexpectedEof where close_notify is missing.
    assert_eq!(client.stream.read(&mut [0; 16]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reload_keeps_sessions_and_changes_later_ones() {
    let mut site = Site::plain().await;
    let (mut old, _) = encrypted(&site).await;
    old.go(&["EHLO b.example", "MAIL FROM:<>"]).await;
    let mut config = site.setup().settings.config.clone();
    config.server.host = Some(mail::Domain::parse("new.here.example").unwrap());
    config.local.mailboxes = sealpost::config::local::Mailboxes::Any;
    let closed = config
        .listen
        .pop()
        .map(|_| site.address(Role::Submissions))
        .unwrap();
    let mx = site.address(Role::Mx);
    site.running.reload(config).await.unwrap();
    assert!(
        old.say("RCPT TO:<carl@here.example>")
            .await
            .starts_with("550 5.1.1 "),
        "its own rules still hold"
    );
    old.go(&["RCPT TO:<ann@here.example>", "DATA", "x: y\r\n\r\nz\r\n."])
        .await;
    assert_eq!(site.address(Role::Mx), mx, "the listener was not opened anew");
    let mut fresh = Client::connect(mx).await;
    assert!(fresh.reply().await.starts_with("220 new.here.example "));
    fresh
        .go(&["EHLO b.example", "MAIL FROM:<>", "RCPT TO:<carl@here.example>"])
        .await;
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(closed).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a listener that is no longer configured stays open");
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_closes_no_other() {
    let mut site = Site::plain().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = site.setup().settings.config.clone();
    let mut config = good.clone();
    let old = site.address(Role::Submissions);
    let last = config.listen.last_mut().unwrap();
    assert_eq!(last.role, Role::Submissions);
    last.address = Some(taken.local_addr().unwrap());
    site.running.reload(config.clone()).await.unwrap();
    assert_eq!(site.address(Role::Submissions), old);
    tokio::net::TcpStream::connect(old).await.unwrap();
    drop(taken);
    site.running.reload(config).await.unwrap();
    let now: Vec<_> = site.running.addresses().map(|(_, address)| address).collect();
    assert!(now.len() == good.listen.len() && !now.contains(&old), "{now:?}");
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_changes_nothing() {
    let mut site = Site::plain().await;
    let mut config = site.setup().settings.config.clone();
    config.local.alias_file = Some("/nonexistent/aliases".into());
    config.listen.clear();
    assert!(
        site.running
            .reload(config)
            .await
            .unwrap_err()
            .to_string()
            .contains("/nonexistent/aliases: cannot read this file")
    );
    let mut config = site.setup().settings.config.clone();
    config.server.data_dir = sealpost::config::DataDir::new("/nonexistent");
    let because = site.running.reload(config).await.unwrap_err().to_string();
    assert!(
        because.starts_with("[server] data_dir changes at a restart only"),
        "{because}"
    );
    encrypted(&site).await;
}

// proves: 5321-3.8-2
#[tokio::test]
async fn a_shutdown_tells_idle_clients_and_lets_messages_finish() {
    let site = Site::plain().await;
    let (mut idle, _) = encrypted(&site).await;
    idle.go(&["EHLO b.example"]).await;
    let mut busy = site.mx().await;
    busy.go(&[
        "EHLO b.example",
        "MAIL FROM:<>",
        "RCPT TO:<ann@here.example>",
        "DATA",
    ])
    .await;
    let (mx, spool) = (site.address(Role::Mx), site.running.server().spool.clone());
    let ending = tokio::spawn(site.running.shut_down(std::future::pending()));
    assert!(idle.reply().await.starts_with("421 4.3.2 "));
    assert_eq!(idle.reply().await, "");
    assert!(
        tokio::net::TcpStream::connect(mx).await.is_err(),
        "no new clients"
    );
    assert!(busy.say("x: y\r\n\r\nz\r\n.").await.starts_with("250 "));
    assert!(busy.reply().await.starts_with("421 4.3.2 "));
    ending.await.unwrap();
    assert!(
        spool.draft(mail::MessageId::from_bits(1)).is_err(),
        "the spool is closed"
    );
}

#[tokio::test]
async fn a_second_wish_to_end_cuts_sessions_off() {
    let site = Site::plain().await;
    let mut busy = site.mx().await;
    busy.go(&[
        "EHLO b.example",
        "MAIL FROM:<>",
        "RCPT TO:<ann@here.example>",
        "DATA",
    ])
    .await;
    let started = std::time::Instant::now();
    site.running.shut_down(async {}).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(busy.reply().await, "");
}
