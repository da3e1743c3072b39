//! `sendmail` against a control interface: what scripts hand in, what is kept, and how it ends.

#![allow(clippy::unwrap_used)] // helpers of tests

mod control;

use std::io::Cursor;

use control::{KEEP_ALL, content, house};
use mail::{Body, Return};
use sealpost::control::client::Client;
use sealpost::sendmail::switches::Switches;
use sealpost::sendmail::{self, Exit, NotAccepted, User, user_of};

async fn run(
    house: &control::House,
    client: Client,
    words: &str,
    input: &str,
) -> (Result<(), NotAccepted>, String) {
    let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
    let switches = Switches::parse(&words).unwrap();
    let user = User {
        login: "ann".into(),
        name: Some("Ann".into()),
    };
    let mut output = Vec::new();
    let input = Cursor::new(input.as_bytes().to_vec());
    let clients = [client];
    let outcome = sendmail::run(
        &switches,
        &clients,
        &user,
        &*house.office.clock,
        input,
        &mut output,
    )
    .await;
    (outcome, String::from_utf8(output).unwrap())
}

const AWAY: &str = "[local]\ndomains = [\"x.example\"]\n";

// proves: 5321-2.3.8-2
#[tokio::test(flavor = "multi_thread")]
async fn a_script_s_message_becomes_mail() {
    let house = house(AWAY);
    let client = house.open().await;
    let text = "To: Zoe <z@far.example>\nBcc: hidden@far.example\nSubject: x\n\nline\nbare\rreturn\n.\nnot the end\n";
    let (outcome, _) = run(&house, client, "-t -i -N success -R hdrs -V id", text).await;
    outcome.unwrap();
    let leased = house.lease("away").unwrap();
    let envelope = &leased.message().envelope;
    assert_eq!(envelope.sender.to_string(), "ann@mx.example");
    let to: Vec<String> = envelope
        .recipients
        .iter()
        .map(|to| to.mailbox.to_string())
        .collect();
    assert_eq!(to, ["z@far.example", "hidden@far.example"]);
    assert_eq!(
        (envelope.ret, envelope.body),
        (Some(Return::Headers), Body::SevenBit)
    );
    assert!(envelope.recipients[0].notify.is_some() && envelope.envelope_id.is_some());
    let octets = String::from_utf8(content(&leased)).unwrap();
    assert!(
        octets.starts_with("Received: by mx.example (Sealpost)\r\n"),
        "{octets}"
    );
    assert!(
        octets.contains("\r\nFrom: \"Ann\" <ann@mx.example>\r\nMessage-ID: <"),
        "{octets}"
    );
    assert!(
        octets.contains("Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n") && !octets.contains("hidden"),
        "{octets}"
    );
    assert!(octets.ends_with("\r\n\r\nline\r\nbare\r\nreturn\r\n.\r\nnot the end\r\n"));
    let without = octets.replace("\r\n", "");
    assert!(!without.contains(['\r', '\n']), "only CRLF");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_ends_the_message_and_eight_bits_are_declared() {
    let house = house(AWAY);
    let client = house.open().await;
    let (outcome, _) = run(
        &house,
        client,
        "-f root -F Wächter z@far.example",
        "Subject: x\n\nnaïve\n.\nignored\n",
    )
    .await;
    outcome.unwrap();
    let leased = house.lease("away").unwrap();
    assert_eq!(leased.message().envelope.sender.to_string(), "root@mx.example");
    assert_eq!(leased.message().envelope.body, Body::EightBitMime);
    let octets = String::from_utf8(content(&leased)).unwrap();
    assert!(octets.ends_with("naïve\r\n"));
    assert!(octets.contains("From: =?utf-8?Q?W=C3=A4chter?= <root@mx.example>\r\n"));
    assert!(!leased.message().envelope.smtputf8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_streams() {
    let house = house(KEEP_ALL);
    let client = house.open().await;
    let body = "0123456789 ten times over and over again, a line of sixty-four oc\n".repeat(200_000);
    let (outcome, _) = run(
        &house,
        client,
        "-i you@anything.test",
        &format!("Subject: large\n\n{body}"),
    )
    .await;
    outcome.unwrap();
    assert_eq!(house.deliver(), 1);
    let stored = std::fs::read(&house.files("anything.test/you")[0]).unwrap();
    assert!(stored.ends_with(body.replace('\n', "\r\n").as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_the_codes_that_scripts_know() {
    let house = house("[limits]\nmessage_bytes_max = \"64KiB\"\n[local]\ndomains = [\"x.example\"]\n");
    let client = house.open().await;
    let nowhere = Client::at(house.folder.path().join("no.sock"));
    let large = format!("Subject: x\n\n{}", "0123456789\n".repeat(20_000));
    for (client, words, input, exit, word) in [
        (
            &nowhere,
            "a@b.example",
            "x",
            Exit::Later,
            "was not accepted: no server answers",
        ),
        (&client, "", "x", Exit::Usage, "no recipient"),
        (&client, "-t", "Subject: x\n\ny", Exit::Usage, "no recipient"),
        (&client, "a@b@c", "x", Exit::Message, "a@b@c"),
        (&client, "a@far.example", "x\0", Exit::Message, "NUL"),
        (
            &client,
            "a@far.example",
            &large,
            Exit::Message,
            "larger than 65536",
        ),
        (
            &client,
            "-N sometimes a@far.example",
            "x",
            Exit::Message,
            "NOTIFY",
        ),
    ] {
        let why = run(&house, client.clone(), words, input).await.0.unwrap_err();
        assert!(why.exit == exit && why.text.contains(word), "{words}: {why:?}");
        assert!(!why.text.contains('\n'));
    }
    assert!(house.lease("away").is_none(), "nothing of that is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_on_standard_input() {
    let house = house(AWAY);
    let client = house.open().await;
    let session = "EHLO here\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<z@far.example> NOTIFY=NEVER\r\n\
                   RCPT TO:<y@far.example>\r\nDATA\r\nSubject: s\r\n\r\n..dot\r\n.\r\n\
                   MAIL FROM:<>\r\nRCPT TO:<z@far.example>\r\nRSET\r\nQUIT\r\n";
    let (outcome, said) = run(&house, client, "-bs", session).await;
    outcome.unwrap();
    assert!(said.starts_with("220 mx.example"), "{said}");
    assert!(
        said.contains("250 2.0.0 kept as ") && said.contains("\r\n221 "),
        "{said}"
    );
    let leased = house.lease("away").unwrap();
    let recipients = &leased.message().envelope.recipients;
    assert_eq!(
        (recipients[0].notify, recipients[1].notify),
        (Some(mail::Notify::Never), None)
    );
    assert!(content(&leased).ends_with(b"Subject: s\r\n\r\n.dot\r\n"));
    assert!(house.lease("away").is_none(), "what was reset is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_breaks_off_keeps_nothing() {
    let house = house(AWAY);
    let client = house.open().await;
    let session = "EHLO here\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<z@far.example>\r\nDATA\r\nSubject: s\r\n\r\nhalf\r\n";
    let (_, said) = run(&house, client, "-bs", session).await;
    assert!(said.contains("354 "), "{said}");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(house.lease("away").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_shown_and_run() {
    let house = house(AWAY);
    let client = house.open().await;
    run(&house, client.clone(), "z@far.example", "Subject: x\n\ny\n")
        .await
        .0
        .unwrap();
    let (outcome, said) = run(&house, client.clone(), "-bp", "").await;
    outcome.unwrap();
    assert!(said.contains("waiting z@far.example"), "{said}");
    run(&house, client, "-q", "").await.0.unwrap();
    for switch in ["-bp", "-q"] {
        let nobody = Client::at(house.folder.path().join("nobody.sock"));
        let why = run(&house, nobody, switch, "").await.0.unwrap_err();
        assert_eq!(why.exit, Exit::Later);
        assert!(
            why.text.starts_with("no server answers at "),
            "no message is at stake: {why}"
        );
    }
}

#[test]
fn users_by_number() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann Example,,,:/home:/bin/sh\nbroken\n";
    assert_eq!(user_of(1000, passwd).name.as_deref(), Some("Ann Example"));
    assert_eq!(user_of(0, passwd).login, "root");
    assert_eq!(user_of(77, passwd).login, "user-77");
}
